//! DTLS 1.2 with `use_srtp`: the handshake that makes the SRTP keys (RFC 6347, RFC 5764).
//!
//! `client.rs` is one connection in either role: when to send, repeat, give up. `gate.rs` stands in front of the TLS library,
//! `openssl.rs` is the only file that calls it, `cert.rs` knows certificates by their hash.

mod cert;
mod client;
mod gate;
mod openssl;

#[cfg(test)]
mod tests;

pub use cert::{Certificate, Fingerprint};
pub use client::{Dtls, DtlsConfig, DtlsContext, DtlsEvent, DtlsRole, DtlsStats, Mismatch};

#[cfg(any(test, fuzzing))]
pub(crate) use gate::Gate;
