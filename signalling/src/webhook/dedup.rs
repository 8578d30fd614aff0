//! Each event acts once, and ended calls stay ended.
//!
//! Given: what identifies an event, and the time. Decides: first, repeated, or for a call that is over. Memory is bounded: the oldest entry goes
//! first, at the latest after its time to live. Refuses: staleness, which needs the wall clock (`session`).

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};

use tipring_engine::time::{Span, Time};

use crate::session::{Event, Wacid};

/// What makes two deliveries the same event: call id, event, status, timestamp (rule 16).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EventKey {
    /// The call.
    pub wacid: Wacid,
    /// A label of event and status.
    pub event: &'static str,
    /// Meta's timestamp.
    pub timestamp_unix_s: Option<i64>,
}

impl EventKey {
    /// The key of an event; `None` for events that belong to no call.
    pub fn of(event: &Event) -> Option<Self> {
        use crate::session::{CallStatusKind as Kind, TerminateStatus as Status};
        Some(match event {
            Event::Connect(connect) => Self { wacid: connect.wacid.clone(), event: "connect", timestamp_unix_s: connect.timestamp_unix_s },
            Event::Terminate(terminate) => {
                let event = match terminate.status {
                    Status::Completed => "terminate:completed",
                    Status::Failed => "terminate:failed",
                    Status::Other => "terminate",
                };
                Self { wacid: terminate.wacid.clone(), event, timestamp_unix_s: terminate.timestamp_unix_s }
            }
            Event::Status(status) => {
                let event = match status.status {
                    Kind::Ringing => "status:ringing",
                    Kind::Accepted => "status:accepted",
                    Kind::Rejected => "status:rejected",
                };
                Self { wacid: status.wacid.clone(), event, timestamp_unix_s: status.timestamp_unix_s }
            }
            Event::Errors { .. } | Event::Permission(_) | Event::Carried(_) | Event::Other { .. } | Event::NotCalls => return None,
        })
    }
}

/// A set that forgets: after `ttl`, or when full the oldest first. Entries are 64-bit keyed hashes, so ids of any length cost the same.
///
/// The hash is keyed by process, so nobody outside can make two ids collide; by chance it happens about once in 2^64 / entries.
pub struct Memory {
    hasher: RandomState,
    expiry_by_hash: HashMap<u64, Time>,
    oldest: VecDeque<(u64, Time)>,
    entries_max: usize,
    ttl: Span,
}

impl Memory {
    /// An empty one for at most `entries_max` entries, at least one.
    pub fn new(entries_max: usize, ttl: Span) -> Self {
        let entries_max = entries_max.max(1);
        Self { hasher: RandomState::new(), expiry_by_hash: HashMap::new(), oldest: VecDeque::new(), entries_max, ttl }
    }

    /// Adds `key`. Returns whether it was not known. A known key keeps its age.
    pub fn insert<K: Hash>(&mut self, key: &K, now: Time) -> bool {
        self.expire(now);
        let hash = self.hasher.hash_one(key);
        if self.expiry_by_hash.contains_key(&hash) {
            return false;
        }
        if self.oldest.len() == self.entries_max
            && let Some((oldest, _)) = self.oldest.pop_front()
        {
            self.expiry_by_hash.remove(&oldest);
        }
        self.expiry_by_hash.insert(hash, now + self.ttl);
        self.oldest.push_back((hash, now + self.ttl));
        true
    }

    /// Whether `key` is known.
    pub fn contains<K: Hash>(&self, key: &K, now: Time) -> bool {
        self.expiry_by_hash.get(&self.hasher.hash_one(key)).is_some_and(|&expiry| expiry > now)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.oldest.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.oldest.is_empty()
    }

    fn expire(&mut self, now: Time) {
        while let Some(&(hash, expiry)) = self.oldest.front()
            && expiry <= now
        {
            self.oldest.pop_front();
            self.expiry_by_hash.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_known_until_they_expire() {
        let mut memory = Memory::new(10, Span::from_secs(48 * 3_600));
        let hours = |h: u64| Time::ZERO + Span::from_secs(h * 3_600);
        assert!(memory.insert(&"a", hours(0)));
        assert!(!memory.insert(&"a", hours(47)));
        assert!(memory.contains(&"a", hours(47)) && !memory.contains(&"a", hours(48)) && !memory.contains(&"b", hours(0)));
        assert!(memory.insert(&"a", hours(48)), "the repetition did not make it younger");
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let mut memory = Memory::new(3, Span::from_secs(10));
        for id in 0..100 {
            assert!(memory.insert(&id, Time::ZERO));
        }
        assert_eq!((memory.len(), memory.expiry_by_hash.len()), (3, 3));
        assert!((97..100).all(|id| memory.contains(&id, Time::ZERO)) && !memory.contains(&96, Time::ZERO));
    }

    #[test]
    fn keys_tell_events_apart() {
        let event = |timestamp_unix_s, status| {
            Event::Status(Box::new(crate::session::CallStatus {
                wacid: Wacid::new("wacid.A").expect("id"),
                phone_number_id: None,
                status,
                timestamp_unix_s,
                biz_opaque: None,
            }))
        };
        use crate::session::CallStatusKind::{Accepted, Ringing};
        let key = |t, s| EventKey::of(&event(t, s));
        assert_eq!(key(Some(1), Ringing), key(Some(1), Ringing));
        assert_ne!(key(Some(1), Ringing), key(Some(2), Ringing));
        assert_ne!(key(Some(1), Ringing), key(Some(1), Accepted));
        assert_eq!(EventKey::of(&Event::NotCalls), None);
    }
}
