//! Whether speech arrived whole: a reference looked for in a recording.
//!
//! Given: two mono signals of one rate. Decides: where the reference lies, how alike it is, how many milliseconds of it are missing.
//! Refuses: resampling, and an opinion about quality beyond "there or not there". First the envelopes are aligned on a 10 ms grid, then the
//! samples around that place, then each 20 ms window is judged on its own; no Fourier transform is needed for some seconds of speech.

/// Where and how whole a reference was found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Correlation {
    /// Normalised correlation of the loudest second, -1 to 1.
    pub peak: f32,
    /// Position of the reference in the recording, in milliseconds from its start.
    pub lag_ms: f32,
    /// Milliseconds of the sounding reference that are not in the recording.
    pub lost_ms: u32,
    /// Milliseconds of the reference that sound at all.
    pub sounding_ms: u32,
}

/// Looks for `reference` in `received`. `rate_hz` belongs to both and is 8 000 to 48 000.
///
/// A window counts as lost when it is much quieter than its reference or does not look like it within 40 ms of its place (play-out may
/// stretch and shrink pauses). None when either signal is shorter than 100 ms or the reference is silent.
pub fn correlate(reference: &[i16], received: &[i16], rate_hz: u32) -> Option<Correlation> {
    let step = rate_hz as usize / 100;
    let (a, b) = (envelope(reference, step), envelope(received, step));
    let loudest = a.iter().copied().fold(0.0_f32, f32::max);
    if a.len() < 10 || b.len() < 10 || loudest < SILENCE_RMS {
        return None;
    }
    let coarse = align_envelopes(&a, &b);
    // The loudest second of the reference decides to the sample.
    let span = reference.len().min(rate_hz as usize);
    let from = loudest_span(&a, span / step) * step;
    let piece = &reference[from..(from + span).min(reference.len())];
    let around = coarse * step as isize + from as isize;
    let reach = 3 * step as isize;
    let mut best = (f32::MIN, around);
    for at in around - reach..=around + reach {
        let score = similarity(piece, received, at);
        if score > best.0 {
            best = (score, at);
        }
    }
    let lag = best.1 - from as isize;
    let (lost, sounding) = count_lost(reference, received, lag, rate_hz, loudest);
    Some(Correlation { peak: best.0, lag_ms: lag as f32 * 1_000.0 / rate_hz as f32, lost_ms: lost * 20, sounding_ms: sounding * 20 })
}

fn count_lost(reference: &[i16], received: &[i16], lag: isize, rate_hz: u32, loudest: f32) -> (u32, u32) {
    let window = rate_hz as usize / 50;
    let (mut lost, mut sounding, mut drift) = (0, 0, 0);
    for (n, piece) in reference.chunks_exact(window).enumerate() {
        let level = rms(piece);
        if level < (loudest * 0.1).max(SILENCE_RMS) {
            continue;
        }
        sounding += 1;
        let place = (n * window) as isize + lag;
        let mut best = (similarity(piece, received, place + drift), drift);
        if best.0 < GOOD {
            // Play-out may have moved for good: then not this window alone but the next 80 ms lie elsewhere together. A hole does not
            // pass for that by the likeness of neighbouring pitch periods.
            let ahead = &reference[n * window..((n + 4) * window).min(reference.len())];
            let reach = 2 * window as isize;
            let moved =
                (-reach..=reach).map(|shift| (similarity(ahead, received, place + shift), shift)).max_by(|x, y| x.0.total_cmp(&y.0));
            if let Some((score, shift)) = moved.filter(|(score, _)| *score >= MOVED && ahead.len() == 4 * window) {
                best = (score, shift);
            }
        }
        let heard = slice_at(received, place + best.1, window);
        let is_there = best.0 >= ALIKE && rms(&heard) >= 0.2 * level;
        if is_there {
            if best.0 >= GOOD {
                drift = best.1;
            }
        } else {
            lost += 1;
        }
    }
    (lost, sounding)
}

fn envelope(samples: &[i16], step: usize) -> Vec<f32> {
    samples.chunks_exact(step.max(1)).map(rms).collect()
}

fn rms(samples: &[i16]) -> f32 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    (sum / samples.len().max(1) as f64).sqrt() as f32
}

/// The shift of `a` in `b` with the best normalised correlation; half of `a` may hang over at the front, since a start can be lost.
fn align_envelopes(a: &[f32], b: &[f32]) -> isize {
    let mut best = (f32::MIN, 0);
    for shift in -(a.len() as isize / 2)..b.len() as isize {
        let (mut dot, mut aa, mut bb) = (0.0_f32, 0.0_f32, 0.0_f32);
        for (n, x) in a.iter().enumerate() {
            let y = usize::try_from(n as isize + shift).ok().and_then(|at| b.get(at)).copied().unwrap_or(0.0);
            dot += x * y;
            aa += x * x;
            bb += y * y;
        }
        let score = if bb > 0.0 { dot / (aa * bb).sqrt() } else { 0.0 };
        // What is only overlapped in part must not win by its small share.
        let score = score * bb.sqrt().min(aa.sqrt()) / aa.sqrt();
        if score > best.0 {
            best = (score, shift);
        }
    }
    best.1
}

