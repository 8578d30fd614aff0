//! The back half of Embedded Signup by the API: from the dialog's code to a number that takes calls, as `tipring signup` does.
//!
//! Decides: shapes and statuses, where the token goes, and what a repetition does. Given: requests whose key has the scope `admin`. Refuses: to show a code, a pin or a token,
//! to anybody and in any log; two sign-ups of one number at a time; to spend a code on a token that cannot be kept.

use super::bodies::SignupBody;
use super::service::{Native, graph_problem};
use super::settings::checked;
use crate::config::{ProcessSecrets, Secret, resolve_secret};
use crate::control::problem::Problem;
use crate::graph::signup::{Done, Signup, Step};
use crate::shell::http_server::{Reply, typed};
use crate::shell::{TokenFile, TokenSource, sign_up};
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

/// What is remembered of sign-ups.
#[derive(Default)]
pub(crate) struct Signups(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// Numbers that are being signed up.
    running: HashSet<String>,
    /// Digests of numbers with codes that were exchanged.
    spent: VecDeque<[u8; 32]>,
}

impl Signups {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A panic while the lock was held is a bug elsewhere; each change is one call.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// One number's turn.
struct Turn<'a>(&'a Signups, &'a str);

impl<'a> Turn<'a> {
    fn take(signups: &'a Signups, number: &'a str) -> Option<Self> {
        signups.lock().running.insert(number.to_owned()).then_some(Self(signups, number))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().running.remove(self.1);
    }
}

impl Native {
    /// `POST /v1/signups`. A code that was exchanged before, or none, goes on with the token that is kept: each step may be repeated until all have worked.
    pub(super) async fn sign_up(&self, body: SignupBody) -> Result<Reply, Problem> {
        let Some(directory) = &self.config.token_directory else {
            return Err(refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "NO_TOKEN_DIRECTORY",
                "business tokens cannot be kept",
                "set api.token_directory in the configuration",
            ));
        };
        let calling = body.calling.filter(|calling| calling.as_object().is_none_or(|members| !members.is_empty()));
        let signup = Signup {
            app_id: body.app_id,
            waba_id: body.waba_id,
            phone_number_id: body.phone_number_id,
            pin: body.pin.map(|pin| pin.0),
            calling: calling.map(checked).transpose()?.unwrap_or_else(|| json!({})),
        };
        let bad = |detail: String, hint: String| Problem {
            hint: hint.into(),
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_SIGNUP", detail, "")
        };
        signup.check().map_err(|what| bad(what, "send the ids of the dialog's message".into()))?;
        let app_secret =
            resolve_secret(&body.app_secret, &ProcessSecrets).map_err(|(what, fix)| bad(format!("app_secret: {what}"), fix))?;
        let Some(_turn) = Turn::take(&self.signups, &signup.phone_number_id) else {
            return Err(refused(
                StatusCode::CONFLICT,
                "SIGNUP_RUNNING",
                "this number is being signed up by another request",
                "wait for the answer of that one",
            ));
        };
        let file = TokenFile::at(directory.join(format!("{}.token", signup.phone_number_id)));
        let code = body.code.map(|code| code.0).filter(|code| !code.expose().is_empty());
        let digest = code.as_ref().map(|code| digest(&signup.phone_number_id, code));
        let is_spent = digest.is_some_and(|digest| self.signups.lock().spent.contains(&digest));
        let source = match (code.filter(|_| !is_spent), file.held()) {
            (Some(code), _) => {
                file.check().map_err(|what| bad(what, "create api.token_directory, writable by the daemon's user".into()))?;
                TokenSource::Code { app_secret, code, file: file.clone() }
            }
            (None, Some(token)) => TokenSource::Kept(token),
            (None, None) => {
                return Err(bad("code is missing, and no earlier sign-up has left a token".into(), "send the code of the dialog".into()));
            }
        };
        let done = sign_up(&self.graph, &signup, &source).await;
        let is_kept = done.iter().any(|d| d.step == Step::Exchange && d.failure.is_none());
        if let Some(digest) = digest.filter(|_| is_kept && !is_spent) {
            let mut memory = self.signups.lock();
            memory.spent.truncate(SPENT_MAX - 1);
            memory.spent.push_front(digest);
        }
        let mut shown = Map::new();
        shown.insert("phone_number_id".into(), signup.phone_number_id.clone().into());
        shown.insert("access_token".into(), if is_kept { format!("file:{}", file.path().display()).into() } else { Value::Null });
        shown.insert("steps".into(), done.iter().map(Done::to_json).collect());
        let failed = done.into_iter().find_map(|d| Some((d.step, d.failure?)));
        tracing::info!(number = signup.phone_number_id, failed = failed.as_ref().map(|(step, _)| step.name()), "sign-up by the API");
        let Some((step, verdict)) = failed else {
            return Ok(typed(StatusCode::OK, "application/json", Value::Object(shown).to_string()));
        };
        // A number of Meta that says no more than "refused" is about what was sent: the code, the app, the pin.
        let is_ours = verdict.code.starts_with("META_") && (step == Step::Exchange || verdict.info().is_none());
        let mut problem = graph_problem(verdict);
        if is_ours {
            problem.status = StatusCode::UNPROCESSABLE_ENTITY;
        }
        problem.detail = format!("{}: {}", step.name(), problem.detail);
        Ok(problem.into_reply_with(shown))
    }
}

fn digest(number: &str, code: &Secret) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(number.as_bytes());
    digest.update([0]);
    digest.update(code.expose().as_bytes());
    digest.finalize().into()
}

fn refused(status: StatusCode, code: &'static str, detail: &'static str, hint: &'static str) -> Problem {
    Problem::new(status, code, detail, hint)
}

/// Codes remembered: they live 30 s at Meta.
const SPENT_MAX: usize = 1_024;
