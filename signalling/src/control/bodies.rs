//! Bodies of requests: read within bounds, as one JSON object, and what is said when that fails.
//!
//! Decides: the bound, and which fault is whose. Given: bytes that somebody sent. Refuses: lists for objects, and to repeat in a problem what may be a PIN.

use super::problem::Problem;
use crate::shell::Commons;
use crate::shell::http_server::{BodyError, ReadBody};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tipring_engine::dtmf::DigitRefused;

/// Largest body, in bytes: what the SDP reader takes.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1_024;

/// The body of a request to send digits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DigitsBody {
    pub(super) digits: String,
    /// Of each digit; 100 when none is given.
    pub(super) tone_ms: Option<u32>,
}

impl DigitsBody {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        // Line, column and kind of the fault only: the message itself may quote what was sent.
        let said = |e: serde_json::Error| format!("the body is not what it should be, at line {} column {}", e.line(), e.column());
        object(bytes, said, "send {\"digits\": \"12#\"}, and tone_ms if 100 ms a digit is not right")
    }
}

/// The whole body, or what was wrong with it.
pub(super) async fn read(commons: &Commons, body: Incoming) -> Result<ReadBody, Problem> {
    commons.body(body, BODY_BYTES_MAX).await.map_err(|e| match e {
        BodyError::TooLarge => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "BODY_TOO_LARGE",
            "the body is larger than 64 KiB",
            "send less: an SDP of one audio stream has 1 to 4 KiB",
        ),
        BodyError::TooSlow => {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", "the body did not arrive in time", "send the body at once")
        }
        BodyError::NoMemory => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", "too many bodies are being read", "try again"),
        BodyError::Broken => Problem::new(StatusCode::BAD_REQUEST, "BODY_BROKEN", "the body broke off", "send it whole"),
    })
}

/// One JSON object. The message of the parser names members and positions.
pub(super) fn json_object<T: DeserializeOwned>(bytes: &[u8], hint: &'static str) -> Result<T, Problem> {
    object(bytes, |e| e.to_string(), hint)
}

fn object<T: DeserializeOwned>(bytes: &[u8], said: impl Fn(serde_json::Error) -> String, hint: &'static str) -> Result<T, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "BAD_JSON", detail, hint);
    // To serde a list of the right length is as good as an object with its members; to the document it is not.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(bad("the body is a list, not an object".into()));
    }
    serde_json::from_slice(bytes).map_err(|e| bad(said(e)))
}

/// Why digits do not leave. `not_yet` is what to wait for; `over` is how the interface tells that the call has ended.
pub(super) fn digits_refused(error: DigitRefused, not_yet: &'static str, over: impl FnOnce() -> Problem) -> Problem {
    let (status, code, hint) = match error {
        DigitRefused::NotAKey(_) | DigitRefused::Length(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "BAD_DIGITS", "use 0 to 9, *, #, A to D, or ! for a flash, and 40 to 60000 ms a digit")
        }
        DigitRefused::Full => (StatusCode::CONFLICT, "DIGITS_FULL", "32 digits may wait; send the rest when these are out"),
        DigitRefused::NotNegotiated => {
            (StatusCode::CONFLICT, "DIGITS_NOT_NEGOTIATED", "the far side's SDP has no telephone-event/8000; play tones as audio instead")
        }
        DigitRefused::NoPeerYet => (StatusCode::CONFLICT, "WRONG_STATE", not_yet),
        DigitRefused::CallOver => return over(),
    };
    Problem::new(status, code, error.to_string(), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_no_object_and_a_pin_is_not_repeated() {
        #[derive(Deserialize, Debug)]
        struct Pair {
            #[expect(dead_code, reason = "only read by serde")]
            a: u8,
        }
        assert!(json_object::<Pair>(b"{\"a\":1}", "").is_ok());
        assert_eq!(json_object::<Pair>(b" [1]", "").err().map(|p| p.detail), Some("the body is a list, not an object".into()));
        let said = DigitsBody::read(b"{\"digits\":739155}").err().map(|p| p.detail).unwrap_or_default();
        assert!(said.contains("line 1") && !said.contains("739155"), "{said}");
    }
}
