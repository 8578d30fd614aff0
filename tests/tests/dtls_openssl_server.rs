//! A foreign judge for both DTLS roles: OpenSSL's own `s_server` and `s_client` over real sockets on 127.0.0.1, with losses.
//!
//! Where the `openssl` command is missing, a server made directly with the `openssl` crate judges instead (and says so): it shares the TLS
//! library with the engine, but neither its gate nor its timers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use openssl::pkey::{PKey, Private};
use openssl::ssl::{ErrorCode, Ssl, SslContextBuilder, SslMethod, SslOptions, SslStream, SslVerifyMode};
use openssl::x509::X509;
use tipring_engine::dtls::{Certificate, Dtls, DtlsConfig, DtlsContext, DtlsEvent, DtlsRole, DtlsStats, Fingerprint};
use tipring_engine::error::EndReason;
use tipring_engine::keying::{Keying, Profile};
use tipring_engine::time::{Span, Time};

/// 2026-11-22.
const UNIX_TIME_S: i64 = 1_795_305_600;
/// Far above any run; a server that says nothing for so long is broken.
const SERVER_PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn both_profiles_give_the_same_keys_on_both_sides() {
    for (offer, name) in [(Profile::AeadAes128Gcm, "SRTP_AEAD_AES_128_GCM"), (Profile::Aes128CmSha1_80, "SRTP_AES128_CM_SHA1_80")] {
        let run = Run::new(&[]).offering(&[offer]).go();
        assert_eq!((run.keying.profile, run.server.profile.as_str()), (offer, name));
        run.assert_keys_equal();
    }
    let run = Run::new(&[]).go();
    run.assert_keys_equal();
    println!("clean run: sent {:?}, received {:?}, profile {}", run.sent, run.received, run.server.profile);
    assert_eq!(run.stats.retransmissions, 0);
    // s_server asks for a cookie in any case, so there are two hellos.
    assert_eq!(run.sent.len(), if has_openssl_command() { 3 } else { 2 }, "each of our flights is one datagram");
}

//= rfc6347#section-4.2.4 type=test
#[test]
fn lost_flights_are_recovered() {
    for index in 0..3 {
        let run = Run::new(&[]).losing_outgoing(&[index]).go();
        run.assert_keys_equal();
    }
    let run = Run::new(&[]).losing_outgoing(&[0, 1, 3]).go();
    run.assert_keys_equal();
    assert!(run.stats.retransmissions >= 3);
    if has_openssl_command() {
        // The repair of its own flights is OpenSSL's, with its timer of one second.
        for index in 0..3 {
            let run = Run::new(&[]).losing_incoming(&[index]).go();
            run.assert_keys_equal();
        }
    }
}

//= rfc6347#section-4.2.3 type=test
#[test]
fn a_server_that_fragments_at_300_bytes_is_understood() {
    let run = Run::new(&["-mtu", "300"]).go();
    run.assert_keys_equal();
    println!("server at 300 bytes: sent {:?}, received {:?}", run.sent, run.received);
    if has_openssl_command() {
        assert!(run.received.iter().all(|&bytes| bytes <= 300) && run.received.len() >= 3, "{:?}", run.received);
        let run = Run::new(&["-mtu", "300"]).losing_incoming(&[1]).go();
        run.assert_keys_equal();
    }
}

//= rfc6347#section-4.2.1 type=test
//= rules#D5 type=test
#[test]
fn a_server_that_asks_for_a_cookie_gets_it() {
    let run = Run::new(&["-listen"]).go();
    run.assert_keys_equal();
    println!("server with cookie: sent {:?}, received {:?}", run.sent, run.received);
    if has_openssl_command() {
        assert_eq!(run.sent.len(), 3, "hello, hello with cookie, last flight");
        assert!(run.received[0] < 100, "a HelloVerifyRequest first");
    }
}

