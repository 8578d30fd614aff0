//! How far what was heard is from what was said.
//!
//! Given: the sound of a player and the reference, both 48 kHz. Decides: one number, in dB. Refuses: to be a listener: it is a spectral
//! distance, and PESQ stands beside it in the table.
//!
//! Both sounds become frames of 10 ms (a window of 20 ms), each of them the levels of 24 mel bands from 100 to 7 000 Hz in dB over a
//! floor of 60 dB below the loudest band of the reference. The frames are aligned by dynamic programming, since every buffer may
//! play faster, slower, or leave out. A pair of frames costs the mean absolute difference of its levels; a frame of the reference that
//! was left out, and one that was put in, costs half of the mean of its own levels. The score is the sum over the number of frames of
//! the reference: 0 for the reference itself.

/// Mean distance in dB, 0 for equal sounds.
///
/// `late_blocks` is where the alignment is looked for: frame `i` of the reference within [`BAND`] frames after `i + late_blocks - BAND/2`.
pub fn distance_db(reference: &[i16], heard: &[i16], late_blocks: usize) -> f64 {
    let (said, got) = (levels(reference), levels(heard));
    let peak = said.iter().flatten().fold(f32::MIN, |a, &b| a.max(b));
    let over = |frames: Vec<[f32; BANDS]>| -> Vec<[f32; BANDS]> {
        frames.into_iter().map(|f| f.map(|level| (level - (peak - RANGE_DB)).max(0.0))).collect()
    };
    let (said, got) = (over(said), over(got));
    let alone = |frame: &[f32; BANDS]| frame.iter().sum::<f32>() / BANDS as f32 / 2.0;
    let silence = [0.0; BANDS];

    // best[k]: the least cost with the reference up to i - 1 and the heard up to `from + k` used.
    let from = |i: usize| (i + late_blocks) as i64 - (BAND / 2) as i64;
    let frame = |j: i64| usize::try_from(j).ok().and_then(|j| got.get(j)).unwrap_or(&silence);
    let mut best = vec![0f32; BAND + 1];
    for (i, frame_said) in said.iter().enumerate() {
        // Moving on by one frame of the reference moves the band by one, so index k of before is k - 1 of now.
        let mut now = vec![f32::MAX; BAND + 1];
        for k in 0..=BAND {
            let j = from(i) + k as i64;
            let pair = distance(frame_said, frame(j)) + best[k];
            let left_out = if k < BAND { best[k + 1] + alone(frame_said) } else { f32::MAX };
            let put_in = if k > 0 { now[k - 1] + alone(frame(j)) } else { f32::MAX };
            now[k] = pair.min(left_out).min(put_in);
        }
        best = now;
    }
    let sum = best.iter().fold(f32::MAX, |a, &b| a.min(b));
    f64::from(sum) / said.len().max(1) as f64
}

fn distance(a: &[f32; BANDS], b: &[f32; BANDS]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / BANDS as f32
}

/// Band levels in dB of each 10 ms.
fn levels(sound: &[i16]) -> Vec<[f32; BANDS]> {
    // 16 kHz are enough for wide-band speech; the decoder's output has nothing above 8 kHz.
    let sound: Vec<f32> = sound.iter().step_by(3).map(|&s| f32::from(s)).collect();
    let mel = |hz: f32| 2_595.0 * (1.0 + hz / 700.0).log10();
    let (low, high) = (mel(100.0), mel(7_000.0));
    let band_of = |bin: usize| {
        let place = (mel(bin as f32 * 16_000.0 / FFT as f32) - low) / (high - low) * BANDS as f32;
        (0.0..BANDS as f32).contains(&place).then_some(place as usize)
    };
    let bands: Vec<Option<usize>> = (0..FFT / 2).map(band_of).collect();
    let window: Vec<f32> = (0..WINDOW).map(|i| 0.5 - 0.5 * (std::f32::consts::TAU * (i as f32 + 0.5) / WINDOW as f32).cos()).collect();
    let turns: Vec<(f32, f32)> = (0..FFT / 2).map(|k| (-std::f32::consts::TAU * k as f32 / FFT as f32).sin_cos()).collect();
    sound
        .windows(WINDOW)
        .step_by(HOP)
        .map(|samples| {
            let mut spectrum: Vec<(f32, f32)> = samples.iter().zip(&window).map(|(s, w)| (s * w, 0.0)).collect();
            spectrum.resize(FFT, (0.0, 0.0));
            fft(&mut spectrum, &turns);
            let mut power = [1.0f32; BANDS];
            for (bin, band) in bands.iter().enumerate() {
                if let Some(band) = band {
                    power[*band] += spectrum[bin].0.powi(2) + spectrum[bin].1.powi(2);
                }
            }
            power.map(|p| 10.0 * p.log10())
        })
        .collect()
}

/// In place, radix 2; `turns` are sine and cosine of the first half of the circle.
fn fft(values: &mut [(f32, f32)], turns: &[(f32, f32)]) {
    let n = values.len();
    for i in 0..n {
        let j = i.reverse_bits() >> (usize::BITS - n.trailing_zeros());
        if i < j {
            values.swap(i, j);
        }
    }
    let mut span = 2;
    while span <= n {
        for start in (0..n).step_by(span) {
            for k in 0..span / 2 {
                let (sin, cos) = turns[k * (n / span)];
                let (a, b) = (values[start + k], values[start + k + span / 2]);
                let b = (b.0 * cos - b.1 * sin, b.0 * sin + b.1 * cos);
                values[start + k] = (a.0 + b.0, a.1 + b.1);
                values[start + k + span / 2] = (a.0 - b.0, a.1 - b.1);
            }
        }
        span *= 2;
    }
}

const BANDS: usize = 24;
const RANGE_DB: f32 = 60.0;
/// 20 ms at 16 kHz.
const WINDOW: usize = 320;
/// 10 ms at 16 kHz.
const HOP: usize = 160;
const FFT: usize = 512;
/// The alignment may wander by 600 ms.
pub const BAND: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(samples: usize) -> Vec<i16> {
        let mut x = 1u32;
        let mut next = move || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 16) as i16 / 8
        };
        // Loudness changes every 50 ms, so that there is something to align.
        (0..samples).map(|i| next() / (1 + (i / 2_400 * 7 % 11) as i16)).collect()
    }

    #[test]
    fn a_delay_costs_nothing_and_damage_costs_in_order_of_its_size() {
        let said = noise(48_000 * 3);
        let mut delayed = vec![0; 4_800];
        delayed.extend_from_slice(&said);
        assert!(distance_db(&said, &delayed, 10) < 0.05);

        let hole = |ms: usize| {
            let mut got = delayed.clone();
            got[48_000..48_000 + ms * 48].fill(0);
            distance_db(&said, &got, 10)
        };
        let cut = |ms: usize| {
            let mut got = delayed.clone();
            got.drain(48_000..48_000 + ms * 48);
            distance_db(&said, &got, 10)
        };
        assert!(hole(20) > 0.05 && hole(60) > 2.0 * hole(20), "{} {}", hole(20), hole(60));
        assert!(cut(20) > 0.02 && cut(60) > cut(20), "{} {}", cut(20), cut(60));
        assert!(distance_db(&said, &vec![0; said.len()], 10) > 10.0);
    }
}
