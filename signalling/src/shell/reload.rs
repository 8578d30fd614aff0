//! Changes while the daemon runs: a new configuration, a number added, changed or removed.
//!
//! Decides: what of a configuration can be taken over at once, and in which order: first what a change needs (sound files), then the table that everybody reads. Refuses: to
//! touch a running call, and half a change: what cannot be taken over is named, and waits for a restart.

use super::bridges::Bridges;
use super::control_task::HostCommand;
use super::store::Store;
use super::tenants::{NotChanged, Tenants};
use crate::config::{Config, NumberConfig};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What changes need; shared by whoever may ask for one.
pub(crate) struct Reloader {
    pub(crate) tenants: Arc<Tenants>,
    pub(super) bridges: Arc<Bridges>,
    pub(super) store: Arc<Store>,
    pub(super) host: mpsc::Sender<HostCommand>,
    /// What the daemon started with.
    pub(crate) started: Config,
}

impl Reloader {
    /// Takes over apps, secrets and numbers. Returns the sections that differ and need a restart.
    pub(crate) fn reload(&self, config: &Config) -> Result<Vec<&'static str>, String> {
        for number in &config.numbers {
            self.bridges.load(&number.bridge)?;
        }
        self.tenants.reload(config);
        self.tell();
        let waiting = self.needs_restart(config);
        tracing::info!(numbers = config.numbers.len(), apps = config.apps.len(), ?waiting, "configuration reloaded");
        Ok(waiting)
    }

    /// Adds or changes a number and keeps it for the next start; `text` is its section. Returns whether it is new.
    pub(crate) async fn put(&self, number: NumberConfig, text: &str) -> Result<Result<bool, NotChanged>, String> {
        self.bridges.load(&number.bridge)?;
        let id = number.phone_number_id.clone();
        let outcome = self.tenants.put(number);
        if outcome.is_ok() {
            self.tell();
            self.store.put_number(&id, Some(text)).await?;
            tracing::info!(number = id, "number put by the API");
        }
        Ok(outcome)
    }

    /// Removes a number that the API has added.
    pub(crate) async fn remove(&self, id: &str) -> Result<Result<(), NotChanged>, String> {
        let outcome = self.tenants.remove(id);
        if outcome.is_ok() {
            self.tell();
            self.store.put_number(id, None).await?;
            tracing::info!(number = id, "number removed by the API");
        }
        Ok(outcome)
    }

    /// The session machine keeps a copy of how numbers are keyed.
    fn tell(&self) {
        // A full queue: the control task looks again with the next change, and with each settings webhook.
        if self.host.try_send(HostCommand::Tenants).is_err() {
            tracing::warn!("the control task is busy: new keying of numbers is taken over with the next change");
        }
    }

    fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let old = &self.started;
        // `Debug` shows no secret, so a secret that changed there is not seen: docs/CONFIG.md says so.
        let differs = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| format!("{a:?}") != format!("{b:?}");
        let queue = |c: &Config| c.webhook.as_ref().map(|w| w.queue_max);
        [
            ("http", differs(&old.http, &new.http)),
            ("engine", differs(&old.engine, &new.engine) || old.drain_max != new.drain_max),
            ("graph", differs(&old.graph, &new.graph)),
            ("webhook.queue_max", queue(old) != queue(new)),
            ("direct", differs(&old.direct, &new.direct)),
            ("api", differs(&old.api, &new.api)),
            ("prompt", old.prompts != new.prompts),
            ("cdr", differs(&old.cdr, &new.cdr)),
            ("store", old.store != new.store),
            ("record", old.record != new.record),
            ("outbound", differs(&old.outbound, &new.outbound)),
            ("log", old.log != new.log),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}
