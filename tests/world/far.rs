//! The far side of a relay in virtual time: a PBX that says the greeting over plain RTP and keeps what it hears.
//!
//! Given: what it says, how, and how the network to it misbehaves. Decides: when its packets reach the leg. Refuses: sockets; its packets are the leg's datagrams.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use tipring_engine::bridge::rtp::{AddressRange, LegCodec, RtpLeg, RtpLegParams};
use tipring_engine::call::{Arrived, FarCommand, FarSide, FarSocket, FarStats, Forward, FrameBuffer, Incoming, MediaPort, Outgoing};
use tipring_engine::codec::{Decoder, Encoder, EncoderSettings, SampleRate, g711};
use tipring_engine::dtmf::Digit;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tipring_engine::wire::demux::{PacketKind, classify};
use tipring_engine::wire::dtmf::TelephoneEvent;
use tipring_engine::wire::rtp::{RtpHeader, RtpView};

/// What the far side of a relay does.
#[derive(Clone, Debug)]
pub struct FarPlan {
    /// `Opus` or `Pcmu`.
    pub codec: LegCodec,
    /// Frames that it does not send, by their number from the start: a pause with a running clock.
    pub pauses: Vec<std::ops::Range<u32>>,
    /// Packets lost between it and us, in thousandths.
    pub loss: u64,
    /// Largest additional delay of a packet between it and us.
    pub jitter: Span,
    /// From this frame on it is another sender: SSRC, sequence and timestamps anew.
    pub restarts_at: Option<u32>,
    /// It presses `7` for 100 ms at this frame.
    pub presses_at: Option<u32>,
}

impl FarPlan {
    /// A far side without any trouble.
    pub fn clean(codec: LegCodec) -> Self {
        Self { codec, pauses: Vec::new(), loss: 0, jitter: Span::ZERO, restarts_at: None, presses_at: None }
    }
}

/// The leg of a call and the far side behind it.
pub(super) struct FarEnd {
    leg: RtpLeg,
    plan: FarPlan,
    says: Arc<[i16]>,
    encoder: Encoder,
    decoder: Decoder,
    dice: SeededRng,
    frame: u32,
    next: Time,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    /// On their way to the leg, in order of arrival.
    flying: VecDeque<(Time, Vec<u8>)>,
    heard: mpsc::Sender<Vec<i16>>,
    digits: mpsc::Sender<char>,
}

const FAR: &str = "192.0.2.50:4000";

impl FarEnd {
    pub(super) fn new(
        plan: FarPlan,
        says: Arc<[i16]>,
        seed: u64,
        heard: mpsc::Sender<Vec<i16>>,
        digits: mpsc::Sender<char>,
        now: Time,
    ) -> Self {
        let address: SocketAddr = FAR.parse().expect("an address of ours");
        let params = match plan.codec {
            LegCodec::Opus => RtpLegParams::opus(address),
            codec => RtpLegParams::transcoded(address, codec),
        };
        let mut dice = SeededRng::new(seed);
        let targets: Arc<[AddressRange]> = vec!["192.0.2.0/24".parse().expect("a range")].into();
        Self {
            leg: RtpLeg::new(params, &targets, 1 << 63, &mut dice, now).expect("a leg"),
            encoder: Encoder::new(&EncoderSettings::meta(SampleRate::Hz16000)).expect("an encoder"),
            decoder: Decoder::new(SampleRate::Hz16000).expect("a decoder"),
            ssrc: dice.u32(),
            seq: dice.u32() as u16,
            timestamp: dice.u32(),
            plan,
            says,
            dice,
            frame: 0,
            next: now,
            flying: VecDeque::new(),
            heard,
            digits,
        }
    }

    /// Ticks of its RTP clock in 20 ms.
    fn ticks(&self) -> u32 {
        self.plan.codec.clock_hz() / 50
    }

    fn say(&mut self, now: Time) {
        let frame = self.frame;
        self.frame += 1;
        if self.plan.restarts_at == Some(frame) {
            (self.ssrc, self.seq, self.timestamp) = (self.dice.u32(), self.dice.u32() as u16, self.dice.u32());
        }
        let at = frame as usize * 320;
        let samples: Vec<i16> = (at..at + 320).map(|i| self.says.get(i).copied().unwrap_or(0)).collect();
        let mut payload = [0; 400];
        let len = match self.plan.codec {
            LegCodec::Opus => self.encoder.encode(&samples, &mut payload),
            // Every other sample is enough for a tone below 4 kHz and for speech that is only correlated.
            _ => g711::Law::Mu.encode(
                &samples.chunks_exact(2).map(|p| ((i32::from(p[0]) + i32::from(p[1])) / 2) as i16).collect::<Vec<_>>(),
                &mut payload,
            ),
        };
        if !self.plan.pauses.iter().any(|pause| pause.contains(&frame)) {
            let payload_type = self.leg.params().payload_type;
            self.send(payload_type, false, self.timestamp, &payload[..len], now);
        }
        if let Some(k) = self.plan.presses_at.and_then(|start| frame.checked_sub(start)).filter(|&k| k < 7) {
            // Five updates of 20 ms, and the end twice more.
            let event = TelephoneEvent { event: 7, end: k >= 4, volume: 10, duration: 160 * (k.min(4) + 1) as u16 };
            let start = self.timestamp.wrapping_sub(k * self.ticks());
            let events = self.leg.params().events.expect("digits on the leg");
            self.send(events.payload_type, k == 0, start, &event.emit(), now);
        }
        self.timestamp = self.timestamp.wrapping_add(self.ticks());
    }

