//! The attack table of docs/SECURITY.md, each attack a test of its name, in virtual time: the victim's call sends and hears what it would have without, and the
//! attacker gets nothing back.

#[path = "attacks/line.rs"]
mod line;

use std::collections::HashSet;
use std::path::Path as FilePath;

use line::{Attack, Line, OUR_V6, RELAY_V4, STRANGER, Seen, at, from_relay, from_stranger, peace};
use serde_json::Value;
use tipring_engine::error::DropReason;
use tipring_engine::ice::{Candidate, CandidateKind, Path};
use tipring_engine::keying::Profile;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::graph::Account;
use tipring_signalling::sdp;
use tipring_signalling::session::{Effect, Input, Notice, SessionConfig, Sessions};
use tipring_signalling::webhook::{envelope, signature};

const TALK: Span = Span::from_secs(4);

fn golden(name: &str) -> Value {
    let path = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("a golden file")).expect("JSON")
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// Hostile handshake datagrams with their names, and whether one from the relay's own address may cost a client its handshake in this phase: the TLS library
/// cannot know better there (rule D30 says which).
fn hostile() -> Vec<(String, Vec<u8>, Value)> {
    let file = golden("dtls/hostile_datagrams.json");
    let read = |case: &Value| (case["id"].as_str().expect("a name").to_owned(), hex(&case["hex"]), case["measured"]["with_gate"].clone());
    file["cases"].as_array().expect("cases").iter().map(read).collect()
}

/// The same call in peace and under `attack`: what left us and when, and what the host heard, must be the same to the nanosecond and the sample.
fn changes_nothing(seed: u64, attack: Attack<'_>) -> Line {
    let quiet = Line::talk(seed, TALK, &mut peace);
    let loud = Line::talk(seed, TALK, attack);
    assert!(quiet.seen.is_keyed && quiet.stats().rtp_in > 150 && quiet.stats().rtp_out > 150, "{:?}", quiet.stats());
    assert_eq!(loud.ended, None);
    assert_eq!(loud.sent, quiet.sent, "what left us, and when");
    let (heard, expected) = (loud.heard(), quiet.heard());
    assert!(expected.iter().any(|&sample| sample.unsigned_abs() > 1_000), "somebody speaks");
    assert!(heard == expected, "the host hears the same samples");
    assert!(loud.sent.iter().all(|sent| sent.to == at(RELAY_V4)), "nobody else gets a byte");
    loud
}

/// Enable Security ES2023-01, -02, -03: a stranger's ClientHello wins the race in stacks that take the first one. 1,000 a second at both our ports.
//= rules#X3 type=test
//= rules#G2 type=test
#[test]
fn client_hello_race() {
    let hello = hostile().into_iter().find(|(id, ..)| id.starts_with("es2023-clienthello")).expect("the golden ClientHello").1;
    for seed in 0..100 {
        let mut attack = |_: &Seen| {
            let v6 = Path { local: at(OUR_V6), remote: at("[2001:db8:bad::66]:6666") };
            vec![(from_stranger(), hello.clone()), (v6, hello.clone())]
        };
        let line = Line::talk(seed, Span::from_millis(200), &mut attack);
        assert!(line.seen.is_keyed && line.ended.is_none(), "seed {seed}: {:?}", line.ended);
        assert!(line.sent.iter().all(|sent| sent.content != 21), "seed {seed}: an alert left");
        assert!(line.sent.iter().all(|sent| sent.to == at(RELAY_V4)), "seed {seed}: the stranger got an answer");
        assert!(line.stats().drops.of(DropReason::DtlsWrongSource) > 400);
    }
}

/// ES2017-04, ES2025-01, CVE-2025-53399: audio in clear, sprayed at every port, is neither played nor answered.
//= rules#G1 type=test
#[test]
fn rtp_bleed_and_inject() {
    let mut packet = hex(&Value::from("8000ee3c0442a2c1ef0a07de"));
    packet.resize(172, 0);
    let mut attack = |_: &Seen| {
        let v6 = Path { local: at(OUR_V6), remote: at("[2001:db8:bad::66]:6666") };
        vec![(from_stranger(), packet.clone()), (v6, packet.clone()), (from_stranger(), packet.clone())]
    };
    let line = changes_nothing(1, &mut attack);
    assert!(line.stats().drops.of(DropReason::MediaWrongSource) > 10_000);
}

