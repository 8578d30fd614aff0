//! `tipring settings` and `tipring signup` as processes of their own, with the simulator as Meta: what is written is read back, and each refusal has its exit code.
#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods, reason = "a process of its own runs on the wall clock; nothing is asserted about it")]

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
        let mut child = Command::new(env!("CARGO_BIN_EXE_tipring"))
            .args(arguments)
            .env("TIPRING_CONFIG", self.directory.join("tipring.toml"))
            .env("VERIFY", "verify")
            .env("APP_SECRET", &account.app_secret)
            .env("TOKEN", &account.access_token)
            .env("PIN", PIN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the command starts");
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
