//! What many calls came to, as text and as JSON (`docs/SIMULATION.md` says what each member is).

use super::words::Words;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tipring_tests::world::{Passed, Sketch};

/// A call that did not pass.
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What was run, perhaps shrunk.
    pub sketch: Sketch,
    /// The first thing that is wrong.
    pub why: String,
}

/// Set-up times of a fault class.
#[derive(Clone, Copy, Default)]
struct SetUps {
    calls: u64,
    slowest_ms: u64,
    seed: u64,
}

/// Sums over calls.
#[derive(Default)]
pub struct Tally {
    passed: u64,
    virtual_s: f64,
    /// Processor time of the workers.
    pub cpu_s: f64,
    /// Time on the wall.
    pub wall_s: f64,
    datagrams: u64,
    steps: u64,
    set_up_ms: Vec<u64>,
    by_class: BTreeMap<&'static str, SetUps>,
    endings: BTreeMap<String, u64>,
    /// What did not pass.
    pub failures: Vec<Failure>,
}

impl Tally {
    /// A call passed.
    pub fn take(&mut self, sketch: &Sketch, passed: &Passed) {
        self.passed += 1;
        self.virtual_s += passed.lasted.as_millis() as f64 / 1_000.0;
        self.datagrams += passed.datagrams;
        self.steps += passed.steps;
        *self.endings.entry(passed.verdict.clone()).or_default() += 1;
        let Some(ms) = passed.set_up.map(|span| span.as_millis()) else { return };
        self.set_up_ms.push(ms);
        let names = sketch.classes.iter().map(|class| class.name());
        for name in names.chain(sketch.classes.is_empty().then_some("none")) {
            let entry = self.by_class.entry(name).or_default();
            entry.calls += 1;
            if ms >= entry.slowest_ms {
                (entry.slowest_ms, entry.seed) = (ms, sketch.seed);
            }
        }
    }

    /// Both together.
    pub fn merge(mut self, other: Self) -> Self {
        self.passed += other.passed;
        self.virtual_s += other.virtual_s;
        self.cpu_s += other.cpu_s;
        self.datagrams += other.datagrams;
        self.steps += other.steps;
        self.set_up_ms.extend(other.set_up_ms);
        for (name, theirs) in other.by_class {
            let ours = self.by_class.entry(name).or_default();
            ours.calls += theirs.calls;
            if theirs.slowest_ms >= ours.slowest_ms {
                (ours.slowest_ms, ours.seed) = (theirs.slowest_ms, theirs.seed);
            }
        }
        for (code, count) in other.endings {
            *self.endings.entry(code).or_default() += count;
        }
        self.failures.extend(other.failures);
        self
    }

    fn percentile(&self, of_100: usize) -> u64 {
        let mut sorted = self.set_up_ms.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * of_100 / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn speed(&self) -> f64 {
        if self.cpu_s > 0.0 { self.virtual_s / self.cpu_s } else { 0.0 }
    }

    /// One object, one line.
    pub fn json(&self, words: &Words) -> String {
        let slowest: Map<String, Value> = self
            .by_class
            .iter()
            .map(|(name, of)| ((*name).to_owned(), json!({"calls": of.calls, "slowest_ms": of.slowest_ms, "seed": of.seed})))
            .collect();
        let failures: Vec<_> = self.failures.iter().map(|f| json!({"seed": f.seed, "why": f.why, "command": f.sketch.command()})).collect();
        let percentiles =
            json!({"p50": self.percentile(50), "p90": self.percentile(90), "p99": self.percentile(99), "max": self.percentile(100)});
        let out = json!({
            "calls": words.calls,
            "passed": self.passed,
            "failed": failures.len(),
            "with_codec": words.with_codec,
            "virtual_hours": self.virtual_s / 3_600.0,
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "threads": words.threads,
            "times_real_time_per_core": self.speed(),
            "datagrams": self.datagrams,
            "checked_steps": self.steps,
            "set_up_ms": percentiles,
            "set_up_by_class": slowest,
            "endings": self.endings,
            "failures": failures,
        });
        format!("{out}\n")
    }

    /// For people.
    pub fn text(&self, words: &Words) -> String {
        let mut out = String::new();
        let mut line = |text: String| writeln!(out, "{text}").expect("a string takes everything");
        line(format!("{} of {} calls passed; {} failed", self.passed, words.calls, self.failures.len()));
        line(format!(
            "{:.2} virtual hours in {:.1} s of processor time, {:.1} s on the wall with {} threads: {:.0} times real time per core",
            self.virtual_s / 3_600.0,
            self.cpu_s,
            self.wall_s,
            words.threads,
            self.speed()
        ));
        line(format!("{} datagrams, {} steps, the checkers ran after each", self.datagrams, self.steps));
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|of_100| self.percentile(of_100));
        line(format!("from the ring to keys: p50 {p50} ms, p90 {p90} ms, p99 {p99} ms, max {max} ms"));
        for (name, of) in &self.by_class {
            line(format!("  {name:<12}{:>7} calls, slowest {:>6} ms (seed {})", of.calls, of.slowest_ms, of.seed));
        }
        let endings: Vec<_> = self.endings.iter().map(|(code, count)| format!("{code} {count}")).collect();
        line(format!("endings: {}", endings.join(", ")));
        for failure in &self.failures {
            let names: Vec<_> = failure.sketch.classes.iter().map(|class| class.name()).collect();
            line(format!("FAILED {}\n    {}\n    classes: {}", failure.sketch.command(), failure.why, names.join(", ")));
        }
        out
    }
}
