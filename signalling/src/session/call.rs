//! One call: what it waits for, what may be sent for it, how it ends.
//!
//! Decides: the order of Graph requests (one in flight at a time, so that they cannot overtake each other), when media is released, and the one
//! verdict. Is given: everything that concerns this call. Refuses: finding the call, duplicates, parking (`registry.rs`).
//! The way up is told by `inbound.rs` and `outbound.rs`; the way down is here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tipring_engine::call::LocalParams;
use tipring_engine::error::EndReason;
use tipring_engine::time::{Span, Time};

use super::contract::{CallKey, CallState, CallView, Command, Dial, Effect, Ending, EngineEvent, Notice, RequestId, SessionConfig};
use super::types::{CallTerminate, SdpText, TerminateStatus, Wacid};
use crate::graph::{GraphAction, GraphOutcome, code};
use crate::sdp::{KeyExchange, RemoteSdp};
use crate::verdict::{Evidence, Verdict};

/// A call from its announcement to its `Ended` notice.
pub(super) struct Call {
    pub key: CallKey,
    pub wacid: Option<Wacid>,
    pub phone_number_id: Arc<str>,
    /// Whether we made it, and whom it is for.
    pub dial: Option<Box<Dial>>,
    /// The peer's description as text, to tell a repetition from a change.
    pub remote_text: Option<SdpText>,
    /// The peer's description until our answer is written.
    pub remote: Option<Box<RemoteSdp>>,
    /// How it is keyed: what the number said when the call began, whatever it says later (3.11).
    pub keying: KeyExchange,
    /// For the `o=` line of ours.
    pub session_id: u64,
    /// Our description: the same bytes in every request (rule 14).
    pub local_text: Option<SdpText>,
    pub phase: Phase,
    pub in_flight: Option<InFlight>,
    /// When it counts as missed, unless accepted by then.
    pub give_up: Time,
    pub media: Media,
    pub media_ready: bool,
    pub media_in: bool,
    /// We gave the call up because media was not ready in time.
    pub media_late: bool,
    pub accept_wanted: bool,
    /// Meta may know our SDP: from then on we end by `terminate`, before by `reject`.
    pub touched: bool,
    pub answered: bool,
    pub rang: bool,
    /// The user declined a call we made.
    pub declined: bool,
    /// Nobody is there for it any more, be it that the process that made it has died: it is to be ended as soon as its id is known.
    pub is_orphan: bool,
    verdict: Option<Verdict>,
}

/// Where a call stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The engine is opening it.
    Opening,
    /// `pre_accept` or `connect` is in flight.
    Announcing,
    /// Nothing is in flight; the phone rings. An accept that is wanted waits for media until then.
    Ringing { media_deadline: Option<Time> },
    /// `accept` is in flight.
    Accepting,
    /// The accept was lost, and its repetition refused as being in progress: only media from the user can prove that it was ours.
    Proving { until: Time },
    /// The `connect` was lost: only its webhook can tell the id.
    AwaitingId { until: Time },
    /// Both may talk.
    Active,
    /// Ended by us; Meta's `terminate` is awaited once nothing is in flight any more.
    Ending { until: Time },
    /// Ended by Meta while media was in doubt: the engine's last word is awaited, for the cause.
    Autopsy { until: Time, duration_s: Option<u32> },
    /// To be removed.
    Done,
}

/// Whether the engine has a call of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Media {
    /// Asked for, not there yet or there: it must be closed once.
    Open,
    /// Never there, closed by us, or ended by the engine.
    Gone,
}

/// A request in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct InFlight {
    request: RequestId,
    pub step: Step,
    /// 1 or 2.
    attempt: u8,
    /// Whether the first attempt may have been acted upon.
    pub lost_before: bool,
    deadline: Time,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    PreAccept,
    Accept,
    Connect,
    /// `reject` or `terminate`.
    End,
}

/// What a call may reach of its surroundings.
pub(super) struct Context<'a> {
    pub config: &'a SessionConfig,
    pub effects: &'a mut VecDeque<Effect>,
    pub requests: &'a mut Requests,
    pub now: Time,
}

