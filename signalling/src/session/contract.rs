//! The contract of the session machine: its inputs, its effects, its settings.
//!
//! Decides: names and shapes. Refuses: behaviour (`call.rs`, `registry.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;

use tipring_engine::call::{LocalParams, RemoteParams};
use tipring_engine::error::{AdmitError, EndReason, SetupError};
use tipring_engine::time::Span;

use super::types::{CallStatusKind, Event, Party, Personal, Wacid};
use crate::graph::{GraphAction, GraphOutcome};
use crate::sdp::KeyExchange;
use crate::verdict::{Evidence, Verdict};

/// Names a call inside one [`super::Sessions`]. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallKey(pub u64);

/// Names a Graph request in flight. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// Everything that can happen to the calls.
#[derive(Clone, Debug)]
pub enum Input {
    /// A webhook event, its signature already verified.
    Webhook(Event),
    /// What came of a request from [`Effect::Graph`]. Exactly one per request.
    GraphReply {
        /// The request.
        request: RequestId,
        /// What came of it.
        outcome: GraphOutcome,
    },
    /// The engine reports on a call from [`Effect::OpenCall`].
    Engine {
        /// The call.
        call: CallKey,
        /// What happened.
        event: EngineEvent,
    },
    /// The application wants something of a call.
    Command {
        /// The call.
        call: CallKey,
        /// What it wants.
        command: Command,
    },
    /// The application calls a user. The key comes back in [`Notice::Dialling`].
    Dial(Box<Dial>),
    /// The deadline of `poll_timeout` has come.
    Timeout,
}

/// What the engine says about a call.
#[derive(Clone, Debug)]
pub enum EngineEvent {
    /// The call is open; these are our parameters for the SDP.
    LocalReady(Box<LocalParams>),
    /// There is no room for it.
    NotAdmitted(AdmitError),
    /// It cannot be set up with this peer.
    NotSetUp(SetupError),
    /// ICE and DTLS are done; media may flow once the gate is open.
    MediaReady,
    /// The first authentic media packet of the peer came in.
    FirstMediaIn,
    /// The call is over in the engine, by its own doing or after [`Effect::CloseCall`]; it needs none any more. Tell it in either case: what
    /// the engine knows may be the cause of an end that Meta announced.
    Ended {
        /// Why.
        reason: EndReason,
        /// What the verdict may lean on.
        evidence: Box<Evidence>,
    },
}

/// What the application may ask of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Take it. Sent to Meta as soon as media is ready.
    Accept,
    /// Decline it.
    Reject,
    /// Hang up, or give up.
    Terminate,
}

/// A business-initiated call to make. Needs the user's permission at Meta.
#[derive(Clone, Debug)]
pub struct Dial {
    /// The business number to call from.
    pub phone_number_id: Arc<str>,
    /// Digits with the country code. Wins over `recipient` at Meta.
    pub to: Option<Personal>,
    /// BSUID.
    pub recipient: Option<Personal>,
    /// At most 512 characters, echoed in webhooks; every subscribed app sees it.
    pub biz_opaque: Option<String>,
}

/// What the shell must do now. Order matters: effects of one call are to be started in the order they come.
#[derive(Clone, Debug)]
pub enum Effect {
    /// POST to Graph; feed the outcome back.
    Graph {
        /// Comes back in [`Input::GraphReply`].
        request: RequestId,
        /// The call.
        call: CallKey,
        /// The business number, for the URL and the token.
        phone_number_id: Arc<str>,
        /// What to POST.
        action: GraphAction,
    },
    /// Open a media call with its gate closed; report [`EngineEvent::LocalReady`].
    OpenCall {
        /// The key to report under.
        call: CallKey,
        /// The peer; `None` if we call, then [`Effect::SetRemote`] follows.
        remote: Option<Box<RemoteParams>>,
    },
    /// Tell an open call who its peer is: the answer to our offer came.
    SetRemote {
        /// The call.
        call: CallKey,
        /// The peer.
        remote: Box<RemoteParams>,
    },
    /// Let media flow: Meta has taken the accept.
    OpenGate {
        /// The call.
        call: CallKey,
    },
    /// Release the media of a call. At most once per [`Effect::OpenCall`], never after the engine said `Ended`.
    CloseCall {
        /// The call.
        call: CallKey,
        /// Why.
        reason: EndReason,
    },
    /// Tell the application and the log.
    Notify {
        /// The call.
        call: CallKey,
        /// Its id at Meta, once known.
        wacid: Option<Wacid>,
        /// What happened.
        notice: Notice,
    },
}

