//! How long a frame takes from an audio server's WebSocket to the RTP packet that carries it: a knock of 20 ms in silence, again and again; str0m notes when the first
//! packet comes that is not silence. Prints percentiles; what is asserted is that every knock is heard, once, and in order. `PROBES=500` for more of them.

#![allow(clippy::disallowed_methods, reason = "it measures the wall clock, and asserts nothing about it")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tipring_engine::codec::g711::Law;
use tipring_engine::codec::{Decoder, SampleRate};
use tipring_signalling::config::{AudioTarget, Config, DirectConfig, Secret};
use tipring_signalling::shell::Daemon;
use tipring_signalling::stream::twilio::{self, Said};
use tipring_tests::sound::tone;
use tipring_tests::str0m_peer::Str0mPeer;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn from_a_websocket_frame_to_its_packet() {
    let probes: usize = std::env::var("PROBES").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let knocks = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&knocks);
    let bot = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the daemon connects");
        stream.set_nodelay(true).expect("no delay");
        let (mut to_call, mut from_call) = tokio_tungstenite::accept_async(stream).await.expect("an upgrade").split();
        let mut sid = String::new();
        let mut heard = 0;
        // The call is up once the user is heard.
        while heard < 50 {
            let Some(Ok(Message::Text(text))) = from_call.next().await else { panic!("the daemon left") };
            let message: Value = serde_json::from_str(text.as_str()).expect("JSON");
            sid = message["streamSid"].as_str().unwrap_or_default().to_owned();
            heard += usize::from(message["event"] == "media");
        }
        tokio::spawn(async move { while from_call.next().await.is_some() {} });
        let mut knock = vec![0; 160];
        Law::Mu.encode(&tone(700.0, 8_000, 0.02), &mut knock);
        let text = twilio::write(&Said::Media(knock), &sid);
        for k in 0..probes {
            // Every phase of the call's tick alike.
            tokio::time::sleep(Duration::from_millis(160) + Duration::from_micros(1_337 * (k as u64 % 15))).await;
            let at = Instant::now();
            to_call.send(Message::text(text.clone())).await.expect("the daemon reads");
            noted.lock().expect("no panic").push(at);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    });

    let mut config = Config::on_loopback(43_000..=43_099);
    config.audio_targets = vec![AudioTarget { url: url.clone(), authorization: None, ca: None }];
    let mut direct = DirectConfig::new(Secret::new("token"));
    direct.listen = "127.0.0.1:0".parse().expect("an address");
    config.direct = Some(direct);
    let daemon = Daemon::start(config, Arc::new(|_| {})).expect("a daemon");
    let base = format!("http://{}/v1/sessions", daemon.direct_addr().expect("Direct mode is on"));
    let client = reqwest::Client::new();
    let body = json!({ "role": "offer", "gate": "open", "bridge": { "ws": { "url": url } } });
    let made: Value = client.post(&base).bearer_auth("token").json(&body).send().await.expect("an answer").json().await.expect("JSON");
    let mut peer = Str0mPeer::default();
    let answer = peer.answer(made["sdp"].as_str().expect("an SDP"));
    let put = format!("{base}/{}/answer", made["id"].as_str().expect("an id"));
    assert!(client.put(put).bearer_auth("token").json(&json!({ "sdp": answer })).send().await.expect("an answer").status().is_success());
    let peer = peer.run(300.0);
    bot.await.expect("the bot knocks to the end");
    let traffic = tokio::task::spawn_blocking(|| peer.finish()).await.expect("the peer stops");
    tokio::task::spawn_blocking(|| daemon.shutdown()).await.expect("the daemon stops");

    let mut decoder = Decoder::new(SampleRate::Hz8000).expect("a decoder");
    let (mut pcm, mut loud_before, mut arrivals) = (vec![0; 960], 0, Vec::new());
    for (packet, at) in traffic.received.iter().zip(&traffic.arrived) {
        let samples = decoder.decode(packet, &mut pcm).unwrap_or(0);
        let is_loud = pcm[..samples].iter().any(|s| s.unsigned_abs() > 2_000);
        // A knock may ring over into the next packet.
        if is_loud && loud_before == 0 {
            arrivals.push(*at);
        }
        loud_before = if is_loud { 4 } else { i32::max(loud_before - 1, 0) };
    }
    let knocks = knocks.lock().expect("no panic").clone();
    assert_eq!(arrivals.len(), knocks.len(), "every knock is heard, and nothing else");
    let mut delays_us: Vec<u128> = Vec::new();
    for (knock, heard) in knocks.iter().zip(&arrivals) {
        assert!(heard >= knock);
        delays_us.push((*heard - *knock).as_micros());
    }
    delays_us.sort_unstable();
    let at = |percent: usize| delays_us[(delays_us.len() * percent / 100).min(delays_us.len() - 1)] as f64 / 1_000.0;
    println!(
        "WebSocket frame to RTP packet, {} knocks: median {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        delays_us.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
}
