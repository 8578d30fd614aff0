//! Delivers events to the customer's URLs: signed, in order per call, retried with bounds.
//!
//! Decides: lanes, pauses, when an event is given up. Given: the hub, URLs, secrets. Refuses: to hold a call up, and to follow redirects (the body names people).

use super::book::ApiEvent;
use super::events::EventHub;
use super::stream::Filter;
use crate::config::HookConfig;
use crate::shell::{HookResult, Metrics};
use crate::webhook::signature;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

/// Every delivery of one daemon.
pub(crate) struct Hooks {
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Hooks {
    /// Starts the lanes of every hook. Must be called inside the runtime.
    pub(crate) fn start(configs: &[HookConfig], hub: &EventHub, metrics: &Arc<Metrics>) -> Result<Self, String> {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for config in configs {
            let mut builder = reqwest::Client::builder()
                .timeout(ATTEMPT_MAX)
                .connect_timeout(CONNECT_MAX)
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(LANES);
            if config.url.starts_with("http://") {
                // Loopback: a proxy from the environment would carry the events elsewhere.
                builder = builder.no_proxy();
            }
            let http = builder.build().map_err(|e| format!("the HTTPS client does not start: {e}"))?;
            let hook = Arc::new(Hook { http, config: config.clone(), metrics: Arc::clone(metrics) });
            let mut lanes = Vec::new();
            for _ in 0..LANES {
                let (tx, rx) = mpsc::channel(LANE_EVENTS_MAX);
                lanes.push(tx);
                tasks.push(tokio::spawn(lane(Arc::clone(&hook), rx, stopped.clone())));
            }
            tasks.push(tokio::spawn(sort(hook, hub.deliveries(), lanes, stopped.clone())));
        }
        Ok(Self { tasks, stop })
    }

    /// Lets what waits be delivered, for at most `patience`; then gives it up.
    pub(crate) async fn stop(self, patience: Duration) {
        // Without a hook nobody hears it.
        let _ = self.stop.send(true);
        let all = async {
            for task in self.tasks {
                // A panic there has been reported by its own task.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("some events could not be delivered before the stop");
        }
    }
}

struct Hook {
    http: reqwest::Client,
    config: HookConfig,
    metrics: Arc<Metrics>,
}

/// Puts each event into the lane of its call.
async fn sort(
    hook: Arc<Hook>,
    mut live: broadcast::Receiver<ApiEvent>,
    lanes: Vec<mpsc::Sender<ApiEvent>>,
    mut stop: watch::Receiver<bool>,
) {
    let filter = Filter { types: hook.config.types.clone(), call: None };
    loop {
        let event = tokio::select! {
            biased;
            event = live.recv() => event,
            _ = stop.wait_for(|s| *s) => return,
        };
        match event {
            Ok(event) if filter.wants(&event) => {
                let mut hasher = DefaultHasher::new();
                event.call.hash(&mut hasher);
                let lane = &lanes[(hasher.finish() % LANES as u64) as usize];
                if lane.try_send(event).is_err() {
                    hook.metrics.hook(HookResult::Dropped, 1);
                }
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                hook.metrics.hook(HookResult::Dropped, lost);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Delivers the events of some calls, one after the other.
async fn lane(hook: Arc<Hook>, mut events: mpsc::Receiver<ApiEvent>, mut stop: watch::Receiver<bool>) {
    while let Some(event) = events.recv().await {
        let mut pause = PAUSE_FIRST;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match attempt(&hook, &event).await {
                Attempt::Delivered => {
                    hook.metrics.hook(HookResult::Delivered, 1);
                    break;
                }
                Attempt::Refused(status) => {
                    hook.metrics.hook(HookResult::Failed, 1);
                    tracing::warn!(status, kind = event.kind, "an event was refused by its webhook");
                    break;
                }
                Attempt::Later(_) if attempts >= ATTEMPTS_MAX || *stop.borrow() => {
                    hook.metrics.hook(HookResult::Failed, 1);
                    tracing::warn!(attempts, kind = event.kind, "an event was given up");
                    break;
                }
                Attempt::Later(asked) => {
                    hook.metrics.hook(HookResult::Retried, 1);
                    let wait = asked.map_or(pause, |a| a.min(PAUSE_MAX));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        // One last try, then the daemon ends.
                        _ = stop.wait_for(|s| *s) => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }
}

enum Attempt {
    Delivered,
    /// It will never be taken.
    Refused(u16),
    /// Try again; after this pause if the receiver asked for one.
    Later(Option<Duration>),
}

async fn attempt(hook: &Hook, event: &ApiEvent) -> Attempt {
    let body = event.json.as_bytes();
    let sent = hook
        .http
        .post(&hook.config.url)
        .header(CONTENT_TYPE, "application/json")
        .header("X-Tipring-Signature", signature::sign(body, hook.config.secret.expose().as_bytes()))
        .body(body.to_vec())
        .send()
        .await;
    match sent {
        Ok(response) if response.status().is_success() => Attempt::Delivered,
        Ok(response) => {
            let status = response.status().as_u16();
            let asked =
                response.headers().get(RETRY_AFTER).and_then(|h| h.to_str().ok()).and_then(|t| t.parse().ok()).map(Duration::from_secs);
            if matches!(status, 408 | 425 | 429 | 500..) { Attempt::Later(asked) } else { Attempt::Refused(status) }
        }
        Err(_) => Attempt::Later(None),
    }
}

/// Lanes of one hook: a call always takes the same one.
const LANES: usize = 8;
/// Events that may wait in one lane.
const LANE_EVENTS_MAX: usize = 512;
/// Attempts for one event: with the pauses about two minutes.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(2);
