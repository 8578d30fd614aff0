//! The attackers: one run over every fuzz body of the workspace, guided by coverage, on stable Rust.
//!
//! Decides: which target runs when, each in a process of its own so that a crash or a hang is a finding too. Given: seconds, a seed, a number of processes.
//! Refuses: logic about any protocol; bodies live in the crates they attack (`tipring_engine::fuzzing` and its siblings).

#[cfg(fuzzing)]
mod command;
#[cfg(fuzzing)]
mod coverage;
#[cfg(fuzzing)]
mod golden;
#[cfg(fuzzing)]
mod lines;
#[cfg(any(test, fuzzing))]
mod mutate;
#[cfg(fuzzing)]
mod worker;

#[cfg(fuzzing)]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "This binary was compiled without fuzz bodies. From the root of the repository: cargo fuzz-all -- --seconds 30 (docs/FUZZING.md)."
    );
    std::process::ExitCode::from(2)
}
