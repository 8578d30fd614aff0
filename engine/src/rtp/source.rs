//! The one RTP stream we send: it alone owns SSRC, sequence, timestamp and marker (R-19, P1 to P5).
//!
//! Given: the passing of frames and the wish to send one. Decides: the header of each packet. Refuses: payloads, pacing, and any second
//! source: play-out, bot switch, transfer and DTMF all go through this one value.

use crate::limits::FRAME_TICKS;
use crate::rng::Entropy;
use crate::wire::rtp::RtpHeader;

/// The outgoing stream of a call, from first packet to last.
//= rules#P4
#[derive(Clone, Debug)]
pub struct RtpSource {
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    /// The next audio packet is the first after silence.
    is_marker_due: bool,
    packets: u32,
    octets: u32,
}

impl RtpSource {
    /// A stream with random SSRC and timestamp, and a random first sequence number below 2^15 (P1, R11).
    //= rules#R11
    //= rules#P1
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        //= rfc3711#section-3.3.1:start  a first sequence number below 2^15 keeps an early loss from being taken for a roll-over
        Self::with_start(entropy.u32(), (entropy.u32() & 0x7fff) as u16, entropy.u32())
    }

    /// A stream that starts at given values: for tests of wrap-around, and to resume a stream whose state was kept elsewhere.
    ///
    /// A live call uses [`Self::new`]: predictable starts weaken SRTP against known plain text (RFC 3550 section 5.1).
    pub fn with_start(ssrc: u32, seq: u16, timestamp: u32) -> Self {
        Self { ssrc, seq, timestamp, is_marker_due: true, packets: 0, octets: 0 }
    }

    /// A source as a report sees it, for streams that are stamped elsewhere (the far side of a relay): the timestamp of the present, and what was sent so far.
    pub fn reported(ssrc: u32, timestamp: u32, packets: u32, octets: u32) -> Self {
        Self { ssrc, seq: 0, timestamp, is_marker_due: false, packets, octets }
    }

    /// The SSRC.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Header of the next audio packet; its timestamp is that of the current frame. Sequence moves by one.
    //= rules#P3
    pub fn audio(&mut self, payload_type: u8) -> RtpHeader {
        //= rfc3551#section-4.1  the marker is on the first packet after silence only
        let marker = core::mem::take(&mut self.is_marker_due);
        self.next(payload_type, marker, self.timestamp)
    }

    /// Header of a telephone-event packet: sequence moves by one, `timestamp` is that of the event's start on this line (T1 to T3).
    ///
    /// `marker` is set on the first packet of an event only; the marker of the audio line is untouched.
    //= rules#T1
    pub fn event(&mut self, payload_type: u8, marker: bool, timestamp: u32) -> RtpHeader {
        debug_assert!(self.timestamp.wrapping_sub(timestamp) < 1 << 31, "an event cannot start in the future");
        //= rfc4733#section-2.1  SSRC, sequence and line of the audio
        //= rfc4733#section-2.5.1.6  the sequence runs on, also for repetitions
        self.next(payload_type, marker, timestamp)
    }

    /// One 20 ms frame of media time has passed, whether a packet was sent or not (P2). `sent` is false for a frame without a packet; the
    /// next packet then carries the marker (P3). A telephone-event packet counts as sent.
    //= rules#P2
    pub fn advance_frame(&mut self, sent: bool) {
        //= rfc7587#section-4.1  960 a frame, whatever the bandwidth
        //= meta#R-17  48 kHz
        self.timestamp = self.timestamp.wrapping_add(FRAME_TICKS);
        self.is_marker_due |= !sent;
    }

    /// Timestamp of the current frame.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Packets and payload octets sent so far, for the sender report. Modulo 2^32.
    pub fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// Records the payload length of a packet that left.
    pub fn count_sent(&mut self, payload_bytes: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload_bytes as u32);
    }

    //= rules#P1
    fn next(&mut self, payload_type: u8, marker: bool, timestamp: u32) -> RtpHeader {
        let header = RtpHeader { payload_type, marker, seq: self.seq, timestamp, ssrc: self.ssrc };
        self.seq = self.seq.wrapping_add(1);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    //= meta#R-19 type=test
    //= meta#R-17 type=test
    #[test]
    fn sequence_and_timestamp_wrap_without_a_gap() {
        let mut source = RtpSource::with_start(9, 0xfffe, 0xffff_ffff - 960);
        let mut last: Option<RtpHeader> = None;
        for _ in 0..5 {
            let header = source.audio(111);
            source.advance_frame(true);
            if let Some(last) = last {
                assert_eq!(header.seq, last.seq.wrapping_add(1));
                assert_eq!(header.timestamp, last.timestamp.wrapping_add(960));
            }
            assert_eq!(header.marker, last.is_none());
            assert_eq!(header.ssrc, 9);
            last = Some(header);
        }
    }

    //= rfc7587#section-4.1 type=test
    //= rules#P2 type=test
    //= rules#P3 type=test
    #[test]
    fn silence_moves_time_but_not_sequence_and_marks_what_follows() {
        let mut source = RtpSource::with_start(9, 5, 0);
        assert_eq!(source.audio(111).seq, 5);
        source.advance_frame(true);
        source.advance_frame(false);
        source.advance_frame(false);
        let header = source.audio(111);
        assert_eq!((header.seq, header.timestamp, header.marker), (6, 3 * 960, true));
        source.advance_frame(true);
        assert!(!source.audio(111).marker);
    }

    //= rfc4733#section-2.1 type=test
    //= rfc4733#section-2.5.1.6 type=test
    //= rules#P1 type=test
    #[test]
    fn events_share_the_run_and_leave_the_audio_marker_alone() {
        let mut source = RtpSource::with_start(9, 5, 960);
        let start = source.timestamp();
        let first = source.event(126, true, start);
        source.advance_frame(true);
        let second = source.event(126, false, start);
        source.advance_frame(true);
        assert_eq!((first.seq, first.timestamp, first.marker), (5, 960, true));
        assert_eq!((second.seq, second.timestamp, second.marker), (6, 960, false));
        let audio = source.audio(111);
        assert_eq!((audio.seq, audio.timestamp, audio.marker), (7, 3 * 960, true), "no audio went before: its first packet is marked");
    }

    //= rfc3711#section-3.3.1:start type=test
    //= rules#R11 type=test
    //= rules#P1 type=test
    #[test]
    fn starts_are_random_and_the_first_sequence_number_is_low() {
        let mut rng = SeededRng::new(1);
        let mut sources: Vec<_> = (0..500).map(|_| RtpSource::new(&mut rng)).collect();
        assert!(sources.iter_mut().all(|s| s.audio(111).seq < 1 << 15));
        assert!(sources.iter().any(|s| s.timestamp() > 1 << 31));
        let mut ssrcs: Vec<_> = sources.iter().map(RtpSource::ssrc).collect();
        ssrcs.sort_unstable();
        ssrcs.dedup();
        assert_eq!(ssrcs.len(), 500);
    }

    #[test]
    fn counts_wrap_for_the_sender_report() {
        let mut source = RtpSource::with_start(1, 1, 1);
        source.count_sent(40);
        source.count_sent(2);
        assert_eq!(source.sent(), (2, 42));
    }
}
