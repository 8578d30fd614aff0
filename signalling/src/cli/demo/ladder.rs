//! The call as a ladder: what the simulator and the daemon saw, merged on one clock, media in bundles.
//!
//! Given: the simulator's timeline and the daemon's events, both on the simulator's clock. Decides: what is told and how it is bundled. Refuses: colours and
//! columns of the terminal beyond its own lines (`text.rs`).

use super::call::Seen;
use crate::session::Notice;
use crate::shell::DaemonEvent;
use std::net::SocketAddr;
use tipring_engine::call::CallEvent;
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::timeline::{Direction, Entry, Leg, What};

/// Who stands on the ladder, left to right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// The person with the phone.
    User,
    /// Graph, webhooks and the relay.
    Meta,
    /// Ours: HTTP and call state.
    Signalling,
    /// Ours: the media path.
    Engine,
}

impl Lane {
    /// Stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Meta => "meta",
            Self::Signalling => "signalling",
            Self::Engine => "engine",
        }
    }

    /// Column of its line.
    const fn column(self) -> usize {
        match self {
            Self::User => 2,
            Self::Meta => 12,
            Self::Signalling => 26,
            Self::Engine => 40,
        }
    }
}

/// One line of the ladder.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// On the simulator's clock.
    pub at: Time,
    /// Who acts.
    pub from: Lane,
    /// Towards whom; the same lane for a note.
    pub to: Lane,
    /// Both directions: a bundle of media.
    pub both_ways: bool,
    /// `webhook`, `Graph`, `STUN`, `DTLS`, `RTP`, `RTCP`, or empty.
    pub leg: &'static str,
    /// What, in words.
    pub text: String,
}

impl Step {
    fn new(at: Time, from: Lane, to: Lane, leg: &'static str, text: impl Into<String>) -> Self {
        Self { at, from, to, both_ways: false, leg, text: text.into() }
    }
}

/// Media between two other steps.
#[derive(Default)]
struct Bundle {
    since: Option<Time>,
    until: Time,
    rtp: [u32; 2],
    rtcp: [u32; 2],
    consent: u32,
}

