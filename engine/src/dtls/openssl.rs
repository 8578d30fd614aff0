//! The only place that talks to the TLS library (AWS-LC's libssl through the `openssl` crate).
//!
//! Decides: how one connection of the library is fed, drained, and told the time. Is given: datagrams that passed the gate, the moment to
//! retransmit, the acceptable fingerprints. Refuses: when to retransmit or give up (`client.rs`), what may enter (`gate.rs`), any clock:
//! the library asks us for the time, and the time we tell it moves only when we want its timer to expire.

use core::cell::Cell;
use std::collections::VecDeque;
use std::io;

use foreign_types::ForeignTypeRef;
use openssl::error::ErrorStack;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslStream, SslVersion,
};
use openssl_sys as ffi;
use zeroize::Zeroize;

use super::cert::{Certificate, Fingerprint};
use super::client::{DtlsConfig, DtlsRole};
use crate::error::SetupError;
use crate::keying::{Keying, Profile};

/// The library's half of one connection.
pub(super) struct Session {
    stream: SslStream<Pipe>,
    role: DtlsRole,
    accept: Acceptable,
    clock_s: i64,
    mtu_bytes: usize,
    is_complete: bool,
}

/// What came of feeding the library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It waits for more datagrams.
    Pending,
    /// The handshake is complete (said again on every later call).
    Complete,
    /// An authenticated close_notify came.
    PeerClosed,
    /// An authenticated fatal alert came.
    Alert(u8),
    /// The peer's certificate is not the announced one but this; an alert is on its way out.
    WrongFingerprint(Fingerprint),
    /// The peer's choice of SRTP profile breaks RFC 5764 section 4.1.1.
    WrongProfile,
    /// The library has answered as many repeated flights as it will.
    Exhausted,
    /// Anything else the library refuses.
    Refused,
}

impl Session {
    /// A connection that has sent nothing yet. `accept` holds 1 to [`FINGERPRINTS_MAX`] fingerprints.
    pub(super) fn new(context: &SslContext, role: DtlsRole, accept: &[Fingerprint], mtu_bytes: usize) -> Result<Self, SetupError> {
        let accept = Acceptable::new(accept)?;
        let mut ssl = Ssl::new(context).map_err(|_| SetupError::Library("no new TLS connection"))?;
        match role {
            DtlsRole::Client => ssl.set_connect_state(),
            DtlsRole::Server => ssl.set_accept_state(),
        }
        //= meta#R-27  no datagram is larger
        ssl.set_mtu(mtu_bytes as u32).map_err(|_| SetupError::Misuse("dtls mtu_bytes is below the library's minimum"))?;
        let stream = SslStream::new(ssl, Pipe::default()).map_err(|_| SetupError::Library("no new TLS stream"))?;
        Ok(Self { stream, role, accept, clock_s: CLOCK_ORIGIN_S, mtu_bytes, is_complete: false })
    }

    /// Puts one datagram in front of the library; [`Self::step`] makes it read it.
    pub(super) fn feed(&mut self, datagram: &[u8]) {
        let pipe = self.stream.get_mut();
        pipe.inbox.clear();
        pipe.inbox.extend_from_slice(datagram);
        pipe.is_full = true;
    }

    /// Lets the library work until it wants more input.
    pub(super) fn step(&mut self) -> Step {
        let _ambient = Ambient::enter(self.clock_s, self.accept);
        if !self.is_complete {
            if let Err(error) = self.stream.do_handshake() {
                return verdict(&error);
            }
            self.is_complete = true;
        }
        //= rfc5764#section-4.1  application data has no meaning here: read so that records behind it are seen, then forgotten
        let mut unwanted = [0u8; 512];
        for _ in 0..READS_MAX {
            match self.stream.ssl_read(&mut unwanted) {
                Ok(_) => continue,
                Err(error) => {
                    return match verdict(&error) {
                        Step::Pending => Step::Complete,
                        other => other,
                    };
                }
            }
        }
        Step::Complete
    }

    /// Makes the library send its last flight again, with new record numbers (D10). False if it will not: its limit of 12 per flight.
    ///
    /// The library's own timer is in the way: it retransmits only when that expired. So its clock, which is ours, jumps over it.
    //= rules#D10
    //= rules#D25
    pub(super) fn retransmit(&mut self) -> bool {
        self.clock_s += CLOCK_JUMP_S;
        let _ambient = Ambient::enter(self.clock_s, self.accept);
        let before = self.stream.get_ref().outbox.len();
        // JUSTIFICATION: rust-openssl exposes no DTLS timer; without this call a lost flight is never repeated.
        // SAFETY: the pointer is the live SSL owned by `stream`; the call reenters only our `Pipe`, through the BIO that `stream` owns.
        unsafe { ffi::DTLSv1_handle_timeout(self.stream.ssl().as_ptr()) };
        drop(ErrorStack::get());
        self.stream.get_ref().outbox.len() > before
    }

