//! When STUN transactions of different calls may start (RFC 8445 section 14.2, docs/adr/0007).
//!
//! Given: the spacing, and the time of each wish. Decides: the moment of each start, first come first served, so that calls take turns.
//! Refuses: to know calls, and retransmissions and consent: section 14 paces starts while candidates are gathered and checked.

use crate::time::{Span, Time};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// The turns of all calls that share it. A clone shares, it does not copy.
///
/// One atomic step per start and none per packet of media: a call makes a handful of starts in its life.
#[derive(Clone, Debug)]
pub struct StartPacer {
    spacing: Span,
    /// When the next start may be, in nanoseconds of [`Time`].
    free_at: Arc<AtomicU64>,
}

impl StartPacer {
    /// Starts are at least `spacing` apart. Zero paces nothing.
    pub fn new(spacing: Span) -> Self {
        Self { spacing, free_at: Arc::default() }
    }

    /// Takes the next turn: a moment not before `now` that no other call gets. It is lost if it is not used.
    //= rfc8445#section-14.2:all-agents  as though there were one global Ta
    //= rules#I16:all-calls
    pub(super) fn reserve(&self, now: Time) -> Time {
        let now_ns = now.as_nanos();
        let spacing_ns = self.spacing.as_nanos();
        // Relaxed: the number orders starts, it publishes nothing.
        let before =
            self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| Some(free.max(now_ns).saturating_add(spacing_ns)));
        let (Ok(free) | Err(free)) = before;
        Time::from_nanos(free.max(now_ns))
    }

    /// The least time between two starts.
    pub fn spacing(&self) -> Span {
        self.spacing
    }
}

impl Default for StartPacer {
    fn default() -> Self {
        Self::new(SPACING)
    }
}

/// Between two starts of any calls of a host without a NAT that makes mappings: 200 set-ups at once, our bound per shard, each get a turn within
/// the 50 ms between two eager checks of a pair. At most 4,000 checks a second of 148 bytes: 5 Mbit/s, what 75 calls take.
const SPACING: Span = Span::from_micros(250);
/// What RFC 8445 section 14.2 asks for, and what a host behind a NAT gets: each first check of a pair makes the NAT create a mapping.
pub const SPACING_BEHIND_NAT: Span = Span::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    //= rfc8445#section-14.2:all-agents type=test
    //= rules#I16:all-calls type=test
    #[test]
    fn starts_of_all_who_share_it_are_spaced_and_rest_is_not_saved_up() {
        let pacer = StartPacer::new(SPACING_BEHIND_NAT);
        let other = pacer.clone();
        let at = |ms| Time::ZERO + Span::from_millis(ms);
        assert_eq!([pacer.reserve(at(100)), other.reserve(at(100)), pacer.reserve(at(101))], [at(100), at(105), at(110)]);
        assert_eq!(other.reserve(at(500)), at(500), "a quiet time is no credit for a burst");
        assert_eq!(pacer.reserve(at(500)), at(505));
        let free = StartPacer::new(Span::ZERO);
        assert_eq!([free.reserve(at(1)), free.reserve(at(1))], [at(1), at(1)]);
    }

    //= rfc8445#section-14.2:all-agents type=test
    #[test]
    fn shards_on_several_threads_never_get_the_same_turn() {
        let pacer = StartPacer::new(Span::from_micros(250));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let pacer = pacer.clone();
                std::thread::spawn(move || (0..500).map(|_| pacer.reserve(Time::ZERO)).collect::<Vec<_>>())
            })
            .collect();
        let mut turns: Vec<Time> = threads.into_iter().flat_map(|t| t.join().expect("a thread")).collect();
        turns.sort_unstable();
        assert!(turns.windows(2).all(|w| w[1].since(w[0]) == Span::from_micros(250)));
        assert_eq!(turns.len(), 2_000);
    }
}
