//! Opus of a far side that does not send 20 ms a packet, into packets that do.
//!
//! Given: its packets in order. Decides: where on its line each packet of 20 ms stands, and when a started one is ended because its rest was lost. Refuses: what only a
//! decoder can divide, single frames of 40 and 60 ms (`transcode.rs`).

use super::super::order::Next;
use crate::codec::reframe::{OpusReframer, ReframeRefused};
use crate::error::DropReason;
use crate::limits::{FRAME_TICKS, OPUS_BYTES_MAX};

/// The re-framer of one leg.
#[derive(Debug, Default)]
pub(super) struct Reframing {
    reframer: OpusReframer,
    /// Timestamp of the next packet of 20 ms.
    timestamp: u32,
    /// Timestamp behind the last packet taken.
    end: u32,
    /// The next packet of 20 ms begins a line.
    is_fresh: bool,
}

impl Reframing {
    /// Whether frames wait for their neighbours.
    pub(super) fn is_started(&self) -> bool {
        self.reframer.is_started()
    }

    /// Takes a packet of `ticks`; gives each packet of 20 ms that is whole now to `keep`: payload, timestamp, whether a line begins with it.
    pub(super) fn take(
        &mut self,
        (payload, timestamp, ticks): (&[u8], u32, u32),
        next: Next,
        mut keep: impl FnMut(&[u8], u32, bool) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        if self.reframer.is_started() && (next.fresh || next.missing > 0 || timestamp != self.end) {
            self.reframer.flush();
        }
        let mut outcome = self.drain(&mut keep);
        if !self.reframer.is_started() {
            (self.timestamp, self.is_fresh) = (timestamp, next.fresh);
        }
        self.end = timestamp.wrapping_add(ticks);
        self.reframer.push(payload).map_err(|refused| match refused {
            ReframeRefused::Malformed => DropReason::OpusMalformed,
            ReframeRefused::LongFrames | ReframeRefused::TooLarge => DropReason::FrameLength,
        })?;
        outcome = outcome.and(self.drain(&mut keep));
        outcome
    }

    fn drain(&mut self, keep: &mut impl FnMut(&[u8], u32, bool) -> Result<(), DropReason>) -> Result<(), DropReason> {
        let mut outcome = Ok(());
        let mut packet = [0; OPUS_BYTES_MAX];
        while let Some(len) = self.reframer.pop(&mut packet) {
            outcome = outcome.and(keep(&packet[..len], self.timestamp, core::mem::take(&mut self.is_fresh)));
            self.timestamp = self.timestamp.wrapping_add(FRAME_TICKS);
        }
        outcome
    }
}
