//! Golden descriptions, the rules of our answer, and the round trip.

use core::net::SocketAddr;

use proptest::prelude::*;
use serde_json::Value;
use tipring_engine::call::{LocalParams, SetupRole};
use tipring_engine::dtls::Fingerprint;
use tipring_engine::ice::{Candidate, CandidateKind, Credentials};
use tipring_engine::keying::{Profile, SdesSecret};
use tipring_engine::rng::{Entropy as _, SeededRng};

use super::error::{SdpErrorKind, SdpWarningKind};
use super::{
    Crypto, KeyExchange, candidate, our_role, read_answer, read_answer_as, read_offer, read_offer_as, write_answer, write_offer,
    write_offer_as,
};

fn golden(name: &str) -> Value {
    let path = format!("{}/../tests/golden/sdp/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("golden file")).expect("golden JSON")
}

fn sample(id: &str) -> String {
    let file = golden("meta_samples");
    let case = file["cases"].as_array().expect("cases").iter().find(|c| c["id"] == id).expect("case").clone();
    case["sdp"].as_str().expect("text").to_owned()
}

fn offer() -> String {
    sample("meta-offer-user-initiated")
}

pub(crate) fn local() -> LocalParams {
    let host = |address: &str, priority, foundation: &str| Candidate {
        address: address.parse().expect("address"),
        kind: CandidateKind::Host,
        priority,
        foundation: foundation.to_owned(),
        base: None,
    };
    LocalParams {
        credentials: Credentials { ufrag: "Xq3kXq3kXq3kXq3k".into(), pwd: "7fJSbV2N5qWiA5QiDKwK3vuh".into() },
        candidates: vec![host("203.0.113.7:40000", 2_130_706_431, "1"), host("[2001:db8::7]:40000", 2_130_706_175, "2")],
        complete: true,
        fingerprint: Fingerprint(core::array::from_fn(|i| i as u8 * 7)),
        role: SetupRole::Active,
        sdes: SdesSecret::generate(|out| SeededRng::new(4_568).fill(out)),
        ssrc: 330_833_028,
        cname: "k3J9xQ".into(),
    }
}

fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the sample has no {from:?}");
    text.replace(from, to)
}

fn refusal(text: &str) -> SdpErrorKind {
    read_offer(text).expect_err("must be refused").kind
}

//= rules#I5 type=test
//= rules#I36 type=test
#[test]
fn metas_own_descriptions_read_as_documented() {
    for case in golden("meta_samples")["cases"].as_array().expect("cases") {
        let (id, text, expect) = (case["id"].as_str().expect("id"), case["sdp"].as_str().expect("text"), &case["expect"]);
        let read = if id.contains("answer") { read_answer(text) } else { read_offer(text) }.unwrap_or_else(|e| panic!("{id}: {e}"));
        let params = &read.params;
        let credentials = params.credentials.as_ref().expect("ICE");
        assert_eq!(params.lite, expect["ice_lite"], "{id}");
        assert_eq!(u64::from(params.media.opus_payload_type), expect["opus_pt"], "{id}");
        assert_eq!(params.media.dtmf_payload_type.map(u64::from), expect["dtmf_pt"].as_u64(), "{id}");
        assert_eq!(params.candidates.len() as u64, expect["udp_candidates"], "{id}");
        assert_eq!(params.fingerprints.len(), 1, "{id}");
        assert!(read.bundled && params.ssrc.is_some() && read.warnings.is_empty(), "{id}: {:?}", read.warnings);
        let role = match expect["setup"].as_str() {
            Some("actpass") => SetupRole::ActPass,
            Some("active") => SetupRole::Active,
            other => panic!("{id}: {other:?}"),
        };
        assert_eq!(params.role, role, "{id}");
        if let Some(ufrag) = expect["ufrag"].as_str() {
            assert_eq!(credentials.ufrag, ufrag, "{id}");
            //= protocols#M4 type=test
            assert_eq!(credentials.pwd, expect["pwd"], "{id}");
            assert!(credentials.pwd.ends_with("=="), "{id}");
            assert_eq!(read.mid.as_deref(), expect["mid"].as_str(), "{id}");
            assert_eq!(u64::from(params.media.bitrate_bps_max), expect["maxaveragebitrate"], "{id}");
            assert_eq!(u64::from(params.media.playback_rate_hz_max), expect["maxplaybackrate"], "{id}");
            assert!(params.media.fec && !params.media.dtx, "{id}");
        }
    }
}

