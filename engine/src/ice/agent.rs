//! The agent.
//!
//! Given: candidates, credentials, STUN datagrams and the time. Decides: which check is sent when, which single pair is nominated, what
//! an answer means, what the peer's requests are answered. Refuses: the controlled role. The peer is ice-lite: if we gave the role up,
//! nobody would nominate (I3).

mod response;

use super::check::{Draws, Schedule, Transaction, Transactions, brisk_rto, standard_rto};
use super::consent::Consent;
use super::gather::{Gatherer, Heard};
use super::pair::{self, Pair, PairState};
use super::{Candidate, CandidateKind, CheckPacing, Credentials, IceConfig, IceEvent, IceStats, Path, StartPacer, is_usable_remote};
use crate::error::{DropReason, EndReason};
use crate::limits::{ICE_LOCALS_MAX, ICE_PAIRS_MAX, ICE_REMOTES_MAX};
use crate::rng::Entropy;
use crate::time::{Span, Time};
use crate::wire::stun::{self, Class, IntegrityKey, StunView, StunWriter, TransactionId};
use core::cmp::Reverse;
use core::net::SocketAddr;
use std::collections::VecDeque;

/// The agent.
///
/// Inputs are [`Self::set_remote`], [`Self::handle_stun`], [`Self::handle_timeout`]. After each, drain [`Self::poll_transmit`] and
/// [`Self::poll_event`] until they give `None`, then ask [`Self::poll_timeout`]. `now` never runs backwards. Buffers given to
/// `poll_transmit` should hold `SEND_BYTES_MAX`; a message that does not fit is lost as if by the network.
pub struct Agent {
    config: IceConfig,
    local: Credentials,
    local_key: IntegrityKey,
    locals: Vec<Candidate>,
    remote: Option<Remote>,
    draws: Draws,
    tie_breaker: u64,
    conflicts: u32,
    phase: Phase,
    pairs: Vec<Pair>,
    transactions: Transactions,
    /// Sources that asked before the remote parameters came, with their PRIORITY (I20).
    early: Vec<(Path, u32)>,
    answers: VecDeque<Answer>,
    started: Time,
    /// When the next new check may start.
    pace_at: Time,
    last_start_was_v4: Option<bool>,
    had_valid: bool,
    selected: Option<Path>,
    rtt: Option<Span>,
    /// A turn of [`super::StartPacer`] that was taken and not used yet.
    turn: Option<Time>,
    gatherer: Option<Gatherer>,
    gathered_event: bool,
    nominated_event: Option<IceEvent>,
    failed_event: Option<EndReason>,
    stats: IceStats,
}

/// The peer's side.
struct Remote {
    ufrag: String,
    key: IntegrityKey,
    lite: bool,
}

#[expect(clippy::large_enum_variant, reason = "one per call, and the large variant is the one that lasts: a box would cost an allocation")]
enum Phase {
    /// The remote parameters are not known.
    Idle,
    /// No pair is being nominated.
    Checking {
        /// When the first pair that is valid now became so: the grace counts from here.
        valid_since: Option<Time>,
    },
    /// USE-CANDIDATE is on its way on this pair.
    Nominating { pair: usize },
    /// The pair is locked for ever.
    Selected { pair: usize, since: Time, consent: Consent },
    /// Nothing is sent any more.
    Ended,
}

/// An answer that waits to be sent.
struct Answer {
    id: TransactionId,
    path: Path,
    verdict: Verdict,
}

enum Verdict {
    Success,
    RoleConflict,
    Unknown { kinds: [u16; UNKNOWN_LISTED_MAX], count: usize },
}

