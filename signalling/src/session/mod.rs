//! Signalling of calls without any input or output: what Meta and the engine said goes in, what to do comes out.

#[cfg(test)]
mod tests;
mod types;

pub use contract::{CallKey, CallState, CallView, Command, Dial, Effect, Ending, EngineEvent, Input, Notice, RequestId, SessionConfig};
pub use registry::{Counts, Sessions};
pub use types::{
    CallConnect, CallStatus, CallStatusKind, CallTerminate, Direction, Event, MetaError, OtherEvent, Party, Personal, SdpText, SdpType,
    TerminateStatus, Wacid,
};

mod call;
mod contract;
mod inbound;
mod outbound;
mod registry;
