//! Attacks where sockets are the point: the daemon on loopback, str0m at the far end, and somebody who floods every port of ours from before the call to its end.

#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_signalling::config::{Config, DirectConfig, Secret};
use tipring_signalling::shell::{Daemon, DaemonHandle};
use tipring_tests::sound::typical_tone_share;
use tipring_tests::str0m_peer::Str0mPeer;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const TONE_HZ: f64 = 620.0;
const TOKEN: &str = "a-token-of-this-test";
const PORTS: std::ops::RangeInclusive<u16> = 43_000..=43_009;

/// Counts what an operator would find in the log.
struct Log;

static LINES: AtomicU64 = AtomicU64::new(0);

impl Subscriber for Log {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        *about.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        LINES.fetch_add(1, Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn daemon() -> DaemonHandle {
    let mut config = Config::on_loopback(PORTS);
    let mut direct = DirectConfig::new(Secret::new(TOKEN));
    direct.listen = "127.0.0.1:0".parse().expect("an address");
    config.direct = Some(direct);
    Daemon::start(config, Arc::new(|_| {})).expect("a daemon")
}

/// What was thrown, and what came back.
struct Harvest {
    thrown: u64,
    bytes_back: u64,
}

/// Floods every port of ours with garbage of every kind until told to stop; listens for answers meanwhile.
fn attacker(stop: &AtomicBool) -> Harvest {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_nonblocking(true).expect("a socket that does not wait");
    let mut rng = SeededRng::new(19);
    let mut harvest = Harvest { thrown: 0, bytes_back: 0 };
    let mut bled = vec![0x80, 0x00, 0xee, 0x3c, 0x04, 0x42, 0xa2, 0xc1, 0xef, 0x0a, 0x07, 0xde];
    bled.resize(172, 0);
    let mut buffer = [0; 2_048];
    while !stop.load(Relaxed) {
        for port in PORTS {
            let mut noise = vec![0; 1 + rng.below(1_300) as usize];
            rng.fill(&mut noise);
            let packet = match rng.below(5) {
                0 => bled.clone(),
                1 => {
                    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], &noise.iter().copied().chain([0; 12]).take(12).collect::<Vec<_>>()[..]].concat()
                }
                2 => [&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60][..], &[1; 60]].concat(),
                3 => [&[0x80, 200], &noise[..]].concat(),
                _ => noise,
            };
            // A full queue or a closed port is no reason to stop.
            harvest.thrown += u64::from(socket.send_to(&packet, ("127.0.0.1", port)).is_ok());
        }
        while let Ok((len, _)) = socket.recv_from(&mut buffer) {
            harvest.bytes_back += len as u64;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    harvest
}

/// Processor time of the engine's threads.
fn shards() -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let of = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let used = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        name.starts_with("tipring-shard").then(|| used.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)).flatten()
    };
    tasks.filter_map(|task| of(task.ok()?)).sum()
}

/// RTP bleed, garbage flood and toll of logs at once: the tone comes back whole, the attacker gets not a byte, and the log stays silent.
#[tokio::test]
async fn garbage_flood_on_every_port() {
    tracing::subscriber::set_global_default(Log).expect("the only log of this process");
    let daemon = daemon();
    let base = format!("http://{}", daemon.direct_addr().expect("Direct mode is on"));
    let client = Client::new();
    let stop = Arc::new(AtomicBool::new(false));
    let attack = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || attacker(&stop)
    });

    let mut peer = Str0mPeer::default();
    let request = client.post(format!("{base}/v1/sessions?gate=open")).bearer_auth(TOKEN).header(CONTENT_TYPE, "application/sdp");
    let created = request.body(peer.offer()).send().await.expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
    let session = format!("{base}{}", created.headers()[LOCATION].to_str().expect("text"));
    peer.take_answer(&created.text().await.expect("an SDP"));
    let peer = peer.run(TONE_HZ);
    let begun = Instant::now();
    loop {
        let answer = client.get(&session).bearer_auth(TOKEN).send().await.expect("an answer");
        let body: Value = answer.json().await.expect("JSON");
        if body["state"] == "open" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "still {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (lines, used, talk) = (LINES.load(Relaxed), shards(), Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (lines, used, talk) = (LINES.load(Relaxed) - lines, shards() - used, talk.elapsed());
    let answer = client.get(&session).bearer_auth(TOKEN).send().await.expect("an answer");
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["state"], "open", "the call goes on: {body}");
    stop.store(true, Relaxed);
    let harvest = attack.join().expect("the attacker ends");
    client.delete(&session).bearer_auth(TOKEN).send().await.expect("an answer");
    let (heard, packets) = tokio::task::spawn_blocking(|| peer.stop()).await.expect("the peer stops");
    println!(
        "{} packets thrown, {} bytes back, {lines} log lines, {:.1} % of a core, drops {}",
        harvest.thrown,
        harvest.bytes_back,
        100.0 * used.as_secs_f64() / talk.as_secs_f64(),
        body["stats"]["drops"]
    );
    assert!(harvest.thrown > 1_000, "{} packets thrown", harvest.thrown);
    assert_eq!(harvest.bytes_back, 0, "the attacker gets nothing");
    assert!(lines <= talk.as_secs(), "{lines} log lines in {} s", talk.as_secs());
    assert!(heard.len() > 2 * 16_000, "str0m received {packets} packets");
    let share = typical_tone_share(&heard[16_000..], TONE_HZ, 16_000);
    assert!(share > 0.9, "str0m hears {share:.3} of its own tone");
    tokio::task::spawn_blocking(|| daemon.shutdown()).await.expect("the daemon stops");
}
