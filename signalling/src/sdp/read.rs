//! From text to a typed description: the tolerance list 4.9 and the refusals 4.8 and A7.

use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};

use tipring_engine::call::{MediaParams, RemoteParams, SetupRole};
use tipring_engine::dtls::Fingerprint;
use tipring_engine::ice::{Candidate, Credentials};
use tipring_engine::keying::MasterKey;

use super::candidate;
use super::error::{SdpError, SdpErrorKind, SdpWarning, SdpWarningKind};
use super::lines::{self, Layout, Line, is_token, warn};
use super::{Crypto, KeyExchange, RemoteSdp, Section, crypto};

/// Whether the text opens the exchange or ends it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Answer,
}

/// Reads a description of one audio stream.
//= rules#I37
pub(super) fn read(text: &str, kind: Kind, exchange: KeyExchange) -> Result<RemoteSdp, SdpError> {
    let mut warnings = Vec::new();
    let layout = lines::cut(text, &mut warnings)?;
    let media_lines = layout.sections.iter().map(|lines| MediaLine::parse(&lines[0])).collect::<Result<Vec<_>, _>>()?;
    let audio_index = find_audio(&layout, &media_lines, &mut warnings)?;
    let sections = media_lines.iter().zip(&layout.sections).map(|(line, lines)| line.to_section(lines)).collect::<Vec<_>>();
    let scope = Scope { session: &layout.session, media: &layout.sections[audio_index] };
    let media_line = &media_lines[audio_index];

    // What keys the call is read before the transport token is judged: the token alone decides nothing (4.4).
    let (fingerprints, keys) = match exchange {
        KeyExchange::Dtls => (read_fingerprints(&scope, &mut warnings)?, None),
        KeyExchange::Sdes => (Vec::new(), Some(read_crypto(&scope, kind)?)),
    };
    check_protocol(media_line)?;
    let credentials = match exchange {
        KeyExchange::Sdes if scope.media_first("ice-ufrag").is_none() => None,
        _ => Some(read_credentials(&scope)?),
    };
    let role = match exchange {
        KeyExchange::Dtls => read_role(&scope, kind, &mut warnings)?,
        KeyExchange::Sdes => SetupRole::ActPass,
    };
    if scope.media_first("rtcp-mux").is_none() {
        return Err(SdpError::missing(SdpErrorKind::NoRtcpMux));
    }
    check_direction(&scope, &mut warnings)?;
    let (media, opus_fmtp) = read_codecs(&scope, media_line, &mut warnings)?;
    check_packet_time(&scope, &mut warnings);
    let lite = scope.media_first("ice-lite").is_some();
    let candidates = match credentials {
        Some(_) => read_candidates(&scope, &mut warnings),
        None => vec![read_address(&scope, media_line, &mut warnings)?],
    };
    if candidates.is_empty() {
        //= protocols#A7  no usable candidate: only fatal if the peer will not look for us either
        if lite {
            return Err(SdpError::missing(SdpErrorKind::NoCandidate));
        }
        warn(&mut warnings, SdpWarningKind::NoCandidate, 0);
    }
    let ssrc = read_ssrc(&scope, &mut warnings);
    let mid = sections[audio_index].mid.clone();
    let bundled = mid.as_deref().is_some_and(|mid| is_bundled(&layout.session, mid));
    let (crypto, sdes) = keys.unzip();
    let params = RemoteParams { credentials, lite, candidates, fingerprints, sdes, role, media, ssrc };
    Ok(RemoteSdp { params, mid, bundled, sections, audio_index, opus_fmtp, crypto, warnings })
}

/// An `m=` line, cut.
struct MediaLine<'a> {
    number: u32,
    media: &'a str,
    port: u16,
    protocol: &'a str,
    formats: Vec<&'a str>,
}

