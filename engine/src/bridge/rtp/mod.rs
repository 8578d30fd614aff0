//! A plain RTP leg: the far side of a relay, a PBX or gateway that speaks RTP without WebRTC around it.
//!
//! Decides: what of the far side reaches the call and what of the call reaches the far side, packet by packet and at once. Given: datagrams, the address of the far
//! side, commands. Refuses: strangers (symmetric RTP with a declared address; learning only when asked, once, and then locked), SRTP, and any wait.

mod outbound;
mod params;
mod reframing;
mod targets;
mod transcode;

use super::order::Order;
use super::queue::{MARK_BYTES, PacketQueue};
use crate::call::{Arrived, Direction, FarCommand, FarSide, FarSocket, FarStats, Forward, FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::codec::{SampleRate, toc};
use crate::error::{DropReason, SetupError};
use crate::limits::{FRAME_MS, FRAME_TICKS, RTP_CLOCK_HZ, RTP_HEADER_BYTES, SEND_BYTES_MAX};
use crate::rng::{Entropy, SeededRng};
use crate::rtp::{Reporter, RtpSource};
use crate::time::Time;
use crate::wire::demux::{PacketKind, classify};
use crate::wire::dtmf::TelephoneEvent;
use crate::wire::rtp::{RtpHeader, RtpView};
use core::net::SocketAddr;
use outbound::Outbound;
pub use params::{LegCodec, LegEvents, PRE_ROLL, PRE_ROLL_MAX, RtcpPort, RtpLegParams};
use reframing::Reframing;
use std::sync::Arc;
pub use targets::{AddressRange, BadRange};
use transcode::Transcoder;

//= meta#R-31:live  held, bounded
/// Bytes of a packet that is kept while the gate is closed, with its mark: three times what Opus takes for speech.
const PREROLL_PACKET_BYTES: usize = 170;
/// Packets that may wait whatever the pre-roll is: those of a turn that comes late.
const WAITING_PACKETS_MIN: usize = 10;
/// Bytes of datagrams that wait for the far side within one turn: the early packets of a call at most.
const TRANSMIT_BYTES_MAX: usize = 50 * 200;
/// Bytes both queues keep when they are empty: one packet of speech and its mark.
const QUEUE_BYTES: usize = 256;

//= meta#R-09  the customer's own RTP infrastructure
/// A plain RTP leg.
pub struct RtpLeg {
    params: RtpLegParams,
    targets: Arc<[AddressRange]>,
    remote: Option<SocketAddr>,
    /// The far side's address may still be learned.
    learning: bool,
    direction: Direction,
    order: Order,
    inbound: PacketQueue,
    /// Packets of the far side kept while the gate is closed; older ones give way.
    waiting_max: usize,
    /// Of a far side that sends Opus in other packets than of 20 ms.
    reframing: Option<Box<Reframing>>,
    outbound: Outbound,
    /// Timestamp of the peer's last Opus packet that went on by the tick.
    spoken: Option<u32>,
    /// Codec and jitter buffer of a leg that is not Opus, or whose far side sends it in frames of 40 or 60 ms.
    transcoder: Option<Box<Transcoder>>,
    /// The present, as of the last tick or datagram.
    now: Time,
    transmit: PacketQueue,
    reporter: Reporter,
    rng: SeededRng,
    /// NTP timestamp of [`Time::ZERO`].
    ntp_origin: u64,
    report_due: bool,
    bye_due: bool,
    stats: FarStats,
}

impl RtpLeg {
    /// A leg whose sockets the shard owns. `targets` is where it may send, now and later; `ntp_origin` the NTP timestamp (32.32) of [`Time::ZERO`].
    ///
    /// Errors as [`RtpLegParams::check`], and `Misuse` for a remote address that is no target.
    pub fn new(
        params: RtpLegParams,
        targets: &Arc<[AddressRange]>,
        ntp_origin: u64,
        entropy: &mut dyn Entropy,
        now: Time,
    ) -> Result<Self, SetupError> {
        params.check()?;
        //= meta#R-10  a list, and nobody else
        if params.remote.is_some_and(|remote| !is_target(targets, remote)) {
            return Err(SetupError::Misuse(NO_TARGET));
        }
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let cname: String = (0..16).map(|_| char::from(LETTERS[entropy.below(32) as usize])).collect();
        let clock_hz = params.codec.clock_hz();
        let mut reporter = Reporter::with_clock(&cname, clock_hz, now);
        reporter.start(now);
        let waiting_max = ((params.pre_roll.as_millis() / FRAME_MS) as usize).max(WAITING_PACKETS_MIN);
        let mut leg = Self {
            targets: Arc::clone(targets),
            remote: params.remote,
            learning: params.learn,
            direction: Direction::SendRecv,
            order: Order::default(),
            inbound: PacketQueue::new(waiting_max * PREROLL_PACKET_BYTES),
            waiting_max,
            reframing: None,
            outbound: Outbound::new(clock_hz, entropy, now),
            spoken: None,
            transcoder: Transcoder::new(params.codec, params.pre_roll).map(Box::new),
            now,
            transmit: PacketQueue::new(TRANSMIT_BYTES_MAX),
            reporter,
            rng: SeededRng::new(entropy.u64()),
            ntp_origin,
            report_due: false,
            bye_due: false,
            stats: FarStats::default(),
            params,
        };
        leg.inbound.reserve(QUEUE_BYTES);
        leg.transmit.reserve(QUEUE_BYTES);
        Ok(leg)
    }

    /// What it was made from; the remote address as it is now is in [`FarSide::stats`].
    pub fn params(&self) -> &RtpLegParams {
        &self.params
    }

    fn take(&mut self, socket: FarSocket, from: SocketAddr, datagram: &[u8], now: Time) -> Result<(), DropReason> {
        let kind = classify(datagram);
        match kind {
            PacketKind::Rtcp => self.take_rtcp(socket, from, datagram, now),
            PacketKind::Rtp if socket == FarSocket::Rtp => self.take_rtp(from, datagram, now),
            _ => Err(DropReason::Unknown),
        }
    }

    fn take_rtcp(&mut self, socket: FarSocket, from: SocketAddr, datagram: &[u8], now: Time) -> Result<(), DropReason> {
        if self.remote(socket) != Some(from) {
            return Err(DropReason::MediaWrongSource);
        }
        self.reporter.received_rtcp(datagram, self.outbound.ssrc, now)?;
        self.stats.rtcp_in += 1;
        Ok(())
    }

    fn take_rtp(&mut self, from: SocketAddr, datagram: &[u8], now: Time) -> Result<(), DropReason> {
        if self.remote != Some(from) && !(self.learning && is_target(&self.targets, from)) {
            return Err(DropReason::MediaWrongSource);
        }
        let view = RtpView::new_checked(datagram)?;
        let is_event = self.params.events.is_some_and(|e| e.payload_type == view.payload_type());
        if !is_event && view.payload_type() != self.params.payload_type {
            return Err(DropReason::PayloadType);
        }
        if core::mem::take(&mut self.learning) {
            // Once, and by a packet that is what was agreed on.
            self.remote = Some(from);
        }
        self.reporter.received_rtp(&view, is_event, now);
        self.stats.rtp_in += 1;
        if !self.direction.receives() {
            return Err(DropReason::Held);
        }
        match (is_event, &mut self.transcoder) {
            (true, _) => self.take_event(&view, now),
            (false, Some(transcoder)) => {
                // Digits stand in the same sequence, and before the gate opens nothing else puts what overtook in order.
                let next = self.order.take(view.ssrc(), view.seq(), Some(view.timestamp()));
                transcoder.insert(&view, next, now)
            }
            (false, None) => self.take_audio(&view, now),
        }
    }

    fn take_audio(&mut self, view: &RtpView<'_>, now: Time) -> Result<(), DropReason> {
        //= meta#R-18  only 20 ms may leave
        let ticks = toc::duration_ticks(view.payload())?;
        #[cfg(feature = "opus")]
        if ticks > FRAME_TICKS && toc::frame_ticks(view.payload()[0]) > FRAME_TICKS {
            return self.take_long(view, now);
        }
        #[cfg(not(feature = "opus"))]
        let _ = now;
        let next = self.ordered(view, Some(view.timestamp()))?;
        if ticks != FRAME_TICKS || self.reframing.as_ref().is_some_and(|reframing| reframing.is_started()) {
            let mut reframing = self.reframing.take().unwrap_or_default();
            let packet = (view.payload(), view.timestamp(), ticks);
            let outcome = reframing.take(packet, next, |payload, timestamp, fresh| {
                self.keep(Mark { kind: if fresh { Kind::Fresh } else { Kind::Audio }, timestamp }, payload)
            });
            self.reframing = Some(reframing);
            return outcome;
        }
        let mark = Mark { kind: if next.fresh { Kind::Fresh } else { Kind::Audio }, timestamp: view.timestamp() };
        self.keep(mark, view.payload())
    }

    /// A single frame of 40 or 60 ms: from here on the far side is decoded, and heard by the tick.
    #[cfg(feature = "opus")]
    #[cold]
    fn take_long(&mut self, view: &RtpView<'_>, now: Time) -> Result<(), DropReason> {
        let mut transcoder = Transcoder::of_opus(self.params.pre_roll).ok_or(DropReason::FrameLength)?;
        let next = self.order.take(view.ssrc(), view.seq(), Some(view.timestamp()));
        let outcome = transcoder.insert(view, next, now);
        self.transcoder = Some(Box::new(transcoder));
        outcome
    }

    fn take_event(&mut self, view: &RtpView<'_>, now: Time) -> Result<(), DropReason> {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.note_event(view, now);
        }
        let format = self.params.events.ok_or(DropReason::PayloadType)?;
        let mut event = TelephoneEvent::parse(view.payload())?;
        self.ordered(view, None)?;
        let units = u32::from(event.duration) * EVENT_CLOCK_HZ / format.clock_hz;
        event.duration = u16::try_from(units).unwrap_or(u16::MAX);
        let timestamp = view.timestamp().wrapping_mul(RTP_CLOCK_HZ / self.params.codec.clock_hz());
        let kind = if view.marker() { Kind::EventStart } else { Kind::Event };
        self.keep(Mark { kind, timestamp }, &event.emit())
    }

    fn ordered(&mut self, view: &RtpView<'_>, timestamp: Option<u32>) -> Result<super::order::Next, DropReason> {
        let next = self.order.take(view.ssrc(), view.seq(), timestamp);
        self.stats.late += u64::from(next == Err(DropReason::Late));
        next
    }

    fn keep(&mut self, mark: Mark, payload: &[u8]) -> Result<(), DropReason> {
        let mut outcome = Ok(());
        while self.inbound.len() >= self.waiting_max || !self.inbound.push(mark.to_bytes(), payload) {
            // The oldest gives way: what is said now matters more than what was said two seconds ago.
            if self.inbound.pop(&mut []).is_none() {
                return Err(DropReason::NoRoom);
            }
            outcome = Err(DropReason::NoRoom);
        }
        outcome
    }

    /// Puts one RTP packet of ours into the queue for the far side.
    fn send(&mut self, header: RtpHeader, payload: &[u8]) -> Result<(), DropReason> {
        let mut packet = [0; RTP_HEADER_BYTES + SEND_BYTES_MAX];
        let end = RTP_HEADER_BYTES + payload.len();
        let room = packet.get_mut(RTP_HEADER_BYTES..end).ok_or(DropReason::Oversized)?;
        room.copy_from_slice(payload);
        header.emit(packet.first_chunk_mut().expect("the packet has room for a header"));
        if !self.transmit.push([0; MARK_BYTES], &packet[..end]) {
            return Err(DropReason::NoRoom);
        }
        self.outbound.count(payload.len());
        self.stats.rtp_out += 1;
        self.stats.rtp_octets_out += payload.len() as u64;
        Ok(())
    }

    /// A packet of the peer goes on to the far side.
    fn pass(&mut self, packet: &Arrived<'_>, payload_type: u8, payload: &[u8], now: Time) -> Result<(), DropReason> {
        if !self.direction.sends() {
            return Err(DropReason::Held);
        }
        let (seq, timestamp) = self.outbound.pass(packet.ssrc, packet.seq, packet.timestamp, now)?;
        self.send(RtpHeader { payload_type, marker: packet.marker, seq, timestamp, ssrc: self.outbound.ssrc }, payload)
    }

    fn pass_event(&mut self, packet: &Arrived<'_>, now: Time) -> Result<(), DropReason> {
        let format = self.params.events.ok_or(DropReason::PayloadType)?;
        let mut event = TelephoneEvent::parse(packet.payload)?;
        // A clock of 48 kHz counts to 1.4 s; a longer key stays at that until its end.
        let units = u32::from(event.duration) * (format.clock_hz / EVENT_CLOCK_HZ);
        event.duration = u16::try_from(units).unwrap_or(u16::MAX);
        if self.transcoder.is_none() {
            return self.pass(packet, format.payload_type, &event.emit(), now);
        }
        if !self.direction.sends() {
            return Err(DropReason::Held);
        }
        let (seq, timestamp) = self.outbound.event(packet.timestamp, RTP_CLOCK_HZ / self.params.codec.clock_hz());
        let header = RtpHeader { payload_type: format.payload_type, marker: packet.marker, seq, timestamp, ssrc: self.outbound.ssrc };
        self.send(header, &event.emit())
    }

    /// 20 ms of the peer for a far side that is not Opus.
    fn speak(&mut self, samples: &[i16]) -> Result<(), DropReason> {
        let Some(transcoder) = &self.transcoder else { return Ok(()) };
        if !self.direction.sends() {
            return Err(DropReason::Held);
        }
        let mut payload = [0; SEND_BYTES_MAX];
        let len = transcoder.encode(samples, &mut payload);
        let marker = self.outbound.sent().0 == 0;
        let (seq, timestamp) = self.outbound.next(samples.len() as u32, self.now);
        let header = RtpHeader { payload_type: self.params.payload_type, marker, seq, timestamp, ssrc: self.outbound.ssrc };
        self.send(header, &payload[..len])
    }

    /// An Opus packet of the peer, in play-out order. What is missing between two is told by the timestamp.
    fn speak_opus(&mut self, payload: &[u8], timestamp: u32) -> Result<(), DropReason> {
        if !self.direction.sends() {
            return Err(DropReason::Held);
        }
        let step = self.spoken.map_or(FRAME_TICKS, |before| timestamp.wrapping_sub(before));
        self.spoken = Some(timestamp);
        let ticks = if (1..=RTP_CLOCK_HZ).contains(&step) { step } else { FRAME_TICKS };
        let (seq, timestamp) = self.outbound.next(ticks, self.now);
        let marker = ticks > FRAME_TICKS;
        self.send(RtpHeader { payload_type: self.params.payload_type, marker, seq, timestamp, ssrc: self.outbound.ssrc }, payload)
    }

    fn count(&mut self, outcome: Result<(), DropReason>) {
        if let Err(reason) = outcome {
            self.stats.drops.count(reason);
        }
    }

    fn write_report(&mut self, is_bye: bool, out: &mut [u8], now: Time) -> usize {
        let ntp_ns = u128::from(now.as_nanos());
        let ntp = self.ntp_origin.wrapping_add(((ntp_ns << 32) / 1_000_000_000) as u64);
        let (packets, octets) = self.outbound.sent();
        let source = RtpSource::reported(self.outbound.ssrc, self.outbound.present(now), packets, octets);
        if is_bye {
            self.reporter.write_bye(&source, ntp, 0, out, now)
        } else {
            self.reporter.write_report(&source, ntp, 0, &mut self.rng, out, now)
        }
    }

    fn rtcp_socket(&self) -> FarSocket {
        match self.params.rtcp {
            RtcpPort::Mux => FarSocket::Rtp,
            RtcpPort::Next => FarSocket::Rtcp,
        }
    }
}

