//! Media engine for WhatsApp Business calls.

#[cfg(feature = "io")]
pub mod bridge;
pub mod call;
pub mod codec;
pub mod dtls;
pub mod dtmf;
#[cfg(feature = "io")]
pub mod engine;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ice;
pub mod jitter;
pub mod keying;
pub mod limits;
pub mod rng;
pub mod rtp;
pub mod srtp;
pub mod time;
pub mod wire;
