//! What one demo call came to: stages, quality, speech that arrived, verdicts, and whether that is what was promised.
//!
//! Given: the simulator's report and the daemon's events. Decides: pass or fail of each promise, the cause in one line, the exit code.

use super::call::{Evidence, Options, Seen};
use super::garbage::Thrown;
use super::ladder::{self, Step};
use super::scenario::{CLEAN_DIGITS, Expectation, Scenario};
use crate::session::Notice;
use crate::shell::{DaemonEvent, WebhookResult};
use std::path::PathBuf;
use tipring_engine::call::{CallEvent, CallStats, Milestones};
use tipring_engine::error::EndReason;
use tipring_engine::rtp::mos;
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::correlate::{Correlation, correlate};
use tipring_meta_sim::faults::Fault;
use tipring_meta_sim::oracle::Verdict;
use tipring_meta_sim::timeline::{Direction, Entry, What};

/// What came of a demo call.
#[derive(Clone, Debug)]
pub struct DemoReport {
    /// What was to go wrong.
    pub scenario: Option<Scenario>,
    /// The ladder, on the simulator's clock.
    pub timeline: Vec<Step>,
    /// Start of the ladder on the same clock.
    pub started: Time,
    /// Stages of the set-up, in order, those that were reached.
    pub stages: Vec<Stage>,
    /// Figures of the media, when there was any.
    pub quality: Option<Quality>,
    /// The oracle, rule by rule.
    pub oracle: Vec<Verdict>,
    /// What else was promised, beside the oracle's rules.
    pub checks: Vec<Check>,
    /// Speech looked for in what arrived.
    pub speech: Vec<Speech>,
    /// Files of the recording.
    pub recording: Vec<PathBuf>,
    /// Datagrams that the call dropped, by reason.
    pub drops: Vec<(&'static str, u64)>,
    /// Webhook deliveries by result.
    pub webhooks: Vec<(&'static str, u64)>,
    /// Garbage thrown from outside of the call, when asked for.
    pub thrown: Option<Thrown>,
    /// Why it ended as it did.
    pub cause: Cause,
    /// It ended as was promised.
    pub as_expected: bool,
    /// For how long the machine did not run during the call; what was late then was not tipring's doing.
    pub stood_still: Span,
}

/// The cause of an ending, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// `HANG_UP`, `ICE_TIMEOUT`, `SIGNATURE_WRONG`, `R-34`.
    pub code: String,
    /// In words.
    pub sentence: String,
}

/// A moment of the set-up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    /// What was reached.
    pub name: &'static str,
    /// After the connect webhook left Meta (for our own calls: after the first Graph request).
    pub at: Span,
}

/// Figures of the media, from our side unless they say otherwise.
#[derive(Clone, PartialEq, Debug)]
pub struct Quality {
    /// RTP packets sent.
    pub sent: u64,
    /// Authenticated RTP packets received.
    pub received: u64,
    /// Packets lost on the way to us.
    pub lost: i64,
    /// Packets lost on the way to Meta, as its reports say.
    pub lost_at_peer: i32,
    /// Interarrival jitter, RFC 3550.
    pub jitter: Span,
    /// Round trip from RTCP, else from consent checks.
    pub rtt: Span,
    /// Arrival to play-out.
    pub playout_delay: Span,
    /// Frames made up because their packet was missing.
    pub concealed: u64,
    /// Packets after their time.
    pub late: u64,
    /// Estimated mean opinion score, 1 to 4.41.
    pub mos: f32,
    /// SRTP profile.
    pub profile: &'static str,
}

/// A promise that no rule of the oracle covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// In words.
    pub text: &'static str,
    /// It was kept.
    pub pass: bool,
    /// What was seen.
    pub evidence: String,
}

/// Speech looked for in a signal.
#[derive(Clone, PartialEq, Debug)]
pub struct Speech {
    /// Which, and where.
    pub text: &'static str,
    /// How it was found; none: it was not.
    pub found: Option<Correlation>,
    /// What may be missing of it.
    pub lost_max: Span,
}

