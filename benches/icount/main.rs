//! `cargo icount`: exact instructions per packet in, per packet out and per set-up, held against a baseline.
//!
//! Decides: what is counted, and that 3 % more than the baseline is a fault unless somebody says why (`--write "reason"`). Given: connected calls in virtual time, so
//! that nothing depends on load, sockets or the clock. Refuses: to compare counts of another kind of processor or compiler; it says that it has no baseline then.

mod step;

use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use tipring_benches::{Nobody, Observer, Relayed, Step, Wire, relay_leg};
use tipring_engine::bridge::PromptEcho;
use tipring_engine::bridge::rtp::LegCodec;
use tipring_engine::call::MediaPort;
use tipring_engine::keying::Profile;
use tipring_engine::srtp::{Receiver, Sender};
use tipring_engine::time::Span;
use tipring_engine::wire::rtp::RtpHeader;

/// A count may be this much above its baseline, in percent.
const SLACK_PERCENT: u64 = 3;
/// Frames of 20 ms that are counted.
const FRAMES: u64 = 8;
const PROFILES: [(Profile, &str); 2] = [(Profile::Aes128CmSha1_80, "AES-CM"), (Profile::AeadAes128Gcm, "AES-GCM")];
/// Set again when the process starts itself anew at fixed addresses.
const AT_FIXED_ADDRESSES: &str = "TIPRING_ICOUNT_FIXED";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("icount: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    if std::env::var_os(AT_FIXED_ADDRESSES).is_none() && step::fix_addresses() {
        use std::os::unix::process::CommandExt;
        let arguments = std::env::args_os().skip(1);
        return Err(Command::new(std::env::current_exe()?).args(arguments).env(AT_FIXED_ADDRESSES, "1").exec().into());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let reason = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--write", reason] if !reason.trim().is_empty() => Some(reason),
        _ => return Err("usage: cargo icount [--write \"why the counts have changed\"]".into()),
    };
    if let Err(e) = step::count(|_| ()) {
        // A gate that cannot count must not say that all is well, nor fail a build for what the machine forbids.
        println!("no count: {e}");
        return Ok(true);
    }
    let counts = everything()?;
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/icount/baseline.json"));
    let mut baselines: Map<String, Value> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap_or_else(|_| "{}".into()))?;
    let machine = machine()?;
    if let Some(reason) = reason {
        let counts: Map<String, Value> = counts.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
        baselines.insert(machine.clone(), json!({ "reason": reason, "counts": counts }));
        std::fs::write(&file, serde_json::to_string_pretty(&Value::Object(baselines))? + "\n")?;
        println!("wrote the baseline of {machine}");
        return Ok(true);
    }
    Ok(judge(&counts, baselines.get(&machine), &machine))
}

/// Prints every count beside its baseline; false when one is too high.
fn judge(counts: &[(String, u64)], baseline: Option<&Value>, machine: &str) -> bool {
    if baseline.is_none() {
        println!(
            "no baseline for this processor and compiler ({machine}): nothing is judged; `cargo icount --write \"first count here\"` makes one"
        );
    }
    let mut faults = 0;
    println!("{:<58} {:>12} {:>12}", "instructions", "now", "baseline");
    for (name, now) in counts {
        let before = baseline.and_then(|b| b["counts"][name].as_u64());
        let verdict = match before {
            Some(before) if *now > before + before * SLACK_PERCENT / 100 => {
                faults += 1;
                "  TOO MANY"
            }
            Some(before) if *now + before * SLACK_PERCENT / 100 < before => "  fewer: write a new baseline",
            _ => "",
        };
        println!("{name:<58} {now:>12} {:>12}{verdict}", before.map_or("-".into(), |b| b.to_string()));
    }
    if faults > 0 {
        println!(
            "{faults} counts are more than {SLACK_PERCENT} % above the baseline: make them cheaper, or say why by `cargo icount --write \"reason\"`"
        );
    }
    faults == 0
}