fn loudest_span(envelope: &[f32], frames: usize) -> usize {
    let frames = frames.clamp(1, envelope.len());
    let energy = |from: usize| -> f32 { envelope[from..from + frames].iter().map(|e| e * e).sum() };
    (0..=envelope.len() - frames).max_by(|x, y| energy(*x).total_cmp(&energy(*y))).unwrap_or(0)
}

fn slice_at(samples: &[i16], at: isize, len: usize) -> Vec<i16> {
    (0..len as isize).map(|n| usize::try_from(at + n).ok().and_then(|i| samples.get(i)).copied().unwrap_or(0)).collect()
}

/// Normalised correlation of `piece` with `samples` from `at` on; what lies outside counts as silence.
fn similarity(piece: &[i16], samples: &[i16], at: isize) -> f32 {
    let start = (-at).clamp(0, piece.len() as isize) as usize;
    let end = (samples.len() as isize - at).clamp(start as isize, piece.len() as isize) as usize;
    let (mut dot, mut pp, mut ss) = (0.0_f64, 0.0_f64, 0.0_f64);
    for sample in piece {
        pp += f64::from(*sample) * f64::from(*sample);
    }
    for n in start..end {
        let (x, y) = (f64::from(piece[n]), f64::from(samples[(at + n as isize) as usize]));
        dot += x * y;
        ss += y * y;
    }
    if pp > 0.0 && ss > 0.0 { (dot / (pp * ss).sqrt()) as f32 } else { 0.0 }
}

/// Below this level nothing sounds.
const SILENCE_RMS: f32 = 30.0;
/// A window this alike is certainly in its place.
const GOOD: f32 = 0.6;
/// Eighty milliseconds this alike have moved.
const MOVED: f32 = 0.75;
/// A window less alike than this is not there.
const ALIKE: f32 = 0.3;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tipring_engine::rng::{Entropy, SeededRng};

    /// Voiced syllables: a gliding pitch with harmonics, swelling and fading, so that no two windows are alike.
    pub(crate) fn speech(ms: usize) -> Vec<i16> {
        let mut phase = 0.0_f32;
        (0..ms * 16)
            .map(|n| {
                let t = n as f32 / 16_000.0;
                let pitch = 120.0 + 60.0 * (t * 2.3).sin() + 25.0 * (t * 7.1).sin();
                phase = (phase + pitch / 16_000.0).fract();
                let swell = (0.55 + 0.45 * (t * 19.0 + (t * 3.0).sin()).sin()).max(0.05);
                let voice: f32 = (1..12).map(|k| (phase * k as f32 * core::f32::consts::TAU + k as f32 * t).sin() / k as f32).sum();
                (voice * swell * 5_000.0) as i16
            })
            .collect()
    }

    fn embed(reference: &[i16], lead: usize, noise: i16) -> Vec<i16> {
        let mut rng = SeededRng::new(3);
        let mut out = vec![0; lead];
        out.extend_from_slice(reference);
        out.resize(out.len() + 8_000, 0);
        out.iter_mut().for_each(|s| *s = s.saturating_add((rng.below(2 * noise as u64 + 1) as i16) - noise));
        out
    }

    #[test]
    fn whole_speech_is_found_to_the_millisecond_with_nothing_lost() {
        let reference = speech(2_000);
        let found = correlate(&reference, &embed(&reference, 5_000, 100), 16_000).unwrap();
        assert!(found.peak > 0.98 && (found.lag_ms - 312.5).abs() < 0.1, "{found:?}");
        assert_eq!(found.lost_ms, 0);
        assert!(found.sounding_ms > 1_000);
    }

    #[test]
    fn clipped_start_and_a_hole_are_counted() {
        let reference = speech(2_000);
        let clipped = embed(&reference[400 * 16..], 3_000, 20);
        let found = correlate(&reference, &clipped, 16_000).unwrap();
        assert!((300..=420).contains(&found.lost_ms), "{found:?}");
        let mut holed = embed(&reference, 3_000, 20);
        holed[3_000 + 600 * 16..3_000 + 700 * 16].fill(0);
        let found = correlate(&reference, &holed, 16_000).unwrap();
        assert!((60..=120).contains(&found.lost_ms), "{found:?}");
    }

    #[test]
    fn stretched_pause_is_no_loss() {
        let reference = speech(2_000);
        let mut moved = reference[..1_000 * 16].to_vec();
        moved.extend([0; 320]);
        moved.extend(&reference[1_000 * 16..]);
        assert_eq!(correlate(&reference, &embed(&moved, 1_000, 10), 16_000).unwrap().lost_ms, 0);
    }

    #[test]
    fn noise_is_not_speech() {
        let reference = speech(1_000);
        let mut rng = SeededRng::new(9);
        let noise: Vec<i16> = (0..32_000).map(|_| rng.below(8_000) as i16 - 4_000).collect();
        let found = correlate(&reference, &noise, 16_000).unwrap();
        assert!(found.peak < 0.3 && found.lost_ms * 2 > found.sounding_ms, "{found:?}");
        assert_eq!(correlate(&[0; 16_000], &noise, 16_000), None);
    }
}
