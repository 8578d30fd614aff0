//! Paths of the public listener: the webhook, health, metrics.
//!
//! Decides: what Meta is answered, before anything is parsed. Given: requests. Refuses: to act on a call: verified bytes go into a bounded queue.

use super::http_server::{BodyError, Reply, Service, method_not_allowed, query_pairs, read_body, text, typed};
use super::intake::Intake;
use super::metrics::Metrics;
use super::observe::{DaemonEvent, Watch, WebhookResult, unix_ms};
use super::store::KeptDelivery;
use super::tenants::{Table, Tenants};
use crate::webhook::{envelope, signature};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, header};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

#[cfg(test)]
mod tests;

/// What the public listener knows.
pub(super) struct Routes {
    /// Who is served; nobody when the daemon serves Direct mode only.
    pub(super) tenants: Arc<Tenants>,
    pub(super) intake: Intake,
    pub(super) bodies: Arc<Semaphore>,
    pub(super) read_timeout: Duration,
    /// Media calls that have not ended.
    pub(super) calls: Box<dyn Fn() -> usize + Send + Sync>,
    pub(super) calls_max: usize,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watch: Watch,
}

impl Service for Routes {
    async fn handle(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path();
        let table = self.tenants.now();
        if table.apps_at(path).next().is_some() {
            return match *request.method() {
                Method::GET => challenge(&table, path, request.uri().query().unwrap_or_default()),
                Method::POST => self.deliver(&table, request).await,
                _ => {
                    self.metrics.webhook(WebhookResult::WrongMethod);
                    self.watch.tell(DaemonEvent::WebhookIn { result: WebhookResult::WrongMethod, bytes: 0 });
                    method_not_allowed("GET, POST")
                }
            };
        }
        match path {
            "/livez" | "/readyz" | "/metrics" if request.method() != Method::GET => method_not_allowed("GET"),
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/metrics" => {
                let calls = (self.calls)();
                let mut body = self.metrics.snapshot().to_text(calls, self.draining.load(Ordering::Relaxed));
                body.push_str(&format!(
                    "# TYPE tipring_load_ratio gauge\ntipring_load_ratio {}\n# TYPE tipring_info gauge\ntipring_info{{version=\"{}\"}} 1\n",
                    calls as f64 / self.calls_max.max(1) as f64,
                    env!("CARGO_PKG_VERSION"),
                ));
                body.push_str(&self.metrics.figures_text());
                typed(StatusCode::OK, "text/plain; version=0.0.4", body)
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

impl Routes {
    fn ready(&self) -> Reply {
        if self.draining.load(Ordering::Relaxed) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        if (self.calls)() >= self.calls_max {
            return text(StatusCode::SERVICE_UNAVAILABLE, "every call slot is taken\n");
        }
        text(StatusCode::OK, "ok\n")
    }

    async fn deliver(&self, table: &Table, request: Request<Incoming>) -> Reply {
        let (result, bytes) = self.take(table, request).await;
        self.metrics.webhook(result);
        self.watch.tell(DaemonEvent::WebhookIn { result, bytes });
        if result != WebhookResult::Taken {
            // Level debug: an attacker chooses how often this happens (protocols.md 10, "toll of logs"); the counter tells the operator.
            tracing::debug!(result = result.label(), bytes, "webhook refused");
        }
        let status = StatusCode::from_u16(result.status()).expect("the table holds valid statuses");
        text(status, format!("{}\n", result.label()))
    }

    async fn take(&self, table: &Table, request: Request<Incoming>) -> (WebhookResult, usize) {
        // Without the header nothing can be proven: the body is not even read.
        let Some(header) = request.headers().get("x-hub-signature-256").cloned() else { return (WebhookResult::SignatureMissing, 0) };
        let content_type =
            request.headers().get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or("application/json").to_owned();
        let path = request.uri().path().to_owned();
        let body = match read_body(request.into_body(), envelope::BODY_BYTES_MAX, self.read_timeout, &self.bodies).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => return (WebhookResult::TooLarge, 0),
            Err(BodyError::TooSlow) => return (WebhookResult::TooSlow, 0),
            Err(BodyError::NoMemory) => return (WebhookResult::QueueFull, 0),
            Err(BodyError::Broken) => return (WebhookResult::Broken, 0),
        };
        let bytes = body.bytes.len();
        //= meta#R-14  any of the apps on this URL may have signed, each with its new secret or its old one
        let secrets = table.apps_at(&path).flat_map(|app| app.app_secrets.iter().map(move |s| (app, s.expose().as_bytes())));
        let (apps, secrets): (Vec<_>, Vec<_>) = secrets.unzip();
        // A header that is not text cannot be a signature; it must not read as a missing one.
        let header = header.to_str().unwrap_or("not text");
        //= meta#R-45  over the raw bytes, before anything is parsed
        let result = match signature::verify(&body.bytes, Some(header), &secrets) {
            //= meta#R-38  the queue, then the answer; what it means comes later
            Ok(index) => {
                let kept = KeptDelivery {
                    app: apps[index].name.clone(),
                    signature: header.to_owned(),
                    content_type,
                    at_unix_ms: unix_ms(),
                    body: body.bytes,
                };
                self.intake.take(kept, body.budget).await
            }
            Err(signature::SignatureError::Missing) => WebhookResult::SignatureMissing,
            Err(signature::SignatureError::Malformed) => WebhookResult::SignatureMalformed,
            Err(signature::SignatureError::NoSecret | signature::SignatureError::Mismatch) => WebhookResult::SignatureWrong,
        };
        (result, bytes)
    }
}

/// Answers Meta's verification request: the raw text back, if the token is ours.
fn challenge(table: &Table, path: &str, query: &str) -> Reply {
    let (mut mode, mut token, mut challenge) = (None, None, None);
    for (name, value) in query_pairs(query) {
        match name.as_str() {
            "hub.mode" => mode = Some(value),
            "hub.verify_token" => token = Some(value),
            "hub.challenge" => challenge = Some(value),
            _ => {}
        }
    }
    // Every app is compared, so that time does not tell which one was close.
    let known = token.is_some_and(|t| table.apps_at(path).fold(false, |known, app| app.verify_token.matches(t.as_bytes()) | known));
    match challenge {
        Some(back) if known && mode.as_deref() == Some("subscribe") && back.len() <= CHALLENGE_BYTES_MAX => text(StatusCode::OK, back),
        _ => text(StatusCode::FORBIDDEN, "verification refused: hub.mode, hub.verify_token or hub.challenge is missing or wrong\n"),
    }
}

/// Longest challenge echoed, in bytes. Meta's has ten digits.
const CHALLENGE_BYTES_MAX: usize = 256;
/// Memory of all bodies being read or waiting, in bytes: 21 of the largest, or some 30 000 usual ones.
pub(super) const BODIES_BYTES_MAX: usize = 64 * 1_024 * 1_024;
