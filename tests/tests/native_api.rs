//! The native API as an application uses it: calls wait for it, it takes them, bridges them, hangs up, calls users, asks them for permission, and hears of everything
//! by WebSocket and by signed webhook. Meta is the simulator, sockets are real.

#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tipring_engine::time::Span;
use tipring_meta_sim::permissions::{Answer, Permission};
use tipring_meta_sim::shell::{Sim, SimConfig};
use tipring_meta_sim::user::{Speech, UserScript};
use tipring_signalling::config::{
    ApiConfig, ApiKey, AudioTarget, BridgeConfig, CdrConfig, Config, HookConfig, NumberConfig, PromptConfig, RecordConfig, Scope, Secret,
    WebhookConfig,
};
use tipring_signalling::sdp::KeyExchange;
use tipring_signalling::shell::{Daemon, DaemonHandle};
use tipring_signalling::webhook::signature;
use tipring_tests::audio_server::{AudioServer, talker, until};
use tipring_tests::rtp_peer::RtpPeer;
use tipring_tests::sound::{tone, typical_tone_share};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const KEY: &str = "the-key-that-may-everything";
const READER: &str = "the-key-that-may-look";
const HOOK_SECRET: &str = "signs-the-events";
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    sim: Arc<Sim>,
    daemon: Option<DaemonHandle>,
    client: Client,
    base: String,
    events: WebSocketStream<MaybeTlsStream<TcpStream>>,
    delivered: mpsc::UnboundedReceiver<Value>,
    directory: PathBuf,
}

impl World {
    async fn start(name: &str, first_port: u16) -> Self {
        Self::start_with(name, first_port, |_, _| {}).await
    }

