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
