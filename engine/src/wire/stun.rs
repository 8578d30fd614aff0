//! STUN messages as ICE uses them (RFC 8489, attributes of RFC 8445 section 16.1).
//!
//! Decides: whether a datagram is a well-formed Binding message, what its attributes say, how one is written, whether its integrity holds.
//! Is given: bytes, and a key made once per password. Refuses: to know about transactions, addresses, roles; anything but Binding; the
//! long-term credential mechanism; RFC 3489 messages without the cookie (S17).

use crate::error::DropReason;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Value of bytes 4 to 7 of every message.
pub const COOKIE: u32 = 0x2112_A442;
/// Length of the fixed header in bytes.
pub const HEADER_BYTES: usize = 20;
/// Error code "Bad Request".
pub const BAD_REQUEST: u16 = 400;
/// Error code "Unauthenticated".
pub const UNAUTHENTICATED: u16 = 401;
/// Error code "Forbidden": consent is revoked (RFC 7675 section 5.2).
pub const FORBIDDEN: u16 = 403;
/// Error code "Unknown Attribute".
pub const UNKNOWN_ATTRIBUTE: u16 = 420;
/// Error code "Role Conflict" (RFC 8445 section 7.3.1.1).
pub const ROLE_CONFLICT: u16 = 487;

/// A transaction id: 96 bits, unguessable for requests of ours (S3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TransactionId(pub [u8; 12]);

/// Class of a Binding message (S2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// 0x0001.
    Request,
    /// 0x0011: wants no answer.
    Indication,
    /// 0x0101.
    Success,
    /// 0x0111.
    Error,
}

/// The key of MESSAGE-INTEGRITY for one password, with the HMAC key schedule already done.
///
/// Making one costs two SHA-1 blocks; using it costs none beyond the message. The password is not recoverable from `Debug`.
#[derive(Clone)]
pub struct IntegrityKey(Hmac<Sha1>);

impl IntegrityKey {
    /// The key of a short-term password: its bytes as they stand, `==` included (S9, M4).
    pub fn new(password: &[u8]) -> Self {
        Self(Hmac::<Sha1>::new_from_slice(password).expect("HMAC takes keys of any length"))
    }

    /// HMAC-SHA1 over the concatenation of `parts`.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 20] {
        self.state(parts).finalize().into_bytes().into()
    }

    fn state(&self, parts: &[&[u8]]) -> Hmac<Sha1> {
        let mut state = self.0.clone();
        for part in parts {
            state.update(part);
        }
        state
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey(redacted)")
    }
}

/// A view of a Binding message whose lengths have been checked: no accessor can panic.
///
/// Of a repeated attribute only the first is seen (S5), and of what follows MESSAGE-INTEGRITY only FINGERPRINT (S7).
#[derive(Clone, Copy, Debug)]
pub struct StunView<'a> {
    bytes: &'a [u8],
    class: Class,
    found: Found,
}

/// Offsets of attribute headers, zero if absent: no attribute starts at zero. They fit 16 bits, being below `MESSAGE_BYTES_MAX`.
#[derive(Clone, Copy, Default, Debug)]
struct Found {
    username: u16,
    integrity: u16,
    error_code: u16,
    unknown_attributes: u16,
    mapped: u16,
    priority: u16,
    use_candidate: u16,
    controlled: u16,
    controlling: u16,
    software: u16,
    fingerprint: u16,
    /// Where attributes end that may be looked at: MESSAGE-INTEGRITY, FINGERPRINT or the end.
    visible_end: u16,
    /// First attribute that must be understood and is not.
    unknown: u16,
}

