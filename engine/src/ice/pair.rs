//! Candidate pairs and the order of the checklist (RFC 8445 section 6.1.2).
//!
//! Given: local and remote candidates. Decides: which pairs exist, their order, pruning, cap, and which start Waiting.
//! Refuses: sending (`agent.rs`), filtering of remote addresses (`candidate.rs`).

use super::candidate::{check_priority, pair_priority};
use super::{Candidate, Path};
use crate::limits::ICE_PAIRS_MAX;
use crate::time::{Span, Time};
use core::net::SocketAddr;

/// State of a pair (RFC 8445 section 6.1.2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PairState {
    /// Another pair of its foundation goes first.
    Frozen,
    /// May be checked.
    Waiting,
    /// Checked, no answer yet.
    InProgress,
    /// Valid.
    Succeeded,
    /// Answered with an error, or never.
    Failed,
}

/// A candidate pair. Its local side is always a base: that is where datagrams leave from (I12).
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) path: Path,
    pub(super) priority: u64,
    /// PRIORITY of checks on it.
    pub(super) check_priority: u32,
    /// Numbers for local and remote foundation; equal numbers, equal foundations.
    pub(super) foundation: (usize, usize),
    pub(super) state: PairState,
    /// A request came in on it: it goes before ordinary checks.
    pub(super) is_triggered: bool,
    /// When its next check may start.
    pub(super) due: Time,
    /// Round-trip time of its last unambiguous answer.
    pub(super) rtt: Option<Span>,
    /// Our address as the peer saw it. When it is no candidate of ours it is a peer-reflexive one with `path.local` as base (I19).
    pub(super) mapped: Option<SocketAddr>,
    /// Whether it was ever nominated.
    pub(super) was_nominated: bool,
}

impl Pair {
    pub(super) fn new(local: &Candidate, remote: SocketAddr, remote_priority: u32, foundation: (usize, usize)) -> Self {
        Self {
            path: Path { local: local.base_or_address(), remote },
            priority: pair_priority(local.priority, remote_priority),
            check_priority: check_priority(local.priority),
            foundation,
            state: PairState::Frozen,
            is_triggered: false,
            due: Time::ZERO,
            rtt: None,
            mapped: None,
            was_nominated: false,
        }
    }

    /// Whether it may still become valid.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, PairState::Succeeded | PairState::Failed)
    }
}

/// Forms the checklist, best pair first: same family only, reflexive locals replaced by their bases, redundant pairs pruned, at most
/// `pairs_max` and [`ICE_PAIRS_MAX`], the best pair of each foundation Waiting (I12, I14, I15).
//= rules#I12
//= rules#I15
pub(super) fn form(locals: &[Candidate], remotes: &[Candidate], pairs_max: usize) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::with_capacity(ICE_PAIRS_MAX.max(locals.len() * remotes.len()));
    for local in locals {
        //= rfc8445#section-6.1.2.2  one family only
        for remote in remotes.iter().filter(|r| r.address.is_ipv4() == local.base_or_address().is_ipv4()) {
            let number = |all: &[Candidate], foundation: &str| all.iter().position(|c| c.foundation == foundation).unwrap_or(all.len());
            let foundation = (number(locals, &local.foundation), number(remotes, &remote.foundation));
            pairs.push(Pair::new(local, remote.address, remote.priority, foundation));
        }
    }
    pairs.sort_by_key(|p| core::cmp::Reverse(p.priority));
    prune(&mut pairs);
    cap(&mut pairs, pairs_max.clamp(1, ICE_PAIRS_MAX));
    //= rfc8445#section-6.1.2.6  for each foundation ... the candidate pair ... is set to Waiting
    for i in 0..pairs.len() {
        if !pairs[..i].iter().any(|p| p.foundation == pairs[i].foundation) {
            pairs[i].state = PairState::Waiting;
        }
    }
    pairs
}

/// Removes pairs with the path of a better one.
//= rfc8445#section-6.1.2.4  base and remote equal: the best stays
//= rules#I12
fn prune(pairs: &mut Vec<Pair>) {
    let mut kept = 0;
    for i in 0..pairs.len() {
        if !pairs[..kept].iter().any(|p| p.path == pairs[i].path) {
            pairs.swap(kept, i);
            kept += 1;
        }
    }
    pairs.truncate(kept);
}

