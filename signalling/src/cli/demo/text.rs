//! The report for people: a ladder, a waterfall, figures, verdicts. At most 110 columns.

use super::ladder::{self, LADDER_COLUMNS};
use super::report::{DemoReport, Stage};
use super::scenario::{Expectation, Scenario};
use std::fmt::Write;
use std::io::IsTerminal;
use tipring_engine::time::Span;

/// Whether colours are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    coloured: bool,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set to something (no-color.org).
    pub(super) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { coloured: !refused && std::io::stdout().is_terminal() }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.coloured && !colour.is_empty() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn mark(self, pass: bool, seen: bool) -> String {
        match (pass, seen) {
            (false, _) => self.paint(RED, "FAIL"),
            (true, true) => self.paint(GREEN, "pass"),
            (true, false) => self.paint(DIM, "  - "),
        }
    }

    fn head(self, text: &str) -> String {
        format!("\n{}\n", self.paint(BOLD, text))
    }
}

/// Said before the call, since it takes a while.
pub(super) fn greeting(scenario: Option<Scenario>) -> String {
    match scenario {
        None => "One call on loopback, in real time: about 14 seconds ...".to_owned(),
        Some(s) => format!("One call on loopback with the fault `{}`: at most {} seconds ...", s.name(), s.seconds_max() + 3),
    }
}

/// The list of scenarios.
pub(super) fn list() -> String {
    let mut out = String::from("tipring demo --misbehave NAME\n\n");
    let _ = writeln!(out, "{:<26}{:<10}WHAT HAPPENS -> WHAT COMES OF IT", "NAME", "WHOSE");
    for s in Scenario::all() {
        let _ = writeln!(out, "{:<26}{:<10}{}", s.name(), s.blame(), s.text());
        let _ = writeln!(out, "{:<36}-> {}", "", s.expectation());
    }
    out.push_str("\nall                       runs every one of them.\n");
    out.push_str("Exit status: 0 a working call as stated, 1 the call failed with the stated cause, 2 usage, 3 anything else.\n");
    out
}

/// One line for one scenario of `--misbehave all`.
pub(super) fn outcome(scenario: Scenario, result: &Result<DemoReport, String>, style: Style) -> String {
    let (pass, cause) = match result {
        Ok(report) => (report.as_expected, format!("{}: {}", report.cause.code, report.cause.sentence)),
        Err(why) => (false, why.clone()),
    };
    let width = COLUMNS - 5 - 26;
    let mut cause = cause;
    if cause.chars().count() > width {
        cause = cause.chars().take(width - 3).chain("...".chars()).collect();
    }
    format!("{} {:<26}{cause}", style.mark(pass, true), scenario.name())
}

/// The whole report.
pub(super) fn report(report: &DemoReport, style: Style) -> String {
    let mut out = String::new();
    if let Some(s) = report.scenario {
        wrapped(&mut out, "fault     ", &format!("{} ({}): {}", s.name(), s.blame(), s.text()));
        let _ = writeln!(out, "expected  {}", report.expectation());
    }
    timeline(&mut out, report, style);
    stages(&mut out, &report.stages, style);
    quality(&mut out, report, style);
    speech(&mut out, report, style);
    oracle(&mut out, report, style);
    ending(&mut out, report, style);
    out
}

fn timeline(out: &mut String, report: &DemoReport, style: Style) {
    out.push_str(&style.head("The call (user and Meta are simulated, signalling and engine are ours; media: packets sent/received)"));
    let _ = writeln!(out, "{:>9} {}", "ms", ladder::header());
    for step in &report.timeline {
        let at = step.at.since(report.started).as_micros() as f64 / 1_000.0;
        let label = if step.leg.is_empty() { String::new() } else { format!("{} ", step.leg) };
        let room = COLUMNS - 9 - 1 - LADDER_COLUMNS - 1 - label.len();
        let text: String = step.text.chars().take(room).collect();
        let _ = writeln!(out, "{at:>9.1} {} {}{text}", style.paint(DIM, &ladder::draw(step)), style.paint(colour(step.leg), &label));
    }
}

fn colour(leg: &str) -> &'static str {
    match leg {
        "webhook" => "35",
        "Graph" => "36",
        "STUN" => "33",
        "DTLS" => "34",
        "RTP" | "RTCP" | "media" => "32",
        _ => "",
    }
}

fn stages(out: &mut String, stages: &[Stage], style: Style) {
    let Some(last) = stages.last() else { return };
    out.push_str(&style.head("Set-up, from the webhook on"));
    let scale = last.at.as_micros().max(1);
    let mut before = Span::ZERO;
    for stage in stages {
        let column = |at: Span| (at.as_micros() * BAR_COLUMNS as u64 / scale) as usize;
        let (from, to) = (column(before), column(stage.at));
        let bar = format!("{}{}", " ".repeat(from), "█".repeat((to - from).max(1)));
        let took = (stage.at - before).as_micros() as f64 / 1_000.0;
        let at = stage.at.as_micros() as f64 / 1_000.0;
        let _ = writeln!(out, "  {:<22}{at:>9.1} ms {:>10} {}", stage.name, format!("+{took:.1}"), style.paint(GREEN, &bar));
        before = stage.at;
    }
}

