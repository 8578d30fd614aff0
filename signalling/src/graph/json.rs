//! Bodies and replies of Graph as JSON (2.2, 2.6).
//!
//! Decides: what is posted, and how leniently replies are read. Refuses: HTTP.

use serde_json::{Value, json};

use super::{GraphAction, GraphError, GraphOutcome};
use crate::session::Wacid;
use crate::webhook::envelope::{DETAILS_BYTES_MAX, cut, integer, text};

/// Largest reply worth reading, in bytes; real ones have a few hundred.
pub const REPLY_BYTES_MAX: usize = 64 * 1_024;

/// The body to POST for `action`, compact JSON.
pub fn body(action: &GraphAction) -> String {
    let mut body = json!({"messaging_product": "whatsapp", "action": action.name()});
    let mut put = |name: &str, value: Value| body[name] = value;
    match action {
        //= protocols#A11  the SDP of pre_accept and accept is an answer
        GraphAction::PreAccept { wacid, sdp } => {
            put("call_id", wacid.as_str().into());
            put("session", json!({"sdp_type": "answer", "sdp": sdp.as_str()}));
        }
        GraphAction::Accept { wacid, sdp, biz_opaque } => {
            put("call_id", wacid.as_str().into());
            put("session", json!({"sdp_type": "answer", "sdp": sdp.as_str()}));
            if let Some(data) = biz_opaque {
                put("biz_opaque_callback_data", first_characters(data, OPAQUE_CHARS_MAX).into());
            }
        }
        GraphAction::Reject { wacid } | GraphAction::Terminate { wacid } => put("call_id", wacid.as_str().into()),
        GraphAction::Connect { to, recipient, sdp, biz_opaque } => {
            if let Some(to) = to {
                put("to", to.reveal().into());
            }
            if let Some(recipient) = recipient {
                put("recipient", recipient.reveal().into());
            }
            put("session", json!({"sdp_type": "offer", "sdp": sdp.as_str()}));
            if let Some(data) = biz_opaque {
                put("biz_opaque_callback_data", first_characters(data, OPAQUE_CHARS_MAX).into());
            }
        }
    }
    body.to_string()
}

/// Reads the answer to a question that is not about a call: the body of a 2xx, else the error that Meta gave.
pub fn read_answer(http_status: u16, body: &[u8]) -> Result<Value, GraphError> {
    let value: Value = body.get(..body.len().min(REPLY_BYTES_MAX)).and_then(|b| serde_json::from_slice(b).ok()).unwrap_or(Value::Null);
    match value.get("error").filter(|error| error.is_object()) {
        Some(error) => Err(read_error(http_status, error)),
        None if (200..300).contains(&http_status) && value.is_object() => Ok(value),
        None => Err(GraphError { http_status, ..GraphError::default() }),
    }
}

/// Reads a reply. Never fails: what cannot be read after a 2xx or 5xx is [`GraphOutcome::Lost`], because Meta may have acted.
pub fn read_reply(http_status: u16, body: &[u8]) -> GraphOutcome {
    let is_success = (200..300).contains(&http_status);
    let value: Value = body.get(..body.len().min(REPLY_BYTES_MAX)).and_then(|b| serde_json::from_slice(b).ok()).unwrap_or(Value::Null);
    if let Some(error) = value.get("error").filter(|error| error.is_object()) {
        return GraphOutcome::Refused(read_error(http_status, error));
    }
    let says_success = value.get("success").and_then(Value::as_bool);
    let wacid = value.pointer("/calls/0/id").and_then(Value::as_str).and_then(Wacid::new);
    if is_success && says_success != Some(false) && (says_success.is_some() || wacid.is_some()) {
        GraphOutcome::Success { wacid }
    } else if is_success && says_success.is_none() || http_status >= 500 {
        GraphOutcome::Lost
    } else {
        // A 4xx without envelope, or 200 with `success: false`: it did not happen, and nobody says why.
        GraphOutcome::Refused(GraphError { http_status, ..GraphError::default() })
    }
}

