//! What the encoder is told about the path: bit rate and expected loss, from the peer's fmtp and its receiver reports (C13, RFC 7587 sections 7.1 and 8).
//!
//! Decides: both values, after each report. Given: the bounds of the peer, then fraction lost and round-trip time of each report, and what we miss of the peer's own
//! packets. Refuses: to leave the bounds the peer set, to lower the rate for a single report, and to trust the relay's reports alone: they know nothing of the user's own
//! last mile, whose losses show in what comes from there. Where nothing is lost either way there is no redundancy: it takes bits from the voice and a quarter of the
//! encoder's time (ADR 29).

use super::params::MediaParams;
use crate::time::Span;

/// Bit rate and expected loss of a call's encoder.
#[derive(Clone, Debug)]
pub(super) struct Adaption {
    bitrate_bps_max: u32,
    bitrate_bps: u32,
    fec: bool,
    /// Loss in percent, times 256, smoothed: up by half of the difference, down by an eighth.
    loss: u32,
    loss_percent: u8,
    rtt_min: Option<Span>,
    /// Reports in a row that say congestion (positive) or a clear path (negative).
    run: i32,
    /// Packets of the peer's that had not come when they were last counted.
    missed: i64,
    /// Reports of ours until redundancy ends, as long as nothing more is lost.
    guard: u8,
}

impl Adaption {
    pub(super) fn new(params: &MediaParams) -> Self {
        Self {
            bitrate_bps_max: params.bitrate_bps_max,
            bitrate_bps: params.bitrate_bps_max,
            fec: params.fec,
            loss: 0,
            loss_percent: if params.fec { LOSS_PERCENT_MIN } else { 0 },
            rtt_min: None,
            run: 0,
            missed: 0,
            guard: 0,
        }
    }

    /// Takes one report block about our stream: `fraction_lost` of 256, and the round-trip time if the report gave one.
    //= rules#C13
    pub(super) fn report(&mut self, fraction_lost: u8, rtt: Option<Span>) {
        let now = u32::from(fraction_lost) * 100;
        if fraction_lost > 0 {
            self.guard = GUARD_REPORTS;
        }
        self.loss = if now > self.loss { self.loss + (now - self.loss).div_ceil(2) } else { self.loss - (self.loss - now).div_ceil(8) };
        //= rfc7587#section-7.1:loss  smoothed, in steps of 5 so that the encoder is not set anew with each report
        let percent = u8::try_from(self.loss.div_ceil(256)).unwrap_or(100);
        let wanted = if self.fec { percent.next_multiple_of(LOSS_PERCENT_STEP).clamp(LOSS_PERCENT_MIN, LOSS_PERCENT_MAX) } else { 0 };
        // A step up at once, a step down only when the loss is well inside the lower one.
        if wanted > self.loss_percent || percent + LOSS_PERCENT_STEP / 2 <= self.loss_percent.saturating_sub(LOSS_PERCENT_STEP) {
            self.loss_percent = wanted;
        }

        if let Some(rtt) = rtt {
            self.rtt_min = Some(self.rtt_min.map_or(rtt, |least| least.min(rtt)));
        }
        let is_queueing = rtt.zip(self.rtt_min).is_some_and(|(rtt, least)| rtt > least + QUEUE_MAX);
        //= rfc7587#section-8  sustained loss or a growing queue lowers the rate, a clear path restores it
        self.run = match (now >= CONGESTED_PERCENT * 256 || is_queueing, now < CLEAR_PERCENT * 256) {
            (true, _) => self.run.max(0) + 1,
            (false, true) => self.run.min(0) - 1,
            (false, false) => 0,
        };
        if self.run >= CONGESTED_REPORTS {
            self.run = 0;
            let floor = BITRATE_BPS_FLOOR.min(self.bitrate_bps_max);
            self.bitrate_bps = (self.bitrate_bps - self.bitrate_bps / 4).max(floor);
        } else if self.run <= -CLEAR_REPORTS {
            self.run = 0;
            self.bitrate_bps = (self.bitrate_bps + self.bitrate_bps / 8).min(self.bitrate_bps_max);
        }
    }

    /// Takes how many of the peer's packets have not come so far, with each report of ours.
    pub(super) fn missed(&mut self, lost: i64) {
        self.guard = if lost > self.missed { GUARD_REPORTS } else { self.guard.saturating_sub(1) };
        self.missed = lost;
    }

    /// Bits per second, never above what the peer asked for.
    pub(super) fn bitrate_bps(&self) -> u32 {
        self.bitrate_bps
    }

    /// Loss that the encoder prepares for, in percent; 0 without FEC, and while nothing is lost.
    pub(super) fn loss_percent(&self) -> u8 {
        if self.guard > 0 || self.loss_percent > LOSS_PERCENT_MIN { self.loss_percent } else { 0 }
    }
}

