//! The business's papers at Meta: calling settings, tokens, subscriptions, registration, health (7.1, 7.2, 7.5, 1.2).
//!
//! Given: requests to Graph that are not about a call. Decides: what they change and how they are refused. Refuses: calls (`call.rs`), permissions of users
//! (`permissions.rs`), HTTP (`shell.rs`). Its rules are written from the reference, not from what the business's own code thinks.

use crate::graph::{Account, Reply, invalid};
use serde_json::{Value, json};
use std::collections::HashMap;
use tipring_engine::time::{Span, Time};

/// The app that the business signed up with.
pub const APP_ID: &str = "700123456789012";
/// The six digits of the number's two-step verification.
pub const PIN: &str = "246810";

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'a str,
    /// After the version: `{id}/settings`.
    pub path: &'a str,
    /// Decoded pairs.
    pub query: &'a [(String, String)],
    /// Value of the `Authorization` header.
    pub authorization: Option<&'a str>,
    /// Raw body.
    pub body: &'a [u8],
}

/// The papers of one account.
#[derive(Debug)]
pub struct Office {
    calling: Value,
    /// Issued codes, and when.
    codes: HashMap<String, Time>,
    tokens: Vec<String>,
    issued: u64,
    is_subscribed: bool,
    is_registered: bool,
    /// Fields that the app hears of.
    fields: Vec<&'static str>,
    scopes: Vec<&'static str>,
    tier: &'static str,
    is_funded: bool,
    callback_url: Option<String>,
    /// A `POST` with SIP servers resets the keying, as one operator saw (6.7).
    resets_keying: bool,
}

impl Default for Office {
    fn default() -> Self {
        Self {
            calling: json!({"status": "DISABLED", "call_icon_visibility": "DEFAULT", "ip_addresses": {"default": ["127.0.0.1"]}}),
            codes: HashMap::new(),
            tokens: Vec::new(),
            issued: 0,
            is_subscribed: true,
            is_registered: true,
            fields: vec!["calls", "messages", "account_settings_update", "account_update"],
            scopes: vec!["whatsapp_business_messaging", "whatsapp_business_management"],
            tier: "TIER_2K",
            is_funded: true,
            callback_url: None,
            resets_keying: true,
        }
    }
}

impl Office {
    /// The dialog gave this code just now.
    pub fn issue_code(&mut self, now: Time) -> String {
        self.issued += 1;
        let code = format!("AQ+code/{}=", self.issued);
        self.codes.insert(code.clone(), now);
        code
    }

    /// A customer who has not been signed up: not subscribed, not registered, calling off.
    pub fn clear(&mut self) {
        (self.is_subscribed, self.is_registered) = (false, false);
        self.calling = json!({"status": "DISABLED"});
    }

    /// Breaks one thing that an operator can set right: `subscription`, `fields`, `scope`, `tier`, `funding`.
    pub fn break_it(&mut self, what: &str) {
        match what {
            "subscription" => self.is_subscribed = false,
            "fields" => self.fields.retain(|f| *f != "calls"),
            "scope" => self.scopes.retain(|s| *s != "whatsapp_business_messaging"),
            "tier" => self.tier = "TIER_250",
            "funding" => self.is_funded = false,
            other => debug_assert!(false, "nothing is called {other}"),
        }
    }

    /// Where Meta sends webhooks.
    pub fn set_callback_url(&mut self, url: &str) {
        self.callback_url = Some(url.to_owned());
    }

    /// The `calling` object as it stands.
    pub fn calling(&self) -> &Value {
        &self.calling
    }

