//! What attackers may feed to the parsers of this package: bodies for fuzz targets, replayed by plain tests over golden data.

use tipring_engine::call::{LocalParams, SetupRole};
use tipring_engine::dtls::Fingerprint;
use tipring_engine::ice::{Candidate, CandidateKind, Credentials};
use tipring_engine::keying::SdesSecret;
use tipring_engine::rng::{Entropy as _, SeededRng};

use crate::sdp::{self, KeyExchange};

#[cfg(feature = "daemon")]
mod session;
#[cfg(feature = "daemon")]
mod stream;

#[cfg(feature = "daemon")]
pub use session::fuzz_session;
#[cfg(feature = "daemon")]
pub use stream::fuzz_stream;

/// Reads any bytes as a description; what is read must be answerable, and the answer must be ours to read.
pub fn fuzz_sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for exchange in [KeyExchange::Dtls, KeyExchange::Sdes] {
        for read in [sdp::read_offer_as(&text, exchange), sdp::read_answer_as(&text, exchange)] {
            match read {
                Err(error) => assert!(!error.to_string().is_empty()),
                Ok(remote) => answer_of(&remote, exchange),
            }
        }
    }
}

fn answer_of(remote: &sdp::RemoteSdp, exchange: KeyExchange) {
    remote.params.check().expect("what is read can be given to the engine");
    assert!(remote.warnings.len() <= 64 && remote.params.candidates.len() <= 32);
    assert_eq!(remote.params.fingerprints.is_empty(), exchange == KeyExchange::Sdes);
    let local = local();
    let answer = sdp::write_answer(remote, &local, 1);
    let back = match (exchange, &remote.crypto) {
        // Our own offers have one suite and tag, so as answers only those read back; any of them reads as an offer.
        (KeyExchange::Sdes, Some(_)) => sdp::read_offer_as(&answer, exchange),
        _ => sdp::read_answer_as(&answer, exchange),
    }
    .expect("our own answer reads");
    assert_eq!(back.crypto, remote.crypto);
    assert_eq!(back.params.sdes, remote.crypto.map(|crypto| local.sdes.key(crypto.profile)));
    assert_eq!(back.params.credentials, remote.params.credentials.as_ref().map(|_| local.credentials.clone()));
    assert_eq!(back.params.candidates[0].address, local.candidates[0].address);
    assert_eq!(back.params.media.opus_payload_type, remote.params.media.opus_payload_type);
    assert_eq!(back.sections.len(), remote.sections.len());
    assert_eq!(back.mid, remote.mid);
    let offer = sdp::read_offer(&sdp::write_offer(&local, 1)).expect("our own offer reads");
    assert_eq!((offer.params.ssrc, offer.params.candidates.len()), (Some(local.ssrc), local.candidates.len()));
    assert!(sdp::read_answer(&sdp::write_offer_as(&local, 1, KeyExchange::Sdes)).is_err(), "neither kind falls back to the other");
}

