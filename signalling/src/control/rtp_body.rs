//! The `rtp` object of a bridge in a request: names and numbers to the parameters of a plain RTP leg.
//!
//! Decides: defaults, and which names mean what. Given: JSON that serde has read. Refuses: host names (an address is declared, not looked up) and targets outside of
//! the engine's list (the engine does).

use super::voip::names_outside;
use serde::Deserialize;
use std::net::SocketAddr;
use tipring_engine::bridge::rtp::{LegCodec, LegEvents, PRE_ROLL, RtcpPort, RtpLegParams};
use tipring_engine::call::Direction;
use tipring_engine::codec::SampleRate;
use tipring_engine::time::Span;

/// `bridge.rtp` of `POST /v1/sessions`.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RtpBody {
    /// `address:port` of the far side.
    remote: Option<String>,
    /// Take the address of the first valid packet for the far side's.
    #[serde(default)]
    learn: bool,
    /// `mux` or `next`.
    rtcp: Option<String>,
    /// Name of the codec.
    codec: Option<String>,
    /// Payload type; the static one of the codec, or 111 for Opus.
    payload_type: Option<u8>,
    /// Payload type of telephone-event; absent: no digits on the leg.
    dtmf_payload_type: Option<u8>,
    /// Clock of its durations: 8000 (the default) or that of the audio.
    dtmf_clock_hz: Option<u32>,
    /// How much of what the far side says is kept until the user can hear it, in milliseconds: at most 10000; 2000 if absent.
    preroll_ms: Option<u64>,
}

impl RtpBody {
    /// The parameters; the error is a sentence for whoever sent the request.
    pub(super) fn params(&self) -> Result<RtpLegParams, BadLeg> {
        let remote = self.remote.as_deref().map(far_side).transpose()?;
        let codec = codec_named(self.codec.as_deref().unwrap_or("opus"))?;
        let rtcp = match self.rtcp.as_deref() {
            None | Some("mux") => RtcpPort::Mux,
            Some("next") => RtcpPort::Next,
            Some(other) => return Err(format!("rtcp {other:?} is neither mux nor next").into()),
        };
        let events = self.dtmf_payload_type.map(|payload_type| LegEvents { payload_type, clock_hz: self.dtmf_clock_hz.unwrap_or(8_000) });
        if events.is_none() && self.dtmf_clock_hz.is_some() {
            return Err("dtmf_clock_hz is set, but dtmf_payload_type is not".to_owned().into());
        }
        let pre_roll = self.preroll_ms.map_or(PRE_ROLL, Span::from_millis);
        let payload_type = self.payload_type.unwrap_or(codec.default_payload_type());
        let params = RtpLegParams { remote, learn: self.learn, rtcp, codec, payload_type, events, pre_roll };
        params.check().map_err(|e| BadLeg::Body(e.to_string()))?;
        Ok(params)
    }
}

/// Body of `PUT /v1/sessions/{id}/rtp`.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RtpChange {
    /// The far side's new address.
    remote: Option<String>,
    /// `sendrecv`, `sendonly`, `recvonly` or `inactive`, as seen from us.
    direction: Option<String>,
}

/// Why a leg cannot be made of a body.
#[derive(Debug)]
pub(super) enum BadLeg {
    /// A sentence for whoever sent it.
    Body(String),
    /// The far side is a telephone or a host that nobody listed.
    Outside(&'static str),
}

impl From<String> for BadLeg {
    fn from(what: String) -> Self {
        Self::Body(what)
    }
}

//= meta#R-10  an address is declared, not looked up, and a telephone is none
fn far_side(text: &str) -> Result<SocketAddr, BadLeg> {
    text.parse().map_err(|_| match names_outside(text) {
        Some(what) => BadLeg::Outside(what),
        None => BadLeg::Body(format!("remote {text:?} is not ADDRESS:PORT")),
    })
}

impl RtpChange {
    /// The far side's new address, if any.
    pub(super) fn remote(&self) -> Result<Option<SocketAddr>, BadLeg> {
        self.remote.as_deref().map(far_side).transpose()
    }

    /// The direction asked for, if any.
    pub(super) fn direction(&self) -> Result<Option<Direction>, String> {
        let Some(name) = self.direction.as_deref() else { return Ok(None) };
        DIRECTIONS
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, d)| Some(*d))
            .ok_or_else(|| format!("direction {name:?} is none of {}", DIRECTIONS.map(|d| d.0).join(", ")))
    }
}

/// A codec by its name in requests and configuration.
pub(crate) fn codec_named(name: &str) -> Result<LegCodec, String> {
    let found = CODECS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, codec)| *codec);
    found.ok_or_else(|| format!("codec {name:?} is none of {}", CODECS.map(|c| c.0).join(", ")))
}

/// Directions by name (RFC 8866 section 6.7).
const DIRECTIONS: [(&str, Direction); 4] = [
    ("sendrecv", Direction::SendRecv),
    ("sendonly", Direction::SendOnly),
    ("recvonly", Direction::RecvOnly),
    ("inactive", Direction::Inactive),
];

/// Codecs by name.
const CODECS: [(&str, LegCodec); 5] = [
    ("opus", LegCodec::Opus),
    ("pcmu", LegCodec::Pcmu),
    ("pcma", LegCodec::Pcma),
    ("l16/8000", LegCodec::L16(SampleRate::Hz8000)),
    ("l16/16000", LegCodec::L16(SampleRate::Hz16000)),
];
