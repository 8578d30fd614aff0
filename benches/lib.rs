//! What the numbers are taken from: one connected call, in virtual time.
//!
//! Given: a port. Decides: how a `Call` meets the relay of the simulator over a wire without delay or loss. Refuses: sockets, clocks, load.

pub mod counting;
pub mod memory;

use std::net::SocketAddr;
use std::sync::Arc;
use tipring_engine::bridge::rtp::LegCodec;
use tipring_engine::bridge::{RtpLeg, RtpLegParams};
use tipring_engine::call::{Call, CallConfig, MediaPort, Scratch, SetupRole, Watchdogs};
use tipring_engine::dtls::{Certificate, DtlsConfig, DtlsContext};
use tipring_engine::ice::{Candidate, CandidateKind, IceConfig, Path};
use tipring_engine::jitter::JitterConfig;
use tipring_engine::keying::Profile;
use tipring_engine::rng::SeededRng;
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::relay::{Relay, RelayConfig};
use tipring_meta_sim::sdp::{SdpKind, judge};
use tipring_meta_sim::timeline::Timeline;
use tipring_meta_sim::user::UserScript;
use tipring_signalling::sdp;

/// A call of ours and Meta's relay, on one wire.
pub struct Wire {
    /// The call.
    pub call: Call,
    /// Buffers of its shard.
    pub scratch: Scratch,
    /// Virtual time.
    pub now: Time,
    relay: Relay,
    timeline: Timeline,
    out: [u8; 1_500],
}

/// What happened to the call in one step, for those who measure it.
pub trait Observer {
    /// Runs a step of the call: a datagram in, a drain, a timeout.
    fn step<T>(&mut self, kind: Step, run: impl FnOnce() -> T) -> T {
        let _ = kind;
        run()
    }
}

/// A kind of step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// `Call::new` and `Call::set_remote_params`.
    Open,
    /// `Call::handle_datagram`.
    Receive,
    /// `Call::poll_transmit`.
    Send,
    /// `Call::handle_timeout`.
    Tick,
    /// `Call::handle_far_datagram`.
    ReceiveFar,
    /// `Call::poll_far_transmit`.
    SendFar,
}

/// Looks away.
pub struct Nobody;

impl Observer for Nobody {}

impl Wire {
    /// Both sides know each other; nothing was sent yet. `port` is the host's end of the audio, `profile` what the relay insists on.
    pub fn new(port: Box<dyn MediaPort>, profile: Profile, observer: &mut impl Observer) -> Self {
        let now = Time::ZERO + Span::from_secs(1);
        let relay_address: SocketAddr = "192.0.2.1:3480".parse().expect("an address");
        let script = UserScript { hang_up_after: None, ..UserScript::default() };
        let mut config = RelayConfig::new(Some(relay_address), None, 7, 1_795_300_000_000, script);
        config.profiles = vec![profile];
        let mut relay = Relay::new(config).expect("a relay");
        let certificate = Certificate::generate(1_795_300_000).expect("a certificate");
        let dtls = DtlsContext::new(DtlsConfig::default(), certificate).expect("a context");
        let config = Arc::new(CallConfig {
            ice: IceConfig::default(),
            dtls,
            jitter: JitterConfig::default(),
            complexity: 5,
            watchdogs: Watchdogs::default(),
            ntp_origin: 0,
        });
        let address: SocketAddr = "192.0.2.10:40000".parse().expect("an address");
        let candidate = Candidate { address, kind: CandidateKind::Host, priority: 2_130_706_431, foundation: "1".into(), base: None };
        let mut entropy = SeededRng::new(5);
        let call = observer.step(Step::Open, || Call::new(&config, SetupRole::Active, vec![candidate], port, &mut entropy, now));
        let mut call = call.expect("a call");
        let offer = sdp::read_offer(&relay.offer()).expect("the simulator's own offer");
        let answer = sdp::write_answer(&offer, call.local_params(), 1);
        let (peer, _) = judge(&answer, SdpKind::Answer, false);
        relay.set_peer(peer.expect("our own answer"), now);
        let heard = observer.step(Step::Open, || call.set_remote_params(offer.params.clone(), now));
        heard.expect("a peer we can work with");
        Self { call, scratch: Scratch::default(), now, relay, timeline: Timeline::default(), out: [0; 1_500] }
    }