/// Scenario 10: the cookie of OpenSSL's command is an HMAC-SHA1, 20 bytes. (One of 255 bytes, which no server at hand makes: `dtls::tests::gate`.)
//= rfc6347#section-4.2.1 type=test
#[test]
fn a_server_that_asks_for_a_cookie_of_20_bytes_gets_the_same_hello_with_it_and_connects() {
    if !has_openssl_command() {
        return;
    }
    for arguments in [&[][..], &["-listen"]] {
        let run = Run::new(arguments).go();
        run.assert_keys_equal();
        // Record header 13, message header 12, server_version 2, then the cookie behind its length.
        let request = &run.first_received;
        assert_eq!((request[0], request[13]), (22, 3), "a HelloVerifyRequest");
        let cookie = &request[28..];
        assert_eq!((usize::from(request[27]), cookie.len()), (20, 20));
        let [first, second, ..] = &run.datagrams[..] else { panic!("two hellos") };
        // client_version 2, random 32, empty session id 1: then the cookie. Record and message headers carry other numbers and lengths.
        let at = 13 + 12 + 2 + 32 + 1;
        assert_eq!((first[25..at].to_vec(), first[at]), (second[25..at].to_vec(), 0));
        assert_eq!((usize::from(second[at]), &second[at + 1..at + 21]), (20, cookie));
        assert_eq!(second[at + 21..], first[at + 1..], "equal but for the cookie");
        assert_eq!(run.stats.retransmissions, 0);
    }
}

//= rules#G4 type=test
#[test]
fn another_certificate_is_refused_before_any_key() {
    let mut run = Run::new(&[]);
    run.is_fingerprint_wrong = true;
    assert_eq!(run.end(), EndReason::FingerprintMismatch);
}

//= rules#D19 type=test
#[test]
fn a_close_notify_from_the_server_is_heard() {
    let mut run = Run::new(&[]);
    run.is_server_leaving = true;
    assert_eq!(run.end(), EndReason::PeerClosed);
}

//= rules#D3 type=test
#[test]
fn a_server_without_srtp_is_named() {
    let mut run = Run::new(&[]);
    run.is_srtp_off = true;
    assert_eq!(run.end(), EndReason::NoSrtpProfile);
}

//= rfc6347#section-4.2.4 type=test
#[test]
fn openssl_as_client_reaches_our_server_role() {
    if !has_openssl_command() {
        return;
    }
    // Our flights are 4 and 6; s_client repeats its own with a timer of one second, and our lost last one is answered again.
    for lost in [vec![], vec![0], vec![1]] {
        let (leaf, key) = server_identity();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a local port");
        let port = socket.local_addr().expect("an address").port();
        let connect = format!("127.0.0.1:{port}");
        let client = CommandJudge::start(&leaf, &key, port, &["s_client", "-connect", &connect, "-mtu", "1200"], true);
        let context =
            DtlsContext::new(DtlsConfig::default(), Certificate::generate(UNIX_TIME_S).expect("a certificate")).expect("a context");
        let expected = Fingerprint::of_der(&leaf.to_der().expect("DER"));
        let mut now = Time::ZERO;
        let mut dtls = Dtls::new(&context, DtlsRole::Server, &[expected], Span::from_millis(1), now).expect("a server");
        let (mut sent, mut keying, mut datagram) = (vec![], None, [0u8; 2_048]);
        let mut peer = None;
        let (mut profile, mut material) = (None, None);
        while keying.is_none() || material.is_none() {
            // In slices of ten milliseconds, so that the judge's words are heard too.
            socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
            match socket.recv_from(&mut datagram) {
                Ok((len, from)) => {
                    peer = Some(from);
                    let _ = dtls.handle_datagram(&datagram[..len], now);
                }
                Err(_) => now += Span::from_millis(10),
            }
            if dtls.poll_timeout().is_some_and(|at| at <= now) {
                dtls.handle_timeout(now);
            }
            while let Some(len) = dtls.poll_transmit(&mut datagram) {
                if !lost.contains(&sent.len()) {
                    let _ = socket.send_to(&datagram[..len], peer.expect("nobody is answered before they wrote"));
                }
                sent.push(len);
            }
            match dtls.poll_event() {
                Some(DtlsEvent::Connected(keys)) => keying = Some(keys),
                Some(DtlsEvent::Failed(reason)) => panic!("ended: {reason:?}"),
                None => {}
            }
            while let Ok(line) = client.lines.try_recv() {
                profile = profile.or_else(|| line.split_once(PROFILE_LINE).map(|(_, name)| name.trim().to_owned()));
                material = material.or_else(|| line.split_once(MATERIAL_LINE).map(|(_, hex)| unhex(hex.trim())));
            }
            assert!(now < Time::ZERO + Span::from_secs(20), "s_client never finished");
        }
        let keying = keying.expect("connected");
        println!("s_client, lost {lost:?}: sent {sent:?}, profile {profile:?}");
        let (key, salt) = (keying.profile.key_bytes(), keying.profile.salt_bytes());
        let as_client: Vec<u8> =
            [&keying.remote_key[..key], &keying.local_key[..key], &keying.remote_salt[..salt], &keying.local_salt[..salt]].concat();
        assert_eq!(as_client[..], material.expect("keys")[..as_client.len()]);
    }
}

