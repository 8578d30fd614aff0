//! A plain RTP peer on loopback: what a PBX is to a relay. Says a tone, keeps what it hears.

#![allow(clippy::disallowed_methods, reason = "a peer over real sockets runs on the wall clock; nothing is asserted about it")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tipring_engine::codec::{Decoder, Encoder, EncoderSettings, SampleRate};
use tipring_engine::wire::demux::{PacketKind, classify};
use tipring_engine::wire::rtp::{RtpHeader, RtpView};

use crate::sound::tone;

/// A peer that is bound and not yet talking.
pub struct RtpPeer {
    socket: UdpSocket,
}

/// One that talks.
pub struct RunningPeer {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Heard>,
}

/// One packet as it came.
pub struct Packet {
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub seq: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What a peer heard.
#[derive(Default)]
pub struct Heard {
    /// RTP, in order of arrival.
    pub packets: Vec<Packet>,
    /// RTCP compounds.
    pub reports: usize,
}

impl RtpPeer {
    /// Binds a free port on loopback.
    pub fn bind() -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").expect("a socket") }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// Says a tone in Opus to `to`, payload type 111, every 20 ms.
    pub fn run_opus(self, to: SocketAddr, tone_hz: f64) -> RunningPeer {
        let settings = EncoderSettings { complexity: 3, ..EncoderSettings::meta(SampleRate::Hz16000) };
        let mut encoder = Encoder::new(&settings).expect("an encoder");
        // A whole number of periods: the next round joins without a step.
        let speech = tone(tone_hz, 16_000, 20.0);
        let mut at = 0;
        let frame = move |out: &mut [u8]| {
            let samples = &speech[at..at + 320];
            at = (at + 320) % (speech.len() / 320 * 320);
            encoder.encode(samples, out)
        };
        self.run(to, 111, 960, frame)
    }

    /// Says what `frame` writes, every 20 ms, `ticks` of its RTP clock each.
    pub fn run(
        self,
        to: SocketAddr,
        payload_type: u8,
        ticks: u32,
        mut frame: impl FnMut(&mut [u8]) -> usize + Send + 'static,
    ) -> RunningPeer {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut heard = Heard::default();
            let mut buffer = [0; 1_500];
            let begun = Instant::now();
            let mut sent = 0_u32;
            while matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                let due = begun + Duration::from_millis(20) * sent;
                let wait = due.saturating_duration_since(Instant::now());
                if wait.is_zero() {
                    let len = frame(&mut buffer[12..]);
                    let header = RtpHeader { payload_type, marker: sent == 0, seq: sent as u16, timestamp: sent * ticks, ssrc: 0x5eed };
                    header.emit(buffer.first_chunk_mut().expect("room"));
                    let _ = self.socket.send_to(&buffer[..12 + len], to);
                    sent += 1;
                    continue;
                }
                self.socket.set_read_timeout(Some(wait)).expect("a timeout");
                let Ok((len, _)) = self.socket.recv_from(&mut buffer) else { continue };
                match (classify(&buffer[..len]), RtpView::new_checked(&buffer[..len])) {
                    (PacketKind::Rtp, Ok(view)) => heard.packets.push(Packet {
                        payload_type: view.payload_type(),
                        seq: view.seq(),
                        timestamp: view.timestamp(),
                        payload: view.payload().to_vec(),
                    }),
                    (PacketKind::Rtcp, _) => heard.reports += 1,
                    _ => {}
                }
            }
            heard
        });
        RunningPeer { stop, thread }
    }
}

impl RunningPeer {
    /// Stops it; gives what it heard.
    pub fn stop(self) -> Heard {
        self.stop.send(()).expect("the peer runs");
        self.thread.join().expect("the peer lives")
    }
}

impl Heard {
    /// What it heard of Opus, decoded at 16 kHz.
    pub fn heard(&self) -> Vec<i16> {
        let mut decoder = Decoder::new(SampleRate::Hz16000).expect("a decoder");
        let mut pcm = vec![0; 5_760];
        self.packets.iter().flat_map(|p| decoder.decode(&p.payload, &mut pcm).map(|n| pcm[..n].to_vec()).unwrap_or_default()).collect()
    }

    /// Steps of the sequence other than one.
    pub fn jumps(&self) -> usize {
        self.packets.windows(2).filter(|w| w[1].seq.wrapping_sub(w[0].seq) != 1).count()
    }
}
