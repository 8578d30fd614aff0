//! What may reach the TLS library before the handshake is authenticated (D13, D14, D30).
//!
//! Decides: which records and handshake messages of a datagram go in, and in what shape: whole messages only, one per record, in records
//! numbered by us. Is given: datagrams from the selected path. Refuses: cryptography, time, what the messages mean beyond their form.
//!
//! Until Finished nothing a peer sends is authenticated, and the library ends the handshake over nearly any oddity. So this gate
//! - takes only whole records of the right version and type, and keeps plaintext alerts and application data out;
//! - takes only handshake messages that the peer's role may send, at the one or two places of the flight where they may stand;
//! - reassembles fragments itself, apart for each claimed total length, so a forged fragment spoils nothing but its own copy;
//! - holds a HelloVerifyRequest back until the retransmission timer, because a ServerHello that comes meanwhile proves it forged;
//! - numbers epoch-0 records afresh, so a forged high number cannot close the library's replay window on the genuine ones;
//! - keeps the last ClientHello of a peer that should have answered ours: it is the one thing to go on with should no answer ever come.

use super::client::DtlsRole;
use crate::error::{DropReason, EndReason};

/// The gate of one connection.
pub(crate) struct Gate {
    peer: DtlsRole,
    next_record_seq: u64,
    is_cookie_sent: bool,
    is_hello_seen: bool,
    held_retry: Option<Vec<u8>>,
    assemblies: Vec<Assembly>,
    early: Vec<u8>,
    noted_alert: Option<u8>,
    noted_hello: Option<EndReason>,
    peer_hello: Option<PeerHello>,
    /// Body of the hello that this gate's connection answers, if that came unexpected.
    answered_hello: Vec<u8>,
}

/// A ClientHello that came although we are the client (`whatsapp-calling.md` 4.3).
pub(crate) struct PeerHello {
    version: [u8; 2],
    body: Vec<u8>,
}

impl Gate {
    /// A gate for a connection in which we have `role`.
    pub(crate) fn new(role: DtlsRole) -> Self {
        let peer = match role {
            DtlsRole::Client => DtlsRole::Server,
            DtlsRole::Server => DtlsRole::Client,
        };
        Self {
            peer,
            next_record_seq: 0,
            is_cookie_sent: false,
            is_hello_seen: false,
            held_retry: None,
            assemblies: Vec::new(),
            early: Vec::new(),
            noted_alert: None,
            noted_hello: None,
            peer_hello: None,
            answered_hello: Vec::new(),
        }
    }

    /// A gate for a connection in which we answer this hello as server, and the record of it that goes in first.
    pub(crate) fn answering(hello: &PeerHello) -> (Self, Vec<u8>) {
        let gate = Self { is_hello_seen: true, answered_hello: hello.body.clone(), ..Self::new(DtlsRole::Server) };
        let (mut gate, mut record) = (gate, Vec::new());
        gate.emit_message(hello.version, CLIENT_HELLO, 0, &hello.body, &mut record);
        (gate, record)
    }

    /// Whether the connection behind this gate is the answer to `hello`.
    pub(crate) fn answers(&self, hello: &PeerHello) -> bool {
        self.answered_hello == hello.body
    }

    /// Whether `datagram` has a handshake message in clear that only a peer writes which goes on with this very handshake, in its role. A ClientHello
    /// begins one, and a Certificate has the same place in both roles.
    pub(crate) fn is_continued_by(&self, datagram: &[u8]) -> bool {
        let of_handshake = Records(datagram).filter(|record| (record.epoch(), record.kind()) == (0, HANDSHAKE));
        of_handshake
            .flat_map(|record| Fragments(record.0.get(RECORD_HEADER_BYTES..).unwrap_or_default()))
            .flatten()
            .any(|fragment| !matches!(fragment.kind, CLIENT_HELLO | CERTIFICATE) && self.is_expected(fragment.kind, fragment.seq))
    }

