//! Whole calls in virtual time: real handshake, real Opus, no socket, no clock. After every step the world's checkers look at what left us;
//! at the end the oracle of Meta's stand-in judges what it saw.
//!
//! A failure prints `SEED=… cargo test …`; that line repeats exactly the failing call.

use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::Span;
use tipring_meta_sim::correlate::correlate;
use tipring_meta_sim::oracle::Limits;
use tipring_meta_sim::user::Typing;
use tipring_tests::world::{CpuClock, LinkConfig, Outcome, Plan, World, caller, greeting, seeds, swarm};

fn clean(outcome: &Outcome) {
    assert_eq!(outcome.reason(), "HANG_UP");
    assert_eq!(outcome.verdict.as_deref(), Some("HANG_UP"));
}

//= rfc8445#section-6.1.1 type=test
//= rfc8445#section-7.1.3 type=test
//= rfc8445#section-12.1 type=test
//= rfc7675#section-5.1:initial type=test
//= rfc5764#section-3 type=test
//= rfc7587#section-4.1 type=test
//= meta#R-16 type=test
//= meta#R-17 type=test
//= meta#R-18 type=test
//= meta#R-19 type=test
//= meta#R-21 type=test
//= meta#R-22 type=test
//= meta#R-23 type=test
//= meta#R-24 type=test
//= meta#R-27 type=test
//= meta#R-28 type=test
//= meta#R-29 type=test
//= meta#R-31 type=test
//= meta#R-32 type=test
//= meta#R-34 type=test
//= meta#R-39 type=test
//= meta#R-40 type=test
//= rules#I1 type=test
//= rules#I26 type=test
//= rules#D23 type=test
//= rules#P4 type=test
#[test]
fn clean_call_passes_every_line_of_the_oracle() {
    swarm("virtual_call::clean_call_passes_every_line_of_the_oracle", seeds(1..3), |seed| {
        let outcome = World::run(Plan::clean(seed));
        clean(&outcome);
        assert_eq!(outcome.failures(Limits::default(), Some(greeting())), []);
        assert_eq!(outcome.digits, "11#5");
        // The user's words reach the host whole, and come back as echo.
        for (who, heard) in [("the host", &outcome.heard), ("the user", &outcome.user_heard)] {
            let found = correlate(&caller(), heard, 16_000).expect("something is heard");
            assert!(found.lost_ms == 0 && found.peak > 0.9, "{who} heard {found:?}");
        }
        assert!(outcome.set_up.is_some_and(|took| took < Span::from_secs(1)), "{:?}", outcome.set_up);
    });
}

/// Limits for links that lose and delay: what depends on each datagram is forgiven, what depends on order is not.
fn lossy() -> Limits {
    Limits {
        client_hello: Span::from_secs(3),
        first_rtp: Span::from_secs(3),
        webhook_answer: Span::from_secs(1),
        is_lossy: true,
        lost_speech: Span::from_secs(60),
    }
}

/// Rules that a lossy link breaks although we keep them: a consent check or a report that was sent did not arrive, or the first packet came second.
const LOSS_MAY_BREAK: [&str; 3] = ["RFC7675-5.1", "R-39", "RFC3551-4.1"];

/// What an ordinary bad day on the internet does: one draw per seed.
fn bad_day(seed: u64) -> Plan {
    let mut rng = SeededRng::new(seed ^ 0xbad);
    let mut link = || LinkConfig {
        delay: Span::from_millis(5 + rng.below(76)),
        jitter: Span::from_millis(rng.below(31)),
        loss: rng.below(501),
        duplicate: rng.below(201),
        ..LinkConfig::default()
    };
    let mut plan = Plan::clean(seed).short(Span::from_secs(7));
    (plan.to_meta, plan.to_us) = ([link(), link()], [link(), link()]);
    let dead = LinkConfig { loss: 10_000, ..LinkConfig::default() };
    match rng.below(4) {
        0 => (plan.to_meta[0], plan.to_us[0]) = (dead.clone(), dead),
        1 => (plan.to_meta[1], plan.to_us[1]) = (dead.clone(), dead),
        _ => {}
    }
    plan.signalling_delay = Span::from_millis(10 + rng.below(140));
    plan.script.typing.push(Typing { after: Span::from_millis(3_500), digits: "11#5".to_owned() });
    plan
}

#[test]
fn hundred_bad_days_connect_and_end_a_hundred_times_faster_than_real_time() {
    let clock = CpuClock::start();
    let run = |seed| {
        let outcome = World::run(bad_day(seed));
        clean(&outcome);
        assert_eq!(outcome.digits, "11#5");
        let failures: Vec<_> = outcome.failures(lossy(), None).into_iter().filter(|v| !LOSS_MAY_BREAK.contains(&v.rule)).collect();
        assert_eq!(failures, []);
        let took = outcome.set_up.expect("keys on our side");
        assert!(took <= Span::from_secs(3), "connected after {} ms", took.as_millis());
        assert!(outcome.answered && !outcome.user_heard.is_empty());
        (took, outcome.lasted, seed)
    };
    let outcomes = swarm("virtual_call::hundred_bad_days_connect_and_end_a_hundred_times_faster_than_real_time", seeds(0..100), run);
    let lasted: f64 = outcomes.iter().map(|(_, lasted, _)| lasted.as_millis() as f64 / 1_000.0).sum();
    let slowest = outcomes.iter().max_by_key(|outcome| outcome.0).expect("some ran");
    println!("{} calls, {lasted:.0} virtual seconds; slowest set-up {} ms (seed {})", outcomes.len(), slowest.0.as_millis(), slowest.2);
    if let Some(used) = clock.map(CpuClock::used) {
        // Time on a processor, not on the wall: what else this machine does is no part of it.
        let ratio = lasted / used.as_secs_f64();
        println!("{:.2} s of processor time: {ratio:.0} times real time", used.as_secs_f64());
        assert!(outcomes.len() < 100 || ratio >= 100.0, "only {ratio:.0} times faster than real time");
    }
}

#[test]
fn same_seed_gives_the_same_trace_and_another_seed_another() {
    let run = |seed| World::run(bad_day(seed)).trace;
    assert_eq!(run(11), run(11));
    assert_eq!(run(12), run(12));
    assert_ne!(run(11), run(12));
}