impl<'a> StunView<'a> {
    /// Checks header, attribute lengths and the place of FINGERPRINT; refuses every method but Binding.
    ///
    /// Integrity and fingerprint values are not checked here: see [`Self::authenticate`].
    //= rules#G6
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, DropReason> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(DropReason::Oversized);
        }
        //= rfc8489#section-5  The most significant 2 bits of every STUN message MUST be zeroes.
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(DropReason::StunMalformed)?;
        let body_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[4..8] != COOKIE.to_be_bytes() || !body_bytes.is_multiple_of(4) || HEADER_BYTES + body_bytes != bytes.len() {
            return Err(DropReason::StunMalformed);
        }
        let class = match u16::from_be_bytes([header[0], header[1]]) {
            TYPE_REQUEST => Class::Request,
            TYPE_INDICATION => Class::Indication,
            TYPE_SUCCESS => Class::Success,
            TYPE_ERROR => Class::Error,
            _ => return Err(DropReason::StunMalformed),
        };
        Ok(Self { bytes, class, found: walk(bytes)? })
    }

    /// Class of the message.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Transaction id.
    pub fn id(&self) -> TransactionId {
        TransactionId(self.bytes[8..HEADER_BYTES].try_into().expect("checked: header is complete"))
    }

    /// The whole message.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// USERNAME as it stands.
    pub fn username(&self) -> Option<&'a [u8]> {
        self.value(self.found.username)
    }

    /// The part of USERNAME before its first colon: the receiver's username fragment in a request (S13).
    pub fn username_first(&self) -> Option<&'a [u8]> {
        let username = self.username()?;
        let colon = username.iter().position(|&b| b == b':')?;
        Some(&username[..colon])
    }

    /// PRIORITY.
    pub fn priority(&self) -> Option<u32> {
        self.value(self.found.priority).and_then(|v| v.try_into().ok()).map(u32::from_be_bytes)
    }

    /// Whether USE-CANDIDATE is there.
    pub fn use_candidate(&self) -> bool {
        self.found.use_candidate != 0
    }

    /// Tie-breaker of ICE-CONTROLLING.
    pub fn controlling(&self) -> Option<u64> {
        self.value(self.found.controlling).and_then(|v| v.try_into().ok()).map(u64::from_be_bytes)
    }

    /// Tie-breaker of ICE-CONTROLLED.
    pub fn controlled(&self) -> Option<u64> {
        self.value(self.found.controlled).and_then(|v| v.try_into().ok()).map(u64::from_be_bytes)
    }

    /// XOR-MAPPED-ADDRESS; none if absent or of an unknown family (S15).
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        let value = self.value(self.found.mapped)?;
        let port = u16::from_be_bytes([value[2], value[3]]) ^ (COOKIE >> 16) as u16;
        let ip = match (value[1], value.len()) {
            (FAMILY_V4, 8) => {
                let masked: [u8; 4] = value[4..8].try_into().expect("checked by the match");
                IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes(masked) ^ COOKIE))
            }
            (FAMILY_V6, 20) => {
                let masked: [u8; 16] = value[4..20].try_into().expect("checked by the match");
                IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(masked) ^ v6_mask(self.id())))
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// ERROR-CODE: 300 to 699 when the peer keeps to the RFC, never more than 7 * 100 + 255.
    pub fn error_code(&self) -> Option<u16> {
        self.value(self.found.error_code).map(|v| u16::from(v[2] & 7) * 100 + u16::from(v[3]))
    }

    /// Reason phrase of ERROR-CODE; may be empty, may be no UTF-8.
    pub fn error_reason(&self) -> Option<&'a [u8]> {
        self.value(self.found.error_code).map(|v| &v[4..])
    }

    /// Types listed in UNKNOWN-ATTRIBUTES.
    pub fn unknown_attributes(&self) -> impl Iterator<Item = u16> + 'a {
        let listed = self.value(self.found.unknown_attributes).unwrap_or_default();
        listed.chunks_exact(2).map(|t| u16::from_be_bytes([t[0], t[1]]))
    }

    /// SOFTWARE. For eyes only: nothing may depend on it.
    pub fn software(&self) -> Option<&'a [u8]> {
        self.value(self.found.software)
    }

    /// Attribute types that must be understood and are not (S11), in order of appearance, repeats included.
    pub fn unknown_required(&self) -> impl Iterator<Item = u16> + 'a {
        let (start, end) = match self.found.unknown {
            0 => (0, 0),
            at => (usize::from(at), usize::from(self.found.visible_end)),
        };
        Attributes { bytes: &self.bytes[..end], at: start }.map(|a| a.kind).filter(|&kind| is_unknown_required(kind))
    }

    /// Whether MESSAGE-INTEGRITY is there.
    pub fn has_integrity(&self) -> bool {
        self.found.integrity != 0
    }

    /// Whether MESSAGE-INTEGRITY is there and holds under `key`. Takes the same time for every wrong tag.
    pub fn is_integrity_valid(&self, key: &IntegrityKey) -> bool {
        let Some(tag) = self.value(self.found.integrity) else { return false };
        let at = usize::from(self.found.integrity);
        //= rfc8489#section-14.5  the Length field of the STUN message header is adjusted to point to the end of the MESSAGE-INTEGRITY
        let length = (at + INTEGRITY_BYTES - HEADER_BYTES) as u16;
        key.state(&[&self.bytes[..2], &length.to_be_bytes(), &self.bytes[4..at]]).verify_slice(tag).is_ok()
    }

    /// Whether FINGERPRINT is there and right.
    pub fn is_fingerprint_valid(&self) -> bool {
        let Some(value) = self.value(self.found.fingerprint) else { return false };
        let covered = &self.bytes[..usize::from(self.found.fingerprint)];
        value == (crc32fast::hash(covered) ^ FINGERPRINT_XOR).to_be_bytes()
    }

    /// What every check and every answer to a check must pass: FINGERPRINT first, being the cheaper, then MESSAGE-INTEGRITY (S6, S8).
    pub fn authenticate(&self, key: &IntegrityKey) -> Result<(), DropReason> {
        //= rfc8445#section-7.3  the agent MUST use the FINGERPRINT mechanism
        if self.is_fingerprint_valid() && self.is_integrity_valid(key) { Ok(()) } else { Err(DropReason::StunUnauthenticated) }
    }

    fn value(&self, at: u16) -> Option<&'a [u8]> {
        if at == 0 {
            return None;
        }
        Attributes { bytes: self.bytes, at: usize::from(at) }.next().map(|a| a.value)
    }
}

