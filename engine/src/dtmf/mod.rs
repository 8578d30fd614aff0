//! telephone-event, RFC 4733: digits in and out, 8 kHz durations on the 48 kHz timeline (R-20, T1 to T10).

mod receiver;
mod sender;

pub use receiver::{Digit, DigitReceiver};
pub use sender::{DIGITS_QUEUED_MAX, DigitRefused, DigitSender, EventPacket, TONE_MS};

use crate::limits::{DTMF_CLOCK_HZ, RTP_CLOCK_HZ};

/// Units of the audio line per unit of an event's duration.
const TICKS_PER_UNIT: u32 = RTP_CLOCK_HZ / DTMF_CLOCK_HZ;
/// Longest segment of an event, in 8 kHz units: 8.19 s (RFC 4733 section 2.5.1.3).
const SEGMENT_MAX: u32 = 0xffff;
/// Duration units per millisecond.
const UNITS_PER_MS: u32 = DTMF_CLOCK_HZ / 1_000;

const _: () = assert!(TICKS_PER_UNIT * DTMF_CLOCK_HZ == RTP_CLOCK_HZ);

#[cfg(test)]
mod tests;
