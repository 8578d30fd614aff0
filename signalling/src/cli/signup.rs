//! `tipring signup`: the back half of Embedded Signup, from the dialog's code to a number that takes calls.
//!
//! Decides: options, text, exit codes: 0 every step worked, 1 a step failed otherwise, 2 usage, 20 to 27 Meta refused (by cause). The code comes by standard input: it
//! must not stand in a list of processes. Refuses: to print a token.

use super::EXIT_CONFIG;
use crate::config::{Config, GraphConfig, ProcessSecrets, Secret, resolve_secret};
use crate::graph::settings;
use crate::graph::signup::{Done, Signup, Step};
use crate::shell::{GraphClient, Tenants, TokenFile, TokenSource, sign_up};
use serde_json::json;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(clap::Args)]
#[command(after_help = "Example, within 30 s of the dialog:
  tipring signup --app-id 700 --app-secret env:APP_SECRET --waba 102 --number 106 --pin env:PIN --token-file 106.token callback_permission_status=ENABLED < code")]
pub(super) struct Args {
    /// The app that hosted the dialog.
    #[arg(long, value_name = "ID")]
    app_id: String,
    /// Its secret, as env:NAME or file:PATH.
    #[arg(long, value_name = "REFERENCE")]
    app_secret: String,
    /// WhatsApp Business Account id of the dialog's message.
    #[arg(long, value_name = "ID")]
    waba: String,
    /// Phone number id of the dialog's message.
    #[arg(long, value_name = "ID")]
    number: String,
    /// Six digits of the number's two-step verification, as env:NAME or file:PATH; without it the number is not registered.
    #[arg(long, value_name = "REFERENCE")]
    pin: Option<String>,
    /// Where the business token goes; the file must not exist.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Graph's address.
    #[arg(long, value_name = "URL", default_value = "https://graph.facebook.com")]
    graph: String,
    /// Graph's version.
    #[arg(long, value_name = "VERSION")]
    graph_version: Option<String>,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
    /// Calling settings beyond status=ENABLED, as in `tipring settings set`.
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let usage = |why: &str| {
        eprintln!("tipring signup: {why}");
        ExitCode::from(EXIT_CONFIG)
    };
    let ready = match prepare(args) {
        Ok(ready) => ready,
        Err(why) => return usage(&why),
    };
    let (signup, source) = ready;
    let mut config = GraphConfig { base_url: args.graph.clone(), ..GraphConfig::default() };
    if let Some(version) = &args.graph_version {
        config.version.clone_from(version);
    }
    let outcome = super::block_on(async {
        let graph = GraphClient::new(&config, Arc::new(Tenants::of(&Config::default())))?;
        Ok(sign_up(&graph, &signup, &source).await)
    });
    let done = match outcome {
        Ok(done) => done,
        Err(why) => return usage(&why),
    };
    let is_kept = done.iter().any(|d| d.step == Step::Exchange && d.failure.is_none());
    let failure = done.iter().find_map(|d| d.failure.as_ref());
    if args.json {
        let steps: Vec<_> = done.iter().map(Done::to_json).collect();
        println!("{}", json!({ "steps": steps, "token_file": is_kept.then_some(&args.token_file) }));
    } else {
        for d in &done {
            match &d.failure {
                None => println!("ok    {}{}", d.step.name(), if d.note.is_empty() { String::new() } else { format!(" ({})", d.note) }),
                Some(verdict) => println!("fail  {}: {verdict}", d.step.name()),
            }
        }
        if is_kept {
            println!(
                "\n[[number]]\nphone_number_id = \"{}\"\naccess_token = \"file:{}\"",
                signup.phone_number_id,
                args.token_file.display()
            );
        }
    }
    ExitCode::from(failure.map_or(0, |verdict| verdict.exit_code(false)))
}

fn prepare(args: &Args) -> Result<(Signup, TokenSource), String> {
    let secret = |name: &str, reference: &str| {
        resolve_secret(reference, &ProcessSecrets).map_err(|(what, fix)| format!("--{name}: {what}\n    fix: {fix}"))
    };
    let app_secret = secret("app-secret", &args.app_secret)?;
    let pin = args.pin.as_deref().map(|reference| secret("pin", reference)).transpose()?;
    let signup = Signup {
        app_id: args.app_id.clone(),
        waba_id: args.waba.clone(),
        phone_number_id: args.number.clone(),
        pin,
        calling: settings::from_pairs(args.pairs.iter().map(String::as_str))?,
    };
    signup.check()?;
    // Before the code is spent on a token that cannot be kept.
    if args.token_file.exists() {
        return Err(format!("{} exists already; name another --token-file", args.token_file.display()));
    }
    let file = TokenFile::at(args.token_file.clone());
    file.check()?;
    let mut code = String::new();
    std::io::stdin()
        .take(CODE_BYTES_MAX)
        .read_to_string(&mut code)
        .map_err(|e| format!("the code cannot be read from standard input: {e}"))?;
    match code.trim() {
        "" => Err("standard input holds no code; it comes from the dialog's callback".into()),
        code => Ok((signup, TokenSource::Code { app_secret, code: Secret::new(code), file })),
    }
}

/// Real codes have some 300 bytes.
const CODE_BYTES_MAX: u64 = 8 * 1_024;
