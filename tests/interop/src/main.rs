//! The judges as a program of their own.

use std::process::ExitCode;

fn main() -> ExitCode {
    tipring_interop::main(true)
}
