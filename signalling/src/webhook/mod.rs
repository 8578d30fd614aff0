//! Events that Meta posts to us: proven, parsed, and told once.

pub mod dedup;
#[cfg(feature = "daemon")]
pub mod envelope;
pub mod intake;
#[cfg(feature = "daemon")]
pub mod signature;
