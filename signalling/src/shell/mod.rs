//! All asynchronous input and output of the daemon: HTTP in and out, TLS, timers, and the threads around the engine.
//!
//! Decides: nothing about calls (`session` does) and nothing about media (the engine does). Refuses: to wait for the engine, or without bound for anybody.

mod api_task;
mod audio_peers;
mod audit;
mod bridges;
mod cdr;
mod commons;
mod control_task;
mod figures;
mod forward;
mod http_client;
pub(crate) mod http_server;
mod intake;
mod media_table;
mod metrics;
mod ng;
mod observe;
mod recorder;
mod reload;
mod routes;
mod run;
mod signup;
mod store;
mod tenants;
mod tls;

pub use metrics::{AudioResult, ForwardResult, HookResult, Metrics, MetricsSnapshot};
pub use observe::{CallRef, DaemonEvent, Observed, Observer, WebhookResult};
pub use run::{Daemon, DaemonError, DaemonHandle};

use crate::config::{Config, Fault};

/// What a configuration names on disk and cannot be used: certificates, trust and WAV files.
pub fn preflight(config: &Config) -> Vec<Fault> {
    let fault =
        |what: String| Fault { path: String::new(), line: None, what, fix: "correct the file, or the path in the configuration".into() };
    let tls = config.http.tls.as_ref().and_then(|paths| tls::Certificate::load(paths).err());
    let wavs = bridges::load_wavs(config).err();
    let audio = audio_peers::tls_configs(&config.audio_targets).err();
    tls.into_iter().chain(wavs).chain(audio).map(fault).collect()
}

/// Whether every WAV file that a bridge or prompt names can be played. The error is for an operator.
pub(crate) fn check_wavs(config: &Config) -> Result<(), String> {
    bridges::load_wavs(config).map(drop)
}

#[cfg(test)]
pub(crate) use bridges::Bridges;
pub(crate) use bridges::bridge_name;
pub(crate) use commons::Commons;
pub(crate) use control_task::HostCommand;
pub(crate) use http_client::GraphClient;
#[cfg(test)]
pub(crate) use observe::Watch;
pub(crate) use observe::unix_s as unix_now;
pub(crate) use reload::Reloader;
pub(crate) use signup::{TokenFile, TokenSource, run as sign_up};
pub(crate) use store::Receipt;
pub(crate) use tenants::{NotChanged, Tenants};
pub(crate) use tls::{certificate_end, random};