/// Drops the worst pairs of whichever family has more, so that many addresses of a dead family cannot push the good one out.
//= rfc8445#section-6.1.2.5  a limit on pairs
//= rules#I14
//= rules#G8
fn cap(pairs: &mut Vec<Pair>, pairs_max: usize) {
    while pairs.len() > pairs_max {
        let v4 = pairs.iter().filter(|p| p.path.remote.is_ipv4()).count();
        let drop_v4 = v4 * 2 > pairs.len();
        let worst = pairs.iter().rposition(|p| p.path.remote.is_ipv4() == drop_v4).unwrap_or(pairs.len() - 1);
        pairs.remove(worst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ice::CandidateKind;
    use serde_json::Value;

    fn candidate(value: &Value, all: &[Value]) -> Candidate {
        let address = |v: &Value| {
            let ip = v["addr"].as_str().expect("addr").parse().expect("an address");
            SocketAddr::new(ip, v["port"].as_u64().expect("port") as u16)
        };
        let base = all.iter().find(|other| other["id"].is_string() && other["id"] == value["base"]).map(address);
        let priority = value["priority"].as_u64().expect("priority") as u32;
        let foundation = value["foundation"].as_str().expect("foundation");
        Candidate { base, ..Candidate::remote(address(value), CandidateKind::Host, priority, foundation) }
    }

    //= rfc8445#section-6.1.2.2 type=test
    //= rfc8445#section-6.1.2.4 type=test
    //= rules#I12 type=test
    #[test]
    fn dual_stack_checklist_matches_the_golden_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/ice/checklist_dual_stack.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).expect(path)).expect("JSON");
        let list = |key: &str| golden[key].as_array().expect(key).clone();
        let (locals, remotes) = (list("local"), list("remote"));
        let read = |all: &[Value]| all.iter().map(|v| candidate(v, all)).collect::<Vec<_>>();
        let pairs = form(&read(&locals), &read(&remotes), ICE_PAIRS_MAX);
        let case = &golden["cases"][0];
        let expected = case["expect_pairs_in_order"].as_array().expect("pairs");
        assert_eq!(pairs.len(), expected.len());
        for ((pair, want), state) in pairs.iter().zip(expected).zip(case["expect_states"].as_array().expect("states")) {
            let local = locals.iter().find(|l| l["id"] == want["local"]).expect("a local");
            assert_eq!(pair.path.local.ip().to_string(), local["addr"].as_str().expect("addr"));
            assert_eq!(u64::from(!pair.path.remote.is_ipv4()) * 2 + 4, want["remote"].as_u64().expect("remote"));
            assert_eq!(Some(pair.priority), want["priority"].as_u64());
            assert_eq!((pair.state, state.as_str()), (PairState::Waiting, Some("waiting")));
        }
    }

    //= rfc8445#section-6.1.2.5 type=test
    //= rfc8445#section-6.1.2.6 type=test
    //= rules#I14 type=test
    //= rules#I15 type=test
    #[test]
    fn a_crowd_of_one_family_leaves_room_for_the_other() {
        let at = |text: String| text.parse::<SocketAddr>().expect("an address");
        let locals = [Candidate::host(at("[fd77::1]:5000".into()), 65_535), Candidate::host(at("10.77.0.1:5000".into()), 65_534)];
        let mut remotes: Vec<_> =
            (1..=20).map(|i| Candidate::remote(at(format!("[fd77::2]:{i}")), CandidateKind::Host, 2_000_000_000 + i, "1")).collect();
        remotes.push(Candidate::remote(at("10.77.0.2:9".into()), CandidateKind::Host, 1, "2"));
        let pairs = form(&locals, &remotes, ICE_PAIRS_MAX);
        assert_eq!(pairs.len(), ICE_PAIRS_MAX);
        assert_eq!(pairs.iter().filter(|p| p.path.remote.is_ipv4()).count(), 1);
        assert!(pairs.is_sorted_by_key(|p| core::cmp::Reverse(p.priority)));
        // Same foundation on both sides: one Waiting, the rest Frozen.
        assert_eq!(pairs.iter().filter(|p| p.state == PairState::Waiting).count(), 2);
        assert_eq!(pairs[0].state, PairState::Waiting);
        let few = form(&locals, &remotes, 3);
        assert_eq!((few.len(), few.iter().filter(|p| p.path.remote.is_ipv4()).count()), (3, 1), "the bound can be configured");
        assert_eq!(form(&locals, &remotes, 0).len(), 1);
    }
}
