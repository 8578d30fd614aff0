//! The binary `tipring`; everything is in the library.

fn main() -> std::process::ExitCode {
    tipring_signalling::cli::main()
}
