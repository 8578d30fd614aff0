//! Starts and stops the daemon as a library call: listeners, engine, one control thread, one event thread.
//!
//! Decides: the order of start and stop. Given: a checked configuration and an observer. Refuses: to start half: what fails, fails before the first packet.

use super::audit::Audit;
use super::bridges::Bridges;
use super::cdr;
use super::commons::Commons;
use super::control_task::{ControlTask, HostCommand, Inputs, Left, Stop};
use super::forward::Forwarder;
use super::http_client::GraphClient;
use super::http_server::{Limits, serve};
use super::intake::Intake;
use super::media_table::MediaTable;
use super::metrics::{Metrics, MetricsSnapshot};
use super::ng::{Ng, NgSockets};
use super::observe::{CallRef, Observer, Watch, unix_s};
use super::recorder::Done;
use super::reload::Reloader;
use super::routes::{BODIES_BYTES_MAX, Routes, UNPROVEN_BYTES_MAX};
use super::store::{Found, Receipt, Store};
use super::tenants::Tenants;
use super::tls::{self, OsEntropy};
use crate::config::{Config, ProcessSecrets, read_one_number};
use crate::control::{Book, Direct, EventHub, Hooks, Memory, Native, Signups};
use crate::session::{CallKey, Command, Dial, SessionConfig, Sessions};
use crate::verdict::is_unroutable;
use crate::webhook::dedup;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tipring_engine::engine::{Engine, EngineConfig};
use tipring_engine::time::Span;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

#[cfg(test)]
mod tests;

/// The daemon.
pub struct Daemon;

/// A running daemon. Dropping it stops everything at once.
pub struct DaemonHandle {
    webhook_addr: SocketAddr,
    direct_addr: Option<SocketAddr>,
    api_addr: Option<SocketAddr>,
    ng_addr: Option<SocketAddr>,
    metrics: Arc<Metrics>,
    engine_calls: std::sync::Weak<Engine>,
    stop: watch::Sender<Stop>,
    host: mpsc::Sender<HostCommand>,
    reloader: Arc<Reloader>,
    control: Option<JoinHandle<()>>,
    certificate: Option<Arc<tls::Certificate>>,
}

/// Why the daemon did not start, or did not take a command: what, where, what to do.
#[derive(Debug)]
pub struct DaemonError(pub String);

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DaemonError {}

impl Daemon {
    /// Starts listeners, engine and control in threads of their own; returns when they run.
    ///
    /// `observer` is called for each step on those threads and must not block.
    pub fn start(config: Config, observer: Observer) -> Result<DaemonHandle, DaemonError> {
        Self::try_start(config, observer).map_err(DaemonError)
    }

