//! Twilio Media Streams, seen from the side of Twilio: JSON messages over WebSocket (Twilio's "Media Streams - WebSocket Messages").
//!
//! Decides: how each message is written and read. Given: text. Refuses: to keep any state (`session.rs` counts), bidirectional DTMF (the protocol has none).

use super::session::StreamInfo;
use super::{MARK_BYTES_MAX, StreamFault};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;

/// What the application says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// mu-law, 8 kHz, any number of bytes.
    Media(Vec<u8>),
    /// To be sent back when all media before it has been heard.
    Mark(String),
    /// All media that has not been heard is not to be heard.
    Clear,
    /// An event that this version of the protocol does not have: ignored, as Twilio does.
    Other(String),
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, rename = "streamSid")]
    stream_sid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    media: Option<Media<'a>>,
    #[serde(borrow)]
    mark: Option<Mark<'a>>,
}

#[derive(Deserialize)]
struct Media<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Mark<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// Reads a message of the application and the stream that it names, if it names one.
pub fn read(text: &str) -> Result<(Said, Option<String>), StreamFault> {
    let message: Message<'_> = serde_json::from_str(text).map_err(|e| StreamFault::new(format_args!("not a message: {e}")))?;
    let said = match &*message.event {
        "media" => {
            let media = message.media.ok_or_else(|| StreamFault::new("a media message without media.payload"))?;
            let bytes = LENIENT.decode(media.payload.as_bytes());
            Said::Media(bytes.map_err(|e| StreamFault::new(format_args!("media.payload is not base64: {e}")))?)
        }
        "mark" => {
            let mark = message.mark.ok_or_else(|| StreamFault::new("a mark message without mark.name"))?;
            if mark.name.len() > MARK_BYTES_MAX {
                return Err(StreamFault::new(format_args!("a mark's name is longer than {MARK_BYTES_MAX} bytes")));
            }
            Said::Mark(mark.name.into_owned())
        }
        "clear" => Said::Clear,
        other => Said::Other(other.chars().take(64).collect()),
    };
    Ok((said, message.stream_sid.map(Cow::into_owned)))
}

/// Writes what an application says: for tests, and for whoever writes one in Rust.
pub fn write(said: &Said, stream_sid: &str) -> String {
    match said {
        Said::Media(bytes) => json!({ "event": "media", "streamSid": stream_sid, "media": { "payload": LENIENT.encode(bytes) } }),
        Said::Mark(name) => json!({ "event": "mark", "streamSid": stream_sid, "mark": { "name": name } }),
        Said::Clear => json!({ "event": "clear", "streamSid": stream_sid }),
        Said::Other(event) => json!({ "event": event, "streamSid": stream_sid }),
    }
    .to_string()
}

/// The first message of a connection.
pub(super) fn connected() -> String {
    json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }).to_string()
}

pub(super) fn start(seq: u64, info: &StreamInfo) -> String {
    let parameters: serde_json::Map<String, serde_json::Value> =
        info.parameters.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
    json!({
        "event": "start",
        "sequenceNumber": seq.to_string(),
        "start": {
            "accountSid": info.account_sid,
            "streamSid": info.stream_sid,
            "callSid": info.call_sid,
            "tracks": [info.track.name()],
            "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8_000, "channels": 1 },
            "customParameters": parameters,
        },
        "streamSid": info.stream_sid,
    })
    .to_string()
}

/// Written by hand: there are fifty a second, and nothing in it needs escaping.
pub(super) fn media(seq: u64, chunk: u64, timestamp_ms: u64, mu_law: &[u8], info: &StreamInfo) -> String {
    let payload = LENIENT.encode(mu_law);
    let (sid, track) = (&info.stream_sid, info.track.name());
    format!(
        r#"{{"event":"media","sequenceNumber":"{seq}","media":{{"track":"{track}","chunk":"{chunk}","timestamp":"{timestamp_ms}","payload":"{payload}"}},"streamSid":"{sid}"}}"#
    )
}

pub(super) fn dtmf(seq: u64, digit: char, info: &StreamInfo) -> String {
    json!({
        "event": "dtmf",
        "streamSid": info.stream_sid,
        "sequenceNumber": seq.to_string(),
        "dtmf": { "track": "inbound_track", "digit": digit.to_string() },
    })
    .to_string()
}

pub(super) fn mark(seq: u64, name: &str, info: &StreamInfo) -> String {
    json!({ "event": "mark", "sequenceNumber": seq.to_string(), "streamSid": info.stream_sid, "mark": { "name": name } }).to_string()
}

pub(super) fn stop(seq: u64, info: &StreamInfo) -> String {
    json!({
        "event": "stop",
        "sequenceNumber": seq.to_string(),
        "streamSid": info.stream_sid,
        "stop": { "accountSid": info.account_sid, "callSid": info.call_sid },
    })
    .to_string()
}

/// Padding is written, and not insisted on.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_of_the_documentation_are_read() {
        let sid = "MZ18ad3ab5a668481ce02b83e7395059f0";
        let cases = [
            (
                format!(r#"{{"event":"media","streamSid":"{sid}","media":{{"payload":"a3242sa/"}}}}"#),
                Said::Media(vec![107, 125, 184, 218, 198, 191]),
            ),
            (format!(r#"{{ "event": "mark", "streamSid": "{sid}", "mark": {{ "name": "my label" }} }}"#), Said::Mark("my label".into())),
            (format!(r#"{{"event":"clear","streamSid":"{sid}"}}"#), Said::Clear),
            (format!(r#"{{"event":"hold","streamSid":"{sid}"}}"#), Said::Other("hold".into())),
        ];
        for (text, wanted) in cases {
            assert_eq!(read(&text), Ok((wanted, Some(sid.to_owned()))), "{text}");
        }
        assert_eq!(read(r#"{"event":"media","media":{"payload":"/w"}}"#), Ok((Said::Media(vec![255]), None)), "padding left out");
        assert_eq!(read(r#"{"event":"mark","mark":{"name":"a \"b\" \u00e9"}}"#), Ok((Said::Mark("a \"b\" \u{e9}".into()), None)));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, word) in [
            ("hello", "not a message"),
            ("[]", "not a message"),
            (r#"{"media":{"payload":""}}"#, "event"),
            (r#"{"event":"media"}"#, "media.payload"),
            (r#"{"event":"media","media":{"payload":"*"}}"#, "base64"),
            (r#"{"event":"mark"}"#, "mark.name"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(word), "{text}");
        }
        let long = write(&Said::Mark("x".repeat(MARK_BYTES_MAX + 1)), "MZ1");
        assert!(read(&long).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: Vec<u8>, name in ".{0,40}", sid in "MZ[0-9a-f]{32}") {
            for said in [Said::Media(bytes), Said::Mark(name), Said::Clear, Said::Other("dtmf".into())] {
                prop_assert_eq!(read(&write(&said, &sid)), Ok((said, Some(sid.clone()))));
            }
        }
    }
}
