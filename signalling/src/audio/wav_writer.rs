//! WAV files: recordings written as they come.
//!
//! Given: samples. Decides: how often the header is brought up to date. Refuses: more than the format holds.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tipring_engine::codec::SampleRate;

use super::AudioError;

/// A mono 16-bit WAV recording that grows on the disk. The header is brought up to date every second, so that a recording whose
/// process was killed plays to its last second.
pub struct WavWriter {
    path: PathBuf,
    inner: hound::WavWriter<BufWriter<File>>,
    rate_hz: u32,
    since_flush: u32,
}

impl WavWriter {
    /// Creates the file, or empties it.
    pub fn create(path: &Path, rate: SampleRate) -> Result<Self, AudioError> {
        let spec = hound::WavSpec { channels: 1, sample_rate: rate.hz(), bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
        let inner = hound::WavWriter::create(path, spec).map_err(|e| AudioError::new(path, format!("cannot create it: {e}")))?;
        Ok(Self { path: path.to_owned(), inner, rate_hz: rate.hz(), since_flush: 0 })
    }

    /// Appends samples. Fails when the disk does, or when the file would outgrow the format (4 GiB; 12 h at 48 kHz).
    pub fn write(&mut self, samples: &[i16]) -> Result<(), AudioError> {
        if u64::from(self.inner.len()) + samples.len() as u64 > WAV_SAMPLES_MAX {
            return Err(AudioError::new(&self.path, "it has reached the 4 GiB that a WAV file may have; start another one"));
        }
        for &sample in samples {
            self.inner.write_sample(sample).map_err(|e| self.failed(e))?;
        }
        self.since_flush += samples.len() as u32;
        if self.since_flush >= self.rate_hz {
            self.since_flush = 0;
            self.inner.flush().map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    /// Samples written so far.
    pub fn samples(&self) -> u32 {
        self.inner.len()
    }

    /// Writes what is left and closes the file.
    pub fn finish(self) -> Result<(), AudioError> {
        let path = self.path;
        self.inner.finalize().map_err(|e| AudioError::new(&path, format!("cannot finish it: {e}")))
    }

    fn failed(&self, e: hound::Error) -> AudioError {
        AudioError::new(&self.path, format!("cannot write it: {e}"))
    }
}

/// Under 4 GiB with its header.
const WAV_SAMPLES_MAX: u64 = (u32::MAX as u64 - 1_024) / 2;
