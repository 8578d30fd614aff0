//! `tipring settings get|set`: calling settings of a number at Meta, with a read-back.
//!
//! Decides: options, text, exit codes: 0 as wanted, 1 Meta has something else afterwards, 2 usage or configuration, 20 to 27 Meta refused (by cause).

use super::{EXIT_CONFIG, EXIT_FAILED, check};
use crate::config::Config;
use crate::graph::settings;
use crate::shell::{GraphClient, Tenants};
use crate::verdict::Verdict;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Shows what Meta has.
    Get(GetArgs),
    /// Changes some members and leaves the others; then reads back.
    Set(SetArgs),
}

#[derive(clap::Args)]
struct Which {
    /// Configuration file (TOML; docs/CONFIG.md explains every key).
    #[arg(long, short, value_name = "FILE", env = "TIPRING_CONFIG")]
    config: PathBuf,
    /// Phone number id; may be left out if the configuration has one number.
    #[arg(long, value_name = "ID")]
    number: Option<String>,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct GetArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(clap::Args)]
#[command(after_help = "Examples:
  tipring settings set status=ENABLED callback_permission_status=ENABLED
  tipring settings set audio.additional_codecs=PCMA,PCMU srtp_key_exchange_protocol=DTLS
  tipring settings set --file hours.json          # {\"call_hours\": {...}}, or a whole `calling` object")]
struct SetArgs {
    #[command(flatten)]
    which: Which,
    /// Members as KEY=VALUE with dotted keys; a value is a word, a list with commas, or JSON.
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// A JSON file with members of `calling`; pairs win.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Shows what would change and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let which = match &args.command {
        Command::Get(get) => &get.which,
        Command::Set(set) => &set.which,
    };
    let wanted = match &args.command {
        Command::Get(_) => None,
        Command::Set(set) => match wanted(set) {
            Ok(wanted) => Some(wanted),
            Err(why) => return usage(&why),
        },
    };
    let config = match check::load(&which.config) {
        Ok(config) => config,
        Err(faults) => {
            check::report(&which.config, &faults);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let number = match pick(&config, which.number.as_deref()) {
        Ok(number) => number,
        Err(why) => return usage(why),
    };
    let dry_run = matches!(&args.command, Command::Set(set) if set.dry_run);
    let outcome = super::block_on(async {
        let tenants = Arc::new(Tenants::of(&config));
        let graph = GraphClient::new(&config.graph, tenants)?;
        Ok(act(&graph, &number, wanted.as_ref(), dry_run, which.json).await)
    });
    match outcome {
        Ok(Ok((text, is_as_wanted))) => {
            print!("{text}");
            ExitCode::from(if is_as_wanted { 0 } else { EXIT_FAILED })
        }
        Ok(Err(verdict)) => super::refused("settings", &verdict, which.json),
        Err(why) => {
            eprintln!("tipring settings: {why}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

async fn act(graph: &GraphClient, number: &str, wanted: Option<&Value>, dry_run: bool, json: bool) -> Result<(String, bool), Verdict> {
    let Some(wanted) = wanted else {
        return Ok((format!("{:#}\n", json!({ "calling": graph.settings(number).await? })), true));
    };
    let changed = graph.change_settings(number, wanted, dry_run).await?;
    let text = if json {
        format!("{}\n", changed.to_json())
    } else {
        let mut out = String::new();
        for change in &changed.changes {
            out.push_str(&format!("{}: {} -> {}\n", change.path, change.got, change.wanted));
        }
        match (changed.changes.is_empty(), dry_run, changed.left.is_empty()) {
            (true, ..) => out.push_str("nothing to change\n"),
            (_, true, _) => out.push_str("dry run: nothing was changed\n"),
            (.., true) => out
                .push_str("read back: as wanted. Phones may take up to 7 days to notice; opening the chat's info screen makes them look\n"),
            _ => changed.left.iter().for_each(|d| out.push_str(&format!("read back: {d}\n"))),
        }
        out
    };
    Ok((text, changed.left.is_empty()))
}

fn wanted(set: &SetArgs) -> Result<Value, String> {
    let mut wanted = json!({});
    if let Some(file) = &set.file {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let value: Value = serde_json::from_str(&text).map_err(|e| format!("{}: is not JSON: {e}", file.display()))?;
        wanted = value.get("calling").cloned().unwrap_or(value);
    }
    let pairs = settings::from_pairs(set.pairs.iter().map(String::as_str))?;
    wanted = settings::merge(&wanted, &pairs);
    if wanted.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err("nothing to set: write KEY=VALUE, or --file FILE".into());
    }
    let bad: Vec<String> = settings::check(&wanted).iter().map(ToString::to_string).collect();
    if bad.is_empty() { Ok(wanted) } else { Err(bad.join("\n")) }
}

/// The number that is meant.
pub(super) fn pick(config: &Config, wanted: Option<&str>) -> Result<String, &'static str> {
    match (wanted, config.numbers.as_slice()) {
        (Some(id), numbers) if numbers.iter().any(|n| n.phone_number_id == id) => Ok(id.to_owned()),
        (Some(_), _) => Err("--number is not a [[number]] of the configuration"),
        (None, [only]) => Ok(only.phone_number_id.clone()),
        (None, []) => Err("the configuration has no [[number]]"),
        (None, _) => Err("the configuration has several numbers: say --number ID"),
    }
}

fn usage(why: &str) -> ExitCode {
    eprintln!("tipring settings: {why}");
    ExitCode::from(EXIT_CONFIG)
}
