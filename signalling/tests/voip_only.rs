//! VoIP only, at every entry point: whatever names a telephone or a host that nobody listed is refused with `VOIP_ONLY`, and a trunk that does not attest it is no trunk.
#![cfg(feature = "demo")]

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tipring_signalling::config::{
    ApiConfig, ApiKey, Config, DirectConfig, NgConfig, NumberConfig, Scope, Secret, SecretSource, WebhookConfig,
};
use tipring_signalling::shell::{Daemon, DaemonHandle};

const KEY: &str = "the key";
const NUMBER: &str = "1047000000000";

struct AnySecret;

impl SecretSource for AnySecret {
    fn env(&self, _: &str) -> Option<String> {
        Some("secret".into())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("none".into())
    }
}

/// Names of telephones and of hosts that nobody listed.
fn outside() -> impl Strategy<Value = String> {
    let number = "\\+?[0-9]{3,15}";
    let host = "[a-z]{1,8}(\\.[a-z]{2,6}){1,3}";
    prop_oneof![
        number.prop_map(|n| format!("tel:{n}")),
        number.prop_map(|n| format!("TEL:{n};phone-context=+1")),
        "\\+[0-9]{7,15}",
        "\\+[0-9]{2} [0-9]{3}-[0-9]{4}",
        (number, host).prop_map(|(n, h)| format!("sip:{n}@{h};user=phone")),
        (number, host).prop_map(|(n, h)| format!("sips:{n}@{h}")),
        (number, host).prop_map(|(n, h)| format!("{n}@{h}")),
        (host, 1_024..65_535_u16).prop_map(|(h, p)| format!("{h}:{p}")),
    ]
}