impl MediaPort for RtpLeg {
    fn wants_pcm(&self) -> Option<SampleRate> {
        self.transcoder.as_ref().filter(|_| self.params.codec != LegCodec::Opus).map(|t| t.rate())
    }

    fn wants_opus(&self) -> bool {
        self.transcoder.is_some() && self.params.codec == LegCodec::Opus
    }

    /// What goes by the tick: samples to be encoded, or Opus while the far side's own Opus is decoded. Otherwise Opus is passed on as it arrives.
    fn incoming(&mut self, frame: Incoming<'_>) {
        let outcome = match frame {
            Incoming::Pcm { samples, .. } => self.speak(samples),
            Incoming::Opus { payload, timestamp } => self.speak_opus(payload, timestamp),
        };
        self.count(outcome);
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        let Some(transcoder) = &mut self.transcoder else { return Outgoing::Silence };
        if transcoder.take(self.now, &mut frame.pcm) { Outgoing::Pcm(transcoder.rate()) } else { Outgoing::Silence }
    }

    fn tick(&mut self, now: Time) {
        self.now = now;
    }

    /// Opus is passed through at once; what is transcoded goes by the tick. Digits always go at once.
    fn forwards(&self) -> bool {
        self.transcoder.is_none()
    }

    fn arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        let outcome = self.pass(packet, self.params.payload_type, packet.payload, now);
        self.count(outcome);
    }

    fn event_arrived(&mut self, packet: &Arrived<'_>, now: Time) {
        let outcome = self.pass_event(packet, now);
        self.count(outcome);
    }

    fn has_forward(&self) -> bool {
        self.inbound.len() > 0
    }

    fn poll_forward(&mut self, frame: &mut FrameBuffer) -> Option<Forward> {
        let had = self.inbound.len();
        let (mark, len) = self.inbound.pop(&mut frame.opus)?;
        if had == 1 {
            // The pre-roll is out; what it took goes back.
            self.inbound.shrink(QUEUE_BYTES);
        }
        let Mark { kind, timestamp } = Mark::from_bytes(mark);
        Some(match kind {
            Kind::Audio | Kind::Fresh => Forward::Opus { len, timestamp, fresh: kind == Kind::Fresh },
            Kind::Event | Kind::EventStart => {
                let event = TelephoneEvent::parse(&frame.opus[..len]).expect("kept as it was emitted");
                Forward::Event { event, marker: kind == Kind::EventStart, timestamp }
            }
        })
    }

    fn far(&self) -> Option<&dyn FarSide> {
        Some(self)
    }

    fn far_mut(&mut self) -> Option<&mut dyn FarSide> {
        Some(self)
    }
}

