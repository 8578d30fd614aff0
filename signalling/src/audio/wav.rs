//! WAV files: announcements read whole.
//!
//! Decides: mixing to mono and resampling. Refuses: files longer than `WAV_SECONDS_MAX`, and codecs other than PCM and float.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};
use tipring_engine::codec::SampleRate;

use super::AudioError;

/// Longest announcement, in seconds: 10 minutes are 55 MiB at 48 kHz, shared by all calls that play it.
pub const WAV_SECONDS_MAX: u32 = 600;

/// Reads a WAV file whole: 8, 16, 24 or 32-bit integers or 32-bit float, 8 to 48 kHz, mono or stereo (mixed to mono), resampled to
/// `rate`.
///
/// The samples may be shared by any number of calls. Errors say what is wrong with the file and how to convert it.
pub fn load_wav(path: &Path, rate: SampleRate) -> Result<Arc<[i16]>, AudioError> {
    let file = File::open(path).map_err(|e| AudioError::new(path, format!("cannot read it: {e}")))?;
    read_wav(path, BufReader::new(file), rate)
}

/// [`load_wav`] for bytes from anywhere; `path` is for the words of errors only.
pub(crate) fn read_wav<R: Read>(path: &Path, input: R, rate: SampleRate) -> Result<Arc<[i16]>, AudioError> {
    let fail = |what: String| AudioError::new(path, what);
    let reader = hound::WavReader::new(input).map_err(|e| match e {
        hound::Error::IoError(e) => fail(format!("cannot read it: {e}")),
        e => fail(format!("not a WAV file we can read: {e}; {CONVERT}")),
    })?;
    let spec = reader.spec();
    if !(8_000..=48_000).contains(&spec.sample_rate) {
        return Err(fail(format!("its sample rate is {} Hz, allowed are 8000 to 48000; {CONVERT}", spec.sample_rate)));
    }
    if !(1..=2).contains(&spec.channels) {
        return Err(fail(format!("it has {} channels, allowed are 1 or 2; {CONVERT}", spec.channels)));
    }
    let seconds = reader.duration() / spec.sample_rate;
    if seconds >= WAV_SECONDS_MAX {
        return Err(fail(format!("it is {seconds} s long, allowed are less than {WAV_SECONDS_MAX} s; cut it")));
    }
    if reader.duration() == 0 {
        return Err(fail("it holds no samples".into()));
    }

    let channels = usize::from(spec.channels);
    let broken = |e: hound::Error| fail(format!("it breaks off or is damaged inside: {e}; {CONVERT}"));
    let samples: Vec<f32> = match (spec.sample_format, spec.bits_per_sample) {
        (hound::SampleFormat::Float, 32) => reader.into_samples::<f32>().map(|s| s.map(tame)).collect::<Result<_, _>>().map_err(broken)?,
        (hound::SampleFormat::Int, bits @ (8 | 16 | 24 | 32)) => {
            let scale = 1.0 / (1u64 << (bits - 1)) as f32;
            reader.into_samples::<i32>().map(|s| s.map(|s| s as f32 * scale)).collect::<Result<_, _>>().map_err(broken)?
        }
        (format, bits) => return Err(fail(format!("its samples are {format:?} of {bits} bits; {CONVERT}"))),
    };
    let mono: Vec<f32> = samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    drop(samples);

    let resampled = if spec.sample_rate == rate.hz() {
        mono
    } else {
        resample(&mono, spec.sample_rate, rate.hz()).map_err(|e| fail(format!("cannot be resampled to {} Hz: {e}", rate.hz())))?
    };
    Ok(resampled.iter().map(|&s| to_i16(s)).collect())
}

fn resample(mono: &[f32], from_hz: u32, to_hz: u32) -> Result<Vec<f32>, String> {
    let mut resampler = Fft::<f32>::new(from_hz as usize, to_hz as usize, 1_024, 1, FixedSync::Input).map_err(|e| e.to_string())?;
    let input = InterleavedSlice::new(mono, 1, mono.len()).map_err(|e| e.to_string())?;
    let out = resampler.process_all(&input, mono.len(), None).map_err(|e| e.to_string())?;
    Ok(out.take_data())
}

/// Float files may hold what is no sound: NaN and infinities become silence, for the resampler panics on them. Above full scale 18 dB are kept, so that
/// the mix of a loud and a silent channel is not clipped twice.
fn tame(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-8.0, 8.0) } else { 0.0 }
}

/// Full scale is 32 768, as in the integers that were read.
fn to_i16(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}

