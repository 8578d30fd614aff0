//! Our ECDSA P-256 certificate and the fingerprints of certificates (RFC 8122).
//!
//! Decides: what our certificate says, how a fingerprint is written, read and compared. Is given: the wall-clock time, by the host.
//! Refuses: hashes other than SHA-256 (Meta announces nothing else and accepts nothing else), certificate chains, any clock.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509NameBuilder};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::SetupError;

/// SHA-256 over the DER of a certificate.
///
/// `Display` writes the value of `a=fingerprint` (`sha-256 AB:CD:…`, upper case); `FromStr` reads it in either case, with or without the
/// hash's name. Equality takes the same time whatever differs.
#[derive(Clone, Copy)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate given as DER.
    pub fn of_der(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Its first four bytes as `AB:CD:EF:01`: enough to compare by eye with an SDP, too little to be mistaken for the whole.
    pub fn prefix(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{a:02X}:{b:02X}:{c:02X}:{d:02X}")
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint(sha-256 {:02X}:{:02X}:…)", self.0[0], self.0[1])
    }
}

//= rules#D21
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha-256 ")?;
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = SetupError;

    /// Reads `[sha-256 ]AB:CD:…`, 32 bytes in hex of either case, colons as the grammar wants them (RFC 8122 section 5).
    fn from_str(text: &str) -> Result<Self, SetupError> {
        let mut words = text.split_ascii_whitespace();
        let value = match (words.next(), words.next(), words.next()) {
            (Some(value), None, None) => value,
            (Some(hash), Some(value), None) if hash.eq_ignore_ascii_case("sha-256") => value,
            (Some(_), Some(_), None) => {
                return Err(SetupError::PeerIncompatible("fingerprint: only sha-256 is accepted; announce a=fingerprint:sha-256"));
            }
            _ => return Err(SetupError::PeerIncompatible("fingerprint: expected `sha-256` and 32 bytes in hex with colons")),
        };
        let mut bytes = [0u8; 32];
        let mut count = 0;
        for pair in value.split(':') {
            let digits = pair.as_bytes();
            let (Some(slot), [high, low]) = (bytes.get_mut(count), digits) else {
                return Err(SetupError::PeerIncompatible("fingerprint: not 32 bytes in hex with colons"));
            };
            let (Some(high), Some(low)) = ((*high as char).to_digit(16), (*low as char).to_digit(16)) else {
                return Err(SetupError::PeerIncompatible("fingerprint: a digit is not hexadecimal"));
            };
            *slot = (high * 16 + low) as u8;
            count += 1;
        }
        if count != bytes.len() {
            return Err(SetupError::PeerIncompatible("fingerprint: shorter than 32 bytes"));
        }
        Ok(Self(bytes))
    }
}

/// A self-signed ECDSA P-256 certificate with its key.
pub struct Certificate {
    pub(super) x509: X509,
    pub(super) key: PKey<Private>,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Makes a fresh one, valid from a day before `unix_time_s` for 30 days.
    ///
    /// Key and serial number come from the TLS library's generator. Fails only if the library does.
    //= rules#D1
    pub fn generate(unix_time_s: i64) -> Result<Self, SetupError> {
        Self::make(unix_time_s).map_err(|_| SetupError::Library("no certificate could be made"))
    }

    /// Its fingerprint, as announced in our SDP.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    //= meta#R-27  P-256
    fn make(unix_time_s: i64) -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut name = X509NameBuilder::new()?;
        // Says nothing about us or the host: the peer pins the hash and reads no name.
        name.append_entry_by_nid(Nid::COMMONNAME, "call")?;
        let name = name.build();
        // 127 random bits: positive, and at most 16 octets (RFC 5280 section 4.1.2.2).
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
        let mut x509 = X509::builder()?;
        x509.set_version(2)?;
        x509.set_serial_number(&*serial.to_asn1_integer()?)?;
        x509.set_subject_name(&name)?;
        x509.set_issuer_name(&name)?;
        let from_s = unix_time_s.saturating_sub(DAY_S);
        x509.set_not_before(&*Asn1Time::from_unix(from_s)?)?;
        x509.set_not_after(&*Asn1Time::from_unix(from_s.saturating_add(30 * DAY_S))?)?;
        x509.set_pubkey(&key)?;
        x509.sign(&key, MessageDigest::sha256())?;
        let x509 = x509.build();
        let fingerprint = Fingerprint::of_der(&x509.to_der()?);
        Ok(Self { x509, key, fingerprint })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

const DAY_S: i64 = 86_400;
