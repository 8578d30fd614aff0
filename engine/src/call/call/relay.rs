//! The far side of a relay: what a forwarding port has goes out at once, and its sockets speak through the call.
//!
//! Given: packets of the far side, and the port. Decides: whether one may leave now. Refuses: to know what the far side is (`FarSide` does), and to wait for a tick.

use super::*;

impl Call {
    /// Sends what a forwarding port has, until there is nothing more.
    pub(super) fn next_forwarded(&mut self, scratch: &mut Scratch, out: &mut [u8], now: Time) -> Option<usize> {
        let (Some(media), Some(clock)) = (&mut self.media, &mut self.clock) else { return None };
        if !self.gate_open || self.state != State::Ready {
            return None;
        }
        while self.forwarding.may_send(self.port.has_forward(), now)
            && let Some(forward) = self.port.poll_forward(&mut scratch.frame)
        {
            // Silence that was due gives way: the source has something to say.
            let opus = &scratch.frame.opus[..];
            let (port, source, digits, stats) = (self.port.as_mut(), &mut self.source, &mut self.digits, &mut self.stats);
            let had_digits = !digits.is_done();
            match self.forwarding.send(forward, opus, media, port, source, digits, clock, stats, out, now) {
                Ok(len) => {
                    self.stats.last_rtp_out = Some(now);
                    if self.egress.alive(now) {
                        self.media_back(now);
                    }
                    if had_digits && self.digits.is_done() {
                        self.recorder.note(Moment::DigitsSent, now);
                        self.push_event(CallEvent::DigitsSent);
                    }
                    self.note_first_rtp_out(now);
                    return Some(len);
                }
                Err(reason) => self.stats.drops.count(reason),
            }
        }
        None
    }

    /// Takes a datagram that the far side of a relay sent. Ports without a far side drop it.
    pub fn handle_far_datagram(&mut self, socket: FarSocket, from: SocketAddr, datagram: &[u8], now: Time) {
        if let Some(far) = self.port.far_mut() {
            far.handle_datagram(socket, from, datagram, now);
        }
    }

    /// Takes a command for the far side of a relay; false when the port has none.
    pub fn handle_far_command(&mut self, command: FarCommand, now: Time) -> bool {
        self.touched = true;
        self.port.far_mut().map(|far| far.handle_command(command, now)).is_some()
    }

    /// Writes the next datagram for the far side into `out`, and says through which socket it goes and to whom. Drained like `poll_transmit`.
    pub fn poll_far_transmit(&mut self, out: &mut [u8], now: Time) -> Option<(usize, FarSocket, SocketAddr)> {
        let far = self.port.far_mut()?;
        loop {
            let (len, socket) = far.poll_transmit(out, now)?;
            if let Some(remote) = far.remote(socket) {
                return Some((len, socket, remote));
            }
        }
    }

    /// The address that a socket of the far side talks to, once it is settled: the socket may be connected to it.
    pub fn far_remote(&self, socket: FarSocket) -> Option<SocketAddr> {
        self.port.far().filter(|far| !far.is_learning())?.remote(socket)
    }
}
