//! What the world does to a call, one scenario a test (protocols.md chapter 12), each a whole call in virtual time under the world's checkers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tipring_engine::call::Moment;
use tipring_engine::error::DropReason;
use tipring_engine::jitter::JitterStats;
use tipring_engine::limits::FRAME_MS;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tipring_engine::wire::demux::{PacketKind, classify};
use tipring_meta_sim::call::CallKind;
use tipring_meta_sim::correlate::correlate;
use tipring_meta_sim::faults::{Fault, Outcome as Expected};
use tipring_meta_sim::oracle::Limits;
use tipring_meta_sim::timeline::{Direction, What};
use tipring_meta_sim::user::{Speech, Typing};
use tipring_tests::world::{LinkConfig, Noise, Outcome, Plan, World, caller, greeting, seeds, swarm};

fn ends_well(outcome: &Outcome) {
    assert_eq!((outcome.reason(), outcome.verdict.as_deref(), outcome.answered), ("HANG_UP", Some("HANG_UP"), true));
}

fn passes_the_oracle(outcome: &Outcome) {
    ends_well(outcome);
    assert_eq!(outcome.failures(Limits::default(), None), []);
}

fn short(seed: u64) -> Plan {
    Plan::clean(seed).short(Span::from_secs(4))
}

/// Scenarios 3, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17, 18, 21, and everything above IP: webhooks late, twice, out of order, forged; Graph slow or refusing.
//= rfc8445#section-7.2.5.1 type=test
//= rfc3711#section-3.2.1 type=test
//= rfc3711#section-3.3.1 type=test
//= rfc5764#section-4.1.2 type=test
//= rfc5764#section-5.1.1:fingerprint type=test
//= meta#R-22 type=test
//= meta#R-29 type=test
//= meta#R-35 type=test
//= meta#R-36 type=test
//= meta#R-37 type=test
//= meta#R-45 type=test
#[test]
fn every_misbehaviour_of_meta_comes_out_as_its_name_says() {
    swarm("virtual_scenarios::every_misbehaviour_of_meta_comes_out_as_its_name_says", seeds(0..Fault::ALL.len() as u64), |seed| {
        let fault = Fault::ALL[seed as usize % Fault::ALL.len()];
        let mut plan = short(seed).with(fault);
        if matches!(fault, Fault::AnswersActive | Fault::AnswersActpass) {
            plan.kind = CallKind::BusinessInitiated;
        }
        if let Expected::CallEnds(_) = fault.outcome() {
            // The user waits until somebody else ends it.
            plan.script.hang_up_after = None;
            plan.script.patience = Span::from_secs(120);
        }
        let outcome = World::run(plan);
        match fault.outcome() {
            Expected::CallSucceeds => {
                passes_the_oracle(&outcome);
                assert!(!outcome.user_heard.is_empty(), "{fault}: the user heard nothing");
            }
            // Accepted after 8 s without media, the call is ended by Meta after 20 s more, before ICE gives up at 39.5 s: the verdict names
            // what the engine knows all the same, and what Meta said only as evidence.
            Expected::CallEnds("ICE_TIMEOUT") => {
                assert_eq!((outcome.reason(), outcome.verdict.as_deref()), ("HANG_UP", Some("ICE_TIMEOUT")), "{fault}");
            }
            Expected::CallEnds(code) => assert_eq!(outcome.reason(), code, "{fault}: {:?}", outcome.verdict),
            Expected::NoCall => {
                assert!(!outcome.answered && outcome.stages.first_rtp.is_none(), "{fault}: {:?}", outcome.verdict);
                assert_ne!(outcome.verdict.as_deref(), Some("INTERNAL_FAULT"), "{fault}");
            } // Told to the business side, which is the engine here and knows better.
        }
    });
}

/// Scenario 1.
//= rfc7675#section-5.1:interval type=test
//= meta#R-18 type=test
//= meta#R-39 type=test
//= rules#P5 type=test
#[test]
fn a_minute_of_clean_call_has_fifty_packets_a_second() {
    let outcome = World::run(Plan::clean(1).short(Span::from_secs(60)));
    passes_the_oracle(&outcome);
    let wait = outcome.stages.first_rtp.zip(outcome.stages.accepted).map(|(rtp, accepted)| rtp.since(accepted));
    assert!(wait.is_some_and(|wait| wait <= Span::from_millis(150)), "{wait:?}");
    let sent = outcome.ended.expect("a media call").stats.rtp_out;
    assert!(sent.abs_diff(60_000 / FRAME_MS) <= 10, "{sent} packets in a minute");
}