/// Names requests and remembers whose they are.
#[derive(Default)]
pub(super) struct Requests {
    next: u64,
    pub call_by_request: HashMap<RequestId, CallKey>,
}

impl Call {
    pub fn new(key: CallKey, wacid: Option<Wacid>, phone_number_id: Arc<str>, give_up: Time) -> Self {
        Self {
            key,
            wacid,
            phone_number_id,
            dial: None,
            remote_text: None,
            remote: None,
            keying: KeyExchange::default(),
            session_id: 0,
            local_text: None,
            phase: Phase::Opening,
            in_flight: None,
            give_up,
            media: Media::Gone,
            media_ready: false,
            media_in: false,
            media_late: false,
            accept_wanted: false,
            touched: false,
            answered: false,
            rang: false,
            declined: false,
            is_orphan: false,
            verdict: None,
        }
    }

    pub fn handle_engine(&mut self, event: EngineEvent, cx: &mut Context<'_>) {
        match event {
            EngineEvent::LocalReady(local) => self.handle_local(&local, cx),
            EngineEvent::NotAdmitted(error) => {
                self.media = Media::Gone;
                self.end(Verdict::of_admit(error), cx);
            }
            EngineEvent::NotSetUp(error) => {
                self.media = Media::Gone;
                self.end(Verdict::of_setup(&error), cx);
            }
            EngineEvent::MediaReady if !self.media_ready && !self.is_ending() => {
                self.media_ready = true;
                self.notify(Notice::MediaReady, cx);
                self.try_accept(cx);
            }
            EngineEvent::FirstMediaIn if !self.media_in && !self.is_ending() => {
                self.media_in = true;
                self.handle_first_media(cx);
            }
            EngineEvent::MediaReady | EngineEvent::FirstMediaIn => {}
            EngineEvent::Ended { reason, evidence } => {
                self.media = Media::Gone;
                match self.phase {
                    Phase::Proving { .. } => self.release(accept_unproven(), cx),
                    Phase::Autopsy { duration_s, .. } => {
                        self.conclude(&evidence);
                        self.finish(duration_s, true, cx);
                    }
                    Phase::Ending { .. } if self.media_late => self.conclude(&evidence),
                    _ => self.end(Verdict::of_end(reason, &evidence), cx),
                }
            }
        }
    }

    pub fn handle_command(&mut self, command: Command, cx: &mut Context<'_>) {
        if self.is_ending() {
            return;
        }
        match command {
            Command::Accept if self.is_outbound() => self.notify(Notice::Warning("accept means nothing for a call that we made"), cx),
            Command::Accept => {
                self.accept_wanted = true;
                self.try_accept(cx);
            }
            Command::Reject if !self.answered && !self.is_outbound() => self.end(rejected(), cx),
            Command::Reject | Command::Terminate => {
                let reason = if self.answered { EndReason::HangUp } else { EndReason::Cancelled };
                self.end(Verdict::of_end(reason, &Default::default()), cx);
            }
        }
    }

    /// What came of the request in flight.
    pub fn handle_reply(&mut self, outcome: &GraphOutcome, cx: &mut Context<'_>) {
        let Some(flight) = self.in_flight.take() else { return };
        cx.requests.call_by_request.remove(&flight.request);
        if matches!(flight.step, Step::PreAccept | Step::Accept) && matches!(outcome, GraphOutcome::Success { .. } | GraphOutcome::Lost) {
            self.touched = true;
        }
        if self.is_ending() && flight.step != Step::End {
            self.end_after(flight, outcome, cx);
            return;
        }
        let may_repeat = flight.attempt == 1
            && match outcome {
                GraphOutcome::Success { .. } => false,
                GraphOutcome::NotSent => true,
                // A second `connect` could ring twice (2.1); everything else names its call and can be said again.
                GraphOutcome::Lost => flight.step != Step::Connect,
                GraphOutcome::Refused(error) => code::is_transient(error) && !code::is_taken(error) && !code::is_over(error),
            };
        if may_repeat {
            self.post(flight.step, 2, *outcome == GraphOutcome::Lost, cx);
            return;
        }
        match flight.step {
            Step::PreAccept => self.handle_pre_accept(flight, outcome, cx),
            Step::Accept => self.handle_accept(flight, outcome, cx),
            Step::Connect => self.handle_connect_reply(outcome, cx),
            Step::End => self.phase = Phase::Ending { until: cx.now + cx.config.terminate_deadline },
        }
    }

