//! Whether a user may be called: `GET /{number}/call_permissions` and the message that asks for it (2.4, 2.5).
//!
//! Decides: how Meta's answer reads, leniently. Refuses: HTTP, and to remember anything: Meta's word is the last.

use serde_json::{Value, json};

use crate::session::{MetaError, Personal};
use crate::verdict::Verdict;
use crate::webhook::envelope::{integer, text};

/// What Meta calls the state of a permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PermissionStatus {
    /// None, denied, expired, or a user who cannot be called at all.
    None,
    /// Until [`Permission::expires_unix_s`].
    Temporary,
    /// Until the user takes it back.
    Permanent,
    /// A word we do not know.
    Other,
}

impl PermissionStatus {
    /// As in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "no_permission",
            Self::Temporary => "temporary",
            Self::Permanent => "permanent",
            Self::Other => "unknown",
        }
    }
}

/// One limit of an action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActionLimit {
    /// ISO 8601 duration, for example `PT24H`.
    pub period: String,
    /// How often it may be done in that time.
    pub allowed_max: i64,
    /// How often it was.
    pub used: i64,
    /// When it may be done again; only once the limit is reached.
    pub expires_unix_s: Option<i64>,
}

/// Whether something may be done, and how often.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ActionRight {
    /// Now.
    pub may: Option<bool>,
    /// Its limits.
    pub limits: Vec<ActionLimit>,
}

/// Meta's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permission {
    /// Kind.
    pub status: PermissionStatus,
    /// Seconds since 1970; absent for a permanent one.
    pub expires_unix_s: Option<i64>,
    /// `start_call`.
    pub call: ActionRight,
    /// `send_call_permission_request`.
    pub ask: ActionRight,
}

impl Permission {
    /// Reads the body of a 200. `None` if it is no such answer.
    pub fn read(body: &Value) -> Option<Self> {
        let permission = body.get("permission")?;
        let status = match text(permission, "status")?.to_ascii_lowercase().as_str() {
            "temporary" | "granted" => PermissionStatus::Temporary,
            "permanent" => PermissionStatus::Permanent,
            "no_permission" | "pending" | "denied" | "expired" => PermissionStatus::None,
            _ => PermissionStatus::Other,
        };
        // Samples and tables of Meta name it differently.
        let expires_unix_s = integer(permission, "expiration_time").or_else(|| integer(permission, "expiration"));
        let right = |name: &str| {
            let actions = body.get("actions").and_then(Value::as_array).into_iter().flatten();
            actions.filter(|a| text(a, "action_name").as_deref() == Some(name)).map(read_right).next().unwrap_or_default()
        };
        Some(Self { status, expires_unix_s, call: right("start_call"), ask: right("send_call_permission_request") })
    }

    /// Whether a call would be taken now. A word we do not know is left to Meta.
    pub fn may_call(&self) -> bool {
        self.call.may.unwrap_or(true) && self.status != PermissionStatus::None
    }

    /// Whether the permission itself would do: then a limit is what stands in the way.
    pub fn may_call_by_status(&self) -> bool {
        self.status != PermissionStatus::None
    }

    /// Why a call would not be taken now, in the numbers that Meta itself would give.
    pub fn refusal(&self) -> Verdict {
        let code = if self.may_call_by_status() { 138_012 } else { 138_006 };
        let mut verdict = Verdict::of_meta(&MetaError { code, details: String::new() });
        verdict.evidence.push(("permission", self.status.name().to_owned()));
        let again = self.call.limits.iter().filter_map(|limit| limit.expires_unix_s).max();
        verdict.evidence.extend(again.map(|at| ("allowed_again_unix_s", at.to_string())));
        verdict
    }

    /// As the API shows it.
    pub fn to_json(&self) -> Value {
        let right = |right: &ActionRight| {
            let limits: Vec<_> = right
                .limits
                .iter()
                .map(|l| json!({ "period": l.period, "max": l.allowed_max, "used": l.used, "expires_s": l.expires_unix_s }))
                .collect();
            json!({ "allowed": right.may, "limits": limits })
        };
        json!({
            "status": self.status.name(), "expires_s": self.expires_unix_s, "may_call": self.may_call(),
            "call": right(&self.call), "ask": right(&self.ask),
        })
    }
}

