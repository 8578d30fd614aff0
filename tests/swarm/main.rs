//! `cargo swarm`: many whole calls in virtual time, faults on, over all cores; what fails is shrunk and printed with its command.
//!
//! Given: words of the command line. Decides: which seeds run on which thread, what is printed, the exit code: 0 when every call passed, 1
//! when one failed, 2 for words it does not know. Refuses: to know what a call is (`tipring_tests::world`).
//!
//! It is a test target without the harness of the standard library, so that it shares the build of `cargo test --workspace`; there it runs
//! without words of its own: 200 seeds.

mod tally;
mod words;

use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;
use tally::{Failure, Tally};
use tipring_engine::time::Span;
use tipring_tests::world::{Class, CpuClock, Sketch, attempt, shrink};
use words::Words;

/// The first seeds of a run are run twice: the same seed must give the same trace.
const TWICE: u64 = 20;
/// Failures that are shrunk; the others are printed as they are.
const SHRUNK_MAX: usize = 5;

fn main() -> ExitCode {
    let words = match Words::read(std::env::args().skip(1)) {
        Ok(Some(words)) => words,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cargo swarm: {why}\n\n{}", words::HELP);
            return ExitCode::from(2);
        }
    };
    // A broken invariant is told with its command at the end, not as a trace on the way.
    panic::set_hook(Box::new(|_| {}));
    #[expect(clippy::disallowed_methods, reason = "printed, and seen by no call")]
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let mut tally = thread::scope(|scope| {
        let workers: Vec<_> = (0..words.threads).map(|_| scope.spawn(|| work(&words, &next))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker catches what a call throws")).fold(Tally::default(), Tally::merge)
    });
    tally.wall_s = started.elapsed().as_secs_f64();
    tally.failures.sort_by_key(|failure| failure.seed);
    if words.shrinks {
        for failure in tally.failures.iter_mut().take(SHRUNK_MAX) {
            // The same fault, not any: figures may differ, words may not.
            let kind = |why: &str| why.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
            let wanted = kind(&failure.why);
            let least = shrink(&failure.sketch, |sketch| run(&words, sketch).is_err_and(|why| kind(&why) == wanted));
            failure.why = run(&words, &least).err().unwrap_or_else(|| failure.why.clone());
            failure.sketch = least;
        }
    }
    drop(panic::take_hook());
    print!("{}", if words.is_json { tally.json(&words) } else { tally.text(&words) });
    if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes seeds until there are none left.
fn work(words: &Words, next: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    let clock = CpuClock::start();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= words.calls {
            break;
        }
        let sketch = words.sketch(words.first + n);
        match run(words, &sketch) {
            Ok(passed) => {
                // Where a flipped bit hits depends on keys that the TLS library draws itself.
                if n < TWICE
                    && !words.shows
                    && !sketch.has(Class::Corrupt)
                    && run(words, &sketch).map(|again| again.trace) != Ok(passed.trace)
                {
                    tally.failures.push(Failure {
                        seed: sketch.seed,
                        sketch: sketch.clone(),
                        why: "two runs of this seed differ".to_owned(),
                    });
                }
                tally.take(&sketch, &passed);
            }
            Err(why) => tally.failures.push(Failure { seed: sketch.seed, sketch, why }),
        }
    }
    tally.cpu_s = clock.map(|clock| clock.used().as_secs_f64()).unwrap_or_default();
    tally
}

fn run(words: &Words, sketch: &Sketch) -> Result<tipring_tests::world::Passed, String> {
    attempt(sketch, |plan| {
        plan.planted = words.planted.filter(|class| sketch.has(*class)).map(|_| Span::from_millis(600));
        plan.shows = words.shows;
        if words.shows {
            let faults: Vec<_> = plan.faults.iter().map(|fault| fault.name()).collect();
            println!("seed {}: faults of the relay: {}", sketch.seed, faults.join(", "));
        }
    })
}
