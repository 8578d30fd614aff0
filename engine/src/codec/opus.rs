//! libopus behind a safe face (RFC 6716, RFC 7587).
//!
//! Decides: how libopus is set up for a call, and that no packet, however hostile, makes it write outside the caller's buffer.
//! Is given: samples, packets, settings. Refuses: frame lengths other than 20 ms on the way out, stereo on the way out (O3),
//! DTX (`silence` and the call's own gate decide what silence is), RTP.

use core::ffi::c_int;
use core::fmt;
use core::ptr::{NonNull, null};

use opusic_sys as sys;

use super::SampleRate;
use crate::error::SetupError;
use crate::limits::{DATAGRAM_BYTES_MAX, OPUS_BYTES_MAX};

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
    /// Constant bit rate: every packet of one size, as the peer's `cbr=1` asks.
    pub cbr: bool,
    /// Highest audio bandwidth, as the peer's `maxplaybackrate` in Hz.
    pub playback_rate_hz_max: u32,
}

impl EncoderSettings {
    /// What Meta's relay asks for: speech, 20 kb/s, wide band, FEC for 10 % loss, at complexity 5 (`whatsapp-calling.md` 4.1, 5.5).
    pub const fn meta(rate: SampleRate) -> Self {
        Self {
            rate,
            application: Application::Voip,
            bitrate_bps: 20_000,
            complexity: 5,
            fec: true,
            loss_percent: 10,
            cbr: false,
            playback_rate_hz_max: 16_000,
        }
    }

    pub(super) fn check(&self) -> Result<(), SetupError> {
        if !(BITRATE_BPS_MIN..=BITRATE_BPS_MAX).contains(&self.bitrate_bps) {
            return Err(SetupError::Misuse("EncoderSettings::bitrate_bps must be 6000 to 510000 (RFC 7587 section 6.1)"));
        }
        if self.complexity > 10 {
            return Err(SetupError::Misuse("EncoderSettings::complexity must be 0 to 10"));
        }
        if self.loss_percent > 100 {
            return Err(SetupError::Misuse("EncoderSettings::loss_percent must be 0 to 100"));
        }
        Ok(())
    }
}

/// A mono encoder. `Send`.
pub struct Encoder {
    state: NonNull<sys::OpusEncoder>,
    settings: EncoderSettings,
}

// JUSTIFICATION: a call, and its encoder with it, is made on one thread and lives on its shard's.
// SAFETY: libopus keeps no thread-local state, and `&mut self` on every call excludes concurrent use.
unsafe impl Send for Encoder {}

impl Encoder {
    /// Allocates and sets it up: mono, constrained VBR, no DTX.
    ///
    /// `SetupError::Misuse` names a setting out of range; `SetupError::Library` means libopus had no memory.
    pub fn new(settings: &EncoderSettings) -> Result<Self, SetupError> {
        settings.check()?;
        let mut status: c_int = sys::OPUS_OK;
        // JUSTIFICATION: libopus is C; the pure-Rust codecs cost 1.3 to 1.7 times the CPU (ADR 0004).
        // SAFETY: plain values and a pointer to a live `c_int`; the result is checked before use.
        let state = unsafe { sys::opus_encoder_create(settings.rate.hz() as i32, 1, settings.application.code(), &raw mut status) };
        let Some(state) = NonNull::new(state).filter(|_| status == sys::OPUS_OK) else {
            return Err(SetupError::Library("opus_encoder_create failed: out of memory"));
        };
        let mut encoder = Self { state, settings: *settings };
        if encoder.apply(settings) { Ok(encoder) } else { Err(SetupError::Library("libopus refused an encoder setting")) }
    }

