//! Our own plain audio WebSocket: JSON for words, binary messages of 16-bit little-endian samples for audio, both ways.
//!
//! Decides: how each word is written and read. Given: text. Refuses: audio in text, and more than one channel.

use super::session::StreamInfo;
use super::{MARK_BYTES_MAX, StreamFault};
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;
use tipring_engine::codec::SampleRate;

/// What the application says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// To be sent back when all audio before it has been heard.
    Mark(String),
    /// All audio that has not been heard is not to be heard.
    Clear,
    /// The application is done.
    Stop,
    /// A word that this version does not have: ignored.
    Other(String),
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// Reads a word of the application.
pub fn read(text: &str) -> Result<Said, StreamFault> {
    let message: Message<'_> = serde_json::from_str(text).map_err(|e| StreamFault::new(format_args!("not a message: {e}")))?;
    Ok(match &*message.event {
        "mark" => {
            let name = message.name.ok_or_else(|| StreamFault::new("a mark without name"))?;
            if name.len() > MARK_BYTES_MAX {
                return Err(StreamFault::new(format_args!("a mark's name is longer than {MARK_BYTES_MAX} bytes")));
            }
            Said::Mark(name.into_owned())
        }
        "clear" => Said::Clear,
        "stop" => Said::Stop,
        other => Said::Other(other.chars().take(64).collect()),
    })
}

/// Writes a word of the application.
pub fn write(said: &Said) -> String {
    match said {
        Said::Mark(name) => json!({ "event": "mark", "name": name }),
        Said::Clear => json!({ "event": "clear" }),
        Said::Stop => json!({ "event": "stop" }),
        Said::Other(event) => json!({ "event": event }),
    }
    .to_string()
}

pub(super) fn start(rate: SampleRate, info: &StreamInfo) -> String {
    let parameters: serde_json::Map<String, serde_json::Value> =
        info.parameters.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
    json!({
        "event": "start",
        "stream_id": info.stream_sid,
        "call_id": info.call_sid,
        "encoding": "pcm16le",
        "rate": rate.hz(),
        "channels": 1,
        "ptime": 20,
        "parameters": parameters,
    })
    .to_string()
}

pub(super) fn dtmf(digit: char) -> String {
    json!({ "event": "dtmf", "digit": digit.to_string() }).to_string()
}

pub(super) fn mark(name: &str) -> String {
    json!({ "event": "mark", "name": name }).to_string()
}

pub(super) fn stop() -> String {
    json!({ "event": "stop" }).to_string()
}

/// Appends samples as bytes.
pub(super) fn bytes_of(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_read_and_others_say_why() {
        assert_eq!(read(r#"{"event":"mark","name":"a"}"#), Ok(Said::Mark("a".into())));
        assert_eq!(read(r#"{"event":"clear","x":[1,2]}"#), Ok(Said::Clear));
        assert_eq!(read(r#"{"event":"stop"}"#), Ok(Said::Stop));
        assert_eq!(read(r#"{"event":"dance"}"#), Ok(Said::Other("dance".into())));
        assert!(read(r#"{"event":"mark"}"#).unwrap_err().to_string().contains("name"));
        assert!(read("{}").unwrap_err().to_string().contains("event"));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(name in ".{0,40}") {
            for said in [Said::Mark(name), Said::Clear, Said::Stop, Said::Other("x".into())] {
                prop_assert_eq!(read(&write(&said)), Ok(said));
            }
        }
    }
}