/// One handshake with one server.
struct Run {
    arguments: Vec<&'static str>,
    offer: Vec<Profile>,
    lost_outgoing: Vec<usize>,
    lost_incoming: Vec<usize>,
    is_fingerprint_wrong: bool,
    is_server_leaving: bool,
    is_srtp_off: bool,
}

/// What a completed run showed.
struct Report {
    keying: Keying,
    server: ServerReport,
    stats: DtlsStats,
    sent: Vec<usize>,
    received: Vec<usize>,
    /// What was sent, and the first that came back.
    datagrams: Vec<Vec<u8>>,
    first_received: Vec<u8>,
}

/// What the server says it negotiated; `material` has 60 bytes, of which AEAD profiles use the first 56.
struct ServerReport {
    profile: String,
    material: Vec<u8>,
}

impl Run {
    fn new(arguments: &[&'static str]) -> Self {
        Self {
            arguments: arguments.to_vec(),
            offer: DtlsConfig::default().profiles,
            lost_outgoing: vec![],
            lost_incoming: vec![],
            is_fingerprint_wrong: false,
            is_server_leaving: false,
            is_srtp_off: false,
        }
    }

    fn offering(mut self, profiles: &[Profile]) -> Self {
        self.offer = profiles.to_vec();
        self
    }

    fn losing_outgoing(mut self, indices: &[usize]) -> Self {
        self.lost_outgoing = indices.to_vec();
        self
    }

    fn losing_incoming(mut self, indices: &[usize]) -> Self {
        self.lost_incoming = indices.to_vec();
        self
    }

    fn go(self) -> Report {
        match self.drive() {
            Ok(report) => report,
            Err(reason) => panic!("ended: {reason:?}"),
        }
    }

    fn end(self) -> EndReason {
        match self.drive() {
            Ok(_) => panic!("connected, and should not have"),
            Err(reason) => reason,
        }
    }

    /// Until both sides are through, or ours has failed.
    ///
    /// No clock is read: our time is how long the socket was silent, plus a millisecond for each datagram that came.
    fn drive(self) -> Result<Report, EndReason> {
        let (leaf, key) = server_identity();
        // Told to quit, s_server closes its socket first and its close_notify goes nowhere.
        let is_command_able = has_openssl_command() && !self.is_server_leaving;
        let mut server = if is_command_able {
            Server::Command(CommandJudge::serve(&leaf, &key, &self.arguments, !self.is_srtp_off))
        } else {
            Server::Crate(CrateServer::start(&leaf, &key, !self.is_srtp_off))
        };
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a local port");
        socket.connect((Ipv4Addr::LOCALHOST, server.port())).expect("a connected socket");
        let config = DtlsConfig { profiles: self.offer, ..DtlsConfig::default() };
        let context = DtlsContext::new(config, Certificate::generate(UNIX_TIME_S).expect("a certificate")).expect("a context");
        let mut expected = Fingerprint::of_der(&leaf.to_der().expect("DER"));
        expected.0[31] ^= u8::from(self.is_fingerprint_wrong);
        let mut now = Time::ZERO;
        let mut dtls = Dtls::new(&context, DtlsRole::Client, &[expected], Span::from_millis(1), now).expect("a client");
        let (mut sent, mut received, mut keying) = (vec![], vec![], None);
        let (mut datagrams, mut first_received) = (vec![], vec![]);
        let mut datagram = [0u8; 2_048];
        loop {
            while let Some(len) = dtls.poll_transmit(&mut datagram) {
                assert!(len <= 1_200, "a datagram of {len} bytes");
                if !self.lost_outgoing.contains(&sent.len()) {
                    let _ = socket.send(&datagram[..len]);
                }
                sent.push(len);
                datagrams.push(datagram[..len].to_vec());
            }
            match dtls.poll_event() {
                Some(DtlsEvent::Connected(keys)) => {
                    keying = Some(keys);
                    if !self.is_server_leaving {
                        break;
                    }
                    // Its report says that it is through; then it is told to leave.
                    server.report();
                    server.leave();
                }
                Some(DtlsEvent::Failed(reason)) => return Err(reason),
                None => {}
            }
            let wait = dtls.poll_timeout().map_or(Span::from_millis(SERVER_PATIENCE.as_millis() as u64), |at| at.since(now));
            socket.set_read_timeout(Some(Duration::from_nanos(wait.as_nanos().max(1_000_000)))).expect("a timeout");
            match socket.recv(&mut datagram) {
                Ok(len) => {
                    now += Span::from_millis(1).min(wait);
                    if !self.lost_incoming.contains(&received.len()) {
                        let _ = dtls.handle_datagram(&datagram[..len], now);
                    }
                    if received.is_empty() {
                        first_received = datagram[..len].to_vec();
                    }
                    received.push(len);
                }
                Err(_) => {
                    assert!(keying.is_none(), "the server never left");
                    now += wait;
                    dtls.handle_timeout(now);
                }
            }
        }
        let server = server.report();
        Ok(Report { keying: keying.expect("connected"), server, stats: dtls.stats(), sent, received, datagrams, first_received })
    }
}

impl Report {
    /// Client key, server key, client salt, server salt (RFC 5764 section 4.2); we are the client.
    fn assert_keys_equal(&self) {
        let (key, salt) = (self.keying.profile.key_bytes(), self.keying.profile.salt_bytes());
        let ours: Vec<u8> = [
            &self.keying.local_key[..key],
            &self.keying.remote_key[..key],
            &self.keying.local_salt[..salt],
            &self.keying.remote_salt[..salt],
        ]
        .concat();
        assert_eq!(ours[..], self.server.material[..ours.len()]);
    }
}

fn server_identity() -> (X509, PKey<Private>) {
    use openssl::{asn1::Asn1Time, bn::BigNum, ec::EcGroup, ec::EcKey, hash::MessageDigest, nid::Nid, x509::X509NameBuilder};
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
    let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_text("CN", "judge").expect("a name");
    let name = name.build();
    let mut leaf = X509::builder().expect("a certificate");
    leaf.set_version(2).expect("v3");
    leaf.set_serial_number(&BigNum::from_u32(1).expect("1").to_asn1_integer().expect("1")).expect("a serial");
    leaf.set_subject_name(&name).expect("a subject");
    leaf.set_issuer_name(&name).expect("an issuer");
    leaf.set_not_before(&Asn1Time::from_unix(UNIX_TIME_S - 86_400).expect("a time")).expect("a start");
    leaf.set_not_after(&Asn1Time::from_unix(UNIX_TIME_S + 864_000_000).expect("a time")).expect("an end");
    leaf.set_pubkey(&key).expect("a public key");
    leaf.sign(&key, MessageDigest::sha256()).expect("a signature");
    (leaf.build(), key)
}

fn has_openssl_command() -> bool {
    let is_there = Command::new("openssl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !is_there {
        eprintln!(
            "NO FOREIGN JUDGE: the `openssl` command is missing (Debian package openssl); a server of the `openssl` crate stands in."
        );
        eprintln!("Install it to have cookies, small datagrams and OpenSSL's own timers judged.");
    }
    is_there
}

const PROFILE_LINE: &str = "SRTP Extension negotiated, profile=";
const MATERIAL_LINE: &str = "Keying material: ";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

const SRTP_PROFILES: &str = "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";

/// The judge, one handshake long.
enum Server {
    Command(CommandJudge),
    Crate(CrateServer),
}

impl Server {
    fn port(&self) -> u16 {
        match self {
            Self::Command(server) => server.port,
            Self::Crate(server) => server.port,
        }
    }

