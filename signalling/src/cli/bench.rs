//! `tipring bench`: how many calls one core of this machine carries.
//!
//! Decides: what is measured (the CPU time of one shard's thread, beside that of a bare UDP echo over as many sockets, in turns) and how it is told. Given: a number of
//! calls and seconds. Refuses: to extrapolate from an idle engine: the figure is for the load that ran, on loopback, with callers of ours in the same process.

use super::{EXIT_CONFIG, EXIT_FAILED};
use serde_json::json;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tipring_engine::bridge::rtp::LegCodec;
use tipring_engine::bridge::{PromptEcho, RtpLegParams};
use tipring_engine::call::{CallEvent, FrameBuffer, Incoming, MediaParams, MediaPort, Outgoing, RemoteParams, SetupRole};
use tipring_engine::codec::g711::Law;
use tipring_engine::codec::{Application, DECODE_SAMPLES_MAX, Decoder, Encoder, EncoderSettings, FRAME_SAMPLES_MAX, SampleRate};
use tipring_engine::engine::{CallId, Engine, EngineConfig};
use tipring_engine::error::EndReason;
use tipring_engine::ice::{Candidate, Credentials};
use tipring_engine::keying::Profile;
use tipring_engine::net::BareEcho;
use tipring_engine::time::Span;
use tipring_meta_sim::load::{Crowd, Speech, Tally, Words};

/// Time for all calls of a run to connect.
const PATIENCE: Duration = Duration::from_secs(60);
/// Load before the clock of a run starts.
const WARM_UP: Duration = Duration::from_secs(1);
/// Rate at which the modes with a codec work.
const RATE: SampleRate = SampleRate::Hz16000;
/// Name of the floor's thread.
const FLOOR_THREAD: &str = "bare-udp";
/// What the names of the engine's threads begin with.
const SHARD_THREADS: &str = "tipring-shard-";
/// Gates that are opened in a millisecond: fewer than a shard's mailbox holds, and spread over the 20 ms as callers are.
const GATES_AT_ONCE: usize = 50;
/// Calls that a storm sets up at once.
const STORM_BATCH: usize = 25;

/// What a call does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Mode {
    /// No call: bare UDP, one socket per call, nothing parsed.
    Floor,
    /// Every packet goes back at once.
    Echo,
    /// Every packet goes to a plain RTP leg and comes from one.
    Relay,
    /// As `relay`, with PCMU on the plain side: decoded and encoded both ways.
    Transcode,
    /// As `transcode`, but each side is silent half of the time, as people are who talk to each other.
    HalfDuplex,
    /// What the caller says is decoded to 16 kHz; silence goes back.
    Listen,
    /// Decoded to 16 kHz, and encoded again on the way back.
    Talk,
}

impl Mode {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Echo => "echo",
            Self::Relay => "relay",
            Self::Transcode => "transcode",
            Self::HalfDuplex => "half-duplex",
            Self::Listen => "listen",
            Self::Talk => "talk",
        }
    }
}

impl Mode {
    /// Legs of a call, each with a bare echo in the floor.
    pub fn legs(self) -> usize {
        if matches!(self, Self::Relay | Self::Transcode | Self::HalfDuplex) { 2 } else { 1 }
    }
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// What a call does.
    #[arg(long, value_enum, default_value = "echo")]
    mode: Mode,
    /// Calls at a time. Each takes two descriptors, a relay call four: see `ulimit -n`.
    #[arg(long, default_value_t = 400)]
    calls: usize,
    /// Seconds of load per run.
    #[arg(long, default_value_t = 5)]
    secs: u64,
    /// Runs of each; the floor and the engine take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Address to run on.
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Opus encoder complexity, for `talk`, `transcode` and `half-duplex`.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=10))]
    complexity: u8,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What a call does.
    pub mode: Mode,
    /// Address to run on.
    pub address: IpAddr,
    /// Calls at a time; for the floor, sockets.
    pub calls: usize,
    /// Seconds of load, behind a second of warm-up.
    pub secs: u64,
    /// Opus encoder complexity, 0 to 10.
    pub complexity: u8,
    /// Shards, on the last cores of the machine.
    pub shards: usize,
    /// Other calls that are set up, and closed again, in each second of the load.
    pub storm_per_s: usize,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Calls at a time.
    pub calls: usize,
    /// CPU time of the measured threads per call and second of load, in microseconds.
    pub cpu_us_per_call_second: f64,
    /// CPU time of the measured threads per set-up, in milliseconds; 0 for the floor.
    pub cpu_ms_per_setup: f64,
    /// Set-ups that were done meanwhile, when a storm was asked for.
    pub stormed: u64,
    /// What the callers saw.
    pub tally: Tally,
}

