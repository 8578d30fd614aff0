//! The command line of `tipring`.
//!
//! Decides: subcommands, exit codes (0 fine, 1 failed at run time, 2 bad usage or configuration), logs. Refuses: anything a library call could not do as well.

#[cfg(feature = "demo")]
pub mod bench;
mod call;
mod check;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(test)]
mod deploy_tests;
mod doctor;
mod print_config;
mod serve;
mod settings;
mod signup;

use crate::verdict::Verdict;
use clap::{Parser, Subcommand};
use std::future::Future;
use std::process::ExitCode;

/// Media engine and signalling for WhatsApp Business calls.
#[derive(Parser)]
#[command(name = "tipring", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon: webhooks in, Graph calls out, media in between.
    Serve(serve::Args),
    /// Calls a user: asks for permission if wanted, plays a file, records what the user says.
    Call(call::Args),
    /// Reads and writes the calling settings of a number at Meta.
    Settings(settings::Args),
    /// The back half of Embedded Signup: from the dialog's code to a number that takes calls.
    Signup(signup::Args),
    /// Looks at everything that a call needs and that is not code: network, clock, certificate, webhook, tokens, settings. Each line passes or fails, with the fix.
    Doctor(doctor::Args),
    /// Prints the configuration as it holds, environment included, without any secret.
    PrintConfig(print_config::Args),
    /// Checks a configuration file and everything it names; tells every fault at once.
    Check(check::Args),
    /// Shows one whole call on loopback, with a simulator of Meta: no account, no network, no file needed.
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    /// Measures how many calls one core of this machine carries, beside bare UDP.
    #[cfg(feature = "demo")]
    Bench(bench::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Settings(args) => settings::run(&args),
        Command::Signup(args) => signup::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::PrintConfig(args) => print_config::run(&args),
        Command::Check(args) => check::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::main(&args),
        #[cfg(feature = "demo")]
        Command::Bench(args) => bench::run(&args),
    }
}

/// Runs a command that asks Meta.
fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(work)
}

/// Tells that Meta refused, and how the command ends by it.
fn refused(command: &str, verdict: &Verdict, json: bool) -> ExitCode {
    let details = verdict.evidence.iter().find(|(name, _)| *name == "details").map_or("", |(_, text)| text);
    if json {
        println!(
            "{}",
            serde_json::json!({ "error": { "code": verdict.code, "text": verdict.sentence, "advice": verdict.advice, "details": details } })
        );
    } else {
        eprintln!("tipring {command}: {verdict}");
        if !details.is_empty() {
            eprintln!("Meta says: {details}");
        }
    }
    ExitCode::from(verdict.exit_code(false))
}

/// Something is wrong with the usage or the configuration.
const EXIT_CONFIG: u8 = 2;
/// Something failed at run time.
const EXIT_FAILED: u8 = 1;
