//! Scenario 24: hostile vectors at set-up and into a live call. What we send, and when, is the same to the nanosecond as without them; webhooks act once.

use serde_json::Value;
use std::path::Path;
use tipring_engine::error::AdmitError;
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::graph::Account;
use tipring_meta_sim::webhooks::Writer;
use tipring_signalling::graph::GraphOutcome;
use tipring_signalling::session::{Effect, EngineEvent, Input, Notice, SessionConfig, Sessions};
use tipring_signalling::webhook::{envelope, signature};
use tipring_tests::world::{Noise, Plan, World};

fn golden(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let text = std::fs::read_to_string(&path).expect(name);
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let cases = value["cases"].as_array().expect("cases").clone();
    assert!(!cases.is_empty());
    cases
}

fn datagrams(name: &str) -> Vec<Vec<u8>> {
    let read = |case: &Value| {
        let hex = case["hex"].as_str().expect("hex");
        (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hex")).collect()
    };
    golden(name).iter().map(read).collect()
}

fn all_vectors() -> Vec<Vec<u8>> {
    let files = ["stun/malformed.json", "dtls/hostile_datagrams.json", "rtp/headers.json", "rtcp/packets.json"];
    files.into_iter().flat_map(datagrams).collect()
}

fn quiet(seed: u64) -> Plan {
    Plan::clean(seed).short(Span::from_secs(5)).numbered()
}

//= rules#G2 type=test
#[test]
fn hostile_vectors_of_a_stranger_change_nothing_from_first_to_last_moment() {
    let calm = World::run(quiet(24));
    let loud =
        World::run(Plan { noise: Some(Noise { from_relay: false, every: Span::from_millis(1) }), hostile: all_vectors(), ..quiet(24) });
    assert_eq!(loud.trace, calm.trace);
    assert_eq!(loud.echoed, calm.echoed);
    let drops = loud.ended.expect("a media call").stats.drops.total();
    assert!(loud.noise > 1_000 && drops >= loud.noise * 9 / 10, "{drops} of {} counted", loud.noise);
}

//= rules#G3 type=test
#[test]
fn hostile_vectors_under_the_relays_address_change_nothing_in_a_live_call() {
    let calm = World::run(quiet(25));
    let loud = World::run(Plan {
        noise: Some(Noise { from_relay: true, every: Span::from_millis(1) }),
        noise_after: Span::from_secs(2),
        hostile: all_vectors(),
        ..quiet(25)
    });
    assert_eq!(loud.trace, calm.trace);
    assert_eq!(loud.echoed, calm.echoed);
    assert!(loud.noise > 1_000, "{}", loud.noise);
}

/// Every hostile SDP by webhook, each delivered three times: at most one call for each id, each ends with a reason that blames nobody of us,
/// and an honest call between them is carried.
#[test]
fn hostile_descriptions_by_webhook_cost_one_refusal_each() {
    let account = Account::default();
    let now = Time::ZERO;
    let mut sessions = Sessions::new(SessionConfig { auto_answer: true, ..SessionConfig::default() });
    let (mut endings, mut opened) = (0, 0);
    let cases = golden("sdp/hostile.json");
    for (n, case) in cases.iter().enumerate() {
        let writer = Writer {
            account: account.clone(),
            call_id: format!("wacid.Hostile{n}"),
            user_number: "15550100123".to_owned(),
            user_name: "Ada".to_owned(),
            is_user_initiated: true,
            unix_ms: 1_795_300_000_000,
            opaque: None,
            faults: Vec::new(),
        };
        let delivery = writer.connect(case["sdp"].as_str().unwrap_or_default(), now);
        signature::verify(&delivery.body, delivery.signature.as_deref(), std::slice::from_ref(&account.app_secret))
            .expect("signed by Meta");
        let (mut of_this, mut ended) = (0, 0);
        for _ in 0..3 {
            for event in envelope::parse(&delivery.body).expect("an envelope") {
                sessions.handle(Input::Webhook(event), 1_795_300_000, now);
                while let Some(effect) = sessions.poll_effect() {
                    match effect {
                        // The engine has no room: what opens is let go again at once.
                        Effect::OpenCall { call, .. } => {
                            of_this += 1;
                            let event = EngineEvent::NotAdmitted(AdmitError::Calls);
                            sessions.handle(Input::Engine { call, event }, 1_795_300_000, now);
                        }
                        Effect::Graph { request, .. } => {
                            let outcome = GraphOutcome::Success { wacid: None };
                            sessions.handle(Input::GraphReply { request, outcome }, 1_795_300_000, now);
                        }
                        Effect::Notify { notice: Notice::Ended(ending), .. } => {
                            assert_ne!(ending.verdict.code, "INTERNAL_FAULT", "{}", case["id"]);
                            ended += 1;
                        }
                        _ => {}
                    }
                }
            }
        }
        assert!(of_this <= 1 && ended <= 1, "{}: {of_this} calls opened, {ended} ended", case["id"]);
        opened += of_this;
        endings += ended;
    }
    // Those that end with Meta's terminate end by time.
    let later = now + Span::from_secs(60);
    sessions.handle(Input::Timeout, 1_795_300_060, later);
    while let Some(effect) = sessions.poll_effect() {
        endings += usize::from(matches!(effect, Effect::Notify { notice: Notice::Ended(_), .. }));
    }
    assert_eq!(sessions.calls().count(), 0);
    assert_eq!(endings, cases.len(), "{opened} of them were opened");
}
