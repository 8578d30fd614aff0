//! `cargo perf`: the whole report on this machine, as a table, as JSON, and as a page with plots in `docs/performance/`.
//!
//! Decides: which loads are run, in which order (the floor and the engine take turns), and which figure stands for a row (the median). Given: our own load generator, the
//! parts alone, and what `benches/rig/compare.py` left about rivals. Refuses: to judge. A figure is what this machine gave in this run; the page says which machine.

mod alone;
mod page;

use serde_json::{Value, json};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Instant;
use tipring_benches::counting::Counting;
use tipring_benches::memory::phases;
use tipring_benches::{Nobody, Step, Wire, relay_leg};
use tipring_engine::bridge::PromptEcho;
use tipring_engine::bridge::rtp::LegCodec;
use tipring_engine::codec::SampleRate;
use tipring_engine::keying::Profile;
use tipring_engine::time::Span;
use tipring_signalling::cli::bench::{Load, Mode, Run, measure, short_calls, speech};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// How much is run.
struct Scale {
    secs: u64,
    rounds: usize,
    one_leg: usize,
    relay: usize,
    listen: usize,
    transcode: usize,
    storm_per_s: usize,
    short_calls: usize,
}

const QUICK: Scale =
    Scale { secs: 3, rounds: 2, one_leg: 400, relay: 250, listen: 150, transcode: 40, storm_per_s: 50, short_calls: 2_000 };
const WHOLE: Scale =
    Scale { secs: 8, rounds: 3, one_leg: 1_000, relay: 400, listen: 300, transcode: 60, storm_per_s: 100, short_calls: 100_000 };
