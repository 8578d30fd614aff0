//! Interfaces for programs that drive calls themselves.

mod bodies;
mod bridge_body;
mod direct;
mod figures;
mod native;
mod problem;
mod rtp_body;
#[cfg(test)]
mod tests;
mod voip;

pub(crate) use direct::Direct;
pub use direct::SessionId;
#[cfg(any(test, fuzzing))]
pub(crate) use direct::fuzz_request;
pub use native::ApiCallId;
pub(crate) use native::{ApiError, ApiOp, ApiReply, ApiRequest, At, Book, EventHub, Hooks, Memory, Native, NewCall, Signups};
pub(crate) use rtp_body::codec_named;
#[cfg(test)]
pub(crate) use tests::OFFER as TEST_OFFER;
pub(crate) use voip::{VOIP_ONLY, names_outside};
