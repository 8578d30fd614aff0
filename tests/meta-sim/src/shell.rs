//! The stand-in on loopback: UDP sockets for the relay, HTTP/1 for Graph, HTTP for webhooks, the only clock reads of the package.
//!
//! Given: where the business takes webhooks. Decides: real time and sockets. Refuses: protocol; everything is asked of
//! [`MetaCall`]. Runs on any tokio runtime with time and I/O; every wait is bounded. A webhook is tried once: repeated
//! deliveries are faults to be asked for, not weather.

pub use rehearsal::rehearse;

use crate::call::{CallConfig, CallKind, MetaCall};
use crate::faults::Fault;
use crate::graph::{self, Account, Action, ActionKind, Reply, invalid};
use crate::office::{self, Office};
use crate::oracle::{Context, Limits, Verdict, judge};
use crate::permissions::{Answer, Permission, Permissions};
use crate::relay::{RelayConfig, Stages};
use crate::timeline::Entry;
use crate::user::UserScript;
use crate::webhooks::Delivery;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What a simulator is made of.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Number, app secret and token; the business must be configured with the same.
    pub account: Account,
    /// Where webhooks go, `http://127.0.0.1:…` or `https://…`.
    pub webhook_url: String,
    /// Certificate authority of an `https` webhook URL, PEM.
    pub webhook_ca_pem: Option<Vec<u8>>,
    /// Where Graph listens.
    pub graph_listen: SocketAddr,
    /// Relay sockets also on `::1`, when the machine has it.
    pub has_ipv6: bool,
    /// Seed of ids, credentials and SSRCs.
    pub seed: u64,
    /// Strictness of the judge.
    pub limits: Limits,
    /// No call lasts longer.
    pub call_max: Duration,
}

impl SimConfig {
    /// Graph on a free loopback port, both families, a call of two minutes at most.
    pub fn new(webhook_url: impl Into<String>) -> Self {
        Self {
            account: Account::default(),
            webhook_url: webhook_url.into(),
            webhook_ca_pem: None,
            graph_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            has_ipv6: true,
            seed: 1,
            limits: Limits::default(),
            call_max: Duration::from_secs(120),
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// wacid.
    pub id: String,
    /// Who called.
    pub kind: CallKind,
    /// Everything seen, in order of time.
    pub timeline: Vec<Entry>,
    /// The judgement.
    pub verdicts: Vec<Verdict>,
    /// What the user heard: mono, 16 kHz.
    pub heard_pcm: Vec<i16>,
    /// When each stage of the set-up was reached, on the clock of the timeline.
    pub stages: Stages,
    /// Start of the call on the same clock.
    pub started: Time,
    /// It was cut off by `call_max`.
    pub is_cut_off: bool,
    limits: Limits,
}

impl CallReport {
    /// The rules that were broken.
    pub fn failures(&self) -> Vec<&Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.pass).collect()
    }

    /// Judges again, now with what the business said (mono, 16 kHz), so that R-31 is seen.
    pub fn judge_speech(&mut self, reference: Arc<[i16]>) {
        let context = Context { kind: self.kind, limits: self.limits.clone(), reference: Some(reference) };
        self.verdicts = judge(&self.timeline, &self.heard_pcm, &context);
    }
}

/// A running simulator. Dropping it stops Graph; calls under way run to their end.
pub struct Sim {
    inner: Arc<Inner>,
    graph: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Inner {
    config: SimConfig,
    webhook_url: Mutex<String>,
    client: reqwest::Client,
    clock: Clock,
    calls: Mutex<HashMap<String, mpsc::Sender<Asked>>>,
    expected: Mutex<VecDeque<Expected>>,
    permissions: Mutex<Permissions>,
    office: Mutex<Office>,
    count: AtomicU64,
    loss_per_mille: AtomicU64,
}

struct Asked {
    action: Action,
    reply: oneshot::Sender<Reply>,
}

struct Expected {
    script: UserScript,
    faults: Vec<Fault>,
    report: oneshot::Sender<CallReport>,
}

/// A user who waits to be called.
pub struct ExpectedCall {
    report: oneshot::Receiver<CallReport>,
}

impl ExpectedCall {
    /// Waits for the business to call and for the call to end. An error when the simulator went away first.
    pub async fn report(self) -> Result<CallReport, String> {
        self.report.await.map_err(|_| "the simulator ended before the business called".to_owned())
    }
}

impl Sim {
    /// Starts it: Graph listens when this returns.
    pub async fn start(config: SimConfig) -> Result<Self, String> {
        let mut client = reqwest::Client::builder().timeout(WEBHOOK_TIMEOUT).no_proxy();
        if let Some(pem) = &config.webhook_ca_pem {
            let authority = reqwest::Certificate::from_pem(pem).map_err(|e| format!("`webhook_ca_pem` is not a PEM certificate: {e}"))?;
            client = client.tls_certs_only([authority]);
        }
        let client = client.build().map_err(|e| format!("no HTTP client: {e}"))?;
        let listener = TcpListener::bind(config.graph_listen)
            .await
            .map_err(|e| format!("Graph cannot listen on {}: {e}; give a free address as `graph_listen`", config.graph_listen))?;
        let graph = listener.local_addr().map_err(|e| e.to_string())?;
        let webhook_url = Mutex::new(config.webhook_url.clone());
        let inner = Arc::new(Inner {
            config,
            webhook_url,
            client,
            clock: Clock::start(),
            calls: Mutex::default(),
            expected: Mutex::default(),
            permissions: Mutex::default(),
            office: Mutex::default(),
            count: AtomicU64::new(0),
            loss_per_mille: AtomicU64::new(0),
        });
        let server = tokio::spawn(serve_graph(listener, inner.clone()));
        Ok(Self { inner, graph, server })
    }

