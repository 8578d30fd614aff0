//! What an answer to one of our requests means.
//!
//! Given: a well-formed response and where it came from. Decides: whether it counts at all (S10), and what it does to pair, nomination,
//! role or consent. Refuses: to let anything unauthenticated change anything.

use super::{Agent, Phase};
use crate::error::{DropReason, EndReason};
use crate::ice::check::Transaction;
use crate::ice::pair::PairState;
use crate::ice::{CheckPacing, Path};
use crate::limits::ICE_CONFLICTS_MAX;
use crate::time::Time;
use crate::wire::stun::{self, Class, StunView, TransactionId};
use core::net::SocketAddr;

impl Agent {
    //= rules#G3
    pub(super) fn handle_response(&mut self, path: Path, message: &StunView<'_>, now: Time) -> Result<(), DropReason> {
        let Some(remote) = &self.remote else { return Err(DropReason::StunUnexpected) };
        let id = message.id();
        let transaction = self.transactions.find(id).copied();
        let consent = match &self.phase {
            Phase::Selected { pair, consent, .. } if consent.is_pending(id, now) => Some(*pair),
            _ => None,
        };
        // S10: the answer must come from where the request went, to the socket it left from. Anything else never happened.
        let Some(index) = transaction.map(|t| t.pair).or(consent).filter(|&i| self.pairs[i].path == path) else {
            return Err(DropReason::StunUnexpected);
        };
        let code = (message.class() == Class::Error).then(|| message.error_code().unwrap_or(stun::BAD_REQUEST));
        if let Err(reason) = message.authenticate(&remote.key) {
            self.stats.unsigned_487_ignored += u64::from(code == Some(stun::ROLE_CONFLICT));
            return Err(reason);
        }
        let failed = message.unknown_required().next().is_some();
        match transaction {
            Some(_) if code.is_none() && !failed && message.xor_mapped_address().is_none() => Err(DropReason::StunMalformed),
            Some(transaction) => {
                self.transactions.remove(id);
                match code {
                    None if !failed => self.check_succeeded(index, &transaction, message.xor_mapped_address(), now),
                    Some(stun::ROLE_CONFLICT) => self.role_conflict(index, &transaction, now),
                    _ => self.check_refused(index, &transaction, code, now),
                }
                Ok(())
            }
            None => {
                self.consent_answered(id, code, failed, now);
                Ok(())
            }
        }
    }

    fn check_succeeded(&mut self, index: usize, transaction: &Transaction, mapped: Option<SocketAddr>, now: Time) {
        self.stats.checks_answered += 1;
        let is_v4 = self.pairs[index].path.remote.is_ipv4();
        *(if is_v4 { &mut self.stats.ipv4_answered } else { &mut self.stats.ipv6_answered }) += 1;
        let pair = &mut self.pairs[index];
        // The least of them: a queue or a pause of our own makes a path seem slower than it is, and nothing makes it seem faster.
        pair.rtt = transaction.rtt(now).into_iter().chain(pair.rtt).min();
        pair.mapped = mapped;
        if transaction.nominates {
            let rtt = pair.rtt.unwrap_or_else(|| now.since(transaction.first_sent));
            pair.state = PairState::Succeeded;
            //= rfc7675#section-5.1:initial  the answer to the nominating check
            self.select(index, rtt, now);
            return;
        }
        self.had_valid = true;
        // A late answer to an older check revives no pair whose nomination has failed: it must pass a check sent after that.
        if matches!(self.phase, Phase::Selected { .. }) || pair.state == PairState::Succeeded {
            return;
        }
        pair.state = PairState::Succeeded;
        pair.is_triggered = false;
        let foundation = pair.foundation;
        self.transactions.stop_repeating(Some(index));
        //= rfc8445#section-7.2.5.3.3  the agent ... sets the states for all other Frozen candidate pairs ... with the same foundation to Waiting
        for other in self.pairs.iter_mut().filter(|p| p.state == PairState::Frozen && p.foundation == foundation) {
            other.state = PairState::Waiting;
            other.due = now;
        }
        self.unfreeze_idle(now);
        if let Phase::Checking { valid_since } = &mut self.phase {
            valid_since.get_or_insert(now);
        }
        self.consider_nomination(now);
    }

    //= rules#I3
    fn role_conflict(&mut self, index: usize, transaction: &Transaction, now: Time) {
        //= meta#R-23  a lite peer must not move us from controlling: new tie-breaker, same role
        if matches!(self.phase, Phase::Selected { .. }) {
            return;
        }
        if transaction.tie_breaker == self.tie_breaker {
            if self.conflicts >= ICE_CONFLICTS_MAX {
                self.fail(EndReason::IceRoleConflict);
                return;
            }
            self.new_tie_breaker();
        }
        match self.phase {
            Phase::Nominating { pair } if transaction.nominates => {
                debug_assert_eq!(pair, index);
                self.send_nomination(index, now);
            }
            _ => {
                self.transactions.stop_repeating(Some(index));
                let pair = &mut self.pairs[index];
                if pair.state == PairState::InProgress {
                    pair.state = PairState::Waiting;
                    pair.due = now;
                }
            }
        }
    }

    //= rfc8445#section-7.2.5.1:tie-breaker  a new one, never the old
    //= rules#I2
    fn new_tie_breaker(&mut self) {
        let old = self.tie_breaker;
        while self.tie_breaker == old {
            self.tie_breaker = self.draws.u64();
        }
        self.conflicts += 1;
        self.stats.role_conflicts += 1;
    }

    //= rules#I21
    fn check_refused(&mut self, index: usize, transaction: &Transaction, code: Option<u16>, now: Time) {
        self.stats.checks_refused += 1;
        let is_nominating = matches!(self.phase, Phase::Nominating { .. });
        if transaction.nominates {
            if is_nominating {
                self.nomination_failed(now);
            }
            return;
        }
        if matches!(self.phase, Phase::Selected { .. }) || self.pairs[index].state == PairState::Succeeded {
            return;
        }
        //= rfc8445#section-7.2.5.2.4  an error answer fails the pair
        // 5xx is the one kind of error that trying again may cure (RFC 8489 section 6.3.4); eager checks do so by themselves.
        let is_passing = code.is_some_and(|c| (500..600).contains(&c)) && self.config.pacing == CheckPacing::Eager;
        if !is_passing {
            self.fail_pair(index, now);
        }
        self.consider_nomination(now);
    }

    //= rules#I33
    fn consent_answered(&mut self, id: TransactionId, code: Option<u16>, failed: bool, now: Time) {
        let Phase::Selected { consent, .. } = &mut self.phase else { return };
        match code {
            None if !failed => {
                if let Some(rtt) = consent.renew(id, now) {
                    self.stats.consent_answered += 1;
                    self.rtt = Some(self.rtt.map_or(rtt, |smoothed| smoothed.scale(7, 8) + rtt.scale(1, 8)));
                }
            }
            //= rfc7675#section-5.2  consent can be revoked
            Some(stun::FORBIDDEN) => self.fail(EndReason::ConsentLost),
            code => {
                consent.forget(id);
                if code == Some(stun::ROLE_CONFLICT) {
                    self.new_tie_breaker();
                }
            }
        }
    }
}
