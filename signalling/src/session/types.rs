//! What the outside tells a call, as plain values: no JSON, no HTTP.
//!
//! Decides: the vocabulary that webhooks, the Graph client and the session machine share, and what of it may be seen in logs.
//! Is given: text that arrived from Meta or the application. Refuses: parsing (`webhook::envelope`) and deciding (`session`).

use core::fmt;
use std::sync::Arc;

/// The id Meta gives a call: opaque, kept as it came (Appendix B).
///
/// It embeds the user's number in base64, so `Debug` and `Display` show a short hash only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wacid(Arc<str>);

impl Wacid {
    /// Longest id taken, in bytes; real ones have about 60.
    pub const BYTES_MAX: usize = 512;

    /// Takes the id as it stands. `None` if it is empty, longer than [`Self::BYTES_MAX`], or holds a control character.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::BYTES_MAX && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }

    /// The id itself, for request bodies and storage. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id for use inside a URL path: everything outside RFC 3986 section 2.3 is percent-encoded.
    pub fn url_encoded(&self) -> String {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let mut out = String::with_capacity(self.0.len() + 8);
        for &byte in self.0.as_bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                out.push(char::from(byte));
            } else {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
        out
    }

    /// The short hash that `Debug` shows, for joining log lines of one call: 8 hex digits, FNV-1a folded to 32 bits.
    pub fn short_hash(&self) -> String {
        let hash = self.0.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{:08x}", (hash >> 32) as u32 ^ hash as u32)
    }
}

impl fmt::Debug for Wacid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wacid#{}", self.short_hash())
    }
}

impl fmt::Display for Wacid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wacid#{}", self.short_hash())
    }
}

/// Text that names a person: a phone number, a BSUID, a profile name. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Personal(Arc<str>);

impl Personal {
    /// Wraps the text; `None` for the empty string, which is how Meta withholds a number (3.14).
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The text itself, for request bodies and the application. Not for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(personal)")
    }
}

/// SDP text. Shared, so that `pre_accept` and `accept` carry the very same bytes (rule 14). `Debug` shows its length only (G9).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SdpText(Arc<str>);

impl SdpText {
    /// Takes the text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Holds an ICE password: not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SdpText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SdpText({} bytes)", self.0.len())
    }
}

/// Whether `session.sdp` is an offer or an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SdpType {
    /// `"offer"`: the user calls.
    Offer,
    /// `"answer"`: the answer to our offer.
    Answer,
    /// Anything else; the direction decides.
    Other,
}

/// Who dialled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// `USER_INITIATED`.
    UserInitiated,
    /// `BUSINESS_INITIATED`.
    BusinessInitiated,
}

/// One party of a call as Meta describes it. Each member may be absent (3.14).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Party {
    /// Phone number, digits with the country code first.
    pub phone: Option<Personal>,
    /// Business-scoped user id.
    pub user_id: Option<Personal>,
    /// Parent business-scoped user id.
    pub parent_user_id: Option<Personal>,
    /// Profile name, from `contacts`.
    pub name: Option<Personal>,
}

/// An error of Meta inside a webhook (3.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaError {
    /// Number of the error, for example 138021. 0 if it carried none.
    pub code: u32,
    /// `error_data.details`, else `message`, else `title`; at most 512 bytes.
    pub details: String,
}

/// `event: "connect"`: an offer, or the answer to ours (3.4, 3.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallConnect {
    /// The call.
    pub wacid: Wacid,
    /// `metadata.phone_number_id`: the business number.
    pub phone_number_id: Option<Arc<str>>,
    /// Who dialled. Absent in some old forms: then the SDP type decides.
    pub direction: Option<Direction>,
    /// `from`. Samples of Meta swap `from` and `to` (3.3): use `user` for the person.
    pub from: Party,
    /// `to`.
    pub to: Party,
    /// The person on the phone, from `contacts[0]` and the direction.
    pub user: Party,
    /// Seconds since 1970 when Meta sent it.
    pub timestamp_unix_s: Option<i64>,
    /// The session description.
    pub sdp: Option<(SdpType, SdpText)>,
    /// Our own data, echoed.
    pub biz_opaque: Option<String>,
    /// Payload of the deep link that the call came from.
    pub deeplink_payload: Option<String>,
    /// Payload of the button that the call came from.
    pub cta_payload: Option<String>,
}

