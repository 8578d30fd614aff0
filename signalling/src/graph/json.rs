//! Bodies and replies of Graph as JSON.

use super::{GraphAction, GraphOutcome};

/// The body to POST for `action`, compact JSON.
pub fn body(_action: &GraphAction) -> String {
    todo!()
}

/// Reads a reply. Never fails: what cannot be read is [`GraphOutcome::Lost`].
pub fn read_reply(_http_status: u16, _body: &[u8]) -> GraphOutcome {
    todo!()
}
