//! Fuzz body of the plain RTP leg: datagrams of the far side and of strangers, packets of the call, commands and time, in any order.

use std::sync::Arc;

use crate::bridge::rtp::{AddressRange, LegEvents, RtcpPort};
use crate::bridge::{RtpLeg, RtpLegParams};
use crate::call::{Arrived, Direction, FarCommand, FarSide, FarSocket, FrameBuffer, Incoming, MediaPort};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::rng::SeededRng;
use crate::time::{Span, Time};
use crate::wire::demux::{PacketKind, classify};
use crate::wire::rtcp::Compound;
use crate::wire::rtp::{RtpHeader, RtpView};
use core::net::SocketAddr;

/// Reads `data` as operations on a leg. Asserts: it talks to allowed targets only, and to another than it was told only when it was to learn one; what it sends is
/// well formed and of one SSRC; what it kept for the call is bounded and drains.
pub fn fuzz_rtp_leg(data: &[u8]) {
    let [flags, data @ ..] = data else { return };
    let Some(mut leg) = Leg::new(*flags) else { return };
    let mut rest = data;
    while let [op, a, b, tail @ ..] = rest {
        let take = if matches!(op % 8, 0..=3) { usize::from(*b).min(tail.len()) } else { 0 };
        let (payload, tail) = tail.split_at(take);
        rest = tail;
        leg.play(*op, *a, *b, payload);
    }
    leg.leg.close(leg.now);
    leg.drain();
}

struct Leg {
    leg: RtpLeg,
    params: RtpLegParams,
    now: Time,
    seq: u16,
    remote: Option<SocketAddr>,
    ssrc: Option<u32>,
}

impl Leg {
    fn new(flags: u8) -> Option<Self> {
        let clock_hz = if flags & 4 == 0 { 8_000 } else { 48_000 };
        let params = RtpLegParams {
            remote: (flags & 8 == 0).then(|| host(0)),
            learn: flags & 1 != 0,
            rtcp: if flags & 2 == 0 { RtcpPort::Mux } else { RtcpPort::Next },
            events: (flags & 16 == 0).then_some(LegEvents { payload_type: 126, clock_hz }),
            ..RtpLegParams::opus(host(0))
        };
        let targets: Arc<[AddressRange]> = Arc::new(["10.77.0.0/24".parse().expect("a range")]);
        let now = Time::from_nanos(1);
        let leg = RtpLeg::new(params.clone(), &targets, 1 << 63, &mut SeededRng::new(u64::from(flags)), now).ok()?;
        Some(Self { remote: params.remote, leg, params, now, seq: 0xFFF8, ssrc: None })
    }

    fn play(&mut self, op: u8, a: u8, b: u8, payload: &[u8]) {
        match op % 8 {
            0 => {
                let socket = FarSocket::ALL[usize::from(op >> 3 & 1)];
                self.leg.handle_datagram(socket, host(a), payload, self.now);
            }
            1 => {
                self.seq = self.seq.wrapping_add(u16::from(op >> 3 & 7)).wrapping_sub(1);
                let payload_type = if a & 0x80 == 0 { self.params.payload_type } else { 126 };
                let header =
                    RtpHeader { payload_type, marker: a & 0x40 != 0, seq: self.seq, timestamp: u32::from(self.seq) * 960, ssrc: 7 };
                let mut packet = vec![0; 12];
                header.emit(packet.first_chunk_mut().expect("twelve bytes"));
                packet.extend_from_slice(payload);
                self.leg.handle_datagram(FarSocket::Rtp, host(a & 3), &packet, self.now);
            }
            2 | 3 => {
                self.seq = self.seq.wrapping_add(u16::from(op >> 3 & 7)).wrapping_sub(1);
                let timestamp = u32::from(self.seq).wrapping_mul(960);
                let packet = Arrived { ssrc: u32::from(a & 3), seq: self.seq, timestamp, marker: a & 4 != 0, payload };
                if op % 8 == 2 { self.leg.arrived(&packet, self.now) } else { self.leg.event_arrived(&packet, self.now) }
            }
            4 => {
                self.now += Span::from_millis(u64::from(a) * u64::from(b));
                self.leg.handle_timeout(self.now);
                self.drain();
                assert!(self.leg.poll_timeout().is_none_or(|at| at > self.now), "the next deadline lies ahead");
            }
            5 => self.leg.handle_command(FarCommand::Remote(host(a)), self.now),
            6 => {
                let directions = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];
                self.leg.handle_command(FarCommand::Direction(directions[usize::from(a & 3)]), self.now);
            }
            _ => {
                let mut frame = FrameBuffer::default();
                if a & 1 != 0 {
                    // A tick of a call with its gate open, as a far side that is decoded has it.
                    self.leg.tick(self.now);
                    let _ = self.leg.outgoing(&mut frame);
                    if self.leg.wants_opus() {
                        self.leg.incoming(Incoming::Opus { payload, timestamp: u32::from(b) * 960 });
                    }
                }
                let mut count = 0;
                while self.leg.poll_forward(&mut frame).is_some() {
                    count += 1;
                    assert!(count <= 100, "two seconds are kept at most");
                }
            }
        }
        self.drain();
        let remote = self.leg.remote(FarSocket::Rtp);
        assert!(remote.is_none_or(|remote| remote.ip().to_string().starts_with("10.77.0.")), "only targets of the list");
        if op % 8 != 5 && remote != self.remote {
            assert!(self.params.learn, "an address is learned only when that was asked for");
        }
        self.remote = remote;
    }

    fn drain(&mut self) {
        let (mut out, mut count) = ([0; DATAGRAM_BYTES_MAX], 0);
        while let Some((len, socket)) = self.leg.poll_transmit(&mut out, self.now) {
            count += 1;
            assert!(count <= 128, "a drain ends");
            match classify(&out[..len]) {
                PacketKind::Rtp => {
                    let ssrc = RtpView::new_checked(&out[..len]).expect("a packet of ours").ssrc();
                    assert_eq!(*self.ssrc.get_or_insert(ssrc), ssrc, "one SSRC");
                    assert_eq!(socket, FarSocket::Rtp);
                }
                PacketKind::Rtcp => assert!(Compound::new_checked(&out[..len]).is_ok()),
                kind => panic!("{kind:?} to the far side"),
            }
        }
        let _ = self.leg.stats();
    }
}

/// The far side, its neighbours, and from 8 on addresses that are no targets.
fn host(choice: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, u8::from(choice & 8 != 0), choice & 7], 4_000 + u16::from(choice >> 4)))
}

#[test]
fn seeded_operation_lists() {
    use crate::rng::Entropy;
    let mut passed = 0;
    for seed in 0..3_000 {
        let mut data = [0; 300];
        SeededRng::new(seed).fill(&mut data);
        fuzz_rtp_leg(&data);
        // A packet of Opus from the far side, once with its address and once with another's.
        let mut leg = Leg::new(0).expect("sound parameters");
        leg.play(1, (seed & 1) as u8, 3, &[0xF8, 0xFF, 0xFE]);
        passed += leg.leg.stats().rtp_in;
    }
    assert_eq!(passed, 1_500, "the far side is heard, its neighbour is not");
}
