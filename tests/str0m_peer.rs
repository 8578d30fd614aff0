//! str0m as the other end of a call: ICE-lite, over a real socket on loopback, with a tone to say. None of its code is ours.

#![allow(clippy::disallowed_methods, reason = "str0m is driven by the wall clock over real sockets; nothing is asserted about it")]

use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tipring_engine::codec::{Application, Decoder, Encoder, EncoderSettings, SampleRate};

use crate::sound::tone;

/// A peer that is not yet running.
pub struct Str0mPeer {
    rtc: Rtc,
    socket: UdpSocket,
    mid: Option<Mid>,
    pending: Option<SdpPendingOffer>,
}

/// A running peer.
pub struct Running {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Traffic>,
}

/// What a peer that ran has seen.
#[derive(Default)]
pub struct Traffic {
    /// The Opus packets it received, in the order of their sequence numbers as str0m gives them.
    pub received: Vec<Vec<u8>>,
    /// When each of them came.
    pub arrived: Vec<Instant>,
    /// How many packets it sent.
    pub sent: u64,
    /// The Opus packets it sent.
    pub spoken: Vec<Vec<u8>>,
    /// Interarrival jitter of what it received, in microseconds (RFC 3550 section 6.4.1).
    pub jitter_us: f64,
}

impl Traffic {
    /// What it heard, decoded at 16 kHz.
    pub fn heard(&self) -> Vec<i16> {
        let mut decoder = Decoder::new(SampleRate::Hz16000).expect("a decoder");
        let mut pcm = vec![0; 5_760];
        self.received.iter().flat_map(|p| decoder.decode(p, &mut pcm).map(|n| pcm[..n].to_vec()).unwrap_or_default()).collect()
    }
}

impl Default for Str0mPeer {
    /// An ICE-lite peer with one candidate on loopback and Opus only, as Meta's relay.
    fn default() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut rtc = RtcConfig::new().set_ice_lite(true).clear_codecs().enable_opus(true, false).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().expect("bound"), "udp").expect("a candidate"));
        Self { rtc, socket, mid: None, pending: None }
    }
}

impl Str0mPeer {
    /// Its offer.
    pub fn offer(&mut self) -> String {
        let mut change = self.rtc.sdp_api();
        self.mid = Some(change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        let (offer, pending) = change.apply().expect("an offer");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// Takes the answer to its offer.
    pub fn take_answer(&mut self, text: &str) {
        let answer = SdpAnswer::from_sdp_string(text).expect("str0m reads our answer");
        let pending = self.pending.take().expect("it offered");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("str0m accepts our answer");
    }

    /// Its answer to an offer of ours.
    pub fn answer(&mut self, text: &str) -> String {
        let offer = SdpOffer::from_sdp_string(text).expect("str0m reads our offer");
        self.rtc.sdp_api().accept_offer(offer).expect("str0m accepts our offer").to_sdp_string()
    }

    /// Runs it on a thread of its own, saying a tone once connected.
    pub fn run(self, tone_hz: f64) -> Running {
        let (stop, stopped) = mpsc::channel();
        Running { stop, thread: thread::spawn(move || relay(self.rtc, &self.socket, self.mid, tone_hz, &stopped)) }
    }
}

impl Running {
    /// Stops it; gives what it heard, decoded at 16 kHz, and how many packets that was.
    pub fn stop(self) -> (Vec<i16>, usize) {
        let traffic = self.finish();
        (traffic.heard(), traffic.received.len())
    }

    /// Stops it; gives all it has seen.
    pub fn finish(self) -> Traffic {
        self.stop.send(()).expect("the peer runs");
        self.thread.join().expect("the peer lives")
    }
}

/// Runs str0m until told to stop.
fn relay(mut rtc: Rtc, socket: &UdpSocket, mut mid: Option<Mid>, tone_hz: f64, stop: &mpsc::Receiver<()>) -> Traffic {
    let settings = EncoderSettings {
        rate: SampleRate::Hz48000,
        application: Application::Audio,
        bitrate_bps: 32_000,
        complexity: 5,
        fec: false,
        loss_percent: 0,
        cbr: false,
        playback_rate_hz_max: 48_000,
    };
    let mut encoder = Encoder::new(&settings).expect("an encoder");
    // Twenty seconds hold a whole number of periods of any tone of whole hertz: the next round joins without a step.
    let speech = tone(tone_hz, 48_000, 20.0);
    let mut frames = speech.chunks_exact(960).cycle();
    let mut next_frame: Option<Instant> = None;
    let mut traffic = Traffic::default();
    let mut transit_us: Option<f64> = None;
    let begun = Instant::now();
    let mut buffer = [0; 2_000];
    let local = socket.local_addr().expect("bound");
    loop {
        // Told to, or nobody is left to tell.
        if !matches!(stop.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            return traffic;
        }
        let deadline = loop {
            match rtc.poll_output().expect("str0m goes on") {
                Output::Timeout(at) => break at,
                Output::Transmit(datagram) => {
                    let _ = socket.send_to(&datagram.contents, datagram.destination);
                }
                Output::Event(Event::Connected) => next_frame = Some(Instant::now()),
                Output::Event(Event::MediaAdded(added)) => mid = Some(added.mid),
                Output::Event(Event::MediaData(media)) => {
                    let arrival_us = media.network_time.saturating_duration_since(begun).as_micros() as f64;
                    let now_us = arrival_us - media.time.as_seconds() * 1e6;
                    if let Some(before_us) = transit_us.replace(now_us) {
                        traffic.jitter_us += ((now_us - before_us).abs() - traffic.jitter_us) / 16.0;
                    }
                    traffic.received.push(media.data.to_vec());
                    traffic.arrived.push(media.network_time);
                }
                Output::Event(_) => {}
            }
        };
        let now = Instant::now();
        if let Some(at) = next_frame.filter(|&at| at <= now) {
            next_frame = Some(at + Duration::from_millis(20));
            let mut packet = [0; 400];
            if let Some(frame) = frames.next() {
                let len = encoder.encode(frame, &mut packet);
                // The other side has hung up: nobody listens any more.
                let Some(writer) = rtc.writer(mid.expect("a media section")) else {
                    next_frame = None;
                    continue;
                };
                let pt = writer.payload_params().find(|p| p.spec().codec == Codec::Opus).expect("Opus").pt();
                let time = MediaTime::new(traffic.sent * 960, Frequency::FORTY_EIGHT_KHZ);
                writer.write(pt, now, time, packet[..len].to_vec()).expect("written");
                traffic.sent += 1;
                traffic.spoken.push(packet[..len].to_vec());
                continue;
            }
        }
        let wake = next_frame.map_or(deadline, |at| at.min(deadline));
        let wait = wake.saturating_duration_since(now).clamp(Duration::from_millis(1), Duration::from_millis(20));
        socket.set_read_timeout(Some(wait)).expect("a time-out");
        let input = match socket.recv_from(&mut buffer) {
            Ok((len, source)) => match buffer[..len].try_into() {
                Ok(contents) => Input::Receive(Instant::now(), Receive { proto: Protocol::Udp, source, destination: local, contents }),
                Err(_) => continue,
            },
            Err(_) => Input::Timeout(Instant::now()),
        };
        rtc.handle_input(input).expect("str0m takes it");
    }
}
