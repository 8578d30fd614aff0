//! SDP of a plain RTP leg: one audio stream over RTP/AVP (RFC 8866, RFC 3264, RFC 3551).
//!
//! Decides: which codec of an offer is taken (the first that we speak), and what our own description says. Given: text. Refuses: encryption, a second stream (answered
//! with port 0), names instead of addresses.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use tipring_engine::bridge::rtp::{LegCodec, LegEvents, PRE_ROLL, RtcpPort, RtpLegParams};
use tipring_engine::call::Direction;
use tipring_engine::codec::SampleRate;

/// A description of the plain side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlainSdp {
    /// Where its RTP goes.
    pub remote: SocketAddr,
    /// What is spoken, and where its RTCP goes.
    pub leg: RtpLegParams,
    /// Who may speak, as the description says it.
    pub direction: Direction,
    /// Every `m=` line in order: its media and its protocol and first format.
    sections: Vec<(String, String, String)>,
    /// Which of them is ours.
    audio_index: usize,
}

/// Whether a description speaks of ICE or DTLS: the WhatsApp side's.
pub fn is_webrtc(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("a=fingerprint:") || line.starts_with("a=ice-ufrag:"))
}

/// Reads a description of the plain side. The error is a sentence for the proxy's log.
pub fn read(text: &str) -> Result<PlainSdp, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err("the description is longer than 16 KiB".to_owned());
    }
    let mut session_address = None;
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut session_direction = None;
    for line in text.lines().map(str::trim_end) {
        let Some((kind, value)) = line.split_once('=') else { continue };
        match (kind, sections.last_mut()) {
            ("m", _) => {
                if sections.len() >= SECTIONS_MAX {
                    return Err(format!("more than {SECTIONS_MAX} media sections"));
                }
                sections.push(Section::new(value)?);
            }
            ("c", None) => session_address = Some(address(value)?),
            ("c", Some(section)) => section.address = Some(address(value)?),
            ("a", None) => session_direction = direction(value).or(session_direction),
            ("a", Some(section)) => section.attribute(value),
            _ => {}
        }
    }
    let is_audio = |section: &Section<'_>| section.media == "audio" && section.port != 0;
    let audio_index = sections.iter().position(is_audio).ok_or("there is no audio stream with a port")?;
    let audio = &sections[audio_index];
    if !matches!(audio.protocol, "RTP/AVP" | "RTP/AVPF") {
        return Err(format!("the audio is {}, not RTP/AVP: the plain side is not encrypted", audio.protocol));
    }
    let ip = audio.address.or(session_address).ok_or("there is no c= line")?;
    let formats: Vec<u8> = audio.formats.iter().filter_map(|format| format.parse().ok()).filter(|pt| *pt < 128).collect();
    let name_of = |pt: u8| audio.maps.iter().find(|(mapped, _)| *mapped == pt).map(|(_, name)| name.to_ascii_lowercase());
    let codec_of = |pt: u8| match (name_of(pt).as_deref(), pt) {
        (Some("opus/48000/2" | "opus/48000"), _) => Some(LegCodec::Opus),
        (Some("pcmu/8000" | "pcmu/8000/1"), _) | (None, 0) => Some(LegCodec::Pcmu),
        (Some("pcma/8000" | "pcma/8000/1"), _) | (None, 8) => Some(LegCodec::Pcma),
        (Some("l16/8000" | "l16/8000/1"), _) => Some(LegCodec::L16(SampleRate::Hz8000)),
        (Some("l16/16000" | "l16/16000/1"), _) => Some(LegCodec::L16(SampleRate::Hz16000)),
        _ => None,
    };
    let (payload_type, codec) = formats
        .iter()
        .find_map(|pt| codec_of(*pt).map(|codec| (*pt, codec)))
        .ok_or("none of its codecs is one of opus, PCMU, PCMA, L16/8000, L16/16000")?;
    // The clock of the audio is the better one for durations, where both are offered.
    let event = |clock_hz: u32| {
        let wanted = format!("telephone-event/{clock_hz}");
        let payload_type = formats.iter().copied().find(|pt| name_of(*pt).as_deref().map(|n| n.trim_end_matches("/1")) == Some(&wanted))?;
        Some(LegEvents { payload_type, clock_hz })
    };
    let events = event(codec.clock_hz()).or_else(|| event(8_000)).filter(|e| e.payload_type != payload_type);
    let rtcp = if audio.rtcp_mux { RtcpPort::Mux } else { RtcpPort::Next };
    let remote = SocketAddr::new(ip, audio.port);
    Ok(PlainSdp {
        remote,
        leg: RtpLegParams { remote: Some(remote), learn: false, rtcp, codec, payload_type, events, pre_roll: PRE_ROLL },
        direction: audio.direction.or(session_direction).unwrap_or_default(),
        audio_index,
        sections: sections
            .iter()
            .map(|s| (s.media.to_owned(), s.protocol.to_owned(), s.formats.first().map_or("0", |f| f).to_owned()))
            .collect(),
    })
}