impl Agent {
    /// An agent with these local candidates. `locals` hold host candidates (base = socket address) and optional reflexive ones.
    //= rules#I2
    pub fn new(config: IceConfig, credentials: Credentials, mut locals: Vec<Candidate>, entropy: &mut dyn Entropy) -> Self {
        locals.truncate(ICE_LOCALS_MAX);
        Self {
            config,
            local_key: IntegrityKey::new(credentials.pwd.as_bytes()),
            local: credentials,
            locals,
            remote: None,
            tie_breaker: entropy.u64(),
            draws: Draws::new(entropy),
            conflicts: 0,
            phase: Phase::Idle,
            pairs: Vec::new(),
            transactions: Transactions::with_room(),
            early: Vec::with_capacity(EARLY_SOURCES_MAX),
            answers: VecDeque::with_capacity(ANSWERS_MAX),
            started: Time::ZERO,
            pace_at: Time::ZERO,
            last_start_was_v4: None,
            had_valid: false,
            selected: None,
            rtt: None,
            turn: None,
            gatherer: None,
            gathered_event: false,
            nominated_event: None,
            failed_event: None,
            stats: IceStats::default(),
        }
    }

    /// Starts asking the STUN servers of the configuration for our addresses. True if there is something to ask: then [`IceEvent::Gathered`] follows,
    /// after `gather_patience` at the latest. Checks need not wait for it: what is found has the base of a candidate that is there already.
    pub fn start_gathering(&mut self, now: Time) -> bool {
        if self.gatherer.is_none() && !matches!(self.phase, Phase::Ended) {
            self.gatherer = Gatherer::start(&self.config, &self.locals, &mut self.draws, now);
        }
        self.gatherer.is_some()
    }

    /// Starts checks towards the peer. Called once; a second call changes nothing and returns false.
    ///
    /// Unusable remote candidates are skipped and counted. When nothing is left the agent fails at once with `IceNoCandidates`, unless
    /// the peer is a full agent and may still check us.
    pub fn set_remote(&mut self, credentials: Credentials, lite: bool, remotes: &[Candidate], now: Time) -> bool {
        if !matches!(self.phase, Phase::Idle) {
            return false;
        }
        let allow_loopback = self.config.allow_loopback;
        let usable: Vec<Candidate> =
            remotes.iter().filter(|c| is_usable_remote(c.address, allow_loopback)).take(ICE_REMOTES_MAX).cloned().collect();
        self.stats.remotes_skipped = (remotes.len() - usable.len()) as u64;
        self.remote = Some(Remote { key: IntegrityKey::new(credentials.pwd.as_bytes()), ufrag: credentials.ufrag, lite });
        self.pairs = pair::form(&self.locals, &usable, self.config.pairs_max);
        self.phase = Phase::Checking { valid_since: None };
        //= meta#R-22  the first check is due now
        self.started = now;
        self.pace_at = now;
        for (path, priority) in core::mem::take(&mut self.early) {
            self.trigger(path, priority, now);
        }
        if self.pairs.is_empty() && lite {
            self.fail(EndReason::IceNoCandidates);
        }
        true
    }

    /// Takes a datagram that `demux` sorted as STUN.
    pub fn handle_stun(&mut self, path: Path, datagram: &[u8], now: Time) -> Result<(), DropReason> {
        if matches!(self.phase, Phase::Ended) {
            return Err(DropReason::Closed);
        }
        let message = StunView::new_checked(datagram)?;
        match message.class() {
            Class::Request => self.handle_request(path, &message, now),
            // S16: an indication is a keep-alive. It asks nothing and, being unauthenticated, changes nothing.
            Class::Indication if message.is_fingerprint_valid() => Ok(()),
            Class::Indication => Err(DropReason::StunUnauthenticated),
            Class::Success | Class::Error => match self.gatherer.as_mut().and_then(|g| g.handle(path, &message)) {
                Some(heard) => {
                    self.stats.gather_answered += u64::from(heard == Ok(Heard::Mapped));
                    self.finish_gathering(now);
                    heard.map(|_| ())
                }
                None => self.handle_response(path, &message, now),
            },
        }
    }

