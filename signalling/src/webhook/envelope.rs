//! The JSON envelope of a webhook, read tolerantly (3.3).

use crate::session::Event;

/// Largest body taken, in bytes: Meta's documented limit.
pub const BODY_BYTES_MAX: usize = 3 * 1_024 * 1_024;

/// The body is not an envelope. Answer 200 all the same: Meta would only repeat it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvelopeError {
    /// Longer than [`BODY_BYTES_MAX`].
    TooLong,
    /// Not JSON, or not an object.
    NotJson {
        /// Line of the body, from 1.
        line: usize,
        /// Column of that line, from 1.
        column: usize,
    },
    /// No `entry` array.
    NoEntry,
}

/// Reads the events of a body whose signature was verified.
pub fn parse(_raw: &[u8]) -> Result<Vec<Event>, EnvelopeError> {
    todo!()
}
