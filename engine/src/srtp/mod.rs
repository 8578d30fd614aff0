//! SRTP and SRTCP, one context per direction, in place (RFC 3711, RFC 7714).

mod session;

pub use crate::keying::Profile;
pub use session::{Receiver, Sender};
