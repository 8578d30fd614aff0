//! The native call API: JSON over HTTP, an event stream over WebSocket, signed webhooks.
//!
//! `book` knows the calls, `events` spreads what happens, `hooks` delivers it, `service` answers requests, `contract` is what the service asks of the control task.

mod admin;
mod bodies;
mod book;
mod contract;
mod events;
mod hooks;
mod idempotency;
mod routing;
mod service;
mod settings;
mod signup;
mod stream;

pub use book::ApiCallId;
pub(crate) use book::{At, Book};
pub(crate) use contract::{ApiError, ApiOp, ApiReply, ApiRequest, NewCall};
pub(crate) use events::EventHub;
pub(crate) use hooks::Hooks;
pub(crate) use service::{Memory, Native};
pub(crate) use signup::Signups;
