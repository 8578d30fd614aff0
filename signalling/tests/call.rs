//! `tipring call` as its own process, with the simulator as Meta: answered and spoken, ended by each side, rejected, not answered, without permission.
#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods, reason = "a process of its own runs on the wall clock; nothing is asserted about it")]

mod program;

use program::tipring;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;
use tipring_engine::codec::{Decoder, SampleRate};
use tipring_engine::time::Span;
use tipring_meta_sim::correlate::correlate;
use tipring_meta_sim::oracle::Verdict;
use tipring_meta_sim::permissions::{Answer, Permission};
use tipring_meta_sim::shell::{CallReport, Sim, SimConfig};
use tipring_meta_sim::user::{Speech, UserScript};
use tipring_signalling::audio::read_ogg_opus;
use tipring_signalling::cli::demo::relaxed;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;

const PATIENCE: Duration = Duration::from_secs(60);
const USER: &str = "15550100123";

struct World {
    sim: Sim,
    directory: PathBuf,
    ports: u16,
}

/// What the process said and did.
struct Said {
    code: i32,
    result: Value,
    steps: Vec<String>,
}

impl World {
    async fn start(name: &str) -> Self {
        static PORTS: AtomicU16 = AtomicU16::new(0);
        let sim = Sim::start(SimConfig { limits: relaxed(), ..SimConfig::new("") }).await.expect("a simulator");
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("call-{name}"));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        Self { sim, directory, ports: 38_000 + 40 * PORTS.fetch_add(1, Ordering::Relaxed) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts `tipring call` and tells the simulator where its webhooks go.
    async fn spawn(&self, arguments: &[&str]) -> Running {
        let account = self.sim.account();
        let config = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[engine]\naddresses = [\"127.0.0.1\"]\nallow_loopback = true\nports = \"{}-{}\"\n[graph]\nbase_url = \"{}\"\n\
             [webhook]\nverify_token = \"env:VERIFY\"\napp_secrets = [\"env:APP_SECRET\"]\n[[number]]\nphone_number_id = \"{}\"\naccess_token = \"env:TOKEN\"\n",
            self.ports,
            self.ports + 39,
            self.sim.graph_url(),
            account.phone_number_id,
        );
        let path = self.file("tipring.toml");
        std::fs::write(&path, config).expect("a configuration");
        let mut child = tipring(account).args(["call", "--config"]).arg(&path).args(arguments).spawn().expect("the command starts");
        let mut errors = BufReader::new(child.stderr.take().expect("standard error")).lines();
        let mut steps = Vec::new();
        while let Some(line) = tokio::time::timeout(PATIENCE, errors.next_line()).await.expect("a word in time").expect("text") {
            if let Some(address) = line.strip_prefix("webhooks are taken at ") {
                self.sim.set_webhook_url(format!("http://{address}/webhook"));
                break;
            }
            steps.push(line);
        }
        let rest = tokio::spawn(async move {
            let mut lines = Vec::new();
            while let Ok(Some(line)) = errors.next_line().await {
                lines.push(line);
            }
            lines
        });
        Running { child, steps, rest }
    }
}

struct Running {
    child: Child,
    steps: Vec<String>,
    rest: tokio::task::JoinHandle<Vec<String>>,
}

impl Running {
    async fn end(mut self) -> Said {
        let mut text = String::new();
        let mut out = self.child.stdout.take().expect("standard output");
        tokio::time::timeout(PATIENCE, out.read_to_string(&mut text)).await.expect("an end in time").expect("text");
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("an end in time").expect("a status");
        let mut steps = self.steps;
        steps.extend(self.rest.await.expect("the rest"));
        let result = serde_json::from_str(&text).unwrap_or(Value::Null);
        Said { code: status.code().expect("an exit code"), result, steps }
    }

    /// SIGINT, as Ctrl-C sends it.
    fn interrupt(&self) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    }
}

impl Said {
    fn verdict(&self) -> &str {
        self.result["verdict"]["code"].as_str().unwrap_or("none")
    }
}

fn wav(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(name)
}

/// Mono, 16 kHz.
fn samples(path: &Path) -> Arc<[i16]> {
    let reader = hound::WavReader::open(path).expect("a WAV file of ours");
    reader.into_samples::<i16>().map(|s| s.expect("a sample")).collect()
}

