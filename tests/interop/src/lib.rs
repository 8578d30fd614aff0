//! `cargo interop -- NAME`: runs a foreign judge against the engine.
//!
//! Decides: which judge runs, and that what it needs is installed first. Refuses: judging; each judge is a file of its own and an entry in
//! `JUDGES`. A judge whose library must be compiled in is a cargo feature of the same name: the runner then starts itself again with it.
//!
//! The command is a test target without the harness of the standard library (`tests/interop.rs`), so that it shares the build of `cargo test --workspace`; there,
//! without a judge's name, nobody is run.
//!
//! Exit code: 0 when the judge found no difference, 1 when it found one, 2 when it could not be run.

mod aiortc;
mod asterisk;
mod capi;
mod chromium;
mod gateway;
mod install;
mod kamailio;
#[cfg(feature = "libsrtp")]
mod libsrtp;
mod recording;
mod rtp;
mod schemathesis;
mod str0m;
mod twilio;

use std::process::{Command, ExitCode};

/// Why a judge gave no verdict: what happened, and what to do about it.
type Failure = String;

/// Gets the remaining arguments; `Ok(true)` if no difference was found.
type Run = fn(&[String]) -> Result<bool, Failure>;

/// A foreign implementation that judges ours.
struct Judge {
    name: &'static str,
    /// What is compared with what, in one line.
    question: &'static str,
    /// Debian packages without which it cannot be built or run.
    packages: &'static [&'static str],
    /// `None`: this binary was built without it.
    run: Option<Run>,
}

const JUDGES: &[Judge] = &[
    Judge {
        name: "libsrtp",
        question: "does libsrtp protect and open the same packets, byte for byte, and drop the same ones?",
        packages: &["libclang-dev", "gcc", "g++", "make", "cmake", "pkg-config", "libc6-dev"],
        #[cfg(feature = "libsrtp")]
        run: Some(libsrtp::run),
        #[cfg(not(feature = "libsrtp"))]
        run: None,
    },
    Judge {
        name: "aiortc",
        question: "does aiortc, offering or answering, hear what it says come back?",
        packages: &[],
        run: Some(aiortc::run),
    },
    Judge {
        name: "chromium",
        question: "does a browser, offering or answering, hear its tone come back, and do its keys arrive?",
        packages: &["chromium", "chromium-driver"],
        run: Some(chromium::run),
    },
    Judge {
        name: "str0m",
        question: "does str0m, offering and answering, hear its tone come back without loss?",
        packages: &[],
        run: Some(str0m::run),
    },
    Judge {
        name: "rtp",
        question: "does FFmpeg, as the plain RTP far side of a relay, hear and is it heard, in Opus, G.711 and L16?",
        packages: &["ffmpeg"],
        run: Some(rtp::run),
    },
    Judge {
        name: "schemathesis",
        question: "does the native API ever answer with a server error, or with what its OpenAPI document does not hold?",
        packages: &[],
        run: Some(schemathesis::run),
    },
    Judge {
        name: "recording",
        question: "does FFmpeg play a recording whose daemon was killed in mid-call, to its last second?",
        packages: &["ffmpeg"],
        run: Some(recording::run),
    },
    Judge {
        name: "twilio",
        question: "does a bot of Pipecat, made for Twilio Media Streams, talk to us unchanged?",
        packages: &[],
        run: Some(twilio::run),
    },
    Judge {
        name: "kamailio",
        question: "does a Kamailio with its stock rtpengine module complete calls through our ng listener, and take the second node when the first is gone?",
        packages: &["kamailio", "sip-tester"],
        run: Some(kamailio::run),
    },
    Judge {
        name: "asterisk",
        question: "do the caller's words go through Asterisk's chan_websocket and AudioSocket and come back, and does each side's end end the other's?",
        packages: &[],
        run: Some(asterisk::run),
    },
    Judge {
        name: "capi",
        question: "do the C programs, a hundred calls among them, run clean under AddressSanitizer and valgrind?",
        packages: &["gcc", "libc6-dev", "valgrind"],
        run: Some(capi::run),
    },
];

/// Runs the judge that the command line names. `is_command`: not a filter of `cargo test`, which means other tests.
pub fn main(is_command: bool) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("list") => {
            for judge in JUDGES {
                println!("{:<10} {}", judge.name, judge.question);
            }
            Ok(true)
        }
        Some("all") => {
            // Every judge runs, even after one that failed.
            let outcomes: Vec<_> = JUDGES.iter().map(|judge| run(judge, &[])).collect();
            println!();
            for (judge, outcome) in JUDGES.iter().zip(&outcomes) {
                let verdict = match outcome {
                    Ok(true) => "clean",
                    Ok(false) => "DIFFERENCES FOUND",
                    Err(failure) => failure,
                };
                println!("{:<10} {verdict}", judge.name);
            }
            outcomes.into_iter().try_fold(true, |all, one| Ok(all & one?))
        }
        Some(name) => match JUDGES.iter().find(|judge| judge.name == name) {
            Some(judge) => run(judge, &arguments[1..]),
            None if !is_command => Ok(true),
            None => Err(format!("there is no judge called {name:?}; `cargo interop -- list` shows them")),
        },
        None if !is_command => Ok(true),
        None => Err("which judge? `cargo interop -- list` shows them, `cargo interop -- all` runs them".to_owned()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("interop: {failure}");
            ExitCode::from(2)
        }
    }
}

fn run(judge: &Judge, arguments: &[String]) -> Result<bool, Failure> {
    if let Some(run) = judge.run {
        println!("== {}: {}", judge.name, judge.question);
        install::packages(judge.name, judge.packages)?;
        return run(arguments);
    }
    install::packages(judge.name, judge.packages)?;
    // The same profile and the same features of everything else as this binary's, so that nothing is built twice.
    let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
    let feature = format!("tipring-interop/{}", judge.name);
    let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["test", "--quiet", "--workspace", "--test", "interop", "--features", &feature])
        .args(profile)
        .args(["--", judge.name])
        .args(arguments)
        .status()
        .map_err(|e| format!("cannot start cargo to build the judge {}: {e}", judge.name))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(format!("the judge {} could not be built or run ({status}); the reason is above", judge.name)),
    }
}