/// How a `terminate` says that the call went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TerminateStatus {
    /// `COMPLETED`. Also seen for unanswered calls: the duration tells (1.4).
    Completed,
    /// `FAILED`.
    Failed,
    /// Absent, or a word we do not know.
    Other,
}

/// `event: "terminate"`: the call is over (3.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallTerminate {
    /// The call.
    pub wacid: Wacid,
    /// The business number.
    pub phone_number_id: Option<Arc<str>>,
    /// Who dialled.
    pub direction: Option<Direction>,
    /// Seconds since 1970 when Meta sent it.
    pub timestamp_unix_s: Option<i64>,
    /// How it went.
    pub status: TerminateStatus,
    /// When the other party picked up. Absent if it never did.
    pub start_unix_s: Option<i64>,
    /// When it ended. Absent if nobody picked up.
    pub end_unix_s: Option<i64>,
    /// Billed seconds. Absent if nobody picked up.
    pub duration_s: Option<u32>,
    /// Errors, from both places where Meta puts them (rule 17), without duplicates.
    pub errors: Vec<MetaError>,
    /// Our own data, echoed.
    pub biz_opaque: Option<String>,
}

/// What became of a business-initiated call (3.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CallStatusKind {
    /// The phone rings.
    Ringing,
    /// The user picked up.
    Accepted,
    /// The user declined.
    Rejected,
}

/// A status of a business-initiated call (3.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallStatus {
    /// The call.
    pub wacid: Wacid,
    /// The business number.
    pub phone_number_id: Option<Arc<str>>,
    /// The new status.
    pub status: CallStatusKind,
    /// Seconds since 1970 when Meta sent it.
    pub timestamp_unix_s: Option<i64>,
    /// Our own data, echoed.
    pub biz_opaque: Option<String>,
}

/// One thing a webhook told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A call arrives, or our own call got its answer.
    Connect(Box<CallConnect>),
    /// A call is over.
    Terminate(Box<CallTerminate>),
    /// A business-initiated call rings, was taken, or was declined.
    Status(Box<CallStatus>),
    /// `value.errors` without a usable call, for example 131044 (3.13).
    Errors {
        /// The business number.
        phone_number_id: Option<Arc<str>>,
        /// What Meta says.
        errors: Vec<MetaError>,
    },
    /// The user answered a request for permission to be called, or changed it (3.10).
    Permission(Box<PermissionReply>),
    /// Something for the application, passed on as it came: recordings, transcripts, settings (3.8, 3.9, 3.11, 3.12).
    Carried(Box<Carried>),
    /// Under `field: "calls"`, but nothing we act on: count it.
    Other {
        /// What it was, for the counter's label.
        what: OtherEvent,
    },
    /// Another `field`: messages, settings. The body must be passed on unchanged.
    NotCalls,
}

/// A user allows calls, or takes that back (3.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PermissionReply {
    /// The business number.
    pub phone_number_id: Option<Arc<str>>,
    /// Who.
    pub user: Party,
    /// Id of the message that says so.
    pub message_id: Option<Personal>,
    /// `accept`, else it is a refusal or a revocation.
    pub accepted: bool,
    /// Until taken back.
    pub is_permanent: bool,
    /// When a temporary one ends.
    pub expires_unix_s: Option<i64>,
    /// `user_action`, else `automatic`.
    pub by_user: bool,
    /// The request's message, or the call that led to it.
    pub context_id: Option<Personal>,
}

/// An event that is none of our business but the application's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// As the native API calls it: `call.recording_available`.
    pub kind: &'static str,
    /// The business number.
    pub phone_number_id: Option<Arc<str>>,
    /// The call it is about.
    pub wacid: Option<Wacid>,
    /// What Meta said: a JSON object. May hold numbers and links, so `Debug` does not show it.
    pub json: Personal,
}

/// Why an element of a `calls` webhook is not acted on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OtherEvent {
    /// `event` or `status` is a word we do not know.
    Unknown,
    /// It lacks what every event has: a call id, an event name.
    Malformed,
    /// `metadata` alone, with nothing in it.
    Empty,
}
