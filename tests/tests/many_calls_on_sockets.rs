//! Many calls of one daemon on loopback, Meta's stand-in at the far end of each: nobody hears anybody else, nobody is hurt by what hits the neighbour,
//! and nothing is left behind at the end.

#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

use serde_json::Value;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tipring_engine::engine::EngineConfig;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::Span;
use tipring_meta_sim::faults::Fault;
use tipring_meta_sim::shell::{CallReport, Sim, SimConfig};
use tipring_meta_sim::timeline::{Direction, What};
use tipring_meta_sim::user::{Speech, UserScript};
use tipring_signalling::config::{BridgeConfig, BridgeKind, Config, GraphConfig, NumberConfig, Secret, WebhookConfig};
use tipring_signalling::shell::{Daemon, DaemonHandle};
use tipring_tests::process::{bound, resident_bytes};
use tipring_tests::sound::{tone, typical_tone_share};
use tokio::task::JoinHandle;

/// One test at a time: memory and processor are the process's.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const PORTS: std::ops::RangeInclusive<u16> = 41_000..=41_099;
const NEIGHBOURS_PORTS: std::ops::RangeInclusive<u16> = 41_100..=41_149;

async fn house(ports: std::ops::RangeInclusive<u16>) -> (Arc<Sim>, DaemonHandle) {
    let sim = Sim::start(SimConfig { has_ipv6: false, ..SimConfig::new("") }).await.expect("a simulator");
    let account = sim.account();
    let mut config = Config::default();
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    config.engine =
        EngineConfig { addresses: vec!["127.0.0.1".parse().expect("an address")], allow_loopback: true, ports, ..EngineConfig::default() };
    config.graph = GraphConfig { base_url: sim.graph_url(), ..GraphConfig::default() };
    config.webhook = Some(WebhookConfig::new(Secret::new("many"), vec![Secret::new(account.app_secret.as_str())]));
    config.numbers = vec![NumberConfig {
        phone_number_id: account.phone_number_id.clone(),
        access_token: Secret::new(account.access_token.as_str()),
        keying: Default::default(),
        waits: Default::default(),
        bridge: BridgeConfig { kind: BridgeKind::Echo, record: false },
        ..NumberConfig::new("", Secret::new(""))
    }];
    config.drain_max = Duration::from_millis(500);
    let daemon = Daemon::start(config, Arc::new(|_| {})).expect("a daemon");
    sim.set_webhook_url(format!("http://{}/webhook", daemon.webhook_addr()));
    (Arc::new(sim), daemon)
}

/// A user who says a tone from the pick-up on, and never hangs up.
fn ring(sim: &Arc<Sim>, tone_hz: f64, faults: &'static [Fault]) -> JoinHandle<CallReport> {
    let sim = Arc::clone(sim);
    tokio::spawn(async move {
        let speech = vec![Speech { after: Span::ZERO, pcm: tone(tone_hz, 16_000, 60.0).into() }];
        let script = UserScript { speech, hang_up_after: None, patience: Span::from_secs(60), ..UserScript::default() };
        sim.call(script, faults).await.expect("a call")
    })
}

/// Until the daemon has so many media calls.
async fn carries(daemon: &DaemonHandle, calls: usize) {
    let begun = Instant::now();
    while daemon.calls() < calls {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} of {calls} calls after half a minute", daemon.calls());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Drains as SIGTERM does, and waits for the end.
async fn stop(daemon: DaemonHandle) {
    tokio::task::spawn_blocking(|| daemon.shutdown()).await.expect("the daemon stops");
}

/// The RTP that Meta's relay received of the business: when, and sequence number.
fn received(report: &CallReport) -> Vec<(u64, u16)> {
    let of = report.timeline.iter().filter(|entry| entry.direction == Direction::FromBusiness);
    of.filter_map(|entry| if let What::Rtp { seq, .. } = entry.what { Some((entry.at.as_nanos(), seq)) } else { None }).collect()
}

fn left_in_order(report: &CallReport) -> (bool, bool) {
    let has = |is: fn(&What) -> bool| report.timeline.iter().any(|entry| entry.direction == Direction::FromBusiness && is(&entry.what));
    (
        has(|what| matches!(what, What::Rtcp { bye: true, .. })),
        has(|what| matches!(what, What::GraphRequest { action, .. } if action == "terminate")),
    )
}

/// Scenario 25, scaled to a test: 24 calls, each with a tone of its own, 1 % loss; then the daemon is told to go.
//= meta#R-19 type=test
//= rules#G10 type=test
#[tokio::test]
async fn two_dozen_calls_hear_their_own_tone_only_and_a_drained_daemon_leaves_nothing_behind() {
    const CALLS: usize = 24;
    let _alone = ALONE.lock().await;
    let tones: Vec<f64> = (0..CALLS).map(|n| 400.0 + 70.0 * n as f64).collect();
    let (sim, daemon) = house(PORTS).await;
    sim.set_loss(10);
    let ringing: Vec<_> = tones.iter().map(|hz| ring(&sim, *hz, &[])).collect();
    carries(&daemon, CALLS).await;
    assert_eq!(bound(&PORTS).len(), CALLS);
    tokio::time::sleep(Duration::from_secs(10)).await;
    // BYE is said once: it is not to be among what is lost.
    sim.set_loss(0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop(daemon).await;
    assert_eq!(bound(&PORTS), [0u16; 0], "no socket is left");

    let mut off_us = Vec::new();
    let mut lost = 0;
    let mut got = 0;
    for (n, call) in ringing.into_iter().enumerate() {
        let report = call.await.expect("the far end lives");
        assert_eq!(left_in_order(&report), (true, true), "BYE and terminate of call {n}");
        let packets = received(&report);
        assert!(packets.len() > 100, "call {n}: {} packets", packets.len());
        for pair in packets.windows(2) {
            let step = u64::from(pair[1].1.wrapping_sub(pair[0].1));
            lost += step.saturating_sub(1);
            if step == 1 {
                off_us.push((pair[1].0 - pair[0].0).abs_diff(20_000_000) / 1_000);
            }
        }
        got += packets.len() as u64;
        // Two seconds of what the user heard; seven lines of a window's spectrum lie between two tones.
        let heard = &report.heard_pcm[32_000..64_000];
        let shares: Vec<f64> = tones.iter().map(|hz| typical_tone_share(heard, *hz, 16_000)).collect();
        assert!(shares[n] > 0.5, "call {n} hears {:.3} of its own tone", shares[n]);
        let loudest = shares.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, share)| *share).fold(0.0, f64::max);
        assert!(loudest < 0.05, "call {n} hears {loudest:.3} of another one's");
    }
    assert!(lost > 0, "the network lost nothing");
    off_us.sort_unstable();
    let of = |percent: usize| off_us[off_us.len() * percent / 100] as f64 / 1_000.0;
    println!(
        "{CALLS} calls: {got} packets, {lost} lost; interval off 20 ms by p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms",
        of(50),
        of(90),
        of(99)
    );
}

