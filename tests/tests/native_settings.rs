//! Settings and sign-ups by the API of a running daemon, with the simulator as Meta: what is written is read back, each step is told, a repetition goes on where it ended,
//! and no secret is shown anywhere.

#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::office::{APP_ID, PIN};
use tipring_meta_sim::shell::{Sim, SimConfig};
use tipring_signalling::config::{ApiConfig, ApiKey, Config, NumberConfig, NumberRole, Scope, Secret, WebhookConfig};
use tipring_signalling::shell::{Daemon, DaemonHandle};

const KEY: &str = "the-key-of-an-operator";
const WATCHED: &str = "1047000000077";

struct World {
    sim: Sim,
    daemon: DaemonHandle,
    client: reqwest::Client,
    directory: PathBuf,
    /// Everything that was answered.
    answers: Mutex<String>,
}

impl World {
    async fn start(name: &str) -> Self {
        let sim = Sim::start(SimConfig::new("")).await.expect("a simulator");
        let account = sim.account().clone();
        let directory = std::env::temp_dir().join(format!("tipring-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("app.secret"), &account.app_secret).expect("a secret");
        let mut api = ApiConfig::new(vec![
            ApiKey { name: "operator".into(), token: Secret::new(KEY), scopes: vec![Scope::Admin] },
            ApiKey { name: "bot".into(), token: Secret::new("bot"), scopes: vec![Scope::CallsRead, Scope::CallsWrite] },
        ]);
        api.listen = "127.0.0.1:0".parse().expect("an address");
        api.token_directory = Some(directory.clone());
        let mut config = Config { api: Some(api), ..Config::default() };
        config.http.listen = "127.0.0.1:0".parse().expect("an address");
        config.engine.addresses = vec!["127.0.0.1".parse().expect("an address")];
        config.engine.allow_loopback = true;
        config.engine.ports = 47_800..=47_899;
        config.graph.base_url = sim.graph_url();
        config.webhook = Some(WebhookConfig::new(Secret::new("verify"), vec![Secret::new(account.app_secret.as_str())]));
        config.numbers = vec![
            NumberConfig::new(account.phone_number_id.as_str(), Secret::new(account.access_token.as_str())),
            NumberConfig { role: NumberRole::ReceiveOnly, ..NumberConfig::new(WATCHED, Secret::new("")) },
        ];
        let daemon = Daemon::start(config, Arc::new(|_| {})).expect("a daemon");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { sim, daemon, client, directory, answers: Mutex::default() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> (u16, Value) {
        let url = format!("http://{}/v1/{path}", self.daemon.api_addr().expect("an API"));
        let mut request = self.client.request(method.parse().expect("a method"), url).bearer_auth(KEY);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        self.answers.lock().expect("answers").push_str(&text);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(status < 400 || value["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{text}");
        (status, value)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, &[], None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("POST", path, &[], Some(&body)).await
    }

    fn calling(&self) -> Value {
        self.sim.office().calling().clone()
    }

    fn code(&self) -> String {
        self.sim.office().issue_code(self.sim.now())
    }

    /// A sign-up with this of the customer's.
    fn signup(&self, code: Option<&str>, pin: &str) -> Value {
        let account = self.sim.account();
        json!({ "app_id": APP_ID, "app_secret": format!("file:{}", self.directory.join("app.secret").display()), "waba_id": account.waba_id,
            "phone_number_id": account.phone_number_id, "code": code, "pin": pin, "calling": { "callback_permission_status": "ENABLED" } })
    }

    async fn stop(self) {
        let Self { daemon, directory, .. } = self;
        tokio::task::spawn_blocking(move || daemon.shutdown()).await.expect("the daemon stops");
        std::fs::remove_dir_all(directory).expect("the directory can go");
    }
}

fn code_of((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn settings_are_read_written_and_read_back() {
    let world = World::start("api-settings").await;
    let path = format!("numbers/{}/settings", world.sim.account().phone_number_id);
    let (status, shown) = world.get(&path).await;
    assert_eq!((status, shown["calling"]["status"].as_str()), (200, Some("DISABLED")), "{shown}");

    let wanted = json!({ "status": "ENABLED", "audio": { "additional_codecs": ["PCMA"] }, "srtp_key_exchange_protocol": "SDES" });
    let (status, told) = world.post(&path, json!({ "calling": wanted, "dry_run": true })).await;
    let paths =
        |list: &Value| list.as_array().expect("a list").iter().map(|d| d["path"].as_str().expect("a path").to_owned()).collect::<Vec<_>>();
    assert_eq!(status, 200, "{told}");
    assert_eq!(paths(&told["changes"]), ["audio.additional_codecs", "srtp_key_exchange_protocol", "status"]);
    assert_eq!(world.calling()["status"], "DISABLED", "it was a question");

    let (status, told) = world.post(&path, json!({ "calling": wanted })).await;
    assert_eq!((status, paths(&told["differences"]), told["calling"]["status"].as_str()), (200, Vec::new(), Some("ENABLED")), "{told}");
    assert_eq!(world.calling()["audio"]["additional_codecs"], json!(["PCMA"]));
    // What nobody named stays, also what Meta resets on the way (SIP servers were seen to reset the keying).
    let servers = json!({ "calling": { "sip": { "status": "ENABLED", "servers": [{ "hostname": "sip.acme.example" }] } } });
    assert_eq!(world.post(&path, servers).await.1["differences"], json!([]));
    assert_eq!(world.calling()["srtp_key_exchange_protocol"], "SDES");
    assert_eq!(world.post(&path, json!({ "calling": { "status": "enabled" } })).await.1["changes"], json!([]), "it is so already");

    for (body, code) in [
        (json!({ "calling": { "status": "ON" } }), "BAD_SETTINGS"),
        (json!({ "calling": { "video": {} } }), "BAD_SETTINGS"),
        (json!({ "calling": { "sip": "ENABLED" } }), "BAD_SETTINGS"),
        (json!({ "calling": {} }), "BAD_SETTINGS"),
    ] {
        assert_eq!(code_of(world.post(&path, body.clone()).await), refused(422, code), "{body}");
    }
    assert_eq!(code_of(world.post(&path, json!({ "status": "ENABLED" })).await), refused(400, "BAD_JSON"));
    for path in ["numbers/1/settings", "numbers/x/settings"] {
        assert_eq!(code_of(world.get(path).await), refused(404, "NO_SUCH_NUMBER"));
        assert_eq!(code_of(world.post(path, json!({ "calling": wanted })).await), refused(404, "NO_SUCH_NUMBER"));
    }
    //= meta#R-06 type=test
    let watched = format!("numbers/{WATCHED}/settings");
    assert_eq!(code_of(world.get(&watched).await), refused(409, "NUMBER_RECEIVE_ONLY"));
    assert_eq!(code_of(world.post(&watched, json!({ "calling": wanted })).await), refused(409, "NUMBER_RECEIVE_ONLY"));
    for method in ["GET", "POST"] {
        let url = format!("http://{}/v1/{path}", world.daemon.api_addr().expect("an API"));
        let answer = world.client.request(method.parse().expect("a method"), url).bearer_auth("bot").send().await.expect("an answer");
        assert_eq!(answer.status(), 403, "{method}: a key that makes calls does not change the number");
    }

    // Meta's own word, with its number and what to do.
    world.sim.office().clear();
    assert_eq!(code_of(world.post(&path, json!({ "calling": { "status": "ENABLED" } })).await), refused(409, "META_138018"));
    world.stop().await;
}

#[tokio::test]
async fn a_code_becomes_a_number_and_a_repetition_goes_on_where_it_ended() {
    let world = World::start("api-signup").await;
    world.sim.office().clear();
    let number = world.sim.account().phone_number_id.clone();
    let token = world.directory.join(format!("{number}.token"));
    let names = |body: &Value| -> Vec<(String, bool)> {
        let steps = body["steps"].as_array().expect("steps");
        steps.iter().map(|s| (s["step"].as_str().expect("a step").to_owned(), s["ok"] == true)).collect()
    };
    // Nothing is spent on what cannot work.
    let code = world.code();
    let mut wrong = world.signup(Some(&code), PIN);
    wrong["waba_id"] = "1/../2".into();
    assert_eq!(code_of(world.post("signups", wrong).await), refused(422, "BAD_SIGNUP"));
    let mut literal = world.signup(Some(&code), PIN);
    literal["app_secret"] = world.sim.account().app_secret.as_str().into();
    assert_eq!(code_of(world.post("signups", literal).await), refused(422, "BAD_SIGNUP"));
    assert_eq!(code_of(world.post("signups", world.signup(Some(&code), "12345")).await), refused(422, "BAD_SIGNUP"));
    assert_eq!(code_of(world.post("signups", world.signup(None, PIN)).await), refused(422, "BAD_SIGNUP"), "neither code nor token");
    let mut number_for_pin = world.signup(Some(&code), PIN);
    number_for_pin["pin"] = 246_810.into();
    let (status, problem) = world.post("signups", number_for_pin).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("BAD_JSON")), "{problem}");

    // A wrong pin stops at its step; the token is kept, for the code is spent.
    let (status, body) = world.post("signups", world.signup(Some(&code), "111111")).await;
    assert_eq!((status, body["code"].as_str()), (422, Some("META_133005")), "{body}");
    let ran = [("exchange_code", true), ("subscribe_app", true), ("app_is_subscribed", true), ("register_number", false)];
    assert_eq!(names(&body), ran.map(|(name, ok)| (name.to_owned(), ok)));
    assert!(body["detail"].as_str().is_some_and(|d| d.starts_with("register_number: ")), "{body}");
    assert_eq!(body["access_token"], format!("file:{}", token.display()));
    let kept = std::fs::read_to_string(&token).expect("the token");
    assert!(kept.starts_with("business-token-"));
    assert_eq!(token.metadata().expect("the file").permissions().mode() & 0o777, 0o600);
    assert_eq!(world.calling()["status"], "DISABLED");

    // The same request with the right pin, and again under a key: it acts once.
    let again = world.signup(Some(&code), PIN);
    let keyed: &[(&str, &str)] = &[("idempotency-key", "signup-1")];
    let (status, body) = world.ask("POST", "signups", keyed, Some(&again)).await;
    assert!(status == 200 && names(&body).len() == 6 && names(&body).iter().all(|(_, ok)| *ok), "{status} {body}");
    assert!(body["steps"][0]["note"].as_str().is_some_and(|note| note.contains("kept")), "{body}");
    assert_eq!(world.ask("POST", "signups", keyed, Some(&again)).await, (status, body));
    assert_eq!((&world.calling()["status"], &world.calling()["callback_permission_status"]), (&json!("ENABLED"), &json!("ENABLED")));
    assert_eq!(std::fs::read_to_string(&token).expect("the token"), kept);
    // Without a code as well: what is as wanted stays so.
    assert_eq!(world.post("signups", world.signup(None, PIN)).await.0, 200);

    // A new code brings a new token; one that nobody issued, or that is too old, changes nothing.
    let next = world.code();
    assert_eq!(world.post("signups", world.signup(Some(&next), PIN)).await.0, 200);
    let fresh = std::fs::read_to_string(&token).expect("the token");
    assert_ne!(fresh, kept);
    let (status, body) = world.post("signups", world.signup(Some("AQ+nobody"), PIN)).await;
    assert_eq!((status, body["code"].as_str(), names(&body).len()), (422, Some("META_100"), 1), "{body}");
    assert!(body["hint"].as_str().is_some_and(|hint| hint.contains("30 s")) && body["access_token"].is_null(), "{body}");
    let old = world.sim.office().issue_code(Time::ZERO);
    if world.sim.now().since(Time::ZERO) > Span::from_secs(30) {
        assert_eq!(code_of(world.post("signups", world.signup(Some(&old), PIN)).await), refused(422, "META_100"));
    }
    assert_eq!(std::fs::read_to_string(&token).expect("the token"), fresh);

    // The answer's reference serves a number; here it is in the configuration already.
    let put = json!({ "access_token": format!("file:{}", token.display()), "waba_id": world.sim.account().waba_id });
    assert_eq!(code_of(world.ask("PUT", &format!("numbers/{number}"), &[], Some(&put)).await), refused(409, "NUMBER_IN_FILE"));
    let answers = world.answers.lock().expect("answers").clone();
    for secret in [kept.trim(), fresh.trim(), &code, &next, PIN, "111111", "246810", &world.sim.account().app_secret] {
        assert!(!answers.contains(secret), "an answer shows a secret");
    }
    world.stop().await;
}