/// G2 and G3 with the relay's own address: right source, wrong tag, ahead of the stream; signed by nobody: 487, success, alert.
//= rules#I33 type=test
//= rules#R7 type=test
//= rules#G3 type=test
#[test]
fn spoofed_selected_address() {
    let mut attack = |seen: &Seen| {
        let mut out = Vec::new();
        if let Some(last) = seen.last_rtp.as_ref().filter(|_| seen.ms.is_multiple_of(3)) {
            let mut forged = last.clone();
            // Ahead of the stream, so that the replay list cannot know it.
            let seq = u16::from_be_bytes([forged[2], forged[3]]).wrapping_add(1 + (seen.ms % 200) as u16);
            forged[2..4].copy_from_slice(&seq.to_be_bytes());
            *forged.last_mut().expect("a tag") ^= 0x40;
            out.push((from_relay(), forged));
        }
        if let Some(check) = seen.last_check.as_ref().filter(|_| seen.ms.is_multiple_of(5)) {
            // The very transaction in flight, answered without its key: role conflict, and success with an address of the attacker's choice.
            for class in [0x0111u16, 0x0101] {
                let mut answer = class.to_be_bytes().to_vec();
                let attribute: &[u8] = if class == 0x0111 { &[0, 9, 0, 4, 0, 0, 4, 87] } else { &[0, 0x20, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6] };
                answer.extend((attribute.len() as u16).to_be_bytes());
                answer.extend(&check[4..20]);
                answer.extend(attribute);
                out.push((from_relay(), answer));
            }
        }
        if seen.is_keyed {
            // Fatal alert in clear, close_notify in clear, and an encrypted-looking one.
            out.push((from_relay(), vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40]));
            out.push((from_relay(), vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 10, 0, 2, 1, 0]));
            out.push((from_relay(), [&[21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 26][..], &[0x5a; 26]].concat()));
        }
        out
    };
    let line = changes_nothing(2, &mut attack);
    assert!(line.stats().drops.of(DropReason::Auth) > 200, "{:?}", line.stats().drops);
}

/// AST-2017-008: RTCP of four octets, before there are keys and after.
#[test]
fn short_rtcp() {
    let mut attack = |seen: &Seen| {
        let packet = [0x81, 200 + (seen.ms % 7) as u8, 0, (seen.ms % 3) as u8];
        vec![(from_relay(), packet.to_vec()), (from_stranger(), packet.to_vec()), (from_relay(), packet[..2].to_vec())]
    };
    let line = changes_nothing(3, &mut attack);
    assert_eq!(line.stats().rtcp_in, Line::talk(3, TALK, &mut peace).stats().rtcp_in);
}

/// RFC 8445 section 19.5.1: our checks and our answers must not be turned on somebody else.
//= rules#G7 type=test
//= rules#G8 type=test
#[test]
fn stun_reflection() {
    let (mut line, _) = Line::new(4, Profile::AeadAes128Gcm);
    let mut rng = SeededRng::new(4);
    for _ in 0..100_000 {
        // A well-formed request with our name in it, a HMAC of chance, and the victim as its source.
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.resize(20, 0);
        rng.fill(&mut request[8..]);
        let name = format!("{}:them", line.call.local_params().credentials.ufrag);
        request.extend([0, 6, 0, name.len() as u8]);
        request.extend(name.as_bytes());
        request.resize(request.len().next_multiple_of(4), 0);
        request.extend([0, 8, 0, 20]);
        request.resize(request.len() + 20, rng.u32() as u8);
        let length = (request.len() - 20) as u16;
        request[2..4].copy_from_slice(&length.to_be_bytes());
        line.inject(from_stranger(), request);
    }
    assert_eq!(line.sent, [], "an unproven source gets no answer");
    assert_eq!(line.stats().drops.total(), 100_000);

    // A description with 500 candidates, all of them victims.
    let (mut line, mut remote) = Line::new(5, Profile::AeadAes128Gcm);
    let victim = |n: u32| {
        let address = std::net::SocketAddr::from(([198, 18, (n >> 8) as u8, n as u8], 53));
        Candidate::remote(address, CandidateKind::Host, 1_000_000 + n, n.to_string())
    };
    remote.candidates = (0..500).map(victim).collect();
    line.introduce(remote);
    line.run(Span::from_secs(30), &mut peace);
    let targets: HashSet<_> = line.sent.iter().map(|sent| sent.to).collect();
    assert!(!targets.is_empty() && targets.len() <= 8, "{} targets", targets.len());
    let mut per_instant: Vec<Time> = line.sent.iter().map(|sent| sent.at).collect();
    per_instant.dedup();
    assert_eq!(per_instant.len(), line.sent.len(), "one check at a time");
    assert!(line.sent.len() < 3_000, "{} checks in 30 s at targets that never answer", line.sent.len());

    // And as text it is bounded before.
    let lines: String = (0..500).map(|n| format!("a=candidate:{n} 1 udp {n} 198.18.0.{} 53 typ host\r\n", n % 250)).collect();
    let offer = golden("sdp/hostile.json")["base_offer"].as_str().expect("an offer").replace("a=mid", &format!("{lines}a=mid"));
    if let Ok(remote) = sdp::read_offer(&offer) {
        assert!(remote.params.candidates.len() <= 32, "{} candidates", remote.params.candidates.len());
    }
}

