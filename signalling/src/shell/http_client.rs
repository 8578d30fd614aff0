//! Requests to Meta's Graph API.
//!
//! Decides: time limits and how a transport failure reads: never sent, or lost. Given: a typed action. Refuses: retries (the session machine decides) and redirects
//! (the access token goes to one host only).

use super::tenants::Tenants;
use crate::config::{GraphConfig, Secret, check_base_url};
use crate::graph::permission::{self, Permission};
use crate::graph::settings::{self, Changed, Difference};
use crate::graph::{GraphAction, GraphOutcome, json};
use crate::session::Personal;
use crate::verdict::Verdict;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The client. One per daemon.
pub(crate) struct GraphClient {
    http: reqwest::Client,
    base: String,
    tenants: Arc<Tenants>,
    in_flight: Semaphore,
    timeout: Duration,
}

impl GraphClient {
    /// Prepares TLS and the pool. Tokens are those of the number at the time of each request, so that they can be rotated.
    pub(crate) fn new(config: &GraphConfig, tenants: Arc<Tenants>) -> Result<Self, String> {
        let base = check_base_url(&config.base_url).map_err(|what| format!("graph.base_url {what}"))?;
        let plain = base.starts_with("http://");
        let mut builder = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(config.connect_timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(!plain);
        if plain {
            // Loopback: a proxy from the environment would carry the token elsewhere.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| format!("the HTTPS client does not start: {e}"))?;
        let base = format!("{base}/{}", config.version);
        Ok(Self { http, base, tenants, in_flight: Semaphore::new(config.in_flight_max), timeout: config.timeout })
    }

    /// Posts one action. Never fails: what went wrong is part of the outcome.
    pub(super) async fn post(&self, phone_number_id: &str, action: &GraphAction) -> GraphOutcome {
        let Some(token) = self.tenants.now().token(phone_number_id).cloned() else { return GraphOutcome::NotSent };
        let Ok(Ok(_permit)) = tokio::time::timeout(self.timeout, self.in_flight.acquire()).await else { return GraphOutcome::NotSent };
        let sent = self
            .http
            .post(format!("{}/{phone_number_id}/calls", self.base))
            .bearer_auth(token.expose())
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(json::body(action))
            .send()
            .await;
        let mut response = match sent {
            Ok(response) => response,
            Err(e) => {
                let never_sent = e.is_connect() || e.is_builder();
                tracing::warn!(action = action.name(), never_sent, error = %e.without_url(), "Graph request failed");
                return if never_sent { GraphOutcome::NotSent } else { GraphOutcome::Lost };
            }
        };
        let status = response.status().as_u16();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= REPLY_BYTES_MAX => body.extend_from_slice(&chunk),
                Ok(None) => return json::read_reply(status, &body),
                Ok(Some(_)) | Err(_) => return GraphOutcome::Lost,
            }
        }
    }

    /// Whether a user may be called from a number.
    pub(crate) async fn permission(
        &self,
        number: &str,
        to: Option<&Personal>,
        recipient: Option<&Personal>,
    ) -> Result<Permission, Verdict> {
        let query = match (to, recipient) {
            (Some(to), _) => ("user_wa_id", to.reveal()),
            (None, Some(recipient)) => ("recipient", recipient.reveal()),
            (None, None) => ("user_wa_id", ""),
        };
        let url = reqwest::Url::parse_with_params(&format!("{}/{number}/call_permissions", self.base), [query]);
        let request = self.http.get(url.map_err(|_| Verdict::of_lost("call_permissions"))?);
        let body = self.ask("call_permissions", number, request).await?;
        Permission::read(&body).ok_or_else(|| Verdict::of_lost("call_permissions"))
    }

    /// What time it is at Graph, in seconds since 1970, by the header of any answer.
    pub(crate) async fn date(&self) -> Option<i64> {
        let response = self.http.get(&self.base).send().await.ok()?;
        http_date(response.headers().get(reqwest::header::DATE)?.to_str().ok()?)
    }

    /// The `calling` object of a number's settings.
    pub(crate) async fn settings(&self, number: &str) -> Result<Value, Verdict> {
        let request = self.http.get(format!("{}/{number}/settings", self.base));
        let body = self.ask("settings", number, request).await?;
        Ok(settings::without_secrets(body.get("calling").cloned().unwrap_or_else(|| serde_json::json!({}))))
    }

    /// Changes some members of a number's settings and leaves the others: what was otherwise before, and what is afterwards. What is as wanted already is not written.
    pub(crate) async fn change_settings(&self, number: &str, wanted: &Value, dry_run: bool) -> Result<Changed, Verdict> {
        let before = self.settings(number).await?;
        let changes = settings::differences(wanted, &before);
        let (calling, left) = if dry_run || changes.is_empty() { (before, Vec::new()) } else { self.set_settings(number, wanted).await? };
        Ok(Changed { changes, dry_run, left, calling })
    }