impl<'a> MediaLine<'a> {
    fn parse(line: &Line<'a>) -> Result<Self, SdpError> {
        let broken = SdpError::at(SdpErrorKind::MediaLine, line.number);
        let mut words = line.value.split_ascii_whitespace();
        let mut next = || words.next().ok_or(broken);
        let (media, port, protocol) = (next()?, next()?, next()?);
        let formats: Vec<_> = words.collect();
        let port = port.split('/').next().unwrap_or(port).parse::<u16>().map_err(|_| broken)?;
        let is_sound = is_token(media) && protocol.split('/').all(is_token) && protocol.len() <= 64;
        if !is_sound || formats.is_empty() || !formats.iter().all(|f| is_token(f)) {
            return Err(broken);
        }
        Ok(Self { number: line.number, media, port, protocol, formats })
    }

    fn to_section(&self, lines: &[Line<'_>]) -> Section {
        let mid = lines.iter().find_map(|line| line.attribute("mid")).filter(|mid| is_token(mid)).map(str::to_owned);
        Section { media: self.media.to_owned(), protocol: self.protocol.to_owned(), format: self.formats[0].to_owned(), mid }
    }
}

/// Where attributes of the audio section are looked up.
struct Scope<'a> {
    session: &'a [Line<'a>],
    media: &'a [Line<'a>],
}

impl<'a> Scope<'a> {
    /// Every value of a media-level attribute.
    fn media(&self, name: &'static str) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
        self.media.iter().filter_map(move |line| Some((line.number, line.attribute(name)?)))
    }

    /// The first value in the media section, else the first at session level.
    //= protocols#A4  session-level values apply unless the section has its own
    fn media_first(&self, name: &'static str) -> Option<(u32, &'a str)> {
        self.media(name).next().or_else(|| self.session.iter().find_map(|line| Some((line.number, line.attribute(name)?))))
    }
}

/// The one audio section in use.
fn find_audio(layout: &Layout<'_>, media_lines: &[MediaLine<'_>], warnings: &mut Vec<SdpWarning>) -> Result<usize, SdpError> {
    let mut found = None;
    let mut rejected = None;
    for (index, line) in media_lines.iter().enumerate() {
        if !line.media.eq_ignore_ascii_case("audio") {
            warn(warnings, SdpWarningKind::ExtraSection, line.number);
        } else if line.port == 0 {
            rejected = Some(line.number);
        } else if found.is_some() {
            return Err(SdpError::at(SdpErrorKind::SeveralAudio, line.number));
        } else {
            found = Some(index);
        }
    }
    debug_assert_eq!(layout.sections.len(), media_lines.len());
    match (found, rejected) {
        (Some(index), _) => Ok(index),
        (None, Some(number)) => Err(SdpError::at(SdpErrorKind::AudioRejected, number)),
        (None, None) => Err(SdpError::missing(SdpErrorKind::NoAudio)),
    }
}

/// The `a=crypto` that keys the call. A description without one is not taken for DTLS: the number says which it is (A14).
fn read_crypto(scope: &Scope<'_>, kind: Kind) -> Result<(Crypto, MasterKey), SdpError> {
    let lines: Vec<_> = scope.media("crypto").collect();
    if kind == Kind::Answer {
        if let Some(&(second, _)) = lines.get(1) {
            return Err(SdpError::at(SdpErrorKind::SeveralCrypto, second));
        }
        let (found, key) = crypto::pick(&lines)?;
        //= rfc4568#section-5.1.3  an answer repeats tag and suite of the line it takes
        if found != crypto::OFFERED {
            return Err(SdpError::at(SdpErrorKind::CryptoAnswer, lines[0].0));
        }
        return Ok((found, key));
    }
    crypto::pick(&lines)
}

