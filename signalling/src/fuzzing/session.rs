//! Fuzz body of the session machine: webhooks, replies of Graph, the engine's words, the application's wishes and time, in any order.

use std::collections::{BTreeMap, VecDeque};

use tipring_engine::error::{AdmitError, EndReason, SetupError};
use tipring_engine::time::{Span, Time};

use crate::graph::{GraphError, GraphOutcome};
use crate::session::{
    CallConnect, CallKey, CallState, CallStatus, CallStatusKind, CallTerminate, Command, Dial, Direction, Effect, EngineEvent, Event,
    Input, Notice, Party, Personal, RequestId, SdpText, SdpType, SessionConfig, Sessions, TerminateStatus, Wacid,
};

/// Three bytes an operation. Asserts for each call: media opened, closed and let through once at most and in this order, nothing asked of Graph after its end,
/// one ending, the last notice; and when nobody says anything any more, every call ends by itself but a conversation, which ends with its media.
pub fn fuzz_session(data: &[u8]) {
    let Some((&flags, data)) = data.split_first() else { return };
    let mut world = World::new(flags);
    for op in data.chunks_exact(3).take(400) {
        world.play(op[0], op[1], op[2]);
    }
    world.wait();
    for view in world.sessions.calls().collect::<Vec<_>>() {
        let seen = world.witnesses.get_mut(&view.call).expect("announced before");
        assert!(view.state == CallState::Active && seen.is_open && !seen.is_closed, "{:?} waits for ever in {:?}", view.call, view.state);
        seen.is_closed = true;
        let event = EngineEvent::Ended { reason: EndReason::ConsentLost, evidence: Box::default() };
        world.feed(Input::Engine { call: view.call, event });
    }
    world.wait();
    assert_eq!(world.sessions.calls().count(), 0, "every call ends");
    for (call, seen) in &world.witnesses {
        assert!(!seen.is_open || seen.is_closed, "{call:?}: the media of an ended call is released");
        assert!(!seen.is_announced || seen.is_ended, "{call:?}: an announced call has an end");
    }
}

/// What a call has had so far.
#[derive(Default)]
struct Witness {
    is_announced: bool,
    is_open: bool,
    /// The engine has given its parameters.
    is_local: bool,
    /// Released, or ended by the engine itself.
    is_closed: bool,
    has_gate: bool,
    is_ended: bool,
}

struct World {
    sessions: Sessions,
    now: Time,
    witnesses: BTreeMap<CallKey, Witness>,
    /// Requests without reply, with the name of what was asked.
    pending: VecDeque<(RequestId, &'static str)>,
}

impl World {
    fn new(flags: u8) -> Self {
        let config = SessionConfig {
            auto_answer: flags & 1 != 0,
            pre_accept: flags & 2 == 0,
            accept_without_media: flags & 4 == 0,
            calls_max: if flags & 8 == 0 { 10 } else { 2 },
            ..SessionConfig::default()
        };
        Self { sessions: Sessions::new(config), now: Time::from_nanos(1), witnesses: BTreeMap::new(), pending: VecDeque::new() }
    }