const CONVERT: &str = "convert it, for example by `ffmpeg -i INPUT -ac 1 -ar 48000 -c:a pcm_s16le OUTPUT.wav`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::WavWriter;
    use std::path::PathBuf;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("tipring-{}-{name}.wav", std::process::id()))
    }

    fn tone(hz: u32, frames: u32) -> impl Iterator<Item = f64> {
        (0..frames).map(move |i| (f64::from(i) / f64::from(hz) * 440.0 * std::f64::consts::TAU).sin() * 0.5)
    }

    fn write(name: &str, hz: u32, bits: u16, float: bool, channels: u16) -> PathBuf {
        let path = file(name);
        let sample_format = if float { hound::SampleFormat::Float } else { hound::SampleFormat::Int };
        let mut w =
            hound::WavWriter::create(&path, hound::WavSpec { channels, sample_rate: hz, bits_per_sample: bits, sample_format }).unwrap();
        for s in tone(hz, hz) {
            for channel in 0..channels {
                // The second channel is silent: the mix has half the level.
                let s = if channel == 0 { s } else { 0.0 };
                if float {
                    w.write_sample(s as f32).unwrap();
                } else {
                    w.write_sample((s * ((1i64 << (bits - 1)) - 1) as f64).round() as i32).unwrap();
                }
            }
        }
        w.finalize().unwrap();
        path
    }

    /// The 440 Hz in `pcm`, away from its ends: amplitude, delay in seconds, and the rms of everything else. 0.8 s are 352 whole periods, so sine and cosine
    /// are orthogonal and the fit is two sums.
    fn fit(pcm: &[i16], hz: u32) -> (f64, f64, f64) {
        let (from, count) = (hz as usize / 10, hz as usize * 8 / 10);
        let window = || {
            pcm[from..from + count].iter().enumerate().map(move |(at, &sample)| {
                let (sin, cos) = ((from + at) as f64 / f64::from(hz) * 440.0 * std::f64::consts::TAU).sin_cos();
                (f64::from(sample), sin, cos)
            })
        };
        let n = count as f64;
        let (s, c) = window().fold((0.0, 0.0), |(s, c), (x, sin, cos)| (s + x * sin * 2.0 / n, c + x * cos * 2.0 / n));
        let rest = window().map(|(x, sin, cos)| (x - s * sin - c * cos).powi(2)).sum::<f64>() / n;
        (s.hypot(c), -c.atan2(s) / (440.0 * std::f64::consts::TAU), rest.sqrt())
    }

    #[test]
    fn every_format_becomes_the_same_tone() {
        let formats = [
            (8_000, 8, false, 1),
            (8_000, 16, false, 1),
            (16_000, 16, false, 1),
            (22_050, 32, false, 1),
            (44_100, 16, false, 1),
            (44_100, 32, true, 2),
            (48_000, 16, false, 1),
            (48_000, 24, false, 2),
        ];
        for (hz, bits, float, channels) in formats {
            for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz48000] {
                let what = format!("{hz} Hz, {bits} bits, {channels} channels -> {rate:?}");
                let path = write(&format!("tone-{hz}-{bits}-{channels}-{}", rate.hz()), hz, bits, float, channels);
                let pcm = load_wav(&path, rate).unwrap();
                std::fs::remove_file(&path).unwrap();
                assert!(pcm.len().abs_diff(rate.hz() as usize) <= 3, "{what}: {} samples", pcm.len());
                let (amplitude, delay, rest) = fit(&pcm, rate.hz());
                let wanted = 16_384.0 / f64::from(channels);
                assert!((amplitude / wanted - 1.0).abs() < 0.01, "{what}: amplitude {amplitude:.1}, wanted {wanted:.1}");
                // At ratios that are not whole the resampler leaves a shift below one sample of the slower side.
                assert!(delay.abs() * f64::from(hz.min(rate.hz())) < 1.0, "{what}: {:.1} us late", delay * 1e6);
                // Steps of 256 in an 8-bit file are noise of 74.
                assert!(rest < if bits == 8 { 90.0 } else { 8.0 }, "{what}: {rest:.1} of something else");
            }
        }
    }

    #[test]
    fn what_is_no_number_becomes_silence_and_what_is_too_loud_clips() {
        let path = file("no-number");
        let spec = hound::WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 32, sample_format: hound::SampleFormat::Float };
        let mut w = hound::WavWriter::create(&path, spec).unwrap();
        for sample in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN].into_iter().cycle().take(4_000) {
            w.write_sample(sample).unwrap();
        }
        w.finalize().unwrap();
        assert_eq!(load_wav(&path, SampleRate::Hz8000).unwrap()[..5], [0, 0, 0, i16::MAX, i16::MIN]);
        assert!(load_wav(&path, SampleRate::Hz48000).unwrap().len().abs_diff(24_000) <= 3);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_cannot_be_used_says_so() {
        let says = |path: &Path, words: &str| {
            let told = load_wav(path, SampleRate::Hz16000).unwrap_err().to_string();
            let _ = std::fs::remove_file(path);
            assert!(told.contains(words) && told.contains(&*path.to_string_lossy()), "{told}");
        };
        says(&file("missing"), "cannot read it");
        let text = file("text");
        std::fs::write(&text, "hello, this is no sound at all, but it is long enough").unwrap();
        says(&text, "not a WAV file");
        says(&write("fast", 96_000, 16, false, 1), "sample rate is 96000 Hz");
        says(&write("surround", 8_000, 16, false, 6), "6 channels");
        let cut = write("cut", 8_000, 16, false, 1);
        let bytes = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() - 1_001]).unwrap();
        says(&cut, "breaks off");
        let empty = file("empty");
        WavWriter::create(&empty, SampleRate::Hz8000).unwrap().finish().unwrap();
        says(&empty, "no samples");
        let long = file("long");
        let mut w = WavWriter::create(&long, SampleRate::Hz8000).unwrap();
        w.write(&vec![0; 8_000 * WAV_SECONDS_MAX as usize]).unwrap();
        w.finish().unwrap();
        says(&long, "600 s long");
    }

    #[test]
    fn a_killed_recording_plays_to_its_last_second() {
        let path = file("killed");
        let mut w = WavWriter::create(&path, SampleRate::Hz16000).unwrap();
        let frame: Vec<i16> = (0..320).collect();
        for _ in 0..130 {
            w.write(&frame).unwrap();
        }
        // As after a kill: nothing is finished, the file is what it is.
        let on_disk = std::fs::read(&path).unwrap();
        let reader = hound::WavReader::new(&on_disk[..]).unwrap();
        assert!(reader.duration() >= 2 * 16_000, "{} samples of {}", reader.duration(), w.samples());
        assert!(reader.into_samples::<i16>().zip(frame.iter().cycle()).all(|(a, &b)| a.unwrap() == b));
        w.finish().unwrap();
        assert_eq!(load_wav(&path, SampleRate::Hz16000).unwrap().len(), 130 * 320);
        std::fs::remove_file(&path).unwrap();
    }
}
