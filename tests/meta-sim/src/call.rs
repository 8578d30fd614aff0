//! One call as Meta's cloud runs it: webhooks out, call actions in, the relay between.
//!
//! Given: actions, answers to webhooks, datagrams, the time. Decides: what an action does in which state, when the user is told and tells.
//! Refuses: sockets and HTTP (`shell.rs`), verdicts (`oracle.rs`). Sans-IO: after every `handle_*`, drain `poll_transmit` and `poll_webhook`
//! and ask `poll_timeout`.

use crate::faults::Fault;
use crate::graph::{Account, Action, ActionKind, Reply, invalid};
use crate::media::Echoed;
use crate::relay::{Relay, RelayConfig, RelayEvent, Stages, Transmit};
use crate::sdp::{self, SdpKind};
use crate::timeline::{Direction, Leg, Timeline, What};
use crate::webhooks::{Delivery, Ending, Writer};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::net::SocketAddr;
use tipring_engine::time::{Span, Time};

/// Whether the user calls the business or is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallKind {
    /// UIC.
    UserInitiated,
    /// BIC.
    BusinessInitiated,
}

/// What a call is made of.
#[derive(Clone, Debug)]
pub struct CallConfig {
    /// wacid; opaque to everybody.
    pub id: String,
    /// Whose number.
    pub account: Account,
    /// Relay, script and faults.
    pub relay: RelayConfig,
}

/// One call at Meta.
pub struct MetaCall {
    config: CallConfig,
    kind: CallKind,
    relay: Relay,
    writer: Writer,
    timeline: Timeline,
    state: State,
    created: Time,
    sdp_text: Option<String>,
    picked_up: Option<Time>,
    webhooks: VecDeque<Delivery>,
    outstanding: u32,
    connect_copy: Option<Delivery>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ringing,
    PreAccepted,
    Active,
    Ended(Time),
}

impl MetaCall {
    /// The user calls: the `connect` webhook with the offer is due at once.
    pub fn incoming(config: CallConfig, now: Time) -> Result<Self, String> {
        let mut call = Self::new(config, CallKind::UserInitiated, now)?;
        let delay = if call.has(Fault::DelayedConnect) { Span::from_secs(3) } else { Span::ZERO };
        if call.has(Fault::UnknownEvent) {
            let unknown = call.writer.unknown(now);
            call.queue(unknown);
        }
        let mut connect = call.writer.connect(&call.relay.offer(), now);
        connect.due = now + delay;
        if call.has(Fault::TerminateBeforeConnect) {
            connect.due = now + Span::from_millis(300);
            call.user_hangs_up(now);
        }
        if call.has(Fault::ReorderedWebhooks) {
            call.connect_copy = Some(connect.clone());
        }
        call.queue(connect);
        Ok(call)
    }

    /// The business calls with `action` (connect). Returns the call and the Graph answer; no call when the SDP is refused.
    pub fn outgoing(config: CallConfig, action: &Action, now: Time) -> (Option<Self>, Reply) {
        let mut call = match Self::new(config, CallKind::BusinessInitiated, now) {
            Ok(call) => call,
            Err(why) => return (None, Reply::error(138_004, "Connection error", &why)),
        };
        call.writer.opaque.clone_from(&action.opaque);
        call.note_request(action, now);
        let text = action.sdp.as_deref().unwrap_or_default();
        let peer = match call.take_sdp(text, SdpKind::Offer, now) {
            Ok(peer) => peer,
            Err(reply) => return (None, reply),
        };
        let answer = call.relay.answer(&peer);
        call.relay.set_peer(peer, now);
        let connect = call.writer.connect(&answer, now + Span::from_millis(1_000));
        call.queue(connect);
        let ringing = call.writer.status("RINGING", now + Span::from_millis(600));
        call.queue(ringing);
        let reply = Reply::ok(&json!({"messaging_product": "whatsapp", "calls": [{"id": call.config.id}]}));
        let reply = call.note_reply(action.kind, reply, now);
        (Some(call), reply)
    }

    fn new(config: CallConfig, kind: CallKind, now: Time) -> Result<Self, String> {
        let relay = Relay::new(config.relay.clone())?;
        let script = &config.relay.script;
        let is_withheld = config.relay.faults.contains(&Fault::EmptyPhones);
        let writer = Writer {
            account: config.account.clone(),
            call_id: config.id.clone(),
            user_number: if is_withheld { String::new() } else { script.number.clone() },
            user_name: script.name.clone(),
            is_user_initiated: kind == CallKind::UserInitiated,
            unix_ms: config.relay.unix_ms,
            opaque: None,
            faults: config.relay.faults.clone(),
        };
        Ok(Self {
            config,
            kind,
            relay,
            writer,
            timeline: Timeline::default(),
            state: State::Ringing,
            created: now,
            sdp_text: None,
            picked_up: None,
            webhooks: VecDeque::new(),
            outstanding: 0,
            connect_copy: None,
        })
    }

