//! One DTLS connection of a call.

use super::{Certificate, Fingerprint};
use crate::error::{DropReason, EndReason, SetupError};
use crate::keying::{Keying, Profile};
use crate::time::{Span, Time};

/// Which side sends the ClientHello.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DtlsRole {
    /// We do (`a=setup:active` on our side): the rule with Meta.
    Client,
    /// The peer does.
    Server,
}

/// Timing and policy of the handshake.
#[derive(Clone, Debug)]
pub struct DtlsConfig {
    /// SRTP profiles we offer, best first.
    pub profiles: Vec<Profile>,
    /// First retransmission, unless twice the path's RTT is longer; doubles.
    pub retransmit_first: Span,
    /// Longest pause between retransmissions.
    pub retransmit_max: Span,
    /// Give up this long after the start.
    pub patience: Span,
    /// Largest datagram, in bytes.
    pub mtu_bytes: usize,
}

impl Default for DtlsConfig {
    fn default() -> Self {
        todo!()
    }
}

/// What every connection of a process shares: certificate, TLS library context, configuration. Cheap to clone (`Arc` inside), `Send + Sync`.
#[derive(Clone)]
pub struct DtlsContext {
    _private: (),
}

impl DtlsContext {
    /// Builds the library context.
    pub fn new(_config: DtlsConfig, _certificate: Certificate) -> Result<Self, SetupError> {
        todo!()
    }
    /// Fingerprint of our certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        todo!()
    }
}

/// What the connection tells its call.
#[derive(Debug)]
pub enum DtlsEvent {
    /// Handshake complete and fingerprint verified. Happens once.
    Connected(Keying),
    /// The handshake or connection is over.
    Failed(EndReason),
}

/// One connection. `Send`, not `Sync`.
pub struct Dtls {
    _private: (),
}

impl Dtls {
    /// Starts: a client has its first flight ready at once. `peer` are the acceptable fingerprints; at least one.
    /// `rtt` is the path's round-trip time as ICE measured it.
    pub fn new(_context: &DtlsContext, _role: DtlsRole, _peer: &[Fingerprint], _rtt: Span, _now: Time) -> Result<Self, SetupError> {
        todo!()
    }
    /// Takes a datagram that `demux` sorted as DTLS, from the selected path.
    pub fn handle_datagram(&mut self, _datagram: &[u8], _now: Time) -> Result<(), DropReason> {
        todo!()
    }
    /// Takes the time.
    pub fn handle_timeout(&mut self, _now: Time) {
        todo!()
    }
    /// Writes the next datagram to send into `out` and returns its length.
    pub fn poll_transmit(&mut self, _out: &mut [u8]) -> Option<usize> {
        todo!()
    }
    /// The next event.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        todo!()
    }
    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        todo!()
    }
    /// Queues a close_notify.
    pub fn close(&mut self) {
        todo!()
    }
    /// Whether the handshake is complete and verified.
    pub fn is_connected(&self) -> bool {
        todo!()
    }
}
