//! Direct mode over real loopback sockets, with a real engine.

use super::direct::Direct;
use crate::config::{BridgeConfig, Config, DirectConfig, Secret};
use crate::shell::http_server::{Limits, serve};
use crate::shell::{Bridges, Commons, Metrics, Watch};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tipring_engine::engine::{Engine, EngineConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

const TOKEN: &str = "direct token";
const LONG: Duration = Duration::from_secs(30);

/// Meta's modern offer (`whatsapp-calling.md` 4.1) in shape, with a peer on loopback that never answers.
pub(crate) const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\na=ice-lite\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 127.0.0.1\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
a=candidate:1 1 udp 2113937151 127.0.0.1 9 typ host generation 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
a=setup:actpass\r\na=mid:audio\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:126 telephone-event/8000\r\na=ptime:20\r\na=maxptime:20\r\na=ssrc:1 cname:x\r\n";

struct World {
    addr: SocketAddr,
    direct: Arc<Direct>,
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    _stop: watch::Sender<bool>,
}

async fn world(sessions_max: usize, read_timeout: Duration) -> World {
    let engine = Engine::start(EngineConfig {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        allow_loopback: true,
        rtp_targets: vec!["127.0.0.0/8".parse().unwrap()],
        ..EngineConfig::default()
    });
    let engine = Arc::new(engine.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::default());
    let watch_ = Watch::new(Arc::new(|_| {}));
    let bridges = Arc::new(Bridges::start(&Config::default(), &watch_, &metrics, Arc::new(|_, _| {})).unwrap());
    let config = DirectConfig { sessions_max, ..DirectConfig::new(Secret::new(TOKEN)) };
    assert_eq!(config.bridge, BridgeConfig::ECHO);
    let commons = Commons {
        records: false,
        read_timeout,
        engine: Arc::clone(&engine),
        bridges,
        bodies: Arc::new(Semaphore::new(1 << 20)),
        metrics: Arc::clone(&metrics),
        watch: watch_,
    };
    let direct = Arc::new(Direct::new(config, commons));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(serve(listener, None, Limits { connections_max: 8, read_timeout }, Arc::clone(&direct), stopped));
    World { addr, direct, engine, metrics, _stop: stop }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.body))
    }

    fn location(&self) -> &str {
        self.head.lines().find_map(|l| l.strip_prefix("location: ")).unwrap_or_else(|| panic!("no Location in {}", self.head))
    }
}

async fn raw(world: &World, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    // The server may answer and close before it has read all of a body that is too large.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer in {text:?}"));
    Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

fn request(method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
        .into_bytes()
}

async fn call(world: &World, method: &str, target: &str, content_type: &str, body: &str) -> Answer {
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: {content_type}\r\n");
    raw(world, &request(method, target, &headers, body)).await
}

const SDP: &str = "application/sdp";
const JSON: &str = "application/json";

#[test]
fn nothing_is_done_without_the_token() {
    run(async {
        let world = world(4, LONG).await;
        for header in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Bearer direct toke\r\n",
            "Authorization: Bearer direct token \u{e9}\r\n",
            "Authorization: Basic direct token\r\n",
            "Authorization: Bearer\r\n",
        ] {
            for (method, target) in [("POST", "/v1/sessions"), ("GET", "/v1/sessions"), ("DELETE", "/v1/sessions/x"), ("GET", "/nowhere")] {
                let answer = raw(&world, &request(method, target, header, "")).await;
                assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("UNAUTHORIZED")), "{header:?} {method} {target}");
            }
        }
        assert_eq!(world.engine.calls(), 0);
    });
}

