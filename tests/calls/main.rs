//! `cargo calls`: many calls' signalling in virtual time. The session machine, the webhook intake and the Graph bodies of the product against the simulator's ledger:
//! inbound and outbound, webhooks twice, late, out of order and in batches, 5xx, lost requests, lost replies, two apps, another partner on one number.
//!
//! Given: words of the command line. Decides: whether every rule held; exit code 1 when one was broken, 2 for words it does not know. Refuses: media, HTTP, clocks: those
//! are judged by `cargo swarm` and on sockets.
//!
//! A test target without the harness of the standard library, so that it shares the build of `cargo test --workspace`; there it runs 600 calls.

mod world;

use std::process::ExitCode;
use std::time::Instant;
use world::World;

const HELP: &str = "cargo calls -- [--calls N (600)] [--seed N (1)]";

fn main() -> ExitCode {
    let (mut calls, mut seed) = (600_u64, 1_u64);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = match word.as_str() {
            "--calls" => &mut calls,
            "--seed" => &mut seed,
            "--help" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            // What `cargo test` passes on to every target is for others.
            _ => continue,
        };
        match words.next().and_then(|text| text.parse().ok()) {
            Some(number) => *value = number,
            None => {
                eprintln!("cargo calls: {word} wants a whole number\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    #[expect(clippy::disallowed_methods, reason = "printed, and seen by no call")]
    let started = Instant::now();
    let report = World::run(calls, seed);
    println!("{calls} calls, seed {seed}: {} s of virtual time in {:.1} s", report.virtual_s, started.elapsed().as_secs_f64());
    println!("{}\n{}", report.figures, report.ours);
    for fault in report.faults.iter().take(FAULTS_SHOWN) {
        println!("FAULT        {fault}");
    }
    if report.faults.is_empty() {
        println!("verdict      each call acted on once, none accepted twice, each ended once where it was ours to end, none stuck");
        ExitCode::SUCCESS
    } else {
        println!("verdict      {} rules broken; again by: cargo calls -- --calls {calls} --seed {seed}", report.faults.len());
        ExitCode::FAILURE
    }
}

/// Faults that are printed whole.
const FAULTS_SHOWN: usize = 10;