    async fn start_with(name: &str, first_port: u16, adapt: impl FnOnce(&mut Config, &std::path::Path)) -> Self {
        let sim = Arc::new(Sim::start(SimConfig::new("")).await.expect("a simulator"));
        let directory = std::env::temp_dir().join(format!("tipring-api-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let (hook, delivered) = receiver().await;
        let account = sim.account();
        let all = Scope::ALL.to_vec();
        let mut api = ApiConfig::new(vec![
            ApiKey { name: "all".into(), token: Secret::new(KEY), scopes: all },
            ApiKey { name: "look".into(), token: Secret::new(READER), scopes: vec![Scope::CallsRead] },
        ]);
        api.listen = "127.0.0.1:0".parse().expect("an address");
        api.hooks = vec![HookConfig { url: hook, secret: Secret::new(HOOK_SECRET), types: vec!["call.".into()] }];
        let mut config = Config::on_loopback(first_port..=first_port + 99);
        config.api = Some(api);
        config.graph.base_url = sim.graph_url();
        config.webhook = Some(WebhookConfig::new(Secret::new("verify"), vec![Secret::new(account.app_secret.as_str())]));
        config.numbers = vec![NumberConfig {
            phone_number_id: account.phone_number_id.clone(),
            access_token: Secret::new(account.access_token.as_str()),
            keying: KeyExchange::Dtls,
            bridge: BridgeConfig::ECHO,
            waits: true,
            ..NumberConfig::new("", Secret::new(""))
        }];
        let prompt = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../signalling/assets/greeting.wav");
        config.prompts = vec![PromptConfig { name: "greeting".into(), wav: prompt }];
        config.cdr = Some(CdrConfig { file: directory.join("cdr.jsonl"), salt: None });
        adapt(&mut config, &directory);
        let daemon = Daemon::start(config, Arc::new(|_| {})).expect("a daemon");
        sim.set_webhook_url(format!("http://{}/webhook", daemon.webhook_addr()));
        let api = daemon.api_addr().expect("an API");
        let mut request = format!("ws://{api}/v1/events").into_client_request().expect("a request");
        request.headers_mut().insert("authorization", format!("Bearer {KEY}").parse().expect("a header"));
        let (events, _) = connect_async(request).await.expect("a stream of events");
        Self { sim, daemon: Some(daemon), client: Client::new(), base: format!("http://{api}/v1"), events, delivered, directory }
    }

    /// The next event of this type; others before it are skipped.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.events.next()).await.unwrap_or_else(|_| panic!("{kind} never came"));
            let message = message.expect("the stream goes on").expect("a message");
            let Ok(text) = message.to_text() else { continue };
            let Ok(event) = serde_json::from_str::<Value>(text) else { continue };
            if event["type"] == kind {
                return event;
            }
        }
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.client.post(format!("{}/{path}", self.base)).bearer_auth(KEY).json(&body).send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.client.get(format!("{}/{path}", self.base)).bearer_auth(READER).send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    /// Events of one call that its webhook got, up to its end.
    async fn delivered(&mut self, call: &str) -> Vec<Value> {
        let mut got = Vec::new();
        loop {
            let event = tokio::time::timeout(PATIENCE, self.delivered.recv()).await.expect("a delivery in time").expect("a delivery");
            if event["call_id"] == call {
                let is_end = event["type"] == "call.ended";
                got.push(event);
                if is_end {
                    return got;
                }
            }
        }
    }

    async fn stop(mut self) -> Vec<Value> {
        let daemon = self.daemon.take().expect("a daemon");
        tokio::task::spawn_blocking(move || daemon.shutdown()).await.expect("the daemon stops");
        let records = std::fs::read_to_string(self.directory.join("cdr.jsonl")).expect("records");
        std::fs::remove_dir_all(&self.directory).expect("the directory can go");
        records.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
    }
}

/// Takes events, refuses each first attempt of a call with 503, checks signatures.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let url = format!("http://{}/events", listener.local_addr().expect("an address"));
    let (tx, rx) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut refused = HashSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let (head, body) = loop {
                let mut chunk = [0; 4_096];
                let n = stream.read(&mut chunk).await.expect("a request");
                request.extend_from_slice(&chunk[..n]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).and_then(|n| n.parse::<usize>().ok());
                if length.is_some_and(|length| body.len() >= length) {
                    break (head, body.to_owned());
                }
                assert!(n > 0, "the request broke off");
            };
            let signed = head.lines().find_map(|l| l.strip_prefix("x-tipring-signature: ")).expect("a signature").to_owned();
            assert_eq!(signature::verify(body.as_bytes(), Some(&signed), &[HOOK_SECRET.as_bytes()]), Ok(0));
            let event: Value = serde_json::from_str(&body).expect("an event is JSON");
            let is_first = refused.insert(event["call_id"].to_string());
            let status = if is_first { "503 Service Unavailable" } else { "204 No Content" };
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await;
            if !is_first && tx.send(event).is_err() {
                return;
            }
        }
    });
    (url, rx)
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

/// The user's part: nothing is said, and the business hangs up.
fn patient() -> UserScript {
    UserScript { speech: Vec::new(), typing: Vec::new(), hang_up_after: None, ..UserScript::default() }
}