fn read_right(action: &Value) -> ActionRight {
    let limits = action.get("limits").and_then(Value::as_array).into_iter().flatten().take(LIMITS_MAX);
    ActionRight {
        may: action.get("can_perform_action").and_then(Value::as_bool),
        limits: limits
            .map(|limit| ActionLimit {
                period: text(limit, "time_period").unwrap_or_default(),
                allowed_max: integer(limit, "max_allowed").unwrap_or(0),
                used: integer(limit, "current_usage").unwrap_or(0),
                expires_unix_s: integer(limit, "limit_expiration_time"),
            })
            .collect(),
    }
}

/// The message that asks a user for the permission to be called: `POST /{number}/messages`.
pub fn request_body(to: Option<&Personal>, recipient: Option<&Personal>, text: Option<&str>) -> Value {
    let mut interactive = json!({ "type": "call_permission_request", "action": { "name": "call_permission_request" } });
    if let Some(text) = text {
        interactive["body"] = json!({ "text": text });
    }
    let mut body =
        json!({ "messaging_product": "whatsapp", "recipient_type": "individual", "type": "interactive", "interactive": interactive });
    if let Some(to) = to {
        body["to"] = to.reveal().into();
    } else if let Some(recipient) = recipient {
        body["recipient"] = recipient.reveal().into();
    }
    body
}

/// Limits kept of one action; Meta sends two.
const LIMITS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"messaging_product":"whatsapp","permission":{"status":"temporary","expiration_time":1795343479},
        "actions":[{"action_name":"send_call_permission_request","can_perform_action":true,
          "limits":[{"time_period":"PT24H","max_allowed":1,"current_usage":0},{"time_period":"P7D","max_allowed":2,"current_usage":1}]},
         {"action_name":"start_call","can_perform_action":false,
          "limits":[{"time_period":"PT24H","max_allowed":100,"current_usage":100,"limit_expiration_time":1795622600}]}]}"#;

    fn read(text: &str) -> Option<Permission> {
        Permission::read(&serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn the_documented_answer_is_read_whole() {
        let permission = read(SAMPLE).expect("a permission");
        assert_eq!((permission.status, permission.expires_unix_s), (PermissionStatus::Temporary, Some(1_795_343_479)));
        assert!(!permission.may_call() && permission.may_call_by_status());
        let refusal = permission.refusal();
        assert_eq!(refusal.code, "META_138012");
        assert!(refusal.evidence.contains(&("allowed_again_unix_s", "1795622600".into())), "{:?}", refusal.evidence);
        assert_eq!(permission.call.limits[0].expires_unix_s, Some(1_795_622_600));
        assert_eq!((permission.ask.may, permission.ask.limits[1].period.as_str(), permission.ask.limits[1].used), (Some(true), "P7D", 1));
    }

    #[test]
    fn other_spellings_are_understood_and_rubbish_is_not() {
        let other = read(r#"{"permission":{"status":"PERMANENT"}}"#).expect("a permission");
        assert!(other.may_call());
        assert_eq!(read(r#"{"permission":{"status":"temporary","expiration":"12"}}"#).and_then(|p| p.expires_unix_s), Some(12));
        assert!(!read(r#"{"permission":{"status":"no_permission"}}"#).expect("a permission").may_call());
        assert!(read(r#"{"permission":{"status":"brand new"}}"#).expect("a permission").may_call(), "Meta has the last word");
        for text in ["{}", "[]", "null", r#"{"permission":7}"#, r#"{"permission":{}}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_message_is_the_documented_one() {
        let expected = json!({"messaging_product":"whatsapp","recipient_type":"individual","to":"447700900123","type":"interactive",
            "interactive":{"type":"call_permission_request","action":{"name":"call_permission_request"},"body":{"text":"May we?"}}});
        assert_eq!(request_body(Personal::new("447700900123").as_ref(), None, Some("May we?")), expected);
        let bare = request_body(None, Personal::new("GB.1").as_ref(), None);
        assert_eq!((bare["recipient"].as_str(), bare.get("to"), bare["interactive"].get("body")), (Some("GB.1"), None, None));
    }
}
