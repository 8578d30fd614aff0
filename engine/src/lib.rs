//! Media engine for calls on the WhatsApp Business Calling API: the other end of Meta's media relay, without a WebRTC stack.
//!
//! ```text
//!                 +--------------------------- Call ---------------------------+
//!  datagrams  --> | STUN -> ice     one pair, nominated once                   | --> Incoming (Opus packets or PCM)
//!  (per path)     | DTLS -> dtls    only on that pair, fingerprint proven      |
//!                 | SRTP -> srtp -> rtp -> jitter -> codec                     | <-- Outgoing (PCM, Opus, nothing)
//!  datagrams  <-- |                 one SSRC, 20 ms, behind the egress gate    |
//!                 +------------------------------------------------------------+
//! ```
//!
//! Three levels of embedding:
//!
//! 1. [`call::Call`]: bytes and `now` in, bytes, events and deadlines out. The host owns sockets, clock and thread. Builds without the `io` feature.
//! 2. [`engine::HostShard`]: a thread of the host turns it; one descriptor stands for all its calls.
//! 3. [`engine::Engine`]: we start and pin the threads, bind the ports, and give out handles and events.
//!
//! Each has a program in `engine/examples`; `docs/EMBEDDING.md` says what each asks of its host.
//!
//! What it does not do: HTTP, JSON, SDP text (package `tipring-signalling`), any async runtime, and waiting. A datagram never is an error; it is taken, or dropped
//! and counted under a [`error::DropReason`]. A call ends once, with one [`error::EndReason`].
//!
//! ```no_run
//! # #[cfg(feature = "io")] {
//! use tipring_engine::bridge::Echo;
//! use tipring_engine::call::{CallEvent, RemoteParams, SetupRole};
//! use tipring_engine::engine::{Engine, EngineConfig};
//! use tipring_engine::time::Span;
//!
//! # fn peer_of(_our_side: tipring_engine::call::LocalParams) -> RemoteParams { panic!() }
//! let engine = Engine::start(EngineConfig::default()).expect("a host with an address");
//! let (call, local) = engine.open_call(SetupRole::Active, Box::new(Echo::default())).expect("room for a call");
//! // Signalling turns `local` into the SDP answer, and the offer into the peer's parameters.
//! engine.set_remote(call, peer_of(local)).expect("a peer we can work with");
//! while let Some((id, event)) = engine.next_event(Span::from_secs(1)) {
//!     match event {
//!         CallEvent::MediaReady => { /* send `accept`; on its 200: */ engine.open_gate(id).expect("the call is there") }
//!         CallEvent::Ended(ended) => { println!("{}", ended.reason.code()); break }
//!         _ => {}
//!     }
//! }
//! # }
//! ```

#[cfg(feature = "io")]
pub mod bridge;
pub mod call;
pub mod codec;
pub mod dtls;
pub mod dtmf;
#[cfg(feature = "io")]
pub mod engine;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod ice;
pub mod jitter;
pub mod keying;
pub mod limits;
#[cfg(feature = "io")]
pub mod net;
pub mod rng;
pub mod rtp;
#[cfg(feature = "io")]
mod shard;
pub mod srtp;
pub mod time;
pub mod wire;
