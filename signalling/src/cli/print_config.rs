//! `tipring print-config`: the configuration as it holds, file and environment together.
//!
//! Decides: text, exit codes (0 fine, 2 a fault). Refuses: to show a secret: references (`env:NAME`, `file:PATH`) stand as they are, anything else in the place of a
//! secret is masked.

use super::{EXIT_CONFIG, check};
use crate::config::overrides_from_environment;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Configuration file (TOML; docs/CONFIG.md explains every key).
    #[arg(long, short, value_name = "FILE", env = "TIPRING_CONFIG")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let text = std::fs::read_to_string(&args.config).unwrap_or_default();
    match merged(&text, &overrides_from_environment()) {
        Ok(shown) => print!("{shown}"),
        Err(why) => eprintln!("tipring print-config: {}: {why}", args.config.display()),
    }
    // What is shown may still be wrong; then it says how.
    match check::load(&args.config) {
        Ok(_) => ExitCode::SUCCESS,
        Err(faults) => {
            check::report(&args.config, &faults);
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn merged(text: &str, overrides: &[(String, String)]) -> Result<String, String> {
    let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.message().to_owned())?;
    let mut notes = String::new();
    for (name, value) in overrides {
        let path: Vec<String> = name.trim_start_matches("TIPRING__").split("__").map(str::to_ascii_lowercase).collect();
        let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
        let value = parsed.filter(|v| !v.is_table() && !v.is_datetime()).unwrap_or_else(|| toml::Value::String(value.clone()));
        if put(&mut table, &path, value) {
            notes.push_str(&format!("# {} is from {name}\n", path.join(".")));
        }
    }
    mask(&mut table);
    Ok(format!("{notes}{}", toml::to_string_pretty(&table).map_err(|e| e.to_string())?))
}

fn put(table: &mut toml::Table, path: &[String], value: toml::Value) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return true;
    }
    let inner = table.entry(first.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    match inner {
        toml::Value::Table(inner) => put(inner, rest, value),
        toml::Value::Array(entries) => {
            let entry = rest[0].parse::<usize>().ok().and_then(|at| entries.get_mut(at)).and_then(toml::Value::as_table_mut);
            entry.is_some_and(|entry| put(entry, &rest[1..], value))
        }
        _ => false,
    }
}

/// Masks what stands where a secret should be, and is no reference to one.
fn mask(table: &mut toml::Table) {
    for (name, value) in table.iter_mut() {
        let is_secret = SECRETS.iter().any(|part| name.contains(part));
        match value {
            toml::Value::Table(inner) => mask(inner),
            toml::Value::Array(items) => {
                for item in items {
                    match item {
                        toml::Value::Table(inner) => mask(inner),
                        toml::Value::String(text) if is_secret => hide(text),
                        _ => {}
                    }
                }
            }
            toml::Value::String(text) if is_secret => hide(text),
            _ => {}
        }
    }
}

fn hide(text: &mut String) {
    if !text.starts_with("env:") && !text.starts_with("file:") {
        *text = "(masked: a secret must not stand here)".to_owned();
    }
}

/// Parts of names of keys that hold secrets.
const SECRETS: [&str; 4] = ["token", "secret", "salt", "password"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_and_secrets_are_masked() {
        let text = "[engine]\nports = \"1-2\"\n[webhook]\napp_secrets = [\"env:A\", \"leaked-secret\"]\nverify_token = \"leaked-token\"\n[[number]]\naccess_token = \"file:/x\"\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let overrides = [
            pair("TIPRING__ENGINE__PORTS", "40000-40099"),
            pair("TIPRING__NUMBER__0__ANSWER", "wait"),
            pair("TIPRING__ENGINE__DRAIN_S", "7"),
            pair("TIPRING__NUMBER__9__ANSWER", "x"),
        ];
        let shown = merged(text, &overrides).expect("text");
        let table: toml::Table = shown.parse().expect("TOML");
        assert_eq!(table["engine"]["ports"].as_str(), Some("40000-40099"));
        assert_eq!(table["engine"]["drain_s"].as_integer(), Some(7));
        assert_eq!(table["number"][0]["answer"].as_str(), Some("wait"));
        assert!(!shown.contains("leaked") && shown.contains("env:A") && shown.contains("file:/x"), "{shown}");
        assert!(shown.contains("# engine.ports is from TIPRING__ENGINE__PORTS") && !shown.contains("TIPRING__NUMBER__9"), "{shown}");
    }
}