    /// Whether the peer's hello has come: a ServerHello if we are the client.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_hello_seen
    }

    /// Takes over what `other` noted, where this gate has noted nothing.
    pub(crate) fn take_notes_of(&mut self, other: &Self) {
        self.noted_alert = self.noted_alert.or(other.noted_alert);
        self.noted_hello = self.noted_hello.or(other.noted_hello);
    }

    /// The hello of a peer that should have answered ours, unless it did answer meanwhile.
    pub(crate) fn take_peer_hello(&mut self) -> Option<PeerHello> {
        self.peer_hello.take().filter(|_| !self.is_hello_seen && !self.is_cookie_sent)
    }

    /// The first fatal alert that came in clear, its description as on the wire. Evidence, not proof (D14).
    //= rules#D14
    pub(crate) fn noted_alert(&self) -> Option<u8> {
        self.noted_alert
    }

    /// Why a ClientHello was kept away that could never become a call.
    pub(crate) fn noted_hello(&self) -> Option<EndReason> {
        self.noted_hello
    }

    /// Writes the records of `datagram` that may go in during the handshake to `out`, which is emptied first.
    ///
    /// `Ok` with an empty `out` means: kept for later. An error means that nothing in it was of use.
    //= rules#D13
    //= rules#D30
    //= rules#G3
    pub(crate) fn admit(&mut self, datagram: &[u8], out: &mut Vec<u8>) -> Result<(), DropReason> {
        out.clear();
        let mut is_of_use = false;
        for record in Records(datagram) {
            is_of_use |= match (record.epoch(), record.kind()) {
                (0, CHANGE_CIPHER_SPEC) if record.body() == [1] => {
                    self.emit(CHANGE_CIPHER_SPEC, record.version(), &[1], out);
                    true
                }
                (0, ALERT) => {
                    //= rfc6347#section-4.1.2.7  a plaintext alert proves nothing: noted, kept away from the library
                    if let [2, description] = *record.body() {
                        self.noted_alert.get_or_insert(description);
                    }
                    false
                }
                (0, HANDSHAKE) => self.admit_handshake(&record, out),
                (1, _) => {
                    // Usually right behind its ChangeCipherSpec. If it overtook that, it is tried again behind the next datagram.
                    if record.0.len() <= EARLY_BYTES_MAX {
                        self.early.clear();
                        self.early.extend_from_slice(record.0);
                    }
                    out.extend_from_slice(record.0);
                    true
                }
                _ => false,
            };
        }
        if !is_of_use {
            return Err(DropReason::DtlsMalformed);
        }
        if !out.is_empty() && !out.ends_with(&self.early) {
            out.extend_from_slice(&self.early);
        }
        Ok(())
    }

    /// Writes the records of `datagram` that may go in after Finished to `out`: the encrypted ones, whole.
    //= rules#D22
    pub(crate) fn admit_protected(datagram: &[u8], out: &mut Vec<u8>) -> Result<(), DropReason> {
        out.clear();
        for record in Records(datagram).filter(|r| r.epoch() == 1) {
            out.extend_from_slice(record.0);
        }
        if out.is_empty() { Err(DropReason::DtlsMalformed) } else { Ok(()) }
    }

    /// The record of a HelloVerifyRequest that may go in now that the timer says no ServerHello came in its stead.
    //= rules#D4
    //= rules#D5
    pub(crate) fn take_retry(&mut self) -> Option<Vec<u8>> {
        let record = self.held_retry.take().filter(|_| !self.is_hello_seen)?;
        self.is_cookie_sent = true;
        Some(record)
    }

    /// Frees what only the handshake needs.
    pub(crate) fn finish(&mut self) {
        self.assemblies = Vec::new();
        self.early = Vec::new();
        self.held_retry = None;
        self.peer_hello = None;
        self.answered_hello = Vec::new();
    }

    /// Bytes kept for messages that are not whole yet.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held_bytes(&self) -> usize {
        let kept = self.peer_hello.as_ref().map_or(0, |hello| hello.body.len());
        kept + self.answered_hello.len() + self.assemblies.iter().map(|a| a.body.len() + a.is_here.len()).sum::<usize>()
    }

    fn admit_handshake(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
        // All or nothing: a record whose last fragment is broken has no good first one.
        if Fragments(record.body()).any(|f| f.is_none()) {
            return false;
        }
        let mut is_of_use = false;
        for fragment in Fragments(record.body()).flatten() {
            if !self.is_expected(fragment.kind, fragment.seq) {
                continue;
            }
            is_of_use = true;
            if fragment.part.len() == fragment.total {
                self.admit_message(record.version(), fragment.kind, fragment.seq, fragment.part, out);
            } else if let Some(body) = self.assemble(&fragment) {
                self.admit_message(record.version(), fragment.kind, fragment.seq, &body, out);
            }
        }
        is_of_use
    }

    /// Whether the peer's role may send this message type under this number.
    ///
    /// A full handshake without tickets and OCSP has one place for each (RFC 5246 section 7.3); a HelloVerifyRequest moves them by one.
    fn is_expected(&self, kind: u8, seq: u16) -> bool {
        let place = match self.peer {
            // What follows the hello answers our flight, so it cannot have overtaken it; the library would end everything over it.
            DtlsRole::Client if seq > 0 && !self.is_hello_seen => return false,
            DtlsRole::Client => seq,
            DtlsRole::Server if kind == CLIENT_HELLO => return seq == 0 && !self.is_hello_seen,
            DtlsRole::Server if kind == HELLO_VERIFY_REQUEST => return seq == 0 && !self.is_cookie_sent && !self.is_hello_seen,
            DtlsRole::Server => seq.wrapping_sub(u16::from(self.is_cookie_sent)),
        };
        matches!(
            (self.peer, place, kind),
            (DtlsRole::Client, 0, CLIENT_HELLO)
                | (DtlsRole::Client, 1, CERTIFICATE)
                | (DtlsRole::Client, 2, CLIENT_KEY_EXCHANGE)
                | (DtlsRole::Client, 3, CERTIFICATE_VERIFY)
                | (DtlsRole::Server, 0, SERVER_HELLO)
                | (DtlsRole::Server, 1, CERTIFICATE)
                | (DtlsRole::Server, 2, SERVER_KEY_EXCHANGE)
                | (DtlsRole::Server, 3, CERTIFICATE_REQUEST | SERVER_HELLO_DONE)
                | (DtlsRole::Server, 4, SERVER_HELLO_DONE)
        )
    }

    /// Looks at a whole message once more and writes it as one record.
    fn admit_message(&mut self, version: [u8; 2], kind: u8, seq: u16, body: &[u8], out: &mut Vec<u8>) {
        match kind {
            HELLO_VERIFY_REQUEST => {
                // server_version, then the cookie and nothing behind it; an empty cookie asks for nothing.
                if matches!(body, [0xfe, _, len, cookie @ ..] if usize::from(*len) == cookie.len() && *len > 0) {
                    let mut record = Vec::new();
                    self.emit_message(version, kind, seq, body, &mut record);
                    self.held_retry = Some(record);
                }
                return;
            }
            SERVER_HELLO => {
                self.is_hello_seen = true;
                self.peer_hello = None;
            }
            CLIENT_HELLO if self.peer == DtlsRole::Server => {
                let is_good = matches!(ClientHello::parse(body), Some(ClientHello { has_our_cipher: true, has_use_srtp: true }));
                if is_good && body.len() <= PEER_HELLO_BYTES_MAX {
                    self.peer_hello = Some(PeerHello { version, body: body.to_vec() });
                }
                return;
            }
            CLIENT_HELLO => match ClientHello::parse(body) {
                Some(ClientHello { has_our_cipher: true, has_use_srtp: true }) => self.is_hello_seen = true,
                // The library would end everything over it; the genuine one may still come.
                Some(hello) => {
                    self.noted_hello = Some(if hello.has_our_cipher { EndReason::NoSrtpProfile } else { EndReason::DtlsFailed });
                    return;
                }
                None => return,
            },
            SERVER_HELLO_DONE if !body.is_empty() => return,
            _ => {}
        }
        self.emit_message(version, kind, seq, body, out);
    }

    fn emit_message(&mut self, version: [u8; 2], kind: u8, seq: u16, body: &[u8], out: &mut Vec<u8>) {
        let mut message = Vec::with_capacity(HANDSHAKE_HEADER_BYTES + body.len());
        let total = &(body.len() as u32).to_be_bytes()[1..];
        message.push(kind);
        message.extend_from_slice(total);
        message.extend_from_slice(&seq.to_be_bytes());
        message.extend_from_slice(&[0; 3]);
        message.extend_from_slice(total);
        message.extend_from_slice(body);
        self.emit(HANDSHAKE, version, &message, out);
    }

    fn emit(&mut self, kind: u8, version: [u8; 2], body: &[u8], out: &mut Vec<u8>) {
        out.push(kind);
        out.extend_from_slice(&version);
        // Epoch 0 in the upper 16 bits. Record numbers of epoch 0 are in no transcript and under no MAC.
        out.extend_from_slice(&self.next_record_seq.to_be_bytes());
        self.next_record_seq += 1;
        out.extend_from_slice(&(body.len() as u16).to_be_bytes());
        out.extend_from_slice(body);
    }

    /// Adds a fragment to its message (RFC 6347 section 4.2.3); returns the message once it is whole.
    //= rules#D12
    fn assemble(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        let at = match self.assemblies.iter().position(|a| a.is_of(fragment)) {
            Some(at) => at,
            None => {
                // Full: the oldest goes. Fragments of a genuine flight come together, so a flood costs at most a repetition.
                while self.assemblies.len() >= ASSEMBLIES_MAX
                    || self.assemblies.iter().map(|a| a.body.len()).sum::<usize>() + fragment.total > ASSEMBLY_BYTES_MAX
                {
                    self.assemblies.remove(0);
                }
                self.assemblies.push(Assembly::new(fragment));
                self.assemblies.len() - 1
            }
        };
        self.assemblies[at].add(fragment);
        (self.assemblies[at].missing_bytes == 0).then(|| self.assemblies.remove(at).body)
    }
}

