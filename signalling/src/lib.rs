//! Minimal signalling for WhatsApp Business calls.

#[cfg(feature = "daemon")]
pub mod audio;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod control;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod graph;
#[cfg(feature = "daemon")]
pub mod ng;
pub mod sdp;
pub mod session;
#[cfg(feature = "daemon")]
pub mod shell;
#[cfg(feature = "daemon")]
pub mod stream;
pub mod verdict;
pub mod webhook;
