//! Passes on what is not ours: whole deliveries, byte for byte, to the customer's messaging URL.
//!
//! Decides: how many go out at a time, when one is tried again, when it is given up, and when nothing more is taken. Given: bodies with their signatures. Refuses: to be
//! waited for: a thread of its own, a bounded backlog, and calls never know of it.

use super::metrics::{ForwardResult, Metrics};
use super::store::Receipt;
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// One delivery on its way.
pub(super) struct Parcel {
    pub(super) url: Arc<str>,
    pub(super) body: Bytes,
    /// `X-Hub-Signature-256` as it came.
    pub(super) signature: String,
    /// `Content-Type` as it came.
    pub(super) content_type: String,
    /// Holds it in the store until it has arrived.
    pub(super) receipt: Receipt,
}

/// The way out. Dropping it ends the thread; what has not arrived stays in the store.
pub(super) struct Forwarder {
    parcels: mpsc::UnboundedSender<Parcel>,
    backlog: Arc<Backlog>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Backlog {
    bytes: AtomicU64,
    count: AtomicU64,
}

impl Forwarder {
    /// Starts the thread. The error is for an operator.
    pub(super) fn start(metrics: &Arc<Metrics>) -> Result<Self, String> {
        // Bounded by `has_room`, which is asked before a delivery is answered 200.
        let (parcels, queue) = mpsc::unbounded_channel();
        let backlog = Arc::new(Backlog::default());
        let http = |is_plain: bool| {
            let mut builder = reqwest::Client::builder()
                .timeout(ATTEMPT_MAX)
                .connect_timeout(CONNECT_MAX)
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(WIDTH);
            if is_plain {
                // Loopback: a proxy from the environment would carry the messages elsewhere.
                builder = builder.no_proxy();
            }
            builder.build().map_err(|e| format!("the HTTPS client does not start: {e}"))
        };
        let clients = [http(false)?, http(true)?];
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("the runtime does not start: {e}"))?;
        let (metrics, counted) = (Arc::clone(metrics), Arc::clone(&backlog));
        let thread = std::thread::Builder::new()
            .name("tipring-forward".into())
            .spawn(move || {
                runtime.block_on(sort(queue, clients, &metrics, &counted));
                // Attempts that still run are given up: the store has them.
                runtime.shutdown_background();
            })
            .map_err(|e| format!("the thread tipring-forward does not start: {e}"))?;
        Ok(Self { parcels, backlog, thread: Some(thread) })
    }

