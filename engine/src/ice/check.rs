//! Connectivity checks in flight: ids, what each was sent for, and when it is sent again.
//!
//! Given: entropy once, then the time of each send. Decides: transaction ids (S3), the retransmission schedules (S14), which transaction
//! gives way when the table is full. Refuses: message bytes (`wire::stun`), and what an answer means (`agent.rs`).

use crate::limits::ICE_TRANSACTIONS_MAX;
use crate::rng::Entropy;
use crate::time::{Span, Time};
use crate::wire::stun::{IntegrityKey, TransactionId};

/// An endless supply of unguessable bytes from one draw of the host's entropy: HMAC-SHA1 over a counter, which is a PRF.
///
/// So the agent needs the host's entropy at birth only, and a CSPRNG there makes every later transaction id one too.
//= rfc7675#section-8  a PRF over a counter, keyed by the host's entropy
pub(super) struct Draws {
    key: IntegrityKey,
    count: u64,
}

impl Draws {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        Self { key: IntegrityKey::new(&seed), count: 0 }
    }

    pub(super) fn id(&mut self) -> TransactionId {
        TransactionId(*self.block().first_chunk().expect("20 bytes hold 12"))
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(*self.block().first_chunk().expect("20 bytes hold 8"))
    }

    fn block(&mut self) -> [u8; 20] {
        self.count += 1;
        self.key.tag(&[&self.count.to_le_bytes()])
    }
}

/// When a request is repeated, and when it has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Schedule {
    /// Sent once; the pair's next check has an id of its own.
    Once,
    /// RFC 8489 section 6.2.1 from this RTO: Rc = 7 sends, each wait twice the last, then Rm = 16 RTO.
    Standard(Span),
    /// For the nominating check on a path whose round-trip time is known: as many sends, but no wait beyond `BRISK_WAIT_MAX`.
    Brisk(Span),
}

impl Schedule {
    /// The wait after the `sends`-th send (1-based).
    fn wait(self, sends: u32) -> Option<Span> {
        let doubled = |rto: Span| rto.times(1 << (sends - 1).min(16));
        match self {
            Self::Once => None,
            Self::Standard(rto) if sends < SENDS_MAX => Some(doubled(rto)),
            Self::Standard(rto) => Some(rto.times(16)),
            Self::Brisk(rto) => Some(doubled(rto).min(BRISK_WAIT_MAX)),
        }
    }
}

/// One request in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    /// Index of the pair.
    pub(super) pair: usize,
    /// Whether it carries USE-CANDIDATE.
    pub(super) nominates: bool,
    /// The tie-breaker it carries, in every repeat: a 487 to an older one says nothing about the present one.
    pub(super) tie_breaker: u64,
    pub(super) first_sent: Time,
    pub(super) sends: u32,
    /// When it is sent again or, after the last send, has failed. `None`: never.
    pub(super) next: Option<Time>,
    pub(super) schedule: Schedule,
}

impl Transaction {
    /// A request that leaves at `now` at the earliest.
    pub(super) fn new(id: TransactionId, pair: usize, tie_breaker: u64, schedule: Schedule, now: Time) -> Self {
        Self { id, pair, nominates: false, tie_breaker, first_sent: now, sends: 0, next: Some(now), schedule }
    }

    /// Notes a send.
    pub(super) fn sent(&mut self, now: Time) {
        if self.sends == 0 {
            self.first_sent = now;
        }
        self.sends += 1;
        self.next = self.schedule.wait(self.sends).map(|wait| now + wait);
    }

    /// Whether all sends are made.
    pub(super) fn is_exhausted(&self) -> bool {
        self.sends >= SENDS_MAX
    }

    /// The round-trip time that an answer at `now` shows; none if it may answer any of several sends (Karn).
    pub(super) fn rtt(&self, now: Time) -> Option<Span> {
        (self.sends == 1).then(|| now.since(self.first_sent))
    }
}

/// The requests in flight of one agent, at most [`ICE_TRANSACTIONS_MAX`].
pub(super) struct Transactions(Vec<Transaction>);

impl Transactions {
    /// An empty table. The only allocation it ever makes.
    pub(super) fn with_room() -> Self {
        Self(Vec::with_capacity(ICE_TRANSACTIONS_MAX))
    }

    /// Adds one; when the table is full the oldest that does not nominate is forgotten, and a late answer to it is then unexpected.
    pub(super) fn insert(&mut self, transaction: Transaction) {
        if self.0.len() >= ICE_TRANSACTIONS_MAX {
            let oldest = (0..self.0.len()).filter(|&i| !self.0[i].nominates).min_by_key(|&i| self.0[i].first_sent);
            self.0.swap_remove(oldest.unwrap_or(0));
        }
        self.0.push(transaction);
        debug_assert!(self.0.len() <= ICE_TRANSACTIONS_MAX);
    }

    pub(super) fn find(&self, id: TransactionId) -> Option<&Transaction> {
        self.0.iter().find(|t| t.id == id)
    }

    pub(super) fn remove(&mut self, id: TransactionId) {
        self.0.retain(|t| t.id != id);
    }

    /// Forgets all checks on `pair`: late answers to them no longer count.
    pub(super) fn forget_pair(&mut self, pair: usize) {
        self.0.retain(|t| t.pair != pair);
    }