/// Writes one Binding message into a caller's buffer, attribute by attribute, in the order called.
///
/// A message that does not fit, or an impossible attribute, shows as `None` from [`Self::finish`]; nothing panics.
#[derive(Debug)]
pub struct StunWriter<'a> {
    out: &'a mut [u8],
    at: usize,
    id: TransactionId,
    fits: bool,
}

impl<'a> StunWriter<'a> {
    /// Starts a message of this class.
    pub fn new(out: &'a mut [u8], class: Class, id: TransactionId) -> Self {
        let kind = match class {
            Class::Request => TYPE_REQUEST,
            Class::Indication => TYPE_INDICATION,
            Class::Success => TYPE_SUCCESS,
            Class::Error => TYPE_ERROR,
        };
        let fits = match out.first_chunk_mut::<HEADER_BYTES>() {
            Some(header) => {
                header[..2].copy_from_slice(&kind.to_be_bytes());
                header[2..4].fill(0);
                header[4..8].copy_from_slice(&COOKIE.to_be_bytes());
                header[8..].copy_from_slice(&id.0);
                true
            }
            None => false,
        };
        Self { out, at: HEADER_BYTES, id, fits }
    }

    /// USERNAME made of `first:second`; in a request `first` is the receiver's fragment (S9).
    pub fn username(&mut self, first: &str, second: &str) -> &mut Self {
        self.put(ATTR_USERNAME, &[first.as_bytes(), b":", second.as_bytes()])
    }

    /// PRIORITY.
    pub fn priority(&mut self, priority: u32) -> &mut Self {
        self.put(ATTR_PRIORITY, &[&priority.to_be_bytes()])
    }

    /// USE-CANDIDATE.
    pub fn use_candidate(&mut self) -> &mut Self {
        self.put(ATTR_USE_CANDIDATE, &[])
    }

    /// ICE-CONTROLLING.
    pub fn controlling(&mut self, tie_breaker: u64) -> &mut Self {
        self.put(ATTR_CONTROLLING, &[&tie_breaker.to_be_bytes()])
    }

    /// ICE-CONTROLLED.
    pub fn controlled(&mut self, tie_breaker: u64) -> &mut Self {
        self.put(ATTR_CONTROLLED, &[&tie_breaker.to_be_bytes()])
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> &mut Self {
        let port = (address.port() ^ (COOKIE >> 16) as u16).to_be_bytes();
        match address.ip() {
            IpAddr::V4(ip) => self.put(ATTR_XOR_MAPPED_ADDRESS, &[&[0, FAMILY_V4], &port, &(ip.to_bits() ^ COOKIE).to_be_bytes()]),
            IpAddr::V6(ip) => {
                let masked = (ip.to_bits() ^ v6_mask(self.id)).to_be_bytes();
                self.put(ATTR_XOR_MAPPED_ADDRESS, &[&[0, FAMILY_V6], &port, &masked])
            }
        }
    }

    /// ERROR-CODE; `code` 300 to 699.
    pub fn error_code(&mut self, code: u16, reason: &str) -> &mut Self {
        self.fits &= (300..700).contains(&code);
        self.put(ATTR_ERROR_CODE, &[&[0, 0, (code / 100) as u8, (code % 100) as u8], reason.as_bytes()])
    }

    /// UNKNOWN-ATTRIBUTES.
    pub fn unknown_attributes(&mut self, kinds: &[u16]) -> &mut Self {
        let start = self.at;
        self.put(ATTR_UNKNOWN_ATTRIBUTES, &[]);
        for kind in kinds {
            self.append(&kind.to_be_bytes());
        }
        self.close(start);
        self
    }

    /// SOFTWARE. We send none; the simulator's relay may.
    pub fn software(&mut self, text: &str) -> &mut Self {
        self.put(ATTR_SOFTWARE, &[text.as_bytes()])
    }

    /// An attribute of any type, for peers in tests that send what we do not know.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.put(kind, &[value])
    }