    /// wacid.
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// Whether the user calls or is called.
    pub fn kind(&self) -> CallKind {
        self.kind
    }

    /// Takes a call action that names this call.
    pub fn handle_action(&mut self, action: &Action, now: Time) -> Reply {
        self.note_request(action, now);
        let reply = self.act(action, now);
        self.note_reply(action.kind, reply, now)
    }

    fn act(&mut self, action: &Action, now: Time) -> Reply {
        if self.has(Fault::Unauthorized) {
            return Reply::error(190, "Access token has expired", "make a new access token");
        }
        match (action.kind, self.state) {
            (_, State::Ended(_)) => invalid("the call has ended"),
            (ActionKind::Connect, _) => invalid("a call with this user is already running"),
            (ActionKind::Terminate, _) => {
                self.end(None, now);
                Reply::success()
            }
            _ if self.kind == CallKind::BusinessInitiated => invalid("only an incoming call can be accepted or rejected"),
            (ActionKind::Reject | ActionKind::PreAccept | ActionKind::Accept, State::Active) => invalid("the call is already in progress"),
            (ActionKind::Reject, _) => {
                self.end(None, now);
                Reply::success()
            }
            (kind @ (ActionKind::PreAccept | ActionKind::Accept), _) => {
                if self.has(Fault::SdpRefused) {
                    return Reply::error(138_008, "SDP Validation error", "Provided SDP is invalid");
                }
                if kind == ActionKind::Accept && self.has(Fault::AcceptTaken) {
                    return invalid("the call is already in progress");
                }
                let text = action.sdp.as_deref().unwrap_or_default();
                match &self.sdp_text {
                    Some(known) if known != text => return invalid("the SDP differs from the one given in pre_accept"),
                    Some(_) => {}
                    None => match self.take_sdp(text, SdpKind::Answer, now) {
                        Ok(peer) => {
                            self.sdp_text = Some(text.to_owned());
                            self.relay.set_peer(peer, now);
                        }
                        Err(reply) => return reply,
                    },
                }
                if kind == ActionKind::Accept {
                    self.writer.opaque.clone_from(&action.opaque);
                    self.state = State::Active;
                    self.pick_up(false, now);
                    self.relay.set_accepted(now);
                } else {
                    self.state = State::PreAccepted;
                }
                Reply::success()
            }
        }
    }

    fn take_sdp(&mut self, text: &str, kind: SdpKind, now: Time) -> Result<sdp::PeerSdp, Reply> {
        let (peer, faults) = sdp::judge(text, kind, self.config.relay.sdes);
        let refusal = faults.iter().find(|fault| fault.is_refused).map(|fault| fault.text.clone());
        let ssrc = peer.as_ref().and_then(|peer| peer.ssrc);
        self.timeline.push(now, Leg::Graph, Direction::FromBusiness, What::SdpJudged { faults, ssrc });
        match (peer, refusal) {
            (Some(peer), None) => Ok(peer),
            (_, why) => {
                let details = why.unwrap_or_else(|| "ICE credentials, fingerprint or Opus are missing".to_owned());
                Err(Reply::error(138_008, "SDP Validation error", &details))
            }
        }
    }

    fn note_request(&mut self, action: &Action, now: Time) {
        let sdp = action.sdp.as_ref().map(|text| Sha256::digest(text.as_bytes()).into());
        let what = What::GraphRequest { action: action.kind.name().to_owned(), sdp };
        self.timeline.push(now, Leg::Graph, Direction::FromBusiness, what);
    }

    fn note_reply(&mut self, kind: ActionKind, mut reply: Reply, now: Time) -> Reply {
        if self.has(Fault::GraphSlow) {
            reply.delay = Span::from_millis(700);
        }
        let what = What::GraphReply { action: kind.name().to_owned(), status: reply.status, code: reply.code };
        self.timeline.push(now + reply.delay, Leg::Graph, Direction::FromMeta, what);
        reply
    }

