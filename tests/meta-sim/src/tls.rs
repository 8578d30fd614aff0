//! DTLS 1.2 with use_srtp, straight on the TLS library (RFC 6347, RFC 5764).
//!
//! Given: datagrams, the time, the fingerprint that the business announced. Decides: handshake, certificate check, exporter halves.
//! Refuses: which address a datagram came from (`relay.rs`). The library reads our clock, so it runs in virtual time too. This is the only
//! file of the package with `unsafe`.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::{X509, X509NameBuilder, X509Ref};
use openssl_sys as ffi;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use tipring_engine::keying::{Keying, Profile};
use tipring_engine::time::{Span, Time};

/// Which side sends the ClientHello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsRole {
    /// Meta waits: the rule.
    Server,
    /// Meta starts: its documented answer `a=setup:active`.
    Client,
}

/// What the connection tells the relay.
#[derive(Debug)]
pub enum TlsEvent {
    /// The business showed this certificate, whether or not it was accepted.
    Certificate {
        /// `P-256`, `RSA`, or the library's name of another kind.
        key: String,
        /// Its SHA-256 fingerprint is the one in the SDP of the business.
        matches_sdp: bool,
    },
    /// Keys are there.
    Connected(Box<Keying>),
    /// It is over.
    Failed(String),
    /// The business sent an authenticated close_notify.
    Closed,
}

/// A self-signed P-256 certificate, one per call as seen at Meta.
pub struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

impl Identity {
    /// Makes a fresh one, valid around `unix_time_s`.
    pub fn generate(unix_time_s: i64) -> Result<Self, String> {
        Self::build(unix_time_s).map_err(|e| format!("cannot make a certificate: {e}"))
    }

    fn build(unix_time_s: i64) -> Result<Self, openssl::error::ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "relay")?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(64, MsbOption::MAYBE_ZERO, false)?;
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_not_before(&*Asn1Time::from_unix(unix_time_s - 86_400)?)?;
        builder.set_not_after(&*Asn1Time::from_unix(unix_time_s + 30 * 86_400)?)?;
        builder.set_pubkey(&key)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self { certificate: builder.build(), key })
    }

    /// The digest of the certificate as SDP writes it, `AA:BB:…`. `sha1` for the fault that announces SHA-1 only.
    pub fn fingerprint(&self, sha1: bool) -> String {
        let digest = if sha1 { MessageDigest::sha1() } else { MessageDigest::sha256() };
        self.certificate.digest(digest).map(|d| colons(&d)).unwrap_or_default()
    }
}

/// One DTLS connection.
pub struct Tls {
    stream: SslStream<Pipe>,
    role: TlsRole,
    fingerprint: String,
    state: State,
    events: VecDeque<TlsEvent>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshaking,
    Connected,
    Over,
}

impl Tls {
    /// Starts it. `profiles` best first; `fingerprint` is the `AA:BB:…` of the business's SDP.
    pub fn new(identity: &Identity, role: TlsRole, profiles: &[Profile], fingerprint: &str, now: Time) -> Result<Self, String> {
        Self::with_timer(identity, role, profiles, fingerprint, None, now)
    }

    /// The same with a first retransmission after `timer`; none: the library's one second.
    pub fn with_timer(
        identity: &Identity,
        role: TlsRole,
        profiles: &[Profile],
        fingerprint: &str,
        timer: Option<Span>,
        now: Time,
    ) -> Result<Self, String> {
        let ssl = configure(identity, profiles).map_err(|e| format!("the TLS library refused its configuration: {e}"))?;
        let mut stream = SslStream::new(ssl, Pipe::default()).map_err(|e| format!("the TLS library refused a connection: {e}"))?;
        set_mtu(&mut stream)?;
        if let Some(timer) = timer {
            set_timer(&mut stream, timer);
        }
        let mut tls =
            Self { stream, role, fingerprint: fingerprint.to_ascii_uppercase(), state: State::Handshaking, events: VecDeque::new() };
        if role == TlsRole::Client {
            tls.step(now);
        }
        Ok(tls)
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, bytes: &[u8], now: Time) {
        self.stream.get_mut().inbound.push_back(bytes.to_vec());
        self.step(now);
    }

