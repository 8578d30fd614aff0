//! Candidates and credentials as signalling sees them.

use core::net::SocketAddr;

/// Kind of a candidate (RFC 8445 section 5.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CandidateKind {
    /// The address of a local interface.
    Host,
    /// The address a STUN server, or configuration for a 1:1 NAT, says we have.
    ServerReflexive,
    /// Learned from a connectivity check.
    PeerReflexive,
    /// Lent by a TURN server.
    Relayed,
}

/// A transport address that ICE may use. Component is always 1 (I10), transport always UDP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The address to advertise or to send checks to.
    pub address: SocketAddr,
    /// Where it comes from.
    pub kind: CandidateKind,
    /// Priority (RFC 8445 section 5.1.2).
    pub priority: u32,
    /// Foundation: 1 to 32 ice-chars.
    pub foundation: String,
    /// The local socket's address behind it; equals `address` for host candidates. For remote candidates the `raddr`, if given.
    pub base: Option<SocketAddr>,
}

/// A username fragment and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Username fragment: ours 16 ice-chars; theirs any printable text without blank or colon (I5).
    pub ufrag: String,
    /// Password: ours 24 ice-chars; theirs as it stands in the SDP, `==` included (M4).
    pub pwd: String,
}

impl Credentials {
    /// Fresh credentials of ours.
    pub fn generate(_entropy: &mut dyn crate::rng::Entropy) -> Self {
        todo!()
    }
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).field("pwd", &"(redacted)").finish()
    }
}
