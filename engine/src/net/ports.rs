//! Local ports: one per call, oldest-freed first, none again before its quarantine is over.
//!
//! Decides: which port is tried next. Given: the range and the time. Refuses: binding. Late packets of an ended call die on a port nobody listens to.

use crate::time::{Span, Time};
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// How long a port rests after a call: longer than any packet lives on the way.
const QUARANTINE: Span = Span::from_secs(10);

/// The free ports of an engine.
#[derive(Debug)]
pub(crate) struct Ports {
    /// In the order of their freedom.
    free: VecDeque<(Time, u16)>,
}

impl Ports {
    pub(crate) fn new(range: RangeInclusive<u16>) -> Self {
        Self { free: range.map(|port| (Time::ZERO, port)).collect() }
    }

    /// The port that has rested longest, if its quarantine is over.
    pub(crate) fn take(&mut self, now: Time) -> Option<u16> {
        let &(free_at, port) = self.free.front()?;
        (free_at <= now).then(|| {
            self.free.pop_front();
            port
        })
    }

    /// Gives a port back after its call.
    pub(crate) fn release(&mut self, port: u16, now: Time) {
        self.free.push_back((now + QUARANTINE, port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_port_rests_and_the_longest_rested_comes_first() {
        let at = |s| Time::ZERO + Span::from_secs(s);
        let mut ports = Ports::new(40_000..=40_001);
        assert_eq!(ports.take(at(0)), Some(40_000));
        ports.release(40_000, at(1));
        assert_eq!(ports.take(at(1)), Some(40_001));
        assert_eq!(ports.take(at(2)), None, "still in quarantine");
        assert_eq!(ports.take(at(11)), Some(40_000));
        assert_eq!(ports.take(at(21)), None, "all are in use");
    }
}
