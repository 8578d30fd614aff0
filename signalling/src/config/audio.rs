//! Audio connections in the configuration and in requests: where they may go, and what is spoken there.
//!
//! Decides: defaults, what fits together, and whether a URL is one of the targets. Given: a section, or JSON that serde has read. Refuses: targets that nobody named,
//! and audio in clear to another machine unless a target says so.

use super::Secret;
use super::reader::{Reader, Section};
use crate::control::{VOIP_ONLY, names_outside};
use crate::stream::{Dialect, asterisk};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tipring_engine::codec::SampleRate;

/// `[[audio_target]]`: where audio connections may go.
#[derive(Clone, Debug)]
pub struct AudioTarget {
    /// Scheme, host and port must be the same; the path must begin so.
    pub url: String,
    /// Sent as `Authorization: Bearer`.
    pub authorization: Option<Secret>,
    /// Certificates to trust instead of the system's, PEM.
    pub ca: Option<PathBuf>,
}

/// A bridge to somebody else's audio server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioBridge {
    /// `ws://`, `wss://`, or `tcp://` for AudioSocket.
    pub url: String,
    /// What is spoken there.
    pub dialect: Dialect,
    /// The application's own parameters.
    pub parameters: Vec<(String, String)>,
    /// How often a broken connection is made again, in a row.
    pub reconnects: u32,
    /// Audio that may wait in front of the call.
    pub queue: Duration,
    /// The call ends when the server has left for good; else it goes on in silence.
    pub hangs_up: bool,
}

/// `bridge.ws` of requests; the table of the same name in the file has the same members.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct AudioBody {
    url: String,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    rate: Option<u32>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    reconnects: Option<u32>,
    #[serde(default)]
    queue_ms: Option<u64>,
    #[serde(default)]
    on_close: Option<String>,
}

impl AudioBody {
    /// The bridge; the error is a sentence for whoever sent the request.
    //= meta#R-10  a telephone, or a server that nobody listed, is refused before anything else is read
    pub(crate) fn bridge(&self, targets: &[AudioTarget]) -> Result<AudioBridge, String> {
        if let Some(what) = names_outside(&self.url) {
            return Err(format!("{VOIP_ONLY}: url is {what}"));
        }
        if parsed(&self.url).is_ok() && target_of(&self.url, targets).is_none() {
            return Err(format!("{VOIP_ONLY}: url is none of the configured [[audio_target]]s"));
        }
        let rate = match self.rate {
            None => None,
            Some(hz) => {
                Some(RATES.into_iter().find(|rate| rate.hz() == hz).ok_or(format!("rate {hz} is none of 8000, 16000, 24000, 48000"))?)
            }
        };
        let refuse_rate =
            |protocol: &str| if rate.is_some() { Err(format!("rate is set, but {protocol} has one rate only")) } else { Ok(()) };
        let protocol = self.protocol.as_deref().unwrap_or("twilio");
        if self.format.is_some() && protocol != "asterisk" {
            return Err(format!("format is set, but {protocol} has one format only"));
        }
        let dialect = match protocol {
            "twilio" => refuse_rate("twilio").map(|()| Dialect::Twilio)?,
            "l16" => Dialect::L16(rate.unwrap_or(SampleRate::Hz16000)),
            "audiosocket" => Dialect::AudioSocket(rate.unwrap_or(SampleRate::Hz8000)),
            "asterisk" => {
                refuse_rate("asterisk, by its format,")?;
                let name = self.format.as_deref().unwrap_or("slin16");
                let known = asterisk::FORMATS.map(|f| f.0).join(", ");
                Dialect::Asterisk(asterisk::Format::named(name).ok_or(format!("format {name:?} is none of {known}"))?)
            }
            other => return Err(format!("protocol {other:?} is none of twilio, l16, asterisk, audiosocket")),
        };
        let url = parsed(&self.url)?;
        if (url.scheme() == "tcp") != matches!(dialect, Dialect::AudioSocket(_)) {
            return Err(format!(
                "{protocol} and the scheme {} do not fit together: audiosocket goes over tcp://, all others over ws:// or wss://",
                url.scheme()
            ));
        }
        if self.parameters.len() > PARAMETERS_MAX || self.parameters.iter().any(|(k, v)| k.len() + v.len() > PARAMETER_BYTES_MAX) {
            return Err(format!("parameters are at most {PARAMETERS_MAX}, of at most {PARAMETER_BYTES_MAX} bytes each"));
        }
        let hangs_up = match self.on_close.as_deref() {
            None | Some("hang_up") => true,
            Some("keep") => false,
            Some(other) => return Err(format!("on_close {other:?} is neither hang_up nor keep")),
        };
        let queue_ms = self.queue_ms.unwrap_or(60_000);
        if !(640..=600_000).contains(&queue_ms) {
            return Err(format!("queue_ms {queue_ms} is not between 640 and 600000"));
        }
        let reconnects = self.reconnects.unwrap_or(5);
        if reconnects > 100 {
            return Err(format!("reconnects {reconnects} is above 100"));
        }
        let parameters = self.parameters.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(AudioBridge { url: self.url.clone(), dialect, parameters, reconnects, queue: Duration::from_millis(queue_ms), hangs_up })
    }
}