fn hostile() -> Vec<Vec<u8>> {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
        let value: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect(name)).expect("JSON");
        value["cases"].as_array().expect("cases").clone()
    };
    let unhex = |case: Value| {
        let hex = case["hex"].as_str().expect("hex").to_owned();
        (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hex")).collect()
    };
    ["stun/malformed.json", "dtls/hostile_datagrams.json", "rtp/headers.json", "rtcp/packets.json"]
        .into_iter()
        .flat_map(read)
        .map(unhex)
        .collect()
}

/// Scenario 24, the neighbours: one call is hit by a stranger with every hostile vector and with 1,200 bytes of noise in turn, and by garbage under its own
/// relay's address. The calls beside it, on the same shard, miss nothing, and memory does not grow with what was thrown.
#[tokio::test]
async fn hostile_input_into_one_call_leaves_no_gap_in_those_beside_it() {
    const THROWN: usize = 25_000;
    const NEIGHBOURS: usize = 4;
    let _alone = ALONE.lock().await;
    let (sim, daemon) = house(NEIGHBOURS_PORTS).await;
    let victim = ring(&sim, 500.0, &[Fault::Garbage]);
    carries(&daemon, 1).await;
    let port = bound(&NEIGHBOURS_PORTS)[0];
    let ringing: Vec<_> = (0..NEIGHBOURS).map(|n| ring(&sim, 700.0 + 200.0 * n as f64, &[])).collect();
    carries(&daemon, 1 + NEIGHBOURS).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let before = resident_bytes();
    let thrown = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut rng = SeededRng::new(24);
        let vectors = hostile();
        let mut bytes = 0;
        for n in 0..THROWN {
            let mut noise = vec![0; 1_200];
            rng.fill(&mut noise);
            let datagram = if n % 4 == 0 { &vectors[n / 4 % vectors.len()] } else { &noise };
            // A full queue is no reason to stop.
            bytes += socket.send_to(datagram, ("127.0.0.1", port)).unwrap_or(0) as u64;
            if n % 10 == 9 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        bytes
    });
    let thrown = thrown.await.expect("thrown");
    let grown = resident_bytes().saturating_sub(before);
    assert_eq!(daemon.calls(), 1 + NEIGHBOURS, "every call goes on");
    stop(daemon).await;
    for (n, call) in ringing.into_iter().enumerate() {
        let report = call.await.expect("the far end lives");
        assert_eq!(left_in_order(&report), (true, true), "neighbour {n}");
        let packets = received(&report);
        let gaps = packets.windows(2).filter(|pair| pair[1].1 != pair[0].1.wrapping_add(1)).count();
        assert!(packets.len() > 100 && gaps == 0, "neighbour {n}: {gaps} gaps in {} packets", packets.len());
        let refused = report.timeline.iter().find(|entry| matches!(entry.what, What::MediaRefused { .. }));
        assert!(refused.is_none(), "neighbour {n}: {refused:?}");
    }
    let report = victim.await.expect("the far end lives");
    assert_eq!(left_in_order(&report), (true, true), "the one that was hit was carried to its end too");
    println!("{thrown} bytes thrown, resident memory grew by {grown}");
    assert!(grown < thrown / 4, "{grown} bytes more after {thrown} were thrown");
}