impl Run {
    /// Calls that one core carries at this cost per call.
    pub fn calls_per_core(&self) -> f64 {
        1_000_000.0 / self.cpu_us_per_call_second
    }

    /// Packets lost, in percent of those sent. A packet that is on its way when the run ends counts.
    pub fn loss_percent(&self) -> f64 {
        100.0 * (1.0 - self.tally.received.min(self.tally.sent) as f64 / self.tally.sent.max(1) as f64)
    }

    /// The figures of a run of `mode`.
    pub fn json(&self, mode: Mode) -> serde_json::Value {
        json!({
            "mode": mode.name(), "calls": self.calls,
            "cpu_us_per_call_second": round(self.cpu_us_per_call_second), "calls_per_core": self.calls_per_core().round(),
            "cpu_ms_per_setup": round(self.cpu_ms_per_setup), "packets_sent": self.tally.sent, "packets_received": self.tally.received,
            "loss_percent": round(self.loss_percent()), "loop_us_p50": self.tally.loop_us_at(0.5), "loop_us_p99": self.tally.loop_us_at(0.99),
            "generator_late_us_max": self.tally.late_us_max,
        })
    }
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Runs the command.
pub(super) fn run(args: &Args) -> ExitCode {
    if args.calls == 0 || args.secs == 0 || args.rounds == 0 {
        eprintln!("--calls, --secs and --rounds must be at least 1");
        return ExitCode::from(EXIT_CONFIG);
    }
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        for mode in [Mode::Floor, args.mode] {
            // The floor of a relay is two bare legs.
            let sockets = if mode == Mode::Floor { args.calls * args.mode.legs() } else { args.calls };
            let load = Load {
                mode,
                address: args.address,
                calls: sockets,
                secs: args.secs,
                complexity: args.complexity,
                shards: 1,
                storm_per_s: 0,
            };
            match measure(&load) {
                Ok(run) => {
                    if args.json {
                        println!("{}", run.json(mode));
                    }
                    if mode == Mode::Floor { &mut floors } else { &mut ours }.push(run);
                }
                Err(why) => {
                    eprintln!("{why}");
                    return ExitCode::from(EXIT_FAILED);
                }
            }
        }
    }
    if !args.json && !ours.is_empty() {
        println!("{}", tell(args, &floors, &ours));
    }
    ExitCode::SUCCESS
}