    /// Writes settings and reads them back: what Meta has then, and what of `wanted` is not so. What Meta is known to reset on the way is written once more.
    async fn set_settings(&self, number: &str, wanted: &Value) -> Result<(Value, Vec<Difference>), Verdict> {
        let current = self.settings(number).await?;
        self.post_settings(number, &settings::merge(&current, wanted)).await?;
        let got = self.settings(number).await?;
        let left = settings::differences(wanted, &got);
        // A `POST` with SIP servers was seen to reset the keying to DTLS (6.7): said last and alone it stays.
        let keying = left.iter().find(|d| d.path == "srtp_key_exchange_protocol").map(|d| d.wanted.clone()).or_else(|| {
            let kept = settings::differences(
                &serde_json::json!({ "srtp_key_exchange_protocol": current.get("srtp_key_exchange_protocol")? }),
                &got,
            );
            kept.first().filter(|_| wanted.get("srtp_key_exchange_protocol").is_none()).map(|d| d.wanted.clone())
        });
        let Some(keying) = keying else { return Ok((got, left)) };
        self.post_settings(number, &serde_json::json!({ "srtp_key_exchange_protocol": keying })).await?;
        let got = self.settings(number).await?;
        let left = settings::differences(wanted, &got);
        Ok((got, left))
    }

    async fn post_settings(&self, number: &str, calling: &Value) -> Result<(), Verdict> {
        let request = self
            .http
            .post(format!("{}/{number}/settings", self.base))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(serde_json::json!({ "calling": calling }).to_string());
        self.ask("settings", number, request).await.map(drop)
    }

    /// Asks a user for the permission to be called. Returns the id of the message.
    pub(crate) async fn ask_permission(
        &self,
        number: &str,
        to: Option<&Personal>,
        recipient: Option<&Personal>,
        text: Option<&str>,
    ) -> Result<Option<String>, Verdict> {
        let request = self
            .http
            .post(format!("{}/{number}/messages", self.base))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(permission::request_body(to, recipient, text).to_string());
        let body = self.ask("messages", number, request).await?;
        Ok(body.pointer("/messages/0/id").and_then(Value::as_str).map(str::to_owned))
    }

    /// Sends a request that is not about a running call. What went wrong is a verdict for whoever asked.
    async fn ask(&self, what: &'static str, number: &str, request: reqwest::RequestBuilder) -> Result<Value, Verdict> {
        let token = self.tenants.now().token(number).cloned().ok_or_else(|| Verdict::of_lost(what))?;
        self.send(what, request.bearer_auth(token.expose())).await
    }

    /// A request to a path below the version, with a token that is not a configured number's, or with none.
    pub(crate) async fn request(
        &self,
        what: &'static str,
        (method, path): (reqwest::Method, &str),
        query: &[(&str, &str)],
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Result<Value, Verdict> {
        let url = reqwest::Url::parse_with_params(&format!("{}/{path}", self.base), query).map_err(|_| Verdict::of_lost(what))?;
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        self.send(what, request).await
    }

    async fn send(&self, what: &'static str, request: reqwest::RequestBuilder) -> Result<Value, Verdict> {
        let lost = || Verdict::of_lost(what);
        let _permit = tokio::time::timeout(self.timeout, self.in_flight.acquire()).await.ok().and_then(Result::ok).ok_or_else(lost)?;
        let mut response = request.send().await.map_err(|e| {
            tracing::warn!(what, error = %e.without_url(), "Graph request failed");
            lost()
        })?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| lost())? {
            if body.len() + chunk.len() > REPLY_BYTES_MAX {
                return Err(lost());
            }
            body.extend_from_slice(&chunk);
        }
        json::read_answer(status, &body).map_err(|error| Verdict::of_graph(what, &error))
    }
}

/// `Mon, 23 Nov 2026 08:17:49 GMT` (RFC 9110 section 5.6.7) as seconds since 1970.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = words.as_slice() else { return None };
    let number = |word: &str| word.parse::<i64>().ok().filter(|n| (0..10_000).contains(n));
    let month = MONTHS.iter().position(|m| m == month)? as i64;
    // Days since 1970 by counting from March, when leap days are last.
    let (year, month) = (number(year)? - i64::from(month < 2), (month + 10) % 12);
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + number(day)? - 1 - 719_468;
    Some(days * 86_400 + number(hour)? * 3_600 + number(minute)? * 60 + number(second)?)
}

/// Longest reply read, in bytes.
const REPLY_BYTES_MAX: usize = 256 * 1_024;
/// Idle connections kept warm: the round trip is inside the ring time (2.1).
const IDLE_CONNECTIONS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        assert_eq!(http_date("yesterday"), None);
    }
}