    /// Encodes one 20 ms frame (`rate.frame_samples()` samples) into `out`; returns the packet's length, `1..=OPUS_BYTES_MAX`.
    ///
    /// Returns 0, and writes nothing that counts, if `samples` is not one frame long or `out` is too short for libopus.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        let frame_samples = self.settings.rate.frame_samples();
        if samples.len() != frame_samples || out.is_empty() {
            return 0;
        }
        let room = out.len().min(OPUS_BYTES_MAX);
        // JUSTIFICATION: the only way into libopus.
        // SAFETY: `samples` holds `frame_samples` mono samples and `out` at least `room` bytes; `state` is alive until drop.
        let written =
            unsafe { sys::opus_encode(self.state.as_ptr(), samples.as_ptr(), frame_samples as c_int, out.as_mut_ptr(), room as i32) };
        usize::try_from(written).map_or(0, |n| n.min(room))
    }

    /// Changes what may change in a running call: bit rate, complexity, FEC, loss, bandwidth. `rate` and `application` stay as they
    /// were; values out of range are brought to the nearest one allowed.
    pub fn retune(&mut self, settings: &EncoderSettings) {
        let wanted = EncoderSettings {
            rate: self.settings.rate,
            application: self.settings.application,
            bitrate_bps: settings.bitrate_bps.clamp(BITRATE_BPS_MIN, BITRATE_BPS_MAX),
            complexity: settings.complexity.min(10),
            loss_percent: settings.loss_percent.min(100),
            ..*settings
        };
        if wanted != self.settings {
            let applied = self.apply(&wanted);
            debug_assert!(applied, "every clamped value is one libopus takes");
        }
    }

    /// Forgets the past, as at the start of a call. Settings stay.
    pub fn reset(&mut self) {
        let settings = self.settings;
        let done = self.renew(&settings);
        debug_assert!(done, "what libopus took once it takes again");
    }

    /// Settings in force.
    pub fn settings(&self) -> &EncoderSettings {
        &self.settings
    }

    /// Makes a used encoder as good as new, for any rate; false if libopus refused, and then it must not be used.
    ///
    /// OPUS_RESET_STATE is not enough: after it libopus 1.6.1 was seen to choose another bandwidth than a new encoder did, so that the first
    /// frames of a call would depend on the call before it.
    pub(crate) fn renew(&mut self, settings: &EncoderSettings) -> bool {
        // JUSTIFICATION: a new encoder costs an allocation of 32 KiB, initialising one does not.
        // SAFETY: `state` is alive and was allocated by `opus_encoder_create` for one channel. Its size depends on the number of channels
        // and on the restricted applications, of which we use none; not on the rate.
        let status = unsafe { sys::opus_encoder_init(self.state.as_ptr(), settings.rate.hz() as i32, 1, settings.application.code()) };
        status == sys::OPUS_OK && self.apply(settings)
    }

    fn apply(&mut self, settings: &EncoderSettings) -> bool {
        self.settings = *settings;
        self.set(sys::OPUS_SET_BITRATE_REQUEST, settings.bitrate_bps as c_int)
            && self.set(sys::OPUS_SET_COMPLEXITY_REQUEST, c_int::from(settings.complexity))
            && self.set(sys::OPUS_SET_INBAND_FEC_REQUEST, c_int::from(settings.fec))
            && self.set(sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST, c_int::from(settings.loss_percent))
            && self.set(sys::OPUS_SET_MAX_BANDWIDTH_REQUEST, bandwidth(settings.playback_rate_hz_max))
            && self.set(sys::OPUS_SET_SIGNAL_REQUEST, settings.application.signal())
            //= rfc7587#section-3.1.2  no more than the peer asked for
            // Constrained VBR keeps a packet within the peer's maxaveragebitrate over a second or so.
            //= rfc7587#section-6.1:cbr  packets of one size where the peer wants them
            && self.set(sys::OPUS_SET_VBR_REQUEST, c_int::from(!settings.cbr))
            && self.set(sys::OPUS_SET_VBR_CONSTRAINT_REQUEST, 1)
            // DTX leaves gaps of 400 ms in front of a relay that counts media, and saves no CPU.
            && self.set(sys::OPUS_SET_DTX_REQUEST, 0)
    }

    fn set(&mut self, request: c_int, value: c_int) -> bool {
        // JUSTIFICATION: libopus has no other way to set a parameter.
        // SAFETY: every request passed here is a `SET` that takes one `opus_int32` (`c_int`) by value; `state` is alive.
        unsafe { sys::opus_encoder_ctl(self.state.as_ptr(), request, value) == sys::OPUS_OK }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // JUSTIFICATION: libopus allocated it.
        // SAFETY: `state` came from `opus_encoder_create`, is owned by us alone and not used after this.
        unsafe { sys::opus_encoder_destroy(self.state.as_ptr()) }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A mono decoder; takes mono and stereo packets of every bandwidth (O7). `Send`.
//= rfc7587#section-3.4  one channel, whatever comes
pub struct Decoder {
    state: NonNull<sys::OpusDecoder>,
    rate: SampleRate,
}

// JUSTIFICATION: as for `Encoder`.
// SAFETY: as for `Encoder`.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Allocates it for this output rate.
    pub fn new(rate: SampleRate) -> Result<Self, SetupError> {
        let mut status: c_int = sys::OPUS_OK;
        // JUSTIFICATION: libopus is C (ADR 0004).
        // SAFETY: plain values and a pointer to a live `c_int`; the result is checked before use.
        let state = unsafe { sys::opus_decoder_create(rate.hz() as i32, 1, &raw mut status) };
        match NonNull::new(state).filter(|_| status == sys::OPUS_OK) {
            Some(state) => Ok(Self { state, rate }),
            None => Err(SetupError::Library("opus_decoder_create failed: out of memory")),
        }
    }

    /// Decodes a packet into `out`; returns the samples written, or none when libopus refuses the packet.
    ///
    /// None too for an empty packet (a lost frame, O4: conceal it) and for one longer than `out`. `DECODE_SAMPLES_MAX` samples hold
    /// every packet there is. The decoder stays usable after a refusal.
    pub fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> Option<usize> {
        if packet.is_empty() || packet.len() > DATAGRAM_BYTES_MAX {
            return None;
        }
        let room = out.len().min(self.rate.frame_samples() * 6);
        self.run(Some(packet), &mut out[..room], false)
    }

    /// Decodes the 20 ms before `next_packet` from its in-band FEC. A packet without FEC gives concealment.
    ///
    /// Returns `rate.frame_samples()`; none if libopus refuses the packet or `out` is shorter than that. Decode `next_packet` itself
    /// afterwards (O5).
    //= rfc7587#section-3.3  the 20 ms before, from the packet after
    pub fn decode_fec(&mut self, next_packet: &[u8], out: &mut [i16]) -> Option<usize> {
        if next_packet.is_empty() || next_packet.len() > DATAGRAM_BYTES_MAX {
            return None;
        }
        self.run(Some(next_packet), out.get_mut(..self.rate.frame_samples())?, true)
    }

    /// Conceals one 20 ms frame. libopus fades by itself as frames are concealed in a row.
    ///
    /// Returns `rate.frame_samples()`; none if `out` is shorter than that.
    pub fn conceal(&mut self, out: &mut [i16]) -> Option<usize> {
        self.run(None, out.get_mut(..self.rate.frame_samples())?, false)
    }

    /// Output rate.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Forgets the past (P11).
    pub fn reset(&mut self) {
        // JUSTIFICATION: a new decoder costs an allocation of 18 KiB, a reset does not.
        // SAFETY: OPUS_RESET_STATE takes no argument; `state` is alive.
        let status = unsafe { sys::opus_decoder_ctl(self.state.as_ptr(), sys::OPUS_RESET_STATE) };
        debug_assert_eq!(status, sys::OPUS_OK, "OPUS_RESET_STATE has no way to fail");
    }

    /// Makes a used decoder as good as new, for any rate; false if libopus refused.
    pub(crate) fn renew(&mut self, rate: SampleRate) -> bool {
        self.rate = rate;
        // JUSTIFICATION: as for `Encoder::renew`.
        // SAFETY: `state` is alive and was allocated for one channel; its size depends on the number of channels alone.
        unsafe { sys::opus_decoder_init(self.state.as_ptr(), rate.hz() as i32, 1) == sys::OPUS_OK }
    }

    /// `out` is the exact room; for FEC and concealment also the exact length wanted.
    fn run(&mut self, packet: Option<&[u8]>, out: &mut [i16], fec: bool) -> Option<usize> {
        let (data, len) = packet.map_or((null(), 0), |p| (p.as_ptr(), p.len() as i32));
        // JUSTIFICATION: the only way into libopus.
        // SAFETY: `data` is null with length 0, or `len` readable bytes (at most a datagram, so the cast holds); `out` is
        // `out.len()` mono samples, at most 120 ms of them, and libopus writes no more than `frame_size` per channel of the decoder,
        // which has one. `state` is alive until drop.
        let samples = unsafe { sys::opus_decode(self.state.as_ptr(), data, len, out.as_mut_ptr(), out.len() as c_int, c_int::from(fec)) };
        usize::try_from(samples).ok().filter(|&n| n > 0 && n <= out.len())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // JUSTIFICATION: libopus allocated it.
        // SAFETY: `state` came from `opus_decoder_create`, is owned by us alone and not used after this.
        unsafe { sys::opus_decoder_destroy(self.state.as_ptr()) }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Application {
    const fn code(self) -> c_int {
        match self {
            Self::Voip => sys::OPUS_APPLICATION_VOIP,
            Self::Audio => sys::OPUS_APPLICATION_AUDIO,
        }
    }

    const fn signal(self) -> c_int {
        match self {
            Self::Voip => sys::OPUS_SIGNAL_VOICE,
            Self::Audio => sys::OPUS_AUTO,
        }
    }
}

/// Audio bandwidth for the peer's `maxplaybackrate` (RFC 7587 section 6.1): the widest one whose sampling rate it can play.
//= rfc7587#section-7.1  the widest that the peer can play
const fn bandwidth(playback_rate_hz_max: u32) -> c_int {
    match playback_rate_hz_max {
        0..12_000 => sys::OPUS_BANDWIDTH_NARROWBAND,
        12_000..16_000 => sys::OPUS_BANDWIDTH_MEDIUMBAND,
        16_000..24_000 => sys::OPUS_BANDWIDTH_WIDEBAND,
        24_000..48_000 => sys::OPUS_BANDWIDTH_SUPERWIDEBAND,
        _ => sys::OPUS_BANDWIDTH_FULLBAND,
    }
}

const BITRATE_BPS_MIN: u32 = 6_000;
const BITRATE_BPS_MAX: u32 = 510_000;

#[cfg(test)]
mod tests;