/// The figures as sentences.
fn tell(args: &Args, floors: &[Run], ours: &[Run]) -> String {
    let floor = median(floors.iter().map(|r| r.cpu_us_per_call_second * args.mode.legs() as f64));
    let cost = median(ours.iter().map(|r| r.cpu_us_per_call_second));
    let share = 100.0 * floor / cost;
    let loss = ours.iter().map(Run::loss_percent).fold(0.0, f64::max);
    let what = match args.mode {
        Mode::Floor => "bare UDP echoes (one socket each, no call)".to_owned(),
        Mode::Echo => "echo calls (ICE, DTLS-SRTP, every packet back at once)".to_owned(),
        Mode::Relay => "relay calls (DTLS-SRTP to plain RTP and back)".to_owned(),
        Mode::Transcode => format!("relay calls to PCMU (Opus decoded and encoded at 8 kHz, complexity {})", args.complexity),
        Mode::HalfDuplex => {
            format!("relay calls to PCMU, each side silent half of the time (Opus at 8 kHz, complexity {})", args.complexity)
        }
        Mode::Listen => "calls that are listened to (Opus decoded to 16 kHz)".to_owned(),
        Mode::Talk => format!("calls with audio both ways (Opus decoded and encoded at 16 kHz, complexity {})", args.complexity),
    };
    let limit = if share > 60.0 { "the limit is the kernel's UDP path" } else { "the limit is the work on the audio" };
    let mut text = format!(
        "One core of this machine carries about {:.0} {what}: {cost:.0} us of CPU per call and second, measured with {} calls for {} x {} s on {}.\n\
         Bare UDP over the same number of sockets costs {floor:.0} us, which is {share:.0} % of it: {limit}.",
        1_000_000.0 / cost,
        args.calls,
        ours.len(),
        args.secs,
        args.address,
    );
    if matches!(args.mode, Mode::Echo | Mode::Relay) {
        let at = |p| median(ours.iter().map(|r| f64::from(r.tally.loop_us_at(p))));
        text += &format!(
            "\nA packet was there after {:.1} ms (median) and {:.1} ms (p99); {loss:.2} % were lost.",
            at(0.5) / 1_000.0,
            at(0.99) / 1_000.0
        );
    }
    if args.mode != Mode::Floor {
        text += &format!("\nA set-up (ICE, DTLS) took {:.2} ms of the core.", median(ours.iter().map(|r| r.cpu_ms_per_setup)));
    }
    text
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// One run. The error is for an operator.
pub fn measure(load: &Load) -> Result<Run, String> {
    if load.mode == Mode::Floor { measure_floor(load) } else { measure_calls(load) }
}

fn measure_floor(load: &Load) -> Result<Run, String> {
    let echo = BareEcho::bind(load.address, load.calls).map_err(few_descriptors)?;
    let mut crowd = Crowd::new(load.address, Profile::Aes128CmSha1_80, Vec::new())?;
    for peer in echo.addresses() {
        crowd.join_plain(peer).map_err(few_descriptors)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let body = move || echo.run(cores(1).first().copied(), &flag);
    let thread = std::thread::Builder::new().name(FLOOR_THREAD.into()).spawn(body).map_err(few_descriptors)?;
    let outcome = under_load(&mut crowd, FLOOR_THREAD, load);
    stop.store(true, Ordering::Relaxed);
    let _ = thread.join();
    outcome
}

/// An engine for `calls` calls, and a thread that reads its events.
struct Bench {
    engine: Arc<Engine>,
    stop: Arc<AtomicBool>,
    /// Counts the calls that ended without being asked to.
    reader: Option<JoinHandle<usize>>,
}

impl Bench {
    fn start(load: &Load) -> Result<Self, String> {
        let calls_max = load.calls.div_ceil(load.shards) + if load.storm_per_s > 0 { 2 * STORM_BATCH } else { 0 };
        let config = EngineConfig {
            addresses: vec![load.address],
            allow_loopback: load.address.is_loopback(),
            rtp_targets: load.address.to_string().parse().into_iter().collect(),
            ports: 10_000..=32_000,
            cores: cores(load.shards),
            calls_max_per_shard: calls_max,
            handshakes_max: calls_max,
            load_max_percent: 100,
            complexity: load.complexity,
            ..EngineConfig::default()
        };
        let engine = Arc::new(Engine::start(config).map_err(|e| e.to_string())?);
        // Somebody must read the events, or calls wait with theirs.
        let stop = Arc::new(AtomicBool::new(false));
        let flag = (Arc::clone(&engine), Arc::clone(&stop));
        let body = move || {
            let (engine, stop) = flag;
            let mut ended = 0;
            while !stop.load(Ordering::Relaxed) {
                if let Some((_, CallEvent::Ended(over))) = engine.next_event(Span::from_millis(100)) {
                    ended += usize::from(over.reason != EndReason::HangUp);
                }
            }
            ended
        };
        Ok(Self { engine, stop, reader: Some(std::thread::spawn(body)) })
    }

    /// Takes a caller of the crowd into a call.
    fn connect(&self, crowd: &mut Crowd, mode: Mode) -> Result<CallId, String> {
        let engine = &self.engine;
        let port: Box<dyn MediaPort> = match mode {
            Mode::Echo => Box::new(PromptEcho::default()),
            Mode::Talk => Box::new(Talk::default()),
            _ => Box::new(Listen),
        };
        let (call, local) = engine.open_call(SetupRole::Active, port).map_err(|e| format!("no room: {e:?}; look at `ulimit -n`"))?;
        let (number, words) = crowd.join().map_err(few_descriptors)?;
        crowd.meet(number, local.fingerprint.to_string().trim_start_matches("sha-256 "))?;
        engine.set_remote(call, peer(&words)?).map_err(|e| e.to_string())?;
        if mode.legs() == 2 {
            let speech = if mode == Mode::Relay { Speech::Opus } else { Speech::Pcmu };
            let far = crowd.reserve(speech).map_err(few_descriptors)?;
            let params = match speech {
                Speech::Opus => RtpLegParams::opus(far.1),
                Speech::Pcmu => RtpLegParams::transcoded(far.1, LegCodec::Pcmu),
            };
            let leg = engine.attach_rtp(call, params, |leg| leg).map_err(|e| format!("no plain RTP leg: {e:?}"))?;
            crowd.talk_to(far.0, leg.rtp);
        }
        Ok(call)
    }

    /// Tells how many calls ended without being asked to.
    fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or(0)
    }
}

fn measure_calls(load: &Load) -> Result<Run, String> {
    let bench = Bench::start(load)?;
    let mut speech = if matches!(load.mode, Mode::Echo | Mode::Relay) { Vec::new() } else { speech() };
    let mut telephone = telephone(&speech);
    if load.mode == Mode::HalfDuplex {
        // As much again in which nothing is said, on either side: its turns come at other times, for each caller begins elsewhere.
        let frames = speech.len();
        speech.extend(encoded(core::iter::repeat_n([0; FRAME_16K], frames)));
        telephone.extend(core::iter::repeat_n(IDLE_LINE, frames));
    }
    let mut crowd = Crowd::new(load.address, Profile::Aes128CmSha1_80, speech)?;
    if !telephone.is_empty() {
        crowd.say_pcmu(telephone);
    }
    let outcome = call_and_load(&bench, &mut crowd, load);
    match (outcome, bench.end()) {
        (Ok(_), ended) if ended > 0 => Err(format!(
            "{ended} calls ended during the run: the machine is too busy for {} calls, or the address cannot reach itself",
            load.calls
        )),
        (outcome, _) => outcome,
    }
}

fn call_and_load(bench: &Bench, crowd: &mut Crowd, load: &Load) -> Result<Run, String> {
    let before = threads_cpu(SHARD_THREADS)?;
    let mut calls = Vec::with_capacity(load.calls);
    for _ in 0..load.calls {
        calls.push(bench.connect(crowd, load.mode)?);
        // Answers as they come, so that no handshake waits for the last call.
        crowd.attend();
    }
    settle(crowd)?;
    let setup = threads_cpu(SHARD_THREADS)? - before;
    // Only now: a call with an open gate sends silence, and the set-up of the others would be charged with it.
    for chunk in calls.chunks(GATES_AT_ONCE) {
        for &call in chunk {
            bench.engine.open_gate(call).map_err(|e| e.to_string())?;
        }
        crowd.run(Duration::from_millis(1));
    }
    let storm_over = AtomicBool::new(false);
    let (run, stormed) = std::thread::scope(|scope| {
        let storm = (load.storm_per_s > 0).then(|| scope.spawn(|| storm(bench, load, &storm_over)));
        let run = under_load(crowd, SHARD_THREADS, load);
        storm_over.store(true, Ordering::Relaxed);
        (run, storm.map_or(Ok(0), |storm| storm.join().unwrap_or_else(|_| Err("the storm panicked".into()))))
    });
    Ok(Run { cpu_ms_per_setup: setup.as_secs_f64() * 1_000.0 / load.calls as f64, stormed: stormed?, ..run? })
}

fn settle(crowd: &mut Crowd) -> Result<(), String> {
    match crowd.settle(PATIENCE) {
        true => Ok(()),
        false => Err(format!("{} calls connected within {} s, not all: the machine is too busy", crowd.connected(), PATIENCE.as_secs())),
    }
}

/// Sets calls up in batches and closes them again, until it is over; returns how many.
#[allow(clippy::disallowed_methods, reason = "a storm has its hour")]
fn storm(bench: &Bench, load: &Load, over: &AtomicBool) -> Result<u64, String> {
    let mut done = 0;
    let start = Instant::now();
    loop {
        done += short_batch(bench, load.address, STORM_BATCH)? as u64;
        if over.load(Ordering::Relaxed) {
            return Ok(done);
        }
        let due = Duration::from_secs_f64(done as f64 / load.storm_per_s as f64);
        std::thread::sleep(due.saturating_sub(start.elapsed()).min(Duration::from_secs(1)));
    }
}

/// One batch of calls that are set up at once and closed as soon as all have keys.
fn short_batch(bench: &Bench, address: IpAddr, calls: usize) -> Result<usize, String> {
    let mut crowd = Crowd::new(address, Profile::Aes128CmSha1_80, Vec::new())?;
    let opened: Result<Vec<CallId>, String> = (0..calls).map(|_| bench.connect(&mut crowd, Mode::Echo)).collect();
    settle(&mut crowd)?;
    for call in opened? {
        bench.engine.close(call, EndReason::HangUp).map_err(|e| e.to_string())?;
    }
    Ok(calls)
}

/// Has one engine take `total` calls after each other, in batches of `batch`, each call closed as soon as it has keys. `seen` hears the number after each batch.
pub fn short_calls(address: IpAddr, total: usize, batch: usize, mut seen: impl FnMut(usize)) -> Result<(), String> {
    let load = Load { mode: Mode::Echo, address, calls: 2 * batch, secs: 0, complexity: 0, shards: 1, storm_per_s: 0 };
    let bench = Bench::start(&load)?;
    for number in 1..=total.div_ceil(batch) {
        short_batch(&bench, address, batch)?;
        // The calls of a batch are gone before the next one comes.
        while bench.engine.calls() > 0 {
            #[allow(clippy::disallowed_methods, reason = "a bench waits for its calls")]
            std::thread::sleep(Duration::from_millis(1));
        }
        seen(number * batch);
    }
    match bench.end() {
        0 => Ok(()),
        ended => Err(format!("{ended} of the short calls ended otherwise than by being closed")),
    }
}

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn under_load(crowd: &mut Crowd, threads: &str, load: &Load) -> Result<Run, String> {
    crowd.run(WARM_UP);
    let (start, before) = (Instant::now(), threads_cpu(threads)?);
    let tally = crowd.run(Duration::from_secs(load.secs));
    let (took, cpu) = (start.elapsed(), threads_cpu(threads)? - before);
    let cpu_us_per_call_second = cpu.as_secs_f64() * 1_000_000.0 / took.as_secs_f64() / load.calls as f64;
    Ok(Run { calls: load.calls, cpu_us_per_call_second, cpu_ms_per_setup: 0.0, stormed: 0, tally })
}

fn peer(words: &Words) -> Result<RemoteParams, String> {
    Ok(RemoteParams {
        credentials: Some(Credentials { ufrag: words.ufrag.clone(), pwd: words.pwd.clone() }),
        lite: true,
        candidates: vec![Candidate::host(words.address, u16::MAX)],
        fingerprints: vec![format!("sha-256 {}", words.fingerprint).parse().map_err(|e| format!("a caller's fingerprint: {e}"))?],
        role: SetupRole::Passive,
        media: MediaParams::default(),
        ssrc: None,
        sdes: None,
    })
}

fn few_descriptors(e: std::io::Error) -> String {
    format!("the system refused a socket or a thread: {e}; fewer --calls, or a higher `ulimit -n`")
}

/// The cores that `count` measured threads are pinned to: the last ones. None if that leaves no core at all for the callers and only one thread is asked for.
fn cores(count: usize) -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match count {
        1 if cores == 1 => Vec::new(),
        _ => (0..count).map(|k| ((count + 1) * cores - 1 - k) % cores).collect(),
    }
}

