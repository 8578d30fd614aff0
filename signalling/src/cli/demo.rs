//! `tipring demo`: one whole call on loopback, and every way to break it.
//!
//! Decides: options and exit codes: 0 a working call as stated, 1 a call that failed with the stated cause, 2 usage or a demo that could not start, 3 anything else.
//! Given: nothing. Refuses: protocol, judging: the daemon is the one that `serve` runs, the judge is the simulator's oracle.

mod call;
mod garbage;
mod json;
mod ladder;
mod machine;
mod report;
mod scenario;
mod text;

pub use call::{Options, run};
pub use garbage::Thrown;
pub use ladder::{Lane, Step};
pub use report::{Cause, Check, DemoReport, Quality, Speech, Stage};
pub use scenario::{Expectation, Scenario};

use super::EXIT_CONFIG;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tipring_engine::time::Span;

/// Options of `tipring demo`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Prints the report as one JSON document.
    #[arg(long)]
    json: bool,
    /// Breaks the call in this way. `list` names all ways, `all` runs them all.
    #[arg(long, value_name = "NAME")]
    misbehave: Option<String>,
    /// Where the recording goes.
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Throws random bytes, truncated STUN, spoofed RTP and broken HTTP at every port of ours during the call.
    #[arg(long)]
    garbage: bool,
}

/// Runs the command.
pub(super) fn main(args: &Args) -> ExitCode {
    match args.misbehave.as_deref() {
        Some("list") => {
            print!("{}", if args.json { json::list() } else { text::list() });
            ExitCode::SUCCESS
        }
        Some("all") => main_all(args),
        Some(name) => match Scenario::find(name) {
            Ok(scenario) => main_one(args, Some(scenario)),
            Err(why) => refuse(&why),
        },
        None => main_one(args, None),
    }
}

fn main_one(args: &Args, scenario: Option<Scenario>) -> ExitCode {
    let options = Options { scenario, garbage: args.garbage, ..Options::new(&args.out) };
    if !args.json {
        eprintln!("{}", text::greeting(scenario));
    }
    match run(&options) {
        Ok(report) => {
            print!("{}", if args.json { json::report(&report) } else { text::report(&report, text::Style::of_stdout()) });
            ExitCode::from(report.exit_code())
        }
        Err(why) => refuse(&why),
    }
}

fn main_all(args: &Args) -> ExitCode {
    let style = text::Style::of_stdout();
    let results = run_all(&args.out, args.garbage, |scenario, result| {
        if !args.json {
            println!("{}", text::outcome(scenario, result, style));
        }
    });
    let good = results.iter().filter(|(_, result)| result.as_ref().is_ok_and(|r| r.as_expected)).count();
    if args.json {
        print!("{}", json::all(&results));
    } else {
        println!("{good} of {} ended as stated", results.len());
    }
    if good == results.len() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_UNEXPECTED) }
}

/// Runs every scenario, some at a time, each with a simulator and a daemon of its own. `each` hears of every result as it comes; the list is in the order of
/// [`Scenario::all`].
///
/// The oracle grants what a machine that carries `AT_ONCE` calls, and their judges, needs: rules that say "soon" are judged strictly by a single call.
pub fn run_all(
    out: &std::path::Path,
    garbage: bool,
    each: impl Fn(Scenario, &Result<DemoReport, String>) + Sync,
) -> Vec<(Scenario, Result<DemoReport, String>)> {
    let mut queue: Vec<Scenario> = Scenario::all().collect();
    // The longest first, or the last one would run alone.
    queue.sort_by_key(|s| std::cmp::Reverse(s.seconds_max()));
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(scenario) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let options =
                        Options { scenario: Some(*scenario), garbage, limits: relaxed(), ..Options::new(out.join(scenario.name())) };
                    let result = run(&options);
                    each(*scenario, &result);
                    results.lock().unwrap_or_else(|e| e.into_inner()).push((*scenario, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(scenario, _)| Scenario::all().position(|s| s == *scenario));
    results
}

/// Limits for a machine that has other things to do: order is judged as ever, haste is not.
pub fn relaxed() -> tipring_meta_sim::oracle::Limits {
    tipring_meta_sim::oracle::Limits {
        client_hello: Span::from_millis(1_000),
        first_rtp: Span::from_millis(1_500),
        webhook_answer: Span::from_secs(5),
        // A process that stands still loses what was to be played meanwhile; that nothing else is lost is judged in virtual time.
        lost_speech: Span::from_millis(800),
        ..Default::default()
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("tipring demo: {why}");
    ExitCode::from(EXIT_CONFIG)
}

/// Calls at a time of `--misbehave all`.
const AT_ONCE: usize = 8;
/// The verdict is not the stated one.
const EXIT_UNEXPECTED: u8 = 3;