#[test]
fn descriptions_of_browsers_read_too() {
    for case in golden("other_stacks")["cases"].as_array().expect("cases") {
        let (id, text, expect) = (case["id"].as_str().expect("id"), case["sdp"].as_str().expect("text"), &case["expect"]);
        let read = if id.contains("answer") { read_answer(text) } else { read_offer(text) }.unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(read.mid.as_deref(), expect["mid"].as_str(), "{id}");
        assert_eq!(read.params.media.opus_payload_type, 111, "{id}");
        // Full agents without candidates: they will find us.
        assert!(!read.params.lite && read.params.candidates.is_empty(), "{id}");
        assert!(read.warnings.iter().any(|w| w.kind == SdpWarningKind::NoCandidate), "{id}");
    }
}

//= rfc8445#section-15 type=test
//= rules#I10 type=test
//= rules#I11 type=test
#[test]
fn candidate_lines_read_or_are_skipped() {
    for case in golden("candidate_lines")["cases"].as_array().expect("cases") {
        let line = case["line"].as_str().expect("line");
        let value = line.strip_prefix("candidate:").expect("prefix");
        let expect = &case["expect"];
        match candidate::parse(value) {
            Err(_) => assert!(expect.is_string(), "{line}"),
            Ok(read) => {
                assert!(expect.is_object(), "{line}");
                let same = |name: &str, value: Value| assert!(expect[name].is_null() || expect[name] == value, "{line}: {name}");
                same("addr", read.address.ip().to_string().into());
                same("port", read.address.port().into());
                same("priority", read.priority.into());
                same("foundation", read.foundation.clone().into());
                let kind = if read.kind == CandidateKind::Host { "host" } else { "srflx" };
                same("type", kind.into());
                assert_eq!(read.base, (kind == "srflx").then(|| "10.0.0.1:5000".parse::<SocketAddr>().expect("address")), "{line}");
            }
        }
    }
}

