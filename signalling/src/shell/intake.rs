//! From a proven body to the task that owns the calls, and to the customer where it holds something that is not ours.
//!
//! Decides: what is kept before it is answered 200, and what is answered when there is no room. Given: bodies whose signature was verified. Refuses: to act on a call, and to
//! let messages delay one: a full backlog of messages costs Meta a repetition, never a call.

use super::forward::{Forwarder, Parcel};
use super::observe::WebhookResult;
use super::store::{KeptDelivery, Receipt, Store};
use super::tenants::Tenants;
use crate::session::Event;
use crate::webhook::envelope;
use crate::webhook::intake::{Owner, Sorted, sort};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A verified delivery that waits for the control task. Holds its share of the memory budget until it is dropped.
pub(super) struct Delivery {
    /// What it says, and whose that is.
    pub(super) events: Vec<(Owner, Event)>,
    /// Taken by whoever deals with it.
    pub(super) receipt: Option<Receipt>,
    pub(super) _budget: Option<OwnedSemaphorePermit>,
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // Nobody took it: the daemon stops, and the next one will.
        if let Some(receipt) = self.receipt.take() {
            receipt.leave();
        }
    }
}

/// Where proven bodies go.
pub(super) struct Intake {
    pub(super) tenants: Arc<Tenants>,
    pub(super) store: Arc<Store>,
    pub(super) forwarder: Forwarder,
    pub(super) queue: mpsc::Sender<Delivery>,
}

/// A body that was read.
struct Read {
    sorted: Sorted,
    is_envelope: bool,
    forward_to: Option<Arc<str>>,
}

impl Intake {
    /// Keeps a delivery and hands it on. After [`WebhookResult::Taken`] nothing of it is lost.
    //= meta#R-13  a fast 200: what the events mean to a call comes later
    pub(super) async fn take(&self, kept: KeptDelivery, budget: Option<OwnedSemaphorePermit>) -> WebhookResult {
        let Read { sorted, is_envelope, forward_to } = self.read(&kept);
        // The place comes first: what is kept and then not queued would come again after a restart although Meta was told 503.
        let Ok(place) = self.queue.try_reserve() else { return WebhookResult::QueueFull };
        let is_over_full = forward_to.is_some() && !self.forwarder.has_room(kept.body.len());
        // Calls are told now; for the rest Meta is asked to come again, and knows calls apart by then. So nothing is kept either.
        let is_kept = !is_over_full && (forward_to.is_some() || sorted.events.iter().any(|(owner, event)| is_worth(*owner, event)));
        let receipt = if is_kept {
            match self.store.keep(&kept).await {
                Ok(receipt) => receipt,
                Err(_) => return WebhookResult::NotStored,
            }
        } else {
            Receipt::default()
        };
        if let Some(url) = forward_to.filter(|_| !is_over_full) {
            self.forward(&kept, url, receipt.clone());
        }
        place.send(Delivery { events: sorted.events, receipt: Some(receipt), _budget: budget });
        match (is_over_full, is_envelope) {
            (true, _) => WebhookResult::ForwardFull,
            (false, true) => WebhookResult::Taken,
            (false, false) => WebhookResult::Unreadable,
        }
    }

    /// Takes up what the process before this one was told and did not deal with.
    pub(super) fn resume(&self, kept: KeptDelivery, receipt: Receipt) -> Delivery {
        let Read { sorted, forward_to, .. } = self.read(&kept);
        if let Some(url) = forward_to {
            // Beyond the backlog as well: it was promised.
            self.forward(&kept, url, receipt.clone());
        }
        Delivery { events: sorted.events, receipt: Some(receipt), _budget: None }
    }

    //= meta#R-01  body and signature bytes unchanged
    fn forward(&self, kept: &KeptDelivery, url: Arc<str>, receipt: Receipt) {
        self.forwarder.send(Parcel {
            url,
            body: kept.body.clone(),
            signature: kept.signature.clone(),
            content_type: kept.content_type.clone(),
            receipt,
        });
    }

    fn read(&self, kept: &KeptDelivery) -> Read {
        let table = self.tenants.now();
        let (sorted, is_envelope) = match envelope::parse(&kept.body) {
            Ok(events) => (sort(events, |number| table.owner(number, &kept.app)), true),
            Err(e) => {
                tracing::warn!(error = %e, "a signed webhook cannot be read");
                // Whatever it is, it is not ours.
                (Sorted { events: Vec::new(), has_other: true }, false)
            }
        };
        let forward_to = table.app(&kept.app).and_then(|app| app.forward_other_to.as_deref()).filter(|_| sorted.has_other);
        Read { is_envelope, forward_to: forward_to.map(Arc::from), sorted }
    }
}

/// Whether anybody of ours would miss it.
fn is_worth(owner: Owner, event: &Event) -> bool {
    matches!(owner, Owner::Us | Owner::Observed) && !matches!(event, Event::NotCalls | Event::Other { .. })
}
