//! `kill -9` at seeded moments, over real processes: after the restart nothing that was answered 200 is lost, and no call is left open at Meta.
//!
//! Meta is the simulator's ledger behind a loopback Graph; the daemon is the real binary with a store, a hook and call detail records. Ten moments by default;
//! `TIPRING_KILLS=200` makes the long run of `.ci/run`, `TIPRING_KILL_SEED` another one. Nothing is judged by haste: whatever must come is waited for.
#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods, reason = "real processes run on the wall clock; nothing is asserted about it")]

mod meta;

use meta::{World, sdp, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::Span;
use tipring_meta_sim::graph::Account;
use tipring_meta_sim::ledger::{Ledger, LedgerConfig, Number, Rates};

const API_KEY: &str = "the-key-of-the-test";

/// A daemon that is killed when the test is over, whichever way.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tipring"));
        command.arg("serve").arg("--config").arg(config).env("KILL_TEST_SECRET", Account::default().app_secret);
        command.env("KILL_TEST_TOKEN", Account::default().access_token).env("KILL_TEST_KEY", API_KEY);
        Self(command.stdout(Stdio::null()).stderr(log()).spawn().expect("the daemon starts"))
    }

    /// SIGKILL: nothing of it runs any more.
    fn kill_9(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it is gone");
    }
}

/// Where the daemons' logs go: nowhere, unless `TIPRING_KILL_LOG` names a file.
fn log() -> Stdio {
    let Ok(file) = std::env::var("TIPRING_KILL_LOG") else { return Stdio::null() };
    std::fs::OpenOptions::new().create(true).append(true).open(file).map_or_else(|_| Stdio::null(), Stdio::from)
}

/// Events that only the application can use: each is numbered, so that a lost one shows. Returns the number if it was answered 200.
async fn post_settings(world: &World, url: &str, number: u64) -> Option<u64> {
    let account = Account::default();
    let value = json!({"messaging_product": "whatsapp", "warp": number, "type": "phone_number_settings",
        "phone_number_settings": {"phone_number_id": account.phone_number_id, "calling": {"status": "ENABLED"}}});
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "account_settings_update", "value": value}]}]});
    let body = body.to_string().into_bytes();
    let signature = tipring_meta_sim::webhooks::sign(&account.app_secret, &body);
    let answer = world.client.post(url).header("x-hub-signature-256", signature).body(body).send().await;
    answer.is_ok_and(|a| a.status() == 200).then_some(number)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Rig {
    world: Arc<World>,
    directory: PathBuf,
    config: PathBuf,
    webhook: String,
    api: String,
}