impl Speech {
    /// Found, alike, and whole but for what the options grant.
    pub fn is_whole(&self) -> bool {
        self.found.is_some_and(|f| f.peak >= ALIKE_MIN && Span::from_millis(u64::from(f.lost_ms)) <= self.lost_max)
    }
}

impl DemoReport {
    /// 0: a working call, as promised. 1: the call failed, with the promised cause. 3: not as promised.
    pub fn exit_code(&self) -> u8 {
        match (self.as_expected, self.expectation()) {
            (false, _) => 3,
            (true, Expectation::Works) => 0,
            (true, Expectation::Fails(_) | Expectation::Breaks(_)) => 1,
        }
    }

    /// What was promised.
    pub fn expectation(&self) -> Expectation {
        self.scenario.map_or(Expectation::Works, Scenario::expectation)
    }
}

/// Judges the evidence.
pub(super) fn make(options: &Options, evidence: Evidence, stood_still: Span) -> Result<DemoReport, String> {
    let Evidence { mut call, mut seen, metrics, thrown, greeting, voice } = evidence;
    let milestones = to_sim_clock(&mut seen);
    let is_clean = options.scenario.is_none();
    let ended = seen.iter().find_map(|s| match &s.event {
        DaemonEvent::Media { event: CallEvent::Ended(ended), .. } => Some(ended.as_ref()),
        _ => None,
    });
    // The greeting is judged where somebody was there to hear it to its end.
    if call.stages.first_rtp.is_some() && options.scenario.is_none_or(|s| s.expectation() == Expectation::Works) {
        call.judge_speech(greeting.clone());
    }
    let recording: Vec<PathBuf> = seen
        .iter()
        .flat_map(|s| if let DaemonEvent::RecordingFinished { files, .. } = &s.event { files.clone() } else { Vec::new() })
        .collect();
    let mut speech = Vec::new();
    let mut checks = Vec::new();
    if is_clean {
        let lost_max = options.limits.lost_speech;
        let look = |text, reference: &[i16], signal: &[i16]| Speech { text, found: correlate(reference, signal, 16_000), lost_max };
        let [caller, ours] = recorded(&recording)?;
        speech = vec![
            look("the user heard the greeting", &greeting, &call.heard_pcm),
            look("the user heard the echo of the own words", &voice, &call.heard_pcm),
            look("the recording holds the caller's words", &voice, &caller),
            look("the recording holds our greeting", &greeting, &ours),
            look("the recording holds our echo", &voice, &ours),
        ];
        let digits: String = digits(&seen).collect();
        checks.push(Check {
            text: "the digits arrived",
            pass: digits == CLEAN_DIGITS,
            evidence: format!("typed {CLEAN_DIGITS}, heard {digits}"),
        });
        let lost = seen.iter().find_map(|s| if let DaemonEvent::RecordingFinished { lost, .. } = s.event { Some(lost) } else { None });
        checks.push(Check {
            text: "the recording is complete",
            pass: lost == Some(0) && recording.len() == 3,
            evidence: format!("{} files, {} packets missed", recording.len(), lost.map_or("all".to_owned(), |n| n.to_string())),
        });
        checks.push(Check { text: "the user hung up", pass: !call.is_cut_off, evidence: cause_of_daemon(&seen).code });
    }
    let failed: Vec<&Verdict> = call.failures();
    let cause = cause(options.scenario, &seen, &failed, ended.map(|e| &e.stats), &call.timeline);
    let carried = call.stages.accepted.is_some() && call.stages.first_rtp.is_some();
    let as_expected = match options.scenario.map_or(Expectation::Works, Scenario::expectation) {
        Expectation::Works => {
            let over = cause_of_daemon(&seen).code == EndReason::HangUp.code();
            carried && over && failed.is_empty() && checks.iter().all(|c| c.pass) && speech.iter().all(Speech::is_whole)
        }
        Expectation::Fails(code) => cause.code == code || ended.is_some_and(|e| e.reason.code() == code),
        Expectation::Breaks(rule) => failed.iter().any(|v| v.rule == rule),
    };
    let said = said(options, &call, &voice, greeting.len() as u64 / 16);
    Ok(DemoReport {
        scenario: options.scenario,
        timeline: ladder::build(&call.timeline, &seen, &said),
        started: call.started,
        stages: stages(&call.timeline, &seen, &call.stages, milestones.as_ref()),
        quality: ended.map(|e| &e.stats).filter(|s| s.rtp_out + s.rtp_in > 0).map(quality),
        oracle: call.verdicts,
        checks,
        speech,
        recording,
        drops: ended.map_or(Vec::new(), |e| e.stats.drops.iter().map(|(reason, n)| (reason.label(), n)).collect()),
        webhooks: metrics.iter().flat_map(|m| &m.webhooks).filter(|(_, n)| *n > 0).map(|(result, n)| (result.label(), *n)).collect(),
        thrown,
        cause,
        as_expected,
        stood_still,
    })
}

