//! The judge: which rules a call kept, as far as Meta's side can see.
//!
//! Given: a finished timeline and, when speech was agreed on, what the user should have heard. Decides: one verdict a rule. Refuses: guesses;
//! a rule that the call gave no occasion for is passed and marked as not seen.

use crate::call::CallKind;
use crate::correlate::correlate;
use crate::timeline::{Direction, Entry, Leg, Path, What};
use core::fmt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tipring_engine::time::{Span, Time};

/// The judgement on one rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    /// `R-24`, or the RFC section where no R-xx speaks.
    pub rule: &'static str,
    /// The rule in words.
    pub text: &'static str,
    /// It was kept, or there was no occasion.
    pub pass: bool,
    /// There was an occasion.
    pub seen: bool,
    /// What was seen.
    pub evidence: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (self.pass, self.seen) {
            (false, _) => "FAIL",
            (true, true) => "pass",
            (true, false) => "  - ",
        };
        write!(f, "{mark} {:<12} {}: {}", self.rule, self.text, self.evidence)
    }
}

/// How strict the judge is where a rule says "soon".
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the answered nomination to the ClientHello.
    pub client_hello: Span,
    /// From accept's 200 to the first RTP packet.
    pub first_rtp: Span,
    /// Longest answer to a webhook.
    pub webhook_answer: Span,
    /// Packets may be lost between the business and us: gaps in sequence numbers are then forgiven.
    pub is_lossy: bool,
    /// Speech of the business that may be missing.
    pub lost_speech: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client_hello: Span::from_millis(20),
            first_rtp: Span::from_millis(100),
            webhook_answer: Span::from_millis(1_000),
            is_lossy: false,
            lost_speech: Span::ZERO,
        }
    }
}

/// What the judge needs beside the timeline.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who called.
    pub kind: CallKind,
    /// Strictness.
    pub limits: Limits,
    /// What the business said, mono at 16 kHz; none: speech is not judged.
    pub reference: Option<Arc<[i16]>>,
}

/// Judges a call. `heard` is what the user heard, mono at 16 kHz. One verdict a rule, in a fixed order.
pub fn judge(entries: &[Entry], heard: &[i16], context: &Context) -> Vec<Verdict> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.at);
    let case = Case { entries, context };
    let mut verdicts = Vec::new();
    case.ice(&mut verdicts);
    case.dtls(&mut verdicts);
    case.gate(&mut verdicts);
    case.media(&mut verdicts);
    case.signalling(&mut verdicts);
    verdicts.push(speech(heard, context));
    verdicts
}

struct Case<'a> {
    entries: Vec<&'a Entry>,
    context: &'a Context,
}

struct Packet {
    at: Time,
    ssrc: u32,
    payload_type: u8,
    seq: u16,
    timestamp: u32,
    marker: bool,
    has_extras: bool,
    ticks: Option<u32>,
}

