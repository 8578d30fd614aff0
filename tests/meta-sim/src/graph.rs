//! `POST /{version}/{phone_number_id}/calls` as bytes and JSON: the request read, the answer written (Graph API, error envelope).
//!
//! Given: method, path, headers that matter, body. Decides: whether it is a call action at all, and how answers and errors look. Refuses:
//! what the action does to a call (`call.rs`), sockets (`shell.rs`).

use serde_json::{Value, json};
use tipring_engine::time::Span;

/// Whose number, app and token it is.
#[derive(Clone)]
pub struct Account {
    /// WhatsApp Business Account, `entry[].id` of webhooks.
    pub waba_id: String,
    /// Graph node of the business number.
    pub phone_number_id: String,
    /// The business number, digits.
    pub display_number: String,
    /// Key of webhook signatures.
    pub app_secret: String,
    /// Bearer token that call actions must carry.
    pub access_token: String,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            waba_id: "102290129340398".to_owned(),
            phone_number_id: "106540352242922".to_owned(),
            display_number: "15550001111".to_owned(),
            app_secret: "0123456789abcdef0123456789abcdef".to_owned(),
            access_token: "meta-sim-token".to_owned(),
        }
    }
}

impl core::fmt::Debug for Account {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Account").field("phone_number_id", &self.phone_number_id).finish_non_exhaustive()
    }
}

/// What a business can ask of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ActionKind {
    /// Call a user.
    Connect,
    /// Prepare the media of an incoming call.
    PreAccept,
    /// Take an incoming call.
    Accept,
    /// Refuse an incoming call.
    Reject,
    /// End a call.
    Terminate,
}

impl ActionKind {
    /// As in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::PreAccept => "pre_accept",
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Terminate => "terminate",
        }
    }
}

/// A call action.
#[derive(Clone, PartialEq, Eq)]
pub struct Action {
    /// Which.
    pub kind: ActionKind,
    /// `call_id`; none for connect.
    pub call_id: Option<String>,
    /// `to` or `recipient` of connect.
    pub to: Option<String>,
    /// `session.sdp`.
    pub sdp: Option<String>,
    /// `biz_opaque_callback_data`.
    pub opaque: Option<String>,
}

impl core::fmt::Debug for Action {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Action").field("kind", &self.kind).field("has_sdp", &self.sdp.is_some()).finish_non_exhaustive()
    }
}

/// An answer of the Graph API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
    /// Meta's code when it is an error.
    pub code: Option<u32>,
    /// How long the answer is held back.
    pub delay: Span,
}

impl Reply {
    /// `{"messaging_product":"whatsapp","success":true}`.
    pub fn success() -> Self {
        Self::ok(&json!({"messaging_product": "whatsapp", "success": true}))
    }

    /// 200 with this body.
    pub fn ok(body: &Value) -> Self {
        Self { status: 200, body: body.to_string(), code: None, delay: Span::ZERO }
    }

    /// An error envelope; the HTTP status follows from the code.
    pub fn error(code: u32, title: &str, details: &str) -> Self {
        let status = match code {
            190 | 138_000 | 138_006 => 401,
            613 | 138_002 | 138_005 => 429,
            138_004 | 138_007 => 500,
            _ => 400,
        };
        let body = json!({"error": {
            "message": format!("(#{code}) {title}"),
            "type": "OAuthException",
            "code": code,
            "error_data": {"messaging_product": "whatsapp", "details": details},
            "fbtrace_id": "AmetaSimTrace0",
        }});
        Self { status, body: body.to_string(), code: Some(code), delay: Span::ZERO }
    }
}