    /// Takes the time: repeats a flight when it is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.state != State::Over && self.poll_timeout(now).is_some_and(|at| at <= now) {
            let outcome = with_clock(now, || retransmit(&self.stream));
            if outcome < 0 {
                self.fail("the business never finished the DTLS handshake".to_owned());
            }
            self.step(now);
        }
    }

    /// When `handle_timeout` is wanted. `now` is the present.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        if self.state == State::Over {
            return None;
        }
        with_clock(now, || time_left(&self.stream)).map(|left| now + left)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.stream.get_mut().outbound.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<TlsEvent> {
        self.events.pop_front()
    }

    /// Keys are there.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    fn step(&mut self, now: Time) {
        let role = self.role;
        if self.state == State::Handshaking {
            let stream = &mut self.stream;
            match with_clock(now, || if role == TlsRole::Server { stream.accept() } else { stream.connect() }) {
                Ok(()) => self.finish(),
                Err(e) if matches!(e.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => {}
                Err(e) => self.fail(format!("DTLS handshake failed: {e}")),
            }
        }
        while self.state == State::Connected && !self.stream.get_ref().inbound.is_empty() {
            let stream = &mut self.stream;
            let mut scratch = [0; 1_500];
            match with_clock(now, || stream.ssl_read(&mut scratch)) {
                Ok(_) => {}
                Err(e) if e.code() == ErrorCode::ZERO_RETURN => {
                    self.state = State::Over;
                    self.events.push_back(TlsEvent::Closed);
                }
                Err(e) if e.code() == ErrorCode::WANT_READ => break,
                Err(e) => self.fail(format!("DTLS connection failed: {e}")),
            }
        }
    }

    fn finish(&mut self) {
        let Some(certificate) = self.stream.ssl().peer_certificate() else {
            return self.fail("the business showed no certificate".to_owned());
        };
        let shown = certificate.digest(MessageDigest::sha256()).map(|d| colons(&d)).unwrap_or_default();
        let matches_sdp = shown == self.fingerprint;
        self.events.push_back(TlsEvent::Certificate { key: key_kind(&certificate), matches_sdp });
        if !matches_sdp {
            return self.fail("the certificate of the business is not the one its SDP announced".to_owned());
        }
        match self.keying() {
            Ok(keying) => {
                self.state = State::Connected;
                self.events.push_back(TlsEvent::Connected(Box::new(keying)));
            }
            Err(why) => self.fail(why),
        }
    }

    /// RFC 5764 section 4.2: client key, server key, client salt, server salt.
    fn keying(&self) -> Result<Keying, String> {
        let ssl = self.stream.ssl();
        let id = ssl.selected_srtp_profile().ok_or("no SRTP profile was agreed")?.id().as_raw();
        let profile = match id {
            1 => Profile::Aes128CmSha1_80,
            2 => Profile::Aes128CmSha1_32,
            7 => Profile::AeadAes128Gcm,
            8 => Profile::AeadAes256Gcm,
            other => return Err(format!("SRTP profile {other:#06x} was agreed, which nobody offered")),
        };
        let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
        let mut material = [0; 2 * (32 + 14)];
        let material = &mut material[..2 * (key + salt)];
        ssl.export_keying_material(material, "EXTRACTOR-dtls_srtp", None).map_err(|e| format!("exporter failed: {e}"))?;
        let mut keying = Keying { profile, local_key: [0; 32], local_salt: [0; 14], remote_key: [0; 32], remote_salt: [0; 14] };
        let (client_key, rest) = material.split_at(key);
        let (server_key, rest) = rest.split_at(key);
        let (client_salt, server_salt) = rest.split_at(salt);
        let (ours, theirs) = match self.role {
            TlsRole::Server => ((server_key, server_salt), (client_key, client_salt)),
            TlsRole::Client => ((client_key, client_salt), (server_key, server_salt)),
        };
        keying.local_key[..key].copy_from_slice(ours.0);
        keying.local_salt[..salt].copy_from_slice(ours.1);
        keying.remote_key[..key].copy_from_slice(theirs.0);
        keying.remote_salt[..salt].copy_from_slice(theirs.1);
        Ok(keying)
    }

    fn fail(&mut self, why: String) {
        if self.state != State::Over {
            self.state = State::Over;
            self.events.push_back(TlsEvent::Failed(why));
        }
    }
}

