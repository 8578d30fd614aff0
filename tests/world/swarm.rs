//! Many seeds, and how a failing one is said and repeated.
//!
//! Given: a test's name and a body for one seed. Decides: which seeds run (`SEED` or `SEEDS` in the environment: those) and what a failure
//! prints. Refuses: what a call is (`plan.rs`).

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The seeds to run: `SEED` of the environment alone, or `SEEDS` (`1000..2000`, for long nights), or all of `range`.
pub fn seeds(range: Range<u64>) -> Vec<u64> {
    let number = |text: &str| text.trim().parse::<u64>().expect("SEED is a decimal number, SEEDS two of them around `..`");
    match (std::env::var("SEED"), std::env::var("SEEDS")) {
        (Ok(one), _) => vec![number(&one)],
        (_, Ok(many)) => many.split_once("..").map_or_else(|| vec![number(&many)], |(from, to)| (number(from)..number(to)).collect()),
        _ => range.collect(),
    }
}

/// Runs `body` for every seed of `test` (`file::name`) and panics, when all are through, with one line of command for each that failed.
pub fn swarm<T>(test: &str, seeds: impl IntoIterator<Item = u64>, mut body: impl FnMut(u64) -> T) -> Vec<T> {
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| body(seed))) {
            Ok(result) => done.push(result),
            Err(panic) => {
                let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
                failed.push(format!("{}\n    {}", command(seed, test), why.unwrap_or("no message")));
            }
        }
    }
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), failed.join("\n"));
    done
}

/// What repeats one seed of `test`, which is the file and the name of the test: `virtual_call::clean`.
fn command(seed: u64, test: &str) -> String {
    let (file, name) = test.split_once("::").unwrap_or((test, ""));
    format!("SEED={seed} cargo test --workspace --test {file} -- --exact {name}")
}

/// Processor time of this thread, from the scheduler: other people's load does not count.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock(Duration);

impl CpuClock {
    /// Starts it. None where the kernel keeps no such account.
    pub fn start() -> Option<Self> {
        read().map(Self)
    }

    /// Time used since then.
    pub fn used(self) -> Duration {
        read().unwrap_or(self.0).saturating_sub(self.0)
    }
}

/// First field of schedstat: nanoseconds on a processor.
fn read() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "SEED=7 cargo test --workspace --test virtual_call -- --exact some_test\n    seven is unlucky")]
    fn a_failing_seed_is_printed_with_its_command_after_the_others_ran() {
        swarm("virtual_call::some_test", 0..9, |seed| assert!(seed != 7, "seven is unlucky"));
    }
}