impl Rig {
    async fn new(seed: u64) -> Self {
        let directory = std::env::temp_dir().join(format!("tipring-kill-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let (port, api_port) = (free_port(), free_port());
        let account = Account::default();
        let world = World::start("", |unix_ms| LedgerConfig {
            seed,
            unix_ms,
            numbers: vec![Number { account: account.clone(), app_secrets: vec![account.app_secret.clone()], has_partner: false }],
            rates: Rates { duplicated: 150, delayed: 100, batched: 100, given_up: 100, ..Rates::default() },
            offer: sdp("offer-user-initiated"),
            answer: sdp("answer-business-initiated"),
            patience: Span::from_secs(3_600),
            silence_max: Span::from_secs(3_600),
        })
        .await;
        let graph = world.address;
        let config = directory.join("tipring.toml");
        let text = format!(
            r#"
[http]
listen = "127.0.0.1:{port}"
[engine]
addresses = ["127.0.0.1"]
allow_loopback = true
ports = "21000-22999"
[graph]
base_url = "http://{graph}"
[webhook]
verify_token = "env:KILL_TEST_SECRET"
app_secrets = ["env:KILL_TEST_SECRET"]
[[number]]
phone_number_id = "{number}"
access_token = "env:KILL_TEST_TOKEN"
[store]
file = "{dir}/store.redb"
[cdr]
file = "{dir}/cdr.jsonl"
[api]
listen = "127.0.0.1:{api_port}"
[[api.key]]
name = "test"
token = "env:KILL_TEST_KEY"
scopes = ["calls:read", "calls:write", "events", "node"]
[[api.hook]]
url = "http://{graph}/events"
secret = "env:KILL_TEST_KEY"
types = ["account."]
"#,
            number = account.phone_number_id,
            dir = directory.display(),
        );
        std::fs::write(&config, text).unwrap();
        let webhook = format!("http://127.0.0.1:{port}/webhook");
        tokio::spawn(Arc::clone(&world).post_webhooks(vec![webhook.clone()]));
        Self { world, directory, config, webhook, api: format!("http://127.0.0.1:{api_port}/v1") }
    }

    async fn start(&self) -> Process {
        let process = Process::start(&self.config);
        let live = self.webhook.replace("/webhook", "/livez");
        let world = Arc::clone(&self.world);
        wait_until("the daemon", async || world.client.get(&live).send().await.is_ok_and(|a| a.status() == 200)).await;
        process
    }

    async fn dial(&self, user: u64) {
        let body = json!({"number_id": Account::default().phone_number_id, "to": format!("44780090{user:04}"), "check_permission": false})
            .to_string();
        // The daemon may be killed meanwhile.
        let request = self.world.client.post(format!("{}/calls", self.api)).bearer_auth(API_KEY);
        let _ = request.header("content-type", "application/json").body(body).send().await;
    }

    /// Call ids that have a record.
    fn recorded(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.directory.join("cdr.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a whole line of JSON"));
        lines.filter_map(|record| record["wacid"].as_str().map(str::to_owned)).collect()
    }
}

#[test]
fn no_acknowledged_event_is_lost_and_no_call_is_left_open() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (kills, seed) = (number("TIPRING_KILLS", 10), number("TIPRING_KILL_SEED", 1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(kill_again_and_again(kills, seed));
}

async fn kill_again_and_again(kills: u64, seed: u64) {
    let rig = Rig::new(seed).await;
    let mut dice = SeededRng::new(seed);
    let mut process = rig.start().await;
    let (mut sent, mut users) = (0_u64, 0_u64);
    let settings: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let (mut open_at_kill, mut ended_by_us) = (0, 0);
    for kill in 0..kills {
        // A burst of users, of calls of ours and of settings; then the moment.
        // Most at once, some when calls are long on.
        let moment = if dice.below(5) == 0 { dice.below(3_000) } else { dice.below(700) };
        let moment = Duration::from_millis(moment);
        let load = async {
            for _ in 0..2 + dice.below(6) {
                rig.world.ledger(|ledger, now| drop(ledger.user_calls(0, now)));
                users += 1;
                rig.dial(users).await;
                sent += 1;
                let (world, url, settings, number) = (Arc::clone(&rig.world), rig.webhook.clone(), Arc::clone(&settings), sent);
                tokio::spawn(async move {
                    if let Some(number) = post_settings(&world, &url, number).await {
                        settings.lock().unwrap().insert(number.to_string());
                    }
                });
                tokio::time::sleep(Duration::from_millis(dice.below(150))).await;
            }
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(moment, load).await;
        process.kill_9();
        let touched = rig.world.ledger(|ledger, _| ledger.open_calls().0);
        open_at_kill += touched.len();
        process = rig.start().await;
        wait_until(&format!("the end of every call of the process that kill {kill} of seed {seed} ended"), async || {
            let open = rig.world.ledger(|ledger, _| ledger.open_calls().0);
            touched.iter().all(|id| !open.contains(id))
        })
        .await;
        ended_by_us += touched.len();
    }
    // The last process ends whatever is left: everybody hangs up, and every acknowledged event shows its trace.
    rig.world.ledger(Ledger::everybody_hangs_up);
    wait_until("a record of every call that was told to us", async || {
        let recorded = rig.recorded();
        rig.world.ledger(|ledger, _| ledger.owed().all(|id| recorded.contains(id)))
    })
    .await;
    wait_until("every acknowledged event at the application", async || {
        let told = rig.world.told.lock().unwrap();
        let told: BTreeSet<String> = told.iter().map(|event| event["data"]["warp"].to_string()).collect();
        settings.lock().unwrap().iter().all(|number| told.contains(number))
    })
    .await;
    let acknowledged = rig.world.ledger(|ledger, _| ledger.acknowledged().count());
    let (open, all_open) = rig.world.ledger(|ledger, _| ledger.open_calls());
    assert_eq!((open.len(), all_open), (0, 0));
    assert!(acknowledged > 0 && settings.lock().unwrap().len() as u64 > kills / 2, "the load was too light to mean anything");
    println!(
        "{kills} kills, seed {seed}: {acknowledged} call events and {} settings acknowledged, none lost; {open_at_kill} calls open at a kill, {ended_by_us} of them ended after the restart",
        settings.lock().unwrap().len()
    );
    drop(process);
    std::fs::remove_dir_all(&rig.directory).unwrap();
}