    /// Answers what concerns it; none: it is something else.
    pub fn handle(&mut self, account: &Account, asked: Asked<'_>, now: Time) -> Option<Reply> {
        let parts: Vec<&str> = asked.path.split('/').collect();
        let (number, waba) = (account.phone_number_id.as_str(), account.waba_id.as_str());
        let get = |name: &str| asked.query.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.as_str());
        let reply = match (asked.method, parts.as_slice()) {
            ("GET", ["oauth", "access_token"]) => self.exchange(account, get("client_id"), get("client_secret"), get("code"), now),
            ("GET", [app, "subscriptions"]) if *app == APP_ID => self.subscriptions(account, asked.authorization),
            _ if !self.is_authorised(account, asked.authorization) => match parts.as_slice() {
                [id, "settings" | "register" | "subscribed_apps"] if *id == number || *id == waba => expired(),
                [id] if *id == number || *id == waba => expired(),
                ["debug_token"] => expired(),
                _ => return None,
            },
            ("GET", ["debug_token"]) => {
                Reply::ok(&json!({"data": {"app_id": APP_ID, "is_valid": true, "type": "SYSTEM_USER", "expires_at": 0,
                "scopes": self.scopes, "granular_scopes": [{"scope": "whatsapp_business_management", "target_ids": [waba]}]}}))
            }
            (method, [id, "subscribed_apps"]) if *id == waba => self.apps(method),
            ("POST", [id, "register"]) if *id == number => self.register(asked.body),
            ("GET", [id, "settings"]) if *id == number => Reply::ok(&json!({"calling": self.calling})),
            ("POST", [id, "settings"]) if *id == number => self.set(asked.body),
            ("GET", [id]) if *id == number => self.number(number),
            ("GET", [id]) if *id == waba => {
                Reply::ok(&if self.is_funded { json!({"id": waba, "primary_funding_id": "1"}) } else { json!({"id": waba}) })
            }
            _ => return None,
        };
        Some(reply)
    }

    fn is_authorised(&self, account: &Account, authorization: Option<&str>) -> bool {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        token.is_some_and(|token| token == account.access_token || self.tokens.iter().any(|t| t == token))
    }

    fn exchange(&mut self, account: &Account, app: &str, secret: &str, code: &str, now: Time) -> Reply {
        if app != APP_ID || secret != account.app_secret {
            return Reply::error(1, "Error validating client secret.", "client_id or client_secret is wrong");
        }
        match self.codes.remove(code) {
            Some(issued) if now.since(issued) <= CODE_LIFE => {
                self.issued += 1;
                let token = format!("business-token-{}", self.issued);
                self.tokens.push(token.clone());
                Reply::ok(&json!({"access_token": token, "token_type": "bearer"}))
            }
            Some(_) => Reply::error(100, "This authorization code has expired.", "a code lives 30 s"),
            None => Reply::error(100, "This authorization code has been used.", "a code works once"),
        }
    }

    fn subscriptions(&self, account: &Account, authorization: Option<&str>) -> Reply {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        if token != Some(format!("{APP_ID}|{}", account.app_secret).as_str()) {
            return Reply::error(190, "Invalid OAuth access token signature.", "this needs the app's token: APP_ID|APP_SECRET");
        }
        let fields: Vec<Value> = self.fields.iter().map(|name| json!({"name": name, "version": "v25.0"})).collect();
        Reply::ok(
            &json!({"data": [{"object": "whatsapp_business_account", "callback_url": self.callback_url, "active": true, "fields": fields}]}),
        )
    }

    fn apps(&mut self, method: &str) -> Reply {
        match method {
            "POST" => self.is_subscribed = true,
            "DELETE" => self.is_subscribed = false,
            _ => {
                let ours = json!({"whatsapp_business_api_data": {"id": APP_ID, "name": "Tested"}});
                return Reply::ok(&json!({"data": if self.is_subscribed { vec![ours] } else { Vec::new() }}));
            }
        }
        Reply::ok(&json!({"success": true}))
    }

    fn register(&mut self, body: &[u8]) -> Reply {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if body["messaging_product"] != "whatsapp" {
            return invalid("messaging_product must be \"whatsapp\"");
        }
        if body["pin"] != PIN {
            return Reply::error(133_005, "Two step verification PIN Mismatch", "the pin is not the one of this number");
        }
        self.is_registered = true;
        Reply::ok(&json!({"success": true}))
    }

    fn number(&self, number: &str) -> Reply {
        let app = json!({"entity_type": "APP", "id": APP_ID, "can_send_message": "AVAILABLE"});
        let phone = json!({"entity_type": "PHONE_NUMBER", "id": number, "can_send_message": if self.is_registered { "AVAILABLE" } else { "BLOCKED" }});
        Reply::ok(&json!({"id": number, "whatsapp_business_manager_messaging_limit": self.tier,
            "webhook_configuration": {"application": self.callback_url},
            "health_status": {"can_send_message": "AVAILABLE", "entities": [phone, app]}}))
    }

    fn set(&mut self, body: &[u8]) -> Reply {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return invalid("the body is not JSON") };
        let Some(wanted) = body["calling"].as_object() else { return invalid("calling is missing") };
        if let Some((name, _)) = wanted.iter().find(|(name, _)| !WRITABLE.contains(&name.as_str())) {
            return invalid(&format!("calling.{name} cannot be written"));
        }
        for name in ["status", "callback_permission_status"] {
            if wanted.get(name).is_some_and(|v| v != "ENABLED" && v != "DISABLED") {
                return invalid(&format!("calling.{name} must be ENABLED or DISABLED"));
            }
        }
        let codecs = wanted.get("audio").and_then(|a| a["additional_codecs"].as_array());
        if codecs.is_some_and(|codecs| codecs.iter().any(|c| c != "PCMA" && c != "PCMU")) {
            return invalid("calling.audio.additional_codecs takes PCMA and PCMU");
        }
        if let Some(hours) = wanted.get("call_hours") {
            for entry in hours["weekly_operating_hours"].as_array().into_iter().flatten() {
                if entry["open_time"].as_str() >= entry["close_time"].as_str() {
                    return invalid("calling.call_hours: open_time must be before close_time");
                }
            }
        }
        if wanted.get("status").is_some_and(|v| v == "ENABLED") && self.calling["status"] != "ENABLED" {
            if !self.is_subscribed || !self.fields.contains(&"calls") {
                return Reply::error(138_018, "Calling cannot be enabled", "no app is subscribed to the calls webhook field");
            }
            if self.tier == "TIER_250" {
                return Reply::error(138_015, "Calling cannot be enabled", "the messaging limit is below 2000");
            }
        }
        let has_servers = wanted.get("sip").is_some_and(|sip| sip.get("servers").is_some());
        for (name, value) in wanted {
            match (self.calling.get_mut(name), value) {
                // `call_hours` is replaced as a whole: a missing holiday_schedule deletes it.
                (Some(Value::Object(old)), Value::Object(new)) if name != "call_hours" => old.extend(new.clone()),
                _ => self.calling[name] = value.clone(),
            }
        }
        if has_servers && self.resets_keying {
            self.calling["srtp_key_exchange_protocol"] = json!("DTLS");
        }
        Reply::ok(&json!({"success": true}))
    }
}