/// What the application hears of a call. `Ended` is the last one, and each call that was announced gets it once.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A user calls: decide by [`Command`], unless the configuration answers by itself.
    Offered {
        /// The business number.
        phone_number_id: Arc<str>,
        /// The caller.
        user: Box<Party>,
        /// Payload of the deep link.
        deeplink_payload: Option<String>,
        /// Payload of the button.
        cta_payload: Option<String>,
    },
    /// A user called and could not be answered any more: the call is not announced, [`Self::Ended`] follows at once.
    Missed {
        /// The business number.
        phone_number_id: Arc<str>,
        /// The caller.
        user: Box<Party>,
    },
    /// We call; this is the key.
    Dialling {
        /// The business number.
        phone_number_id: Arc<str>,
        /// Whom.
        user: Box<Party>,
        /// Our own data.
        biz_opaque: Option<String>,
    },
    /// Meta took `pre_accept`, the caller still hears ring-back.
    PreAccepted,
    /// ICE and DTLS are done.
    MediaReady,
    /// Meta took the accept, the gate is open.
    Accepted,
    /// A status of the call we made.
    Status(CallStatusKind),
    /// The user of a call we made has picked up; the gate is open.
    Answered,
    /// Something odd that did not stop the call.
    Warning(&'static str),
    /// It is over.
    Ended(Box<Ending>),
}

/// How a call ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Ending {
    /// Code, sentence, next step.
    pub verdict: Verdict,
    /// Whether the two ever were connected, as far as we know.
    pub answered: bool,
    /// Seconds that Meta bills; from its `terminate`, if that came.
    pub duration_s: Option<u32>,
    /// Whether Meta's `terminate` has confirmed the end.
    pub confirmed: bool,
}

/// Where a call stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CallState {
    /// The engine is opening it.
    Opening,
    /// `pre_accept`, or for our own calls `connect`, is on its way.
    Announcing,
    /// The phone rings.
    Ringing,
    /// `accept` is on its way.
    Accepting,
    /// Both may talk.
    Active,
    /// `reject` or `terminate` is on its way, or Meta's `terminate` is awaited.
    Ending,
}

/// A call as the outside may see it.
#[derive(Clone, Debug)]
pub struct CallView {
    /// Its key.
    pub call: CallKey,
    /// Its id at Meta.
    pub wacid: Option<Wacid>,
    /// The business number.
    pub phone_number_id: Arc<str>,
    /// Where it stands.
    pub state: CallState,
    /// Whether we made it.
    pub outbound: bool,
    /// Whether ICE and DTLS are done.
    pub media_ready: bool,
}

/// What counts as the pick-up of a call that we made (knob `bic.answer_signal`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum AnswerSignal {
    /// `ACCEPTED`, or the first media of the user, whichever comes first (1.4): nothing of the first word is lost.
    #[default]
    Either,
    /// `ACCEPTED` only: for whoever must not speak to a voice that is not the user's, such as an announcement.
    Accepted,
}

/// Settings of the session machine.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Accept calls without waiting for the application.
    pub auto_answer: bool,
    /// Use `pre_accept`.
    pub pre_accept: bool,
    /// How old a `connect` may grow before it counts as missed (1.5, knob `uic.accept_deadline`).
    pub accept_window: Span,
    /// How long a wanted accept waits for media (5.8 item 6).
    pub media_deadline: Span,
    /// What to do then: accept all the same, or give the call up.
    pub accept_without_media: bool,
    /// How long a Graph request may stay without reply before it counts as lost.
    pub graph_deadline: Span,
    /// How long an ended call waits for Meta's `terminate`.
    pub terminate_deadline: Span,
    /// How long a call we made may ring (knob `bic.ring_timeout`).
    pub ring_deadline: Span,
    /// What its pick-up is (knob `bic.answer_signal`).
    pub answer_signal: AnswerSignal,
    /// How long ended calls are remembered (knob `webhook.tombstone_ttl`).
    pub tombstone_ttl: Span,
    /// Calls at one time; more are rejected.
    pub calls_max: usize,
    /// Ids of the numbers whose calls are keyed by SDES (knob `media.keying` per number); all others by DTLS.
    pub sdes_numbers: BTreeSet<Arc<str>>,
}

impl SessionConfig {
    /// How calls of this number are keyed.
    pub fn key_exchange(&self, phone_number_id: &str) -> KeyExchange {
        if self.sdes_numbers.contains(phone_number_id) { KeyExchange::Sdes } else { KeyExchange::Dtls }
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            auto_answer: false,
            pre_accept: true,
            accept_window: Span::from_secs(25),
            media_deadline: Span::from_secs(8),
            accept_without_media: true,
            graph_deadline: Span::from_secs(15),
            terminate_deadline: Span::from_secs(20),
            ring_deadline: Span::from_secs(60),
            answer_signal: AnswerSignal::Either,
            tombstone_ttl: Span::from_secs(48 * 3_600),
            calls_max: 10_000,
            sdes_numbers: BTreeSet::new(),
        }
    }
}