fn digits(seen: &[Seen]) -> impl Iterator<Item = char> + '_ {
    seen.iter()
        .filter_map(|s| if let DaemonEvent::Media { event: CallEvent::Digit(digit), .. } = &s.event { Some(digit.symbol) } else { None })
}

/// Both channels of the recorded WAV: the caller, we.
fn recorded(files: &[PathBuf]) -> Result<[Vec<i16>; 2], String> {
    let Some(path) = files.iter().find(|f| f.extension().is_some_and(|e| e == "wav")) else { return Ok(Default::default()) };
    let unreadable = |e: hound::Error| format!("{}: the recording cannot be read: {e}", path.display());
    let samples =
        hound::WavReader::open(path).map_err(unreadable)?.into_samples::<i16>().collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    Ok([0, 1].map(|channel| samples.iter().skip(channel).step_by(2).copied().collect()))
}

/// What the script lets the user say, and when.
fn said(
    options: &Options,
    call: &tipring_meta_sim::shell::CallReport,
    voice: &std::sync::Arc<[i16]>,
    greeting_ms: u64,
) -> Vec<(Time, String)> {
    let script = match options.scenario {
        Some(scenario) => scenario.script(voice),
        None => super::scenario::clean_script(greeting_ms, voice),
    };
    let Some(accepted) = call.stages.accepted.filter(|_| options.scenario.and_then(Scenario::fault) != Some(Fault::MutePeer)) else {
        return Vec::new();
    };
    let over = call.timeline.iter().find(|e| matches!(e.what, What::HungUp)).map_or(Time::MAX, |e| e.at);
    let lines = script.speech.iter().map(|s| (accepted + s.after, format!("speaks for {:.1} s", s.pcm.len() as f64 / 16_000.0)));
    lines.filter(|(at, _)| *at < over).collect()
}

/// The call's own milestones on the simulator's clock; the events that tell of them are put at their true time.
///
/// An event is seen a little after it happened, never before: the least delay of all is taken for the distance of the clocks.
fn to_sim_clock(seen: &mut [Seen]) -> Option<Milestones> {
    let mut milestones = seen.iter().find_map(|s| match &s.event {
        DaemonEvent::Media { event: CallEvent::Ended(ended), .. } => Some(ended.stats.milestones),
        _ => None,
    })?;
    let told = |event: &DaemonEvent, m: &Milestones| match event {
        DaemonEvent::Media { event, .. } => match event {
            CallEvent::IceConnected { .. } => m.ice_connected,
            CallEvent::DtlsConnected { .. } | CallEvent::MediaReady => m.dtls_connected,
            CallEvent::GateOpened => m.gate_opened,
            CallEvent::FirstRtpIn => m.first_rtp_in,
            CallEvent::FirstRtpOut => m.first_rtp_out,
            CallEvent::Ended(_) => m.ended,
            _ => None,
        },
        _ => None,
    };
    let distances = seen.iter().filter_map(|s| told(&s.event, &milestones).map(|at| s.at.as_nanos() as i64 - at.as_nanos() as i64));
    let distance = distances.min()?;
    let shift = |at: &mut Time| *at = Time::from_nanos(at.as_nanos().saturating_add_signed(distance));
    shift(&mut milestones.opened);
    for at in [
        &mut milestones.remote_params,
        &mut milestones.first_check,
        &mut milestones.ice_connected,
        &mut milestones.dtls_connected,
        &mut milestones.gate_opened,
        &mut milestones.first_rtp_out,
        &mut milestones.first_rtp_in,
        &mut milestones.ended,
    ]
    .into_iter()
    .flatten()
    {
        shift(at);
    }
    for s in seen {
        s.at = told(&s.event, &milestones).unwrap_or(s.at);
    }
    Some(milestones)
}

