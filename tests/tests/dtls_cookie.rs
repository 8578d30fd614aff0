//! Scenario 10: a server that asks for a cookie (RFC 6347 section 4.2.1), of any length, in virtual time.
//!
//! No library at hand makes cookies longer than 32 bytes, and the message numbers behind a cookie exchange are in the transcript, so it cannot be put in front of
//! one. The server here is written out by hand, message by message: ECDHE-ECDSA on P-256, AES-128-GCM, use_srtp, client certificate, without the extended master
//! secret. It judges our hello byte by byte and shares nothing with the engine.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNumContext;
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use openssl::x509::{X509, X509NameBuilder};
use tipring_engine::dtls::{Certificate, Dtls, DtlsConfig, DtlsContext, DtlsEvent, DtlsRole, Fingerprint};
use tipring_engine::keying::{Keying, Profile};
use tipring_engine::time::{Span, Time};

/// 2026-11-23.
const UNIX_TIME_S: i64 = 1_795_392_000;
const RTT: Span = Span::from_millis(10);

const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;

fn hmac(key: &[u8], data: &[&[u8]]) -> Vec<u8> {
    // Keys here are shorter than a block of SHA-256 (RFC 2104).
    let pad = |byte: u8| (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ byte).collect::<Vec<u8>>();
    let inner = hash(MessageDigest::sha256(), &[&pad(0x36)[..], &data.concat()].concat()).expect("SHA-256");
    hash(MessageDigest::sha256(), &[&pad(0x5c)[..], &inner].concat()).expect("SHA-256").to_vec()
}

/// RFC 5246 section 5.
fn prf(secret: &[u8], label: &str, seed: &[u8], bytes: usize) -> Vec<u8> {
    let seed = [label.as_bytes(), seed].concat();
    let mut a = seed.clone();
    let mut out = Vec::new();
    while out.len() < bytes {
        a = hmac(secret, &[&a]);
        out.extend(hmac(secret, &[&a, &seed]));
    }
    out.truncate(bytes);
    out
}

/// A vector behind a length of `prefix_bytes`.
fn vector(prefix_bytes: usize, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[4 - prefix_bytes..], body].concat()
}

/// A whole handshake message.
fn message(kind: u8, seq: u16, body: &[u8]) -> Vec<u8> {
    let length = &(body.len() as u32).to_be_bytes()[1..];
    [&[kind][..], length, &seq.to_be_bytes(), &[0; 3], length, body].concat()
}

struct CookieServer {
    certificate: X509,
    key: PKey<Private>,
    ephemeral: EcKey<Private>,
    random: [u8; 32],
    cookie: Vec<u8>,
    first_hello: Vec<u8>,
    client_random: Vec<u8>,
    transcript: Vec<u8>,
    master: Vec<u8>,
    client_certificate: Vec<u8>,
    record_seq: u64,
    /// Flights 4 and 6 as they went out, to be repeated when the client repeats what they answer.
    flights: [Vec<Vec<u8>>; 2],
    keying: Option<Vec<u8>>,
    hellos_with_cookie: u32,
}

impl CookieServer {
    fn new(cookie: Vec<u8>) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
        let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
        let mut name = X509NameBuilder::new().expect("a name");
        name.append_entry_by_text("CN", "relay").expect("a name");
        let name = name.build();
        let mut leaf = X509::builder().expect("a certificate");
        leaf.set_version(2).expect("v3");
        leaf.set_subject_name(&name).expect("a subject");
        leaf.set_issuer_name(&name).expect("an issuer");
        leaf.set_not_before(&Asn1Time::from_unix(UNIX_TIME_S - 86_400).expect("a time")).expect("a start");
        leaf.set_not_after(&Asn1Time::from_unix(UNIX_TIME_S + 86_400).expect("a time")).expect("an end");
        leaf.set_pubkey(&key).expect("a public key");
        leaf.sign(&key, MessageDigest::sha256()).expect("a signature");
        Self {
            certificate: leaf.build(),
            key,
            ephemeral: EcKey::generate(&group).expect("a key"),
            random: [0x5a; 32],
            cookie,
            first_hello: Vec::new(),
            client_random: Vec::new(),
            transcript: Vec::new(),
            master: Vec::new(),
            client_certificate: Vec::new(),
            record_seq: 0,
            flights: [Vec::new(), Vec::new()],
            keying: None,
            hellos_with_cookie: 0,
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_der(&self.certificate.to_der().expect("DER"))
    }

