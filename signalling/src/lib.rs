//! Minimal signalling for WhatsApp Business calls.

pub mod graph;
pub mod sdp;
pub mod session;
pub mod verdict;
pub mod webhook;