    fn try_start(config: Config, observer: Observer) -> Result<DaemonHandle, String> {
        let watch_ = Watch::new(observer);
        let metrics = Arc::new(Metrics::default());
        let certificate = config.http.tls.as_ref().map(tls::Certificate::load).transpose()?;
        let tls = certificate.as_ref().map(tls::Certificate::server_config).transpose()?.map(TlsAcceptor::from);
        let (host, host_rx) = mpsc::channel(HOST_COMMANDS_MAX);
        let bridges = Arc::new(Bridges::start(&config, &watch_, &metrics, recorded(host.clone()))?);
        let tenants = Arc::new(Tenants::of(&config));
        let graph = Arc::new(GraphClient::new(&config.graph, Arc::clone(&tenants))?);
        let http = listen(config.http.listen, "http.listen")?;
        let direct_socket = config.direct.as_ref().map(|d| listen(d.listen, "direct.listen")).transpose()?;
        let api_socket = config.api.as_ref().map(|a| listen(a.listen, "api.listen")).transpose()?;
        let local = |l: &TcpListener| l.local_addr().map_err(|e| format!("a listener has no address: {e}"));
        let webhook_addr = local(&http)?;
        let direct_addr = direct_socket.as_ref().map(local).transpose()?;
        let api_addr = api_socket.as_ref().map(local).transpose()?;

        let shards = config.engine.cores.len().max(1);
        let calls_max = config.engine.calls_max_per_shard.saturating_mul(shards);
        let (store, found) = match &config.store {
            Some(file) => Store::open(file, unix_s())?,
            None => {
                if !config.numbers.is_empty() {
                    tracing::warn!(
                        "there is no [store]: if this process dies, webhooks that were answered and not dealt with are lost, and its calls stay open until Meta gives them up"
                    );
                }
                (Store::none(), Found::default())
            }
        };
        let store = Arc::new(store);
        restore_numbers(&found.numbers, &tenants, &bridges, config.record.is_some());
        let engine = Arc::new(Engine::start(config.engine.clone()).map_err(|e| format!("engine: {e}"))?);
        warn_if_unreachable(engine.config());

        let (stop, stop_rx) = watch::channel(Stop::Run);
        let (engine_tx, engine_rx) = mpsc::channel(ENGINE_EVENTS_MAX);
        let queue_max = config.webhook.as_ref().map_or(1, |w| w.queue_max);
        let (webhook_tx, webhook_rx) = mpsc::channel(queue_max);
        let draining = Arc::new(AtomicBool::new(false));
        let bodies = Arc::new(Semaphore::new(BODIES_BYTES_MAX));
        let limits = Limits { connections_max: config.http.connections_max, read_timeout: config.http.read_timeout };

        let commons = Commons {
            records: config.record.is_some(),
            read_timeout: limits.read_timeout,
            engine: Arc::clone(&engine),
            bridges: Arc::clone(&bridges),
            bodies: Arc::clone(&bodies),
            metrics: Arc::clone(&metrics),
            watch: watch_.clone(),
        };
        let direct = config.direct.clone().map(|direct| Arc::new(Direct::new(direct, commons.clone())));
        let ng_sockets = config.ng.as_ref().map(NgSockets::bind).transpose()?;
        let ng_addr = ng_sockets.as_ref().map(|sockets| sockets.address);
        let ng = config.ng.clone().map(|ng| Arc::new(Ng::new(ng, commons.clone())));
        let intake =
            Intake { tenants: Arc::clone(&tenants), store: Arc::clone(&store), forwarder: Forwarder::start(&metrics)?, queue: webhook_tx };
        let deliveries = found.deliveries.into_iter().map(|(kept, receipt)| intake.resume(kept, receipt)).collect();
        let left = Left { deliveries, open: found.open, ended: found.ended };
        let reloader = Arc::new(Reloader {
            tenants: Arc::clone(&tenants),
            bridges: Arc::clone(&bridges),
            store: Arc::clone(&store),
            host: host.clone(),
            started: config.clone(),
        });
        let routes = Arc::new(Routes {
            tenants: Arc::clone(&tenants),
            intake,
            bodies,
            unproven: Arc::new(Semaphore::new(UNPROVEN_BYTES_MAX)),
            read_timeout: limits.read_timeout,
            is_behind_proxy: config.http.behind_proxy,
            certificate: certificate.clone(),
            audit: Audit::default(),
            calls: Box::new({
                let engine = Arc::clone(&engine);
                move || engine.calls()
            }),
            calls_max,
            draining: Arc::clone(&draining),
            metrics: Arc::clone(&metrics),
            watch: watch_.clone(),
        });
        let prompts: HashMap<_, _> = config.prompts.iter().map(|p| (p.name.clone(), p.wav.clone())).collect();
        let mut entropy = OsEntropy;
        let book = Book::new(&mut entropy);
        let hub = Arc::new(EventHub::new(book.run()));
        let (records, cdr_thread) = config.cdr.clone().map(|c| cdr::start(c, Arc::clone(&store))).transpose()?.unzip();
        let (close, closed) = watch::channel(false);
        let hook_configs = config.api.as_ref().map(|a| a.hooks.clone()).unwrap_or_default();
        let hook_metrics = Arc::clone(&metrics);
        let native = config.api.clone().map(|api| {
            Arc::new(Native {
                listeners: Arc::new(Semaphore::new(api.listeners_max)),
                config: api,
                prompts: prompts.clone(),
                commons: commons.clone(),
                graph: Arc::clone(&graph),
                control: host.clone(),
                hub: Arc::clone(&hub),
                stop: closed.clone(),
                memory: std::sync::Mutex::new(Memory::default()),
                reloader: Arc::clone(&reloader),
                signups: Signups::default(),
            })
        });
        let task = ControlTask {
            sessions: Sessions::new(SessionConfig {
                auto_answer: false,
                calls_max,
                sdes_numbers: tenants.now().sdes_numbers(),
                ring_deadline: Span::from_nanos(config.outbound.ring_max.as_nanos() as u64),
                answer_signal: config.outbound.answer_signal,
                ..SessionConfig::default()
            }),
            engine: Arc::clone(&engine),
            graph,
            bridges,
            tenants,
            trunks: config.trunks.clone(),
            told: dedup::Memory::new(TOLD_MAX, TOLD_TTL),
            prompts,
            book,
            hub: Arc::clone(&hub),
            records,
            store: Arc::clone(&store),
            receipt: Receipt::default(),
            held: VecDeque::new(),
            entropy,
            dial_bridge: None,
            dialled: None,
            stopping: false,
            direct: direct.clone(),
            ng: ng.clone(),
            metrics: Arc::clone(&metrics),
            watch: watch_,
            draining,
            drain_max: config.drain_max,
            media: MediaTable::default(),
            replies: mpsc::channel(GRAPH_REPLIES_MAX),
            in_flight: 0,
        };
        let inputs = Inputs { webhooks: webhook_rx, engine: engine_rx, host: host_rx, stop: stop_rx };

        let events_over = Arc::new(AtomicBool::new(false));
        let engine_calls = Arc::downgrade(&engine);
        let events = spawn("tipring-events", {
            let over = Arc::clone(&events_over);
            move || {
                while !over.load(Ordering::Relaxed) {
                    if let Some(event) = engine.next_event(EVENT_WAIT)
                        && engine_tx.blocking_send(event).is_err()
                    {
                        return;
                    }
                }
            }
        })?;
        let (api_limits, closed_api) = (limits.clone(), closed.clone());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("the runtime does not start: {e}"))?;
        let control = spawn("tipring-control", move || {
            runtime.block_on(async move {
                let hooks = match Hooks::start(&hook_configs, &hub, &hook_metrics) {
                    Ok(hooks) => Some(hooks),
                    Err(e) => {
                        tracing::error!(error = %e, "events are not delivered");
                        None
                    }
                };
                let mut servers = Vec::new();
                if let (Some(direct), Some(socket)) = (direct, direct_socket.and_then(into_tokio)) {
                    servers.push(tokio::spawn(serve(socket, None, limits.clone(), direct, closed.clone())));
                }
                if let (Some(ng), Some(sockets)) = (ng, ng_sockets) {
                    servers.push(tokio::spawn(sockets.serve(ng, limits.clone(), closed.clone())));
                }
                if let Some(socket) = into_tokio(http) {
                    servers.push(tokio::spawn(serve(socket, tls, limits, routes, closed)));
                }
                if let (Some(native), Some(socket)) = (native, api_socket.and_then(into_tokio)) {
                    servers.push(tokio::spawn(serve(socket, None, api_limits, native, closed_api)));
                }
                task.run(inputs, left).await;
                if let Some(hooks) = hooks {
                    hooks.stop(HOOKS_STOP_MAX).await;
                }
                // What was not delivered by now is left to the next process.
                store.freeze();
                // `send` fails when no server is left to hear it.
                let _ = close.send(true);
                for server in servers {
                    let _ = server.await;
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
            events_over.store(true, Ordering::Relaxed);
            // A panic there has been reported by its own thread.
            let _ = events.join();
            if let Some(thread) = cdr_thread {
                let _ = thread.join();
            }
        })?;
        Ok(DaemonHandle {
            webhook_addr,
            direct_addr,
            api_addr,
            ng_addr,
            metrics,
            engine_calls,
            stop,
            host,
            reloader,
            control: Some(control),
            certificate,
        })
    }
}

impl DaemonHandle {
    /// Where webhooks, health and metrics are served.
    pub fn webhook_addr(&self) -> SocketAddr {
        self.webhook_addr
    }

    /// Where Direct mode is served, if it is on.
    pub fn direct_addr(&self) -> Option<SocketAddr> {
        self.direct_addr
    }

    /// Where the native API is served, if it is on.
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.api_addr
    }

    /// Where SIP proxies are served by UDP, if they are.
    pub fn ng_addr(&self) -> Option<SocketAddr> {
        self.ng_addr
    }

    /// The counters now.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.metrics.snapshot()
    }

