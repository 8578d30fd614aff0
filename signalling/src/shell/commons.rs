//! What every interface that opens media calls works with: Direct mode, the native API and the `ng` listener.
//!
//! Decides: nothing. Given: the parts, once, by `run`. Refuses: what belongs to one interface alone.

use super::bridges::Bridges;
use super::http_server::{BodyError, ReadBody, read_body};
use super::metrics::Metrics;
use super::observe::Watch;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tipring_engine::engine::Engine;
use tokio::sync::Semaphore;

/// See above. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Commons {
    /// Whether recording is configured.
    pub(crate) records: bool,
    pub(crate) read_timeout: Duration,
    pub(crate) engine: Arc<Engine>,
    pub(crate) bridges: Arc<Bridges>,
    /// Bytes of bodies that may be in memory at a time, over all listeners.
    pub(crate) bodies: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) watch: Watch,
}

impl Commons {
    /// A request's body, within the bounds of this node and of `bytes_max`.
    pub(crate) async fn body(&self, body: Incoming, bytes_max: usize) -> Result<ReadBody, BodyError> {
        read_body(body, bytes_max, self.read_timeout, &self.bodies).await
    }
}