fn read_error(http_status: u16, error: &Value) -> GraphError {
    let number = |name| integer(error, name).and_then(|n| u32::try_from(n).ok());
    let details = error.get("error_data").and_then(|data| text(data, "details"));
    GraphError {
        http_status,
        code: number("code").unwrap_or(0),
        subcode: number("error_subcode").filter(|&n| n != 0),
        message: cut(text(error, "message").unwrap_or_default(), DETAILS_BYTES_MAX),
        details: details.map(|details| cut(details, DETAILS_BYTES_MAX)),
        fbtrace_id: text(error, "fbtrace_id").map(|id| cut(id, 64)),
    }
}

fn first_characters(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

/// Meta's limit of `biz_opaque_callback_data`, in characters.
const OPAQUE_CHARS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Personal, SdpText};

    #[test]
    fn bodies_are_the_documented_ones() {
        let wacid = Wacid::new("wacid.A").expect("id");
        let sdp = SdpText::new("v=0\r\n");
        let same =
            |action: GraphAction, expected: Value| assert_eq!(serde_json::from_str::<Value>(&body(&action)).expect("JSON"), expected);
        let session = |sdp_type: &str| json!({"sdp_type": sdp_type, "sdp": "v=0\r\n"});
        same(
            GraphAction::PreAccept { wacid: wacid.clone(), sdp: sdp.clone() },
            json!({"messaging_product": "whatsapp", "call_id": "wacid.A", "action": "pre_accept", "session": session("answer")}),
        );
        same(
            GraphAction::Accept { wacid: wacid.clone(), sdp: sdp.clone(), biz_opaque: Some("é".repeat(600)) },
            json!({"messaging_product": "whatsapp", "call_id": "wacid.A", "action": "accept", "session": session("answer"),
                "biz_opaque_callback_data": "é".repeat(512)}),
        );
        same(
            GraphAction::Reject { wacid: wacid.clone() },
            json!({"messaging_product": "whatsapp", "call_id": "wacid.A", "action": "reject"}),
        );
        same(GraphAction::Terminate { wacid }, json!({"messaging_product": "whatsapp", "call_id": "wacid.A", "action": "terminate"}));
        same(
            GraphAction::Connect { to: Personal::new("447700900123"), recipient: None, sdp, biz_opaque: Some("leg=42".into()) },
            json!({"messaging_product": "whatsapp", "to": "447700900123", "action": "connect", "session": session("offer"),
                "biz_opaque_callback_data": "leg=42"}),
        );
    }

    #[test]
    fn replies_are_read_leniently() {
        let plain = GraphOutcome::Success { wacid: None };
        assert_eq!(read_reply(200, br#"{"messaging_product":"whatsapp","success":true}"#), plain);
        assert_eq!(read_reply(200, br#"{"success":true}"#), plain);
        let wacid = Wacid::new("wacid.A");
        assert_eq!(
            read_reply(200, br#"{"messaging_product":"whatsapp","calls":[{"id":"wacid.A"}]}"#),
            GraphOutcome::Success { wacid: wacid.clone() }
        );
        assert_eq!(read_reply(200, br#"{"success":true,"calls":[{"id":"wacid.A"}]}"#), GraphOutcome::Success { wacid });
        for (status, body) in [(200, &b""[..]), (200, b"<html>"), (502, b"bad gateway"), (503, b"{}"), (200, b"{}")] {
            assert_eq!(read_reply(status, body), GraphOutcome::Lost, "{status}");
        }
        for (status, body) in [(404, &b"nothing here"[..]), (200, br#"{"success":false}"#), (429, b"")] {
            assert!(matches!(read_reply(status, body), GraphOutcome::Refused(e) if e.code == 0 && e.http_status == status), "{status}");
        }
    }

    #[test]
    fn the_error_envelope_is_kept_whole_but_not_shown() {
        let body = br#"{"error":{"message":"(#138006) No approved call permission from 447700900123","type":"OAuthException","code":138006,
            "error_data":{"messaging_product":"whatsapp","details":"ask 447700900123"},"error_subcode":2494,"fbtrace_id":"AbC"}}"#;
        let GraphOutcome::Refused(error) = read_reply(401, body) else { panic!("refused") };
        assert_eq!((error.http_status, error.code, error.subcode), (401, 138_006, Some(2_494)));
        assert_eq!((error.details.as_deref(), error.fbtrace_id.as_deref()), (Some("ask 447700900123"), Some("AbC")));
        assert!(!format!("{error:?}").contains("4477"));
    }
}
