//! Spreads events to everybody who listens: WebSocket clients and webhooks.
//!
//! Decides: what a listener that comes late may still have. Refuses: to wait for a slow one: it is told that it missed something.

use super::book::ApiEvent;
use crate::shell::Receipt;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::broadcast;

/// The stream of one daemon.
pub(crate) struct EventHub {
    run: String,
    recent: Mutex<VecDeque<ApiEvent>>,
    live: broadcast::Sender<ApiEvent>,
    /// The same for webhooks, which deliver: these hold what they tell of.
    hooks: broadcast::Sender<ApiEvent>,
}

/// What a new listener gets.
pub(super) struct Subscription {
    /// Events it asked for that have happened already, oldest first.
    pub(super) past: Vec<ApiEvent>,
    /// Whether some of those it asked for are forgotten.
    pub(super) has_gap: bool,
    /// Those to come.
    pub(super) live: broadcast::Receiver<ApiEvent>,
}

impl EventHub {
    /// The hub of the run that [`super::Book::run`] names.
    pub(crate) fn new(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            recent: Mutex::default(),
            live: broadcast::channel(LISTENER_EVENTS_MAX).0,
            hooks: broadcast::channel(LISTENER_EVENTS_MAX).0,
        }
    }

    /// Tells everybody.
    pub(crate) fn publish(&self, mut event: ApiEvent) {
        // Nobody to deliver to is fine: then it has been told.
        let _ = self.hooks.send(event.clone());
        event.receipt = Receipt::default();
        let mut recent = self.lock();
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(event.clone());
        // Nobody listening is fine.
        let _ = self.live.send(event);
    }

    /// What is to be delivered, from now on.
    pub(super) fn deliveries(&self) -> broadcast::Receiver<ApiEvent> {
        self.hooks.subscribe()
    }

    /// Listens from now on, or from the event after `after` (an event id) on.
    pub(super) fn subscribe(&self, after: Option<&str>) -> Subscription {
        // Under the lock nothing is published: nothing is missed and nothing comes twice.
        let recent = self.lock();
        let live = self.live.subscribe();
        let Some(after) = after else { return Subscription { past: Vec::new(), has_gap: false, live } };
        let number = after.strip_prefix(self.run.as_str()).and_then(|rest| rest.strip_prefix('-')).and_then(|n| n.parse::<u64>().ok());
        // An id of another run, or none of ours: all that is known, and the hint that there was more.
        let first = number.map_or(0, |n| n.saturating_add(1));
        let past: Vec<_> = recent.iter().filter(|event| event.number >= first).cloned().collect();
        let oldest = recent.front().map_or(1, |event| event.number);
        Subscription { past, has_gap: number.is_none() || first < oldest, live }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ApiEvent>> {
        // A panic while the lock was held is a bug elsewhere; a queue of events has no half-made state.
        self.recent.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Events kept for listeners that come back.
const RECENT_MAX: usize = 4_096;
/// Events that a slow listener may be behind; then it has missed some and is told so.
const LISTENER_EVENTS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> ApiEvent {
        ApiEvent { number, call: None, kind: "test", json: "{}".into(), receipt: Receipt::default() }
    }

    fn numbers(events: &[ApiEvent]) -> Vec<u64> {
        events.iter().map(|e| e.number).collect()
    }

    #[test]
    fn a_listener_that_comes_back_has_what_it_missed_and_nothing_twice() {
        let hub = EventHub::new("aaaa");
        for n in 1..=5 {
            hub.publish(event(n));
        }
        let mut sub = hub.subscribe(Some("aaaa-3"));
        assert_eq!((numbers(&sub.past), sub.has_gap), (vec![4, 5], false));
        hub.publish(event(6));
        assert_eq!(sub.live.try_recv().map(|e| e.number), Ok(6));
        assert!(hub.subscribe(None).past.is_empty());
    }

    #[test]
    fn what_is_forgotten_is_told() {
        let hub = EventHub::new("aaaa");
        for n in 1..=RECENT_MAX as u64 + 10 {
            hub.publish(event(n));
        }
        let sub = hub.subscribe(Some("aaaa-3"));
        assert!(sub.has_gap);
        assert_eq!(sub.past.len(), RECENT_MAX);
        let other_run = hub.subscribe(Some("bbbb-3"));
        assert!(other_run.has_gap && other_run.past.len() == RECENT_MAX);
    }
}