fn expired() -> Reply {
    Reply::error(190, "Invalid OAuth access token", "the bearer token is missing or not the one of this account")
}

/// Members of `calling` that a `POST` takes.
const WRITABLE: [&str; 9] = [
    "status",
    "call_icon_visibility",
    "call_icons",
    "call_hours",
    "callback_permission_status",
    "srtp_key_exchange_protocol",
    "audio",
    "voicemail",
    "sip",
];
/// Life of a code (7.5).
const CODE_LIFE: Span = Span::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(office: &mut Office, method: &str, path: &str, query: &[(&str, &str)], token: &str, body: &Value, at_s: u64) -> Reply {
        let query: Vec<_> = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (authorization, body) = (format!("Bearer {token}"), body.to_string());
        let asked = Asked { method, path, query: &query, authorization: Some(&authorization), body: body.as_bytes() };
        office.handle(&Account::default(), asked, Time::ZERO + Span::from_secs(at_s)).expect("an answer")
    }

    #[test]
    fn a_code_works_once_and_for_30_s() {
        let mut office = Office::default();
        let secret = Account::default().app_secret;
        let exchange = |office: &mut Office, code: &str, at_s| {
            ask(
                office,
                "GET",
                "oauth/access_token",
                &[("client_id", APP_ID), ("client_secret", &secret), ("code", code)],
                "",
                &json!({}),
                at_s,
            )
        };
        let code = office.issue_code(Time::ZERO);
        assert_eq!(exchange(&mut office, &code, 30).status, 200);
        assert_eq!(exchange(&mut office, &code, 30).code, Some(100));
        let late = office.issue_code(Time::ZERO);
        assert!(exchange(&mut office, &late, 31).body.contains("expired"));
    }

    #[test]
    fn settings_have_rules_and_calling_wants_a_subscription() {
        let (mut office, account) = (Office::default(), Account::default());
        let path = format!("{}/settings", account.phone_number_id);
        let set = |office: &mut Office, calling: Value| ask(office, "POST", &path, &[], "meta-sim-token", &json!({"calling": calling}), 0);
        assert_eq!(set(&mut office, json!({"status": "on"})).code, Some(100));
        assert_eq!(set(&mut office, json!({"ip_addresses": {}})).code, Some(100));
        office.break_it("subscription");
        assert_eq!(set(&mut office, json!({"status": "ENABLED"})).code, Some(138_018));
        let mut office = Office::default();
        assert_eq!(set(&mut office, json!({"status": "ENABLED", "srtp_key_exchange_protocol": "SDES"})).status, 200);
        assert_eq!(office.calling()["srtp_key_exchange_protocol"], "SDES");
        set(&mut office, json!({"sip": {"servers": [{"hostname": "a.example"}]}}));
        assert_eq!(office.calling()["srtp_key_exchange_protocol"], "DTLS", "the reset that was seen in the field");
        assert_eq!(ask(&mut office, "GET", &path, &[], "wrong", &json!({}), 0).code, Some(190));
    }
}
