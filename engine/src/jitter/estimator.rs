//! How long after the fastest packet the others come.
//!
//! Decides: the reference transit time, how far a packet lies behind it, and the delay that would have been enough for nearly all of
//! them. Is given: transit times in 48 kHz ticks. Refuses: to play, to drop, to know sequence numbers.

/// Learns the spread of arrival times. Integers only; 200 bytes.
#[derive(Debug)]
pub(super) struct Estimator {
    /// Smallest transit of the current window and of the one before: with both, the reference is 4 to 8 s old at most, so it follows a
    /// clock that drifts by 500 ppm within 4 ms and still sees the fast packets of a jittery path.
    base: [i64; 2],
    window_ends: i64,
    /// Packets by how far they lay behind the reference, 5 ms per bucket; the last bucket holds the rest.
    buckets: [u16; BUCKETS],
    total: u32,
    /// The delay that costs least by the histogram, in ticks.
    best: i64,
    /// Raised at once by packets that came too late, worn down slowly, in ticks.
    peak: i64,
    /// Packets that followed a loss and carried a copy of what was lost, per million of all, over the last 500 or so.
    repairable_ppm: i64,
    until_best: u8,
}

impl Estimator {
    pub(super) fn new() -> Self {
        Self { base: [i64::MAX; 2], window_ends: 0, buckets: [0; BUCKETS], total: 0, best: 0, peak: 0, repairable_ppm: 0, until_best: 0 }
    }

    /// Smallest transit seen lately: what a packet takes when nothing holds it up. None before the first packet.
    pub(super) fn base(&self) -> Option<i64> {
        let base = self.base[0].min(self.base[1]);
        (base != i64::MAX).then_some(base)
    }

    /// Takes the transit of a packet that arrived at `now_ticks`; returns how far it lies behind the reference, never negative.
    pub(super) fn observe(&mut self, transit: i64, now_ticks: i64) -> i64 {
        let before = self.base();
        if now_ticks >= self.window_ends {
            let stale = now_ticks >= self.window_ends + WINDOW_TICKS;
            self.base = [i64::MAX, if stale { i64::MAX } else { self.base[0] }];
            self.window_ends = now_ticks + WINDOW_TICKS;
        }
        self.base[0] = self.base[0].min(transit);
        let base = self.base[0].min(self.base[1]);
        let behind = transit - base;
        self.reference_moved(base - before.unwrap_or(base));

        let bucket = (behind / BUCKET_TICKS).clamp(0, BUCKETS as i64 - 1) as usize;
        self.buckets[bucket] += 1;
        self.total += 1;
        if self.total >= MEMORY_PACKETS {
            // Halving forgets: a packet of 20 s ago weighs half of one of now.
            self.buckets.iter_mut().for_each(|n| *n >>= 1);
            self.total = self.buckets.iter().map(|&n| u32::from(n)).sum();
        }
        if self.until_best == 0 {
            self.best = self.cheapest();
            self.until_best = BEST_EVERY;
        }
        self.until_best -= 1;
        self.peak = (self.peak - PEAK_WEAR_TICKS).max(0);
        behind
    }

    /// A packet lay `behind` and came too late for its tick. The first one moves the target half way, so that one lost wakeup
    /// somewhere does not cost delay; the second one the rest.
    pub(super) fn was_late(&mut self, behind: i64) {
        let target = self.target();
        let behind = behind.min(BUCKETS as i64 * BUCKET_TICKS);
        if behind > target {
            self.peak = self.peak.max(target + (behind + BUCKET_TICKS - target) / 2).max(0);
        }
    }

    /// The delay that would have been enough, in ticks; not yet clamped to the configured bounds.
    //= rules#J1
    pub(super) fn target(&self) -> i64 {
        self.best.max(self.peak)
    }

    /// Starts a new reference at `transit`, keeping what is known about the spread.
    pub(super) fn rebase(&mut self, transit: i64, now_ticks: i64) {
        self.base = [transit, i64::MAX];
        self.window_ends = now_ticks + WINDOW_TICKS;
    }

    /// The fastest packets have become slower (another path): what was known about the spread still holds, counted from them.
    //= rules#J5
    fn reference_moved(&mut self, up_by: i64) {
        let down = (up_by / BUCKET_TICKS).clamp(0, BUCKETS as i64) as usize;
        if down > 0 {
            let joined = self.buckets[..(down + 1).min(BUCKETS)].iter().fold(0u16, |sum, &n| sum.saturating_add(n));
            self.buckets.copy_within(down.min(BUCKETS - 1).., 0);
            self.buckets[BUCKETS - down.min(BUCKETS)..].fill(0);
            self.buckets[0] = joined;
            (self.best, self.peak) = ((self.best - up_by).max(0), (self.peak - up_by).max(0));
        }
    }

    /// A packet was played; `repairable` if it came after a loss and carried a copy of what was lost.
    pub(super) fn passed(&mut self, repairable: bool) {
        self.repairable_ppm += (i64::from(repairable) * 1_000_000 - self.repairable_ppm) / REPAIRABLE_MEMORY;
    }

