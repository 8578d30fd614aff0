//! Whole calls in virtual time: real handshake, real Opus, no socket, no clock. After every step the world's checkers look at what left us;
//! at the end the oracle of Meta's stand-in judges what it saw.
//!
//! A failure prints `SEED=… cargo test …`; that line repeats exactly the failing call.

use tipring_engine::time::Span;
use tipring_meta_sim::correlate::correlate;
use tipring_meta_sim::oracle::Limits;
use tipring_tests::world::{Outcome, Plan, World, caller, greeting, seeds, swarm};

fn clean(outcome: &Outcome) {
    assert_eq!(outcome.reason(), "HANG_UP");
    assert_eq!(outcome.verdict.as_deref(), Some("HANG_UP"));
}

#[test]
fn clean_call_passes_every_line_of_the_oracle() {
    swarm("clean_call_passes_every_line_of_the_oracle", seeds(1..3), |seed| {
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