/// CPU time so far of the threads of this process whose names begin like that, from the scheduler's own account.
fn threads_cpu(name: &str) -> Result<Duration, String> {
    // A thread that was just started has not taken its name yet.
    for _ in 0..100 {
        if let Some(cpu) = named_threads_cpu(name)? {
            return Ok(cpu);
        }
        #[allow(clippy::disallowed_methods, reason = "a bench waits for its threads")]
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("no thread {name}: it has ended"))
}

fn named_threads_cpu(name: &str) -> Result<Option<Duration>, String> {
    let unreadable = |e: std::io::Error| format!("/proc does not tell the CPU time of threads: {e}");
    let mut sum = None;
    for task in std::fs::read_dir("/proc/self/task").map_err(unreadable)? {
        let path = task.map_err(unreadable)?.path();
        let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if comm.starts_with(name) {
            let account = std::fs::read_to_string(path.join("schedstat")).map_err(unreadable)?;
            let ns = account.split(' ').next().and_then(|ns| ns.parse().ok());
            *sum.get_or_insert(Duration::ZERO) += ns.map(Duration::from_nanos).ok_or_else(|| format!("cannot read {account:?}"))?;
        }
    }
    Ok(sum)
}

/// Takes what the caller says, decoded, and says nothing.
struct Listen;

