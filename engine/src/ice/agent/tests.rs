//! The agent against a tiny scripted lite peer, in virtual time.

mod gathering;
mod golden;
mod rules;
mod timing;

use super::*;
use crate::limits::ICE_CONFLICTS_MAX;
use crate::rng::SeededRng;
use std::collections::HashSet;

const RELAY_UFRAG: &str = "VyVkdwnq/UZtqVON";
const RELAY_PWD: &str = "sGUUAvS/fOjzPtIoL72o2g==";
const BASE4: &str = "10.77.0.1:5000";
const BASE6: &str = "[fd77::1]:5000";
const RELAY4: &str = "10.77.215.49:3484";
const RELAY6: &str = "[fd77:f36b::699c]:3484";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn ms(ms: u64) -> Time {
    Time::ZERO + Span::from_millis(ms)
}

/// A request of ours as the relay saw it.
#[derive(Clone, Debug)]
struct Check {
    at_ms: u64,
    path: Path,
    id: TransactionId,
    nominates: bool,
    tie_breaker: u64,
    /// How many requests the relay saw on this path before, nominating or not.
    nth: usize,
}

impl Check {
    fn is_v6(&self) -> bool {
        self.path.remote.is_ipv6()
    }
}

/// What the relay does with a request; `after_ms` is the whole round trip.
enum Reply {
    Silence,
    Success { after_ms: u64, mapped: Option<SocketAddr> },
    Error { after_ms: u64, code: u16, signed: bool },
}

const OK: Reply = Reply::Success { after_ms: 10, mapped: None };

fn slow(after_ms: u64) -> Reply {
    Reply::Success { after_ms, mapped: None }
}

struct World {
    agent: Agent,
    now: Time,
    relay: Box<dyn FnMut(&Check) -> Reply>,
    /// Datagrams on their way to the agent.
    towards_us: Vec<(Time, Path, Vec<u8>)>,
    checks: Vec<Check>,
    /// Answers of ours to the relay's requests.
    answers: Vec<(Path, Vec<u8>)>,
    events: Vec<(u64, IceEvent)>,
    drops: Vec<DropReason>,
    /// Nothing is to happen any more.
    stopped: bool,
}

impl World {
    fn new(config: IceConfig, relay: impl FnMut(&Check) -> Reply + 'static) -> Self {
        let mut entropy = SeededRng::new(42);
        let credentials = Credentials::generate(&mut entropy);
        let locals = vec![Candidate::host(at(BASE4), 65_535), Candidate::host(at(BASE6), 65_534)];
        let agent = Agent::new(config, credentials, locals, &mut entropy);
        let (towards_us, checks, answers, events, drops) = Default::default();
        Self { agent, now: Time::ZERO, relay: Box::new(relay), towards_us, checks, answers, events, drops, stopped: false }
    }

    /// Meta's candidates: IPv6 has the higher priority (M2).
    fn meta(relay: impl FnMut(&Check) -> Reply + 'static) -> Self {
        Self::started(IceConfig::default(), &[RELAY4, RELAY6], relay)
    }

    fn v4(relay: impl FnMut(&Check) -> Reply + 'static) -> Self {
        Self::started(IceConfig::default(), &[RELAY4], relay)
    }

    fn started(config: IceConfig, remotes: &[&str], relay: impl FnMut(&Check) -> Reply + 'static) -> Self {
        let mut world = Self::new(config, relay);
        world.set_remote(remotes);
        world
    }

    fn set_remote(&mut self, remotes: &[&str]) {
        let remotes: Vec<_> = remotes
            .iter()
            .map(|r| {
                let (priority, foundation) = if r.starts_with('[') { (2_122_262_783, "2617197009") } else { (2_122_260_223, "3935165743") };
                Candidate::remote(at(r), CandidateKind::Host, priority, foundation)
            })
            .collect();
        let credentials = Credentials { ufrag: RELAY_UFRAG.into(), pwd: RELAY_PWD.into() };
        assert!(self.agent.set_remote(credentials, true, &remotes, self.now));
        self.drain();
    }

    /// A datagram that reaches the agent now.
    fn deliver(&mut self, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        let outcome = self.agent.handle_stun(path, datagram, self.now);
        self.drain();
        outcome
    }

