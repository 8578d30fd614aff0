//! Distributions and labelled counters of calls and Graph requests, for the text exposition.
//!
//! Decides: buckets and labels, all from closed sets or bounded here. Given: the figures of calls that ended. Refuses: numbers and ids of anybody as labels.

use std::collections::BTreeMap;
use std::fmt::Write;
use tipring_engine::call::Ended;
use tipring_engine::rtp::mos;
use tipring_engine::time::{Span, Time};

/// Counts of values up to each bound, their sum, and how many there were.
#[derive(Clone, Debug)]
struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    total: u64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], sum: 0.0, total: 0 }
    }

    fn add(&mut self, value: f64) {
        for (bound, count) in self.bounds.iter().zip(&mut self.counts) {
            *count += u64::from(value <= *bound);
        }
        self.sum += value;
        self.total += 1;
    }

    fn write(&self, out: &mut String, name: &str, label: &str) {
        let with = |more: String| match (label.is_empty(), more.is_empty()) {
            (true, true) => String::new(),
            (true, false) => format!("{{{more}}}"),
            (false, true) => format!("{{{label}}}"),
            (false, false) => format!("{{{label},{more}}}"),
        };
        // Writing to a String cannot fail.
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            let _ = writeln!(out, "tipring_{name}_bucket{} {count}", with(format!("le=\"{bound}\"")));
        }
        let _ = writeln!(out, "tipring_{name}_bucket{} {}", with("le=\"+Inf\"".into()), self.total);
        let _ = writeln!(out, "tipring_{name}_sum{} {}", with(String::new()), self.sum);
        let _ = writeln!(out, "tipring_{name}_count{} {}", with(String::new()), self.total);
    }
}

/// Everything that is more than one number.
#[derive(Debug)]
pub(super) struct Figures {
    calls: BTreeMap<(&'static str, &'static str), u64>,
    setup: BTreeMap<&'static str, Histogram>,
    dtls: Histogram,
    media_ends: BTreeMap<&'static str, u64>,
    lost: u64,
    concealed: u64,
    jitter: Histogram,
    rtt: Histogram,
    mos: Histogram,
    ws_queue: Histogram,
    graph: BTreeMap<&'static str, Histogram>,
    refusals: BTreeMap<(&'static str, u32), u64>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            calls: BTreeMap::new(),
            setup: STAGES.iter().map(|stage| (*stage, Histogram::new(SETUP_S))).collect(),
            dtls: Histogram::new(SETUP_S),
            media_ends: BTreeMap::new(),
            lost: 0,
            concealed: 0,
            jitter: Histogram::new(JITTER_S),
            rtt: Histogram::new(RTT_S),
            mos: Histogram::new(MOS),
            ws_queue: Histogram::new(QUEUE_MS),
            graph: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }
}

impl Figures {
    /// A call was told to its end.
    pub(super) fn call(&mut self, direction: &'static str, result: &'static str) {
        *self.calls.entry((direction, result)).or_default() += 1;
    }

    /// A media call ended.
    pub(super) fn media(&mut self, ended: &Ended) {
        let stats = &ended.stats;
        let m = &stats.milestones;
        let reached = [m.ice_connected, m.dtls_connected, m.gate_opened, m.first_rtp_out, m.first_rtp_in];
        for (stage, at) in STAGES.iter().zip(reached) {
            if let (Some(at), Some(histogram)) = (at, self.setup.get_mut(stage)) {
                histogram.add(seconds(at.since(m.opened)));
            }
        }
        if let (Some(from), Some(to)) = (m.ice_connected, m.dtls_connected) {
            self.dtls.add(seconds(Time::since(to, from)));
        }
        *self.media_ends.entry(ended.reason.code()).or_default() += 1;
        self.lost += u64::try_from(stats.remote.lost).unwrap_or(0);
        self.concealed += stats.jitter.concealed;
        if stats.remote.packets > 0 {
            self.jitter.add(f64::from(stats.remote.jitter_ticks) / 48_000.0);
            let late = stats.jitter.concealed + stats.jitter.late;
            let loss = late as f32 / (stats.jitter.played + late).max(1) as f32;
            let rtt = stats.remote.rtt.or(stats.ice_rtt).unwrap_or(Span::ZERO);
            self.mos.add(f64::from(mos::estimate(loss, rtt, Span::from_micros(stats.jitter.target_us))));
        }
        if let Some(rtt) = stats.remote.rtt.or(stats.ice_rtt) {
            self.rtt.add(seconds(rtt));
        }
    }

    /// So much audio of a server waits to be heard.
    pub(super) fn ws_queue(&mut self, ms: u64) {
        self.ws_queue.add(ms as f64);
    }

    /// A request to Graph was answered, or not, after so long; `code` is Meta's, if it refused.
    pub(super) fn graph(&mut self, action: &'static str, took: std::time::Duration, code: Option<u32>) {
        self.graph.entry(action).or_insert_with(|| Histogram::new(SETUP_S)).add(took.as_secs_f64());
        if let Some(code) = code {
            // Meta's numbers are some dozens; a server that makes them up must not fill the memory.
            let code = if self.refusals.len() < REFUSALS_MAX || self.refusals.contains_key(&(action, code)) { code } else { 0 };
            *self.refusals.entry((action, code)).or_default() += 1;
        }
    }