    /// Takes the time.
    //= rules#I22
    pub fn handle_timeout(&mut self, now: Time) {
        self.finish_gathering(now);
        match &self.phase {
            Phase::Idle | Phase::Ended => {}
            Phase::Checking { .. } | Phase::Nominating { .. } if now >= self.started + self.config.patience => {
                self.fail(match (self.had_valid, self.pairs.is_empty()) {
                    (true, _) => EndReason::IceNominationFailed,
                    (false, true) => EndReason::IceNoCandidates,
                    (false, false) => EndReason::IceTimeout,
                });
            }
            Phase::Checking { .. } => {
                self.expire_checks(now);
                self.consider_nomination(now);
            }
            Phase::Nominating { .. } => {
                if self.checks_run() {
                    self.expire_checks(now);
                }
                if self.transactions.nomination().is_some_and(|t| t.is_exhausted() && t.next.is_some_and(|next| next <= now)) {
                    self.nomination_failed(now);
                }
            }
            Phase::Selected { consent, since, .. } => {
                if consent.is_lost(now) {
                    self.fail(EndReason::ConsentLost);
                } else if now >= *since + LATE_ANSWERS {
                    self.transactions.free();
                }
            }
        }
    }

    /// Writes the next datagram to send, if any, and says where it goes.
    //= rules#I34
    pub fn poll_transmit(&mut self, out: &mut [u8], now: Time) -> Option<(usize, Path)> {
        self.handle_timeout(now);
        while let Some(answer) = self.answers.pop_front() {
            if let Some(length) = self.write_answer(&answer, out) {
                self.stats.answers_sent += 1;
                return Some((length, answer.path));
            }
        }
        while let Some((length, path)) = self.next_question(out, now) {
            if let Some(length) = length {
                return Some((length, path));
            }
        }
        loop {
            let (id, pair) = match &mut self.phase {
                Phase::Idle | Phase::Ended => return None,
                Phase::Selected { pair, consent, .. } => {
                    //= rfc8445#section-11  consent checks are the keep-alive
                    //= rfc7675#section-4  no other keep-alive beside them
                    let id = consent.poll(&mut self.draws, now)?;
                    self.stats.consent_sent += 1;
                    (id, *pair)
                }
                Phase::Checking { .. } | Phase::Nominating { .. } => self.next_check(now)?,
            };
            if let Some(length) = self.write_check(id, pair, out) {
                return Some((length, self.pairs[pair].path));
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        if core::mem::take(&mut self.gathered_event) {
            return Some(IceEvent::Gathered);
        }
        self.nominated_event.take().or_else(|| self.failed_event.take().map(IceEvent::Failed))
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let gather = self.gatherer.as_ref().filter(|_| !matches!(self.phase, Phase::Ended)).map(Gatherer::deadline);
        [gather, self.phase_deadline()].into_iter().flatten().min()
    }

    fn phase_deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Idle | Phase::Ended => None,
            Phase::Selected { consent, .. } => Some(consent.deadline()),
            Phase::Checking { valid_since } => {
                let patience = Some(self.started + self.config.patience);
                let grace = valid_since.map(|since| since + self.config.nomination_grace);
                [patience, grace, self.next_start(), self.transactions.next(|_| true)].into_iter().flatten().min()
            }
            Phase::Nominating { .. } => {
                let patience = Some(self.started + self.config.patience);
                let checks_run = self.checks_run();
                let start = if checks_run { self.next_start() } else { None };
                [patience, start, self.transactions.next(|t| t.nominates || checks_run)].into_iter().flatten().min()
            }
        }
    }

    /// The nominated path. None before nomination and after failure: whoever may not send has no path.
    pub fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// Smoothed round-trip time of the selected path.
    pub fn rtt(&self) -> Option<Span> {
        self.rtt
    }

    /// What happened so far.
    pub fn stats(&self) -> &IceStats {
        &self.stats
    }

    /// Our credentials.
    pub fn local_credentials(&self) -> &Credentials {
        &self.local
    }

