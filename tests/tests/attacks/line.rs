//! A call, Meta's relay, and an attacker between them, in virtual time: whatever the attacker throws, it is known what left us, when, and what was heard.
//!
//! Given: an attacker who is asked every millisecond. Decides: how long datagrams travel. Refuses: signalling, sockets, clocks.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use tipring_engine::call::{
    Call, CallConfig, CallEvent, CallStats, FrameBuffer, Incoming, MediaPort, Outgoing, RemoteParams, Scratch, SetupRole, Watchdogs,
};
use tipring_engine::codec::SampleRate;
use tipring_engine::dtls::{Certificate, DtlsConfig, DtlsContext};
use tipring_engine::error::EndReason;
use tipring_engine::ice::{Candidate, IceConfig, Path};
use tipring_engine::jitter::JitterConfig;
use tipring_engine::keying::Profile;
use tipring_engine::limits::DATAGRAM_BYTES_MAX;
use tipring_engine::rng::SeededRng;
use tipring_engine::time::{Span, Time};
use tipring_engine::wire::demux::{PacketKind, classify};
use tipring_meta_sim::relay::{Relay, RelayConfig};
use tipring_meta_sim::sdp::{SdpKind, judge};
use tipring_meta_sim::timeline::Timeline;
use tipring_meta_sim::user::{Speech, UserScript};
use tipring_signalling::sdp;
use tipring_tests::world::caller;

/// Our sockets.
pub const OUR_V4: &str = "203.0.113.10:40000";
pub const OUR_V6: &str = "[2001:db8:1::10]:40000";
/// The relay.
pub const RELAY_V4: &str = "198.51.100.1:3480";
/// Somebody else.
pub const STRANGER: &str = "192.0.2.66:6666";

/// One way.
const DELAY: Span = Span::from_millis(5);

pub fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address of ours")
}

/// From the stranger to our socket.
pub fn from_stranger() -> Path {
    Path { local: at(OUR_V4), remote: at(STRANGER) }
}

/// Under the relay's own address.
pub fn from_relay() -> Path {
    Path { local: at(OUR_V4), remote: at(RELAY_V4) }
}

/// What an attacker in the middle of the network sees.
#[derive(Clone, Default)]
pub struct Seen {
    /// Milliseconds since the call was opened.
    pub ms: u64,
    /// A pair is nominated.
    pub is_nominated: bool,
    /// Handshake datagrams that reached us.
    pub dtls_in: u32,
    /// There are keys on our side.
    pub is_keyed: bool,
    /// The last media packet of the relay.
    pub last_rtp: Option<Vec<u8>>,
    /// The last connectivity check of ours.
    pub last_check: Option<Vec<u8>>,
    /// Every media packet of the relay, as it was on the wire.
    pub tape: Vec<Vec<u8>>,
}

/// What the attacker sends in this millisecond.
pub type Attack<'a> = &'a mut dyn FnMut(&Seen) -> Vec<(Path, Vec<u8>)>;

/// One datagram that left us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    pub at: Time,
    pub to: SocketAddr,
    pub kind: PacketKind,
    /// Content type of a DTLS record; 0 of anything else.
    pub content: u8,
}

struct Listener(mpsc::Sender<Vec<i16>>);

impl MediaPort for Listener {
    fn wants_pcm(&self) -> Option<SampleRate> {
        Some(SampleRate::Hz16000)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Pcm { samples, .. } = frame {
            let _ = self.0.send(samples.to_vec());
        }
    }

    fn outgoing(&mut self, _: &mut FrameBuffer) -> Outgoing {
        Outgoing::Silence
    }
}

/// A call of ours and the relay, five milliseconds apart.
pub struct Line {
    pub call: Call,
    pub now: Time,
    pub seen: Seen,
    pub sent: Vec<Sent>,
    pub ended: Option<EndReason>,
    opened: Time,
    scratch: Scratch,
    relay: Relay,
    timeline: Timeline,
    /// Arrival, whether at the relay, and what.
    travelling: Vec<(Time, bool, Path, Vec<u8>)>,
    heard: mpsc::Receiver<Vec<i16>>,
}

impl Line {
    /// A relay that speaks for as long as it is listened to, and a call that knows nobody yet.
    pub fn new(seed: u64, profile: Profile) -> (Self, RemoteParams) {
        let now = Time::ZERO + Span::from_secs(1);
        let speech = (0..40).map(|n| Speech { after: Span::from_secs(4).times(n), pcm: caller() }).collect();
        let script = UserScript { speech, hang_up_after: None, ..UserScript::default() };
        let mut config = RelayConfig::new(Some(at(RELAY_V4)), None, seed, 1_795_300_000_000, script);
        config.profiles = vec![profile];
        let mut relay = Relay::new(config).expect("a relay");
        let certificate = Certificate::generate(1_795_300_000).expect("a certificate");
        let dtls = DtlsContext::new(DtlsConfig::default(), certificate).expect("a context");
        let config = Arc::new(CallConfig {
            ice: IceConfig::default(),
            dtls,
            jitter: JitterConfig::default(),
            complexity: 0,
            ntp_origin: 0,
            watchdogs: Watchdogs::default(),
        });
        let (speaker, heard) = mpsc::channel();
        let candidates = vec![Candidate::host(at(OUR_V4), u16::MAX), Candidate::host(at(OUR_V6), u16::MAX - 1)];
        let mut entropy = SeededRng::new(seed);
        let call = Call::new(&config, SetupRole::Active, candidates, Box::new(Listener(speaker)), &mut entropy, now).expect("a call");
        let offer = sdp::read_offer(&relay.offer()).expect("the simulator's own offer");
        let answer = sdp::write_answer(&offer, call.local_params(), 1);
        let (peer, _) = judge(&answer, SdpKind::Answer, false);
        relay.set_peer(peer.expect("our own answer"), now);
        let line = Self {
            call,
            now,
            seen: Seen::default(),
            sent: Vec::new(),
            ended: None,
            opened: now,
            scratch: Scratch::default(),
            relay,
            timeline: Timeline::default(),
            travelling: Vec::new(),
            heard,
        };
        (line, offer.params)
    }

