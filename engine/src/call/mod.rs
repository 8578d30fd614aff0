//! The sans-IO hub of a call: the only place where ICE, DTLS, SRTP, RTP, jitter buffer, codec and DTMF meet.

mod params;

pub use params::{LocalParams, MediaParams, RemoteParams, SetupRole};
