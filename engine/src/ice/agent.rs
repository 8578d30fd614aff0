//! The agent.

use super::{Candidate, Credentials};
use crate::error::{DropReason, EndReason};
use crate::rng::Entropy;
use crate::time::{Span, Time};
use core::net::SocketAddr;

/// A local and a remote transport address: which of the call's sockets, and the peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Address of the local socket (the base).
    pub local: SocketAddr,
    /// Address of the peer.
    pub remote: SocketAddr,
}

/// Timing and policy of the agent.
#[derive(Clone, Debug)]
pub struct IceConfig {
    /// Pace of checks (Ta).
    pub ta: Span,
    /// How long a valid pair of lower priority waits for a better one (I24).
    pub nomination_grace: Span,
    /// Give up when no pair is nominated this long after the remote parameters were set.
    pub patience: Span,
}

impl Default for IceConfig {
    fn default() -> Self {
        todo!()
    }
}

/// What the agent tells its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IceEvent {
    /// The success response to the nominating check arrived: DTLS may start on this path (I26). Happens once.
    Nominated {
        /// The pair's base and remote address.
        path: Path,
        /// Round-trip time of the last check on the pair.
        rtt: Span,
    },
    /// The agent is finished: no pair, or consent lost. Nothing more may be sent (I32).
    Failed(EndReason),
}

/// The agent.
pub struct Agent {
    _private: (),
}

impl Agent {
    /// An agent with these local candidates. `locals` hold host candidates (base = socket address) and optional reflexive ones.
    pub fn new(_config: IceConfig, _credentials: Credentials, _locals: Vec<Candidate>, _entropy: &mut dyn Entropy) -> Self {
        todo!()
    }
    /// Starts checks towards the peer. Called once; a second call changes nothing and returns false.
    pub fn set_remote(&mut self, _credentials: Credentials, _lite: bool, _remotes: &[Candidate], _now: Time) -> bool {
        todo!()
    }
    /// Takes a datagram that `demux` sorted as STUN.
    pub fn handle_stun(&mut self, _path: Path, _datagram: &[u8], _now: Time) -> Result<(), DropReason> {
        todo!()
    }
    /// Takes the time.
    pub fn handle_timeout(&mut self, _now: Time) {
        todo!()
    }
    /// Writes the next datagram to send, if any, and says where it goes.
    pub fn poll_transmit(&mut self, _out: &mut [u8], _now: Time) -> Option<(usize, Path)> {
        todo!()
    }
    /// The next event.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        todo!()
    }
    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        todo!()
    }
    /// The nominated path.
    pub fn selected(&self) -> Option<Path> {
        todo!()
    }
    /// Smoothed round-trip time of the selected path.
    pub fn rtt(&self) -> Option<Span> {
        todo!()
    }
}
