//! Bodies of requests, as serde reads them. An unknown member is refused: it is a typing error, or another version's.

use crate::control::bridge_body::BridgeBody;
use serde::Deserialize;

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
    pub(super) action: RecordAction,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum RecordAction {
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

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct EmptyBody {}
