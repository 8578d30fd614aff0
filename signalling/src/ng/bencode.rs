//! Bencode, the encoding of BitTorrent that rtpengine took over: integers, byte strings, lists, dictionaries.
//!
//! Decides: bounds of depth and size. Given: bytes. Refuses: what is left behind the value, numbers that do not fit, keys twice. Strings become text; one that is not UTF-8
//! (the `blob` of `play media`) becomes the characters of Latin-1, one for each byte, and [`bytes_of`] makes bytes of them again.

use core::fmt;
use serde_json::{Map, Value};

/// Why bytes are no bencode: where, and what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BencodeError {
    /// Byte at which reading stopped.
    pub at: usize,
    /// What was wrong there.
    pub what: &'static str,
}

impl fmt::Display for BencodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not bencode: {} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for BencodeError {}

/// Reads one value that fills the input.
pub fn read(bytes: &[u8]) -> Result<Value, BencodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(0)?;
    if reader.at != bytes.len() {
        return Err(reader.fault("something behind the value"));
    }
    Ok(value)
}

/// Writes a value; keys are sorted. What bencode does not have becomes what is nearest: booleans 0 and 1, fractions their whole part, null an empty string.
pub fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    emit(value, &mut out);
    out
}

/// The bytes of a string that was not text: none if it has a character that no byte stands for.
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

fn emit(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"0:"),
        Value::Bool(yes) => out.extend_from_slice(if *yes { b"i1e" } else { b"i0e" }),
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
            let whole = whole.unwrap_or_else(|| number.as_f64().unwrap_or(0.0) as i128);
            let whole = whole.clamp(i64::MIN.into(), i64::MAX.into());
            out.extend_from_slice(format!("i{whole}e").as_bytes());
        }
        Value::String(text) => string(text, out),
        Value::Array(values) => {
            out.push(b'l');
            values.iter().for_each(|value| emit(value, out));
            out.push(b'e');
        }
        Value::Object(members) => {
            out.push(b'd');
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_bytes());
            for (key, value) in sorted {
                string(key, out);
                emit(value, out);
            }
            out.push(b'e');
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", text.len()).as_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn fault(&self, what: &'static str) -> BencodeError {
        BencodeError { at: self.at, what }
    }

    fn peek(&self) -> Result<u8, BencodeError> {
        self.bytes.get(self.at).copied().ok_or(self.fault("the end came too early"))
    }

    fn value(&mut self, depth: usize) -> Result<Value, BencodeError> {
        if depth > DEPTH_MAX {
            return Err(self.fault("values within values too deep"));
        }
        match self.peek()? {
            b'i' => {
                self.at += 1;
                self.number(b'e').map(Value::from)
            }
            b'l' => {
                self.at += 1;
                let mut values = Vec::new();
                while self.peek()? != b'e' {
                    values.push(self.value(depth + 1)?);
                }
                self.at += 1;
                Ok(Value::Array(values))
            }
            b'd' => {
                self.at += 1;
                let mut members = Map::new();
                while self.peek()? != b'e' {
                    let key = self.text()?;
                    let value = self.value(depth + 1)?;
                    if members.insert(key, value).is_some() {
                        return Err(self.fault("a key twice"));
                    }
                }
                self.at += 1;
                Ok(Value::Object(members))
            }
            b'0'..=b'9' => self.text().map(Value::String),
            _ => Err(self.fault("no value begins so")),
        }
    }

    fn text(&mut self) -> Result<String, BencodeError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.fault("a key that is no string"));
        }
        let len = usize::try_from(self.number(b':')?).map_err(|_| self.fault("a length that is none"))?;
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(self.fault("a string longer than the input"))?;
        let bytes = &self.bytes[self.at..end];
        let text = core::str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned);
        self.at = end;
        Ok(text)
    }

    fn number(&mut self, end: u8) -> Result<i64, BencodeError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take(NUMBER_BYTES_MAX).position(|b| *b == end).ok_or(self.fault("a number without end"))?;
        let digits = core::str::from_utf8(&rest[..len]).ok().filter(|d| !d.starts_with('+'));
        let number = digits.and_then(|d| d.parse().ok()).ok_or(self.fault("a number that is none"))?;
        self.at += len + 1;
        Ok(number)
    }
}

/// Dictionaries within dictionaries: `query` has six.
const DEPTH_MAX: usize = 16;
/// Digits, sign and end of the longest 64-bit number.
const NUMBER_BYTES_MAX: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn values_of_the_documentation() {
        assert_eq!(read(b"i-42e"), Ok(json!(-42)));
        assert_eq!(read(b"4:spam"), Ok(json!("spam")));
        assert_eq!(read(b"0:"), Ok(json!("")));
        assert_eq!(read(b"l4:spami42ee"), Ok(json!(["spam", 42])));
        // Kamailio does not sort.
        assert_eq!(read(b"d7:command4:ping3:bar4:spame"), Ok(json!({ "command": "ping", "bar": "spam" })));
        assert_eq!(write(&json!({ "b": [1, "x"], "a": { "c": true }, "n": null, "f": 1.5 })), b"d1:ad1:ci1ee1:bli1e1:xe1:fi1e1:n0:e");
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let wav = b"RIFF\xff\x00\x80\xc3(";
        let Ok(Value::String(text)) = read(&[b"9:".as_slice(), wav].concat()) else { panic!("a string") };
        assert_eq!(bytes_of(&text).as_deref(), Some(wav.as_slice()));
        assert_eq!(bytes_of("\u{100}"), None);
    }

    #[test]
    fn what_is_none_says_where() {
        for bytes in [
            "",
            "i",
            "ie",
            "i1",
            "ix",
            "i+1e",
            "5:abc",
            "99999999999999999999:a",
            "-1:a",
            "l",
            "li1e",
            "d",
            "d1:a",
            "di1ei1ee",
            "d1:ai1e1:ai2ee",
            "i1ei2e",
            "e",
            "x",
        ] {
            let error = read(bytes.as_bytes()).unwrap_err();
            assert!(error.at <= bytes.len() && error.to_string().contains("byte"), "{bytes}");
        }
        assert!(read(&[b'l'; 100]).unwrap_err().what.contains("deep"));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i64>().prop_map(Value::from), ".{0,12}".prop_map(Value::from)];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,8}", inner, 0..6).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in values()) {
            prop_assert_eq!(read(&write(&value)), Ok(value));
        }
    }
}