#[test]
fn hostile_descriptions_end_as_written_down() {
    use SdpErrorKind as Kind;
    for case in golden("hostile")["cases"].as_array().expect("cases") {
        let id = case["id"].as_str().expect("id");
        let text = match case["bytes_hex_if_not_text"].as_str() {
            Some(hex) => {
                let bytes: Vec<u8> = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            None if id == "100k-attributes" => format!("{}{}", offer(), "a=x\r\n".repeat(100_000)),
            None => case["sdp"].as_str().expect("text").to_owned(),
        };
        let result = read_offer(&text);
        let refused = result.as_ref().err().map(|e| e.kind);
        let expected = match id {
            "empty" => Some(Kind::NotSdp),
            "only-crlf" => Some(Kind::TooManyLines),
            "media-name-1024" => Some(Kind::MediaLine),
            "100k-attributes" => Some(Kind::TooLong),
            "no-m-line" => Some(Kind::NoAudio),
            "port-0" => Some(Kind::AudioRejected),
            "no-ufrag" => Some(Kind::NoCredentials),
            "no-fingerprint" => Some(Kind::NoFingerprint),
            "pt-64-95" => Some(Kind::NoOpus),
            _ => None,
        };
        assert_eq!(refused, expected, "{id}");
        let Ok(read) = result else { continue };
        let warned = |kind| read.warnings.iter().any(|w| w.kind == kind);
        match id {
            "nul-in-fmtp" => assert!(warned(SdpWarningKind::BrokenLine)),
            "ptime-0" => assert!(warned(SdpWarningKind::PacketTime)),
            "bitrate-0" => assert_eq!(read.params.media.bitrate_bps_max, 6_000),
            "setup-missing" => assert!(warned(SdpWarningKind::NoSetup) && read.params.role == SetupRole::ActPass),
            _ => {}
        }
    }
}

//= rules#D20 type=test
//= rules#D21 type=test
#[test]
fn refusals_say_what_where_and_what_to_do() {
    use SdpErrorKind as Kind;
    let offer = offer();
    let fingerprint = offer.lines().find(|l| l.starts_with("a=fingerprint")).expect("line");
    let cases = [
        (with(&offer, "UDP/TLS/RTP/SAVPF", "RTP/AVP"), Kind::ClearMedia),
        (with(&offer, "UDP/TLS/RTP/SAVPF", "DTLS/SCTP"), Kind::Protocol),
        (with(&offer, fingerprint, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"), Kind::Sdes),
        (with(&offer, "a=fingerprint:sha-256", "a=fingerprint:sha-512"), Kind::FingerprintHash),
        (with(&offer, fingerprint, &fingerprint[..fingerprint.len() - 3]), Kind::FingerprintValue),
        (with(&offer, "sGUUAvS/fOjzPtIoL72o2g==", "short"), Kind::Credentials),
        (with(&offer, "a=setup:actpass", "a=setup:holdconn"), Kind::Setup),
        (with(&offer, "a=rtcp-mux\r\n", ""), Kind::NoRtcpMux),
        (with(&offer, "opus/48000/2", "opus/16000"), Kind::NoOpus),
        (with(&offer, " typ host", " typ nowhere"), Kind::NoCandidate),
        (with(&offer, "a=sendrecv", "a=inactive"), Kind::Inactive),
        (format!("{offer}m=audio 4000 UDP/TLS/RTP/SAVPF 111\r\n"), Kind::SeveralAudio),
        (format!("{offer}a=x:{}", "y".repeat(5_000)), Kind::LineTooLong),
        (format!("{offer}{}", "a=x\r\n".repeat(1_000)), Kind::TooManyLines),
        (format!("{offer}{}", "m=video 0 RTP/AVP 96\r\n".repeat(16)), Kind::TooManySections),
        (with(&offer, "v=0\r\n", "v=1\r\n"), Kind::NotSdp),
    ];
    for (text, kind) in &cases {
        assert_eq!(refusal(text), *kind);
    }
    let said = read_offer(&cases[5].0).expect_err("refused").to_string();
    assert!(said.starts_with("SDP line 14 (a=ice-ufrag, a=ice-pwd): ") && said.contains("; ") && !said.contains("short"), "{said}");
    for kind in SdpErrorKind::ALL {
        assert!(!kind.what().is_empty() && !kind.advice().is_empty() && !kind.attribute().is_empty());
    }
}

//= meta#R-16 type=test
//= rules#I37 type=test
#[test]
fn what_meta_has_been_seen_to_do_is_tolerated() {
    let offer = offer();
    let expected = read_offer(&offer).expect("plain");
    let (head, tail) = offer.split_once("m=audio").expect("audio");
    let moved: String =
        tail.lines().filter(|l| l.starts_with("a=ice-") || l.starts_with("a=fingerprint")).map(|l| format!("{l}\r\n")).collect();
    let rest: String =
        format!("m=audio{tail}").split_inclusive("\r\n").filter(|l| !(l.starts_with("a=ice-") || l.starts_with("a=fingerprint"))).collect();
    for (what, text) in [
        ("session level", format!("{head}{moved}{rest}")),
        ("upper-case hash", with(&offer, "sha-256", "SHA-256")),
        ("blanks after the semicolon", with(&offer, ";minptime", "; minptime")),
        ("names in capitals", with(&with(&offer, "opus/", "OPUS/"), " udp ", " UDP ")),
        ("unknown attributes", format!("{offer}a=fb-force-5245\r\na=extmap-allow-mixed\r\na=ice-options:x-fb-feature:pqc-0\r\n")),
        ("mslabel", format!("{offer}a=ssrc:972010428 mslabel:x\r\n")),
        ("G.711 beside", with(&with(&offer, "111 126\r\n", "0 8 111 126\r\n"), "a=maxptime", "a=rtpmap:0 PCMU/8000\r\na=maxptime")),
        ("profile token", with(&offer, "UDP/TLS/RTP/SAVPF", "RTP/SAVPF")),
    ] {
        let read = read_offer(&text).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((&read.params, &read.mid, &read.opus_fmtp), (&expected.params, &expected.mid, &expected.opus_fmtp), "{what}");
    }
    let overridden = with(&offer, "t=0 0\r\n", "t=0 0\r\na=inactive\r\n");
    assert_eq!(read_offer(&overridden).expect("the section's own direction counts").params, expected.params);
    let one_way = read_offer(&with(&offer, "a=sendrecv", "a=recvonly")).expect("one way");
    assert!(one_way.warnings.iter().any(|w| w.kind == SdpWarningKind::Direction));
    let no_ssrc = offer.split("a=ssrc").next().expect("head");
    assert_eq!(read_offer(no_ssrc).expect("no ssrc").params.ssrc, None);
    let local_candidate = read_offer(&with(&offer, "10.77.0.1 3484", "127.0.0.1 3484")).expect("loopback");
    assert_eq!(local_candidate.params.candidates.len(), 2);
    assert!(local_candidate.warnings.iter().any(|w| w.kind == SdpWarningKind::CandidateLocal));
    let actpass = with(&sample("meta-answer-business-initiated"), "a=setup:active", "a=setup:actpass");
    assert_eq!(our_role(read_answer(&actpass).expect("illegal but seen").params.role), SetupRole::Active);
    let many = format!("{offer}{}", "a=candidate:9 1 udp 5 10.77.0.9 9 typ host\r\n".repeat(500));
    assert_eq!(read_offer(&many).expect("many").params.candidates.len(), 32);
}

//= rfc4733#section-2.4.1 type=test
//= rfc7587#section-7 type=test
//= meta#R-40 type=test
//= meta#R-43 type=test
//= meta#R-18 type=test
//= meta#R-20 type=test
//= meta#R-28 type=test
//= rules#D20 type=test
#[test]
fn our_answer_is_the_documented_one() {
    let offer = read_offer(&offer()).expect("offer");
    let mut local = local();
    local.candidates.truncate(1);
    let text = write_answer(&offer, &local, 4_611_731_400_430_051_336);
    let fingerprint: Vec<String> = local.fingerprint.0.iter().map(|b| format!("{b:02X}")).collect();
    let expected = [
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 203.0.113.7",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE audio",
        "a=msid-semantic: WMS k3J9xQ",
        "m=audio 40000 UDP/TLS/RTP/SAVPF 111 126",
        "c=IN IP4 203.0.113.7",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=candidate:1 1 udp 2130706431 203.0.113.7 40000 typ host",
        "a=ice-ufrag:Xq3kXq3kXq3kXq3k",
        "a=ice-pwd:7fJSbV2N5qWiA5QiDKwK3vuh",
        &format!("a=fingerprint:sha-256 {}", fingerprint.join(":")),
        "a=setup:active",
        "a=mid:audio",
        "a=sendrecv",
        "a=msid:k3J9xQ a0",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1",
        "a=rtpmap:126 telephone-event/8000",
        "a=fmtp:126 0-15",
        "a=ptime:20",
        "a=maxptime:20",
        "a=ssrc:330833028 cname:k3J9xQ",
    ];
    assert_eq!(text, expected.map(|line| format!("{line}\r\n")).concat());
}

//= rfc4733#section-2.4.1 type=test
//= rfc7587#section-7 type=test
//= rfc7587#section-6.1 type=test
//= meta#R-40 type=test
//= meta#R-21 type=test
//= meta#R-16 type=test
//= rules#I36 type=test
//= rules#I37 type=test
//= rules#D21 type=test
//= rules#P6 type=test
//= rules#C11 type=test
//= rules#T9 type=test
#[test]
fn our_answer_obeys_each_written_rule() {
    let text = write_answer(&read_offer(&offer()).expect("offer"), &local(), u64::MAX);
    let count = |prefix: &str| text.lines().filter(|l| l.starts_with(prefix)).count();
    for case in golden("answer_rules")["cases"].as_array().expect("cases") {
        let id = case["id"].as_str().expect("id");
        let holds = match id {
            "one-sha256-fingerprint" => count("a=fingerprint:sha-256 ") == 1 && count("a=fingerprint") == 1,
            "setup-active" => count("a=setup:active") == 1 && count("a=setup") == 1,
            "no-ice-lite-line" => count("a=ice-lite") == 0,
            "ice2-or-none" => count("a=ice-options") == 0,
            "bundle-and-mid-echoed" => count("a=group:BUNDLE audio") == 1 && count("a=mid:audio") == 1,
            "rtcp-mux-echoed" => count("a=rtcp-mux") == 1,
            "pt-numbers-of-the-offer" => count("m=audio 40000 UDP/TLS/RTP/SAVPF 111 126") == 1,
            "opus-48000-2" => count("a=rtpmap:111 opus/48000/2") == 1,
            // Event 16 (flash) does not exist on these calls: 4.6 lists 0-15.
            "telephone-event-8000-with-fmtp-0-16" => count("a=rtpmap:126 telephone-event/8000") == 1 && count("a=fmtp:126 0-15") == 1,
            "ptime-20-maxptime-20" => count("a=ptime:20") == 1 && count("a=maxptime:20") == 1,
            "one-ssrc-line-with-cname" => count("a=ssrc:330833028 cname:") == 1 && count("a=ssrc") == 1,
            "o-line-session-id-63-bit" => count("o=- 9223372036854775807 2 IN") == 1,
            "crlf-everywhere" => text.ends_with("\r\n") && text.split("\r\n").all(|l| !l.contains(['\r', '\n'])),
            "direction-sendrecv" => count("a=sendrecv") == 1,
            "c-line-equals-default-candidate" => count("c=IN IP4 203.0.113.7") == 1,
            "ufrag-4-to-256-pwd-22-to-256-ice-chars" => count("a=ice-ufrag:") == 1 && count("a=ice-pwd:") == 1,
            "unknown-fmtp-not-echoed" => {
                let odd = with(&offer(), "useinbandfec=1", "useinbandfec=1;x-secret=7;stereo=1");
                !write_answer(&read_offer(&odd).expect("odd"), &local(), 1).contains("x-secret")
            }
            "no-transport-cc-without-extmap" => count("a=rtcp-fb") == 0 && count("a=extmap") == 0,
            other => panic!("rule {other} has no test"),
        };
        assert!(holds, "{id}");
    }
}

//= rules#D21 type=test
#[test]
fn d21_weak_hashes_are_passed_over_beside_a_sha_256_and_refused_alone() {
    let offer = offer();
    let expected = read_offer(&offer).expect("plain").params.fingerprints;
    let weak = format!("a=fingerprint:sha-1 {}\r\na=fingerprint:md5 {}", ["00"; 20].join(":"), ["00"; 16].join(":"));
    let beside = read_offer(&with(&offer, "a=fingerprint:sha-256", &format!("{weak}\r\na=fingerprint:sha-256"))).expect("one suffices");
    assert_eq!(beside.params.fingerprints, expected);
    assert_eq!(beside.warnings.iter().filter(|w| w.kind == SdpWarningKind::FingerprintHash).count(), 2);
    for alone in ["sha-1", "md5", "md2"] {
        let text = with(&offer, "a=fingerprint:sha-256", &format!("a=fingerprint:{alone}"));
        assert!(refusal(&text) == SdpErrorKind::FingerprintHash, "{alone}");
    }
    let second = format!("a=fingerprint:SHA-256 {}\r\na=fingerprint:sha-256", ["ab"; 32].join(":"));
    let both = read_offer(&with(&offer, "a=fingerprint:sha-256", &second)).expect("two").params.fingerprints;
    assert!(both.len() == 2 && both.contains(&expected[0]));
}

//= rules#X2 type=test
#[test]
fn x2_payload_types_that_look_like_rtcp_are_not_taken() {
    let renumbered = |opus: u8, dtmf: u8| {
        let text = with(&with(&offer(), "SAVPF 111 126", &format!("SAVPF {opus} {dtmf}")), ":111 ", &format!(":{opus} "));
        with(&text, ":126 ", &format!(":{dtmf} "))
    };
    for pt in [64, 72, 79, 95] {
        assert!(refusal(&renumbered(pt, 126)) == SdpErrorKind::NoOpus, "{pt}");
        assert_eq!(read_offer(&renumbered(111, pt)).expect("speech goes without digits").params.media.dtmf_payload_type, None, "{pt}");
    }
    for pt in [63, 96] {
        assert_eq!(read_offer(&renumbered(pt, 126)).expect("a free number").params.media.opus_payload_type, pt);
    }
}

#[test]
fn further_sections_are_rejected_in_place() {
    let offer = offer();
    let video = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:v0\r\n";
    let (head, tail) = offer.split_once("m=audio").expect("audio");
    let read = read_offer(&format!("{head}{video}m=audio{tail}")).expect("two sections");
    assert_eq!(read.audio_index, 1);
    let answer = write_answer(&read, &local(), 1);
    assert!(answer.contains("\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:v0\r\nm=audio 40000 "), "{answer}");
    assert!(answer.contains("a=group:BUNDLE audio\r\n"));
}

#[test]
fn an_answer_without_candidates_points_nowhere() {
    let mut local = local();
    local.candidates.clear();
    let answer = write_answer(&read_offer(&offer()).expect("offer"), &local, 1);
    assert!(answer.contains("m=audio 9 ") && answer.contains("c=IN IP4 0.0.0.0\r\n"));
}

//= rules#G9 type=test
#[test]
fn debug_shows_no_password() {
    let read = read_offer(&offer()).expect("offer");
    assert!(!format!("{read:?}").contains("sGUUAvS"));
}

prop_compose! {
    fn any_candidate()(
        v6 in any::<bool>(), bits in any::<u128>(), port in 1..=u16::MAX, kind in 0..4, priority in 1..=u32::MAX, foundation in "[a-zA-Z0-9+/]{1,32}",
        base in proptest::option::of(any::<(u16, u32)>()),
    ) -> Candidate {
        let ip: core::net::IpAddr = if v6 {
            core::net::Ipv6Addr::from((bits & (u128::MAX >> 16)) | (0xfd77 << 112)).into()
        } else {
            core::net::Ipv4Addr::from((bits as u32 & 0x00ff_ffff) | 0x0a00_0000).into()
        };
        let kind = [CandidateKind::Host, CandidateKind::ServerReflexive, CandidateKind::PeerReflexive, CandidateKind::Relayed][kind as usize];
        let base = base.filter(|_| kind != CandidateKind::Host).map(|(port, bits)| SocketAddr::new(core::net::Ipv4Addr::from(bits | 1).into(), port));
        Candidate { address: SocketAddr::new(ip, port), kind, priority, foundation, base }
    }
}

prop_compose! {
    fn any_local()(
        candidates in proptest::collection::vec(any_candidate(), 0..6), ufrag in "[a-zA-Z0-9+/]{4,256}", pwd in "[a-zA-Z0-9+/=]{22,256}",
        fingerprint in any::<[u8; 32]>(), ssrc in any::<u32>(), cname in "[a-zA-Z0-9]{1,32}", seed in any::<u64>(),
    ) -> LocalParams {
        let (role, sdes) = (SetupRole::Active, SdesSecret::generate(|out| SeededRng::new(seed).fill(out)));
        let (credentials, fingerprint) = (Credentials { ufrag, pwd }, Fingerprint(fingerprint));
        LocalParams { credentials, candidates, complete: true, fingerprint, role, sdes, ssrc, cname }
    }
}

/// The form of Meta's SIP page (4.4), its key invented and its address replaced.
const SDES_OFFER: &str = "v=0\r\no=- 1790963543407 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\n\
    a=msid-semantic: WMS 7da83f2b-0000-4fe9-b568-000000000001\r\nm=audio 3480 RTP/SAVP 111 126\r\nc=IN IP4 10.77.0.1\r\n\
    a=rtcp:9 IN IP4 0.0.0.0\r\na=mid:audio\r\na=sendrecv\r\na=msid:7da83f2b-0000-4fe9-b568-000000000001 WhatsAppTrack1\r\na=rtcp-mux\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\na=rtpmap:111 opus/48000/2\r\n\
    a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1\r\n\
    a=rtpmap:126 telephone-event/8000\r\na=maxptime:20\r\na=ptime:20\r\na=ssrc:1615009994 cname:WhatsAppAudioStream1\r\n";

//= protocols#A14 type=test
//= rfc4568#section-5.1.2:answer type=test
#[test]
fn metas_sdes_form_is_read_and_answered() {
    let offer = read_offer_as(SDES_OFFER, KeyExchange::Sdes).expect("Meta's form");
    assert_eq!(offer.warnings, []);
    let params = &offer.params;
    params.check().expect("enough for the engine");
    assert_eq!(params.credentials, None);
    assert_eq!(params.candidates.iter().map(|c| c.address.to_string()).collect::<Vec<_>>(), ["10.77.0.1:3480"]);
    assert_eq!(params.sdes.as_ref().map(|k| k.profile()), Some(Profile::Aes128CmSha1_80));
    assert!(params.fingerprints.is_empty());
    assert!(!format!("{offer:?}").contains("d0Rmd"), "no key in Debug");

    let local = local();
    let text = write_answer(&offer, &local, 1);
    for absent in ["candidate", "ice-", "fingerprint", "setup"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"m=audio 40000 RTP/SAVP 111 126") && lines.contains(&"c=IN IP4 203.0.113.7") && lines.contains(&"a=rtcp-mux"));
    let crypto: Vec<_> = lines.iter().filter(|l| l.starts_with("a=crypto:")).collect();
    let key = local.sdes.key(Profile::Aes128CmSha1_80).to_base64();
    assert_eq!(crypto, [&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}").as_str()]);
    assert!(!text.contains("d0Rmd"), "each side its own key");
    assert_eq!(text, write_answer(&offer, &local, 1), "the same bytes each time (rule 14)");

    // The other direction: our offer, and its answer.
    let ours = write_offer_as(&local, 1, KeyExchange::Sdes);
    assert!(ours.contains("m=audio 40000 RTP/SAVP 111 126\r\n") && !ours.contains("ice-") && !ours.contains("fingerprint"), "{ours}");
    let read = read_offer_as(&ours, KeyExchange::Sdes).expect("our own offer");
    assert_eq!(read.params.sdes, Some(local.sdes.key(Profile::Aes128CmSha1_80)));
    assert_eq!(read_answer_as(SDES_OFFER, KeyExchange::Sdes).expect("as an answer").crypto, offer.crypto);
}

#[test]
fn an_sdes_offer_may_come_with_ice_another_tag_and_another_suite() {
    let ice = "a=ice-ufrag:AbCdEfGhIjKlMnOp\r\na=ice-pwd:AAECAwQFBgcICQoLDA0ODw==\r\na=ice-lite\r\n\
        a=candidate:1 1 udp 2122260223 10.77.0.1 3480 typ host\r\na=rtcp-mux\r\n";
    let with_ice = SDES_OFFER.replace("a=rtcp-mux\r\n", ice).replace("RTP/SAVP ", "UDP/TLS/RTP/SAVPF ");
    let offer = read_offer_as(&with_ice, KeyExchange::Sdes).expect("the token decides nothing");
    assert!(offer.params.credentials.is_some() && offer.params.lite);
    let answer = write_answer(&offer, &local(), 1);
    assert!(
        answer.contains("a=ice-ufrag:") && answer.contains("a=candidate:") && answer.contains("a=crypto:1 ") && !answer.contains("a=setup")
    );
    assert!(answer.contains("m=audio 40000 UDP/TLS/RTP/SAVPF 111 126\r\n"));

    let four = "a=crypto:3 AES_256_CM_HMAC_SHA1_80 inline:AAAA\r\na=crypto:4 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==\r\n\
        a=crypto:1 ";
    let offer = read_offer_as(&SDES_OFFER.replace("a=crypto:1 ", four), KeyExchange::Sdes).expect("the second is ours");
    assert_eq!(offer.crypto, Some(Crypto { tag: 4, profile: Profile::AeadAes128Gcm }));
    let answer = write_answer(&offer, &local(), 1);
    assert_eq!(answer.matches("a=crypto:").count(), 1);
    assert!(answer.contains(&format!("a=crypto:4 AEAD_AES_128_GCM inline:{}\r\n", local().sdes.key(Profile::AeadAes128Gcm).to_base64())));
    let answered = read_answer_as(&answer, KeyExchange::Sdes).expect_err("we offer another suite");
    assert_eq!(answered.kind, SdpErrorKind::CryptoAnswer);
}

#[test]
fn keys_are_exchanged_as_configured_or_not_at_all() {
    use SdpErrorKind as Kind;
    let kind = |text: &str, exchange| read_offer_as(text, exchange).expect_err("must be refused").kind;
    assert_eq!(kind(SDES_OFFER, KeyExchange::Dtls), Kind::Sdes);
    assert_eq!(kind(&offer(), KeyExchange::Sdes), Kind::NoCrypto);
    assert_eq!(kind(&SDES_OFFER.replace("RTP/SAVP", "RTP/AVP"), KeyExchange::Sdes), Kind::ClearMedia);
    assert_eq!(kind(&SDES_OFFER.replace("a=rtcp-mux\r\n", ""), KeyExchange::Sdes), Kind::NoRtcpMux);
    for address in ["IN IP4 0.0.0.0", "IN IP4 224.0.0.1", "IN IP4 10.77.0.1/127", "IN IP4 relay.example", "IN IP6 ::ffff:10.77.0.1", ""] {
        let text = SDES_OFFER.replace("c=IN IP4 10.77.0.1", &format!("c={address}"));
        assert_eq!(kind(&text, KeyExchange::Sdes), Kind::Address, "{address}");
    }
    assert_eq!(kind(&SDES_OFFER.replace("c=IN IP4 10.77.0.1\r\n", ""), KeyExchange::Sdes), Kind::Address);
    let twice = SDES_OFFER
        .replace("a=crypto:1", "a=crypto:9 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\na=crypto:1");
    assert_eq!(read_answer_as(&twice, KeyExchange::Sdes).expect_err("one line").kind, Kind::SeveralCrypto);
    let said = read_offer(SDES_OFFER).expect_err("refused").to_string();
    assert!(said.contains("keying = \"sdes\"") && !said.contains("d0Rmd"), "{said}");
}

proptest! {
    #[test]
    fn what_we_write_with_sdes_reads_back(local in any_local().prop_filter("an address", |l| !l.candidates.is_empty()), session_id in any::<u64>()) {
        let offer = read_offer_as(&write_offer_as(&local, session_id, KeyExchange::Sdes), KeyExchange::Sdes).expect("our offer");
        prop_assert_eq!(offer.params.sdes.as_ref(), Some(&local.sdes.key(Profile::Aes128CmSha1_80)));
        let answer = read_answer_as(&write_answer(&offer, &local, session_id), KeyExchange::Sdes).expect("our answer");
        prop_assert_eq!(answer.params.sdes, offer.params.sdes);
        prop_assert_eq!((answer.crypto, answer.params.candidates), (offer.crypto, offer.params.candidates));
    }
}

proptest! {
    #[test]
    fn what_we_write_reads_back(local in any_local(), session_id in any::<u64>()) {
        let offer = read_offer(&write_offer(&local, session_id)).expect("our offer");
        prop_assert_eq!(offer.params.credentials.as_ref(), Some(&local.credentials));
        prop_assert_eq!(&offer.params.candidates, &local.candidates);
        prop_assert_eq!(&offer.params.fingerprints, &vec![local.fingerprint]);
        prop_assert_eq!(offer.params.media, tipring_engine::call::MediaParams::default());
        prop_assert_eq!((offer.params.role, offer.params.ssrc, offer.params.lite), (SetupRole::ActPass, Some(local.ssrc), false));

        let answer = read_answer(&write_answer(&offer, &local, session_id)).expect("our answer");
        prop_assert_eq!(answer.params.credentials.as_ref(), Some(&local.credentials));
        prop_assert_eq!(&answer.params.candidates, &local.candidates);
        prop_assert_eq!((answer.params.role, answer.params.ssrc), (SetupRole::Active, Some(local.ssrc)));
        prop_assert_eq!(answer.params.media, offer.params.media);
        prop_assert_eq!((answer.mid, answer.bundled, answer.opus_fmtp), (offer.mid, offer.bundled, offer.opus_fmtp));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(v=0\n)?([acmots]=[ -~]{0,40}\r?\n){0,20}") {
        let _ = read_offer(&text);
        let _ = read_answer(&text);
    }
}
