//! Requests to Meta's Graph API.
//!
//! Decides: time limits and how a transport failure reads: never sent, or lost. Given: a typed action. Refuses: retries (the session machine decides) and redirects
//! (the access token goes to one host only).

use crate::config::{GraphConfig, Secret, check_base_url};
use crate::graph::{GraphAction, GraphOutcome, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The client. One per daemon.
pub(super) struct GraphClient {
    http: reqwest::Client,
    base: String,
    tokens: HashMap<Arc<str>, Secret>,
    in_flight: Semaphore,
    timeout: Duration,
}

impl GraphClient {
    /// Prepares TLS and the pool. `tokens` maps phone number id to access token.
    pub(super) fn new(config: &GraphConfig, tokens: HashMap<Arc<str>, Secret>) -> Result<Self, String> {
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
        Ok(Self { http, base, tokens, in_flight: Semaphore::new(config.in_flight_max), timeout: config.timeout })
    }

    /// Posts one action. Never fails: what went wrong is part of the outcome.
    pub(super) async fn post(&self, phone_number_id: &str, action: &GraphAction) -> GraphOutcome {
        let Some(token) = self.tokens.get(phone_number_id) else { return GraphOutcome::NotSent };
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
}

/// Longest reply read, in bytes.
const REPLY_BYTES_MAX: usize = 256 * 1_024;
/// Idle connections kept warm: the round trip is inside the ring time (2.1).
const IDLE_CONNECTIONS_MAX: usize = 8;