    /// Waits for what it negotiated.
    fn report(&mut self) -> ServerReport {
        match self {
            Self::Command(server) => server.report(),
            Self::Crate(server) => server.reports.recv_timeout(SERVER_PATIENCE).expect("a report of the server"),
        }
    }

    /// Makes it send a close_notify.
    fn leave(&mut self) {
        match self {
            Self::Command(_) => unreachable!("s_server cannot leave with a close_notify"),
            Self::Crate(server) => drop(server.leave.take()),
        }
    }
}

/// `openssl s_server` or `s_client`, stopped when dropped.
struct CommandJudge {
    child: Child,
    /// Held open: at its end the command leaves.
    _stdin: ChildStdin,
    lines: Receiver<String>,
    port: u16,
    directory: PathBuf,
}

impl CommandJudge {
    fn serve(leaf: &X509, key: &PKey<Private>, arguments: &[&str], is_srtp_on: bool) -> Self {
        // The port is free for the moment between this line and the server's own bind.
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|s| s.local_addr()).expect("a free port").port();
        let accept = format!("127.0.0.1:{port}");
        let all = [&["s_server", "-4", "-accept", &accept, "-Verify", "1"], arguments].concat();
        let mut server = Self::start(leaf, key, port, &all, is_srtp_on);
        server.wait_for("ACCEPT");
        server
    }

