//! Schemathesis, an API fuzzer in Python that knows nothing but the OpenAPI document: does the native API ever answer with a server error, or with what the document
//! does not hold?
//!
//! Decides: what is fuzzed, in two rounds (ids that nobody has, then ids and numbers that there are) and a last one for drain, which makes the others refuse.
//! Refuses: one check of its thirteen, `positive_data_acceptance`: the document cannot say which prompts, numbers and keys exist, so 422 for a well-formed name is right.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tipring_engine::time::Span;
use tipring_meta_sim::shell::{Sim, SimConfig};
use tipring_meta_sim::user::UserScript;
use tipring_signalling::config::{ApiConfig, ApiKey, BridgeConfig, Config, NumberConfig, RecordConfig, Scope, Secret, WebhookConfig};
use tipring_signalling::shell::Daemon;

use crate::gateway::{Case, Http, TOKEN};
use crate::{Failure, install};

/// Not asked: see the header of this file.
const EXCLUDED_CHECKS: &str = "positive_data_acceptance";

pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    let examples = match arguments {
        [] => "40",
        [count] if count.parse::<u16>().is_ok_and(|c| c > 0) => count,
        _ => return Err("schemathesis takes no argument, or how many examples it makes for each operation".to_owned()),
    };
    let python = install::python("schemathesis", &["schemathesis"])?;
    let program = python.with_file_name("schemathesis");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
    let sim = Arc::new(runtime.block_on(Sim::start(SimConfig::new("")))?);
    // The simulator works on a thread of its own for as long as this process lives.
    let worker = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    let directory = std::env::temp_dir().join(format!("tipring-schemathesis-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let daemon = Daemon::start(configure(&sim, &directory), Arc::new(|_| {})).map_err(|e| e.to_string())?;
    sim.set_webhook_url(format!("http://{}/webhook", daemon.webhook_addr()));
    let base = format!("http://{}", daemon.api_addr().ok_or("the daemon has no API")?);

    let mut clean = true;
    let fuzz = |name: &str, options: &[&str], config: Option<&Path>| judge(&program, name, &base, examples, options, config);
    let not_drain = ["--exclude-path", "/v1/node/drain"];
    clean &= fuzz("ids that nobody has", &not_drain, None)?;

    // A user who calls and waits, and users who pick up whenever one is called.
    let caller = Arc::clone(&sim);
    let waiting = UserScript { hang_up_after: None, patience: Span::from_secs(110), ..UserScript::default() };
    worker.spawn(async move { caller.call(waiting, &[]).await });
    for _ in 0..200 {
        drop(sim.expect_call(UserScript { hang_up_after: Some(Span::from_secs(1)), ..UserScript::default() }, &[]));
    }
    let http = Http::new()?;
    let id = offered(&http, &base)?;
    let settings = directory.join("schemathesis.toml");
    let text = format!("[parameters]\nid = \"{id}\"\nnumber_id = \"{}\"\n", sim.account().phone_number_id);
    std::fs::write(&settings, text).map_err(|e| format!("{}: {e}", settings.display()))?;
    clean &= fuzz("a call and a number that there are", &not_drain, Some(&settings))?;
    clean &= fuzz("drain", &["--include-path", "/v1/node/drain"], None)?;
    let left = http.ask("GET", &format!("{base}/v1/node"), None)?;
    println!("   the node afterwards: {}", left.text);
    clean &= left.status == 200;
    daemon.shutdown();
    let _ = std::fs::remove_dir_all(&directory);
    Ok(clean)
}

/// The id of the call that waits, once it is there.
#[expect(clippy::disallowed_methods, reason = "a judge waits for real processes; nothing is asserted about time")]
fn offered(http: &Http, base: &str) -> Result<String, Failure> {
    for _ in 0..100 {
        let calls = http.ask("GET", &format!("{base}/v1/calls?state=offered"), None)?.json();
        if let Some(id) = calls["calls"][0]["id"].as_str() {
            return Ok(id.to_owned());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Err("the simulated user's call never arrived".to_owned())
}

fn configure(sim: &Sim, directory: &Path) -> Config {
    let account = sim.account();
    let mut api = ApiConfig::new(vec![ApiKey { name: "fuzz".into(), token: Secret::new(TOKEN), scopes: Scope::ALL.to_vec() }]);
    api.listen = "127.0.0.1:0".parse().expect("an address");
    api.token_directory = Some(directory.to_owned());
    let mut config = Config::on_loopback(37_000..=37_999);
    config.api = Some(api);
    config.engine.rtp_targets = vec!["127.0.0.0/8".parse().expect("a range")];
    config.graph.base_url = sim.graph_url();
    config.webhook = Some(WebhookConfig::new(Secret::new("verify"), vec![Secret::new(account.app_secret.as_str())]));
    config.numbers = vec![NumberConfig {
        phone_number_id: account.phone_number_id.clone(),
        access_token: Secret::new(account.access_token.as_str()),
        keying: Default::default(),
        bridge: BridgeConfig::ECHO,
        waits: true,
        ..NumberConfig::new("", Secret::new(""))
    }];
    config.record = Some(RecordConfig { directory: directory.join("recordings"), ogg: true, wav: false });
    config
}

/// One round; true without a finding.
fn judge(program: &PathBuf, name: &str, base: &str, examples: &str, options: &[&str], config: Option<&Path>) -> Result<bool, Failure> {
    let mut command = Command::new(program);
    if let Some(config) = config {
        command.arg("--config-file").arg(config);
    }
    command.args(["run", &format!("{base}/v1/openapi.json"), "--url", base, "--header", &format!("Authorization: Bearer {TOKEN}")]);
    command.args(["--checks", "all", "--exclude-checks", EXCLUDED_CHECKS, "--max-examples", examples, "--seed", "7", "--no-color"]);
    let output = command.args(options).stderr(Stdio::inherit()).output().map_err(|e| format!("cannot start {}: {e}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut case = Case::new(name);
    let line = |start: &str| text.lines().map(str::trim).find(|l| l.starts_with(start)).unwrap_or("?").to_owned();
    let generated = text.lines().map(str::trim).find(|l| l.contains(" generated")).unwrap_or("no case").to_owned();
    case.fact(line("Tested:"));
    case.check(output.status.success(), generated);
    if !output.status.success() {
        // What was found, with the command that repeats it.
        println!("{text}");
    }
    Ok(case.print())
}
