//! Interfaces for programs that drive calls themselves.

mod direct;
mod problem;

pub(crate) use direct::Direct;
pub use direct::SessionId;