    /// Prometheus text.
    pub(super) fn write(&self, out: &mut String) {
        let mut counter = |name: &str, rows: Vec<(String, u64)>| {
            let _ = writeln!(out, "# TYPE tipring_{name} counter");
            for (labels, n) in rows {
                let _ = writeln!(out, "tipring_{name}{labels} {n}");
            }
        };
        counter("calls_total", self.calls.iter().map(|((d, r), n)| (format!("{{direction=\"{d}\",result=\"{r}\"}}"), *n)).collect());
        let ice = self.media_ends.iter().filter(|(reason, _)| reason.starts_with("ICE_") || **reason == "CONSENT_LOST");
        counter("ice_failures_total", ice.map(|(r, n)| (format!("{{reason=\"{r}\"}}"), *n)).collect());
        counter("media_ended_total", self.media_ends.iter().map(|(r, n)| (format!("{{reason=\"{r}\"}}"), *n)).collect());
        counter("rtp_lost_total", vec![(String::new(), self.lost)]);
        counter("concealed_frames_total", vec![(String::new(), self.concealed)]);
        counter("graph_refusals_total", self.refusals.iter().map(|((a, c), n)| (format!("{{action=\"{a}\",code=\"{c}\"}}"), *n)).collect());
        let mut family = |name: &str, rows: Vec<(String, &Histogram)>| {
            let _ = writeln!(out, "# TYPE tipring_{name} histogram");
            for (label, histogram) in rows {
                histogram.write(out, name, &label);
            }
        };
        family("setup_seconds", self.setup.iter().map(|(s, h)| (format!("stage=\"{s}\""), h)).collect());
        family("dtls_handshake_seconds", vec![(String::new(), &self.dtls)]);
        family("graph_seconds", self.graph.iter().map(|(a, h)| (format!("action=\"{a}\""), h)).collect());
        family("jitter_seconds", vec![(String::new(), &self.jitter)]);
        family("rtt_seconds", vec![(String::new(), &self.rtt)]);
        family("mos", vec![(String::new(), &self.mos)]);
        family("ws_queue_ms", vec![(String::new(), &self.ws_queue)]);
    }
}

fn seconds(span: Span) -> f64 {
    span.as_micros() as f64 / 1e6
}

/// Stages of the set-up, since the call was opened.
const STAGES: [&str; 5] = ["ice", "dtls", "gate", "first_out", "first_in"];
const SETUP_S: &[f64] = &[0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
const JITTER_S: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
const RTT_S: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0];
const MOS: &[f64] = &[1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.25];
const QUEUE_MS: &[f64] = &[20.0, 60.0, 120.0, 200.0, 500.0, 1_000.0, 5_000.0, 20_000.0, 60_000.0];
/// Pairs of action and code that are told apart.
const REFUSALS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use tipring_engine::call::CallStats;
    use tipring_engine::error::EndReason;

    #[test]
    fn what_was_added_is_told_in_the_format_of_prometheus() {
        let mut figures = Figures::default();
        figures.call("inbound", "completed");
        figures.graph("accept", std::time::Duration::from_millis(120), Some(138_006));
        let mut stats = CallStats::default();
        stats.milestones.ice_connected = Some(Time::ZERO + Span::from_millis(30));
        stats.milestones.dtls_connected = Some(Time::ZERO + Span::from_millis(90));
        stats.remote.packets = 500;
        stats.remote.jitter_ticks = 480;
        stats.remote.lost = -3;
        stats.ice_rtt = Some(Span::from_millis(40));
        figures.media(&Ended { reason: EndReason::IceTimeout, stats, flight_recorder: Vec::new() });
        figures.ws_queue(40);
        let mut text = String::new();
        figures.write(&mut text);
        for line in [
            "tipring_calls_total{direction=\"inbound\",result=\"completed\"} 1",
            "tipring_ice_failures_total{reason=\"ICE_TIMEOUT\"} 1",
            "tipring_rtp_lost_total 0",
            "tipring_graph_refusals_total{action=\"accept\",code=\"138006\"} 1",
            "tipring_setup_seconds_bucket{stage=\"ice\",le=\"0.02\"} 0",
            "tipring_setup_seconds_bucket{stage=\"ice\",le=\"0.05\"} 1",
            "tipring_setup_seconds_count{stage=\"gate\"} 0",
            "tipring_dtls_handshake_seconds_sum 0.06",
            "tipring_graph_seconds_bucket{action=\"accept\",le=\"+Inf\"} 1",
            "tipring_jitter_seconds_bucket{le=\"0.01\"} 1",
            "tipring_rtt_seconds_bucket{le=\"0.05\"} 1",
            "tipring_mos_count 1",
            "tipring_ws_queue_ms_bucket{le=\"20\"} 0",
            "tipring_ws_queue_ms_bucket{le=\"60\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            assert!(value.parse::<f64>().is_ok() && name.starts_with("tipring_") && !name.contains(' '), "{line}");
        }
    }

    #[test]
    fn made_up_numbers_do_not_fill_the_memory() {
        let mut figures = Figures::default();
        for code in 1..10_000 {
            figures.graph("accept", std::time::Duration::ZERO, Some(code));
        }
        assert!(figures.refusals.len() <= REFUSALS_MAX + 1);
    }
}