    /// Our candidates, best first.
    pub fn local_candidates(&self) -> &[Candidate] {
        &self.locals
    }

    /// Whether the remote parameters are set.
    pub fn has_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether the peer said that it is lite; false before [`Self::set_remote`].
    pub fn is_remote_lite(&self) -> bool {
        self.remote.as_ref().is_some_and(|r| r.lite)
    }

    /// Whether an authenticated check was answered on this path: only then may anything but STUN be listened to there (X3).
    pub fn is_valid(&self, path: Path) -> bool {
        self.pairs.iter().any(|p| p.path == path && p.state == PairState::Succeeded)
    }

    /// Our address as the peer sees it on the nominated path, else on any path that answered. Differs from the base behind a NAT (I19).
    //= rules#I19
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        let nominated = self.pairs.iter().find(|p| Some(p.path) == self.selected).and_then(|p| p.mapped);
        nominated.or_else(|| self.pairs.iter().find_map(|p| p.mapped))
    }

    /// From when on only the socket of the selected path is needed (I28).
    //= rules#I28
    pub fn other_sockets_until(&self) -> Option<Time> {
        match &self.phase {
            Phase::Selected { since, .. } => Some(*since + LATE_ANSWERS),
            _ => None,
        }
    }

    /// The next question to a STUN server; without a length it did not fit, and is lost as if by the network.
    fn next_question(&mut self, out: &mut [u8], now: Time) -> Option<(Option<usize>, Path)> {
        if matches!(self.phase, Phase::Ended) {
            return None;
        }
        let (turn, starts) = (&mut self.turn, &self.config.starts);
        let (id, path) = self.gatherer.as_mut()?.poll(|| take_turn(turn, starts, now), now)?;
        self.stats.gather_sent += 1;
        Some((Gatherer::write(id, out), path))
    }

    /// Takes over what the STUN servers told, once they have, or once they had their time.
    //= rfc8445#section-5.1.1.2:reflexive  what a STUN server has seen
    //= rfc8445#section-5.1.3  one with the address of its base is redundant
    fn finish_gathering(&mut self, now: Time) {
        let Some(gatherer) = self.gatherer.take_if(|g| g.is_done(now)) else { return };
        for (base, mapped) in gatherer.found() {
            let host = self.locals.iter().find(|c| c.kind == CandidateKind::Host && c.address == base);
            let preference = host.map_or(0, |c| (c.priority >> 8) as u16);
            if self.locals.len() < ICE_LOCALS_MAX {
                self.locals.push(Candidate::server_reflexive(mapped, base, preference));
            }
        }
        self.locals.sort_by_key(|c| Reverse(c.priority));
        self.gathered_event = true;
    }

    //= rules#I4
    //= rules#I20
    //= rules#I27
    //= rules#G7
    fn handle_request(&mut self, path: Path, message: &StunView<'_>, now: Time) -> Result<(), DropReason> {
        //= rfc8445#section-7.3  the first half of USERNAME is ours entirely
        //= rfc8445#section-7.3:silence  no answer to whoever cannot sign
        // S12, S13: whoever does not know our password gets silence, and leaves no trace.
        if message.username_first() != Some(self.local.ufrag.as_bytes()) {
            return Err(DropReason::StunUnauthenticated);
        }
        message.authenticate(&self.local_key)?;
        self.stats.requests_in += 1;
        let mut unknown = message.unknown_required();
        if let Some(first) = unknown.next() {
            let mut kinds = [first; UNKNOWN_LISTED_MAX];
            let more = kinds[1..].iter_mut().zip(unknown).map(|(kind, u)| *kind = u).count();
            return self.answer(message.id(), path, Verdict::Unknown { kinds, count: 1 + more });
        }
        //= rfc8445#section-7.3.1.1  If the agent's tie-breaker value is larger than or equal to the contents of the ICE-CONTROLLING attribute
        // A larger value of theirs would have us switch. We never do (a lite peer must not move us, and sends no checks anyway); a 487
        // makes a full peer switch instead, so the conflict is over either way.
        if message.controlling().is_some() {
            return self.answer(message.id(), path, Verdict::RoleConflict);
        }
        self.answer(message.id(), path, Verdict::Success)?;
        let Some(priority) = message.priority() else { return Ok(()) };
        match self.phase {
            Phase::Idle => {
                //= rfc8445#section-7.3:early  answered now, checked when the description comes
                if self.early.len() < EARLY_SOURCES_MAX && !self.early.iter().any(|(known, _)| *known == path) {
                    self.early.push((path, priority));
                }
            }
            Phase::Checking { .. } | Phase::Nominating { .. } => self.trigger(path, priority, now),
            // I25, I27: the pair is locked; requests go on being answered and mean nothing more.
            Phase::Selected { .. } | Phase::Ended => {}
        }
        Ok(())
    }

    fn answer(&mut self, id: TransactionId, path: Path, verdict: Verdict) -> Result<(), DropReason> {
        if self.answers.len() >= ANSWERS_MAX {
            return Err(DropReason::NoRoom);
        }
        self.answers.push_back(Answer { id, path, verdict });
        Ok(())
    }

    /// A check towards whoever has just checked us (I18), learning its address if new (I20).
    //= rfc8445#section-7.3.1.4  a check towards whoever has checked us
    //= rules#I18
    //= rules#I20
    fn trigger(&mut self, path: Path, remote_priority: u32, now: Time) {
        let index = match self.pairs.iter().position(|p| p.path == path) {
            Some(index) => index,
            None => {
                let Some(local) = self.locals.iter().position(|c| c.base_or_address() == path.local) else { return };
                if self.pairs.len() >= self.config.pairs_max.min(ICE_PAIRS_MAX)
                    || !is_usable_remote(path.remote, self.config.allow_loopback)
                {
                    return;
                }
                //= rfc8445#section-7.3.1.3  a remote candidate with the PRIORITY of the request
                // A peer-reflexive remote has a foundation of its own (RFC 8445 section 7.3.1.3).
                let foundation = (local, ICE_REMOTES_MAX + 1 + self.pairs.len());
                self.pairs.push(Pair::new(&self.locals[local], path.remote, remote_priority, foundation));
                self.pairs.len() - 1
            }
        };
        let is_nominated = matches!(self.phase, Phase::Nominating { pair } if pair == index);
        let pair = &mut self.pairs[index];
        if pair.state != PairState::Succeeded && !pair.is_triggered && !is_nominated {
            pair.state = PairState::Waiting;
            pair.is_triggered = true;
            pair.due = now;
            self.transactions.stop_repeating(Some(index));
        }
    }

    /// Marks checks as failed whose schedule is over. Eager checks have none.
    //= rfc8445#section-7.2.5.2.3  no answer to any repetition: the pair has failed
    //= rules#I21
    fn expire_checks(&mut self, now: Time) {
        while let Some(t) = self.transactions.due(now, |t| !t.nominates && t.is_exhausted()).copied() {
            self.transactions.remove(t.id);
            self.fail_pair(t.pair, now);
        }
    }

    fn fail_pair(&mut self, index: usize, now: Time) {
        self.pairs[index].state = PairState::Failed;
        self.pairs[index].is_triggered = false;
        self.transactions.stop_repeating(Some(index));
        self.unfreeze_idle(now);
    }

    /// With no pair Waiting, Frozen ones of idle foundations go Waiting (I15). Under eager pacing a foundation is idle once its first
    /// check is out, because pairs then never fail by time.
    //= rfc8445#section-6.1.4.2  with none Waiting, a Frozen pair of an idle foundation
    //= rules#I15
    fn unfreeze_idle(&mut self, now: Time) {
        if self.pairs.iter().any(|p| p.state == PairState::Waiting) {
            return;
        }
        for i in 0..self.pairs.len() {
            let foundation = self.pairs[i].foundation;
            let is_busy = self.pairs.iter().any(|p| {
                p.foundation == foundation
                    && (p.state == PairState::Waiting || p.state == PairState::InProgress && self.config.pacing == CheckPacing::Rfc8445)
            });
            if self.pairs[i].state == PairState::Frozen && !is_busy {
                self.pairs[i].state = PairState::Waiting;
                self.pairs[i].due = now;
            }
        }
    }

    /// The stop rule (I24): the best pair that is still possible is valid, or the grace is over.
    //= rfc8445#section-8.1.1:grace  the best pair that is possible, or the grace is over
    //= rules#I24
    fn consider_nomination(&mut self, now: Time) {
        let Phase::Checking { valid_since: Some(since) } = self.phase else { return };
        let Some(best) = self.best_valid() else { return };
        let is_better_open = self.pairs.iter().any(|p| p.is_open() && p.priority > self.pairs[best].priority);
        if !is_better_open || now >= since + self.config.nomination_grace {
            self.nominate(best, now);
        }
    }

    fn best_valid(&self) -> Option<usize> {
        (0..self.pairs.len()).filter(|&i| self.pairs[i].state == PairState::Succeeded).max_by_key(|&i| self.pairs[i].priority)
    }

    //= rfc8445#section-8.1.1  the agent ... nominates only one pair ... by repeating the check with the USE-CANDIDATE attribute
    //= meta#R-24  by a second check, never at once
    //= rules#I23
    //= rules#I37
    fn nominate(&mut self, index: usize, now: Time) {
        if !self.pairs[index].was_nominated {
            self.pairs[index].was_nominated = true;
            self.stats.pairs_nominated += 1;
        }
        debug_assert!(self.stats.pairs_nominated <= NOMINATED_PAIRS_MAX);
        self.phase = Phase::Nominating { pair: index };
        self.send_nomination(index, now);
    }

    fn send_nomination(&mut self, index: usize, now: Time) {
        let rtt = self.pairs[index].rtt;
        let schedule = match self.config.pacing {
            CheckPacing::Rfc8445 => Schedule::Standard(standard_rto(self.config.ta, self.pairs.len(), 1)),
            CheckPacing::Eager => Schedule::Brisk(brisk_rto(rtt)),
        };
        self.transactions.remove_nominations();
        let id = self.draws.id();
        self.transactions.insert(Transaction { nominates: true, ..Transaction::new(id, index, self.tie_breaker, schedule, now) });
    }

    /// I29: no DTLS byte was sent, so another valid pair may be nominated, once. Without another one, the same pair has to prove itself
    /// by an ordinary check again, and patience decides.
    //= rules#I29
    fn nomination_failed(&mut self, now: Time) {
        let Phase::Nominating { pair: failed } = self.phase else { return };
        self.transactions.remove_nominations();
        if self.stats.pairs_nominated >= NOMINATED_PAIRS_MAX {
            self.fail(EndReason::IceNominationFailed);
            return;
        }
        // Checks of before the failure say nothing about the pair now.
        self.transactions.forget_pair(failed);
        let pair = &mut self.pairs[failed];
        pair.state = PairState::Waiting;
        // Not at once: a peer that answers checks but refuses every nomination would be asked at the pace of Ta.
        pair.due = now + self.config.eager_slow_interval;
        pair.is_triggered = false;
        self.phase = Phase::Checking { valid_since: None };
        if let Some(next) = self.best_valid() {
            // No way back: the failed pair is out, or both could be nominated in turns.
            self.pairs[failed].state = PairState::Failed;
            self.nominate(next, now);
        }
    }

    //= rules#I25
    //= rules#I28
    fn select(&mut self, index: usize, rtt: Span, now: Time) {
        debug_assert!(self.selected.is_none(), "a pair is selected once");
        let path = self.pairs[index].path;
        self.selected = Some(path);
        self.rtt = Some(rtt);
        self.nominated_event = Some(IceEvent::Nominated { path, rtt });
        //= rfc8445#section-8.1.2  all other checks end
        self.transactions.remove_nominations();
        self.transactions.stop_repeating(None);
        self.phase = Phase::Selected { pair: index, since: now, consent: Consent::new(&mut self.draws, now) };
    }

    fn fail(&mut self, reason: EndReason) {
        self.gatherer = None;
        self.phase = Phase::Ended;
        self.failed_event = Some(reason);
        self.selected = None;
        self.answers.clear();
        self.transactions.free();
    }

    /// Whether ordinary checks are sent: always while no pair is being nominated; during a nomination only once it looks lost, so that
    /// another pair can become valid for the second attempt.
    fn checks_run(&self) -> bool {
        match self.phase {
            Phase::Checking { .. } => true,
            Phase::Nominating { .. } => self.transactions.nomination().is_some_and(|t| t.sends > NOMINATION_SENDS_ALONE),
            _ => false,
        }
    }

    fn may_start(&self, index: usize) -> bool {
        let pair = &self.pairs[index];
        let is_repeatable = pair.state == PairState::InProgress && self.config.pacing == CheckPacing::Eager;
        pair.state == PairState::Waiting || is_repeatable
    }

    /// When the next new check may start.
    fn next_start(&self) -> Option<Time> {
        let least = self.turn.map_or(self.pace_at, |turn| turn.max(self.pace_at));
        (0..self.pairs.len()).filter(|&i| self.may_start(i)).map(|i| self.pairs[i].due.max(least)).min()
    }

    /// The id and pair of a check that is due, with its send noted.
    //= rules#I9
    //= rules#I16
    fn next_check(&mut self, now: Time) -> Option<(TransactionId, usize)> {
        let checks_run = self.checks_run();
        let is_sendable = |t: &Transaction| !t.is_exhausted() && (t.nominates || checks_run);
        while let Some(t) = self.transactions.due(now, is_sendable) {
            // Only a nominating check is put here before its first send: a start like any other.
            let turn = if t.sends == 0 { take_turn(&mut self.turn, &self.config.starts, now) } else { now };
            if turn > now {
                t.next = Some(turn);
                continue;
            }
            t.sent(now);
            return Some((t.id, t.pair));
        }
        if !checks_run || now < self.pace_at {
            return None;
        }
        //= rfc8445#section-6.1.4.2  the triggered queue first, then Waiting pairs, one per Ta
        // Triggered first, then what was never tried, the other family than last time (I9), the longest due, the best.
        let index = (0..self.pairs.len()).filter(|&i| self.may_start(i) && self.pairs[i].due <= now).max_by_key(|&i| {
            let p = &self.pairs[i];
            let is_other_family = self.last_start_was_v4 != Some(p.path.remote.is_ipv4());
            (p.is_triggered, p.state == PairState::Waiting, is_other_family, Reverse(p.due), p.priority)
        })?;
        //= rfc8445#section-14.2:all-agents  a turn of all calls
        if take_turn(&mut self.turn, &self.config.starts, now) > now {
            return None;
        }
        let open = self.pairs.iter().filter(|p| matches!(p.state, PairState::Waiting | PairState::InProgress)).count();
        let (schedule, due) = match self.config.pacing {
            CheckPacing::Rfc8445 => (Schedule::Standard(standard_rto(self.config.ta, self.pairs.len(), open)), Time::MAX),
            CheckPacing::Eager if now < self.started + self.config.eager_period => (Schedule::Once, now + self.config.eager_interval),
            CheckPacing::Eager => (Schedule::Once, now + self.config.eager_slow_interval),
        };
        let id = self.draws.id();
        let mut transaction = Transaction::new(id, index, self.tie_breaker, schedule, now);
        transaction.sent(now);
        self.transactions.insert(transaction);
        let pair = &mut self.pairs[index];
        pair.state = PairState::InProgress;
        pair.is_triggered = false;
        pair.due = due;
        self.last_start_was_v4 = Some(pair.path.remote.is_ipv4());
        //= rfc8445#section-14.2  Ta of this call
        self.pace_at = now + self.config.ta;
        self.unfreeze_idle(now);
        Some((id, index))
    }

    //= rules#I1
    fn write_check(&mut self, id: TransactionId, pair: usize, out: &mut [u8]) -> Option<usize> {
        let remote = self.remote.as_ref()?;
        // Consent requests are no transactions of the checklist: they carry the present tie-breaker.
        let (tie_breaker, nominates) = self.transactions.find(id).map_or((self.tie_breaker, false), |t| (t.tie_breaker, t.nominates));
        if !matches!(self.phase, Phase::Selected { .. }) {
            self.stats.checks_sent += 1;
            let is_v4 = self.pairs[pair].path.remote.is_ipv4();
            *(if is_v4 { &mut self.stats.ipv4_sent } else { &mut self.stats.ipv6_sent }) += 1;
            self.stats.use_candidates_sent += u64::from(nominates);
        }
        let mut writer = StunWriter::new(out, Class::Request, id);
        //= rfc8445#section-7.2.2  their fragment, ours, and their password as key
        writer.username(&remote.ufrag, &self.local.ufrag).priority(self.pairs[pair].check_priority);
        if nominates {
            //= rfc8445#section-7.1.2  to nominate, and only then
            writer.use_candidate();
        }
        //= meta#R-23  ICE-CONTROLLING always
        //= rfc8445#section-6.1.1  a full agent is controlling towards a lite one
        //= rfc8445#section-7.1.3  the role and its tie-breaker in every check
        writer.controlling(tie_breaker).finish(Some(&remote.key))
    }

    fn write_answer(&self, answer: &Answer, out: &mut [u8]) -> Option<usize> {
        let class = if matches!(answer.verdict, Verdict::Success) { Class::Success } else { Class::Error };
        let mut writer = StunWriter::new(out, class, answer.id);
        match &answer.verdict {
            //= rfc8445#section-7.3.1.2  where the request came from
            Verdict::Success => writer.xor_mapped_address(answer.path.remote),
            Verdict::RoleConflict => writer.error_code(stun::ROLE_CONFLICT, "Role Conflict"),
            Verdict::Unknown { kinds, count } => {
                writer.error_code(stun::UNKNOWN_ATTRIBUTE, "Unknown Attribute").unknown_attributes(&kinds[..*count])
            }
        };
        writer.finish(Some(&self.local_key))
    }
}

