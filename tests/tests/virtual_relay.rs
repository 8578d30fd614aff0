//! Relays in virtual time: a PBX behind a plain RTP leg, our call between, Meta's stand-in with its oracle on the other side. Opus passed through at once, G.711
//! transcoded; pauses, loss, jitter and restarts of the PBX.

use tipring_engine::bridge::rtp::LegCodec;
use tipring_engine::time::Span;
use tipring_meta_sim::correlate::correlate;
use tipring_meta_sim::oracle::Limits;
use tipring_tests::world::{FarPlan, Outcome, Plan, World, caller, greeting, seeds, swarm};

fn relay(seed: u64, far: FarPlan) -> Outcome {
    let outcome = World::run(Plan { far: Some(far), ..Plan::clean(seed) });
    assert_eq!(outcome.reason(), "HANG_UP");
    outcome
}

/// Rules of the oracle that `outcome` breaks, but for those named.
fn broken(outcome: &Outcome, but: &[&str], whole: bool) -> Vec<String> {
    let failures = outcome.failures(Limits::default(), whole.then(greeting));
    failures.into_iter().filter(|v| !but.contains(&v.rule)).map(|v| format!("{v:?}")).collect()
}

//= meta#R-09 type=test
//= meta#R-31:live type=test
#[test]
fn opus_passes_through_whole_from_the_first_word_before_the_gate() {
    swarm("virtual_relay::opus_passes_through_whole_from_the_first_word_before_the_gate", seeds(1..3), |seed| {
        let outcome = relay(seed, FarPlan { presses_at: Some(250), ..FarPlan::clean(LegCodec::Opus) });
        // What waited for the gate goes out at twice the speed: more than 50 packets in the first second, and the far end's buffer plays faster for a moment.
        assert_eq!(broken(&outcome, &["RFC3550-P5", "R-31"], true), [] as [String; 0]);
        let found = correlate(&greeting(), &outcome.user_heard, 16_000).expect("the user hears the far side");
        assert!(found.lost_ms <= 120 && found.peak > 0.9, "the user heard {found:?}");
        let found = correlate(&caller(), &outcome.heard, 16_000).expect("the far side hears the user");
        assert!(found.lost_ms <= 120 && found.peak > 0.9, "the far side heard {found:?}");
        assert_eq!(outcome.far_digits, "11#5", "the user's digits reach the far side");
        let stats = outcome.ended.as_ref().expect("it ended").stats.clone();
        assert_eq!(stats.jitter.played, 0, "no jitter buffer in the way");
        let far = stats.far.expect("figures of the leg");
        assert_eq!(far.drops.total(), 0, "{far:?}");
        let typed = outcome.timeline.iter().filter(|e| format!("{e:?}").contains("payload_type: 126")).count();
        assert!(typed >= 7, "the far side's digit reaches Meta in {typed} packets");
    });
}

//= meta#R-31:live type=test
#[test]
fn g711_is_transcoded_both_ways_from_the_first_word_before_the_gate() {
    swarm("virtual_relay::g711_is_transcoded_both_ways_from_the_first_word_before_the_gate", seeds(1..2), |seed| {
        let outcome = relay(seed, FarPlan::clean(LegCodec::Pcmu));
        assert_eq!(broken(&outcome, &[], false), [] as [String; 0]);
        let found = correlate(&caller(), &outcome.heard, 16_000).expect("the far side hears the user");
        assert!(found.lost_ms <= 120 && found.peak > 0.7, "the far side heard {found:?}");
        // From the first word before the gate; the pause in the middle is shorter by the delay that this cost (ADR 14).
        let said = greeting();
        for piece in [&said[..20_800], &said[28_800..]] {
            let found = correlate(piece, &outcome.user_heard, 16_000).expect("the user hears the far side");
            assert!(found.lost_ms <= 60 && found.peak > 0.7, "the user heard {found:?}");
        }
        assert_eq!(outcome.far_digits, "11#5");
    });
}

//= meta#R-19 type=test
//= meta#R-29 type=test
//= meta#R-39 type=test
#[test]
fn a_far_side_that_pauses_loses_and_restarts_never_breaks_our_stream() {
    swarm("virtual_relay::a_far_side_that_pauses_loses_and_restarts_never_breaks_our_stream", seeds(1..5), |seed| {
        let far = FarPlan {
            pauses: vec![120..123, 150..250, 300..302],
            loss: 30,
            jitter: Span::from_millis(35),
            restarts_at: Some(330),
            ..FarPlan::clean(LegCodec::Opus)
        };
        let outcome = relay(seed, far);
        // Time that passed without a packet is told by timestamp and marker; which is what these three rules look at.
        let but = ["RFC3550-P5", "R-17", "RFC3551-4.1"];
        assert_eq!(broken(&outcome, &but, false), [] as [String; 0]);
        let stats = &outcome.ended.as_ref().expect("it ended").stats;
        assert!((60..140).contains(&stats.silence_out), "silence in the pause of two seconds: {}", stats.silence_out);
    });
}