    /// Meta says that the call is over: nothing is left to be ended.
    pub fn handle_terminate(&mut self, terminate: &CallTerminate, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Autopsy { .. }) {
            return;
        }
        self.answered |= terminate.duration_s.is_some_and(|s| s > 0);
        let of_meta = match (terminate.errors.first(), terminate.status) {
            (Some(error), _) => Some(Verdict::of_meta(error)),
            (None, TerminateStatus::Failed) => {
                Some(Verdict::fixed("META_FAILED", "Meta says that the call failed", "see the call log of the number in WhatsApp Manager"))
            }
            (None, _) => None,
        };
        // Of a call that was taken, Meta tells the symptom (138021: no media), or only that the user gave up the silence. The cause is known to the engine,
        // if to anybody. Before that, media is not expected to stand, and Meta's word is the cause.
        let in_doubt = self.answered && self.verdict.is_none() && self.media == Media::Open && (of_meta.is_some() || !self.media_ready);
        match (&mut self.verdict, of_meta) {
            // Our own reason stands, what Meta says joins the evidence.
            (Some(verdict), Some(meta)) => verdict.evidence.push(("meta", meta.code.into_owned())),
            (Some(_), None) => {}
            (none, Some(meta)) => *none = Some(meta),
            (none, None) if self.declined => *none = Some(declined()),
            (none, None) if self.answered => *none = Some(Verdict::of_end(EndReason::HangUp, &Default::default())),
            (none, None) => *none = Some(not_answered()),
        }
        self.close_media(cx);
        if in_doubt {
            if let Some(flight) = self.in_flight.take() {
                cx.requests.call_by_request.remove(&flight.request);
            }
            self.phase = Phase::Autopsy { until: cx.now + AUTOPSY_WAIT, duration_s: terminate.duration_s };
        } else {
            self.finish(terminate.duration_s, true, cx);
        }
    }

    /// Puts what the engine knows before what was known without it.
    fn conclude(&mut self, evidence: &Evidence) {
        let Some(verdict) = self.verdict.take() else { return };
        let name = if self.media_late { "gave_up" } else { "meta" };
        let symptom = (verdict.code != EndReason::HangUp.code()).then_some((name, &verdict));
        self.verdict = Some(Verdict::of_autopsy(evidence, symptom).unwrap_or_else(|| verdict.with(evidence)));
    }

    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if let Some(flight) = self.in_flight {
            if flight.deadline <= cx.now {
                self.handle_reply(&GraphOutcome::Lost, cx);
                return;
            }
        } else if let Phase::Ending { until } = self.phase {
            if until <= cx.now {
                self.finish(None, false, cx);
            }
            return;
        }
        match self.phase {
            Phase::Ringing { media_deadline: Some(deadline) } if deadline <= cx.now => self.handle_media_late(cx),
            Phase::Proving { until } if until <= cx.now => self.release(accept_unproven(), cx),
            Phase::AwaitingId { until } if until <= cx.now => {
                self.release(if self.is_orphan { process_died() } else { Verdict::of_lost("connect") }, cx);
            }
            Phase::Autopsy { until, duration_s } if until <= cx.now => self.finish(duration_s, true, cx),
            Phase::Opening | Phase::Announcing | Phase::Ringing { .. } if self.give_up <= cx.now => {
                self.end(if self.declined { declined() } else { not_answered() }, cx);
            }
            _ => {}
        }
    }

    /// When `handle_timeout` has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let of_phase = match self.phase {
            Phase::Opening | Phase::Announcing => Some(self.give_up),
            Phase::Ringing { media_deadline } => Some(media_deadline.unwrap_or(Time::MAX).min(self.give_up)),
            Phase::Proving { until } | Phase::AwaitingId { until } | Phase::Autopsy { until, .. } => Some(until),
            Phase::Ending { until } => self.in_flight.is_none().then_some(until),
            Phase::Accepting | Phase::Active | Phase::Done => None,
        };
        [of_phase, self.in_flight.map(|flight| flight.deadline)].into_iter().flatten().min()
    }

    /// Ends the call from our side: media goes at once, Meta is told once, its `terminate` is awaited.
    pub fn end(&mut self, verdict: Verdict, cx: &mut Context<'_>) {
        if self.is_ending() {
            return;
        }
        if let Phase::Proving { .. } = self.phase {
            // Nothing has proven that it is our call: others may be talking on it.
            self.release(verdict, cx);
            return;
        }
        self.verdict = Some(verdict);
        self.close_media(cx);
        self.phase = Phase::Ending { until: Time::MAX };
        if self.in_flight.is_some() {
            // What is in flight must land first, or the two could pass each other: `end_after` goes on.
        } else if self.wacid.is_some() {
            self.post(Step::End, 1, false, cx);
        } else {
            self.finish(None, false, cx);
        }
    }

    /// Lets the call go without telling Meta: it is not ours, or not there.
    pub fn release(&mut self, verdict: Verdict, cx: &mut Context<'_>) {
        self.verdict.get_or_insert(verdict);
        self.close_media(cx);
        self.finish(None, false, cx);
    }

    pub fn post(&mut self, step: Step, attempt: u8, lost_before: bool, cx: &mut Context<'_>) {
        debug_assert!(self.in_flight.is_none(), "one request at a time");
        let action = self.action(step);
        let request = RequestId(cx.requests.next);
        cx.requests.next += 1;
        cx.requests.call_by_request.insert(request, self.key);
        self.in_flight = Some(InFlight { request, step, attempt, lost_before, deadline: cx.now + cx.config.graph_deadline });
        cx.effects.push_back(Effect::Graph { request, call: self.key, phone_number_id: self.phone_number_id.clone(), action });
    }

    pub fn notify(&self, notice: Notice, cx: &mut Context<'_>) {
        cx.effects.push_back(Effect::Notify { call: self.key, wacid: self.wacid.clone(), notice });
    }

    /// Opens the gate once.
    pub fn activate(&mut self, notice: Notice, cx: &mut Context<'_>) {
        self.answered = true;
        self.phase = Phase::Active;
        //= meta#R-34  media after the 200 only, and at once then
        cx.effects.push_back(Effect::OpenGate { call: self.key });
        self.notify(notice, cx);
    }

    /// What an orphan was given up for, if that is known.
    pub fn take_verdict(&mut self) -> Option<Verdict> {
        self.verdict.take()
    }

    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. } | Phase::Autopsy { .. } | Phase::Done)
    }

    pub fn is_outbound(&self) -> bool {
        self.dial.is_some()
    }

    pub fn view(&self) -> CallView {
        let state = match self.phase {
            Phase::Opening => CallState::Opening,
            Phase::Announcing | Phase::AwaitingId { .. } => CallState::Announcing,
            Phase::Ringing { .. } => CallState::Ringing,
            Phase::Accepting | Phase::Proving { .. } => CallState::Accepting,
            Phase::Active => CallState::Active,
            Phase::Ending { .. } | Phase::Autopsy { .. } | Phase::Done => CallState::Ending,
        };
        CallView {
            call: self.key,
            wacid: self.wacid.clone(),
            phone_number_id: self.phone_number_id.clone(),
            state,
            outbound: self.is_outbound(),
            media_ready: self.media_ready,
        }
    }

    fn handle_local(&mut self, local: &LocalParams, cx: &mut Context<'_>) {
        if self.phase != Phase::Opening {
            return;
        }
        if self.is_outbound() { self.offer(local, cx) } else { self.answer(local, cx) }
    }

    /// Goes on ending after the request that was in flight when we decided to.
    fn end_after(&mut self, flight: InFlight, outcome: &GraphOutcome, cx: &mut Context<'_>) {
        let nothing_left = match (flight.step, outcome) {
            (Step::Connect, GraphOutcome::Success { wacid }) => {
                self.wacid = self.wacid.take().or_else(|| wacid.clone());
                self.wacid.is_none()
            }
            // Perhaps the phone rings: whoever learns the id ends the call (found by `cargo calls`).
            (Step::Connect, GraphOutcome::Lost) if self.wacid.is_none() => {
                self.is_orphan = true;
                self.phase = Phase::AwaitingId { until: cx.now + ID_WAIT };
                return;
            }
            (Step::Connect, _) => self.wacid.is_none(),
            // In doubt whose call it is, it is not ours to end. A repeated `pre_accept` is in progress by our own doing.
            (step, GraphOutcome::Refused(error)) => {
                code::is_over(error) || (code::is_taken(error) && (step == Step::Accept || !flight.lost_before))
            }
            _ => false,
        };
        if nothing_left { self.finish(None, false, cx) } else { self.post(Step::End, 1, false, cx) }
    }

    fn action(&self, step: Step) -> GraphAction {
        let wacid = || self.wacid.clone().expect("only `connect` is sent before the id is known");
        let sdp = || self.local_text.clone().expect("our description is written before it is sent");
        let dial = || self.dial.as_deref().expect("only calls that we make are connected");
        match step {
            Step::PreAccept => GraphAction::PreAccept { wacid: wacid(), sdp: sdp() },
            Step::Accept => GraphAction::Accept { wacid: wacid(), sdp: sdp(), biz_opaque: None },
            Step::Connect => GraphAction::Connect {
                to: dial().to.clone(),
                recipient: dial().recipient.clone(),
                sdp: sdp(),
                biz_opaque: dial().biz_opaque.clone(),
            },
            Step::End if self.touched || self.is_outbound() => GraphAction::Terminate { wacid: wacid() },
            Step::End => GraphAction::Reject { wacid: wacid() },
        }
    }

    fn close_media(&mut self, cx: &mut Context<'_>) {
        if self.media == Media::Open {
            self.media = Media::Gone;
            let reason = if self.answered { EndReason::HangUp } else { EndReason::Cancelled };
            cx.effects.push_back(Effect::CloseCall { call: self.key, reason });
        }
    }

    fn finish(&mut self, duration_s: Option<u32>, confirmed: bool, cx: &mut Context<'_>) {
        if self.phase == Phase::Done {
            return;
        }
        if let Some(flight) = self.in_flight.take() {
            cx.requests.call_by_request.remove(&flight.request);
        }
        self.phase = Phase::Done;
        let verdict = self.verdict.take().unwrap_or_else(not_answered);
        self.notify(Notice::Ended(Box::new(Ending { verdict, answered: self.answered, duration_s, confirmed })), cx);
    }
}