    /// Base URL of Graph, without version or trailing slash.
    pub fn graph_url(&self) -> String {
        format!("http://{}", self.graph)
    }

    /// Sends webhooks there from now on; for a business that is told our Graph URL before it has one of its own.
    pub fn set_webhook_url(&self, url: impl Into<String>) {
        *lock(&self.inner.webhook_url) = url.into();
    }

    /// From now on the network loses so many datagrams of a thousand, in each direction of every call.
    pub fn set_loss(&self, per_mille: u64) {
        self.inner.loss_per_mille.store(per_mille, Ordering::Relaxed);
    }

    /// The time on the clock of every report's timeline.
    pub fn now(&self) -> Time {
        self.inner.clock.now()
    }

    /// Number, secret and token in use.
    pub fn account(&self) -> &Account {
        &self.inner.config.account
    }

    /// The user calls the business. Returns when the call is over.
    pub async fn call(&self, script: UserScript, faults: &[Fault]) -> Result<CallReport, String> {
        let inner = &self.inner;
        let sockets = Sockets::bind(inner.config.has_ipv6).await.map_err(|e| format!("no relay socket on loopback: {e}"))?;
        let now = inner.clock.now();
        let call = MetaCall::incoming(inner.call_config(&sockets, script, faults), now)?;
        let (sender, asked) = mpsc::channel(ASKED_MAX);
        lock(&inner.calls).insert(call.id().to_owned(), sender);
        Ok(run(inner.clone(), call, sockets, asked, now).await)
    }

    /// The papers of the business: settings, tokens, subscriptions. The lock must not be held across a wait.
    pub fn office(&self) -> std::sync::MutexGuard<'_, Office> {
        lock(&self.inner.office)
    }

    /// Says what a user thinks of being called, and will say when asked. Users that nobody named may be called.
    pub fn set_permission(&self, user: &str, permission: Permission, answer: Answer) {
        lock(&self.inner.permissions).set(user, permission, answer);
    }

    /// The next call of the business (action `connect`) reaches this user.
    pub fn expect_call(&self, script: UserScript, faults: &[Fault]) -> ExpectedCall {
        let (sender, report) = oneshot::channel();
        lock(&self.inner.expected).push_back(Expected { script, faults: faults.to_vec(), report: sender });
        ExpectedCall { report }
    }
}

impl Inner {
    fn call_config(&self, sockets: &Sockets, script: UserScript, faults: &[Fault]) -> CallConfig {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        // Ids and credentials differ from call to call and from run to run.
        let seed = self.config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.clock.unix_ms.rotate_left(20) ^ number;
        let mut rng = SeededRng::new(seed);
        let mut raw = [0; 30];
        rng.fill(&mut raw);
        let mut relay = RelayConfig::new(sockets.v4_address, sockets.v6_address, rng.u64(), self.clock.unix_ms, script);
        relay.faults = faults.to_vec();
        CallConfig { id: format!("wacid.{}", STANDARD.encode(raw)), account: self.config.account.clone(), relay }
    }

    /// Answers one call action.
    async fn ask(self: &Arc<Self>, action: Action) -> Reply {
        if action.kind == ActionKind::Connect {
            return self.connect(action).await;
        }
        let id = action.call_id.clone().unwrap_or_default();
        let Some(call) = lock(&self.calls).get(&id).cloned() else { return invalid("the call id does not exist") };
        let (reply, answer) = oneshot::channel();
        if call.send(Asked { action, reply }).await.is_err() {
            return invalid("the call has ended");
        }
        let reply = answer.await.unwrap_or_else(|_| invalid("the call has ended"));
        if reply.delay > Span::ZERO {
            tokio::time::sleep(duration(reply.delay)).await;
        }
        reply
    }