    /// Ends the message with MESSAGE-INTEGRITY (if a key is given) and FINGERPRINT. Returns its length in bytes, or `None` if it did not fit.
    pub fn finish(&mut self, key: Option<&IntegrityKey>) -> Option<usize> {
        if let Some(key) = key {
            self.integrity(key);
        }
        let start = self.at;
        self.set_length(start + FINGERPRINT_BYTES);
        let crc = if self.fits { crc32fast::hash(&self.out[..start]) ^ FINGERPRINT_XOR } else { 0 };
        self.put(ATTR_FINGERPRINT, &[&crc.to_be_bytes()]);
        self.end()
    }

    /// Ends the message as it stands, without FINGERPRINT, for peers in tests that break the rule.
    pub fn finish_bare(&mut self, key: Option<&IntegrityKey>) -> Option<usize> {
        if let Some(key) = key {
            self.integrity(key);
        }
        self.end()
    }

    fn integrity(&mut self, key: &IntegrityKey) {
        self.set_length(self.at + INTEGRITY_BYTES);
        let tag = if self.fits { key.tag(&[&self.out[..self.at]]) } else { [0; 20] };
        self.put(ATTR_MESSAGE_INTEGRITY, &[&tag]);
    }

    fn end(&mut self) -> Option<usize> {
        self.set_length(self.at);
        self.fits.then_some(self.at)
    }

    fn put(&mut self, kind: u16, parts: &[&[u8]]) -> &mut Self {
        let start = self.at;
        self.append(&kind.to_be_bytes());
        self.append(&[0, 0]);
        for part in parts {
            self.append(part);
        }
        self.close(start);
        self
    }

    /// Sets the length of the attribute that started at `start`, and pads it with zeros to a multiple of 4.
    fn close(&mut self, start: usize) {
        let length = self.at - (start + ATTR_HEADER_BYTES).min(self.at);
        if self.fits {
            self.out[start + 2..start + 4].copy_from_slice(&(length as u16).to_be_bytes());
            self.append(&[0; 3][..length.next_multiple_of(4) - length]);
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        // The length field has 16 bits, and messages beyond an MTU help nobody (S18 asks for less still).
        let end = self.at + bytes.len();
        self.fits &= end <= MESSAGE_BYTES_MAX;
        match self.out.get_mut(self.at..end) {
            Some(place) if self.fits => {
                place.copy_from_slice(bytes);
                self.at = end;
            }
            _ => self.fits = false,
        }
    }

    fn set_length(&mut self, end: usize) {
        if self.fits {
            self.out[2..4].copy_from_slice(&((end - HEADER_BYTES) as u16).to_be_bytes());
        }
    }
}

/// One attribute.
struct Attribute<'a> {
    at: usize,
    kind: u16,
    value: &'a [u8],
}

/// Attributes from `at` on; ends early where lengths do not add up.
struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let at = self.at;
        let head: &[u8; ATTR_HEADER_BYTES] = self.bytes.get(at..)?.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        //= rfc8489#section-14  the padding bits ... MUST be ignored by the receiver
        let value = self.bytes.get(at + ATTR_HEADER_BYTES..at + ATTR_HEADER_BYTES + length)?;
        self.at = at + ATTR_HEADER_BYTES + length.next_multiple_of(4);
        (self.at <= self.bytes.len()).then_some(Attribute { at, kind: u16::from_be_bytes([head[0], head[1]]), value })
    }
}

