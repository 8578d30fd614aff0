//! Audio moved under a running call in virtual time: from one bot to another, to a PBX and back, in mid-word. Meta's side sees one stream that nothing has happened to.

use tipring_engine::time::{Span, Time};
use tipring_meta_sim::oracle::Limits;
use tipring_meta_sim::timeline::{Direction, Entry, What};
use tipring_tests::world::{Audio, Outcome, Plan, World, seeds, swarm};

const GAP_MAX: Span = Span::from_millis(40);

/// Widest time between two of our packets, and how many of them told of skipped media time.
fn gaps(outcome: &Outcome) -> (Span, usize) {
    let mine = |e: &&Entry| e.direction == Direction::FromBusiness && matches!(e.what, What::Rtp { .. });
    let packets: Vec<(Time, bool)> =
        outcome.timeline.iter().filter(mine).map(|e| (e.at, if let What::Rtp { marker, .. } = e.what { marker } else { false })).collect();
    assert!(packets.len() > 300, "{} packets", packets.len());
    let widest = packets.windows(2).map(|w| w[1].0.since(w[0].0)).max().unwrap_or_default();
    (widest, packets.iter().skip(1).filter(|(_, marker)| *marker).count())
}

/// A clean call with these moves, which breaks no rule of the oracle but those named.
fn moved(seed: u64, moves: Vec<(Span, Audio)>, but: &[&str]) -> Outcome {
    let outcome = World::run(Plan { moves, ..Plan::clean(seed) });
    assert_eq!(outcome.reason(), "HANG_UP");
    let failures = outcome.failures(Limits::default(), None);
    let broken: Vec<String> = failures.iter().filter(|v| !but.contains(&v.rule)).map(|v| format!("{v:?}")).collect();
    assert_eq!(broken, [] as [String; 0]);
    outcome
}

fn ms(n: u64) -> Span {
    Span::from_millis(n)
}

//= meta#R-19 type=test
#[test]
fn audio_moved_in_mid_word_leaves_one_unbroken_stream() {
    swarm("virtual_moves::audio_moved_in_mid_word_leaves_one_unbroken_stream", seeds(1..6), |seed| {
        // The user speaks from 3 to 7 s; each move lies at another place within a frame.
        let moves = vec![
            (ms(701), Audio::Echo),
            (ms(1_405), Audio::Greeting),
            (ms(3_509), Audio::Echo),
            (ms(3_513), Audio::Greeting),
            (ms(4_117), Audio::Echo),
            (ms(5_018), Audio::Greeting),
        ];
        // One SSRC, sequence by one, timestamps by 960, one marker, 50 a second: the oracle's own rules, all of them.
        let outcome = moved(seed, moves, &[]);
        let (widest, told) = gaps(&outcome);
        assert!(widest <= GAP_MAX, "{} ms without a packet", widest.as_millis());
        assert_eq!(told, 0, "nothing was skipped");
        assert_eq!(outcome.digits, "11#5", "what the user types is heard throughout");
    });
}

//= meta#R-19 type=test
#[test]
fn audio_moved_to_a_leg_that_forwards_at_once_and_back_leaves_one_stream() {
    swarm("virtual_moves::audio_moved_to_a_leg_that_forwards_at_once_and_back_leaves_one_stream", seeds(1..6), |seed| {
        let moves = vec![
            (ms(605), Audio::PromptEcho),
            (ms(1_203), Audio::Relay),
            (ms(2_417), Audio::Greeting),
            (ms(3_611), Audio::PromptEcho),
            (ms(5_204), Audio::Echo),
            (ms(6_113), Audio::Relay),
        ];
        // A leg that forwards keeps its source's clock: a source that begins late is told of by timestamp and marker, as RFC 3550 wants it.
        let outcome = moved(seed, moves, &["RFC3550-P5", "R-17", "RFC3551-4.1"]);
        let mut before: Option<u32> = None;
        for entry in outcome.timeline.iter().filter(|e| e.direction == Direction::FromBusiness) {
            if let What::Rtp { timestamp, ticks: Some(_), .. } = entry.what {
                assert!(before.is_none_or(|before| (timestamp.wrapping_sub(before) as i32) > 0), "timestamps grow");
                before = Some(timestamp);
            }
        }
        let (widest, _) = gaps(&outcome);
        assert!(widest <= GAP_MAX, "{} ms without a packet", widest.as_millis());
    });
}
