//! SDP at Meta's side: the offer (or answer) it writes, and the judgement on what the business writes.
//!
//! Given: text. Decides: whether Meta would take it (138008 when not) and which rules it breaks. Refuses: tolerance; the shape of a real
//! Meta offer is in `whatsapp-calling.md` 4.1 of the project's research, our duties in 4.6.

use core::fmt;
use std::net::SocketAddr;

/// One thing wrong with the SDP of the business.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SdpFault {
    /// Rule that is broken.
    pub rule: &'static str,
    /// Meta refuses the SDP for it (138008), rather than the call failing later.
    pub is_refused: bool,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for SdpFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// What the relay needs of the SDP of the business.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerSdp {
    /// ICE user fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// SHA-256 fingerprint, `AA:BB:…`.
    pub fingerprint: String,
    /// `active`, `passive` or `actpass`.
    pub setup: String,
    /// `mid`.
    pub mid: String,
    /// Payload type of Opus.
    pub opus_pt: u8,
    /// Payload type of telephone-event/8000.
    pub dtmf_pt: Option<u8>,
    /// SSRC announced.
    pub ssrc: Option<u32>,
    /// UDP candidates, in order of appearance.
    pub candidates: Vec<SocketAddr>,
    /// The value of its one `a=crypto`; `None` on a number that keys by DTLS.
    pub crypto: Option<String>,
}

impl fmt::Debug for PeerSdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSdp").field("setup", &self.setup).field("opus_pt", &self.opus_pt).finish_non_exhaustive()
    }
}

/// Whether the SDP answers Meta's offer or is an offer of the business.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SdpKind {
    /// Answer to a user-initiated call.
    Answer,
    /// Offer of a business-initiated call.
    Offer,
}

