//! Which packet indexes were seen before (RFC 3711 section 3.3.2).
//!
//! Given: indexes of authenticated packets. Decides: whether an index is new. Refuses: to be moved by a packet whose tag was not verified:
//! [`Window::check`] reads, [`Window::commit`] writes.

/// Indexes remembered below the highest one: twice what RFC 3711 asks for, 2.5 s of 20 ms packets.
//= rfc3711#section-3.3.2  64 at least
pub(super) const WINDOW_PACKETS: u64 = 128;

/// The replay list of one SSRC, for SRTP or for SRTCP. Bit `n` stands for `highest - n`; no bit set: nothing was received yet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Window {
    seen: u128,
    highest: u64,
}

impl Window {
    /// A list in which `highest` and everything before it counts as received.
    #[cfg(test)]
    pub(super) fn starting_at(highest: u64) -> Self {
        Self { seen: u128::MAX, highest }
    }

    /// Whether `index` is new and not older than the list reaches.
    //= rules#R8
    pub(super) fn check(&self, index: u64) -> bool {
        match self.highest() {
            None => true,
            Some(highest) if index > highest => true,
            Some(highest) => highest - index < WINDOW_PACKETS && self.seen >> (highest - index) & 1 == 0,
        }
    }

    /// Remembers `index`, which [`Self::check`] found new and whose packet is authentic.
    pub(super) fn commit(&mut self, index: u64) {
        debug_assert!(self.check(index));
        match self.highest() {
            Some(highest) if index <= highest => self.seen |= 1 << (highest - index),
            Some(highest) if index - highest < WINDOW_PACKETS => {
                self.seen = self.seen << (index - highest) | 1;
                self.highest = index;
            }
            _ => *self = Self { seen: 1, highest: index },
        }
    }

    /// The highest index received.
    pub(super) fn highest(&self) -> Option<u64> {
        (self.seen != 0).then_some(self.highest)
    }
}

const _: () = assert!(WINDOW_PACKETS == u128::BITS as u64 && WINDOW_PACKETS >= 64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    //= rfc3711#section-3.3.2 type=test
    //= rules#R8 type=test
    #[test]
    fn reaches_exactly_128_back() {
        let mut window = Window::default();
        assert!(window.check(0) && window.highest().is_none());
        window.commit(1_000);
        assert!(!window.check(1_000));
        assert!(window.check(1_000 - 127));
        assert!(!window.check(1_000 - 128));
    }

    proptest! {
        /// Against the definition: new if never accepted and less than 128 behind the highest.
        #[test]
        fn agrees_with_a_set(indexes in prop::collection::vec(0u64..600, 1..400)) {
            let mut window = Window::default();
            let mut seen = BTreeSet::new();
            for index in indexes {
                let highest = seen.last().copied();
                let expected = !seen.contains(&index) && highest.is_none_or(|h| index + WINDOW_PACKETS > h);
                prop_assert_eq!(window.check(index), expected);
                if expected {
                    window.commit(index);
                    seen.insert(index);
                }
                prop_assert_eq!(window.highest(), seen.last().copied());
            }
        }
    }
}
