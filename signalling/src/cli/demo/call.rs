//! Runs one call: a simulator and a daemon on loopback, joined as a user would join the daemon and Meta.
//!
//! Given: options. Decides: the daemon's configuration, and when everything has been seen. Refuses: judging (`report.rs`).

use super::garbage::{Garbage, Thrown};
use super::machine::Machine;
use super::report::{self, DemoReport};
use super::scenario::{Scenario, clean_script};
use crate::config::{BridgeConfig, BridgeKind, Config, GraphConfig, HttpConfig, NumberConfig, RecordConfig, Secret, WebhookConfig};
use crate::session::{Dial, Notice, Personal};
use crate::shell::{Daemon, DaemonEvent, DaemonHandle, MetricsSnapshot, Observed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tipring_engine::call::CallEvent;
use tipring_engine::dtls::DtlsConfig;
use tipring_engine::engine::EngineConfig;
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::business::Misdeed;
use tipring_meta_sim::faults::Fault;
use tipring_meta_sim::oracle::Limits;
use tipring_meta_sim::shell::{CallReport, Sim, SimConfig, rehearse};

/// What a demo call is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// What goes wrong; none: nothing.
    pub scenario: Option<Scenario>,
    /// Where the recording goes. Made when it is not there.
    pub out: PathBuf,
    /// Throw garbage at every port of ours during the call.
    pub garbage: bool,
    /// How strict the oracle is where a rule says "soon".
    pub limits: Limits,
}

impl Options {
    /// A clean call, recorded into `out`, judged strictly.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        Self { scenario: None, out: out.into(), garbage: false, limits: Limits::default() }
    }
}

/// An event of the daemon, on the simulator's clock.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Time,
    pub(super) event: DaemonEvent,
}

/// Everything that one call left behind.
pub(super) struct Evidence {
    pub(super) call: CallReport,
    pub(super) seen: Vec<Seen>,
    /// None: no daemon took part.
    pub(super) metrics: Option<MetricsSnapshot>,
    pub(super) thrown: Option<Thrown>,
    pub(super) greeting: Arc<[i16]>,
    pub(super) voice: Arc<[i16]>,
}

/// Runs one call from start to end: about 14 s, or as long as the scenario takes. The error says why it could not start.
///
/// A call that was not as stated while the machine stood still proves nothing: it is made again, at most `ATTEMPTS_MAX` times in all. One that was not as
/// stated on a machine that ran is a finding.
pub fn run(options: &Options) -> Result<DemoReport, String> {
    let mut attempt = 1;
    loop {
        let report = run_once(options)?;
        if report.as_expected || report.stood_still < EXCUSE_MIN || attempt == ATTEMPTS_MAX {
            return Ok(report);
        }
        attempt += 1;
    }
}

fn run_once(options: &Options) -> Result<DemoReport, String> {
    std::fs::create_dir_all(&options.out)
        .map_err(|e| format!("{}: {e}; name a directory that can be written with --out DIR", options.out.display()))?;
    let greeting_path = options.out.join("greeting.wav");
    std::fs::write(&greeting_path, GREETING_WAV).map_err(|e| format!("{}: {e}", greeting_path.display()))?;
    let (greeting, voice) = (samples(GREETING_WAV), samples(CALLER_WAV));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
    let machine = Machine::watch();
    let evidence = match options.scenario {
        Some(Scenario::Ours(misdeed)) => runtime.block_on(rehearsed(misdeed, greeting, voice))?,
        _ => runtime.block_on(carry(options, &greeting_path, greeting, voice))?,
    };
    report::make(options, evidence, machine.stood_still())
}

/// A call that the simulator's own business takes, and does wrong.
async fn rehearsed(misdeed: Misdeed, greeting: Arc<[i16]>, voice: Arc<[i16]>) -> Result<Evidence, String> {
    // Strict whatever the machine does: a rule that breaks is what is wanted.
    let config = SimConfig::new("");
    let script = Scenario::Ours(misdeed).script(&voice);
    let call = rehearse(config, script, &[misdeed], Arc::clone(&greeting)).await?;
    Ok(Evidence { call, seen: Vec::new(), metrics: None, thrown: None, greeting, voice })
}

async fn carry(options: &Options, greeting_path: &Path, greeting: Arc<[i16]>, voice: Arc<[i16]>) -> Result<Evidence, String> {
    let has_ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let mut sim_config = SimConfig::new("");
    sim_config.has_ipv6 = has_ipv6;
    sim_config.limits = options.limits.clone();
    let sim = Arc::new(Sim::start(sim_config).await?);

    let ports = ports();
    let config = configure(options, &sim, greeting_path, has_ipv6, ports.clone());
    let (sender, events) = mpsc::channel();
    let clock = Arc::clone(&sim);
    let daemon = Daemon::start(
        config,
        Arc::new(move |observed: &Observed| {
            // The receiver is gone only when the demo has all it wanted.
            let _ = sender.send(Seen { at: clock.now(), event: observed.event.clone() });
        }),
    )
    .map_err(|e| e.to_string())?;
    sim.set_webhook_url(format!("http://{}/webhook", daemon.webhook_addr()));
    let garbage = options.garbage.then(|| Garbage::start(ports, daemon.webhook_addr())).transpose()?;

    let call = dial(options, &sim, &daemon, &greeting, &voice).await?;
    let thrown = garbage.map(Garbage::stop);
    let seen = collect(&events);
    let metrics = daemon.metrics();
    daemon.shutdown();
    Ok(Evidence { call, seen, metrics: Some(metrics), thrown, greeting, voice })
}

