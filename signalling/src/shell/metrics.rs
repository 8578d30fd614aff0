//! Counters of the daemon and their text exposition.
//!
//! Decides: names and labels. Refuses: call ids and numbers as labels (cardinality, privacy).

use super::figures::Figures;
use super::observe::WebhookResult;
use crate::graph::GraphOutcome;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tipring_engine::call::Ended;
use tipring_engine::error::DropCounts;

/// What became of an event for a webhook of the customer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookResult {
    /// Answered with 2xx.
    Delivered,
    /// Tried again.
    Retried,
    /// Given up: refused, or too often without success.
    Failed,
    /// Never tried: its lane was full, or we fell behind the stream.
    Dropped,
}

impl HookResult {
    /// Every result, in counter order.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Retried, Self::Failed, Self::Dropped];

    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// What happened on a connection to an audio server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AudioResult {
    /// It was made.
    Connected,
    /// It could not be made, or broke.
    Broken,
    /// 20 ms of a user were not sent: the server did not read in time.
    Unread,
    /// A message could not be read.
    Fault,
}

impl AudioResult {
    /// Every result, in counter order.
    pub const ALL: [Self; 4] = [Self::Connected, Self::Broken, Self::Unread, Self::Fault];

    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Broken => "broken",
            Self::Unread => "unread_frame",
            Self::Fault => "bad_message",
        }
    }
}

/// What became of a delivery for the customer's messaging URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForwardResult {
    /// Answered with 2xx.
    Delivered,
    /// Tried again.
    Retried,
    /// Tried for too long.
    GivenUp,
}

impl ForwardResult {
    /// Every result, in counter order.
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Retried, Self::GivenUp];

    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::GivenUp => "given_up",
        }
    }
}

/// Counters of one daemon. Every method may be called from any thread.
#[derive(Default)]
pub struct Metrics {
    webhooks: [AtomicU64; WebhookResult::ALL.len()],
    graph: [[AtomicU64; OUTCOMES.len()]; ACTIONS.len()],
    calls_opened: AtomicU64,
    calls_ended: AtomicU64,
    calls_media_ready: AtomicU64,
    calls_refused: AtomicU64,
    rtp_in: AtomicU64,
    rtp_out: AtomicU64,
    hooks: [AtomicU64; HookResult::ALL.len()],
    audio: [AtomicU64; AudioResult::ALL.len()],
    forwards: [AtomicU64; ForwardResult::ALL.len()],
    events: Mutex<BTreeMap<&'static str, u64>>,
    recordings_finished: AtomicU64,
    recordings_failed: AtomicU64,
    drops: Mutex<DropCounts>,
    figures: Mutex<Figures>,
}

/// The counters at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsSnapshot {
    /// Webhook deliveries by result.
    pub webhooks: Vec<(WebhookResult, u64)>,
    /// Graph requests by action and outcome, those that occurred.
    pub graph: Vec<(&'static str, &'static str, u64)>,
    /// Media calls opened.
    pub calls_opened: u64,
    /// Media calls that ended.
    pub calls_ended: u64,
    /// Media calls that became ready.
    pub calls_media_ready: u64,
    /// Media calls that were not admitted or could not be set up.
    pub calls_refused: u64,
    /// RTP packets received in ended calls.
    pub rtp_in: u64,
    /// RTP packets sent in ended calls.
    pub rtp_out: u64,
    /// Events for webhooks of ours by result.
    pub hooks: Vec<(HookResult, u64)>,
    /// What happened on audio connections.
    pub audio: Vec<(AudioResult, u64)>,
    /// Deliveries that were not ours, by result.
    pub forwards: Vec<(ForwardResult, u64)>,
    /// Events inside webhooks, by what they were or what became of them.
    pub events: Vec<(&'static str, u64)>,
    /// Recordings complete on disk.
    pub recordings_finished: u64,
    /// Recordings that failed.
    pub recordings_failed: u64,
    /// Datagrams dropped in ended calls, by reason.
    pub drops: DropCounts,
}

