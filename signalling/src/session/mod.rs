//! Signalling of calls without any input or output: what Meta and the engine said goes in, what to do comes out.
//!
//! ```text
//! webhook -> Input::Webhook --+                   +--> Effect::Graph      pre_accept, accept, reject, terminate, connect
//! engine  -> Input::Engine  --+--> Sessions ------+--> Effect::OpenCall, SetRemote, OpenGate, CloseCall
//! Graph   -> Input::GraphReply+   (one Call each) +--> Effect::Notify     the application, and the log
//! clock   -> Input::Timeout --+                   +--> poll_timeout
//! ```
//!
//! Refuses: HTTP, JSON, clocks, the engine's threads; and which numbers are served, which the shell decides before it feeds an event.

#[cfg(test)]
mod tests;
mod types;

pub use contract::{
    AnswerSignal, CallKey, CallState, CallView, Command, Dial, Effect, Ending, EngineEvent, Input, Notice, RequestId, SessionConfig,
};
pub use registry::{Counts, Sessions};
pub use types::{
    CallConnect, CallStatus, CallStatusKind, CallTerminate, Carried, Direction, Event, MetaError, OtherEvent, Party, PermissionReply,
    Personal, SdpText, SdpType, TerminateStatus, Wacid,
};

mod call;
mod contract;
mod inbound;
mod outbound;
mod registry;
