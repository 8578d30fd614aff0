//! A call bridged to an audio server over real sockets: the bot hears the caller and is heard, marks and digits go their way, a broken connection is made again, and a
//! bot that says goodbye ends the call. Over ws and over wss. The caller is str0m.

#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tipring_signalling::config::{AudioTarget, Config, DirectConfig, Secret};
use tipring_signalling::shell::{Daemon, DaemonHandle};
use tipring_tests::audio_server::{AudioServer, Script, talker, until};
use tipring_tests::sound::typical_tone_share;
use tipring_tests::str0m_peer::{Running, Str0mPeer};
use tokio_rustls::TlsAcceptor;

const TOKEN: &str = "a-token-of-this-test";
const CALLER_HZ: f64 = 620.0;
const BOT_HZ: f64 = 440.0;

fn daemon(first_port: u16, targets: Vec<AudioTarget>) -> DaemonHandle {
    let mut config = Config::on_loopback(first_port..=first_port + 99);
    config.audio_targets = targets;
    let mut direct = DirectConfig::new(Secret::new(TOKEN));
    direct.listen = "127.0.0.1:0".parse().expect("an address");
    config.direct = Some(direct);
    Daemon::start(config, Arc::new(|_| {})).expect("a daemon")
}

/// Offers, bridges to `ws`, and lets str0m answer; the gate is open.
async fn call(client: &Client, base: &str, ws: Value) -> (String, Running) {
    let body = json!({ "role": "offer", "gate": "open", "bridge": { "ws": ws } });
    let created = client.post(format!("{base}/v1/sessions")).bearer_auth(TOKEN).header(ACCEPT, "application/json").json(&body);
    let created = created.send().await.expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
    let body: Value = created.json().await.expect("JSON");
    let session = format!("{base}/v1/sessions/{}", body["id"].as_str().expect("an id"));
    let mut peer = Str0mPeer::default();
    let answer = peer.answer(body["sdp"].as_str().expect("an SDP"));
    let put = client.put(format!("{session}/answer")).bearer_auth(TOKEN).json(&json!({ "sdp": answer }));
    assert_eq!(put.send().await.expect("an answer").status(), StatusCode::OK);
    (session, peer.run(CALLER_HZ))
}

async fn state(client: &Client, session: &str) -> String {
    let shown: Value = client.get(session).bearer_auth(TOKEN).send().await.expect("an answer").json().await.expect("JSON");
    shown["state"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_bot_over_wss_hears_the_caller_and_is_heard() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let ca = std::env::temp_dir().join(format!("tipring-audio-bridge-{}.pem", std::process::id()));
    std::fs::write(&ca, cert.pem()).expect("a file");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a chain");
    let server = AudioServer::start(Some(TlsAcceptor::from(Arc::new(tls))), talker(BOT_HZ)).await;
    let url = format!("wss://localhost:{}/", server.address.port());
    let daemon = daemon(
        42_800,
        vec![AudioTarget { url: url.clone(), authorization: Some(Secret::new("of-the-bot")), ca: Some(PathBuf::from(&ca)) }],
    );
    let base = format!("http://{}", daemon.direct_addr().expect("Direct mode is on"));
    let client = Client::new();

    let elsewhere = json!({ "role": "offer", "bridge": { "ws": { "url": "wss://127.0.0.1:1/" } } });
    let refused = client.post(format!("{base}/v1/sessions")).bearer_auth(TOKEN).json(&elsewhere).send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "a request names no target of its own");

    let (session, peer) = call(&client, &base, json!({ "url": url, "parameters": { "language": "pt" } })).await;
    until("the mark comes back", async || !server.events("mark").is_empty()).await;
    until("the bot hears three seconds", async || server.events("media").len() > 150).await;
    let start = &server.events("start")[0]["start"];
    assert_eq!(start["customParameters"]["language"], "pt");
    assert!(start["customParameters"]["session_id"].is_string(), "{start}");
    assert_eq!(*server.authorizations.lock().expect("no panic"), ["Bearer of-the-bot"]);
    let digits = client.delete(&session).bearer_auth(TOKEN).send().await.expect("an answer");
    assert_eq!(digits.status(), StatusCode::NO_CONTENT);
    until("the bot hears of the end", async || server.events("stop").len() == 1).await;
    let (heard, _) = tokio::task::spawn_blocking(|| peer.stop()).await.expect("the peer stops");
    let begin = heard.iter().position(|s| s.unsigned_abs() > 1_000).expect("something is heard");
    let share = typical_tone_share(&heard[begin..begin + 3 * 16_000], BOT_HZ, 16_000);
    assert!(share > 0.9, "the caller hears {share:.3} of the bot");
    let heard = server.heard();
    let share = typical_tone_share(&heard[heard.len() - 16_000..], CALLER_HZ, 8_000);
    assert!(share > 0.9, "the bot hears {share:.3} of the caller");
    let got = server.got.lock().expect("no panic").clone();
    for (k, (_, message)) in got.iter().skip(1).enumerate() {
        assert_eq!(message["sequenceNumber"], (k + 1).to_string());
    }
    tokio::task::spawn_blocking(|| daemon.shutdown()).await.expect("the daemon stops");
    let _ = std::fs::remove_file(ca);
}

#[tokio::test]
async fn a_broken_connection_is_made_again_and_a_farewell_ends_the_call() {
    // The first connection is cut in the middle; the second is ended by the bot after two seconds.
    let script: Box<Script> = Box::new(|number, message| {
        let chunk: u64 = message["media"]["chunk"].as_str().and_then(|c| c.parse().ok()).unwrap_or(0);
        match number {
            0 if chunk == 20 => panic!("the bot crashes"),
            1 if chunk == 100 => vec![None],
            _ => Vec::new(),
        }
    });
    let server = AudioServer::start(None, script).await;
    let url = format!("ws://{}/bot", server.address);
    let daemon = daemon(42_900, vec![AudioTarget { url: url.clone(), authorization: None, ca: None }]);
    let base = format!("http://{}", daemon.direct_addr().expect("Direct mode is on"));
    let client = Client::new();
    let (session, peer) = call(&client, &base, json!({ "url": url })).await;
    until("the call ends with the bot", async || state(&client, &session).await == "ended").await;
    let starts = server.events("start");
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[0]["start"]["callSid"], starts[1]["start"]["callSid"], "the same call");
    assert_ne!(starts[0]["streamSid"], starts[1]["streamSid"], "another stream, counted anew");
    assert_eq!([&starts[0]["sequenceNumber"], &starts[1]["sequenceNumber"]], ["1", "1"]);
    drop(peer);

    // Nobody listens: given up after the attempts that were allowed, and the call goes on in silence if that was asked for.
    let gone = format!("ws://{}/bot", server.address);
    let quick = json!({ "url": gone, "reconnects": 0, "protocol": "l16", "rate": 16000, "on_close": "keep" });
    let (session, peer) = call(&client, &base, quick).await;
    until("the call is open", async || state(&client, &session).await == "open").await;
    let metrics = daemon.metrics();
    assert!(metrics.audio.iter().any(|(what, n)| what.label() == "broken" && *n >= 1), "{:?}", metrics.audio);
    drop(peer);
    tokio::task::spawn_blocking(|| daemon.shutdown()).await.expect("the daemon stops");
}