    /// Media calls that have not ended.
    pub fn calls(&self) -> usize {
        self.engine_calls.upgrade().map_or(0, |e| e.calls())
    }

    /// Calls a user (business-initiated). The call's key comes back in [`crate::session::Notice::Dialling`].
    pub fn dial(&self, dial: Dial) -> Result<(), DaemonError> {
        self.send(HostCommand::Dial(Box::new(dial)))
    }

    /// Asks something of a call.
    pub fn command(&self, call: CallKey, command: Command) -> Result<(), DaemonError> {
        self.send(HostCommand::Call(call, command))
    }

    /// Sends digits (`0` to `9`, `*`, `#`, `A` to `D`, `!`) to the user's side, `tone_ms` each (100 when none is given). Returns at once; a call that
    /// does not take them says so by [`DaemonEvent::DigitsRefused`](super::DaemonEvent::DigitsRefused).
    pub fn send_digits(&self, call: CallKey, symbols: &str, tone_ms: Option<u32>) -> Result<(), DaemonError> {
        self.send(HostCommand::Digits { call, symbols: symbols.into(), tone_ms })
    }

    /// Takes over apps, secrets and numbers of a new configuration; running calls stay as they are. Returns the sections that differ and need a restart.
    pub fn reload(&self, config: &Config) -> Result<Vec<&'static str>, DaemonError> {
        self.reloader.reload(config).map_err(DaemonError)
    }

    /// Starts to drain: no new calls, running ones may finish within the configured time. Returns at once.
    pub fn drain(&self) {
        self.stop.send_if_modified(|s| std::mem::replace(s, Stop::Drain.max(*s)) < Stop::Drain);
    }

    /// Ends every call now, even while draining. Returns at once.
    pub fn stop_now(&self) {
        self.stop.send_if_modified(|s| std::mem::replace(s, Stop::Now) < Stop::Now);
    }

    /// Reads the certificate anew; handshakes that begin from now on show it. If its files are not good, the one before goes on, and the error says why.
    pub fn reload_certificate(&self) -> Result<(), DaemonError> {
        self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload()).map_err(DaemonError)
    }

    /// Whether the stop is complete.
    pub fn is_finished(&self) -> bool {
        self.control.as_ref().is_none_or(|c| c.is_finished())
    }

    /// Drains, then stops, and waits for the end: at most the configured drain time and a few seconds.
    pub fn shutdown(mut self) {
        self.drain();
        self.join();
    }

    fn join(&mut self) {
        if let Some(control) = self.control.take() {
            // A panic there has been reported by its own thread.
            let _ = control.join();
        }
    }

    fn send(&self, command: HostCommand) -> Result<(), DaemonError> {
        self.host.try_send(command).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => DaemonError("too many commands are waiting; try again".into()),
            mpsc::error::TrySendError::Closed(_) => DaemonError("the daemon has stopped".into()),
        })
    }
}