fn configure(identity: &Identity, profiles: &[Profile]) -> Result<Ssl, openssl::error::ErrorStack> {
    let mut context = SslContext::builder(SslMethod::dtls())?;
    context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    context.set_certificate(&identity.certificate)?;
    context.set_private_key(&identity.key)?;
    // Self-signed on both sides: the fingerprint in the SDP is the proof, checked in `finish`.
    context.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| true);
    context.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
    let names: Vec<_> = profiles
        .iter()
        .map(|profile| match profile {
            Profile::Aes128CmSha1_80 => "SRTP_AES128_CM_SHA1_80",
            Profile::Aes128CmSha1_32 => "SRTP_AES128_CM_SHA1_32",
            Profile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Profile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        })
        .collect();
    context.set_tlsext_use_srtp(&names.join(":"))?;
    follow_our_clock(&mut context);
    Ssl::new(&context.build())
}

fn key_kind(certificate: &X509Ref) -> String {
    let Ok(key) = certificate.public_key() else { return "unreadable".to_owned() };
    match key.id() {
        Id::EC => match key.ec_key().ok().and_then(|key| key.group().curve_name()) {
            Some(Nid::X9_62_PRIME256V1) => "P-256".to_owned(),
            Some(nid) => nid.short_name().unwrap_or("EC").to_owned(),
            None => "EC".to_owned(),
        },
        Id::RSA => "RSA".to_owned(),
        other => format!("key type {}", other.as_raw()),
    }
}

