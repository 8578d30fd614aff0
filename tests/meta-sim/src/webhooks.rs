//! Webhook bodies and signatures as Meta sends them.
//!
//! Given: account, event, time. Decides: JSON and `X-Hub-Signature-256`. Refuses: when and how often they go out (`call.rs`), HTTP
//! (`shell.rs`).

use crate::faults::Fault;
use crate::graph::Account;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tipring_engine::time::Time;

/// `sha256=` and the hexadecimal HMAC-SHA256 of the raw body under the app secret.
pub fn sign(app_secret: &str, body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(app_secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256={hex}")
}

/// A webhook ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Not before.
    pub due: Time,
    /// `connect`, `terminate`, `RINGING`, `ACCEPTED`, `REJECTED`, or `unknown`.
    pub event: String,
    /// Raw JSON.
    pub body: Vec<u8>,
    /// Value of `X-Hub-Signature-256`.
    pub signature: Option<String>,
    /// It deserves a 200.
    pub is_genuine: bool,
}

impl core::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Delivery").field("due", &self.due).field("event", &self.event).finish_non_exhaustive()
    }
}

/// Writes the webhooks of one call.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Whose number.
    pub account: Account,
    /// wacid.
    pub call_id: String,
    /// The user's number; empty when withheld.
    pub user_number: String,
    /// The user's profile name.
    pub user_name: String,
    /// `USER_INITIATED` or `BUSINESS_INITIATED`.
    pub is_user_initiated: bool,
    /// Milliseconds since 1970 at the origin of time.
    pub unix_ms: u64,
    /// Echoed.
    pub opaque: Option<String>,
    /// Misbehaviour.
    pub faults: Vec<Fault>,
}

/// Why and how a call ended, for `terminate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// When it was picked up.
    pub picked_up: Option<Time>,
    /// Meta's error code; none for a good end.
    pub error: Option<u32>,
}

impl Writer {
    /// `connect` with its SDP.
    pub fn connect(&self, sdp: &str, due: Time) -> Delivery {
        let mut call = self.call("connect", due);
        let age_s = if self.has(Fault::StaleConnect) { 600 } else { 0 };
        call["timestamp"] = json!((self.unix_s(due) - age_s).to_string());
        let kind = if self.is_user_initiated { "offer" } else { "answer" };
        // A real one puts `sdp` first (key order is not to be relied on).
        call["session"] = json!({"sdp": sdp, "sdp_type": kind});
        let mut value = self.value();
        value["calls"] = json!([call]);
        let mut delivery = self.deliver("connect", value, due);
        if self.has(Fault::ForgedSignature) {
            delivery.signature = Some(sign("not the app secret", &delivery.body));
            delivery.is_genuine = false;
        }
        if self.has(Fault::MissingSignature) {
            delivery.signature = None;
            delivery.is_genuine = false;
        }
        delivery
    }

    /// `terminate`.
    pub fn terminate(&self, ending: Ending, due: Time) -> Delivery {
        let mut call = self.call("terminate", due);
        call["status"] = json!(if ending.error.is_some() { "FAILED" } else { "COMPLETED" });
        if let Some(at) = ending.picked_up {
            call["start_time"] = json!(self.unix_s(at).to_string());
            call["end_time"] = json!(self.unix_s(due).to_string());
            call["duration"] = json!(due.since(at).as_millis().div_ceil(1_000));
        }
        let mut value = self.value();
        if let Some(code) = ending.error {
            // As seen live: the same object in both places.
            let text = "Media was not received";
            let errors = json!([{"code": code, "title": text, "message": text, "error_data": {"details": text}}]);
            call["errors"] = errors.clone();
            value["errors"] = errors;
        }
        value["calls"] = json!([call]);
        self.deliver("terminate", value, due)
    }

    /// `RINGING`, `ACCEPTED`, `REJECTED` of a business-initiated call.
    pub fn status(&self, status: &str, due: Time) -> Delivery {
        let mut entry = json!({"id": self.call_id, "timestamp": self.unix_s(due).to_string(), "type": "call", "status": status,
            "recipient_id": self.user_number});
        if let Some(opaque) = &self.opaque {
            entry["biz_opaque_callback_data"] = json!(opaque);
        }
        let mut value = self.value();
        value["statuses"] = json!([entry]);
        self.deliver(status, value, due)
    }

    /// An event that nobody knows.
    pub fn unknown(&self, due: Time) -> Delivery {
        let mut call = self.call("call_teleported", due);
        call["warp"] = json!({"factor": [1, 2.5, null]});
        let mut value = self.value();
        value["calls"] = json!([call]);
        self.deliver("unknown", value, due)
    }

