//! The C programs of `engine/capi` under AddressSanitizer (leaks included) and under valgrind: the tests of `cargo test`, run again with other flags.
//!
//! Decides: the flags. Refuses: to judge; the sanitizers do, by their exit codes.

use std::process::Command;

use crate::Failure;

/// Name, flags of the C compiler, program in front.
const CASES: [(&str, &str, &str); 2] = [
    ("asan", "-fsanitize=address,undefined -fno-omit-frame-pointer -g", ""),
    ("valgrind", "-g", "valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9"),
];

pub fn run(_arguments: &[String]) -> Result<bool, Failure> {
    let mut clean = true;
    for (name, flags, runner) in CASES {
        let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
        let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
            .args(["test", "--workspace", "--test", "c_programs"])
            .args(profile)
            .args(["--", "--nocapture", "--test-threads=1"])
            .env("CAPI_CFLAGS", flags)
            .env("CAPI_RUNNER", runner)
            .status()
            .map_err(|e| format!("cannot start cargo: {e}"))?;
        println!("{name:<10} {}", if status.success() { "clean" } else { "FAULTS: the report is above" });
        clean &= status.success();
    }
    Ok(clean)
}
