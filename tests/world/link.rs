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
    /// Second copies.
    pub duplicate: u64,
    /// One flipped bit.
    pub corrupt: u64,
    /// Nothing passes from the first to the second moment.
    pub blackout: Option<(Time, Time)>,
    /// Longer datagrams vanish.
    pub mtu_bytes: usize,
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
            duplicate: 0,
            corrupt: 0,
            blackout: None,
            mtu_bytes: 1_500,
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
    pub fn send(&mut self, datagram: &mut [u8], now: Time) -> Vec<Time> {
        self.bad = if self.bad { !self.chance(self.config.burst_end) } else { self.chance(self.config.burst_start) };
        let loss = if self.bad { self.config.burst_loss } else { self.config.loss };
        let dark = self.config.blackout.is_some_and(|(from, to)| from <= now && now < to);
        if dark || self.chance(loss) || datagram.len() > self.config.mtu_bytes {
            return Vec::new();
        }
        if self.chance(self.config.corrupt) && !datagram.is_empty() {
            let bit = self.rng.below(datagram.len() as u64 * 8);
            datagram[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        let copies = 1 + usize::from(self.chance(self.config.duplicate));
        (0..copies).map(|_| now + self.config.delay + Span::from_nanos(self.rng.below(self.config.jitter.as_nanos() + 1))).collect()
    }
}

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
        let lost = arrivals.iter().filter(|a| a.is_empty()).count();
        assert!((1_800..2_200).contains(&lost), "{lost} of 10000 lost at 20 %");
    }
}
