//! A crowd of callers, for benches: each is Meta's relay to one call, reduced to what a load needs. ICE-lite, DTLS server, SRTP, one packet every 20 ms.
//!
//! Decides: who sends when (the crowd is spread over the 20 ms), what came back and how late. Given: the words of each call's SDP. Refuses: audio, faults, verdicts:
//! `relay.rs` has those. The callers share one thread and read the clock; what they cost is not what a bench reports.

use crate::tls::{Identity, Tls, TlsEvent, TlsRole};
use crate::wire::{self, Kind, Stun, StunWriter};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tipring_engine::codec::g711::Law;
use tipring_engine::keying::Profile;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::srtp;
use tipring_engine::time::Time;

/// Bytes of a probe: what 20 ms of Opus at 32 kbit/s take.
const PROBE_BYTES: usize = 80;
/// TOC byte of a probe: SILK, wide band, one frame of 20 ms (RFC 6716 section 3.1).
const PROBE_TOC: u8 = 9 << 3;
/// Marks a probe, behind the TOC byte.
const PROBE_MARK: [u8; 3] = *b"ldp";
/// Where a probe says when it left: nanoseconds of the crowd's clock.
const PROBE_STAMP: core::ops::Range<usize> = 6..14;
/// Slots of a millisecond over which the crowd is spread.
const SLOTS: usize = 20;
/// Packets in flight that a caller remembers.
const FLYING_MAX: usize = 16;
/// A packet that nothing came back for by then is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// Time between two looks at the sockets that something is expected on.
const LOOK: Duration = Duration::from_micros(200);

/// What a caller speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Speech {
    /// Opus: the crowd's speech, or probes.
    #[default]
    Opus,
    /// 20 ms of PCMU.
    Pcmu,
}

impl Speech {
    /// Payload type and RTP ticks of 20 ms.
    const fn of_frame(self) -> (u8, u32) {
        match self {
            Self::Opus => (111, 960),
            Self::Pcmu => (0, 160),
        }
    }
}

/// What the SDP of a caller says.
#[derive(Clone, Debug)]
pub struct Words {
    /// ICE username fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// SHA-256 fingerprint, `AA:BB:…`.
    pub fingerprint: String,
    /// The only candidate.
    pub address: SocketAddr,
}

/// What happened in a stretch of load.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets that came back, authenticated where there are keys.
    pub received: u64,
    /// Datagrams that were neither.
    pub refused: u64,
    /// Times from sending a probe to finding it back, in microseconds, sorted. The crowd looks every 200 us.
    pub loop_us: Vec<u32>,
    /// How late the crowd itself began a millisecond, at worst, in microseconds.
    pub late_us_max: u64,
}

impl Tally {
    /// The `p`th part (0 to 1) of the loop times, in microseconds.
    pub fn loop_us_at(&self, p: f64) -> u32 {
        let last = self.loop_us.len().saturating_sub(1);
        self.loop_us.get((last as f64 * p) as usize).copied().unwrap_or(0)
    }
}

struct Keys {
    tx: srtp::Sender,
    rx: srtp::Receiver,
}

struct Caller {
    socket: UdpSocket,
    ufrag: String,
    pwd: String,
    tls: Option<Tls>,
    peer: Option<SocketAddr>,
    keys: Option<Box<Keys>>,
    /// No ICE, no keys: the floor.
    plain: bool,
    speech: Speech,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    /// When the packets left that nothing has come back for yet.
    flying: VecDeque<Instant>,
}

/// The crowd.
pub struct Crowd {
    address: IpAddr,
    identity: Identity,
    profiles: Vec<Profile>,
    callers: Vec<Caller>,
    rng: SeededRng,
    started: Instant,
    /// Opus payloads to send instead of probes, one after the other.
    speech: Vec<Vec<u8>>,
    /// PCMU payloads, one after the other.
    pcmu: Vec<[u8; 160]>,
    buffer: Box<[u8; 1_500]>,
    tally: Tally,
}

