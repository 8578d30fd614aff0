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
/// Orders that a call may be behind: it looks every 20 ms.
const ORDERS_MAX: usize = 4;

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

/// Wraps a port and copies what passes, while somebody wants it.
pub struct Tap {
    inner: Box<dyn MediaPort>,
    line: Option<Line>,
    orders: Option<rtrb::Consumer<Option<Line>>>,
}

/// The way from a tap to its reader.
struct Line {
    ring: rtrb::Producer<Taped>,
    lost: Arc<AtomicU64>,
}

/// Opens and closes a tap from another thread. What it orders is done with the next packet or tick of the call.
pub struct TapSwitch {
    orders: rtrb::Producer<Option<Line>>,
}

impl TapSwitch {
    /// Opens the tap; a reader that it had is closed. None if the call has not yet done what was ordered before.
    pub fn open(&mut self) -> Option<TapReader> {
        let (line, reader) = line();
        self.orders.push(Some(line)).ok().map(|()| reader)
    }

    /// Closes the tap. False if the call has not yet done what was ordered before.
    pub fn close(&mut self) -> bool {
        self.orders.push(None).is_ok()
    }

    /// Whether the tap was dropped: there is nothing to be switched any more.
    pub fn is_abandoned(&self) -> bool {
        self.orders.is_abandoned()
    }
}

fn line() -> (Line, TapReader) {
    let (ring, reader) = rtrb::RingBuffer::new(TAP_PACKETS_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    (Line { ring, lost: Arc::clone(&lost) }, TapReader { ring: reader, lost })
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
        let (line, reader) = line();
        (Self { inner, line: Some(line), orders: None }, reader)
    }

    /// A closed tap around `inner`, and what opens it. Closed, it costs one look at an atomic per packet.
    pub fn switched(inner: Box<dyn MediaPort>) -> (Self, TapSwitch) {
        let (producer, orders) = rtrb::RingBuffer::new(ORDERS_MAX);
        (Self { inner, line: None, orders: Some(orders) }, TapSwitch { orders: producer })
    }

    /// Does what was ordered. Closing a line frees its ring: once per order, not per packet.
    fn obey(&mut self) {
        while let Some(order) = self.orders.as_mut().and_then(|orders| orders.pop().ok()) {
            self.line = order;
        }
    }

    fn copy(&mut self, incoming: bool, payload: &[u8], timestamp: u32) {
        self.obey();
        let Some(line) = &mut self.line else { return };
        let mut taped = Taped { incoming, timestamp, len: 0, bytes: [0; TAP_BYTES_MAX] };
        let fits = payload.len() <= TAP_BYTES_MAX;
        if fits {
            taped.len = payload.len() as u16;
            taped.bytes[..payload.len()].copy_from_slice(payload);
        }
        if !fits || line.ring.push(taped).is_err() {
            // Single writer: a plain store would do; the reader only looks.
            line.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl MediaPort for Tap {
    fn wants_pcm(&self) -> Option<SampleRate> {
        self.inner.wants_pcm()
    }

    fn wants_opus(&self) -> bool {
        self.line.is_some() || self.inner.wants_opus()
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
        self.obey();
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Mute;

    impl MediaPort for Mute {
        fn incoming(&mut self, _: Incoming<'_>) {}

        fn outgoing(&mut self, _: &mut FrameBuffer) -> Outgoing {
            Outgoing::Silence
        }
    }

    fn hear(tap: &mut Tap, timestamp: u32) {
        if tap.wants_opus() {
            tap.incoming(Incoming::Opus { payload: &[0xf8, 0xff, 0xfe], timestamp });
        }
    }

    #[test]
    fn a_switched_tap_copies_between_open_and_close_only() {
        let (mut tap, mut switch) = Tap::switched(Box::new(Mute));
        hear(&mut tap, 1);
        let mut reader = switch.open().expect("an order");
        tap.tick(Time::ZERO);
        hear(&mut tap, 2);
        tap.sent(&[0xf8, 0xff, 0xfe], 3);
        assert!(switch.close());
        tap.tick(Time::ZERO);
        hear(&mut tap, 4);
        let got: Vec<_> = std::iter::from_fn(|| reader.next_packet()).map(|p| (p.incoming, p.timestamp)).collect();
        assert_eq!((got, reader.lost(), reader.is_closed()), (vec![(true, 2), (false, 3)], 0, true));
        let mut again = switch.open().expect("an order");
        tap.tick(Time::ZERO);
        hear(&mut tap, 5);
        assert_eq!(again.next_packet().map(|p| p.timestamp), Some(5));
        drop(tap);
        assert!(switch.is_abandoned() && again.is_closed());
    }

    #[test]
    fn a_call_that_does_not_look_takes_no_more_orders_than_it_has_room_for() {
        let (_tap, mut switch) = Tap::switched(Box::new(Mute));
        assert!((0..ORDERS_MAX).all(|_| switch.close()));
        assert!(!switch.close() && switch.open().is_none());
    }
}
