//! The back half of Embedded Signup: from the code that the dialog gave to a number that takes calls (7.5).
//!
//! Decides: the steps, their order, what each of them posts, and what its failure means. Refuses: HTTP (`shell::signup`), the dialog itself, and to keep a token.

use serde_json::{Value, json};

use crate::config::Secret;
use crate::verdict::Verdict;

/// The steps, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The code becomes a business token. First: the code lives 30 s.
    Exchange,
    /// Our app hears of the account's events.
    Subscribe,
    /// And is on the list of those that do.
    Subscribed,
    /// The number is registered on Cloud API.
    Register,
    /// Calling is switched on.
    Settings,
    /// And Meta says so.
    ReadBack,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 6] = [Self::Exchange, Self::Subscribe, Self::Subscribed, Self::Register, Self::Settings, Self::ReadBack];

    /// Stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange_code",
            Self::Subscribe => "subscribe_app",
            Self::Subscribed => "app_is_subscribed",
            Self::Register => "register_number",
            Self::Settings => "enable_calling",
            Self::ReadBack => "read_back",
        }
    }
}

/// What is to be signed up.
#[derive(Clone, Debug)]
pub struct Signup {
    /// The app that hosted the dialog.
    pub app_id: String,
    /// WhatsApp Business Account, `waba_id` of the dialog's message.
    pub waba_id: String,
    /// Number, `phone_number_id` of the dialog's message.
    pub phone_number_id: String,
    /// Six digits of the number's two-step verification; none: it is registered already.
    pub pin: Option<Secret>,
    /// Members of `calling` to set; `status` is ENABLED unless it says otherwise.
    pub calling: Value,
}

/// What came of a step.
#[derive(Clone, PartialEq, Debug)]
pub struct Done {
    /// Which.
    pub step: Step,
    /// None: it worked. Else why it did not.
    pub failure: Option<Verdict>,
    /// What is worth knowing.
    pub note: String,
}

impl Done {
    /// As the command line and the API print it.
    pub fn to_json(&self) -> Value {
        let (code, text) = self.failure.as_ref().map(|verdict| (&*verdict.code, verdict.to_string())).unzip();
        json!({ "step": self.step.name(), "ok": self.failure.is_none(), "code": code, "text": text, "note": self.note })
    }
}

impl Signup {
    /// What is wrong with it, before anything is sent.
    pub fn check(&self) -> Result<(), String> {
        let is_id = |text: &str| !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_digit());
        for (name, id) in
            [("app id", &self.app_id), ("WhatsApp Business Account id", &self.waba_id), ("phone number id", &self.phone_number_id)]
        {
            if !is_id(id) {
                return Err(format!("the {name} is not an id of Meta: digits only"));
            }
        }
        if self.pin.as_ref().map(Secret::expose).is_some_and(|pin| pin.len() != 6 || !pin.bytes().all(|b| b.is_ascii_digit())) {
            return Err("the pin has not six digits".into());
        }
        let bad: Vec<String> = super::settings::check(&self.calling).iter().map(ToString::to_string).collect();
        if bad.is_empty() { Ok(()) } else { Err(bad.join("\n")) }
    }

    /// The settings that are wanted.
    pub fn wanted(&self) -> Value {
        super::settings::merge(&json!({ "status": "ENABLED" }), &self.calling)
    }

    /// Whether the answer of `GET /{waba}/subscribed_apps` has our app.
    pub fn is_subscribed(&self, body: &Value) -> bool {
        let apps = body.get("data").and_then(Value::as_array).into_iter().flatten();
        apps.filter_map(|app| app.pointer("/whatsapp_business_api_data/id").or_else(|| app.get("id"))).any(|id| match id {
            Value::String(id) => *id == self.app_id,
            other => other.as_u64().map(|id| id.to_string()).as_ref() == Some(&self.app_id),
        })
    }
}

/// What a refusal means in its step: Meta's own words are general.
pub fn explain(step: Step, mut verdict: Verdict) -> Verdict {
    // Not a refusal: nobody answered, or the fault is ours.
    if !verdict.code.starts_with("META_") && verdict.code != "GRAPH_UNAUTHORISED" {
        return verdict;
    }
    let details = verdict.evidence.iter().find(|(name, _)| *name == "details").map_or("", |(_, text)| text).to_ascii_lowercase();
    let advice = match step {
        Step::Exchange if details.contains("expired") || details.contains("used") || details.contains("code") => {
            "the code lives 30 s and works once: let the customer go through the dialog again, and hand the code over at once"
        }
        Step::Exchange => "check the app id and the app secret",
        Step::Subscribe | Step::Subscribed => "the customer must have shared this account with the app in the dialog",
        Step::Register => "check the six digits of the two-step verification; a number that is registered already needs no pin here",
        Step::Settings | Step::ReadBack => return verdict,
    };
    verdict.advice = advice.into();
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphError;

    fn signup() -> Signup {
        Signup {
            app_id: "700".into(),
            waba_id: "102".into(),
            phone_number_id: "106".into(),
            pin: Some(Secret::new("123456")),
            calling: json!({}),
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_the_code_is_spent() {
        assert_eq!(signup().check(), Ok(()));
        assert!(Signup { pin: Some(Secret::new("12345")), ..signup() }.check().is_err());
        assert!(Signup { waba_id: "1/../2".into(), ..signup() }.check().is_err());
        assert!(Signup { calling: json!({"status": "ON"}), ..signup() }.check().is_err());
        assert_eq!(signup().wanted(), json!({"status": "ENABLED"}));
        let with = Signup { calling: json!({"callback_permission_status": "ENABLED"}), ..signup() };
        assert_eq!(with.wanted(), json!({"status": "ENABLED", "callback_permission_status": "ENABLED"}));
    }

    #[test]
    fn our_app_is_found_among_the_subscribed() {
        assert!(signup().is_subscribed(&json!({"data": [{"whatsapp_business_api_data": {"id": "700", "name": "x"}}]})));
        assert!(signup().is_subscribed(&json!({"data": [{"id": 700}]})));
        assert!(!signup().is_subscribed(&json!({"data": [{"whatsapp_business_api_data": {"id": "7001"}}]})));
        assert!(!signup().is_subscribed(&json!({})));
    }

    #[test]
    fn an_expired_code_says_what_to_do() {
        let error =
            GraphError { http_status: 400, code: 100, message: "This authorization code has expired.".into(), ..GraphError::default() };
        let verdict = explain(Step::Exchange, Verdict::of_graph("oauth", &error));
        assert!(verdict.advice.contains("30 s") && verdict.code == "META_100");
        let done = Done { step: Step::Exchange, failure: Some(verdict), note: String::new() }.to_json();
        assert_eq!((&done["step"], &done["ok"], &done["code"]), (&json!("exchange_code"), &json!(false), &json!("META_100")));
        let silence = Verdict::of_lost("oauth");
        assert_eq!(explain(Step::Exchange, silence.clone()), silence, "silence is no refusal of the code");
        assert!(!format!("{:?}", signup()).contains("123456"));
        assert!(Step::ALL.windows(2).all(|pair| pair[0].name() != pair[1].name()));
    }
}
