//! Which lines of the parsers the committed inputs reach, as llvm-cov counts them.
//!
//! Decides: what counts as a parser, and how much of it must be reached. Given: a binary compiled by `fuzz/rustc-lines.sh`, and llvm's tools in the version of
//! the compiler. Refuses: dependencies, and lines that only tests have.

use crate::command::{Target, targets};
use crate::golden::{self, root};
use crate::worker::read_folder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files that read what others wrote. Of their lines, [`PERCENT_MIN`] must be reached.
const PARSERS: &[&str] = &[
    "engine/src/wire/",
    "engine/src/codec/toc.rs",
    "engine/src/dtls/gate.rs",
    "engine/src/srtp/layout.rs",
    "signalling/src/audio/ogg_opus.rs",
    "signalling/src/audio/wav.rs",
    "signalling/src/config.rs",
    "signalling/src/config/api.rs",
    "signalling/src/config/reader.rs",
    "signalling/src/config/rtp.rs",
    "signalling/src/config/watchdogs.rs",
    "signalling/src/graph/json.rs",
    "signalling/src/graph/permission.rs",
    "signalling/src/sdp/candidate.rs",
    "signalling/src/sdp/crypto.rs",
    "signalling/src/sdp/lines.rs",
    "signalling/src/sdp/mod.rs",
    "signalling/src/sdp/read.rs",
    "signalling/src/sdp/write.rs",
    "signalling/src/webhook/envelope.rs",
    "signalling/src/webhook/signature.rs",
];
/// What acts upon what was read: shown, not judged.
const MACHINES: &[&str] = &[
    "engine/src/call/",
    "engine/src/dtls/",
    "engine/src/dtmf/",
    "engine/src/ice/",
    "engine/src/jitter/",
    "engine/src/rtp/",
    "engine/src/srtp/",
    "signalling/src/config/secret.rs",
    "signalling/src/sdp/error.rs",
    "signalling/src/session/",
    "tests/meta-sim/src/graph.rs",
    "tests/meta-sim/src/sdp.rs",
    "tests/meta-sim/src/wire.rs",
];
/// Of the lines of all parsers together.
const PERCENT_MIN: f64 = 95.0;

/// Runs every committed and golden input of every target once, in this process.
pub fn replay_all(seeds: Option<&Path>) {
    for Target { name, body, .. } in targets() {
        let mut inputs = read_folder(&root().join("fuzz/corpus").join(name));
        inputs.extend(golden::inputs(name));
        inputs.extend(seeds.into_iter().flat_map(|folder| golden::outside(name, folder)));
        inputs.iter().for_each(|input| body(input));
    }
}

/// Replays in a process of its own, reads its counters, prints the table. False when too little was reached; an error says what is missing.
pub fn report(seeds: Option<&Path>, all: bool) -> Result<bool, String> {
    let tools = tools()?;
    let folder = root().join("target/fuzz-lines");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (raw, data) = (folder.join("replay.profraw"), folder.join("replay.profdata"));
    let exe = std::env::current_exe().expect("we are a file");
    let mut replay = Command::new(&exe);
    replay.arg("--replay-all").env("LLVM_PROFILE_FILE", &raw);
    if let Some(folder) = seeds {
        replay.arg("--seeds").arg(folder);
    }
    run(&mut replay)?;
    run(Command::new(tools.join("llvm-profdata")).arg("merge").arg("-sparse").arg(&raw).arg("-o").arg(&data))?;
    let lcov = run(Command::new(tools.join("llvm-cov")).args(["export", "-format=lcov", "-instr-profile"]).arg(&data).arg(&exe))?;
    let files = read_lcov(&lcov);
    let of = |names: &[&str], but: &[&str]| -> BTreeMap<&str, &BTreeMap<u32, u64>> {
        let is_of = |path: &str, names: &[&str]| names.iter().any(|name| path.starts_with(name));
        files.iter().filter(|(path, _)| is_of(path, names) && !is_of(path, but)).map(|(path, lines)| (path.as_str(), lines)).collect()
    };
    let percent = table("lines of the parsers", &of(PARSERS, &[]), all);
    table("lines of the state machines", &of(MACHINES, PARSERS), all);
    Ok(percent >= PERCENT_MIN)
}

/// Prints a group and returns its percentage.
fn table(title: &str, files: &BTreeMap<&str, &BTreeMap<u32, u64>>, all: bool) -> f64 {
    let reached = |lines: &BTreeMap<u32, u64>| lines.values().filter(|&&count| count > 0).count();
    let percent = |reached: usize, lines: usize| 100.0 * reached as f64 / lines.max(1) as f64;
    println!("\n{title:<44} {:>7} {:>7} {:>7}", "lines", "reached", "%");
    let mut sum = (0, 0);
    for (path, lines) in files {
        let (hit, count) = (reached(lines), lines.len());
        sum = (sum.0 + hit, sum.1 + count);
        println!("{path:<44} {count:>7} {hit:>7} {:>7.1}", percent(hit, count));
        if all {
            let missed: Vec<String> = lines.iter().filter(|(_, count)| **count == 0).map(|(line, _)| line.to_string()).collect();
            println!("    not reached: {}", missed.join(" "));
        }
    }
    println!("{:<44} {:>7} {:>7} {:>7.1}", "together", sum.1, sum.0, percent(sum.0, sum.1));
    percent(sum.0, sum.1)
}

/// Lines of each file of ours, by path from the root, with how often each ran.
fn read_lcov(text: &str) -> BTreeMap<String, BTreeMap<u32, u64>> {
    let root = root().canonicalize().expect("the repository");
    let mut files: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
    let mut file = None;
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path).strip_prefix(&root).unwrap_or(Path::new(path));
            file = Some(files.entry(path.to_string_lossy().into_owned()).or_default());
        } else if let (Some((number, count)), Some(file)) = (line.strip_prefix("DA:").and_then(|rest| rest.split_once(',')), file.as_mut())
            && let (Ok(number), Ok(count)) = (number.parse(), count.parse::<u64>())
        {
            *file.entry(number).or_default() += count;
        }
    }
    files
}

/// The folder of `llvm-profdata` and `llvm-cov`: of the toolchain itself, or of the system in the same version.
fn tools() -> Result<PathBuf, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let about = run(Command::new(&rustc).arg("-vV"))?;
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let (host, version) = (field("host:"), field("LLVM version:"));
    let major = version.split('.').next().unwrap_or_default().to_owned();
    let sysroot = run(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    let found = [own, PathBuf::from(format!("/usr/lib/llvm-{major}/bin"))].into_iter().find(|folder| folder.join("llvm-cov").is_file());
    found.ok_or_else(|| {
        format!(
            "no llvm-cov of LLVM {major} here, so lines cannot be counted: apt-get install llvm-{major}, or rustup component add llvm-tools"
        )
    })
}

/// Runs a program to its end and returns what it said.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