    /// Takes a datagram that came from `remote` to the relay's `local`.
    pub fn handle_datagram(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8], now: Time) {
        self.relay.handle_datagram(local, remote, bytes, &mut self.timeline, now);
        self.drain_relay(now);
    }

    /// Takes the answer to a webhook: HTTP status, or 0 when there was none.
    pub fn handle_webhook_answer(&mut self, delivery: &Delivery, status: u16, took: Span, now: Time) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let what =
            What::WebhookAnswered { event: delivery.event.clone(), status, took_ms: took.as_millis(), is_genuine: delivery.is_genuine };
        self.timeline.push(now, Leg::Webhook, Direction::FromBusiness, what);
    }

    /// Takes the time.
    pub fn handle_timeout(&mut self, now: Time) {
        self.relay.handle_timeout(&mut self.timeline, now);
        self.drain_relay(now);
        if self.user_acts_at().is_some_and(|at| at <= now) {
            match (self.kind, self.state, self.picked_up) {
                (CallKind::BusinessInitiated, State::Ringing, None) => self.called_user_decides(now),
                _ => self.user_hangs_up(now),
            }
        }
    }

    fn called_user_decides(&mut self, now: Time) {
        if self.config.relay.script.pick_up_after.is_none() {
            let rejected = self.writer.status("REJECTED", now);
            self.queue(rejected);
            return self.end(None, now);
        }
        self.state = State::Active;
        self.pick_up(false, now);
        self.relay.set_accepted(now);
        let accepted = self.writer.status("ACCEPTED", now);
        self.queue(accepted);
    }

    fn user_hangs_up(&mut self, now: Time) {
        self.timeline.push(now, Leg::User, Direction::FromMeta, What::HungUp);
        self.end(None, now);
    }

    fn drain_relay(&mut self, now: Time) {
        while let Some(event) = self.relay.poll_event() {
            match event {
                RelayEvent::FirstMedia if self.kind == CallKind::UserInitiated => self.pick_up(true, now),
                RelayEvent::Silence => self.end(Some(138_021), now),
                RelayEvent::FirstMedia | RelayEvent::DtlsFailed(_) | RelayEvent::Left => {}
            }
        }
    }

    fn pick_up(&mut self, by_early_media: bool, now: Time) {
        if self.picked_up.is_none() {
            self.picked_up = Some(now);
            self.timeline.push(now, Leg::User, Direction::FromMeta, What::PickedUp { by_early_media });
        }
    }

    fn end(&mut self, error: Option<u32>, now: Time) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        self.state = State::Ended(now);
        self.relay.hang_up();
        let terminate = self.writer.terminate(Ending { picked_up: self.picked_up, error }, now);
        self.queue(terminate);
        if let Some(mut copy) = self.connect_copy.take() {
            copy.due = now + Span::from_millis(200);
            self.queue(copy);
        }
    }

    fn queue(&mut self, delivery: Delivery) {
        if self.has(Fault::DuplicateWebhooks) {
            let mut copy = delivery.clone();
            copy.due += Span::from_millis(40);
            self.webhooks.push_back(copy);
        }
        self.webhooks.push_back(delivery);
    }

    /// When the user does what comes next.
    fn user_acts_at(&self) -> Option<Time> {
        let script = &self.config.relay.script;
        match (self.state, self.picked_up) {
            (State::Ended(_), _) => None,
            (_, Some(at)) => script.hang_up_after.map(|after| at + after),
            (_, None) => {
                let patience = self.created + script.patience;
                let decision = match self.kind {
                    CallKind::UserInitiated => Time::MAX,
                    // Rejection takes as long as a pick-up would.
                    CallKind::BusinessInitiated => {
                        self.created + Span::from_millis(600) + script.pick_up_after.unwrap_or(Span::from_millis(1_500))
                    }
                };
                Some(patience.min(decision))
            }
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        self.relay.poll_transmit(now)
    }

    /// The next webhook to send. Its answer must come back by `handle_webhook_answer`.
    pub fn poll_webhook(&mut self, now: Time) -> Option<Delivery> {
        let next = self.webhooks.iter().enumerate().filter(|(_, d)| d.due <= now).min_by_key(|(_, d)| d.due).map(|(n, _)| n)?;
        let delivery = self.webhooks.remove(next)?;
        self.outstanding += 1;
        let what = What::WebhookSent { event: delivery.event.clone() };
        self.timeline.push(now, Leg::Webhook, Direction::FromMeta, what);
        Some(delivery)
    }

    /// When `handle_timeout` or a poll is wanted.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let linger = match self.state {
            State::Ended(at) if at + LINGER > now => Some(at + LINGER),
            _ => None,
        };
        let webhook = self.webhooks.iter().map(|d| d.due).min();
        [self.relay.poll_timeout(now), self.user_acts_at(), webhook, linger].into_iter().flatten().min()
    }

    /// The call is over, every webhook is answered, and the line was watched a little longer.
    pub fn is_finished(&self, now: Time) -> bool {
        matches!(self.state, State::Ended(at) if at + LINGER <= now) && self.webhooks.is_empty() && self.outstanding == 0
    }

    /// What was seen.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// When each stage of the set-up was reached.
    pub fn stages(&self) -> Stages {
        self.relay.stages()
    }

    /// What the user heard: mono, 16 kHz.
    pub fn heard(&self) -> &[i16] {
        self.relay.heard()
    }

    /// What came back of numbered packets (`Voice::Numbered`).
    pub fn echoed(&self) -> Echoed {
        self.relay.echoed()
    }

    /// Misbehaviour it was told.
    pub fn faults(&self) -> &[Fault] {
        &self.config.relay.faults
    }

    fn has(&self, fault: Fault) -> bool {
        self.config.relay.faults.contains(&fault)
    }
}

/// How long the line is watched after the end.
const LINGER: Span = Span::from_millis(500);

#[cfg(test)]
mod tests;
