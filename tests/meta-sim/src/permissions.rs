//! Who may be called: the permissions of a business number, and the messages that ask for them (2.4, 2.5, 3.10).
//!
//! Given: questions and requests of the business, and what each user will answer. Decides: states, limits, the webhook that tells the answer. Refuses: HTTP (`shell.rs`).

use crate::graph::{Account, Reply};
use crate::webhooks::{Delivery, sign};
use serde_json::{Value, json};
use std::collections::HashMap;
use tipring_engine::time::{Span, Time};

/// What a user thinks of being called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Permission {
    /// May be called until the end of time.
    Permanent,
    /// May be called for a week.
    Temporary,
    /// Was never asked, or said no.
    None,
}

impl Permission {
    const fn name(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Temporary => "temporary",
            Self::None => "no_permission",
        }
    }
}

/// What a user will say when asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// "Temporarily allow".
    AllowTemporarily,
    /// "Allow".
    Allow,
    /// "Not now".
    Decline,
    /// Nothing.
    Silence,
}

/// The permissions of one business number. Users that nobody named may be called.
#[derive(Debug, Default)]
pub struct Permissions {
    users: HashMap<String, User>,
    messages: u64,
}

#[derive(Debug)]
struct User {
    permission: Permission,
    answer: Answer,
    asked: u32,
}

impl Permissions {
    /// Says what a user thinks, and will say.
    pub fn set(&mut self, user: &str, permission: Permission, answer: Answer) {
        self.users.insert(user.to_owned(), User { permission, answer, asked: 0 });
    }

    /// Whether a call to this user is taken.
    pub fn may_call(&self, user: &str) -> bool {
        self.users.get(user).is_none_or(|u| u.permission != Permission::None)
    }

    /// `GET call_permissions`.
    pub fn show(&self, user: &str, unix_s: u64) -> Reply {
        let (permission, asked) = self.users.get(user).map_or((Permission::Permanent, 0), |u| (u.permission, u.asked));
        let mut shown = json!({ "status": permission.name() });
        if permission == Permission::Temporary {
            shown["expiration_time"] = json!(unix_s + WEEK_S);
        }
        Reply::ok(&json!({
            "messaging_product": "whatsapp",
            "permission": shown,
            "actions": [
                { "action_name": "send_call_permission_request", "can_perform_action": permission == Permission::None && asked < ASKED_MAX,
                  "limits": [{ "time_period": "PT24H", "max_allowed": ASKED_MAX, "current_usage": asked }] },
                { "action_name": "start_call", "can_perform_action": permission != Permission::None,
                  "limits": [{ "time_period": "PT24H", "max_allowed": 100, "current_usage": 0 }] },
            ],
        }))
    }

