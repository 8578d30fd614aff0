//! Whose the events of one delivery are: ours to act on, ours to watch, or somebody else's.
//!
//! Given: events, the app that signed them, and who owns which number. Decides: what goes to the calls and whether the whole delivery goes to the customer as well (R-01,
//! Refuses: to take a body apart for that: it is forwarded as Meta sent it, or its signature would not hold.

use std::sync::Arc;

use crate::session::Event;

/// Whose the events of a number are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Owner {
    /// We act on them.
    Us,
    /// We tell the application and ask nothing of Graph.
    Observed,
    /// The number is ours, but it hears of its calls by another app: this copy is dropped.
    OtherApp,
    /// Not one of our numbers.
    Nobody,
}

/// One delivery, sorted.
#[derive(Debug, Default)]
pub struct Sorted {
    /// What to do with each event, in their order.
    pub events: Vec<(Owner, Event)>,
    /// Something in it is for somebody else: messages, or calls of a number that is not ours.
    pub has_other: bool,
}

/// Sorts the events of one delivery. `owner` is asked once per event that names a number; the others concern the whole app and are ours.
pub fn sort(events: Vec<Event>, owner: impl Fn(&str) -> Owner) -> Sorted {
    let mut sorted = Sorted::default();
    for event in events {
        let whose = number_of(&event).map_or(Owner::Us, |number| owner(&number));
        // What is told of a message field, such as a permission reply, is preceded by `NotCalls`.
        sorted.has_other |= matches!(event, Event::NotCalls) || whose == Owner::Nobody;
        sorted.events.push((whose, event));
    }
    sorted
}

/// The business number that an event names.
pub fn number_of(event: &Event) -> Option<Arc<str>> {
    match event {
        Event::Connect(c) => c.phone_number_id.clone(),
        Event::Terminate(t) => t.phone_number_id.clone(),
        Event::Status(s) => s.phone_number_id.clone(),
        Event::Errors { phone_number_id, .. } => phone_number_id.clone(),
        Event::Permission(p) => p.phone_number_id.clone(),
        Event::Carried(c) => c.phone_number_id.clone(),
        Event::Other { .. } | Event::NotCalls => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::envelope;
    use serde_json::json;

    fn call(number: &str) -> serde_json::Value {
        json!({ "field": "calls", "value": { "metadata": { "phone_number_id": number },
            "calls": [{ "id": format!("wacid.{number}"), "event": "terminate", "timestamp": "1" }] } })
    }

    fn sorted(changes: &[serde_json::Value]) -> Sorted {
        let body = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": changes }] }).to_string();
        sort(envelope::parse(body.as_bytes()).expect("an envelope"), |number| match number {
            "1" => Owner::Us,
            "2" => Owner::OtherApp,
            "3" => Owner::Observed,
            _ => Owner::Nobody,
        })
    }

    //= meta#R-12 type=test
    #[test]
    fn a_mixed_batch_is_acted_on_and_passed_on() {
        let message = json!({ "field": "messages", "value": { "messages": [{ "id": "wamid.1" }] } });
        let mixed = sorted(&[call("1"), message.clone(), call("2"), call("3"), call("9")]);
        let owners: Vec<Owner> = mixed.events.iter().map(|(owner, _)| *owner).collect();
        assert_eq!(owners, [Owner::Us, Owner::Us, Owner::OtherApp, Owner::Observed, Owner::Nobody]);
        assert!(mixed.has_other);
        assert!(!sorted(&[call("1"), call("2"), call("3")]).has_other, "calls of ours alone go nowhere else");
        assert!(sorted(&[call("9")]).has_other && sorted(&[message]).has_other);
        assert!(!sorted(&[]).has_other);
    }
}
