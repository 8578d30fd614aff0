//! Carries the steps of `graph::signup` out, one after the other, and stops at the first that fails. The command line and the API share it.
//!
//! Given: a Graph client, what is to be signed up, the dialog's code or the token that an earlier attempt has kept. Decides: that a token is on the disk before anything
//! else is asked, since its code is spent. Refuses: to log the code, the pin or the token; the token goes into one file, and nowhere else.

use super::http_client::GraphClient;
use crate::config::Secret;
use crate::graph::settings;
use crate::graph::signup::{Done, Signup, Step, explain};
use crate::verdict::Verdict;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the business token comes from.
pub(crate) enum TokenSource {
    /// The dialog's code, which is exchanged for one that this file then holds.
    Code { app_secret: Secret, code: Secret, file: TokenFile },
    /// An earlier sign-up: its code is spent.
    Kept(Secret),
}

/// The file of one number's business token. Only its owner may read it.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile(PathBuf);

impl TokenFile {
    /// This one.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a token can be kept there: found out before a code is spent on one that cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.open().map(drop)?;
        std::fs::remove_file(self.next()).map_err(|e| self.fault(&e))
    }

    /// The token that is there.
    pub(crate) fn held(&self) -> Option<Secret> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        Some(text.trim_end()).filter(|text| !text.is_empty()).map(Secret::new)
    }

    /// Keeps a token: whole, or what was there before.
    pub(crate) fn keep(&self, token: &Secret) -> Result<(), String> {
        let mut file = self.open()?;
        let written = file.write_all(token.expose().as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
        written.and_then(|()| std::fs::rename(self.next(), &self.0)).map_err(|e| self.fault(&e))
    }

    /// The file that takes its place.
    fn next(&self) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(".new");
        name.into()
    }

    fn open(&self) -> Result<File, String> {
        let next = self.next();
        // Left by a process that died; its mode is not ours to trust.
        let _ = std::fs::remove_file(&next);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(next).map_err(|e| self.fault(&e))
    }

    fn fault(&self, e: &std::io::Error) -> String {
        format!("{} cannot be written: {e}", self.0.display())
    }
}

/// Carries it out. Returns what came of each step, the last of which may have failed.
pub(crate) async fn run(graph: &GraphClient, signup: &Signup, source: &TokenSource) -> Vec<Done> {
    let mut done = Vec::new();
    let mut token = None;
    for step in Step::ALL {
        let outcome = match (step, source) {
            (Step::Exchange, TokenSource::Kept(kept)) => {
                token = Some(kept.clone());
                Ok("left out: the token of an earlier sign-up is kept")
            }
            (Step::Exchange, TokenSource::Code { app_secret, code, file }) => match exchange(graph, signup, app_secret, code, file).await {
                Ok(fresh) => {
                    token = Some(fresh);
                    Ok("")
                }
                Err(verdict) => Err(verdict),
            },
            (Step::Register, _) if signup.pin.is_none() => Ok("left out: no pin"),
            _ => carry_out(graph, signup, step, token.as_ref()).await.map(|()| ""),
        };
        match outcome {
            Ok(note) => done.push(Done { step, failure: None, note: note.into() }),
            Err(verdict) => {
                done.push(Done { step, failure: Some(explain(step, verdict)), note: String::new() });
                break;
            }
        }
    }
    done
}

async fn exchange(graph: &GraphClient, signup: &Signup, app_secret: &Secret, code: &Secret, file: &TokenFile) -> Result<Secret, Verdict> {
    let query = [("client_id", signup.app_id.as_str()), ("client_secret", app_secret.expose()), ("code", code.expose())];
    let body = graph.request("oauth", (Method::GET, "oauth/access_token"), &query, None, None).await?;
    let text = body.get("access_token").and_then(Value::as_str).filter(|t| !t.is_empty());
    let token = Secret::new(text.ok_or_else(|| Verdict::of_lost("oauth"))?);
    let (file, kept) = (file.clone(), token.clone());
    // The disk may be slow, and calls are answered by this thread.
    let outcome = tokio::task::spawn_blocking(move || file.keep(&kept)).await;
    outcome.unwrap_or_else(|_| Err("the disk was not asked".into())).map_err(|why| {
        let advice = "the token is lost and the code is spent: make room for it, then let the customer go through the dialog again";
        let mut verdict = Verdict::fixed("TOKEN_NOT_KEPT", "the business token could not be written to its file", advice);
        verdict.evidence.push(("details", why));
        verdict
    })?;
    Ok(token)
}

async fn carry_out(graph: &GraphClient, signup: &Signup, step: Step, token: Option<&Secret>) -> Result<(), Verdict> {
    let (waba, number) = (format!("{}/subscribed_apps", signup.waba_id), &signup.phone_number_id);
    let settings_path = format!("{number}/settings");
    match step {
        Step::Exchange => Ok(()),
        Step::Subscribe => graph.request("subscribed_apps", (Method::POST, &waba), &[], token, Some(&json!({}))).await.map(drop),
        Step::Subscribed => {
            let body = graph.request("subscribed_apps", (Method::GET, &waba), &[], token, None).await?;
            if signup.is_subscribed(&body) {
                return Ok(());
            }
            Err(Verdict::fixed("APP_NOT_SUBSCRIBED", "Meta took the subscription, but does not list our app", "subscribe again"))
        }
        Step::Register => {
            let body = json!({ "messaging_product": "whatsapp", "pin": signup.pin.as_ref().map(Secret::expose) });
            graph.request("register", (Method::POST, &format!("{number}/register")), &[], token, Some(&body)).await.map(drop)
        }
        Step::Settings => {
            let body = json!({ "calling": signup.wanted() });
            graph.request("settings", (Method::POST, &settings_path), &[], token, Some(&body)).await.map(drop)
        }
        Step::ReadBack => {
            let body = graph.request("settings", (Method::GET, &settings_path), &[], token, None).await?;
            let left = settings::differences(&signup.wanted(), body.get("calling").unwrap_or(&Value::Null));
            match left.first() {
                None => Ok(()),
                Some(first) => {
                    let advice = "set them again: tipring settings set, or POST /v1/numbers/{id}/settings";
                    let mut verdict = Verdict::fixed("SETTINGS_DIFFER", "Meta has other settings than were written", advice);
                    verdict.evidence.push(("details", first.to_string()));
                    Err(verdict)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_kept_whole_for_its_owner_only_and_replaced() {
        let directory = std::env::temp_dir().join(format!("tipring-token-file-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = TokenFile::at(directory.join("106.token"));
        assert!(file.held().is_none() && file.check() == Ok(()));
        // What a process that died has left is no obstacle, and its mode does not count.
        std::fs::write(file.next(), "half").unwrap();
        for token in ["the first", "the second"] {
            file.keep(&Secret::new(token)).unwrap();
            assert_eq!(file.held().unwrap().expose(), token);
            assert_eq!(file.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!file.next().exists());
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(file.check().unwrap_err().contains("106.token cannot be written") && file.keep(&Secret::new("x")).is_err());
    }
}
