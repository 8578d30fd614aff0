//! Reception statistics of one SSRC (RFC 3550 appendices A.1, A.3, A.8).
//!
//! Given: authenticated packets and their arrival. Decides: extended sequence numbers, loss, jitter. Refuses: probation (the SSRC has a
//! key already, so its first packet counts), which stream is the peer's (`report`), and any effect on play-out.

use crate::limits::RTP_CLOCK_HZ;
use crate::time::Time;
use crate::wire::rtcp::ReportBlock;
use crate::wire::rtp::RtpView;

/// What was received on one SSRC.
#[derive(Clone, Debug)]
pub(super) struct Reception {
    pub(super) ssrc: u32,
    /// RTP clock of the stream in Hz.
    clock_hz: u32,
    /// All packets and payload octets, also those that A.1 does not count.
    pub(super) packets: u64,
    pub(super) octets: u64,
    /// Highest sequence number seen, and the count of its cycles shifted left by 16.
    seq_max: u16,
    cycles: u32,
    /// Extended sequence number the counts below begin at.
    base: u32,
    /// Where the last jump would continue; none when there was none since the run began.
    resync_at: Option<u16>,
    received: u32,
    expected_prior: u32,
    received_prior: u32,
    /// Arrival minus timestamp of the last packet, in timestamp units; modulo 2^32.
    transit: u32,
    /// Timestamp of the event whose transit was taken last.
    event_timestamp: Option<u32>,
    /// Jitter times 16 (A.8).
    jitter_x16: u32,
}

impl Reception {
    /// Statistics that begin with `view`, which the caller then counts.
    pub(super) fn new(view: &RtpView<'_>, clock_hz: u32, now: Time) -> Self {
        Self {
            ssrc: view.ssrc(),
            clock_hz,
            packets: 0,
            octets: 0,
            seq_max: view.seq(),
            cycles: 0,
            base: view.seq().into(),
            resync_at: None,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            transit: ticks(now, clock_hz).wrapping_sub(view.timestamp()),
            event_timestamp: None,
            jitter_x16: 0,
        }
    }

    /// Counts one packet of this SSRC.
    pub(super) fn count(&mut self, view: &RtpView<'_>, is_event: bool, now: Time) {
        self.packets += 1;
        self.octets += view.payload().len() as u64;
        if self.update_seq(view.seq()) {
            self.received = self.received.wrapping_add(1);
            self.update_jitter(view.timestamp(), is_event, now);
        }
    }

    /// Packets lost since the beginning; negative with duplicates (A.3).
    pub(super) fn lost(&self) -> i64 {
        i64::from(self.expected()) - i64::from(self.received)
    }

    /// Interarrival jitter in timestamp units.
    pub(super) fn jitter_ticks(&self) -> u32 {
        self.jitter_x16 >> 4
    }

    /// The report block of the interval that ends now; begins the next interval. `lsr` and `dlsr` are the caller's.
    //= rules#C5
    pub(super) fn take_block(&mut self, lsr: u32, dlsr: u32) -> ReportBlock {
        //= rfc3550#appendix-A.3  fraction lost is that of the interval since the last report
        let expected = self.expected();
        let expected_interval = expected.wrapping_sub(self.expected_prior);
        let received_interval = self.received.wrapping_sub(self.received_prior);
        (self.expected_prior, self.received_prior) = (expected, self.received);
        let lost_interval = i64::from(expected_interval) - i64::from(received_interval);
        let fraction_lost = match lost_interval {
            // 255 stands for "all of them" too: 256 does not fit.
            1.. => ((lost_interval << 8) / i64::from(expected_interval)).min(255) as u8,
            _ => 0,
        };
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: self.lost().clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            highest_seq: self.highest(),
            jitter: self.jitter_ticks(),
            lsr,
            dlsr,
        }
    }

    fn highest(&self) -> u32 {
        self.cycles.wrapping_add(self.seq_max.into())
    }

    fn expected(&self) -> u32 {
        self.highest().wrapping_sub(self.base).wrapping_add(1)
    }

    /// A.1: whether `seq` belongs to the run. Two packets in a row after a jump begin a new run (P12).
    //= rules#P12
    fn update_seq(&mut self, seq: u16) -> bool {
        let delta = seq.wrapping_sub(self.seq_max);
        if delta < DROPOUT_MAX {
            if seq < self.seq_max {
                self.cycles = self.cycles.wrapping_add(1 << 16);
            }
            self.seq_max = seq;
        } else if delta <= u16::MAX - MISORDER_MAX + 1 {
            //= rfc3550#appendix-A.1  two sequential packets after a very large jump: the other side restarted
            if self.resync_at != Some(seq) {
                self.resync_at = Some(seq.wrapping_add(1));
                return false;
            }
            self.restart(seq);
        }
        // Otherwise a duplicate or a reordered packet: counted, which is why losses may be negative.
        true
    }

    fn restart(&mut self, seq: u16) {
        self.seq_max = seq;
        self.cycles = 0;
        self.base = seq.into();
        self.resync_at = None;
        self.received = 0;
        self.expected_prior = 0;
        self.received_prior = 0;
    }

    /// A.8. All packets of one event carry one timestamp: only the first of them is a sample (C7, RFC 4733 section 2.5.2.2).
    //= rfc4733#section-2.5.2.2:jitter  one sample an event
    //= rules#C5
    //= rules#C7
    fn update_jitter(&mut self, timestamp: u32, is_event: bool, now: Time) {
        if is_event && self.event_timestamp.replace(timestamp) == Some(timestamp) {
            return;
        }
        let transit = ticks(now, self.clock_hz).wrapping_sub(timestamp);
        let d = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        self.transit = transit;
        // A jump of the line (new stream behind the relay) is not jitter; one sample of it would spoil minutes.
        if d > JITTER_SAMPLE_MAX {
            return;
        }
        // Rounded as in A.8. Cannot underflow: (j + 8) >> 4 <= j for every j >= 1, and it is 0 for j = 0.
        self.jitter_x16 = self.jitter_x16 + d - ((self.jitter_x16 + 8) >> 4);
    }
}

/// Arrival in timestamp units, modulo 2^32.
fn ticks(now: Time, clock_hz: u32) -> u32 {
    (u128::from(now.as_nanos()) * u128::from(clock_hz) / 1_000_000_000) as u32
}

/// Largest forward step of a run (A.1).
const DROPOUT_MAX: u16 = 3_000;
/// Largest backward step of a run (A.1).
const MISORDER_MAX: u16 = 100;
/// Ten seconds: a larger change of transit time is a jump of the peer's timestamp line, not jitter.
const JITTER_SAMPLE_MAX: u32 = 10 * RTP_CLOCK_HZ;

// Sixteen times the largest jitter, plus one sample, fits in 32 bits.
const _: () = assert!(17 * JITTER_SAMPLE_MAX as u64 <= u32::MAX as u64);