    fn start(leaf: &X509, key: &PKey<Private>, port: u16, arguments: &[&str], is_srtp_on: bool) -> Self {
        let directory = std::env::temp_dir().join(format!("tipring-judge-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the certificate");
        let (leaf_path, key_path) = (directory.join("leaf.pem"), directory.join("key.pem"));
        std::fs::write(&leaf_path, leaf.to_pem().expect("PEM")).expect("a file");
        std::fs::write(&key_path, key.private_key_to_pem_pkcs8().expect("PEM")).expect("a file");
        let mut command = Command::new("openssl");
        command.args(arguments).args(["-dtls1_2", "-timeout", "-cert"]).arg(&leaf_path).arg("-key").arg(&key_path);
        command.args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "60"]);
        if is_srtp_on {
            command.args(["-use_srtp", SRTP_PROFILES]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the openssl command");
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let _stdin = child.stdin.take().expect("piped");
        Self { child, _stdin, lines, port, directory }
    }

    fn wait_for(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(SERVER_PATIENCE).unwrap_or_else(|e| panic!("s_server never said {what:?}: {e}"));
            if let Some((_, rest)) = line.split_once(what) {
                return rest.trim().to_owned();
            }
        }
    }

    fn report(&mut self) -> ServerReport {
        let profile = self.wait_for(PROFILE_LINE);
        let material = unhex(&self.wait_for(MATERIAL_LINE));
        ServerReport { profile, material }
    }
}

impl Drop for CommandJudge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A thread with a DTLS server of the `openssl` crate; it leaves when told, or when dropped.
struct CrateServer {
    port: u16,
    reports: Receiver<ServerReport>,
    leave: Option<std::sync::mpsc::Sender<()>>,
}

impl CrateServer {
    fn start(leaf: &X509, key: &PKey<Private>, is_srtp_on: bool) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a local port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let port = socket.local_addr().expect("an address").port();
        let mut builder = SslContextBuilder::new(SslMethod::dtls()).expect("a context");
        builder.set_certificate(leaf).expect("a certificate");
        builder.set_private_key(key).expect("a key");
        builder.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| true);
        builder.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
        if is_srtp_on {
            builder.set_tlsext_use_srtp(SRTP_PROFILES).expect("profiles");
        }
        let mut ssl = Ssl::new(&builder.build()).expect("a connection");
        ssl.set_accept_state();
        ssl.set_mtu(1_200).expect("an MTU");
        let (leave, is_left) = channel::<()>();
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            let mut stream = SslStream::new(ssl, OnePeer(socket)).expect("a stream");
            let is_time_to_go = || is_left.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected);
            while let Err(error) = stream.do_handshake() {
                if error.code() != ErrorCode::WANT_READ || is_time_to_go() {
                    return;
                }
            }
            let profile = stream.ssl().selected_srtp_profile().map_or_else(String::new, |p| p.name().to_owned());
            let mut material = vec![0; 60];
            stream.ssl().export_keying_material(&mut material, "EXTRACTOR-dtls_srtp", None).expect("keys");
            let _ = sender.send(ServerReport { profile, material });
            // Reading answers a repeated last flight of the client.
            while !is_time_to_go() {
                let _ = stream.ssl_read(&mut [0; 64]);
            }
            let _ = stream.shutdown();
        });
        Self { port, reports, leave: Some(leave) }
    }
}

/// A UDP socket that answers whoever wrote first.
struct OnePeer(UdpSocket);

impl Read for OnePeer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.peer_addr().is_err() {
            let (_, from) = self.0.peek_from(out)?;
            self.0.connect(from)?;
        }
        self.0.recv(out)
    }
}

impl Write for OnePeer {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.0.send(datagram)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
