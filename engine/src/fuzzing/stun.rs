//! Fuzz body of the STUN reader: no accessor panics, and what authenticates was written by someone with the key.

use crate::wire::stun::{IntegrityKey, StunView};

/// Reads `data` as one datagram and calls every accessor.
pub fn fuzz_stun(data: &[u8]) {
    let Ok(message) = StunView::new_checked(data) else { return };
    let key = IntegrityKey::new(b"a password that no input can know");
    assert!(message.authenticate(&key).is_err());
    let _ = (message.class(), message.id(), message.username(), message.username_first(), message.priority());
    let _ = (message.use_candidate(), message.controlling(), message.controlled(), message.xor_mapped_address());
    let _ = (message.error_code(), message.error_reason(), message.software(), message.has_integrity());
    assert!(message.unknown_attributes().count() + message.unknown_required().count() <= data.len());
    assert!(message.unknown_required().all(|kind| kind < 0x8000));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Entropy, SeededRng};

    #[test]
    fn golden_messages_and_mutations_of_them() {
        let mut rng = SeededRng::new(0x57);
        for name in ["messages", "malformed"] {
            let path = format!("{}/../tests/golden/stun/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect("JSON");
            for case in file["cases"].as_array().expect("cases") {
                let hex = case["hex"].as_str().expect("hex");
                let golden: Vec<u8> = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect();
                fuzz_stun(&golden);
                for _ in 0..200 {
                    let mut mutant = golden.clone();
                    for _ in 0..=rng.below(3) {
                        let at = rng.below(mutant.len() as u64) as usize;
                        match (rng.below(3), mutant.get_mut(at)) {
                            (0, Some(byte)) => *byte = rng.u32() as u8,
                            (1, Some(_)) => mutant.truncate(at),
                            _ => mutant.extend_from_slice(&rng.u32().to_le_bytes()),
                        }
                    }
                    // An honest length lets the mutant past the header.
                    if let (Some(body), true) = (mutant.len().checked_sub(20), rng.below(2) == 0) {
                        mutant[2..4].copy_from_slice(&(body as u16).to_be_bytes());
                    }
                    fuzz_stun(&mutant);
                }
            }
        }
    }
}