fn quality(out: &mut String, report: &DemoReport, style: Style) {
    let ms = |span: Span| span.as_micros() as f64 / 1_000.0;
    if let Some(q) = &report.quality {
        out.push_str(&style.head("Quality"));
        let _ = writeln!(
            out,
            "  RTP        {} sent ({} lost at Meta), {} received ({} lost), {}",
            q.sent, q.lost_at_peer, q.received, q.lost, q.profile
        );
        let _ = writeln!(
            out,
            "  network    round trip {:.2} ms, jitter {:.2} ms, play-out delay {:.0} ms, {} frames concealed, {} late",
            ms(q.rtt),
            ms(q.jitter),
            ms(q.playout_delay),
            q.concealed,
            q.late
        );
        let _ = writeln!(out, "  MOS        {:.2} of 4.41, estimated (E-model)", q.mos);
    }
    let join = |pairs: &[(&'static str, u64)]| pairs.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ");
    let drops = if report.drops.is_empty() { "none".to_owned() } else { join(&report.drops) };
    if report.quality.is_some() || !report.drops.is_empty() {
        wrapped(out, "  dropped    ", &drops);
    }
    if !report.webhooks.is_empty() {
        wrapped(out, "  webhooks   ", &join(&report.webhooks));
    }
    if let Some(thrown) = report.thrown {
        let _ = writeln!(
            out,
            "  garbage    {} datagrams at the media ports, {} broken HTTP requests; more from the relay's own address",
            thrown.datagrams, thrown.requests
        );
    }
}

fn speech(out: &mut String, report: &DemoReport, style: Style) {
    if report.speech.is_empty() && report.checks.is_empty() {
        return;
    }
    out.push_str(&style.head("Speech and promises"));
    for s in &report.speech {
        let evidence = match s.found {
            Some(f) => format!("correlation {:.2} at {:.2} s, {} of {} ms lost", f.peak, f.lag_ms / 1_000.0, f.lost_ms, f.sounding_ms),
            None => "not found".to_owned(),
        };
        let _ = writeln!(out, "  {} {:<42} {evidence}", style.mark(s.is_whole(), true), s.text);
    }
    for c in &report.checks {
        let _ = writeln!(out, "  {} {:<42} {}", style.mark(c.pass, true), c.text, c.evidence);
    }
}

fn oracle(out: &mut String, report: &DemoReport, style: Style) {
    out.push_str(&style.head("The oracle: what Meta asks of us, as Meta's side saw it"));
    for v in &report.oracle {
        let evidence = if v.seen { v.evidence.as_str() } else { "no occasion" };
        let line = format!("{:<14}{}: {evidence}", v.rule, v.text);
        let line: String = line.chars().take(COLUMNS - 7).collect();
        let _ = writeln!(out, "  {} {line}", style.mark(v.pass, v.seen));
    }
}

fn ending(out: &mut String, report: &DemoReport, style: Style) {
    out.push('\n');
    if let Some(first) = report.recording.first().and_then(|p| p.parent()) {
        let names: Vec<_> = report.recording.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
        wrapped(out, "recording ", &format!("{}: {}", first.display(), names.join(", ")));
    }
    wrapped(out, "cause     ", &format!("{}: {}", report.cause.code, report.cause.sentence));
    let failed = report.oracle.iter().filter(|v| !v.pass).count();
    let passed = report.oracle.iter().filter(|v| v.pass && v.seen).count();
    let unseen = report.oracle.len() - failed - passed;
    let _ = writeln!(out, "oracle    {passed} rules kept, {failed} broken, {unseen} without occasion");
    if report.stood_still > Span::ZERO {
        let _ = writeln!(
            out,
            "machine   stood still for {} ms during the call; calls cannot be judged in real time then",
            report.stood_still.as_millis()
        );
    }
    let (colour, text) = match (report.as_expected, report.expectation()) {
        (false, expectation) => (RED, format!("NOT AS STATED: expected {expectation}")),
        (true, Expectation::Works) => (GREEN, "A working call, as stated.".to_owned()),
        (true, _) => (GREEN, "The call failed, and the cause is the stated one.".to_owned()),
    };
    let _ = writeln!(out, "{}", style.paint(colour, &text));
}

/// One entry over as many lines as it needs, broken between words, the rest indented to its start.
fn wrapped(out: &mut String, label: &str, text: &str) {
    let room = COLUMNS - label.chars().count();
    let mut line = String::new();
    let mut lead = label.to_owned();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            let _ = writeln!(out, "{lead}{line}");
            line.clear();
            lead = " ".repeat(label.chars().count());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{lead}{line}");
}

/// Widest line.
const COLUMNS: usize = 110;
/// Width of the waterfall.
const BAR_COLUMNS: usize = 50;
const RED: &str = "31;1";
const GREEN: &str = "32";
const BOLD: &str = "1";
const DIM: &str = "2";
