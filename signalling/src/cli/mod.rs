//! The command line of `tipring`.
//!
//! Decides: subcommands, exit codes (0 fine, 1 failed at run time, 2 bad usage or configuration), logs. Refuses: anything a library call could not do as well.

#[cfg(feature = "demo")]
pub mod bench;
mod call;
mod check;
#[cfg(feature = "demo")]
pub mod demo;
mod serve;

use clap::{Parser, Subcommand};
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
        Command::Check(args) => check::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::main(&args),
        #[cfg(feature = "demo")]
        Command::Bench(args) => bench::run(&args),
    }
}

/// Something is wrong with the usage or the configuration.
const EXIT_CONFIG: u8 = 2;
/// Something failed at run time.
const EXIT_FAILED: u8 = 1;
