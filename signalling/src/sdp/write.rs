//! Our own descriptions, line by line as Meta is known to take them (4.6, 4.7).

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use tipring_engine::call::{LocalParams, MediaParams, SetupRole};
use tipring_engine::ice::{Candidate, CandidateKind};

use super::lines::is_token;
use super::{Crypto, KeyExchange, RemoteSdp, candidate, crypto, our_role};

/// What differs between an offer and an answer.
struct Audio<'a> {
    protocol: &'a str,
    mid: Option<&'a str>,
    media: MediaParams,
    opus_fmtp: &'a str,
    /// Our `a=setup`; not written with SDES.
    role: SetupRole,
    /// The line our key stands in; `None` with DTLS.
    crypto: Option<Crypto>,
    /// Whether the exchange is one of ICE.
    has_ice: bool,
}

/// Writes the answer to `offer` (4.6). Lines end in CRLF. `session_id` is cut to 63 bits.
///
pub(super) fn answer(offer: &RemoteSdp, local: &LocalParams, session_id: u64) -> String {
    let mut out = String::with_capacity(1_024);
    let bundle = offer.mid.as_deref().filter(|_| offer.bundled);
    session_lines(&mut out, local, bundle, session_id);
    //= protocols#A8  as many m-lines as offered, in the same order, rejected ones at port 0
    for (index, section) in offer.sections.iter().enumerate() {
        if index == offer.audio_index {
            let audio = Audio {
                protocol: &section.protocol,
                mid: offer.mid.as_deref(),
                media: offer.params.media,
                opus_fmtp: if offer.opus_fmtp.is_empty() { FMTP_PLAIN } else { &offer.opus_fmtp },
                role: our_role(offer.params.role),
                crypto: offer.crypto,
                has_ice: offer.params.credentials.is_some(),
            };
            audio_section(&mut out, &audio, local);
        } else {
            line(&mut out, format_args!("m={} 0 {} {}", section.media, section.protocol, section.format));
            line(&mut out, format_args!("c=IN IP4 0.0.0.0"));
            if let Some(mid) = &section.mid {
                line(&mut out, format_args!("a=mid:{mid}"));
            }
        }
    }
    out
}

/// Writes our offer for a business-initiated call (4.7). Lines end in CRLF. `session_id` is cut to 63 bits.
pub(super) fn offer(local: &LocalParams, session_id: u64, exchange: KeyExchange) -> String {
    let mut out = String::with_capacity(1_024);
    session_lines(&mut out, local, Some(MID), session_id);
    let audio = Audio {
        protocol: match exchange {
            KeyExchange::Dtls => "UDP/TLS/RTP/SAVPF",
            KeyExchange::Sdes => "RTP/SAVP",
        },
        mid: Some(MID),
        media: MediaParams::default(),
        opus_fmtp: FMTP_META,
        role: SetupRole::ActPass,
        crypto: (exchange == KeyExchange::Sdes).then_some(crypto::OFFERED),
        has_ice: exchange == KeyExchange::Dtls,
    };
    audio_section(&mut out, &audio, local);
    out
}

//= meta#R-21  no a=ice-lite
fn session_lines(out: &mut String, local: &LocalParams, bundle: Option<&str>, session_id: u64) {
    let default = default_address(&local.candidates);
    // RFC 8866 section 5.2 wants numbers below 2^63.
    let session_id = session_id & (u64::MAX >> 1);
    line(out, format_args!("v=0"));
    line(out, format_args!("o=- {session_id} 2 IN {} {}", family(default), default.ip()));
    //= meta#R-08  nothing that names a product or a host
    line(out, format_args!("s=-"));
    line(out, format_args!("t=0 0"));
    if let Some(mid) = bundle {
        line(out, format_args!("a=group:BUNDLE {mid}"));
    }
    line(out, format_args!("a=msid-semantic: WMS {}", stream_id(&local.cname)));
}

