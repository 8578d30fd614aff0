//! What a plain RTP leg is told about its far side.
//!
//! Decides: which combinations make sense. Given by: the host. Refuses: SDP text, and to judge whether a target is allowed (the engine's list does).

use crate::codec::SampleRate;
use crate::error::SetupError;
use crate::time::Span;
use core::net::SocketAddr;

/// What is spoken on a plain RTP leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegCodec {
    /// Opus, passed through (RFC 7587): packets of 20 ms as they are, others cut or joined to 20 ms without decoding; single frames of 40 and 60 ms are decoded.
    Opus,
    /// G.711 mu-law at 8 kHz.
    Pcmu,
    /// G.711 A-law at 8 kHz.
    Pcma,
    /// 16-bit samples (RFC 3551 section 4.5.11) at 8 or 16 kHz.
    L16(SampleRate),
}

impl LegCodec {
    /// RTP clock in Hz.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Opus => crate::limits::RTP_CLOCK_HZ,
            Self::Pcmu | Self::Pcma => 8_000,
            Self::L16(rate) => rate.hz(),
        }
    }

    /// The payload type when nobody names one: static where there is one (RFC 3551 section 6), else the usual choice.
    pub const fn default_payload_type(self) -> u8 {
        match self {
            Self::Opus => 111,
            Self::Pcmu => 0,
            Self::Pcma => 8,
            Self::L16(_) => 96,
        }
    }

    /// Ticks of the 48 kHz line in one of this codec's clock.
    pub(super) const fn scale(self) -> u32 {
        crate::limits::RTP_CLOCK_HZ / self.clock_hz()
    }

    /// Bytes of a sample on the wire; 1 for Opus, where it means nothing.
    pub(super) const fn sample_bytes(self) -> usize {
        match self {
            Self::Opus | Self::Pcmu | Self::Pcma => 1,
            Self::L16(_) => 2,
        }
    }

    /// Rate of its audio as the decoder and encoder of the call run at; none when nothing is decoded.
    pub const fn pcm_rate(self) -> Option<SampleRate> {
        match self {
            Self::Opus => None,
            Self::Pcmu | Self::Pcma => Some(SampleRate::Hz8000),
            Self::L16(rate) => Some(rate),
        }
    }
}

/// Where RTCP goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RtcpPort {
    /// On the RTP port (RFC 5761).
    #[default]
    Mux,
    /// On the port above, at both ends (RFC 3550 section 11).
    Next,
}

/// telephone-event on the leg (RFC 4733).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LegEvents {
    /// Payload type.
    pub payload_type: u8,
    /// Clock of its durations in Hz: 8 000, or that of the audio.
    pub clock_hz: u32,
}

/// A plain RTP leg, as a host asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RtpLegParams {
    /// Where the far side is. None only together with `learn`.
    pub remote: Option<SocketAddr>,
    /// Takes the address that the first valid packet comes from for the far side's, and no other afterwards. Off: only `remote` is heard (no RTP bleed).
    pub learn: bool,
    /// Where RTCP goes.
    pub rtcp: RtcpPort,
    /// What is spoken.
    pub codec: LegCodec,
    /// Its payload type, 0 to 127.
    pub payload_type: u8,
    /// Digits, when the far side takes them.
    pub events: Option<LegEvents>,
    /// How much of what the far side says is kept until the gate opens; older gives way. At most 10 s.
    pub pre_roll: Span,
}

impl RtpLegParams {
    /// Opus at `remote`, payload types as Meta's: 111, and 126 for events at 8 kHz.
    pub fn opus(remote: SocketAddr) -> Self {
        Self {
            remote: Some(remote),
            learn: false,
            rtcp: RtcpPort::Mux,
            codec: LegCodec::Opus,
            payload_type: 111,
            events: Some(LegEvents { payload_type: 126, clock_hz: 8_000 }),
            pre_roll: PRE_ROLL,
        }
    }

    /// G.711 or L16 at `remote`: transcoded. Default payload types, events on 101.
    pub fn transcoded(remote: SocketAddr, codec: LegCodec) -> Self {
        Self {
            codec,
            payload_type: codec.default_payload_type(),
            events: Some(LegEvents { payload_type: 101, clock_hz: 8_000 }),
            ..Self::opus(remote)
        }
    }