impl FarSide for RtpLeg {
    fn handle_datagram(&mut self, socket: FarSocket, from: SocketAddr, datagram: &[u8], now: Time) {
        let outcome = self.take(socket, from, datagram, now);
        self.count(outcome);
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.reporter.poll_timeout().is_some_and(|at| at <= now) {
            self.report_due = true;
        }
    }

    fn handle_command(&mut self, command: FarCommand, now: Time) {
        match command {
            FarCommand::Remote(remote) => {
                if params::check_remote(remote, self.params.rtcp).is_ok() && is_target(&self.targets, remote) {
                    self.remote = Some(remote);
                    self.learning = self.params.learn;
                    self.reporter.start(now);
                }
            }
            FarCommand::Direction(direction) => self.direction = direction,
        }
    }

    fn poll_transmit(&mut self, out: &mut [u8], now: Time) -> Option<(usize, FarSocket)> {
        while let Some((_, len)) = self.transmit.pop(out) {
            if len > 0 {
                return Some((len, FarSocket::Rtp));
            }
        }
        let is_bye = core::mem::take(&mut self.bye_due);
        // Reports go on while nobody speaks (C3).
        if core::mem::take(&mut self.report_due) || is_bye {
            let len = self.write_report(is_bye, out, now);
            if len > 0 {
                self.stats.rtcp_out += 1;
                return Some((len, self.rtcp_socket()));
            }
        }
        None
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.reporter.poll_timeout().filter(|_| !self.report_due)
    }