    fn play(&mut self, op: u8, a: u8, b: u8) {
        let (call, wacid) = (CallKey(1 + u64::from(a % 6)), id(a % 4));
        let input = match op % 16 {
            0 => Input::Webhook(connect(wacid, b)),
            1 => Input::Webhook(terminate(wacid, b)),
            2 => Input::Webhook(Event::Status(Box::new(CallStatus {
                wacid,
                phone_number_id: Some(NUMBER.into()),
                status: [CallStatusKind::Ringing, CallStatusKind::Accepted, CallStatusKind::Rejected][usize::from(b % 3)],
                timestamp_unix_s: Some(UNIX_S + i64::from(b >> 4)),
                biz_opaque: None,
            }))),
            3 | 4 => {
                let Some(seen) = self.witnesses.get_mut(&call).filter(|seen| seen.is_open && !seen.is_closed && !seen.is_local) else {
                    return;
                };
                seen.is_local = true;
                Input::Engine { call, event: EngineEvent::LocalReady(Box::new(super::local())) }
            }
            5 => Input::Engine { call, event: EngineEvent::MediaReady },
            6 => Input::Engine { call, event: EngineEvent::FirstMediaIn },
            // The engine says these of a call it was told to open, and once: that it cannot, or later that it is over.
            7 => {
                let Some(seen) = self.witnesses.get_mut(&call).filter(|seen| seen.is_open && !seen.is_closed) else { return };
                seen.is_closed = true;
                Input::Engine {
                    call,
                    event: match (seen.is_local, b & 1) {
                        (false, 0) => EngineEvent::NotAdmitted(AdmitError::Ports),
                        (false, _) => EngineEvent::NotSetUp(SetupError::PeerIncompatible("a fuzzer says so")),
                        (true, 0) => EngineEvent::Ended { reason: EndReason::IceTimeout, evidence: Box::default() },
                        (true, _) => EngineEvent::Ended { reason: EndReason::ConsentLost, evidence: Box::default() },
                    },
                }
            }
            8 => Input::Command { call, command: [Command::Accept, Command::Reject, Command::Terminate][usize::from(b % 3)] },
            9..=12 => {
                let Some((request, name)) = self.pending.remove(usize::from(a) % self.pending.len().max(1)) else { return };
                Input::GraphReply { request, outcome: outcome(name, b) }
            }
            13 => Input::Dial(Box::new(Dial {
                phone_number_id: NUMBER.into(),
                to: Personal::new("447700900123"),
                recipient: None,
                biz_opaque: (b & 1 != 0).then(|| "x".repeat(usize::from(b))),
            })),
            14 => {
                self.now += Span::from_millis(u64::from(a) * u64::from(b));
                Input::Timeout
            }
            _ => match self.sessions.poll_timeout() {
                Some(at) => {
                    self.now = self.now.max(at);
                    Input::Timeout
                }
                None => return,
            },
        };
        self.feed(input);
    }

    /// Nobody says anything any more.
    fn wait(&mut self) {
        for _ in 0..2_000 {
            let Some(at) = self.sessions.poll_timeout() else { break };
            self.now = self.now.max(at);
            self.feed(Input::Timeout);
        }
    }

    fn feed(&mut self, input: Input) {
        let is_timeout = matches!(input, Input::Timeout);
        self.sessions.handle(input, UNIX_S, self.now);
        let mut count = 0;
        while let Some(effect) = self.sessions.poll_effect() {
            count += 1;
            assert!(count < 200, "effects without end");
            self.witness(effect);
        }
        assert!(!is_timeout || self.sessions.poll_timeout().is_none_or(|at| at > self.now), "the next deadline lies ahead");
    }