/// Walks every attribute once and notes where the first of each kind stands.
fn walk(bytes: &[u8]) -> Result<Found, DropReason> {
    let mut found = Found { visible_end: bytes.len() as u16, ..Found::default() };
    let mut attributes = Attributes { bytes, at: HEADER_BYTES };
    for Attribute { at, kind, value } in &mut attributes {
        let at = at as u16;
        if found.fingerprint != 0 {
            //= rfc8489#section-14.7  When present, the FINGERPRINT attribute MUST be the last attribute in the message
            return Err(DropReason::StunMalformed);
        }
        let (slot, lengths) = match kind {
            ATTR_FINGERPRINT => (&mut found.fingerprint, 4..=4),
            _ if found.integrity != 0 => continue, // S7
            ATTR_MESSAGE_INTEGRITY => (&mut found.integrity, 20..=20),
            ATTR_USERNAME => (&mut found.username, 0..=USERNAME_BYTES_MAX),
            ATTR_ERROR_CODE => (&mut found.error_code, 4..=MESSAGE_BYTES_MAX),
            ATTR_UNKNOWN_ATTRIBUTES => (&mut found.unknown_attributes, 0..=MESSAGE_BYTES_MAX),
            ATTR_XOR_MAPPED_ADDRESS => (&mut found.mapped, mapped_lengths(value)),
            ATTR_PRIORITY => (&mut found.priority, 4..=4),
            ATTR_USE_CANDIDATE => (&mut found.use_candidate, 0..=0),
            ATTR_CONTROLLED => (&mut found.controlled, 8..=8),
            ATTR_CONTROLLING => (&mut found.controlling, 8..=8),
            ATTR_SOFTWARE => (&mut found.software, 0..=MESSAGE_BYTES_MAX),
            _ if is_unknown_required(kind) => (&mut found.unknown, 0..=MESSAGE_BYTES_MAX),
            _ => continue,
        };
        if *slot == 0 {
            if !lengths.contains(&value.len()) {
                return Err(DropReason::StunMalformed);
            }
            *slot = at;
            if matches!(kind, ATTR_MESSAGE_INTEGRITY | ATTR_FINGERPRINT) {
                found.visible_end = found.visible_end.min(at);
            }
        }
    }
    if attributes.at == bytes.len() { Ok(found) } else { Err(DropReason::StunMalformed) }
}

/// Lengths that XOR-MAPPED-ADDRESS may have, given its own family byte; an unknown family is later ignored, not refused.
fn mapped_lengths(value: &[u8]) -> core::ops::RangeInclusive<usize> {
    match value.get(1) {
        Some(&FAMILY_V4) => 8..=8,
        Some(&FAMILY_V6) => 20..=20,
        _ => 4..=MESSAGE_BYTES_MAX,
    }
}

/// Whether an attribute type must be understood (below 0x8000) and is not known to RFC 8489 or RFC 8445 (S11).
fn is_unknown_required(kind: u16) -> bool {
    kind < 0x8000
        && !matches!(
            kind,
            ATTR_MAPPED_ADDRESS
                | ATTR_USERNAME
                | ATTR_MESSAGE_INTEGRITY
                | ATTR_ERROR_CODE
                | ATTR_UNKNOWN_ATTRIBUTES
                | ATTR_REALM
                | ATTR_NONCE
                | ATTR_MESSAGE_INTEGRITY_SHA256
                | ATTR_PASSWORD_ALGORITHM
                | ATTR_USERHASH
                | ATTR_XOR_MAPPED_ADDRESS
                | ATTR_PRIORITY
                | ATTR_USE_CANDIDATE
        )
}

fn v6_mask(id: TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&id.0);
    u128::from_be_bytes(mask)
}

const TYPE_REQUEST: u16 = 0x0001;
const TYPE_INDICATION: u16 = 0x0011;
const TYPE_SUCCESS: u16 = 0x0101;
const TYPE_ERROR: u16 = 0x0111;

const ATTR_MAPPED_ADDRESS: u16 = 0x0001;
const ATTR_USERNAME: u16 = 0x0006;
const ATTR_MESSAGE_INTEGRITY: u16 = 0x0008;
const ATTR_ERROR_CODE: u16 = 0x0009;
const ATTR_UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const ATTR_REALM: u16 = 0x0014;
const ATTR_NONCE: u16 = 0x0015;
const ATTR_MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const ATTR_PASSWORD_ALGORITHM: u16 = 0x001D;
const ATTR_USERHASH: u16 = 0x001E;
const ATTR_XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ATTR_PRIORITY: u16 = 0x0024;
const ATTR_USE_CANDIDATE: u16 = 0x0025;
const ATTR_SOFTWARE: u16 = 0x8022;
const ATTR_FINGERPRINT: u16 = 0x8028;
const ATTR_CONTROLLED: u16 = 0x8029;
const ATTR_CONTROLLING: u16 = 0x802A;

const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;
const FINGERPRINT_XOR: u32 = 0x5354_554E;
const ATTR_HEADER_BYTES: usize = 4;
const INTEGRITY_BYTES: usize = ATTR_HEADER_BYTES + 20;
const FINGERPRINT_BYTES: usize = ATTR_HEADER_BYTES + 4;
/// RFC 8489 section 14.3: USERNAME is shorter than 509 bytes.
const USERNAME_BYTES_MAX: usize = 508;
/// Longest message we write, and longest attribute we look into.
const MESSAGE_BYTES_MAX: usize = crate::limits::DATAGRAM_BYTES_MAX;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