struct Rig {
    daemon: DaemonHandle,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn start() -> Self {
        let anywhere = || "127.0.0.1:0".parse().expect("an address");
        let mut config = Config {
            webhook: Some(WebhookConfig::new(Secret::new("verify"), vec![Secret::new("secret")])),
            numbers: vec![NumberConfig::new(NUMBER, Secret::new("token"))],
            ..Config::default()
        };
        config.http.listen = anywhere();
        config.engine.addresses = vec!["127.0.0.1".parse().expect("an address")];
        config.engine.allow_loopback = true;
        config.engine.ports = 25_000..=25_999;
        config.engine.rtp_targets = vec!["127.0.0.9".parse().expect("a range")];
        config.graph.base_url = "http://127.0.0.1:9".into();
        config.drain_max = Duration::ZERO;
        let mut api = ApiConfig::new(vec![ApiKey { name: "all".into(), token: Secret::new(KEY), scopes: Scope::ALL.to_vec() }]);
        api.listen = anywhere();
        config.api = Some(api);
        let mut direct = DirectConfig::new(Secret::new(KEY));
        direct.listen = anywhere();
        config.direct = Some(direct);
        config.ng = Some(NgConfig::new(anywhere()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { daemon: Daemon::start(config, Arc::new(|_| {})).expect("a daemon"), client, runtime }
    }

    fn ask(&self, method: &str, url: String, body: &Value) -> (u16, Value) {
        self.runtime.block_on(async {
            let request = self.client.request(method.parse().expect("a method"), url).bearer_auth(KEY);
            let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.expect("an answer");
            (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
        })
    }

    fn native(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", format!("http://{}/v1/{path}", self.daemon.api_addr().expect("an API")), body)
    }

    /// What a SIP proxy asks, in JSON, by UDP.
    fn ng(&self, request: &Value) -> Value {
        // A cookie that was seen is answered from memory.
        static COOKIES: AtomicU32 = AtomicU32::new(0);
        let cookie = COOKIES.fetch_add(1, Ordering::Relaxed).to_string();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        socket.connect(self.daemon.ng_addr().expect("ng is on")).expect("connected");
        socket.send(format!("{cookie} {request}").as_bytes()).expect("sent");
        let mut buffer = vec![0; 65_536];
        let len = socket.recv(&mut buffer).expect("an answer");
        let text = std::str::from_utf8(&buffer[..len]).expect("text");
        let reply = text.strip_prefix(&cookie).expect("our own cookie");
        serde_json::from_str(reply.trim_start()).expect("asked in JSON, answered in JSON")
    }

    fn direct(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.ask(method, format!("http://{}/v1/sessions{path}", self.daemon.direct_addr().expect("Direct mode")), body)
    }
}

/// A phone's description that wants its audio at `host`.
fn phone(host: &str) -> String {
    format!("v=0\r\no=u 1 1 IN IP4 127.0.0.9\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n")
}

/// An offer of Meta's.
fn offer_of_meta() -> String {
    let samples: Value = serde_json::from_str(include_str!("../../tests/golden/sdp/meta_samples.json")).expect("golden samples");
    samples["cases"][0]["sdp"].as_str().expect("an SDP").to_owned()
}

//= meta#R-10 type=test
#[test]
fn no_entry_point_takes_a_telephone_or_a_stranger() {
    let rig = Rig::start();
    // A session whose leg is to be moved.
    let (status, session) = rig.direct("POST", "", &json!({ "bridge": { "rtp": { "remote": "127.0.0.9:4000" } } }));
    assert_eq!(status, 201, "{session}");
    let leg = format!("/{}/rtp", session["id"].as_str().expect("an id"));
    // A call of a SIP proxy whose plain side is still to be named.
    let waits = rig.ng(
        &json!({ "command": "offer", "call-id": "waits", "from-tag": "w", "sdp": offer_of_meta(), "rtpp-flags": "RTP/AVP ICE=remove" }),
    );
    assert_eq!(waits["result"], "ok", "{waits}");
    let of_proxy = |host: &str| {
        let offer =
            json!({ "command": "offer", "call-id": "new", "from-tag": "a", "sdp": phone(host), "transport protocol": "UDP/TLS/RTP/SAVPF" });
        let answer = json!({ "command": "answer", "call-id": "waits", "from-tag": "w", "to-tag": "p", "sdp": phone(host) });
        [("offer of a proxy", rig.ng(&offer)), ("answer of a proxy", rig.ng(&answer))]
    };
    let mut runner = TestRunner::new(Runs { cases: 48, failure_persistence: None, ..Runs::default() });
    runner
        .run(&outside(), |target| {
            let to = json!({ "number_id": NUMBER, "to": "447700900123", "check_permission": false, "bridge": { "kind": target } });
            let prompt = json!({ "number_id": NUMBER, "to": "447700900123", "check_permission": false, "bridge": { "kind": "play", "prompt": target } });
            let mut answers = vec![
                ("call with bridge", rig.native("calls", &to)),
                ("call with prompt", rig.native("calls", &prompt)),
                ("accept", rig.native("calls/0/accept", &json!({ "bridge": { "kind": target } }))),
                ("bridge", rig.native("calls/0/bridge", &json!({ "kind": target }))),
                ("session by kind", rig.direct("POST", "", &json!({ "bridge": { "kind": target } }))),
                ("session by remote", rig.direct("POST", "", &json!({ "bridge": { "rtp": { "remote": target } } }))),
                ("audio server", rig.direct("POST", "", &json!({ "bridge": { "kind": "ws", "ws": { "url": target } } }))),
                ("audio server of a stranger", rig.native("calls/0/bridge", &json!({ "kind": "ws", "ws": { "url": format!("wss://{}.example/x", target.len()) } }))),
                ("leg moved", rig.direct("PUT", &leg, &json!({ "remote": target }))),
            ];
            // Bare digits are how a WhatsApp user is named there; everything else is no user.
            if !target.trim_start_matches('+').bytes().all(|b| b.is_ascii_digit()) {
                answers.push(("to", rig.native("calls", &json!({ "number_id": NUMBER, "to": target }))));
            }
            for (place, (status, body)) in answers {
                prop_assert_eq!((status, body["code"].as_str()), (422, Some("VOIP_ONLY")), "{} with {}: {}", place, target, body);
            }
            for (place, reply) in of_proxy(&target) {
                let why = reply["error-reason"].as_str().unwrap_or_default();
                prop_assert!(reply["result"] == "error" && why.contains("VOIP_ONLY: "), "{} with {}: {}", place, target, reply);
            }
            let file = |bridge: &str| format!("[direct]\ntoken = \"env:X\"\nbridge = {bridge}\n");
            let remote = file(&format!("{{ kind = \"rtp\", rtp = {{ remote = \"{target}\" }} }}"));
            let trunk = format!("{}\n[[trunk]]\nname = \"a\"\ntargets = [\"{target}\"]\nattests_no_pstn = true\n", file("{ kind = \"echo\" }"));
            for text in [remote, file(&format!("{{ kind = \"{target}\" }}")), trunk] {
                let faults = Config::from_toml(&text, &AnySecret).expect_err("a fault");
                prop_assert!(faults.iter().any(|f| f.what.contains("VOIP_ONLY")), "{}: {:?}", text, faults);
            }
            Ok(())
        })
        .expect("every entry point refuses");
    // An address that is one, but that no trunk lists.
    let body = json!({ "bridge": { "rtp": { "remote": "192.0.2.1:4000" } } });
    let (status, problem) = rig.direct("POST", "", &body);
    assert_eq!((status, problem["code"].as_str()), (422, Some("VOIP_ONLY")), "{problem}");
    let (status, problem) = rig.direct("PUT", &leg, &json!({ "remote": "192.0.2.1:4000" }));
    assert_eq!((status, problem["code"].as_str()), (422, Some("VOIP_ONLY")), "{problem}");
    for (place, reply) in of_proxy("192.0.2.1") {
        assert!(reply["error-reason"].as_str().is_some_and(|why| why.contains("VOIP_ONLY: ")), "{place}: {reply}");
    }
    // The call that was refused a stranger takes a listed address.
    let [_, (_, taken)] = of_proxy("127.0.0.9");
    assert_eq!(taken["result"], "ok", "{taken}");
}

//= meta#R-11 type=test
#[test]
fn a_trunk_attests_that_it_ends_in_voip() {
    let file = |attests: &str| format!("[direct]\ntoken = \"env:X\"\n[[trunk]]\nname = \"pbx\"\ntargets = [\"10.20.0.0/16\"]\n{attests}\n");
    let config = Config::from_toml(&file("attests_no_pstn = true"), &AnySecret).expect("a trunk");
    assert_eq!((config.trunks[0].name.as_str(), config.engine.rtp_targets.len()), ("pbx", 1));
    for text in [file(""), file("attests_no_pstn = false")] {
        let faults = Config::from_toml(&text, &AnySecret).expect_err("a fault");
        assert!(faults.iter().any(|f| f.path == "trunk[0].attests_no_pstn" && f.what.contains("VOIP_ONLY")), "{faults:?}");
    }
}
