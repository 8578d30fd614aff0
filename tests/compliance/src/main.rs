//! `cargo compliance`: which requirements are implemented, tested, refused, planned.
//!
//! Given: the lists of requirements (`tests/compliance/*.toml`) and the anchors in the Rust sources of the tree. Decides: what each
//! requirement rests on, and which anchors or promises do not hold. Refuses: to judge whether an anchor tells the truth; that is for the reader.

mod anchors;
mod report;
mod requirements;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where `--markdown` writes, from the root of the tree.
const PAGE: &str = "docs/COMPLIANCE.md";

const USAGE: &str = "usage: cargo compliance [--json | --markdown]
  (nothing)    prints the report
  --json       prints it as JSON
  --markdown   writes docs/COMPLIANCE.md
Exits with 1 when an anchor or a promise does not hold, with 2 when it cannot run.";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Does what the arguments ask. Returns whether everything holds.
fn run(arguments: &[String]) -> Result<bool, String> {
    let root = root();
    let report = report::Report::new(requirements::load(&root)?, anchors::scan(&root)?);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => print!("{}", report.text()),
        ["--json"] => println!("{}", report.json()),
        ["--markdown"] => {
            std::fs::write(root.join(PAGE), report.markdown()).map_err(|e| format!("{PAGE}: {e}"))?;
            println!("{PAGE} written");
        }
        _ => return Err(USAGE.to_owned()),
    }
    for fault in report.faults() {
        eprintln!("error: {fault}");
    }
    Ok(report.faults().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> report::Report {
        report::Report::new(requirements::load(&root()).expect("lists that can be read"), anchors::scan(&root()).expect("sources"))
    }

    #[test]
    fn every_anchor_and_every_promise_holds() {
        let faults = whole().faults().join("\n");
        assert!(faults.is_empty(), "\n{faults}\n");
    }

    #[test]
    fn the_page_in_the_tree_is_up_to_date() {
        let page = std::fs::read_to_string(root().join(PAGE)).expect(PAGE);
        assert!(page == whole().markdown(), "{PAGE} is out of date: run `cargo compliance --markdown`");
    }
}
