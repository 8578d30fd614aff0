//! rtpengine's control protocol `ng`, as far as a SIP proxy needs it to put a WhatsApp leg beside a plain RTP leg (Kamailio's and OpenSIPS' rtpengine modules).
//!
//! Decides: how requests are read in both encodings, and what plain RTP looks like in SDP. Given: datagrams and bodies. Refuses: calls between two plain or two WebRTC
//! ends, more than one audio stream, video; `shell::ng` has the calls and the sockets.

pub mod bencode;
pub mod plain_sdp;
mod request;

pub use request::{Command, Request, error_reply};

use serde_json::Value;

/// Cuts a datagram into its cookie and its dictionary. The error names the cookie, if there is one to answer to, and what was wrong.
pub fn read_datagram(datagram: &[u8]) -> Result<(String, Value, Encoding), (Option<String>, String)> {
    let end = datagram
        .iter()
        .position(|b| *b == b' ')
        .filter(|end| (1..=COOKIE_BYTES_MAX).contains(end))
        .ok_or((None, "no cookie".to_owned()))?;
    let cookie = std::str::from_utf8(&datagram[..end]).map_err(|_| (None, "the cookie is not text".to_owned()))?.to_owned();
    let body = &datagram[end + 1..];
    match read_body(body) {
        Ok((value, encoding)) => Ok((cookie, value, encoding)),
        Err(why) => Err((Some(cookie), why)),
    }
}

/// Reads a dictionary in either encoding.
pub fn read_body(body: &[u8]) -> Result<(Value, Encoding), String> {
    match body.first() {
        Some(b'{') => serde_json::from_slice(body).map(|value| (value, Encoding::Json)).map_err(|e| format!("not JSON: {e}")),
        Some(b'd') => bencode::read(body).map(|value| (value, Encoding::Bencode)).map_err(|e| e.to_string()),
        _ => Err("neither a bencode dictionary nor a JSON object".to_owned()),
    }
}

/// How a dictionary is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// `d3:key5:valuee`.
    Bencode,
    /// `{"key":"value"}`.
    Json,
}

impl Encoding {
    /// Writes an answer as the question was written.
    pub fn write(self, value: &Value) -> Vec<u8> {
        match self {
            Self::Bencode => bencode::write(value),
            Self::Json => value.to_string().into_bytes(),
        }
    }
}

/// Longest cookie.
const COOKIE_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_both_encodings() {
        let ping = serde_json::json!({ "command": "ping" });
        assert_eq!(read_datagram(b"5323_1 d7:command4:pinge"), Ok(("5323_1".into(), ping.clone(), Encoding::Bencode)));
        assert_eq!(read_datagram(b"a {\"command\":\"ping\"}"), Ok(("a".into(), ping.clone(), Encoding::Json)));
        assert_eq!(Encoding::Bencode.write(&ping), b"d7:command4:pinge");
        assert_eq!(read_datagram(b"d7:command4:pinge").unwrap_err().0, None);
        assert_eq!(read_datagram(b" d7:command4:pinge").unwrap_err().0, None);
        assert_eq!(read_datagram(b"a x").unwrap_err().0.as_deref(), Some("a"));
        assert_eq!(read_datagram(b"a {").unwrap_err().0.as_deref(), Some("a"));
        assert!(read_datagram(b"").is_err());
    }
}
