//! A tap on both directions of a call, for a recorder that lives on another thread.
//!
//! Decides: what is copied into the ring. Given: the port it wraps. Refuses: files, decoding, waiting: a recorder that does not keep up loses packets, counted, never
//! the call.

use crate::call::{Arrived, FarSide, Forward, FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::codec::SampleRate;
use crate::dtmf::Digit;
use crate::time::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest Opus packet the tap carries, in bytes. Speech is under 200; a larger one is counted as lost.
const TAP_BYTES_MAX: usize = 500;
/// Packets in the ring: 4 s of both directions.
const TAP_PACKETS_MAX: usize = 400;

/// One packet of a tapped call.
#[derive(Clone, Copy)]
pub struct Taped {
    /// True for what the caller said, false for what we sent.
    pub incoming: bool,
    /// RTP timestamp on its own 48 kHz timeline.
    pub timestamp: u32,
    len: u16,
    bytes: [u8; TAP_BYTES_MAX],
}

impl Taped {
    /// The Opus packet.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Wraps a port and copies what passes.
pub struct Tap {
    inner: Box<dyn MediaPort>,
    ring: rtrb::Producer<Taped>,
    lost: Arc<AtomicU64>,
}

/// The recorder's side.
pub struct TapReader {
    ring: rtrb::Consumer<Taped>,
    lost: Arc<AtomicU64>,
}

impl TapReader {
    /// The next packet, if any. Never waits.
    pub fn next_packet(&mut self) -> Option<Taped> {
        self.ring.pop().ok()
    }

    /// Whether the tap was dropped: nothing more will come once `next_packet` yields nothing.
    pub fn is_closed(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Packets lost because this reader did not keep up, or because they were too large.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Tap {
    /// A tap around `inner`, and the reader for the recorder's thread.
    pub fn new(inner: Box<dyn MediaPort>) -> (Self, TapReader) {
        let (ring, reader) = rtrb::RingBuffer::new(TAP_PACKETS_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        (Self { inner, ring, lost: Arc::clone(&lost) }, TapReader { ring: reader, lost })
    }

    fn copy(&mut self, incoming: bool, payload: &[u8], timestamp: u32) {
        let mut taped = Taped { incoming, timestamp, len: 0, bytes: [0; TAP_BYTES_MAX] };
        let fits = payload.len() <= TAP_BYTES_MAX;
        if fits {
            taped.len = payload.len() as u16;
            taped.bytes[..payload.len()].copy_from_slice(payload);
        }
        if !fits || self.ring.push(taped).is_err() {
            // Single writer: a plain store would do; the reader only looks.
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl MediaPort for Tap {
    fn wants_pcm(&self) -> Option<SampleRate> {
        self.inner.wants_pcm()
    }

    fn wants_opus(&self) -> bool {
        true
    }

    fn speaks_pcm(&self) -> Option<SampleRate> {
        self.inner.speaks_pcm()
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Opus { payload, timestamp } = frame {
            self.copy(true, payload, timestamp);
            if !self.inner.wants_opus() {
                return;
            }
        }
        self.inner.incoming(frame);
    }

    fn digit(&mut self, digit: Digit) {
        self.inner.digit(digit);
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.inner.outgoing(frame)
    }

    fn sent(&mut self, payload: &[u8], timestamp: u32) {
        self.copy(false, payload, timestamp);
        self.inner.sent(payload, timestamp);
    }

    fn tick(&mut self, now: Time) {
        self.inner.tick(now);
    }

    fn forwards(&self) -> bool {
        self.inner.forwards()
    }

    fn arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        self.copy(true, packet.payload, packet.timestamp);
        self.inner.arrived(packet, now);
    }

    fn event_arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        self.inner.event_arrived(packet, now);
    }

    fn has_forward(&self) -> bool {
        self.inner.has_forward()
    }

    fn poll_forward(&mut self, frame: &mut FrameBuffer) -> Option<Forward> {
        self.inner.poll_forward(frame)
    }

    fn far(&self) -> Option<&dyn FarSide> {
        self.inner.far()
    }

    fn far_mut(&mut self) -> Option<&mut dyn FarSide> {
        self.inner.far_mut()
    }
}
