//! Opus packets without decoding them: TOC byte, frame count, duration (RFC 6716 section 3).

use crate::error::DropReason;

/// Duration of an Opus packet in 48 kHz ticks, after checking the framing rules R1 to R7 of RFC 6716 section 3.4. 120 ms at most.
pub fn duration_ticks(_packet: &[u8]) -> Result<u32, DropReason> {
    todo!()
}
