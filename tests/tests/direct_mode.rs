//! Direct mode as a gateway uses it: the daemon's HTTP face on loopback, str0m as the far end, our side echoes. Offer in and answer out; offer out and answer in;
//! then hang-up. The tone that str0m says is the tone that it hears.

#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tipring_signalling::config::{Config, DirectConfig, Secret};
use tipring_signalling::shell::{Daemon, DaemonHandle};
use tipring_tests::sound::typical_tone_share;
use tipring_tests::str0m_peer::{Running, Str0mPeer};

const TONE_HZ: f64 = 620.0;
const TOKEN: &str = "a-token-of-this-test";

fn daemon() -> DaemonHandle {
    let mut config = Config::on_loopback(42_400..=42_799);
    let mut direct = DirectConfig::new(Secret::new(TOKEN));
    direct.listen = "127.0.0.1:0".parse().expect("an address");
    config.direct = Some(direct);
    Daemon::start(config, Arc::new(|_| {})).expect("a daemon")
}

/// Asks for the session until it is in `state`; gives its JSON.
async fn wait_for(client: &Client, session: &str, state: &str) -> Value {
    let begun = Instant::now();
    loop {
        let answer = client.get(session).bearer_auth(TOKEN).send().await.expect("an answer");
        let body: Value = answer.json().await.expect("JSON");
        if body["state"] == state {
            return body;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "still {body} instead of {state}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The tone runs for a while, then both ends stop.
async fn talk_and_hang_up(client: &Client, session: &str, peer: Running) {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let body = wait_for(client, session, "open").await;
    assert!(body["stats"].is_object(), "{body}");
    for _ in 0..2 {
        let gone = client.delete(session).bearer_auth(TOKEN).send().await.expect("an answer");
        assert_eq!(gone.status(), StatusCode::NO_CONTENT, "deleting twice is fine");
    }
    let (heard, packets) = tokio::task::spawn_blocking(|| peer.stop()).await.expect("the peer stops");
    // The echo starts within the first second; then it is the tone and nothing else.
    assert!(heard.len() > 2 * 16_000, "str0m received {packets} packets");
    let share = typical_tone_share(&heard[16_000..], TONE_HZ, 16_000);
    assert!(share > 0.9, "str0m hears {share:.3} of its own tone");
}

#[tokio::test]
async fn a_gateway_gives_an_offer_and_gets_an_answer() {
    let daemon = daemon();
    let base = format!("http://{}", daemon.direct_addr().expect("Direct mode is on"));
    let client = Client::new();
    let mut peer = Str0mPeer::default();
    let offer = peer.offer();

    let refused = client.post(format!("{base}/v1/sessions")).bearer_auth("wrong").body(offer.clone()).send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);

    let request = client.post(format!("{base}/v1/sessions")).bearer_auth(TOKEN).header(CONTENT_TYPE, "application/sdp").body(offer);
    let created = request.send().await.expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
    let session = format!("{base}{}", created.headers()[LOCATION].to_str().expect("text"));
    let answer = created.text().await.expect("an SDP");
    assert!(answer.contains("a=setup:active\r\n"), "{answer}");
    peer.take_answer(&answer);
    let peer = peer.run(TONE_HZ);

    let body = wait_for(&client, &session, "media_ready").await;
    assert_eq!(body["stats"]["rtp_out"], json!(0), "nothing leaves before the gate is opened: {body}");
    let opened = client.post(format!("{session}/gate")).bearer_auth(TOKEN).send().await.expect("an answer");
    assert_eq!(opened.status(), StatusCode::OK);
    talk_and_hang_up(&client, &session, peer).await;
    tokio::task::spawn_blocking(|| daemon.shutdown()).await.expect("the daemon stops");
}

//= meta#R-41 type=test
#[tokio::test]
async fn a_gateway_asks_for_an_offer_and_gives_the_answer() {
    let daemon = daemon();
    let base = format!("http://{}", daemon.direct_addr().expect("Direct mode is on"));
    let client = Client::new();
    let request = client.post(format!("{base}/v1/sessions")).bearer_auth(TOKEN).header(ACCEPT, "application/json");
    let created = request.json(&json!({"role": "offer", "gate": "open"})).send().await.expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
    let body: Value = created.json().await.expect("JSON");
    let session = format!("{base}/v1/sessions/{}", body["id"].as_str().expect("an id"));

    let mut peer = Str0mPeer::default();
    let answer = peer.answer(body["sdp"].as_str().expect("an SDP"));
    let put = client.put(format!("{session}/answer")).bearer_auth(TOKEN).header(CONTENT_TYPE, "application/sdp").body(answer.clone());
    assert_eq!(put.send().await.expect("an answer").status(), StatusCode::OK);
    let again = client.put(format!("{session}/answer")).bearer_auth(TOKEN).header(CONTENT_TYPE, "application/sdp").body(answer);
    assert_eq!(again.send().await.expect("an answer").status(), StatusCode::CONFLICT, "there is no renegotiation");
    let peer = peer.run(TONE_HZ);
    wait_for(&client, &session, "open").await;
    talk_and_hang_up(&client, &session, peer).await;
    tokio::task::spawn_blocking(|| daemon.shutdown()).await.expect("the daemon stops");
}
