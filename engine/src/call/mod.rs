//! The sans-IO hub of a call: the only place where ICE, DTLS, SRTP, RTP, jitter buffer, codec and DTMF meet.

mod event;
mod params;
mod port;
mod stats;

pub use event::{CallEvent, Ended, Moment, Recorded};
pub use params::{LocalParams, MediaParams, RemoteParams, SetupRole};
pub use port::{FrameBuffer, Incoming, MediaPort, Outgoing};
pub use stats::{CallStats, Milestones};
