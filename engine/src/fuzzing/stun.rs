//! Fuzz body of STUN: no accessor panics, what authenticates was written by someone with the key, and what was read can be written and read again.

use crate::wire::stun::{IntegrityKey, StunView, StunWriter};

/// Reads `data` as one datagram, calls every accessor, and writes a message that says the same.
pub fn fuzz_stun(data: &[u8]) {
    let Ok(message) = StunView::new_checked(data) else { return };
    let key = IntegrityKey::new(b"a password that no input can know");
    assert!(message.authenticate(&key).is_err());
    let _ = (message.class(), message.id(), message.username(), message.username_first(), message.priority());
    let _ = (message.use_candidate(), message.controlling(), message.controlled(), message.xor_mapped_address());
    let _ = (message.error_code(), message.error_reason(), message.software(), message.has_integrity());
    assert!(message.unknown_attributes().count() + message.unknown_required().count() <= data.len());
    assert!(message.unknown_required().all(|kind| kind < 0x8000));
    write_again(&message, &key);
}

fn write_again(message: &StunView<'_>, key: &IntegrityKey) {
    let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| core::str::from_utf8(bytes).ok().map(str::to_owned));
    let mut out = [0; 1_600];
    // One in four has too little room, and must say so.
    let room = if message.as_bytes()[19] & 3 == 0 { usize::from(message.as_bytes()[18]) } else { out.len() };
    let mut writer = StunWriter::new(&mut out[..room], message.class(), message.id());
    if let Some((first, second)) = text(message.username()).as_deref().and_then(|name| name.split_once(':')) {
        writer.username(first, second);
    }
    if let Some(priority) = message.priority() {
        writer.priority(priority);
    }
    if message.use_candidate() {
        writer.use_candidate();
    }
    if let Some(tie_breaker) = message.controlling() {
        writer.controlling(tie_breaker);
    }
    if let Some(tie_breaker) = message.controlled() {
        writer.controlled(tie_breaker);
    }
    if let Some(address) = message.xor_mapped_address() {
        writer.xor_mapped_address(address);
    }
    let reason = text(message.error_reason()).unwrap_or_default();
    if let Some(code) = message.error_code() {
        writer.error_code(code, &reason);
    }
    if let Some(software) = text(message.software()) {
        writer.software(&software);
    }
    let unknown: Vec<u16> = message.unknown_attributes().collect();
    if !unknown.is_empty() {
        writer.unknown_attributes(&unknown);
    }
    let is_signed = message.has_integrity();
    let is_bare = message.as_bytes()[17] & 7 == 0;
    let key = is_signed.then_some(key);
    let Some(length) = (if is_bare { writer.finish_bare(key) } else { writer.finish(key) }) else { return };
    assert!(message.error_code().is_none_or(|code| (300..700).contains(&code)));
    let again = StunView::new_checked(&out[..length]).expect("our own message");
    assert_eq!((again.class(), again.id()), (message.class(), message.id()));
    assert_eq!((again.priority(), again.use_candidate()), (message.priority(), message.use_candidate()));
    assert_eq!((again.controlling(), again.controlled()), (message.controlling(), message.controlled()));
    assert_eq!((again.xor_mapped_address(), again.error_code()), (message.xor_mapped_address(), message.error_code()));
    assert!(again.unknown_attributes().eq(unknown) && again.is_fingerprint_valid() != is_bare);
    if let Some(key) = key {
        assert!(again.is_integrity_valid(key));
        assert_eq!(again.authenticate(key).is_ok(), !is_bare);
    }
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
