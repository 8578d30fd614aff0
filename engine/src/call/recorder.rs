//! The flight recorder: the last steps of a call, kept for the verdict when it ends badly.
//!
//! Decides: what is overwritten (the oldest). Refuses: packets; it notes steps of set-up and tear-down.

use super::event::{Moment, Recorded};
use crate::limits::RECORDER_ENTRIES_MAX;
use crate::time::Time;

/// A ring of the last [`RECORDER_ENTRIES_MAX`] moments.
#[derive(Debug)]
pub(super) struct FlightRecorder {
    entries: Vec<Recorded>,
    oldest: usize,
}

impl FlightRecorder {
    pub(super) fn new() -> Self {
        Self { entries: Vec::with_capacity(RECORDER_ENTRIES_MAX), oldest: 0 }
    }

    pub(super) fn note(&mut self, what: Moment, now: Time) {
        let entry = Recorded { at: now, what };
        if self.entries.len() < RECORDER_ENTRIES_MAX {
            self.entries.push(entry);
        } else {
            self.entries[self.oldest] = entry;
            self.oldest = (self.oldest + 1) % RECORDER_ENTRIES_MAX;
        }
    }

    /// All entries, oldest first.
    pub(super) fn dump(&self) -> Vec<Recorded> {
        let (newer, older) = self.entries.split_at(self.oldest);
        older.iter().chain(newer).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let mut recorder = FlightRecorder::new();
        for i in 0..RECORDER_ENTRIES_MAX as u64 + 3 {
            recorder.note(Moment::Digit, Time::from_nanos(i));
        }
        let dump = recorder.dump();
        assert_eq!(dump.len(), RECORDER_ENTRIES_MAX);
        assert_eq!(dump[0].at, Time::from_nanos(3));
        assert!(dump.windows(2).all(|w| w[0].at < w[1].at));
    }
}
