//! Audio of a live far leg, from the host's own thread: chunks of any length in, frames of 20 ms out, nothing lost before the gate opens.
//!
//! Decides: what is kept before the gate opens (the last [`FeedConfig::pre_roll`]), and when the delay that this costs is paid back (in pauses). Given: mono samples at a
//! rate Opus knows. Refuses: to wait, to lock, to resample, and to speed anybody's voice up.

use super::catch_up::{CatchUp, SKIPS_PER_TICK_MAX};
use crate::call::{FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::codec::SampleRate;
use crate::dtmf::Digit;
use crate::time::Span;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a feed keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeedConfig {
    /// Rate of the samples.
    pub rate: SampleRate,
    /// Audio kept while the gate is closed; older gives way. At most 10 s.
    pub pre_roll: Span,
}

impl FeedConfig {
    /// Two seconds at this rate: longer than accept and handshake together take on a bad day.
    pub const fn new(rate: SampleRate) -> Self {
        Self { rate, pre_roll: Span::from_secs(2) }
    }
}

/// The host's end: give it what the far leg says, as it comes.
#[derive(Debug)]
pub struct FeedWriter {
    ring: rtrb::Producer<i16>,
    shared: Arc<Shared>,
    /// What was said while the gate is closed. On this side, because here the oldest can give way without a lock.
    held: VecDeque<i16>,
    held_max: usize,
    lost: u64,
}

/// The call's end: a port that says what was fed, and passes what comes in to a listener.
pub struct Feed {
    ring: rtrb::Consumer<i16>,
    shared: Arc<Shared>,
    rate: SampleRate,
    listener: Option<Box<dyn MediaPort>>,
    catch_up: CatchUp,
}

#[derive(Debug, Default)]
struct Shared {
    /// The call has asked for audio: the gate is open.
    is_open: AtomicBool,
    /// Quiet frames left out to catch up.
    skipped: AtomicU64,
}

impl Feed {
    /// A feed, and the end that the host writes to. What comes in from the user goes to `listener`; what the listener would say is not asked for.
    pub fn new(config: FeedConfig, listener: Option<Box<dyn MediaPort>>) -> (Self, FeedWriter) {
        let rate = config.rate;
        let samples = |span: Span| (span.as_millis().min(PRE_ROLL_MS_MAX) * u64::from(rate.hz()) / 1_000) as usize;
        let held_max = samples(config.pre_roll);
        let (writer, ring) = rtrb::RingBuffer::new(held_max + samples(SLACK));
        let shared = Arc::new(Shared::default());
        let feed = Self { ring, shared: Arc::clone(&shared), rate, listener, catch_up: CatchUp::default() };
        (feed, FeedWriter { ring: writer, shared, held: VecDeque::with_capacity(held_max), held_max, lost: 0 })
    }

    fn take(&mut self, samples: &mut [i16]) -> bool {
        self.ring.pop_entire_slice(samples).is_ok()
    }
}

impl FeedWriter {
    /// Takes samples: any number, at the rate of the feed. Never waits.
    pub fn push(&mut self, mut samples: &[i16]) {
        //= meta#R-31:live  the newest words are kept until the gate opens
        if !self.shared.is_open.load(Ordering::Acquire) {
            let dropped = (self.held.len() + samples.len()).saturating_sub(self.held_max);
            self.lost += dropped as u64;
            let from_held = dropped.min(self.held.len());
            self.held.drain(..from_held);
            samples = &samples[dropped - from_held..];
            self.held.extend(samples);
            return;
        }
        if !self.held.is_empty() {
            // The ring holds all that may be held and more, and was empty until now.
            let (front, back) = self.held.as_slices();
            for slice in [front, back] {
                self.lost += self.ring.push_partial_slice(slice).1.len() as u64;
            }
            self.held.clear();
        }
        self.lost += self.ring.push_partial_slice(samples).1.len() as u64;
    }

    /// Samples that gave way before the gate opened, or found the ring full afterwards because the source is faster than the call.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Frames of 20 ms that were left out in pauses to catch up.
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.load(Ordering::Relaxed)
    }

    /// Whether the call has given its port back: nobody hears any more.
    pub fn is_closed(&self) -> bool {
        self.ring.is_abandoned()
    }
}

impl MediaPort for Feed {
    fn wants_pcm(&self) -> Option<SampleRate> {
        self.listener.as_ref().and_then(|port| port.wants_pcm())
    }

    fn wants_opus(&self) -> bool {
        self.listener.as_ref().is_some_and(|port| port.wants_opus())
    }

    fn speaks_pcm(&self) -> Option<SampleRate> {
        Some(self.rate)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Some(port) = &mut self.listener {
            port.incoming(frame);
        }
    }

    fn digit(&mut self, digit: Digit) {
        if let Some(port) = &mut self.listener {
            port.digit(digit);
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        // Single writer; from the first question on the host's end passes everything through.
        self.shared.is_open.store(true, Ordering::Release);
        // Asked before the ring is read: what was pushed before the writer went is seen.
        let is_over = self.ring.is_abandoned();
        let samples = &mut frame.pcm[..self.rate.frame_samples()];
        if !self.take(samples) {
            let rest = self.ring.slots();
            if !is_over {
                return Outgoing::Silence;
            }
            if rest == 0 {
                return Outgoing::Finished;
            }
            let taken = self.take(&mut samples[..rest]);
            debug_assert!(taken, "only this end takes");
            samples[rest..].fill(0);
            return Outgoing::Pcm(self.rate);
        }
        // ADR 14: the delay is paid back where nobody hears it, and only as much of each pause as leaves it a pause.
        for _ in 0..SKIPS_PER_TICK_MAX {
            if !self.catch_up.may_leave_out(samples, self.ring.slots()) || !self.take(samples) {
                break;
            }
            // Single writer.
            self.shared.skipped.fetch_add(1, Ordering::Relaxed);
        }
        self.catch_up.sends(samples);
        Outgoing::Pcm(self.rate)
    }

    fn sent(&mut self, payload: &[u8], timestamp: u32) {
        if let Some(port) = &mut self.listener {
            port.sent(payload, timestamp);
        }
    }
}

/// Longest pre-roll.
const PRE_ROLL_MS_MAX: u64 = 10_000;
/// Room behind the pre-roll for a source that comes in bursts.
const SLACK: Span = Span::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: SampleRate = SampleRate::Hz16000;