/// What comes of a webhook: nothing proven, nothing done; else the session machine has it.
struct Door {
    sessions: Sessions,
    now: Time,
    refused: usize,
    offered: usize,
    opened: usize,
}

impl Door {
    fn new() -> Self {
        let sessions = Sessions::new(SessionConfig { auto_answer: true, ..SessionConfig::default() });
        Self { sessions, now: Time::ZERO + Span::from_secs(1), refused: 0, offered: 0, opened: 0 }
    }

    /// As the web server and the control task do it.
    fn post(&mut self, body: &[u8], header: Option<&str>, secret: &str) {
        self.now += Span::from_millis(10);
        if signature::verify(body, header, &[secret]).is_err() {
            self.refused += 1;
            return;
        }
        let Ok(events) = envelope::parse(body) else {
            self.refused += 1;
            return;
        };
        for event in events {
            self.sessions.handle(Input::Webhook(event), UNIX_S, self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.sessions.poll_effect() {
            match effect {
                Effect::OpenCall { .. } => self.opened += 1,
                Effect::Notify { notice: Notice::Offered { .. }, .. } => self.offered += 1,
                _ => {}
            }
        }
    }

    /// Nobody answers anything: every call must end by itself.
    fn wait(&mut self) {
        for _ in 0..10_000 {
            let Some(at) = self.sessions.poll_timeout() else { break };
            self.now = self.now.max(at);
            self.sessions.handle(Input::Timeout, UNIX_S, self.now);
            self.drain();
        }
        assert_eq!(self.sessions.calls().count(), 0, "a call is left");
    }
}

const UNIX_S: i64 = 1_795_300_000;

fn connect_body(id: &str, sdp: &str) -> Vec<u8> {
    let call = serde_json::json!({"id": id, "event": "connect", "direction": "USER_INITIATED", "timestamp": UNIX_S.to_string(),
        "session": {"sdp_type": "offer", "sdp": sdp}});
    serde_json::json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "calls",
        "value": {"metadata": {"phone_number_id": "1047000000000"}, "calls": [call]}}]}]})
    .to_string()
    .into_bytes()
}

