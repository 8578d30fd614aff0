//! Four calls in a random world: every webhook may come twice, late or in any order, every reply may be lost, every end may hang up.
//!
//! An outside witness counts what is done for each call: acted on once, one accept, one ending, Meta told once where it is due, none stuck.

use std::collections::HashMap;

use super::*;

/// What a call has had so far, as an outside witness counts it.
#[derive(Default)]
struct Witness {
    offered: u32,
    ended: u32,
    opened: u32,
    closed: u32,
    engine_gone: bool,
    gates: u32,
    posts: HashMap<&'static str, Vec<Option<GraphOutcome>>>,
    sdp: Option<SdpText>,
    terminated_by_meta: bool,
    let_go: bool,
}

/// Whether a refusal means that there is nothing of ours to be ended.
fn lets_go(outcome: &GraphOutcome) -> bool {
    matches!(outcome, GraphOutcome::Refused(error) if crate::graph::code::is_taken(error) || crate::graph::code::is_over(error))
}

/// What the worlds went through, to be sure that they go everywhere.
#[derive(Default, Debug)]
struct Tally {
    gates: u32,
    proven: u32,
    let_go: u32,
    rejects: u32,
    terminates: u32,
    engine_gone: u32,
    never_told: u32,
}

fn random_world(seed: u64, tally: &mut Tally) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let config = SessionConfig {
        auto_answer: below(2) == 0,
        pre_accept: below(4) != 0,
        accept_without_media: below(2) == 0,
        ..SessionConfig::default()
    };
    let mut sessions = Sessions::new(config);
    let mut now = Time::from_nanos(1);
    let names: Vec<String> = (0..4).map(|i| format!("wacid.{i}")).collect();
    let mut witness_by_key: HashMap<CallKey, Witness> = HashMap::new();
    let mut name_by_key: HashMap<CallKey, String> = HashMap::new();
    let mut key_by_name: HashMap<String, CallKey> = HashMap::new();
    let mut pending: Vec<(RequestId, CallKey, &'static str, usize)> = Vec::new();

    for step in 0..400 {
        let closing = step >= 250;
        let name = names[below(4) as usize].clone();
        let key = CallKey(1 + below(5));
        let input = match below(18) {
            0 | 1 if !closing => Input::Webhook(offer_event(&name, UNIX - below(30) as i64)),
            2 if closing || below(8) == 0 => {
                if let Some(key) = key_by_name.get(&name) {
                    let witness = witness_by_key.get_mut(key).expect("known");
                    witness.terminated_by_meta |= witness.ended == 0;
                }
                Input::Webhook(terminate_event(&name, TerminateStatus::Completed, None))
            }
            3 | 11 | 12 => Input::Engine { call: key, event: local_ready() },
            4 | 13 => Input::Engine { call: key, event: EngineEvent::MediaReady },
            5 if below(2) == 0 => Input::Engine { call: key, event: EngineEvent::FirstMediaIn },
            6 if below(6) == 0 => {
                let Some(witness) = witness_by_key.get_mut(&key).filter(|w| w.opened > 0 && w.closed == 0 && !w.engine_gone) else {
                    continue;
                };
                witness.engine_gone = true;
                Input::Engine { call: key, event: EngineEvent::Ended { reason: EndReason::IceTimeout, evidence: Box::default() } }
            }
            7 if below(3) == 0 => {
                let command = [Command::Accept, Command::Accept, Command::Accept, Command::Accept, Command::Reject, Command::Terminate]
                    [below(6) as usize];
                Input::Command { call: key, command }
            }
            8..=10 | 14..=16 if !pending.is_empty() => {
                let (request, key, action, index) = pending.swap_remove(below(pending.len() as u64) as usize);
                let outcome = match below(13) {
                    0 | 10 => GraphOutcome::Lost,
                    1 => GraphOutcome::NotSent,
                    2 => taken(),
                    3 => refused(400, 138_008, "SDP Validation error"),
                    4 => refused(500, 131_000, "Something went wrong"),
                    _ => ok(),
                };
                let witness = witness_by_key.get_mut(&key).expect("known");
                // After its deadline a reply is not heard any more; the machine took the request for lost.
                let first_lost = matches!(witness.posts[action].first(), Some(Some(GraphOutcome::Lost)));
                let is_own_doing = action == "pre_accept" && index == 1 && first_lost;
                let slot = &mut witness.posts.get_mut(action).expect("posted")[index];
                if slot.is_none() {
                    witness.let_go |= witness.ended == 0 && lets_go(&outcome) && !is_own_doing;
                    *slot = Some(outcome.clone());
                }
                Input::GraphReply { request, outcome }
            }
            _ => match sessions.poll_timeout() {
                Some(at) if below(10) == 0 || closing => {
                    now = now.max(at);
                    Input::Timeout
                }
                _ => continue,
            },
        };
        let is_timeout = matches!(input, Input::Timeout);
        sessions.handle(input, UNIX, now);
        if is_timeout {
            // Whatever is in flight and unanswered may just have been taken for lost; its late reply changes nothing.
            for (_, key, action, index) in &pending {
                let witness = witness_by_key.get_mut(key).expect("known");
                let later = sessions.call(*key).is_none();
                if later {
                    witness.posts.get_mut(action).expect("posted")[*index].get_or_insert(GraphOutcome::Lost);
                }
            }
        }
        while let Some(effect) = sessions.poll_effect() {
            match effect {
                Effect::Graph { request, call, action, .. } => {
                    let witness = witness_by_key.get_mut(&call).expect("announced first");
                    assert_eq!(witness.ended, 0, "seed {seed}: nothing is asked for after the end");
                    assert!(!witness.let_go, "seed {seed}: nothing is asked for a call that is not ours");
                    let label = action.name();
                    // One at a time: whatever was unanswered has been taken for lost.
                    for outcomes in witness.posts.values_mut() {
                        for outcome in outcomes {
                            outcome.get_or_insert(GraphOutcome::Lost);
                        }
                    }
                    let ends = witness.posts.get("terminate").map_or(0, Vec::len) + witness.posts.get("reject").map_or(0, Vec::len);
                    let same = witness.posts.get(label).map_or(0, Vec::len);
                    assert_eq!(same, if ends > 0 { ends } else { same }, "seed {seed}: after the end only its repetition");
                    let outcomes = witness.posts.entry(label).or_default();
                    assert!(outcomes.len() < 2, "seed {seed}: {label} for the third time");
                    if let Some(Some(first)) = outcomes.first() {
                        assert!(!matches!(first, GraphOutcome::Success { .. }), "seed {seed}: {label} again after success");
                    }
                    if let GraphAction::PreAccept { sdp, .. } | GraphAction::Accept { sdp, .. } = &action {
                        assert_eq!(witness.sdp.get_or_insert(sdp.clone()), sdp, "seed {seed}: the same bytes");
                    }
                    pending.push((request, call, label, outcomes.len()));
                    outcomes.push(None);
                }
                Effect::OpenCall { call, .. } => witness_by_key.get_mut(&call).expect("announced first").opened += 1,
                Effect::SetRemote { .. } => panic!("seed {seed}: nobody dialled"),
                Effect::OpenGate { call } => {
                    let witness = witness_by_key.get_mut(&call).expect("announced first");
                    witness.gates += 1;
                    let accepts = witness.posts.get("accept").expect("accepted before");
                    let is_proven = accepts.len() == 2 && accepts.iter().any(|o| matches!(o, Some(o) if lets_go(o)));
                    tally.proven += u32::from(!accepts.iter().any(|o| matches!(o, Some(GraphOutcome::Success { .. }))));
                    assert!(is_proven || accepts.iter().any(|o| matches!(o, Some(GraphOutcome::Success { .. }))), "seed {seed}: gate");
                    witness.let_go = false;
                }
                Effect::CloseCall { call, .. } => witness_by_key.get_mut(&call).expect("announced first").closed += 1,
                Effect::Notify { call, wacid, notice } => match notice {
                    Notice::Offered { .. } => {
                        let name = wacid.expect("id").as_str().to_owned();
                        assert!(key_by_name.insert(name.clone(), call).is_none(), "seed {seed}: {name} was offered twice");
                        name_by_key.insert(call, name);
                        witness_by_key.entry(call).or_default().offered += 1;
                    }
                    Notice::Ended(ending) => {
                        let witness = witness_by_key.entry(call).or_default();
                        witness.ended += 1;
                        assert!(witness.offered == 1 || ending.verdict.code == "WEBHOOK_STALE", "seed {seed}");
                    }
                    _ => {}
                },
            }
        }
    }
    // Let everything run out; only Meta or the engine can end what is active.
    for name in &names {
        if let Some(key) = key_by_name.get(name) {
            let witness = witness_by_key.get_mut(key).expect("known");
            witness.terminated_by_meta |= witness.ended == 0 && sessions.call(*key).is_some_and(|call| call.state == CallState::Active);
            if sessions.call(*key).is_some_and(|call| call.state == CallState::Active) {
                sessions.handle(Input::Webhook(terminate_event(name, TerminateStatus::Completed, Some(1))), UNIX, now);
                // The event may have been seen earlier, as a repetition: then the user's media runs dry.
                let event = EngineEvent::Ended { reason: EndReason::NoIngress, evidence: Box::default() };
                if sessions.call(*key).is_some() {
                    witness.engine_gone = true;
                    witness.terminated_by_meta = false;
                    sessions.handle(Input::Engine { call: *key, event }, UNIX, now);
                }
            }
        }
    }
    let mut rounds = 0;
    while let Some(at) = sessions.poll_timeout() {
        now = now.max(at);
        sessions.handle(Input::Timeout, UNIX, now);
        rounds += 1;
        assert!(rounds < 1_000, "seed {seed}: stuck");
    }
    while let Some(effect) = sessions.poll_effect() {
        match effect {
            Effect::Notify { call, notice: Notice::Ended(_), .. } => witness_by_key.get_mut(&call).expect("announced first").ended += 1,
            Effect::CloseCall { call, .. } => witness_by_key.get_mut(&call).expect("announced first").closed += 1,
            Effect::Graph { call, action, .. } => {
                let witness = witness_by_key.get_mut(&call).expect("announced first");
                witness.posts.entry(action.name()).or_default().push(None);
            }
            Effect::OpenGate { .. } => panic!("seed {seed}: a gate without a reply"),
            _ => {}
        }
    }
    assert_eq!(sessions.calls().count(), 0, "seed {seed}: no call is stuck");
    for (key, witness) in &witness_by_key {
        let label = format!("seed {seed}, call {key:?}");
        assert_eq!(witness.ended, 1, "{label}: one ending");
        assert!(witness.gates <= 1 && witness.offered <= 1 && witness.opened <= 1, "{label}");
        assert_eq!(witness.closed + u32::from(witness.engine_gone), witness.opened, "{label}: media released once");
        let posted = |action| witness.posts.get(action).map_or(0, Vec::len);
        assert!(posted("accept") <= 2 && posted("pre_accept") <= 2, "{label}");
        let ends = posted("terminate") + posted("reject");
        assert!(posted("terminate") == 0 || posted("reject") == 0, "{label}: one or the other");
        assert!(ends <= 2, "{label}");
        tally.gates += witness.gates;
        tally.let_go += u32::from(witness.let_go);
        tally.rejects += u32::from(posted("reject") > 0);
        tally.terminates += u32::from(posted("terminate") > 0);
        tally.engine_gone += u32::from(witness.engine_gone);
        tally.never_told += u32::from(ends == 0);
        if witness.offered == 1 && !witness.terminated_by_meta && !witness.let_go {
            assert!(ends >= 1, "{label}: Meta was told");
        }
    }
}

#[test]
fn in_any_order_each_call_is_acted_on_once() {
    let mut tally = Tally::default();
    for seed in 1..=400 {
        random_world(seed, &mut tally);
    }
    let Tally { gates, proven, let_go, rejects, terminates, engine_gone, never_told } = tally;
    for count in [gates, let_go, rejects, terminates, engine_gone, never_told] {
        assert!(count >= 20, "the worlds must go everywhere: {tally:?}");
    }
    assert!(proven >= 1, "the worlds must go everywhere: {tally:?}");
}
