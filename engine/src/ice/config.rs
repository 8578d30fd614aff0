//! What the agent is told by configuration, and what it tells its call.
//!
//! Decides: default timing, and the vocabulary of paths, events and statistics. Refuses: behaviour (`agent.rs`).

use super::gather;
use super::pacer::StartPacer;
use crate::error::EndReason;
use crate::limits::ICE_PAIRS_MAX;
use crate::time::Span;
use core::net::SocketAddr;

/// A local and a remote transport address: which of the call's sockets, and the peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Address of the local socket (the base).
    pub local: SocketAddr,
    /// Address of the peer.
    pub remote: SocketAddr,
}

/// How a pair that has not answered yet is checked again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CheckPacing {
    /// The same transaction is retransmitted from an RTO of 500 ms, doubling; the pair fails at 39.5 s (RFC 8445 section 14.3).
    Rfc8445,
    /// A new transaction about every `eager_interval`, for `eager_period`, then every `eager_slow_interval`; the pair never fails by
    /// time. Meta's relay ignores checks until it has learnt our SDP, and doubling timers would add up to their own length to set-up.
    Eager,
}

/// Timing and policy of the agent.
#[derive(Clone, Debug)]
pub struct IceConfig {
    /// Pace of checks (Ta): least time between two new checks of this call.
    pub ta: Span,
    /// How long a valid pair of lower priority waits for a better one (I24).
    pub nomination_grace: Span,
    /// Give up when no pair is nominated this long after the remote parameters were set.
    pub patience: Span,
    /// How unanswered pairs are checked again.
    pub pacing: CheckPacing,
    /// Eager pacing: time between checks of one pair at first.
    pub eager_interval: Span,
    /// Eager pacing: how long `eager_interval` holds.
    pub eager_period: Span,
    /// Eager pacing: time between checks of one pair afterwards.
    pub eager_slow_interval: Span,
    /// Turns of all calls at starting transactions; every clone of this configuration shares them.
    pub starts: StartPacer,
    /// Candidate pairs, at most `ICE_PAIRS_MAX` (RFC 8445 section 6.1.2.5).
    pub pairs_max: usize,
    /// STUN servers that tell what a NAT makes of our addresses; the first of each family is asked. Empty: nothing is gathered.
    pub stun_servers: Vec<SocketAddr>,
    /// First wait before a question to a STUN server is repeated; doubled each time.
    pub gather_rto: Span,
    /// How long a STUN server may take; then our description goes out without its answer.
    pub gather_patience: Span,
    /// Whether loopback and link-local remote candidates are used (I11). For tests and for peers on this machine.
    pub allow_loopback: bool,
}

impl Default for IceConfig {
    fn default() -> Self {
        Self {
            // Two remote candidates make two pairs: 10 ms keeps both families within one network jitter of each other, and is twice
            // the least pace that RFC 8445 section 14.2 allows.
            ta: Span::from_millis(10),
            nomination_grace: Span::from_millis(60),
            // RFC 8863 section 4: as long as a STUN transaction lasts.
            patience: Span::from_millis(39_500),
            pacing: CheckPacing::Eager,
            eager_interval: Span::from_millis(50),
            eager_period: Span::from_secs(5),
            eager_slow_interval: Span::from_millis(250),
            starts: StartPacer::default(),
            pairs_max: ICE_PAIRS_MAX,
            stun_servers: Vec::new(),
            gather_rto: gather::RTO,
            gather_patience: gather::PATIENCE,
            allow_loopback: false,
        }
    }
}

/// What the agent tells its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IceEvent {
    /// Our candidates are complete: STUN servers have answered, or had their time. Happens once, and only if there was something to ask.
    Gathered,
    /// The success response to the nominating check arrived: DTLS may start on this path (I26). Happens once.
    Nominated {
        /// The pair's base and remote address.
        path: Path,
        /// Round-trip time of the last check on the pair.
        rtt: Span,
    },
    /// The agent is finished: no pair, or consent lost. Nothing more may be sent (I32).
    Failed(EndReason),
}

/// What happened so far, as evidence for verdicts and for tests.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IceStats {
    /// Check datagrams sent, repeats and nominating ones included, consent requests not.
    pub checks_sent: u64,
    /// Of these, datagrams with USE-CANDIDATE.
    pub use_candidates_sent: u64,
    /// Checks answered by an authenticated success response.
    pub checks_answered: u64,
    /// Of `checks_sent`, those over IPv4.
    pub ipv4_sent: u64,
    /// Authentic successes over IPv4.
    pub ipv4_answered: u64,
    /// Of `checks_sent`, those over IPv6.
    pub ipv6_sent: u64,
    /// Authentic successes over IPv6.
    pub ipv6_answered: u64,
    /// Checks answered by an authenticated error response.
    pub checks_refused: u64,
    /// Questions sent to STUN servers, repeats included.
    pub gather_sent: u64,
    /// Of the questions, those that brought an address.
    pub gather_answered: u64,
    /// Authenticated requests from the peer.
    pub requests_in: u64,
    /// Answers sent to them.
    pub answers_sent: u64,
    /// Consent requests sent.
    pub consent_sent: u64,
    /// Consent requests answered.
    pub consent_answered: u64,
    /// Authenticated 487 answers that made us take a new tie-breaker.
    pub role_conflicts: u64,
    /// 487 answers without valid integrity: someone plays with us; ignored.
    pub unsigned_487_ignored: u64,
    /// Remote candidates that were not usable, or beyond the limit.
    pub remotes_skipped: u64,
    /// Distinct pairs that ever carried USE-CANDIDATE: 0, 1, or 2 if the first nomination failed (I29).
    pub pairs_nominated: u64,
}
