//! The sans-IO hub of a call: the only place where ICE, DTLS, SRTP, RTP, jitter buffer, codec and DTMF meet.

mod adapt;
#[allow(clippy::module_inception, reason = "the hub type has the name of its room")]
mod call;
mod event;
mod far;
mod forward;
mod gate;
mod media;
mod params;
mod port;
mod recorder;
mod stats;
mod watchdog;

pub use crate::dtmf::DigitRefused;
pub use call::{Call, CallConfig};
pub use event::{CallEvent, Ended, Moment, Recorded};
pub use far::{Direction, FarCommand, FarSide, FarSocket, FarStats};
pub use forward::{Arrived, Forward};
pub use media::Scratch;
pub use params::{LocalParams, MediaParams, RemoteParams, SetupRole};
pub use port::{FrameBuffer, Incoming, MediaPort, Outgoing};
pub use stats::{CallStats, Milestones};
pub use watchdog::{Watchdog, WatchdogAction, Watchdogs};