/// ES2018-02, -03, ES2020-03, -04 and the crashers of others: through the door of the webhooks, properly signed.
#[test]
fn sdp_crashers() {
    const SECRET: &str = "an app secret of this test";
    let file = golden("sdp/hostile.json");
    let base = file["base_offer"].as_str().expect("an offer").to_owned();
    let mut texts: Vec<String> = Vec::new();
    for case in file["cases"].as_array().expect("cases") {
        match case["bytes_hex_if_not_text"].as_str() {
            Some(_) => texts.push(String::from_utf8_lossy(&hex(&case["bytes_hex_if_not_text"])).into_owned()),
            None => texts.extend(case["sdp"].as_str().map(str::to_owned)),
        }
    }
    // What the file describes rather than contains, and pieces of it in the wrong places.
    texts.push(base.clone() + &"a=x:y\r\n".repeat(100_000));
    texts.push(base.replace("m=audio", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nm=audio"));
    texts.extend((0..base.len()).step_by(37).map(|at| base.chars().take(at).collect()));
    assert!(texts.len() > 20);
    let mut door = Door::new();
    for (n, text) in texts.iter().enumerate() {
        let body = connect_body(&format!("wacid.{n}"), text);
        door.post(&body, Some(&signature::sign(&body, SECRET.as_bytes())), SECRET);
    }
    // Bytes that are no UTF-8 inside the body.
    let mut body = connect_body("wacid.raw", "v=0\r\nXX");
    let at = body.windows(2).position(|two| two == b"XX").expect("the mark");
    body[at..at + 2].copy_from_slice(&[0xff, 0xfe]);
    door.post(&body, Some(&signature::sign(&body, SECRET.as_bytes())), SECRET);
    assert!(door.refused >= 1, "broken UTF-8 is no JSON");
    // The next honest caller is served.
    let opened = door.opened;
    let body = connect_body("wacid.honest", &base);
    door.post(&body, Some(&signature::sign(&body, SECRET.as_bytes())), SECRET);
    assert_eq!(door.opened, opened + 1, "the process is alive and takes calls");
    door.wait();
}

/// Forged and replayed webhooks: nothing without the signature, one call per id however often it comes.
//= meta#R-45 type=test
//= meta#R-35 type=test
//= rules#G11 type=test
#[test]
fn webhook_forge_and_replay() {
    let file = golden("webhook/signature.json");
    let secret = file["app_secret"].as_str().expect("a secret");
    for case in file["cases"].as_array().expect("cases") {
        let body = case["body"].as_str().map_or_else(|| hex(&case["body_hex"]), |text| text.as_bytes().to_vec());
        let proven = signature::verify(&body, case["header"].as_str(), &[secret]).is_ok();
        assert_eq!(proven, case["expect"].as_bool().expect("a verdict"), "{}", case["id"]);
    }
    let base = golden("sdp/hostile.json")["base_offer"].as_str().expect("an offer").to_owned();
    let (body, account) = (connect_body("wacid.once", &base), Account::default());
    let header = signature::sign(&body, account.app_secret.as_bytes());
    let mut door = Door::new();
    // Forged: no header, the header of another body, another secret, a bit flipped in either.
    let other = connect_body("wacid.other", &base);
    door.post(&body, None, &account.app_secret);
    door.post(&other, Some(&header), &account.app_secret);
    door.post(&body, Some(&signature::sign(&body, b"a guess")), &account.app_secret);
    for bit in 0..body.len() {
        let mut flipped = body.clone();
        flipped[bit] ^= 1;
        door.post(&flipped, Some(&header), &account.app_secret);
    }
    assert_eq!((door.refused, door.opened), (3 + body.len(), 0), "nothing forged is acted on");
    // Replayed: a thousand times within the memory, and after the end.
    for _ in 0..1_000 {
        door.post(&body, Some(&header), &account.app_secret);
    }
    assert_eq!((door.opened, door.offered), (1, 1), "one call per id");
    door.wait();
    for _ in 0..100 {
        door.post(&body, Some(&header), &account.app_secret);
    }
    door.wait();
    assert_eq!((door.opened, door.offered), (1, 1), "no second life");
}

/// Each hostile handshake datagram in each phase, from a stranger and from the relay's own address.
//= rules#D30 type=test
#[test]
fn handshake_floods() {
    for (id, datagram, with_gate) in hostile() {
        for phase in ["before", "middle", "after"] {
            for is_relay in [false, true] {
                let mut thrown = 0;
                let mut attack = |seen: &Seen| {
                    let now = match (seen.is_nominated, seen.dtls_in, seen.is_keyed) {
                        (_, _, true) => "after",
                        (_, 1.., _) => "middle",
                        _ => "before",
                    };
                    // Before the nomination the relay's address is as strange as any other.
                    if now != phase || thrown > 200 {
                        return Vec::new();
                    }
                    thrown += 1;
                    vec![(if is_relay { from_relay() } else { from_stranger() }, datagram.clone())]
                };
                let line = Line::talk(7, Span::from_millis(300), &mut attack);
                let may_fail = is_relay && with_gate.get(format!("client/{phase}")).is_some();
                if may_fail {
                    continue;
                }
                assert!(thrown > 0, "{id} {phase}: nothing was thrown");
                assert!(line.seen.is_keyed && line.ended.is_none(), "{id} {phase}, from the relay: {is_relay}: {:?}", line.ended);
                assert!(line.stats().rtp_in > 10 && line.stats().rtp_out > 10, "{id} {phase}: media goes on");
                assert!(line.sent.iter().all(|sent| sent.to != at(STRANGER)));
            }
        }
    }
}

/// Ten seconds of the relay's own stream, recorded and played back at once and a minute later: nothing of it reaches the decoder again.
//= rfc3711#section-3.3.2 type=test
//= rules#R8 type=test
#[test]
fn replay() {
    let mut line = Line::talk(8, Span::from_secs(10), &mut peace);
    let tape = line.seen.tape.clone();
    assert!(tape.len() > 400);
    let before = line.stats();
    for packet in &tape {
        line.inject(from_relay(), packet.clone());
    }
    let after = line.stats();
    // What is still on its way to us is new once.
    assert!(
        after.rtp_in - before.rtp_in + after.rtcp_in - before.rtcp_in <= 2,
        "{} packets were taken twice",
        after.rtp_in - before.rtp_in
    );
    assert!(after.drops.total() - before.drops.total() >= tape.len() as u64 - 2);
    line.run(Span::from_secs(60), &mut peace);
    let before = line.stats();
    for packet in &tape {
        line.inject(from_relay(), packet.clone());
    }
    let after = line.stats();
    assert_eq!((after.rtp_in, after.rtcp_in), (before.rtp_in, before.rtcp_in), "an old tape is dead");
    assert_eq!(after.jitter.played, before.jitter.played);
    line.run(Span::from_secs(2), &mut peace);
    assert!(line.ended.is_none() && line.stats().rtp_in > after.rtp_in + 90, "the call goes on");
}
