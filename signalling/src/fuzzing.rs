//! What attackers may feed to the parsers of this package: bodies for fuzz targets, replayed by plain tests over golden data.

use tipring_engine::call::{LocalParams, SetupRole};
use tipring_engine::dtls::Fingerprint;
use tipring_engine::ice::{Candidate, CandidateKind, Credentials};

use crate::sdp;

/// Reads any bytes as a description; what is read must be answerable, and the answer must be ours to read.
pub fn fuzz_sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for read in [sdp::read_offer(&text), sdp::read_answer(&text)] {
        match read {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(remote) => {
                assert!(remote.warnings.len() <= 64 && remote.params.candidates.len() <= 32 && !remote.params.fingerprints.is_empty());
                let local = local();
                let answer = sdp::write_answer(&remote, &local, 1);
                let back = sdp::read_answer(&answer).expect("our own answer reads");
                assert_eq!((back.params.credentials, back.params.candidates), (local.credentials, local.candidates));
                assert_eq!(back.params.media.opus_payload_type, remote.params.media.opus_payload_type);
                assert_eq!(back.sections.len(), remote.sections.len());
                assert_eq!(back.mid, remote.mid);
            }
        }
    }
}

fn local() -> LocalParams {
    let address = core::net::SocketAddr::from(([203, 0, 113, 7], 40_000));
    LocalParams {
        credentials: Credentials { ufrag: "abcd1234abcd1234".into(), pwd: "abcd1234abcd1234abcd1234".into() },
        candidates: vec![Candidate { address, kind: CandidateKind::Host, priority: 2_130_706_431, foundation: "1".into(), base: None }],
        fingerprint: Fingerprint([7; 32]),
        role: SetupRole::Active,
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
}