    /// `POST messages` with a `call_permission_request`. The user's answer comes as a webhook a second later.
    pub fn ask(&mut self, account: &Account, body: &[u8], unix_ms: u64, now: Time) -> (Reply, Option<Delivery>) {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let user = body["to"].as_str().or_else(|| body["recipient"].as_str()).unwrap_or_default().to_owned();
        let fits = body["messaging_product"] == "whatsapp"
            && body["type"] == "interactive"
            && body["interactive"]["type"] == "call_permission_request"
            && body["interactive"]["action"]["name"] == "call_permission_request"
            && !user.is_empty();
        if !fits {
            return (crate::graph::invalid("only interactive messages of type call_permission_request are taken here"), None);
        }
        let state = self.users.entry(user.clone()).or_insert(User { permission: Permission::Permanent, answer: Answer::Silence, asked: 0 });
        if state.permission == Permission::Permanent {
            return (Reply::error(138_017, "Permanent permission exists", "the user has allowed calls for good"), None);
        }
        if state.asked >= ASKED_MAX {
            return (Reply::error(138_009, "Call permission request limit", "this user was asked today"), None);
        }
        state.asked += 1;
        self.messages += 1;
        let id = format!("wamid.Sim{}", self.messages);
        let said = match state.answer {
            Answer::AllowTemporarily => Some((Permission::Temporary, "accept")),
            Answer::Allow => Some((Permission::Permanent, "accept")),
            Answer::Decline => Some((Permission::None, "reject")),
            Answer::Silence => None,
        };
        let delivery = said.map(|(permission, response)| {
            state.permission = permission;
            let due = now + Span::from_secs(1);
            let unix_s = (unix_ms + due.as_millis()) / 1_000;
            let mut reply = json!({ "response": response, "response_source": "user_action" });
            if response == "accept" {
                reply["is_permanent"] = json!(permission == Permission::Permanent);
            }
            if permission == Permission::Temporary {
                reply["expiration_timestamp"] = json!((unix_s + WEEK_S).to_string());
            }
            let message = json!({ "from": user, "id": format!("wamid.User{}", self.messages), "timestamp": unix_s.to_string(), "type": "interactive",
                "context": { "from": account.display_number, "id": id },
                "interactive": { "type": "call_permission_reply", "call_permission_reply": reply } });
            let value = json!({ "messaging_product": "whatsapp",
                "metadata": { "display_phone_number": account.display_number, "phone_number_id": account.phone_number_id }, "messages": [message] });
            let body = json!({ "object": "whatsapp_business_account",
                "entry": [{ "id": account.waba_id, "changes": [{ "field": "messages", "value": value }] }] });
            let body = body.to_string().into_bytes();
            Delivery { due, event: "permission".to_owned(), signature: Some(sign(&account.app_secret, &body)), body, is_genuine: true }
        });
        (Reply::ok(&json!({ "messaging_product": "whatsapp", "contacts": [], "messages": [{ "id": id }] })), delivery)
    }
}

/// A temporary permission lasts seven days.
const WEEK_S: u64 = 7 * 86_400;
/// Requests per user and day (2.8).
const ASKED_MAX: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "447700900123";

    fn request() -> Vec<u8> {
        json!({"messaging_product": "whatsapp", "to": USER, "type": "interactive",
            "interactive": {"type": "call_permission_request", "action": {"name": "call_permission_request"}}})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_user_who_is_asked_says_what_was_arranged_once_a_day() {
        let mut permissions = Permissions::default();
        assert!(permissions.may_call(USER));
        permissions.set(USER, Permission::None, Answer::AllowTemporarily);
        assert!(!permissions.may_call(USER));
        let account = Account::default();
        let (reply, delivery) = permissions.ask(&account, &request(), 1_795_300_000_000, Time::ZERO);
        assert_eq!(reply.status, 200);
        let body = String::from_utf8(delivery.expect("an answer").body).expect("text");
        assert!(body.contains("call_permission_reply") && body.contains("\"accept\""));
        assert!(permissions.may_call(USER));
        assert!(permissions.show(USER, 0).body.contains("temporary"));
        assert_eq!(permissions.ask(&account, &request(), 0, Time::ZERO).0.code, Some(138_009));
        permissions.set(USER, Permission::Permanent, Answer::Silence);
        assert_eq!(permissions.ask(&account, &request(), 0, Time::ZERO).0.code, Some(138_017));
        assert_eq!(permissions.ask(&account, b"{}", 0, Time::ZERO).0.code, Some(100));
    }

    #[test]
    fn a_refusal_is_told_and_silence_is_not() {
        let mut permissions = Permissions::default();
        permissions.set(USER, Permission::None, Answer::Decline);
        let told = permissions.ask(&Account::default(), &request(), 0, Time::ZERO).1.expect("an answer");
        assert!(String::from_utf8_lossy(&told.body).contains("\"reject\"") && !permissions.may_call(USER));
        permissions.set(USER, Permission::None, Answer::Silence);
        assert!(permissions.ask(&Account::default(), &request(), 0, Time::ZERO).1.is_none());
    }
}