fn stages(entries: &[Entry], seen: &[Seen], at_meta: &tipring_meta_sim::relay::Stages, ours: Option<&Milestones>) -> Vec<Stage> {
    let wire = |is: &dyn Fn(&What) -> bool| entries.iter().find(|e| is(&e.what)).map(|e| e.at);
    let request = |name: &str| wire(&|w| matches!(w, What::GraphRequest { action, .. } if action == name));
    let reply = |name: &str| wire(&|w| matches!(w, What::GraphReply { action, status: 200, .. } if action == name));
    let opened = seen.iter().find(|s| matches!(s.event, DaemonEvent::MediaOpened { .. })).map(|s| s.at);
    let start = wire(&|w| matches!(w, What::WebhookSent { event } if event == "connect"));
    let Some(start) = request("connect").or(start) else { return Vec::new() };
    let all = [
        ("webhook answered 200", wire(&|w| matches!(w, What::WebhookAnswered { event, status: 200, .. } if event == "connect"))),
        ("media call open", opened),
        ("pre_accept posted", request("pre_accept")),
        ("pre_accept 200", reply("pre_accept")),
        ("first check sent", ours.and_then(|m| m.first_check)),
        ("pair nominated", ours.and_then(|m| m.ice_connected)),
        ("DTLS done, keys", ours.and_then(|m| m.dtls_connected)),
        ("accept posted", request("accept")),
        ("accept 200", reply("accept")),
        ("first RTP sent", ours.and_then(|m| m.first_rtp_out)),
        ("first RTP at Meta", at_meta.first_rtp),
        ("first RTP received", ours.and_then(|m| m.first_rtp_in)),
    ];
    let mut stages: Vec<Stage> = all.into_iter().filter_map(|(name, at)| Some(Stage { name, at: at?.since(start) })).collect();
    stages.sort_by_key(|s| s.at);
    stages
}

fn quality(stats: &CallStats) -> Quality {
    let remote = &stats.remote;
    let rtt = remote.rtt.or(stats.ice_rtt).unwrap_or_default();
    let playout_delay = Span::from_micros(stats.jitter.delay_us);
    let expected = remote.packets as f32 + remote.lost.max(0) as f32;
    let missing = remote.lost.max(0) as f32 + stats.jitter.late as f32;
    Quality {
        sent: stats.rtp_out,
        received: stats.rtp_in,
        lost: remote.lost,
        lost_at_peer: remote.peer_lost,
        jitter: Span::from_micros(u64::from(remote.jitter_ticks) * 1_000 / 48),
        rtt,
        playout_delay,
        concealed: stats.jitter.concealed,
        late: stats.jitter.late,
        mos: mos::estimate(if expected > 0.0 { missing / expected } else { 0.0 }, rtt, playout_delay),
        profile: stats.profile.map_or("none", |p| p.name()),
    }
}

/// What the daemon says of the ending; deliveries that started no call count as well.
fn cause_of_daemon(seen: &[Seen]) -> Cause {
    let ending = seen.iter().rev().find_map(|s| match &s.event {
        DaemonEvent::Notice { notice: Notice::Ended(ending), .. } => Some(&ending.verdict),
        _ => None,
    });
    if let Some(verdict) = ending {
        let sentence =
            if verdict.advice.is_empty() { verdict.sentence.to_string() } else { format!("{}; {}", verdict.sentence, verdict.advice) };
        return Cause { code: verdict.code.to_string(), sentence };
    }
    let events: Vec<&str> =
        seen.iter().filter_map(|s| if let DaemonEvent::WebhookEvent { what, .. } = s.event { Some(what) } else { None }).collect();
    let refused = seen.iter().find_map(|s| match s.event {
        DaemonEvent::WebhookIn { result, .. } if result != WebhookResult::Taken => Some(result),
        _ => None,
    });
    let place = |what: &str| events.iter().position(|e| *e == what);
    match (place("terminate"), place("connect"), refused) {
        (_, None, Some(result)) => {
            let what = match result {
                WebhookResult::SignatureWrong => "the delivery was not signed with our app secret: answered 401, and nothing was started",
                WebhookResult::SignatureMissing => "the delivery carried no signature: answered 401, and nothing was started",
                _ => "the delivery was refused, and nothing was started",
            };
            Cause { code: result.label().to_uppercase(), sentence: what.to_owned() }
        }
        (Some(terminate), Some(connect), _) if terminate < connect => Cause {
            code: "TERMINATED_FIRST".to_owned(),
            sentence: "terminate overtook connect: the call was over before it could begin, and the late connect was ignored".to_owned(),
        },
        _ => Cause { code: "NO_CALL".to_owned(), sentence: "no call came to the daemon".to_owned() },
    }
}

