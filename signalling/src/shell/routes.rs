//! Paths of the public listener: the webhook, health, metrics.
//!
//! Decides: what Meta is answered, before anything is parsed. Given: requests. Refuses: to act on a call: verified bytes go into a bounded queue.

use super::audit::{Audit, Origin};
use super::http_server::{BodyError, Reply, Service, method_not_allowed, query_pairs, read_body, text, typed};
use super::intake::Intake;
use super::metrics::Metrics;
use super::observe::{DaemonEvent, Watch, WebhookResult, unix_ms, unix_s};
use super::store::KeptDelivery;
use super::tenants::{Table, Tenants};
use super::tls::Certificate;
use crate::webhook::{envelope, signature};
use bytes::Bytes;
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
    /// Memory of bodies that are proven, or that the other listeners read.
    pub(super) bodies: Arc<Semaphore>,
    /// Memory of bodies that nobody has proven yet.
    pub(super) unproven: Arc<Semaphore>,
    pub(super) read_timeout: Duration,
    /// A proxy in front of us says whom it serves.
    pub(super) is_behind_proxy: bool,
    /// What the listener shows, if it speaks TLS itself.
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) audit: Audit,
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
                    self.told(WebhookResult::WrongMethod, Origin::of(&request, self.is_behind_proxy), 0, None);
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
                if let Some(left) = self.certificate_left_s() {
                    body.push_str(&format!("# TYPE tipring_certificate_left_seconds gauge\ntipring_certificate_left_seconds {left}\n"));
                }
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
        if self.certificate_left_s().is_some_and(|left| left <= 0) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the certificate has ended\n");
        }
        text(StatusCode::OK, "ok\n")
    }

    async fn deliver(&self, table: &Table, request: Request<Incoming>) -> Reply {
        let origin = Origin::of(&request, self.is_behind_proxy);
        let (result, body) = self.take(table, request).await;
        self.told(result, origin, body.as_ref().map_or(0, Bytes::len), body.as_ref());
        let status = StatusCode::from_u16(result.status()).expect("the table holds valid statuses");
        text(status, format!("{}\n", result.label()))
    }

    /// Counts what became of a delivery, and tells of it.
    fn told(&self, result: WebhookResult, origin: Origin, bytes: usize, body: Option<&Bytes>) {
        self.metrics.webhook(result);
        self.watch.tell(DaemonEvent::WebhookIn { result, bytes });
        if result != WebhookResult::Taken {
            self.audit.refused(result, origin, bytes, body, self.watch.now());
        }
    }

    /// How long the certificate is still good for, in seconds; negative: it has ended.
    fn certificate_left_s(&self) -> Option<i64> {
        self.certificate.as_ref().and_then(|certificate| certificate.end_unix_s()).map(|end| end - unix_s())
    }

    /// What becomes of a delivery, and its body if that was read.
    //= rules#G11
    async fn take(&self, table: &Table, request: Request<Incoming>) -> (WebhookResult, Option<Bytes>) {
        // Without the header nothing can be proven: the body is not even read.
        let Some(header) = request.headers().get("x-hub-signature-256").cloned() else { return (WebhookResult::SignatureMissing, None) };
        let content_type =
            request.headers().get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or("application/json").to_owned();
        let path = request.uri().path().to_owned();
        let body = match read_body(request.into_body(), envelope::BODY_BYTES_MAX, self.read_timeout, &self.unproven).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => return (WebhookResult::TooLarge, None),
            Err(BodyError::TooSlow) => return (WebhookResult::TooSlow, None),
            Err(BodyError::NoMemory) => return (WebhookResult::QueueFull, None),
            Err(BodyError::Broken) => return (WebhookResult::Broken, None),
        };
        let bytes = body.bytes.clone();
        //= meta#R-14  any of the apps on this URL may have signed, each with its new secret or its old one
        let secrets = table.apps_at(&path).flat_map(|app| app.app_secrets.iter().map(move |s| (app, s.expose().as_bytes())));
        let (apps, secrets): (Vec<_>, Vec<_>) = secrets.unzip();
        // A header that is not text cannot be a signature; it must not read as a missing one.
        let header = header.to_str().unwrap_or("not text");
        //= meta#R-45  over the raw bytes, before anything is parsed
        let result = match signature::verify(&body.bytes, Some(header), &secrets) {
            //= meta#R-38  the queue, then the answer; what it means comes later
            Ok(index) => {
                // Proven: it may wait longer than a stranger's, so its memory is accounted elsewhere.
                let Ok(budget) = Arc::clone(&self.bodies).try_acquire_many_owned(bytes.len() as u32) else {
                    return (WebhookResult::QueueFull, Some(bytes));
                };
                drop(body.budget);
                let kept = KeptDelivery {
                    app: apps[index].name.clone(),
                    signature: header.to_owned(),
                    content_type,
                    at_unix_ms: unix_ms(),
                    body: body.bytes,
                };
                self.intake.take(kept, Some(budget)).await
            }
            Err(signature::SignatureError::Missing) => WebhookResult::SignatureMissing,
            Err(signature::SignatureError::Malformed) => WebhookResult::SignatureMalformed,
            Err(signature::SignatureError::NoSecret | signature::SignatureError::Mismatch) => WebhookResult::SignatureWrong,
        };
        (result, Some(bytes))
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
/// Memory of all proven bodies that wait, in bytes: 16 of the largest, or some 24 000 usual ones.
pub(super) const BODIES_BYTES_MAX: usize = 48 * 1_024 * 1_024;
/// Memory of all bodies that are read and not yet proven, in bytes: five of the largest. A stranger can hold so much, for `http.read_timeout_ms`, and takes nothing from
/// bodies that wait.
pub(super) const UNPROVEN_BYTES_MAX: usize = 16 * 1_024 * 1_024;