impl Crowd {
    /// Nobody yet. Callers bind `address` and insist on `profile`. `speech` holds Opus packets to send; empty: probes.
    #[allow(clippy::disallowed_methods, reason = "a load runs in real time")]
    pub fn new(address: IpAddr, profile: Profile, speech: Vec<Vec<u8>>) -> Result<Self, String> {
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Self {
            address,
            identity: Identity::generate(unix_s as i64)?,
            profiles: vec![profile],
            callers: Vec::new(),
            rng: SeededRng::new(unix_s),
            started: Instant::now(),
            speech,
            pcmu: voice(),
            buffer: Box::new([0; 1_500]),
            tally: Tally::default(),
        })
    }

    /// What callers of [`Speech::Pcmu`] say from now on, frame by frame and from the beginning again; at least one frame.
    pub fn say_pcmu(&mut self, frames: Vec<[u8; 160]>) {
        assert!(!frames.is_empty(), "somebody who says nothing says silence");
        self.pcmu = frames;
    }

    /// One more caller; returns its number and its words.
    pub fn join(&mut self) -> io::Result<(usize, Words)> {
        let mut text = |letters: usize| -> String { (0..letters).map(|_| char::from(b'a' + self.rng.below(26) as u8)).collect() };
        let (ufrag, pwd) = (text(8), text(24));
        let (number, address) = self.add(ufrag.clone(), pwd.clone(), false, None)?;
        Ok((number, Words { ufrag, pwd, fingerprint: self.identity.fingerprint(false), address }))
    }

    /// One more caller without ICE and keys, who talks to `peer`.
    pub fn join_plain(&mut self, peer: SocketAddr) -> io::Result<usize> {
        self.add(String::new(), String::new(), true, Some(peer)).map(|(number, _)| number)
    }

    /// A caller of the far side of a relay, whose peer is not known yet: its number and address.
    pub fn reserve(&mut self, speech: Speech) -> io::Result<(usize, SocketAddr)> {
        let (number, address) = self.add(String::new(), String::new(), true, None)?;
        self.callers[number].speech = speech;
        Ok((number, address))
    }

    /// Tells a plain caller its peer.
    pub fn talk_to(&mut self, number: usize, peer: SocketAddr) {
        self.callers[number].peer = Some(peer);
    }

    /// Takes what has come for those who are not connected yet.
    pub fn attend(&mut self) {
        for number in 0..self.callers.len() {
            if !self.callers[number].plain && self.callers[number].keys.is_none() {
                self.look(number);
            }
        }
    }

    fn add(&mut self, ufrag: String, pwd: String, plain: bool, peer: Option<SocketAddr>) -> io::Result<(usize, SocketAddr)> {
        let socket = UdpSocket::bind((self.address, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let (ssrc, seq, timestamp) = (self.rng.u32(), (self.rng.u32() & 0x7fff) as u16, self.rng.u32());
        let flying = VecDeque::with_capacity(FLYING_MAX);
        self.callers.push(Caller {
            socket,
            ufrag,
            pwd,
            tls: None,
            peer,
            keys: None,
            plain,
            speech: Speech::Opus,
            ssrc,
            seq,
            timestamp,
            flying,
        });
        Ok((self.callers.len() - 1, address))
    }

    /// Tells caller `number` the fingerprint of the business's SDP; from now on it answers its handshake.
    pub fn meet(&mut self, number: usize, fingerprint: &str) -> Result<(), String> {
        let tls = Tls::new(&self.identity, TlsRole::Server, &self.profiles, fingerprint, self.now())?;
        self.callers[number].tls = Some(tls);
        Ok(())
    }

    /// Callers that can send.
    pub fn connected(&self) -> usize {
        self.callers.iter().filter(|c| c.plain || c.keys.is_some()).count()
    }

    /// Answers checks and handshakes until everybody is connected; false when that takes longer than `patience`.
    #[allow(clippy::disallowed_methods, reason = "a load runs in real time")]
    pub fn settle(&mut self, patience: Duration) -> bool {
        let start = Instant::now();
        while self.connected() < self.callers.len() {
            if start.elapsed() > patience {
                return false;
            }
            for number in 0..self.callers.len() {
                self.look(number);
                let now = self.now();
                if let Some(tls) = self.callers[number].tls.as_mut().filter(|tls| !tls.is_connected()) {
                    tls.handle_timeout(now);
                    self.flush_tls(number);
                }
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Everybody sends for `span`, one packet per 20 ms each.
    #[allow(clippy::disallowed_methods, reason = "a load runs in real time")]
    pub fn run(&mut self, span: Duration) -> Tally {
        self.tally = Tally::default();
        let start = Instant::now();
        let mut expected: Vec<usize> = Vec::new();
        for ms in 0..span.as_millis() as u64 {
            let due = start + Duration::from_millis(ms);
            // What is expected back is looked for until the next millisecond begins.
            loop {
                expected.retain(|&number| {
                    self.look(number);
                    self.is_waiting(number)
                });
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(left.min(LOOK));
            }
            self.tally.late_us_max = self.tally.late_us_max.max(due.elapsed().as_micros() as u64);
            for number in (ms as usize % SLOTS..self.callers.len()).step_by(SLOTS) {
                self.send(number);
                expected.push(number);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
        for number in 0..self.callers.len() {
            self.look(number);
        }
        let mut tally = core::mem::take(&mut self.tally);
        tally.loop_us.sort_unstable();
        tally
    }

    #[allow(clippy::disallowed_methods, reason = "a load runs in real time")]
    fn now(&self) -> Time {
        Time::from_nanos(self.started.elapsed().as_nanos() as u64 + 1)
    }

    fn is_waiting(&mut self, number: usize) -> bool {
        let flying = &mut self.callers[number].flying;
        while flying.front().is_some_and(|at| at.elapsed() > LOST_AFTER) {
            flying.pop_front();
        }
        !flying.is_empty()
    }

    #[allow(clippy::disallowed_methods, reason = "a load runs in real time")]
    fn send(&mut self, number: usize) {
        let caller = &mut self.callers[number];
        let Some(peer) = caller.peer else { return };
        let (payload_type, frame_ticks) = caller.speech.of_frame();
        let now = Instant::now();
        let out = &mut self.buffer[..];
        out[0] = 0x80;
        out[1] = payload_type;
        out[2..4].copy_from_slice(&caller.seq.to_be_bytes());
        out[4..8].copy_from_slice(&caller.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&caller.ssrc.to_be_bytes());
        // Everybody is elsewhere in the text, so that no two decoders do the same work at the same time.
        let place = usize::from(caller.seq) + number * 7;
        let len = match caller.speech {
            Speech::Pcmu => {
                out[12..172].copy_from_slice(&self.pcmu[place % self.pcmu.len()]);
                172
            }
            Speech::Opus if self.speech.is_empty() => {
                let probe = &mut out[12..12 + PROBE_BYTES];
                probe.fill(caller.seq as u8);
                probe[0] = PROBE_TOC;
                probe[1..4].copy_from_slice(&PROBE_MARK);
                let stamp = now.duration_since(self.started).as_nanos() as u64;
                probe[PROBE_STAMP].copy_from_slice(&stamp.to_be_bytes());
                12 + PROBE_BYTES
            }
            Speech::Opus => {
                let packet = &self.speech[place % self.speech.len()];
                out[12..12 + packet.len()].copy_from_slice(packet);
                12 + packet.len()
            }
        };
        if caller.flying.len() == FLYING_MAX {
            caller.flying.pop_front();
        }
        caller.flying.push_back(now);
        let mut len = len;
        caller.seq = caller.seq.wrapping_add(1);
        caller.timestamp = caller.timestamp.wrapping_add(frame_ticks);
        if let Some(keys) = &mut caller.keys {
            match keys.tx.protect_rtp(out, len) {
                Ok(protected) => len = protected,
                Err(_) => return,
            }
        } else if !caller.plain {
            return;
        }
        self.tally.sent += u64::from(caller.socket.send_to(&out[..len], peer).is_ok());
    }

    /// Takes everything that waits at a caller's socket.
    fn look(&mut self, number: usize) {
        while let Ok((len, from)) = self.callers[number].socket.recv_from(&mut self.buffer[..]) {
            match wire::kind(&self.buffer[..len]) {
                Kind::Stun => self.answer_check(number, len, from),
                Kind::Dtls => self.handshake(number, len, from),
                Kind::Rtp => self.take_packet(number, len),
                Kind::Rtcp => {}
                Kind::Unknown => self.tally.refused += 1,
            }
        }
    }

    fn answer_check(&mut self, number: usize, len: usize, from: SocketAddr) {
        let caller = &mut self.callers[number];
        let Some(check) = Stun::parse(&self.buffer[..len]) else { return };
        let named = check.username.and_then(|name| name.split(':').next()) == Some(&caller.ufrag);
        if check.kind != wire::BINDING_REQUEST || !named || !check.is_authentic(caller.pwd.as_bytes()) {
            self.tally.refused += 1;
            return;
        }
        if check.use_candidate {
            caller.peer = Some(from);
        }
        let answer = StunWriter::new(wire::BINDING_SUCCESS, check.id).mapped(from).finish(Some(caller.pwd.as_bytes()));
        let _ = caller.socket.send_to(&answer, from);
    }

    fn handshake(&mut self, number: usize, len: usize, from: SocketAddr) {
        let now = self.now();
        let caller = &mut self.callers[number];
        let Some(tls) = &mut caller.tls else { return };
        caller.peer.get_or_insert(from);
        tls.handle_datagram(&self.buffer[..len], now);
        while let Some(event) = tls.poll_event() {
            if let TlsEvent::Connected(keying) = event {
                let keys = Keys { tx: srtp::Sender::from_keying(&keying), rx: srtp::Receiver::from_keying(&keying) };
                caller.keys = Some(Box::new(keys));
            }
        }
        self.flush_tls(number);
    }

    fn flush_tls(&mut self, number: usize) {
        let caller = &mut self.callers[number];
        if let (Some(tls), Some(peer)) = (&mut caller.tls, caller.peer) {
            while let Some(datagram) = tls.poll_transmit() {
                let _ = caller.socket.send_to(&datagram, peer);
            }
        }
    }

    fn take_packet(&mut self, number: usize, len: usize) {
        let caller = &mut self.callers[number];
        let packet = &mut self.buffer[..len];
        let plain = match &mut caller.keys {
            Some(keys) => keys.rx.unprotect_rtp(packet).ok(),
            None => caller.plain.then_some(len),
        };
        let Some(payload) = plain.and_then(|len| packet.get(12..len)) else {
            self.tally.refused += 1;
            return;
        };
        self.tally.received += 1;
        // Speech does not come back as it went, and a relay's comes from the other side: any packet answers the oldest one.
        caller.flying.pop_front();
        if payload.len() >= PROBE_STAMP.end
            && payload[1..4] == PROBE_MARK
            && let Ok(stamp) = payload[PROBE_STAMP].try_into().map(u64::from_be_bytes)
        {
            let passed = (self.started.elapsed().as_nanos() as u64).saturating_sub(stamp);
            self.tally.loop_us.push((passed / 1_000) as u32);
        }
    }
}

/// A second of something like a voice in PCMU: a pitch, harmonics, four syllables.
fn voice() -> Vec<[u8; 160]> {
    let sample = |n: usize| {
        let t = n as f32 / 8_000.0;
        let voice: f32 = (1..=10).map(|k| (core::f32::consts::TAU * 120.0 * k as f32 * t).sin() / k as f32).sum();
        (voice * 5_000.0 * (core::f32::consts::TAU * 2.0 * t).sin().abs()) as i16
    };
    let frame = |number: usize| {
        let samples: [i16; 160] = core::array::from_fn(|i| sample(number * 160 + i));
        let mut bytes = [0; 160];
        Law::Mu.encode(&samples, &mut bytes);
        bytes
    };
    (0..50).map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_crowd_hears_its_echo() {
        let echo = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = echo.local_addr().expect("bound");
        echo.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1_500];
            while let Ok((len, from)) = echo.recv_from(&mut buffer) {
                if len == 1 {
                    return;
                }
                echo.send_to(&buffer[..len], from).expect("sent");
            }
        });
        let mut crowd = Crowd::new("127.0.0.1".parse().expect("an address"), Profile::AeadAes128Gcm, Vec::new()).expect("a crowd");
        for _ in 0..3 {
            crowd.join_plain(address).expect("a socket");
        }
        assert!(crowd.settle(Duration::from_secs(1)), "plain callers need no handshake");
        let tally = crowd.run(Duration::from_millis(200));
        assert_eq!(tally.sent, 30, "three callers, ten frames");
        assert!(tally.received > 0 && tally.loop_us.len() as u64 == tally.received, "{} came back", tally.received);
        UdpSocket::bind("127.0.0.1:0").expect("a socket").send_to(&[0], address).expect("sent");
        thread.join().expect("the echo ends");
    }

    #[test]
    fn parts_of_loop_times() {
        let tally = Tally { loop_us: (0..=100).collect(), ..Tally::default() };
        assert_eq!((tally.loop_us_at(0.5), tally.loop_us_at(0.99), tally.loop_us_at(1.0)), (50, 99, 100));
        assert_eq!(Tally::default().loop_us_at(0.5), 0);
    }
}