/// How long media of the user may take to prove a lost accept.
pub(super) const PROOF_WAIT: Span = Span::from_secs(5);
/// How long the engine may take to tell what it knows of a call that we have just told it to close: some turns of a shard.
const AUTOPSY_WAIT: Span = Span::from_secs(2);
/// How long a lost `connect` waits for its webhook.
pub(super) const ID_WAIT: Span = Span::from_secs(10);

fn not_answered() -> Verdict {
    Verdict::fixed("NOT_ANSWERED", "nobody answered in time", "accept within 25 s of the webhook, or look at how late the webhook came")
}

/// Of a call whose process is gone.
pub(super) fn process_died() -> Verdict {
    Verdict::fixed(
        "PROCESS_DIED",
        "the process that carried the call ended without warning, so the call was ended",
        "look at the logs and the kernel's messages of that time",
    )
}

fn rejected() -> Verdict {
    Verdict::fixed("REJECTED", "the application rejected the call", "")
}

fn declined() -> Verdict {
    Verdict::fixed("USER_DECLINED", "the user declined the call", "")
}

pub(super) fn taken_elsewhere() -> Verdict {
    Verdict::fixed(
        "TAKEN_ELSEWHERE",
        "another app or node took the call",
        "route calls of this number to one app only if that is not meant",
    )
}

fn accept_unproven() -> Verdict {
    Verdict::fixed(
        "ACCEPT_UNPROVEN",
        "the reply to our accept was lost, and no media came to prove that the call is ours",
        "look at the way to graph.facebook.com; the caller was probably cut off",
    )
}
