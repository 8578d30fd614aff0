//! Messages on record: each answer, request and piece of garbage does what its file says it must.

use super::*;
use serde_json::Value;

pub(super) fn golden(name: &str) -> Value {
    let path = format!("{}/../tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect("golden file is JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    let hex = value.as_str().expect("hex");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}

/// An agent with the credentials and the tie-breaker of the golden messages, its first check sent under `our_tid`.
fn golden_world(file: &Value, our_tid: Option<&Value>) -> World {
    let text = |key: &str| file["credentials"][key].as_str().expect(key).to_owned();
    let mut world = World::new(IceConfig::default(), |_| Reply::Silence);
    world.agent.local = Credentials { ufrag: text("local_ufrag"), pwd: text("local_pwd") };
    world.agent.local_key = IntegrityKey::new(text("local_pwd").as_bytes());
    world.agent.tie_breaker = u64::from_str_radix(&text("our_tiebreaker"), 16).expect("hex");
    let remote = Candidate::remote(at(RELAY4), CandidateKind::Host, 2_122_260_223, "1");
    let credentials = Credentials { ufrag: text("remote_ufrag"), pwd: text("remote_pwd") };
    assert!(world.agent.set_remote(credentials, true, &[remote], Time::ZERO));
    let mut out = [0; 500];
    assert!(world.agent.poll_transmit(&mut out, Time::ZERO).is_some());
    if let Some(tid) = our_tid {
        let sent = StunView::new_checked(&out[..100]).expect("100 bytes of check").id();
        let transaction = *world.agent.transactions.find(sent).expect("in flight");
        world.agent.transactions.remove(sent);
        let id = TransactionId(bytes(tid).try_into().expect("12 bytes"));
        world.agent.transactions.insert(Transaction { id, ..transaction });
    }
    world
}

#[test]
fn golden_responses_do_what_they_must() {
    let file = golden("stun/messages.json");
    let mut seen = 0;
    for case in file["cases"].as_array().expect("cases").iter().filter(|c| c["use"] == "response to our check") {
        let mut world = golden_world(&file, Some(&case["our_tid"]));
        let outcome = world.agent.handle_stun(path(BASE4, RELAY4), &bytes(&case["hex"]), ms(10));
        let (pair, stats) = (&world.agent.pairs[0], world.agent.stats());
        match case["expect"].as_str().expect("expect") {
            "ignore" => assert!(outcome.is_err() && pair.state == PairState::InProgress, "{}", case["id"]),
            "fail" => assert!(outcome.is_ok() && pair.state == PairState::Failed, "{}", case["id"]),
            "role conflict" => assert!(outcome.is_ok() && pair.state == PairState::Waiting && stats.role_conflicts == 1),
            success => {
                assert!(success.starts_with("success"));
                assert_eq!((outcome, pair.state), (Ok(()), PairState::Succeeded), "{}", case["id"]);
                if let Some(address) = success.strip_prefix("success with ") {
                    assert_eq!(world.agent.mapped_address(), address.parse().ok());
                }
            }
        }
        seen += 1;
    }
    assert!(seen >= 9);
}

//= rfc8445#section-7.3 type=test
//= rfc8445#section-7.3:silence type=test
//= rfc8445#section-7.3.1.1 type=test
//= rfc8445#section-7.3.1.2 type=test
//= rfc8445#section-7.3.1.4 type=test
#[test]
fn golden_requests_get_the_answer_they_must_and_no_other() {
    let file = golden("stun/messages.json");
    let mut seen = 0;
    for case in file["cases"].as_array().expect("cases").iter().filter(|c| c["use"] == "request to us") {
        let mut world = golden_world(&file, None);
        let from = path(BASE4, "10.77.9.9:7000");
        let outcome = world.agent.handle_stun(from, &bytes(&case["hex"]), ms(1));
        let mut out = [0; 500];
        let answer = world.agent.poll_transmit(&mut out, ms(1)).map(|(length, to)| {
            assert_eq!(to, from);
            StunView::new_checked(&out[..length]).expect("well-formed")
        });
        match case["expect"].as_str().expect("expect") {
            "401 or silence, no state" | "400 or silence" => {
                assert_eq!(outcome, Err(DropReason::StunUnauthenticated), "{}", case["id"]);
                assert!(answer.is_none() && world.agent.pairs.len() == 1);
            }
            "no answer, refreshes nothing but liveness" => assert!(outcome.is_ok() && answer.is_none()),
            "487, stay controlling" => assert_eq!(answer.and_then(|a| a.error_code()), Some(487)),
            success => {
                assert!(success.starts_with("answer success"), "{success}");
                let answer = answer.expect("an answer");
                assert_eq!((answer.class(), answer.xor_mapped_address()), (Class::Success, Some(from.remote)));
                assert!(answer.authenticate(&world.agent.local_key).is_ok());
                assert_eq!(world.agent.pairs.len(), 2);
                assert!(world.agent.pairs[1].is_triggered);
            }
        }
        seen += 1;
    }
    assert!(seen >= 6);
}

//= rfc8445#section-7.3 type=test
#[test]
fn golden_garbage_is_dropped_without_answer_or_trace() {
    let file = golden("stun/malformed.json");
    let mut world = golden_world(&golden("stun/messages.json"), None);
    let before = (world.agent.poll_timeout(), *world.agent.stats());
    for case in file["cases"].as_array().expect("cases") {
        assert!(world.agent.handle_stun(path(BASE4, RELAY4), &bytes(&case["hex"]), ms(1)).is_err(), "{}", case["id"]);
        assert_eq!(world.agent.poll_transmit(&mut [0; 500], ms(1)), None);
    }
    assert_eq!(before, (world.agent.poll_timeout(), *world.agent.stats()));
}
