//! Towards the far side: where a packet of the peer stands on the leg's own line.
//!
//! Decides: sequence numbers and timestamps of what is passed on. Given: those of the peer, in order of arrival. Refuses: to repair anything: what the network lost
//! or swapped on the way to us is lost or swapped on the leg as well, and the far side's jitter buffer deals with it as if we were not there (RFC 3550 section 7.1).

use crate::error::DropReason;
use crate::rng::Entropy;
use crate::time::{Span, Time};

/// Packets of the SSRC before the current one are not let in for so long.
const STRAGGLERS_MAX: Span = Span::from_millis(500);

/// Ticks between segments of a long event on the peer's 48 kHz line (RFC 4733 section 2.5.1.3).
const SEGMENT_TICKS: u32 = 0xffff * 6;

/// The stream we send on a leg.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) ssrc: u32,
    clock_hz: u32,
    source: Option<u32>,
    retired: Option<(u32, Time)>,
    seq_offset: u16,
    timestamp_offset: u32,
    /// The newest that left.
    seq: u16,
    timestamp: u32,
    at: Time,
    packets: u32,
    octets: u32,
    /// The current event of the peer: its start on its line and on ours.
    event: Option<(u32, u32)>,
}

impl Outbound {
    pub(super) fn new(clock_hz: u32, entropy: &mut dyn Entropy, now: Time) -> Self {
        Self {
            ssrc: entropy.u32(),
            clock_hz,
            source: None,
            retired: None,
            seq_offset: 0,
            timestamp_offset: 0,
            seq: (entropy.u32() & 0x7fff) as u16,
            timestamp: entropy.u32(),
            at: now,
            packets: 0,
            octets: 0,
            event: None,
        }
    }

    /// Sequence number and timestamp for a packet of the peer. A new SSRC of the peer goes on where the one before stopped.
    pub(super) fn pass(&mut self, ssrc: u32, seq: u16, timestamp: u32, now: Time) -> Result<(u16, u32), DropReason> {
        if self.source != Some(ssrc) {
            if self.retired.is_some_and(|(old, left)| old == ssrc && now.since(left) < STRAGGLERS_MAX) {
                return Err(DropReason::Late);
            }
            self.retired = self.source.replace(ssrc).map(|old| (old, now));
            self.seq_offset = self.seq.wrapping_add(1).wrapping_sub(seq);
            self.timestamp_offset = self.present(now).wrapping_sub(timestamp);
        }
        let passed = (seq.wrapping_add(self.seq_offset), timestamp.wrapping_add(self.timestamp_offset));
        if passed.0.wrapping_sub(self.seq) as i16 > 0 {
            self.seq = passed.0;
        }
        if passed.1.wrapping_sub(self.timestamp) as i32 > 0 {
            (self.timestamp, self.at) = (passed.1, now);
        }
        Ok(passed)
    }

    /// Sequence number and timestamp of the next packet of our own: `ticks` after the one before.
    pub(super) fn next(&mut self, ticks: u32, now: Time) -> (u16, u32) {
        self.seq = self.seq.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(ticks);
        self.at = now;
        (self.seq, self.timestamp)
    }

    /// The same for an event of the peer that began at `start` on its line, `ticks_per_tick` of which are one of ours. It takes a number, and no time.
    pub(super) fn event(&mut self, start: u32, ticks_per_tick: u32) -> (u16, u32) {
        let ours = match self.event {
            Some((theirs, ours)) if theirs == start => ours,
            Some((theirs, ours)) if start.wrapping_sub(theirs) == SEGMENT_TICKS => ours.wrapping_add(SEGMENT_TICKS / ticks_per_tick),
            _ => self.timestamp,
        };
        self.event = Some((start, ours));
        self.seq = self.seq.wrapping_add(1);
        (self.seq, ours)
    }

    /// Records the payload length of a packet that left.
    pub(super) fn count(&mut self, payload_bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload_bytes as u32);
    }

    /// Packets and payload octets that left, modulo 2^32.
    pub(super) fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// The timestamp of this moment.
    pub(super) fn present(&self, now: Time) -> u32 {
        let ticks = now.since(self.at).scale(u64::from(self.clock_hz), 1_000_000_000).as_nanos();
        self.timestamp.wrapping_add(ticks as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn loss_and_order_pass_through_and_a_new_source_continues_the_line() {
        let mut out = Outbound::new(48_000, &mut SeededRng::new(3), at(0));
        let (seq, timestamp) = out.pass(7, 65_535, 100, at(0)).expect("the first");
        assert_eq!(out.pass(7, 1, 100 + 1_920, at(40)), Ok((seq.wrapping_add(2), timestamp.wrapping_add(1_920))));
        assert_eq!(out.pass(7, 0, 100 + 960, at(41)), Ok((seq.wrapping_add(1), timestamp.wrapping_add(960))), "late: in its own place");
        let (next_seq, next_timestamp) = out.pass(8, 500, 9, at(100)).expect("another source");
        assert_eq!(next_seq, seq.wrapping_add(3));
        assert_eq!(next_timestamp, timestamp.wrapping_add(1_920 + 60 * 48), "60 ms after the newest");
        assert_eq!(out.pass(7, 2, 100 + 2_880, at(101)), Err(DropReason::Late), "a straggler of the one before");
        assert!(out.pass(7, 3, 100 + 2_880, at(700)).is_ok(), "it is back for good");
        let audio = out.next(160, at(800));
        let event = out.event(5_000, 6);
        assert_eq!(event, (audio.0.wrapping_add(1), audio.1), "an event begins at the present");
        assert_eq!(out.next(160, at(820)), (audio.0.wrapping_add(2), audio.1.wrapping_add(160)));
        assert_eq!(out.event(5_000, 6), (audio.0.wrapping_add(3), audio.1), "and keeps its start");
        assert_eq!(out.event(5_000 + SEGMENT_TICKS, 6).1, audio.1.wrapping_add(0xffff));
        let mut out = Outbound::new(48_000, &mut SeededRng::new(3), at(700));
        assert_eq!(out.pass(1, 1, 0, at(700)).map(|_| ()), Ok(()));
        assert_eq!(out.present(at(710)).wrapping_sub(out.present(at(700))), 480);
    }
}
