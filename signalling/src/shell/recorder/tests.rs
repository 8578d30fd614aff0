//! Two directions on one time axis, judged by what the files hold.

use super::*;
use std::sync::Mutex;
use tipring_engine::bridge::Echo;
use tipring_engine::call::Incoming;
use tipring_engine::codec::{Application, Encoder, EncoderSettings};

/// A directory of this test, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let mut name = [0; 8];
        crate::shell::random(&mut name);
        Self(std::env::temp_dir().join(format!("tipring-test-{:016x}", u64::from_le_bytes(name))))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Packets of a tone of `hz`, 20 ms each.
fn tone(hz: f64, count: usize) -> Vec<Vec<u8>> {
    let settings = EncoderSettings {
        rate: SampleRate::Hz16000,
        application: Application::Voip,
        bitrate_bps: 20_000,
        complexity: 5,
        fec: false,
        loss_percent: 0,
        cbr: false,
        playback_rate_hz_max: 16_000,
    };
    let mut encoder = Encoder::new(&settings).unwrap();
    (0..count)
        .map(|frame| {
            let samples: Vec<i16> =
                (0..320).map(|i| (8_000.0 * (hz * std::f64::consts::TAU * (frame * 320 + i) as f64 / 16_000.0).sin()) as i16).collect();
            let mut out = [0; 500];
            let n = encoder.encode(&samples, &mut out);
            out[..n].to_vec()
        })
        .collect()
}

fn rms(samples: &[i16]) -> f64 {
    (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

fn config(directory: &Path) -> RecordConfig {
    std::fs::create_dir_all(directory).unwrap();
    RecordConfig { directory: directory.to_owned(), ogg: true, wav: true }
}

#[test]
fn both_directions_stand_where_they_were_spoken() {
    let scratch = Scratch::new();
    let mut recording = Recording::new(config(&scratch.0), "call".into());
    let (caller, ours) = (tone(440.0, 150), tone(700.0, 150));
    // We begin; the caller joins a second later on a timeline of its own that wraps, and pauses from 2 s to 2.5 s without packets (DTX).
    for i in 0..150_u32 {
        if i >= 50 && !(100..125).contains(&i) {
            recording.packet(true, (u32::MAX - 10_000).wrapping_add((i - 50) * 960), &caller[i as usize]).unwrap();
        }
        recording.packet(false, 5_000 + i * 960, &ours[i as usize]).unwrap();
        recording.write_wav(LAG_SAMPLES_MAX).unwrap();
    }
    let files = recording.finish().unwrap();
    assert_eq!(files.len(), 3);
    let wav = files.iter().find(|f| f.extension().is_some_and(|e| e == "wav")).unwrap();
    let samples: Vec<i16> = hound::WavReader::open(wav).unwrap().samples().map(Result::unwrap).collect();
    let (left, right): (Vec<i16>, Vec<i16>) = samples.chunks_exact(2).map(|p| (p[0], p[1])).unzip();
    assert_eq!(right.len(), 150 * 320, "3 s, to the sample");
    let at = |s: f64| (s * 16_000.0) as usize;
    assert!(rms(&left[..at(0.95)]) < 1.0, "the caller had not begun");
    assert!(rms(&left[at(1.2)..at(1.9)]) > 2_000.0, "the caller spoke");
    assert!(rms(&left[at(2.05)..at(2.45)]) < 50.0, "the caller paused");
    assert!(rms(&left[at(2.6)..at(2.9)]) > 2_000.0, "the caller went on in its place");
    assert!(rms(&right[at(0.2)..at(2.9)]) > 2_000.0, "we spoke all the time");
}

#[test]
fn a_lost_packet_is_concealed_and_a_copy_is_not_heard_twice() {
    let scratch = Scratch::new();
    let mut recording = Recording::new(RecordConfig { ogg: false, ..config(&scratch.0) }, "call".into());
    for (i, packet) in tone(440.0, 50).iter().enumerate().filter(|(i, _)| *i != 25) {
        recording.packet(true, i as u32 * 960, packet).unwrap();
        if i == 30 {
            recording.packet(true, i as u32 * 960, packet).unwrap();
        }
    }
    let files = recording.finish().unwrap();
    let samples: Vec<i16> = hound::WavReader::open(&files[0]).unwrap().samples().map(Result::unwrap).collect();
    assert_eq!(samples.len(), 2 * 50 * 320);
    let gap: Vec<i16> = samples.chunks_exact(2).skip(25 * 320).take(320).map(|p| p[0]).collect();
    assert!(rms(&gap) > 500.0, "concealed, not cut out: {}", rms(&gap));
}

#[test]
fn the_ogg_file_holds_the_packets_as_they_were() {
    let scratch = Scratch::new();
    let mut recording = Recording::new(RecordConfig { wav: false, ..config(&scratch.0) }, "call".into());
    let packets = tone(440.0, 20);
    for (i, packet) in packets.iter().enumerate() {
        recording.packet(true, i as u32 * 960, packet).unwrap();
    }
    let files = recording.finish().unwrap();
    assert_eq!(files.len(), 1);
    let bytes = std::fs::read(&files[0]).unwrap();
    assert!(bytes.starts_with(b"OggS") && bytes.windows(8).any(|w| w == b"OpusHead"));
    let middle: &[u8] = &packets[10];
    assert!(bytes.windows(middle.len()).any(|w| w == middle), "not decoded, not encoded again");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&files[0]).unwrap().permissions().mode() & 0o077, 0, "nobody else reads a conversation");
}

#[test]
fn a_call_that_ends_completes_its_recording() {
    let scratch = Scratch::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let seen = Arc::clone(&seen);
        Arc::new(move |o: &crate::shell::Observed| seen.lock().unwrap().push(o.event.clone()))
    };
    let metrics = Arc::new(Metrics::default());
    let recorder = Recorder::start(config(&scratch.0), Watch::new(observer), Arc::clone(&metrics), Arc::new(|_, _| {})).unwrap();
    let call = CallRef::Meta(crate::session::CallKey(7));
    let mut port = recorder.tap(Box::new(Echo::default()), &call);
    for (i, packet) in tone(440.0, 10).iter().enumerate() {
        port.incoming(Incoming::Opus { payload: packet, timestamp: i as u32 * 960 });
        port.sent(packet, i as u32 * 960);
    }
    drop(port);
    // Completes what runs, then ends the thread.
    drop(recorder);
    let seen = seen.lock().unwrap();
    let [DaemonEvent::RecordingFinished { call: of, files, lost: 0 }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((of, files.len()), (&call, 3));
    assert_eq!(metrics.snapshot().recordings_finished, 1);
}
