//! Our ECDSA P-256 certificate and the fingerprints of certificates (RFC 8122).

use crate::error::SetupError;

/// SHA-256 over the DER of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl core::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Fingerprint(sha-256 {:02X}:{:02X}:…)", self.0[0], self.0[1])
    }
}

/// A self-signed ECDSA P-256 certificate with its key.
pub struct Certificate {
    _private: (),
}

impl Certificate {
    /// Makes a fresh one, valid from a day before `unix_time_s` for 30 days.
    pub fn generate(_unix_time_s: i64) -> Result<Self, SetupError> {
        todo!()
    }
    /// Its fingerprint, as announced in our SDP.
    pub fn fingerprint(&self) -> Fingerprint {
        todo!()
    }
}