/// Looks at the SDP of the business. Returns what the relay needs, when there is enough of it, and everything that is wrong.
///
/// `is_sdes`: `srtp_key_exchange_protocol` of the number; a description of the other kind is refused.
pub fn judge(text: &str, kind: SdpKind, is_sdes: bool) -> (Option<PeerSdp>, Vec<SdpFault>) {
    let mut faults = Vec::new();
    let mut fault = |rule, is_refused, text: String| faults.push(SdpFault { rule, is_refused, text });

    if !text.ends_with("\r\n") || text.replace("\r\n", "").contains(['\r', '\n']) {
        fault("R-40", false, "lines must end with CRLF, the last one too".to_owned());
    }
    let lines: Vec<&str> = text.split(['\r', '\n']).filter(|line| !line.is_empty()).collect();
    if lines.first() != Some(&"v=0") || !lines.iter().any(|l| l.starts_with("o=")) || !lines.iter().any(|l| l.starts_with("s=")) {
        fault("SDP", true, "v=, o= and s= must be there, v=0 first".to_owned());
    }
    let values = |name: &str| -> Vec<&str> {
        let prefix = format!("a={name}:");
        lines.iter().filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
    };
    let flag = |name: &str| lines.iter().any(|line| line.strip_prefix("a=") == Some(name));

    let media: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("m=")).collect();
    if media.len() != 1 {
        fault("R-40", true, format!("one m-line is allowed, {} are there", media.len()));
    }
    let fields: Vec<&str> = media.first().map(|m| m.split(' ').collect()).unwrap_or_default();
    let protocol = if is_sdes { "RTP/SAVP" } else { "UDP/TLS/RTP/SAVPF" };
    if fields.first() != Some(&"audio") || fields.get(2) != Some(&protocol) || fields.get(1).is_none_or(|port| *port == "0") {
        fault("R-40", true, format!("the m-line must be audio, on a port, with {protocol}"));
    }
    let formats: Vec<&str> = fields.iter().skip(3).copied().collect();

    let mut fingerprint = None;
    let mut crypto = None;
    let (mut setup, mut ufrag, mut pwd) = (String::new(), "", "");
    if is_sdes {
        match values("crypto")[..] {
            [one] => match one.split_ascii_whitespace().collect::<Vec<_>>()[..] {
                ["1", SDES_SUITE, key] if key.len() == 47 && key.starts_with("inline:") => crypto = Some(one.to_owned()),
                _ => {
                    fault("RFC4568-5.1", true, format!("a=crypto must be `1 {SDES_SUITE} inline:` and 40 characters, nothing behind them"))
                }
            },
            ref lines => fault("RFC4568-5.1", true, format!("{} a=crypto lines are there, one must be", lines.len())),
        }
        for name in ["fingerprint", "setup", "ice-ufrag", "ice-pwd", "candidate"] {
            if !values(name).is_empty() {
                fault("SDES", true, format!("a={name} on a number that is set to SDES"));
            }
        }
        let connection: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("c=IN IP4 ")).collect();
        if !matches!(connection[..], [address] if address.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| !ip.is_unspecified())) {
            fault("SDES", true, "without ICE c= must name one IPv4 address to send to".to_owned());
        }
    } else {
        let fingerprints = values("fingerprint");
        match fingerprints[..] {
            [] => fault("R-40", true, "No fingerprint found in SDP".to_owned()),
            [one] => match one.split_once(' ') {
                Some((hash, value)) if hash.eq_ignore_ascii_case("sha-256") && is_sha256(value) => fingerprint = Some(value.to_owned()),
                _ => fault("R-40", true, "the fingerprint must be sha-256 with 32 hexadecimal pairs".to_owned()),
            },
            _ => fault("R-40", true, format!("{} fingerprints are there, one is allowed", fingerprints.len())),
        }
        setup = values("setup").first().copied().unwrap_or_default().to_owned();
        match (kind, setup.as_str()) {
            (_, "") => fault("R-28", true, "a=setup is missing".to_owned()),
            (SdpKind::Answer, "active") | (SdpKind::Offer, "actpass" | "active") => {}
            (SdpKind::Answer, "passive") => fault("R-28", false, "a=setup:passive leaves the handshake to Meta; say active".to_owned()),
            (_, other) => fault("R-28", true, format!("a=setup:{other} is not allowed here")),
        }
        let (ufrags, pwds) = (values("ice-ufrag"), values("ice-pwd"));
        (ufrag, pwd) = (ufrags.first().copied().unwrap_or_default(), pwds.first().copied().unwrap_or_default());
        for (name, value, least) in [("ice-ufrag", ufrag, 4), ("ice-pwd", pwd, 22)] {
            if !(least..=256).contains(&value.len()) {
                fault("RFC8839-5.4", true, format!("a={name} must have {least} to 256 characters, it has {}", value.len()));
            } else if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/') {
                fault("RFC8839-5.4", false, format!("a={name} holds a character outside ice-char"));
            }
        }
    }
    if flag("ice-lite") {
        fault("R-21", false, "a=ice-lite: two lite agents never check".to_owned());
    }
    if !flag("rtcp-mux") {
        fault("RFC5761-5.1", true, "a=rtcp-mux is missing; only component 1 exists".to_owned());
    }
    if !flag("sendrecv") {
        fault("R-40", false, "the direction must be a=sendrecv, else there is no audio".to_owned());
    }
    let mid = values("mid").first().copied().unwrap_or_default().to_owned();
    if kind == SdpKind::Answer && mid != "audio" {
        fault("RFC9143-7.3", true, "a=mid must repeat the offer's `audio`".to_owned());
    }
    if kind == SdpKind::Answer && !values("group").iter().any(|group| group.split(' ').eq(["BUNDLE", mid.as_str()])) {
        fault("RFC9143-7.3", true, "a=group:BUNDLE must hold the mid".to_owned());
    }

    let maps: Vec<(&str, String)> =
        values("rtpmap").iter().filter_map(|map| map.split_once(' ')).map(|(pt, name)| (pt, name.to_ascii_lowercase())).collect();
    let number = |wanted: &str| maps.iter().find(|(_, name)| name == wanted).and_then(|(pt, _)| pt.parse::<u8>().ok());
    let (opus_pt, dtmf_pt) = (number("opus/48000/2"), number("telephone-event/8000"));
    for (pt, name) in &maps {
        match name.as_str() {
            "opus/48000/2" | "telephone-event/8000" => {}
            other if other.starts_with("opus/") => fault("R-17", true, format!("rtpmap {pt} is {other}: Opus is opus/48000/2")),
            other if other.starts_with("telephone-event/") => fault("R-20", false, format!("rtpmap {pt} is {other}: Meta knows 8000 only")),
            other => fault("R-16", false, format!("rtpmap {pt} is {other}: not a supported codec")),
        }
    }
    for pt in &formats {
        if !maps.iter().any(|(known, _)| known == pt) {
            fault("R-16", false, format!("payload type {pt} has no rtpmap"));
        }
    }
    match opus_pt {
        None => fault("R-16", true, "Opus (opus/48000/2) is missing".to_owned()),
        Some(pt) if kind == SdpKind::Answer && pt != OPUS_PT => {
            fault("R-16", true, format!("Opus has payload type {pt}, the offer said {OPUS_PT}"));
        }
        Some(pt) if !formats.iter().any(|f| f.parse() == Ok(pt)) => fault("R-16", true, format!("the m-line does not list {pt}")),
        Some(_) => {}
    }
    if kind == SdpKind::Answer && dtmf_pt.is_some_and(|pt| pt != DTMF_PT) {
        fault("R-20", true, format!("telephone-event must keep the offer's payload type {DTMF_PT}"));
    }
    for name in ["ptime", "maxptime"] {
        match values(name).first() {
            Some(&"20") => {}
            Some(other) => fault("R-18", true, format!("a={name}:{other}; Meta wants 20")),
            None => fault("R-18", false, format!("a={name}:20 is missing")),
        }
    }
    let mut ssrcs: Vec<u32> = values("ssrc").iter().filter_map(|v| v.split(' ').next()?.parse().ok()).collect();
    ssrcs.dedup();
    if ssrcs.len() > 1 {
        fault("R-19", false, format!("{} SSRCs are announced, one is allowed", ssrcs.len()));
    }
    if !values("extmap").is_empty() {
        fault("M-extensions", false, "header extensions are announced; Meta's offer has none".to_owned());
    }
    let candidates = values("candidate").iter().filter_map(|line| candidate(line)).collect();

    let is_keyed = if is_sdes { crypto.is_some() } else { fingerprint.is_some() && !ufrag.is_empty() && !pwd.is_empty() };
    let peer = opus_pt.filter(|_| is_keyed).map(|opus_pt| PeerSdp {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
        fingerprint: fingerprint.unwrap_or_default(),
        crypto,
        setup,
        mid,
        opus_pt,
        dtmf_pt,
        ssrc: ssrcs.first().copied(),
        candidates,
    });
    (peer, faults)
}

