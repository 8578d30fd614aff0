//! SRTP and SRTCP from the network: noise, and packets that are authentic although their contents are noise.
//!
//! No switch turns authentication off, not even here. Half of the inputs are protected with the right key instead, so the code behind
//! the tag sees what the fuzzer wrote.

use crate::error::DropReason;
use crate::keying::Profile;
use crate::limits::SRTP_TRAILER_BYTES_MAX;
use crate::srtp::{Receiver, Sender};

const PROFILES: [Profile; 4] = [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];
const KEY: [u8; 32] = [0x5a; 32];
const SALT: [u8; 14] = [0xa5; 14];

type Open = fn(&mut Receiver, &mut [u8]) -> Result<usize, DropReason>;
type Close = fn(&mut Sender, &mut [u8], usize) -> Result<usize, DropReason>;

/// Datagrams into `Receiver::unprotect_rtp`. Byte 0: profile in bits 0 and 1, bit 2 for authentic packets. Then packets, each behind its
/// length in one byte.
pub fn fuzz_srtp_receive(data: &[u8]) {
    receive(data, Receiver::unprotect_rtp, Sender::protect_rtp);
}

/// Datagrams into `Receiver::unprotect_rtcp`, in the shape of [`fuzz_srtp_receive`].
pub fn fuzz_srtcp_receive(data: &[u8]) {
    receive(data, Receiver::unprotect_rtcp, Sender::protect_rtcp);
}

fn receive(data: &[u8], open: Open, close: Close) {
    let Some((&select, mut rest)) = data.split_first() else { return };
    let profile = PROFILES[usize::from(select & 3)];
    let (key, salt) = (&KEY[..profile.key_bytes()], &SALT[..profile.salt_bytes()]);
    let mut receiver = Receiver::new(profile, key, salt);
    while let Some((&len, tail)) = rest.split_first() {
        let (packet, tail) = tail.split_at(tail.len().min(usize::from(len)));
        rest = tail;
        if select & 4 == 0 {
            deliver(&mut receiver, open, packet);
            continue;
        }
        // A sender of its own for each packet: indexes may repeat, and the receiver must notice.
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + SRTP_TRAILER_BYTES_MAX, 0);
        if let Ok(len) = close(&mut Sender::new(profile, key, salt), &mut buffer, packet.len()) {
            if let Some(plain) = deliver(&mut receiver, open, &buffer[..len]) {
                assert_eq!(plain, packet, "what was protected comes out");
            }
            assert_eq!(deliver(&mut receiver, open, &buffer[..len]), None, "nothing is accepted twice");
        }
    }
}

fn deliver(receiver: &mut Receiver, open: Open, wire: &[u8]) -> Option<Vec<u8>> {
    let mut packet = wire.to_vec();
    match open(receiver, &mut packet) {
        Ok(len) => {
            assert!(len < wire.len());
            packet.truncate(len);
            Some(packet)
        }
        Err(_) => {
            assert_eq!(packet, wire, "a dropped packet is untouched");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Entropy, SeededRng};

    /// Every packet of the golden scenarios, alone and in a row, then seeded mutations of them.
    #[test]
    fn lives_through_golden_packets_and_mutations() {
        let mut seeds: Vec<Vec<u8>> = Vec::new();
        for name in
            ["packets_kat", "scenario_malformed_cm80", "scenario_headers_cm80", "scenario_roc_poison_cm80", "srtcp_cm80", "srtcp_cm32"]
        {
            let path = format!("{}/../tests/golden/srtp/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).expect("a golden file");
            let golden: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let packets = golden["packets"].as_array().or(golden["cases"].as_array()).expect("packets or cases");
            for hex in packets.iter().flat_map(|p| [&p["wire"], &p["plain"]]).filter_map(|value| value.as_str()) {
                let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
                seeds.push([&[bytes.len() as u8], &bytes[..]].concat());
            }
        }
        assert!(seeds.len() > 60);
        let mut rng = SeededRng::new(20);
        for round in 0..6_000 {
            let mut data = vec![round as u8];
            for _ in 0..1 + rng.below(6) {
                data.extend(&seeds[rng.below(seeds.len() as u64) as usize]);
            }
            // The first rounds are as golden as they came.
            for _ in 0..if round < 500 { 0 } else { rng.below(4) } {
                let at = rng.below(data.len() as u64) as usize;
                match rng.below(3) {
                    0 => data[at] ^= 1 << rng.below(8),
                    1 => data.truncate(at.max(1)),
                    _ => data.insert(at, rng.u32() as u8),
                }
            }
            fuzz_srtp_receive(&data);
            fuzz_srtcp_receive(&data);
        }
    }
}
