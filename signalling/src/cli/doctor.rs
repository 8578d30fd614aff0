//! `tipring doctor`: everything that a call needs and that is not code, looked at one by one; each line passes or fails, with what to do.
//!
//! Decides: what is looked at and in which order, text, exit codes: 0 nothing failed, 1 something did, 2 usage or configuration. Given: the configuration. Refuses: to
//! change anything, to call anybody, and to show a secret.

mod local;
mod meta;

use super::{EXIT_CONFIG, EXIT_FAILED, check};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(
    after_help = "Example: tipring doctor --config tipring.toml --stun 198.51.100.3:3478 --webhook-url https://calls.acme.example/webhook"
)]
pub(super) struct Args {
    /// Configuration file (TOML; docs/CONFIG.md explains every key).
    #[arg(long, short, value_name = "FILE", env = "TIPRING_CONFIG")]
    config: PathBuf,
    /// A STUN server, for what the network makes of our UDP; default: engine.stun_servers.
    #[arg(long, value_name = "ADDRESS:PORT")]
    stun: Vec<SocketAddr>,
    /// The callback URL that Meta was given; default: the one that Meta tells. The daemon must run behind it.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// Leaves out what needs Meta.
    #[arg(long)]
    offline: bool,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
}

/// What came of one look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Pass,
    Fail,
    /// Could not be looked at, or need not.
    Skip,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// One line.
struct Line {
    status: Status,
    name: String,
    detail: String,
    /// What to do; empty unless it failed.
    fix: String,
}

/// The lines so far.
#[derive(Default)]
struct Report {
    lines: Vec<Line>,
}

impl Report {
    fn pass(&mut self, name: &str, detail: impl Into<String>) {
        self.lines.push(Line { status: Status::Pass, name: name.into(), detail: detail.into(), fix: String::new() });
    }

    fn fail(&mut self, name: &str, detail: impl Into<String>, fix: impl Into<String>) {
        self.lines.push(Line { status: Status::Fail, name: name.into(), detail: detail.into(), fix: fix.into() });
    }

    fn skip(&mut self, name: &str, detail: impl Into<String>) {
        self.lines.push(Line { status: Status::Skip, name: name.into(), detail: detail.into(), fix: String::new() });
    }

    fn failed(&self) -> usize {
        self.lines.iter().filter(|line| line.status == Status::Fail).count()
    }

    fn to_json(&self) -> String {
        let lines: Vec<_> =
            self.lines.iter().map(|l| json!({ "status": l.status.name(), "name": l.name, "detail": l.detail, "fix": l.fix })).collect();
        format!("{}\n", json!({ "checks": lines, "failed": self.failed() }))
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            out.push_str(&format!("{}  {}: {}\n", line.status.name(), line.name, line.detail));
            if line.status == Status::Fail {
                out.push_str(&format!("      fix: {}\n", line.fix));
            }
        }
        out.push_str(&match self.failed() {
            0 => "nothing failed\n".to_owned(),
            n => format!("{n} of {} failed\n", self.lines.len()),
        });
        out
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(faults) => {
            check::report(&args.config, &faults);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let mut report = Report::default();
    report.pass(
        "configuration",
        format!("{} number(s), Direct mode {}", config.numbers.len(), if config.direct.is_some() { "on" } else { "off" }),
    );
    local::look(&config, &args.stun, &mut report);
    if args.offline || config.numbers.is_empty() {
        report.skip("Meta", if args.offline { "left out by --offline" } else { "no [[number]] is configured" });
    } else if let Err(why) = super::block_on(async {
        meta::look(&config, args.webhook_url.as_deref(), &mut report).await;
        Ok(())
    }) {
        report.fail("Meta", why, "look at the machine's limits");
    }
    print!("{}", if args.json { report.to_json() } else { report.to_text() });
    ExitCode::from(if report.failed() == 0 { 0 } else { EXIT_FAILED })
}
