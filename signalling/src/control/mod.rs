//! Interfaces for programs that drive calls themselves.

mod direct;
mod problem;
#[cfg(test)]
mod tests;

pub(crate) use direct::Direct;
pub use direct::SessionId;
#[cfg(test)]
pub(crate) use tests::OFFER as TEST_OFFER;