impl MediaPort for Listen {
    fn wants_pcm(&self) -> Option<SampleRate> {
        Some(RATE)
    }

    fn incoming(&mut self, _frame: Incoming<'_>) {}

    fn outgoing(&mut self, _frame: &mut FrameBuffer) -> Outgoing {
        Outgoing::Silence
    }
}

/// Says back what the caller said, through decoder and encoder.
struct Talk {
    samples: [i16; FRAME_SAMPLES_MAX],
}

impl Default for Talk {
    fn default() -> Self {
        Self { samples: [0; FRAME_SAMPLES_MAX] }
    }
}

impl MediaPort for Talk {
    fn wants_pcm(&self) -> Option<SampleRate> {
        Some(RATE)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Pcm { samples, .. } = frame {
            self.samples[..samples.len()].copy_from_slice(samples);
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        let samples = RATE.frame_samples();
        frame.pcm[..samples].copy_from_slice(&self.samples[..samples]);
        Outgoing::Pcm(RATE)
    }
}

/// Samples of 20 ms at [`RATE`].
const FRAME_16K: usize = RATE.frame_samples();
/// 20 ms of a telephone line on which nobody speaks: its lowest step either way.
const IDLE_LINE: [u8; 160] = {
    let mut frame = [0xff; 160];
    let mut i = 0;
    while i < 160 {
        frame[i] = if i % 3 == 0 { 0x7e } else { 0xfe };
        i += 1;
    }
    frame
};

/// Speech, the demo's two samples, as Opus packets of 24 kbit/s.
pub fn speech() -> Vec<Vec<u8>> {
    let wavs: [&[u8]; 2] = [include_bytes!("../../assets/caller.wav"), include_bytes!("../../assets/greeting.wav")];
    let samples: Vec<i16> =
        wavs.into_iter().flat_map(|wav| hound::WavReader::new(wav).expect("a WAV file of ours").into_samples::<i16>().flatten()).collect();
    encoded(samples.as_chunks::<FRAME_16K>().0.iter().copied())
}

fn encoded(frames: impl Iterator<Item = [i16; FRAME_16K]>) -> Vec<Vec<u8>> {
    let settings = EncoderSettings {
        rate: RATE,
        application: Application::Voip,
        bitrate_bps: 24_000,
        complexity: 5,
        cbr: false,
        fec: false,
        loss_percent: 0,
        playback_rate_hz_max: 16_000,
    };
    let Ok(mut encoder) = Encoder::new(&settings) else { return Vec::new() };
    let mut out = [0; 1_275];
    frames
        .map(|frame| {
            let len = encoder.encode(&frame, &mut out);
            out[..len].to_vec()
        })
        .collect()
}

/// The same as a telephone says it: 20 ms of PCMU for each packet.
pub fn telephone(speech: &[Vec<u8>]) -> Vec<[u8; 160]> {
    let Ok(mut decoder) = Decoder::new(SampleRate::Hz8000) else { return Vec::new() };
    let mut pcm = [0; DECODE_SAMPLES_MAX];
    speech
        .iter()
        .map(|packet| {
            let mut frame = [0xff; 160];
            if decoder.decode(packet, &mut pcm) == Some(frame.len()) {
                Law::Mu.encode(&pcm[..frame.len()], &mut frame);
            }
            frame
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(mode: Mode) -> Load {
        Load { mode, address: IpAddr::from([127, 0, 0, 1]), calls: 2, secs: 1, complexity: 0, shards: 1, storm_per_s: 0 }
    }

    #[test]
    fn calls_are_set_up_beside_running_ones_and_after_each_other() {
        let run = measure(&Load { shards: 2, storm_per_s: 50, ..load(Mode::Echo) }).expect("two calls in a storm");
        assert!(run.stormed >= STORM_BATCH as u64 && run.tally.received > 0, "{run:?}");
        let mut seen = Vec::new();
        short_calls(IpAddr::from([127, 0, 0, 1]), 6, 3, |done| seen.push(done)).expect("six short calls");
        assert_eq!(seen, [3, 6]);
    }

    #[test]
    fn a_few_calls_of_each_mode_are_carried_and_measured() {
        for mode in [Mode::Floor, Mode::Echo, Mode::Relay, Mode::Transcode, Mode::HalfDuplex, Mode::Listen, Mode::Talk] {
            let run = measure(&load(mode)).expect("two calls for a second");
            assert!(run.cpu_us_per_call_second > 0.0, "{mode:?}");
            assert!(run.tally.sent > 0 && run.tally.received > 0, "{mode:?}: {:?}", run.tally);
        }
    }

    #[test]
    fn speech_is_packets_of_20_ms() {
        let packets = speech();
        assert!(packets.len() > 100);
        assert_eq!(telephone(&packets).len(), packets.len());
        assert!(packets.iter().all(|p| tipring_engine::codec::toc::duration_ticks(p) == Ok(960)));
    }

    #[test]
    fn the_sentence_names_the_figure_and_the_limit() {
        let run = |us| Run { calls: 400, cpu_us_per_call_second: us, cpu_ms_per_setup: 0.5, stormed: 0, tally: Tally::default() };
        let args = Args { mode: Mode::Echo, calls: 400, secs: 5, rounds: 1, address: [127, 0, 0, 1].into(), complexity: 5, json: false };
        let text = tell(&args, &[run(400.0)], &[run(500.0)]);
        assert!(text.contains("about 2000 echo calls") && text.contains("80 % of it: the limit is the kernel"), "{text}");
    }
}