    fn record(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let seq = self.record_seq.to_be_bytes();
        self.record_seq += 1;
        [&[kind, 0xfe, 0xfd][..], &seq, &vector(2, body)].concat()
    }

    /// Takes a datagram of the client; what is to be sent for it.
    fn take(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut rest = datagram;
        while let Some((header, behind)) = rest.split_first_chunk::<13>() {
            let (body, behind) = behind.split_at(usize::from(u16::from_be_bytes([header[11], header[12]])));
            rest = behind;
            match (header[0], header[4]) {
                (22, 0) => self.take_handshake(body, &mut out),
                (22, 1) => self.take_finished(header, body, &mut out),
                (20, 0) => assert_eq!(body, [1]),
                other => panic!("the client sent a record of {other:?}"),
            }
        }
        out
    }

    fn take_handshake(&mut self, mut body: &[u8], out: &mut Vec<Vec<u8>>) {
        while let Some((header, behind)) = body.split_first_chunk::<12>() {
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            assert_eq!((header[1], &header[6..9], &header[9..12]), (0, &[0; 3][..], &header[1..4]), "whole messages");
            let (content, behind) = behind.split_at(length);
            let whole = &body[..12 + length];
            body = behind;
            let seq = u16::from_be_bytes([header[4], header[5]]);
            match (header[0], seq) {
                (CLIENT_HELLO, _) => self.take_hello(seq, content, whole, out),
                // Repeated: known.
                _ if !self.master.is_empty() && header[0] != CERTIFICATE_VERIFY => {}
                (CERTIFICATE, 2) => {
                    if self.client_certificate.is_empty() {
                        self.client_certificate = content[6..].to_vec();
                        self.transcript.extend_from_slice(whole);
                    }
                }
                (CLIENT_KEY_EXCHANGE, 3) => {
                    self.transcript.extend_from_slice(whole);
                    self.agree(&content[1..]);
                }
                (CERTIFICATE_VERIFY, 4) => {
                    if self.keying.is_none() {
                        self.transcript.extend_from_slice(whole);
                    }
                }
                other => panic!("the client sent a message of {other:?}"),
            }
        }
    }

    fn take_hello(&mut self, seq: u16, body: &[u8], whole: &[u8], out: &mut Vec<Vec<u8>>) {
        // client_version, random, session_id, then the cookie.
        let at = 35 + usize::from(body[34]);
        let (cookie, rest) = body[at + 1..].split_at(usize::from(body[at]));
        let bare = [&body[..at], &[0], rest].concat();
        if cookie.is_empty() {
            assert_eq!(seq, 0);
            self.first_hello = bare;
            let request = message(3, 0, &[&[0xfe, 0xff][..], &vector(1, &self.cookie)].concat());
            out.push(self.record(22, &request));
            return;
        }
        assert_eq!((seq, cookie), (1, &self.cookie[..]), "the cookie comes back whole, in message 1");
        assert_eq!(bare, self.first_hello, "in a hello that is equal but for it");
        self.hellos_with_cookie += 1;
        if self.flights[0].is_empty() {
            self.client_random = body[2..34].to_vec();
            //= rfc6347#section-4.2.1 type=test
            // Neither the first hello nor the request is in the transcript.
            self.transcript = whole.to_vec();
            self.flights[0] = self.answer();
        }
        out.extend(self.flights[0].iter().cloned());
    }

