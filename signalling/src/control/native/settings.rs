//! Calling settings of a number at Meta, read and written by the API as `tipring settings` does.
//!
//! Decides: shapes and statuses. Given: requests whose key has the scope `admin`. Refuses: numbers that are not served here or that another partner sends with, and
//! to believe Meta's 200: what is not as wanted afterwards stands in the answer.

use super::admin::no_number;
use super::bodies::SettingsBody;
use super::contract::ApiError;
use super::service::{Native, graph_problem};
use crate::config::NumberRole;
use crate::control::problem::Problem;
use crate::graph::settings;
use crate::shell::http_server::{Reply, typed};
use hyper::StatusCode;
use serde_json::{Map, Value, json};

impl Native {
    /// `GET /v1/numbers/{id}/settings`.
    pub(super) async fn settings(&self, id: &str) -> Result<Reply, Problem> {
        self.settable(id)?;
        let calling = self.graph.settings(id).await.map_err(graph_problem)?;
        Ok(typed(StatusCode::OK, "application/json", json!({ "phone_number_id": id, "calling": calling }).to_string()))
    }

    /// `POST /v1/numbers/{id}/settings`: changes some members and leaves the others, then reads back.
    pub(super) async fn change_settings(&self, id: &str, body: SettingsBody) -> Result<Reply, Problem> {
        self.settable(id)?;
        let wanted = checked(body.calling)?;
        let changed = self.graph.change_settings(id, &wanted, body.dry_run).await.map_err(graph_problem)?;
        if !body.dry_run {
            let members: Vec<&str> = changed.changes.iter().map(|change| change.path.as_str()).collect();
            tracing::info!(number = id, ?members, left = changed.left.len(), "settings written by the API");
        }
        let mut shown = changed.to_json();
        shown["phone_number_id"] = id.into();
        Ok(typed(StatusCode::OK, "application/json", shown.to_string()))
    }

    fn settable(&self, id: &str) -> Result<(), Problem> {
        match self.reloader.tenants.now().number(id).map(|number| number.role) {
            Some(NumberRole::Full) => Ok(()),
            Some(_) => Err(ApiError::ReceiveOnly.into()),
            None => Err(no_number()),
        }
    }
}

/// Settings that can be asked for, or everything that is wrong with them.
pub(super) fn checked(calling: Value) -> Result<Value, Problem> {
    let bad = settings::check(&calling);
    let detail = match bad.as_slice() {
        [] if calling.as_object().is_none_or(Map::is_empty) => "calling holds nothing to set".to_owned(),
        [] => return Ok(calling),
        bad => bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    };
    let hint = "send the members that are to change; GET /v1/openapi.json describes them";
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_SETTINGS", detail, hint))
}
