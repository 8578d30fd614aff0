//! One UDP socket of a call.
//!
//! Decides: its options. Refuses: addresses of peers; ICE names them.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

/// Receive buffer of a media socket in bytes: 200 ms of audio many times over, a third of the default (house.md 2.7).
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// DSCP "expedited forwarding" (RFC 8837 table 1, audio, high), shifted into the TOS byte. Checks carry the same as media (I38).
const TOS_EF: u32 = 46 << 2;

/// A non-blocking UDP socket bound to one address.
#[derive(Debug)]
pub(crate) struct MediaSocket {
    socket: UdpSocket,
    local: SocketAddr,
    /// The peer it is connected to.
    remote: Option<SocketAddr>,
}

impl MediaSocket {
    /// Binds `address`; port 0 lets the system choose.
    //= rules#I38
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        //= rfc8445#section-7.2.3  one socket for checks and media, one mark
        //= rfc7675#section-6  and for consent
        // Marking may be forbidden in a container; audio goes unmarked then.
        let _ = if address.is_ipv6() { socket.set_tclass_v6(TOS_EF) } else { socket.set_tos_v4(TOS_EF) };
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let local = socket.local_addr()?;
        Ok(Self { socket, local, remote: None })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Lets only `remote` through from now on: the kernel filters strangers before they cost us anything.
    pub(crate) fn connect(&mut self, remote: SocketAddr) -> io::Result<()> {
        self.socket.connect(remote)?;
        self.remote = Some(remote);
        Ok(())
    }

    /// One datagram, or none when nothing waits. ICMP errors of a connected socket are a hint that ICE does not need (I21).
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        match self.remote {
            // The kernel lets nobody else through, so nobody needs to ask whose it is.
            Some(remote) => self.socket.recv(buffer).ok().map(|len| (len, remote)),
            None => self.socket.recv_from(buffer).ok(),
        }
    }

    /// Sends one datagram. A full queue or an unreachable peer is weather: false.
    pub(crate) fn send(&self, datagram: &[u8], remote: SocketAddr) -> bool {
        if self.remote == Some(remote) { self.socket.send(datagram).is_ok() } else { self.socket.send_to(datagram, remote).is_ok() }
    }
}

impl AsFd for MediaSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sys;

    /// One socket sends the checks, the media and the consent of a call: what it marks, all of them carry.
    //= rfc8445#section-7.2.3 type=test
    //= rfc7675#section-6 type=test
    //= rules#I38 type=test
    #[test]
    fn expedited_forwarding_is_on_the_wire_before_and_after_the_pair_is_locked() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let address: SocketAddr = loopback.parse().expect("an address");
            let Ok(peer) = UdpSocket::bind(address) else { continue };
            peer.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("a timeout");
            let to = peer.local_addr().expect("bound");
            let mut socket = MediaSocket::bind(address).expect("a socket");
            // The option to be told must be set before the datagram comes.
            sys::want_tos(&peer).expect("the option");
            assert!(socket.send(&[0; 100], to));
            assert_eq!(sys::receive_tos(&peer).expect("a check"), (0xB8, 100), "{loopback}: DSCP 46");
            socket.connect(to).expect("connected");
            assert!(socket.send(&[0; 172], to));
            assert_eq!(sys::receive_tos(&peer).expect("media"), (0xB8, 172), "{loopback}: the same mark");
        }
    }
}
