//! Concealment of lost 20 ms frames for codecs without one of their own (G.711, L16).
//!
//! Decides: what is heard in place of a lost frame: the last pitch period again and again, fading to nothing within 60 ms, and a short cross-fade when real samples
//! return. Given: the frames that were decoded. Refuses: delay; it only ever looks back. Not bit-exact to G.711 Appendix I, which holds 3.75 ms back for its cross-fade.

use super::SampleRate;

/// Longest history: 40 ms at 16 kHz, twice the longest period and a template.
const HISTORY_MAX: usize = 640;
/// Shortest and longest pitch period in samples at 8 kHz: 400 to 66 Hz.
const PERIOD_MIN: usize = 20;
const PERIOD_MAX: usize = 120;
/// Samples at 8 kHz that must fit for a period to be one: 10 ms.
const TEMPLATE: usize = 80;
/// Samples at 8 kHz over which real and replicated sound cross: 2.5 ms.
const CROSSFADE: usize = 20;
/// Frames after which nothing is left to hear.
const FADE_FRAMES: i32 = 3;

/// Concealment state of one stream.
#[derive(Debug)]
pub struct Plc {
    history: Box<[i16]>,
    /// Samples of history.
    keep: usize,
    /// Samples at this rate per sample at 8 kHz: 1 or 2.
    factor: usize,
    period: usize,
    /// Replicated samples since the last real one.
    replicated: usize,
}

impl Plc {
    /// For 8 or 16 kHz; other rates conceal as if they were 16 kHz, with periods of half the length.
    pub fn new(rate: SampleRate) -> Self {
        let factor = if rate == SampleRate::Hz8000 { 1 } else { 2 };
        let keep = HISTORY_MAX / 2 * factor;
        Self { history: vec![0; keep].into_boxed_slice(), keep, factor, period: 0, replicated: 0 }
    }

    /// Takes real samples; those behind a concealed gap are changed a little at their front.
    pub fn heard(&mut self, samples: &mut [i16]) {
        if self.replicated > 0 {
            let len = (CROSSFADE * self.factor).min(samples.len());
            for (i, sample) in samples[..len].iter_mut().enumerate() {
                let old = i32::from(self.next_replica());
                let new = i32::from(*sample);
                *sample = ((old * (len - i) as i32 + new * i as i32) / len as i32) as i16;
            }
            self.replicated = 0;
        }
        self.remember(samples);
    }

    /// Fills `out` with what a listener would expect next.
    pub fn conceal(&mut self, out: &mut [i16]) {
        if self.replicated == 0 {
            self.period = self.find_period();
        }
        for sample in out.iter_mut() {
            *sample = self.next_replica();
        }
    }

    /// Forgets the past: silence was chosen by the sender, or the stream is another.
    pub fn reset(&mut self) {
        self.history.fill(0);
        self.replicated = 0;
    }

    fn next_replica(&mut self) -> i16 {
        let history = &self.history[..];
        let at = history.len() - self.period.max(1) + self.replicated % self.period.max(1);
        let fade_over = FADE_FRAMES * (160 * self.factor) as i32;
        let gain = (fade_over - self.replicated as i32).max(0);
        self.replicated += 1;
        (i32::from(history[at.min(history.len() - 1)]) * gain / fade_over) as i16
    }

    fn remember(&mut self, samples: &[i16]) {
        let tail = &samples[samples.len().saturating_sub(self.keep)..];
        self.history.copy_within(tail.len().., 0);
        self.history[self.keep - tail.len()..].copy_from_slice(tail);
    }

    /// The lag at which the last 10 ms look most like what went before, by normalised correlation.
    fn find_period(&self) -> usize {
        let history = &self.history[..];
        let template_len = TEMPLATE * self.factor;
        let template = &history[history.len() - template_len..];
        let mut best = (0_i64, 1_i64, PERIOD_MIN * self.factor);
        for lag in PERIOD_MIN * self.factor..=PERIOD_MAX * self.factor {
            let start = history.len() - template_len - lag;
            let before = &history[start..start + template_len];
            let (mut cross, mut energy) = (0_i64, 1_i64);
            for (&a, &b) in template.iter().zip(before) {
                cross += i64::from(a) * i64::from(b);
                energy += i64::from(b) * i64::from(b);
            }
            // cross / sqrt(energy), compared as squares scaled down so that they fit.
            let (c, e) = (cross.max(0) >> 10, energy >> 10);
            let better =
                i128::from(c) * i128::from(c) * i128::from(best.1) > i128::from(best.0) * i128::from(best.0) * i128::from(e.max(1));
            if better {
                best = (c, e.max(1), lag);
            }
        }
        best.2
    }
}

const _: () = assert!(TEMPLATE * 2 + PERIOD_MAX * 2 <= HISTORY_MAX && TEMPLATE + PERIOD_MAX <= HISTORY_MAX / 2);

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: f64, hz: f64, from: usize, len: usize) -> Vec<i16> {
        (from..from + len).map(|i| ((i as f64 * hz * std::f64::consts::TAU / rate).sin() * 10_000.0) as i16).collect()
    }

    #[test]
    fn a_tone_goes_on_through_one_lost_frame() {
        for (rate, hz) in [(SampleRate::Hz8000, 200.0), (SampleRate::Hz16000, 160.0)] {
            let frame = rate.frame_samples();
            let mut plc = Plc::new(rate);
            for k in 0..5 {
                plc.heard(&mut tone(f64::from(rate.hz()), hz, k * frame, frame));
            }
            let mut lost = vec![0; frame];
            plc.conceal(&mut lost);
            let expected = tone(f64::from(rate.hz()), hz, 5 * frame, frame);
            let error: f64 = lost.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            let energy: f64 = expected.iter().map(|b| f64::from(*b).powi(2)).sum();
            assert!(error < 0.1 * energy, "{} of the energy is wrong", error / energy);
            let mut next = tone(f64::from(rate.hz()), hz, 6 * frame, frame);
            let real = next.clone();
            plc.heard(&mut next);
            assert_eq!(next[CROSSFADE * 2..], real[CROSSFADE * 2..], "only the front is touched");
        }
    }

    #[test]
    fn a_long_gap_fades_to_nothing_and_silence_stays_silence() {
        let mut plc = Plc::new(SampleRate::Hz8000);
        let mut out = [7; 160];
        plc.conceal(&mut out);
        assert_eq!(out, [0; 160], "nothing was ever heard");
        plc.heard(&mut tone(8_000.0, 200.0, 0, 480));
        let mut loudest = Vec::new();
        for _ in 0..4 {
            plc.conceal(&mut out);
            loudest.push(out.iter().map(|s| s.unsigned_abs()).max().expect("samples"));
        }
        assert!(loudest.windows(2).all(|w| w[0] >= w[1]), "{loudest:?}");
        assert_eq!(loudest[3], 0);
    }
}
