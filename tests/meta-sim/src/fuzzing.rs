//! Fuzz bodies: every parser of this package fed with anything.

use crate::sdp::{SdpKind, judge};
use crate::wire::{DtlsRecord, Rtcp, Rtp, Stun, kind, opus_ticks};

/// Datagrams: nothing panics, and no header points behind its packet.
pub fn fuzz_wire(data: &[u8]) {
    let _ = (kind(data), DtlsRecord::parse(data), Rtcp::parse(data));
    if let Some(stun) = Stun::parse(data) {
        assert!(!stun.is_authentic(b"a password nobody has chosen"), "HMAC-SHA1 was guessed");
    }
    if let Some(rtp) = Rtp::parse(data) {
        assert!(rtp.payload_at <= data.len());
        assert!(opus_ticks(&data[rtp.payload_at..]).is_none_or(|ticks| ticks <= 5_760));
    }
}

/// SDP of the business: nothing panics, and what is found fit for the relay has credentials.
pub fn fuzz_sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for kind in [SdpKind::Answer, SdpKind::Offer] {
        if let (Some(peer), _) = judge(&text, kind, false) {
            assert!(!peer.ufrag.is_empty() && !peer.pwd.is_empty() && peer.fingerprint.len() == 95);
        }
        if let (Some(peer), _) = judge(&text, kind, true) {
            assert!(peer.crypto.is_some_and(|line| line.contains("inline:")));
        }
    }
}

/// Bodies of call actions: nothing panics, and what is refused has an error code.
pub fn fuzz_graph(data: &[u8]) {
    let account = crate::graph::Account::default();
    let path = format!("/v25.0/{}/calls", account.phone_number_id);
    let authorization = format!("Bearer {}", account.access_token);
    if let Err(reply) = crate::graph::read(&account, "POST", &path, Some(&authorization), data) {
        assert!(reply.code.is_some() && reply.status >= 400);
    }
}

/// A fuzz body and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every body with the name of its corpus in `fuzz/corpus`.
pub const TARGETS: &[Target] = &[("sim_graph", fuzz_graph), ("sim_sdp", fuzz_sdp), ("sim_wire", fuzz_wire)];

#[cfg(test)]
mod tests {
    use super::*;
    use tipring_engine::rng::{Entropy, SeededRng};

    fn mutate(seeds: &[Vec<u8>], body: fn(&[u8])) {
        let mut rng = SeededRng::new(11);
        seeds.iter().for_each(|seed| body(seed));
        for _ in 0..5_000 {
            let mut bytes = seeds[rng.below(seeds.len() as u64) as usize].clone();
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.u32() as u8;
            }
            if rng.below(4) == 0 {
                bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            }
            body(&bytes);
        }
    }

    #[test]
    fn every_input_of_the_committed_corpora_passes() {
        for (name, body) in TARGETS {
            let folder = format!("{}/../../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let inputs: Vec<_> = std::fs::read_dir(&folder).expect("a corpus").map(|e| e.expect("an entry").path()).collect();
            assert!(!inputs.is_empty(), "{folder} is empty");
            inputs.iter().for_each(|path| body(&std::fs::read(path).expect("an input")));
        }
    }

    #[test]
    fn mutated_datagrams() {
        let stun = crate::wire::StunWriter::new(1, [3; 12]).attribute(6, b"a:b").mapped("[::1]:9".parse().unwrap()).finish(Some(b"key"));
        let rtp = [&Rtp::emit(111, true, 1, 2, 3)[..], &[0xf8, 0xff, 0xfe]].concat();
        let extended = [&[0xb1][..], &Rtp::emit(111, true, 1, 2, 3)[1..], &[0, 0, 0, 9, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 0x4b, 3]].concat();
        mutate(&[stun, rtp, extended, crate::wire::sender_report(1, 2, 3, 4, 5, "name")], fuzz_wire);
    }

    #[test]
    fn mutated_descriptions() {
        mutate(&[crate::sdp::tests::ANSWER.as_bytes().to_vec()], fuzz_sdp);
    }

    #[test]
    fn mutated_actions() {
        let body = br#"{"messaging_product":"whatsapp","call_id":"w","action":"accept","session":{"sdp_type":"answer","sdp":"v=0"}}"#;
        mutate(&[body.to_vec()], fuzz_graph);
    }
}