fn is_sha256(value: &str) -> bool {
    let pairs: Vec<&str> = value.split(':').collect();
    pairs.len() == 32 && pairs.iter().all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn candidate(line: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split(' ').collect();
    let is_udp = fields.get(2)?.eq_ignore_ascii_case("udp");
    is_udp.then_some(SocketAddr::new(fields.get(4)?.parse().ok()?, fields.get(5)?.parse().ok()?))
}

/// Opus as Meta numbers it.
pub const OPUS_PT: u8 = 111;
/// telephone-event/8000 as Meta numbers it.
pub const DTMF_PT: u8 = 126;

/// The suite of Meta's SDES numbers.
pub const SDES_SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// What Meta writes about itself.
pub struct MetaSdp<'a> {
    /// `inline:` key of an SDES number: then there is no ICE, no fingerprint, no IPv6.
    pub crypto: Option<&'a str>,
    /// Milliseconds since 1970: the session id.
    pub unix_ms: u64,
    /// IPv4 address of the relay.
    pub v4: Option<SocketAddr>,
    /// IPv6 address of the relay; higher in priority.
    pub v6: Option<SocketAddr>,
    /// ICE user fragment.
    pub ufrag: &'a str,
    /// ICE password, with `==`.
    pub pwd: &'a str,
    /// `sha-256 AA:…`.
    pub fingerprint: &'a str,
    /// `actpass` in offers.
    pub setup: &'a str,
    /// `audio` in offers, the other side's in answers.
    pub mid: &'a str,
    /// Opus payload type.
    pub opus_pt: u8,
    /// telephone-event payload type.
    pub dtmf_pt: u8,
    /// SSRC of the user.
    pub ssrc: u32,
    /// Name of the stream, a UUID.
    pub stream: &'a str,
}