/// Where a peer without ICE wants its media: `c=` of the section or the session, port of `m=` (4.4).
fn read_address(scope: &Scope<'_>, line: &MediaLine<'_>, warnings: &mut Vec<SdpWarning>) -> Result<Candidate, SdpError> {
    let of = |lines: &[Line<'_>]| lines.iter().find(|line| line.letter == b'c').map(|line| (line.number, line.value.to_owned()));
    let (number, value) = of(scope.media).or_else(|| of(scope.session)).ok_or(SdpError::missing(SdpErrorKind::Address))?;
    let mut words = value.split_ascii_whitespace();
    let address = match (words.next(), words.next(), words.next(), words.next()) {
        // A multicast address would have `/ttl` behind it; names are never resolved.
        (Some("IN"), Some("IP4" | "IP6"), Some(address), None) => address.parse::<IpAddr>().ok().filter(|&ip| candidate::is_somewhere(ip)),
        _ => None,
    };
    let address = address.ok_or(SdpError::at(SdpErrorKind::Address, number))?;
    if candidate::is_local(address) {
        warn(warnings, SdpWarningKind::CandidateLocal, number);
    }
    Ok(Candidate::host(SocketAddr::new(address, line.port), u16::MAX))
}

/// Keys come from DTLS or from a description that is allowed to carry them; the profile token alone decides nothing (4.4) except that clear media is refused.
fn check_protocol(line: &MediaLine<'_>) -> Result<(), SdpError> {
    let is = |token: &str| line.protocol.eq_ignore_ascii_case(token);
    if ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP"].into_iter().any(is) {
        Ok(())
    } else if is("RTP/AVP") || is("RTP/AVPF") {
        Err(SdpError::at(SdpErrorKind::ClearMedia, line.number))
    } else {
        Err(SdpError::at(SdpErrorKind::Protocol, line.number))
    }
}

//= rules#D21
fn read_fingerprints(scope: &Scope<'_>, warnings: &mut Vec<SdpWarning>) -> Result<Vec<Fingerprint>, SdpError> {
    let mut lines: Vec<_> = scope.media("fingerprint").collect();
    if lines.is_empty() {
        lines = scope.session.iter().filter_map(|line| Some((line.number, line.attribute("fingerprint")?))).collect();
    }
    let Some(&(first, _)) = lines.first() else {
        return Err(match scope.media("crypto").next() {
            Some((number, _)) => SdpError::at(SdpErrorKind::Sdes, number),
            None => SdpError::missing(SdpErrorKind::NoFingerprint),
        });
    };
    let mut fingerprints = Vec::new();
    for (number, value) in lines {
        let (hash, hex) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
        if !hash.eq_ignore_ascii_case("sha-256") {
            warn(warnings, SdpWarningKind::FingerprintHash, number);
            continue;
        }
        let fingerprint = parse_fingerprint(hex.trim()).ok_or(SdpError::at(SdpErrorKind::FingerprintValue, number))?;
        if fingerprints.len() < FINGERPRINTS_MAX && !fingerprints.contains(&fingerprint) {
            fingerprints.push(fingerprint);
        }
    }
    if fingerprints.is_empty() { Err(SdpError::at(SdpErrorKind::FingerprintHash, first)) } else { Ok(fingerprints) }
}

fn parse_fingerprint(hex: &str) -> Option<Fingerprint> {
    let mut bytes = [0; 32];
    let mut words = hex.split(':');
    for byte in &mut bytes {
        let word = words.next().filter(|w| w.len() == 2 && w.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(word, 16).ok()?;
    }
    words.next().is_none().then_some(Fingerprint(bytes))
}

//= rules#I5
fn read_credentials(scope: &Scope<'_>) -> Result<Credentials, SdpError> {
    let missing = SdpError::missing(SdpErrorKind::NoCredentials);
    let (ufrag_line, ufrag) = scope.media_first("ice-ufrag").ok_or(missing)?;
    let (pwd_line, pwd) = scope.media_first("ice-pwd").ok_or(missing)?;
    //= protocols#M4  `=` is outside the ice-char grammar, yet every real offer has it: any printable character goes
    let is_printable = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    if !(4..=256).contains(&ufrag.len()) || !is_printable(ufrag) || ufrag.contains(':') {
        return Err(SdpError::at(SdpErrorKind::Credentials, ufrag_line));
    }
    if !(22..=256).contains(&pwd.len()) || !is_printable(pwd) {
        return Err(SdpError::at(SdpErrorKind::Credentials, pwd_line));
    }
    Ok(Credentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() })
}