//= meta#R-07 type=test
#[tokio::test]
async fn an_application_takes_a_call_plays_to_it_and_hangs_up() {
    let mut world = World::start("inbound", 43_000).await;
    let sim = Arc::clone(&world.sim);
    let user = tokio::spawn(async move { sim.call(patient(), &[]).await.expect("a report") });
    let offered = world.event("call.offered").await;
    let id = offered["call_id"].as_str().expect("an id").to_owned();
    assert_eq!((offered["seq"].as_u64(), offered["data"]["direction"].as_str()), (Some(1), Some("inbound")));
    world.event("call.media_ready").await;
    let (status, call) = world.get(&format!("calls/{id}")).await;
    assert_eq!((status, call["state"].as_str()), (StatusCode::OK, Some("offered")), "it waits for us");

    let accept = json!({ "bridge": { "kind": "play_then_echo", "prompt": "greeting" } });
    assert_eq!(world.post(&format!("calls/{id}/accept"), accept).await.0, StatusCode::ACCEPTED);
    world.event("call.accepted").await;
    let (status, problem) = world.post(&format!("calls/{id}/accept"), json!({})).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::CONFLICT, Some("WRONG_STATE")));
    assert_eq!(world.post(&format!("calls/{id}/bridge"), json!({ "kind": "echo" })).await.0, StatusCode::OK);
    assert_eq!(world.event("call.bridged").await["data"]["kind"], "echo");
    assert_eq!(world.post(&format!("calls/{id}/play"), json!({ "prompt": "greeting" })).await.0, StatusCode::OK);
    let (_, problem) = world.post(&format!("calls/{id}/play"), json!({ "prompt": "passwd" })).await;
    assert_eq!(problem["code"], "NO_SUCH_PROMPT");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, stats) = world.get(&format!("calls/{id}/stats")).await;
    assert!(stats["rtp_out"].as_u64().is_some_and(|n| n > 20), "{stats}");
    assert_eq!(world.post(&format!("calls/{id}/terminate"), json!({})).await.0, StatusCode::ACCEPTED);

    let ended = world.event("call.ended").await;
    assert_eq!((ended["data"]["disposition"].as_str(), ended["data"]["voip_only"].as_bool()), (Some("completed"), Some(true)));
    let report = user.await.expect("the user");
    assert_eq!(report.failures(), Vec::<&tipring_meta_sim::oracle::Verdict>::new());
    assert!(!report.heard_pcm.is_empty(), "the user heard the prompt");
    // The first event was refused once, and still came first: order is kept through retries.
    let delivered = world.delivered(&id).await;
    let seqs: Vec<_> = delivered.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "{:?}", kinds(&delivered));
    let (_, timeline) = world.get(&format!("calls/{id}/timeline")).await;
    assert_eq!(timeline["events"].as_array().map(Vec::len), Some(seqs.len()));
    let records = world.stop().await;
    assert_eq!(records.len(), 1);
    assert_eq!((records[0]["id"].as_str(), records[0]["answered"].as_bool()), (Some(id.as_str()), Some(true)));
}

#[tokio::test]
async fn a_user_is_asked_for_permission_and_called_once_however_often_the_request_is_repeated() {
    let mut world = World::start("outbound", 43_200).await;
    let number_id = world.sim.account().phone_number_id.clone();
    let script = UserScript { hang_up_after: Some(Span::from_secs(2)), ..patient() };
    let to = script.number.clone();
    world.sim.set_permission(&to, Permission::None, Answer::AllowTemporarily);
    let dial = json!({ "number_id": number_id, "to": format!("+{to}"), "opaque": "order=7" });
    let (status, problem) = world.post("calls", dial.clone()).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::CONFLICT, Some("META_138006")));
    let (status, _) = world.post("calls", json!({ "number_id": number_id, "to": to, "check_permission": false })).await;
    assert_eq!(status, StatusCode::CREATED, "unchecked, it is Meta who says no");
    assert_eq!(world.event("call.ended").await["data"]["verdict"]["code"], "META_138006");

    let (status, asked) = world.post("permissions", json!({ "number_id": number_id, "to": to, "text": "May we call you?" })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{asked}");
    let reply = world.event("permission.reply").await;
    assert_eq!((reply["data"]["accepted"].as_bool(), reply["data"]["user"]["phone"].as_str()), (Some(true), Some(to.as_str())));
    let again = world.post("permissions", json!({ "number_id": number_id, "to": to })).await;
    assert_eq!((again.0, again.1["code"].as_str()), (StatusCode::CONFLICT, Some("META_138009")), "once a day, and no failure of a gateway");
    let (_, permission) = world.get(&format!("permissions?number_id={number_id}&to={to}")).await;
    assert_eq!((permission["status"].as_str(), permission["may_call"].as_bool()), (Some("temporary"), Some(true)));

    let expected = world.sim.expect_call(script, &[]);
    // The first client hangs up as soon as it has asked: what it asked for is done all the same, and remembered.
    let address = world.base.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an address").to_owned();
    let mut hasty = TcpStream::connect(&address).await.expect("a connection");
    let body = dial.to_string();
    let request = format!(
        "POST /v1/calls HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\nIdempotency-Key: order-7\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    hasty.write_all(request.as_bytes()).await.expect("a request");
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(hasty);
    let dialling = world.event("call.dialling").await;
    assert_eq!((dialling["data"]["user"]["phone"].as_str(), dialling["data"]["opaque"].as_str()), (Some(to.as_str()), Some("order=7")));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let request = world.client.post(format!("{}/calls", world.base)).bearer_auth(KEY).header("idempotency-key", "order-7").json(&dial);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert!(answer.headers().contains_key("idempotent-replayed"), "the first one's answer");
        answers.push(answer.text().await.expect("a body"));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "one call, one answer: {answers:?}");
    let ringing = world.event("call.ringing").await;
    let id = ringing["call_id"].as_str().expect("an id").to_owned();
    assert!(answers[0].contains(&id));
    world.event("call.answered").await;
    let ended = world.event("call.ended").await;
    assert_eq!((ended["data"]["opaque"].as_str(), ended["data"]["direction"].as_str()), (Some("order=7"), Some("outbound")));
    let report = expected.report().await.expect("a report");
    assert_eq!(report.failures(), Vec::<&tipring_meta_sim::oracle::Verdict>::new());
    let metrics = format!("http://{}/metrics", world.daemon.as_ref().expect("a daemon").webhook_addr());
    let text = world.client.get(metrics).send().await.expect("an answer").text().await.expect("text");
    assert!(text.contains("tipring_hook_events_total{result=\"retried\"}"), "{text}");
    let records = world.stop().await;
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["user"]["phone"] == to.as_str()), "who was called stands in each, however it ended");
}