impl fmt::Display for MetaSdp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = self.v4.or(self.v6).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 9)));
        let family = if default.is_ipv4() { "IP4" } else { "IP6" };
        let (opus, dtmf, mid, stream) = (self.opus_pt, self.dtmf_pt, self.mid, self.stream);
        write!(f, "v=0\r\no=- {} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mid}\r\n", self.unix_ms)?;
        write!(f, "a=msid-semantic: WMS {stream}\r\n")?;
        if let Some(key) = self.crypto {
            write!(f, "m=audio {} RTP/SAVP {opus} {dtmf}\r\nc=IN {family} {}\r\n", default.port(), default.ip())?;
            write!(f, "a=rtcp:9 IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=sendrecv\r\na=msid:{stream} WhatsAppTrack1\r\na=rtcp-mux\r\n")?;
            write!(f, "a=crypto:1 {SDES_SUITE} inline:{key}\r\na=rtpmap:{opus} opus/48000/2\r\na=fmtp:{opus} maxaveragebitrate=20000;")?;
            return self.write_end(f);
        }
        write!(f, "a=ice-lite\r\nm=audio {} UDP/TLS/RTP/SAVPF {opus} {dtmf}\r\n", default.port())?;
        write!(f, "c=IN {family} {}\r\na=rtcp:9 IN IP4 0.0.0.0\r\n", default.ip())?;
        let both = [(self.v4, 707_619_806, 2_122_260_223_u32), (self.v6, 1_267_757_827, 2_122_262_783)];
        for (address, foundation, priority) in both {
            if let Some(address) = address {
                let (ip, port) = (address.ip(), address.port());
                write!(f, "a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host generation 0 network-cost 50\r\n")?;
            }
        }
        write!(f, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:{}\r\n", self.ufrag, self.pwd, self.fingerprint)?;
        write!(f, "a=setup:{}\r\na=mid:{mid}\r\na=sendrecv\r\na=msid:{stream} WhatsAppTrack1\r\na=rtcp-mux\r\n", self.setup)?;
        write!(f, "a=rtpmap:{opus} opus/48000/2\r\na=rtcp-fb:{opus} transport-cc\r\na=fmtp:{opus} maxaveragebitrate=20000;")?;
        self.write_end(f)
    }
}

impl MetaSdp<'_> {
    fn write_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtmf = self.dtmf_pt;
        write!(f, "maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1\r\n")?;
        write!(f, "a=rtpmap:{dtmf} telephone-event/8000\r\na=maxptime:20\r\na=ptime:20\r\n")?;
        write!(f, "a=ssrc:{} cname:{CNAME}\r\n", self.ssrc)
    }
}