impl<'a> Case<'a> {
    fn of(&self, direction: Direction) -> impl Iterator<Item = (Time, &'a What)> + '_ {
        self.entries.iter().filter(move |e| e.direction == direction).map(|e| (e.at, &e.what))
    }

    fn ours(&self) -> impl Iterator<Item = (Time, &'a What)> + '_ {
        self.of(Direction::FromBusiness)
    }

    fn ice(&self, out: &mut Vec<Verdict>) {
        let first = self.entries.iter().find(|e| e.leg == Leg::Stun);
        let is_ours = first.is_some_and(|e| matches!(e.what, What::StunRequest { .. }) && e.direction == Direction::FromBusiness);
        out.push(seen(
            first.is_some(),
            "R-22",
            "the business starts the checks",
            is_ours,
            match first {
                Some(e) => format!("first STUN at {} ms", self.since_start(e.at)),
                None => "no STUN at all".to_owned(),
            },
        ));

        let (mut requests, mut not_controlling, mut unauthentic) = (0, 0, 0);
        let mut candidate_ids: HashMap<[u8; 12], Path> = HashMap::new();
        let mut checked: HashSet<Path> = HashSet::new();
        let (mut early_nomination, mut nominated_paths) = (None, Vec::new());
        let mut plain_ids: HashMap<[u8; 12], Path> = HashMap::new();
        let mut nominated_ids: HashSet<[u8; 12]> = HashSet::new();
        let (mut nominated_at, mut selected) = (None, None);
        let mut consents: Vec<Time> = Vec::new();
        for entry in &self.entries {
            match &entry.what {
                What::StunRequest { id, path, authentic, controlling, controlled, use_candidate } => {
                    requests += 1;
                    not_controlling += u32::from(controlling.is_none() || *controlled);
                    unauthentic += u32::from(!authentic);
                    if *use_candidate {
                        candidate_ids.insert(*id, *path);
                        if !nominated_paths.contains(path) {
                            nominated_paths.push(*path);
                        }
                        if !checked.contains(path) && early_nomination.is_none() {
                            early_nomination = Some(entry.at);
                        }
                    } else {
                        if nominated_at.is_some() && nominated_paths.first() == Some(path) && plain_ids.insert(*id, *path).is_none() {
                            consents.push(entry.at);
                        }
                        plain_ids.insert(*id, *path);
                    }
                }
                What::StunAnswer { id, path, code: 200 } => {
                    checked.insert(*path);
                    if candidate_ids.contains_key(id) {
                        nominated_ids.insert(*id);
                        selected.get_or_insert(*path);
                        nominated_at.get_or_insert(entry.at);
                    }
                }
                _ => {}
            }
        }
        let any = requests > 0;
        out.push(seen(
            any,
            "R-23",
            "ICE-CONTROLLING in every check",
            not_controlling == 0,
            format!("{not_controlling} of {requests} without"),
        ));
        out.push(seen(any, "RFC8445-7.2.2", "every check is authentic", unauthentic == 0, format!("{unauthentic} of {requests} are not")));
        let nominated = !nominated_paths.is_empty();
        out.push(seen(
            nominated,
            "R-25",
            "no USE-CANDIDATE before a check on that pair succeeded",
            early_nomination.is_none(),
            match early_nomination {
                Some(at) => format!("at {} ms", self.since_start(at)),
                None => "none".to_owned(),
            },
        ));
        let is_single = nominated_paths.len() <= 1 && nominated_ids.len() <= 1;
        let evidence = format!("{} pairs, {} answered nominations", nominated_paths.len(), nominated_ids.len());
        out.push(seen(nominated, "R-24", "exactly one pair is nominated, once", is_single, evidence));

        let strays =
            self.ours().filter(|(_, what)| matches!(what, What::Rtp { path, .. } | What::Dtls { path, .. } if Some(*path) != selected));
        let strays = strays.count();
        out.push(seen(
            selected.is_some(),
            "R-26",
            "DTLS and media stay on the nominated pair",
            strays == 0,
            format!("{strays} datagrams elsewhere"),
        ));

        // Consent: RFC 7675 section 5.1: 5 s times 0.8 to 1.2; what follows the nomination within a second is the rest of the checks.
        let consents: Vec<Time> =
            consents.into_iter().filter(|at| nominated_at.is_some_and(|n| at.since(n) > Span::from_secs(1))).collect();
        let end = self.end();
        let mut marks: Vec<Time> = nominated_at.into_iter().chain(consents.iter().copied()).collect();
        marks.extend(end);
        let gaps: Vec<u64> = marks.windows(2).map(|pair| pair[1].since(pair[0]).as_millis()).collect();
        let inner = &gaps[..gaps.len().saturating_sub(1)];
        let is_paced = gaps.iter().all(|gap| *gap <= 6_600) && inner.iter().skip(1).all(|gap| *gap >= 3_400);
        let is_long = gaps.iter().sum::<u64>() > 7_000;
        out.push(seen(is_long, "RFC7675-5.1", "consent is asked for every 4 to 6 s", is_paced, format!("gaps of {gaps:?} ms")));
    }

    fn dtls(&self, out: &mut Vec<Verdict>) {
        let nominated = self.nominated_at();
        let first = self.entries.iter().find(|e| e.leg == Leg::Dtls && matches!(e.what, What::Dtls { .. }));
        let is_hello = |e: &&Entry| e.direction == Direction::FromBusiness && matches!(e.what, What::Dtls { handshake: Some(1), .. });
        let meta_starts = first.is_some_and(|e| e.direction == Direction::FromMeta);
        let hello = first.filter(|e| is_hello(e));
        // Order, not time: both can fall into one instant of a simulated clock.
        let before = self.entries.iter().take_while(|e| !self.is_nomination(e));
        let early = before.copied().find(|e| e.direction == Direction::FromBusiness && matches!(e.what, What::Dtls { .. }));
        out.push(seen(
            first.is_some(),
            "R-25b",
            "no DTLS before the nomination succeeded",
            early.is_none(),
            match early {
                Some(e) => format!("a record at {} ms", self.since_start(e.at)),
                None => "none".to_owned(),
            },
        ));
        out.push(seen(
            first.is_some() && !meta_starts,
            "R-28",
            "the business is the DTLS client",
            hello.is_some(),
            match first {
                Some(e) => format!("first record at {} ms", self.since_start(e.at)),
                None => "no DTLS".to_owned(),
            },
        ));
        let wait = hello.zip(nominated).map(|(e, n)| e.at.since(n));
        let limit = self.context.limits.client_hello;
        out.push(seen(
            wait.is_some(),
            "R-28b",
            "the ClientHello follows the nomination at once",
            wait.is_none_or(|w| w <= limit),
            match wait {
                Some(w) => format!("after {} us, at most {} us", w.as_micros(), limit.as_micros()),
                None => "nothing to measure".to_owned(),
            },
        ));
        let longest = self.ours().filter_map(|(_, what)| if let What::Dtls { bytes, .. } = what { Some(*bytes) } else { None }).max();
        out.push(seen(
            longest.is_some(),
            "R-27",
            "no DTLS datagram over 1200 bytes",
            longest.is_none_or(|l| l <= 1_200),
            longest.map_or("none".to_owned(), |bytes| format!("longest {bytes}")),
        ));
        let certificate = self
            .ours()
            .find_map(|(_, what)| if let What::Certificate { key, matches_sdp } = what { Some((key, matches_sdp)) } else { None });
        let good = certificate.is_none_or(|(key, matches)| key == "P-256" && *matches);
        let evidence = match certificate {
            Some((key, true)) => format!("{key}, as announced"),
            Some((key, false)) => format!("{key}, another one"),
            None => "none".to_owned(),
        };
        out.push(seen(certificate.is_some(), "R-27b", "a P-256 certificate, the one announced", good, evidence));
    }

    fn gate(&self, out: &mut Vec<Verdict>) {
        let first_media = self.ours().find(|(_, what)| is_media(what)).map(|(at, _)| at);
        let first_rtp = self.ours().find(|(_, what)| matches!(what, What::Rtp { .. })).map(|(at, _)| at);
        let accepted = self.accepted_at();
        let is_user_initiated = self.context.kind == CallKind::UserInitiated;
        let early = first_media.filter(|media| is_user_initiated && accepted.is_none_or(|at| *media < at));
        out.push(seen(
            is_user_initiated && (first_media.is_some() || accepted.is_some()),
            "R-34",
            "no media before accept's 200",
            early.is_none(),
            match (early, accepted) {
                (Some(media), Some(at)) => format!("{} us before", at.since(media).as_micros()),
                (Some(_), None) => "media, and no accept".to_owned(),
                (None, _) => "none".to_owned(),
            },
        ));
        // The gate opens on accept and on keys, whichever is later.
        let ready = accepted.zip(self.connected_at()).map(|(a, b)| a.max(b));
        let wait = ready.zip(first_rtp).map(|(ready, rtp)| rtp.since(ready));
        let limit = self.context.limits.first_rtp;
        let lasted = ready.zip(self.end()).is_some_and(|(ready, end)| end.since(ready) > limit);
        let is_soon = wait.is_some_and(|w| w <= limit);
        out.push(seen(
            wait.is_some() || lasted,
            "R-29",
            "our media starts by itself when the gate opens",
            is_soon,
            match wait {
                Some(w) => format!("after {} us, at most {} us", w.as_micros(), limit.as_micros()),
                None => "no packet".to_owned(),
            },
        ));
    }

    fn media(&self, out: &mut Vec<Verdict>) {
        let packets: Vec<Packet> = self
            .ours()
            .filter_map(|(at, what)| match *what {
                What::Rtp { ssrc, payload_type, seq, timestamp, marker, has_extras, ticks, .. } => {
                    Some(Packet { at, ssrc, payload_type, seq, timestamp, marker, has_extras, ticks })
                }
                _ => None,
            })
            .collect();
        let any = !packets.is_empty();
        let opus_pt = packets.iter().find(|p| p.ticks.is_some()).map(|p| p.payload_type);
        let foreign = packets.iter().filter(|p| p.ticks.is_none() && (Some(p.payload_type) == opus_pt || p.payload_type < 96)).count();
        out.push(seen(
            any,
            "R-16",
            "only Opus and telephone-event",
            foreign == 0,
            format!("{foreign} of {} packets are neither", packets.len()),
        ));

        let mut ssrcs: HashSet<u32> = packets.iter().map(|p| p.ssrc).collect();
        ssrcs.extend(self.ours().filter_map(|(_, what)| if let What::Rtcp { ssrc, .. } = what { Some(*ssrc) } else { None }));
        let announced = self.ours().find_map(|(_, what)| if let What::SdpJudged { ssrc, .. } = what { *ssrc } else { None });
        ssrcs.extend(announced.filter(|_| any));
        out.push(seen(any, "R-19", "one SSRC from first to last, the one announced", ssrcs.len() <= 1, format!("{} SSRCs", ssrcs.len())));

        // Sequence and timeline are judged over the highest so far; a late packet is the network's doing.
        let (mut gaps, mut off_line) = (0_u32, 0_u32);
        let stalls = stalls_told(&packets);
        for (n, pair) in packets.windows(2).enumerate() {
            let (a, b) = (&pair[0], &pair[1]);
            let steps = b.seq.wrapping_sub(a.seq) as i16;
            gaps += u32::from(steps != 1);
            let ticks = b.timestamp.wrapping_sub(a.timestamp) as i32;
            let expected = i32::from(steps) * 960;
            let is_event = a.ticks.is_none() || b.ticks.is_none();
            if stalls.iter().any(|stall| stall.packet == n + 1) {
                continue;
            }
            let is_on_line = if is_event { ticks % 960 == 0 && (0..=96_000).contains(&ticks) } else { ticks == expected };
            off_line += u32::from(!is_on_line);
        }
        let forgiven = self.context.limits.is_lossy;
        out.push(seen(
            packets.len() > 1,
            "RFC3550-5.1",
            "sequence numbers grow by one",
            gaps == 0 || forgiven,
            format!("{gaps} jumps in {} packets", packets.len()),
        ));
        out.push(seen(
            packets.len() > 1,
            "R-17",
            "timestamps grow by 960 a packet",
            off_line == 0,
            format!(
                "{off_line} steps off the 48 kHz line{}",
                if stalls.is_empty() { String::new() } else { format!(", {} stalls told", stalls.len()) }
            ),
        ));
        let odd = packets.iter().filter(|p| Some(p.payload_type) == opus_pt && p.ticks != Some(960)).count();
        out.push(seen(any, "R-18", "every Opus packet is 20 ms", odd == 0, format!("{odd} are not")));
        let extras = packets.iter().filter(|p| p.has_extras).count();
        out.push(seen(any, "RFC8285-5", "no header extension, CSRC or padding", extras == 0, format!("{extras} packets with extras")));
        let is_later = |n: usize, p: &Packet| n > 0 && p.marker && p.ticks.is_some() && !stalls.iter().any(|stall| stall.packet == n);
        let markers = packets.iter().enumerate().filter(|(n, p)| is_later(*n, p)).count();
        out.push(seen(any, "RFC3551-4.1", "the marker stands on the first packet only", markers == 0, format!("{markers} later ones")));

        let audio: Vec<&Packet> = packets.iter().filter(|p| p.ticks.is_some()).collect();
        let lasted = packets.first().zip(packets.last()).map(|(a, b)| b.at.since(a.at)).unwrap_or_default();
        // Frames that a stall cost, and that were given up by name, are no lack of pace.
        let told: u32 = stalls.iter().map(|stall| stall.frames).sum();
        let frames = audio.len().saturating_sub(1) as f64 + f64::from(told);
        let rate = if lasted > Span::ZERO { frames * 1e9 / lasted.as_nanos() as f64 } else { 0.0 };
        let is_paced = forgiven || (49.0..=51.0).contains(&rate) || packets.len() != audio.len();
        out.push(seen(lasted >= Span::from_secs(2), "RFC3550-P5", "50 packets a second", is_paced, format!("{rate:.2} a second")));

        self.liveness(out, &packets);
    }

    fn liveness(&self, out: &mut Vec<Verdict>, packets: &[Packet]) {
        let reports: Vec<(Time, &Option<String>, bool)> =
            self.ours()
                .filter_map(|(at, what)| {
                    if let What::Rtcp { cname, starts_with_report, .. } = what { Some((at, cname, *starts_with_report)) } else { None }
                })
                .collect();
        let start = packets.first().map(|p| p.at);
        let lasted = start.zip(self.end()).map(|(a, b)| b.since(a)).unwrap_or_default();
        let unnamed = reports.iter().filter(|(_, cname, report)| cname.is_none() || !report).count();
        let mut marks: Vec<Time> = start.into_iter().chain(reports.iter().map(|r| r.0)).collect();
        marks.extend(self.end());
        let widest = marks.windows(2).map(|w| w[1].since(w[0])).max().unwrap_or_default();
        let is_alive = unnamed == 0 && widest <= Span::from_millis(7_500);
        let evidence = format!("{} compounds, {unnamed} without report or CNAME, widest gap {} ms", reports.len(), widest.as_millis());
        out.push(seen(lasted >= Span::from_secs(8) || !reports.is_empty(), "R-39", "RTCP with CNAME keeps coming", is_alive, evidence));

        let mut marks: Vec<Time> = self.accepted_at().into_iter().chain(packets.iter().map(|p| p.at)).collect();
        marks.extend(self.end());
        marks.sort_unstable();
        let widest = marks.windows(2).map(|w| w[1].since(w[0])).max().unwrap_or_default();
        let silent = self.entries.iter().any(|e| matches!(e.what, What::Silence { .. }));
        let accepted = self.accepted_at().is_some();
        let is_alive = !silent && widest < Span::from_secs(20);
        out.push(seen(accepted, "R-39b", "never 20 s without media", is_alive, format!("widest gap {} ms", widest.as_millis())));
    }

    fn signalling(&self, out: &mut Vec<Verdict>) {
        let faults: Vec<_> = self
            .ours()
            .filter_map(|(_, what)| if let What::SdpJudged { faults, .. } = what { Some(faults) } else { None })
            .flatten()
            .collect();
        let any = self.ours().any(|(_, what)| matches!(what, What::SdpJudged { .. }));
        let lite = faults.iter().any(|fault| fault.rule == "R-21");
        out.push(seen(
            any,
            "R-21",
            "the SDP of the business is not ice-lite",
            !lite,
            if lite { "a=ice-lite" } else { "it is not" }.to_owned(),
        ));
        let others: Vec<String> = faults.iter().filter(|fault| fault.rule != "R-21").map(ToString::to_string).collect();
        out.push(seen(
            any,
            "R-40",
            "the SDP of the business has nothing Meta refuses or trips over",
            others.is_empty(),
            if others.is_empty() { "clean".to_owned() } else { others.join("; ") },
        ));

        let requests: Vec<(Time, &str, Option<[u8; 32]>)> = self
            .ours()
            .filter_map(|(at, what)| if let What::GraphRequest { action, sdp } = what { Some((at, action.as_str(), *sdp)) } else { None })
            .collect();
        let find = |name: &str| requests.iter().find(|r| r.1 == name);
        let (pre, accept) = (find("pre_accept"), find("accept"));
        let is_user_initiated = self.context.kind == CallKind::UserInitiated;
        let same = accept.is_none_or(|a| pre.is_some_and(|p| p.2 == a.2));
        let in_order = accept.is_none_or(|a| pre.is_some_and(|p| p.0 < a.0));
        out.push(seen(
            is_user_initiated && accept.is_some(),
            "R-32",
            "pre_accept before accept",
            in_order,
            if in_order { "in order" } else { "accept without an earlier pre_accept" }.to_owned(),
        ));
        out.push(seen(
            is_user_initiated && accept.is_some() && pre.is_some(),
            "UIC-same-sdp",
            "the very same SDP bytes in both",
            same,
            if same { "same" } else { "they differ" }.to_owned(),
        ));

        let connect = self
            .of(Direction::FromMeta)
            .find(|(_, what)| matches!(what, What::WebhookSent { event } if event == "connect"))
            .map(|(at, _)| at);
        let wait = connect.zip(accept).map(|(c, a)| a.0.since(c));
        out.push(seen(
            is_user_initiated && wait.is_some(),
            "R-33",
            "accept within 30 s of connect",
            wait.is_none_or(|w| w <= Span::from_secs(30)),
            match wait {
                Some(w) => format!("after {} ms", w.as_millis()),
                None => "no accept".to_owned(),
            },
        ));

        let (mut answers, mut bad, mut slowest, mut fooled) = (0, 0, 0, 0);
        for (_, what) in self.ours() {
            if let What::WebhookAnswered { status, took_ms, is_genuine, .. } = what {
                answers += 1;
                slowest = slowest.max(*took_ms);
                bad += u32::from(*is_genuine && *status != 200);
                fooled += u32::from(!*is_genuine && *status == 200);
            }
        }
        let in_time = slowest <= self.context.limits.webhook_answer.as_millis();
        out.push(seen(
            answers > 0,
            "R-38",
            "webhooks are answered 200, and fast",
            bad == 0 && in_time,
            format!("{bad} of {answers} not 200, slowest {slowest} ms"),
        ));
        let forged = self.ours().any(|(_, what)| matches!(what, What::WebhookAnswered { is_genuine: false, .. }));
        out.push(seen(
            forged,
            "R-45",
            "a delivery with a bad signature is refused and starts nothing",
            fooled == 0 && requests.is_empty(),
            format!("{fooled} taken, {} actions", requests.len()),
        ));

        // A business that leaves has to say so on Graph, also when it said BYE.
        let bye = self.ours().find(|(_, what)| matches!(what, What::Rtcp { bye: true, .. })).map(|(at, _)| at);
        let hung_up = self.entries.iter().find(|e| matches!(e.what, What::HungUp)).map(|e| e.at);
        let left_first = bye.filter(|bye| hung_up.is_none_or(|at| *bye < at));
        let said = find("terminate").is_some();
        out.push(seen(
            left_first.is_some(),
            "UIC-terminate",
            "terminate is posted when the business ends the call",
            said,
            if said { "posted" } else { "BYE only" }.to_owned(),
        ));
        let doubles = ["accept", "reject"].iter().filter(|name| {
            let ok = self.of(Direction::FromMeta).filter(|(_, what)| matches!(what, What::GraphReply { action, .. } if action == **name));
            ok.count() > 1
        });
        let doubles = doubles.count();
        out.push(seen(
            !requests.is_empty(),
            "R-35",
            "one accept or reject a call, whatever is delivered twice",
            doubles == 0,
            format!("{doubles} actions repeated"),
        ));
    }

    /// Milliseconds after the first thing seen of the call.
    fn since_start(&self, at: Time) -> u64 {
        self.entries.first().map_or(0, |first| at.since(first.at).as_millis())
    }

    /// The answer that made a nomination succeed.
    fn is_nomination(&self, entry: &Entry) -> bool {
        let What::StunAnswer { id, code: 200, .. } = &entry.what else { return false };
        self.ours().any(|(_, what)| matches!(what, What::StunRequest { id: asked, use_candidate: true, .. } if asked == id))
    }

    fn nominated_at(&self) -> Option<Time> {
        self.entries.iter().find(|e| self.is_nomination(e)).map(|e| e.at)
    }

    fn connected_at(&self) -> Option<Time> {
        self.entries.iter().find(|e| matches!(e.what, What::DtlsConnected { .. })).map(|e| e.at)
    }

    /// accept's 200, or the called user's pick-up.
    fn accepted_at(&self) -> Option<Time> {
        self.of(Direction::FromMeta)
            .find(|(_, what)| match what {
                What::GraphReply { action, status: 200, .. } => action == "accept",
                What::PickedUp { .. } => self.context.kind == CallKind::BusinessInitiated,
                _ => false,
            })
            .map(|(at, _)| at)
    }

    /// When one side ended the call; the last entry when nobody did.
    fn end(&self) -> Option<Time> {
        let is_end = |e: &&&Entry| match &e.what {
            What::HungUp | What::Silence { .. } => true,
            What::GraphRequest { action, .. } => action == "terminate" || action == "reject",
            _ => false,
        };
        self.entries.iter().find(|e| is_end(e)).or(self.entries.last()).map(|e| e.at)
    }
}

/// A machine that was stopped for some frames and says so.
struct Stall {
    /// Which packet told of it.
    packet: usize,
    /// Frames that were given up.
    frames: u32,
}

/// The stalls that were told of as RFC 3550 section 5.1 and RFC 3551 section 4.1 want it: the sequence goes on, the timestamp moves by whole frames, the marker
/// stands, and the packet is not ahead of its time.
///
/// Its time is where the promptest packet before it puts it: the judge itself may have been stopped, and have seen the packet before the stall only after it.
fn stalls_told(packets: &[Packet]) -> Vec<Stall> {
    let Some(first) = packets.first() else { return Vec::new() };
    let since_first = |p: &Packet| {
        let media_us = i64::from(p.timestamp.wrapping_sub(first.timestamp) as i32) * 1_000 / 48;
        p.at.since(first.at).as_micros() as i64 - media_us
    };
    let mut promptest = 0;
    let mut told = Vec::new();
    for (n, pair) in packets.windows(2).enumerate() {
        let (a, b) = (&pair[0], &pair[1]);
        promptest = promptest.min(since_first(a));
        let ticks = b.timestamp.wrapping_sub(a.timestamp);
        let is_skip = b.seq.wrapping_sub(a.seq) == 1 && b.marker && ticks > 960 && ticks.is_multiple_of(960) && ticks < 1 << 31;
        if is_skip && since_first(b) >= promptest {
            told.push(Stall { packet: n + 1, frames: ticks / 960 - 1 });
        }
    }
    told
}

fn is_media(what: &What) -> bool {
    matches!(what, What::Rtp { .. } | What::Rtcp { .. }) || matches!(what, What::MediaRefused { .. })
}

fn seen(seen: bool, rule: &'static str, text: &'static str, pass: bool, evidence: String) -> Verdict {
    Verdict { rule, text, pass: pass || !seen, seen, evidence }
}

fn speech(heard: &[i16], context: &Context) -> Verdict {
    let text = "what the business says arrives whole";
    let Some(reference) = &context.reference else {
        return seen(false, "R-31", text, true, "no speech was agreed on".to_owned());
    };
    match correlate(reference, heard, 16_000) {
        Some(found) => {
            let pass = Span::from_millis(u64::from(found.lost_ms)) <= context.limits.lost_speech;
            let evidence = format!("{} of {} ms lost, peak {:.2}, at {:.1} ms", found.lost_ms, found.sounding_ms, found.peak, found.lag_ms);
            seen(true, "R-31", text, pass, evidence)
        }
        None => seen(true, "R-31", text, false, "nothing was heard".to_owned()),
    }
}

#[cfg(test)]
mod tests;
