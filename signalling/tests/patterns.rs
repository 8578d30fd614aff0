//! Each page of `docs/patterns`, its configuration run as it stands there: only addresses and ports are exchanged. Meta is the simulator's ledger; the messaging receiver verifies signatures.
#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

mod meta;

use meta::{World, sdp, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tipring_engine::time::Span;
use tipring_meta_sim::graph::Account;
use tipring_meta_sim::ledger::{LedgerConfig, Number, Rates};
use tipring_signalling::config::{Config, SecretSource, StoreConfig};
use tipring_signalling::shell::{Daemon, DaemonHandle};

const NUMBER: &str = "1047000000000";
const APP_SECRET: &str = "the secret of the app";
const OTHER_SECRET: &str = "the secret of the other app";
const TOKEN: &str = "the token of the number";
const KEY: &str = "the key of the application";

/// What the pages call their secrets.
struct Secrets;

impl SecretSource for Secrets {
    fn env(&self, name: &str) -> Option<String> {
        let secret = match name {
            "APP_SECRET" => APP_SECRET,
            "OTHER_SECRET" => OTHER_SECRET,
            "WHATSAPP_TOKEN" => TOKEN,
            "VERIFY_TOKEN" | "HOOK_SECRET" => "any",
            "ADMIN_KEY" => KEY,
            _ => return None,
        };
        Some(secret.to_owned())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("the pages name no files".into())
    }
}

struct Pattern {
    world: Arc<World>,
    daemon: DaemonHandle,
    directory: PathBuf,
}

impl Pattern {
    /// Starts what the page `name` describes, at a Meta whose number delivers to apps with these secrets and may have another partner.
    async fn start(name: &str, app_secrets: &[&str], messages_secret: &str, has_partner: bool) -> Self {
        let page = std::fs::read_to_string(format!("{}/../docs/patterns/{name}.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
        let mut config = Config::from_toml(text, &Secrets).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        let account = Account { phone_number_id: NUMBER.into(), access_token: TOKEN.into(), ..Account::default() };
        let app_secrets: Vec<String> = app_secrets.iter().map(|s| (*s).to_owned()).collect();
        let world = World::start(messages_secret, |unix_ms| LedgerConfig {
            seed: 1,
            unix_ms,
            numbers: vec![Number { account, app_secrets, has_partner }],
            rates: Rates { duplicated: 300, delayed: 100, batched: 300, partner_takes: 1_000, ..Rates::default() },
            offer: sdp("offer-user-initiated"),
            answer: sdp("answer-business-initiated"),
            patience: Span::from_secs(3_600),
            silence_max: Span::from_secs(3_600),
        })
        .await;
        let directory = std::env::temp_dir().join(format!("tipring-pattern-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let anywhere = || "127.0.0.1:0".parse().unwrap();
        config.http.listen = anywhere();
        config.engine.addresses = vec!["127.0.0.1".parse().unwrap()];
        config.engine.allow_loopback = true;
        config.engine.ports = 23_000..=24_999;
        config.graph.base_url = format!("http://{}", world.address);
        config.drain_max = Duration::from_millis(200);
        let messages = format!("http://{}/messages", world.address);
        let forwards =
            config.webhook.iter_mut().map(|w| &mut w.forward_other_to).chain(config.apps.iter_mut().map(|a| &mut a.forward_other_to));
        forwards.flatten().for_each(|url| url.clone_from(&messages));
        if let Some(api) = &mut config.api {
            api.listen = anywhere();
            api.hooks.iter_mut().for_each(|hook| hook.url = format!("http://{}/events", world.address));
        }
        if let Some(direct) = &mut config.direct {
            direct.listen = anywhere();
        }
        if config.store.is_some() {
            config.store = Some(StoreConfig::new(directory.join("store.redb")));
        }
        let paths: Vec<String> = config.webhook.iter().filter(|w| !w.app_secrets.is_empty()).map(|w| w.path.clone()).collect();
        let paths: Vec<String> = paths.into_iter().chain(config.apps.iter().map(|a| a.path.clone())).collect();
        let daemon = Daemon::start(config, Arc::new(|_| {})).unwrap();
        let urls = paths.iter().map(|path| format!("http://{}{path}", daemon.webhook_addr())).collect();
        tokio::spawn(Arc::clone(&world).post_webhooks(urls));
        Self { world, daemon, directory }
    }

    /// Users call and write; returns the calls and the messages.
    fn busy(&self, calls: usize, messages: usize) -> (Vec<String>, Vec<String>) {
        self.world.ledger(|ledger, now| {
            let calls = (0..calls).map(|_| ledger.user_calls(0, now)).collect();
            (calls, (0..messages).map(|_| ledger.user_writes(0, now)).collect())
        })
    }

    /// Waits until each of these calls was answered by a request of ours.
    async fn answered(&self, calls: &[String]) {
        wait_until("our answer to each call", async || {
            let open = self.world.ledger(|ledger, _| ledger.open_calls().0);
            calls.iter().all(|call| open.contains(call))
        })
        .await;
    }

    /// Waits until each of these messages has reached the messaging receiver.
    async fn forwarded(&self, messages: &[String]) {
        wait_until("each message at its receiver", async || {
            let bodies = self.world.forwarded.lock().unwrap();
            messages.iter().all(|m| bodies.iter().any(|body| String::from_utf8_lossy(body).contains(&format!("\"{m}\""))))
        })
        .await;
    }

    /// Everybody hangs up; when all is told, Meta's judgement is asked.
    async fn end(self) {
        self.world.ledger(tipring_meta_sim::ledger::Ledger::everybody_hangs_up);
        let quiet = self.daemon.metrics().calls_opened;
        wait_until("the end of every media call", async || self.daemon.metrics().calls_ended >= quiet).await;
        let judgement = self.world.ledger(|ledger, _| ledger.judge());
        assert_eq!(judgement.faults, Vec::<String>::new());
        let Self { daemon, directory, .. } = self;
        tokio::task::spawn_blocking(move || daemon.shutdown()).await.unwrap();
        std::fs::remove_dir_all(directory).unwrap();
    }

    async fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}/v1/{path}", self.daemon.api_addr().unwrap());
        let mut request = self.world.client.request(method.parse().unwrap(), url).bearer_auth(KEY);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

//= meta#R-01 type=test
//= meta#R-12 type=test
#[test]
fn pattern_1_one_app_passes_messages_on_and_takes_calls() {
    runtime().block_on(async {
        let pattern = Pattern::start("1-one-app", &[APP_SECRET], APP_SECRET, false).await;
        // The receiver is down at first: no call waits for it.
        *pattern.world.receiver.lock().unwrap() = (503, Duration::from_secs(5));
        let (calls, messages) = pattern.busy(5, 5);
        pattern.answered(&calls).await;
        *pattern.world.receiver.lock().unwrap() = (200, Duration::ZERO);
        pattern.forwarded(&messages).await;
        pattern.end().await;
    });
}

//= meta#R-02 type=test
//= meta#R-14 type=test
#[test]
fn pattern_1b_two_apps_of_ours_act_once() {
    runtime().block_on(async {
        let pattern = Pattern::start("1b-app-for-calls", &[APP_SECRET, OTHER_SECRET], OTHER_SECRET, false).await;
        let (calls, messages) = pattern.busy(5, 3);
        pattern.answered(&calls).await;
        pattern.forwarded(&messages).await;
        assert!(pattern.daemon.metrics().events_with("other_app") > 0, "the other app's copies were seen and dropped");
        pattern.end().await;
    });
}

//= meta#R-04 type=test
#[test]
fn pattern_2_the_call_that_the_other_partner_took_is_let_go() {
    runtime().block_on(async {
        // The other partner's app delivers to us as well: its secret is not ours, so it proves nothing.
        let pattern = Pattern::start("2-two-partners", &[APP_SECRET, OTHER_SECRET], APP_SECRET, true).await;
        let (calls, _) = pattern.busy(4, 2);
        wait_until("our pre_accept of each call", async || pattern.world.asked.lock().unwrap().len() >= calls.len()).await;
        assert!(pattern.world.forwarded.lock().unwrap().is_empty(), "nobody asked for the messages");
        pattern.end().await;
    });
}

//= meta#R-05 type=test
#[test]
fn pattern_3_numbers_come_and_go_while_the_daemon_runs() {
    runtime().block_on(async {
        let pattern = Pattern::start("3-own-number", &[APP_SECRET], APP_SECRET, false).await;
        let token = pattern.directory.join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let number = json!({ "access_token": format!("file:{}", token.display()), "waba_id": "102290129340398" });
        let path = format!("numbers/{NUMBER}");
        assert_eq!(pattern.api("GET", &path, None).await.0, 404);
        assert_eq!(
            pattern.api("POST", "calls", Some(json!({ "number_id": NUMBER, "to": "447700900123" }))).await.1["code"],
            "NO_SUCH_NUMBER"
        );
        let (status, shown) = pattern.api("PUT", &path, Some(number.clone())).await;
        assert_eq!((status, shown["from"].as_str(), shown["role"].as_str()), (201, Some("api"), Some("full")));
        assert!(!shown.to_string().contains(TOKEN));
        let (calls, _) = pattern.busy(3, 0);
        pattern.answered(&calls).await;

        // Changed, wrong, removed.
        let mut waits = number.clone();
        waits["answer"] = "wait".into();
        assert_eq!(pattern.api("PUT", &path, Some(waits)).await.1["answer"], "wait");
        let (status, problem) = pattern.api("PUT", &path, Some(json!({ "access_token": "a literal one", "anser": "auto" }))).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some("BAD_NUMBER")));
        assert!(problem["detail"].as_str().is_some_and(|d| d.contains("literal") && d.contains("answer")), "{problem}");
        assert_eq!(pattern.api("DELETE", &path, None).await.0, 200);
        assert_eq!(pattern.api("DELETE", &path, None).await.0, 404);
        let before = pattern.world.asked.lock().unwrap().len();
        let (stranger, _) = pattern.busy(1, 0);
        wait_until("the event of a number that is gone", async || pattern.daemon.metrics().events_with("other_number") > 0).await;
        assert!(!pattern.world.ledger(|ledger, _| ledger.open_calls().0.contains(&stranger[0])));
        assert!(pattern.world.asked.lock().unwrap().len() >= before);
        pattern.end().await;
    });
}

//= meta#R-06 type=test
#[test]
fn pattern_4_a_receiver_watches_and_asks_nothing_of_graph() {
    runtime().block_on(async {
        let pattern = Pattern::start("4-receive-only", &[APP_SECRET], APP_SECRET, false).await;
        let (calls, messages) = pattern.busy(3, 2);
        pattern.forwarded(&messages).await;
        wait_until("each call at the application", async || {
            let told = pattern.world.told.lock().unwrap();
            calls.iter().all(|c| {
                told.iter().filter(|e| e["wacid"] == **c && e["type"] == "call.observed" && e["data"]["event"] == "connect").count() == 1
            })
        })
        .await;
        let (status, problem) = pattern.api("POST", "calls", Some(json!({ "number_id": NUMBER, "to": "447700900123" }))).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("NUMBER_RECEIVE_ONLY")));
        assert!(pattern.world.asked.lock().unwrap().is_empty(), "Graph was asked for something");
        pattern.end().await;
    });
}

//= meta#R-08 type=test
#[test]
fn pattern_5_the_partners_webhooks_go_on_to_him() {
    runtime().block_on(async {
        let pattern = Pattern::start("5-invisible-provider", &[APP_SECRET], APP_SECRET, false).await;
        let (calls, messages) = pattern.busy(2, 2);
        pattern.forwarded(&messages).await;
        wait_until("the calls at the partner's receiver", async || {
            let bodies = pattern.world.forwarded.lock().unwrap();
            calls.iter().all(|c| bodies.iter().any(|body| String::from_utf8_lossy(body).contains(c.as_str())))
        })
        .await;
        assert!(pattern.world.asked.lock().unwrap().is_empty(), "Graph is the partner's");
        pattern.end().await;
    });
}