fn cause(scenario: Option<Scenario>, seen: &[Seen], failed: &[&Verdict], stats: Option<&CallStats>, entries: &[Entry]) -> Cause {
    let expectation = scenario.map_or(Expectation::Works, Scenario::expectation);
    let broken = match expectation {
        Expectation::Breaks(rule) => failed.iter().find(|v| v.rule == rule),
        _ => None,
    };
    let broken = broken.or(if expectation == Expectation::Works { failed.first() } else { None });
    if let Some(verdict) = broken {
        return Cause { code: verdict.rule.to_owned(), sentence: format!("broken: {}: {}", verdict.text, verdict.evidence) };
    }
    let cause = cause_of_daemon(seen);
    match (scenario, expectation) {
        (Some(Scenario::Theirs(fault)), Expectation::Works) if cause.code == EndReason::HangUp.code() => {
            Cause { sentence: format!("{}; {}", cause.sentence, endured(fault, stats, entries)), ..cause }
        }
        _ => cause,
    }
}

/// How a working call got over its fault, with the figure that shows that the fault was there.
fn endured(fault: Fault, stats: Option<&CallStats>, entries: &[Entry]) -> String {
    let Some(stats) = stats else { return "the call was carried all the same".to_owned() };
    let deliveries = entries.iter().filter(|e| matches!(e.what, What::WebhookSent { .. })).count();
    let accepts = entries.iter().filter(|e| matches!(&e.what, What::GraphRequest { action, .. } if action == "accept")).count();
    let checks = |ipv6: bool| {
        let is = |e: &&Entry| matches!(&e.what, What::StunRequest { path, .. } if path.local.is_ipv6() == ipv6);
        entries.iter().filter(|e| e.direction == Direction::FromBusiness).filter(is).count()
    };
    let setup = stats.milestones.dtls_connected.zip(stats.milestones.remote_params).map_or(0, |(a, b)| a.since(b).as_millis());
    match fault {
        Fault::MutePeer => format!("{} packets came from the mute phone, {} of ours went out all the same", stats.rtp_in, stats.rtp_out),
        Fault::DeadIpv6 | Fault::SlowIpv6 => {
            format!("{} checks over IPv6 did not hold it up: IPv4 was nominated, keys after {setup} ms", checks(true))
        }
        Fault::Signed487 => format!("{} authentic 487: a new tie-breaker, still controlling", stats.ice.role_conflicts),
        Fault::Unsigned487 => format!("{} forged 487 ignored", stats.ice.unsigned_487_ignored),
        Fault::DuplicateWebhooks | Fault::ReorderedWebhooks => format!("{deliveries} deliveries, {accepts} accept"),
        Fault::LateSdp | Fault::LostFlight6 | Fault::LostNominationAnswers | Fault::OnlyCm80 => {
            format!("set up all the same, keys {setup} ms after Meta's SDP was known, {}", stats.profile.map_or("none", |p| p.name()))
        }
        _ if stats.drops.total() > 0 => format!("{} datagrams dropped and counted, nothing else changed", stats.drops.total()),
        _ => "the call was carried all the same".to_owned(),
    }
}

/// Speech over 20 kbit/s Opus, once or twice, is at least this alike.
const ALIKE_MIN: f32 = 0.7;
