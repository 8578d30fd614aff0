//! A bare UDP echo over as many sockets as there would be calls: what the kernel alone costs, for benches to compare with.
//!
//! Decides: nothing. It is the plainest program that could serve one port per call: wait, read one datagram per ready socket, send it back to whoever sent it. No crypto,
//! nothing parsed, no batching, sockets not connected.

use super::{Epoll, MediaSocket, pin_to_core};
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// The sockets of a bare echo.
pub struct BareEcho {
    epoll: Epoll,
    sockets: Vec<MediaSocket>,
}

impl BareEcho {
    /// Binds `count` sockets on `address`, ports of the system's choice.
    pub fn bind(address: IpAddr, count: usize) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let mut sockets = Vec::with_capacity(count);
        for token in 0..count {
            let socket = MediaSocket::bind(SocketAddr::new(address, 0))?;
            epoll.add(&socket, token as u64)?;
            sockets.push(socket);
        }
        Ok(Self { epoll, sockets })
    }

    /// The addresses, one per call.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(MediaSocket::local).collect()
    }

    /// Echoes on the calling thread, pinned to `core` if one is given, until told to stop; looks at `stop` at least ten times a second.
    pub fn run(mut self, core: Option<usize>, stop: &AtomicBool) -> io::Result<()> {
        if let Some(core) = core {
            pin_to_core(core)?;
        }
        let mut buffer = [0; 2_048];
        while !stop.load(Ordering::Relaxed) {
            for token in self.epoll.wait(100)?.tokens() {
                let socket = &self.sockets[token as usize];
                if let Some((len, from)) = socket.receive(&mut buffer) {
                    socket.send(&buffer[..len], from);
                }
            }
        }
        Ok(())
    }
}
