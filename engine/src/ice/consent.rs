//! Consent freshness for the nominated pair (RFC 7675).
//!
//! Given: answers on the pair and the time. Decides: when to send the next request and when consent is lost (I31 to I33).
//! Refuses: pair selection, message bytes, and to retransmit: each request is sent once.

use super::check::Draws;
use crate::time::{Span, Time};
use crate::wire::stun::TransactionId;

/// Consent state of the selected pair.
pub(super) struct Consent {
    due: Time,
    expires: Time,
    /// Requests of the last 30 s, oldest overwritten first.
    in_flight: [Option<(TransactionId, Time)>; IN_FLIGHT],
    place: usize,
}

impl Consent {
    /// Consent as the answer to the nominating check gave it at `now`.
    pub(super) fn new(draws: &mut Draws, now: Time) -> Self {
        Self { due: now + interval(draws), expires: now + EXPIRY, in_flight: [None; IN_FLIGHT], place: 0 }
    }

    /// When something is to be done next.
    pub(super) fn deadline(&self) -> Time {
        self.due.min(self.expires)
    }

    //= rfc7675#section-5.1  consent expires after 30 seconds
    //= rules#I32
    pub(super) fn is_lost(&self, now: Time) -> bool {
        now >= self.expires
    }

    /// The id of a request to send now, if it is time for one.
    //= rules#I31
    pub(super) fn poll(&mut self, draws: &mut Draws, now: Time) -> Option<TransactionId> {
        if now < self.due || self.is_lost(now) {
            return None;
        }
        //= rfc7675#section-5.1:new-id  a new id each time, sent once
        let id = draws.id();
        self.in_flight[self.place] = Some((id, now));
        self.place = (self.place + 1) % IN_FLIGHT;
        self.due = now + interval(draws);
        Some(id)
    }

    /// Whether a request with this id waits for its answer.
    //= rfc7675#section-5.1:any-answer  to any request of the last 30 s
    //= rfc7675#section-5.1:media  nothing but an answer renews
    //= rules#I32
    pub(super) fn is_pending(&self, id: TransactionId, now: Time) -> bool {
        self.in_flight.iter().flatten().any(|&(pending, sent)| pending == id && now.since(sent) <= EXPIRY)
    }

    /// Renews consent by a valid answer to a pending request; returns its round-trip time.
    pub(super) fn renew(&mut self, id: TransactionId, now: Time) -> Option<Span> {
        let sent = self.forget(id)?;
        self.expires = now + EXPIRY;
        Some(now.since(sent))
    }

    /// Takes a request out without renewing anything: it was answered by an error.
    pub(super) fn forget(&mut self, id: TransactionId) -> Option<Time> {
        let slot = self.in_flight.iter_mut().find(|slot| slot.is_some_and(|(pending, _)| pending == id))?;
        slot.take().map(|(_, sent)| sent)
    }
}

//= rfc7675#section-5.1:interval  each interval ... MUST be randomized ... from 0.8 to 1.2 times the basic period
//= rules#I31
fn interval(draws: &mut Draws) -> Span {
    PERIOD.scale(800 + draws.u64() % 401, 1_000)
}

const PERIOD: Span = Span::from_secs(5);
const EXPIRY: Span = Span::from_secs(30);
/// Requests leave at least 4 s apart, so at most eight are younger than 30 s.
const IN_FLIGHT: usize = 8;
const _: () = assert!(EXPIRY.as_millis() < IN_FLIGHT as u64 * (PERIOD.as_millis() * 8 / 10));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    //= rfc7675#section-5.1:interval type=test
    //= rfc7675#section-5.1:new-id type=test
    //= rfc7675#section-8 type=test
    //= rules#I31 type=test
    #[test]
    fn intervals_stay_within_four_and_six_seconds_and_ids_are_new() {
        let mut draws = Draws::new(&mut SeededRng::new(9));
        let mut consent = Consent::new(&mut draws, Time::ZERO);
        let (mut last, mut ids) = (Time::ZERO, Vec::new());
        for _ in 0..500 {
            let now = consent.deadline();
            assert!((4_000..=6_000).contains(&now.since(last).as_millis()));
            let id = consent.poll(&mut draws, now).expect("it is time");
            assert!(consent.poll(&mut draws, now).is_none());
            assert!(!ids.contains(&id));
            ids.push(id);
            last = now;
            assert_eq!(consent.renew(id, now + Span::from_millis(20)), Some(Span::from_millis(20)));
            assert_eq!(consent.renew(id, now), None, "one answer per request");
        }
    }
}
