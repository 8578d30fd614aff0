//! Audio files at the host's end of a call: announcements in, recordings out.
//!
//! Decides: which files are taken and how recordings lie on the disk. Is given: paths, samples, Opus packets with timestamps. Refuses:
//! to run on a shard (everything here blocks on the disk), to encode or decode Opus.

use core::fmt;
use std::path::{Path, PathBuf};

mod ogg_opus;
mod wav;
mod wav_writer;

pub use ogg_opus::{OggOpusFile, OggOpusWriter, read_ogg_opus};
#[cfg(any(test, fuzzing, feature = "daemon"))]
pub(crate) use wav::read_wav;
pub use wav::{WAV_SECONDS_MAX, load_wav};
pub use wav_writer::WavWriter;

/// An audio file that cannot be used: which one, why, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioError {
    path: PathBuf,
    what: String,
}

impl AudioError {
    fn new(path: &Path, what: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), what: what.to_string() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for AudioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "audio file {}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for AudioError {}
