//! The egress gate: nothing that the phone could take for a pick-up leaves before `accept` answered 200 (A1, R-32, R-34).
//!
//! Decides: when frames are due once it is open. Given: the time. Refuses: to know why it was opened.

use crate::limits::FRAME_MS;
use crate::time::{Span, Time};

/// One frame of media time.
const FRAME: Span = Span::from_millis(FRAME_MS);
/// Frames sent at once after a stall; the rest of the gap is skipped in media time (P5).
const BURST_FRAMES_MAX: u64 = 2;

/// The 20 ms clock of a call. Frame `k` is due at `start + 20k` ms, whatever the turns of the shard do.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameClock {
    next: Time,
}

/// What is due at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    /// Frames whose media time has passed without a chance to send: the timestamp moves, the sequence does not (P2).
    pub(super) skipped: u64,
    /// Frames to play and send now.
    pub(super) frames: u64,
}

impl FrameClock {
    /// A clock whose first frame is due at `start`.
    pub(super) fn start_at(start: Time) -> Self {
        Self { next: start }
    }

    /// When the next frame is due.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// Takes what is due at `now`.
    pub(super) fn take(&mut self, now: Time) -> Due {
        if now < self.next {
            return Due { skipped: 0, frames: 0 };
        }
        let passed = now.since(self.next).as_nanos() / FRAME.as_nanos() + 1;
        self.next += FRAME.times(passed);
        let frames = passed.min(BURST_FRAMES_MAX);
        Due { skipped: passed - frames, frames }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_fall_on_the_grid_and_a_stall_never_bursts() {
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        let mut clock = FrameClock::start_at(at(100));
        assert_eq!(clock.take(at(99)), Due { skipped: 0, frames: 0 });
        assert_eq!(clock.take(at(100)), Due { skipped: 0, frames: 1 });
        assert_eq!(clock.next(), at(120));
        assert_eq!(clock.take(at(137)), Due { skipped: 0, frames: 1 }, "a late turn does not move the grid");
        assert_eq!(clock.next(), at(140));
        assert_eq!(clock.take(at(165)), Due { skipped: 0, frames: 2 });
        assert_eq!(clock.take(at(1_180)), Due { skipped: 49, frames: 2 });
        assert_eq!(clock.next(), at(1_200));
    }
}
