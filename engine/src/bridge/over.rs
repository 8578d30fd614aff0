//! Plays a recording over a port that goes on: an announcement towards the caller while a relay's leg stays where it is.
//!
//! Decides: who is heard by the caller. Given: the port it wraps, orders of another thread. Refuses: to stop what the caller says on its way to the wrapped port, to mix, and to say
//! late what the wrapped port said meanwhile.

use crate::call::{Arrived, FarSide, Forward, FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::codec::SampleRate;
use crate::dtmf::Digit;
use crate::time::Time;
use std::sync::Arc;

/// Orders that a call may be behind: it looks every 20 ms.
const ORDERS_MAX: usize = 4;

/// A port over which something can be played.
pub struct Over {
    inner: Box<dyn MediaPort>,
    orders: rtrb::Consumer<Option<Playing>>,
    playing: Option<Playing>,
}

/// Begins and ends playing from another thread. What it orders is done with the next packet or tick of the call.
pub struct OverSwitch {
    orders: rtrb::Producer<Option<Playing>>,
}

struct Playing {
    samples: Arc<[i16]>,
    rate: SampleRate,
    at: usize,
    /// Times that it is played after this one.
    more: u32,
}

impl OverSwitch {
    /// Plays mono samples `times` times (0 is 1); what was played before ends. False if the call has not yet done what was ordered before.
    pub fn play(&mut self, samples: Arc<[i16]>, rate: SampleRate, times: u32) -> bool {
        self.orders.push(Some(Playing { samples, rate, at: 0, more: times.saturating_sub(1) })).is_ok()
    }

    /// Ends what is played. False if the call has not yet done what was ordered before.
    pub fn stop(&mut self) -> bool {
        self.orders.push(None).is_ok()
    }
}

impl Over {
    /// `inner` as it is, and what plays over it. At rest it costs one look at an atomic per packet.
    pub fn new(inner: Box<dyn MediaPort>) -> (Self, OverSwitch) {
        let (producer, orders) = rtrb::RingBuffer::new(ORDERS_MAX);
        (Self { inner, orders, playing: None }, OverSwitch { orders: producer })
    }

    /// Does what was ordered. Dropping the last use of samples frees them: once per order, not per packet.
    fn obey(&mut self) {
        while let Ok(order) = self.orders.pop() {
            self.playing = order.filter(|playing| !playing.samples.is_empty());
        }
    }
}

impl Playing {
    /// The next 20 ms; the last ones are filled up with silence. True once there is nothing more.
    fn fill(&mut self, frame: &mut FrameBuffer) -> bool {
        let samples = self.rate.frame_samples();
        let rest = &self.samples[self.at..];
        let taken = rest.len().min(samples);
        frame.pcm[..taken].copy_from_slice(&rest[..taken]);
        frame.pcm[taken..samples].fill(0);
        self.at += taken;
        if self.at < self.samples.len() {
            return false;
        }
        self.at = 0;
        let is_done = self.more == 0;
        self.more = self.more.saturating_sub(1);
        is_done
    }
}

impl MediaPort for Over {
    fn wants_pcm(&self) -> Option<SampleRate> {
        self.inner.wants_pcm()
    }

    /// A relay of Opus takes packets by the tick while something is played over it.
    fn wants_opus(&self) -> bool {
        self.inner.wants_opus() || self.playing.is_some() && self.inner.forwards()
    }

    fn speaks_pcm(&self) -> Option<SampleRate> {
        self.playing.as_ref().map(|playing| playing.rate).or_else(|| self.inner.speaks_pcm())
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        self.inner.incoming(frame);
    }

    fn digit(&mut self, digit: Digit) {
        self.inner.digit(digit);
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.obey();
        // Asked all the same: a live source keeps its time.
        let said = self.inner.outgoing(frame);
        let Some(playing) = &mut self.playing else { return said };
        let rate = playing.rate;
        if playing.fill(frame) {
            self.playing = None;
        }
        Outgoing::Pcm(rate)
    }

    fn sent(&mut self, payload: &[u8], timestamp: u32) {
        self.obey();
        self.inner.sent(payload, timestamp);
    }

    fn tick(&mut self, now: Time) {
        self.obey();
        self.inner.tick(now);
    }

    fn forwards(&self) -> bool {
        self.playing.is_none() && self.inner.forwards()
    }

    fn arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        self.inner.arrived(packet, now);
        self.obey();
    }

    fn event_arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        self.inner.event_arrived(packet, now);
    }

    fn has_forward(&self) -> bool {
        self.inner.has_forward()
    }

    fn poll_forward(&mut self, frame: &mut FrameBuffer) -> Option<Forward> {
        loop {
            let forward = self.inner.poll_forward(frame)?;
            // We speak: what the other one says meanwhile is not said later. Digits are no speech.
            if self.playing.is_none() || matches!(forward, Forward::Event { .. }) {
                return Some(forward);
            }
        }
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

    /// Says 1, 2, 3 and counts what it hears.
    #[derive(Default)]
    struct Counting {
        said: i16,
        is_relay: bool,
        waiting: u32,
    }

    impl MediaPort for Counting {
        fn incoming(&mut self, _: Incoming<'_>) {}

        fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
            self.said += 1;
            frame.pcm.fill(self.said);
            Outgoing::Pcm(SampleRate::Hz8000)
        }

        fn forwards(&self) -> bool {
            self.is_relay
        }

        fn poll_forward(&mut self, _: &mut FrameBuffer) -> Option<Forward> {
            self.waiting = self.waiting.checked_sub(1)?;
            Some(Forward::Opus { len: 3, timestamp: self.waiting, fresh: false })
        }
    }

    fn heard(over: &mut Over) -> (Outgoing, i16, i16) {
        let mut frame = FrameBuffer::default();
        over.tick(Time::ZERO);
        let said = over.outgoing(&mut frame);
        (said, frame.pcm[0], frame.pcm[159])
    }

    #[test]
    fn what_is_played_is_heard_instead_and_the_port_keeps_its_time() {
        let (mut over, mut switch) = Over::new(Box::new(Counting::default()));
        let pcm = Outgoing::Pcm(SampleRate::Hz8000);
        assert_eq!(heard(&mut over), (pcm, 1, 1));
        assert!(switch.play(Arc::from([70; 250]), SampleRate::Hz8000, 2));
        let played: Vec<_> = (0..5).map(|_| heard(&mut over)).collect();
        assert_eq!(
            played,
            [(pcm, 70, 70), (pcm, 70, 0), (pcm, 70, 70), (pcm, 70, 0), (pcm, 6, 6)],
            "twice, then the port, in its own time"
        );
        assert!(switch.play(Arc::from([70; 8_000]), SampleRate::Hz8000, 0));
        assert_eq!(heard(&mut over), (pcm, 70, 70));
        assert!(switch.stop());
        assert_eq!(heard(&mut over), (pcm, 8, 8), "stopped at the next tick");
        assert!(switch.play(Arc::from([]), SampleRate::Hz8000, 1));
        assert_eq!(heard(&mut over), (pcm, 9, 9), "nothing to play is nothing");
        assert!((0..ORDERS_MAX).all(|_| switch.stop()) && !switch.stop(), "as many orders as there is room for");
    }

    #[test]
    fn a_relay_goes_by_the_tick_while_it_is_played_over() {
        let (mut over, mut switch) = Over::new(Box::new(Counting { is_relay: true, waiting: 3, ..Counting::default() }));
        assert!((over.forwards(), over.wants_opus()) == (true, false));
        let mut frame = FrameBuffer::default();
        assert!(matches!(over.poll_forward(&mut frame), Some(Forward::Opus { timestamp: 2, .. })));
        assert!(switch.play(Arc::from([70; 160]), SampleRate::Hz8000, 1));
        over.sent(&[], 0);
        assert!((over.forwards(), over.wants_opus()) == (false, true));
        assert_eq!(over.poll_forward(&mut frame), None, "not said late");
        assert_eq!(heard(&mut over).1, 70);
        assert!((over.forwards(), over.wants_opus()) == (true, false));
    }
}
