//! A leg that does not speak Opus, or speaks it in frames that only a decoder can divide: the far side's packets through a jitter buffer to samples, our samples to its
//! packets.
//!
//! Decides: what is heard of the far side at each tick, concealment included; and what of its words is kept until the first tick that is heard, the gate's: the
//! delay that this costs is paid back in pauses (ADR 14). Given: its packets, and 20 ms of samples per tick. Refuses: resampling; Opus itself
//! codes at 8 and 16 kHz, so the call's decoder and encoder run at the leg's rate.

use super::super::catch_up::{CatchUp, SKIPS_PER_TICK_MAX};
use super::super::order::Next;
use super::super::queue::{MARK_BYTES, PacketQueue};
use super::params::LegCodec;
#[cfg(feature = "opus")]
use crate::codec::Decoder;
use crate::codec::plc::Plc;
use crate::codec::{SampleRate, g711, l16, toc};
use crate::error::DropReason;
use crate::jitter::{JitterBuffer, JitterConfig, JitterStats, Playout};
use crate::limits::{FRAME_MS, FRAME_TICKS, PLAYOUT_DELAY_MS_MAX, RTP_CLOCK_HZ};
use crate::time::{Span, Time};
use crate::wire::rtp::RtpView;
use std::collections::VecDeque;

/// Frames of 20 ms that the jitter buffer has bytes for: twice the worst delay we play out.
const WAITING_FRAMES_MAX: usize = 2 * (PLAYOUT_DELAY_MS_MAX / FRAME_MS) as usize;
/// Samples of the longest packet taken: 60 ms at 16 kHz.
const PACKET_SAMPLES_MAX: usize = 960;
/// Its bytes, as L16.
const PACKET_BYTES_MAX: usize = 2 * PACKET_SAMPLES_MAX;
/// What a held packet takes beside its payload: its length and its mark.
const HEAD_BYTES: usize = 2 + MARK_BYTES;
/// Frames of a gap before the gate opened that are filled: as long as concealment sounds like speech, and as much as is left of a pause.
const GAP_FRAMES_MAX: usize = 5;
/// Frames that bridge the time which the jitter buffer waits for at its start.
const HELD_FRAMES_MIN: usize = 3;
/// Frames filled in all.
const GAPS_FILLED_MAX: usize = 50;
/// Questions to the jitter buffer per tick: packets of 10 ms, or some left out to catch up.
const PLAYOUTS_PER_TICK_MAX: usize = 8;

/// Codec state of one leg.
#[derive(Debug)]
pub(super) struct Transcoder {
    codec: LegCodec,
    rate: SampleRate,
    jitter: JitterBuffer,
    plc: Plc,
    #[cfg(feature = "opus")]
    opus: Option<Box<Decoder>>,
    /// Decoded and not yet played: the rest of a packet of more than 20 ms, and what was said before the gate opened.
    pcm: VecDeque<i16>,
    /// Samples that may wait there.
    pcm_max: usize,
    /// What was said before the gate opened, as it came.
    held: PacketQueue,
    held_samples: usize,
    held_samples_max: usize,
    held_ssrc: u32,
    /// A tick was heard: nothing is held any more.
    is_open: bool,
    catch_up: CatchUp,
}

impl Transcoder {
    /// None for a codec that is passed through. `pre_roll` is how much is kept until the first tick that is heard.
    pub(super) fn new(codec: LegCodec, pre_roll: Span) -> Option<Self> {
        let rate = codec.pcm_rate()?;
        let waiting_bytes = WAITING_FRAMES_MAX * rate.frame_samples() * codec.sample_bytes();
        Some(Self::at(codec, rate, JitterBuffer::of_samples(JitterConfig::default(), waiting_bytes), pre_roll))
    }

    /// For Opus in single frames of 40 or 60 ms; 16 kHz is all that Meta plays. None if the codec is not there.
    #[cfg(feature = "opus")]
    pub(super) fn of_opus(pre_roll: Span) -> Option<Self> {
        let decoder = Decoder::new(SampleRate::Hz16000).ok()?;
        let transcoder = Self::at(LegCodec::Opus, SampleRate::Hz16000, JitterBuffer::new(JitterConfig::default()), pre_roll);
        Some(Self { opus: Some(Box::new(decoder)), ..transcoder })
    }