/// Processor features that choose code paths, and the compiler: counts of one such machine compare with counts of the same.
fn machine() -> Result<String, Failure> {
    const TELLING: [&str; 11] =
        ["adx", "aes", "avx2", "avx512f", "avx512ifma", "bmi2", "erms", "pclmulqdq", "sha_ni", "vaes", "vpclmulqdq"];
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let flags: Vec<&str> = cpu.lines().find(|l| l.starts_with("flags")).unwrap_or_default().split_whitespace().collect();
    let found: Vec<&str> = TELLING.into_iter().filter(|f| flags.contains(f)).collect();
    let rustc = Command::new("rustc").arg("--version").output()?;
    let rustc = String::from_utf8_lossy(&rustc.stdout);
    let version = rustc.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    Ok(format!("{} {}, rustc {version}", std::env::consts::ARCH, found.join(" ")))
}

/// Every count, by its name.
fn everything() -> Result<Vec<(String, u64)>, Failure> {
    let mut counts = Vec::new();
    for (profile, name) in PROFILES {
        let mut add = |what: &str, count: u64| counts.push((format!("{what}, {name}"), count));
        let [protect, unprotect] = srtp(profile)?;
        add("SRTP: 160 bytes protected", protect);
        add("SRTP: 160 bytes opened", unprotect);
        for (port, what) in [(Port::Echo, "echo"), (Port::Relay, "relay"), (Port::Waiting, "by way of the jitter buffer")] {
            eprintln!("counting: {what}, {name}");
            let steps = steps(port, profile)?;
            for (kind, verb) in STEPS {
                if let Some(count) = steps.typical(*kind) {
                    add(&format!("{what}: {verb}"), count);
                }
            }
        }
    }
    counts.push(("set-up of a call: ICE, DTLS, keys".to_owned(), set_up(Profile::AeadAes128Gcm)?));
    for (name, count) in ["protected, AES-CM", "opened, AES-CM", "protected, AES-GCM", "opened, AES-GCM"].iter().zip(libsrtp()) {
        // Printed beside ours; never part of what is judged, because the library is whatever the machine has.
        println!("libsrtp of this machine: 160 bytes {name}: {count} instructions");
    }
    Ok(counts)
}

const STEPS: &[(Step, &str)] = &[
    (Step::Receive, "a packet in"),
    (Step::Send, "a packet out"),
    (Step::ReceiveFar, "a packet in from the far side"),
    (Step::SendFar, "a packet out to the far side"),
    (Step::Tick, "a tick of 20 ms"),
];

/// What is at the host's end.
#[derive(Clone, Copy)]
enum Port {
    Echo,
    Relay,
    Waiting,
}

impl Port {
    fn make(self) -> Box<dyn MediaPort> {
        match self {
            Self::Echo => Box::new(PromptEcho::default()),
            Self::Relay => relay_leg(LegCodec::Opus),
            Self::Waiting => Box::<Relayed>::default(),
        }
    }
}

/// Marks each step, and tells its kind through a pipe.
struct Marker<'a> {
    marks: &'a mut step::Marks,
    kinds: std::io::PipeWriter,
}

impl Observer for Marker<'_> {
    fn step<T>(&mut self, kind: Step, run: impl FnOnce() -> T) -> T {
        use std::io::Write;
        let value = self.marks.counted(run);
        self.kinds.write_all(&[kind as u8]).expect("a pipe with room");
        value
    }
}

/// Steps of a stretch of a call, each with its kind.
struct Steps(Vec<(u8, u64)>);

impl Steps {
    /// What a step of this kind takes when it has something to do: the median of those far above the cheapest, which found nothing. None if there are too few.
    fn typical(&self, kind: Step) -> Option<u64> {
        let mut all: Vec<u64> = self.0.iter().filter(|(k, _)| *k == kind as u8).map(|(_, count)| *count).collect();
        all.sort_unstable();
        let idle = 2 * *all.first()?;
        let busy = if matches!(kind, Step::Send | Step::SendFar) { all.iter().position(|&c| c > idle)? } else { 0 };
        let busy = &all[busy..];
        (busy.len() as u64 >= FRAMES / 2).then(|| busy[busy.len() / 2])
    }
}

