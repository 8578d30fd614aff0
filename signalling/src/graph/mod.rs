//! Requests to Meta's Graph API, as values: `POST /{phone number id}/calls`.
//!
//! Decides: what is posted, how replies read, what each error number means. Refuses: HTTP (`shell`), and when to post (`session`).

pub mod code;
#[cfg(feature = "daemon")]
pub mod json;
#[cfg(feature = "daemon")]
pub mod permission;
#[cfg(feature = "daemon")]
pub mod settings;
#[cfg(feature = "daemon")]
pub mod signup;

use core::fmt;

use crate::session::{Personal, SdpText, Wacid};

/// One thing to ask of Graph about a call (2.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GraphAction {
    /// Set media up while the caller hears ring-back.
    PreAccept {
        /// The call.
        wacid: Wacid,
        /// Our answer.
        sdp: SdpText,
    },
    /// Take the call.
    Accept {
        /// The call.
        wacid: Wacid,
        /// The same bytes as in `PreAccept` (rule 14).
        sdp: SdpText,
        /// At most 512 characters, echoed in `terminate`.
        biz_opaque: Option<String>,
    },
    /// Decline the call.
    Reject {
        /// The call.
        wacid: Wacid,
    },
    /// End the call.
    Terminate {
        /// The call.
        wacid: Wacid,
    },
    /// Call a user.
    Connect {
        /// Digits with the country code.
        to: Option<Personal>,
        /// BSUID; `to` wins at Meta.
        recipient: Option<Personal>,
        /// Our offer.
        sdp: SdpText,
        /// At most 512 characters, echoed in webhooks.
        biz_opaque: Option<String>,
    },
}

impl GraphAction {
    /// The literal of the `action` member; also the metric label.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PreAccept { .. } => "pre_accept",
            Self::Accept { .. } => "accept",
            Self::Reject { .. } => "reject",
            Self::Terminate { .. } => "terminate",
            Self::Connect { .. } => "connect",
        }
    }
}

/// What came of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GraphOutcome {
    /// Meta took it. `connect` brings the id of the new call.
    Success {
        /// `calls[0].id`.
        wacid: Option<Wacid>,
    },
    /// Meta refused it.
    Refused(GraphError),
    /// It never reached Meta: no connection, no TLS. Repeating it is safe.
    NotSent,
    /// No answer, or none that can be read: Meta may or may not have acted on it.
    Lost,
}

/// The error envelope of Graph (2.6).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct GraphError {
    /// HTTP status.
    pub http_status: u16,
    /// Number of the error; 0 if the body carried none.
    pub code: u32,
    /// `error_subcode`.
    pub subcode: Option<u32>,
    /// `message`, at most 512 bytes.
    pub message: String,
    /// `error_data.details`, at most 512 bytes.
    pub details: Option<String>,
    /// For Meta's support.
    pub fbtrace_id: Option<String>,
}

impl fmt::Debug for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The texts may quote a phone number: they go to the application, not to logs.
        f.debug_struct("GraphError")
            .field("http_status", &self.http_status)
            .field("code", &self.code)
            .field("subcode", &self.subcode)
            .field("fbtrace_id", &self.fbtrace_id)
            .finish_non_exhaustive()
    }
}
