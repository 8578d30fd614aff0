//! Level 3 of embedding: pinned shard threads, admission, handles, drain.
//!
//! Decides: which shard and port a call gets, and whether there is room. Is given: a configuration, once. Refuses: SDP, HTTP, tenants.
//! Every call below is bounded and never waits for a shard.

use crate::call::{CallEvent, CallStats, LocalParams, MediaPort, RemoteParams, SetupRole};
use crate::error::{AdmitError, EndReason, SetupError};
use crate::time::Span;
use core::net::IpAddr;
use core::ops::RangeInclusive;

/// Names one call of one engine, for its whole life and never again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// Limits and addresses. Plain data, checked once by [`Engine::start`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Local addresses to bind and advertise: at most one IPv4 and one IPv6.
    pub addresses: Vec<IpAddr>,
    /// Public addresses that a 1:1 NAT maps them to, advertised instead.
    pub public_addresses: Vec<IpAddr>,
    /// Loopback addresses may be bound, advertised and sent to. For tests and the demo.
    pub allow_loopback: bool,
    /// Local UDP ports.
    pub ports: RangeInclusive<u16>,
    /// Cores to pin shards to; empty: one shard, not pinned.
    pub cores: Vec<usize>,
    /// Calls per shard.
    pub calls_max_per_shard: usize,
    /// Handshakes in flight per shard.
    pub handshakes_max: usize,
    /// SRTP profiles to offer, best first.
    pub profiles: Vec<crate::keying::Profile>,
    /// Opus encoder complexity, 0 to 10.
    pub complexity: u8,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            public_addresses: Vec::new(),
            allow_loopback: false,
            ports: 40_000..=49_999,
            cores: Vec::new(),
            calls_max_per_shard: 2_000,
            handshakes_max: 200,
            profiles: vec![crate::keying::Profile::AeadAes128Gcm, crate::keying::Profile::Aes128CmSha1_80],
            complexity: 5,
        }
    }
}

/// The engine. `Send + Sync`; dropping it ends every call.
pub struct Engine {
    _private: (),
}

/// Why the engine did not start: what, where, what to do.
#[derive(Debug)]
pub struct StartError(pub String);

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for StartError {}

impl Engine {
    /// Checks the configuration, makes the certificate, starts and pins the shards.
    pub fn start(_config: EngineConfig) -> Result<Self, StartError> {
        todo!()
    }

    /// Binds a port, makes credentials, and puts the call on a shard. `role` is what our SDP says: `Active` to answer, `ActPass` to offer.
    pub fn open_call(&self, _role: SetupRole, _port: Box<dyn MediaPort>) -> Result<(CallId, LocalParams), AdmitError> {
        todo!()
    }

    /// Gives the call its peer: checks start. Refuses parameters that cannot work, and a second set.
    pub fn set_remote(&self, _call: CallId, _remote: RemoteParams) -> Result<(), CommandError> {
        todo!()
    }

    /// Opens the egress gate: `accept` answered 200.
    pub fn open_gate(&self, _call: CallId) -> Result<(), CommandError> {
        todo!()
    }

    /// Exchanges the host's end of the audio; the peer notices nothing.
    pub fn attach(&self, _call: CallId, _port: Box<dyn MediaPort>) -> Result<(), CommandError> {
        todo!()
    }

    /// Ends the call: BYE, close_notify, port into quarantine, `Ended` as the last event.
    pub fn close(&self, _call: CallId, _reason: EndReason) -> Result<(), CommandError> {
        todo!()
    }

    /// Asks for the figures of a running call; they come with the next turn of its shard, bounded by `wait`.
    pub fn stats(&self, _call: CallId, _wait: Span) -> Option<CallStats> {
        todo!()
    }

    /// The next event of any call. Waits at most `wait`. One thread at a time.
    pub fn next_event(&self, _wait: Span) -> Option<(CallId, CallEvent)> {
        todo!()
    }

    /// Calls that have not ended.
    pub fn calls(&self) -> usize {
        todo!()
    }

    /// Refuses new calls from now on (`AdmitError::Draining`).
    pub fn drain(&self) {
        todo!()
    }
}

/// Why a command did not reach its call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// No room, or no such call.
    Admit(AdmitError),
    /// The peer's parameters cannot work.
    Setup(SetupError),
}

impl core::fmt::Display for CommandError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Admit(e) => e.fmt(f),
            Self::Setup(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for CommandError {}