/// Scenario 2.
//= rfc7587#section-3.3 type=test
#[test]
fn five_percent_loss_is_repaired_more_often_than_not() {
    let link =
        LinkConfig { delay: Span::from_millis(60), jitter: Span::from_millis(20), loss: 500, duplicate: 200, ..LinkConfig::default() };
    swarm("virtual_scenarios::five_percent_loss_is_repaired_more_often_than_not", seeds(0..3), |seed| {
        let mut plan = Plan::clean(seed).on(&link).short(Span::from_secs(120));
        plan.script.speech = (0..30).map(|n| Speech { after: Span::from_secs(4).times(n), pcm: caller() }).collect();
        let outcome = World::run(plan);
        ends_well(&outcome);
        assert!(outcome.set_up.is_some_and(|took| took <= Span::from_secs(3)), "{:?}", outcome.set_up);
        let jitter = outcome.ended.expect("a media call").stats.jitter;
        println!("seed {seed}: {} played, {} by FEC, {} concealed, {} late", jitter.played, jitter.fec, jitter.concealed, jitter.late);
        assert!(jitter.fec > jitter.concealed, "{jitter:?}");
        assert!(jitter.late * 100 < jitter.played, "{jitter:?}");
        // Three lost in a row, the last of them repaired, and 120 ms.
        assert!(outcome.longest_gap_frames <= 2 + 6, "{} frames", outcome.longest_gap_frames);
    });
    let name = "virtual_scenarios::five_percent_loss_is_repaired_more_often_than_not";
    let set_up = swarm(name, seeds(0..100), |seed| {
        let outcome = World::run(Plan::clean(seed).on(&link).short(Span::from_millis(500)).numbered());
        ends_well(&outcome);
        outcome.set_up.expect("keys")
    });
    let slow = set_up.iter().filter(|took| **took > Span::from_secs(3)).count();
    assert!(slow <= 1, "{slow} of {} needed more than three seconds", set_up.len());
}

/// Scenario 4.
#[test]
fn each_of_the_first_twelve_datagrams_may_be_lost() {
    for to_meta in [true, false] {
        swarm("virtual_scenarios::each_of_the_first_twelve_datagrams_may_be_lost", seeds(0..12), |seed| {
            let mut plan = short(seed);
            plan.lose = Some(Box::new(move |hop| hop.to_meta == to_meta && hop.nth == seed));
            let outcome = World::run(plan);
            ends_well(&outcome);
            let took = outcome.set_up.expect("keys");
            assert!(took <= Span::from_millis(2_500), "to Meta: {to_meta}, {} ms", took.as_millis());
        });
    }
}

/// Scenario 6.
//= rfc8445#section-8.1.1 type=test
//= meta#R-24 type=test
//= meta#R-26 type=test
//= rules#I25 type=test
#[test]
fn ipv6_that_comes_alive_after_ten_seconds_changes_nothing() {
    let mut plan = short(6);
    plan.script.hang_up_after = Some(Span::from_secs(14));
    let late = LinkConfig { blackout: Some((Time::ZERO, Time::from_nanos(11_000_000_000))), ..LinkConfig::default() };
    (plan.to_meta[1], plan.to_us[1]) = (late.clone(), late);
    let outcome = World::run(plan);
    passes_the_oracle(&outcome);
    let took = outcome.stages.nominated.zip(outcome.stages.sdp).map(|(nominated, sdp)| nominated.since(sdp));
    assert!(took.is_some_and(|took| took <= Span::from_secs(1)), "{took:?}");
}

/// Scenario 9.
//= rfc8445#section-12.1 type=test
//= rules#I30 type=test
#[test]
fn nat_in_front_of_us_is_no_obstacle() {
    let nat = "192.0.2.99:61234".parse().expect("an address");
    let mut plan = short(9).with(Fault::DeadIpv6);
    plan.nat = Some(nat);
    let outcome = World::run(plan);
    passes_the_oracle(&outcome);
    let sources: HashSet<_> = outcome
        .timeline
        .iter()
        .filter_map(|e| if let What::Rtp { path, ticks: Some(_), .. } = &e.what { Some(path.remote) } else { None })
        .collect();
    assert_eq!(sources, HashSet::from([nat]));
}

