//! One SSRC's sequence numbers and timestamps, unwrapped (P12 to P14, J3, T10).
//!
//! Decides: whether a packet continues the stream, repeats it, or starts it anew. Is given: header fields. Refuses: to play.

/// Where a packet belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the stream, at this extended sequence number and timestamp.
    At(i64, i64),
    /// Seen before.
    Duplicate,
    /// Far from the stream; the next one will tell.
    Suspect,
    /// The second one in a row far from the stream: the sender has jumped.
    Jump,
}

/// Counts of one SSRC.
#[derive(Debug)]
pub(super) struct Stream {
    pub ssrc: u32,
    /// Highest extended sequence number, events included.
    seq_max: i64,
    /// The same of audio alone, with its extended timestamp: events do not follow the audio's timestamps.
    audio_seq_max: i64,
    audio_ts_max: i64,
    /// Bit i: `seq_max - i` has come.
    seen: u128,
    /// Bit i: `seq_max - i` is an event packet.
    events: u128,
    /// What the packet after a suspect one must look like.
    suspect: Option<(u16, u32)>,
}

impl Stream {
    /// A stream that begins with this packet; the packet itself is still to be located.
    pub(super) fn new(ssrc: u32, seq: u16, timestamp: u32) -> Self {
        let before = i64::from(seq) - 1;
        Self { ssrc, seq_max: before, audio_seq_max: before, audio_ts_max: i64::from(timestamp) - 1, seen: 0, events: 0, suspect: None }
    }

    /// Locates an audio packet and, if it is in the stream, remembers it. `is_possible` says whether a packet with this extended
    /// timestamp can have arrived now.
    //= rules#J3
    pub(super) fn locate(&mut self, seq: u16, timestamp: u32, is_possible: impl Fn(i64) -> bool) -> Place {
        let ext_seq = self.extend_seq(seq);
        let ext_ts = self.audio_ts_max + i64::from(timestamp.wrapping_sub(self.audio_ts_max as u32) as i32);
        if self.is_near(ext_seq) {
            if self.has_seen(ext_seq) {
                //= rfc7587#section-4.1:duplicates  decoded once
                return Place::Duplicate;
            }
            let in_step = (ext_seq > self.audio_seq_max) == (ext_ts > self.audio_ts_max);
            if in_step && is_possible(ext_ts) {
                self.remember(ext_seq);
                if ext_seq > self.audio_seq_max {
                    (self.audio_seq_max, self.audio_ts_max) = (ext_seq, ext_ts);
                }
                self.suspect = None;
                return Place::At(ext_seq, ext_ts);
            }
        }
        // Two in a row (RFC 3550 appendix A.1), with room for one lost or overtaken between them.
        let follows = self.suspect.is_some_and(|(next_seq, next_ts)| {
            seq.wrapping_sub(next_seq) < SUSPECT_STEPS_MAX && timestamp.wrapping_sub(next_ts) < SUSPECT_TICKS_MAX
        });
        if follows {
            return Place::Jump;
        }
        self.suspect = Some((seq.wrapping_add(1), timestamp.wrapping_add(1)));
        Place::Suspect
    }

    /// Remembers a telephone-event packet; false if it is far from the stream.
    pub(super) fn note_event(&mut self, seq: u16) -> bool {
        let ext_seq = self.extend_seq(seq);
        let near = self.is_near(ext_seq);
        if near {
            self.remember(ext_seq);
            self.events |= 1 << (self.seq_max - ext_seq);
        }
        near
    }

    /// `seq` was used by an event packet.
    pub(super) fn is_event(&self, seq: i64) -> bool {
        let back = self.seq_max - seq;
        (0..128).contains(&back) && self.events >> back & 1 == 1
    }

    /// Sequence numbers in `from..to` that were not events.
    pub(super) fn missing(&self, from: i64, to: i64) -> i64 {
        let events = (from.max(self.seq_max - 127)..to).filter(|&s| self.is_event(s)).count() as i64;
        (to - from - events).max(0)
    }

    //= rules#P13
    fn extend_seq(&self, seq: u16) -> i64 {
        self.seq_max + i64::from(seq.wrapping_sub(self.seq_max as u16) as i16)
    }