    fn speech(samples: usize) -> Vec<i16> {
        (0..samples).map(|i| 1_000 + (i % 20_000) as i16).collect()
    }

    /// One tick: what the port says, or nothing.
    fn tick(feed: &mut Feed) -> Option<Vec<i16>> {
        let mut frame = FrameBuffer::default();
        match feed.outgoing(&mut frame) {
            Outgoing::Pcm(RATE) => Some(frame.pcm[..320].to_vec()),
            Outgoing::Silence | Outgoing::Finished => None,
            other => panic!("{other:?}"),
        }
    }

    //= meta#R-31:live type=test
    #[test]
    fn what_is_said_before_the_gate_opens_is_said_after_it_whole() {
        let (mut feed, mut writer) = Feed::new(FeedConfig::new(RATE), None);
        let said = speech(16_000 * 2);
        said[..24_000].chunks(437).for_each(|chunk| writer.push(chunk));
        // The gate opens; the source goes on.
        let mut heard = Vec::new();
        for k in 0..300 {
            heard.extend(tick(&mut feed).unwrap_or_default());
            let from = 24_000 + k * 320;
            writer.push(said.get(from..from + 320).unwrap_or(&[0; 320]));
        }
        assert_eq!((writer.lost(), &heard[..said.len()]), (0, &said[..]), "no sample lost, none changed, none twice");
        // 1.5 s of delay is paid back in the pause, all but what absorbs jitter.
        assert!((70..=75).contains(&writer.skipped()), "{}", writer.skipped());
        assert!(feed.ring.slots() <= 3 * 320);
    }

    //= meta#R-31:live type=test
    #[test]
    fn the_pre_roll_is_bounded_and_keeps_the_newest() {
        let (mut feed, mut writer) = Feed::new(FeedConfig { pre_roll: Span::from_millis(200), ..FeedConfig::new(RATE) }, None);
        let said = speech(16_000);
        said.chunks(160).for_each(|chunk| writer.push(chunk));
        assert_eq!(writer.lost(), 16_000 - 3_200);
        writer.push(&said[..10_000]);
        assert_eq!(writer.held.len(), 3_200, "a chunk that is longer than all that may be kept");
        assert_eq!(tick(&mut feed), None);
        writer.push(&[]);
        assert_eq!(tick(&mut feed).expect("a frame"), said[6_800..7_120]);
        drop(writer);
        let rest: Vec<_> = std::iter::from_fn(|| tick(&mut feed)).flatten().collect();
        assert_eq!(rest, said[7_120..10_000]);
        assert_eq!(feed.outgoing(&mut FrameBuffer::default()), Outgoing::Finished);
    }

    #[test]
    fn a_source_that_is_too_fast_loses_its_own_words_and_one_that_stops_is_silence() {
        let (mut feed, mut writer) = Feed::new(FeedConfig { pre_roll: Span::ZERO, ..FeedConfig::new(RATE) }, None);
        assert_eq!(tick(&mut feed), None);
        writer.push(&speech(10_000));
        assert_eq!(writer.lost(), 10_000 - 6_400, "400 ms of slack");
        (0..20).for_each(|_| assert!(tick(&mut feed).is_some()));
        assert_eq!(feed.outgoing(&mut FrameBuffer::default()), Outgoing::Silence);
        writer.push(&[5; 100]);
        assert_eq!(feed.outgoing(&mut FrameBuffer::default()), Outgoing::Silence, "a part of a frame waits for the rest");
        drop(writer);
        let last = tick(&mut feed).expect("the end of what was said");
        assert_eq!((&last[..100], &last[100..]), (&[5; 100][..], &[0; 220][..]));
        assert_eq!(feed.outgoing(&mut FrameBuffer::default()), Outgoing::Finished);
    }

    proptest! {
        #[test]
        fn chunks_of_any_length_come_out_as_they_went_in(chunks in prop::collection::vec(0_usize..900, 1..60), before in 0_usize..60) {
            let (mut feed, mut writer) = Feed::new(FeedConfig::new(RATE), None);
            let said = speech(chunks.iter().sum());
            let mut at = 0;
            let mut heard = Vec::new();
            for (k, chunk) in chunks.iter().enumerate() {
                writer.push(&said[at..at + chunk]);
                at += chunk;
                if k >= before {
                    heard.extend(tick(&mut feed).unwrap_or_default());
                    heard.extend(tick(&mut feed).unwrap_or_default());
                }
            }
            heard.extend(tick(&mut feed).unwrap_or_default());
            writer.push(&[]);
            let lost = writer.lost() as usize;
            drop(writer);
            heard.extend(std::iter::from_fn(|| tick(&mut feed)).flatten());
            let kept = &said[lost..];
            prop_assert_eq!(&heard[..kept.len()], kept);
            prop_assert!(heard.len() - kept.len() < 320 && heard[kept.len()..].iter().all(|s| *s == 0));
        }
    }
}