async fn dial(options: &Options, sim: &Sim, daemon: &DaemonHandle, greeting: &[i16], voice: &Arc<[i16]>) -> Result<CallReport, String> {
    let mut faults: Vec<Fault> = options.scenario.and_then(Scenario::fault).into_iter().collect();
    if options.garbage && !faults.contains(&Fault::Garbage) {
        faults.push(Fault::Garbage);
    }
    let script = match options.scenario {
        Some(scenario) => scenario.script(voice),
        None => clean_script(greeting.len() as u64 / 16, voice),
    };
    if !options.scenario.is_some_and(Scenario::is_outbound) {
        return sim.call(script, &faults).await;
    }
    let number = script.number.clone();
    let expected = sim.expect_call(script, &faults);
    daemon
        .dial(Dial {
            phone_number_id: sim.account().phone_number_id.as_str().into(),
            to: Personal::new(&number),
            recipient: None,
            biz_opaque: None,
        })
        .map_err(|e| e.to_string())?;
    expected.report().await
}

/// The configuration that `docs/CONFIG.md` describes, built in memory.
fn configure(options: &Options, sim: &Sim, greeting_path: &Path, has_ipv6: bool, ports: RangeInclusive<u16>) -> Config {
    let account = sim.account();
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    addresses.extend(has_ipv6.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    Config {
        http: HttpConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..HttpConfig::default() },
        engine: EngineConfig {
            addresses,
            allow_loopback: true,
            ports,
            // A demo need not wait as long as a call over the Internet may have to.
            ice_patience: Span::from_secs(5),
            dtls_patience: Span::from_secs(4),
            // One of the scenarios has a relay that knows only the last of them.
            profiles: DtlsConfig::default().profiles,
            ..EngineConfig::default()
        },
        graph: GraphConfig { base_url: sim.graph_url(), ..GraphConfig::default() },
        webhook: Some(WebhookConfig::new(Secret::new("demo"), vec![Secret::new(account.app_secret.as_str())])),
        numbers: vec![NumberConfig {
            phone_number_id: account.phone_number_id.clone(),
            access_token: Secret::new(account.access_token.as_str()),
            keying: Default::default(),
            bridge: BridgeConfig { kind: BridgeKind::PlayThenEcho(greeting_path.to_owned()), record: true },
            waits: false,
            ..NumberConfig::new("", Secret::new(""))
        }],
        record: Some(RecordConfig { directory: options.out.clone(), ogg: true, wav: true }),
        drain_max: Duration::from_secs(1),
        ..Config::default()
    }
}

/// Sixteen media ports of this call's own, so that calls of one process and of two do not look for the same one.
fn ports() -> RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let block = (std::process::id() as u16).wrapping_mul(7).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORT_BLOCKS;
    let first = PORTS_FROM + block * PORTS_PER_CALL;
    first..=first + PORTS_PER_CALL - 1
}

/// Takes the daemon's events until media, call and recording are over; or nothing has come for too long.
fn collect(events: &mpsc::Receiver<Seen>) -> Vec<Seen> {
    let mut seen: Vec<Seen> = events.try_iter().collect();
    while !is_complete(&seen) {
        match events.recv_timeout(SETTLE_MAX) {
            Ok(event) => seen.push(event),
            Err(_) => break,
        }
    }
    seen.extend(events.try_iter());
    seen
}

fn is_complete(seen: &[Seen]) -> bool {
    let count = |is: fn(&DaemonEvent) -> bool| seen.iter().filter(|s| is(&s.event)).count();
    let opened = count(|e| matches!(e, DaemonEvent::MediaOpened { .. }));
    let over = count(|e| matches!(e, DaemonEvent::Media { event: CallEvent::Ended(_), .. }));
    let recorded = count(|e| matches!(e, DaemonEvent::RecordingFinished { .. } | DaemonEvent::RecordingFailed { .. }));
    let begun = count(|e| matches!(e, DaemonEvent::Notice { notice: Notice::Offered { .. } | Notice::Dialling { .. }, .. }));
    let ended = count(|e| matches!(e, DaemonEvent::Notice { notice: Notice::Ended(_), .. }));
    over >= opened && recorded >= opened && ended >= begun
}

/// Samples of a shipped file: mono, 16 bit, 16 kHz.
fn samples(wav: &[u8]) -> Arc<[i16]> {
    let reader = hound::WavReader::new(wav).expect("a WAV file of ours");
    debug_assert_eq!((reader.spec().sample_rate, reader.spec().channels), (16_000, 1));
    reader.into_samples::<i16>().map(|s| s.expect("a whole sample")).collect()
}

const GREETING_WAV: &[u8] = include_bytes!("../../../assets/greeting.wav");
const CALLER_WAV: &[u8] = include_bytes!("../../../assets/caller.wav");
/// Calls made until one is judged on a machine that ran.
const ATTEMPTS_MAX: u32 = 4;
/// A machine that stood still for this long in all may have broken a rule on its own: one frame late is enough for some.
const EXCUSE_MIN: Span = Span::from_millis(40);
/// Longest silence of the daemon while something is still to come.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Media ports of demo calls: 42 000 to 49 999.
const PORTS_FROM: u16 = 42_000;
const PORTS_PER_CALL: u16 = 16;
const PORT_BLOCKS: u16 = 500;
