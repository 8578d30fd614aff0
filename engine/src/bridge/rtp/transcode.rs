//! A leg that does not speak Opus: the far side's packets through a jitter buffer to samples, our samples to its packets.
//!
//! Decides: what is heard of the far side at each tick, concealment included. Given: its packets, and 20 ms of samples per tick. Refuses: resampling; Opus itself
//! codes at 8 and 16 kHz, so the call's decoder and encoder run at the leg's rate.

use super::params::LegCodec;
use crate::codec::plc::Plc;
use crate::codec::{SampleRate, g711, l16};
use crate::error::DropReason;
use crate::jitter::{JitterBuffer, JitterConfig, JitterStats, Playout};
use crate::limits::{FRAME_MS, PLAYOUT_DELAY_MS_MAX, RTP_CLOCK_HZ};
use crate::time::Time;
use crate::wire::rtp::RtpView;

/// Frames of 20 ms that the jitter buffer has bytes for: twice the worst delay we play out.
const WAITING_FRAMES_MAX: usize = 2 * (PLAYOUT_DELAY_MS_MAX / FRAME_MS) as usize;
/// Samples of the longest packet taken: 60 ms at 16 kHz.
const PACKET_SAMPLES_MAX: usize = 960;
/// Questions to the jitter buffer per tick: packets of 10 ms, or some left out to catch up.
const PLAYOUTS_PER_TICK_MAX: usize = 8;

/// Codec state of one leg.
#[derive(Debug)]
pub(super) struct Transcoder {
    codec: LegCodec,
    rate: SampleRate,
    jitter: JitterBuffer,
    plc: Plc,
    /// Decoded and not yet played: the rest of a packet of more than 20 ms.
    pcm: Vec<i16>,
}

impl Transcoder {
    /// None for a codec that is passed through.
    pub(super) fn new(codec: LegCodec) -> Option<Self> {
        let rate = codec.pcm_rate()?;
        Some(Self {
            codec,
            rate,
            jitter: JitterBuffer::of_samples(JitterConfig::default(), WAITING_FRAMES_MAX * rate.frame_samples() * codec.sample_bytes()),
            plc: Plc::new(rate),
            // What is left of one packet, and the next.
            pcm: Vec::with_capacity(PACKET_SAMPLES_MAX + rate.frame_samples()),
        })
    }

    pub(super) fn rate(&self) -> SampleRate {
        self.rate
    }

    pub(super) fn jitter_stats(&self) -> JitterStats {
        self.jitter.stats()
    }

    /// Takes an audio packet of the far side.
    pub(super) fn insert(&mut self, view: &RtpView<'_>, now: Time) -> Result<(), DropReason> {
        let samples = view.payload().len() / self.codec.sample_bytes();
        if samples == 0 || samples > PACKET_SAMPLES_MAX {
            return Err(DropReason::FrameLength);
        }
        // The buffer counts in 48 kHz ticks; a multiple of a timestamp wraps where the timestamp does.
        let scale = RTP_CLOCK_HZ / self.rate.hz();
        let timestamp = view.timestamp().wrapping_mul(scale);
        self.jitter.insert(view.ssrc(), view.seq(), timestamp, samples as u32 * scale, view.payload(), now)
    }

    /// A sequence number of the far side's was used by an event.
    pub(super) fn note_event(&mut self, view: &RtpView<'_>, now: Time) {
        self.jitter.note_event(view.ssrc(), view.seq(), view.timestamp(), now);
    }

    /// 20 ms of the far side for the tick at `now`; false when there is nothing to hear.
    pub(super) fn take(&mut self, now: Time, out: &mut [i16]) -> bool {
        for _ in 0..PLAYOUTS_PER_TICK_MAX {
            let mut samples = [0; PACKET_SAMPLES_MAX];
            let len = match self.jitter.tick(now) {
                Playout::Packet { payload, starts, .. } => {
                    if starts {
                        self.plc.reset();
                    }
                    let len = decode(self.codec, payload, &mut samples);
                    self.plc.heard(&mut samples[..len]);
                    len
                }
                Playout::Fec { .. } | Playout::Conceal { .. } => {
                    let len = self.rate.frame_samples();
                    self.plc.conceal(&mut samples[..len]);
                    len
                }
                Playout::Silence | Playout::Skip | Playout::Continue => 0,
            };
            // What does not fit would be a jitter buffer that does not count its ticks.
            if self.pcm.len() + len <= self.pcm.capacity() {
                self.pcm.extend_from_slice(&samples[..len]);
            }
            if !self.jitter.is_owed() {
                break;
            }
        }
        let frame = self.rate.frame_samples();
        if self.pcm.len() < frame || out.len() < frame {
            return false;
        }
        out[..frame].copy_from_slice(&self.pcm[..frame]);
        self.pcm.drain(..frame);
        true
    }

    /// The payload of 20 ms of ours, in the front of `out`; its length.
    pub(super) fn encode(&self, samples: &[i16], out: &mut [u8]) -> usize {
        match self.codec {
            LegCodec::Pcmu => g711::Law::Mu.encode(samples, out),
            LegCodec::Pcma => g711::Law::A.encode(samples, out),
            LegCodec::L16(_) => l16::encode(samples, out),
            LegCodec::Opus => 0,
        }
    }
}

fn decode(codec: LegCodec, payload: &[u8], out: &mut [i16]) -> usize {
    match codec {
        LegCodec::Pcmu => g711::Law::Mu.decode(payload, out),
        LegCodec::Pcma => g711::Law::A.decode(payload, out),
        LegCodec::L16(_) => l16::decode(payload, out),
        LegCodec::Opus => 0,
    }
}
