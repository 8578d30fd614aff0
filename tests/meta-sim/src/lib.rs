//! A stand-in for Meta's side of a WhatsApp Business call, and a judge of ours.
//!
//! Sans-IO inside ([`relay::Relay`], [`call::MetaCall`], [`oracle`]): bytes, JSON and `now` go in; bytes, webhooks and deadlines come out, so
//! whole calls run in virtual time. [`shell::Sim`] puts the same machine on loopback sockets. It shares no state machine with the engine or
//! with signalling: of the engine it uses time, randomness, the SRTP transform and Opus, nothing of ICE, DTLS or the call.

pub mod business;
pub mod call;
pub mod correlate;
pub mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod graph;
pub mod ledger;
pub mod load;
pub mod media;
pub mod office;
pub mod oracle;
pub mod permissions;
pub mod recut;
pub mod relay;
pub mod sdp;
pub mod shell;
pub mod timeline;
pub mod tls;
pub mod user;
pub mod webhooks;
pub mod wire;

#[cfg(test)]
mod testing;