    pub(super) fn remove_nominations(&mut self) {
        self.0.retain(|t| !t.nominates);
    }

    /// The one in flight that nominates.
    pub(super) fn nomination(&self) -> Option<&Transaction> {
        self.0.iter().find(|t| t.nominates)
    }

    /// Stops repeating the checks on `pair`, or on every pair; late answers still count (I18).
    //= rules#I18
    pub(super) fn stop_repeating(&mut self, pair: Option<usize>) {
        for t in self.0.iter_mut().filter(|t| !t.nominates && pair.is_none_or(|p| p == t.pair)) {
            t.next = None;
        }
    }

    /// The earliest deadline among those that `filter` lets through.
    pub(super) fn next(&self, filter: impl Fn(&Transaction) -> bool) -> Option<Time> {
        self.0.iter().filter(|t| filter(t)).filter_map(|t| t.next).min()
    }

    /// The first that `filter` lets through and whose deadline has come.
    pub(super) fn due(&mut self, now: Time, filter: impl Fn(&Transaction) -> bool) -> Option<&mut Transaction> {
        self.0.iter_mut().find(|t| t.next.is_some_and(|next| next <= now) && filter(t))
    }

    /// Forgets everything and gives the memory back.
    pub(super) fn free(&mut self) {
        self.0 = Vec::new();
    }
}

/// RTO of a check under RFC pacing, for a list of `pairs` of which `open` are Waiting or In-Progress (RFC 8445 section 14.3, I17).
//= rfc8445#section-14.3  max(500 ms, Ta times open checks)
//= rules#I17
pub(super) fn standard_rto(ta: Span, pairs: usize, open: usize) -> Span {
    ta.times((pairs * open) as u64).max(RTO_MIN)
}

/// First RTO of the nominating check on a path with this round-trip time: twice that, and room for a slow peer.
pub(super) fn brisk_rto(rtt: Option<Span>) -> Span {
    rtt.map_or(RTO_MIN, |rtt| rtt.times(2)).clamp(BRISK_RTO_MIN, BRISK_WAIT_MAX)
}

/// Rc of RFC 8489 section 6.2.1.
const SENDS_MAX: u32 = 7;
/// RFC 8445 section 14.3: never below 500 ms.
const RTO_MIN: Span = Span::from_millis(500);
/// The path has just answered; 100 ms is five frames.
const BRISK_RTO_MIN: Span = Span::from_millis(100);
/// 0, 100, 300, 700, 1500, 3100, 4700 ms, given up at 6300: a network that loses the path for some seconds may come back.
const BRISK_WAIT_MAX: Span = Span::from_millis(1_600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn sends_and_failure(schedule: Schedule) -> (Vec<u64>, u64) {
        let mut t = Transaction::new(TransactionId([0; 12]), 0, 0, schedule, Time::ZERO);
        let mut sends = Vec::new();
        while !t.is_exhausted() {
            let at = t.next.expect("not exhausted");
            sends.push(at.as_millis());
            t.sent(at);
        }
        (sends, t.next.expect("a failure").as_millis())
    }

    //= rfc8489#section-6.2.1 type=test
    //= rfc8445#section-14.3 type=test
    //= rules#I17 type=test
    #[test]
    fn schedules_match_the_golden_numbers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/ice/pacing.json");
        let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).expect(path)).expect("JSON");
        let case = |id: &str| golden["cases"].as_array().expect("cases").iter().find(|c| c["id"] == id).expect(id).clone();
        let stun = case("stun-schedule");
        let (sends, failure) = sends_and_failure(Schedule::Standard(Span::from_millis(stun["RTO"].as_u64().expect("RTO"))));
        assert_eq!(serde_json::json!(sends), stun["sends_ms"]);
        assert_eq!(serde_json::json!(failure), stun["fail_ms"]);
        for id in ["rto-small", "rto-20-pairs"] {
            let case = case(id);
            let number = |key: &str| case[key].as_u64().expect("a number");
            let open = number("waiting") + number("in_progress");
            let rto = standard_rto(Span::from_millis(number("Ta")), number("N") as usize, open as usize);
            assert_eq!(rto.as_millis(), number("rto"), "{id}");
        }
        let brisk = sends_and_failure(Schedule::Brisk(brisk_rto(Some(Span::from_millis(10)))));
        assert_eq!(brisk, (vec![0, 100, 300, 700, 1_500, 3_100, 4_700], 6_300));
    }

    #[test]
    fn a_full_table_forgets_the_oldest_check_and_never_a_nomination() {
        let mut draws = Draws::new(&mut SeededRng::new(1));
        let mut table = Transactions::with_room();
        let mut nomination = Transaction::new(draws.id(), 0, 0, Schedule::Once, Time::ZERO);
        nomination.nominates = true;
        table.insert(nomination);
        let ids: Vec<_> = (1..=ICE_TRANSACTIONS_MAX as u64)
            .map(|ms| {
                let id = draws.id();
                table.insert(Transaction::new(id, 1, 0, Schedule::Once, Time::ZERO + Span::from_millis(ms)));
                id
            })
            .collect();
        assert!(table.find(nomination.id).is_some());
        assert!(table.find(ids[0]).is_none());
        assert!(ids[1..].iter().all(|&id| table.find(id).is_some()));
    }
}
