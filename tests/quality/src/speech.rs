//! What is said: the project's own spoken samples, as frames, as Opus packets, and as a listener without a network hears them.

use std::path::Path;

use tipring_engine::codec::SampleRate;
use tipring_engine::codec::{Decoder, Encoder, EncoderSettings};

/// Speech of a given length.
pub struct Speech {
    /// One Opus packet for each 20 ms: 20 kb/s, wide band, in-band FEC for 10 % loss, as Meta's relay sends it.
    packets: Vec<Vec<u8>>,
    silent: Vec<bool>,
    loud: Vec<bool>,
    /// All packets decoded in order: 48 kHz, mono.
    pub reference: Vec<i16>,
}

impl Speech {
    /// `frames` frames of 20 ms: the two samples of the demo in turn, with a pause of 600 ms after each.
    pub fn new(frames: usize) -> Result<Self, String> {
        let mut sound = sample("caller.wav")?;
        sound.extend_from_slice(&[0; 9_600]);
        sound.extend(sample("greeting.wav")?);
        sound.extend_from_slice(&[0; 9_600]);
        let rate = SampleRate::Hz16000;
        let mut encoder = Encoder::new(&EncoderSettings::meta(rate)).map_err(|e| e.to_string())?;
        let mut decoder = Decoder::new(SampleRate::Hz48000).map_err(|e| e.to_string())?;
        let mut speech = Self { packets: Vec::new(), silent: Vec::new(), loud: Vec::new(), reference: Vec::new() };
        let mut hangover = 0;
        for frame in 0..frames {
            let samples: Vec<i16> = (0..FRAME_16K).map(|i| sound[(frame * FRAME_16K + i) % sound.len()]).collect();
            let mut packet = [0; 1_276];
            let length = encoder.encode(&samples, &mut packet);
            let mut decoded = [0; FRAME_48K];
            if length == 0 || decoder.decode(&packet[..length], &mut decoded) != Some(FRAME_48K) {
                return Err("the speech could not be coded".into());
            }
            let loud = samples.iter().map(|&s| i32::from(s).pow(2) as i64).sum::<i64>() > LOUD_ENERGY;
            hangover = if loud { HANGOVER_FRAMES } else { hangover - 1 };
            speech.loud.push(loud);
            speech.silent.push(hangover <= 0);
            speech.packets.push(packet[..length].to_vec());
            speech.reference.extend_from_slice(&decoded);
        }
        Ok(speech)
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.packets.len()
    }

    /// Whether a sender with DTX would leave this frame out.
    pub fn is_silent(&self, frame: usize) -> bool {
        self.silent[frame]
    }

    /// Whether somebody speaks in this frame.
    pub fn is_loud(&self, frame: usize) -> bool {
        self.loud.get(frame).copied().unwrap_or(false)
    }

    /// The packet that begins with `frame` and holds `frames` of them (RFC 6716 section 3.2.5, code 3 with lengths).
    pub fn packet(&self, frame: usize, frames: usize) -> Vec<u8> {
        let parts = &self.packets[frame..frame + frames];
        if frames == 1 {
            return parts[0].clone();
        }
        // Frames of one packet share their mode; one that the encoder made in another (it happens in pauses) has length 0, that is lost.
        let bytes = |part: &Vec<u8>| if part[0] == parts[0][0] { part[1..].to_vec() } else { Vec::new() };
        let mut packet = vec![parts[0][0] | 3, 0x80 | frames as u8];
        for part in &parts[..frames - 1] {
            let length = bytes(part).len();
            if length < 252 {
                packet.push(length as u8);
            } else {
                packet.extend_from_slice(&[252 + (length & 3) as u8, ((length - (252 + (length & 3))) >> 2) as u8]);
            }
        }
        parts.iter().for_each(|p| packet.extend_from_slice(&bytes(p)));
        packet
    }
}

fn sample(name: &str) -> Result<Vec<i16>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../signalling/assets").join(name);
    let reader = hound::WavReader::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    if reader.spec().sample_rate != 16_000 || reader.spec().channels != 1 {
        return Err(format!("{}: must be 16 kHz, mono", path.display()));
    }
    reader.into_samples().collect::<Result<_, _>>().map_err(|e| format!("{}: {e}", path.display()))
}

/// Samples of 20 ms at 16 kHz.
const FRAME_16K: usize = 320;
/// Samples of 20 ms at 48 kHz.
pub const FRAME_48K: usize = 960;
/// A mean amplitude of 60, that is -55 dB of full scale.
const LOUD_ENERGY: i64 = 60 * 60 * FRAME_16K as i64;
/// 200 ms of silence are sent before DTX begins, as libopus does it.
const HANGOVER_FRAMES: i32 = 10;
