//! ICE where it meets the world: sockets that are given back, a STUN server that is asked, media that is no consent.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tipring_engine::bridge::Echo;
use tipring_engine::call::{CallEvent, LocalParams, MediaParams, RemoteParams, SetupRole};
use tipring_engine::dtls::Fingerprint;
use tipring_engine::engine::{Engine, EngineConfig};
use tipring_engine::ice::{Candidate, CandidateKind, Credentials};
use tipring_engine::time::Span;
use tipring_engine::wire::stun::{Class, IntegrityKey, StunView, StunWriter};
use tipring_signalling::sdp;
use tipring_tests::world::{Plan, World};

const PWD: &str = "sGUUAvS/fOjzPtIoL72o2g==";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Answers Binding requests on a socket of its own until dropped: as a lite relay where they are signed, as a STUN server where they are not.
struct Responder {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// `seen` is what it makes of the address it sees.
    fn start(seen: impl Fn(SocketAddr) -> SocketAddr + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let (address, stop) = (socket.local_addr().expect("bound"), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let key = IntegrityKey::new(PWD.as_bytes());
        let thread = std::thread::spawn(move || {
            let (mut datagram, mut out) = ([0; 1_500], [0; 300]);
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
                let Ok(request) = StunView::new_checked(&datagram[..length]) else { continue };
                let is_check = request.is_integrity_valid(&key);
                let mut writer = StunWriter::new(&mut out, Class::Success, request.id());
                writer.xor_mapped_address(seen(from));
                let length = writer.finish(is_check.then_some(&key)).expect("it fits");
                let _ = socket.send_to(&out[..length], from);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn relay(candidates: Vec<Candidate>) -> RemoteParams {
    RemoteParams {
        credentials: Some(Credentials { ufrag: "relay".into(), pwd: PWD.into() }),
        lite: true,
        candidates,
        fingerprints: vec![Fingerprint([7; 32])],
        role: SetupRole::Passive,
        sdes: None,
        media: MediaParams::default(),
        ssrc: None,
    }
}

/// The event that `pick` wants; others are read past.
fn wait_for<T>(engine: &Engine, mut pick: impl FnMut(CallEvent) -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(found) = engine.next_event(Span::from_millis(100)).and_then(|(_, event)| pick(event)) {
            return found;
        }
    }
    panic!("the event never came");
}

//= rfc8445#section-8.3.1 type=test
//= rules#I28 type=test
#[test]
fn the_socket_of_the_losing_family_is_given_back_and_the_winners_is_kept() {
    let silent = UdpSocket::bind("[::1]:0").expect("IPv6 on this machine");
    let answering = Responder::start(|from| from);
    let config = EngineConfig {
        addresses: vec!["127.0.0.1".parse().expect("an address"), "::1".parse().expect("an address")],
        allow_loopback: true,
        ports: 43_000..=43_049,
        ..EngineConfig::default()
    };
    let engine = Engine::start(config).expect("an engine");
    let (call, local) = engine.open_call(SetupRole::Active, Box::new(Echo::default())).expect("room");
    let port = local.candidates[0].address.port();
    let is_bound = |ip: &str| UdpSocket::bind(format!("{ip}:{port}")).is_err();
    assert!(is_bound("127.0.0.1") && is_bound("[::1]"));
    let candidate = |address| Candidate::remote(address, CandidateKind::Host, 2_122_260_223, "1");
    let dead = silent.local_addr().expect("bound");
    engine.set_remote(call, relay(vec![candidate(answering.address), candidate(dead)])).expect("usable");
    let path = wait_for(&engine, |event| if let CallEvent::IceConnected { path, .. } = event { Some(path) } else { None });
    assert_eq!(path.remote, answering.address);
    let is_freed = (0..200).any(|_| {
        let _ = engine.next_event(Span::from_millis(100));
        !is_bound("[::1]")
    });
    assert!(is_freed && is_bound("127.0.0.1"));
    assert_eq!(engine.calls(), 1, "the call goes on");
}

/// A STUN server on this machine that sees us behind a NAT.
#[test]
fn a_stun_server_is_asked_from_the_media_socket_and_its_answer_stands_in_the_description() {
    let server = Responder::start(|from| SocketAddr::new("203.0.113.9".parse().expect("an address"), from.port() + 1_000));
    let config = EngineConfig {
        addresses: vec!["127.0.0.1".parse().expect("an address")],
        allow_loopback: true,
        ports: 43_050..=43_099,
        stun_servers: vec![server.address],
        ..EngineConfig::default()
    };
    let engine = Engine::start(config).expect("an engine");
    let (_, early) = engine.open_call(SetupRole::ActPass, Box::new(Echo::default())).expect("room");
    assert!(!early.complete && early.candidates.len() == 1);
    let ready = |event| if let CallEvent::LocalReady(local) = event { Some(local) } else { None };
    let local: Box<LocalParams> = wait_for(&engine, ready);
    let base = early.candidates[0].address;
    assert!(local.complete);
    assert_eq!(
        local.candidates.iter().map(|c| c.address).collect::<Vec<_>>(),
        [base, SocketAddr::new(at("203.0.113.9:1").ip(), base.port() + 1_000)]
    );
    let text = sdp::write_offer(&local, 1);
    let line = format!("203.0.113.9 {} typ srflx raddr 127.0.0.1 rport {}\r\n", base.port() + 1_000, base.port());
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("c=IN IP4 203.0.113.9\r\n"), "the default candidate is the one the world can reach: {text}");

    // Nobody answers: the description is as good as without a server, a bounded time later.
    drop(server);
    engine.open_call(SetupRole::ActPass, Box::new(Echo::default())).expect("room");
    let local = wait_for(&engine, ready);
    assert!(local.complete && local.candidates.len() == 1);
}

//= rfc7675#section-5.1:media type=test
//= rules#I33 type=test
#[test]
fn media_that_goes_on_does_not_renew_consent() {
    let mut plan = Plan::clean(77).short(Span::from_secs(120));
    // From the 250th datagram of Meta on no answer to a check arrives, and everything else does.
    plan.lose = Some(Box::new(|hop| !hop.to_meta && hop.nth > 250 && hop.bytes.first().is_some_and(|first| *first < 4)));
    let outcome = World::run(plan);
    let ended = outcome.ended.as_ref().expect("a media call");
    assert_eq!((outcome.reason(), outcome.verdict.as_deref()), ("CONSENT_LOST", Some("CONSENT_LOST")));
    let talked = ended.stats.milestones.ended.zip(ended.stats.milestones.first_rtp_in).map(|(end, first)| end.since(first));
    // 50 packets a second up to the very end: only the checks went unanswered.
    let seconds = talked.expect("media came").as_millis() / 1_000;
    assert!((30..45).contains(&seconds), "{seconds} s");
    assert!(ended.stats.rtp_in > 45 * seconds, "{} packets in {seconds} s", ended.stats.rtp_in);
}
