//! Numbers at run time: shown, added, changed, removed; and the configuration read again.
//!
//! Decides: shapes and statuses. Given: requests whose key has the scope `admin`. Refuses: secrets in bodies: a number names its token as the configuration file does, so that
//! none of them ever travels, is logged, or is remembered for a repetition.

use super::service::Native;
use crate::config::{Config, Fault, NumberConfig, ProcessSecrets, overrides_from_environment, read_one_number};
use crate::control::bodies;
use crate::control::problem::Problem;
use crate::sdp::KeyExchange;
use crate::shell::http_server::{Reply, typed};
use crate::shell::{NotChanged, bridge_name, preflight};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::{Map, Value, json};

impl Native {
    /// `GET /v1/numbers`.
    pub(super) fn numbers(&self) -> Reply {
        let table = self.reloader.tenants.now();
        let numbers: Vec<Value> = table.numbers().map(|(_, listed)| show(&listed.number, listed.from_file, listed.keying())).collect();
        let apps: Vec<Value> = table
            .apps
            .iter()
            .map(|app| json!({ "name": app.name, "path": app.path, "secrets": app.app_secrets.len(), "forwards": app.forward_other_to.is_some() }))
            .collect();
        typed(StatusCode::OK, "application/json", json!({ "numbers": numbers, "apps": apps }).to_string())
    }

    /// `GET /v1/numbers/{id}`.
    pub(super) fn number(&self, id: &str) -> Result<Reply, Problem> {
        let table = self.reloader.tenants.now();
        let listed = table.numbers().find(|(known, _)| &***known == id).map(|(_, listed)| listed).ok_or_else(no_number)?;
        Ok(typed(StatusCode::OK, "application/json", show(&listed.number, listed.from_file, listed.keying()).to_string()))
    }

    /// `PUT /v1/numbers/{id}`: the members of a `[[number]]`.
    //= meta#R-05  no restart
    pub(super) async fn put_number(&self, id: &str, request: Request<Incoming>) -> Result<Reply, Problem> {
        let body = bodies::read(&self.commons, request.into_body()).await?;
        let hint = "send an object with the members of a [[number]]";
        let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "BAD_JSON", detail, hint);
        let mut body: Map<String, Value> = bodies::json_object(&body.bytes, hint)?;
        match body.insert("phone_number_id".into(), id.into()) {
            Some(other) if other != id => return Err(bad("phone_number_id is not the one of the path".into())),
            _ => {}
        }
        let text = toml::to_string(&body).map_err(|_| bad("a member is null, or a list mixes kinds".into()))?;
        let number = read_one_number(&text, &ProcessSecrets, self.commons.records, &self.commons.bridges.audio_targets())
            .map_err(|faults| faulty("BAD_NUMBER", &faults))?;
        let is_new = self.reloader.put(number, &text).await.map_err(|what| not_done(&what))?.map_err(not_changed)?;
        let mut reply = self.number(id)?;
        if is_new {
            *reply.status_mut() = StatusCode::CREATED;
        }
        Ok(reply)
    }

    /// `DELETE /v1/numbers/{id}`. Its running calls go on to their end.
    pub(super) async fn remove_number(&self, id: &str) -> Result<Reply, Problem> {
        self.reloader.remove(id).await.map_err(|what| not_done(&what))?.map_err(not_changed)?;
        Ok(typed(StatusCode::OK, "application/json", json!({ "phone_number_id": id, "removed": true }).to_string()))
    }

    /// `POST /v1/node/reload`: as SIGHUP does.
    pub(super) fn reload(&self) -> Result<Reply, Problem> {
        let Some(path) = &self.reloader.started.source else {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "NO_CONFIG_FILE",
                "this daemon was not started from a file",
                "start it by tipring serve --config FILE",
            ));
        };
        let text = std::fs::read_to_string(path).map_err(|e| not_done(&format!("the configuration file cannot be read: {e}")))?;
        let config = Config::from_toml_with(&text, &overrides_from_environment(), &ProcessSecrets)
            .map_err(|faults| faulty("BAD_CONFIG", &faults))?;
        let faults = preflight(&config);
        if !faults.is_empty() {
            return Err(faulty("BAD_CONFIG", &faults));
        }
        let waiting = self.reloader.reload(&config).map_err(|what| not_done(&what))?;
        Ok(typed(StatusCode::OK, "application/json", json!({ "reloaded": true, "needs_restart": waiting }).to_string()))
    }
}

/// A number without anything secret.
fn show(number: &NumberConfig, from_file: bool, keying: KeyExchange) -> Value {
    json!({
        "phone_number_id": number.phone_number_id, "app": number.app, "waba_id": number.waba_id, "role": number.role.name(),
        "keying": if keying == KeyExchange::Sdes { "sdes" } else { "dtls" }, "answer": if number.waits { "wait" } else { "auto" },
        "bridge": bridge_name(&number.bridge), "record": number.bridge.record, "from": if from_file { "file" } else { "api" },
    })
}

fn faulty(code: &'static str, faults: &[Fault]) -> Problem {
    let detail: Vec<String> = faults.iter().map(|f| format!("{}: {} ({})", f.path, f.what, f.fix)).collect();
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.join("; "), "docs/CONFIG.md explains every member")
}

pub(super) fn no_number() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NO_SUCH_NUMBER", "this number is not served here", "GET /v1/numbers lists them")
}

fn not_done(what: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "NOT_TAKEN_OVER", what, "correct what it names and send it again")
}

fn not_changed(why: NotChanged) -> Problem {
    match why {
        NotChanged::Unknown => no_number(),
        NotChanged::InFile => Problem::new(
            StatusCode::CONFLICT,
            "NUMBER_IN_FILE",
            "this number stands in the configuration file",
            "change it there, then POST /v1/node/reload or send SIGHUP",
        ),
        NotChanged::UnknownApp => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "NO_SUCH_APP", "app is the name of no [[app]]", "GET /v1/numbers lists the apps")
        }
        NotChanged::TooMany => {
            Problem::new(StatusCode::CONFLICT, "TOO_MANY_NUMBERS", "100000 numbers are served already", "remove one first")
        }
    }
}