    async fn connect(self: &Arc<Self>, action: Action) -> Reply {
        if action.to.as_deref().is_some_and(|to| !lock(&self.permissions).may_call(to)) {
            return Reply::error(138_006, "No approved call permission from the recipient", "ask the user for permission first");
        }
        let Some(expected) = lock(&self.expected).pop_front() else {
            return Reply::error(138_001, "Receiver uncallable", "no simulated user expects a call: ask for one with Sim::expect_call");
        };
        let sockets = match Sockets::bind(self.config.has_ipv6).await {
            Ok(sockets) => sockets,
            Err(e) => return Reply::error(138_004, "Connection error", &format!("no relay socket: {e}")),
        };
        let now = self.clock.now();
        let (call, reply) = MetaCall::outgoing(self.call_config(&sockets, expected.script, &expected.faults), &action, now);
        if let Some(call) = call {
            let (sender, asked) = mpsc::channel(ASKED_MAX);
            lock(&self.calls).insert(call.id().to_owned(), sender);
            let running = run(self.clone(), call, sockets, asked, now);
            tokio::spawn(async move {
                // The caller may have lost interest in the report.
                let _ = expected.report.send(running.await);
            });
        }
        reply
    }
}

/// Runs a call on its sockets until it is finished.
async fn run(inner: Arc<Inner>, mut call: MetaCall, sockets: Sockets, mut asked: mpsc::Receiver<Asked>, started: Time) -> CallReport {
    let (answers, mut answered) = mpsc::channel::<(Delivery, u16, Span)>(ASKED_MAX);
    let cut_off = started + Span::from_nanos(inner.config.call_max.as_nanos() as u64);
    let (mut buffer4, mut buffer6) = ([0; 2_048], [0; 2_048]);
    let mut dice = SeededRng::new(inner.config.seed ^ started.as_nanos());
    let mut is_lost = || dice.below(1_000) < inner.loss_per_mille.load(Ordering::Relaxed);
    loop {
        let now = inner.clock.now();
        call.handle_timeout(now);
        while let Some(transmit) = call.poll_transmit(now) {
            if !is_lost() {
                sockets.send(transmit.local, transmit.remote, &transmit.bytes);
            }
        }
        while let Some(delivery) = call.poll_webhook(now) {
            tokio::spawn(post(inner.clone(), delivery, answers.clone()));
        }
        if call.is_finished(now) || now >= cut_off {
            break;
        }
        let wake = call.poll_timeout(now).unwrap_or(Time::MAX).min(now + Span::from_millis(500));
        tokio::select! {
            received = receive(sockets.v4.as_ref(), &mut buffer4) => {
                if let (Ok((len, remote)), Some(local)) = (received, sockets.v4_address)
                    && !is_lost()
                {
                    call.handle_datagram(local, remote, &buffer4[..len], inner.clock.now());
                }
            }
            received = receive(sockets.v6.as_ref(), &mut buffer6) => {
                if let (Ok((len, remote)), Some(local)) = (received, sockets.v6_address)
                    && !is_lost()
                {
                    call.handle_datagram(local, remote, &buffer6[..len], inner.clock.now());
                }
            }
            Some(Asked { action, reply }) = asked.recv() => {
                // A requester that hung up meanwhile gets no answer.
                let _ = reply.send(call.handle_action(&action, inner.clock.now()));
            }
            Some((delivery, status, took)) = answered.recv() => {
                call.handle_webhook_answer(&delivery, status, took, inner.clock.now());
            }
            () = tokio::time::sleep(duration(wake.since(now))) => {}
        }
    }
    let is_cut_off = !call.is_finished(inner.clock.now());
    lock(&inner.calls).remove(call.id());
    let context = Context { kind: call.kind(), limits: inner.config.limits.clone(), reference: None };
    let mut timeline = call.timeline().entries().to_vec();
    // Held-back Graph answers are noted ahead of their time.
    timeline.sort_by_key(|entry| entry.at);
    let heard_pcm = call.heard().to_vec();
    CallReport {
        id: call.id().to_owned(),
        kind: call.kind(),
        verdicts: judge(&timeline, &heard_pcm, &context),
        timeline,
        heard_pcm,
        stages: call.stages(),
        started,
        is_cut_off,
        limits: inner.config.limits.clone(),
    }
}

async fn post(inner: Arc<Inner>, delivery: Delivery, answers: mpsc::Sender<(Delivery, u16, Span)>) {
    let url = lock(&inner.webhook_url).clone();
    let mut request = inner.client.post(url).header("content-type", "application/json").body(delivery.body.clone());
    if let Some(signature) = &delivery.signature {
        request = request.header("x-hub-signature-256", signature);
    }
    let sent = inner.clock.now();
    let status = request.send().await.map_or(0, |response| response.status().as_u16());
    let took = inner.clock.now().since(sent);
    // The call may be over and nobody asks any more.
    let _ = answers.send((delivery, status, took)).await;
}

