//! One target in this process: mutate, run, keep what is new, until the time is over.
//!
//! Decides: which inputs stay, what is a finding, how it is made small. Given: a target. Refuses: to stop at the first finding; each place that panics is
//! reported once.

#![allow(clippy::disallowed_methods, reason = "an instrument reads the clock and waits for its processes")]

use crate::command::Target;
use crate::coverage::Coverage;
use crate::golden::{self, root};
use crate::mutate::{Mutator, read_dictionary};
use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Inputs kept in memory, and their bytes: a corpus that only grows would get slow.
const INPUTS_MAX: usize = 4_096;
const INPUTS_BYTES_MAX: usize = 16 << 20;
/// What `--keep` commits at most per target: 19 of them stay below a megabyte.
const KEPT_MAX: usize = 96;
const KEPT_BYTES_MAX: usize = 40_000;

/// How long, from where, and whether to write the corpus.
pub struct Job {
    /// Seconds of mutation.
    pub seconds: u64,
    /// Of the mutations.
    pub seed: u64,
    /// Write the smallest inputs that reach everything found.
    pub keep: bool,
    /// A folder of others' packets, to begin with.
    pub seeds: Option<PathBuf>,
}

/// The line of a target.
pub struct Report {
    name: &'static str,
    runs: u64,
    took: Duration,
    inputs: usize,
    edges: (usize, usize),
    slowest: Duration,
    /// Places that panicked.
    pub findings: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = self.runs as f64 / self.took.as_secs_f64().max(0.001);
        let edges = format!("{} of {}", self.edges.0, self.edges.1);
        let slowest = format!("{:.1} ms", self.slowest.as_secs_f64() * 1e3);
        write!(f, "{:<14} {:>11} {:>9.0} {:>7} {:>16} {:>10}", self.name, self.runs, per_second, self.inputs, edges, slowest)?;
        if self.findings > 0 {
            write!(f, "  {} findings", self.findings)?;
        }
        Ok(())
    }
}

/// Where and why the last panic was.
static PANIC: Mutex<Option<(String, String)>> = Mutex::new(None);

struct Worker {
    target: Target,
    coverage: Coverage,
    inputs: Vec<Vec<u8>>,
    inputs_bytes: usize,
    last: File,
    places: HashSet<String>,
    runs: u64,
    slowest: Duration,
}

/// Runs one target.
pub fn run(target: &Target, job: &Job) -> Report {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "nowhere".to_owned(), |at| format!("{}:{}", at.file(), at.line()));
        let why = info.payload_as_str().unwrap_or("a panic without words").to_owned();
        *PANIC.lock().expect("the hook does not panic") = Some((place, why));
    }));
    let tokens = target.dictionary.map(|name| {
        let path = root().join(format!("fuzz/dictionaries/{name}.dict"));
        read_dictionary(&fs::read_to_string(&path).expect("a dictionary")).expect("a readable dictionary")
    });
    let mut mutator = Mutator::new(job.seed, tokens.unwrap_or_default(), target.bytes_max);
    let mut worker = Worker {
        target: *target,
        coverage: Coverage::take(),
        inputs: Vec::new(),
        inputs_bytes: 0,
        last: File::create(last_path(target.name, std::process::id())).expect("a file for the current input"),
        places: HashSet::new(),
        runs: 0,
        slowest: Duration::ZERO,
    };
    let start = Instant::now();
    for input in first_inputs(target.name, job.seeds.as_deref()) {
        worker.try_input(input.get(..target.bytes_max).unwrap_or(&input));
    }
    if worker.inputs.is_empty() {
        worker.inputs.push(Vec::new());
    }
    let end = Duration::from_secs(job.seconds);
    let mut data = Vec::new();
    while start.elapsed() < end {
        // Newer inputs reach farther: half of the time one of the last 32.
        let count = worker.inputs.len();
        let from = if mutator.below(2) == 0 { count.saturating_sub(32) } else { 0 };
        let pick = from + mutator.below(count - from);
        let other = mutator.below(count);
        // A run of the input itself first, so that the compared values are its own.
        worker.execute_known(pick);
        for _ in 0..32 {
            data.clone_from(&worker.inputs[pick]);
            mutator.mutate(&mut data, &worker.inputs[other], |pick| worker.coverage.compared(pick));
            worker.try_input(&data);
        }
    }
    let took = start.elapsed();
    let (edges, inputs) = (worker.coverage.edges(), worker.inputs.len());
    if job.keep {
        worker.keep();
    }
    let _ = fs::remove_file(last_path(target.name, std::process::id()));
    Report { name: target.name, runs: worker.runs, took, inputs, edges, slowest: worker.slowest, findings: worker.places.len() }
}

