//! Fuzz bodies: each takes bytes and must neither panic nor break an invariant it asserts.

mod dtls;
mod ice;
mod jitter;
mod media;
mod srtp;
mod stun;

pub use dtls::{fuzz_dtls_client, fuzz_dtls_gate};
pub use ice::fuzz_ice_agent;
pub use jitter::fuzz_jitter;
pub use media::{fuzz_dtmf, fuzz_opus_toc, fuzz_reporter, fuzz_rtcp, fuzz_rtp};
pub use srtp::{fuzz_srtcp_receive, fuzz_srtp_receive};
pub use stun::fuzz_stun;