//= rules#I36
//= rules#T9
fn audio_section(out: &mut String, audio: &Audio<'_>, local: &LocalParams) {
    let default = default_address(&local.candidates);
    let opus = audio.media.opus_payload_type;
    let stream = stream_id(&local.cname);
    write!(out, "m=audio {} {} {opus}", default.port(), audio.protocol).expect("a String takes all");
    if let Some(dtmf) = audio.media.dtmf_payload_type {
        write!(out, " {dtmf}").expect("a String takes all");
    }
    out.push_str("\r\n");
    //= protocols#A9  c= and m= are the default candidate
    line(out, format_args!("c=IN {} {}", family(default), default.ip()));
    line(out, format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
    if audio.has_ice {
        //= meta#R-43  all there will ever be
        for candidate in &local.candidates {
            candidate::write(out, candidate);
            out.push_str("\r\n");
        }
        line(out, format_args!("a=ice-ufrag:{}", local.credentials.ufrag));
        line(out, format_args!("a=ice-pwd:{}", local.credentials.pwd));
    }
    match audio.crypto {
        //= rfc4568#section-5.1.2:answer  one line, with the offer's tag and a key of our own
        Some(line_of_ours) => line(out, format_args!("a=crypto:{}", crypto::value(line_of_ours, local))),
        None => dtls_lines(out, audio.role, local),
    }
    if let Some(mid) = audio.mid {
        line(out, format_args!("a=mid:{mid}"));
    }
    line(out, format_args!("a=sendrecv"));
    line(out, format_args!("a=msid:{stream} a0"));
    line(out, format_args!("a=rtcp-mux"));
    //= rfc7587#section-7  always these words
    line(out, format_args!("a=rtpmap:{opus} opus/48000/2"));
    line(out, format_args!("a=fmtp:{opus} {}", audio.opus_fmtp));
    if let Some(dtmf) = audio.media.dtmf_payload_type {
        //= meta#R-20  telephone-event at 8 kHz, never 48
        line(out, format_args!("a=rtpmap:{dtmf} telephone-event/8000"));
        //= rfc4733#section-2.4.1  the events that we understand
        line(out, format_args!("a=fmtp:{dtmf} 0-15"));
    }
    //= meta#R-18  20 ms, both ways
    line(out, format_args!("a=ptime:20"));
    line(out, format_args!("a=maxptime:20"));
    //= meta#R-19  one SSRC, one line
    line(out, format_args!("a=ssrc:{} cname:{stream}", local.ssrc));
}

fn dtls_lines(out: &mut String, role: SetupRole, local: &LocalParams) {
    //= meta#R-40  exactly one fingerprint, SHA-256
    out.push_str("a=fingerprint:sha-256 ");
    for (index, byte) in local.fingerprint.0.iter().enumerate() {
        let separator = if index == 0 { "" } else { ":" };
        write!(out, "{separator}{byte:02X}").expect("a String takes all");
    }
    out.push_str("\r\n");
    let role = match role {
        SetupRole::ActPass => "actpass",
        SetupRole::Active => "active",
        SetupRole::Passive => "passive",
    };
    line(out, format_args!("a=setup:{role}"));
}

/// The candidate most likely to be reached (RFC 8839 section 4.2.1.2): reflexive before host, IPv4 before IPv6. Port 9 if there is none.
fn default_address(candidates: &[Candidate]) -> SocketAddr {
    let rank = |c: &&Candidate| (c.kind == CandidateKind::Host, c.address.is_ipv6());
    let none = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
    candidates.iter().min_by_key(rank).map_or(none, |c| c.address)
}

fn family(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "IP4" } else { "IP6" }
}

/// The canonical name where it is a token, as the engine's is; else a fixed one, so that no line can be broken by it.
fn stream_id(cname: &str) -> &str {
    if is_token(cname) { cname } else { "a" }
}

fn line(out: &mut String, text: core::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all");
    out.push_str("\r\n");
}

/// Meta's own word for its one audio section.
const MID: &str = "audio";
/// Meta's own parameters (4.1), for offers of ours.
const FMTP_META: &str = "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1";
/// For an offer that names no parameters: 20 ms packets and FEC, which binds the offerer to nothing.
const FMTP_PLAIN: &str = "minptime=20;useinbandfec=1";
