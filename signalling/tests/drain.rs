//! SIGTERM with a hundred calls running: none is cut, new ones are refused so that somebody else may take them, the process ends with the last. And: a drain has an end.
#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods, reason = "a process of its own runs on the wall clock; nothing is asserted about it")]

mod program;

use program::{addresses, tipring};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tipring_engine::time::Span;
use tipring_meta_sim::shell::{CallReport, Sim, SimConfig};
use tipring_meta_sim::user::{UserScript, Voice};
use tipring_signalling::cli::demo::relaxed;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "the-key-of-the-drain-test";
const CALLS: usize = 100;

struct World {
    sim: Arc<Sim>,
    child: Child,
    client: Client,
    web: String,
    api: String,
    directory: PathBuf,
}

impl World {
    /// A daemon as a process of its own, which echoes; and a simulator that calls it.
    async fn start(name: &str, first_port: u16, drain_s: u32) -> Self {
        let sim = SimConfig { limits: relaxed(), has_ipv6: false, ..SimConfig::new("") };
        let sim = Arc::new(Sim::start(sim).await.expect("a simulator"));
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("drain-{name}"));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        let account = sim.account();
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[engine]\naddresses = [\"127.0.0.1\"]\nallow_loopback = true\nports = \"{first_port}-{}\"\ndrain_s = {drain_s}\n\
             [graph]\nbase_url = \"{}\"\n[webhook]\nverify_token = \"env:VERIFY\"\napp_secrets = [\"env:APP_SECRET\"]\n\
             [[number]]\nphone_number_id = \"{}\"\naccess_token = \"env:TOKEN\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
             [[api.key]]\nname = \"test\"\ntoken = \"env:KEY\"\nscopes = [\"calls:read\", \"calls:write\", \"node\"]\n[cdr]\nfile = \"{}\"\n[log]\nformat = \"json\"\n",
            first_port + 299,
            sim.graph_url(),
            account.phone_number_id,
            directory.join("cdr.jsonl").display(),
        );
        let path = directory.join("tipring.toml");
        std::fs::write(&path, config).expect("a configuration");
        let mut command = tipring(account);
        command.args(["serve", "--config"]).arg(&path).env("KEY", KEY).stdout(Stdio::null());
        let mut child = command.spawn().expect("the daemon starts");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error")).lines();
        let (web, api) = loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a word in time").expect("text").expect("it runs");
            let entry: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
            if let Some(both) = addresses(&entry) {
                break both;
            }
        };
        // Its log must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        sim.set_webhook_url(format!("http://{web}/webhook"));
        Self { sim, child, client: Client::new(), web: format!("http://{web}"), api: format!("http://{api}/v1"), directory }
    }

    /// A user who calls and stays.
    fn call(&self, tag: u32) -> JoinHandle<CallReport> {
        let sim = Arc::clone(&self.sim);
        let script = UserScript {
            number: format!("15550{tag:06}"),
            voice: Voice::Numbered { tag },
            hang_up_after: None,
            patience: Span::from_secs(60),
            ..UserScript::default()
        };
        tokio::spawn(async move { sim.call(script, &[]).await.expect("a report") })
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}/{path}", self.api)).bearer_auth(KEY).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Option<String>, Value) {
        let answer = self.client.post(format!("{}/{path}", self.api)).bearer_auth(KEY).json(body).send().await.expect("an answer");
        let again = answer.headers().get("retry-after").and_then(|h| h.to_str().ok()).map(str::to_owned);
        (answer.status(), again, answer.json().await.expect("JSON"))
    }

    async fn active(&self) -> Vec<String> {
        let calls = self.get("calls?state=active&limit=1000").await;
        calls["calls"].as_array().expect("calls").iter().map(|c| c["id"].as_str().expect("an id").to_owned()).collect()
    }

    async fn until_active(&self, count: usize) -> Vec<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let active = self.active().await;
            if active.len() == count {
                return active;
            }
            assert!(tokio::time::Instant::now() < deadline, "{} of {count} calls stand", active.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn terminate(&self) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    }

    async fn until_not_ready(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.client.get(format!("{}/readyz", self.web)).send().await.expect("an answer").status() != StatusCode::SERVICE_UNAVAILABLE {
            assert!(tokio::time::Instant::now() < deadline, "still ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("cdr.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
    }
}

#[tokio::test]
async fn a_hundred_calls_outlive_sigterm_and_the_process_ends_with_the_last() {
    let mut world = World::start("hundred", 34_000, 300).await;
    let users: Vec<_> = (0..CALLS as u32).map(|tag| world.call(tag)).collect();
    let active = world.until_active(CALLS).await;
    world.terminate();
    world.until_not_ready().await;

    // New ones are refused, in a way that says "elsewhere, or later".
    let number = world.sim.account().phone_number_id.clone();
    let (status, again, problem) = world.post("calls", &json!({ "number_id": number, "to": "447700900123" })).await;
    assert_eq!((status, again.as_deref(), problem["code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("1"), Some("DRAINING")));
    let refused = tokio::time::timeout(PATIENCE, world.call(9_999)).await.expect("an end in time").expect("a report");
    assert!(
        refused.timeline.iter().any(|entry| format!("{:?}", entry.what).contains("\"reject\"")),
        "a user's call is rejected, not left ringing"
    );

    // The hundred go on, and packets with them.
    assert_eq!(world.active().await.len(), CALLS, "none was cut");
    let sent = |stats: &Value| stats["rtp_out"].as_u64().unwrap_or(0);
    let probe = active[CALLS / 2].clone();
    let before = sent(&world.get(&format!("calls/{probe}/stats")).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(sent(&world.get(&format!("calls/{probe}/stats")).await) > before, "media flows");
    assert!(world.child.try_wait().expect("a state").is_none(), "it waits for them");

    for id in &active {
        assert_eq!(world.post(&format!("calls/{id}/terminate"), &json!({})).await.0, StatusCode::ACCEPTED);
    }
    let status = tokio::time::timeout(PATIENCE, world.child.wait()).await.expect("it ends with the last call").expect("a status");
    assert!(status.success(), "{status}");
    for user in users {
        assert!(!user.await.expect("a report").is_cut_off);
    }
    let records = world.records();
    let with = |disposition: &str| records.iter().filter(|r| r["disposition"] == disposition).count();
    assert_eq!((with("completed"), with("rejected"), records.len()), (CALLS, 1, CALLS + 1));
    assert!(records.iter().all(|r| r["disposition"] != "completed" || r["verdict"]["code"] == "HANG_UP"), "each by its own hang-up");
}

#[tokio::test]
async fn a_drain_has_an_end_and_a_second_signal_is_one() {
    let mut world = World::start("bounded", 34_400, 1).await;
    let user = world.call(1);
    world.until_active(1).await;
    world.terminate();
    let status = tokio::time::timeout(PATIENCE, world.child.wait()).await.expect("its time is bounded").expect("a status");
    assert!(status.success(), "{status}");
    let report = user.await.expect("a report");
    assert!(report.timeline.iter().any(|entry| format!("{:?}", entry.what).contains("\"terminate\"")), "Meta was told");

    let mut world = World::start("second", 34_800, 300).await;
    let user = world.call(1);
    world.until_active(1).await;
    world.terminate();
    world.until_not_ready().await;
    world.terminate();
    assert!(tokio::time::timeout(PATIENCE, world.child.wait()).await.expect("it ends now").expect("a status").success());
    user.await.expect("a report");
}