/// A handshake message of which fragments have come.
struct Assembly {
    kind: u8,
    seq: u16,
    body: Vec<u8>,
    is_here: Vec<bool>,
    missing_bytes: usize,
}

impl Assembly {
    fn new(fragment: &Fragment<'_>) -> Self {
        let total = fragment.total;
        Self { kind: fragment.kind, seq: fragment.seq, body: vec![0; total], is_here: vec![false; total], missing_bytes: total }
    }

    fn is_of(&self, fragment: &Fragment<'_>) -> bool {
        (self.kind, self.seq, self.body.len()) == (fragment.kind, fragment.seq, fragment.total)
    }

    /// Overlaps are fine, and what came first stays: cut points may differ from one repetition to the next.
    fn add(&mut self, fragment: &Fragment<'_>) {
        for (at, &byte) in (fragment.offset..).zip(fragment.part) {
            if !self.is_here[at] {
                (self.is_here[at], self.body[at]) = (true, byte);
                self.missing_bytes -= 1;
            }
        }
    }
}

/// One whole record, header included; the header was checked.
struct Record<'a>(&'a [u8]);

impl Record<'_> {
    fn kind(&self) -> u8 {
        self.0[0]
    }
    fn version(&self) -> [u8; 2] {
        [self.0[1], self.0[2]]
    }
    fn epoch(&self) -> u16 {
        u16::from_be_bytes([self.0[3], self.0[4]])
    }
    fn body(&self) -> &[u8] {
        &self.0[RECORD_HEADER_BYTES..]
    }
}

