//! Digits from event packets: one per (timestamp, event), whatever is lost or repeated (T7).

use crate::error::DropReason;
use crate::time::Time;

/// A digit the user typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digit {
    /// `0` to `9`, `*`, `#`, `A` to `D`.
    pub symbol: char,
    /// Length so far, in milliseconds (from the last packet seen).
    pub duration_ms: u32,
    /// RTP timestamp of its start.
    pub timestamp: u32,
}

/// Collects digits.
#[derive(Debug, Default)]
pub struct DigitReceiver {
    _private: (),
}

impl DigitReceiver {
    /// Takes the payload of an authenticated event packet. `Ok(Some(digit))` exactly once per digit, at its first packet.
    pub fn handle_packet(&mut self, _timestamp: u32, _payload: &[u8], _now: Time) -> Result<Option<Digit>, DropReason> {
        todo!()
    }
}