    /// The delay at which lateness, repairs missed and the delay itself together cost least; zero when all packets lie in the first
    /// bucket.
    ///
    /// A delay of `d` makes those late that lie further behind than `d`, and leaves those losses without repair whose next packet lies
    /// further behind than `d` less one frame.
    fn cheapest(&self) -> i64 {
        let total = i64::from(self.total).max(1);
        let (mut best, mut least) = (0, i64::MAX);
        // `in_time[i]`: packets in buckets below `i`, so those that a delay of `i` buckets covers.
        let mut in_time = [0i64; BUCKETS + 1];
        for (i, &n) in self.buckets.iter().enumerate() {
            in_time[i + 1] = in_time[i] + i64::from(n);
        }
        for (i, covered) in in_time.iter().enumerate().skip(1) {
            let late = total - covered;
            // Taken by the lower edges, so that a path without jitter repairs with 20 ms; play-out is seldom as early as its target.
            let unrepaired = total - in_time[(i + 1).saturating_sub(FRAME_BUCKETS)];
            let waiting = i as i64 * BUCKET_COST_PPM + (i.saturating_sub(LONG_BUCKETS) as i64) * LONG_BUCKET_COST_PPM;
            let cost = late * 1_000_000 + unrepaired * self.repairable_ppm + waiting * total;
            if cost < least {
                (best, least) = (i as i64, cost);
            }
        }
        if best == 1 { 0 } else { best * BUCKET_TICKS }
    }
}

/// 5 ms.
const BUCKET_TICKS: i64 = 240;
/// 320 ms: beyond the largest delay anyone may configure, all are the same.
const BUCKETS: usize = 64;
/// 4 s.
const WINDOW_TICKS: i64 = 4 * 48_000;
/// 20 s of 20 ms packets.
const MEMORY_PACKETS: u32 = 1_000;
/// One frame of 20 ms.
const FRAME_BUCKETS: usize = 4;
/// 5 ms of delay are worth 0.024 % of concealment: by the E-model (ITU-T G.107) 1 ms costs a rating of 0.024, and 1 % of loss costs 5.
const BUCKET_COST_PPM: i64 = 240;
/// Beyond 100 ms, with 50 ms of path and 27 ms of codec, the ear notices the delay itself: 0.134 for each ms.
const LONG_BUCKETS: usize = 20;
const LONG_BUCKET_COST_PPM: i64 = 1_100;
const REPAIRABLE_MEMORY: i64 = 500;
/// Packets between two looks at the histogram.
const BEST_EVERY: u8 = 8;
/// 1/12 ms per packet: the peak loses 20 ms in about 5 s.
const PEAK_WEAR_TICKS: i64 = 4;

const _: () = assert!(MEMORY_PACKETS <= u16::MAX as u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_jitter_needs_no_delay() {
        let mut e = Estimator::new();
        for i in 0..10_000 {
            assert_eq!(e.observe(777, i * 960), 0);
        }
        assert_eq!((e.target(), e.base()), (0, Some(777)));
    }

    //= rules#J1 type=test
    #[test]
    fn the_target_covers_the_spread_and_comes_back_down() {
        let mut e = Estimator::new();
        // Nine in ten are 60 ms behind the fastest.
        for i in 0..500 {
            e.observe(if i % 10 == 0 { 0 } else { 2_880 }, i * 960);
        }
        assert!((2_880..=3_360).contains(&e.target()), "{}", e.target());
        for i in 500..6_000 {
            e.observe(0, i * 960);
        }
        assert_eq!(e.target(), 0);
    }

    /// 20 ms of delay cost a tenth of a percent: worth it when a copy in the next packet repairs more than that.
    #[test]
    fn losses_that_can_be_repaired_buy_one_frame_of_delay() {
        let target = |lost_every: i64| {
            let mut e = Estimator::new();
            for i in 0..4_000i64 {
                // Evenly 0 to 40 ms behind.
                e.observe(i * 7 % 9 * 240, i * 960);
                e.passed(lost_every > 0 && i % lost_every == 0);
            }
            e.target()
        };
        let without = target(0);
        assert!((1_920..=2_400).contains(&without), "{without}");
        assert!((without + 720..=without + 960).contains(&target(50)), "{}", target(50));
        assert_eq!(target(2_000), without, "a loss in a while does not");
    }

    #[test]
    fn late_packets_raise_the_target_at_once_and_one_alone_only_half_way() {
        let mut e = Estimator::new();
        for i in 0..100 {
            e.observe(0, i * 960);
        }
        e.was_late(4_800);
        assert!((2_400..3_000).contains(&e.target()));
        e.was_late(4_800);
        e.was_late(4_800);
        assert!((3_600..5_100).contains(&e.target()));
    }

    #[test]
    fn a_slower_path_is_not_taken_for_jitter() {
        let mut e = Estimator::new();
        for i in 0..500 {
            e.observe(0, i * 960);
        }
        for i in 500..1_000 {
            e.observe(4_800, i * 960);
        }
        assert_eq!((e.base(), e.target()), (Some(4_800), 0));
    }

    //= rules#J5 type=test
    #[test]
    fn the_reference_follows_a_slower_clock() {
        let mut e = Estimator::new();
        let mut worst = 0;
        // 500 ppm: 0.48 ticks per packet.
        for i in 0..15_000i64 {
            worst = worst.max(e.observe(i * 48 / 100, i * 960));
        }
        // 8 s of drift are 4 ms.
        assert!(worst <= 200, "{worst}");
    }
}