/// The whole records at the front of a datagram; ends at the first that is not one (RFC 6347 section 4.1).
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let header = self.0.first_chunk::<RECORD_HEADER_BYTES>()?;
        let body_bytes = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let is_ours = matches!(header[0], 20..=23) && header[1] == 0xfe && matches!(header[2], 0xfd | 0xff);
        if !is_ours || !(1..=RECORD_BODY_BYTES_MAX).contains(&body_bytes) {
            return None;
        }
        let (record, rest) = self.0.split_at_checked(RECORD_HEADER_BYTES + body_bytes)?;
        self.0 = rest;
        Some(Record(record))
    }
}

/// A piece of a handshake message.
struct Fragment<'a> {
    kind: u8,
    seq: u16,
    total: usize,
    offset: usize,
    part: &'a [u8],
}

/// The fragments in a handshake record; `None` stands for a broken one and is the last item.
struct Fragments<'a>(&'a [u8]);

impl<'a> Iterator for Fragments<'a> {
    type Item = Option<Fragment<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let fragment = Self::parse(self.0);
        self.0 = match &fragment {
            Some(f) => &self.0[HANDSHAKE_HEADER_BYTES + f.part.len()..],
            None => &[],
        };
        Some(fragment)
    }
}

impl<'a> Fragments<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Fragment<'a>> {
        let (header, rest) = bytes.split_first_chunk::<HANDSHAKE_HEADER_BYTES>()?;
        let u24 = |at: usize| usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2]);
        let (total, offset, part_bytes) = (u24(1), u24(6), u24(9));
        let is_sound = total <= MESSAGE_BYTES_MAX && offset + part_bytes <= total && (part_bytes > 0 || total == 0);
        let part = rest.get(..part_bytes).filter(|_| is_sound)?;
        Some(Fragment { kind: header[0], seq: u16::from_be_bytes([header[4], header[5]]), total, offset, part })
    }
}