async fn serve_graph(listener: TcpListener, inner: Arc<Inner>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let inner = inner.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(inner.clone(), request));
            // A broken connection is the client's business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let reply = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => {
            let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok());
            let body = body.to_bytes();
            if let Some(reply) = permission(&inner, &head, authorization, &body) {
                return Ok(response(reply));
            }
            if let Some(reply) = papers(&inner, &head, authorization, &body) {
                return Ok(response(reply));
            }
            match graph::read(&inner.config.account, head.method.as_str(), head.uri.path(), authorization, &body) {
                Ok(action) => inner.ask(action).await,
                Err(reply) => reply,
            }
        }
        Err(_) => invalid("the body is longer than 256 KiB or broke off"),
    };
    Ok(response(reply))
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// Answers what concerns the papers of the business; none: it is something else.
fn papers(inner: &Inner, head: &hyper::http::request::Parts, authorization: Option<&str>, body: &[u8]) -> Option<Reply> {
    let (_version, path) = head.uri.path().trim_start_matches('/').split_once('/')?;
    let mut url = reqwest::Url::parse("http://graph.invalid/").ok()?;
    url.set_query(head.uri.query());
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let asked = office::Asked { method: head.method.as_str(), path, query: &query, authorization, body };
    lock(&inner.office).handle(&inner.config.account, asked, inner.clock.now())
}

/// Answers what concerns permissions; none: it is something else.
fn permission(inner: &Arc<Inner>, head: &hyper::http::request::Parts, authorization: Option<&str>, body: &[u8]) -> Option<Reply> {
    let account = &inner.config.account;
    let node = head.uri.path().rsplit_once('/')?.1;
    if !matches!((head.method.as_str(), node), ("GET", "call_permissions") | ("POST", "messages")) {
        return None;
    }
    if authorization.and_then(|value| value.strip_prefix("Bearer ")) != Some(account.access_token.as_str()) {
        return Some(Reply::error(190, "Invalid OAuth access token", "the bearer token is missing or not the one of this number"));
    }
    let now = inner.clock.now();
    if node == "call_permissions" {
        let query = head.uri.query().unwrap_or_default();
        let user = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| matches!(*name, "user_wa_id" | "recipient"));
        return Some(lock(&inner.permissions).show(user.map_or("", |(_, user)| user), (inner.clock.unix_ms + now.as_millis()) / 1_000));
    }
    let (reply, delivery) = lock(&inner.permissions).ask(account, body, inner.clock.unix_ms, now);
    if let Some(delivery) = delivery {
        let inner = inner.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration(delivery.due.since(inner.clock.now()))).await;
            let (answers, _nobody) = mpsc::channel(1);
            post(inner, delivery, answers).await;
        });
    }
    Some(reply)
}

struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    v4_address: Option<SocketAddr>,
    v6_address: Option<SocketAddr>,
}

impl Sockets {
    /// IPv4 must work; IPv6 is left out where the machine has none.
    async fn bind(has_ipv6: bool) -> io::Result<Self> {
        let v4 = UdpSocket::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await?;
        let v4_address = v4.local_addr()?;
        let mut v6 = None;
        if has_ipv6 {
            // Meta uses one port for both; another one will do when it is taken.
            v6 = match UdpSocket::bind((IpAddr::V6(Ipv6Addr::LOCALHOST), v4_address.port())).await {
                Ok(socket) => Some(socket),
                Err(_) => UdpSocket::bind((IpAddr::V6(Ipv6Addr::LOCALHOST), 0)).await.ok(),
            };
        }
        let v6_address = v6.as_ref().and_then(|socket| socket.local_addr().ok());
        Ok(Self { v4: Some(v4), v6, v4_address: Some(v4_address), v6_address })
    }

    /// A datagram that the system does not take is lost, as on any network.
    fn send(&self, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let socket = if local.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket {
            let _ = socket.try_send_to(bytes, remote);
        }
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

struct Clock {
    origin: Instant,
    unix_ms: u64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the shell is where the clock is read")]
    fn start() -> Self {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Self { origin: Instant::now(), unix_ms }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }
}

fn duration(span: Span) -> Duration {
    Duration::from_nanos(span.as_nanos())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Meta gives up on a webhook after about this long.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// Actions and webhook answers waiting for one call.
const ASKED_MAX: usize = 64;
/// Largest body of a call action.
const BODY_BYTES_MAX: usize = 256 * 1_024;

mod rehearsal;
#[cfg(test)]
mod tests;