/// The relay goes on sending to the old address, so the caller is not heard any more; but consent holds, and the business is heard to the end.
#[test]
fn nat_that_rebinds_mid_call_costs_one_direction_only() {
    let (old, new) = ("192.0.2.99:61234".parse().expect("an address"), "192.0.2.99:7".parse().expect("an address"));
    let mut plan = Plan::clean(10).short(Span::from_secs(45)).with(Fault::DeadIpv6);
    (plan.nat, plan.nat_rebinds) = (Some(old), Some((Time::from_nanos(5_000_000_000), new)));
    let outcome = World::run(plan);
    ends_well(&outcome);
    let late = |e: &tipring_meta_sim::timeline::Entry| {
        e.at > Time::from_nanos(40_000_000_000) && matches!(&e.what, What::Rtp { path, .. } if path.remote == new)
    };
    assert!(outcome.timeline.iter().any(late), "media from the new address");
    let received = outcome.ended.expect("a media call").stats.rtp_in;
    assert!((100..300).contains(&received), "{received} packets came in the first seconds");
}

/// Scenarios 19 and 20: whatever is thrown at us, what we send, and when, is the same to the nanosecond.
//= rfc8445#section-12.2 type=test
//= rules#X3 type=test
//= rules#G2 type=test
#[test]
fn garbage_only_moves_counters() {
    for (from_relay, every) in [(false, Span::from_micros(200)), (true, Span::from_millis(3))] {
        swarm("virtual_scenarios::garbage_only_moves_counters", seeds(20..23), |seed| {
            let quiet = World::run(short(seed));
            let loud = World::run(Plan { noise: Some(Noise { from_relay, every }), ..short(seed) });
            passes_the_oracle(&loud);
            assert_eq!(loud.trace, quiet.trace, "from the relay's address: {from_relay}");
            let drops = |outcome: &Outcome| outcome.ended.as_ref().expect("a media call").stats.drops.total();
            assert!(loud.noise > 500 && drops(&loud) >= drops(&quiet) + loud.noise * 9 / 10, "{} of {} counted", drops(&loud), loud.noise);
        });
    }
}

/// Scenario 21.
//= rfc7675#section-5.1 type=test
//= rfc7675#section-5.1:stop type=test
//= rules#I32 type=test
//= rules#G12 type=test
#[test]
fn all_sending_ends_thirty_seconds_after_the_last_consent() {
    let mut plan = short(21).with(Fault::ConsentLost);
    plan.script.hang_up_after = None;
    let outcome = World::run(plan);
    assert_eq!(outcome.reason(), "CONSENT_LOST");
    let accepted = outcome.stages.accepted.expect("a conversation");
    let ended = outcome.ended.expect("a media call").stats.milestones.ended.expect("an end");
    // The relay falls silent two seconds after the accept; the last answer is up to six seconds older.
    let after = ended.since(accepted).as_millis();
    assert!((25_000..=33_000).contains(&after), "{after} ms after the accept");
}

/// Scenario 22.
//= rfc7675#section-5.1:any-answer type=test
//= rules#I32 type=test
#[test]
fn every_second_consent_lost_is_nothing() {
    let mut plan = Plan::clean(22).short(Span::from_secs(60));
    let mut odd = false;
    plan.lose = Some(Box::new(move |hop| {
        let is_consent = hop.to_meta && hop.bytes[0] < 4 && hop.now > Time::from_nanos(4_000_000_000);
        odd ^= is_consent;
        is_consent && odd
    }));
    let outcome = World::run(plan);
    ends_well(&outcome);
    // Meta sees only every second one.
    let failures = outcome.failures(Limits::default(), None);
    assert!(failures.iter().all(|verdict| verdict.rule == "RFC7675-5.1"), "{failures:?}");
}

