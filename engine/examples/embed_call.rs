//! Level 1 of embedding: one `Call`; socket, clock and loop are the host's.
//!
//! ```text
//! cargo run --example embed_call
//! ```
#![allow(clippy::disallowed_methods, reason = "a host reads its clock")]

mod peer;

use std::fs::File;
use std::io::Read;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tipring_engine::bridge::PromptEcho;
use tipring_engine::call::{Call, CallConfig, CallEvent, Scratch, SetupRole, Watchdogs};
use tipring_engine::dtls::{Certificate, DtlsConfig, DtlsContext};
use tipring_engine::error::EndReason;
use tipring_engine::ice::{Candidate, IceConfig, Path};
use tipring_engine::jitter::JitterConfig;
use tipring_engine::limits::DATAGRAM_BYTES_MAX;
use tipring_engine::rng::Entropy;
use tipring_engine::time::{Span, Time};

/// The host's randomness. Everything secret of a call comes from it.
struct Random(File);

impl Entropy for Random {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.read_exact(out).expect("no randomness, no call");
    }
}

fn main() {
    let caller = peer::caller(Duration::from_secs(1));
    let started = Instant::now();
    let now = || Time::from_nanos(started.elapsed().as_nanos() as u64);
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as i64;

    // Once per process: the certificate, and what all calls have in common.
    let certificate = Certificate::generate(unix_s).expect("a certificate");
    let config = Arc::new(CallConfig {
        ice: IceConfig { allow_loopback: true, ..IceConfig::default() },
        dtls: DtlsContext::new(DtlsConfig::default(), certificate).expect("a TLS library"),
        jitter: JitterConfig::default(),
        complexity: 5,
        watchdogs: Watchdogs::default(),
        ntp_origin: ((unix_s as u64) + 2_208_988_800) << 32,
    });

    // Once per call.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let local = socket.local_addr().expect("bound");
    let mut random = Random(File::open("/dev/urandom").expect("randomness"));
    let candidates = vec![Candidate::host(local, u16::MAX)];
    let mut call = Call::new(&config, SetupRole::Active, candidates, Box::new(PromptEcho::default()), &mut random, now()).expect("a call");
    caller.answer(call.local_params());
    call.set_remote_params(caller.offer.clone(), now()).expect("an offer that can work");

    let (mut scratch, mut buffer) = (Scratch::default(), [0; DATAGRAM_BYTES_MAX + 1]);
    loop {
        // After everything that touches the call: datagrams, events, the deadline.
        while let Some((len, path)) = call.poll_transmit(&mut scratch, &mut buffer, now()) {
            // A datagram that the system refuses is a lost one.
            let _ = socket.send_to(&buffer[..len], path.remote);
        }
        while let Some(event) = call.poll_event() {
            match event {
                // Here `accept` is sent; its 200 opens the gate.
                CallEvent::MediaReady => call.open_gate(now()),
                CallEvent::Ended(ended) => {
                    let heard = caller.call.join().expect("the caller");
                    println!("{}: {} packets in, {} out", ended.reason.code(), ended.stats.rtp_in, ended.stats.rtp_out);
                    assert!(ended.reason == EndReason::HangUp && heard.sent > 0 && heard.received * 10 >= heard.sent * 9, "{heard:?}");
                    return;
                }
                other => println!("{other:?}"),
            }
        }
        if caller.call.is_finished() {
            call.close(EndReason::HangUp, now());
            continue;
        }
        let wait = call.poll_timeout().map_or(Span::from_millis(100), |at| at.since(now())).min(Span::from_millis(100));
        socket.set_read_timeout(Some(Duration::from_nanos(wait.as_nanos().max(1_000)))).expect("a timeout");
        if let Ok((len, remote)) = socket.recv_from(&mut buffer) {
            call.handle_datagram(Path { local, remote }, &mut buffer[..len], now());
        }
        if call.poll_timeout().is_some_and(|at| at <= now()) {
            call.handle_timeout(&mut scratch, now());
        }
    }
}

#[test]
fn it_carries_a_call() {
    main();
}
