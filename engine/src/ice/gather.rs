//! Server-reflexive candidates: asks a STUN server which address it sees of each of our sockets (RFC 8445 section 5.1.1.2, RFC 8489 section 6).
//!
//! Given: bases, servers, the answers and the time. Decides: when to ask, which answer counts, when to stop asking. Refuses: credentials (public
//! servers have none), ALTERNATE-SERVER (S17), and to outlast its patience: an answer to Meta never waits longer for it.

use super::candidate::is_usable_remote;
use super::check::{Draws, Schedule, Transaction};
use super::{Candidate, CandidateKind, IceConfig, Path};
use crate::error::DropReason;
use crate::time::{Span, Time};
use crate::wire::stun::{Class, StunView, StunWriter, TransactionId};
use core::net::SocketAddr;

/// One session's questions to its STUN servers.
pub(super) struct Gatherer {
    questions: Vec<Question>,
    until: Time,
    allow_loopback: bool,
}

/// What one base asks its family's server.
struct Question {
    path: Path,
    transaction: Transaction,
    is_over: bool,
    mapped: Option<SocketAddr>,
}

impl Gatherer {
    /// Asks for every base that has a server of its family and is advertised as it is. `None`: nothing to ask.
    pub(super) fn start(config: &IceConfig, locals: &[Candidate], draws: &mut Draws, now: Time) -> Option<Self> {
        let mut questions = Vec::new();
        for base in locals.iter().filter(|c| c.kind == CandidateKind::Host && c.base_or_address() == c.address).map(|c| c.address) {
            let usable = |s: &&SocketAddr| s.is_ipv4() == base.is_ipv4() && is_usable_remote(**s, config.allow_loopback);
            let Some(&server) = config.stun_servers.iter().find(usable) else { continue };
            // Paced as checks are.
            let first = now + config.ta.times(questions.len() as u64);
            let schedule = Schedule::Standard(config.gather_rto);
            let transaction = Transaction::new(draws.id(), questions.len(), 0, schedule, first);
            questions.push(Question { path: Path { local: base, remote: server }, transaction, is_over: false, mapped: None });
        }
        (!questions.is_empty()).then(|| Self { questions, until: now + config.gather_patience, allow_loopback: config.allow_loopback })
    }

    /// Whether every question is answered, or patience is over.
    pub(super) fn is_done(&self, now: Time) -> bool {
        now >= self.until || self.questions.iter().all(|q| q.is_over)
    }

    /// When something is to be done next.
    pub(super) fn deadline(&self) -> Time {
        self.open().filter_map(|q| q.transaction.next).min().map_or(self.until, |next| next.min(self.until))
    }

    /// The question that is due, its send noted. `slot` says when a start may be.
    pub(super) fn poll(&mut self, mut slot: impl FnMut() -> Time, now: Time) -> Option<(TransactionId, Path)> {
        if now >= self.until {
            return None;
        }
        for question in self.questions.iter_mut().filter(|q| !q.is_over) {
            let transaction = &mut question.transaction;
            if transaction.next.is_none_or(|next| next > now) {
                continue;
            }
            if transaction.is_exhausted() {
                question.is_over = true;
                continue;
            }
            if transaction.sends == 0 {
                let start = slot();
                if start > now {
                    transaction.next = Some(start);
                    continue;
                }
            }
            transaction.sent(now);
            return Some((transaction.id, question.path));
        }
        None
    }

    /// Writes a question. Without credentials, and with FINGERPRINT as all that we send.
    pub(super) fn write(id: TransactionId, out: &mut [u8]) -> Option<usize> {
        StunWriter::new(out, Class::Request, id).finish(None)
    }

    /// Takes an answer. `None` if it is not to a question of ours.
    ///
    /// An answer counts if it comes from the server that was asked, to the socket that asked, with the id of the question: 96 bits nobody else knows.
    pub(super) fn handle(&mut self, path: Path, message: &StunView<'_>) -> Option<Result<Heard, DropReason>> {
        let question = self.questions.iter_mut().find(|q| q.transaction.id == message.id())?;
        if question.path != path {
            return Some(Err(DropReason::StunUnexpected));
        }
        if question.is_over {
            // The answer to a repetition.
            return Some(Ok(Heard::Again));
        }
        let mapped =
            message.xor_mapped_address().filter(|m| m.is_ipv4() == path.local.is_ipv4() && is_usable_remote(*m, self.allow_loopback));
        let refused = message.class() == Class::Error || message.unknown_required().next().is_some();
        match mapped {
            _ if refused => {
                question.is_over = true;
                Some(Ok(Heard::Refused))
            }
            Some(mapped) => {
                question.is_over = true;
                question.mapped = Some(mapped);
                Some(Ok(Heard::Mapped))
            }
            None => Some(Err(DropReason::StunMalformed)),
        }
    }

    /// Base and mapped address of what was found; without a NAT in between both are equal, and that is no candidate (RFC 8445 section 5.1.3).
    pub(super) fn found(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr)> + '_ {
        self.questions.iter().filter_map(|q| Some((q.path.local, q.mapped?))).filter(|(base, mapped)| base != mapped)
    }

    fn open(&self) -> impl Iterator<Item = &Question> {
        self.questions.iter().filter(|q| !q.is_over)
    }
}

/// What an answer to a question said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// Where the server sees us.
    Mapped,
    /// An error: this server will not tell.
    Refused,
    /// What was heard before.
    Again,
}

/// First wait before a question is repeated; doubled each time (RFC 8489 section 6.2.1). The RFC's 500 ms are for a server at an unknown distance;
/// this one is chosen by the operator, and the answer to Meta waits for it.
pub(super) const RTO: Span = Span::from_millis(100);
/// How long the answer to Meta may wait: three questions, at 0, 100 and 300 ms.
pub(super) const PATIENCE: Span = Span::from_millis(350);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    /// The answer of coturn 4.6.1 to a question of our bytes, asked from 127.0.0.1:35694: with MAPPED-ADDRESS, RESPONSE-ORIGIN and SOFTWARE beside
    /// what we look for.
    const COTURN: &str = "010100442112a442978ca174922b59b466cff358002000080001aa7c5e12a4430001000800018b6e7f000001802b0008000187e67f00000180220014\
                          436f7475726e2d342e362e312027476f72737427802800049ab90408";

    //= rfc8445#section-5.1.1.2:reflexive type=test
    #[test]
    fn the_answer_of_another_implementation_is_understood() {
        let bytes: Vec<u8> = (0..COTURN.len()).step_by(2).map(|i| u8::from_str_radix(&COTURN[i..i + 2], 16).expect("hex")).collect();
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (base, server) = (at("127.0.0.1:40000"), at("127.0.0.1:34790"));
        let config = IceConfig { stun_servers: vec![server], allow_loopback: true, ..IceConfig::default() };
        let mut draws = Draws::new(&mut SeededRng::new(1));
        let mut gatherer = Gatherer::start(&config, &[Candidate::host(base, 1)], &mut draws, Time::ZERO).expect("a question");
        let message = StunView::new_checked(&bytes).expect("well-formed");
        let path = Path { local: base, remote: server };
        assert_eq!(gatherer.handle(path, &message), None, "not yet: it answers another question");
        gatherer.questions[0].transaction.id = message.id();
        assert_eq!(gatherer.handle(path, &message), Some(Ok(Heard::Mapped)));
        assert_eq!(gatherer.found().collect::<Vec<_>>(), [(base, at("127.0.0.1:35694"))]);
        assert!(gatherer.is_done(Time::ZERO));
        assert_eq!(gatherer.handle(path, &message), Some(Ok(Heard::Again)));
    }
}
