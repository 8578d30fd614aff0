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
}