/// Reads any bytes as a webhook body; what is read is fed to the session machine, which must end every call once time has passed.
#[cfg(feature = "daemon")]
pub fn fuzz_webhook(data: &[u8]) {
    use crate::session::{CallKey, Command, EngineEvent, Input, SessionConfig, Sessions};
    use tipring_engine::time::{Span, Time};

    let events = match crate::webhook::envelope::parse(data) {
        Ok(events) => events,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut sessions = Sessions::new(SessionConfig { calls_max: 8, ..SessionConfig::default() });
    let mut now = Time::ZERO;
    for (index, event) in events.into_iter().enumerate() {
        now += Span::from_millis(10);
        sessions.handle(Input::Webhook(event), 1_795_300_000, now);
        let call = CallKey(index as u64 + 1);
        sessions.handle(Input::Engine { call, event: EngineEvent::LocalReady(Box::new(local())) }, 1_795_300_000, now);
        sessions.handle(Input::Command { call, command: Command::Accept }, 1_795_300_000, now);
        while sessions.poll_effect().is_some() {}
    }
    for _ in 0..1_000 {
        let Some(at) = sessions.poll_timeout() else { break };
        now = now.max(at);
        sessions.handle(Input::Timeout, 1_795_300_000, now);
        while sessions.poll_effect().is_some() {}
    }
    assert_eq!(sessions.calls().count(), 0, "without any reply every call ends by itself");
}

/// Two bytes of HTTP status, then a reply of Graph: what is read is bounded and shows no person, and the machine knows what to make of it.
#[cfg(feature = "daemon")]
pub fn fuzz_graph_reply(data: &[u8]) {
    use crate::graph::permission::Permission;
    use crate::graph::{GraphOutcome, code, json};

    let Some((status, body)) = data.split_first_chunk::<2>() else { return };
    let status = 100 + u16::from_be_bytes(*status) % 500;
    match json::read_answer(status, body) {
        Ok(answer) => {
            if let Some(permission) = Permission::read(&answer) {
                assert_eq!(permission.to_json()["may_call"], permission.may_call());
                assert!(!permission.refusal().sentence.is_empty());
            }
        }
        Err(error) => assert_eq!(error.http_status, status),
    }
    match json::read_reply(status, body) {
        GraphOutcome::Success { wacid } => {
            assert!((200..300).contains(&status));
            assert!(wacid.is_none_or(|id| id.as_str().len() <= 512));
        }
        GraphOutcome::Refused(error) => {
            assert_eq!(error.http_status, status);
            assert!(error.message.len() <= 512 && error.details.as_ref().is_none_or(|details| details.len() <= 512));
            let _ = (code::is_taken(&error), code::is_over(&error), code::is_transient(&error), code::lookup(error.code));
        }
        GraphOutcome::Lost => assert!(!(300..500).contains(&status)),
        GraphOutcome::NotSent => panic!("there is a reply"),
    }
}

/// A signature header, a line feed, and a body: nothing is proven but by the very signature, in either case of its digits.
#[cfg(feature = "daemon")]
pub fn fuzz_signature(data: &[u8]) {
    use crate::webhook::signature::{SignatureError, sign, verify};

    const SECRETS: [&str; 3] = ["", "a secret of an app", "another"];
    let (head, body) = data.split_at(data.iter().position(|&b| b == b'\n').unwrap_or(data.len()));
    let header = String::from_utf8_lossy(head);
    let proven = verify(body, Some(&header), &SECRETS);
    let index = SECRETS.iter().position(|secret| !secret.is_empty() && sign(body, secret.as_bytes()).eq_ignore_ascii_case(header.trim()));
    match proven {
        Ok(at) => assert_eq!(Some(at), index),
        Err(error) => assert!(!error.to_string().is_empty() && !error.label().is_empty() && error != SignatureError::NoSecret),
    }
    // A header that would prove this body proves no other one.
    let header = sign(body, SECRETS[1].as_bytes());
    assert_eq!(verify(body, Some(&header), &SECRETS), Ok(1));
    assert_eq!(verify(&[body, b"x"].concat(), Some(&header), &SECRETS), Err(SignatureError::Mismatch));
}

/// Reads any bytes as a configuration: each fault says what and how to mend it, and no fault shows a secret.
#[cfg(feature = "daemon")]
pub fn fuzz_config(data: &[u8]) {
    use crate::config::{Config, SecretSource};
    use std::path::Path;

    const SECRET: &str = "s3cr3t-that-nobody-may-see";
    struct Source;
    impl SecretSource for Source {
        fn env(&self, name: &str) -> Option<String> {
            (!name.starts_with('U')).then(|| if name == "EMPTY" { String::new() } else { SECRET.to_owned() })
        }

        fn file(&self, path: &Path) -> Result<String, String> {
            if path.is_absolute() { Ok(format!("{SECRET}\n")) } else { Err("no such file".into()) }
        }
    }
    match Config::from_toml(&String::from_utf8_lossy(data), &Source) {
        Ok(config) => {
            assert!(config.direct.is_some() || !config.numbers.is_empty(), "a daemon that has something to do");
            assert_eq!(config.webhook.is_some(), !config.numbers.is_empty());
            assert!(!format!("{config:?}").contains(SECRET));
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                assert!(!fault.what.is_empty() && !fault.fix.is_empty() && !fault.to_string().contains(SECRET));
            }
        }
    }
}

/// A query, a line feed, and a body: requests of Direct mode.
#[cfg(feature = "daemon")]
pub fn fuzz_direct(data: &[u8]) {
    crate::control::fuzz_request(data);
}

