//! Tones made and found again, for tests that follow audio through a call.

use std::f64::consts::TAU;

/// A sine at half scale, 16-bit mono.
pub fn tone(frequency_hz: f64, rate_hz: u32, seconds: f64) -> Vec<i16> {
    let count = (f64::from(rate_hz) * seconds) as usize;
    (0..count).map(|i| ((TAU * frequency_hz * i as f64 / f64::from(rate_hz)).sin() * 16_000.0) as i16).collect()
}

/// How much of the energy of `samples` lies at `frequency_hz`, 0 to 1: the squared correlation with a sine of free phase.
pub fn tone_share(samples: &[i16], frequency_hz: f64, rate_hz: u32) -> f64 {
    let (mut sine, mut cosine, mut energy) = (0.0, 0.0, 0.0);
    for (i, &sample) in samples.iter().enumerate() {
        let phase = TAU * frequency_hz * i as f64 / f64::from(rate_hz);
        let value = f64::from(sample);
        sine += value * phase.sin();
        cosine += value * phase.cos();
        energy += value * value;
    }
    if energy == 0.0 { 0.0 } else { 2.0 * (sine * sine + cosine * cosine) / (energy * samples.len() as f64) }
}

/// The median [`tone_share`] of windows of 100 ms: what a listener hears most of the time.
///
/// A jitter buffer that adapts to a busy machine shifts the phase of a tone once in a while; that spoils a window or two, not the tone.
pub fn typical_tone_share(samples: &[i16], frequency_hz: f64, rate_hz: u32) -> f64 {
    let mut shares: Vec<f64> = samples.chunks_exact(rate_hz as usize / 10).map(|w| tone_share(w, frequency_hz, rate_hz)).collect();
    shares.sort_unstable_by(f64::total_cmp);
    shares.get(shares.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_at_its_own_frequency_only() {
        let samples = tone(440.0, 16_000, 0.5);
        assert!(tone_share(&samples, 440.0, 16_000) > 0.99);
        assert!(tone_share(&samples, 700.0, 16_000) < 0.01);
        assert_eq!(tone_share(&[0; 320], 440.0, 16_000), 0.0);
    }

    #[test]
    fn a_step_in_the_phase_does_not_hide_a_tone_and_silence_is_none() {
        let mut samples = tone(440.0, 16_000, 1.0);
        samples.drain(8_000..8_018);
        assert!(tone_share(&samples, 440.0, 16_000) < 0.5, "half of it stands against the other half");
        assert!(typical_tone_share(&samples, 440.0, 16_000) > 0.95);
        assert_eq!(typical_tone_share(&[], 440.0, 16_000), 0.0);
        samples[..12_000].fill(0);
        assert!(typical_tone_share(&samples, 440.0, 16_000) < 0.1);
    }
}
