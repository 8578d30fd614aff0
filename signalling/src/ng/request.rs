//! A request of a SIP proxy as a value: keys in any of their spellings, options as members or as one string of flags.
//!
//! Decides: which spelling means what. Given: a dictionary. Refuses: nothing that it does not know; rtpengine ignores unknown keys, and proxies rely on it.

use serde_json::{Map, Value, json};

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of the protocol")]
pub enum Command {
    Ping,
    Offer,
    Answer,
    Delete,
    Query,
    List,
    Statistics,
    PlayMedia,
    StopMedia,
    PlayDtmf,
    StartRecording,
    StopRecording,
    /// Anything else, by name.
    Other(String),
}

impl Command {
    fn named(name: &str) -> Self {
        match normalised(name).as_str() {
            "ping" => Self::Ping,
            "offer" => Self::Offer,
            "answer" => Self::Answer,
            "delete" => Self::Delete,
            "query" => Self::Query,
            "list" => Self::List,
            "statistics" => Self::Statistics,
            "play-media" => Self::PlayMedia,
            "stop-media" => Self::StopMedia,
            "play-dtmf" => Self::PlayDtmf,
            "start-recording" => Self::StartRecording,
            "stop-recording" => Self::StopRecording,
            _ => Self::Other(name.chars().take(64).collect()),
        }
    }
}

/// A request.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Members by normalised name: lower case, hyphens.
    members: Map<String, Value>,
    /// Flags of `flags`, `replace` and `rtpp-flags`, normalised; of those with a value the name and the value.
    flags: Vec<(String, String)>,
}

impl Request {
    /// Reads a dictionary. The error is a sentence for the proxy's log.
    pub fn read(value: &Value) -> Result<Self, String> {
        let dictionary = value.as_object().ok_or("the request is no dictionary")?;
        let members: Map<String, Value> = dictionary.iter().map(|(key, value)| (normalised(key), value.clone())).collect();
        let command = members.get("command").and_then(Value::as_str).ok_or("there is no command")?;
        let command = Command::named(command);
        let mut flags = Vec::new();
        for list in ["flags", "replace", "supports"] {
            for flag in members.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                flags.push((normalised(flag), String::new()));
            }
        }
        // With `rtpengine_daemon_side_parsing` all options of the script come as one string.
        for word in members.get("rtpp-flags").and_then(Value::as_str).unwrap_or_default().split_ascii_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            flags.push((normalised(name), value.to_owned()));
        }
        Ok(Self { command, members, flags })
    }

    /// A member that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// A member that must be there and be text. The error is a sentence.
    pub fn needed(&self, name: &str) -> Result<&str, String> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| format!("{name} is missing"))
    }

    /// A member that is a number, or text that reads as one.
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.members.get(name)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|(name, _)| name == flag)
    }

    /// The transport that the description for the other side is to have.
    pub fn transport(&self) -> Option<&str> {
        let of_flags =
            || self.flags.iter().find(|(name, value)| name == "transport-protocol" && !value.is_empty()).map(|(_, value)| value.as_str());
        let bare = || self.flags.iter().map(|(name, _)| name.as_str()).find(|name| name.contains("rtp/"));
        self.text("transport-protocol").or_else(of_flags).or_else(bare)
    }

    /// Codecs that the plain side is to have, best first.
    pub fn codecs(&self) -> Vec<String> {
        let list =
            |name: &str| self.members.get("codec").and_then(|codec| codec.get(name)).and_then(Value::as_array).cloned().unwrap_or_default();
        let of_members = list("transcode").into_iter().chain(list("offer")).filter_map(|codec| codec.as_str().map(str::to_owned));
        let of_flags = self.flags.iter().filter_map(|(name, value)| match name.strip_prefix("codec-transcode") {
            Some("") => Some(value.clone()),
            Some(rest) => rest.strip_prefix('-').map(str::to_owned),
            None => None,
        });
        of_members.chain(of_flags).map(|codec| codec.to_ascii_lowercase()).collect()
    }

    /// Whether the call is to be recorded from the start.
    pub fn records(&self) -> bool {
        self.text("record-call").is_some_and(|value| matches!(value, "yes" | "on")) || self.has("record-call")
    }

    /// Whether the proxy knows the answer "load limit".
    pub fn knows_load_limit(&self) -> bool {
        self.has("load-limit")
    }
}

/// An answer that something is wrong, with the reason.
pub fn error_reply(reason: impl Into<String>) -> Value {
    json!({ "result": "error", "error-reason": reason.into() })
}

/// Keys come with spaces, hyphens and underscores.
fn normalised(name: &str) -> String {
    name.chars().map(|c| if matches!(c, ' ' | '_') { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_kamailio_and_opensips() {
        let kamailio = json!({
            "command": "offer", "call-id": "1@a", "from-tag": "x", "sdp": "v=0", "ICE": "force", "transport protocol": "UDP/TLS/RTP/SAVPF",
            "flags": ["trust-address", "symmetric"], "replace": ["origin", "session-connection"], "supports": ["load limit"], "record call": "yes",
            "codec": { "transcode": ["PCMA"] }, "received from": ["IP4", "10.0.0.1"],
        });
        let request = Request::read(&kamailio).unwrap();
        assert_eq!(
            (&request.command, request.needed("call-id"), request.transport()),
            (&Command::Offer, Ok("1@a"), Some("UDP/TLS/RTP/SAVPF"))
        );
        assert!(request.knows_load_limit() && request.records() && request.has("symmetric"));
        assert_eq!(request.codecs(), ["pcma"]);
        assert_eq!(request.needed("to-tag").unwrap_err(), "to-tag is missing");

        let daemon_side = json!({ "command": "answer", "rtpp_flags": "replace-origin RTP/AVP ICE=remove codec-transcode-PCMU record-call", "call-id": "1" });
        let request = Request::read(&daemon_side).unwrap();
        assert_eq!((request.transport(), request.codecs(), request.records()), (Some("rtp/avp"), vec!["pcmu".to_owned()], true));
        assert!(!request.knows_load_limit());
        let flags = json!({ "command": "offer", "rtpp-flags": "transport-protocol=RTP/AVP codec-transcode=opus" });
        let request = Request::read(&flags).unwrap();
        assert_eq!((request.transport(), request.codecs()), (Some("RTP/AVP"), vec!["opus".to_owned()]));
    }

    #[test]
    fn commands_and_what_is_none() {
        for (name, command) in
            [("play media", Command::PlayMedia), ("play DTMF", Command::PlayDtmf), ("start_recording", Command::StartRecording)]
        {
            assert_eq!(Request::read(&json!({ "command": name })).unwrap().command, command);
        }
        assert_eq!(Request::read(&json!({ "command": "mesh" })).unwrap().command, Command::Other("mesh".into()));
        assert!(
            Request::read(&json!([])).is_err() && Request::read(&json!({})).is_err() && Request::read(&json!({ "command": 1 })).is_err()
        );
        let numbers = Request::read(&json!({ "command": "list", "limit": "7", "duration": 200 })).unwrap();
        assert_eq!((numbers.number("limit"), numbers.number("duration"), numbers.number("x")), (Some(7), Some(200), None));
    }
}