    fn close(&mut self, _now: Time) {
        self.bye_due = true;
        self.direction = Direction::Inactive;
    }

    fn remote(&self, socket: FarSocket) -> Option<SocketAddr> {
        let remote = self.remote?;
        match (socket, self.params.rtcp) {
            (FarSocket::Rtp, _) => Some(remote),
            (FarSocket::Rtcp, RtcpPort::Next) => Some(SocketAddr::new(remote.ip(), remote.port().checked_add(1)?)),
            (FarSocket::Rtcp, RtcpPort::Mux) => None,
        }
    }

    fn is_learning(&self) -> bool {
        self.learning
    }

    fn stats(&self) -> FarStats {
        let jitter = self.transcoder.as_ref().map(|t| t.jitter_stats()).unwrap_or_default();
        FarStats { remote: self.remote, reception: self.reporter.stats(), jitter, ..self.stats.clone() }
    }
}

/// Whether plain RTP may go to `address`.
pub(crate) fn is_target(targets: &[AddressRange], address: SocketAddr) -> bool {
    targets.iter().any(|range| range.contains(address.ip()))
}

/// What is told of an address outside the list.
pub const NO_TARGET: &str = "the RTP leg's remote address is in none of the ranges that plain RTP may go to (rtp_targets, R-10)";

/// What is noted with a packet that waits for the gate.
#[derive(Clone, Copy)]
struct Mark {
    kind: Kind,
    /// On the far side's line, in 48 kHz ticks.
    timestamp: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Audio,
    Fresh,
    Event,
    EventStart,
}

impl Mark {
    fn to_bytes(self) -> [u8; MARK_BYTES] {
        let [a, b, c, d] = self.timestamp.to_be_bytes();
        [a, b, c, d, self.kind as u8, 0, 0, 0]
    }

    fn from_bytes([a, b, c, d, kind, ..]: [u8; MARK_BYTES]) -> Self {
        let kind = [Kind::Audio, Kind::Fresh, Kind::Event, Kind::EventStart][usize::from(kind & 3)];
        Self { kind, timestamp: u32::from_be_bytes([a, b, c, d]) }
    }
}

/// Clock of event durations towards Meta.
const EVENT_CLOCK_HZ: u32 = crate::limits::DTMF_CLOCK_HZ;

#[cfg(test)]
mod tests;