/// The target that a URL belongs to.
pub(crate) fn target_of<'t>(url: &str, targets: &'t [AudioTarget]) -> Option<&'t AudioTarget> {
    let url = parsed(url).ok()?;
    targets.iter().find(|target| {
        parsed(&target.url).is_ok_and(|t| {
            let path = t.path();
            let is_below =
                url.path() == path || url.path().starts_with(path) && (path.ends_with('/') || url.path()[path.len()..].starts_with('/'));
            t.scheme() == url.scheme() && t.host() == url.host() && t.port_or_known_default() == url.port_or_known_default() && is_below
        })
    })
}

fn parsed(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|e| format!("url is not a URL: {e}"))?;
    match url.scheme() {
        "ws" | "wss" => {}
        "tcp" if url.port().is_some() => {}
        "tcp" => return Err("url is tcp:// without a port".into()),
        other => return Err(format!("url has the scheme {other}, which is none of ws, wss, tcp")),
    }
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("url has no host, or a user, or a fragment".into());
    }
    Ok(url)
}

/// Whether audio would travel in clear to another machine.
fn is_plain_to_others(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    url.scheme() != "wss" && host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `[[audio_target]]`.
pub(super) fn read_targets(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Vec<AudioTarget> {
    let mut targets = Vec::new();
    for mut s in root.tables(r, "audio_target") {
        let plain = s.bool(r, "plain", false);
        let authorization = s.is_set("authorization").then(|| s.secret(r, "authorization", "")).flatten();
        let ca = s.path(r, "ca");
        match s.str(r, "url") {
            None => s.missing(r, "url", "name where audio may go, for example \"wss://bot.example/streams/\""),
            Some((text, span)) => match parsed(text) {
                Ok(url) if is_plain_to_others(&url) && !plain => r.fault(
                    s.path_of("url"),
                    Some(&span),
                    "would carry people's voices in clear to another machine",
                    "use wss://; or plain = true if the network between is yours alone",
                ),
                Ok(_) => targets.push(AudioTarget { url: text.to_owned(), authorization, ca }),
                Err(what) => r.fault(s.path_of("url"), Some(&span), what, "write for example \"wss://bot.example/streams/\""),
            },
        }
        s.finish(r);
    }
    targets
}

/// `bridge.ws`, for a bridge of kind `ws`.
pub(super) fn read_bridge(r: &mut Reader<'_>, parent: &mut Section<'_, '_>, targets: &[AudioTarget]) -> Option<AudioBridge> {
    let mut s = parent.table(r, "ws");
    if !s.is_present() {
        return None;
    }
    let span = s.span.clone();
    let mut text = |r: &mut Reader<'_>, key: &'static str| s.str(r, key).map(|(text, _)| text.to_owned());
    let (url, protocol, format, on_close) = (text(r, "url"), text(r, "protocol"), text(r, "format"), text(r, "on_close"));
    let rate = s.is_set("rate").then(|| s.integer(r, "rate", 8_000..=48_000, 8_000) as u32);
    let reconnects = s.is_set("reconnects").then(|| s.integer(r, "reconnects", 0..=100, 5) as u32);
    let queue_ms = s.is_set("queue_ms").then(|| s.integer(r, "queue_ms", 640..=600_000, 60_000));
    let mut parameters = BTreeMap::new();
    for entry in s.strings(r, "parameters").unwrap_or_default() {
        match entry.0.split_once('=') {
            Some((key, value)) => drop(parameters.insert(key.trim().to_owned(), value.trim().to_owned())),
            None => r.fault(s.path_of("parameters"), Some(&entry.1), "is not NAME=VALUE", "write for example [\"language=pt\"]"),
        }
    }
    let path = s.path_of("url");
    let Some(url) = url else {
        s.missing(r, "url", "name the audio server, for example \"wss://bot.example/streams/a\"");
        s.finish(r);
        return None;
    };
    s.finish(r);
    let body = AudioBody { url, protocol, rate, format, parameters, reconnects, queue_ms, on_close };
    body.bridge(targets).map_err(|what| r.fault(path, Some(&span), what, "see docs/AUDIO_STREAMS.md")).ok()
}

const RATES: [SampleRate; 4] = [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000, SampleRate::Hz48000];
/// Parameters of one bridge.
const PARAMETERS_MAX: usize = 32;
/// Bytes of one, name and value.
const PARAMETER_BYTES_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> AudioTarget {
        AudioTarget { url: url.into(), authorization: None, ca: None }
    }

    #[test]
    fn a_url_must_lie_below_a_target() {
        let targets =
            [target("wss://bot.example/streams/"), target("ws://127.0.0.1:9000"), target("tcp://[::1]:9092"), target("wss://b.example/x")];
        let good = [
            "wss://bot.example/streams/a?b=c",
            "wss://BOT.example:443/streams/",
            "ws://127.0.0.1:9000/anything",
            "tcp://[::1]:9092",
            "wss://b.example/x",
            "wss://b.example/x/y",
        ];
        let bad = [
            "wss://bot.example/",
            "wss://bot.example/streams/../admin",
            "wss://bot.example.evil.example/streams/",
            "wss://bot.example@evil.example/streams/",
            "wss://user:pw@bot.example/streams/",
            "ws://bot.example/streams/",
            "wss://bot.example:8443/streams/",
            "ws://127.0.0.1/",
            "tcp://[::1]:9093",
            "http://127.0.0.1:9000/",
            "wss://b.example/xy",
            "nonsense",
        ];
        assert!(good.iter().all(|url| target_of(url, &targets).is_some()));
        for url in bad {
            assert!(target_of(url, &targets).is_none(), "{url}");
        }
    }

    #[test]
    fn bodies_become_bridges_or_sentences() {
        let targets = [target("ws://127.0.0.1:1"), target("tcp://127.0.0.1:1")];
        let read = |json: &str| serde_json::from_str::<AudioBody>(json).map_err(|e| e.to_string()).and_then(|body| body.bridge(&targets));
        let plain = read(r#"{"url":"ws://127.0.0.1:1/s","parameters":{"a":"b"}}"#).unwrap();
        assert_eq!((plain.dialect, plain.hangs_up, plain.queue.as_secs(), plain.reconnects), (Dialect::Twilio, true, 60, 5));
        assert_eq!(plain.parameters, [("a".to_owned(), "b".to_owned())]);
        let l16 = read(r#"{"url":"ws://127.0.0.1:1/s","protocol":"l16","rate":24000,"on_close":"keep","queue_ms":1000}"#).unwrap();
        assert_eq!((l16.dialect, l16.hangs_up), (Dialect::L16(SampleRate::Hz24000), false));
        let socket = read(r#"{"url":"tcp://127.0.0.1:1","protocol":"audiosocket"}"#).unwrap();
        assert_eq!(socket.dialect.rate(), SampleRate::Hz8000);
        let asterisk = read(r#"{"url":"ws://127.0.0.1:1/media/1","protocol":"asterisk","format":"ulaw"}"#).unwrap();
        assert_eq!(asterisk.dialect.subprotocol(), Some("media"));
        for (json, word) in [
            (r#"{"url":"ws://127.0.0.1:2/s"}"#, "audio_target"),
            (r#"{"url":"ws://127.0.0.1:1/s","protocol":"sip"}"#, "protocol"),
            (r#"{"url":"ws://127.0.0.1:1/s","rate":8000}"#, "one rate"),
            (r#"{"url":"ws://127.0.0.1:1/s","protocol":"l16","rate":11025}"#, "rate 11025"),
            (r#"{"url":"tcp://127.0.0.1:1"}"#, "scheme"),
            (r#"{"url":"ws://127.0.0.1:1/s","protocol":"audiosocket"}"#, "scheme"),
            (r#"{"url":"ws://127.0.0.1:1/s","format":"ulaw"}"#, "format"),
            (r#"{"url":"ws://127.0.0.1:1/s","protocol":"asterisk","format":"opus"}"#, "none of slin"),
            (r#"{"url":"ws://127.0.0.1:1/s","on_close":"x"}"#, "on_close"),
            (r#"{"url":"ws://127.0.0.1:1/s","queue_ms":1}"#, "queue_ms"),
            (r#"{"url":"ws://127.0.0.1:1/s","reconnects":101}"#, "reconnects"),
            (r#"{"url":"x"}"#, "not a URL"),
            (r#"{"url":"ws://127.0.0.1:1/s","colour":1}"#, "colour"),
        ] {
            assert!(read(json).unwrap_err().contains(word), "{json}");
        }
    }
}