/// Scenario 23, the user's half: `11#5` typed, every marker lost on top of what the link loses and doubles.
//= rfc4733#section-2.5.2.2 type=test
//= meta#R-20 type=test
//= rules#T7 type=test
#[test]
fn digits_survive_loss_duplicates_and_the_loss_of_all_their_first_packets() {
    let link = LinkConfig { jitter: Span::from_millis(15), loss: 500, duplicate: 500, ..LinkConfig::default() };
    swarm("virtual_scenarios::digits_survive_loss_duplicates_and_the_loss_of_all_their_first_packets", seeds(0..10), |seed| {
        let mut plan = short(seed).on(&link);
        plan.script.typing.push(Typing { after: Span::from_secs(1), digits: "11#5".to_owned() });
        plan.lose = Some(Box::new(|hop| !hop.to_meta && hop.bytes[0] >= 128 && hop.bytes[1] == 0x80 | 126));
        let outcome = World::run(plan);
        ends_well(&outcome);
        assert_eq!(outcome.digits, "11#5");
    });
}

/// An RTP packet that Meta received of ours, or sent: sequence number, timestamp, payload type, marker, telephone-event.
#[derive(Clone, Copy, Debug)]
struct Packet {
    seq: u16,
    timestamp: u32,
    payload_type: u8,
    marker: bool,
    event: Option<(u8, bool, u16)>,
}

/// The RTP of one direction in the order in which Meta saw it; one SSRC.
fn packets(outcome: &Outcome, of: Direction) -> Vec<Packet> {
    let mut ssrcs = HashSet::new();
    let rtp = outcome.timeline.iter().filter(|entry| entry.direction == of).filter_map(|entry| match entry.what {
        What::Rtp { ssrc, seq, timestamp, payload_type, marker, event, .. } => {
            ssrcs.insert(ssrc);
            Some(Packet { seq, timestamp, payload_type, marker, event: event.map(|e| (e.code, e.end, e.duration)) })
        }
        _ => None,
    });
    let rtp = rtp.collect();
    assert_eq!(ssrcs.len(), 1, "one SSRC");
    rtp
}

/// Scenario 17: six packets before their sequence numbers wrap, both ways, on a network that loses and reorders right there: nothing is missing
/// but what was lost, and what was heard is what is heard without a wrap.
//= rfc3711#section-3.3.1 type=test
//= rules#P13 type=test
#[test]
fn sequence_numbers_of_both_wrap_amid_loss_and_reordering() {
    swarm("virtual_scenarios::sequence_numbers_of_both_wrap_amid_loss_and_reordering", seeds(0..15), |seed| {
        let [wrapped, plain] = [65_530, 1_000].map(|first| {
            let jitter = reordered_and_lossy(seed, first);
            // Delays are counted in ticks of the user's timestamps, whose phase differs.
            (jitter.played, jitter.fec, jitter.concealed, jitter.late, jitter.duplicate, jitter.stray)
        });
        assert_eq!(wrapped, plain);
    });
}

/// Sequence number of the first packet of a direction, and how far behind it the lost ones are.
type Lost = (Option<u16>, Vec<u16>);

