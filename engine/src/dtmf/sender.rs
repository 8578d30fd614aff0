//! Digits to event packets: one packet per 20 ms tick, on the audio run (T1 to T6).
//!
//! Given: keys to send, and at each tick the timestamp of the current frame. Decides: which ticks carry an event packet and what it says.
//! Refuses: sequence numbers and SSRC (`rtp::RtpSource::event` gives the header), the clock, and audio: a tick without an event packet is
//! the audio's, and the timestamp line runs on through both.

use super::{SEGMENT_MAX, TICKS_PER_UNIT, UNITS_PER_MS};
use crate::limits::FRAME_MS;
use crate::wire::dtmf::{TelephoneEvent, event_of};
use core::fmt;

/// An event packet to send in place of the frame of this tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventPacket {
    /// Payload.
    pub payload: [u8; 4],
    /// Marker bit: first packet of a digit.
    pub marker: bool,
    /// RTP timestamp: the frame in which the digit, or its current segment, began.
    pub timestamp: u32,
}

/// Why digits were not taken. None of them was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DigitRefused {
    /// The queue of 32 has no room for all of them. Wait until earlier ones are out.
    Full,
    /// This is no key: use `0` to `9`, `*`, `#`, `A` to `D`, or `!` for a flash.
    NotAKey(char),
    /// The length is outside 40 to 60 000 ms.
    Length(u32),
    /// The peer's parameters are not known yet, so nobody knows whether it takes digits.
    NoPeerYet,
    /// The peer did not negotiate telephone-event: it would drop the packets.
    NotNegotiated,
    /// The call is over.
    CallOver,
}

impl fmt::Display for DigitRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("digit queue: no room for all digits; wait until earlier ones are sent"),
            Self::NotAKey(symbol) => write!(f, "digit {symbol:?}: no key; use 0 to 9, *, #, A to D, or ! for a flash"),
            Self::Length(ms) => write!(f, "digit length {ms} ms: use {TONE_MS_MIN} to {TONE_MS_MAX} ms"),
            Self::NoPeerYet => f.write_str("digits: the peer's session description is not known yet; send them once it is set"),
            Self::NotNegotiated => f.write_str(
                "digits: the peer did not negotiate telephone-event/8000, so it would drop them; look for its a=rtpmap line, or play tones as audio",
            ),
            Self::CallOver => f.write_str("digits: the call is over"),
        }
    }
}

impl core::error::Error for DigitRefused {}

/// Sends digits, one after the other: 100 ms of tone and 100 ms of pause unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct DigitSender {
    queue: [Tone; DIGITS_QUEUED_MAX],
    head: usize,
    len: usize,
    state: State,
}

impl DigitSender {
    /// A sender with nothing to send.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues one digit of 100 ms.
    pub fn push(&mut self, symbol: char) -> Result<(), DigitRefused> {
        self.push_for(symbol, TONE_MS)
    }

    /// Queues one digit of `duration_ms`, 40 to 60 000, rounded up to frames of 20 ms. ITU-T Q.24 asks for 40 ms at least.
    pub fn push_for(&mut self, symbol: char, duration_ms: u32) -> Result<(), DigitRefused> {
        let event = event_of(symbol).ok_or(DigitRefused::NotAKey(symbol))?;
        if !(TONE_MS_MIN..=TONE_MS_MAX).contains(&duration_ms) {
            return Err(DigitRefused::Length(duration_ms));
        }
        if self.len == DIGITS_QUEUED_MAX {
            return Err(DigitRefused::Full);
        }
        let units = duration_ms.next_multiple_of(FRAME_MS as u32) * UNITS_PER_MS;
        self.queue[(self.head + self.len) % DIGITS_QUEUED_MAX] = Tone { event, units };
        self.len += 1;
        Ok(())
    }

    /// Queues a string of digits of 100 ms each: all of them or none.
    pub fn push_all(&mut self, symbols: &str) -> Result<(), DigitRefused> {
        self.push_all_for(symbols, TONE_MS)
    }

    /// Queues a string of digits of `duration_ms` each, 40 to 60 000: all of them or none.
    pub fn push_all_for(&mut self, symbols: &str, duration_ms: u32) -> Result<(), DigitRefused> {
        if let Some(bad) = symbols.chars().find(|&s| event_of(s).is_none()) {
            return Err(DigitRefused::NotAKey(bad));
        }
        if symbols.len() > DIGITS_QUEUED_MAX - self.len {
            return Err(DigitRefused::Full);
        }
        // The first refusal, if any, is about the length, which all share.
        symbols.chars().try_for_each(|symbol| self.push_for(symbol, duration_ms))
    }

