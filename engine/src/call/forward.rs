//! Packets that leave the moment they come: where each stands on our one line of time, and who speaks when their source is quiet.
//!
//! Decides: timestamps of a forwarded source on our 48 kHz grid, when a gap is a gap, and what is too late. Given: the source's own timestamps, in order, and the
//! clock of the call. Refuses: payloads, sequence numbers (they stay unbroken whatever the source does: R-19), and a second packet for a moment that has passed.

use super::gate::FrameClock;
use super::media::Media;
use super::port::MediaPort;
use super::stats::CallStats;
use crate::dtmf::DigitSender;
use crate::error::DropReason;
use crate::limits::{DTMF_CLOCK_HZ, FRAME_MS, FRAME_TICKS, RTP_CLOCK_HZ, RTP_HEADER_BYTES, SEND_BYTES_MAX, SRTP_TRAILER_BYTES_MAX};
use crate::rtp::RtpSource;
use crate::time::{Span, Time};
use crate::wire::dtmf::TelephoneEvent;

/// One frame of media time.
const FRAME: Span = Span::from_millis(FRAME_MS);
/// How long after its due time a packet is waited for until silence is sent in its place: three frames, more than the jitter of a local network and of most trunks.
const PATIENCE: Span = FRAME.times(3);
/// Packets of a backlog (what waited for the gate, or came in a burst) that leave per frame: twice the speed of speech (P5).
const BURST_FRAMES_MAX: u8 = 2;
/// Frames our line may run ahead of the source's, from silence sent in place of packets that came after all. Beyond that packets are left out.
const AHEAD_FRAMES_MAX: i64 = 10;
/// Frames a source may step forward by its own timestamp. A longer gap has been filled by then, so a larger step is a new line of time.
const STEP_FRAMES_MAX: i64 = 8;
/// An event without a packet for so long is over, whether its end was seen or not (RFC 4733 section 2.5.2.3).
const EVENT_GAP_MAX: Span = Span::from_millis(100);
/// Times the end of an event is sent (RFC 4733 section 2.5.1.4).
const EVENT_ENDS: u8 = 3;
/// Ticks between segments of a telephone-event of more than 0xFFFF units of 8 kHz (RFC 4733 section 2.5.1.3), on the 48 kHz line.
const SEGMENT_TICKS: u32 = 0xffff * 6;

/// An authenticated packet of the peer as it came off the wire, for ports that forward.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Its SSRC.
    pub ssrc: u32,
    /// Its sequence number.
    pub seq: u16,
    /// Its RTP timestamp (48 kHz).
    pub timestamp: u32,
    /// Its marker bit.
    pub marker: bool,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What a forwarding port wants sent at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forward {
    /// `FrameBuffer::opus[..len]` holds a 20 ms Opus packet.
    Opus {
        /// Its length in bytes.
        len: usize,
        /// Where it stands on the source's line, in 48 kHz ticks.
        timestamp: u32,
        /// The source begins anew: its timestamps have nothing to do with those before.
        fresh: bool,
    },
    /// A telephone-event packet (RFC 4733), duration in 8 kHz units.
    Event {
        /// The event.
        event: TelephoneEvent,
        /// First packet of the event.
        marker: bool,
        /// Start of the event, or of its segment, on the source's line in 48 kHz ticks.
        timestamp: u32,
    },
}

/// The line of a forwarded source beside ours.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    /// Timestamp of the last packet that was forwarded or left out.
    last: Option<u32>,
    /// Frames that passed on our line since.
    filled: i64,
    /// Frames our line runs ahead of the source's.
    ahead: i64,
    /// The silence clock speaks.
    filling: bool,
    /// When the packets counted in `in_window` began to leave.
    window: Option<Time>,
    in_window: u8,
    /// The source may have more, but not yet.
    held: bool,
    /// The current event: its timestamp on the source's line and on ours.
    event: Option<(u32, u32)>,
    /// Until then audio gives way to the event, unless its last end comes before.
    event_until: Option<Time>,
    ends: u8,
}

/// What the silence clock owes at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Owed {
    /// Frames of media time that pass without a packet.
    pub(super) skipped: u64,
    /// Frames of silence to send.
    pub(super) frames: u64,
}

impl Forwarding {
    /// Nobody has spoken yet, or somebody else has until now: silence runs from the next frame of the clock on.
    pub(super) fn begin(&mut self) {
        *self = Self { filling: true, ..Self::default() };
    }

    /// When to look again: silence is due if nothing is forwarded until then, or the next packets of a backlog may leave.
    pub(super) fn deadline(&self, clock: &FrameClock) -> Time {
        let more = self.window.filter(|_| self.held).map_or(Time::MAX, |start| start + FRAME);
        self.silence_at(clock).min(more)
    }