    fn call(&self, event: &str, at: Time) -> Value {
        let (user, business) = (self.user_number.as_str(), self.account.display_number.as_str());
        let (from, to, direction) =
            if self.is_user_initiated { (user, business, "USER_INITIATED") } else { (business, user, "BUSINESS_INITIATED") };
        let mut call = json!({"id": self.call_id, "from": from, "to": to, "event": event, "direction": direction,
            "timestamp": self.unix_s(at).to_string()});
        call[if self.is_user_initiated { "from_user_id" } else { "to_user_id" }] = json!(BSUID);
        if let Some(opaque) = &self.opaque {
            call["biz_opaque_callback_data"] = json!(opaque);
        }
        call
    }

    fn value(&self) -> Value {
        json!({"messaging_product": "whatsapp",
            "metadata": {"display_phone_number": self.account.display_number, "phone_number_id": self.account.phone_number_id},
            "contacts": [{"profile": {"name": self.user_name}, "wa_id": self.user_number, "user_id": BSUID}]})
    }

    fn deliver(&self, event: &str, value: Value, due: Time) -> Delivery {
        let mut changes = Vec::new();
        if self.has(Fault::BatchedWebhook) && event == "connect" {
            let receipt = json!({"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": value["metadata"],
                "statuses": [{"id": "wamid.HBgL", "status": "read", "timestamp": "1", "recipient_id": self.user_number}]}});
            changes.resize(99, receipt);
        }
        changes.push(json!({"field": "calls", "value": value}));
        let body = json!({"object": "whatsapp_business_account", "entry": [{"id": self.account.waba_id, "changes": changes}]});
        let body = body.to_string().into_bytes();
        let signature = Some(sign(&self.account.app_secret, &body));
        Delivery { due, event: event.to_owned(), body, signature, is_genuine: true }
    }

    fn unix_s(&self, at: Time) -> u64 {
        (self.unix_ms + at.as_millis()) / 1_000
    }

    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

/// Business-scoped id of the simulated user.
const BSUID: &str = "US.13491208655302741918";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_match_the_vectors() {
        //= meta#R-45  type=test
        let text = include_str!("../../golden/webhook/signature.json");
        let vectors: Value = serde_json::from_str(text).unwrap();
        let secret = vectors["app_secret"].as_str().unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let body = match case["body"].as_str() {
                Some(body) => body.as_bytes().to_vec(),
                None => {
                    let hex = case["body_hex"].as_str().unwrap();
                    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect()
                }
            };
            assert_eq!(case["header"] == sign(secret, &body), case["expect"], "{}", case["id"]);
        }
    }

    fn writer(faults: &[Fault]) -> Writer {
        Writer {
            account: Account::default(),
            call_id: "wacid.A".to_owned(),
            user_number: "15550100123".to_owned(),
            user_name: "Ada".to_owned(),
            is_user_initiated: true,
            unix_ms: 1_795_300_000_000,
            opaque: None,
            faults: faults.to_vec(),
        }
    }

    #[test]
    fn connect_carries_offer_time_and_a_good_signature() {
        let delivery = writer(&[]).connect("v=0\r\n", Time::from_nanos(2_000_000_000));
        let body: Value = serde_json::from_slice(&delivery.body).unwrap();
        let call = &body["entry"][0]["changes"][0]["value"]["calls"][0];
        assert_eq!((call["event"].as_str(), call["timestamp"].as_str()), (Some("connect"), Some("1795300002")));
        assert_eq!(call["session"]["sdp_type"], "offer");
        assert_eq!(delivery.signature.unwrap(), sign(&Account::default().app_secret, &delivery.body));
    }

    #[test]
    fn faults_do_what_they_say() {
        let at = Time::ZERO;
        let forged = writer(&[Fault::ForgedSignature]).connect("v=0\r\n", at);
        assert!(!forged.is_genuine && forged.signature != Some(sign(&Account::default().app_secret, &forged.body)));
        assert_eq!(writer(&[Fault::MissingSignature]).connect("v=0\r\n", at).signature, None);
        let batch: Value = serde_json::from_slice(&writer(&[Fault::BatchedWebhook]).connect("v=0\r\n", at).body).unwrap();
        assert_eq!(batch["entry"][0]["changes"].as_array().unwrap().len(), 100);
        let stale: Value = serde_json::from_slice(&writer(&[Fault::StaleConnect]).connect("v=0\r\n", at).body).unwrap();
        assert_eq!(stale["entry"][0]["changes"][0]["value"]["calls"][0]["timestamp"], "1795299400");
        let ending = Ending { picked_up: Some(at), error: Some(138_021) };
        let failed: Value = serde_json::from_slice(&writer(&[]).terminate(ending, at).body).unwrap();
        let value = &failed["entry"][0]["changes"][0]["value"];
        assert_eq!((&value["errors"][0]["code"], &value["calls"][0]["errors"][0]["code"]), (&json!(138_021), &json!(138_021)));
    }
}