/// Digits out, recording on demand, a plain RTP leg in the middle of a call, and a call back to who was missed.
#[tokio::test]
async fn an_application_sends_digits_records_bridges_to_rtp_and_calls_back() {
    let mut world = World::start_with("media", 43_800, |config, directory| {
        config.record = Some(RecordConfig { directory: directory.join("recordings"), ogg: true, wav: false });
        config.engine.rtp_targets = vec!["127.0.0.0/8".parse().expect("a range")];
    })
    .await;
    let sim = Arc::clone(&world.sim);
    let (voice, script) = (tone(700.0, 16_000, 20.0), patient());
    let script = UserScript { speech: vec![Speech { after: Span::from_millis(100), pcm: voice.into() }], ..script };
    let caller = script.number.clone();
    let user = tokio::spawn(async move { sim.call(script, &[]).await.expect("a report") });
    let offered = world.event("call.offered").await;
    let id = offered["call_id"].as_str().expect("an id").to_owned();
    world.event("call.media_ready").await;
    assert_eq!(world.post(&format!("calls/{id}/callback"), json!({})).await.1["code"], "WRONG_STATE", "it is not over");
    assert_eq!(world.post(&format!("calls/{id}/accept"), json!({})).await.0, StatusCode::ACCEPTED);
    world.event("call.accepted").await;

    let (status, taken) = world.post(&format!("calls/{id}/dtmf"), json!({ "digits": "12#", "tone_ms": 60 })).await;
    assert_eq!((status, taken["digits"].as_u64()), (StatusCode::ACCEPTED, Some(3)), "{taken}");
    for (digits, tone_ms, code) in [("12x", 100, "BAD_DIGITS"), ("", 100, "BAD_DIGITS"), ("1", 5, "BAD_DIGITS")] {
        let (status, problem) = world.post(&format!("calls/{id}/dtmf"), json!({ "digits": digits, "tone_ms": tone_ms })).await;
        assert_eq!((status, problem["code"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some(code)), "{digits}");
    }

    let record = |action: &str| json!({ "action": action });
    for _ in 0..2 {
        let (status, call) = world.post(&format!("calls/{id}/record"), record("start")).await;
        assert_eq!((status, call["recording"].as_bool()), (StatusCode::OK, Some(true)), "{call}");
    }
    world.event("call.recording_started").await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(world.post(&format!("calls/{id}/record"), record("stop")).await.1["recording"], false);
    let finished = world.event("call.recording_finished").await;
    let files = finished["data"]["files"].as_array().expect("files").clone();
    assert_eq!(files.len(), 2, "{finished}");
    for file in &files {
        let path = world.directory.join("recordings").join(file.as_str().expect("a name"));
        assert!(path.metadata().expect("the file").len() > 500, "{file}");
    }

    let peer = RtpPeer::bind();
    let far = json!({ "kind": "rtp", "rtp": { "remote": peer.address().to_string(), "codec": "opus" } });
    let (status, call) = world.post(&format!("calls/{id}/bridge"), far).await;
    assert_eq!((status, call["bridge"].as_str()), (StatusCode::OK, Some("rtp")), "{call}");
    let peer = peer.run_opus(call["rtp"]["local"].as_str().expect("our end").parse().expect("an address"), 440.0);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let heard = tokio::task::spawn_blocking(move || peer.stop()).await.expect("the peer");
    assert!(heard.packets.len() > 30, "the far side hears the user: {}", heard.packets.len());
    let nowhere = json!({ "kind": "rtp", "rtp": { "remote": "192.0.2.1:4000" } });
    let (status, problem) = world.post(&format!("calls/{id}/bridge"), nowhere).await;
    assert_eq!((status, problem["code"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some("BAD_RTP")), "not a listed target");
    assert_eq!(world.post(&format!("calls/{id}/bridge"), json!({ "kind": "rtp" })).await.1["code"], "BAD_BRIDGE");
    assert_eq!(world.get(&format!("calls/{id}")).await.1["bridge"], "rtp", "what was refused changed nothing");
    assert_eq!(world.post(&format!("calls/{id}/terminate"), json!({})).await.0, StatusCode::ACCEPTED);
    let ended = world.event("call.ended").await;
    assert_eq!(ended["data"]["media"]["digits_out"], 3);
    let report = user.await.expect("the user");
    assert_eq!(report.failures(), Vec::<&tipring_meta_sim::oracle::Verdict>::new());
    assert!(typical_tone_share(&report.heard_pcm[report.heard_pcm.len() / 2..], 440.0, 16_000) > 0.5, "the user hears the far side");

    // Missed, and called back from the number that was called.
    let sim = Arc::clone(&world.sim);
    let hasty = UserScript { patience: Span::from_millis(700), ..patient() };
    let user = tokio::spawn(async move { sim.call(hasty, &[]).await.expect("a report") });
    let missed = world.event("call.missed").await;
    user.await.expect("the user");
    world.event("call.ended").await;
    assert_eq!(missed["data"]["user"]["phone"], caller.as_str());
    let path = missed["data"]["callback"].as_str().expect("a path").trim_start_matches("/v1/").to_owned();
    let expected = world.sim.expect_call(UserScript { hang_up_after: Some(Span::from_millis(500)), ..patient() }, &[]);
    let (status, call) = world.post(&path, json!({ "opaque": "sorry" })).await;
    assert_eq!(
        (status, call["user"]["phone"].as_str(), call["opaque"].as_str()),
        (StatusCode::CREATED, Some(caller.as_str()), Some("sorry")),
        "{call}"
    );
    world.event("call.answered").await;
    assert_eq!(world.event("call.ended").await["data"]["disposition"], "completed");
    expected.report().await.expect("a report");
    world.stop().await;
}

/// A transcriber hears the user while the call is bridged anew, then what the user hears; nobody hears what it says.
#[tokio::test]
async fn a_transcriber_listens_along_and_is_not_heard() {
    let server = AudioServer::start(None, talker(440.0)).await;
    let url = format!("ws://{}/transcribe", server.address);
    let target = AudioTarget { url: url.clone(), authorization: None, ca: None };
    let mut world = World::start_with("tap", 44_000, |config, _| config.audio_targets = vec![target]).await;
    let sim = Arc::clone(&world.sim);
    let speech = vec![Speech { after: Span::from_millis(100), pcm: tone(700.0, 16_000, 60.0).into() }];
    let user = tokio::spawn(async move { sim.call(UserScript { speech, ..patient() }, &[]).await.expect("a report") });
    let id = world.event("call.offered").await["call_id"].as_str().expect("an id").to_owned();
    world.event("call.media_ready").await;
    assert_eq!(world.post(&format!("calls/{id}/accept"), json!({})).await.0, StatusCode::ACCEPTED);
    world.event("call.accepted").await;

    let path = format!("calls/{id}/tap");
    let listen = |track: &str| json!({ "action": "start", "track": track, "ws": { "url": url, "parameters": { "language": "pt" } } });
    let (status, call) = world.post(&path, listen("inbound")).await;
    assert_eq!((status, call["tapped"].as_bool()), (StatusCode::OK, Some(true)), "{call}");
    for (body, status, code) in [
        (listen("inbound"), StatusCode::CONFLICT, "WRONG_STATE"),
        (json!({ "action": "start" }), StatusCode::UNPROCESSABLE_ENTITY, "BAD_TAP"),
        (json!({ "action": "stop", "track": "inbound" }), StatusCode::UNPROCESSABLE_ENTITY, "BAD_TAP"),
        (json!({ "action": "start", "ws": { "url": "ws://127.0.0.1:1/" } }), StatusCode::UNPROCESSABLE_ENTITY, "VOIP_ONLY"),
    ] {
        let (got, problem) = world.post(&path, body.clone()).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{body}");
    }
    until("two seconds are heard", async || server.events("media").len() > 100).await;
    assert_eq!(world.post(&format!("calls/{id}/bridge"), json!({ "kind": "echo" })).await.0, StatusCode::OK);
    let so_far = server.events("media").len();
    until("it hears on behind another bridge", async || server.events("media").len() > so_far + 100).await;
    let (status, call) = world.post(&path, json!({ "action": "stop" })).await;
    assert_eq!((status, call["tapped"].as_bool()), (StatusCode::OK, Some(false)), "{call}");
    until("it is told of the end", async || server.events("stop").len() == 1).await;
    let heard = server.heard();
    let share = typical_tone_share(&heard[4_000..], 700.0, 8_000);
    assert!(share > 0.9, "{share:.3} of the user is heard");
    let starts = server.events("start");
    let start = &starts[0]["start"];
    assert_eq!((starts.len(), &start["tracks"], &start["customParameters"]["language"]), (1, &json!(["inbound"]), &json!("pt")));
    assert_eq!(start["customParameters"]["call_id"], id.as_str());

    let so_far = server.events("media").len();
    assert_eq!(world.post(&path, listen("outbound")).await.1["tapped"], true);
    until("what the user hears is heard", async || server.events("media").len() > so_far + 50).await;
    assert_eq!(server.events("media").last().expect("media")["media"]["track"], "outbound");
    assert_eq!(world.post(&format!("calls/{id}/terminate"), json!({})).await.0, StatusCode::ACCEPTED);
    world.event("call.ended").await;
    until("the end of the call is its end", async || server.events("stop").len() == 2).await;
    let report = user.await.expect("the user");
    assert_eq!(report.failures(), Vec::<&tipring_meta_sim::oracle::Verdict>::new());
    let [echo, said] = [700.0, 440.0].map(|hz| typical_tone_share(&report.heard_pcm, hz, 16_000));
    assert!(echo > 0.5 && said < 0.1, "the user hears {echo:.3} of the echo and {said:.3} of the transcriber");
    world.stop().await;
}

#[tokio::test]
async fn keys_open_what_their_scopes_name_and_refusals_say_what_to_do() {
    let mut world = World::start("refusals", 43_400).await;
    let post = |key: &'static str, path: &str, body: &str| {
        let request = world
            .client
            .post(format!("{}/{path}", world.base))
            .bearer_auth(key)
            .header("content-type", "application/json")
            .body(body.to_owned());
        async move {
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            let problem: Value = answer.json().await.expect("JSON");
            assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{problem}");
            (status, problem["code"].as_str().expect("a code").to_owned())
        }
    };
    let number = world.sim.account().phone_number_id.clone();
    let rows: Vec<(&'static str, &str, String, u16, &str)> = vec![
        ("nobody", "calls", "{}".into(), 401, "UNAUTHORIZED"),
        (READER, "calls", "{}".into(), 403, "FORBIDDEN"),
        (READER, "node/drain", "{}".into(), 403, "FORBIDDEN"),
        (KEY, "calls", "{".into(), 400, "BAD_JSON"),
        (KEY, "calls", format!("{{\"number_id\":\"{number}\",\"to\":\"447700900123\",\"from\":\"x\"}}"), 400, "BAD_JSON"),
        (KEY, "calls", format!("{{\"number_id\":\"{number}\"}}"), 422, "BAD_RECIPIENT"),
        (KEY, "calls", format!("{{\"number_id\":\"{number}\",\"to\":\"tel:+447700900123\"}}"), 422, "VOIP_ONLY"),
        (KEY, "calls", format!("{{\"number_id\":\"{number}\",\"to\":\"sip:a@b\"}}"), 422, "VOIP_ONLY"),
        (KEY, "calls", "{\"number_id\":\"1\",\"to\":\"447700900123\"}".into(), 422, "NO_SUCH_NUMBER"),
        (
            KEY,
            "calls",
            format!("{{\"number_id\":\"{number}\",\"to\":\"447700900123\",\"bridge\":{{\"kind\":\"pstn\"}}}}"),
            422,
            "BAD_BRIDGE",
        ),
        (
            KEY,
            "calls",
            format!("{{\"number_id\":\"{number}\",\"to\":\"447700900123\",\"bridge\":{{\"kind\":\"echo\",\"record\":true}}}}"),
            422,
            "BAD_BRIDGE",
        ),
        (KEY, "calls/abc/accept", "{}".into(), 404, "NO_SUCH_CALL"),
        (KEY, "calls/abc/hold", "{}".into(), 404, "NOT_FOUND"),
        (KEY, "calls/abc/stats", "{}".into(), 405, "METHOD_NOT_ALLOWED"),
        (KEY, "events", "{}".into(), 405, "METHOD_NOT_ALLOWED"),
    ];
    for (key, path, body, status, code) in rows {
        assert_eq!(post(key, path, &body).await, (status, code.to_owned()), "{path} {body}");
    }
    assert_eq!(world.get("calls?state=lost").await.1["code"], "BAD_QUERY");
    assert_eq!(world.get("calls?limit=0").await.1["code"], "BAD_QUERY");
    assert_eq!(world.get("events").await.1["code"], "FORBIDDEN");
    // Drained, the node refuses a user's call and our own, and takes them again when told to.
    assert_eq!(world.post("node/drain", json!({})).await.1["draining"], true);
    assert_eq!(world.post("calls", json!({ "number_id": number, "to": "447700900123" })).await.1["code"], "DRAINING");
    let sim = Arc::clone(&world.sim);
    let user = tokio::spawn(async move { sim.call(patient(), &[]).await.expect("a report") });
    assert_eq!(world.event("call.ended").await["data"]["disposition"], "rejected");
    user.await.expect("the user");
    assert_eq!(world.post("node/undrain", json!({})).await.1["draining"], false);
    world.stop().await;
}

/// Every path and method of the document is served, and every served one is in the document.
#[tokio::test]
async fn the_document_describes_what_is_served() {
    let world = World::start("openapi", 43_600).await;
    let document: Value =
        world.client.get(format!("{}/openapi.json", world.base)).send().await.expect("an answer").json().await.expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    for (path, methods) in paths {
        let url = format!("{}{}", world.base.trim_end_matches("/v1"), path.replace("{id}", "0123").replace("{number_id}", "0123"));
        for method in ["get", "post", "put", "delete", "patch"] {
            let request = world.client.request(method.to_uppercase().parse().expect("a method"), &url).bearer_auth(KEY);
            let status = request.send().await.expect("an answer").status();
            let is_described = methods.get(method).is_some();
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, is_described, "{method} {path}: {status}");
            if is_described {
                assert!(
                    methods[method]["responses"].get(status.as_str()).is_some(),
                    "{method} {path} answers {status}, which is not described"
                );
            }
        }
    }
    world.stop().await;
}