    fn run_until(&mut self, end_ms: u64) -> &mut Self {
        while let Some(next) = self.next().filter(|&t| t <= ms(end_ms)) {
            self.step(next);
        }
        self.now = ms(end_ms);
        self
    }

    /// When something happens next.
    fn next(&self) -> Option<Time> {
        let arrival = self.towards_us.iter().map(|(at, ..)| *at).min();
        [arrival, self.agent.poll_timeout()].into_iter().flatten().min().filter(|_| !self.stopped)
    }

    /// Goes to that moment and lets it happen.
    fn step(&mut self, next: Time) {
        self.now = next;
        while let Some(i) = self.towards_us.iter().position(|(at, ..)| *at <= next) {
            let (_, path, datagram) = self.towards_us.remove(i);
            if let Err(reason) = self.deliver(path, &datagram) {
                self.drops.push(reason);
            }
        }
        self.agent.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut out = [0; crate::limits::SEND_BYTES_MAX];
        while let Some((length, path)) = self.agent.poll_transmit(&mut out, self.now) {
            let datagram = &out[..length];
            let message = StunView::new_checked(datagram).expect("we send well-formed messages");
            if message.class() != Class::Request {
                self.answers.push((path, datagram.to_vec()));
                continue;
            }
            assert!(!self.events.iter().any(|(_, e)| matches!(e, IceEvent::Failed(_))), "nothing is sent after failure");
            let key = IntegrityKey::new(RELAY_PWD.as_bytes());
            message.authenticate(&key).expect("our checks are signed with the relay's password");
            let username = format!("{RELAY_UFRAG}:{}", self.agent.local.ufrag);
            assert_eq!(message.username(), Some(username.as_bytes()));
            assert_eq!(message.controlled(), None, "the role attribute is ICE-CONTROLLING always");
            assert!([BASE4, BASE6].map(at).contains(&path.local), "datagrams leave from a base");
            let check = Check {
                at_ms: self.now.as_millis(),
                path,
                id: message.id(),
                nominates: message.use_candidate(),
                tie_breaker: message.controlling().expect("ICE-CONTROLLING"),
                nth: self.checks.iter().filter(|c| c.path == path).count(),
            };
            self.checks.push(check.clone());
            let mut answer = [0; 200];
            let (after_ms, length) = match (self.relay)(&check) {
                Reply::Silence => continue,
                Reply::Success { after_ms, mapped } => {
                    let mut writer = StunWriter::new(&mut answer, Class::Success, check.id);
                    (after_ms, writer.xor_mapped_address(mapped.unwrap_or(path.local)).finish(Some(&key)))
                }
                Reply::Error { after_ms, code, signed } => {
                    let mut writer = StunWriter::new(&mut answer, Class::Error, check.id);
                    (after_ms, writer.error_code(code, "No").finish(signed.then_some(&key)))
                }
            };
            let datagram = answer[..length.expect("it fits")].to_vec();
            self.towards_us.push((self.now + Span::from_millis(after_ms), path, datagram));
        }
        while let Some(event) = self.agent.poll_event() {
            self.events.push((self.now.as_millis(), event));
        }
        assert!(self.agent.poll_timeout().is_none_or(|t| t > self.now), "after a drain the next deadline lies ahead");
        let nominated = self.events.iter().filter(|(_, e)| matches!(e, IceEvent::Nominated { .. })).count();
        assert!(nominated <= 1 && self.events.len() - nominated <= 1);
    }

    fn nominated(&self) -> (u64, Path) {
        match self.events.first() {
            Some(&(at, IceEvent::Nominated { path, .. })) => (at, path),
            other => panic!("not nominated: {other:?}, {:?}", self.agent.stats()),
        }
    }

    fn failed(&self) -> (u64, EndReason) {
        match self.events.last() {
            Some(&(at, IceEvent::Failed(reason))) => (at, reason),
            other => panic!("not failed: {other:?}, {:?}", self.agent.stats()),
        }
    }

    /// The paths that ever carried USE-CANDIDATE.
    fn use_candidate_paths(&self) -> HashSet<Path> {
        self.checks.iter().filter(|c| c.nominates).map(|c| c.path).collect()
    }

