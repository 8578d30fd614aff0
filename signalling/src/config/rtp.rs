//! Plain RTP in the configuration: where it may go, and the leg of a bridge.
//!
//! Decides: defaults and what fits together. Given: a section. Refuses: host names; an address is declared, not looked up.

use super::reader::{Reader, Section};
use crate::control::{VOIP_ONLY, codec_named, names_outside};
use std::net::SocketAddr;
use tipring_engine::bridge::rtp::{AddressRange, LegEvents, PRE_ROLL, PRE_ROLL_MAX, RtcpPort, RtpLegParams};
use tipring_engine::time::Span;

/// `[[trunk]]`: VoIP addresses that somebody vouches for.
#[derive(Clone, Debug)]
pub struct TrunkConfig {
    /// For people and records.
    pub name: String,
    /// Where its plain RTP may go.
    pub targets: Vec<AddressRange>,
}

/// Trunks. One that does not attest that it never reaches the telephone network is refused.
//= meta#R-11  a trunk is used once it is attested to be VoIP only
pub(super) fn read_trunks(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Vec<TrunkConfig> {
    let mut trunks: Vec<TrunkConfig> = Vec::new();
    for mut s in root.tables(r, "trunk") {
        let span = s.span.clone();
        let name = s.str(r, "name").map(|(name, _)| name.to_owned());
        if name.is_none() && s.value("name").is_none() {
            s.missing(r, "name", "name the trunk for records");
        }
        let mut targets = Vec::new();
        let place = s.path_of("targets");
        for (text, span) in s.strings(r, "targets").unwrap_or_default() {
            match text.parse() {
                Ok(range) => targets.push(range),
                Err(e) => match names_outside(text) {
                    //= meta#R-10  names are not looked up, and a telephone is no target
                    Some(what) => {
                        r.fault(&place, Some(&span), format!("{VOIP_ONLY}: {text:?} is {what}"), "list the IP addresses of a VoIP system")
                    }
                    None => r.fault(&place, Some(&span), format!("{text:?}: {e}"), "correct it"),
                },
            }
        }
        if targets.is_empty() && s.value("targets").is_none() {
            s.missing(r, "targets", "list the address ranges of the trunk, for example [\"10.20.0.0/16\"]");
        }
        if !s.bool(r, "attests_no_pstn", false) {
            let fix = "make sure that nothing behind it reaches the telephone network, then write attests_no_pstn = true; Meta's terms forbid it on any leg";
            r.fault(s.path_of("attests_no_pstn"), Some(&span), format!("{VOIP_ONLY}: is not true"), fix);
        }
        s.finish(r);
        if let Some(name) = name {
            if trunks.iter().any(|t| t.name == name) {
                r.fault(format!("trunk[{}].name", trunks.len()), Some(&span), "stands twice", "give each trunk a name of its own");
            }
            trunks.push(TrunkConfig { name, targets });
        }
    }
    trunks
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
            let outside = names_outside(text).map_or_else(String::new, |what| format!("{VOIP_ONLY}: is {what} and "));
            r.fault(
                s.path_of("remote"),
                Some(&span),
                format!("{outside}is not an address and a port"),
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
