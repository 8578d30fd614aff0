//! What a run of a sketch was worth: passed, or the first thing that is wrong.
//!
//! Given: a sketch and what came of it. Decides: whether it may end so. Refuses: step by step rules (`check.rs`), which have panicked before.

use super::{Class, Outcome, Plan, Sketch, Trace, World};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::faults::Fault;
use tipring_meta_sim::timeline::{Direction, What};

/// Figures of one call that passed.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The session machine's verdict; `NO_CALL` when there was none to judge.
    pub verdict: String,
    /// From the ring to keys on our side.
    pub set_up: Option<Span>,
    /// Virtual time from first to last moment.
    pub lasted: Span,
    /// Datagrams put on a link.
    pub datagrams: u64,
    /// Steps, each followed by the checkers.
    pub steps: u64,
    /// Everything that happened, folded.
    pub trace: Trace,
}

/// Runs what is sketched, after `change`. Says what is wrong.
pub fn attempt(sketch: &Sketch, change: impl FnOnce(&mut Plan)) -> Result<Passed, String> {
    let mut plan = sketch.plan();
    change(&mut plan);
    let faults = plan.faults.clone();
    let rebinds = plan.nat_rebinds.is_some();
    let mailbox_full = plan.trouble.mailbox_full;
    let until = plan.trouble.until;
    let outcome = catch_unwind(AssertUnwindSafe(|| World::run(plan))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without words").to_owned()
    })?;
    let excuses = Excuses { faults, rebinds, mailbox_full };
    judge(sketch, &excuses, until, &outcome)?;
    Ok(Passed {
        verdict: outcome.verdict.unwrap_or_else(|| "NO_CALL".to_owned()),
        set_up: outcome.set_up,
        lasted: outcome.lasted,
        datagrams: outcome.datagrams,
        steps: outcome.steps,
        trace: outcome.trace,
    })
}

/// What was drawn that may end a call.
struct Excuses {
    faults: Vec<Fault>,
    rebinds: bool,
    mailbox_full: bool,
}

impl Excuses {
    /// Whether a call may end with `code`.
    fn allow(&self, sketch: &Sketch, code: &str) -> bool {
        let is_graph = ["ACCEPT_UNPROVEN", "GRAPH_LOST", "NOT_ANSWERED", "TAKEN_ELSEWHERE"].contains(&code);
        // A bit flipped before there are keys changes what was said; UDP's own checksum would have caught all but a few.
        let is_handshake = code.starts_with("DTLS_") || ["FINGERPRINT_MISMATCH", "NO_SRTP_PROFILE", "META_138021"].contains(&code);
        let has_fatal = sketch.has(Class::Fatal);
        has_fatal && code != "INTERNAL_FAULT"
            || sketch.has(Class::Corrupt) && is_handshake
            // The relay selected the old address, and our handshake comes from the new one.
            || self.rebinds && (is_handshake || code == "CONSENT_LOST")
            || sketch.has(Class::Graph) && is_graph && self.faults.contains(&Fault::MutePeer)
            || self.mailbox_full && code.starts_with("FULL_")
    }
}

fn judge(sketch: &Sketch, excuses: &Excuses, until: Time, outcome: &Outcome) -> Result<(), String> {
    let echoed = outcome.echoed;
    if echoed.foreign > 0 || echoed.repeated > 0 {
        return Err(format!("what the user heard was not what the user said: {echoed:?}"));
    }
    let Some(verdict) = outcome.verdict.as_deref() else {
        // No webhook that proves itself, no call.
        return if sketch.has(Class::Fatal) { Ok(()) } else { Err("there was never a call".to_owned()) };
    };
    // The user may hang up before the repetition of a lost accept has told us that we were heard.
    if verdict == "HANG_UP" && !outcome.answered && (sketch.has(Class::Graph) || sketch.has(Class::Fatal)) {
        return Ok(());
    }
    if (verdict, outcome.answered) != ("HANG_UP", true) {
        let codes = [verdict, outcome.reason()];
        return if codes.iter().any(|code| excuses.allow(sketch, code)) {
            Ok(())
        } else {
            Err(format!("the call ended with {verdict} (engine: {}), answered: {}", outcome.reason(), outcome.answered))
        };
    }
    let Some(ended) = &outcome.ended else { return Err("answered, and there was no media call".to_owned()) };
    if ended.stats.milestones.dtls_connected.is_none() {
        // Accepted without media after eight seconds, and hung up by the user before the handshake was given up.
        let is_excused = sketch.has(Class::Fatal) || sketch.has(Class::Corrupt) || excuses.rebinds;
        return if is_excused { Ok(()) } else { Err("answered and hung up, and there were never keys".to_owned()) };
    }
    media_flows(sketch, excuses, until, outcome)
}

/// Once the faults are over both hear each other, to the end.
fn media_flows(sketch: &Sketch, excuses: &Excuses, until: Time, outcome: &Outcome) -> Result<(), String> {
    // Meta falls silent, or hangs up, in the middle.
    if sketch.has(Class::Fatal) {
        return Ok(());
    }
    let Some(hung_up) = outcome.timeline.iter().find(|e| matches!(e.what, What::HungUp)).map(|e| e.at) else { return Ok(()) };
    let Some(first) = outcome.stages.first_rtp else {
        let is_excused = excuses.rebinds || sketch.has(Class::Corrupt) || sketch.has(Class::Graph);
        return if is_excused { Ok(()) } else { Err("the user heard nothing at all".to_owned()) };
    };
    // The last stall begins before the faults are over, and lasts up to 2.5 s.
    let stall = if sketch.has(Class::Stall) { Span::from_millis(2_600) } else { Span::ZERO };
    let from = (until + stall).max(first) + Span::from_millis(500);
    let is_in = |at: Time| from < at && at + Span::from_millis(400) < hung_up;
    let (mut ours, mut theirs) = (0u64, 0u64);
    for entry in &outcome.timeline {
        if let What::Rtp { .. } = entry.what
            && is_in(entry.at)
        {
            *(if entry.direction == Direction::FromBusiness { &mut ours } else { &mut theirs }) += 1;
        }
    }
    let span_ms = if from < hung_up { hung_up.since(from).as_millis().saturating_sub(400) } else { 0 };
    // Late frames of a stall and of long links: a tenth and ten packets are forgiven.
    if ours + 10 < span_ms / 20 * 9 / 10 {
        return Err(format!("the user heard {ours} packets in the last {span_ms} ms, after the faults"));
    }
    if excuses.rebinds || excuses.faults.contains(&Fault::MutePeer) {
        return Ok(());
    }
    let heard = outcome.ended.as_ref().map_or(0, |ended| ended.stats.rtp_in);
    if theirs == 0 && span_ms > 600 || heard < theirs {
        let drops = outcome.ended.as_ref().map(|ended| ended.stats.drops);
        return Err(format!(
            "we heard {heard} packets, and {theirs} were sent in the last {span_ms} ms alone, after the faults; {drops:?}"
        ));
    }
    let is_due = |at: Time| until + stall < at && at + Span::from_secs(1) < hung_up;
    let typed = outcome.timeline.iter().filter(|e| is_due(e.at)).filter_map(|e| if let What::Digit(c) = e.what { Some(c) } else { None });
    let typed: String = typed.collect();
    if !outcome.digits.contains(&typed) {
        return Err(format!("the user typed {typed} after the faults, and our host was told {:?}", outcome.digits));
    }
    Ok(())
}