/// Reads any bytes as a datagram of a SIP proxy: what is read is written and reads back; descriptions that are taken can be answered, and our answer reads back.
#[cfg(feature = "daemon")]
pub fn fuzz_ng(data: &[u8]) {
    use crate::ng::plain_sdp;
    use crate::ng::{Encoding, Request, bencode, read_body, read_datagram};

    if let Ok((value, _)) = read_body(data) {
        assert!(value.is_object());
    }
    let (cookie, value) = match read_datagram(data) {
        Ok((cookie, value, _)) => (cookie, value),
        Err((cookie, why)) => return assert!(!why.is_empty() && cookie.is_none_or(|cookie| !cookie.is_empty())),
    };
    assert!(!cookie.is_empty() && cookie.len() <= 128);
    // JSON may be deeper than we read bencode.
    if let Ok(once) = bencode::read(&Encoding::Bencode.write(&value)) {
        assert_eq!(bencode::read(&bencode::write(&once)).as_ref(), Ok(&once));
    }
    match Request::read(&value) {
        Err(why) => assert!(!why.is_empty()),
        Ok(request) => {
            let _ = (request.transport().map(str::len), request.codecs().len(), request.records(), request.number("limit"));
            let Some(text) = request.text("sdp") else { return };
            match plain_sdp::read(text) {
                Err(why) => assert!(!why.is_empty()),
                Ok(offer) => {
                    let local = core::net::SocketAddr::from(([192, 0, 2, 1], 40_000));
                    let answer = plain_sdp::read(&plain_sdp::write_answer(&offer, local, 1)).expect("our own answer reads");
                    assert_eq!((answer.remote, answer.leg.codec), (local, offer.leg.codec));
                    assert_eq!((answer.leg.payload_type, answer.leg.events), (offer.leg.payload_type, offer.leg.events));
                }
            }
        }
    }
}

/// Reads any bytes as a WAV announcement: what is read has samples, not more than may be, at each rate of a call.
#[cfg(feature = "daemon")]
pub fn fuzz_wav(data: &[u8]) {
    use tipring_engine::codec::SampleRate;

    for rate in [SampleRate::Hz16000, SampleRate::Hz48000] {
        match crate::audio::read_wav(std::path::Path::new("fuzz.wav"), data, rate) {
            // A sample has a bit at least, and at most 48 come of one: 8 kHz to 48 kHz, and the fill of the last block.
            Ok(pcm) => assert!(!pcm.is_empty() && pcm.len() <= data.len() * 8 * 6 + 2_048),
            Err(error) => assert!(error.to_string().contains("fuzz.wav")),
        }
    }
}

/// Reads any bytes as an Ogg Opus file: what is read lies in the file, and a recording of its packets reads back as the same packets.
#[cfg(feature = "daemon")]
pub fn fuzz_ogg_opus(data: &[u8]) {
    use crate::audio::{OggOpusWriter, read_ogg_opus};
    use std::io::Cursor;

    let Ok(file) = read_ogg_opus(Cursor::new(data)) else { return };
    assert!(file.packets.iter().map(|(packet, _)| packet.len()).sum::<usize>() <= data.len());
    let mut writer = OggOpusWriter::new(Cursor::new(Vec::new()), 7, 16_000).expect("memory takes everything");
    let mut kept = Vec::new();
    for (packet, _) in &file.packets {
        // Without gaps, so nothing is filled in.
        if writer.write(packet, kept.len() as u32 * 960, 960).expect("memory takes everything") {
            kept.push(packet);
        }
    }
    let back = read_ogg_opus(Cursor::new(writer.finish().expect("memory takes everything").into_inner())).expect("our own file reads");
    assert!(back.is_finished && back.packets.len() == kept.len() + 1, "the last packet carries the end");
    assert!(back.packets.iter().map(|(packet, _)| packet).zip(&kept).all(|(back, kept)| back == *kept));
}

#[cfg(feature = "daemon")]
/// A fuzz body and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every body with the name of its corpus in `fuzz/corpus`.
#[cfg(feature = "daemon")]
pub const TARGETS: &[Target] = &[
    ("config", fuzz_config),
    ("direct", fuzz_direct),
    ("graph_reply", fuzz_graph_reply),
    ("ng", fuzz_ng),
    ("ogg_opus", fuzz_ogg_opus),
    ("sdp", fuzz_sdp),
    ("session", fuzz_session),
    ("signature", fuzz_signature),
    ("stream", fuzz_stream),
    ("wav", fuzz_wav),
    ("webhook", fuzz_webhook),
];