/// A turn to start a transaction: `now` if it may be at once, and is then used; else when it is ours, kept until then.
fn take_turn(turn: &mut Option<Time>, starts: &StartPacer, now: Time) -> Time {
    let at = *turn.get_or_insert_with(|| starts.reserve(now));
    if at > now {
        return at;
    }
    *turn = None;
    now
}

/// Answers waiting to be sent; more requests than this between two drains are dropped.
const ANSWERS_MAX: usize = 8;
/// Sources remembered until the remote parameters come.
const EARLY_SOURCES_MAX: usize = 4;
/// Types listed in a 420.
const UNKNOWN_LISTED_MAX: usize = 4;
/// Pairs that may carry USE-CANDIDATE over the life of an agent: one, and one more if its nomination failed (I29).
const NOMINATED_PAIRS_MAX: u64 = 2;
/// Sends of the nominating check, 0 to 300 ms on a fast path, during which nothing else is sent: the order on the wire stays checks,
/// nomination, DTLS.
const NOMINATION_SENDS_ALONE: u32 = 3;
/// How long late answers to checks of set-up are recognised after nomination (RFC 8445 section 8.3.1 keeps candidates for 3 s).
const LATE_ANSWERS: Span = Span::from_secs(3);

#[cfg(test)]
mod tests;