    /// Runs until there are keys, then opens the gate on both sides. Panics when that takes more than three seconds.
    pub fn connect(&mut self, observer: &mut impl Observer) {
        let deadline = self.now + Span::from_secs(3);
        while self.call.stats().milestones.dtls_connected.is_none() {
            assert!(self.now < deadline, "no keys within three seconds: {:?}", self.call.stats().drops);
            self.run(Span::from_millis(5), observer);
        }
        self.call.open_gate(self.now);
        self.relay.set_accepted(self.now);
        self.run(Span::from_millis(20), observer);
    }

    /// Lets `span` pass, millisecond by millisecond.
    pub fn run(&mut self, span: Span, observer: &mut impl Observer) {
        let end = self.now + span;
        while self.now < end {
            self.now += Span::from_millis(1);
            if self.call.poll_timeout().is_some_and(|at| at <= self.now) {
                observer.step(Step::Tick, || self.call.handle_timeout(&mut self.scratch, self.now));
            }
            if self.relay.poll_timeout(self.now).is_some_and(|at| at <= self.now) {
                self.relay.handle_timeout(&mut self.timeline, self.now);
            }
            self.exchange(observer);
            while self.call.poll_event().is_some() {}
            while self.relay.poll_event().is_some() {}
        }
    }

    fn exchange(&mut self, observer: &mut impl Observer) {
        loop {
            let mut is_quiet = true;
            while let Some((len, path)) = observer.step(Step::Send, || self.call.poll_transmit(&mut self.scratch, &mut self.out, self.now))
            {
                self.relay.handle_datagram(path.remote, path.local, &self.out[..len], &mut self.timeline, self.now);
                is_quiet = false;
            }
            while let Some(mut transmit) = self.relay.poll_transmit(self.now) {
                let path = Path { local: transmit.remote, remote: transmit.local };
                observer.step(Step::Receive, || self.call.handle_datagram(path, &mut transmit.bytes, self.now));
                is_quiet = false;
            }
            // The far side of a relay says back what it hears.
            while let Some((len, socket, remote)) = observer.step(Step::SendFar, || self.call.poll_far_transmit(&mut self.out, self.now)) {
                if matches!(self.out.get(1).map(|b| b & 0x7f), Some(0 | 111)) {
                    let heard = self.out;
                    observer.step(Step::ReceiveFar, || self.call.handle_far_datagram(socket, remote, &heard[..len], self.now));
                    is_quiet = false;
                }
            }
            if is_quiet {
                return;
            }
        }
    }
}

/// Where the far side of [`relay_leg`] is.
const FAR_SIDE: &str = "192.0.2.20:4000";

/// A plain RTP leg to a far side that says back what it hears.
pub fn relay_leg(codec: LegCodec) -> Box<dyn MediaPort> {
    let remote = FAR_SIDE.parse().expect("an address");
    let params = if codec == LegCodec::Opus { RtpLegParams::opus(remote) } else { RtpLegParams::transcoded(remote, codec) };
    let targets = ["192.0.2.0/24".parse().expect("a range")].into();
    Box::new(RtpLeg::new(params, &targets, 0, &mut SeededRng::new(6), Time::ZERO + Span::from_secs(1)).expect("a leg"))
}

/// A port that sends each Opus packet back as it came: what a gateway that relays does.
#[derive(Default)]
pub struct Relayed {
    packet: Vec<u8>,
}

impl MediaPort for Relayed {
    fn wants_opus(&self) -> bool {
        true
    }

    fn incoming(&mut self, frame: tipring_engine::call::Incoming<'_>) {
        if let tipring_engine::call::Incoming::Opus { payload, .. } = frame {
            self.packet.reserve(tipring_engine::limits::OPUS_BYTES_MAX);
            self.packet.clear();
            self.packet.extend_from_slice(payload);
        }
    }

    fn outgoing(&mut self, frame: &mut tipring_engine::call::FrameBuffer) -> tipring_engine::call::Outgoing {
        if self.packet.is_empty() {
            return tipring_engine::call::Outgoing::Silence;
        }
        frame.opus[..self.packet.len()].copy_from_slice(&self.packet);
        tipring_engine::call::Outgoing::Opus(self.packet.len())
    }
}
