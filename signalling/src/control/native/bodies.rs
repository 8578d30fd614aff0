//! Bodies of requests, as serde reads them. An unknown member is refused: it is a typing error, or another version's.

use crate::config::AudioBody;
use crate::config::Secret;
use crate::control::bridge_body::BridgeBody;
use crate::stream::Track;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DialBody {
    pub(super) number_id: String,
    pub(super) to: Option<String>,
    pub(super) recipient: Option<String>,
    pub(super) bridge: Option<BridgeBody>,
    pub(super) opaque: Option<String>,
    /// Ask Meta first whether the user may be called.
    pub(super) check_permission: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct AcceptBody {
    pub(super) bridge: Option<BridgeBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlayBody {
    pub(super) prompt: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordBody {
    pub(super) action: Action,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TapBody {
    pub(super) action: Action,
    /// Whose words: `inbound` unless told.
    pub(super) track: Option<Track>,
    /// Who listens; with `start` only.
    pub(super) ws: Option<AudioBody>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Start,
    Stop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskBody {
    pub(super) number_id: String,
    pub(super) to: Option<String>,
    pub(super) recipient: Option<String>,
    pub(super) text: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct CallbackBody {
    pub(super) bridge: Option<BridgeBody>,
    pub(super) opaque: Option<String>,
    pub(super) check_permission: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsBody {
    /// Members of `calling`.
    pub(super) calling: Value,
    /// Tell what would change, and change nothing.
    #[serde(default)]
    pub(super) dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignupBody {
    pub(super) app_id: String,
    /// A reference, as in the configuration.
    pub(super) app_secret: String,
    pub(super) waba_id: String,
    pub(super) phone_number_id: String,
    /// Of the dialog; without it the token of an earlier sign-up is used.
    pub(super) code: Option<Private>,
    pub(super) pin: Option<Private>,
    /// Members of `calling` beyond `status`.
    pub(super) calling: Option<Value>,
}

/// A secret that a request carries. What is wrong with it is said without quoting it.
pub(super) struct Private(pub(super) Secret);

impl<'de> Deserialize<'de> for Private {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(Secret::new(text))),
            _ => Err(D::Error::custom("code and pin are strings")),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct EmptyBody {}
