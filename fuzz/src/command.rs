//! The command line, and one process per target.

#![allow(clippy::disallowed_methods, reason = "an instrument reads the clock and waits for its processes")]

use crate::golden::root;
use crate::lines;
use crate::worker::{self, Job};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A body and what it is fed with.
#[derive(Clone, Copy)]
pub struct Target {
    /// Also the name of its corpus.
    pub name: &'static str,
    /// Must not panic.
    pub body: fn(&[u8]),
    /// File in `fuzz/dictionaries`.
    pub dictionary: Option<&'static str>,
    /// Longest input worth trying.
    pub bytes_max: usize,
}

/// Every target there is.
pub fn targets() -> Vec<Target> {
    let bodies = [tipring_engine::fuzzing::TARGETS, tipring_signalling::fuzzing::TARGETS, tipring_meta_sim::fuzzing::TARGETS].concat();
    let describe = |(name, body): (&'static str, fn(&[u8]))| {
        let (dictionary, bytes_max) = match name {
            "stun" | "ice_agent" => ("stun", 1_500),
            "dtls_gate" | "dtls_client" => ("dtls", 4_096),
            "sdp" | "sim_sdp" => ("sdp", 6_000),
            "webhook" | "sim_graph" | "signature" | "graph_reply" => ("json", 6_000),
            "direct" => ("sdp", 6_000),
            "config" => ("toml", 4_096),
            "session" => ("rtp", 1_201),
            "wav" | "ogg_opus" => ("audio", 4_096),
            "sim_wire" => ("stun", 1_500),
            _ => ("rtp", 2_048),
        };
        Target { name, body, dictionary: Some(dictionary), bytes_max }
    };
    bodies.into_iter().map(describe).collect()
}

const USAGE: &str = "\
cargo fuzz-all -- [--seconds N] [--target NAME]... [--seed S] [--jobs N] [--seeds DIR | --keep]
cargo fuzz-all -- --replay FILE...      runs inputs once; the folder or the front of the file name is the target
cargo fuzz-all -- --list
cargo fuzz-lines [--missed] [--seeds DIR]   lines of the parsers that the committed inputs reach, by llvm-cov

--seconds N   per target, 20 unless told          --jobs N   processes at a time, 1 unless told
--keep        writes the smallest inputs that reach every edge found to fuzz/corpus/NAME
--seeds DIR   reads others' packets below DIR first (a folder's name says for which targets); never with --keep: they are not committed";

struct Arguments {
    seconds: u64,
    names: Vec<String>,
    seed: u64,
    jobs: usize,
    keep: bool,
    seeds: Option<PathBuf>,
    replay: Vec<PathBuf>,
    replay_all: bool,
    lines: bool,
    missed: bool,
    worker: bool,
}

/// What an orderly process says at its end.
const RESULT: &str = "result ";

