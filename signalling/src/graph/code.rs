//! What each error number of Meta means for a call, and what to do about it (2.7).

/// Whether and how to try again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retry {
    /// Never: it would fail again.
    Never,
    /// Once, soon.
    Once,
    /// Later, with growing pauses.
    BackOff,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeInfo {
    /// Number.
    pub code: u32,
    /// What it means, one sentence.
    pub meaning: &'static str,
    /// Whether to try again.
    pub retry: Retry,
    /// What a person can do about it.
    pub advice: &'static str,
}

/// The row of `code`.
pub fn lookup(_code: u32) -> Option<&'static CodeInfo> {
    todo!()
}