fn colons(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

/// Datagrams in, datagrams out: the library writes one packet per call, so each write is one datagram.
#[derive(Default)]
struct Pipe {
    inbound: VecDeque<Vec<u8>>,
    outbound: VecDeque<Vec<u8>>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let datagram = self.inbound.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let len = datagram.len().min(out.len());
        out[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbound.push_back(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Largest DTLS datagram we send.
const MTU_BYTES: u32 = 1_200;

thread_local! {
    /// The library's clock callback gets no connection to ask, so the time of the running call is left here for it.
    static NOW: Cell<Time> = const { Cell::new(Time::ZERO) };
}

fn with_clock<T>(now: Time, f: impl FnOnce() -> T) -> T {
    NOW.set(now);
    f()
}

unsafe extern "C" fn clock(_ssl: *const ffi::SSL, out: *mut ffi::timeval) {
    // The library takes a zero time for "not set", and our origin is zero: a day is added.
    let ns = NOW.get().as_nanos() + 86_400_000_000_000;
    // JUSTIFICATION: the clock callback is the only way to run the library's retransmission timer in virtual time.
    // SAFETY: the library passes a valid, writable timeval for the length of the call (ssl.h, SSL_CTX_set_current_time_cb).
    unsafe {
        (*out).tv_sec = (ns / 1_000_000_000) as _;
        (*out).tv_usec = (ns % 1_000_000_000 / 1_000) as _;
    }
}

fn follow_our_clock(context: &mut openssl::ssl::SslContextBuilder) {
    // JUSTIFICATION: not exposed by the openssl crate.
    // SAFETY: the context is alive and not shared yet; the callback is a plain function without captured state.
    unsafe { ffi::SSL_CTX_set_current_time_cb(context.as_ptr(), Some(clock)) }
}

/// The library's pointer, as `ForeignTypeRef::as_ptr` makes it: a `SslRef` is the connection itself behind an opaque type.
fn raw(stream: &SslStream<Pipe>) -> *mut ffi::SSL {
    core::ptr::from_ref(stream.ssl()).cast_mut().cast()
}

fn set_mtu(stream: &mut SslStream<Pipe>) -> Result<(), String> {
    // JUSTIFICATION: the openssl crate sets the MTU on an owned `Ssl` only, before the BIO that resets it exists.
    // SAFETY: the pointer belongs to `stream`, which outlives the call and is not used elsewhere meanwhile.
    match unsafe { ffi::SSL_set_mtu(raw(stream), MTU_BYTES) } {
        1 => Ok(()),
        _ => Err(format!("the TLS library refused an MTU of {MTU_BYTES} bytes")),
    }
}

fn set_timer(stream: &mut SslStream<Pipe>, timer: Span) {
    // JUSTIFICATION: not exposed by the openssl crate; with the library's one second no relay of the WebRTC family could be played.
    // SAFETY: the pointer belongs to `stream`, which outlives the call; the handshake has not begun.
    unsafe { ffi::DTLSv1_set_initial_timeout_duration(raw(stream), timer.as_millis() as core::ffi::c_uint) }
}

fn time_left(stream: &SslStream<Pipe>) -> Option<Span> {
    let mut left = ffi::timeval { tv_sec: 0, tv_usec: 0 };
    // JUSTIFICATION: not exposed by the openssl crate; without it the relay would not know when to repeat a flight.
    // SAFETY: the pointer belongs to `stream`, which is alive; `left` is writable for the length of the call.
    let running = unsafe { ffi::DTLSv1_get_timeout(raw(stream), &mut left) } == 1;
    running.then(|| Span::from_secs(left.tv_sec as u64) + Span::from_micros(left.tv_usec as u64))
}

fn retransmit(stream: &SslStream<Pipe>) -> i32 {
    // JUSTIFICATION: not exposed by the openssl crate.
    // SAFETY: the pointer belongs to `stream`, whose exclusive owner is the caller (`handle_timeout` holds `&mut Tls`).
    unsafe { ffi::DTLSv1_handle_timeout(raw(stream)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(client: &[Profile], server: &[Profile]) -> (Tls, Tls, Time) {
        let now = Time::ZERO;
        let (a, b) = (Identity::generate(1_800_000_000).unwrap(), Identity::generate(1_800_000_000).unwrap());
        let client = Tls::new(&a, TlsRole::Client, client, &b.fingerprint(false), now).unwrap();
        let server = Tls::new(&b, TlsRole::Server, server, &a.fingerprint(false), now).unwrap();
        (client, server, now)
    }

    fn run(client: &mut Tls, server: &mut Tls, now: Time) -> usize {
        let mut longest = 0;
        for _ in 0..10 {
            while let Some(bytes) = client.poll_transmit() {
                longest = longest.max(bytes.len());
                server.handle_datagram(&bytes, now);
            }
            while let Some(bytes) = server.poll_transmit() {
                longest = longest.max(bytes.len());
                client.handle_datagram(&bytes, now);
            }
        }
        longest
    }

    fn keys(tls: &mut Tls) -> Option<Box<Keying>> {
        std::iter::from_fn(|| tls.poll_event()).find_map(|event| match event {
            TlsEvent::Connected(keying) => Some(keying),
            _ => None,
        })
    }

    #[test]
    fn both_ends_agree_on_crossed_keys_for_each_profile() {
        for profile in [Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm] {
            let (mut client, mut server, now) = pair(&[profile], &[Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80]);
            assert!(run(&mut client, &mut server, now) <= MTU_BYTES as usize);
            let (c, s) = (keys(&mut client).unwrap(), keys(&mut server).unwrap());
            assert_eq!((c.profile, s.profile), (profile, profile));
            assert_eq!((c.local_key, c.local_salt), (s.remote_key, s.remote_salt));
            assert_eq!((c.remote_key, c.remote_salt), (s.local_key, s.local_salt));
            assert_ne!(c.local_key, c.remote_key);
        }
    }

    #[test]
    fn lost_first_flight_is_repeated_when_virtual_time_says_so() {
        let (mut client, mut server, mut now) = pair(&[Profile::AeadAes128Gcm], &[Profile::AeadAes128Gcm]);
        assert!(client.poll_transmit().is_some(), "the ClientHello that gets lost");
        let due = client.poll_timeout(now).unwrap();
        assert!(due > now);
        client.handle_timeout(now);
        assert!(client.poll_transmit().is_none(), "not before its time");
        now = due;
        client.handle_timeout(now);
        run(&mut client, &mut server, now);
        assert!(client.is_connected() && server.is_connected());
    }

    #[test]
    fn another_certificate_than_announced_fails() {
        let now = Time::ZERO;
        let (a, b) = (Identity::generate(1_800_000_000).unwrap(), Identity::generate(1_800_000_000).unwrap());
        let profiles = [Profile::AeadAes128Gcm];
        let mut client = Tls::new(&a, TlsRole::Client, &profiles, &b.fingerprint(false), now).unwrap();
        let mut server = Tls::new(&b, TlsRole::Server, &profiles, &b.fingerprint(false), now).unwrap();
        run(&mut client, &mut server, now);
        assert!(!server.is_connected());
        let events: Vec<_> = std::iter::from_fn(|| server.poll_event()).collect();
        assert!(matches!(&events[..], [TlsEvent::Certificate { key, matches_sdp: false }, TlsEvent::Failed(_)] if key == "P-256"));
    }
}
