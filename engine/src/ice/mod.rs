//! ICE: a full agent that is always controlling, with regular nomination of exactly one pair (RFC 8445).

mod agent;
mod candidate;

pub use agent::{Agent, IceConfig, IceEvent, Path};
pub use candidate::{Candidate, CandidateKind, Credentials};
