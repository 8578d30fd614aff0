//! Fuzz body of the ICE agent: a list of operations, played by a peer that knows the passwords and one that does not.

use super::peer::{THEIR_PWD, THEIR_UFRAG, local, remote};
use crate::error::EndReason;
use crate::ice::{Agent, Candidate, CandidateKind, CheckPacing, Credentials, IceConfig, IceEvent, Path};
use crate::rng::SeededRng;
use crate::time::{Span, Time};
use crate::wire::stun::{Class, IntegrityKey, StunView, StunWriter, TransactionId};
use core::net::SocketAddr;

/// Reads `data` as operations on an agent. Asserts: at most one nomination and one failure, in this order; USE-CANDIDATE on two pairs at
/// most; nothing sent after failure; every drain ends; the next deadline lies ahead.
pub fn fuzz_ice_agent(data: &[u8]) {
    play(data);
}

fn play(data: &[u8]) -> World {
    let mut input = Input(data);
    let flags = input.byte();
    let mut world = World::new(flags);
    if flags & 0x40 == 0 {
        world.set_remote(2 + (flags >> 1 & 3));
    }
    // Each operation costs at least a byte of input, so the list is as bounded as the input is.
    while let Some(operation) = input.next() {
        match operation % 8 {
            0 => world.pass(Span::from_millis(u64::from(input.byte()))),
            1 => world.pass(Span::from_millis(u64::from(input.byte()) * 100)),
            2 => world.answer(&mut input, true),
            3 => world.answer(&mut input, false),
            4 => world.ask(&mut input, true),
            5 => world.ask(&mut input, false),
            6 => {
                let path = world.path(input.byte());
                let length = usize::from(input.byte());
                world.deliver(path, input.take(length));
            }
            _ => world.set_remote(input.byte()),
        }
    }
    world
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        head
    }
}

struct World {
    agent: Agent,
    now: Time,
    ours: Credentials,
    /// The newest requests of ours, newest last.
    sent: Vec<(TransactionId, Path)>,
    nominated_paths: Vec<Path>,
    selected: Option<Path>,
    failed: Option<EndReason>,
    gathers: bool,
    gathered: bool,
}

impl World {
    fn new(flags: u8) -> Self {
        let pacing = if flags & 1 == 0 { CheckPacing::Eager } else { CheckPacing::Rfc8445 };
        let mut entropy = SeededRng::new(u64::from(flags));
        let ours = Credentials::generate(&mut entropy);
        let locals = vec![Candidate::host(local(4), 65_535), Candidate::host(local(6), 65_534)];
        let stun_servers = if flags & 0x30 != 0x30 { Vec::new() } else { vec![stun_server()] };
        let mut agent = Agent::new(IceConfig { pacing, stun_servers, ..IceConfig::default() }, ours.clone(), locals, &mut entropy);
        let gathers = agent.start_gathering(Time::ZERO);
        let mut world = Self {
            agent,
            now: Time::ZERO,
            ours,
            sent: Vec::new(),
            nominated_paths: Vec::new(),
            selected: None,
            failed: None,
            gathers,
            gathered: false,
        };
        world.drain();
        world
    }

    fn path(&self, choice: u8) -> Path {
        let family = if choice & 1 == 0 { 4 } else { 6 };
        let local = local(if choice & 0x80 == 0 { family } else { 10 - family });
        Path { local, remote: remote(family, u16::from(choice >> 1 & 15)) }
    }

    fn set_remote(&mut self, count: u8) {
        let remotes: Vec<_> = (0..u16::from(count % 12))
            .map(|i| Candidate::remote(remote(if i % 2 == 0 { 4 } else { 6 }, i), CandidateKind::Host, u32::from(count) << i, "1"))
            .collect();
        let theirs = Credentials { ufrag: THEIR_UFRAG.into(), pwd: THEIR_PWD.into() };
        self.agent.set_remote(theirs, count & 0x80 == 0, &remotes, self.now);
        self.drain();
    }

    fn pass(&mut self, span: Span) {
        self.now += span;
        self.agent.handle_timeout(self.now);
        self.drain();
    }

    /// An answer to one of our requests.
    fn answer(&mut self, input: &mut Input<'_>, is_success: bool) {
        let (which, flags) = (usize::from(input.byte() & 7), input.byte());
        // Half of the answers break nothing: else hardly a list would come as far as nomination.
        let flags = if flags & 0x80 == 0 { flags & 0x0C } else { flags << 1 | flags >> 6 & 1 };
        let Some(&(id, path)) = self.sent.iter().rev().nth(which % self.sent.len().max(1)) else { return };
        let mut out = [0; 200];
        let mut writer = StunWriter::new(&mut out, if is_success { Class::Success } else { Class::Error }, id);
        if flags & 1 == 0 {
            let seen = if path.remote == stun_server() { remote(4, 77) } else { path.local };
            writer.xor_mapped_address(if flags & 2 == 0 { seen } else { remote(6, 99) });
        }
        if !is_success {
            writer.error_code([400, 403, 487, 500][usize::from(flags >> 2 & 3)], "");
        }
        if flags & 0x30 == 0x30 {
            writer.attribute(0x7FFF, &[flags]);
        }
        let key = IntegrityKey::new(if flags & 0x40 == 0 { THEIR_PWD } else { "guess" }.as_bytes());
        let length = writer.finish(Some(&key)).expect("it fits");
        let from = if flags & 0x80 == 0 { path } else { self.path(flags) };
        self.deliver(from, &out[..length]);
    }