fn script() -> UserScript {
    UserScript { hang_up_after: None, ..UserScript::default() }
}

fn broken(report: &CallReport) -> Vec<&Verdict> {
    report.failures()
}

#[tokio::test]
async fn a_call_is_answered_spoken_both_ways_and_ended_by_us() {
    let world = World::start("spoken").await;
    let (greeting, voice) = (samples(&wav("greeting.wav")), samples(&wav("caller.wav")));
    let speech = vec![Speech { after: Span::from_millis(300), pcm: Arc::clone(&voice) }];
    let expected = world.sim.expect_call(UserScript { speech, ..script() }, &[]);
    let record = world.file("user.ogg");
    // The file is played, and the user has said all by the time we hang up.
    let seconds = (voice.len().max(greeting.len()) / 16_000 + 3).to_string();
    let greeting_path = wav("greeting.wav");
    let running = world
        .spawn(&[
            "--to",
            USER,
            "--play",
            greeting_path.to_str().expect("text"),
            "--record",
            record.to_str().expect("text"),
            "--hang-up",
            &seconds,
            "--opaque",
            "order=7",
            "--json",
        ])
        .await;
    let report = expected.report().await.expect("a report");
    let said = running.end().await;
    assert_eq!((said.code, said.verdict()), (0, "HANG_UP"), "{:?} {}", said.steps, said.result);
    assert_eq!(broken(&report), Vec::<&Verdict>::new());
    assert_eq!(said.result["answered"], true);
    for step in ["calling", "ringing", "answered", "played", "hanging up"] {
        assert!(said.steps.iter().any(|s| s == step), "{step}: {:?}", said.steps);
    }
    let heard = correlate(&greeting, &report.heard_pcm, 16_000).expect("the user heard something");
    assert!(heard.peak > 0.8, "the user heard our file: {heard:?}");
    // What the user said, as it stands in the file.
    let file = read_ogg_opus(std::fs::File::open(&record).expect("the recording")).expect("an Ogg/Opus file");
    assert!(file.is_finished);
    let mut decoder = Decoder::new(SampleRate::Hz16000).expect("a decoder");
    let mut recorded = Vec::new();
    for (packet, _) in &file.packets {
        let mut frame = [0; 1_920];
        let len = decoder.decode(packet, &mut frame).expect("a packet");
        recorded.extend_from_slice(&frame[..len]);
    }
    let spoken = correlate(&voice, &recorded, 16_000).expect("something was recorded");
    assert!(spoken.peak > 0.8, "what the user said was recorded: {spoken:?}");
    let left: Vec<_> = std::fs::read_dir(&world.directory).expect("the directory").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 2, "the configuration and the recording, nothing else: {left:?}");
}

#[tokio::test]
async fn the_user_hangs_up_and_a_file_that_is_over_does() {
    let world = World::start("hangs-up").await;
    let expected = world.sim.expect_call(UserScript { hang_up_after: Some(Span::from_secs(1)), ..script() }, &[]);
    let running = world.spawn(&["--to", USER, "--json"]).await;
    let report = expected.report().await.expect("a report");
    let said = running.end().await;
    assert_eq!((said.code, said.verdict(), said.result["answered"].as_bool()), (0, "HANG_UP", Some(true)), "{:?}", said.steps);
    assert_eq!(broken(&report), Vec::<&Verdict>::new());
    assert!(!said.steps.iter().any(|s| s == "hanging up"), "{:?}", said.steps);

    let greeting = wav("greeting.wav");
    let expected = world.sim.expect_call(script(), &[]);
    let running = world.spawn(&["--to", USER, "--play", greeting.to_str().expect("text"), "--json"]).await;
    let report = expected.report().await.expect("a report");
    let said = running.end().await;
    assert_eq!((said.code, said.verdict()), (0, "HANG_UP"), "{:?}", said.steps);
    assert_eq!(broken(&report), Vec::<&Verdict>::new());
    let at = |step: &str| said.steps.iter().position(|s| s == step).unwrap_or_else(|| panic!("{step}: {:?}", said.steps));
    assert!(at("answered") < at("played") && at("played") < at("hanging up"));
}

