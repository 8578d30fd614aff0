//! How busy a shard is, and what its encoders may cost because of it: quality is shed before calls are.
//!
//! Decides: the upper bound of Opus complexity. Given: when each turn began to work and when it was done. Refuses: to refuse calls; that is admission's.

use crate::time::{Span, Time};

/// A shard is looked at this often.
const PERIOD: Span = Span::from_secs(1);
/// Busier than this, in percent, and the bound goes down; the p99 of lateness begins to rise here.
const BUSY_PERCENT: u64 = 80;
/// Less busy than this and it goes up one step. Far enough below that one step up, at most a third more work, does not go back down.
const IDLE_PERCENT: u64 = 55;
/// The same for the step from the cheap rung to the next, which more than doubles the work where redundancy is asked for.
const IDLE_PERCENT_TO_LEAVE_CHEAP: u64 = 35;
/// The rung that is gone to at once. What lies between it and [`DEAR`] is as slow as that and sounds worse: two states of the quantiser, for little else (ADR 29).
const CHEAP: u8 = 1;
/// The next one above it.
const DEAR: u8 = 5;
/// The largest complexity there is.
const COMPLEXITY_MAX: u8 = 10;

/// The load of one shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pressure {
    since: Time,
    busy: Span,
    complexity_max: u8,
}

impl Pressure {
    pub(super) fn new(now: Time) -> Self {
        Self { since: now, busy: Span::ZERO, complexity_max: COMPLEXITY_MAX }
    }

    /// Counts a turn that worked from `began` to `done`; returns the bound from now on.
    pub(super) fn worked(&mut self, began: Time, done: Time) -> u8 {
        self.busy = self.busy + done.since(began);
        let passed = done.since(self.since);
        if passed >= PERIOD {
            let percent = u128::from(self.busy.as_nanos()) * 100 / u128::from(passed.as_nanos());
            self.complexity_max = match self.complexity_max {
                bound if percent > u128::from(BUSY_PERCENT) => {
                    if bound > CHEAP {
                        CHEAP
                    } else {
                        0
                    }
                }
                CHEAP if percent < u128::from(IDLE_PERCENT_TO_LEAVE_CHEAP) => DEAR,
                bound if bound != CHEAP && percent < u128::from(IDLE_PERCENT) => (bound + 1).min(COMPLEXITY_MAX),
                bound => bound,
            };
            (self.since, self.busy) = (done, Span::ZERO);
        }
        self.complexity_max
    }
}

/// The share of a core that the thread of a shard takes, once a second: what admission goes by. By the thread's own time, so that a machine that was busy with others does
/// not count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    since: Time,
    cpu: Span,
    percent: u8,
}

impl Share {
    pub(super) fn new(now: Time) -> Self {
        Self { since: now, cpu: Span::ZERO, percent: 0 }
    }

    /// The share as last looked at.
    pub(super) fn percent(&self) -> u8 {
        self.percent
    }

    /// The share in the last whole period; `cpu` tells the thread's time so far and is asked once a period.
    pub(super) fn look(&mut self, now: Time, cpu: impl FnOnce() -> Span) -> u8 {
        let passed = now.since(self.since);
        if passed >= PERIOD {
            let cpu = cpu();
            let used = cpu.as_nanos().saturating_sub(self.cpu.as_nanos());
            self.percent = (u128::from(used) * 100 / u128::from(passed.as_nanos())).min(100) as u8;
            (self.since, self.cpu) = (now, cpu);
        }
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_last_second() {
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        let mut share = Share::new(at(0));
        assert_eq!(share.look(at(900), || panic!("the second is not over")), 0);
        assert_eq!(share.look(at(1_000), || Span::from_millis(960)), 96);
        assert_eq!(share.look(at(1_500), || panic!("the second is not over")), 96);
        assert_eq!(share.look(at(3_000), || Span::from_millis(1_160)), 10, "two seconds, a fifth of one at work");
        assert_eq!(share.look(at(4_000), || Span::from_millis(9_000)), 100, "never more than a core");
    }

    /// Ten turns of 100 ms in each second, `busy_ms` of each at work.
    fn seconds(pressure: &mut Pressure, from_ms: u64, seconds: u64, busy_ms: u64) -> u8 {
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        (1..=10 * seconds).map(|k| pressure.worked(at(from_ms + 100 * k - busy_ms), at(from_ms + 100 * k))).last().expect("turns")
    }

    #[test]
    fn complexity_falls_fast_under_load_and_comes_back_slowly() {
        let mut pressure = Pressure::new(Time::ZERO);
        assert_eq!(seconds(&mut pressure, 0, 2, 50), 10);
        assert_eq!(seconds(&mut pressure, 2_000, 1, 90), 1, "half of the work at once");
        assert_eq!(seconds(&mut pressure, 3_000, 3, 70), 1, "between the marks nothing changes");
        assert_eq!(seconds(&mut pressure, 6_000, 2, 95), 0);
        assert_eq!(seconds(&mut pressure, 8_000, 2, 95), 0, "and no lower");
        assert_eq!(seconds(&mut pressure, 10_000, 1, 50), 1);
        assert_eq!(seconds(&mut pressure, 11_000, 3, 40), 1, "what comes next costs twice as much");
        assert_eq!(seconds(&mut pressure, 14_000, 1, 30), 5, "nothing lies between");
        assert_eq!(seconds(&mut pressure, 15_000, 2, 50), 7);
    }
}