/// A call of six seconds, of which a tenth of the first hundred packets of each direction is lost. Our stream begins at `first`; the user's too when it is near the wrap.
fn reordered_and_lossy(seed: u64, first: u16) -> JitterStats {
    let link = LinkConfig { jitter: Span::from_millis(45), ..LinkConfig::default() };
    let mut plan = Plan::clean(seed).short(Span::from_secs(6)).on(&link);
    if first > u16::MAX - 100 {
        plan = plan.with(Fault::SeqWrap);
    }
    plan.stream_starts_at = Some((first, 0x1234_5678));
    // By direction. The first is never lost: the others are counted from it.
    let lost: Arc<Mutex<[Lost; 2]>> = Arc::default();
    let (noted, mut dice) = (lost.clone(), SeededRng::new(seed ^ 0x17));
    plan.lose = Some(Box::new(move |hop| {
        if classify(hop.bytes) != PacketKind::Rtp {
            return false;
        }
        let seq = u16::from_be_bytes([hop.bytes[2], hop.bytes[3]]);
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, lost) = &mut noted[usize::from(hop.to_meta)];
        let nth = seq.wrapping_sub(*first.get_or_insert(seq));
        let is_lost = (1..100).contains(&nth) && dice.below(10) == 0;
        if is_lost {
            lost.push(nth);
        }
        is_lost
    }));
    let outcome = World::run(plan);
    ends_well(&outcome);
    let [(_, lost_to_us), (begun, lost_to_meta)] = lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(begun == Some(first) && !lost_to_us.is_empty() && !lost_to_meta.is_empty());
    let refused = outcome.timeline.iter().find(|entry| matches!(entry.what, What::MediaRefused { .. }));
    assert!(refused.is_none(), "{refused:?}");
    // How far behind the first, in the order of arrival.
    let ours: Vec<u16> = packets(&outcome, Direction::FromBusiness).iter().map(|packet| packet.seq.wrapping_sub(first)).collect();
    assert!(ours.windows(2).any(|pair| pair[1] < pair[0]), "reordered");
    let arrived: HashSet<u16> = ours.iter().copied().collect();
    assert_eq!(arrived.len(), ours.len(), "none twice");
    // The last few may still be under way when the call is over.
    let missing: Vec<u16> = (0..ours.iter().max().expect("media") - 5).filter(|n| !arrived.contains(n)).collect();
    assert_eq!(missing, lost_to_meta, "only what was lost is missing at Meta");
    let stats = &outcome.ended.as_ref().expect("a media call").stats;
    assert_eq!(stats.drops.of(DropReason::Auth) + stats.drops.of(DropReason::Replay), 0, "{:?}", stats.drops);
    let due = packets(&outcome, Direction::FromMeta).len() as u64 - lost_to_us.len() as u64;
    assert!(stats.rtp_in <= due && stats.rtp_in + 5 >= due, "{} of {due} came in", stats.rtp_in);
    assert_eq!(stats.jitter.resyncs, 0, "{:?}", stats.jitter);
    stats.jitter
}

/// Scenario 18: the timestamps of both directions wrap within the first frame; every word arrives.
//= rules#P13 type=test
#[test]
fn timestamps_of_both_wrap_and_nobody_hears_it() {
    const FIRST: u32 = 0xffff_ff00;
    let mut plan = Plan::clean(18).with(Fault::SeqWrap);
    plan.stream_starts_at = Some((7_000, FIRST));
    let outcome = World::run(plan);
    ends_well(&outcome);
    assert_eq!(outcome.failures(Limits::default(), Some(greeting())), []);
    for (k, packet) in packets(&outcome, Direction::FromBusiness).iter().enumerate() {
        assert_eq!((packet.seq, packet.timestamp), (7_000 + k as u16, FIRST.wrapping_add(960 * k as u32)), "packet {k}");
    }
    assert_eq!(packets(&outcome, Direction::FromMeta)[0].timestamp, FIRST);
    let found = correlate(&caller(), &outcome.heard, 16_000).expect("speech");
    assert!(found.peak > 0.9 && found.lost_ms == 0, "{found:?}");
    let jitter = outcome.ended.expect("a media call").stats.jitter;
    assert_eq!((jitter.resyncs, jitter.concealed, jitter.fec, jitter.stray), (0, 0, 0, 0), "{jitter:?}");
}

/// Scenario 23, our half: `5` for 100 ms while the greeting is said.
//= rfc4733#section-2.5.1:call type=test
//= meta#R-19 type=test
//= meta#R-20 type=test
//= rules#T2 type=test
//= rules#T6 type=test
#[test]
fn a_digit_of_ours_takes_the_place_of_its_frames_in_the_running_stream() {
    let mut plan = short(23);
    plan.sends_digits = Some((Span::from_millis(1_010), "5"));
    let outcome = World::run(plan);
    passes_the_oracle(&outcome);
    let all = packets(&outcome, Direction::FromBusiness);
    let start = all.iter().position(|packet| packet.event.is_some()).expect("a digit");
    assert!(start > 40, "the stream is running");
    let first = all[0];
    for (k, packet) in all.iter().enumerate() {
        assert_eq!(packet.seq, first.seq.wrapping_add(k as u16), "sequence numbers grow by one");
        let line = first.timestamp.wrapping_add(960 * k as u32);
        let (timestamp, payload_type) = if packet.event.is_some() { (all[start].timestamp, 126) } else { (line, 111) };
        assert_eq!((packet.timestamp, packet.payload_type), (timestamp, payload_type), "packet {k}, the digit began at {start}");
    }
    assert_eq!(all[start].timestamp, first.timestamp.wrapping_add(960 * start as u32), "it begins where its first frame stood");
    let digit: Vec<_> = all.iter().filter_map(|packet| packet.event.map(|event| (packet.marker, event))).collect();
    let expected = [160, 320, 480, 640, 800, 800, 800].into_iter().enumerate().map(|(k, duration)| (k == 0, (5, k >= 4, duration)));
    assert_eq!(digit, expected.collect::<Vec<_>>(), "marker once, E three times");
    assert!(all[start..start + 7].iter().all(|packet| packet.event.is_some()), "one after the other");
    assert!(all.len() > start + 100, "and the stream runs on");
    let stats = outcome.ended.expect("a media call").stats;
    assert_eq!((stats.digits_out, stats.events_out), (1, 7));
}

