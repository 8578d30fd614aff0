//! Remembers what was answered under an `Idempotency-Key`, so that a repeated POST acts once.
//!
//! Decides: whether a request is new, running, or done; for a day, and for a bounded number of keys. Refuses: the same key for something else.

use hyper::StatusCode;
use std::collections::{HashMap, VecDeque};
use tipring_engine::time::{Span, Time};

/// Answers by key.
#[derive(Default)]
pub(super) struct Idempotency {
    entries: HashMap<Key, Entry>,
    order: VecDeque<(Time, Key)>,
}

/// Whose key, and which.
pub(super) type Key = (usize, String);

struct Entry {
    request: [u8; 32],
    answer: Option<Answer>,
}

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: bytes::Bytes,
}

/// What to do with a request.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// Do it, then call [`Idempotency::finish`].
    New,
    /// It is being done: the client asked twice at once.
    Running,
    /// Answer this again.
    Done(Answer),
    /// The key stood for another request.
    Other,
}

impl Idempotency {
    /// Looks a request up and, if it is new, marks it as running. `request` is a digest of path and body.
    pub(super) fn begin(&mut self, key: &Key, request: [u8; 32], now: Time) -> Seen {
        while let Some((at, old)) = self.order.front() {
            if now.since(*at) < KEPT && self.order.len() < KEYS_MAX {
                break;
            }
            self.entries.remove(old);
            self.order.pop_front();
        }
        match self.entries.get(key) {
            None => {
                self.entries.insert(key.clone(), Entry { request, answer: None });
                self.order.push_back((now, key.clone()));
                Seen::New
            }
            Some(entry) if entry.request != request => Seen::Other,
            Some(Entry { answer: None, .. }) => Seen::Running,
            Some(Entry { answer: Some(answer), .. }) => Seen::Done(answer.clone()),
        }
    }

    /// Keeps the answer. One that says "try again" is forgotten, so that trying again works.
    pub(super) fn finish(&mut self, key: &Key, answer: Answer) {
        if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
            self.entries.remove(key);
            self.order.retain(|(_, k)| k != key);
        } else if let Some(entry) = self.entries.get_mut(key) {
            entry.answer = Some(answer);
        }
    }
}

/// How long an answer is remembered.
const KEPT: Span = Span::from_secs(24 * 3_600);
/// Keys remembered.
const KEYS_MAX: usize = 10_000;
/// Longest key taken, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Time {
        Time::ZERO + Span::from_secs(s)
    }

    fn answer(status: StatusCode) -> Answer {
        Answer { status, content_type: "application/json", body: "{}".into() }
    }

    #[test]
    fn a_repeated_request_gets_the_first_answer() {
        let mut memory = Idempotency::default();
        let key = (0, "a".to_owned());
        assert_eq!(memory.begin(&key, [1; 32], at(0)), Seen::New);
        assert_eq!(memory.begin(&key, [1; 32], at(1)), Seen::Running);
        memory.finish(&key, answer(StatusCode::CREATED));
        assert_eq!(memory.begin(&key, [1; 32], at(2)), Seen::Done(answer(StatusCode::CREATED)));
        assert_eq!(memory.begin(&key, [2; 32], at(2)), Seen::Other);
        assert_eq!(memory.begin(&(1, "a".to_owned()), [2; 32], at(2)), Seen::New, "another client's keys are its own");
        assert_eq!(memory.begin(&key, [1; 32], at(2) + KEPT), Seen::New, "a day later it is forgotten");
    }

    #[test]
    fn what_failed_on_our_side_can_be_tried_again_and_memory_is_bounded() {
        let mut memory = Idempotency::default();
        let key = (0, "a".to_owned());
        assert_eq!(memory.begin(&key, [1; 32], at(0)), Seen::New);
        memory.finish(&key, answer(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(memory.begin(&key, [1; 32], at(0)), Seen::New);
        for n in 0..2 * KEYS_MAX {
            memory.begin(&(0, n.to_string()), [1; 32], at(1));
        }
        assert!(memory.entries.len() <= KEYS_MAX && memory.order.len() <= KEYS_MAX);
    }
}