#[tokio::test]
async fn a_user_who_declines_or_does_not_answer_has_an_exit_code_of_its_own() {
    let world = World::start("unanswered").await;
    let expected = world.sim.expect_call(UserScript { pick_up_after: None, ..script() }, &[]);
    let running = world.spawn(&["--to", USER, "--json"]).await;
    expected.report().await.expect("a report");
    let said = running.end().await;
    assert_eq!((said.code, said.verdict(), said.result["answered"].as_bool()), (11, "USER_DECLINED", Some(false)), "{:?}", said.steps);

    let sleeper = UserScript { pick_up_after: Some(Span::from_secs(60)), patience: Span::from_secs(60), ..script() };
    let expected = world.sim.expect_call(sleeper.clone(), &[]);
    let running = world.spawn(&["--to", USER, "--ring", "2", "--json"]).await;
    expected.report().await.expect("a report");
    let said = running.end().await;
    assert_eq!((said.code, said.verdict()), (10, "NOT_ANSWERED"), "{:?}", said.steps);
    assert!(said.steps.iter().any(|s| s == "ringing"), "{:?}", said.steps);

    // Ctrl-C while it rings: the call is given up, and Meta told.
    let expected = world.sim.expect_call(sleeper, &[]);
    let mut running = world.spawn(&["--to", USER, "--json"]).await;
    running.steps.push("interrupted".into());
    tokio::time::sleep(Duration::from_secs(2)).await;
    running.interrupt();
    let report = expected.report().await.expect("a report");
    let said = running.end().await;
    assert_eq!((said.code, said.verdict()), (12, "CANCELLED"), "{:?}", said.steps);
    assert!(report.timeline.iter().any(|entry| format!("{:?}", entry.what).contains("terminate")), "Meta was told");
}

#[tokio::test]
async fn without_permission_nobody_is_called_unless_the_user_allows_it_when_asked() {
    let world = World::start("permission").await;
    world.sim.set_permission(USER, Permission::None, Answer::AllowTemporarily);
    let said = world.spawn(&["--to", USER, "--json"]).await.end().await;
    assert_eq!(
        (said.code, said.verdict(), said.result["verdict"]["retry"].as_str()),
        (20, "META_138006", Some("after_fix")),
        "{:?}",
        said.steps
    );
    assert!(!said.steps.iter().any(|s| s == "calling"), "{:?}", said.steps);
    // Unchecked, it is Meta who says no.
    let said = world.spawn(&["--to", USER, "--no-check", "--json"]).await.end().await;
    assert_eq!(
        (said.code, said.verdict(), said.result["verdict"]["cause"].as_str()),
        (20, "META_138006", Some("permission")),
        "{:?}",
        said.steps
    );

    let expected = world.sim.expect_call(UserScript { hang_up_after: Some(Span::from_secs(1)), ..script() }, &[]);
    let running = world.spawn(&["--to", USER, "--ask", "May we call you?", "--json"]).await;
    let report = expected.report().await.expect("a report");
    let said = running.end().await;
    assert_eq!((said.code, said.verdict()), (0, "HANG_UP"), "{:?}", said.steps);
    assert!(report.id.starts_with("wacid."));
    let at = |step: &str| said.steps.iter().position(|s| s.starts_with(step)).unwrap_or_else(|| panic!("{step}: {:?}", said.steps));
    assert!(at("permission: no_permission") < at("the user is asked") && at("the user is asked") < at("permission: temporary"));
    assert!(at("permission: temporary") < at("calling"));

    world.sim.set_permission(USER, Permission::None, Answer::Decline);
    let said = world.spawn(&["--to", USER, "--ask", "--json"]).await.end().await;
    assert_eq!((said.code, said.verdict()), (20, "META_138006"), "{:?}", said.steps);

    for (arguments, what) in [
        (["--to", "tel:+447700900123"].as_slice(), "VOIP_ONLY"),
        (&["--to", USER, "--number", "1"], "--number"),
        (&["--to", USER, "--hang-up", "played"], "--play"),
        (&["--to", USER, "--record", "x.mp3"], ".ogg"),
        (&["--to", USER, "--play", "/nowhere.wav"], "nowhere.wav"),
    ] {
        let said = world.spawn(arguments).await.end().await;
        assert_eq!(said.code, 2, "{arguments:?}: {:?}", said.steps);
        assert!(said.steps.iter().any(|s| s.contains(what)), "{arguments:?}: {:?}", said.steps);
    }
}
