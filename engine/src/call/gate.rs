//! The egress gate: nothing that the phone could take for a pick-up leaves before `accept` answered 200 (A1, R-32, R-34).
//!
//! Decides: when frames are due once it is open. Given: the time. Refuses: to know why it was opened.

use crate::limits::FRAME_MS;
use crate::time::{Span, Time};

/// One frame of media time.
const FRAME: Span = Span::from_millis(FRAME_MS);
/// Frames sent at once: one, or two while a stall is being made up for (P5).
const BURST_FRAMES_MAX: u64 = 2;
/// A stall of up to this many frames is made up for, two frames per tick, so that the stream stays unbroken; what a longer one cost is skipped in media time.
const BACKLOG_FRAMES_MAX: u64 = 10;

/// The 20 ms clock of a call. Frame `k` is due at `start + 20k` ms, whatever the turns of the shard do.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameClock {
    /// Due time of the next frame on the grid.
    next: Time,
    /// While catching up: the next pair of frames leaves no earlier.
    not_before: Time,
}

/// What is due at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    /// Frames whose media time is given up: the timestamp moves, the sequence does not (P2).
    pub(super) skipped: u64,
    /// Frames to play and send now.
    pub(super) frames: u64,
}

impl FrameClock {
    /// A clock whose first frame is due at `start`.
    pub(super) fn start_at(start: Time) -> Self {
        Self { next: start, not_before: start }
    }

    /// When the next frame is due.
    pub(super) fn next(&self) -> Time {
        self.next.max(self.not_before)
    }

    /// Media time that lies between the current frame of the source and `now`.
    pub(super) fn since_frame(&self, now: Time) -> Span {
        (now + FRAME).since(self.next)
    }

    /// Takes what is due at `now`.
    //= rules#P5
    pub(super) fn take(&mut self, now: Time) -> Due {
        if now < self.next() {
            return Due { skipped: 0, frames: 0 };
        }
        let due = now.since(self.next).as_nanos() / FRAME.as_nanos() + 1;
        let skipped = due.saturating_sub(BACKLOG_FRAMES_MAX);
        let frames = (due - skipped).min(BURST_FRAMES_MAX);
        self.next += FRAME.times(skipped + frames);
        self.not_before = if self.next <= now { now + FRAME } else { self.next };
        Due { skipped, frames }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    //= rules#P5 type=test
    #[test]
    fn frames_fall_on_the_grid_however_late_a_turn_is() {
        let mut clock = FrameClock::start_at(at(100));
        assert_eq!(clock.take(at(99)), Due { skipped: 0, frames: 0 });
        assert_eq!(clock.take(at(100)), Due { skipped: 0, frames: 1 });
        assert_eq!(clock.next(), at(120));
        assert_eq!(clock.take(at(137)), Due { skipped: 0, frames: 1 }, "a late turn does not move the grid");
        assert_eq!(clock.next(), at(140));
        assert_eq!(clock.since_frame(at(137)), Span::from_millis(17));
    }

    //= rules#P5 type=test
    #[test]
    fn a_stall_is_made_up_for_two_by_two_and_nothing_is_skipped() {
        let mut clock = FrameClock::start_at(at(100));
        let mut sent = 0;
        let mut now = at(100);
        assert_eq!(clock.take(now), Due { skipped: 0, frames: 1 });
        // Nobody turns for 110 ms: frames of 120, 140, 160, 180 and 200 ms are due.
        now = at(210);
        let mut turns = Vec::new();
        while now <= at(320) {
            let due = clock.take(now);
            assert_eq!(due.skipped, 0);
            sent += due.frames;
            turns.push((now.as_millis(), due.frames));
            now = clock.next();
        }
        assert_eq!(turns[..4], [(210, 2), (230, 2), (250, 2), (270, 2)]);
        assert_eq!(sent, 11, "120 to 320 ms, each frame once");
        assert_eq!(clock.next(), at(340), "back on the grid");
    }

    #[test]
    fn a_long_stall_is_skipped_in_media_time_but_for_its_end() {
        let mut clock = FrameClock::start_at(at(0));
        assert_eq!(clock.take(at(1_000)), Due { skipped: 41, frames: 2 });
        assert_eq!(clock.next(), at(1_020));
    }
}
