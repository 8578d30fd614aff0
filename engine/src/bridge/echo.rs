//! Sends the caller's own words back, packet by packet, without decoding.
//!
//! Decides: which packet goes out at a tick. Given: the caller's packets in play-out order. Refuses: timestamps (the call re-stamps) and repair (a lost frame is silence).

use crate::call::{FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::limits::OPUS_BYTES_MAX;

/// Frames held between the incoming and the outgoing tick: the play-out of a packet and our own tick happen in the same turn, so one is the rule;
/// a few more absorb ticks that yield two packets (`Playout::Skip`). Older ones give way.
const QUEUE_FRAMES: usize = 4;

/// The echo port.
pub struct Echo {
    frames: [([u8; OPUS_BYTES_MAX], usize); QUEUE_FRAMES],
    head: usize,
    count: usize,
}

impl Default for Echo {
    fn default() -> Self {
        Self { frames: [([0; OPUS_BYTES_MAX], 0); QUEUE_FRAMES], head: 0, count: 0 }
    }
}

impl MediaPort for Echo {
    fn wants_opus(&self) -> bool {
        true
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        let Incoming::Opus { payload, .. } = frame else { return };
        // Only 20 ms packets may leave; a peer that sends others is heard, not echoed.
        if payload.len() > OPUS_BYTES_MAX || crate::codec::toc::duration_ticks(payload) != Ok(crate::limits::FRAME_TICKS) {
            return;
        }
        if self.count == QUEUE_FRAMES {
            self.head = (self.head + 1) % QUEUE_FRAMES;
            self.count -= 1;
        }
        let (bytes, len) = &mut self.frames[(self.head + self.count) % QUEUE_FRAMES];
        bytes[..payload.len()].copy_from_slice(payload);
        *len = payload.len();
        self.count += 1;
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        if self.count == 0 {
            return Outgoing::Silence;
        }
        let (bytes, len) = &self.frames[self.head];
        frame.opus[..*len].copy_from_slice(&bytes[..*len]);
        let len = *len;
        self.head = (self.head + 1) % QUEUE_FRAMES;
        self.count -= 1;
        Outgoing::Opus(len)
    }
}
