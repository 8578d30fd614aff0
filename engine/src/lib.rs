//! Media engine for WhatsApp Business calls.

pub mod call;
pub mod codec;
pub mod dtls;
pub mod dtmf;
pub mod error;
pub mod ice;
pub mod jitter;
pub mod keying;
pub mod limits;
pub mod rng;
pub mod rtp;
pub mod srtp;
pub mod time;
pub mod wire;
