//! Bytes on the wire: checked views and small representations. No state, no time, no keys.

pub mod demux;
pub mod dtmf;
#[cfg(test)]
pub(crate) mod golden;
pub mod rtcp;
pub mod rtp;
pub mod stun;
