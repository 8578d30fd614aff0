//! `tipring serve`: the daemon in the foreground, logs on standard error, stop by signal.

use super::{EXIT_CONFIG, EXIT_FAILED, check};
use crate::config::LogConfig;
use crate::shell::{Daemon, DaemonEvent, DaemonHandle, Observed, WebhookResult};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tipring_engine::call::CallEvent;
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Configuration file (TOML; docs/CONFIG.md explains every key).
    #[arg(long, short, value_name = "FILE", env = "TIPRING_CONFIG")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(faults) => {
            check::report(&args.config, &faults);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if let Err(e) = start_logs(&config.log) {
        eprintln!("log.filter: {e}\n    fix: write for example \"info\" or \"tipring_signalling=debug\"");
        return ExitCode::from(EXIT_CONFIG);
    }
    let handle = match Daemon::start(config, Arc::new(log)) {
        Ok(handle) => handle,
        Err(e) => {
            tracing::error!("{e}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    tracing::info!(webhooks = %handle.webhook_addr(), direct = ?handle.direct_addr(), api = ?handle.api_addr(), "tipring runs");
    match wait(&handle, &args.config) {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(e) => {
            tracing::error!(error = %e, "signals cannot be watched");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// First SIGINT or SIGTERM drains, the second ends now. SIGHUP reads the certificate and the configuration again.
fn wait(handle: &DaemonHandle, config: &Path) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hangup = signal(SignalKind::hangup())?;
        let mut signals = 0;
        while !handle.is_finished() {
            let got = tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                _ = hangup.recv() => {
                    reload(handle, config);
                    false
                }
                () = tokio::time::sleep(Duration::from_millis(100)) => false,
            };
            if got {
                signals += 1;
                if signals == 1 {
                    tracing::info!(calls = handle.calls(), "stopping: no new calls; a second signal ends the running ones");
                    handle.drain();
                } else {
                    handle.stop_now();
                }
            }
        }
        Ok(())
    })
}

/// SIGHUP: what can be read anew is. What cannot be used is told, and what was there goes on: a configuration with a fault changes nothing.
fn reload(handle: &DaemonHandle, path: &Path) {
    match handle.reload_certificate() {
        Ok(()) => tracing::info!("certificate reloaded"),
        Err(e) => tracing::error!(error = %e, "the certificate was not exchanged"),
    }
    match check::load(path) {
        Ok(config) => {
            if let Err(e) = handle.reload(&config) {
                tracing::error!(error = %e, "the configuration was not reloaded");
            }
        }
        Err(faults) => {
            for fault in &faults {
                tracing::error!(
                    line = fault.line,
                    path = fault.path,
                    what = fault.what,
                    fix = fault.fix,
                    "the configuration was not reloaded"
                );
            }
        }
    }
}

fn start_logs(config: &LogConfig) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.filter).map_err(|e| e.to_string())?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A logger that an embedding process has set already stays.
    let _ = if config.json { logs.json().try_init() } else { logs.try_init() };
    Ok(())
}

/// One line per step of a call. Types of the events hide numbers, secrets and SDP in `Debug`.
fn log(seen: &Observed) {
    match &seen.event {
        DaemonEvent::WebhookIn { result: WebhookResult::Taken, bytes } => tracing::debug!(bytes, "webhook"),
        // Counted; logged at debug where it happened.
        DaemonEvent::WebhookIn { .. } => {}
        DaemonEvent::WebhookEvent { what, wacid } => tracing::info!(what, ?wacid, "webhook event"),
        DaemonEvent::GraphRequest { call, action } => tracing::debug!(call = call.0, action, "Graph request"),
        DaemonEvent::GraphReply { call, action, outcome, took } => {
            tracing::info!(call = call.0, action, ?outcome, took_ms = took.as_millis() as u64, "Graph reply");
        }
        DaemonEvent::MediaOpened { call } => tracing::info!(?call, "media opened"),
        // Digits may be a PIN: they go to the application, never to logs.
        DaemonEvent::Media { event: CallEvent::Digit(_), call } => tracing::debug!(?call, "digit"),
        DaemonEvent::Media { call, event: CallEvent::Ended(ended) } => {
            tracing::info!(?call, reason = ended.reason.code(), rtp_in = ended.stats.rtp_in, rtp_out = ended.stats.rtp_out, "media ended");
        }
        DaemonEvent::Media { call, event } => tracing::info!(?call, ?event, "media"),
        DaemonEvent::Notice { call, wacid, notice } => tracing::info!(call = call.0, ?wacid, ?notice, "call"),
        DaemonEvent::RecordingFinished { call, files, lost } => tracing::info!(?call, ?files, lost, "recording finished"),
        DaemonEvent::DigitsRefused { call, why } => tracing::warn!(call = call.0, %why, "digits refused"),
        DaemonEvent::RecordingFailed { call, why } => tracing::error!(?call, why, "recording failed"),
    }
}
