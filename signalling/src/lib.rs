//! Minimal signalling for WhatsApp Business calls.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod graph;
pub mod sdp;
pub mod session;
pub mod verdict;
pub mod webhook;
