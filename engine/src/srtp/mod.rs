//! SRTP and SRTCP, one context per direction, in place (RFC 3711, RFC 5764, RFC 7714).
//!
//! Decides: which packet is authentic and new, which index a packet has, how bytes are protected. Is given: master keys (`keying`) and
//! whole datagrams. Refuses: where keys came from, what the payload means, jitter, calls; MKI, key derivation rates, NULL ciphers.
//!
//! | file | decides |
//! |---|---|
//! | `session.rs` | the order of checks in both directions, limits per key |
//! | `sources.rs` | which SSRCs of the peer have a context |
//! | `index.rs` | the 48-bit index behind a 16-bit sequence number |
//! | `replay.rs` | whether an index was seen before |
//! | `layout.rs` | where header, payload and tag of a packet are |
//! | `kdf.rs` | session keys from master keys |
//! | `cipher.rs` | initialisation vectors, what is covered by the tag, which code path runs |
//! | `hmac.rs`, `portable.rs`, `simd.rs` | the arithmetic |

mod cipher;
mod hmac;
mod index;
mod kdf;
mod layout;
mod portable;
mod replay;
mod session;
#[cfg(target_arch = "x86_64")]
mod simd;
mod sources;
#[cfg(test)]
mod tests;

pub use crate::keying::Profile;
pub use session::{Receiver, Sender};