/// Merges both views. `said` are the moments at which the user's script speaks, with what.
pub(super) fn build(entries: &[Entry], seen: &[Seen], said: &[(Time, String)]) -> Vec<Step> {
    let mut items: Vec<(Time, Item<'_>)> = entries.iter().map(|e| (e.at, Item::Wire(e))).collect();
    items.extend(seen.iter().map(|s| (s.at, Item::Daemon(&s.event))));
    items.extend(said.iter().map(|(at, text)| (*at, Item::Said(text))));
    items.sort_by_key(|(at, _)| *at);
    let nominated_at = nominated_at(entries);
    let mut steps = Vec::new();
    let (mut bundle, mut first) = (Bundle { until: Time::ZERO, ..Bundle::default() }, [[true; 2]; 2]);
    for (at, item) in items {
        if let Item::Wire(entry) = &item {
            let side = usize::from(entry.direction == Direction::FromMeta);
            let media = match &entry.what {
                What::Rtp { .. } => Some((0, side)),
                What::Rtcp { bye: false, .. } => Some((1, side)),
                _ => None,
            };
            if let Some((kind, side)) = media
                && !std::mem::take(&mut first[kind][side])
            {
                let counts = if kind == 0 { &mut bundle.rtp } else { &mut bundle.rtcp };
                counts[side] += 1;
                bundle.since.get_or_insert(at);
                bundle.until = at;
                continue;
            }
            // Checks long after the nomination are consent.
            if nominated_at.is_some_and(|n| at.since(n) > Span::from_millis(500)) && entry.leg == Leg::Stun {
                bundle.consent += u32::from(matches!(entry.what, What::StunAnswer { code: 200, .. }));
                bundle.since.get_or_insert(at);
                bundle.until = at;
                continue;
            }
        }
        let step = match item {
            Item::Wire(entry) => of_wire(entry, nominated_at),
            Item::Daemon(event) => of_daemon(at, event),
            Item::Said(text) => Some(Step::new(at, Lane::User, Lane::Meta, "", text.as_str())),
        };
        let Some(step) = step else { continue };
        flush(&mut bundle, &mut steps, false);
        // The same again, until somebody answers: one line with a count.
        match steps.last_mut() {
            Some(last) if step.leg == "STUN" && is_repeat(last, &step) => {
                let (text, count) = split_count(&last.text);
                last.text = format!("{text} x{}", count + 1);
            }
            _ => steps.push(step),
        }
    }
    flush(&mut bundle, &mut steps, true);
    steps.sort_by_key(|s| s.at);
    steps
}

enum Item<'a> {
    Wire(&'a Entry),
    Daemon(&'a DaemonEvent),
    Said(&'a String),
}

fn is_repeat(last: &Step, step: &Step) -> bool {
    (last.from, last.to, last.leg) == (step.from, step.to, step.leg) && split_count(&last.text).0 == step.text
}

fn split_count(text: &str) -> (String, u32) {
    match text.rsplit_once(" x").and_then(|(head, count)| Some((head, count.parse().ok()?))) {
        Some((head, count)) => (head.to_owned(), count),
        None => (text.to_owned(), 1),
    }
}

/// Tells a bundle, unless it is so short that it had better go on behind the step that comes: `is_last` tells it in any case.
fn flush(bundle: &mut Bundle, steps: &mut Vec<Step>, is_last: bool) {
    let Some(since) = bundle.since else { return };
    let took = bundle.until.since(since);
    if took < BUNDLE_MIN && !is_last {
        return;
    }
    let mut parts = Vec::new();
    let pair = |name: &str, [sent, received]: [u32; 2]| (sent + received > 0).then(|| format!("{name} {sent}/{received}"));
    parts.extend(pair("RTP", bundle.rtp));
    parts.extend(pair("RTCP", bundle.rtcp));
    if bundle.consent > 0 {
        parts.push(format!("consent {}", bundle.consent));
    }
    let text = format!("{:.1} s: {}", took.as_millis() as f64 / 1_000.0, parts.join(", "));
    let mut step = Step::new(since, Lane::Engine, Lane::Meta, "media", text);
    step.both_ways = true;
    steps.push(step);
    *bundle = Bundle { until: bundle.until, ..Bundle::default() };
}

fn nominated_at(entries: &[Entry]) -> Option<Time> {
    let nominating: Vec<[u8; 12]> = entries
        .iter()
        .filter_map(|e| if let What::StunRequest { id, use_candidate: true, .. } = &e.what { Some(*id) } else { None })
        .collect();
    entries.iter().find(|e| matches!(&e.what, What::StunAnswer { id, code: 200, .. } if nominating.contains(id))).map(|e| e.at)
}

fn of_wire(entry: &Entry, nominated_at: Option<Time>) -> Option<Step> {
    use Lane::{Engine, Meta, Signalling, User};
    let at = entry.at;
    let out = entry.direction == Direction::FromBusiness;
    let (media_from, media_to) = if out { (Engine, Meta) } else { (Meta, Engine) };
    Some(match &entry.what {
        What::WebhookSent { event } => Step::new(at, Meta, Signalling, "webhook", webhook_text(event)),
        What::WebhookAnswered { event, status, took_ms, .. } => {
            Step::new(at, Signalling, Meta, "webhook", format!("{event}: HTTP {status} after {took_ms} ms"))
        }
        What::GraphRequest { action, sdp } => {
            let with = if sdp.is_some() { ", with our SDP" } else { "" };
            Step::new(at, Signalling, Meta, "Graph", format!("POST {action}{with}"))
        }
        What::GraphReply { action, status, code } => {
            let code = code.map_or(String::new(), |code| format!(", error {code}"));
            Step::new(at, Meta, Signalling, "Graph", format!("{action}: {status}{code}"))
        }
        What::SdpJudged { faults, .. } if faults.is_empty() => return None,
        What::SdpJudged { faults, .. } => Step::new(at, Meta, Meta, "Graph", format!("our SDP has {} faults", faults.len())),
        What::StunRequest { use_candidate, path, controlled, .. } => {
            let what = match (use_candidate, controlled) {
                (true, _) => "nominate (USE-CANDIDATE)",
                (_, true) => "check, ICE-CONTROLLED",
                _ if nominated_at.is_some_and(|n| at > n) => "check",
                _ => "check, ICE-CONTROLLING",
            };
            Step::new(at, Engine, Meta, "STUN", format!("{what}, {}", family(path.local)))
        }
        What::StunOther { .. } => return None,
        What::StunAnswer { path, code: 200, .. } => Step::new(at, Meta, Engine, "STUN", format!("success, {}", family(path.local))),
        What::StunAnswer { path, code, .. } => Step::new(at, Meta, Engine, "STUN", format!("error {code}, {}", family(path.local))),
        What::Dtls { bytes, content, handshake, .. } => {
            Step::new(at, media_from, media_to, "DTLS", format!("{}, {bytes} bytes", dtls_text(*content, *handshake)))
        }
        What::Certificate { key, matches_sdp } => {
            let word = if *matches_sdp { "is the one of our SDP" } else { "is NOT the one of our SDP" };
            Step::new(at, Meta, Meta, "DTLS", format!("our {key} certificate {word}"))
        }
        What::DtlsConnected { profile } => Step::new(at, Meta, Meta, "DTLS", format!("keys for {profile}")),
        What::DtlsFailed { why } => Step::new(at, Meta, Meta, "DTLS", format!("failed: {why}")),
        What::Rtp { payload_type, .. } => Step::new(at, media_from, media_to, "RTP", format!("first packet, payload type {payload_type}")),
        What::Rtcp { bye: true, .. } => Step::new(at, media_from, media_to, "RTCP", "BYE"),
        What::Rtcp { .. } => Step::new(at, media_from, media_to, "RTCP", "first report"),
        What::MediaRefused { why } => Step::new(at, media_from, Meta, "RTP", format!("refused: {why}")),
        What::PickedUp { by_early_media: true } => Step::new(at, Meta, User, "", "connected by EARLY media"),
        What::PickedUp { .. } => Step::new(at, Meta, User, "", "the phone shows: connected"),
        What::Digit(digit) => Step::new(at, User, Meta, "", format!("types {digit}")),
        What::HungUp => Step::new(at, User, Meta, "", "hangs up"),
        What::Silence { ms } => Step::new(at, Meta, Meta, "RTP", format!("gives up after {ms} ms without our media")),
    })
}

fn of_daemon(at: Time, event: &DaemonEvent) -> Option<Step> {
    use Lane::{Engine, Signalling};
    Some(match event {
        DaemonEvent::WebhookEvent { what: "other_number", .. } => Step::new(at, Signalling, Signalling, "webhook", "not our number"),
        DaemonEvent::MediaOpened { .. } => Step::new(at, Signalling, Engine, "", "open a call, gate closed"),
        DaemonEvent::Media { event, .. } => match event {
            CallEvent::LocalReady(local) => {
                Step::new(at, Engine, Signalling, "STUN", format!("{} candidates gathered", local.candidates.len()))
            }
            CallEvent::IceConnected { path, rtt } => {
                Step::new(at, Engine, Engine, "STUN", format!("pair nominated, {}, {} us", family(path.remote), rtt.as_micros()))
            }
            CallEvent::DtlsConnected { profile } => Step::new(at, Engine, Engine, "DTLS", format!("fingerprint good, {}", profile.name())),
            CallEvent::MediaReady => Step::new(at, Engine, Signalling, "", "media ready"),
            CallEvent::GateOpened => Step::new(at, Signalling, Engine, "", "open the gate"),
            CallEvent::Digit(digit) => Step::new(at, Engine, Signalling, "", format!("digit {} heard", digit.symbol)),
            CallEvent::NoEgress => Step::new(at, Engine, Signalling, "", "watchdog: nothing of ours leaves"),
            CallEvent::NoIngress => Step::new(at, Engine, Signalling, "", "watchdog: nothing comes from the relay"),
            CallEvent::MediaBack => Step::new(at, Engine, Signalling, "", "watchdog: media is back"),
            CallEvent::DigitsSent => Step::new(at, Engine, Signalling, "", "our digits have left"),
            CallEvent::Ended(ended) => Step::new(at, Engine, Signalling, "", format!("media over: {}", ended.reason.code())),
            CallEvent::FirstRtpIn | CallEvent::FirstRtpOut | CallEvent::PortFinished { .. } => return None,
        },
        DaemonEvent::Notice { notice: Notice::Ended(ending), .. } => {
            Step::new(at, Signalling, Signalling, "", format!("call over: {}", ending.verdict.code))
        }
        DaemonEvent::Notice { notice: Notice::Warning(text), .. } => Step::new(at, Signalling, Signalling, "", format!("warning: {text}")),
        DaemonEvent::RecordingFinished { files, .. } if !files.is_empty() => {
            Step::new(at, Signalling, Signalling, "", format!("recording complete, {} files", files.len()))
        }
        DaemonEvent::RecordingFailed { why, .. } => Step::new(at, Signalling, Signalling, "", format!("recording failed: {why}")),
        _ => return None,
    })
}

fn webhook_text(event: &str) -> String {
    match event {
        "connect" => "connect: the call, with Meta's SDP".to_owned(),
        "terminate" => "terminate: the call is over".to_owned(),
        other => other.to_owned(),
    }
}

fn family(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn dtls_text(content: u8, handshake: Option<u8>) -> &'static str {
    match (content, handshake) {
        (22, Some(1)) => "ClientHello",
        (22, Some(2)) => "ServerHello flight",
        (22, Some(3)) => "HelloVerifyRequest",
        (22, Some(4)) => "NewSessionTicket flight",
        (22, Some(11)) => "Certificate flight",
        (22, Some(12)) => "ServerKeyExchange",
        (22, Some(14)) => "ServerHelloDone",
        (22, Some(16)) => "ClientKeyExchange flight",
        (22, _) => "handshake, encrypted",
        (20, _) => "ChangeCipherSpec, Finished",
        (21, _) => "alert",
        _ => "record",
    }
}

/// The lifelines with their arrow, without time and text: always [`LADDER_COLUMNS`] wide.
pub(super) fn draw(step: &Step) -> String {
    let mut line = [' '; LADDER_COLUMNS];
    for lane in LANES {
        line[lane.column()] = '│';
    }
    let (low, high) = (step.from.min(step.to).column(), step.from.max(step.to).column());
    if low == high {
        line[low] = '●';
    } else {
        for cell in &mut line[low + 1..high] {
            *cell = if *cell == '│' { '┼' } else { '─' };
        }
        if step.to > step.from || step.both_ways {
            line[high - 1] = '▶';
        }
        if step.to < step.from || step.both_ways {
            line[low + 1] = '◀';
        }
    }
    line.iter().collect()
}

/// Names over the lifelines.
pub(super) fn header() -> String {
    let mut line = [' '; LADDER_COLUMNS];
    for (lane, name) in LANES.iter().zip(["user", "Meta", "signalling", "engine"]) {
        let from = (lane.column() + 1).saturating_sub(name.len().div_ceil(2)).min(LADDER_COLUMNS - name.len());
        for (cell, c) in line[from..].iter_mut().zip(name.chars()) {
            *cell = c;
        }
    }
    line.iter().collect()
}

const LANES: [Lane; 4] = [Lane::User, Lane::Meta, Lane::Signalling, Lane::Engine];
/// Width of the lifelines.
pub(super) const LADDER_COLUMNS: usize = 43;
/// Shorter bundles of media are not told by themselves.
const BUNDLE_MIN: Span = Span::from_millis(500);