/// Writes our offer of a leg.
pub fn write_offer(leg: &RtpLegParams, local: SocketAddr, session_id: u64) -> String {
    let mut out = head(local, session_id);
    audio(&mut out, leg, local, Direction::SendRecv);
    out
}

/// Writes our answer to an offer that was read.
pub fn write_answer(offer: &PlainSdp, local: SocketAddr, session_id: u64) -> String {
    let mut out = head(local, session_id);
    for (index, (media, protocol, format)) in offer.sections.iter().enumerate() {
        if index == offer.audio_index {
            audio(&mut out, &offer.leg, local, mirrored(offer.direction));
        } else {
            let _ = write!(out, "m={media} 0 {protocol} {format}\r\n");
        }
    }
    out
}

fn head(local: SocketAddr, session_id: u64) -> String {
    let (family, ip) = (if local.is_ipv4() { "IP4" } else { "IP6" }, local.ip());
    format!("v=0\r\no=- {} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n", session_id >> 1)
}

fn audio(out: &mut String, leg: &RtpLegParams, local: SocketAddr, direction: Direction) {
    let pt = leg.payload_type;
    let events = leg.events.map(|e| format!(" {}", e.payload_type)).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(out, "m=audio {} RTP/AVP {pt}{events}\r\n", local.port());
    let map = match leg.codec {
        LegCodec::Opus => "opus/48000/2".to_owned(),
        LegCodec::Pcmu => "PCMU/8000".to_owned(),
        LegCodec::Pcma => "PCMA/8000".to_owned(),
        LegCodec::L16(rate) => format!("L16/{}", rate.hz()),
    };
    let _ = write!(out, "a=rtpmap:{pt} {map}\r\n");
    if let Some(LegEvents { payload_type, clock_hz }) = leg.events {
        let _ = write!(out, "a=rtpmap:{payload_type} telephone-event/{clock_hz}\r\na=fmtp:{payload_type} 0-16\r\n");
    }
    let _ = write!(out, "a=ptime:20\r\na={}\r\n", name_of(direction));
    match leg.rtcp {
        RtcpPort::Mux => out.push_str("a=rtcp-mux\r\n"),
        RtcpPort::Next => drop(write!(out, "a=rtcp:{}\r\n", local.port().saturating_add(1))),
    }
}

/// What the other side of an offer may say back (RFC 3264 section 6.1).
const fn mirrored(direction: Direction) -> Direction {
    match direction {
        Direction::SendOnly => Direction::RecvOnly,
        Direction::RecvOnly => Direction::SendOnly,
        other => other,
    }
}