    /// ServerHello to ServerHelloDone.
    fn answer(&mut self) -> Vec<Vec<u8>> {
        let extensions = vector(2, &[0, 14, 0, 5, 0, 2, 0, 7, 0, 0xff, 1, 0, 1, 0]);
        let hello = [&[0xfe, 0xfd][..], &self.random, &[0], &[0xc0, 0x2b], &[0], &extensions].concat();
        let certificate = vector(3, &vector(3, &self.certificate.to_der().expect("DER")));
        let mut numbers = BigNumContext::new().expect("numbers");
        let point =
            self.ephemeral.public_key().to_bytes(self.ephemeral.group(), PointConversionForm::UNCOMPRESSED, &mut numbers).expect("a point");
        let params = [&[3, 0, 23][..], &vector(1, &point)].concat();
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).expect("a signer");
        let signature = signer.sign_oneshot_to_vec(&[&self.client_random[..], &self.random, &params].concat()).expect("a signature");
        let exchange = [&params[..], &[4, 3], &vector(2, &signature)].concat();
        let request = [1, 64, 0, 2, 4, 3, 0, 0];
        let messages = [(2, &hello[..]), (11, &certificate), (12, &exchange), (13, &request), (14, &[])];
        let numbered = messages.iter().zip(1..).map(|((kind, body), seq)| message(*kind, seq, body));
        let flight: Vec<_> = numbered.collect();
        flight.iter().for_each(|message| self.transcript.extend_from_slice(message));
        let records: Vec<_> = flight.iter().map(|message| self.record(22, message)).collect();
        vec![records.concat()]
    }

    fn agree(&mut self, point: &[u8]) {
        let mut numbers = BigNumContext::new().expect("numbers");
        let theirs = EcPoint::from_bytes(self.ephemeral.group(), point, &mut numbers).expect("a point");
        let theirs = PKey::from_ec_key(EcKey::from_public_key(self.ephemeral.group(), &theirs).expect("a key")).expect("a key");
        let ours = PKey::from_ec_key(self.ephemeral.clone()).expect("a key");
        let mut deriver = Deriver::new(&ours).expect("a secret");
        deriver.set_peer(&theirs).expect("the same curve");
        let secret = deriver.derive_to_vec().expect("a secret");
        self.master = prf(&secret, "master secret", &[&self.client_random[..], &self.random].concat(), 48);
    }

    fn take_finished(&mut self, header: &[u8; 13], body: &[u8], out: &mut Vec<Vec<u8>>) {
        if self.keying.is_some() {
            out.extend(self.flights[1].iter().cloned());
            return;
        }
        let keys = prf(&self.master, "key expansion", &[&self.random[..], &self.client_random].concat(), 40);
        let (nonce, sealed) = body.split_at(8);
        let (sealed, tag) = sealed.split_at(sealed.len() - 16);
        let aad = |head: &[u8], length: usize| [&head[3..11], &head[..3], &(length as u16).to_be_bytes()].concat();
        let iv = [&keys[32..36], nonce].concat();
        let plain =
            decrypt_aead(Cipher::aes_128_gcm(), &keys[..16], Some(&iv), &aad(header, sealed.len()), sealed, tag).expect("authentic");
        let digest = |transcript: &[u8]| hash(MessageDigest::sha256(), transcript).expect("SHA-256");
        let theirs = prf(&self.master, "client finished", &digest(&self.transcript), 12);
        assert_eq!(plain, message(FINISHED, 5, &theirs), "the client's transcript is ours");
        self.transcript.extend_from_slice(&plain);
        let ours = message(FINISHED, 6, &prf(&self.master, "server finished", &digest(&self.transcript), 12));
        let head = [22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0];
        let (nonce, mut tag) = ([0, 1, 0, 0, 0, 0, 0, 0], [0; 16]);
        let iv = [&keys[36..40], &nonce].concat();
        let sealed =
            encrypt_aead(Cipher::aes_128_gcm(), &keys[16..32], Some(&iv), &aad(&head, ours.len()), &ours, &mut tag).expect("sealed");
        let change = self.record(20, &[1]);
        let finished = [&head[..], &vector(2, &[&nonce[..], &sealed, &tag].concat())].concat();
        self.flights[1] = vec![[change, finished].concat()];
        out.extend(self.flights[1].iter().cloned());
        let random = [&self.client_random[..], &self.random].concat();
        self.keying = Some(prf(&self.master, "EXTRACTOR-dtls_srtp", &random, 56));
    }
}