impl Metrics {
    pub(crate) fn webhook(&self, result: WebhookResult) {
        if let Some(i) = WebhookResult::ALL.iter().position(|&r| r == result) {
            self.webhooks[i].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn graph(&self, action: &'static str, outcome: &GraphOutcome, took: Duration) {
        let code = if let GraphOutcome::Refused(error) = outcome { Some(error.code) } else { None };
        self.lock().graph(action, took, code);
        let column = match outcome {
            GraphOutcome::Success { .. } => 0,
            GraphOutcome::Refused(_) => 1,
            GraphOutcome::NotSent => 2,
            GraphOutcome::Lost => 3,
        };
        if let Some(row) = ACTIONS.iter().position(|&a| a == action) {
            self.graph[row][column].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn hook(&self, result: HookResult, events: u64) {
        self.hooks[result as usize].fetch_add(events, Relaxed);
    }

    pub(crate) fn forward(&self, result: ForwardResult) {
        self.forwards[result as usize].fetch_add(1, Relaxed);
    }

    /// Counts events of webhooks under a label.
    pub(crate) fn event(&self, what: &'static str, count: u64) {
        if count > 0 {
            *self.events.lock().unwrap_or_else(|e| e.into_inner()).entry(what).or_default() += count;
        }
    }

    pub(crate) fn call_opened(&self) {
        self.calls_opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn call_refused(&self) {
        self.calls_refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn call_media_ready(&self) {
        self.calls_media_ready.fetch_add(1, Relaxed);
    }

    /// A call was told to its end.
    pub(crate) fn call_result(&self, direction: &'static str, result: &'static str) {
        self.lock().call(direction, result);
    }

    /// Distributions and labelled counters, as text.
    pub(crate) fn figures_text(&self) -> String {
        let mut out = String::with_capacity(8_192);
        self.lock().write(&mut out);
        out
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        // A panic while the lock was held is a bug elsewhere; counters have no half-made state.
        self.figures.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn call_ended(&self, ended: &Ended) {
        let stats = &ended.stats;
        self.lock().media(ended);
        self.calls_ended.fetch_add(1, Relaxed);
        self.rtp_in.fetch_add(stats.rtp_in, Relaxed);
        self.rtp_out.fetch_add(stats.rtp_out, Relaxed);
        self.drops.lock().unwrap_or_else(|e| e.into_inner()).merge(&stats.drops);
    }

    pub(crate) fn audio(&self, what: AudioResult) {
        self.audio[what as usize].fetch_add(1, Relaxed);
    }

    /// So much audio of one server waits to be heard, looked at once a second.
    pub(crate) fn audio_queue(&self, ms: u64) {
        self.lock().ws_queue(ms);
    }

    pub(crate) fn recording(&self, finished: bool) {
        let counter = if finished { &self.recordings_finished } else { &self.recordings_failed };
        counter.fetch_add(1, Relaxed);
    }

    /// The counters now.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let mut graph = Vec::new();
        for (row, action) in ACTIONS.iter().enumerate() {
            for (column, outcome) in OUTCOMES.iter().enumerate() {
                let n = self.graph[row][column].load(Relaxed);
                if n > 0 {
                    graph.push((*action, *outcome, n));
                }
            }
        }
        MetricsSnapshot {
            webhooks: WebhookResult::ALL.iter().zip(&self.webhooks).map(|(r, n)| (*r, n.load(Relaxed))).collect(),
            graph,
            calls_opened: self.calls_opened.load(Relaxed),
            calls_ended: self.calls_ended.load(Relaxed),
            calls_media_ready: self.calls_media_ready.load(Relaxed),
            calls_refused: self.calls_refused.load(Relaxed),
            rtp_in: self.rtp_in.load(Relaxed),
            rtp_out: self.rtp_out.load(Relaxed),
            hooks: HookResult::ALL.iter().zip(&self.hooks).map(|(r, n)| (*r, n.load(Relaxed))).collect(),
            audio: AudioResult::ALL.iter().zip(&self.audio).map(|(r, n)| (*r, n.load(Relaxed))).collect(),
            forwards: ForwardResult::ALL.iter().zip(&self.forwards).map(|(r, n)| (*r, n.load(Relaxed))).collect(),
            events: self.events.lock().unwrap_or_else(|e| e.into_inner()).iter().map(|(what, n)| (*what, *n)).collect(),
            recordings_finished: self.recordings_finished.load(Relaxed),
            recordings_failed: self.recordings_failed.load(Relaxed),
            drops: *self.drops.lock().unwrap_or_else(|e| e.into_inner()),
        }
    }
}

impl MetricsSnapshot {
    /// How many webhook deliveries had this result.
    pub fn webhooks_with(&self, result: WebhookResult) -> u64 {
        self.webhooks.iter().find(|(r, _)| *r == result).map_or(0, |(_, n)| *n)
    }

    /// How many deliveries that were not ours had this result.
    pub fn forwards_with(&self, result: ForwardResult) -> u64 {
        self.forwards.iter().find(|(r, _)| *r == result).map_or(0, |(_, n)| *n)
    }

    /// Events inside webhooks that were counted under this label.
    pub fn events_with(&self, what: &str) -> u64 {
        self.events.iter().find(|(w, _)| *w == what).map_or(0, |(_, n)| *n)
    }

    /// Prometheus text format, version 0.0.4.
    pub fn to_text(&self, calls_now: usize, draining: bool) -> String {
        let mut out = String::with_capacity(2_048);
        let mut family = |name: &str, kind: &str, rows: &[(String, u64)]| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# TYPE tipring_{name} {kind}");
            for (labels, n) in rows {
                let _ = writeln!(out, "tipring_{name}{labels} {n}");
            }
        };
        let one = |n: u64| [(String::new(), n)];
        family("calls", "gauge", &one(calls_now as u64));
        family("draining", "gauge", &one(u64::from(draining)));
        family("calls_opened_total", "counter", &one(self.calls_opened));
        family("calls_media_ready_total", "counter", &one(self.calls_media_ready));
        family("calls_ended_total", "counter", &one(self.calls_ended));
        family("calls_refused_total", "counter", &one(self.calls_refused));
        let rows: Vec<_> = self.webhooks.iter().map(|(r, n)| (format!("{{result=\"{}\"}}", r.label()), *n)).collect();
        family("webhooks_total", "counter", &rows);
        let rows: Vec<_> = self.graph.iter().map(|(a, o, n)| (format!("{{action=\"{a}\",outcome=\"{o}\"}}"), *n)).collect();
        family("graph_requests_total", "counter", &rows);
        family("rtp_packets_total", "counter", &[("{dir=\"in\"}".into(), self.rtp_in), ("{dir=\"out\"}".into(), self.rtp_out)]);
        let rows: Vec<_> = self.drops.iter().map(|(r, n)| (format!("{{reason=\"{}\"}}", r.label()), n)).collect();
        family("drops_total", "counter", &rows);
        let rows = [("{result=\"finished\"}".into(), self.recordings_finished), ("{result=\"failed\"}".into(), self.recordings_failed)];
        let hooks: Vec<_> = self.hooks.iter().map(|(r, n)| (format!("{{result=\"{}\"}}", r.label()), *n)).collect();
        family("hook_events_total", "counter", &hooks);
        let forwards: Vec<_> = self.forwards.iter().map(|(r, n)| (format!("{{result=\"{}\"}}", r.label()), *n)).collect();
        family("forwards_total", "counter", &forwards);
        let events: Vec<_> = self.events.iter().map(|(what, n)| (format!("{{what=\"{what}\"}}"), *n)).collect();
        family("webhook_events_total", "counter", &events);
        family("recordings_total", "counter", &rows);
        let rows: Vec<_> = self.audio.iter().map(|(r, n)| (format!("{{event=\"{}\"}}", r.label()), *n)).collect();
        family("audio_connections_total", "counter", &rows);
        out
    }
}

/// Actions of Graph, as labels.
const ACTIONS: [&str; 5] = ["pre_accept", "accept", "reject", "terminate", "connect"];
/// Outcomes of Graph, as labels.
const OUTCOMES: [&str; 4] = ["success", "refused", "not_sent", "lost"];
