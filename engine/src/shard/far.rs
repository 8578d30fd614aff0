//! The sockets of a relay's far side, beside those of its call.
//!
//! Decides: when they are connected. Given: sockets that were bound elsewhere, and what the call says about its far side. Refuses: to read more than one datagram a
//! turn, like every socket of a shard.

use crate::call::{Call, FarSide, FarSocket};
use crate::net::MediaSocket;
use crate::time::Time;
use core::net::SocketAddr;

/// One or two sockets, and the port that is given back with them.
pub(crate) struct FarSockets {
    sockets: [Option<MediaSocket>; 2],
    connected_to: [Option<SocketAddr>; 2],
    /// The port of RTP, out of the engine's range.
    pub(crate) port: u16,
}

impl FarSockets {
    /// `rtcp` only where RTCP has a port of its own.
    pub(crate) fn new(rtp: MediaSocket, rtcp: Option<MediaSocket>, port: u16) -> Self {
        Self { sockets: [Some(rtp), rtcp], connected_to: [None; 2], port }
    }

    /// Each socket with its number, to be watched.
    pub(crate) fn each(&self) -> impl Iterator<Item = (usize, &MediaSocket)> {
        self.sockets.iter().enumerate().filter_map(|(i, socket)| Some((i, socket.as_ref()?)))
    }

    /// Reads one datagram of socket `number` and gives it to the call.
    pub(crate) fn receive(&self, number: usize, call: &mut Call, buffer: &mut [u8], now: Time) {
        let (Some(Some(socket)), Some(&which)) = (self.sockets.get(number), FarSocket::ALL.get(number)) else { return };
        if let Some((len, from)) = socket.receive(buffer) {
            call.handle_far_datagram(which, from, &buffer[..len], now);
        }
    }

    /// Sends what the call has for its far side.
    pub(crate) fn drain(&mut self, call: &mut Call, buffer: &mut [u8], now: Time) {
        for which in FarSocket::ALL {
            self.follow(which, call.far_remote(which));
        }
        while let Some((len, which, remote)) = call.poll_far_transmit(buffer, now) {
            self.send(which, &buffer[..len], remote);
        }
    }

    /// Sends the last words of a far side that was taken off its call.
    pub(crate) fn farewell(&self, far: &mut dyn FarSide, buffer: &mut [u8], now: Time) {
        far.close(now);
        while let Some((len, which)) = far.poll_transmit(buffer, now) {
            if let Some(remote) = far.remote(which) {
                self.send(which, &buffer[..len], remote);
            }
        }
    }

    fn send(&self, which: FarSocket, datagram: &[u8], remote: SocketAddr) {
        if let Some(socket) = &self.sockets[which as usize] {
            socket.send(datagram, remote);
        }
    }

    /// Connects a socket to where the far side is now: the kernel filters strangers, and remembers the route.
    fn follow(&mut self, which: FarSocket, remote: Option<SocketAddr>) {
        let number = which as usize;
        if remote == self.connected_to[number] {
            return;
        }
        if let (Some(socket), Some(address)) = (&mut self.sockets[number], remote) {
            // A refused connect leaves the socket as it was; the leg looks at every source all the same.
            let _ = socket.connect(address);
        }
        self.connected_to[number] = remote;
    }
}
