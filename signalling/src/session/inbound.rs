//! The way up of a call that a user makes: answer, `pre_accept`, media, `accept`, gate (1.3, 5.8, R-32, R-34).

use tipring_engine::call::LocalParams;

use super::call::{Call, Context, InFlight, Media, PROOF_WAIT, Phase, Step, taken_elsewhere};
use super::contract::{AnswerSignal, Effect, Notice};
use super::types::{CallConnect, SdpText};
use crate::graph::{GraphOutcome, code};
use crate::sdp;
use crate::verdict::Verdict;

impl Call {
    /// Announces the call and asks the engine for media; or rejects it, if the offer cannot be used.
    pub(super) fn start_inbound(&mut self, connect: &CallConnect, session_id: u64, cx: &mut Context<'_>) {
        let text = connect.sdp.as_ref().map_or("", |(_, text)| text.as_str());
        self.remote_text = Some(SdpText::new(text));
        self.session_id = session_id;
        self.accept_wanted = cx.config.auto_answer;
        self.notify(
            Notice::Offered {
                phone_number_id: self.phone_number_id.clone(),
                user: Box::new(connect.user.clone()),
                deeplink_payload: connect.deeplink_payload.clone(),
                cta_payload: connect.cta_payload.clone(),
            },
            cx,
        );
        match sdp::read_offer_as(text, self.keying) {
            Ok(remote) => {
                self.media = Media::Open;
                cx.effects.push_back(Effect::OpenCall { call: self.key, remote: Some(Box::new(remote.params.clone())) });
                self.remote = Some(Box::new(remote));
            }
            Err(error) => self.end(Verdict::of_sdp(&error), cx),
        }
    }

    /// Our parameters are there: the answer is written once, and the same bytes go out each time.
    pub(super) fn answer(&mut self, local: &LocalParams, cx: &mut Context<'_>) {
        let remote = self.remote.take().expect("an inbound call is opened with its offer");
        self.local_text = Some(SdpText::new(sdp::write_answer(&remote, local, self.session_id)));
        if cx.config.pre_accept {
            self.phase = Phase::Announcing;
            self.post(Step::PreAccept, 1, false, cx);
        } else {
            self.ring(cx);
        }
    }

    pub(super) fn handle_pre_accept(&mut self, flight: InFlight, outcome: &GraphOutcome, cx: &mut Context<'_>) {
        match outcome {
            GraphOutcome::Success { .. } => {
                self.notify(Notice::PreAccepted, cx);
                self.ring(cx);
            }
            // Lost twice: it was only a preparation, and the accept carries the same SDP.
            GraphOutcome::Lost => {
                self.notify(Notice::Warning("no reply to pre_accept: the accept will tell"), cx);
                self.ring(cx);
            }
            GraphOutcome::Refused(error) if code::is_over(error) => self.release(Verdict::of_graph("pre_accept", error), cx),
            // The repetition of a lost one may well be told that it is in progress: by us.
            GraphOutcome::Refused(error) if code::is_taken(error) && flight.lost_before => self.ring(cx),
            //= whatsapp-calling#section-3.15  somebody else took it: release media, do not terminate
            GraphOutcome::Refused(error) if code::is_taken(error) => self.release(taken_elsewhere(), cx),
            GraphOutcome::Refused(error) => self.end(Verdict::of_graph("pre_accept", error), cx),
            GraphOutcome::NotSent => self.end(Verdict::of_lost("pre_accept"), cx),
        }
    }

    pub(super) fn handle_accept(&mut self, flight: InFlight, outcome: &GraphOutcome, cx: &mut Context<'_>) {
        match outcome {
            GraphOutcome::Success { .. } => self.activate(Notice::Accepted, cx),
            GraphOutcome::Refused(error) if code::is_over(error) => self.release(Verdict::of_graph("accept", error), cx),
            GraphOutcome::Refused(error) if code::is_taken(error) && flight.lost_before => {
                if self.media_in {
                    self.activate(Notice::Accepted, cx);
                } else {
                    self.phase = Phase::Proving { until: cx.now + PROOF_WAIT };
                }
            }
            GraphOutcome::Refused(error) if code::is_taken(error) => self.release(taken_elsewhere(), cx),
            GraphOutcome::Refused(error) => self.end(Verdict::of_graph("accept", error), cx),
            GraphOutcome::Lost | GraphOutcome::NotSent => self.end(Verdict::of_lost("accept"), cx),
        }
    }

    /// Sends the accept if it is wanted, possible and not sent yet.
    pub(super) fn try_accept(&mut self, cx: &mut Context<'_>) {
        let Phase::Ringing { media_deadline } = self.phase else { return };
        if !self.accept_wanted || self.is_outbound() {
            return;
        }
        //= meta#R-32  pre_accept, ICE, DTLS, accept; without pre_accept Meta has no SDP of ours yet, so media cannot be awaited
        if self.media_ready || !cx.config.pre_accept {
            self.phase = Phase::Accepting;
            self.post(Step::Accept, 1, false, cx);
        } else if media_deadline.is_none() {
            let deadline = (cx.now + cx.config.media_deadline).min(self.give_up);
            self.phase = Phase::Ringing { media_deadline: Some(deadline) };
        }
    }

    /// Media is not ready although the accept has been wanted for long enough.
    pub(super) fn handle_media_late(&mut self, cx: &mut Context<'_>) {
        if cx.config.accept_without_media {
            self.notify(Notice::Warning("media is not ready in time: accepting all the same, the first words may be lost"), cx);
            self.phase = Phase::Accepting;
            self.post(Step::Accept, 1, false, cx);
        } else {
            let verdict = Verdict::fixed(
                "MEDIA_NOT_READY",
                "ICE and DTLS were not done in time, so the call was given up",
                "let UDP of the media ports through the firewall, and look at public_addresses",
            );
            // The engine's last word, which follows the close, sharpens this.
            self.media_late = true;
            self.end(verdict, cx);
        }
    }

    /// The first media of the user.
    pub(super) fn handle_first_media(&mut self, cx: &mut Context<'_>) {
        if let Phase::Proving { .. } = self.phase {
            self.activate(Notice::Accepted, cx);
        } else if self.is_outbound()
            && cx.config.answer_signal == AnswerSignal::Either
            && matches!(self.phase, Phase::Announcing | Phase::Ringing { .. })
        {
            //= whatsapp-calling#section-1.4  ACCEPTED or the first media, whichever comes first
            self.answered_by_user(cx);
        }
    }

    fn ring(&mut self, cx: &mut Context<'_>) {
        self.phase = Phase::Ringing { media_deadline: None };
        self.try_accept(cx);
    }
}