    fn send(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8], now: Time) {
        let mut packet = vec![0; 12];
        RtpHeader { payload_type, marker, seq: self.seq, timestamp, ssrc: self.ssrc }.emit(packet.first_chunk_mut().expect("room"));
        packet.extend_from_slice(payload);
        self.seq = self.seq.wrapping_add(1);
        if self.dice.below(1_000) < self.plan.loss {
            return;
        }
        let delay = Span::from_nanos(self.dice.below(self.plan.jitter.as_nanos().max(1)));
        let at = now + delay;
        let place = self.flying.partition_point(|(other, _)| *other <= at);
        self.flying.insert(place, (at, packet));
    }

    fn hear(&mut self, datagram: &[u8]) {
        if classify(datagram) != PacketKind::Rtp {
            return;
        }
        let view = RtpView::new_checked(datagram).expect("a leg sends RTP that can be read");
        if self.leg.params().events.is_some_and(|e| e.payload_type == view.payload_type()) {
            let event = TelephoneEvent::parse(view.payload()).expect("an event");
            if view.marker() {
                // The receiver lives as long as the world.
                let _ = self.digits.send(event.symbol().expect("a key"));
            }
            return;
        }
        let mut pcm = [0; 5_760];
        let len = match self.plan.codec {
            LegCodec::Opus => self.decoder.decode(view.payload(), &mut pcm).unwrap_or(0),
            _ => {
                let mut narrow = [0; 480];
                let len = g711::Law::Mu.decode(view.payload(), &mut narrow);
                narrow[..len].iter().zip(pcm.chunks_exact_mut(2)).for_each(|(s, pair)| pair.fill(*s));
                2 * len
            }
        };
        let _ = self.heard.send(pcm[..len].to_vec());
    }
}

impl MediaPort for FarEnd {
    fn wants_pcm(&self) -> Option<SampleRate> {
        self.leg.wants_pcm()
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        self.leg.incoming(frame);
    }

    fn digit(&mut self, digit: Digit) {
        self.leg.digit(digit);
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.leg.outgoing(frame)
    }

    fn tick(&mut self, now: Time) {
        self.leg.tick(now);
    }

    fn forwards(&self) -> bool {
        self.leg.forwards()
    }

    fn arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        self.leg.arrived(packet, now);
    }

    fn event_arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        self.leg.event_arrived(packet, now);
    }

    fn poll_forward(&mut self, frame: &mut FrameBuffer) -> Option<Forward> {
        self.leg.poll_forward(frame)
    }

    fn far(&self) -> Option<&dyn FarSide> {
        Some(self)
    }

    fn far_mut(&mut self) -> Option<&mut dyn FarSide> {
        Some(self)
    }
}

impl FarSide for FarEnd {
    fn handle_datagram(&mut self, socket: FarSocket, from: SocketAddr, datagram: &[u8], now: Time) {
        self.leg.handle_datagram(socket, from, datagram, now);
    }

    fn handle_timeout(&mut self, now: Time) {
        while self.next <= now {
            let due = self.next;
            self.next += Span::from_millis(20);
            self.say(due);
        }
        while self.flying.front().is_some_and(|(at, _)| *at <= now) {
            let (_, packet) = self.flying.pop_front().expect("looked at");
            self.leg.handle_datagram(FarSocket::Rtp, FAR.parse().expect("an address of ours"), &packet, now);
        }
        self.leg.handle_timeout(now);
    }

    fn handle_command(&mut self, command: FarCommand, now: Time) {
        self.leg.handle_command(command, now);
    }

    fn poll_transmit(&mut self, out: &mut [u8], now: Time) -> Option<(usize, FarSocket)> {
        let (len, socket) = self.leg.poll_transmit(out, now)?;
        self.hear(&out[..len]);
        Some((len, socket))
    }

    fn poll_timeout(&self) -> Option<Time> {
        [self.leg.poll_timeout(), Some(self.next), self.flying.front().map(|(at, _)| *at)].into_iter().flatten().min()
    }

    fn close(&mut self, now: Time) {
        self.leg.close(now);
    }

    fn remote(&self, socket: FarSocket) -> Option<SocketAddr> {
        self.leg.remote(socket)
    }

    fn stats(&self) -> FarStats {
        self.leg.stats()
    }
}
