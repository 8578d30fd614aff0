//! `tipring settings` and `tipring signup` as processes of their own, with the simulator as Meta: what is written is read back, and each refusal has its exit code.
#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods, reason = "a process of its own runs on the wall clock; nothing is asserted about it")]

mod program;

use program::tipring;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::office::{APP_ID, PIN};
use tipring_meta_sim::shell::{Sim, SimConfig};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    sim: Sim,
    directory: PathBuf,
}

impl World {
    async fn start(name: &str) -> Self {
        let sim = Sim::start(SimConfig::new("")).await.expect("a simulator");
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("settings-{name}"));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        let config = format!(
            "[graph]\nbase_url = \"{}\"\n[webhook]\nverify_token = \"env:VERIFY\"\napp_secrets = [\"env:APP_SECRET\"]\n[[number]]\nphone_number_id = \"{}\"\naccess_token = \"env:TOKEN\"\n",
            sim.graph_url(),
            sim.account().phone_number_id,
        );
        std::fs::write(directory.join("tipring.toml"), config).expect("a configuration");
        Self { sim, directory }
    }

    /// Runs the command; its exit code, standard output and standard error.
    async fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let account = self.sim.account();
        let mut command = tipring(account);
        command.args(arguments).env("TIPRING_CONFIG", self.directory.join("tipring.toml")).env("PIN", PIN).stdin(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("standard input");
        // A command that refuses its arguments does not read.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("an end in time").expect("output");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test]
async fn settings_are_written_and_read_back() {
    let world = World::start("rw").await;
    let (code, out, _) = world.run(&["settings", "get"], "").await;
    assert_eq!((code, parse(&out)["calling"]["status"].as_str()), (0, Some("DISABLED")));

    let (code, out, _) = world.run(&["settings", "set", "status=ENABLED", "audio.additional_codecs=pcma", "--dry-run"], "").await;
    assert_eq!(code, 0);
    assert!(out.contains("status: \"DISABLED\" -> \"ENABLED\"") && out.contains("dry run"), "{out}");
    assert_eq!(world.sim.office().calling()["status"], "DISABLED");

    let (code, out, errors) =
        world.run(&["settings", "set", "status=ENABLED", "audio.additional_codecs=pcma", "srtp_key_exchange_protocol=SDES"], "").await;
    assert_eq!(code, 0, "{errors}");
    assert!(out.contains("read back: as wanted"), "{out}");
    assert_eq!(world.sim.office().calling()["audio"]["additional_codecs"], json!(["PCMA"]));

    // Hours from a file; and the SIP servers that make Meta forget SDES, which is said again.
    let hours = world.directory.join("hours.json");
    let text = json!({"calling": {"call_hours": {"status": "ENABLED", "timezone_id": "Europe/London",
        "weekly_operating_hours": [{"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1730"}],
        "holiday_schedule": [{"date": "2026-12-25", "start_time": "0000", "end_time": "2359"}]}}});
    std::fs::write(&hours, text.to_string()).expect("a file");
    let hours = hours.to_str().expect("text").to_owned();
    let sip = "sip={\"status\":\"ENABLED\",\"servers\":[{\"hostname\":\"sip.acme.example\"}]}";
    let (code, out, errors) = world.run(&["settings", "set", "--file", &hours, sip, "--json"], "").await;
    assert_eq!((code, parse(&out)["differences"].as_array().map(Vec::len)), (0, Some(0)), "{out} {errors}");
    {
        let office = world.sim.office();
        assert_eq!(office.calling()["srtp_key_exchange_protocol"], "SDES", "what nobody asked to change is as it was");
        assert_eq!(office.calling()["call_hours"]["holiday_schedule"][0]["date"], "2026-12-25");
        assert_eq!(office.calling()["audio"]["additional_codecs"], json!(["PCMA"]), "and so are the others");
    }
    let (code, out, _) = world.run(&["settings", "set", "status=enabled"], "").await;
    assert_eq!((code, out.as_str()), (0, "nothing to change\n"));

    for (arguments, what) in [
        (["settings", "set", "status=ON"], "status: write one of"),
        (["settings", "set", "video=1"], "is not a calling setting"),
        (["settings", "set", "status"], "KEY=VALUE"),
    ] {
        let (code, _, errors) = world.run(&arguments, "").await;
        assert!(code == 2 && errors.contains(what), "{arguments:?}: {errors}");
    }
}

#[tokio::test]
async fn meta_may_refuse_settings_and_says_why() {
    let world = World::start("refused").await;
    world.sim.office().break_it("subscription");
    let (code, _, errors) = world.run(&["settings", "set", "status=ENABLED"], "").await;
    assert!(code == 23 && errors.contains("META_138018") && errors.contains("subscribe the app"), "{code} {errors}");
    world.sim.office().break_it("tier");
    let (code, out, _) = world.run(&["settings", "set", "status=ENABLED", "--json"], "").await;
    assert_eq!((code, parse(&out)["error"]["code"].as_str()), (23, Some("META_138018")));
}

#[tokio::test]
async fn a_code_of_the_dialog_becomes_a_number_that_takes_calls() {
    let world = World::start("signup").await;
    world.sim.office().clear();
    let account = world.sim.account().clone();
    let graph = world.sim.graph_url();
    let token = world.directory.join("number.token");
    let arguments = |pin: &'static str, file: &str| -> Vec<String> {
        let text = [
            "signup",
            "--app-id",
            APP_ID,
            "--app-secret",
            "env:APP_SECRET",
            "--waba",
            &account.waba_id,
            "--number",
            &account.phone_number_id,
            "--pin",
            pin,
            "--token-file",
            file,
            "--graph",
            &graph,
            "--json",
            "callback_permission_status=ENABLED",
        ];
        text.map(str::to_owned).to_vec()
    };
    let run = async |arguments: Vec<String>, code: &str| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        world.run(&arguments, code).await
    };
    let code = world.sim.office().issue_code(world.sim.now());
    let (exit, out, errors) = run(arguments("env:PIN", token.to_str().expect("text")), &code).await;
    assert_eq!(exit, 0, "{out} {errors}");
    let steps = parse(&out)["steps"].as_array().expect("steps").clone();
    assert!(steps.len() == 6 && steps.iter().all(|s| s["ok"] == true), "{out}");
    assert_eq!(world.sim.office().calling()["status"], "ENABLED");
    assert_eq!(world.sim.office().calling()["callback_permission_status"], "ENABLED");
    let kept = std::fs::read_to_string(&token).expect("the token");
    assert!(
        kept.starts_with("business-token-") && !out.contains(kept.trim()) && !errors.contains(kept.trim()),
        "in the file and nowhere else"
    );
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(token.metadata().expect("the file").permissions().mode() & 0o777, 0o600);

    // The file is there already: the next code is not spent.
    let next = world.sim.office().issue_code(world.sim.now());
    let (exit, _, errors) = run(arguments("env:PIN", token.to_str().expect("text")), &next).await;
    assert!(exit == 2 && errors.contains("exists already"), "{errors}");
    // Spent once, and refused with what to do; and one that is too old.
    let other = world.directory.join("other.token");
    let (exit, out, _) = run(arguments("env:PIN", other.to_str().expect("text")), &code).await;
    assert!(exit == 27 && out.contains("once") && !other.exists(), "{exit} {out}");
    let old = world.sim.office().issue_code(Time::ZERO);
    if world.sim.now().since(Time::ZERO) > Span::from_secs(30) {
        let (exit, out, _) = run(arguments("env:PIN", other.to_str().expect("text")), &old).await;
        assert!(exit == 27 && out.contains("30 s"), "{exit} {out}");
    }
    // A wrong pin stops before the settings; the token is kept, for the code is spent.
    let (exit, out, _) = run(arguments("env:VERIFY", other.to_str().expect("text")), &next).await;
    assert_eq!(exit, 2, "not six digits: {out}");
    std::fs::write(world.directory.join("pin"), "111111").expect("a pin");
    let pin: &'static str = Box::leak(format!("file:{}", world.directory.join("pin").display()).into_boxed_str());
    let (exit, out, _) = run(arguments(pin, other.to_str().expect("text")), &next).await;
    let steps = parse(&out)["steps"].as_array().expect("steps").clone();
    assert!(exit == 1 && other.exists(), "{exit} {out}");
    assert_eq!(
        (steps.len(), steps[3]["step"].as_str(), steps[3]["code"].as_str()),
        (4, Some("register_number"), Some("META_133005")),
        "{out}"
    );
}

