//! Plain RTP in the configuration: where it may go, and the leg of a bridge.
//!
//! Decides: defaults and what fits together. Given: a section. Refuses: host names; an address is declared, not looked up.

use super::reader::{Reader, Section};
use crate::control::codec_named;
use std::net::SocketAddr;
use tipring_engine::bridge::rtp::{AddressRange, LegEvents, PRE_ROLL, PRE_ROLL_MAX, RtcpPort, RtpLegParams};
use tipring_engine::time::Span;

/// `engine.rtp_targets`.
pub(super) fn read_targets(r: &mut Reader<'_>, s: &mut Section<'_, '_>) -> Vec<AddressRange> {
    let mut targets = Vec::new();
    for (text, span) in s.strings(r, "rtp_targets").unwrap_or_default() {
        match text.parse() {
            Ok(range) => targets.push(range),
            Err(e) => r.fault("engine.rtp_targets", Some(&span), format!("{text:?}: {e}"), "correct it"),
        }
    }
    targets
}

/// `bridge.rtp`, for a bridge of kind `rtp`.
pub(super) fn read_leg(r: &mut Reader<'_>, parent: &mut Section<'_, '_>) -> Option<RtpLegParams> {
    let mut s = parent.table(r, "rtp");
    if !s.is_present() {
        return None;
    }
    let span = s.span.clone();
    let remote: Option<SocketAddr> = s.str(r, "remote").and_then(|(text, span)| {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            r.fault(
                s.path_of("remote"),
                Some(&span),
                "is not an address and a port",
                "write for example \"10.0.0.5:4000\" or \"[fd00::5]:4000\"",
            );
        }
        parsed
    });
    let codec = s
        .str(r, "codec")
        .and_then(|(name, span)| codec_named(name).map_err(|e| r.fault(s.path_of("codec"), Some(&span), e, "correct the name")).ok());
    let codec = codec.unwrap_or(tipring_engine::bridge::rtp::LegCodec::Opus);
    let rtcp = match s.str(r, "rtcp") {
        None | Some(("mux", _)) => RtcpPort::Mux,
        Some(("next", _)) => RtcpPort::Next,
        Some((_, span)) => {
            r.fault(s.path_of("rtcp"), Some(&span), "is neither mux nor next", "write \"mux\" or \"next\"");
            RtcpPort::Mux
        }
    };
    let default_type = codec.default_payload_type();
    let payload_type = s.integer(r, "payload_type", 0..=127, default_type.into()) as u8;
    let has_events = s.value("dtmf_payload_type").is_some();
    let event_type = s.integer(r, "dtmf_payload_type", 0..=127, 101) as u8;
    let clock_hz = s.integer(r, "dtmf_clock_hz", 8_000..=48_000, 8_000) as u32;
    let events = has_events.then_some(LegEvents { payload_type: event_type, clock_hz });
    let pre_roll = Span::from_millis(s.integer(r, "preroll_ms", 0..=PRE_ROLL_MAX.as_millis(), PRE_ROLL.as_millis()));
    let params = RtpLegParams { remote, learn: s.bool(r, "learn", false), rtcp, codec, payload_type, events, pre_roll };
    if let Err(e) = params.check() {
        r.fault(s.path_of("payload_type"), Some(&span), e.to_string(), "see docs/DIRECT_MODE.md");
    }
    s.finish(r);
    Some(params)
}
