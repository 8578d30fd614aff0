//! One direction of a network path.

use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};

/// What a link does to datagrams. Probabilities in units of 1/10 000.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Delay every datagram has.
    pub delay: Span,
    /// Uniform extra delay on top; datagrams may overtake each other.
    pub jitter: Span,
    /// Independent loss while the link is good.
    pub loss: u64,
    /// Chance per datagram to fall into a bad spell (Gilbert-Elliott).
    pub burst_start: u64,
    /// Chance per datagram to leave it.
    pub burst_end: u64,
    /// Loss during a bad spell.
    pub burst_loss: u64,
    /// Chance to be held back so long that those behind overtake it.
    pub reorder: u64,
    /// Second copies.
    pub duplicate: u64,
    /// One flipped bit.
    pub corrupt: u64,
    /// Nothing passes from the first to the second moment.
    pub blackout: Option<(Time, Time)>,
    /// Longer datagrams vanish.
    pub mtu_bytes: usize,
    /// From this moment on there is only the delay; none: it never gets better.
    pub until: Option<Time>,
}

impl Default for LinkConfig {
    /// 10 ms, perfect.
    fn default() -> Self {
        Self {
            delay: Span::from_millis(10),
            jitter: Span::ZERO,
            loss: 0,
            burst_start: 0,
            burst_end: 10_000,
            burst_loss: 0,
            reorder: 0,
            duplicate: 0,
            corrupt: 0,
            blackout: None,
            mtu_bytes: 1_500,
            until: None,
        }
    }
}

/// One direction of a path.
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
    rng: SeededRng,
    bad: bool,
}

impl Link {
    /// A link whose every decision follows from `seed`.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self { config, rng: SeededRng::new(seed), bad: false }
    }

    fn chance(&mut self, of_10_000: u64) -> bool {
        self.rng.below(10_000) < of_10_000
    }

    /// Arrival times of a datagram sent at `now`: none when lost, two when duplicated. May flip a bit of it.
    pub fn send(&mut self, datagram: &mut [u8], now: Time) -> [Option<Time>; 2] {
        if self.config.until.is_some_and(|until| until <= now) {
            return [Some(now + self.config.delay), None];
        }
        self.bad = if self.bad { !self.chance(self.config.burst_end) } else { self.chance(self.config.burst_start) };
        let loss = if self.bad { self.config.burst_loss } else { self.config.loss };
        let dark = self.config.blackout.is_some_and(|(from, to)| from <= now && now < to);
        if dark || self.chance(loss) || datagram.len() > self.config.mtu_bytes {
            return [None, None];
        }
        if self.chance(self.config.corrupt) && !datagram.is_empty() {
            let bit = self.rng.below(datagram.len() as u64 * 8);
            datagram[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        let has_copy = self.chance(self.config.duplicate);
        let first = self.arrival(now);
        [Some(first), has_copy.then(|| self.arrival(now))]
    }

    fn arrival(&mut self, now: Time) -> Time {
        let held = if self.chance(self.config.reorder) { HELD_BACK } else { Span::ZERO };
        now + self.config.delay + held + Span::from_nanos(self.rng.below(self.config.jitter.as_nanos() + 1))
    }
}

/// Two packets of a call and a bit: what is held back for so long comes third.
const HELD_BACK: Span = Span::from_millis(45);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lossy_link_loses_about_what_it_says_and_a_seed_repeats() {
        let config = LinkConfig { loss: 2_000, jitter: Span::from_millis(5), duplicate: 100, ..LinkConfig::default() };
        let run = |seed| {
            let mut link = Link::new(config.clone(), seed);
            (0..10_000).map(|i| link.send(&mut [0; 100], Time::from_nanos(i))).collect::<Vec<_>>()
        };
        let arrivals = run(1);
        assert_eq!(arrivals, run(1));
        assert_ne!(arrivals, run(2));
        let lost = arrivals.iter().filter(|a| a[0].is_none()).count();
        assert!((1_800..2_200).contains(&lost), "{lost} of 10000 lost at 20 %");
    }

    #[test]
    fn what_is_held_back_is_overtaken_and_later_the_link_is_clean() {
        let until = Time::from_nanos(1_000_000_000);
        let config = LinkConfig { reorder: 5_000, loss: 1_000, until: Some(until), ..LinkConfig::default() };
        let mut link = Link::new(config, 3);
        let arrivals: Vec<_> = (0..50).filter_map(|n| link.send(&mut [0; 9], Time::ZERO + Span::from_millis(20).times(n))[0]).collect();
        assert!(arrivals.len() < 50 && !arrivals.is_sorted());
        assert!((0..100).all(|n| {
            let now = until + Span::from_millis(n);
            link.send(&mut [0; 9], now) == [Some(now + Span::from_millis(10)), None]
        }));
    }
}
