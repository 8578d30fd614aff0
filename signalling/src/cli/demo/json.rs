//! The report as data.

use super::report::DemoReport;
use super::scenario::Scenario;
use serde_json::{Value, json};
use tipring_engine::time::Span;

/// One document for one call.
pub(super) fn report(report: &DemoReport) -> String {
    line(&value(report))
}

/// One document for `--misbehave all`.
pub(super) fn all(results: &[(Scenario, Result<DemoReport, String>)]) -> String {
    let calls: Vec<Value> = results
        .iter()
        .map(|(scenario, result)| match result {
            Ok(report) => value(report),
            Err(why) => json!({ "misbehave": scenario.name(), "as_expected": false, "error": why }),
        })
        .collect();
    line(&json!({ "calls": calls }))
}

/// Every scenario.
pub(super) fn list() -> String {
    let rows: Vec<Value> = Scenario::all()
        .map(|s| json!({ "name": s.name(), "whose_fault": s.blame(), "what": s.text(), "expected": s.expectation().to_string() }))
        .collect();
    line(&json!({ "misbehave": rows }))
}

fn line(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn value(report: &DemoReport) -> Value {
    let ms = |span: Span| span.as_micros() as f64 / 1_000.0;
    let counts = |pairs: &[(&'static str, u64)]| Value::Object(pairs.iter().map(|(name, n)| ((*name).to_owned(), json!(n))).collect());
    json!({
        "misbehave": report.scenario.map(Scenario::name),
        "expected": report.expectation().to_string(),
        "as_expected": report.as_expected,
        "machine_stood_still_ms": ms(report.stood_still),
        "exit_code": report.exit_code(),
        "cause": { "code": report.cause.code, "sentence": report.cause.sentence },
        "timeline": report.timeline.iter().map(|s| json!({
            "at_ms": ms(s.at.since(report.started)), "from": s.from.name(), "to": s.to.name(), "both_ways": s.both_ways, "leg": s.leg, "text": s.text,
        })).collect::<Vec<_>>(),
        "stages": report.stages.iter().map(|s| json!({ "name": s.name, "at_ms": ms(s.at) })).collect::<Vec<_>>(),
        "quality": report.quality.as_ref().map(|q| json!({
            "rtp_sent": q.sent, "rtp_received": q.received, "lost": q.lost, "lost_at_peer": q.lost_at_peer, "jitter_ms": ms(q.jitter),
            "rtt_ms": ms(q.rtt), "playout_delay_ms": ms(q.playout_delay), "concealed_frames": q.concealed, "late": q.late, "mos": q.mos,
            "srtp_profile": q.profile,
        })),
        "oracle": report.oracle.iter().map(|v| json!({
            "rule": v.rule, "text": v.text, "pass": v.pass, "seen": v.seen, "evidence": v.evidence,
        })).collect::<Vec<_>>(),
        "checks": report.checks.iter().map(|c| json!({ "text": c.text, "pass": c.pass, "evidence": c.evidence })).collect::<Vec<_>>(),
        "speech": report.speech.iter().map(|s| json!({
            "text": s.text, "pass": s.is_whole(), "correlation": s.found.map(|f| f.peak), "at_ms": s.found.map(|f| f.lag_ms),
            "lost_ms": s.found.map(|f| f.lost_ms), "sounding_ms": s.found.map(|f| f.sounding_ms),
        })).collect::<Vec<_>>(),
        "recording": report.recording.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
        "drops": counts(&report.drops),
        "webhooks": counts(&report.webhooks),
        "garbage": report.thrown.map(|t| json!({ "datagrams": t.datagrams, "requests": t.requests })),
    })
}
