//! Interfaces for programs that drive calls themselves.

mod direct;
mod problem;

pub use direct::SessionId;
pub(crate) use direct::Direct;
