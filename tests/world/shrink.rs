//! Makes a failing sketch as small as it gets: fewer classes first, then shorter.
//!
//! Given: a sketch and a judge that says whether it still fails. Decides: the order of trials, and their number. Refuses: to understand why.

use super::{Class, Sketch};

/// Runs of the judge at most; each is a whole call.
const TRIALS_MAX: u32 = 200;
/// Shorter than this nothing becomes clearer.
const LEAST_MS: u64 = 50;

/// The smallest sketch found that `fails`, greedily: classes are dropped one by one until no single one can go, then both durations are
/// halved, then cut by a tenth, as long as it still fails. `sketch` itself must fail.
pub fn shrink(sketch: &Sketch, mut fails: impl FnMut(&Sketch) -> bool) -> Sketch {
    let mut best = sketch.clone();
    let mut trials = 0;
    let mut is_better = |candidate: Sketch, best: &mut Sketch| {
        trials += 1;
        let is = trials <= TRIALS_MAX && candidate != *best && fails(&candidate);
        if is {
            *best = candidate;
        }
        is
    };
    loop {
        let mut dropped = false;
        for class in Class::ALL.iter().rev() {
            dropped |= best.has(*class) && is_better(best.without(*class), &mut best);
        }
        if !dropped {
            break;
        }
    }
    for (numerator, denominator) in [(1, 2), (9, 10)] {
        let cut = |ms: u64| if ms <= LEAST_MS { ms } else { (ms * numerator / denominator).max(LEAST_MS) };
        while is_better(Sketch { faults_ms: cut(best.faults_ms), ..best.clone() }, &mut best) {}
        while is_better(Sketch { talk_ms: cut(best.talk_ms), ..best.clone() }, &mut best) {}
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_taken_away_and_what_does_is_kept() {
        let sketch = Sketch { seed: 5, classes: Class::ALL.to_vec(), faults_ms: 6_000, talk_ms: 3_000, with_codec: false };
        let mut runs = 0;
        let least = shrink(&sketch, |s| {
            runs += 1;
            s.has(Class::Loss) && s.has(Class::Nat) && s.faults_ms >= 700
        });
        assert_eq!(least.classes, [Class::Loss, Class::Nat]);
        assert!((700..=800).contains(&least.faults_ms) && least.talk_ms == LEAST_MS, "{least:?}");
        assert!(least.command().ends_with(&format!("--seed 5 --only loss,nat --faults-ms {} --talk-ms 50", least.faults_ms)));
        assert!(runs <= TRIALS_MAX);
    }
}
