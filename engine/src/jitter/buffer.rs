//! The buffer.

use crate::error::DropReason;
use crate::time::{Span, Time};

/// Bounds of the play-out delay.
#[derive(Clone, Copy, Debug)]
pub struct JitterConfig {
    /// Smallest target delay.
    pub delay_min: Span,
    /// Largest target delay.
    pub delay_max: Span,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self { delay_min: Span::from_millis(20), delay_max: Span::from_millis(crate::limits::PLAYOUT_DELAY_MS_MAX) }
    }
}

/// What to play for one 20 ms tick. Borrowed payloads live until the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Playout<'a> {
    /// Play this Opus packet. One packet of N frames is handed out once and accounts for N ticks; the ticks after it are `Continue`.
    Packet {
        /// Opus packet as it came off the wire.
        payload: &'a [u8],
        /// Its RTP timestamp.
        timestamp: u32,
    },
    /// The frame is lost but the next packet is here: decode it with FEC for this tick, and it will come as `Packet` at the next one.
    Fec {
        /// The packet after the lost one.
        payload: &'a [u8],
        /// RTP timestamp of the lost frame.
        timestamp: u32,
    },
    /// Lost, and nothing to repair it with: conceal.
    Conceal {
        /// RTP timestamp of the lost frame.
        timestamp: u32,
    },
    /// Inside a packet of more than 20 ms that was handed out earlier.
    Continue,
    /// Nothing to play: before the first packet, in a DTX gap, or the stream has stopped.
    Silence,
    /// Drop decoded audio of about this much if it costs nothing (clock drift, delay shrinking): the tick yields nothing and the next packet follows at once.
    /// Play `Packet`s until a non-`Skip` comes.
    Skip,
}

/// Counters of the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JitterStats {
    /// Frames played from packets.
    pub played: u64,
    /// Frames repaired from in-band FEC.
    pub fec: u64,
    /// Frames concealed.
    pub concealed: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// Second copies.
    pub duplicate: u64,
    /// Times the stream was resynchronised (jump, SSRC change).
    pub resyncs: u64,
    /// Current target delay in microseconds.
    pub target_us: u64,
    /// Delay of the last packet played, arrival to play-out, in microseconds.
    pub delay_us: u64,
}

/// An adaptive 20 ms audio jitter buffer for one call. Memory is bounded and allocated at creation.
pub struct JitterBuffer {
    _private: (),
}

impl JitterBuffer {
    /// An empty buffer.
    pub fn new(_config: JitterConfig) -> Self {
        todo!()
    }
    /// Takes an authenticated audio packet. A new SSRC starts a new stream at once (P11).
    pub fn insert(&mut self, _ssrc: u32, _seq: u16, _timestamp: u32, _payload: &[u8], _now: Time) -> Result<(), DropReason> {
        todo!()
    }
    /// A sequence number of the stream was used by a telephone-event packet: neither loss nor audio (T10).
    pub fn note_event(&mut self, _ssrc: u32, _seq: u16, _timestamp: u32, _now: Time) {
        todo!()
    }
    /// What to play for the tick at `now`. Called every 20 ms.
    pub fn tick(&mut self, _now: Time) -> Playout<'_> {
        todo!()
    }
    /// Counters.
    pub fn stats(&self) -> JitterStats {
        todo!()
    }
}
