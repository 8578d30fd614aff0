//! Asterisk's `chan_websocket`, we being its application: events of the channel in, commands out; plain text and JSON, audio as binary messages.
//!
//! Decides: how events and commands are written and read in both forms. Given: text. Refuses: codecs other than signed linear and G.711, and messages longer than
//! Asterisk takes (128 bytes; ours are shorter).

use super::StreamFault;
use serde::Deserialize;
use std::borrow::Cow;
use tipring_engine::codec::SampleRate;
use tipring_engine::codec::g711::Law;

/// What the audio of a channel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `slin` and its relatives: 16-bit little-endian samples.
    Linear(SampleRate),
    /// `ulaw` and `alaw`, 8 kHz.
    G711(Law),
}

impl Format {
    /// By its name at Asterisk.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(n, _)| *n == name).map(|(_, format)| *format)
    }

    /// Its name at Asterisk.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(_, format)| *format == self).map_or("slin", |(name, _)| name)
    }

    /// In Hz.
    pub const fn rate(self) -> SampleRate {
        match self {
            Self::Linear(rate) => rate,
            Self::G711(_) => SampleRate::Hz8000,
        }
    }
}

/// Formats by name.
pub const FORMATS: [(&str, Format); 6] = [
    ("slin", Format::Linear(SampleRate::Hz8000)),
    ("slin16", Format::Linear(SampleRate::Hz16000)),
    ("slin24", Format::Linear(SampleRate::Hz24000)),
    ("slin48", Format::Linear(SampleRate::Hz48000)),
    ("ulaw", Format::G711(Law::Mu)),
    ("alaw", Format::G711(Law::A)),
];

/// What Asterisk tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The channel is there. In plain text Asterisk may leave the format out.
    MediaStart {
        /// Name of the format.
        format: Option<String>,
        /// Whether commands are to be JSON, as this event was.
        json: bool,
    },
    /// Its queue is nearly full: send nothing until [`Event::MediaXon`].
    MediaXoff,
    /// Go on.
    MediaXon,
    /// A key was pressed on the other side.
    DtmfEnd(char),
    /// Anything else, by name.
    Other(String),
}

/// Reads an event in either form.
pub fn read(text: &str) -> Result<Event, StreamFault> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        event: Cow<'a, str>,
        #[serde(borrow)]
        format: Option<Cow<'a, str>>,
        #[serde(borrow)]
        digit: Option<Cow<'a, str>>,
    }
    let text = text.trim();
    let (name, format, digit, json) = if text.starts_with('{') {
        let message: Message<'_> = serde_json::from_str(text).map_err(|e| StreamFault::new(format_args!("not an event: {e}")))?;
        (message.event.into_owned(), message.format.map(Cow::into_owned), message.digit.map(Cow::into_owned), true)
    } else {
        let mut words = text.split_ascii_whitespace();
        let name = words.next().ok_or_else(|| StreamFault::new("an empty event"))?.to_owned();
        let word = |key: &str| words.clone().find_map(|word| word.strip_prefix(key)?.strip_prefix(':')).map(str::to_owned);
        (name, word("format"), word("digit"), false)
    };
    Ok(match name.as_str() {
        "MEDIA_START" => Event::MediaStart { format, json },
        "MEDIA_XOFF" => Event::MediaXoff,
        "MEDIA_XON" => Event::MediaXon,
        "DTMF_END" => match digit.as_deref().map(|d| d.chars().collect::<Vec<_>>()).as_deref() {
            Some([digit]) => Event::DtmfEnd(*digit),
            _ => return Err(StreamFault::new("DTMF_END without one digit")),
        },
        other => Event::Other(other.chars().take(64).collect()),
    })
}

/// Writes an event as Asterisk does: for tests.
pub fn write(event: &Event, as_json: bool) -> String {
    let (name, key, value) = match event {
        Event::MediaStart { format, .. } => ("MEDIA_START", "format", format.clone()),
        Event::MediaXoff => ("MEDIA_XOFF", "", None),
        Event::MediaXon => ("MEDIA_XON", "", None),
        Event::DtmfEnd(digit) => ("DTMF_END", "digit", Some(digit.to_string())),
        Event::Other(name) => (name.as_str(), "", None),
    };
    match (as_json, value) {
        (true, Some(value)) => serde_json::json!({ "event": name, "channel_id": "1.1", key: value }).to_string(),
        (true, None) => serde_json::json!({ "event": name, "channel_id": "1.1" }).to_string(),
        (false, Some(value)) => format!("{name} connection_id:c1 {key}:{value} ptime:20"),
        (false, None) => name.to_owned(),
    }
}

/// A command of ours.
pub(super) fn command(name: &str, as_json: bool) -> String {
    if as_json { format!("{{\"command\":\"{name}\"}}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_the_documentation_in_both_forms() {
        let start = r#"{ "event": "MEDIA_START", "connection_id": "media_connection1", "channel": "WebSocket/media_connection1/0x5140001a0040",
            "channel_id": "1761245643.1", "format": "ulaw", "optimal_frame_size": 160, "ptime": 20, "channel_variables": { "A": "b" } }"#;
        assert_eq!(read(start), Ok(Event::MediaStart { format: Some("ulaw".into()), json: true }));
        let plain = "MEDIA_START connection_id:c1 channel:WebSocket/c1/0x5 format:slin16 optimal_frame_size:640";
        assert_eq!(read(plain), Ok(Event::MediaStart { format: Some("slin16".into()), json: false }));
        assert_eq!(
            read("MEDIA_START connection_id:c1 channel:x optimal_frame_size:160"),
            Ok(Event::MediaStart { format: None, json: false })
        );
        assert_eq!(read("DTMF_END digit:#"), Ok(Event::DtmfEnd('#')));
        assert_eq!(read("MEDIA_XOFF"), Ok(Event::MediaXoff));
        assert_eq!(read(r#"{"event":"QUEUE_DRAINED","channel_id":"1"}"#), Ok(Event::Other("QUEUE_DRAINED".into())));
        for bad in ["", "{", "{}", "DTMF_END", "DTMF_END digit:12", r#"{"event":"DTMF_END"}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back_and_formats_have_one_name() {
        let events = [Event::MediaXoff, Event::MediaXon, Event::DtmfEnd('5'), Event::Other("STATUS".into())];
        for (json, event) in [true, false].into_iter().flat_map(|json| events.iter().map(move |event| (json, event))) {
            assert_eq!(read(&write(event, json)).as_ref(), Ok(event));
        }
        for (name, format) in FORMATS {
            assert_eq!((Format::named(name), format.name()), (Some(format), name));
            for json in [true, false] {
                let start = Event::MediaStart { format: Some(name.into()), json };
                assert_eq!(read(&write(&start, json)), Ok(start));
            }
        }
        assert_eq!(Format::named("opus"), None);
        assert_eq!((command("HANGUP", true), command("HANGUP", false)), (r#"{"command":"HANGUP"}"#.into(), "HANGUP".into()));
    }
}