impl Worker {
    /// Runs an input, and keeps it when it did something new.
    fn try_input(&mut self, data: &[u8]) {
        let panicked = self.execute(data);
        if let Some((place, why)) = panicked {
            if self.places.insert(place.clone()) {
                let small = self.minimise(data, &place);
                write_finding(self.target.name, &small, &format!("panics at {place}: {why}"));
            }
        } else if self.coverage.is_new() {
            self.remember(data);
        }
    }

    fn execute_known(&mut self, index: usize) {
        let data = std::mem::take(&mut self.inputs[index]);
        self.execute(&data);
        self.inputs[index] = data;
    }

    fn execute(&mut self, data: &[u8]) -> Option<(String, String)> {
        // Should the process die, its parent finds the input here.
        self.last.write_all_at(&[&(data.len() as u32).to_le_bytes(), data].concat(), 0).expect("room for the current input");
        self.runs += 1;
        self.coverage.clear();
        let start = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (self.target.body)(data)));
        self.slowest = self.slowest.max(start.elapsed());
        outcome.err().map(|_| PANIC.lock().expect("the hook does not panic").take().expect("the hook ran"))
    }

    fn remember(&mut self, data: &[u8]) {
        if self.inputs.len() >= INPUTS_MAX || self.inputs_bytes + data.len() > INPUTS_BYTES_MAX {
            // The oldest goes: what it reached is marked as seen, and its descendants are here.
            let oldest = self.inputs.remove(0);
            self.inputs_bytes -= oldest.len();
        }
        self.inputs_bytes += data.len();
        self.inputs.push(data.to_vec());
    }

    /// Cuts pieces out, ever smaller ones, as long as the same place panics; then zeroes what it can.
    fn minimise(&mut self, data: &[u8], place: &str) -> Vec<u8> {
        let mut small = data.to_vec();
        let end = Instant::now() + Duration::from_secs(10);
        let mut piece = small.len() / 2;
        while piece > 0 && Instant::now() < end {
            let mut at = 0;
            while at + piece <= small.len() && Instant::now() < end {
                let shorter = [&small[..at], &small[at + piece..]].concat();
                if self.execute(&shorter).is_some_and(|(there, _)| there == place) {
                    small = shorter;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
        for at in 0..small.len() {
            let byte = std::mem::replace(&mut small[at], 0);
            if Instant::now() >= end || !self.execute(&small).is_some_and(|(there, _)| there == place) {
                small[at] = byte;
            }
        }
        small
    }

    /// Replaces the committed corpus: smallest inputs first, each only if it adds something.
    fn keep(&mut self) {
        let folder = root().join("fuzz/corpus").join(self.target.name);
        let mut candidates = std::mem::take(&mut self.inputs);
        candidates.extend(read_folder(&folder));
        candidates.sort_by_key(Vec::len);
        self.coverage.forget();
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        for input in candidates {
            if kept.len() < KEPT_MAX && bytes + input.len() <= KEPT_BYTES_MAX && self.execute(&input).is_none() && self.coverage.is_new() {
                bytes += input.len();
                kept.push(input);
            }
        }
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the corpus");
        for input in kept {
            fs::write(folder.join(hash(&input)), input).expect("room for the corpus");
        }
    }
}

fn first_inputs(target: &str, seeds: Option<&Path>) -> Vec<Vec<u8>> {
    let mut inputs = read_folder(&root().join("fuzz/corpus").join(target));
    inputs.extend(golden::inputs(target));
    inputs.extend(seeds.into_iter().flat_map(|folder| golden::outside(target, folder)));
    inputs
}

/// The files of a folder in the order of their names; none when there is no such folder.
pub fn read_folder(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

fn last_path(target: &str, process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("tipring-fuzz-last-{target}-{process}"))
}

/// The input that the worker of `target` in this process ran when it died.
pub fn last_input(target: &str, process: u32) -> Option<Vec<u8>> {
    let path = last_path(target, process);
    let bytes = fs::read(&path).ok()?;
    let _ = fs::remove_file(path);
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.get(..u32::from_le_bytes(*len) as usize).map(<[u8]>::to_vec)
}

/// Writes a finding to `fuzz/findings` and says how to see it again.
pub fn write_finding(target: &str, input: &[u8], how: &str) {
    let folder = root().join("fuzz/findings");
    fs::create_dir_all(&folder).expect("a folder for findings");
    let name = format!("{target}-{}", hash(input));
    fs::write(folder.join(&name), input).expect("room for a finding");
    println!("{target}: {how}\n  {} bytes: cargo fuzz-all -- --replay fuzz/findings/{name}", input.len());
}

/// Sixteen hex digits that differ when inputs do (FNV-1a, 64 bits; nobody attacks our own corpus).
fn hash(input: &[u8]) -> String {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
