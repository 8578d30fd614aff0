//! `tipring check`: every fault of a configuration at once.

use super::EXIT_CONFIG;
use crate::config::{Config, Fault, ProcessSecrets, overrides_from_environment};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Configuration file (TOML; docs/CONFIG.md explains every key).
    #[arg(long, short, value_name = "FILE", env = "TIPRING_CONFIG")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match load(&args.config) {
        Ok(config) => {
            println!(
                "{}: fine: {} number(s), Direct mode {}",
                args.config.display(),
                config.numbers.len(),
                if config.direct.is_some() { "on" } else { "off" }
            );
            ExitCode::SUCCESS
        }
        Err(faults) => {
            report(&args.config, &faults);
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Reads a file and checks it with everything it names on disk.
pub(super) fn load(path: &Path) -> Result<Config, Vec<Fault>> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        vec![Fault {
            path: String::new(),
            line: None,
            what: format!("cannot be read: {e}"),
            fix: "name an existing file with --config FILE".into(),
        }]
    })?;
    let mut config = Config::from_toml_with(&text, &overrides_from_environment(), &ProcessSecrets)?;
    config.source = Some(path.to_owned());
    let faults = crate::shell::preflight(&config);
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

pub(super) fn report(path: &Path, faults: &[Fault]) {
    for fault in faults {
        eprintln!("{}: {fault}", path.display());
    }
    eprintln!("{} fault(s)", faults.len());
}
