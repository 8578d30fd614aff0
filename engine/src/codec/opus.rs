//! libopus behind a safe face (RFC 6716, RFC 7587).

use super::SampleRate;
use crate::error::SetupError;

/// What the encoder optimises for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Application {
    /// Speech.
    Voip,
    /// Music and mixed content.
    Audio,
}

/// Encoder settings; from the peer's fmtp (O3) and the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncoderSettings {
    /// Rate of the samples given to `encode`.
    pub rate: SampleRate,
    /// What to optimise for.
    pub application: Application,
    /// Bits per second, 6 000 to 510 000.
    pub bitrate_bps: u32,
    /// 0 (cheap) to 10.
    pub complexity: u8,
    /// In-band FEC on.
    pub fec: bool,
    /// Expected loss in percent, 0 to 100.
    pub loss_percent: u8,
    /// Highest audio bandwidth, as the peer's `maxplaybackrate` in Hz.
    pub playback_rate_hz_max: u32,
}

/// A mono encoder. `Send`.
pub struct Encoder {
    _private: (),
}

impl Encoder {
    /// Allocates and sets it up.
    pub fn new(_settings: &EncoderSettings) -> Result<Self, SetupError> {
        todo!()
    }
    /// Encodes one 20 ms frame (`rate.frame_samples()` samples) into `out`; returns the packet's length.
    pub fn encode(&mut self, _samples: &[i16], _out: &mut [u8]) -> usize {
        todo!()
    }
    /// Changes what may change in a running call: bit rate, complexity, FEC, loss.
    pub fn retune(&mut self, _settings: &EncoderSettings) {
        todo!()
    }
    /// Forgets the past, as at the start of a call.
    pub fn reset(&mut self) {
        todo!()
    }
}

/// A mono decoder; takes mono and stereo packets of every bandwidth (O7). `Send`.
pub struct Decoder {
    _private: (),
}

impl Decoder {
    /// Allocates it for this output rate.
    pub fn new(_rate: SampleRate) -> Result<Self, SetupError> {
        todo!()
    }
    /// Decodes a packet into `out`; returns the samples written, or none when libopus refuses the packet.
    pub fn decode(&mut self, _packet: &[u8], _out: &mut [i16]) -> Option<usize> {
        todo!()
    }
    /// Decodes the 20 ms before `next_packet` from its in-band FEC.
    pub fn decode_fec(&mut self, _next_packet: &[u8], _out: &mut [i16]) -> Option<usize> {
        todo!()
    }
    /// Conceals one 20 ms frame.
    pub fn conceal(&mut self, _out: &mut [i16]) -> Option<usize> {
        todo!()
    }
    /// Output rate.
    pub fn rate(&self) -> SampleRate {
        todo!()
    }
    /// Forgets the past (P11).
    pub fn reset(&mut self) {
        todo!()
    }
}