/// Each line passes with a good world, and each thing that is broken fails its own line, with a fix.
#[tokio::test]
async fn the_doctor_finds_what_is_broken_and_nothing_else() {
    let world = World::start("doctor").await;
    world.run(&["settings", "set", "status=ENABLED"], "").await;
    let config = world.directory.join("tipring.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    std::fs::write(&config, format!("[http]\nlisten = \"127.0.0.1:0\"\n[engine]\naddresses = [\"127.0.0.1\"]\nallow_loopback = true\nports = \"35200-37299\"\n{text}")).expect("a file");
    // What Meta does with the callback URL needs somebody behind it.
    let account = world.sim.account().clone();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_tipring"))
        .args(["serve", "--config"])
        .arg(&config)
        .env("VERIFY", "verify")
        .env("APP_SECRET", &account.app_secret)
        .env("TOKEN", &account.access_token)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the daemon starts");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(daemon.stderr.take().expect("standard error")));
    let address = loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a word in time").expect("text").expect("it runs");
        let plain: String = ["\u{1b}[3m", "\u{1b}[0m", "\u{1b}[2m"].iter().fold(line, |line, code| line.replace(code, ""));
        if let Some(address) = plain.split("webhooks=").nth(1).and_then(|rest| rest.split(' ').next()) {
            break address.to_owned();
        }
    };
    // Its log must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    world.sim.office().set_callback_url(&format!("http://{address}/webhook"));
    let stun = stun_server().await;
    let look = async || {
        let (code, out, errors) = world.run(&["doctor", "--stun", &stun, "--json"], "").await;
        assert!(errors.is_empty() || code != 2, "{errors}");
        let checks = parse(&out)["checks"].as_array().expect("checks").clone();
        let with = |status: &str| -> Vec<String> {
            checks
                .iter()
                .filter(|c| c["status"] == status)
                .map(|c| c["name"].as_str().expect("a name").split([' ']).next().expect("a word").to_owned())
                .collect()
        };
        assert!(checks.iter().all(|c| (c["status"] == "fail") != c["fix"].as_str().expect("a fix").is_empty()), "{out}");
        assert!(!out.contains(&account.access_token) && !out.contains(&account.app_secret), "no secret is shown");
        (code, with("pass"), with("fail"), out)
    };
    let (code, passed, failed, out) = look().await;
    assert_eq!((code, failed.len()), (0, 0), "{out}");
    for name in ["configuration", "addresses", "UDP", "clock", "token", "webhook", "subscription", "calling", "eligibility", "payment"] {
        assert!(passed.iter().any(|p| p == name), "{name}: {passed:?}");
    }
    for (what, name) in
        [("fields", "webhook"), ("scope", "token"), ("tier", "eligibility"), ("funding", "payment"), ("subscription", "subscription")]
    {
        world.sim.office().break_it(what);
        let (code, _, failed, out) = look().await;
        assert!(code == 1 && failed.iter().any(|f| f == name), "{what}: {out}");
    }
    daemon.kill().await.expect("it ends");
    let (code, _, failed, out) = look().await;
    assert!(code == 1 && failed.len() == 6, "nobody is behind the URL any more: {out}");
    let (code, out, _) = world.run(&["doctor", "--offline", "--stun", "127.0.0.1:9"], "").await;
    assert!(code == 1 && out.contains("fail  UDP by STUN 127.0.0.1:9: no answer"), "{out}");
}