    /// Sends smaller datagrams from now on (RFC 6347 section 4.1.1.1).
    //= rules#D11
    pub(super) fn shrink_mtu(&mut self, mtu_bytes: usize) {
        if mtu_bytes < self.mtu_bytes {
            self.mtu_bytes = mtu_bytes;
            // JUSTIFICATION: `SslStream` lends its `Ssl` only by shared reference, and the safe setter wants it exclusively.
            // SAFETY: the pointer is the live SSL owned by `stream`, which we hold exclusively.
            unsafe { ffi::SSL_set_mtu(self.stream.ssl().as_ptr(), mtu_bytes as u32) };
        }
    }

    /// The negotiated profile, once the handshake is complete.
    pub(super) fn profile(&self) -> Option<Profile> {
        let id = self.stream.ssl().selected_srtp_profile()?.id().as_raw();
        ALL_PROFILES.into_iter().find(|&p| u64::from(profile_id(p)) == id)
    }

    /// The keys (D16, D17), once the handshake is complete.
    //= rules#D16
    pub(super) fn export(&self, profile: Profile) -> Option<Keying> {
        let mut material = [0u8; EXPORT_BYTES_MAX];
        let wanted = &mut material[..2 * (profile.key_bytes() + profile.salt_bytes())];
        let _ambient = Ambient::enter(self.clock_s, self.accept);
        //= rfc5764#section-4.2  label EXTRACTOR-dtls_srtp, no context
        let exported = self.stream.ssl().export_keying_material(wanted, "EXTRACTOR-dtls_srtp", None);
        let keying = exported.ok().map(|()| split(profile, self.role, wanted));
        material.zeroize();
        keying
    }

    /// Queues a fatal alert.
    pub(super) fn send_fatal(&mut self, description: u8) {
        let _ambient = Ambient::enter(self.clock_s, self.accept);
        // JUSTIFICATION: rust-openssl has no way to end a completed handshake with an alert of our choice (D3).
        // SAFETY: the pointer is the live SSL owned by `stream`.
        unsafe { ffi::SSL_send_fatal_alert(self.stream.ssl().as_ptr(), description) };
        drop(ErrorStack::get());
    }

    /// Sends application data, as a peer that mistakes this for a tunnel would.
    #[cfg(test)]
    pub(super) fn write(&mut self, data: &[u8]) {
        let _ambient = Ambient::enter(self.clock_s, self.accept);
        let _ = self.stream.ssl_write(data);
    }

    /// Queues a close_notify, if the handshake is complete.
    pub(super) fn close(&mut self) {
        if self.is_complete {
            let _ambient = Ambient::enter(self.clock_s, self.accept);
            let _ = self.stream.shutdown();
            drop(ErrorStack::get());
        }
    }

    /// Takes the next datagram to send.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outbox.pop_front()
    }

    /// How many datagrams wait to be sent.
    pub(super) fn outgoing(&self) -> usize {
        self.stream.get_ref().outbox.len()
    }
}

/// Builds what all connections share.
pub(super) fn context(config: &DtlsConfig, certificate: &Certificate) -> Result<SslContext, SetupError> {
    configure(config, certificate).map_err(|_| SetupError::Library("the TLS library refused its configuration"))
}

//= rules#D1
//= rules#D2
//= rules#D22
//= rules#D23
//= rules#D26
//= rules#D27
fn configure(config: &DtlsConfig, certificate: &Certificate) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::dtls())?;
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305")?;
    builder.set_groups_list("P-256:X25519")?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_QUERY_MTU | SslOptions::NO_RENEGOTIATION);
    builder.set_mode(SslMode::NO_AUTO_CHAIN);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_certificate(&certificate.x509)?;
    builder.set_private_key(&certificate.key)?;
    let profiles: Vec<&str> = config.profiles.iter().map(|&p| library_name(p)).collect();
    //= rfc5764#section-4.1.1:offer  the profiles, the preferred one first
    builder.set_tlsext_use_srtp(&profiles.join(":"))?;
    // JUSTIFICATION: rust-openssl exposes neither; the default verification would build and check chains of self-signed certificates
    // for nothing, and the default clock is the wall clock, which jumps and which tests cannot turn.
    // SAFETY: `builder` owns a live SSL_CTX; both callbacks are functions with static lifetime and the signature the library documents.
    unsafe {
        let mode = ffi::SSL_VERIFY_PEER | ffi::SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
        ffi::SSL_CTX_set_custom_verify(builder.as_ptr(), mode, Some(verify_leaf));
        ffi::SSL_CTX_set_current_time_cb(builder.as_ptr(), Some(tell_time));
    }
    Ok(builder.build())
}

