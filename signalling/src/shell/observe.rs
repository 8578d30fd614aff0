//! What the daemon tells an observer in the same process: the ladder of the demo, tests, logs.
//!
//! Decides: which steps are told. Given: an observer, once, at start. Refuses: to wait for it: an observer runs on the daemon's threads and must be quick.

use crate::control::SessionId;
use crate::graph::GraphOutcome;
use crate::session::{CallKey, Notice, Wacid};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tipring_engine::call::CallEvent;
use tipring_engine::engine::SendDigitsError;
use tipring_engine::time::Time;

/// A call, whichever way it came in.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CallRef {
    /// By webhook, or dialled by Graph.
    Meta(CallKey),
    /// By Direct mode.
    Direct(SessionId),
}

/// What became of a webhook delivery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WebhookResult {
    /// Signature good, queued, answered 200.
    Taken,
    /// Signature good, but no envelope: 200, because Meta would only repeat it. Passed on if the app forwards what is not ours.
    Unreadable,
    /// The backlog of what is to be forwarded is full, 503: its calls are dealt with, and Meta sends the rest again.
    ForwardFull,
    /// Neither GET nor POST: 405.
    WrongMethod,
    /// No `X-Hub-Signature-256`: 401.
    SignatureMissing,
    /// The header cannot be read: 401.
    SignatureMalformed,
    /// No app secret matches: 401.
    SignatureWrong,
    /// Larger than 3 MiB: 413.
    TooLarge,
    /// The body did not arrive in time: 408.
    TooSlow,
    /// The queue is full, 503: Meta sends it again.
    QueueFull,
    /// It could not be put into the store, 503: Meta sends it again.
    NotStored,
    /// The sender went away before the end.
    Broken,
}

impl WebhookResult {
    /// Every result, in counter order.
    pub const ALL: [Self; 12] = [
        Self::Taken,
        Self::Unreadable,
        Self::ForwardFull,
        Self::WrongMethod,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureWrong,
        Self::TooLarge,
        Self::TooSlow,
        Self::QueueFull,
        Self::NotStored,
        Self::Broken,
    ];

    /// Stable label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unreadable => "unreadable",
            Self::ForwardFull => "forward_full",
            Self::WrongMethod => "wrong_method",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureWrong => "signature_wrong",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::QueueFull => "queue_full",
            Self::NotStored => "not_stored",
            Self::Broken => "broken",
        }
    }

    /// The HTTP status it is answered with.
    pub const fn status(self) -> u16 {
        match self {
            Self::Taken | Self::Unreadable => 200,
            Self::WrongMethod => 405,
            Self::SignatureMissing | Self::SignatureMalformed | Self::SignatureWrong => 401,
            Self::TooLarge => 413,
            Self::TooSlow => 408,
            Self::QueueFull | Self::NotStored | Self::ForwardFull => 503,
            Self::Broken => 400,
        }
    }
}

/// One step of the daemon. No variant's `Debug` shows a secret, an SDP password or a phone number.
#[derive(Clone, Debug)]
pub enum DaemonEvent {
    /// A webhook delivery was answered.
    WebhookIn {
        /// How.
        result: WebhookResult,
        /// Size of the body; 0 if it was not read whole.
        bytes: usize,
    },
    /// An event of a delivery goes to its call.
    WebhookEvent {
        /// `connect`, `terminate`, `status`, `errors`, `permission`, `carried`, `other`, `not_calls`, `other_number`, `observed`.
        what: &'static str,
        /// The call at Meta.
        wacid: Option<Wacid>,
    },
    /// A request to Graph starts.
    GraphRequest {
        /// The call.
        call: CallKey,
        /// `pre_accept`, `accept`, `reject`, `terminate`, `connect`.
        action: &'static str,
    },
    /// It was answered, or not.
    GraphReply {
        /// The call.
        call: CallKey,
        /// As in the request.
        action: &'static str,
        /// What came of it.
        outcome: GraphOutcome,
        /// From request to reply.
        took: Duration,
    },
    /// The engine opened a media call; the gate is closed.
    MediaOpened {
        /// The call.
        call: CallRef,
    },
    /// The engine says something about a call's media.
    Media {
        /// The call.
        call: CallRef,
        /// What.
        event: CallEvent,
    },
    /// The session machine says something about a call.
    Notice {
        /// The call.
        call: CallKey,
        /// Its id at Meta.
        wacid: Option<Wacid>,
        /// What.
        notice: Notice,
    },
    /// Digits that the host wanted to send were not taken.
    DigitsRefused {
        /// The call.
        call: CallKey,
        /// Why.
        why: SendDigitsError,
    },
    /// A recording is complete on disk.
    RecordingFinished {
        /// The call.
        call: CallRef,
        /// Its files.
        files: Vec<PathBuf>,
        /// Packets the recorder missed.
        lost: u64,
    },
    /// A recording could not be written; the call is not touched.
    RecordingFailed {
        /// The call.
        call: CallRef,
        /// What went wrong, for the operator.
        why: String,
    },
}

/// A [`DaemonEvent`] and when it happened.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Since the daemon started.
    pub at: Time,
    /// What.
    pub event: DaemonEvent,
}

/// Given to [`super::Daemon::start`]; called for each event, on the daemon's threads. Must not block.
pub type Observer = Arc<dyn Fn(&Observed) + Send + Sync>;

/// The daemon's clock and its observer, shared by its tasks.
#[derive(Clone)]
pub(crate) struct Watch {
    start: Instant,
    observer: Observer,
}

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "the shell owns the clock of signalling; the session machine is given `now`")]
    pub(crate) fn new(observer: Observer) -> Self {
        Self { start: Instant::now(), observer }
    }

    /// Time since the daemon started.
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant that `time` names, for a timer; at most a day ahead of the start if it cannot be named.
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        let span = Duration::from_nanos(time.as_nanos());
        tokio::time::Instant::from_std(self.start.checked_add(span).unwrap_or(self.start + Duration::from_secs(86_400)))
    }

    pub(crate) fn tell(&self, event: DaemonEvent) {
        (self.observer)(&Observed { at: self.now(), event });
    }
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> i64 {
    unix_ms() / 1_000
}

/// Milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the wall clock is compared with Meta's timestamps, names recordings and dates events, and is read only here"
)]
pub(crate) fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