//= meta#R-15 type=test
#[tokio::test]
async fn a_secret_of_another_app_than_the_tokens_is_told() {
    let world = World::start("other-app").await;
    let config = world.directory.join("tipring.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    // VERIFY is a secret, but not the one of the app that made the token.
    std::fs::write(&config, text.replace("env:APP_SECRET", "env:VERIFY")).expect("a file");
    let (code, out, _) = world.run(&["doctor", "--json"], "").await;
    let checks = parse(&out)["checks"].as_array().expect("checks").clone();
    let told =
        checks.iter().find(|c| c["detail"].as_str().is_some_and(|detail| detail.contains("is the secret of the app that made the token")));
    assert!(code == 1 && told.is_some_and(|c| c["status"] == "fail" && !c["fix"].as_str().expect("a fix").is_empty()), "{code} {out}");
}

/// Answers one kind of request: where are you seen?
async fn stun_server() -> String {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = socket.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        let mut buffer = [0; 1_500];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let std::net::SocketAddr::V4(seen) = from else { continue };
            if len < 20 {
                continue;
            }
            let mut answer = vec![0x01, 0x01, 0x00, 0x0c];
            answer.extend_from_slice(&buffer[4..20]);
            let port = seen.port() ^ 0x2112;
            answer.extend_from_slice(&[0x00, 0x20, 0x00, 0x08, 0x00, 0x01]);
            answer.extend_from_slice(&port.to_be_bytes());
            answer.extend(seen.ip().octets().iter().zip([0x21, 0x12, 0xa4, 0x42]).map(|(a, b)| a ^ b));
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}
