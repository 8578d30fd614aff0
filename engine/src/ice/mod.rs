//! ICE: a full agent that is always controlling, with regular nomination of exactly one pair (RFC 8445).
//!
//! Decides: where to send checks, which pair is nominated, when consent is lost. Is given: candidates and credentials of both sides,
//! STUN datagrams, the time. Refuses: gathering, SDP, sockets, the controlled role, restarts (a new session is a new agent), and the
//! spacing of checks over several calls (RFC 8445 section 14.2), which only the owner of all calls can know.

mod agent;
mod candidate;
mod check;
mod config;
mod consent;
mod pair;

pub use agent::Agent;
pub use candidate::{Candidate, CandidateKind, Credentials, check_priority, is_usable_remote, pair_priority, priority};
pub use config::{CheckPacing, IceConfig, IceEvent, IceStats, Path};