    /// A call that is introduced after 100 ms, connects, opens its gate at once and listens for `talk`, under attack from before its first check.
    pub fn talk(seed: u64, talk: Span, attack: Attack<'_>) -> Self {
        let (mut line, remote) = Self::new(seed, Profile::AeadAes128Gcm);
        line.run(Span::from_millis(100), attack);
        line.introduce(remote);
        line.connect(attack);
        line.run(talk, attack);
        line
    }

    pub fn introduce(&mut self, remote: RemoteParams) {
        self.call.set_remote_params(remote, self.now).expect("a peer we can work with");
    }

    /// Until there are keys, or until five seconds are over; then the gate opens on both sides.
    pub fn connect(&mut self, attack: Attack<'_>) {
        let deadline = self.now + Span::from_secs(5);
        while !self.seen.is_keyed && self.now < deadline && self.ended.is_none() {
            self.run(Span::from_millis(1), attack);
        }
        self.call.open_gate(self.now);
        self.relay.set_accepted(self.now);
    }

    /// Lets `span` pass, millisecond by millisecond.
    pub fn run(&mut self, span: Span, attack: Attack<'_>) {
        let end = self.now + span;
        while self.now < end {
            self.now += Span::from_millis(1);
            self.seen.ms = self.now.since(self.opened).as_millis();
            for (path, bytes) in attack(&self.seen) {
                self.inject(path, bytes);
            }
            self.arrive();
            if self.call.poll_timeout().is_some_and(|at| at <= self.now) {
                self.call.handle_timeout(&mut self.scratch, self.now);
                self.drain();
            }
            if self.relay.poll_timeout(self.now).is_some_and(|at| at <= self.now) {
                self.relay.handle_timeout(&mut self.timeline, self.now);
            }
            while self.relay.poll_event().is_some() {}
            while let Some(transmit) = self.relay.poll_transmit(self.now) {
                if transmit.bytes.first().is_some_and(|&byte| byte >= 128) {
                    self.seen.last_rtp = Some(transmit.bytes.clone());
                    self.seen.tape.push(transmit.bytes.clone());
                }
                let path = Path { local: transmit.remote, remote: transmit.local };
                self.travelling.push((self.now + DELAY, false, path, transmit.bytes));
            }
            self.drain();
        }
    }

    /// A datagram reaches our socket.
    pub fn inject(&mut self, path: Path, mut bytes: Vec<u8>) {
        self.call.handle_datagram(path, &mut bytes, self.now);
        self.drain();
    }

    fn arrive(&mut self) {
        let (due, later) = core::mem::take(&mut self.travelling).into_iter().partition(|(at, ..)| *at <= self.now);
        self.travelling = later;
        let due: Vec<(Time, bool, Path, Vec<u8>)> = due;
        for (_, to_relay, path, bytes) in due {
            if to_relay {
                self.relay.handle_datagram(path.remote, path.local, &bytes, &mut self.timeline, self.now);
            } else {
                self.seen.dtls_in += u32::from(classify(&bytes) == PacketKind::Dtls);
                self.inject(path, bytes);
            }
        }
    }

    fn drain(&mut self) {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        while let Some((len, path)) = self.call.poll_transmit(&mut self.scratch, &mut out, self.now) {
            let (kind, bytes) = (classify(&out[..len]), out[..len].to_vec());
            let content = if kind == PacketKind::Dtls { bytes[0] } else { 0 };
            self.sent.push(Sent { at: self.now, to: path.remote, kind, content });
            if kind == PacketKind::Stun {
                self.seen.last_check = Some(bytes.clone());
            }
            self.travelling.push((self.now + DELAY, true, path, bytes));
        }
        while let Some(event) = self.call.poll_event() {
            match event {
                CallEvent::IceConnected { .. } => self.seen.is_nominated = true,
                CallEvent::DtlsConnected { .. } => self.seen.is_keyed = true,
                CallEvent::Ended(ended) => self.ended = Some(ended.reason),
                _ => {}
            }
        }
    }

    pub fn stats(&self) -> CallStats {
        self.call.stats()
    }

    /// All that the host heard so far, and forgets it.
    pub fn heard(&self) -> Vec<i16> {
        self.heard.try_iter().flatten().collect()
    }
}

/// Nobody attacks.
pub fn peace(_: &Seen) -> Vec<(Path, Vec<u8>)> {
    Vec::new()
}
