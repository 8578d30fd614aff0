//! Digits from event packets: one per (timestamp, event), whatever is lost or repeated (T7).
//!
//! Given: payload and RTP timestamp of authenticated event packets. Decides: whether a packet begins a digit, and how long the digit is.
//! Refuses: the marker bit (it may be lost), a least duration (T8), any arithmetic that adds a duration to a timestamp except to join
//! segments, and what the audio does meanwhile (T10 is the jitter buffer's).

use super::{SEGMENT_MAX, TICKS_PER_UNIT, UNITS_PER_MS};
use crate::error::DropReason;
use crate::time::{Span, Time};
use crate::wire::dtmf::TelephoneEvent;

/// A digit the user typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digit {
    /// `0` to `9`, `*`, `#`, `A` to `D`; `!` for a hook flash (event 16).
    pub symbol: char,
    /// Length so far, in milliseconds (from the last packet seen).
    pub duration_ms: u32,
    /// RTP timestamp of its start.
    pub timestamp: u32,
}

/// Collects digits.
///
/// One value serves a whole call: a new SSRC of the peer needs no reset, its timestamps are new ones.
#[derive(Debug, Default)]
pub struct DigitReceiver {
    /// The latest digits, `next` being the oldest. A digit takes at least one packet, so 16 of them span 320 ms of the fastest flood and
    /// more than a second of a keypad.
    seen: [Option<Seen>; DIGITS_REMEMBERED],
    next: usize,
    /// The newest start that was pushed out of `seen`, and when its digit was last heard.
    pushed_out: Option<(u32, Time)>,
}

impl DigitReceiver {
    /// Takes the payload of an authenticated event packet. `Ok(Some(digit))` exactly once per digit, at its first packet.
    ///
    /// `Ok(None)`: a further packet of a known digit, an event that is no key (T9), or a duration of zero, which for a key says nothing yet
    /// (RFC 4733 section 2.3.5). Errors: `DtmfMalformed` for fewer than four bytes; `Late` for a digit that
    /// began before one that is no longer remembered: it may have been reported then.
    //= rfc4733#section-5  each digit once
    //= rules#T7
    //= rules#T8
    pub fn handle_packet(&mut self, timestamp: u32, payload: &[u8], now: Time) -> Result<Option<Digit>, DropReason> {
        let event = TelephoneEvent::parse(payload)?;
        //= rfc4733#section-2.3.1  what is no key is nothing
        let Some(symbol) = event.symbol() else { return Ok(None) };
        //= rfc4733#section-2.3.5  says nothing yet
        if event.duration == 0 {
            return Ok(None);
        }
        if let Some(known) = self.find(timestamp, symbol, now) {
            known.update(timestamp, &event, now);
            return Ok(None);
        }
        if self.is_stale(timestamp, now) {
            return Err(DropReason::Late);
        }
        let units = u32::from(event.duration);
        let seen = Seen { symbol, start: timestamp, segment: timestamp, before: 0, units, is_ended: event.end, heard: now };
        if let Some(oldest) = self.seen[self.next].replace(seen) {
            self.push_out(&oldest, now);
        }
        self.next = (self.next + 1) % DIGITS_REMEMBERED;
        Ok(Some(seen.digit()))
    }

    /// The digit that began last, with its length so far.
    pub fn last(&self) -> Option<Digit> {
        self.newest().map(|seen| seen.digit())
    }

    /// Whether the key of the last digit is still down: neither its end nor 100 ms of silence about it was received.
    ///
    /// All three end packets may be lost; then the tone is held no longer than five updates of 20 ms.
    //= rfc4733#section-2.5.2.3  silence ends what its end packet did not
    pub fn is_pressed(&self, now: Time) -> bool {
        self.newest().is_some_and(|seen| !seen.is_ended && now.since(seen.heard) < UPDATE_GAP_MAX)
    }

    fn newest(&self) -> Option<&Seen> {
        self.seen[(self.next + DIGITS_REMEMBERED - 1) % DIGITS_REMEMBERED].as_ref()
    }

    /// The digit this packet belongs to: same start, or the next segment of one that is longer than a segment.
    fn find(&mut self, timestamp: u32, symbol: char, now: Time) -> Option<&mut Seen> {
        //= rfc4733#section-2.5.2.2  packets with one timestamp belong to one event
        self.seen
            .iter_mut()
            .flatten()
            .filter(|seen| seen.symbol == symbol && now.since(seen.heard) < FORGOTTEN_AFTER)
            .find(|seen| seen.covers(timestamp) || seen.is_continued_by(timestamp))
    }

    /// Whether `timestamp` lies just before a digit that was reported and pushed out.
    fn is_stale(&self, timestamp: u32, now: Time) -> bool {
        self.pushed_out
            .is_some_and(|(newest, heard)| newest.wrapping_sub(timestamp) <= STALE_TICKS_MAX && now.since(heard) < FORGOTTEN_AFTER)
    }

    fn push_out(&mut self, seen: &Seen, now: Time) {
        // Digits may come out of order; the mark only moves forward, unless it is of another time or line.
        let is_older = self
            .pushed_out
            .is_some_and(|(newest, heard)| newest.wrapping_sub(seen.segment) <= STALE_TICKS_MAX && now.since(heard) < FORGOTTEN_AFTER);
        if !is_older {
            self.pushed_out = Some((seen.segment, seen.heard));
        }
    }
}

/// One digit that was reported.
#[derive(Clone, Copy, Debug)]
struct Seen {
    symbol: char,
    /// Timestamp of its first packet.
    start: u32,
    /// Timestamp of its current segment.
    segment: u32,
    /// Units in the segments before.
    before: u32,
    /// Units in the current segment.
    units: u32,
    is_ended: bool,
    heard: Time,
}

impl Seen {
    fn covers(&self, timestamp: u32) -> bool {
        // Late packets of an earlier segment lie between start and segment.
        timestamp == self.segment || timestamp.wrapping_sub(self.start) < self.segment.wrapping_sub(self.start)
    }

    /// A segment begins where the one before ended, without a marker and without an end packet between (T5). Some senders step by
    /// the 8 kHz count instead of 48 kHz ticks.
    //= rules#T5
    fn is_continued_by(&self, timestamp: u32) -> bool {
        let step = timestamp.wrapping_sub(self.segment);
        !self.is_ended && (step == SEGMENT_MAX * TICKS_PER_UNIT || step == SEGMENT_MAX)
    }

    fn update(&mut self, timestamp: u32, event: &TelephoneEvent, now: Time) {
        if self.is_continued_by(timestamp) {
            self.segment = timestamp;
            self.before = self.before.saturating_add(SEGMENT_MAX);
            self.units = 0;
        }
        if timestamp == self.segment {
            // Reordered packets never shorten a digit.
            self.units = self.units.max(event.duration.into());
            self.is_ended |= event.end;
        }
        self.heard = now;
    }

    fn digit(&self) -> Digit {
        Digit { symbol: self.symbol, duration_ms: self.before.saturating_add(self.units) / UNITS_PER_MS, timestamp: self.start }
    }
}

/// Digits whose late packets are recognised.
const DIGITS_REMEMBERED: usize = 16;
/// A key without update or end for so long is taken as released.
const UPDATE_GAP_MAX: Span = Span::from_millis(100);
/// The same timestamp after so long is another digit: the line wraps after a day, and a resumed stream may start anywhere.
const FORGOTTEN_AFTER: Span = Span::from_secs(60);
/// Ten seconds of the line: older than that is not a late packet but another line.
const STALE_TICKS_MAX: u32 = 480_000;