#[test]
fn refusals_have_a_stable_code_and_a_hint() {
    run(async {
        let world = world(4, LONG).await;
        let large = "x".repeat(64 * 1_024 + 1);
        let json_offer = serde_json::json!({ "sdp": OFFER, "gate": "later" }).to_string();
        let foreign_file = serde_json::json!({ "sdp": OFFER, "bridge": { "kind": "play", "wav": "/etc/passwd" } }).to_string();
        let unset_file = serde_json::json!({ "sdp": OFFER, "bridge": { "kind": "play" } }).to_string();
        let no_record = serde_json::json!({ "sdp": OFFER, "bridge": { "kind": "echo", "record": true } }).to_string();
        let no_kind = serde_json::json!({ "sdp": OFFER, "bridge": { "kind": "conference" } }).to_string();
        let both = serde_json::json!({ "sdp": OFFER, "role": "offer" }).to_string();
        let rows: &[(&str, &str, &str, &str, u16, &str)] = &[
            ("POST", "/v1/sessions", "text/plain", OFFER, 415, "UNSUPPORTED_MEDIA_TYPE"),
            ("POST", "/v1/sessions", JSON, "{", 400, "BAD_JSON"),
            ("POST", "/v1/sessions", JSON, "{\"spd\":\"\"}", 400, "BAD_JSON"),
            ("POST", "/v1/sessions", JSON, &foreign_file, 400, "BAD_JSON"),
            ("POST", "/v1/sessions", JSON, &unset_file, 422, "BAD_BRIDGE"),
            ("POST", "/v1/sessions", JSON, &no_record, 422, "BAD_BRIDGE"),
            ("POST", "/v1/sessions", JSON, &no_kind, 422, "BAD_BRIDGE"),
            ("POST", "/v1/sessions", JSON, &json_offer, 422, "BAD_GATE"),
            ("POST", "/v1/sessions?gate=ajar", SDP, OFFER, 422, "BAD_GATE"),
            ("POST", "/v1/sessions", JSON, &both, 422, "BAD_ROLE"),
            ("POST", "/v1/sessions", JSON, "{\"role\":\"observer\"}", 422, "BAD_ROLE"),
            ("POST", "/v1/sessions", JSON, "{\"role\":\"answer\"}", 422, "SDP_MISSING"),
            ("POST", "/v1/sessions", SDP, &large, 413, "BODY_TOO_LARGE"),
            ("PUT", "/v1/sessions", SDP, "", 405, "METHOD_NOT_ALLOWED"),
            ("PATCH", "/v1/sessions/x", SDP, "", 405, "METHOD_NOT_ALLOWED"),
            ("GET", "/v1/sessions/x/gate", SDP, "", 405, "METHOD_NOT_ALLOWED"),
            ("POST", "/v1/sessions/x/answer", SDP, "", 405, "METHOD_NOT_ALLOWED"),
            ("GET", "/v2/sessions", SDP, "", 404, "NOT_FOUND"),
            ("GET", "/v1/sessions/x/y/z", SDP, "", 404, "NOT_FOUND"),
            ("GET", "/v1/sessions/unknown", SDP, "", 404, "NO_SUCH_SESSION"),
            ("POST", "/v1/sessions/unknown/gate", SDP, "", 404, "NO_SUCH_SESSION"),
            ("PUT", "/v1/sessions/unknown/answer", JSON, "{}", 422, "SDP_MISSING"),
            ("GET", "/v1/sessions/x/digits", SDP, "", 405, "METHOD_NOT_ALLOWED"),
            ("POST", "/v1/sessions/unknown/digits", JSON, "{\"digits\":\"1\"}", 404, "NO_SUCH_SESSION"),
            ("POST", "/v1/sessions/unknown/digits", JSON, "{\"digit\":\"1\"}", 400, "BAD_JSON"),
            ("POST", "/v1/sessions/unknown/digits", JSON, "[\"1\",100]", 400, "BAD_JSON"),
            ("PUT", "/v1/sessions/unknown/rtp", JSON, "[\"127.0.0.1:9\",null]", 400, "BAD_JSON"),
            ("POST", "/v1/sessions", JSON, " [null,null,\"open\",null]", 400, "BAD_JSON"),
        ];
        for (method, target, content_type, body, status, code) in rows {
            let answer = call(&world, method, target, content_type, body).await;
            assert_eq!(answer.status, *status, "{method} {target} {code}: {}", answer.body);
            let problem = answer.json();
            assert_eq!(problem["code"], *code, "{method} {target}");
            assert_eq!(problem["status"], *status);
            assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
            assert!(
                problem["hint"].as_str().is_some_and(|h| !h.is_empty()) && problem["detail"].is_string() && problem["title"].is_string()
            );
        }
        assert_eq!(world.engine.calls(), 0, "a refused request opens nothing");
    });
}