/// Opus complexity of the runs with a codec: the engine's default.
const COMPLEXITY: u8 = 5;
/// What a busy shard lowers it to.
const CHEAP: u8 = 1;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--").collect();
    let has = |name: &str| arguments.iter().any(|a| a == name);
    if let Some(other) = arguments.iter().find(|a| !["--quick", "--json", "--no-page"].contains(&a.as_str())) {
        eprintln!("{other}? usage: cargo perf [-- --quick] [--json] [--no-page]");
        return ExitCode::from(2);
    }
    let calm = undisturbed();
    let (scale, name) = if has("--quick") { (&QUICK, "quick") } else { (&WHOLE, "whole") };
    match report(scale, name) {
        Ok(mut report) => {
            report["scheduling"] =
                json!(if calm { "SCHED_RR" } else { "as any other program: times through the loop are those of a shared machine" });
            if !has("--no-page")
                && let Err(e) = page::write(&report)
            {
                eprintln!("the page cannot be written: {e}");
                return ExitCode::FAILURE;
            }
            if has("--json") {
                println!("{report:#}")
            } else {
                println!("{}", page::table(&report))
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("perf: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program anew with a real-time priority where it may have one, so that other programs of the machine do not take the core away while a window runs. Returns
/// whether it has it.
fn undisturbed() -> bool {
    use std::os::unix::process::CommandExt;
    const AGAIN: &str = "TIPRING_PERF_CALM";
    if std::env::var_os(AGAIN).is_some() {
        return true;
    }
    let may = std::process::Command::new("chrt").args(["-r", "50", "true"]).output().is_ok_and(|tried| tried.status.success());
    if may && let Ok(me) = std::env::current_exe() {
        // Comes back only if it fails.
        let _ = std::process::Command::new("chrt").args(["-r", "50"]).arg(me).args(std::env::args_os().skip(1)).env(AGAIN, "1").exec();
    }
    false
}

fn report(scale: &Scale, name: &str) -> Result<Value, String> {
    let start = begun();
    let say = |what: &str| eprintln!("[{:>4} s] {what}", start.elapsed().as_secs());
    say("one leg, at full and half load");
    let one_leg = rows(scale, Mode::Echo, scale.one_leg)?;
    say("relay, at full and half load");
    let relay = rows(scale, Mode::Relay, scale.relay)?;
    say("decoded only, transcoded, talked to");
    let listen = several(scale, &load(scale, Mode::Listen, scale.listen))?;
    let [transcode, cheap] = [COMPLEXITY, CHEAP].map(|complexity| transcode(scale, complexity));
    let half_duplex = several(scale, &load(scale, Mode::HalfDuplex, scale.transcode))?;
    let talk = several(scale, &load(scale, Mode::Talk, scale.transcode))?;
    say("two shards");
    let shards = two_shards(scale)?;
    say("a storm of handshakes beside running calls");
    let storm = storm(scale)?;
    say("the parts alone");
    let parts = parts(scale)?;
    say("memory of a call");
    let memory = memory();
    say("short calls");
    let rss = short(scale)?;
    say("done");
    Ok(json!({
        "run": name, "machine": machine(), "seconds": start.elapsed().as_secs(), "complexity": COMPLEXITY,
        "one_leg": one_leg, "relay": relay, "listen": listen, "transcode": transcode?, "transcode_cheap": cheap?,
        "half_duplex": half_duplex, "talk": talk,
        "two_shards": shards, "storm": storm, "parts": parts, "memory": memory, "short_calls": rss,
    }))
}

#[allow(clippy::disallowed_methods, reason = "a report says how long it took")]
fn begun() -> Instant {
    Instant::now()
}

fn load(scale: &Scale, mode: Mode, calls: usize) -> Load {
    Load { mode, address: ADDRESS, calls, secs: scale.secs, complexity: COMPLEXITY, shards: 1, storm_per_s: 0 }
}

/// The median of some figure, and its range.
fn figure(values: impl Iterator<Item = f64>) -> Value {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let round = |v: f64| (v * 1_000.0).round() / 1_000.0;
    let middle = |values: &[f64]| (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    match values[..] {
        [] => json!({ "median": null, "min": null, "max": null }),
        [first, ..] => json!({ "median": round(middle(&values)), "min": round(first), "max": round(values[values.len() - 1]) }),
    }
}

fn summary(load: &Load, runs: &[Run]) -> Value {
    let percentile = |p: f64| figure(runs.iter().map(|r| f64::from(r.tally.loop_us_at(p))));
    json!({
        "mode": load.mode.name(), "calls": load.calls, "shards": load.shards,
        "cpu_us_per_call_second": figure(runs.iter().map(|r| r.cpu_us_per_call_second)),
        "calls_per_core": figure(runs.iter().map(Run::calls_per_core)),
        "core_used": figure(runs.iter().map(|r| r.cpu_us_per_call_second * r.calls as f64 / 1e6 / load.shards as f64)),
        "cpu_ms_per_setup": figure(runs.iter().map(|r| r.cpu_ms_per_setup)),
        "loss_percent": figure(runs.iter().map(Run::loss_percent)),
        "loop_us_p50": percentile(0.5), "loop_us_p99": percentile(0.99),
        "generator_late_us": figure(runs.iter().map(|r| r.tally.late_us_max as f64)),
    })
}

fn several(scale: &Scale, load: &Load) -> Result<Value, String> {
    let runs: Result<Vec<Run>, String> = (0..scale.rounds).map(|_| measure(load)).collect();
    Ok(summary(load, &runs?))
}

/// The floor and the engine in turns at `calls`, and the engine at half of it.
fn rows(scale: &Scale, mode: Mode, calls: usize) -> Result<Value, String> {
    let (full, half) = (load(scale, mode, calls), load(scale, mode, calls / 2));
    let floor = load(scale, Mode::Floor, calls * mode.legs());
    let mut runs: [Vec<Run>; 3] = Default::default();
    for _ in 0..scale.rounds {
        for (load, runs) in [&floor, &full, &half].into_iter().zip(&mut runs) {
            runs.push(measure(load)?);
        }
    }
    let pairs = |a: usize, b: usize, legs: f64| {
        figure(runs[a].iter().zip(&runs[b]).map(|(x, y)| legs * x.cpu_us_per_call_second / y.cpu_us_per_call_second))
    };
    Ok(json!({
        "floor": summary(&floor, &runs[0]), "full": summary(&full, &runs[1]), "half": summary(&half, &runs[2]),
        "floor_share": pairs(0, 1, mode.legs() as f64), "full_over_half": pairs(1, 2, 1.0),
    }))
}

/// Relays to PCMU, bare UDP over as many legs, and libopus alone, in turns.
fn transcode(scale: &Scale, complexity: u8) -> Result<Value, String> {
    let ours = Load { complexity, ..load(scale, Mode::Transcode, scale.transcode) };
    let floor = load(scale, Mode::Floor, scale.transcode * ours.mode.legs());
    let speech = speech();
    let (mut runs, mut floors, mut codec) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        runs.push(measure(&ours)?);
        floors.push(measure(&floor)?);
        let [decode, encode] = alone::opus_ns(SampleRate::Hz8000, complexity, scale.transcode, &speech);
        codec.push((decode + encode) / 1e3);
    }
    // Per 20 ms, in microseconds.
    let whole = |at: usize| runs[at].cpu_us_per_call_second / 50.0;
    let bare = |at: usize| ours.mode.legs() as f64 * floors[at].cpu_us_per_call_second / 50.0;
    let mut report = summary(&ours, &runs);
    report["libopus_us"] = figure(codec.iter().copied());
    report["bare_us"] = figure((0..scale.rounds).map(bare));
    report["share_of_libopus"] = figure(codec.iter().enumerate().map(|(at, us)| us / whole(at)));
    report["share_of_both"] = figure(codec.iter().enumerate().map(|(at, us)| (us + bare(at)) / whole(at)));
    Ok(report)
}

/// One shard with the calls of one, then two shards with those of two.
fn two_shards(scale: &Scale) -> Result<Value, String> {
    let one = load(scale, Mode::Relay, scale.relay / 2);
    let two = Load { calls: one.calls * 2, shards: 2, ..one };
    let mut runs: [Vec<Run>; 2] = Default::default();
    for _ in 0..scale.rounds {
        for (load, runs) in [&one, &two].into_iter().zip(&mut runs) {
            runs.push(measure(load)?);
        }
    }
    let gain = runs[0].iter().zip(&runs[1]).map(|(one, two)| 2.0 * one.cpu_us_per_call_second / two.cpu_us_per_call_second);
    Ok(json!({ "one": summary(&one, &runs[0]), "two": summary(&two, &runs[1]), "gain": figure(gain) }))
}

/// Echo calls alone, then with others being set up all the time.
fn storm(scale: &Scale) -> Result<Value, String> {
    let calm = load(scale, Mode::Echo, scale.one_leg / 2);
    let stormy = Load { storm_per_s: scale.storm_per_s, ..calm };
    let mut runs: [Vec<Run>; 2] = Default::default();
    for _ in 0..scale.rounds {
        for (load, runs) in [&calm, &stormy].into_iter().zip(&mut runs) {
            runs.push(measure(load)?);
        }
    }
    let rate = runs[1].iter().map(|r| r.stormed as f64 / (scale.secs + 1) as f64);
    Ok(json!({ "calm": summary(&calm, &runs[0]), "storm": summary(&stormy, &runs[1]), "set_ups_per_s": figure(rate) }))
}

fn parts(scale: &Scale) -> Result<Value, String> {
    let speech = speech();
    let srtp = |profile, calls| json!((alone::srtp_ns(profile, calls)).round());
    let opus = |rate, complexity| {
        let [decode, encode] = alone::opus_ns(rate, complexity, scale.transcode, &speech).map(|ns| (ns / 10.0).round() / 100.0);
        json!({ "decode_us": decode, "encode_us": encode })
    };
    let libsrtp = |calls| json!(alone::libsrtp_ns(calls).into_iter().map(f64::round).collect::<Vec<_>>());
    Ok(json!({
        "srtp_160_bytes_both_ways_ns": {
            "AES-CM, one call": srtp(Profile::Aes128CmSha1_80, 1), "AES-CM, 1000 calls": srtp(Profile::Aes128CmSha1_80, 1_000),
            "AES-GCM, one call": srtp(Profile::AeadAes128Gcm, 1), "AES-GCM, 1000 calls": srtp(Profile::AeadAes128Gcm, 1_000),
            "libsrtp, one call: AES-CM, AES-GCM": libsrtp(1), "libsrtp, 1000 calls: AES-CM, AES-GCM": libsrtp(1_000),
        },
        "opus_20_ms": {
            "8 kHz": opus(SampleRate::Hz8000, COMPLEXITY), "16 kHz": opus(SampleRate::Hz16000, COMPLEXITY),
            "8 kHz, complexity 0": opus(SampleRate::Hz8000, 0),
        },
        "call_without_io_us_per_packet_pair": { "echo": without_io(false), "relay": without_io(true) },
        "handshake_floor_us": alone::handshake_floor_us().map_err(|e| e.to_string())?.round(),
    }))
}

/// A call in virtual time: everything but sockets, in microseconds per packet in and packet out.
fn without_io(relay: bool) -> f64 {
    struct Watch(std::time::Duration);
    impl tipring_benches::Observer for Watch {
        #[allow(clippy::disallowed_methods, reason = "an instrument reads the clock")]
        fn step<T>(&mut self, _: Step, run: impl FnOnce() -> T) -> T {
            let start = Instant::now();
            let value = run();
            self.0 += start.elapsed();
            value
        }
    }
    let port: Box<dyn tipring_engine::call::MediaPort> = if relay { relay_leg(LegCodec::Opus) } else { Box::<PromptEcho>::default() };
    let mut wire = Wire::new(port, Profile::Aes128CmSha1_80, &mut Nobody);
    wire.connect(&mut Nobody);
    wire.run(Span::from_secs(12), &mut Nobody);
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let mut watch = Watch(std::time::Duration::ZERO);
            wire.run(Span::from_secs(20), &mut watch);
            watch.0.as_secs_f64() * 1e6 / 1_000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[2] * 1_000.0).round() / 1_000.0
}

fn memory() -> Value {
    let of = |relay: Option<LegCodec>| {
        let phases = phases(|| relay.map_or_else(|| Box::<PromptEcho>::default() as Box<_>, relay_leg), Profile::Aes128CmSha1_80);
        json!({
            "opened": phases.opened_bytes, "with_keys": phases.keyed_bytes, "steady": phases.steady_bytes,
            "allocations_in_1000_frames": phases.frames.received.1 + phases.frames.sent.1 + phases.frames.ticks.1,
        })
    };
    json!({ "echo": of(None), "relay": of(Some(LegCodec::Opus)), "relay_to_pcmu_without_libopus": of(Some(LegCodec::Pcmu)) })
}

/// Resident memory of this process over many short calls, in KiB: after the first tenth, and at its highest after that.
fn short(scale: &Scale) -> Result<Value, String> {
    let batch = 100;
    let (mut first, mut most, mut last) = (None, 0, 0);
    let start = begun();
    short_calls(ADDRESS, scale.short_calls, batch, |done| {
        last = resident_kib();
        if done >= scale.short_calls / 10 {
            first.get_or_insert(last);
            most = most.max(last);
        }
    })?;
    let first = first.unwrap_or(last);
    let grown = 100.0 * (last as f64 / first.max(1) as f64 - 1.0);
    Ok(json!({
        "calls": scale.short_calls, "rss_kib_after_a_tenth": first, "rss_kib_at_the_end": last, "rss_kib_most": most,
        "grown_percent": (grown * 100.0).round() / 100.0, "set_ups_per_s": (scale.short_calls as f64 / start.elapsed().as_secs_f64()).round(),
    }))
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")).map_or("unknown processor", |l| l.trim_start_matches(['\t', ':', ' ']));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, Linux {}, loopback", kernel.trim())
}
