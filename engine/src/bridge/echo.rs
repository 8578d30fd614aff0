//! Sends the caller's own words back, packet by packet, without decoding.
//!
//! Decides: which packet goes out at a tick. Given: the caller's packets in play-out order. Refuses: timestamps (the call re-stamps) and repair (a lost frame is silence).

use super::order::Order;
use crate::call::{Arrived, Forward, FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::codec::toc;
use crate::limits::{FRAME_TICKS, OPUS_BYTES_MAX};
use crate::time::Time;

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
        if payload.len() > OPUS_BYTES_MAX || toc::duration_ticks(payload) != Ok(FRAME_TICKS) {
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

/// An echo without a jitter buffer: each packet goes back the moment it comes. What is late or double is left out, what is lost is silence.
pub struct PromptEcho {
    order: Order,
    bytes: [u8; OPUS_BYTES_MAX],
    waiting: Option<Forward>,
}

impl Default for PromptEcho {
    fn default() -> Self {
        Self { order: Order::default(), bytes: [0; OPUS_BYTES_MAX], waiting: None }
    }
}

impl MediaPort for PromptEcho {
    fn incoming(&mut self, _frame: Incoming<'_>) {}

    fn outgoing(&mut self, _frame: &mut FrameBuffer) -> Outgoing {
        Outgoing::Silence
    }

    fn forwards(&self) -> bool {
        true
    }

    fn arrived(&mut self, packet: &Arrived<'_>, _now: Time) {
        let len = packet.payload.len();
        if len > OPUS_BYTES_MAX || toc::duration_ticks(packet.payload) != Ok(FRAME_TICKS) {
            return;
        }
        // One that still waits gives way: it was there before the gate was open.
        if let Ok(next) = self.order.take(packet.ssrc, packet.seq, Some(packet.timestamp)) {
            self.bytes[..len].copy_from_slice(packet.payload);
            self.waiting = Some(Forward::Opus { len, timestamp: packet.timestamp, fresh: next.fresh });
        }
    }

    fn event_arrived(&mut self, packet: &Arrived<'_>, _now: Time) {
        // A digit is not said back, but its packets are no loss either.
        let _ = self.order.take(packet.ssrc, packet.seq, None);
    }

    fn poll_forward(&mut self, frame: &mut FrameBuffer) -> Option<Forward> {
        let forward = self.waiting.take()?;
        if let Forward::Opus { len, .. } = forward {
            frame.opus[..len].copy_from_slice(&self.bytes[..len]);
        }
        Some(forward)
    }
}