//= rules#D20
fn read_role(scope: &Scope<'_>, kind: Kind, warnings: &mut Vec<SdpWarning>) -> Result<SetupRole, SdpError> {
    let Some((number, value)) = scope.media_first("setup") else {
        warn(warnings, SdpWarningKind::NoSetup, 0);
        return Ok(SetupRole::ActPass);
    };
    if value.eq_ignore_ascii_case("actpass") {
        if kind == Kind::Answer {
            warn(warnings, SdpWarningKind::ActPassAnswer, number);
        }
        Ok(SetupRole::ActPass)
    } else if value.eq_ignore_ascii_case("active") {
        Ok(SetupRole::Active)
    } else if value.eq_ignore_ascii_case("passive") {
        Ok(SetupRole::Passive)
    } else {
        Err(SdpError::at(SdpErrorKind::Setup, number))
    }
}

fn check_direction(scope: &Scope<'_>, warnings: &mut Vec<SdpWarning>) -> Result<(), SdpError> {
    let direction_of = |line: &Line<'_>| {
        let name = ["sendrecv", "sendonly", "recvonly", "inactive"].into_iter().find(|name| line.attribute(name) == Some(""))?;
        Some((line.number, name))
    };
    match scope.media.iter().chain(scope.session).find_map(direction_of) {
        Some((number, "inactive")) => return Err(SdpError::at(SdpErrorKind::Inactive, number)),
        Some((number, "sendonly" | "recvonly")) => warn(warnings, SdpWarningKind::Direction, number),
        _ => {}
    }
    Ok(())
}

/// Payload types in the peer's order and meaning (A6), and what its Opus decoder wants.
//= rules#X2
fn read_codecs(scope: &Scope<'_>, line: &MediaLine<'_>, warnings: &mut Vec<SdpWarning>) -> Result<(MediaParams, String), SdpError> {
    let encoding_of = |format: &str| {
        scope.media("rtpmap").find_map(|(_, value)| {
            let (pt, encoding) = value.split_once(char::is_whitespace)?;
            (pt == format).then(|| encoding.trim())
        })
    };
    let mut opus = None;
    let mut dtmf = None;
    for &format in &line.formats {
        // 64 to 95 cannot be told from RTCP on one port (RFC 5761 section 4).
        let Some(pt) = format.parse::<u8>().ok().filter(|pt| *pt < 128 && !(64..=95).contains(pt)) else { continue };
        let Some(encoding) = encoding_of(format) else { continue };
        if encoding.eq_ignore_ascii_case("opus/48000/2") {
            opus = opus.or(Some((pt, format)));
        } else if encoding.eq_ignore_ascii_case("telephone-event/8000") || encoding.eq_ignore_ascii_case("telephone-event/8000/1") {
            dtmf = dtmf.or(Some(pt));
        }
    }
    let Some((opus_payload_type, opus_format)) = opus else {
        //= meta#R-16  G.711 alone is refused
        return Err(SdpError::at(SdpErrorKind::NoOpus, line.number));
    };
    let mut media = MediaParams {
        opus_payload_type,
        dtmf_payload_type: dtmf,
        bitrate_bps_max: 0,
        playback_rate_hz_max: RTP_CLOCK_HZ,
        fec: false,
        cbr: false,
        dtx: false,
    };
    let mut repeat = String::new();
    let parameters = scope.media("fmtp").find_map(|(number, value)| {
        let (pt, parameters) = value.split_once(char::is_whitespace)?;
        (pt == opus_format).then_some((number, parameters))
    });
    if let Some((number, parameters)) = parameters {
        for parameter in parameters.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            read_opus_parameter(parameter, number, &mut media, &mut repeat, warnings);
        }
    }
    if media.bitrate_bps_max == 0 {
        media.bitrate_bps_max = usual_bitrate_bps(media.playback_rate_hz_max);
    }
    Ok((media, repeat))
}