    fn witness(&mut self, effect: Effect) {
        match effect {
            Effect::Graph { request, call, action, .. } => {
                let seen = self.witnesses.entry(call).or_default();
                assert!(!seen.is_ended, "{} of a call that has ended", action.name());
                assert!(!crate::graph::json::body(&action).is_empty());
                assert!(self.pending.iter().all(|(other, _)| *other != request), "a request has a name of its own");
                self.pending.push_back((request, action.name()));
            }
            Effect::OpenCall { call, .. } => {
                let seen = self.witnesses.entry(call).or_default();
                assert!(!core::mem::replace(&mut seen.is_open, true), "media is opened once");
            }
            Effect::SetRemote { call, .. } => assert!(self.witnesses[&call].is_open),
            Effect::OpenGate { call } => {
                let seen = self.witnesses.get_mut(&call).expect("announced before");
                assert!(seen.is_open && !seen.is_closed && !core::mem::replace(&mut seen.has_gate, true), "the gate is opened once");
            }
            Effect::CloseCall { call, .. } => {
                let seen = self.witnesses.get_mut(&call).expect("announced before");
                assert!(seen.is_open && !core::mem::replace(&mut seen.is_closed, true), "media is released once");
            }
            Effect::Notify { call, notice, .. } => {
                let seen = self.witnesses.entry(call).or_default();
                assert!(!seen.is_ended, "{notice:?} after the end");
                seen.is_announced = true;
                seen.is_ended = matches!(notice, Notice::Ended(_));
            }
        }
    }
}

fn id(choice: u8) -> Wacid {
    Wacid::new(&format!("wacid.{choice}")).expect("an id")
}

fn connect(wacid: Wacid, choice: u8) -> Event {
    let direction = [Some(Direction::UserInitiated), Some(Direction::BusinessInitiated), None][usize::from(choice % 3)];
    let kind = if choice & 4 == 0 { SdpType::Offer } else { SdpType::Answer };
    let sdp = match choice >> 3 & 7 {
        0 => None,
        1 => Some((kind, SdpText::new("v=0\r\n"))),
        2 => Some((SdpType::Other, SdpText::new(SDP))),
        3 => Some((kind, SdpText::new(SDP.replace("111", "96")))),
        _ if direction == Some(Direction::BusinessInitiated) => Some((SdpType::Answer, SdpText::new(SDP))),
        _ => Some((SdpType::Offer, SdpText::new(SDP))),
    };
    let user = Party { phone: Personal::new("447700900123"), ..Party::default() };
    Event::Connect(Box::new(CallConnect {
        wacid,
        phone_number_id: Some(NUMBER.into()),
        direction,
        from: user.clone(),
        to: Party::default(),
        user,
        // Some are stale.
        timestamp_unix_s: (choice & 0xC0 != 0x40).then_some(UNIX_S - i64::from(choice >> 6) * 15),
        sdp,
        biz_opaque: None,
        deeplink_payload: None,
        cta_payload: None,
    }))
}

fn terminate(wacid: Wacid, choice: u8) -> Event {
    Event::Terminate(Box::new(CallTerminate {
        wacid,
        phone_number_id: Some(NUMBER.into()),
        direction: Some(Direction::UserInitiated),
        timestamp_unix_s: Some(UNIX_S + i64::from(choice >> 4)),
        status: [TerminateStatus::Completed, TerminateStatus::Failed, TerminateStatus::Other][usize::from(choice % 3)],
        start_unix_s: None,
        end_unix_s: None,
        duration_s: (choice & 8 != 0).then_some(9),
        errors: Vec::new(),
        biz_opaque: None,
    }))
}

/// What Graph might say to `name`.
fn outcome(name: &str, choice: u8) -> GraphOutcome {
    let refused = |http_status, code| GraphOutcome::Refused(GraphError { http_status, code, ..GraphError::default() });
    match choice % 12 {
        0 => GraphOutcome::Lost,
        1 => GraphOutcome::NotSent,
        2 => refused(400, 138_008),
        3 => refused(500, 131_000),
        4 => refused(400, 138_021),
        5 => refused(u16::from(choice) * 2, 138_000 + u32::from(choice)),
        6 => refused(429, 80_007),
        _ => GraphOutcome::Success { wacid: (name == "connect").then(|| id(choice >> 4 & 3)) },
    }
}

const NUMBER: &str = "1047000000000";
const UNIX_S: i64 = 1_795_300_000;
/// Fit to be an offer and an answer.
const SDP: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\na=ice-lite\r\n\
m=audio 3484 UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 10.77.0.1\r\na=candidate:1 1 udp 2113937151 10.77.0.1 3484 typ host generation 0\r\n\
a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
a=setup:passive\r\na=mid:audio\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\na=ptime:20\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_taken_the_straight_way_opens_its_gate_and_ends() {
        let mut world = World::new(1);
        world.play(0, 0, 6 << 3);
        assert!(world.witnesses[&CallKey(1)].is_open, "an offer opens media");
        world.play(3, 0, 0);
        world.play(9, 0, 7);
        world.play(5, 0, 0);
        world.play(9, 0, 7);
        assert!(world.witnesses[&CallKey(1)].has_gate, "Meta took the accept");
        world.play(1, 0, 0);
        assert!(world.witnesses[&CallKey(1)].is_ended);
    }

    #[test]
    fn seeded_operation_lists_go_everywhere() {
        let (mut gates, mut ends) = (0, 0);
        for seed in 1..3_000u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            };
            let data: Vec<u8> = (0..200).map(|_| next()).collect();
            fuzz_session(&data);
            let mut world = World::new(data[0]);
            data[1..].chunks_exact(3).for_each(|op| world.play(op[0], op[1], op[2]));
            gates += world.witnesses.values().filter(|seen| seen.has_gate).count();
            ends += world.witnesses.values().filter(|seen| seen.is_ended).count();
        }
        assert!(gates > 100 && ends > 1_000, "{gates} gates, {ends} endings");
    }
}
