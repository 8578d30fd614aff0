//! Problem bodies (RFC 9457): a stable `code` for programs, a `detail` and a `hint` for people.

use crate::shell::http_server::{Reply, typed};
use hyper::{StatusCode, header};
use std::borrow::Cow;

/// A refusal, with what to do about it.
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: Cow<'static, str>,
    pub(super) detail: String,
    pub(super) hint: Cow<'static, str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>, hint: &'static str) -> Self {
        Self { status, code: code.into(), detail: detail.into(), hint: hint.into() }
    }

    pub(super) fn into_reply(self) -> Reply {
        self.into_reply_with(serde_json::Map::new())
    }

    /// The same with members of its own kind (RFC 9457 section 3.2).
    pub(super) fn into_reply_with(self, members: serde_json::Map<String, serde_json::Value>) -> Reply {
        let mut body = serde_json::json!({
            "type": format!("urn:tipring:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(members);
        }
        let mut reply = typed(self.status, "application/problem+json", body.to_string());
        if self.status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            reply.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        reply
    }
}
