//! The way up of a call that we make: offer, `connect`, the answer by webhook, ringing, pick-up (1.4).

use tipring_engine::call::LocalParams;

use super::call::{Call, Context, ID_WAIT, Media, Phase, Step, process_died};
use super::contract::{Dial, Effect, Notice};
use super::types::{CallConnect, CallStatusKind, Party, SdpText};
use crate::graph::GraphOutcome;
use crate::sdp;
use crate::verdict::Verdict;

/// The first notice of a call that we make.
pub(super) fn dialling(dial: &Dial) -> Notice {
    let user = Party { phone: dial.to.clone(), user_id: dial.recipient.clone(), ..Party::default() };
    Notice::Dialling { phone_number_id: dial.phone_number_id.clone(), user: Box::new(user), biz_opaque: dial.biz_opaque.clone() }
}

impl Call {
    /// Asks the engine for media first: the offer needs its address.
    pub(super) fn start_outbound(&mut self, dial: Box<Dial>, session_id: u64, cx: &mut Context<'_>) {
        self.session_id = session_id;
        self.notify(dialling(&dial), cx);
        self.dial = Some(dial);
        self.media = Media::Open;
        cx.effects.push_back(Effect::OpenCall { call: self.key, remote: None });
    }

    pub(super) fn offer(&mut self, local: &LocalParams, cx: &mut Context<'_>) {
        self.local_text = Some(SdpText::new(sdp::write_offer_as(local, self.session_id, self.keying)));
        self.phase = Phase::Announcing;
        self.post(Step::Connect, 1, false, cx);
    }

    pub(super) fn handle_connect_reply(&mut self, outcome: &GraphOutcome, cx: &mut Context<'_>) {
        match outcome {
            GraphOutcome::Success { wacid } => {
                self.wacid = self.wacid.take().or_else(|| wacid.clone());
                if self.wacid.is_none() {
                    self.await_id(cx);
                } else if self.phase == Phase::Announcing {
                    self.phase = Phase::Ringing { media_deadline: None };
                    self.give_up = cx.now + cx.config.ring_deadline;
                }
            }
            GraphOutcome::Lost if self.wacid.is_none() => self.await_id(cx),
            GraphOutcome::Lost => {}
            GraphOutcome::Refused(error) => self.release(Verdict::of_graph("connect", error), cx),
            GraphOutcome::NotSent => self.release(Verdict::of_lost("connect"), cx),
        }
    }

    /// Whether an answer that nobody expects can only be for this call: its `connect` got no readable reply.
    pub(super) fn adopts(&self, connect: &CallConnect) -> bool {
        let Some(dial) = &self.dial else { return false };
        let same_number = connect.phone_number_id.as_deref().is_none_or(|id| *id == *self.phone_number_id);
        let same_user = match (&dial.to, &dial.recipient) {
            (Some(to), _) if connect.user.phone.is_some() => connect.user.phone.as_ref() == Some(to),
            (_, Some(recipient)) if connect.user.user_id.is_some() => connect.user.user_id.as_ref() == Some(recipient),
            _ => dial.biz_opaque.is_some(),
        };
        matches!(self.phase, Phase::AwaitingId { .. }) && same_number && same_user && dial.biz_opaque == connect.biz_opaque
    }

    /// The answer to our offer.
    pub(super) fn handle_answer(&mut self, connect: &CallConnect, cx: &mut Context<'_>) {
        if self.is_ending() {
            return;
        }
        let text = connect.sdp.as_ref().map_or("", |(_, text)| text.as_str());
        if self.wacid.is_none() {
            self.wacid = Some(connect.wacid.clone());
        }
        if self.is_orphan {
            let verdict = self.take_verdict().unwrap_or_else(process_died);
            return self.end(verdict, cx);
        }
        if matches!(self.phase, Phase::Announcing | Phase::AwaitingId { .. }) {
            self.phase = Phase::Ringing { media_deadline: None };
            self.give_up = cx.now + cx.config.ring_deadline;
        }
        self.remote_text = Some(SdpText::new(text));
        match sdp::read_answer_as(text, self.keying) {
            Ok(remote) => cx.effects.push_back(Effect::SetRemote { call: self.key, remote: Box::new(remote.params) }),
            Err(error) => self.end(Verdict::of_sdp(&error), cx),
        }
    }

    pub(super) fn handle_status(&mut self, status: CallStatusKind, cx: &mut Context<'_>) {
        if self.is_ending() || !self.is_outbound() {
            return;
        }
        match status {
            // Statuses never lead backwards (1.6).
            CallStatusKind::Ringing if !self.rang && !self.answered => {
                self.rang = true;
                self.notify(Notice::Status(status), cx);
            }
            CallStatusKind::Accepted if !self.answered => {
                self.notify(Notice::Status(status), cx);
                self.answered_by_user(cx);
            }
            CallStatusKind::Rejected if !self.answered && !self.declined => {
                // Meta's `terminate` follows; until then the ring deadline stands.
                self.declined = true;
                self.notify(Notice::Status(status), cx);
            }
            _ => {}
        }
    }

    pub(super) fn answered_by_user(&mut self, cx: &mut Context<'_>) {
        self.activate(Notice::Answered, cx);
    }

    fn await_id(&mut self, cx: &mut Context<'_>) {
        self.phase = Phase::AwaitingId { until: cx.now + ID_WAIT };
    }
}
