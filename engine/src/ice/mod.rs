//! ICE: a full agent that is always controlling, with regular nomination of exactly one pair (RFC 8445).
//!
//! Decides: where to send checks, which pair is nominated, when consent is lost. Is given: candidates and credentials of both sides,
//! STUN datagrams, the time. Refuses: SDP, sockets, interfaces of the host, the controlled role, restarts (a new session is a new agent).

mod agent;
mod candidate;
mod check;
mod config;
mod consent;
mod gather;
mod pacer;
mod pair;

pub use agent::Agent;
pub use candidate::{Candidate, CandidateKind, Credentials, check_priority, is_usable_remote, pair_priority, priority};
pub use config::{CheckPacing, IceConfig, IceEvent, IceStats, Path};
pub use pacer::{SPACING_BEHIND_NAT, StartPacer};