/// What of a ClientHello decides whether we can ever answer it (RFC 5246 section 7.4.1.2, RFC 6347 section 4.2.1).
struct ClientHello {
    has_our_cipher: bool,
    has_use_srtp: bool,
}

impl ClientHello {
    /// `None` if it is broken.
    fn parse(body: &[u8]) -> Option<Self> {
        // client_version and random, then session_id, cookie, cipher_suites, compression_methods, extensions.
        let (_session_id, rest) = take_vector(body.get(34..)?, 1)?;
        let (_cookie, rest) = take_vector(rest, 1)?;
        let (ciphers, rest) = take_vector(rest, 2)?;
        let (_compressions, rest) = take_vector(rest, 1)?;
        let (mut extensions, rest) = if rest.is_empty() { (rest, rest) } else { take_vector(rest, 2)? };
        if !rest.is_empty() || ciphers.len() % 2 != 0 {
            return None;
        }
        let has_our_cipher = ciphers.chunks_exact(2).any(|c| OUR_CIPHERS.contains(&[c[0], c[1]]));
        let mut has_use_srtp = false;
        while !extensions.is_empty() {
            let (kind, rest) = extensions.split_first_chunk::<2>()?;
            has_use_srtp |= u16::from_be_bytes(*kind) == EXTENSION_USE_SRTP;
            extensions = take_vector(rest, 2)?.1;
        }
        Some(Self { has_our_cipher, has_use_srtp })
    }
}

/// Splits a vector with a length of `prefix_bytes` bytes off the front.
fn take_vector(bytes: &[u8], prefix_bytes: usize) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = bytes.split_at_checked(prefix_bytes)?;
    rest.split_at_checked(prefix.iter().fold(0, |len, &b| len << 8 | usize::from(b)))
}

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const EXTENSION_USE_SRTP: u16 = 14;
/// ECDHE-ECDSA with AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305: what `openssl.rs` configures.
const OUR_CIPHERS: [[u8; 2]; 3] = [[0xc0, 0x2b], [0xc0, 0x2c], [0xcc, 0xa9]];
const RECORD_HEADER_BYTES: usize = 13;
const HANDSHAKE_HEADER_BYTES: usize = 12;
/// 2^14 of plaintext and 256 of expansion (RFC 5246 section 6.2.3).
const RECORD_BODY_BYTES_MAX: usize = 16_640;
/// Whole in one record of 2^14 bytes, header included. Certificates of calls have under 1 KiB.
const MESSAGE_BYTES_MAX: usize = 16_000;
/// A flight has five messages; the rest is for forged copies.
const ASSEMBLIES_MAX: usize = 8;
/// Two messages of the largest size.
const ASSEMBLY_BYTES_MAX: usize = 32_000;
/// Browsers send 200 bytes, 1,400 with a post-quantum key share.
const PEER_HELLO_BYTES_MAX: usize = 4_096;
/// A Finished has 61 bytes in AES-GCM.
const EARLY_BYTES_MAX: usize = 128;

const _: () = assert!(MESSAGE_BYTES_MAX + HANDSHAKE_HEADER_BYTES <= 16_384);
const _: () = assert!(2 * MESSAGE_BYTES_MAX <= ASSEMBLY_BYTES_MAX);