    fn at(codec: LegCodec, rate: SampleRate, jitter: JitterBuffer, pre_roll: Span) -> Self {
        let held_samples_max = (pre_roll.as_millis() * u64::from(rate.hz()) / 1_000) as usize;
        Self {
            codec,
            rate,
            jitter,
            plc: Plc::new(rate),
            #[cfg(feature = "opus")]
            opus: None,
            // What is left of one packet, and the next.
            pcm: VecDeque::with_capacity(PACKET_SAMPLES_MAX + rate.frame_samples()),
            pcm_max: held_samples_max + GAPS_FILLED_MAX * rate.frame_samples() + 2 * PACKET_SAMPLES_MAX,
            // Packets of 10 ms have the most bytes beside their samples.
            held: PacketQueue::new(held_samples_max * codec.sample_bytes() + 2 * HEAD_BYTES * held_samples_max / rate.frame_samples()),
            held_samples: 0,
            held_samples_max,
            held_ssrc: 0,
            is_open: false,
            catch_up: CatchUp::default(),
        }
    }

    /// Samples of a packet, at our rate.
    fn samples_of(&self, payload: &[u8]) -> Result<usize, DropReason> {
        match self.codec {
            LegCodec::Opus => Ok((toc::duration_ticks(payload)? / (RTP_CLOCK_HZ / self.rate.hz())) as usize),
            codec => Ok(payload.len() / codec.sample_bytes()),
        }
    }

    pub(super) fn rate(&self) -> SampleRate {
        self.rate
    }

    pub(super) fn jitter_stats(&self) -> JitterStats {
        self.jitter.stats()
    }

    /// Takes an audio packet of the far side. `next` is where it stands in the order of arrival.
    pub(super) fn insert(&mut self, view: &RtpView<'_>, next: Result<Next, DropReason>, now: Time) -> Result<(), DropReason> {
        let samples = self.samples_of(view.payload())?;
        if samples == 0 || samples > PACKET_SAMPLES_MAX {
            return Err(DropReason::FrameLength);
        }
        if self.is_open {
            // The jitter buffer has an order of its own, and time to wait.
            return self.buffer(view.ssrc(), view.seq(), view.timestamp(), view.payload(), now);
        }
        next?;
        let mut mark = [0; MARK_BYTES];
        mark[..4].copy_from_slice(&view.timestamp().to_be_bytes());
        mark[4..6].copy_from_slice(&view.seq().to_be_bytes());
        let mut outcome = Ok(());
        while self.held_samples + samples > self.held_samples_max || !self.held.push(mark, view.payload()) {
            // The oldest gives way: what is said now matters more than what was said seconds ago.
            let mut oldest = [0; PACKET_BYTES_MAX];
            let Some((_, len)) = self.held.pop(&mut oldest) else { return Err(DropReason::NoRoom) };
            self.held_samples -= self.samples_of(&oldest[..len]).unwrap_or(0);
            outcome = Err(DropReason::NoRoom);
        }
        self.held_samples += samples;
        self.held_ssrc = view.ssrc();
        outcome
    }

    fn buffer(&mut self, ssrc: u32, seq: u16, timestamp: u32, payload: &[u8], now: Time) -> Result<(), DropReason> {
        // The buffer counts in 48 kHz ticks; a multiple of a timestamp wraps where the timestamp does.
        let scale = self.codec.scale();
        let ticks = self.samples_of(payload)? as u32 * (RTP_CLOCK_HZ / self.rate.hz());
        self.jitter.insert(ssrc, seq, timestamp.wrapping_mul(scale), ticks, payload, now)
    }