/// Datagrams in and out of the library: one per read, one per write, never glued (D24).
#[derive(Default)]
struct Pipe {
    inbox: Vec<u8>,
    is_full: bool,
    outbox: VecDeque<Vec<u8>>,
}

impl io::Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.is_full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.is_full = false;
        let len = self.inbox.len().min(out.len());
        out[..len].copy_from_slice(&self.inbox[..len]);
        Ok(len)
    }
}

//= rules#D24
impl io::Write for Pipe {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        // Full: the datagram is lost, as it might be on any network, and the timer repairs it. The queue holds two whole flights.
        if self.outbox.len() < OUTBOX_MAX {
            self.outbox.push_back(datagram.to_vec());
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fingerprints one of which the peer's leaf must have.
#[derive(Clone, Copy)]
struct Acceptable {
    list: [Fingerprint; FINGERPRINTS_MAX],
    count: usize,
}

impl Acceptable {
    const NONE: Self = Self { list: [Fingerprint([0; 32]); FINGERPRINTS_MAX], count: 0 };

    fn new(fingerprints: &[Fingerprint]) -> Result<Self, SetupError> {
        if fingerprints.is_empty() {
            return Err(SetupError::PeerIncompatible("the peer announced no sha-256 fingerprint"));
        }
        let Some(room) = Self::NONE.list.get(..fingerprints.len()) else {
            return Err(SetupError::PeerIncompatible("the peer announced more than 8 sha-256 fingerprints"));
        };
        let mut all = Self { count: room.len(), ..Self::NONE };
        all.list[..fingerprints.len()].copy_from_slice(fingerprints);
        Ok(all)
    }

    fn holds(&self, leaf: &Fingerprint) -> bool {
        self.list[..self.count].iter().any(|f| f == leaf)
    }
}

thread_local! {
    /// What the callbacks of the library call under way on this thread may know. AWS-LC passes no SSL to its clock callback.
    static AMBIENT: Cell<(i64, Acceptable, Option<Fingerprint>)> = const { Cell::new((CLOCK_ORIGIN_S, Acceptable::NONE, None)) };
}

/// Sets the callbacks' knowledge for one call into the library, and empties the thread's error queue before and after (D29).
struct Ambient;

impl Ambient {
    //= rules#D29
    //= rules#G10
    fn enter(clock_s: i64, accept: Acceptable) -> Self {
        AMBIENT.set((clock_s, accept, None));
        drop(ErrorStack::get());
        Self
    }
}

impl Drop for Ambient {
    fn drop(&mut self) {
        AMBIENT.set((CLOCK_ORIGIN_S, Acceptable::NONE, None));
        drop(ErrorStack::get());
    }
}

/// The library's clock: whatever the call under way was told.
unsafe extern "C" fn tell_time(_ssl: *const ffi::SSL, out: *mut ffi::timeval) {
    // JUSTIFICATION: a C callback writes through a pointer.
    // SAFETY: the library passes a valid, exclusive timeval for the length of the call.
    unsafe { *out = ffi::timeval { tv_sec: AMBIENT.get().0, tv_usec: 0 } };
}

/// Compares the SHA-256 of the peer's leaf with the acceptable ones (D15, D28), in the middle of the handshake: no key exists yet.
//= rules#D15
//= rules#D28
//= rules#G4
unsafe extern "C" fn verify_leaf(ssl: *mut ffi::SSL, out_alert: *mut u8) -> ffi::ssl_verify_result_t {
    let (clock_s, accept, _) = AMBIENT.get();
    // JUSTIFICATION: a C callback that reads the certificate as the library holds it, without parsing it a second time.
    // SAFETY: `ssl` is live during the callback; the list and its first entry are checked for null and stay unchanged during it, so the
    // slice is valid.
    let shown = unsafe {
        let list = ffi::SSL_get0_peer_certificates(ssl);
        let leaf = if list.is_null() { core::ptr::null_mut() } else { ffi::OPENSSL_sk_value(list.cast(), 0) };
        let leaf = leaf.cast::<ffi::CRYPTO_BUFFER>();
        match leaf.is_null() {
            true => None,
            false => Some(core::slice::from_raw_parts(ffi::CRYPTO_BUFFER_data(leaf), ffi::CRYPTO_BUFFER_len(leaf))),
        }
        .map(Fingerprint::of_der)
    };
    //= rfc5764#section-5.1.1:fingerprint  compared in mid-handshake, before there is a key
    if shown.is_some_and(|shown| accept.holds(&shown)) {
        return ffi::ssl_verify_result_t_ssl_verify_ok;
    }
    AMBIENT.set((clock_s, accept, shown.or(Some(Fingerprint([0; 32])))));
    // JUSTIFICATION: the callback's only way to choose the alert.
    // SAFETY: the library passes a valid, exclusive pointer for the length of the call.
    unsafe { *out_alert = ALERT_BAD_CERTIFICATE };
    ffi::ssl_verify_result_t_ssl_verify_invalid
}

/// What an error of the library means. Must be called while the [`Ambient`] of the failed call lives.
//= rules#D3
fn verdict(error: &openssl::ssl::Error) -> Step {
    match error.code() {
        ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => return Step::Pending,
        ErrorCode::ZERO_RETURN => return Step::PeerClosed,
        _ => {}
    }
    if let Some(shown) = AMBIENT.get().2 {
        return Step::WrongFingerprint(shown);
    }
    let reasons = error.ssl_error().map(|stack| stack.errors()).unwrap_or_default();
    for reason in reasons.iter().map(|e| e.reason_code()) {
        match reason {
            // The library numbers the alerts it received from here on, one reason each.
            1_000..=1_255 => return Step::Alert((reason - 1_000) as u8),
            //= rfc5764#section-4.1.3  two profiles, a strange one, an MKI: no media
            ffi::SSL_R_BAD_SRTP_PROTECTION_PROFILE_LIST | ffi::SSL_R_BAD_SRTP_MKI_VALUE => return Step::WrongProfile,
            ffi::SSL_R_READ_TIMEOUT_EXPIRED => return Step::Exhausted,
            _ => {}
        }
    }
    Step::Refused
}

/// Sorts exported bytes into ours and theirs: client key, server key, client salt, server salt (RFC 5764 section 4.2).
//= rfc5764#section-4.2:direction  the half of our role to send, the other to receive
//= rules#D17
pub(super) fn split(profile: Profile, role: DtlsRole, material: &[u8]) -> Keying {
    let (keys, salts) = material.split_at(2 * profile.key_bytes());
    let (client_key, server_key) = keys.split_at(profile.key_bytes());
    let (client_salt, server_salt) = salts.split_at(profile.salt_bytes());
    let mut keying = Keying { profile, local_key: [0; 32], local_salt: [0; 14], remote_key: [0; 32], remote_salt: [0; 14] };
    let ((local_key, local_salt), (remote_key, remote_salt)) = match role {
        DtlsRole::Client => ((client_key, client_salt), (server_key, server_salt)),
        DtlsRole::Server => ((server_key, server_salt), (client_key, client_salt)),
    };
    keying.local_key[..profile.key_bytes()].copy_from_slice(local_key);
    keying.local_salt[..profile.salt_bytes()].copy_from_slice(local_salt);
    keying.remote_key[..profile.key_bytes()].copy_from_slice(remote_key);
    keying.remote_salt[..profile.salt_bytes()].copy_from_slice(remote_salt);
    keying
}

const fn library_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Aes128CmSha1_80 => "SRTP_AES128_CM_SHA1_80",
        Profile::Aes128CmSha1_32 => "SRTP_AES128_CM_SHA1_32",
        Profile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
        Profile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
    }
}