/// Loss prepared for at the least once any was seen: what happens on the user's own radio link is in no report (`whatsapp-calling.md` 5.5: 5 to 10).
const LOSS_PERCENT_MIN: u8 = 5;
/// Reports of ours without a loss until redundancy ends: 10 to 30 s.
const GUARD_REPORTS: u8 = 8;
/// Above this, libopus spends on redundancy what the voice itself needs.
const LOSS_PERCENT_MAX: u8 = 25;
const LOSS_PERCENT_STEP: u8 = 5;
/// Loss that says congestion.
const CONGESTED_PERCENT: u32 = 10;
/// Loss below which a path is clear.
const CLEAR_PERCENT: u32 = 3;
/// Reports in a row until the rate falls: some 4 to 11 s at 1.25 to 3.75 s each. A single burst changes nothing.
const CONGESTED_REPORTS: i32 = 3;
/// Reports in a row until the rate rises again.
const CLEAR_REPORTS: i32 = 4;
/// A round trip this much above the shortest one is a queue that grows.
const QUEUE_MAX: Span = Span::from_millis(200);
/// Lowest bit rate: wide-band speech with FEC still stands at it.
const BITRATE_BPS_FLOOR: u32 = 12_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(fec: bool) -> Adaption {
        Adaption::new(&MediaParams { fec, ..MediaParams::default() })
    }

    fn percent(p: u32) -> u8 {
        (p * 256 / 100) as u8
    }

    //= rfc7587#section-7.1:loss type=test
    #[test]
    fn expected_loss_rises_fast_falls_slowly_and_has_a_floor() {
        let mut a = of(true);
        assert_eq!(a.loss_percent(), 0, "before any loss");
        a.report(percent(15), None);
        assert_eq!(a.loss_percent(), 10);
        (0..6).for_each(|_| a.report(percent(15), None));
        assert_eq!(a.loss_percent(), 15);
        a.report(0, None);
        assert_eq!(a.loss_percent(), 15, "one good report proves nothing");
        (0..40).for_each(|_| a.report(0, None));
        assert_eq!(a.loss_percent(), 5, "not trusted alone");
        (0..8).for_each(|_| a.missed(0));
        assert_eq!(a.loss_percent(), 0, "nothing is lost either way");
        (0..40).for_each(|_| a.report(255, None));
        assert_eq!(a.loss_percent(), 25);
        let mut plain = of(false);
        plain.report(255, None);
        assert_eq!(plain.loss_percent(), 0, "without FEC there is nothing to prepare with");
    }

    //= rfc7587#section-7.1:loss type=test
    #[test]
    fn what_the_peer_loses_on_its_way_to_us_is_prepared_for_the_other_way() {
        let mut a = of(true);
        a.missed(0);
        assert_eq!(a.loss_percent(), 0);
        a.missed(3);
        assert_eq!(a.loss_percent(), 5);
        (0..7).for_each(|_| a.missed(3));
        assert_eq!(a.loss_percent(), 5);
        a.missed(4);
        (0..7).for_each(|_| a.missed(4));
        assert_eq!(a.loss_percent(), 5, "the last loss counts");
        a.missed(4);
        assert_eq!(a.loss_percent(), 0);
        a.missed(2);
        assert_eq!(a.loss_percent(), 0, "a late packet is no loss");
        let mut plain = of(false);
        plain.missed(9);
        assert_eq!(plain.loss_percent(), 0);
    }

    //= rfc7587#section-8 type=test
    #[test]
    fn sustained_loss_lowers_the_rate_and_a_clear_path_restores_it() {
        let mut a = of(true);
        a.report(percent(30), None);
        a.report(percent(30), None);
        a.report(0, None);
        assert_eq!(a.bitrate_bps(), 20_000, "a burst is no congestion");
        (0..3).for_each(|_| a.report(percent(12), None));
        assert_eq!(a.bitrate_bps(), 15_000);
        (0..30).for_each(|_| a.report(percent(40), None));
        assert_eq!(a.bitrate_bps(), 12_000, "never below what speech needs");
        (0..8).for_each(|_| a.report(percent(5), None));
        assert_eq!(a.bitrate_bps(), 12_000, "neither bad nor good");
        (0..30).for_each(|_| a.report(0, None));
        assert_eq!(a.bitrate_bps(), 20_000);
    }

    //= rfc7587#section-8 type=test
    #[test]
    fn a_queue_that_grows_is_congestion_without_loss() {
        let mut a = of(true);
        a.report(0, Some(Span::from_millis(80)));
        (0..3).for_each(|_| a.report(0, Some(Span::from_millis(400))));
        assert_eq!(a.bitrate_bps(), 15_000);
        let mut far = of(true);
        (0..20).for_each(|_| far.report(0, Some(Span::from_millis(400))));
        assert_eq!(far.bitrate_bps(), 20_000, "far away is not congested");
    }

    proptest! {
        //= rules#C13 type=test
        #[test]
        fn bounds_hold_whatever_is_reported(max in 6_000_u32..=510_000, reports in prop::collection::vec((any::<u8>(), prop::option::of(0_u64..5_000)), 0..200)) {
            let mut a = Adaption::new(&MediaParams { bitrate_bps_max: max, ..MediaParams::default() });
            for (fraction, rtt) in reports {
                a.report(fraction, rtt.map(Span::from_millis));
                prop_assert!(a.bitrate_bps() <= max && a.bitrate_bps() >= max.min(BITRATE_BPS_FLOOR));
                prop_assert!(a.loss_percent() <= LOSS_PERCENT_MAX && a.loss_percent().is_multiple_of(5));
            }
        }
    }
}
