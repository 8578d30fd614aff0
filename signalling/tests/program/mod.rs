//! The real program as a process of its own, for tests of what it does as a whole.

use serde_json::Value;
use std::process::Stdio;
use tipring_meta_sim::graph::Account;
use tokio::process::Command;

/// `tipring` with the words that test configurations take from the environment. It dies with its handle; its log may be read, its answers too.
pub fn tipring(account: &Account) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tipring"));
    command
        .env("VERIFY", "verify")
        .env("APP_SECRET", &account.app_secret)
        .env("TOKEN", &account.access_token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Where it listens: for webhooks, and for the API. The log says so once it runs.
#[allow(dead_code, reason = "some tests speak by the command line alone")]
pub fn addresses(entry: &Value) -> Option<(String, String)> {
    if entry["fields"]["message"] != "tipring runs" {
        return None;
    }
    let word = |name: &str| Some(entry["fields"][name].as_str()?.trim_start_matches("Some(").trim_end_matches(')').to_owned());
    Some((word("webhooks")?, word("api")?))
}