    fn is_near(&self, ext_seq: i64) -> bool {
        (-MISORDER_MAX..DROPOUT_MAX).contains(&(ext_seq - self.seq_max))
    }

    //= rules#P14
    fn has_seen(&self, ext_seq: i64) -> bool {
        let back = self.seq_max - ext_seq;
        back >= 0 && self.seen >> back & 1 == 1
    }

    fn remember(&mut self, ext_seq: i64) {
        let ahead = ext_seq - self.seq_max;
        if ahead > 0 {
            let shift = |bits: u128| bits.checked_shl(ahead as u32).unwrap_or(0);
            (self.seen, self.events, self.seq_max) = (shift(self.seen), shift(self.events), ext_seq);
        }
        self.seen |= 1 << (self.seq_max - ext_seq);
    }
}

/// RFC 3550 appendix A.1.
const DROPOUT_MAX: i64 = 3_000;
/// RFC 3550 appendix A.1.
const MISORDER_MAX: i64 = 100;
const SUSPECT_STEPS_MAX: u16 = 3;
/// 1 s.
const SUSPECT_TICKS_MAX: u32 = 48_000;

const _: () = assert!(MISORDER_MAX < u128::BITS as i64);

#[cfg(test)]
mod tests {
    use super::*;

    fn any(_: i64) -> bool {
        true
    }

    //= rules#P13 type=test
    #[test]
    fn both_numbers_wrap_without_a_jump() {
        let mut s = Stream::new(1, 0xfff0, 0xffff_f000);
        for i in 0..200_000u32 {
            let place = s.locate(0xfff0u16.wrapping_add(i as u16), 0xffff_f000u32.wrapping_add(i.wrapping_mul(960)), any);
            assert_eq!(place, Place::At(0xfff0 + i64::from(i), 0xffff_f000 + i64::from(i) * 960));
        }
    }

    //= rfc7587#section-4.1:duplicates type=test
    //= rules#P14 type=test
    #[test]
    fn duplicates_and_reordering_within_a_hundred() {
        let mut s = Stream::new(1, 500, 0);
        assert_eq!(s.locate(500, 0, any), Place::At(500, 0));
        assert_eq!(s.locate(600, 96_000, any), Place::At(600, 96_000));
        assert_eq!(s.locate(501, 960, any), Place::At(501, 960));
        assert_eq!(s.locate(501, 960, any), Place::Duplicate);
        assert_eq!(s.locate(600, 96_000, any), Place::Duplicate);
        assert_eq!(s.locate(499, 0xffff_fc40, any), Place::Suspect, "more than a hundred back");
    }

    //= rules#P12 type=test
    #[test]
    fn a_jump_needs_two_in_a_row() {
        let mut s = Stream::new(1, 5_000, 1 << 20);
        assert!(matches!(s.locate(5_000, 1 << 20, any), Place::At(..)));
        assert_eq!(s.locate(7, 9_600, any), Place::Suspect);
        assert!(matches!(s.locate(5_001, (1 << 20) + 960, any), Place::At(..)), "one stray packet changes nothing");
        assert_eq!(s.locate(8, 10_560, any), Place::Suspect);
        assert_eq!(s.locate(9, 11_520, any), Place::Jump);
        // Timestamps that go back while sequence numbers go on: the same.
        assert_eq!(s.locate(5_002, 40, any), Place::Suspect);
        assert_eq!(s.locate(5_003, 1_000, any), Place::Jump);
    }

    //= rules#T10 type=test
    #[test]
    fn events_take_sequence_numbers_but_no_audio() {
        let mut s = Stream::new(1, 10, 0);
        s.locate(10, 0, any);
        assert!(s.note_event(12) && s.note_event(11));
        assert_eq!((s.missing(11, 13), s.missing(11, 14)), (0, 1));
        assert_eq!(s.locate(14, 3_840, any), Place::At(14, 3_840));
        assert_eq!(s.locate(13, 2_880, any), Place::At(13, 2_880), "overtaken by a later one");
        assert!(!s.note_event(12_000));
    }
}