//= rfc8445#section-6.1.1 type=test
//= rules#I1 type=test
#[test]
fn business_calls_and_hangs_up() {
    for kind in [CallKind::BusinessInitiated, CallKind::UserInitiated] {
        let mut plan = short(30);
        plan.kind = kind;
        plan.hang_up_after = Some(Span::from_secs(3));
        plan.script.hang_up_after = Some(Span::from_secs(60));
        passes_the_oracle(&World::run(plan));
    }
}

#[test]
fn replies_of_graph_that_never_arrive_do_not_cost_the_call() {
    for action in ["pre_accept", "accept"] {
        let mut plan = short(31);
        plan.lose_reply_to = Some(action);
        plan.script.hang_up_after = Some(Span::from_secs(20));
        let outcome = World::run(plan);
        ends_well(&outcome);
        assert!(!outcome.user_heard.is_empty(), "{action}");
    }
}

#[test]
fn five_dark_seconds_are_survived() {
    let dark = (Time::from_nanos(4_000_000_000), Time::from_nanos(9_000_000_000));
    let plan = Plan::clean(32).short(Span::from_secs(12)).on(&LinkConfig { blackout: Some(dark), ..LinkConfig::default() });
    let outcome = World::run(plan);
    ends_well(&outcome);
    let last = outcome.timeline.iter().rfind(|e| matches!(e.what, What::Rtp { ticks: Some(_), .. })).map(|e| e.at);
    assert!(last > Some(Time::from_nanos(12_000_000_000)), "media after the dark: {last:?}");
}

//= meta#R-27 type=test
//= rules#D11 type=test
#[test]
fn path_of_the_least_mtu_is_wide_enough() {
    passes_the_oracle(&World::run(short(33).on(&LinkConfig { mtu_bytes: 1_200, ..LinkConfig::default() })));
}

#[test]
fn losses_in_bursts_are_survived() {
    swarm("virtual_scenarios::losses_in_bursts_are_survived", seeds(0..20), |seed| {
        let link = LinkConfig { burst_start: 100, burst_end: 2_000, burst_loss: 9_000, ..LinkConfig::default() };
        ends_well(&World::run(short(seed).on(&link)));
    });
}

/// A checksum that failed to see it: a handshake may break, a call may not hang.
#[test]
fn flipped_bits_never_leave_a_call_hanging() {
    swarm("virtual_scenarios::flipped_bits_never_leave_a_call_hanging", seeds(0..20), |seed| {
        let mut rng = SeededRng::new(seed);
        let link = LinkConfig { corrupt: 100 + rng.below(900), ..LinkConfig::default() };
        let outcome = World::run(short(seed).on(&link));
        let verdict = outcome.verdict.as_deref().expect("an end");
        assert_ne!(verdict, "INTERNAL_FAULT");
    });
}

//= rules#P7 type=test
#[test]
fn silent_business_still_sends() {
    // A greeting of nothing, and a user who says nothing: silence frames from the first moment.
    let outcome = World::run(Plan { greeting: Arc::from([]), ..short(34) }.with(Fault::MutePeer));
    passes_the_oracle(&outcome);
    let stats = outcome.ended.expect("a media call").stats;
    assert_eq!(stats.rtp_out, stats.silence_out);
}