/// Runs it.
pub fn main() -> ExitCode {
    let arguments = match read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if !arguments.replay.is_empty() {
        return replay(&arguments.replay);
    }
    if arguments.replay_all {
        lines::replay_all(arguments.seeds.as_deref());
        return ExitCode::SUCCESS;
    }
    if arguments.lines {
        return match lines::report(arguments.seeds.as_deref(), arguments.missed) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::from(2)
            }
        };
    }
    let chosen: Vec<Target> =
        targets().into_iter().filter(|t| arguments.names.is_empty() || arguments.names.iter().any(|n| n == t.name)).collect();
    if arguments.worker {
        let job = Job { seconds: arguments.seconds, seed: arguments.seed, keep: arguments.keep, seeds: arguments.seeds.clone() };
        let report = worker::run(&chosen[0], &job);
        println!("{RESULT}{report}");
        return if report.findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    println!(
        "seed {}, {} s per target\n{:<14} {:>11} {:>9} {:>7} {:>16} {:>10}",
        arguments.seed, arguments.seconds, "target", "inputs", "per s", "corpus", "edges", "slowest"
    );
    let (queue, bad) = (Mutex::new(VecDeque::from(chosen)), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some(target) = { queue.lock().expect("no panic under the lock").pop_front() } {
                    if !run_process(&target, &arguments) {
                        bad.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let bad = bad.into_inner();
    if bad > 0 {
        println!("\n{bad} targets with findings");
    }
    // Another build of the same crates counts lines; of a single target it would say nothing.
    let too_few = arguments.names.is_empty() && !arguments.keep && !count_lines(arguments.seeds.as_deref());
    if bad == 0 && !too_few { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `cargo fuzz-lines`. False when it counted too few; a machine without llvm's tools is told so, and forgiven.
fn count_lines(seeds: Option<&Path>) -> bool {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).arg("fuzz-lines");
    if let Some(folder) = seeds {
        command.arg("--seeds").arg(folder);
    }
    !command.status().is_ok_and(|status| status.code() == Some(1))
}

/// Runs one target in a process and prints its line. False when it found something.
fn run_process(target: &Target, arguments: &Arguments) -> bool {
    let mut command = Command::new(std::env::current_exe().expect("we are a file"));
    command.args(["--worker", "--target", target.name, "--seconds", &arguments.seconds.to_string(), "--seed", &arguments.seed.to_string()]);
    command.args(arguments.keep.then_some("--keep")).stdout(Stdio::piped());
    if let Some(folder) = &arguments.seeds {
        command.arg("--seeds").arg(folder);
    }
    let mut child = command.spawn().expect("a process");
    // Processor time tells a hang from a machine that has other things to do; a target that sleeps for ever is found by the clock.
    let (patience, asleep) = (Duration::from_secs(arguments.seconds * 2 + 60), Duration::from_secs(arguments.seconds * 2 + 1_200));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("our child") {
            Some(status) => break Some(status),
            None if processor_time(child.id()).unwrap_or_else(|| start.elapsed()) > patience || start.elapsed() > asleep => {
                child.kill().expect("our child");
                child.wait().expect("our child");
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let mut output = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().expect("piped"), &mut output).expect("text");
    for line in output.lines() {
        println!("{}", line.strip_prefix(RESULT).unwrap_or(line));
    }
    let ended = output.lines().any(|line| line.starts_with(RESULT));
    if !ended {
        let how = status.map_or("hangs".to_owned(), |status| format!("dies: {status}"));
        match worker::last_input(target.name, child.id()) {
            Some(input) => worker::write_finding(target.name, &input, &how),
            None => println!("{}: {how}, before its first input", target.name),
        }
    }
    ended && status.is_some_and(|status| status.success())
}

/// What the kernel has charged a process so far; none where it does not say.
fn processor_time(pid: u32) -> Option<Duration> {
    /// Of the kernel's interface to programs, whatever its own clock is.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything, `)` closes it; user and system time are the 14th and 15th field of all.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

fn replay(paths: &[PathBuf]) -> ExitCode {
    let targets = targets();
    for path in paths {
        let part = |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (file, folder) = (part(Some(path)), part(path.parent()));
        let Some(target) = targets.iter().find(|t| t.name == folder || file.strip_prefix(t.name).is_some_and(|rest| rest.starts_with('-')))
        else {
            eprintln!("{}: no target has that name; put it in a folder with the name of one (--list)", path.display());
            return ExitCode::from(2);
        };
        match std::fs::read(path) {
            Ok(input) => (target.body)(&input),
            Err(e) => {
                eprintln!("{}: {e}", path.display());
                return ExitCode::from(2);
            }
        }
        println!("{}: {} passes", path.display(), target.name);
    }
    ExitCode::SUCCESS
}

fn read(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seconds: 20,
        names: Vec::new(),
        seed: 1,
        jobs: 1,
        keep: false,
        seeds: None,
        replay: Vec::new(),
        replay_all: false,
        lines: false,
        missed: false,
        worker: false,
    };
    let mut words = words.filter(|word| word != "--").peekable();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse::<u64>().ok()).ok_or(format!("{word} takes a number"));
        match word.as_str() {
            "--seconds" => arguments.seconds = number()?,
            "--seed" => arguments.seed = number()?,
            "--jobs" => arguments.jobs = number()?.clamp(1, 64) as usize,
            "--target" => {
                let name = words.next().unwrap_or_default();
                if !targets().iter().any(|t| t.name == name) {
                    return Err(format!(
                        "no target `{name}`; there are {}",
                        targets().iter().map(|t| t.name).collect::<Vec<_>>().join(" ")
                    ));
                }
                arguments.names.push(name);
            }
            "--seeds" => {
                let folder = words.next().map(PathBuf::from).filter(|folder| folder.is_dir());
                arguments.seeds = Some(folder.ok_or("--seeds takes a folder")?);
            }
            "--keep" => arguments.keep = true,
            "--worker" => arguments.worker = true,
            "--replay-all" => arguments.replay_all = true,
            "--lines" => arguments.lines = true,
            "--missed" => arguments.missed = true,
            "--replay" => arguments.replay = words.by_ref().map(PathBuf::from).collect(),
            "--list" => return Err(targets().iter().map(|t| t.name).collect::<Vec<_>>().join("\n")),
            _ => return Err(format!("`{word}` is not known")),
        }
    }
    if arguments.keep && arguments.seeds.is_some() {
        return Err("--keep with --seeds: what came from outside must not be committed".into());
    }
    if arguments.worker && arguments.names.len() != 1 {
        return Err("a worker has one target".into());
    }
    if arguments.seeds.as_ref().is_some_and(|folder| folder.is_relative()) {
        return Err("--seeds takes an absolute path".into());
    }
    if !root().join("fuzz/corpus").is_dir() {
        return Err("fuzz/corpus is missing: the repository moved after this binary was compiled; compile it again".into());
    }
    Ok(arguments)
}
