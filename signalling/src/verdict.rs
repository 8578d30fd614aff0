//! One sentence per ending: a stable code, what happened, what to do next.

use std::borrow::Cow;

use tipring_engine::error::{AdmitError, EndReason, SetupError};

use crate::graph::GraphError;
use crate::sdp::SdpError;
use crate::session::MetaError;

/// Why a call ended, for people and programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Stable, upper case: `ICE_TIMEOUT`, `META_138021`.
    pub code: Cow<'static, str>,
    /// What happened, one sentence.
    pub sentence: Cow<'static, str>,
    /// What to do about it, one sentence. Empty if there is nothing to do.
    pub advice: Cow<'static, str>,
    /// Facts it leans on: name and value.
    pub evidence: Vec<(&'static str, String)>,
}

/// What the engine knows about a call that ended, as far as it matters for the verdict. Unknown members stay `None`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Evidence {
    /// Connectivity checks sent.
    pub checks_sent: Option<u32>,
    /// Authentic answers to them.
    pub checks_answered: Option<u32>,
    /// Whether every candidate in our SDP was a private address.
    pub local_candidates_private: Option<bool>,
    /// Media packets sent.
    pub packets_out: Option<u64>,
    /// Authentic media packets received.
    pub packets_in: Option<u64>,
    /// Milliseconds from opening to media ready.
    pub setup_ms: Option<u64>,
}

impl Verdict {
    /// Of an ending by the engine.
    pub fn of_end(_reason: EndReason, _evidence: &Evidence) -> Self {
        todo!()
    }
    /// Of a refusal by Graph.
    pub fn of_graph(_action: &'static str, _error: &GraphError) -> Self {
        todo!()
    }
    /// Of an error in a webhook.
    pub fn of_meta(_error: &MetaError) -> Self {
        todo!()
    }
    /// Of an SDP we cannot use.
    pub fn of_sdp(_error: &SdpError) -> Self {
        todo!()
    }
    /// Of a lack of room.
    pub fn of_admit(_error: AdmitError) -> Self {
        todo!()
    }
    /// Of a call that could not be set up.
    pub fn of_setup(_error: &SetupError) -> Self {
        todo!()
    }
}
