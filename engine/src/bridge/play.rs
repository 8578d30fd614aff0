//! Plays a recording that is already in memory, then hands over to another port.
//!
//! Decides: which samples go out at a tick. Given: mono samples at a rate Opus knows. Refuses: files and resampling (the host loads them).

use crate::call::{Arrived, FarSide, Forward, FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::codec::SampleRate;
use crate::dtmf::Digit;
use crate::time::Time;
use std::sync::Arc;

/// Plays samples once, then lets `next` speak; the peer hears one unbroken stream.
pub struct Play {
    samples: Arc<[i16]>,
    rate: SampleRate,
    at: usize,
    next: Option<Box<dyn MediaPort>>,
}

impl Play {
    /// Plays `samples`, then finishes.
    pub fn new(samples: Arc<[i16]>, rate: SampleRate) -> Self {
        Self { samples, rate, at: 0, next: None }
    }

    /// Plays `samples`, then `next` speaks. What comes in goes to `next` from the start.
    pub fn then(samples: Arc<[i16]>, rate: SampleRate, next: Box<dyn MediaPort>) -> Self {
        Self { samples, rate, at: 0, next: Some(next) }
    }
}

impl MediaPort for Play {
    fn wants_pcm(&self) -> Option<SampleRate> {
        self.next.as_ref().and_then(|n| n.wants_pcm())
    }

    fn wants_opus(&self) -> bool {
        self.next.as_ref().is_some_and(|n| n.wants_opus())
    }

    fn speaks_pcm(&self) -> Option<SampleRate> {
        Some(self.rate)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Some(next) = &mut self.next {
            next.incoming(frame);
        }
    }

    fn digit(&mut self, digit: Digit) {
        if let Some(next) = &mut self.next {
            next.digit(digit);
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        let rest = &self.samples[self.at..];
        if rest.is_empty() {
            return self.next.as_mut().map_or(Outgoing::Finished, |n| n.outgoing(frame));
        }
        let samples = self.rate.frame_samples();
        let taken = rest.len().min(samples);
        frame.pcm[..taken].copy_from_slice(&rest[..taken]);
        frame.pcm[taken..samples].fill(0);
        self.at += taken;
        Outgoing::Pcm(self.rate)
    }

    fn sent(&mut self, payload: &[u8], timestamp: u32) {
        if let Some(next) = &mut self.next {
            next.sent(payload, timestamp);
        }
    }

    fn tick(&mut self, now: Time) {
        if let Some(next) = &mut self.next {
            next.tick(now);
        }
    }

    fn forwards(&self) -> bool {
        self.at == self.samples.len() && self.next.as_ref().is_some_and(|n| n.forwards())
    }

    fn arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        if let Some(next) = &mut self.next {
            next.arrived(packet, now);
        }
    }

    fn event_arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        if let Some(next) = &mut self.next {
            next.event_arrived(packet, now);
        }
    }

    fn has_forward(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.has_forward())
    }

    fn poll_forward(&mut self, frame: &mut FrameBuffer) -> Option<Forward> {
        let next = self.next.as_mut()?;
        if self.at < self.samples.len() {
            // We speak: what the next one says meanwhile is not said later.
            while next.poll_forward(frame).is_some() {}
            return None;
        }
        next.poll_forward(frame)
    }

    fn far(&self) -> Option<&dyn FarSide> {
        self.next.as_ref()?.far()
    }

    fn far_mut(&mut self) -> Option<&mut dyn FarSide> {
        self.next.as_mut()?.far_mut()
    }
}