    //= meta#R-31:live  kept, and heard whole
    /// The gate is open: what was held is heard from now on, in its order. Once.
    #[cold]
    fn open(&mut self, now: Time) {
        self.is_open = true;
        let frame = self.rate.frame_samples();
        if self.held_samples <= HELD_FRAMES_MIN * frame {
            // Less than what the jitter buffer waits for: it makes one stream of these and of what comes.
            let mut payload = [0; PACKET_BYTES_MAX];
            while let Some((mark, len)) = self.held.pop(&mut payload) {
                let [a, b, c, d, high, low, ..] = mark;
                let (timestamp, seq) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low]));
                // They were in order when they came.
                let _ = self.buffer(self.held_ssrc, seq, timestamp, &payload[..len], now);
            }
        }
        if self.held.len() == 0 {
            return;
        }
        self.pcm.reserve(self.held_samples + GAPS_FILLED_MAX * frame + 2 * PACKET_SAMPLES_MAX);
        let (mut payload, mut samples) = ([0; PACKET_BYTES_MAX], [0; PACKET_SAMPLES_MAX]);
        let (mut due, mut filled) = (None::<u32>, 0);
        while let Some((mark, len)) = self.held.pop(&mut payload) {
            let timestamp = u32::from_be_bytes([mark[0], mark[1], mark[2], mark[3]]);
            // A lost packet is concealed; of a pause 100 ms stay.
            let ticks_per_frame = (FRAME_TICKS / self.codec.scale()) as usize;
            let gap = due.map_or(0, |due| timestamp.wrapping_sub(due) as i32).max(0) as usize / ticks_per_frame;
            for k in 0..gap.min(GAP_FRAMES_MAX) {
                if filled < GAPS_FILLED_MAX {
                    filled += 1;
                    samples[..frame].fill(0);
                    if gap <= GAP_FRAMES_MAX {
                        self.conceal(&mut samples[..frame]);
                    } else if k == 0 {
                        self.reset();
                    }
                    self.pcm.extend(&samples[..frame]);
                }
            }
            let count = self.decode(&payload[..len], &mut samples);
            self.pcm.extend(&samples[..count]);
            due = Some(timestamp.wrapping_add((count / frame * ticks_per_frame) as u32));
        }
        (self.held, self.held_samples) = (PacketQueue::new(0), 0);
    }

    /// A sequence number of the far side's was used by an event.
    pub(super) fn note_event(&mut self, view: &RtpView<'_>, now: Time) {
        self.jitter.note_event(view.ssrc(), view.seq(), view.timestamp(), now);
    }

    /// 20 ms of the far side for the tick at `now`; false when there is nothing to hear.
    pub(super) fn take(&mut self, now: Time, out: &mut [i16]) -> bool {
        if !self.is_open {
            self.open(now);
        }
        for _ in 0..PLAYOUTS_PER_TICK_MAX {
            let mut samples = [0; PACKET_SAMPLES_MAX];
            let len = self.play(now, &mut samples);
            // What does not fit would be a jitter buffer that does not count its ticks.
            if self.pcm.len() + len <= self.pcm_max {
                self.pcm.extend(&samples[..len]);
            }
            if !self.jitter.is_owed() {
                break;
            }
        }
        let frame = self.rate.frame_samples();
        let Some(out) = out.get_mut(..frame).filter(|_| self.pcm.len() >= frame) else { return false };
        self.pop(out);
        for _ in 0..SKIPS_PER_TICK_MAX {
            if !self.catch_up.may_leave_out(out, self.pcm.len()) {
                break;
            }
            self.pop(out);
        }
        self.catch_up.sends(out);
        if self.pcm.capacity() > 4 * PACKET_SAMPLES_MAX && self.pcm.len() <= PACKET_SAMPLES_MAX {
            // The delay is paid back; what it took goes back, once.
            self.pcm.shrink_to(PACKET_SAMPLES_MAX + frame);
        }
        true
    }

    /// What the jitter buffer says for now, as samples; how many.
    fn play(&mut self, now: Time, samples: &mut [i16; PACKET_SAMPLES_MAX]) -> usize {
        let frame = self.rate.frame_samples();
        // Each arm uses other fields than the payload's.
        match self.jitter.tick(now) {
            #[cfg(feature = "opus")]
            Playout::Packet { payload, starts, .. } if self.opus.is_some() => {
                let Some(decoder) = &mut self.opus else { return 0 };
                if starts {
                    decoder.reset();
                }
                decoder.decode(payload, samples).unwrap_or(0)
            }
            #[cfg(feature = "opus")]
            Playout::Fec { payload, .. } if self.opus.is_some() => {
                let Some(decoder) = &mut self.opus else { return 0 };
                decoder.decode_fec(payload, samples).or_else(|| decoder.conceal(samples)).unwrap_or(0)
            }
            Playout::Packet { payload, starts, .. } => {
                if starts {
                    self.plc.reset();
                }
                let len = decode(self.codec, payload, samples);
                self.plc.heard(&mut samples[..len]);
                len
            }
            Playout::Fec { .. } | Playout::Conceal { .. } => {
                self.conceal(&mut samples[..frame]);
                frame
            }
            Playout::Silence | Playout::Skip | Playout::Continue => 0,
        }
    }

    fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        #[cfg(feature = "opus")]
        if let Some(decoder) = &mut self.opus {
            return decoder.decode(payload, samples).unwrap_or(0);
        }
        let len = decode(self.codec, payload, samples);
        self.plc.heard(&mut samples[..len]);
        len
    }

    /// One frame that a listener would expect next.
    fn conceal(&mut self, frame: &mut [i16]) {
        #[cfg(feature = "opus")]
        if let Some(decoder) = &mut self.opus {
            frame.fill(0);
            let _ = decoder.conceal(frame);
            return;
        }
        self.plc.conceal(frame);
    }

    fn reset(&mut self) {
        #[cfg(feature = "opus")]
        if let Some(decoder) = &mut self.opus {
            return decoder.reset();
        }
        self.plc.reset();
    }

    fn pop(&mut self, frame: &mut [i16]) {
        let len = frame.len().min(self.pcm.len());
        frame[..len].iter_mut().zip(self.pcm.drain(..len)).for_each(|(slot, sample)| *slot = sample);
    }

    /// Samples that wait to be heard.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pcm.len()
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