/// One `name=value` of Opus (RFC 7587 section 6.1). Those we answer for are put into `repeat`.
//= rfc7587#section-6.1  wishes of the receiver, clamped
fn read_opus_parameter(parameter: &str, line: u32, media: &mut MediaParams, repeat: &mut String, warnings: &mut Vec<SdpWarning>) {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    let is_known = matches!(
        &*name,
        "maxaveragebitrate" | "maxplaybackrate" | "minptime" | "sprop-maxcapturerate" | "useinbandfec" | "usedtx" | "stereo" | "cbr"
    );
    if !is_known {
        return;
    }
    let Ok(number) = value.parse::<u32>() else {
        warn(warnings, SdpWarningKind::FormatParameter, line);
        return;
    };
    // Absurd values are clamped before anybody computes with them (A13).
    let mut clamp = |low, high| {
        if !(low..=high).contains(&number) {
            warn(warnings, SdpWarningKind::FormatParameter, line);
        }
        number.clamp(low, high)
    };
    let kept = match &*name {
        "maxaveragebitrate" => {
            media.bitrate_bps_max = clamp(6_000, 510_000);
            media.bitrate_bps_max
        }
        "maxplaybackrate" => {
            media.playback_rate_hz_max = clamp(8_000, 48_000);
            media.playback_rate_hz_max
        }
        "sprop-maxcapturerate" => clamp(8_000, 48_000),
        // The shortest packet time it wants: ours is always 20 ms.
        "minptime" => clamp(3, 20),
        "useinbandfec" => {
            media.fec = number == 1;
            u32::from(media.fec)
        }
        "usedtx" => {
            media.dtx = number == 1;
            return;
        }
        //= rfc7587#section-6.1:cbr  a wish about what we send; what we like to receive is another matter
        "cbr" => {
            media.cbr = number == 1;
            return;
        }
        // What the peer would like to receive says nothing about what we would.
        _ => return,
    };
    let is_repeated = repeat.split(';').any(|p| p.split('=').next() == Some(&*name));
    if !is_repeated {
        let separator = if repeat.is_empty() { "" } else { ";" };
        write!(repeat, "{separator}{name}={kept}").expect("a String takes all");
    }
}

/// The rate at which speech of this bandwidth is good, where the peer names none (RFC 7587 section 3.1.1, upper ends).
fn usual_bitrate_bps(playback_rate_hz: u32) -> u32 {
    match playback_rate_hz {
        ..=8_000 => 12_000,
        8_001..=16_000 => 20_000,
        16_001..=24_000 => 32_000,
        _ => 40_000,
    }
}

fn check_packet_time(scope: &Scope<'_>, warnings: &mut Vec<SdpWarning>) {
    //= protocols#A13  whatever is asked for, packets stay at 20 ms
    for (name, fits) in [("ptime", (|ms| ms == 20) as fn(u32) -> bool), ("maxptime", |ms| ms >= 20)] {
        if let Some((number, value)) = scope.media_first(name)
            && !value.parse::<u32>().is_ok_and(fits)
        {
            warn(warnings, SdpWarningKind::PacketTime, number);
        }
    }
}

fn read_candidates(scope: &Scope<'_>, warnings: &mut Vec<SdpWarning>) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (count, (number, value)) in scope.media("candidate").enumerate() {
        if count == CANDIDATES_MAX {
            warn(warnings, SdpWarningKind::CandidateLimit, number);
            break;
        }
        match candidate::parse(value) {
            Ok(candidate) => {
                if candidate::is_local(candidate.address.ip()) {
                    warn(warnings, SdpWarningKind::CandidateLocal, number);
                }
                candidates.push(candidate);
            }
            Err(why) => warn(warnings, why, number),
        }
    }
    candidates
}

fn read_ssrc(scope: &Scope<'_>, warnings: &mut Vec<SdpWarning>) -> Option<u32> {
    let mut first = None;
    for (number, value) in scope.media("ssrc") {
        let Some(ssrc) = value.split_ascii_whitespace().next().and_then(|id| id.parse::<u32>().ok()) else {
            warn(warnings, SdpWarningKind::BrokenLine, number);
            continue;
        };
        if *first.get_or_insert(ssrc) != ssrc {
            warn(warnings, SdpWarningKind::SeveralSsrc, number);
            break;
        }
    }
    first
}

fn is_bundled(session: &[Line<'_>], mid: &str) -> bool {
    session.iter().filter_map(|line| line.attribute("group")).any(|value| {
        let mut words = value.split_ascii_whitespace();
        words.next() == Some("BUNDLE") && words.any(|word| word == mid)
    })
}

const CANDIDATES_MAX: usize = 32;
const FINGERPRINTS_MAX: usize = 4;
const RTP_CLOCK_HZ: u32 = tipring_engine::limits::RTP_CLOCK_HZ;