    /// A signed request from the relay's side.
    fn request(&self, write: impl FnOnce(&mut StunWriter<'_>)) -> Vec<u8> {
        let mut out = [0; 300];
        let mut writer = StunWriter::new(&mut out, Class::Request, TransactionId([0x5A; 12]));
        writer.username(&self.agent.local.ufrag, RELAY_UFRAG);
        write(&mut writer);
        let length = writer.finish(Some(&self.agent.local_key)).expect("it fits");
        out[..length].to_vec()
    }
}

fn path(local: &str, remote: &str) -> Path {
    Path { local: at(local), remote: at(remote) }
}

//= meta#R-24 type=test
//= meta#R-25 type=test
//= rfc8445#section-7.1.2 type=test
//= rfc8445#section-8.1.1 type=test
//= rules#I1 type=test
//= rules#I23 type=test
//= rules#I37 type=test
#[test]
fn a_clean_call_checks_once_then_nominates_once() {
    let mut world = World::v4(|_| OK);
    world.run_until(1_000);
    assert_eq!(world.nominated(), (20, path(BASE4, RELAY4)));
    assert_eq!(world.checks.iter().map(|c| (c.at_ms, c.nominates)).collect::<Vec<_>>(), [(0, false), (10, true)]);
    assert_ne!(world.checks[0].id, world.checks[1].id, "I23: the nominating check has a new id");
    assert_eq!(world.agent.rtt(), Some(Span::from_millis(10)));
    assert_eq!(world.agent.selected(), Some(path(BASE4, RELAY4)));
    assert!(world.drops.is_empty());
}

//= meta#R-26 type=test
//= rfc8445#section-8.1.2 type=test
//= rules#I25 type=test
#[test]
fn a_dead_v6_path_of_higher_priority_costs_less_than_the_grace_and_a_hop_and_coming_alive_changes_nothing() {
    let mut world = World::meta(|c| if c.is_v6() && c.at_ms < 10_000 { Reply::Silence } else { OK });
    world.run_until(120_000);
    let (at_ms, nominated) = world.nominated();
    assert_eq!(nominated, path(BASE4, RELAY4));
    assert!(at_ms < 300, "{at_ms}");
    assert_eq!(world.use_candidate_paths(), HashSet::from([nominated]));
    assert!(world.checks.iter().all(|c| c.at_ms <= at_ms || c.path == nominated), "the other pair is dropped (I28)");
    assert_eq!(world.events.len(), 1);
}

//= rules#I9 type=test
#[test]
fn both_families_start_within_one_pace_however_many_addresses_one_has() {
    let mut many: Vec<String> = (1..=7).map(|i| format!("[fd77::{i}]:3484")).collect();
    many.push(RELAY4.into());
    let remotes: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut world = World::started(IceConfig::default(), &remotes, |c| if c.is_v6() { Reply::Silence } else { OK });
    world.run_until(1_000);
    assert_eq!(world.checks.iter().find(|c| !c.is_v6()).map(|c| c.at_ms), Some(10));
    assert!(world.nominated().0 < 300);
}

//= rfc8445#section-8.1.1:grace type=test
//= rfc8445#section-8.1.1 type=test
//= rules#I24 type=test
#[test]
fn a_better_pair_within_the_grace_wins_and_one_beyond_it_does_not() {
    let mut within = World::meta(|c| slow(if c.is_v6() { 50 } else { 10 }));
    within.run_until(2_000);
    assert_eq!(within.nominated().1, path(BASE6, RELAY6));
    let mut beyond = World::meta(|c| slow(if c.is_v6() { 210 } else { 10 }));
    beyond.run_until(60_000);
    assert_eq!(beyond.nominated().1, path(BASE4, RELAY4));
    for world in [within, beyond] {
        assert_eq!(world.use_candidate_paths().len(), 1);
        assert!(world.drops.is_empty(), "late answers are no surprise: {:?}", world.drops);
    }
}

//= meta#R-23 type=test
//= rfc8445#section-7.2.5.1:tie-breaker type=test
//= rfc8445#section-7.2.5.1 type=test
//= rules#I2 type=test
//= rules#I3 type=test
#[test]
fn a_signed_487_changes_the_tie_breaker_and_never_the_role() {
    let mut world = World::v4(|c| if c.nth == 0 { Reply::Error { after_ms: 10, code: 487, signed: true } } else { OK });
    world.run_until(1_000);
    assert!(world.nominated().0 <= 40);
    assert_ne!(world.checks[0].tie_breaker, world.checks[1].tie_breaker);
    assert_eq!(world.agent.stats().role_conflicts, 1);
}

//= rules#I3 type=test
#[test]
fn an_unsigned_487_changes_nothing() {
    let mut world = World::v4(|c| if c.nth == 0 { Reply::Error { after_ms: 10, code: 487, signed: false } } else { OK });
    world.run_until(1_000);
    assert_eq!(world.checks.iter().map(|c| c.tie_breaker).collect::<HashSet<_>>().len(), 1);
    assert_eq!(world.nominated().0, 70, "the next eager check at 50 ms is answered, then nominated");
    assert_eq!((world.agent.stats().role_conflicts, world.agent.stats().unsigned_487_ignored), (0, 1));
    assert_eq!(world.drops, [DropReason::StunUnauthenticated]);
}

//= rfc8445#section-7.2.5.1 type=test
//= rules#I3 type=test
#[test]
fn endless_487_ends_the_call_after_three_new_tie_breakers() {
    let mut world = World::meta(|_| Reply::Error { after_ms: 120, code: 487, signed: true });
    world.run_until(60_000);
    assert_eq!(world.failed().1, EndReason::IceRoleConflict);
    assert_eq!(world.checks.iter().map(|c| c.tie_breaker).collect::<HashSet<_>>().len(), 1 + ICE_CONFLICTS_MAX as usize);
}

/// pjsip #851: the nominating check was re-sent without USE-CANDIDATE.
//= rules#I3 type=test
#[test]
fn a_487_to_the_nominating_check_repeats_it_with_use_candidate_and_a_new_id() {
    let mut world = World::v4(|c| if c.nth == 1 { Reply::Error { after_ms: 10, code: 487, signed: true } } else { OK });
    world.run_until(1_000);
    assert_eq!(world.checks.iter().map(|c| c.nominates).collect::<Vec<_>>(), [false, true, true]);
    assert_ne!(world.checks[1].id, world.checks[2].id);
    assert_ne!(world.checks[1].tie_breaker, world.checks[2].tie_breaker);
    assert_eq!(world.nominated().0, 30);
}

#[test]
fn three_lost_nomination_answers_repeat_one_id_on_one_pair() {
    let mut world = World::meta(|c| if c.nominates && c.nth < 4 { Reply::Silence } else { OK });
    world.run_until(5_000);
    let nominating: Vec<_> = world.checks.iter().filter(|c| c.nominates).collect();
    assert_eq!(nominating.len(), 4);
    assert!(nominating.iter().all(|c| c.id == nominating[0].id && c.path == nominating[0].path));
    assert_eq!(nominating.iter().map(|c| c.at_ms - nominating[0].at_ms).collect::<Vec<_>>(), [0, 100, 300, 700]);
    assert_eq!(world.nominated().0, nominating[3].at_ms + 10);
}

/// ex_ice #76: a failed nomination was final.
//= rfc8445#section-7.2.5.3.4 type=test
//= rules#I29 type=test
#[test]
fn a_failed_nomination_is_retried_once_with_the_other_pair() {
    let mut world = World::meta(|c| if c.is_v6() && c.nominates { Reply::Silence } else { OK });
    world.run_until(20_000);
    assert_eq!(world.nominated().1, path(BASE4, RELAY4));
    let first_v4_nomination = world.checks.iter().position(|c| c.nominates && !c.is_v6()).expect("one");
    assert!(!world.checks[first_v4_nomination..].iter().any(|c| c.is_v6()), "no way back");
    assert_eq!(world.agent.stats().pairs_nominated, 2);

    let mut world = World::meta(|c| if c.nominates { Reply::Silence } else { OK });
    world.run_until(60_000);
    assert_eq!(world.failed().1, EndReason::IceNominationFailed);
    assert_eq!(world.use_candidate_paths().len(), 2);
}

#[test]
fn a_peer_that_refuses_every_nomination_is_not_asked_at_full_pace() {
    for code in [400, 500] {
        let mut world = World::v4(move |c| if c.nominates { Reply::Error { after_ms: 1, code, signed: true } } else { slow(1) });
        world.run_until(60_000);
        assert_eq!(world.failed(), (39_500, EndReason::IceNominationFailed));
        assert!(world.checks.len() < 330, "two requests each 250 ms: {}", world.checks.len());
    }
}

#[test]
fn a_single_pair_is_nominated_again_after_a_long_outage_and_given_up_with_patience() {
    let mut world = World::v4(|c| if (10..9_000).contains(&c.at_ms) { Reply::Silence } else { OK });
    world.run_until(20_000);
    assert!(world.nominated().0 < 9_400);
    assert_eq!(world.use_candidate_paths().len(), 1);

    let mut world = World::v4(|c| if c.nominates { Reply::Silence } else { OK });
    world.run_until(60_000);
    assert_eq!(world.failed(), (39_500, EndReason::IceNominationFailed));
    assert_eq!(world.use_candidate_paths().len(), 1);
}

//= meta#R-22 type=test
#[test]
fn a_relay_that_learns_our_sdp_late_is_caught_by_the_next_eager_check() {
    let mut world = World::meta(|c| if c.at_ms < 2_900 { Reply::Silence } else { OK });
    world.run_until(10_000);
    assert!(world.nominated().0 <= 2_900 + 50 + 10 + 10, "{:?}", world.nominated());
    assert!(world.checks.len() < 130);
}

//= rfc8445#section-14.3 type=test
#[test]
fn rfc_pacing_retransmits_one_id_at_0_500_1500_and_3500_ms() {
    let config = IceConfig { pacing: CheckPacing::Rfc8445, ..IceConfig::default() };
    let mut world = World::started(config, &[RELAY4], |c| if c.at_ms < 2_900 { Reply::Silence } else { OK });
    world.run_until(4_000);
    let checks: Vec<_> = world.checks.iter().filter(|c| !c.nominates).collect();
    assert_eq!(checks.iter().map(|c| c.at_ms).collect::<Vec<_>>(), [0, 500, 1_500, 3_500]);
    assert!(checks.iter().all(|c| c.id == checks[0].id));
    assert_eq!(world.nominated().0, 3_520);
}

//= rfc8445#section-6.1.4.2 type=test
//= rfc8445#section-7.2.5.2.3 type=test
//= rules#I16 type=test
//= rules#I21 type=test
#[test]
fn rfc_pacing_starts_two_pairs_at_the_golden_times_and_gives_up_with_patience() {
    let golden = golden::golden("ice/pacing.json");
    let case = golden["cases"].as_array().expect("cases").iter().find(|c| c["id"] == "two-pairs").expect("two-pairs").clone();
    let ta = Span::from_millis(case["Ta_ms"].as_u64().expect("Ta_ms"));
    let config = IceConfig { pacing: CheckPacing::Rfc8445, ta, ..IceConfig::default() };
    let mut world = World::started(config, &[RELAY4, RELAY6], |_| Reply::Silence);
    world.run_until(100_000);
    assert_eq!(serde_json::json!(world.checks[..2].iter().map(|c| c.at_ms).collect::<Vec<_>>()), case["expect_first_sends_ms"]);
    assert!(world.checks[0].is_v6() && !world.checks[1].is_v6());
    assert_eq!(world.checks.len(), 14, "Rc = 7 each");
    assert_eq!(world.failed(), (39_500, EndReason::IceTimeout));
}

//= rules#I16 type=test
//= rules#I22 type=test
#[test]
fn silence_ends_with_a_timeout_and_a_bounded_number_of_checks() {
    let mut world = World::meta(|_| Reply::Silence);
    world.run_until(100_000);
    assert_eq!(world.failed(), (39_500, EndReason::IceTimeout));
    // Two pairs: 100 each in the first 5 s, then four a second each.
    assert!((450..=490).contains(&world.checks.len()), "{}", world.checks.len());
    assert_eq!(world.checks.iter().map(|c| c.id).collect::<HashSet<_>>().len(), world.checks.len());
    let paced = world.checks.windows(2).all(|w| w[1].at_ms - w[0].at_ms >= 10);
    assert!(paced, "Ta holds");
    assert_eq!(world.agent.handle_stun(path(BASE4, RELAY4), &[0; 20], ms(100_000)), Err(DropReason::Closed));
}

//= rfc8445#section-12.1 type=test
//= rules#I19 type=test
//= rules#I30 type=test
#[test]
fn behind_a_nat_media_leaves_from_the_base() {
    let mapped = at("203.0.113.9:61000");
    let mut world = World::v4(move |_| Reply::Success { after_ms: 10, mapped: Some(mapped) });
    world.run_until(1_000);
    assert_eq!(world.nominated().1, path(BASE4, RELAY4));
    assert_eq!(world.agent.mapped_address(), Some(mapped));
}

#[test]
fn a_long_round_trip_is_measured_and_its_many_late_answers_are_expected() {
    let mut world = World::v4(|_| slow(400));
    world.run_until(4_000);
    assert_eq!(world.nominated().0, 800);
    assert_eq!(world.agent.rtt(), Some(Span::from_millis(400)));
    assert!(world.drops.is_empty(), "{:?}", world.drops);
}

//= rfc7675#section-5.1 type=test
//= rfc8445#section-11 type=test
//= rfc7675#section-4 type=test
//= rfc7675#section-5.1:interval type=test
//= rfc7675#section-5.1:new-id type=test
//= rfc7675#section-5.1:stop type=test
//= rules#I31 type=test
#[test]
fn consent_ends_thirty_seconds_after_the_last_answer_and_all_sending_with_it() {
    let mut world = World::v4(|c| if c.at_ms < 60_000 { OK } else { Reply::Silence });
    world.run_until(200_000);
    let last_answer = world.checks.iter().rfind(|c| c.at_ms < 60_000).expect("one").at_ms + 10;
    let (at_ms, reason) = world.failed();
    assert_eq!(reason, EndReason::ConsentLost);
    assert!(at_ms.abs_diff(last_answer + 30_000) <= 1_000, "{at_ms} after {last_answer}");
    let consent: Vec<_> = world.checks.iter().filter(|c| c.at_ms > 20).collect();
    assert!(consent.windows(2).all(|w| (4_000..=6_000).contains(&(w[1].at_ms - w[0].at_ms))));
    assert_eq!(consent.iter().map(|c| c.id).collect::<HashSet<_>>().len(), consent.len(), "single-shot, new ids");
    assert!(consent.iter().all(|c| !c.nominates));
    assert!(world.checks.iter().all(|c| c.at_ms < at_ms));
    assert_eq!((world.agent.selected(), world.agent.poll_timeout()), (None, None));
    assert_eq!(world.agent.stats().consent_sent, consent.len() as u64);
}

//= rfc7675#section-5.1:any-answer type=test
//= rules#I32 type=test
#[test]
fn every_second_consent_lost_and_one_answer_eight_seconds_late_is_nothing() {
    let mut world = World::v4(|c| match c.nth {
        0 | 1 => OK,
        n if n.is_multiple_of(2) => Reply::Silence,
        21 => slow(8_000),
        _ => OK,
    });
    world.run_until(600_000);
    assert_eq!(world.events.len(), 1);
    assert!(world.drops.is_empty());
    let stats = world.agent.stats();
    assert!(stats.consent_sent > 100 && stats.consent_answered.abs_diff(stats.consent_sent / 2) <= 1, "{stats:?}");
}

//= rfc7675#section-5.2 type=test
//= rules#I33 type=test
#[test]
fn only_a_signed_403_revokes_consent() {
    for (signed, events) in [(true, 2), (false, 1)] {
        let mut world = World::v4(move |c| if c.nth == 4 { Reply::Error { after_ms: 10, code: 403, signed } } else { OK });
        world.run_until(60_000);
        assert_eq!(world.events.len(), events);
        assert!(!signed || world.failed().1 == EndReason::ConsentLost);
    }
}

//= rfc8445#section-7.2.5.2.4 type=test
//= rules#I21 type=test
#[test]
fn a_signed_error_fails_a_pair_and_the_other_is_nominated() {
    let mut world = World::meta(|c| if c.is_v6() { Reply::Error { after_ms: 10, code: 400, signed: true } } else { slow(30) });
    world.run_until(1_000);
    // 10 ms pace, 30 ms for the check, no grace because nothing better is open, 30 ms for the nomination.
    assert_eq!(world.nominated(), (70, path(BASE4, RELAY4)));
    assert_eq!(world.agent.stats().checks_refused, 1);
}

//= rfc8445#section-7.3.1.3 type=test
//= rfc8445#section-7.3:early type=test
//= rfc8445#section-7.3.1.2 type=test
//= rfc8445#section-7.3.1.4 type=test
//= rules#I18 type=test
//= rules#I20 type=test
//= rules#I27 type=test
#[test]
fn a_signed_request_from_an_unknown_source_is_answered_and_checked() {
    for early in [false, true] {
        let unknown = path(BASE4, "10.77.9.9:7000");
        let mut world = World::new(IceConfig::default(), move |c| if c.path == unknown { OK } else { Reply::Silence });
        let request = world.request(|w| {
            w.priority(1_853_824_767).controlled(7);
        });
        if early {
            assert_eq!(world.deliver(unknown, &request), Ok(()), "answered before the SDP came (I20)");
            assert_eq!(world.answers.len(), 1);
        }
        world.set_remote(&[RELAY4]);
        if !early {
            world.run_until(100);
            assert_eq!(world.deliver(unknown, &request), Ok(()));
        }
        world.run_until(2_000);
        assert_eq!(world.nominated().1, unknown);
        let (to, answer) = &world.answers[0];
        let answer = StunView::new_checked(answer).expect("well-formed");
        assert_eq!((*to, answer.class(), answer.id()), (unknown, Class::Success, TransactionId([0x5A; 12])));
        assert_eq!(answer.xor_mapped_address(), Some(unknown.remote));
        answer.authenticate(&world.agent.local_key).expect("signed with our password");
        // I27: after completion requests go on being answered, and a retransmitted one equally (S19).
        assert_eq!(world.deliver(unknown, &request), Ok(()));
        assert_eq!(world.answers[0].1, world.answers.last().expect("another").1);
        assert_eq!(world.agent.selected(), Some(unknown));
    }
}

//= rfc8445#section-7.3.1.1 type=test
//= rfc8445#section-7.3.1.1:switch type=test
//= rules#I4 type=test
#[test]
fn requests_with_conflicts_or_unknown_attributes_are_told_so_and_change_nothing() {
    let mut world = World::v4(|_| OK);
    let stranger = path(BASE4, "10.77.9.9:7000");
    for tie_breaker in [0, u64::MAX] {
        let request = world.request(|w| {
            w.priority(1).controlling(tie_breaker);
        });
        assert_eq!(world.deliver(stranger, &request), Ok(()));
    }
    let request = world.request(|w| {
        w.priority(1).attribute(0x7FFF, b"zz").attribute(0x7FFE, b"");
    });
    assert_eq!(world.deliver(stranger, &request), Ok(()));
    let codes: Vec<_> = world.answers.iter().map(|(_, a)| StunView::new_checked(a).expect("well-formed").error_code()).collect();
    assert_eq!(codes, [Some(487), Some(487), Some(420)]);
    let last = StunView::new_checked(&world.answers[2].1).expect("well-formed");
    assert_eq!(last.unknown_attributes().collect::<Vec<_>>(), [0x7FFF, 0x7FFE]);
    world.run_until(1_000);
    assert_eq!(world.nominated(), (20, path(BASE4, RELAY4)));
    assert_eq!(world.agent.pairs.len(), 1);
}

#[test]
fn more_requests_than_answers_fit_are_dropped_and_counted() {
    let mut world = World::v4(|_| OK);
    let request = world.request(|w| {
        w.priority(1);
    });
    let outcomes: Vec<_> = (0..ANSWERS_MAX + 2).map(|_| world.agent.handle_stun(path(BASE4, RELAY4), &request, ms(0))).collect();
    assert_eq!(outcomes.iter().filter(|o| **o == Err(DropReason::NoRoom)).count(), 2);
}

//= rfc8489#section-6.3 type=test
//= rfc8445#section-7.2.5.2.1 type=test
#[test]
fn answers_from_elsewhere_to_another_socket_or_of_strangers_never_happened() {
    let mut world = World::v4(|_| Reply::Silence);
    let id = world.checks[0].id;
    let success = |id: TransactionId, password: &str, mapped: bool| {
        let mut out = [0; 200];
        let mut writer = StunWriter::new(&mut out, Class::Success, id);
        if mapped {
            writer.xor_mapped_address(at(BASE4));
        }
        let length = writer.finish(Some(&IntegrityKey::new(password.as_bytes()))).expect("it fits");
        out[..length].to_vec()
    };
    let good = success(id, RELAY_PWD, true);
    let there = path(BASE4, RELAY4);
    assert_eq!(world.deliver(path(BASE4, "10.77.215.49:3485"), &good), Err(DropReason::StunUnexpected));
    assert_eq!(world.deliver(path("10.77.0.1:5001", RELAY4), &good), Err(DropReason::StunUnexpected));
    assert_eq!(world.deliver(there, &success(TransactionId([1; 12]), RELAY_PWD, true)), Err(DropReason::StunUnexpected));
    assert_eq!(world.deliver(there, &success(id, "guess", true)), Err(DropReason::StunUnauthenticated));
    assert_eq!(world.deliver(there, &success(id, RELAY_PWD, false)), Err(DropReason::StunMalformed));
    assert!(!world.agent.is_valid(there));
    assert_eq!(world.deliver(there, &good), Ok(()));
    assert!(world.agent.is_valid(there));
    assert_eq!(world.deliver(there, &good), Err(DropReason::StunUnexpected), "one answer per request");
}

//= rules#I11 type=test
//= rules#G8 type=test
#[test]
fn no_usable_remote_fails_at_once_and_sends_nothing() {
    let mut world = World::new(IceConfig::default(), |_| OK);
    world.set_remote(&["127.0.0.1:9"]);
    assert_eq!(world.failed(), (0, EndReason::IceNoCandidates));
    assert_eq!((world.checks.len(), world.agent.poll_timeout()), (0, None));
    assert_eq!(world.agent.stats().remotes_skipped, 1);
    let credentials = Credentials { ufrag: "x".into(), pwd: "y".into() };
    assert!(!world.agent.set_remote(credentials, true, &[], Time::ZERO), "a second call changes nothing");

    let config = IceConfig { allow_loopback: true, ..IceConfig::default() };
    let mut world = World::started(config, &["127.0.0.1:9"], |_| OK);
    world.run_until(1_000);
    assert_eq!(world.nominated().1.remote, at("127.0.0.1:9"));
}

//= rfc8445#section-6.1.4.2 type=test
//= rules#I15 type=test
#[test]
fn frozen_pairs_of_one_foundation_get_their_turn_when_the_first_is_silent() {
    for pacing in [CheckPacing::Eager, CheckPacing::Rfc8445] {
        let config = IceConfig { pacing, patience: Span::from_secs(100), ..IceConfig::default() };
        let good = at("10.77.215.49:3480");
        let mut world =
            World::started(config, &[RELAY4, "10.77.215.49:3480"], move |c| if c.path.remote == good { OK } else { Reply::Silence });
        world.run_until(90_000);
        let (at_ms, path) = world.nominated();
        assert_eq!(path.remote, good);
        assert!(at_ms < if pacing == CheckPacing::Eager { 200 } else { 45_000 }, "{at_ms}");
    }
}

//= rfc8445#section-7.2.5.3.3 type=test
//= rules#I15 type=test
#[test]
fn a_pair_that_succeeds_frees_the_frozen_ones_of_its_foundation() {
    let (second, stranger) = ("10.77.215.49:3480", "10.77.9.9:7000");
    let config = IceConfig { pacing: CheckPacing::Rfc8445, ta: Span::from_millis(50), ..IceConfig::default() };
    let good = at(RELAY4);
    let mut world = World::started(config, &[RELAY4, RELAY6, second], move |c| if c.path.remote == good { OK } else { Reply::Silence });
    let state = |world: &World, remote: &str| world.agent.pairs.iter().find(|p| p.path.remote == at(remote)).expect("a pair").state;
    world.run_until(55);
    assert_eq!((state(&world, RELAY4), state(&world, second)), (PairState::InProgress, PairState::Frozen));
    // Another pair waits for its turn, so the list is not idle: only the success can free the frozen one.
    let request = world.request(|w| {
        w.priority(1_853_824_767).controlled(7);
    });
    assert_eq!(world.deliver(path(BASE4, stranger), &request), Ok(()));
    world.run_until(60);
    assert_eq!((state(&world, RELAY4), state(&world, second)), (PairState::Succeeded, PairState::Waiting));
    assert_eq!(state(&world, stranger), PairState::Waiting);
}