/// A number that is set to SDES: keys stand in the SDP, there is no ICE and no DTLS, the relay sends to where our first packet came from.
//= rfc4568#section-6.1 type=test
//= protocols#A14 type=test
#[test]
fn a_number_set_to_sdes_is_served_both_ways() {
    swarm("virtual_scenarios::a_number_set_to_sdes_is_served_both_ways", seeds(0..12), |seed| {
        let mut plan = Plan::clean(seed);
        plan.sdes = true;
        if seed % 2 == 1 {
            plan.kind = CallKind::BusinessInitiated;
        }
        let outcome = World::run(plan);
        passes_the_oracle(&outcome);
        assert_eq!(outcome.digits, "11#5");
        assert!(outcome.user_heard.len() > 16_000 && outcome.heard.len() > 16_000);
        let ended = outcome.ended.as_ref().expect("a media call");
        assert_eq!(ended.stats.profile.map(|profile| profile.name()), Some("SRTP_AES128_CM_HMAC_SHA1_80"));
        let is_stun_or_dtls = |what: &What| matches!(what, What::StunRequest { .. } | What::Dtls { .. });
        assert!(!outcome.timeline.iter().any(|entry| is_stun_or_dtls(&entry.what)), "nothing but media");
    });
}

/// Scenario 11: flight 4 in pieces of 256 bytes, last one first, one lost, cut at other places when it is repeated.
//= rfc6347#section-4.2.3 type=test
//= rules#D12 type=test
#[test]
fn a_relay_that_cuts_and_recuts_its_flight_is_understood() {
    swarm("virtual_scenarios::a_relay_that_cuts_and_recuts_its_flight_is_understood", seeds(0..8), |seed| {
        let outcome = World::run(short(seed).with(Fault::FragmentedFlight));
        passes_the_oracle(&outcome);
        let stats = &outcome.ended.as_ref().expect("a media call").stats.dtls;
        assert!(stats.datagrams_in >= 6 && stats.datagram_out_bytes_max <= 1_200, "{stats:?}");
        assert_eq!(stats.datagrams_refused, 0, "{stats:?}");
    });
}

/// The relay that said it would wait starts all the same: our own hello stays unanswered, so theirs is taken.
#[test]
fn a_relay_that_starts_unasked_gets_its_server() {
    let outcome = World::run(short(1).with(Fault::StartsUnasked));
    ends_well(&outcome);
    let ended = outcome.ended.as_ref().expect("a media call");
    assert_eq!(ended.stats.dtls.role_changes, 1);
    assert!(outcome.set_up.expect("keys") < Span::from_secs(3), "{:?}", outcome.set_up);
}

/// Whatever profile the relay's only one is, the call is keyed with it.
#[test]
fn the_relays_only_profile_is_the_calls() {
    for (fault, name) in [(Fault::OnlyCm80, "SRTP_AES128_CM_HMAC_SHA1_80"), (Fault::OnlyGcm256, "SRTP_AEAD_AES_256_GCM")] {
        let outcome = World::run(short(1).with(fault));
        passes_the_oracle(&outcome);
        assert_eq!(outcome.ended.expect("a media call").stats.profile.map(|profile| profile.name()), Some(name));
    }
}

/// Scenario 12, the other half: the relay's last flight is lost for most of a second, and the user already speaks.
//= rfc5764#section-5.1.2:early type=test
//= rules#D18 type=test
#[test]
fn media_that_overtakes_the_end_of_the_handshake_is_kept() {
    let mut plan = Plan::clean(3);
    plan.kind = CallKind::BusinessInitiated;
    plan.script.pick_up_after = Some(Span::from_millis(500));
    let mut first = None;
    plan.lose = Some(Box::new(move |hop| {
        // ChangeCipherSpec and Finished of the relay, for 600 ms from the first of them.
        let is_last_flight = !hop.to_meta && hop.bytes.first() == Some(&20);
        is_last_flight && hop.now.since(*first.get_or_insert(hop.now)) < Span::from_millis(600)
    }));
    let outcome = World::run(plan);
    ends_well(&outcome);
    let ended = outcome.ended.as_ref().expect("a media call");
    let kept = ended.flight_recorder.iter().find_map(|entry| match entry.what {
        Moment::EarlyPackets { kept, dropped } => Some((kept, dropped)),
        _ => None,
    });
    let (kept, dropped) = kept.expect("early media");
    assert!(kept >= 20 && dropped == 0, "{kept} kept, {dropped} dropped");
    assert_eq!(ended.stats.drops.of(DropReason::BeforeKeys) + ended.stats.drops.of(DropReason::Auth), 0);
    assert!(ended.stats.rtp_in >= u64::from(kept));
}