    /// Whether the backlog would take this body.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.backlog.bytes.load(Ordering::Relaxed) + bytes as u64 <= BACKLOG_BYTES_MAX
            && self.backlog.count.load(Ordering::Relaxed) < BACKLOG_MAX
    }

    /// Takes a delivery. Never waits.
    pub(super) fn send(&self, parcel: Parcel) {
        self.backlog.bytes.fetch_add(parcel.body.len() as u64, Ordering::Relaxed);
        self.backlog.count.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = self.parcels.send(parcel) {
            // The thread is gone: the next process finds it again.
            e.0.receipt.leave();
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // Closing the queue ends the thread.
        self.parcels = mpsc::unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

/// Gives each URL a lane of its own: one that is down holds up nobody else.
async fn sort(mut queue: mpsc::UnboundedReceiver<Parcel>, clients: [reqwest::Client; 2], metrics: &Arc<Metrics>, backlog: &Arc<Backlog>) {
    let mut lanes: HashMap<Arc<str>, mpsc::UnboundedSender<Parcel>> = HashMap::new();
    while let Some(parcel) = queue.recv().await {
        let lane = lanes.entry(parcel.url.clone()).or_insert_with(|| {
            let (tx, rx) = mpsc::unbounded_channel();
            let http = clients[usize::from(parcel.url.starts_with("http://"))].clone();
            tokio::spawn(lane(rx, http, Arc::clone(metrics), Arc::clone(backlog)));
            tx
        });
        if let Err(e) = lane.send(parcel) {
            e.0.receipt.leave();
        }
    }
}

/// A parcel and what has been tried.
struct Tried {
    parcel: Parcel,
    since: Instant,
    attempts: u32,
}

/// Delivers to one URL. While it fails it is asked less and less often, by one request at a time.
async fn lane(mut parcels: mpsc::UnboundedReceiver<Parcel>, http: reqwest::Client, metrics: Arc<Metrics>, backlog: Arc<Backlog>) {
    let mut fresh: VecDeque<Tried> = VecDeque::new();
    let mut later: BTreeMap<(Instant, u64), Tried> = BTreeMap::new();
    let mut running: JoinSet<(Tried, bool)> = JoinSet::new();
    let (mut failures, mut number) = (0_u32, 0_u64);
    let mut not_before = Instant::now();
    loop {
        let now = Instant::now();
        let width = if failures >= FAILURES_MANY { 1 } else { WIDTH };
        while running.len() < width && not_before <= now {
            // The oldest first: what waits for its next attempt is older than what has just come.
            let due = later.first_key_value().is_some_and(|((at, _), _)| *at <= now);
            let next = if due { later.pop_first().map(|(_, tried)| tried) } else { fresh.pop_front() };
            let Some(mut tried) = next else { break };
            tried.attempts += 1;
            let http = http.clone();
            running.spawn(async move {
                let is_delivered = attempt(&http, &tried.parcel).await;
                (tried, is_delivered)
            });
        }
        let next = later.first_key_value().map(|((at, _), _)| *at);
        let wake = if running.len() >= width {
            None
        } else if not_before > now {
            Some(not_before)
        } else {
            next
        };
        tokio::select! {
            parcel = parcels.recv() => match parcel {
                Some(parcel) => fresh.push_back(Tried { parcel, since: Instant::now(), attempts: 0 }),
                None => break,
            },
            Some(done) = running.join_next() => {
                // A panic there has been reported by its own task.
                let Ok((tried, is_delivered)) = done else { continue };
                let now = Instant::now();
                let gone = |result| {
                    backlog.bytes.fetch_sub(tried.parcel.body.len() as u64, Ordering::Relaxed);
                    backlog.count.fetch_sub(1, Ordering::Relaxed);
                    metrics.forward(result);
                };
                if is_delivered {
                    failures = 0;
                    not_before = now;
                    gone(ForwardResult::Delivered);
                } else if now.duration_since(tried.since) >= GIVE_UP {
                    tracing::warn!(attempts = tried.attempts, "a delivery was given up: the messaging receiver did not take it");
                    gone(ForwardResult::GivenUp);
                } else {
                    metrics.forward(ForwardResult::Retried);
                    failures = failures.saturating_add(1);
                    if failures >= FAILURES_MANY {
                        not_before = now + pause(failures - FAILURES_MANY);
                    }
                    number += 1;
                    later.insert((now + pause(tried.attempts), number), tried);
                }
            }
            () = async { match wake { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => {}
        }
    }
    // The daemon stops: what is left is for the next process.
    running.abort_all();
    for tried in fresh.into_iter().chain(later.into_values()) {
        tried.parcel.receipt.leave();
    }
}

/// Doubles from a quarter of a second to half a minute.
fn pause(attempts: u32) -> Duration {
    (PAUSE_FIRST * 2_u32.saturating_pow(attempts.min(16))).min(PAUSE_MAX)
}

async fn attempt(http: &reqwest::Client, parcel: &Parcel) -> bool {
    let request = http.post(&*parcel.url).header("X-Hub-Signature-256", &parcel.signature).header(CONTENT_TYPE, &parcel.content_type);
    request.body(parcel.body.clone()).send().await.is_ok_and(|response| response.status().is_success())
}

/// Requests to one URL at a time.
const WIDTH: usize = 16;
/// As many failures in a row as mean that the receiver is down, and not that one body displeases it.
const FAILURES_MANY: u32 = 3;
/// Memory of all that waits, in bytes, and its number; beyond that Meta is told 503 and keeps it for us.
const BACKLOG_BYTES_MAX: u64 = 64 << 20;
const BACKLOG_MAX: u64 = 65_536;
/// How long a delivery is tried.
const GIVE_UP: Duration = Duration::from_secs(6 * 3_600);
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const ATTEMPT_MAX: Duration = Duration::from_secs(15);
const CONNECT_MAX: Duration = Duration::from_secs(3);