/// The number on the wire (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
const fn profile_id(profile: Profile) -> u16 {
    match profile {
        Profile::Aes128CmSha1_80 => 0x0001,
        Profile::Aes128CmSha1_32 => 0x0002,
        Profile::AeadAes128Gcm => 0x0007,
        Profile::AeadAes256Gcm => 0x0008,
    }
}

const ALL_PROFILES: [Profile; 4] = [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];

/// Fingerprints a peer may announce for one call; SDP in the wild has one to three.
pub(super) const FINGERPRINTS_MAX: usize = 8;
/// How often the library repeats one flight before it fails the connection.
pub(super) const RETRANSMISSIONS_PER_FLIGHT_MAX: u32 = 12;
/// handshake_failure (RFC 5246 section 7.2).
pub(super) const ALERT_HANDSHAKE_FAILURE: u8 = 40;
const ALERT_BAD_CERTIFICATE: u8 = 42;
/// Two flights of the largest kind in the smallest datagrams: 16 KiB of certificates would not fit, and need not.
const OUTBOX_MAX: usize = 32;
/// Records one datagram of 1 500 bytes can hold at 13 + 25 bytes for the smallest encrypted one, rounded up.
const READS_MAX: usize = 64;
/// Two keys of 32 bytes and two salts of 14.
const EXPORT_BYTES_MAX: usize = 92;
/// Where the library's clock starts: not zero, which it reads as "no timer".
const CLOCK_ORIGIN_S: i64 = 1_000;
/// Longer than the library's longest timer, 60 s.
const CLOCK_JUMP_S: i64 = 120;