const fn name_of(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

fn direction(value: &str) -> Option<Direction> {
    [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive].into_iter().find(|d| name_of(*d) == value)
}

fn address(value: &str) -> Result<IpAddr, String> {
    let text = value.split_ascii_whitespace().nth(2).unwrap_or_default();
    let text = text.split('/').next().unwrap_or_default();
    //= meta#R-10  a name is nobody's listed address, and may be a telephone's
    text.parse().map_err(|_| format!("VOIP_ONLY: c= names {text:.60}, which is no address; calls go to addresses of a [[trunk]] only"))
}

struct Section<'t> {
    media: &'t str,
    port: u16,
    protocol: &'t str,
    formats: Vec<&'t str>,
    address: Option<IpAddr>,
    maps: Vec<(u8, &'t str)>,
    rtcp_mux: bool,
    direction: Option<Direction>,
}

impl<'t> Section<'t> {
    fn new(value: &'t str) -> Result<Self, String> {
        let mut words = value.split_ascii_whitespace();
        let (Some(media), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return Err(format!("m={value:.60} has fewer than three words"));
        };
        let port = port.split('/').next().and_then(|p| p.parse().ok()).ok_or_else(|| format!("m={value:.60} has no port"))?;
        let formats = words.take(FORMATS_MAX).collect();
        Ok(Self { media, port, protocol, formats, address: None, maps: Vec::new(), rtcp_mux: false, direction: None })
    }

    fn attribute(&mut self, value: &'t str) {
        if let Some(map) = value.strip_prefix("rtpmap:") {
            if let Some((pt, name)) = map.split_once(' ')
                && let Ok(pt) = pt.parse()
                && self.maps.len() < FORMATS_MAX
            {
                self.maps.push((pt, name.trim()));
            }
        } else if value == "rtcp-mux" {
            self.rtcp_mux = true;
        } else {
            self.direction = direction(value).or(self.direction);
        }
    }
}

const TEXT_BYTES_MAX: usize = 16 * 1_024;
const SECTIONS_MAX: usize = 16;
const FORMATS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What SIPp says.
    const SIPP: &str = "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

    #[test]
    fn descriptions_of_phones() {
        let sipp = read(SIPP).unwrap();
        assert_eq!((sipp.remote.to_string(), sipp.leg.codec, sipp.leg.payload_type), ("127.0.0.1:6000".into(), LegCodec::Pcmu, 0));
        assert_eq!((sipp.leg.rtcp, sipp.leg.events, sipp.direction), (RtcpPort::Next, None, Direction::SendRecv));
        let answer = write_answer(&sipp, "10.0.0.1:4000".parse().unwrap(), 9);
        assert!(answer.contains("m=audio 4000 RTP/AVP 0\r\n") && answer.contains("a=rtcp:4001\r\n"), "{answer}");

        let phone = "v=0\r\ns=-\r\nt=0 0\r\nm=video 5000 RTP/AVP 96\r\nm=audio 7000 RTP/AVP 9 107 8 101 110\r\nc=IN IP6 fd00::5\r\na=rtpmap:107 opus/48000/2\r\n\
            a=rtpmap:101 telephone-event/8000\r\na=rtpmap:110 telephone-event/48000\r\na=sendonly\r\na=rtcp-mux\r\n";
        let phone = read(phone).unwrap();
        assert_eq!((phone.leg.codec, phone.leg.payload_type, phone.leg.rtcp), (LegCodec::Opus, 107, RtcpPort::Mux), "G.722 is passed over");
        assert_eq!(phone.leg.events, Some(LegEvents { payload_type: 110, clock_hz: 48_000 }));
        let answer = write_answer(&phone, "[fd00::1]:4000".parse().unwrap(), 9);
        assert!(
            answer.contains("m=video 0 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 107 110\r\n") && answer.contains("a=recvonly\r\n"),
            "{answer}"
        );
    }

    #[test]
    fn what_cannot_be_bridged_says_why() {
        for (text, word) in [
            ("", "no audio"),
            ("m=audio 0 RTP/AVP 0\r\nc=IN IP4 1.2.3.4\r\n", "no audio"),
            ("m=audio x RTP/AVP 0\r\n", "no port"),
            ("m=audio\r\n", "three words"),
            ("m=audio 5 RTP/AVP 0\r\n", "no c="),
            ("c=IN IP4 pbx.example\r\nm=audio 5 RTP/AVP 0\r\n", "no address"),
            ("c=IN IP4 1.2.3.4\r\nm=audio 5 RTP/AVP 9 18\r\n", "none of its codecs"),
            ("c=IN IP4 1.2.3.4\r\nm=audio 5 UDP/TLS/RTP/SAVPF 0\r\n", "not RTP/AVP"),
        ] {
            assert!(read(text).unwrap_err().contains(word), "{text}");
        }
        assert!(is_webrtc("v=0\r\na=fingerprint:sha-256 AA") && !is_webrtc(SIPP));
    }

    proptest! {
        #[test]
        fn our_offer_reads_back(codec in 0_usize..5, port in 1_024_u16..65_534, events: bool, mux: bool) {
            let codec = [LegCodec::Opus, LegCodec::Pcmu, LegCodec::Pcma, LegCodec::L16(SampleRate::Hz8000), LegCodec::L16(SampleRate::Hz16000)][codec];
            let local = SocketAddr::new("192.0.2.9".parse().unwrap(), port);
            let events = events.then_some(LegEvents { payload_type: 101, clock_hz: 8_000 });
            let rtcp = if mux { RtcpPort::Mux } else { RtcpPort::Next };
            let leg = RtpLegParams { remote: Some(local), learn: false, rtcp, codec, payload_type: codec.default_payload_type(), events, pre_roll: PRE_ROLL };
            let back = read(&write_offer(&leg, local, 7)).unwrap();
            prop_assert_eq!((back.remote, back.leg, back.direction), (local, leg, Direction::SendRecv));
        }
    }
}