fn local() -> LocalParams {
    let address = core::net::SocketAddr::from(([203, 0, 113, 7], 40_000));
    LocalParams {
        credentials: Credentials { ufrag: "abcd1234abcd1234".into(), pwd: "abcd1234abcd1234abcd1234".into() },
        candidates: vec![
            Candidate { address, kind: CandidateKind::Host, priority: 2_130_706_431, foundation: "1".into(), base: None },
            Candidate {
                address,
                kind: CandidateKind::ServerReflexive,
                priority: 1_694_498_815,
                foundation: "2".into(),
                base: Some(address),
            },
            Candidate { address, kind: CandidateKind::Relayed, priority: 1, foundation: "3".into(), base: None },
        ],
        complete: true,
        fingerprint: Fingerprint([7; 32]),
        role: SetupRole::Active,
        sdes: SdesSecret::generate(|out| SeededRng::new(1).fill(out)),
        ssrc: 1,
        cname: "a".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes, cuts, doubles and drops bytes, by xorshift so that a failure repeats.
    fn mutate(seed: &[u8], state: &mut u64) -> Vec<u8> {
        let mut next = |below: usize| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            (*state % below.max(1) as u64) as usize
        };
        let mut data = seed.to_vec();
        for _ in 0..=next(6) {
            let (at, len) = (next(data.len()), next(40));
            let end = (at + len).min(data.len());
            match next(5) {
                0 if !data.is_empty() => data[at] = next(256) as u8,
                1 => drop(data.drain(at..end)),
                2 => {
                    let copy = data[at..end].to_vec();
                    data.splice(at..at, copy);
                }
                3 => data.truncate(at),
                _ => data.insert(at, b"\r\n=:; 0\"{}[]"[next(12)]),
            }
        }
        data
    }

    fn texts(folder: &str, names: &[&str], members: &[&str]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for name in names {
            let path = format!("{}/../tests/golden/{folder}/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).expect("golden file")).expect("JSON");
            for case in file["cases"].as_array().expect("cases") {
                found.extend(members.iter().filter_map(|m| case[m].as_str()).map(|t| t.as_bytes().to_vec()));
            }
        }
        assert!(!found.is_empty());
        found
    }

    #[cfg(feature = "daemon")]
    #[test]
    fn every_input_of_the_committed_corpora_passes() {
        for (name, body) in TARGETS {
            let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let inputs: Vec<_> = std::fs::read_dir(&folder).expect("a corpus").map(|e| e.expect("an entry").path()).collect();
            assert!(!inputs.is_empty(), "{folder} is empty");
            inputs.iter().for_each(|path| body(&std::fs::read(path).expect("an input")));
        }
    }

    #[test]
    fn sdp_survives_golden_data_and_mutations() {
        let seeds = texts("sdp", &["meta_samples", "hostile", "other_stacks"], &["sdp"]);
        let mut state = 0x5eed_0001_u64;
        for round in 0..4_000 {
            let seed = &seeds[round % seeds.len()];
            if round < seeds.len() {
                fuzz_sdp(seed);
            }
            fuzz_sdp(&mutate(seed, &mut state));
        }
    }

    #[cfg(feature = "daemon")]
    #[test]
    fn webhooks_survive_golden_data_and_mutations() {
        let mut seeds = texts("webhook", &["signature"], &["body"]);
        let offer = serde_json::Value::from(String::from_utf8(texts("sdp", &["meta_samples"], &["sdp"]).swap_remove(0)).expect("text"));
        seeds.push(
            serde_json::json!({"entry": [{"changes": [{"field": "calls", "value": {"metadata": {"phone_number_id": "1"}, "calls": [
                {"id": "wacid.A", "event": "connect", "session": {"sdp": offer, "sdp_type": "offer"}},
                {"id": "wacid.B", "event": "connect", "session": {"sdp": offer, "sdp_type": "offer"}},
                {"id": "wacid.A", "event": "terminate", "status": "FAILED", "errors": [{"code": 138021}]}],
                "statuses": [{"id": "wacid.B", "type": "call", "status": "RINGING"}]}}]}]})
            .to_string()
            .into_bytes(),
        );
        let mut state = 0x5eed_0002_u64;
        for round in 0..4_000 {
            let seed = &seeds[round % seeds.len()];
            if round < seeds.len() {
                fuzz_webhook(seed);
            }
            fuzz_webhook(&mutate(seed, &mut state));
        }
    }
}
