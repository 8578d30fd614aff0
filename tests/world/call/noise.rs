//! Garbage from nowhere or from the relay's own address.
//!
//! Given: a seed. Decides: what is thrown at our ports. Refuses: to know a key.

use super::{OUR_V4, OUR_V6, RELAY_V4, RELAY_V6, STRANGER_V4, STRANGER_V6, Thing, World, at};
use tipring_engine::ice::Path;
use tipring_engine::limits::DATAGRAM_BYTES_MAX;
use tipring_engine::rng::Entropy;

impl World {
    /// One datagram that no honest peer would send.
    pub(super) fn make_noise(&mut self) {
        let Some(noise) = self.plan.noise else { return };
        let is_v6 = self.dice.below(2) == 1;
        let local = at(if is_v6 { OUR_V6 } else { OUR_V4 });
        let remote = at(match (noise.from_relay, is_v6) {
            (true, false) => RELAY_V4,
            (true, true) => RELAY_V6,
            (false, false) => STRANGER_V4,
            (false, true) => STRANGER_V6,
        });
        let mut bytes = self.garbage();
        if let Some(tenant) = &mut self.tenant {
            self.outcome.noise += 1;
            tenant.call.handle_datagram(Path { local, remote }, &mut bytes, self.now);
        }
        if !self.is_over() {
            self.agenda.schedule(self.now + noise.every, Thing::Noise);
        }
    }

    fn garbage(&mut self) -> Vec<u8> {
        if !self.plan.hostile.is_empty() {
            let turn = self.outcome.noise as usize % self.plan.hostile.len();
            return self.plan.hostile[turn].clone();
        }
        let len = self.dice.below(DATAGRAM_BYTES_MAX as u64 + 2) as usize;
        let mut bytes = vec![0; len];
        self.dice.fill(&mut bytes);
        let mut id = [0; 12];
        self.dice.fill(&mut id);
        match self.dice.below(8) {
            // A Binding success that proves nothing, a Binding request, and one cut short.
            0 => [&[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], &id[..]].concat(),
            1 => [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], &id[..]].concat(),
            2 => [&[0, 1, 0, 64, 0x21, 0x12, 0xa4, 0x42], &id[..7]].concat(),
            // An alert in clear: fatal, handshake_failure; and close_notify.
            3 => vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
            4 => vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0],
            // The user's own stream, far ahead, with a tag that cannot hold.
            5 => match &self.last_rtp {
                Some((_, last)) => {
                    let mut forged = last.clone();
                    forged[2] = forged[2].wrapping_add(40);
                    if let Some(byte) = forged.last_mut() {
                        *byte ^= 0x55;
                    }
                    forged
                }
                None => [&[0x80, 111], &bytes[..]].concat(),
            },
            6 => [&[0x81, 201], &bytes[..]].concat(),
            _ => bytes,
        }
    }
}