impl Drop for DaemonHandle {
    fn drop(&mut self) {
        self.stop_now();
        self.join();
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new().name(name.into()).spawn(body).map_err(|e| format!("the thread {name} does not start: {e}"))
}

fn listen(at: SocketAddr, key: &str) -> Result<TcpListener, String> {
    let fix = "is another process there, or the port below 1024 without permission?";
    let listener = TcpListener::bind(at).map_err(|e| format!("{key}: cannot listen on {at}: {e}; {fix}"))?;
    listener.set_nonblocking(true).map_err(|e| format!("{key}: {e}"))?;
    Ok(listener)
}

/// Tells the control task of recordings. What it has no room for is told to the observer alone: the recorder waits for nobody.
fn recorded(host: mpsc::Sender<HostCommand>) -> Done {
    Arc::new(move |call, result| {
        if let CallRef::Meta(call) = call {
            let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
            let result = match result {
                Ok((files, lost)) => Ok((files.iter().filter_map(name).collect(), lost)),
                Err(why) => Err(why.to_owned()),
            };
            let _ = host.try_send(HostCommand::Recorded { call: *call, result });
        }
    })
}

fn into_tokio(listener: TcpListener) -> Option<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(listener).inspect_err(|e| tracing::error!(error = %e, "a listener cannot be watched")).ok()
}

/// Said once, at start: calls may still work, for the relay learns our address from the checks, but a firewall or a strict NAT makes them silent.
fn warn_if_unreachable(config: &EngineConfig) {
    let is_hidden = |ip: &IpAddr| is_unroutable(*ip) && !config.public_addresses.iter().any(|p| p.is_ipv4() == ip.is_ipv4());
    if config.addresses.iter().all(is_hidden) && config.stun_servers.is_empty() {
        tracing::warn!(
            addresses = ?config.addresses,
            "only private addresses will stand in our SDP: set engine.public_addresses (1:1 NAT) or engine.stun_servers"
        );
    }
}

/// Takes up the numbers that the API had added. One that cannot be used any more is told and stays in the store.
fn restore_numbers(numbers: &[(String, String)], tenants: &Tenants, bridges: &Bridges, records: bool) {
    for (id, text) in numbers {
        let read = read_one_number(text, &ProcessSecrets, records, &bridges.audio_targets())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        let put = read.and_then(|number| {
            bridges.load(&number.bridge)?;
            tenants.put(number).map_err(|why| format!("{why:?}"))
        });
        if let Err(why) = put {
            tracing::error!(number = id, why, "a number that the API had added cannot be served");
        }
    }
}

/// Events without a call that are remembered, and for how long.
const TOLD_MAX: usize = 50_000;
const TOLD_TTL: Span = Span::from_secs(48 * 3_600);
/// How long a stop waits for events to be delivered.
const HOOKS_STOP_MAX: Duration = Duration::from_secs(3);
/// How long the event thread waits before it looks whether it should end.
const EVENT_WAIT: Span = Span::from_millis(100);
/// Engine events between the event thread and the control task; then the thread waits.
const ENGINE_EVENTS_MAX: usize = 4_096;
/// Graph replies that may wait; then the request's task waits.
const GRAPH_REPLIES_MAX: usize = 256;
/// Commands of the host that may wait; then it is told so.
const HOST_COMMANDS_MAX: usize = 256;
