//! The far side of a relay: what a port with sockets of its own is asked by the shard that owns them.
//!
//! Decides: the contract. Given: datagrams, commands and the time. Refuses: sockets; the shard binds, connects, reads and writes them.

use crate::error::DropCounts;
use crate::jitter::JitterStats;
use crate::rtp::RemoteStats;
use crate::time::Time;
use core::net::SocketAddr;

/// Which of the far side's two sockets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FarSocket {
    /// RTP, and RTCP as well when both share a port (RFC 5761).
    Rtp = 0,
    /// RTCP on the next port (RFC 3550 section 11).
    Rtcp = 1,
}

impl FarSocket {
    /// Both, in order of their number.
    pub const ALL: [Self; 2] = [Self::Rtp, Self::Rtcp];
}

/// Who may speak, seen from us (RFC 3264 section 8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// Only we: what the far side says is dropped and counted.
    SendOnly,
    /// Only the far side.
    RecvOnly,
    /// Nobody; RTCP goes on.
    Inactive,
}

impl Direction {
    /// Whether we may speak.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the far side may speak.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// What a host may change in a running far side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FarCommand {
    /// Send to, and take from, this address from now on.
    Remote(SocketAddr),
    /// Hold, mute or resume.
    Direction(Direction),
}

/// Figures of a far side. Single writer.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FarStats {
    /// Where it is, if that is known yet.
    pub remote: Option<SocketAddr>,
    /// RTP packets taken from it.
    pub rtp_in: u64,
    /// RTP packets sent to it.
    pub rtp_out: u64,
    /// RTP payload octets sent to it.
    pub rtp_octets_out: u64,
    /// RTCP compounds taken from it.
    pub rtcp_in: u64,
    /// RTCP compounds sent to it.
    pub rtcp_out: u64,
    /// Packets of it that came after a later one.
    pub late: u64,
    /// Its jitter buffer, when its audio is transcoded.
    pub jitter: JitterStats,
    /// Reception and its reports.
    pub reception: RemoteStats,
    /// Datagrams of it, and packets for it, that went nowhere.
    pub drops: DropCounts,
}

/// The far side of a relay.
///
/// Contract as for a call: after every `handle_*` and command, drain [`Self::poll_transmit`], then read [`Self::poll_timeout`]. Nothing allocates on the packet path.
pub trait FarSide {
    /// Takes a datagram that came in on one of its sockets.
    fn handle_datagram(&mut self, socket: FarSocket, from: SocketAddr, datagram: &[u8], now: Time);

    /// Takes the time: reports.
    fn handle_timeout(&mut self, now: Time);

    /// Takes a command of the host.
    fn handle_command(&mut self, command: FarCommand, now: Time);

    /// Writes the next datagram for the far side into `out` and says through which socket it goes; its address is [`Self::remote`] of that socket.
    fn poll_transmit(&mut self, out: &mut [u8], now: Time) -> Option<(usize, FarSocket)>;

    /// When `handle_timeout` wants to be called.
    fn poll_timeout(&self) -> Option<Time>;

    /// The call is over: a BYE may wait in `poll_transmit`.
    fn close(&mut self, now: Time);

    /// The address that a socket talks to, once known. The shard connects the socket to it.
    fn remote(&self, socket: FarSocket) -> Option<SocketAddr>;

    /// Whether the address may still change by what comes in: the sockets stay open to anybody until then.
    fn is_learning(&self) -> bool {
        false
    }

    /// Figures so far.
    fn stats(&self) -> FarStats;
}
