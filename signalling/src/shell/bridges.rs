//! From a configured bridge to the object that a call talks to.
//!
//! Decides: nothing; loads WAV files once, at start. Refuses: files that no configuration names.

use super::observe::CallRef;
use crate::config::{BridgeConfig, BridgeKind, Config};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tipring_engine::bridge::{Echo, Play};
use tipring_engine::call::MediaPort;
use tipring_engine::codec::SampleRate;

/// Every file that a bridge may play, decoded.
pub(crate) struct Bridges {
    wavs: HashMap<PathBuf, (Arc<[i16]>, SampleRate)>,
}

impl Bridges {
    /// Loads every WAV file that `config` names. The error is for an operator.
    pub(crate) fn load(config: &Config) -> Result<Self, String> {
        let mut wavs = HashMap::new();
        let bridges = config.numbers.iter().map(|n| &n.bridge).chain(config.direct.as_ref().map(|d| &d.bridge));
        for path in bridges.filter_map(|b| b.kind.wav()) {
            if !wavs.contains_key(path) {
                wavs.insert(path.clone(), load_wav(path).map_err(|e| format!("bridge.wav: {}: {e}", path.display()))?);
            }
        }
        Ok(Self { wavs })
    }

    /// A new end for one call.
    pub(crate) fn port(&self, bridge: &BridgeConfig, _call: &CallRef) -> Box<dyn MediaPort> {
        let wav = |path: &PathBuf| self.wavs.get(path).map(|(samples, rate)| (Arc::clone(samples), *rate));
        match &bridge.kind {
            BridgeKind::Echo => Box::new(Echo::default()),
            BridgeKind::Play(path) => match wav(path) {
                Some((samples, rate)) => Box::new(Play::new(samples, rate)),
                None => Box::new(Echo::default()),
            },
            BridgeKind::PlayThenEcho(path) => match wav(path) {
                Some((samples, rate)) => Box::new(Play::then(samples, rate, Box::new(Echo::default()))),
                None => Box::new(Echo::default()),
            },
        }
    }
}

/// Longest file played, in samples: ten minutes at 48 kHz.
const WAV_SAMPLES_MAX: u32 = 48_000 * 600;

fn load_wav(path: &PathBuf) -> Result<(Arc<[i16]>, SampleRate), String> {
    let mut reader = hound::WavReader::open(path).map_err(|e| format!("cannot be read as WAV: {e}"))?;
    let spec = reader.spec();
    let rate = match spec.sample_rate {
        8_000 => SampleRate::Hz8000,
        16_000 => SampleRate::Hz16000,
        24_000 => SampleRate::Hz24000,
        48_000 => SampleRate::Hz48000,
        other => return Err(format!("has {other} Hz; convert it to 16000 or 48000")),
    };
    if spec.sample_format != hound::SampleFormat::Int || spec.bits_per_sample != 16 || !(1..=2).contains(&spec.channels) {
        return Err("is not 16-bit PCM with one or two channels; convert it".into());
    }
    if reader.duration() == 0 || reader.duration() > WAV_SAMPLES_MAX {
        return Err("is empty or longer than ten minutes".into());
    }
    let samples: Vec<i16> = reader.samples().collect::<Result<_, _>>().map_err(|e| format!("breaks off: {e}"))?;
    let mono = match spec.channels {
        1 => samples,
        _ => samples.chunks_exact(2).map(|p| ((i32::from(p[0]) + i32::from(p[1])) / 2) as i16).collect(),
    };
    Ok((mono.into(), rate))
}
