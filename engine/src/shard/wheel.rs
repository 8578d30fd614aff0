//! A timer wheel of milliseconds: cheap to arm thousands of times a second, lazy to disarm.
//!
//! Decides: which keys are due. Given: deadlines. Refuses: exactness below a millisecond, and cancelling: whoever arms a key again remembers for when, and leaves the
//! older entries alone when they come.

use super::slab::Key;
use crate::time::{Span, Time};

/// Slots of one millisecond. Deadlines further away wait in the last slot and are armed again when it comes round.
const SLOTS: u64 = 1_024;

/// The wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<(Key, Time)>>,
    /// Millisecond of the next slot to look at.
    cursor_ms: u64,
    armed: usize,
}

impl Wheel {
    pub(crate) fn new(now: Time) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), cursor_ms: now.as_millis(), armed: 0 }
    }

    /// Asks for `key` at `deadline`, rounded up to a millisecond.
    pub(crate) fn arm(&mut self, key: Key, deadline: Time) {
        let wanted = deadline.as_nanos().div_ceil(1_000_000);
        let slot = wanted.clamp(self.cursor_ms, self.cursor_ms + SLOTS - 1);
        self.slots[(slot % SLOTS) as usize].push((key, deadline));
        self.armed += 1;
    }

    /// Moves every key that is due at `now` into `due`, with the deadline it was armed for. Keys whose deadline is still ahead go round again.
    pub(crate) fn advance(&mut self, now: Time, due: &mut Vec<(Key, Time)>) {
        let now_ms = now.as_millis();
        while self.cursor_ms <= now_ms && self.armed > 0 {
            let mut slot = core::mem::take(&mut self.slots[(self.cursor_ms % SLOTS) as usize]);
            self.cursor_ms += 1;
            self.armed -= slot.len();
            for (key, deadline) in slot.drain(..) {
                if deadline <= now { due.push((key, deadline)) } else { self.arm(key, deadline) }
            }
            // The slot keeps its room: arming again allocates nothing.
            let place = &mut self.slots[((self.cursor_ms - 1) % SLOTS) as usize];
            if place.is_empty() {
                *place = slot;
            }
        }
        if self.armed == 0 {
            self.cursor_ms = self.cursor_ms.max(now_ms);
        }
    }

    /// How long until the next slot that holds something, at most `limit`.
    pub(crate) fn wait(&self, now: Time, limit: Span) -> Span {
        if self.armed == 0 {
            return limit;
        }
        let ahead = (0..SLOTS.min(limit.as_millis() + 1)).find(|i| !self.slots[((self.cursor_ms + i) % SLOTS) as usize].is_empty());
        let at = Time::from_nanos((self.cursor_ms + ahead.unwrap_or(limit.as_millis())) * 1_000_000);
        let wait = at.since(now);
        if wait < limit { wait } else { limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Entropy, SeededRng};

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    #[test]
    fn every_key_fires_once_at_or_after_its_deadline_within_a_millisecond_of_the_turn() {
        let mut rng = SeededRng::new(3);
        let mut wheel = Wheel::new(Time::ZERO);
        let deadlines: Vec<Time> = (0..500).map(|_| Time::from_nanos(rng.below(5_000_000_000))).collect();
        for (i, &at) in deadlines.iter().enumerate() {
            wheel.arm(key(i as u32), at);
        }
        let mut fired = vec![0; deadlines.len()];
        let mut due = Vec::new();
        for ms in 0..=5_001 {
            let now = Time::from_nanos(ms * 1_000_000);
            wheel.advance(now, &mut due);
            for (k, _) in due.drain(..) {
                let at = deadlines[k.index as usize];
                assert!(at <= now && now.since(at) <= Span::from_millis(1), "{at:?} fired at {now:?}");
                fired[k.index as usize] += 1;
            }
        }
        assert!(fired.iter().all(|&n| n == 1));
        assert_eq!(wheel.armed, 0);
    }

    #[test]
    fn a_turn_after_a_long_pause_fires_everything() {
        let mut wheel = Wheel::new(Time::ZERO);
        wheel.arm(key(1), Time::from_nanos(3_000_000_000));
        wheel.arm(key(2), Time::from_nanos(5_000_000));
        let mut due = Vec::new();
        assert_eq!(wheel.wait(Time::ZERO, Span::from_millis(100)), Span::from_millis(5));
        wheel.advance(Time::from_nanos(9_000_000_000), &mut due);
        due.sort_by_key(|(k, _)| k.index);
        assert_eq!(due, [(key(1), Time::from_nanos(3_000_000_000)), (key(2), Time::from_nanos(5_000_000))]);
        assert_eq!(wheel.wait(Time::from_nanos(9_000_000_000), Span::from_millis(100)), Span::from_millis(100));
    }
}