/// CNAME of the user's stream.
pub const CNAME: &str = "WhatsAppAudioStream1";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ANSWER: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\n\
        m=audio 40000 UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 127.0.0.1\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
        a=candidate:1 1 udp 2130706431 127.0.0.1 40000 typ host\r\na=ice-ufrag:Xq3k\r\na=ice-pwd:7fJSbV2N5qWiA5QiDKwK3vuh\r\n\
        a=fingerprint:sha-256 8E:64:08:0B:8F:CE:73:ED:E2:44:9C:FB:EA:0B:20:D5:41:B6:93:06:F9:79:6C:48:78:1A:A2:41:AD:9C:EA:68\r\n\
        a=setup:active\r\na=mid:audio\r\na=sendrecv\r\na=msid:eng a0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
        a=fmtp:111 minptime=20;useinbandfec=1\r\na=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\na=ptime:20\r\na=maxptime:20\r\n\
        a=ssrc:330833028 cname:eng\r\n";

    fn rules(text: &str, kind: SdpKind) -> Vec<(&'static str, bool)> {
        judge(text, kind, false).1.iter().map(|fault| (fault.rule, fault.is_refused)).collect()
    }

    #[test]
    fn good_answer_passes_and_gives_what_the_relay_needs() {
        let (peer, faults) = judge(ANSWER, SdpKind::Answer, false);
        assert_eq!(faults, []);
        let peer = peer.unwrap();
        assert_eq!((peer.ufrag.as_str(), peer.opus_pt, peer.dtmf_pt, peer.ssrc), ("Xq3k", 111, Some(126), Some(330_833_028)));
        assert_eq!(peer.candidates, ["127.0.0.1:40000".parse().unwrap()]);
        assert_eq!(rules(&ANSWER.replace("setup:active", "setup:actpass"), SdpKind::Offer), []);
    }

    #[test]
    fn an_sdes_number_takes_keys_and_nothing_of_ice_or_dtls() {
        let keep = |line: &&str| !["a=fingerprint", "a=setup", "a=ice-", "a=candidate"].iter().any(|prefix| line.starts_with(prefix));
        let plain: String = ANSWER.lines().filter(keep).map(|line| format!("{line}\r\n")).collect();
        let key = "A".repeat(40);
        let good = plain
            .replace("UDP/TLS/RTP/SAVPF", "RTP/SAVP")
            .replace("a=mid:audio", &format!("a=mid:audio\r\na=crypto:1 {SDES_SUITE} inline:{key}"));
        let (peer, faults) = judge(&good, SdpKind::Answer, true);
        assert_eq!(faults, []);
        assert_eq!(peer.unwrap().crypto.unwrap(), format!("1 {SDES_SUITE} inline:{key}"));
        assert!(judge(&good, SdpKind::Answer, false).1.iter().any(|f| f.is_refused), "the reverse is refused");
        assert!(judge(ANSWER, SdpKind::Answer, true).1.iter().any(|f| f.is_refused));
        for (from, to) in [
            ("a=mid:audio", "a=mid:audio\r\na=setup:active"),
            ("a=mid:audio", "a=mid:audio\r\na=ice-ufrag:abcd"),
            ("AAAA\r\n", "AAAA|2^31\r\n"),
            ("a=crypto:1", "a=crypto:2"),
            ("a=crypto:1", "a=crypto:1 x inline:y\r\na=crypto:1"),
            ("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"),
        ] {
            let bad = good.replace(from, to);
            assert!(bad != good && judge(&bad, SdpKind::Answer, true).1.iter().any(|f| f.is_refused), "{to}");
        }
    }

    #[test]
    fn each_defect_is_found_and_nothing_else() {
        let print = ANSWER.lines().find(|l| l.starts_with("a=fingerprint")).unwrap();
        let twice = format!("{print}\r\n{print}");
        let cases: &[(&str, &str, &str, bool)] = &[
            (print, &twice, "R-40", true),
            ("sha-256 8E", "sha-1 8E", "R-40", true),
            (":EA:68", ":EA", "R-40", true),
            ("a=setup:active", "a=setup:actpass", "R-28", true),
            ("a=setup:active", "a=setup:passive", "R-28", false),
            ("a=ice-ufrag:Xq3k", "a=ice-ufrag:Xq3", "RFC8839-5.4", true),
            ("a=ice-ufrag:Xq3k", "a=ice-ufrag:Xq3k=", "RFC8839-5.4", false),
            ("a=rtcp-mux", "a=ice-lite\r\na=rtcp-mux", "R-21", false),
            ("a=rtcp-mux\r\n", "", "RFC5761-5.1", true),
            ("a=sendrecv", "a=recvonly", "R-40", false),
            ("a=group:BUNDLE audio", "a=group:BUNDLE 0", "RFC9143-7.3", true),
            ("a=rtpmap:126 telephone-event/8000", "a=rtpmap:126 telephone-event/48000", "R-20", false),
            ("a=ptime:20", "a=ptime:40", "R-18", true),
            ("a=maxptime:20\r\n", "", "R-18", false),
            ("a=ssrc:330833028 cname:eng", "a=ssrc:330833028 cname:eng\r\na=ssrc:5 cname:eng", "R-19", false),
            ("SAVPF 111 126", "SAVPF 111 126 8", "R-16", false),
            ("SAVPF", "SAVP", "R-40", true),
        ];
        for (from, to, rule, is_refused) in cases {
            let text = ANSWER.replacen(from, to, 1);
            assert_ne!(text, ANSWER);
            assert_eq!(rules(&text, SdpKind::Answer), [(*rule, *is_refused)], "{from} -> {to}");
        }
        assert_eq!(rules(&ANSWER.replace("\r\n", "\n"), SdpKind::Answer), [("R-40", false)]);
        assert_eq!(rules(ANSWER.trim_end(), SdpKind::Answer), [("R-40", false)]);
    }

    #[test]
    fn our_own_text_has_the_shape_of_a_real_offer() {
        let sdp = MetaSdp {
            crypto: None,
            unix_ms: 1_790_963_543_407,
            v4: Some("127.0.0.1:3480".parse().unwrap()),
            v6: Some("[::1]:3480".parse().unwrap()),
            ufrag: "AbCdEfGhIjKlMnOp",
            pwd: "AAECAwQFBgcICQoLDA0ODw==",
            fingerprint: "sha-256 8E:64",
            setup: "actpass",
            mid: "audio",
            opus_pt: OPUS_PT,
            dtmf_pt: DTMF_PT,
            ssrc: 613_016_344,
            stream: "7da83f2b-0000-4fe9-b568-000000000001",
        };
        let text = sdp.to_string();
        assert!(text.starts_with("v=0\r\no=- 1790963543407 2 IN IP4 127.0.0.1\r\n") && text.ends_with("\r\n"));
        assert!(text.contains("a=candidate:1267757827 1 udp 2122262783 ::1 3480 typ host generation 0 network-cost 50\r\n"));
        assert!(text.contains("m=audio 3480 UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 127.0.0.1\r\n"));
        assert_eq!(text.lines().count(), 27);
    }

    #[test]
    fn no_mangled_text_panics() {
        let mut state = 7u64;
        for _ in 0..4_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = ANSWER.as_bytes().to_vec();
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 20) as u8 & 0x7f;
            bytes.truncate(((state >> 40) as usize % bytes.len()).max(at));
            let _ = judge(&String::from_utf8_lossy(&bytes), SdpKind::Answer, bytes.len().is_multiple_of(2));
        }
    }
}
