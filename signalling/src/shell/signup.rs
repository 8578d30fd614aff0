//! Carries the steps of `graph::signup` out, one after the other, and stops at the first that fails.
//!
//! Given: a Graph client, the app's secret, a code. Decides: nothing. Refuses: to log the code or the token; the token goes back to the caller, and nowhere else.

use super::http_client::GraphClient;
use crate::config::Secret;
use crate::graph::settings;
use crate::graph::signup::{Done, Signup, Step, explain};
use crate::verdict::Verdict;
use reqwest::Method;
use serde_json::{Value, json};

/// Carries it out. Returns what came of each step, and the business token once there is one.
pub(crate) async fn run(graph: &GraphClient, signup: &Signup, app_secret: &Secret, code: &Secret) -> (Vec<Done>, Option<Secret>) {
    let mut done = Vec::new();
    let mut token = None;
    for step in Step::ALL {
        if step == Step::Register && signup.pin.is_none() {
            done.push(Done { step, failure: None, note: "left out: no pin".into() });
            continue;
        }
        match carry_out(graph, signup, step, app_secret, code, &mut token).await {
            Ok(note) => done.push(Done { step, failure: None, note }),
            Err(verdict) => {
                done.push(Done { step, failure: Some(explain(step, verdict)), note: String::new() });
                break;
            }
        }
    }
    (done, token)
}

async fn carry_out(
    graph: &GraphClient,
    signup: &Signup,
    step: Step,
    app_secret: &Secret,
    code: &Secret,
    token: &mut Option<Secret>,
) -> Result<String, Verdict> {
    let (waba, number) = (format!("{}/subscribed_apps", signup.waba_id), &signup.phone_number_id);
    let settings_path = format!("{number}/settings");
    match step {
        Step::Exchange => {
            let query = [("client_id", signup.app_id.as_str()), ("client_secret", app_secret.expose()), ("code", code.expose())];
            let body = graph.request("oauth", (Method::GET, "oauth/access_token"), &query, None, None).await?;
            let text = body.get("access_token").and_then(Value::as_str).filter(|t| !t.is_empty());
            *token = Some(Secret::new(text.ok_or_else(|| Verdict::of_lost("oauth"))?));
            Ok(String::new())
        }
        Step::Subscribe => {
            graph.request("subscribed_apps", (Method::POST, &waba), &[], token.as_ref(), Some(&json!({}))).await?;
            Ok(String::new())
        }
        Step::Subscribed => {
            let body = graph.request("subscribed_apps", (Method::GET, &waba), &[], token.as_ref(), None).await?;
            if signup.is_subscribed(&body) {
                return Ok(String::new());
            }
            Err(Verdict::fixed("APP_NOT_SUBSCRIBED", "Meta took the subscription, but does not list our app", "subscribe again"))
        }
        Step::Register => {
            let body = json!({ "messaging_product": "whatsapp", "pin": signup.pin });
            graph.request("register", (Method::POST, &format!("{number}/register")), &[], token.as_ref(), Some(&body)).await?;
            Ok(String::new())
        }
        Step::Settings => {
            let body = json!({ "calling": signup.wanted() });
            graph.request("settings", (Method::POST, &settings_path), &[], token.as_ref(), Some(&body)).await?;
            Ok(String::new())
        }
        Step::ReadBack => {
            let body = graph.request("settings", (Method::GET, &settings_path), &[], token.as_ref(), None).await?;
            let left = settings::differences(&signup.wanted(), body.get("calling").unwrap_or(&Value::Null));
            match left.first() {
                None => Ok(String::new()),
                Some(first) => {
                    let mut verdict = Verdict::fixed(
                        "SETTINGS_DIFFER",
                        "Meta has other settings than were written",
                        "set them again: tipring settings set",
                    );
                    verdict.evidence.push(("first", first.to_string()));
                    Err(verdict)
                }
            }
        }
    }
}

/// Writes a token to a file that nobody else may read. An existing file is refused: it may be another number's.
pub(crate) fn keep_token(path: &std::path::Path, token: &Secret) -> Result<(), String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let fail = |e: std::io::Error| format!("{} cannot be written: {e}", path.display());
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    file.write_all(token.expose().as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all()).map_err(fail)
}