fn counted(body: impl FnOnce(&mut Marker<'_>)) -> Result<Steps, Failure> {
    use std::io::Read;
    let (mut told, kinds) = std::io::pipe()?;
    let mut kinds = Some(kinds);
    let counts = step::count(|marks| body(&mut Marker { marks, kinds: kinds.take().expect("used once") }))?;
    drop(kinds);
    let mut names = Vec::new();
    told.read_to_end(&mut names)?;
    if names.len() != counts.len() {
        return Err(format!("{} steps, {} counts", names.len(), counts.len()).into());
    }
    Ok(Steps(names.into_iter().zip(counts).collect()))
}

/// A connected call that has been running for twelve seconds, then `FRAMES` frames of it.
fn steps(port: Port, profile: Profile) -> Result<Steps, Failure> {
    counted(|marker| {
        let mut wire = Wire::new(port.make(), profile, &mut Nobody);
        wire.connect(&mut Nobody);
        wire.run(Span::from_secs(12), &mut Nobody);
        wire.run(Span::from_millis(20 * FRAMES), marker);
    })
}

/// Everything a call does from its birth until it has keys. Its certificate is made beforehand, as an engine's is.
fn set_up(profile: Profile) -> Result<u64, Failure> {
    let steps = counted(|marker| {
        // The library's own first time is not a call's.
        Wire::new(Port::Echo.make(), profile, &mut Nobody).connect(&mut Nobody);
        Wire::new(Port::Echo.make(), profile, marker).connect(marker);
    })?;
    Ok(steps.0.iter().map(|(_, count)| count).sum())
}

/// One packet with 160 bytes of payload: protected, opened.
fn srtp(profile: Profile) -> Result<[u64; 2], Failure> {
    let counts = step::count(|marks| {
        let (key, salt) = ([0x11; 32], [0x22; 14]);
        let (key, salt) = (&key[..profile.key_bytes()], &salt[..profile.salt_bytes()]);
        let (mut tx, mut rx) = (Sender::new(profile, key, salt), Receiver::new(profile, key, salt));
        for seq in 1..=11 {
            let mut buffer = [0x5a; 256];
            let header = RtpHeader { payload_type: 111, marker: false, seq, timestamp: 0, ssrc: 7 };
            header.emit(buffer.first_chunk_mut().expect("room for a header"));
            // The eleventh is counted: the ones before have warmed up what is looked up once.
            let (len, plain) = if seq == 11 {
                let len = marks.counted(|| tx.protect_rtp(&mut buffer, 172)).expect("room");
                (len, marks.counted(|| rx.unprotect_rtp(&mut buffer[..len])))
            } else {
                let len = tx.protect_rtp(&mut buffer, 172).expect("room");
                (len, rx.unprotect_rtp(&mut buffer[..len]))
            };
            assert!(plain == Ok(172) && len > 172, "our own packet");
        }
    })?;
    <[u64; 2]>::try_from(counts).map_err(|counts| format!("{} counts of two packets", counts.len()).into())
}

/// libsrtp's counts for the same packets: none where the library or a C compiler is missing.
fn libsrtp() -> Vec<u64> {
    let program = std::env::temp_dir().join(format!("tipring-libsrtp-{}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/icount/libsrtp.c");
    let built = Command::new("cc").args(["-O2", "-o"]).arg(&program).args([source, "-lsrtp2"]).output();
    let counts = match built {
        Ok(built) if built.status.success() => step::count_command(&mut Command::new(&program)).unwrap_or_default(),
        _ => Vec::new(),
    };
    let _ = std::fs::remove_file(&program);
    counts
}
