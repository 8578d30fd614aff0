//! DTLS 1.2 with `use_srtp`: the handshake that makes the SRTP keys (RFC 6347, RFC 5764).

mod cert;
mod client;
mod openssl;

pub use cert::{Certificate, Fingerprint};
pub use client::{Dtls, DtlsConfig, DtlsContext, DtlsEvent, DtlsRole};