    /// Whether this can work; the error says what to change.
    pub fn check(&self) -> Result<(), SetupError> {
        if self.remote.is_none() && !self.learn {
            return Err(SetupError::Misuse("an RTP leg needs a remote address, or learn = true"));
        }
        if let Some(remote) = self.remote {
            check_remote(remote, self.rtcp)?;
        }
        if !matches!(self.codec, LegCodec::L16(SampleRate::Hz8000 | SampleRate::Hz16000) | LegCodec::Opus | LegCodec::Pcmu | LegCodec::Pcma)
        {
            return Err(SetupError::Misuse("an RTP leg's L16 runs at 8000 or 16000 Hz: what Meta sends holds no more"));
        }
        let types = [Some(self.payload_type), self.events.map(|e| e.payload_type)];
        if types.iter().flatten().any(|&t| t > 127 || self.rtcp == RtcpPort::Mux && (64..=95).contains(&t)) {
            // RFC 5761 section 4: 64 to 95 would read as RTCP
            return Err(SetupError::Misuse("an RTP leg's payload types must be 0 to 127, and not 64 to 95 while RTCP shares the port"));
        }
        if self.events.is_some_and(|e| e.payload_type == self.payload_type) {
            return Err(SetupError::Misuse("an RTP leg's payload types for audio and events must differ"));
        }
        if self.events.is_some_and(|e| e.clock_hz != 8_000 && e.clock_hz != self.codec.clock_hz()) {
            return Err(SetupError::Misuse("an RTP leg's event clock must be 8000 or the clock of its audio"));
        }
        if self.pre_roll > PRE_ROLL_MAX {
            return Err(SetupError::Misuse("an RTP leg's pre-roll must be at most 10 s: it is a delay until the speaker pauses"));
        }
        Ok(())
    }
}

/// Pre-roll when nobody names one: longer than `accept` takes on a bad day.
pub const PRE_ROLL: Span = Span::from_secs(2);
/// Longest pre-roll.
pub const PRE_ROLL_MAX: Span = Span::from_secs(10);

/// Whether an address can be sent to.
pub(super) fn check_remote(remote: SocketAddr, rtcp: RtcpPort) -> Result<(), SetupError> {
    let last = if rtcp == RtcpPort::Next { u16::MAX - 1 } else { u16::MAX };
    if remote.port() == 0 || remote.port() > last {
        return Err(SetupError::Misuse("an RTP leg's remote port must be 1 to 65535, with room for RTCP above it"));
    }
    if remote.ip().is_unspecified() || remote.ip().is_multicast() {
        return Err(SetupError::Misuse("an RTP leg's remote address must be one host"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        let good = RtpLegParams::opus("127.0.0.1:4000".parse().expect("an address"));
        assert_eq!(good.check(), Ok(()));
        let bad = [
            RtpLegParams { remote: None, ..good.clone() },
            RtpLegParams { remote: Some("0.0.0.0:4000".parse().expect("an address")), ..good.clone() },
            RtpLegParams { remote: Some("127.0.0.1:0".parse().expect("an address")), ..good.clone() },
            RtpLegParams { remote: Some("127.0.0.1:65535".parse().expect("an address")), rtcp: RtcpPort::Next, ..good.clone() },
            RtpLegParams { payload_type: 128, ..good.clone() },
            RtpLegParams { payload_type: 72, ..good.clone() },
            RtpLegParams { events: Some(LegEvents { payload_type: 111, clock_hz: 8_000 }), ..good.clone() },
            RtpLegParams { events: Some(LegEvents { payload_type: 101, clock_hz: 16_000 }), ..good.clone() },
        ];
        for params in bad {
            assert!(params.check().is_err(), "{params:?}");
        }
        assert_eq!(RtpLegParams { remote: None, learn: true, ..good.clone() }.check(), Ok(()));
        assert_eq!(RtpLegParams { payload_type: 72, rtcp: RtcpPort::Next, ..good }.check(), Ok(()));
    }
}