    /// Whether one more packet may leave now, if there is one: no burst of more than two in the time of a frame.
    pub(super) fn may_send(&mut self, has_one: bool, now: Time) -> bool {
        self.held = has_one && self.in_window >= BURST_FRAMES_MAX && self.window.is_some_and(|start| now.since(start) < FRAME);
        has_one && !self.held
    }

    /// Whether the source may have more that may not leave yet.
    #[cfg(feature = "io")]
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    fn count_burst(&mut self, now: Time) {
        if self.window.is_none_or(|start| now.since(start) >= FRAME) {
            (self.window, self.in_window) = (Some(now), 0);
        }
        self.in_window += 1;
    }

    fn silence_at(&self, clock: &FrameClock) -> Time {
        if self.filling { clock.next() } else { clock.next() + PATIENCE }
    }

    /// Takes what is due. Frames that were waited for pass without a packet, so that silence starts at the present.
    //= meta#R-29  a source that says nothing does not stop ours
    pub(super) fn take_due(&mut self, clock: &mut FrameClock, now: Time) -> Owed {
        if now < self.silence_at(clock) {
            return Owed::default();
        }
        let mut skipped = 0;
        if !self.filling {
            self.filling = true;
            skipped = now.since(clock.next()).as_nanos() / FRAME.as_nanos();
            *clock = FrameClock::start_at(clock.next() + FRAME.times(skipped));
        }
        let due = clock.take(now);
        skipped += due.skipped;
        self.filled += (skipped + due.frames) as i64;
        Owed { skipped, frames: due.frames }
    }

    /// Frames that pass on our line before this packet; none when its moment has passed.
    ///
    /// `overdue` is how many whole frames the clock is behind: what a source without a past is placed by.
    // Time by the source's own count of samples
    fn place(&mut self, timestamp: u32, fresh: bool, overdue: u64) -> Option<u64> {
        let since_silence = if self.filling { 0 } else { overdue };
        let step = self.last.filter(|_| !fresh).map(|last| i64::from(timestamp.wrapping_sub(last) as i32));
        let anew = |me: &mut Self| {
            (me.last, me.filled, me.ahead) = (Some(timestamp), 0, 0);
            Some(since_silence)
        };
        let Some(step) = step else { return anew(self) };
        if step <= 0 {
            return None;
        }
        // To the nearest frame: what leaves is on the 20 ms grid whatever the source's grid is.
        let frames = (step + i64::from(FRAME_TICKS) / 2) / i64::from(FRAME_TICKS);
        let balance = self.ahead + self.filled - frames;
        let ahead = (balance + 1).max(0);
        let skipped = (-(balance + 1)).max(0);
        if skipped > STEP_FRAMES_MAX {
            return anew(self);
        }
        self.last = Some(timestamp);
        self.filled = 0;
        if ahead > AHEAD_FRAMES_MAX {
            self.ahead = balance.max(0);
            return None;
        }
        self.ahead = ahead;
        Some(skipped as u64)
    }

    /// Whether a telephone-event is under way: its packets take the places of audio frames (T6).
    pub(super) fn is_event(&self, now: Time) -> bool {
        self.event_until.is_some_and(|until| now < until)
    }

    /// Notes a packet of an event that starts at `ours`, and returns the frames of our line it takes: at least its own, and what its duration says.
    fn count_event(&mut self, event: &TelephoneEvent, ours: u32, current: u32, now: Time) -> u64 {
        self.ends = if event.end { self.ends.saturating_add(1) } else { 0 };
        self.event_until = (self.ends < EVENT_ENDS).then_some(now + EVENT_GAP_MAX);
        let until = u32::from(event.duration) * (RTP_CLOCK_HZ / DTMF_CLOCK_HZ);
        let behind = i64::from(ours.wrapping_add(until).wrapping_sub(current) as i32);
        // Nothing that a peer claims moves the line by more than an update could have taken.
        let frames = (behind / i64::from(FRAME_TICKS)).clamp(1, STEP_FRAMES_MAX);
        self.filled += frames;
        frames as u64
    }

    /// The timestamp on our line of an event that starts at `timestamp` on the source's.
    fn place_event(&mut self, timestamp: u32, current: u32) -> u32 {
        let ours = match self.event {
            Some((theirs, ours)) if theirs == timestamp => ours,
            Some((theirs, ours)) if timestamp.wrapping_sub(theirs) == SEGMENT_TICKS => ours.wrapping_add(SEGMENT_TICKS),
            _ => current,
        };
        self.event = Some((timestamp, ours));
        ours
    }