/// Reads a request. `authorization` is the value of that header.
pub fn read(account: &Account, method: &str, path: &str, authorization: Option<&str>, body: &[u8]) -> Result<Action, Reply> {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts = path.trim_start_matches('/').split('/');
    let (version, number, node, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    let is_version = version.is_some_and(|v| v.strip_prefix('v').is_some_and(|n| n.parse::<f32>().is_ok()));
    if method != "POST" || !is_version || node != Some("calls") || rest.is_some() {
        let mut reply = Reply::error(100, "Unsupported request", "only POST /v<version>/<phone number id>/calls is served here");
        reply.status = 404;
        return Err(reply);
    }
    if authorization.and_then(|value| value.strip_prefix("Bearer ")) != Some(account.access_token.as_str()) {
        return Err(Reply::error(190, "Invalid OAuth access token", "the bearer token is missing or not the one of this number"));
    }
    if number != Some(account.phone_number_id.as_str()) {
        return Err(invalid("the phone number id in the path does not exist"));
    }
    let body: Value = serde_json::from_slice(body).map_err(|e| invalid(&format!("the body is not JSON: {e}")))?;
    if body["messaging_product"] != "whatsapp" {
        return Err(invalid("messaging_product must be \"whatsapp\""));
    }
    let kind = match body["action"].as_str() {
        Some("connect") => ActionKind::Connect,
        Some("pre_accept") => ActionKind::PreAccept,
        Some("accept") => ActionKind::Accept,
        Some("reject") => ActionKind::Reject,
        Some("terminate") => ActionKind::Terminate,
        other => return Err(invalid(&format!("action {other:?} is not one of connect, pre_accept, accept, reject, terminate"))),
    };
    let text = |value: &Value| value.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    let action = Action {
        kind,
        call_id: text(&body["call_id"]),
        to: text(&body["to"]).or_else(|| text(&body["recipient"])),
        sdp: text(&body["session"]["sdp"]),
        opaque: text(&body["biz_opaque_callback_data"]),
    };
    match kind {
        ActionKind::Connect if action.to.is_none() => return Err(invalid("connect needs `to` or `recipient`")),
        ActionKind::Connect => {}
        _ if action.call_id.is_none() => return Err(invalid("call_id is missing")),
        _ => {}
    }
    if matches!(kind, ActionKind::Connect | ActionKind::PreAccept | ActionKind::Accept) {
        let wanted = if kind == ActionKind::Connect { "offer" } else { "answer" };
        if action.sdp.is_none() {
            return Err(invalid("session.sdp is missing"));
        }
        if body["session"]["sdp_type"] != wanted {
            return Err(invalid(&format!("session.sdp_type must be \"{wanted}\" here")));
        }
    }
    if action.opaque.as_ref().is_some_and(|data| data.chars().count() > 512) {
        return Err(invalid("biz_opaque_callback_data is longer than 512 characters"));
    }
    Ok(action)
}

/// Code 100.
pub fn invalid(details: &str) -> Reply {
    Reply::error(100, "Invalid parameter", details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_body(body: &Value) -> Result<Action, Reply> {
        let account = Account::default();
        let path = format!("/v25.0/{}/calls", account.phone_number_id);
        read(&account, "POST", &path, Some("Bearer meta-sim-token"), body.to_string().as_bytes())
    }

    #[test]
    fn reads_each_action() {
        let session = json!({"sdp_type": "answer", "sdp": "v=0\r\n"});
        for name in ["pre_accept", "accept"] {
            let action =
                read_body(&json!({"messaging_product": "whatsapp", "call_id": "wacid.A", "action": name, "session": session})).unwrap();
            assert_eq!((action.kind.name(), action.call_id.as_deref(), action.sdp.as_deref()), (name, Some("wacid.A"), Some("v=0\r\n")));
        }
        for name in ["reject", "terminate"] {
            assert_eq!(read_body(&json!({"messaging_product": "whatsapp", "call_id": "w", "action": name})).unwrap().kind.name(), name);
        }
    }

    #[test]
    fn refuses_what_meta_refuses() {
        let code = |body: Value| read_body(&body).unwrap_err().code;
        assert_eq!(code(json!({"call_id": "w", "action": "terminate"})), Some(100));
        assert_eq!(code(json!({"messaging_product": "whatsapp", "call_id": "w", "action": "hold"})), Some(100));
        assert_eq!(code(json!({"messaging_product": "whatsapp", "action": "terminate"})), Some(100));
        let offer = json!({"sdp_type": "offer", "sdp": "v=0\r\n"});
        assert_eq!(code(json!({"messaging_product": "whatsapp", "call_id": "w", "action": "accept", "session": offer})), Some(100));
        let account = Account::default();
        let path = format!("/v25.0/{}/calls", account.phone_number_id);
        assert_eq!(read(&account, "POST", &path, Some("Bearer x"), b"{}").unwrap_err().status, 401);
        assert_eq!(read(&account, "GET", &path, None, b"").unwrap_err().status, 404);
    }
}
