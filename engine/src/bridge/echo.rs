//! Sends the caller's own words back, packet by packet, without decoding.
//!
//! Decides: nothing. Given: the caller's packets in play-out order. Refuses: timestamps (the call re-stamps), repair (a lost frame is silence), and frames of 40 and 60 ms,
//! which only a decoder can divide: their speaker is heard, not echoed.

use super::order::Order;
use crate::call::{Arrived, Forward, FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::codec::reframe::OpusReframer;
use crate::codec::toc;
use crate::limits::{FRAME_TICKS, OPUS_BYTES_MAX};
use crate::time::Time;

/// The echo port.
#[derive(Default)]
pub struct Echo {
    /// Packets of 20 ms. The play-out of a packet and our own tick happen in the same turn, so one waits as a rule; more come from long packets.
    packets: OpusReframer,
}

impl MediaPort for Echo {
    fn wants_opus(&self) -> bool {
        true
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Opus { payload, .. } = frame {
            //= meta#R-18  only packets of 20 ms leave
            // A refusal is a peer whose packets cannot be divided; there is nobody here to tell.
            let _ = self.packets.push(payload);
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.packets.pop(&mut frame.opus).map_or(Outgoing::Silence, Outgoing::Opus)
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

    fn has_forward(&self) -> bool {
        self.waiting.is_some()
    }

    fn poll_forward(&mut self, frame: &mut FrameBuffer) -> Option<Forward> {
        let forward = self.waiting.take()?;
        if let Forward::Opus { len, .. } = forward {
            frame.opus[..len].copy_from_slice(&self.bytes[..len]);
        }
        Some(forward)
    }
}