    /// One tick of 20 ms. `timestamp` is the current frame's (`RtpSource::timestamp`). The packet to send instead of audio, or none: the
    /// tick belongs to the audio.
    ///
    /// The packet of the frame that begins at the event's timestamp says 160: like an audio packet, it leaves when its 20 ms have passed.
    //= rules#T2
    //= rules#T3
    //= rules#T4
    //= rules#T5
    pub fn tick(&mut self, timestamp: u32) -> Option<EventPacket> {
        if let State::Pause { ticks_left } = &mut self.state {
            if *ticks_left > 0 {
                *ticks_left -= 1;
                return None;
            }
            self.state = State::Idle;
        }
        if let State::Idle = self.state {
            let tone = self.pop()?;
            self.state = State::Tone { tone, segment: timestamp, base: 0, units: 0, ends_sent: 0 };
        }
        let State::Tone { tone, segment, base, units, ends_sent } = &mut self.state else { return None };

        //= rfc4733#section-2.5.1.2  the first packet, and no other
        let marker = *units == 0;
        //= rfc4733#section-2.5.1.3  after a packet that says 0xFFFF, a new segment begins where the full one ended, without a marker
        if *units - *base > SEGMENT_MAX {
            *base += SEGMENT_MAX;
            *segment = segment.wrapping_add(SEGMENT_MAX * TICKS_PER_UNIT);
        }
        *units = (*units + UNITS_PER_FRAME).min(tone.units);
        let in_segment = *units - *base;
        let end = *units == tone.units && in_segment <= SEGMENT_MAX;
        let duration = in_segment.min(SEGMENT_MAX) as u16;
        let packet = EventPacket {
            //= rfc4733#section-2.3.2  E with the final duration
            payload: TelephoneEvent { event: tone.event, end, volume: VOLUME, duration }.emit(),
            marker,
            timestamp: *segment,
        };
        if end {
            //= rfc4733#section-2.5.1.4  the end three times
            *ends_sent += 1;
            if *ends_sent == END_PACKETS {
                // The second and third end packet were sent inside the pause.
                self.state = State::Pause { ticks_left: PAUSE_TICKS - (END_PACKETS - 1) };
            }
        }
        Some(packet)
    }

    /// Whether there is nothing queued and nothing on the line, pause included.
    pub fn is_idle(&self) -> bool {
        self.len == 0 && matches!(self.state, State::Idle | State::Pause { ticks_left: 0 })
    }

    /// Whether nothing is queued and the last packet of the last digit was given; the pause behind it may still run.
    pub fn is_done(&self) -> bool {
        self.len == 0 && !matches!(self.state, State::Tone { .. })
    }

    /// Digits that have not begun.
    pub fn queued(&self) -> usize {
        self.len
    }

    /// Forgets the digits that have not begun. The one on the line ends as it would have.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    fn pop(&mut self) -> Option<Tone> {
        let tone = (self.len > 0).then(|| self.queue[self.head])?;
        self.head = (self.head + 1) % DIGITS_QUEUED_MAX;
        self.len -= 1;
        Some(tone)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tone {
    event: u8,
    /// Length in 8 kHz units, a multiple of a frame.
    units: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Idle,
    Tone {
        tone: Tone,
        /// Timestamp of the current segment.
        segment: u32,
        /// Units in the segments before.
        base: u32,
        /// Units since the beginning.
        units: u32,
        ends_sent: u32,
    },
    Pause {
        ticks_left: u32,
    },
}

/// Digits that may wait.
pub const DIGITS_QUEUED_MAX: usize = 32;
/// Length of a digit when none is given, in milliseconds.
pub const TONE_MS: u32 = 100;
/// Shortest tone a receiver must know (ITU-T Q.24).
const TONE_MS_MIN: u32 = 40;
/// Longest tone: a minute of a held key.
const TONE_MS_MAX: u32 = 60_000;
/// Pause between digits, in ticks: 100 ms. The copies of the end packet fall into it.
const PAUSE_TICKS: u32 = 5;
/// Copies of the end packet.
const END_PACKETS: u32 = 3;
/// Duration units per tick.
//= rfc4733#section-2.3.5  the first packet says 160, never 0
//= rules#T3
const UNITS_PER_FRAME: u32 = UNITS_PER_MS * FRAME_MS as u32;
/// Power of the tone: -10 dBm0.
const VOLUME: u8 = 10;

const _: () = assert!(PAUSE_TICKS >= END_PACKETS);
const _: () = assert!(UNITS_PER_FRAME == 160);
