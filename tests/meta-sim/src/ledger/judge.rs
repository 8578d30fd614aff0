//! What the business did with each call, judged from Meta's side alone.
//!
//! Given: the ledger. Decides: which rules were broken, with the call and its requests. Refuses: what a business knows of its calls; that is judged where it is known.

use super::{EndedBy, Entry, Ledger, State};
use crate::graph::ActionKind;
use core::fmt;
use std::collections::BTreeMap;
use tipring_engine::time::Span;

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Calls by users.
    pub inbound: u64,
    /// Calls by the business.
    pub outbound: u64,
    /// Inbound calls taken by us; outbound calls taken by users.
    pub answered: u64,
    /// Calls taken by the other partner.
    pub elsewhere: u64,
    /// Ended by the user, by us, by the other partner, by Meta for want of media.
    pub ended_by: [u64; 4],
    /// Requests that were seen, lost ones included.
    pub requests: u64,
    /// Requests or replies that were lost, or answered 5xx.
    pub troubled: u64,
    /// Webhooks posted.
    pub webhooks: u64,
    /// Webhooks that came twice.
    pub duplicates: u64,
    /// Webhooks with several events.
    pub batches: u64,
}

/// The end of it.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What was counted.
    pub figures: Figures,
    /// Broken rules: call and sentence. None: all is well.
    pub faults: Vec<String>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [user, business, partner, silence] = self.ended_by;
        writeln!(
            f,
            "calls        {} by users, {} by the business; {} answered, {} taken by the other partner",
            self.inbound, self.outbound, self.answered, self.elsewhere
        )?;
        writeln!(f, "ended by     user {user}, us {business}, other partner {partner}, Meta for want of media {silence}")?;
        writeln!(f, "requests     {}, of which {} were lost, lost their reply or met a 5xx", self.requests, self.troubled)?;
        write!(f, "webhooks     {} posted, {} came twice, {} were batches", self.webhooks, self.duplicates, self.batches)
    }
}

impl Ledger {
    /// Judges every call. Ask when nothing is left to happen.
    pub fn judge(&self) -> Judgement {
        let mut figures = Figures { webhooks: self.posts, duplicates: self.duplicates, batches: self.batches, ..Figures::default() };
        let mut faults = Vec::new();
        if self.refused > 0 {
            faults.push(format!("{} requests were malformed, or had the wrong token or number", self.refused));
        }
        for (id, entry) in &self.calls {
            count(entry, &mut figures);
            for fault in broken(entry) {
                let story: Vec<String> = entry
                    .asked
                    .iter()
                    .map(|a| {
                        let fate = match (a.arrived, a.acted, a.is_sure) {
                            (false, ..) => "lost",
                            (_, true, true) => "done",
                            (_, true, false) => "done, reply lost",
                            (_, false, true) => "refused",
                            (_, false, false) => "refused, reply lost",
                        };
                        format!("{} {fate} at {} ms", a.kind.name(), a.at.since(entry.created).as_millis())
                    })
                    .collect();
                let end = entry.ended_at.map(|at| at.since(entry.created).as_millis());
                faults.push(format!("{id}: {fault}; {}; {:?} at {end:?} ms", story.join(", "), entry.state));
            }
        }
        Judgement { figures, faults }
    }
}

fn count(entry: &Entry, figures: &mut Figures) {
    if entry.is_inbound {
        figures.inbound += 1;
    } else {
        figures.outbound += 1;
    }
    let by_partner = entry.is_inbound && !accepted(entry) && entry.picked_up.is_some();
    figures.elsewhere += u64::from(by_partner);
    figures.answered += u64::from(entry.picked_up.is_some() && !by_partner);
    if let State::Ended(by) = entry.state {
        figures.ended_by[by as usize] += 1;
    }
    figures.requests += entry.asked.len() as u64;
    figures.troubled += entry.asked.iter().filter(|a| !a.is_sure).count() as u64;
}

fn accepted(entry: &Entry) -> bool {
    entry.asked.iter().any(|a| a.kind == ActionKind::Accept && a.acted)
}

fn broken(entry: &Entry) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let is_end = |kind| matches!(kind, ActionKind::Reject | ActionKind::Terminate);
    let mut by_kind: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for asked in &entry.asked {
        let name = if is_end(asked.kind) { "end" } else { asked.kind.name() };
        by_kind.entry(name).or_default().push(asked);
    }
    for same in by_kind.values() {
        if same.len() > 2 {
            faults.push("the same was asked for more than twice");
        }
        //= meta#R-35 type=test
        if same.windows(2).any(|pair| pair[0].is_sure) {
            faults.push("the same was asked for again although the first reply had arrived");
        }
    }
    if by_kind.get("accept").is_some_and(|all| all.iter().filter(|a| a.acted).count() > 1) {
        faults.push("it was accepted twice");
    }
    if entry.sdps.len() > 1 {
        faults.push("two answers were given for one call");
    }
    if let Some(ends) = by_kind.get("end") {
        let first = ends[0].at;
        if entry.asked.iter().any(|a| !is_end(a.kind) && a.at > first) {
            faults.push("something was asked for after the end");
        }
        if entry.told_at.is_some_and(|told| ends.iter().any(|a| a.at > told + Span::from_millis(1))) {
            faults.push("it was ended although its end had been told");
        }
        let own_doing = |kind| entry.asked.iter().any(|a| a.kind == kind && !a.is_sure);
        let knew = entry.asked.iter().any(|a| a.said_taken && !is_end(a.kind) && !own_doing(a.kind) && a.at < first);
        if knew && !accepted(entry) {
            faults.push("the call of another partner was ended");
        }
    }
    match entry.state {
        State::Ended(EndedBy::Silence) => {
            // Only what never arrived, or an accept that nobody could know of, may be left to Meta.
            let is_excused = entry.asked.iter().any(|a| !a.is_sure);
            if !is_excused {
                faults.push("it was left to Meta to end it");
            }
        }
        State::Ended(_) => {}
        _ => faults.push("it never ended"),
    }
    faults
}