    /// A request to us.
    fn ask(&mut self, input: &mut Input<'_>, is_signed: bool) {
        let (from, flags) = (self.path(input.byte()), input.byte());
        let mut out = [0; 300];
        let mut writer = StunWriter::new(&mut out, Class::Request, TransactionId([flags; 12]));
        writer.username(&self.ours.ufrag, THEIR_UFRAG);
        if flags & 1 == 0 {
            writer.priority(u32::from(flags) << 23);
        }
        match flags >> 1 & 3 {
            0 => writer.controlled(1),
            1 => writer.controlling(u64::MAX),
            2 => writer.use_candidate(),
            _ => writer.attribute(u16::from(flags), &[]),
        };
        let key = IntegrityKey::new(if is_signed { &self.ours.pwd } else { "guess" }.as_bytes());
        let length = writer.finish(Some(&key)).expect("it fits");
        self.deliver(from, &out[..length]);
    }

    fn deliver(&mut self, path: Path, datagram: &[u8]) {
        let _ = self.agent.handle_stun(path, datagram, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut out = [0; crate::limits::SEND_BYTES_MAX];
        let mut drained = 0;
        while let Some((length, path)) = self.agent.poll_transmit(&mut out, self.now) {
            drained += 1;
            assert!(drained <= 64, "a drain ends");
            assert!(self.failed.is_none(), "nothing is sent after failure");
            let message = StunView::new_checked(&out[..length]).expect("we send well-formed messages");
            if message.class() != Class::Request {
                continue;
            }
            if path.remote == stun_server() {
                assert!(self.gathers && !self.gathered && message.username().is_none() && !message.has_integrity());
                self.sent.push((message.id(), path));
                continue;
            }
            assert!(message.controlling().is_some() && message.controlled().is_none());
            assert!(self.selected.is_none_or(|selected| selected == path), "the pair is locked");
            if message.use_candidate() && !self.nominated_paths.contains(&path) {
                assert!(self.selected.is_none() && self.nominated_paths.len() < 2);
                self.nominated_paths.push(path);
            }
            self.sent.push((message.id(), path));
        }
        while let Some(event) = self.agent.poll_event() {
            assert!(self.failed.is_none());
            match event {
                IceEvent::Gathered => {
                    assert!(self.gathers && !self.gathered, "once, and only if there was something to ask");
                    self.gathered = true;
                    assert!(self.agent.local_candidates().len() <= 4);
                }
                IceEvent::Nominated { path, .. } => {
                    assert!(self.selected.is_none() && self.nominated_paths.contains(&path));
                    self.selected = Some(path);
                }
                IceEvent::Failed(reason) => self.failed = Some(reason),
            }
        }
        assert!(self.agent.poll_timeout().is_none_or(|t| t > self.now), "the next deadline lies ahead");
        assert_eq!(self.agent.selected(), self.selected.filter(|_| self.failed.is_none()));
    }
}

fn stun_server() -> SocketAddr {
    SocketAddr::from(([10, 77, 99, 99], 3_478))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Entropy;

    #[test]
    fn seeded_operation_lists_keep_the_invariants_and_reach_every_state() {
        let mut rng = SeededRng::new(0xACE);
        let (mut selected, mut second, mut found, mut ends) = (0, 0, 0, Vec::new());
        for _ in 0..9_000 {
            let mut data = vec![0; rng.below(160) as usize];
            rng.fill(&mut data);
            let world = play(&data);
            selected += usize::from(world.selected.is_some());
            second += usize::from(world.nominated_paths.len() == 2);
            found += usize::from(world.agent.local_candidates().len() > 2);
            ends.extend(world.failed);
        }
        // Were these not reached, the invariants would be proven of nothing.
        assert!(selected > 200 && second > 5 && found > 20, "{selected}, {second}, {found}");
        for end in [EndReason::IceNoCandidates, EndReason::ConsentLost, EndReason::IceNominationFailed, EndReason::IceTimeout] {
            assert!(ends.contains(&end), "{end:?} {selected} {second}");
        }
    }

    #[test]
    fn a_peer_that_plays_fair_is_nominated_and_then_lost_in_silence() {
        let mut world = World::new(0);
        world.set_remote(2);
        for step in 0..6 {
            world.answer(&mut Input(&[0, 0]), true);
            world.pass(Span::from_millis(20 * step));
        }
        assert!(world.selected.is_some());
        world.pass(Span::from_secs(31));
        assert_eq!(world.failed, Some(EndReason::ConsentLost));
    }
}
