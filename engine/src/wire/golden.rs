//! Golden vectors for the tests of this crate: reads `tests/golden`, decodes hexadecimal. Test builds only.

use serde_json::Value;

/// The JSON file `tests/golden/<path>`.
pub(crate) fn read(path: &str) -> Value {
    let full = format!("{}/../tests/golden/{path}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&full).unwrap_or_else(|e| panic!("{full}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{full}: {e}"))
}

/// Bytes of a lower-case hex string inside a vector.
pub(crate) fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a hex string");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex digits")).collect()
}