//= rfc4733#section-2.5.1:call type=test
#[test]
fn digits_are_taken_or_refused_with_the_reason() {
    run(async {
        let world = world(4, LONG).await;
        let created = call(&world, "POST", "/v1/sessions", SDP, OFFER).await;
        let at = format!("{}/digits", created.location());
        let post = async |target: &str, body: &str| {
            let answer = call(&world, "POST", target, JSON, body).await;
            let code = answer.json()["code"].as_str().map(str::to_owned);
            assert!(!answer.body.contains("7391"), "digits may be a PIN: {}", answer.body);
            (answer.status, code)
        };
        let refused = |status, code: &str| (status, Some(code.to_owned()));
        assert_eq!(post(&at, "{\"digits\":\"12#\"}").await, (202, None), "they wait for the gate");
        assert_eq!(post(&at, "{\"digits\":\"7391\",\"tone_ms\":39}").await, refused(422, "BAD_DIGITS"));
        assert_eq!(post(&at, "{\"digits\":\"7391x\"}").await, refused(422, "BAD_DIGITS"));
        assert_eq!(post(&at, "{\"digits\":7391}").await, refused(400, "BAD_JSON"));
        assert_eq!(post(&at, &format!("{{\"digits\":\"{}\"}}", "0".repeat(30))).await, refused(409, "DIGITS_FULL"));

        let without = OFFER.replace(" 111 126\r\n", " 111\r\n").replace("a=rtpmap:126 telephone-event/8000\r\n", "");
        let created = call(&world, "POST", "/v1/sessions", SDP, &without).await;
        assert_eq!(created.status, 201, "{}", created.body);
        let at = format!("{}/digits", created.location());
        assert_eq!(post(&at, "{\"digits\":\"1\"}").await, refused(409, "DIGITS_NOT_NEGOTIATED"));

        let offered = call(&world, "POST", "/v1/sessions", JSON, "{\"role\":\"offer\"}").await;
        let at = format!("{}/digits", offered.location());
        assert_eq!(post(&at, "{\"digits\":\"1\"}").await, refused(409, "WRONG_STATE"));
    });
}

#[test]
fn an_offer_is_answered_and_the_session_can_be_asked_and_ended() {
    run(async {
        let world = world(4, LONG).await;
        let created = call(&world, "POST", "/v1/sessions", SDP, OFFER).await;
        assert_eq!(created.status, 201, "{}", created.body);
        assert!(created.head.contains("content-type: application/sdp"));
        for line in [
            "v=0\r\n",
            "s=-\r\n",
            "a=setup:active\r\n",
            "a=rtcp-mux\r\n",
            "a=mid:audio\r\n",
            "a=fingerprint:",
            " 127.0.0.1 ",
            "opus/48000/2",
        ] {
            assert!(created.body.contains(line), "{line:?} is not in\n{}", created.body);
        }
        assert!(!created.body.contains("ice-lite") && !created.body.to_lowercase().contains("tipring"));
        let at = created.location();

        let shown = call(&world, "GET", at, SDP, "").await;
        assert_eq!((shown.status, shown.json()["state"].as_str()), (200, Some("connecting")));
        assert_eq!(shown.json()["gate"], "hold", "held until asked");
        assert!(shown.json()["stats"]["datagrams_out"].is_u64(), "{}", shown.body);
        let gate = call(&world, "POST", &format!("{at}/gate"), SDP, "").await;
        assert_eq!((gate.status, gate.json()["gate"].as_str()), (202, Some("open")), "opens when media is ready");
        let again = call(&world, "PUT", &format!("{at}/answer"), SDP, OFFER).await;
        assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("WRONG_STATE")), "no renegotiation");
        assert_eq!(call(&world, "GET", "/v1/sessions", SDP, "").await.json()["sessions"].as_array().unwrap().len(), 1);

        assert_eq!(call(&world, "DELETE", at, SDP, "").await.status, 204);
        assert_eq!(call(&world, "DELETE", at, SDP, "").await.status, 204, "idempotent");
        assert_eq!(call(&world, "GET", at, SDP, "").await.status, 404);
        assert_eq!(world.metrics.snapshot().calls_opened, 1);
    });
}

#[test]
fn our_offer_takes_one_answer() {
    run(async {
        let world = world(4, LONG).await;
        for body in ["", "{\"role\":\"offer\"}"] {
            let created = call(&world, "POST", "/v1/sessions", JSON, body).await;
            assert_eq!(created.status, 201, "{}", created.body);
            let json = created.json();
            assert_eq!((json["state"].as_str(), json["sdp_type"].as_str()), (Some("waiting_answer"), Some("offer")));
            assert!(json["sdp"].as_str().unwrap().contains("a=setup:actpass\r\n"));
            assert_eq!(created.location(), format!("/v1/sessions/{}", json["id"].as_str().unwrap()));
            let answer = OFFER.replace("a=setup:actpass", "a=setup:passive");
            let target = format!("{}/answer", created.location());
            let taken = call(&world, "PUT", &target, SDP, &answer).await;
            assert_eq!((taken.status, taken.json()["state"].as_str()), (200, Some("connecting")), "{}", taken.body);
            assert_eq!(call(&world, "PUT", &target, SDP, &answer).await.status, 409);
        }
    });
}

