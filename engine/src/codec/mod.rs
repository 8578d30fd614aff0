//! Opus, what stands in for it when there is nothing to say, and the plain codecs of a relay's far side.

pub mod g711;
pub mod l16;
#[cfg(feature = "opus")]
mod opus;
pub mod plc;
pub mod reframe;
pub mod silence;
pub mod toc;

#[cfg(feature = "opus")]
pub use opus::{Application, Decoder, Encoder, EncoderSettings};

/// Sample rates Opus itself runs at; no resampler is needed between them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SampleRate {
    /// 8 000 Hz.
    Hz8000,
    /// 16 000 Hz.
    Hz16000,
    /// 24 000 Hz.
    Hz24000,
    /// 48 000 Hz.
    Hz48000,
}

impl SampleRate {
    /// In Hz.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8_000,
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// Samples of one 20 ms frame, mono.
    pub const fn frame_samples(self) -> usize {
        self.hz() as usize / 50
    }
}

/// Samples of the longest 20 ms frame.
pub const FRAME_SAMPLES_MAX: usize = SampleRate::Hz48000.frame_samples();

/// Samples of the longest Opus packet, 120 ms at 48 kHz (RFC 6716 section 3.2.5).
pub const DECODE_SAMPLES_MAX: usize = 6 * FRAME_SAMPLES_MAX;