/// What came of a handshake: keys, when, and the server.
fn connect(cookie_bytes: usize, loses: impl Fn(bool, usize) -> bool) -> (Keying, Time, CookieServer) {
    let cookie = (0..cookie_bytes).map(|i| (i * 7 + 1) as u8).collect();
    let mut server = CookieServer::new(cookie);
    let certificate = Certificate::generate(UNIX_TIME_S).expect("a certificate");
    let ours = certificate.fingerprint();
    let config = DtlsConfig { profiles: vec![Profile::AeadAes128Gcm], ..DtlsConfig::default() };
    let context = DtlsContext::new(config, certificate).expect("a context");
    let mut now = Time::ZERO;
    let mut client = Dtls::new(&context, DtlsRole::Client, &[server.fingerprint()], RTT, now).expect("a client");
    let mut sent = [0, 0];
    let mut out = [0; 1_500];
    loop {
        let mut answers = Vec::new();
        while let Some(bytes) = client.poll_transmit(&mut out) {
            assert!(bytes <= 1_200, "a datagram of {bytes} bytes");
            if !loses(true, sent[0]) {
                answers.extend(server.take(&out[..bytes]));
            }
            sent[0] += 1;
        }
        let was_answered = !answers.is_empty();
        if was_answered {
            now += RTT;
        }
        for answer in answers {
            if !loses(false, sent[1]) {
                client.handle_datagram(&answer, now).expect("of use");
            }
            sent[1] += 1;
        }
        match client.poll_event() {
            Some(DtlsEvent::Connected(keying)) => {
                assert_eq!(Fingerprint::of_der(&server.client_certificate), ours, "the server saw our certificate");
                return (keying, now, server);
            }
            Some(DtlsEvent::Failed(reason)) => panic!("{reason:?} after {} ms", now.as_millis()),
            None if was_answered => {}
            None => {
                now = client.poll_timeout().expect("a timer runs").max(now);
                client.handle_timeout(now);
            }
        }
    }
}

fn has_the_keys_of(keying: &Keying, server: &CookieServer) {
    let exported = server.keying.as_deref().expect("the server is through");
    let ours = [&keying.local_key[..16], &keying.remote_key[..16], &keying.local_salt[..12], &keying.remote_salt[..12]].concat();
    assert_eq!(ours, exported, "client key, server key, client salt, server salt");
}

//= rfc6347#section-4.2.1 type=test
//= rfc5764#section-4.2 type=test
//= rules#D4 type=test
//= rules#D5 type=test
#[test]
fn cookies_of_20_and_of_255_bytes_come_back_and_the_call_connects() {
    for cookie_bytes in [1, 20, 32, 33, 254, 255] {
        let (keying, now, server) = connect(cookie_bytes, |_, _| false);
        has_the_keys_of(&keying, &server);
        assert_eq!(server.hellos_with_cookie, 1);
        // Our gate holds the request back until the first timer, in case a ServerHello comes that proves it forged.
        assert_eq!(now, Time::ZERO + Span::from_millis(50) + RTT.times(2), "{cookie_bytes} bytes");
    }
}

//= rfc6347#section-4.2.4 type=test
#[test]
fn any_datagram_of_a_cookie_exchange_may_be_lost() {
    for cookie_bytes in [20, 255] {
        for from_client in [true, false] {
            for nth in 0..4 {
                let (keying, now, server) = connect(cookie_bytes, |is_client, n| (is_client, n) == (from_client, nth));
                has_the_keys_of(&keying, &server);
                assert!(now <= Time::ZERO + Span::from_millis(400), "{} ms", now.as_millis());
            }
        }
    }
}