#[test]
fn sessions_are_bounded_and_deleting_makes_room() {
    run(async {
        let world = world(1, LONG).await;
        let first = call(&world, "POST", "/v1/sessions", SDP, OFFER).await;
        let full = call(&world, "POST", "/v1/sessions", SDP, OFFER).await;
        assert_eq!((full.status, full.json()["code"].as_str()), (503, Some("SESSIONS_FULL")));
        assert!(full.head.contains("retry-after: 1"));
        call(&world, "DELETE", first.location(), SDP, "").await;
        assert_eq!(call(&world, "POST", "/v1/sessions", SDP, OFFER).await.status, 201);
    });
}

#[test]
fn a_session_that_ended_stays_readable_until_room_is_needed() {
    run(async {
        let world = world(1, LONG).await;
        let first = call(&world, "POST", "/v1/sessions", SDP, OFFER).await;
        world.direct.close_all();
        // The engine's own event, as the control task would hand it over.
        loop {
            let (id, event) = world.engine.next_event(tipring_engine::time::Span::from_secs(5)).expect("the call ends");
            assert!(world.direct.handle_event(id, &event));
            if matches!(event, tipring_engine::call::CallEvent::Ended(_)) {
                assert!(!world.direct.handle_event(id, &event), "nothing follows the end");
                break;
            }
        }
        let shown = call(&world, "GET", first.location(), SDP, "").await.json();
        assert_eq!((shown["state"].as_str(), shown["end_reason"].as_str()), (Some("ended"), Some("HANG_UP")));
        assert!(shown["stats"]["rtp_in"].is_u64());
        assert_eq!(call(&world, "POST", &format!("{}/gate", first.location()), SDP, "").await.status, 409);
        assert_eq!(call(&world, "POST", "/v1/sessions", SDP, OFFER).await.status, 201, "it makes room");
        assert_eq!(call(&world, "GET", first.location(), SDP, "").await.status, 404);
    });
}

#[test]
fn a_slow_body_is_given_up() {
    run(async {
        let world = world(1, Duration::from_millis(100)).await;
        let mut whole = request("POST", "/v1/sessions", &format!("Authorization: Bearer {TOKEN}\r\nContent-Type: {SDP}\r\n"), OFFER);
        whole.truncate(whole.len() - 1);
        let answer = raw(&world, &whole).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (408, Some("BODY_TOO_SLOW")));
    });
}

//= meta#R-10 type=test
#[test]
fn a_plain_rtp_leg_is_made_moved_and_held_and_goes_nowhere_else() {
    run(async {
        let world = world(8, LONG).await;
        let open = |rtp: Value| {
            let body = serde_json::json!({ "sdp": OFFER, "bridge": { "rtp": rtp } }).to_string();
            let world = &world;
            async move { call(world, "POST", "/v1/sessions", "application/json", &body).await }
        };
        let made = open(serde_json::json!({ "remote": "127.0.0.1:4000", "codec": "PCMA", "dtmf_payload_type": 101 })).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let local: SocketAddr = made.json()["rtp"]["local"].as_str().expect("our end of the leg").parse().unwrap();
        assert!(local.ip().is_loopback());
        let leg = format!("{}/rtp", made.location());
        for (body, status) in [
            (r#"{"remote":"127.0.0.1:5000","direction":"inactive"}"#, 200),
            (r#"{"direction":"sendrecv"}"#, 200),
            (r#"{"direction":"both"}"#, 422),
            (r#"{"remote":"192.0.2.1:5000"}"#, 422),
            (r#"{"remote":"pbx.example:5000"}"#, 422),
        ] {
            let answer = call(&world, "PUT", &leg, "application/json", body).await;
            assert_eq!(answer.status, status, "{body}: {}", answer.body);
        }
        for (rtp, hint) in [
            (serde_json::json!({ "remote": "192.0.2.1:4000" }), "R-10"),
            (serde_json::json!({ "codec": "opus" }), "remote"),
            (serde_json::json!({ "remote": "127.0.0.1:4000", "codec": "g729" }), "g729"),
            (serde_json::json!({ "remote": "127.0.0.1:4000", "rtcp": "same" }), "same"),
            (serde_json::json!({ "remote": "127.0.0.1:4000", "payload_type": 72 }), "64 to 95"),
        ] {
            let refused = open(rtp).await;
            assert_eq!(refused.status, 422, "{}", refused.body);
            assert!(refused.body.contains(hint), "{}", refused.body);
        }
        let plain = call(&world, "POST", "/v1/sessions", "application/sdp", OFFER).await;
        let none = call(&world, "PUT", &format!("{}/rtp", plain.location()), "application/json", r#"{"direction":"inactive"}"#).await;
        assert_eq!(none.status, 409, "a session without a leg");
    });
}