    /// Stamps, protects and accounts for one forwarded packet in `out`; restarts the silence clock behind it. `opus` is the frame buffer of the port.
    #[expect(clippy::too_many_arguments, reason = "every part of a leg that sends, each borrowed apart")]
    pub(super) fn send(
        &mut self,
        forward: Forward,
        opus: &[u8],
        media: &mut Media,
        port: &mut dyn MediaPort,
        source: &mut RtpSource,
        digits: &mut DigitSender,
        clock: &mut FrameClock,
        stats: &mut CallStats,
        out: &mut [u8],
        now: Time,
    ) -> Result<usize, DropReason> {
        //= meta#R-27  whatever a port hands over
        let room = out.len().min(SEND_BYTES_MAX).saturating_sub(SRTP_TRAILER_BYTES_MAX);
        let payload = out.get_mut(RTP_HEADER_BYTES..room).ok_or(DropReason::NoRoom)?;
        let mut frames = 1;
        let (header, len) = match forward {
            Forward::Opus { .. } if self.is_event(now) => return Err(DropReason::Replaced),
            Forward::Opus { len, timestamp, fresh } => {
                let bytes = opus.get(..len).filter(|b| b.len() <= payload.len()).ok_or(DropReason::NoRoom)?;
                let overdue = now.since(clock.next()).as_nanos() / FRAME.as_nanos();
                let skipped = self.place(timestamp, fresh, overdue).ok_or(DropReason::Late)?;
                for _ in 0..skipped {
                    source.advance_frame(false);
                }
                self.filling = false;
                self.count_burst(now);
                *clock = FrameClock::start_at(now + FRAME);
                //= rfc4733#section-2.5.1:call  a digit of ours replaces a forwarded frame as it does any other
                let event = media.params.dtmf_payload_type.and_then(|pt| Some((pt, digits.tick(source.timestamp())?)));
                if let Some((payload_type, event)) = event {
                    payload[..event.payload.len()].copy_from_slice(&event.payload);
                    stats.digits_out += u64::from(event.marker);
                    stats.events_out += 1;
                    (source.event(payload_type, event.marker, event.timestamp), event.payload.len())
                } else {
                    payload[..len].copy_from_slice(bytes);
                    let header = source.audio(media.params.opus_payload_type);
                    port.sent(bytes, header.timestamp);
                    (header, len)
                }
            }
            Forward::Event { event, marker, timestamp } => {
                let payload_type = media.params.dtmf_payload_type.ok_or(DropReason::PayloadType)?;
                let timestamp = self.place_event(timestamp, source.timestamp());
                payload[..TelephoneEvent::BYTES].copy_from_slice(&event.emit());
                if marker {
                    self.ends = 0;
                }
                frames = self.count_event(&event, timestamp, source.timestamp(), now);
                if port.forwards() {
                    self.filling = false;
                    *clock = FrameClock::start_at(now + FRAME);
                }
                (source.event(payload_type, marker, timestamp), TelephoneEvent::BYTES)
            }
        };
        header.emit(out.first_chunk_mut().ok_or(DropReason::NoRoom)?);
        source.count_sent(len);
        for _ in 0..frames {
            source.advance_frame(true);
        }
        stats.rtp_out += 1;
        stats.rtp_octets_out += len as u64;
        media.tx.protect_rtp(out, RTP_HEADER_BYTES + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    /// A source whose packet `k` is placed as if the clock were never late.
    fn placed(forwarding: &mut Forwarding, frame: u32) -> Option<u64> {
        forwarding.filling = false;
        forwarding.place(frame * FRAME_TICKS, false, 0)
    }

    #[test]
    fn packets_in_order_follow_each_other_and_a_lost_one_leaves_its_time() {
        let mut f = Forwarding::default();
        assert_eq!(placed(&mut f, 10), Some(0));
        assert_eq!(placed(&mut f, 11), Some(0));
        assert_eq!(placed(&mut f, 13), Some(1), "one frame passes without a packet");
        assert_eq!(placed(&mut f, 12), None, "its moment has passed");
        assert_eq!(placed(&mut f, 13), None, "no moment twice");
        assert_eq!(placed(&mut f, 14), Some(0));
    }

    #[test]
    fn timestamps_wrap_and_odd_ones_fall_on_the_grid() {
        let mut f = Forwarding::default();
        assert_eq!(f.place(u32::MAX - 100, true, 0), Some(0));
        assert_eq!(f.place((u32::MAX - 100).wrapping_add(960), false, 0), Some(0));
        assert_eq!(f.place((u32::MAX - 100).wrapping_add(960 + 970), false, 0), Some(0));
    }

    #[test]
    fn silence_starts_after_patience_at_the_present_and_the_source_finds_its_place_again() {
        let mut f = Forwarding::default();
        let mut clock = FrameClock::start_at(at(0));
        assert_eq!(f.place(0, true, 0), Some(0));
        clock = FrameClock::start_at(at(20).max(clock.next()));
        assert_eq!(f.deadline(&clock), at(80));
        assert_eq!(f.take_due(&mut clock, at(79)), Owed::default());
        assert_eq!(f.take_due(&mut clock, at(80)), Owed { skipped: 3, frames: 1 }, "frames 1 to 3 were waited for; 4 is silence");
        assert_eq!(f.deadline(&clock), at(100));
        assert_eq!(f.take_due(&mut clock, at(100)), Owed { skipped: 0, frames: 1 });
        // The source comes back with frame 6, on time.
        assert_eq!(f.place(6 * FRAME_TICKS, false, 0), Some(0));
        assert_eq!((f.filled, f.ahead), (0, 0));
    }

    #[test]
    fn what_silence_took_is_given_back_at_the_next_gap() {
        let mut f = Forwarding::default();
        assert_eq!(placed(&mut f, 0), Some(0));
        // The path held packets 1 to 5 back for so long that frames 1 to 5 passed, two of them as silence.
        f.filled = 5;
        for frame in 1..=5 {
            assert_eq!(placed(&mut f, frame), Some(0), "nothing of what is said is lost");
        }
        assert_eq!(f.ahead, 5);
        assert_eq!(placed(&mut f, 9), Some(0), "three lost frames shorten the lead");
        assert_eq!(f.ahead, 2);
        assert_eq!(placed(&mut f, 14), Some(2));
        assert_eq!(f.ahead, 0);
    }

    #[test]
    fn a_lead_is_bounded() {
        let mut f = Forwarding::default();
        assert_eq!(placed(&mut f, 0), Some(0));
        f.filled = 30;
        let left_out = (1..=30).filter(|&frame| placed(&mut f, frame).is_none()).count();
        assert_eq!((left_out as i64, f.ahead), (30 - AHEAD_FRAMES_MAX, AHEAD_FRAMES_MAX));
    }

    //= meta#R-31:live type=test
    #[test]
    fn a_backlog_leaves_at_twice_the_speed_of_speech() {
        let mut f = Forwarding::default();
        let mut sent = Vec::new();
        for ms in 0..60 {
            while f.may_send(true, at(ms)) && sent.len() < 6 {
                f.count_burst(at(ms));
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 0, 20, 20, 40, 40]);
    }

    #[test]
    fn a_new_line_of_time_is_placed_by_the_clock() {
        let mut f = Forwarding::default();
        assert_eq!(placed(&mut f, 100), Some(0));
        assert_eq!(f.place(5, true, 2), Some(2), "a fresh source after two quiet frames");
        assert_eq!(f.place(5 + 1_000 * FRAME_TICKS, false, 0), Some(0), "a step of 20 s in no time is no gap");
        f.filling = true;
        assert_eq!(f.place(9, true, 0), Some(0), "silence was there until now");
    }

    #[test]
    fn packets_of_one_event_share_a_timestamp_and_segments_follow() {
        let mut f = Forwarding::default();
        assert_eq!(f.place_event(500, 9_600), 9_600);
        assert_eq!(f.place_event(500, 19_200), 9_600);
        assert_eq!(f.place_event(500 + SEGMENT_TICKS, 400_000), 9_600 + SEGMENT_TICKS);
        assert_eq!(f.place_event(7, 500_000), 500_000, "another digit");
    }

    #[test]
    fn events_take_the_places_of_frames_until_their_third_end() {
        let mut f = Forwarding::default();
        let update = |k: u16, end| TelephoneEvent { event: 1, end, volume: 10, duration: 160 * k };
        assert_eq!(f.count_event(&update(1, false), 0, 0, at(0)), 1);
        assert_eq!(f.count_event(&update(3, false), 0, 960, at(40)), 2, "an update of 40 ms");
        assert!(f.is_event(at(139)) && !f.is_event(at(140)));
        for k in 0..2 {
            assert_eq!(f.count_event(&update(4, true), 0, 2_880 + k * 960, at(60)), 1);
            assert!(f.is_event(at(60)));
        }
        assert_eq!(f.count_event(&update(4, true), 0, 4_800, at(61)), 1);
        assert!(!f.is_event(at(61)));
        assert_eq!(f.filled, 6);
    }
}
