//! Fuzz body of a whole call: an operation list played against a peer that answers checks, shakes hands and speaks SRTP, so that lists get past ICE and
//! DTLS and what lies behind is attacked too.

use super::peer::{THEIR_PWD, THEIR_UFRAG, local, remote};
use std::sync::{Arc, OnceLock};

use crate::call::{
    Call, CallConfig, CallEvent, FrameBuffer, Incoming, LocalParams, MediaParams, MediaPort, Outgoing, RemoteParams, Scratch, SetupRole,
    Watchdogs,
};
use crate::codec::SampleRate;
use crate::codec::silence::SILENCE_PACKET;
use crate::dtls::{Certificate, Dtls, DtlsConfig, DtlsContext, DtlsEvent, DtlsRole};
use crate::error::EndReason;
use crate::ice::{Candidate, CandidateKind, Credentials, IceConfig, Path};
use crate::jitter::JitterConfig;
use crate::keying::{Keying, Profile};
use crate::limits::{DATAGRAM_BYTES_MAX, FRAME_MS, SEND_BYTES_MAX, SRTP_TRAILER_BYTES_MAX};
use crate::rng::SeededRng;
use crate::srtp::{Receiver, Sender};
use crate::time::{Span, Time};
use crate::wire::demux::{PacketKind, classify};
use crate::wire::rtp::RtpHeader;
use crate::wire::stun::{Class, IntegrityKey, StunView, StunWriter, TransactionId};

/// Reads `data` as operations on a call: datagrams of any kind from any address, authentic and not; time in small and large steps; gate, ports, close.
///
/// Asserts after each: checks only until a pair is nominated, then everything on that pair; no media before the gate; one SSRC, an unbroken sequence,
/// and every packet of ours opens with our key; every drain ends, the next deadline lies ahead; one `Ended`, the last event, and nothing sent after it.
pub fn fuzz_call(data: &[u8]) {
    play(data);
}

fn play(data: &[u8]) -> World {
    let mut input = Input(data);
    let mut world = World::new(input.byte(), input.byte());
    // Each operation costs at least a byte, so the list is as bounded as the input is.
    while let Some(operation) = input.next() {
        match operation % 20 {
            0 => world.pass(Span::from_millis(u64::from(input.byte()))),
            1 => world.pass(Span::from_millis(u64::from(input.byte()) * 100)),
            2 => world.jump(Span::from_millis(u64::from(input.byte()) * 250)),
            3 => world.peer.answers ^= true,
            4 => world.peer.shakes ^= true,
            5 => world.open_gate(),
            6 => world.close(input.byte()),
            7 => {
                let port = Host::new(input.byte());
                world.call.attach(Box::new(port), world.now);
                world.settle();
            }
            8 => {
                let path = world.path(input.byte());
                let datagram = input.packet().to_vec();
                world.deliver(path, datagram);
            }
            9 => world.raw(input.packet().to_vec()),
            10 => world.talk(input.byte()),
            11 => {
                let (jump, flags) = (input.byte(), input.byte());
                world.speak(jump, flags, input.packet());
            }
            12 => world.report(input.packet()),
            13 => world.repeat(input.byte(), input.byte()),
            14 => {
                let path = world.path(input.byte());
                world.ask(path, input.byte());
            }
            15 => world.type_digit(input.byte(), input.byte()),
            16 => world.introduce(input.byte()),
            17 => world.peer.ssrc = u32::from(input.byte()),
            18 => (world.peer.seq, world.peer.timestamp) = (u16::from(input.byte()) << 8, u32::from(input.byte()) << 24),
            _ => world.hang_up_dtls(),
        }
    }
    world.close(0);
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

    /// What follows, behind its length in one byte.
    fn packet(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        let (head, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        head
    }
}

/// The far end.
struct Peer {
    /// Checks are answered.
    answers: bool,
    /// Handshake datagrams are taken and sent.
    shakes: bool,
    /// Keys come out of thin air, without a handshake.
    is_instant: Option<Profile>,
    role: DtlsRole,
    dtls: Option<Dtls>,
    keys: Option<(Sender, Receiver)>,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    /// The last datagram that was sent to the call.
    last: Vec<u8>,
}

struct World {
    call: Call,
    scratch: Scratch,
    now: Time,
    ours: LocalParams,
    peer: Peer,
    media: MediaParams,
    selected: Option<Path>,
    gate: bool,
    ended: Option<EndReason>,
    delivered: u64,
    stream: Option<(u16, u32)>,
    /// Timer steps that are left: a list must not simulate for hours.
    steps: u32,
    digits: usize,
}

impl World {
    fn new(flags: u8, media: u8) -> Self {
        let role = [SetupRole::Active, SetupRole::ActPass, SetupRole::Passive, SetupRole::Active][usize::from(flags & 3)];
        let profiles = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes256Gcm];
        let mut entropy = SeededRng::new(u64::from(flags));
        let candidates = vec![Candidate::host(local(4), 65_535), Candidate::host(local(6), 65_534)];
        let now = Time::from_nanos(1_000_000_000);
        let call = Call::new(&config(), role, candidates, Box::new(Host::new(media)), &mut entropy, now).expect("it has candidates");
        let peer = Peer {
            answers: true,
            shakes: true,
            // One list in eight shakes hands for real: that costs a hundred times as much as all the rest.
            is_instant: (flags >> 5 != 0).then_some(profiles[usize::from(flags >> 2 & 3)]),
            role: if role == SetupRole::Passive { DtlsRole::Client } else { DtlsRole::Server },
            dtls: None,
            keys: None,
            ssrc: 0x0BAD_CAFE,
            seq: 0xFFF0,
            timestamp: 0xFFFF_F000,
            last: Vec::new(),
        };
        let media = MediaParams {
            opus_payload_type: if media & 0x40 == 0 { 111 } else { 126 },
            dtmf_payload_type: (media & 0x80 == 0).then_some(if media & 0x40 == 0 { 126 } else { 101 }),
            ..MediaParams::default()
        };
        let ours = call.local_params().clone();
        let mut world = Self {
            call,
            scratch: Scratch::default(),
            now,
            ours,
            peer,
            media,
            selected: None,
            gate: false,
            ended: None,
            delivered: 0,
            stream: None,
            steps: 600,
            digits: 0,
        };
        if flags & 0x10 == 0 {
            world.introduce(2);
        }
        world
    }

    fn path(&self, choice: u8) -> Path {
        let family = if choice & 1 == 0 { 4 } else { 6 };
        let local = local(if choice & 0x80 == 0 { family } else { 10 - family });
        Path { local, remote: remote(family, u16::from(choice >> 1 & 7)) }
    }

    /// Signalling brings the peer's parameters; the first time they count.
    fn introduce(&mut self, choice: u8) {
        let count = u16::from(choice % 6);
        let candidates = (0..count)
            .map(|i| Candidate::remote(remote(if i % 2 == 0 { 4 } else { 6 }, i), CandidateKind::Host, 1 << (20 + i), "1"))
            .collect();
        let role = if self.peer.role == DtlsRole::Client { SetupRole::Active } else { SetupRole::Passive };
        let remote = RemoteParams {
            sdes: None,
            credentials: Some(Credentials { ufrag: THEIR_UFRAG.into(), pwd: THEIR_PWD.into() }),
            lite: choice & 0x40 == 0,
            candidates,
            fingerprints: if choice & 0x80 == 0 { vec![config().dtls.fingerprint()] } else { Vec::new() },
            role,
            media: self.media,
            ssrc: None,
        };
        let _ = self.call.set_remote_params(remote, self.now);
        self.settle();
    }

    fn open_gate(&mut self) {
        self.gate = true;
        self.call.open_gate(self.now);
        self.settle();
    }

    fn close(&mut self, choice: u8) {
        let reasons = [EndReason::HangUp, EndReason::Cancelled, EndReason::ConsentLost, EndReason::InternalFault];
        self.call.close(reasons[usize::from(choice & 3)], self.now);
        self.settle();
        assert!(self.ended.is_some() && self.call.is_closed() && self.call.poll_timeout().is_none(), "a closed call is over");
    }

    /// Time passes, and every timer fires when it is due.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(at) = self.next_timeout().filter(|&at| at <= end && self.steps > 0) {
            self.steps -= 1;
            self.now = self.now.max(at);
            self.fire();
        }
        self.jump(end.since(self.now));
    }

    /// Time passes while nobody looks: a host that was suspended.
    fn jump(&mut self, span: Span) {
        self.now += span;
        self.fire();
    }

    fn next_timeout(&self) -> Option<Time> {
        [self.call.poll_timeout(), self.peer.dtls.as_ref().and_then(Dtls::poll_timeout)].into_iter().flatten().min()
    }

    fn fire(&mut self) {
        // What the peer answers at once may make something due at once: the first frame, when its answer brought the keys.
        for round in 0.. {
            assert!(round < 4, "the next deadline lies ahead");
            self.call.handle_timeout(&mut self.scratch, self.now);
            if let Some(dtls) = &mut self.peer.dtls {
                dtls.handle_timeout(self.now);
            }
            self.settle();
            if self.call.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
    }

    fn deliver(&mut self, path: Path, mut datagram: Vec<u8>) {
        self.peer.last.clone_from(&datagram);
        self.delivered += 1;
        self.call.handle_datagram(path, &mut datagram, self.now);
        self.settle();
    }

    /// From the address the call has chosen, or the first one there is.
    fn raw(&mut self, datagram: Vec<u8>) {
        let path = self.selected.unwrap_or(self.path(0));
        self.deliver(path, datagram);
    }

    /// An RTP packet with the right key. False while there is none.
    fn rtp(&mut self, payload_type: u8, marker: bool, payload: &[u8]) -> bool {
        let header = RtpHeader { payload_type, marker, seq: self.peer.seq, timestamp: self.peer.timestamp, ssrc: self.peer.ssrc };
        let mut packet = vec![0; 12 + payload.len() + SRTP_TRAILER_BYTES_MAX];
        header.emit(packet.first_chunk_mut().expect("twelve bytes"));
        packet[12..12 + payload.len()].copy_from_slice(payload);
        let Some((sender, _)) = &mut self.peer.keys else { return false };
        let Ok(len) = sender.protect_rtp(&mut packet, 12 + payload.len()) else { return false };
        packet.truncate(len);
        self.raw(packet);
        true
    }

    /// Up to a second of ordinary speech.
    fn talk(&mut self, choice: u8) {
        for frame in 0..choice % 50 {
            self.peer.seq = self.peer.seq.wrapping_add(1);
            self.peer.timestamp = self.peer.timestamp.wrapping_add(960);
            // Some are lost.
            if choice & 0x80 == 0 || frame % 7 != 3 {
                let payload = if choice & 0x40 == 0 { &SILENCE_PACKET[..] } else { &[0x48, frame, 0x5A, choice, 1, 2, 3, 4, 5, 6] };
                if !self.rtp(self.media.opus_payload_type, false, payload) {
                    return;
                }
            }
            self.pass(Span::from_millis(FRAME_MS));
        }
    }

    /// One authentic packet with odd numbers and any payload.
    fn speak(&mut self, jump: u8, flags: u8, payload: &[u8]) {
        self.peer.seq = self.peer.seq.wrapping_add(u16::from(jump)).wrapping_sub(u16::from(flags & 0x3F));
        self.peer.timestamp = self.peer.timestamp.wrapping_add(u32::from(jump) * [960, 1, 480, 48_000][usize::from(flags >> 6)]);
        let payload_type = if flags & 0x20 == 0 { self.media.opus_payload_type } else { flags & 0x7F };
        self.rtp(payload_type, flags & 1 != 0, payload);
    }

    fn type_digit(&mut self, event: u8, flags: u8) {
        let payload_type = self.media.dtmf_payload_type.unwrap_or(126);
        for copy in 0..=flags & 7 {
            self.peer.seq = self.peer.seq.wrapping_add(1);
            let end = if copy >= 3 || flags & 8 != 0 { 0x80 } else { 0 };
            let duration = (u16::from(copy) + 1) * 160;
            self.rtp(payload_type, copy == 0, &[event, end | 10, (duration >> 8) as u8, duration as u8]);
        }
    }

    /// An authentic RTCP compound, or what claims to be one.
    fn report(&mut self, compound: &[u8]) {
        let mut packet = compound.to_vec();
        packet.resize(compound.len() + SRTP_TRAILER_BYTES_MAX, 0);
        let Some((sender, _)) = &mut self.peer.keys else { return };
        if let Ok(len) = sender.protect_rtcp(&mut packet, compound.len()) {
            packet.truncate(len);
            self.raw(packet);
        }
    }

    /// The last datagram again, as it was or with a byte changed, from here or there.
    fn repeat(&mut self, path: u8, change: u8) {
        let mut datagram = self.peer.last.clone();
        let at = usize::from(change) % datagram.len().max(1);
        if let Some(byte) = datagram.get_mut(at).filter(|_| change & 1 != 0) {
            *byte ^= change;
        }
        match path & 1 {
            0 => self.raw(datagram),
            _ => self.deliver(self.path(path), datagram),
        }
    }

    /// A check of the peer's.
    fn ask(&mut self, path: Path, flags: u8) {
        let mut out = [0; 300];
        let mut writer = StunWriter::new(&mut out, Class::Request, TransactionId([flags; 12]));
        writer.username(&self.ours.credentials.ufrag, THEIR_UFRAG).priority(u32::from(flags) << 23).controlled(u64::from(flags));
        let key = IntegrityKey::new(if flags & 1 == 0 { &self.ours.credentials.pwd } else { "guess" }.as_bytes());
        let length = writer.finish(Some(&key)).expect("it fits");
        self.deliver(path, out[..length].to_vec());
    }

    fn hang_up_dtls(&mut self) {
        if let Some(dtls) = &mut self.peer.dtls {
            dtls.close();
        }
        self.settle();
    }

    /// Drains call and peer until both are silent.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 64, "call and peer never fall silent");
            let mut replies = self.drain_call();
            if self.ended.is_some() {
                return;
            }
            if let Some(dtls) = self.peer.dtls.as_mut().filter(|_| self.peer.shakes) {
                let mut out = [0; DATAGRAM_BYTES_MAX];
                while let (Some(len), Some(path)) = (dtls.poll_transmit(&mut out), self.selected) {
                    replies.push((path, out[..len].to_vec()));
                }
                while let Some(event) = dtls.poll_event() {
                    if let DtlsEvent::Connected(keying) = event {
                        self.peer.keys = Some((Sender::from_keying(&keying), Receiver::from_keying(&keying)));
                    }
                }
            }
            if replies.is_empty() {
                return;
            }
            for (path, mut datagram) in replies {
                self.delivered += 1;
                self.call.handle_datagram(path, &mut datagram, self.now);
            }
        }
    }

    /// What the call sends and tells; returns what the peer answers.
    fn drain_call(&mut self) -> Vec<(Path, Vec<u8>)> {
        let (mut out, mut replies, mut sent) = ([0; DATAGRAM_BYTES_MAX], Vec::new(), 0);
        while let Some((len, path)) = self.call.poll_transmit(&mut self.scratch, &mut out, self.now) {
            sent += 1;
            assert!(sent <= 128, "a drain ends");
            self.check_sent(&mut out[..len], path, &mut replies);
        }
        while let Some(event) = self.call.poll_event() {
            assert!(self.ended.is_none(), "{event:?} after the last event");
            match event {
                CallEvent::IceConnected { path, .. } => {
                    assert!(self.selected.replace(path).is_none(), "a pair is nominated once");
                    replies.extend(self.start_peer());
                }
                CallEvent::FirstRtpOut => assert!(self.gate),
                CallEvent::Digit(digit) => {
                    assert!("0123456789*#ABCD!".contains(digit.symbol));
                    self.digits += 1;
                }
                CallEvent::Ended(ended) => self.ended = Some(ended.reason),
                _ => {}
            }
        }
        assert_eq!(self.call.path(), self.selected);
        let stats = self.call.stats();
        assert_eq!(stats.datagrams_in, self.delivered);
        assert!(stats.rtp_in + stats.rtcp_in + stats.drops.total() <= self.delivered, "{stats:?}");
        replies
    }

    fn start_peer(&mut self) -> Vec<(Path, Vec<u8>)> {
        let Some(profile) = self.peer.is_instant else {
            let dtls = Dtls::new(&config().dtls, self.peer.role, &[self.ours.fingerprint], Span::ZERO, self.now);
            self.peer.dtls = Some(dtls.expect("valid arguments"));
            return Vec::new();
        };
        let keying = |ours: u8, theirs: u8| Keying {
            profile,
            local_key: [ours; 32],
            local_salt: [ours; 14],
            remote_key: [theirs; 32],
            remote_salt: [theirs; 14],
        };
        let theirs = keying(2, 1);
        self.peer.keys = Some((Sender::from_keying(&theirs), Receiver::from_keying(&theirs)));
        self.call.assume_keys(&keying(1, 2), self.now);
        self.drain_call()
    }

    fn check_sent(&mut self, bytes: &mut [u8], path: Path, replies: &mut Vec<(Path, Vec<u8>)>) {
        assert!(self.ended.is_none(), "nothing is sent after the last event");
        assert!(bytes.len() <= SEND_BYTES_MAX);
        let kind = classify(bytes);
        if kind == PacketKind::Stun {
            replies.extend(self.answer(bytes).map(|answer| (path, answer)));
            return;
        }
        assert_eq!(self.call.path(), Some(path), "{kind:?} leaves on the nominated pair");
        match kind {
            PacketKind::Dtls => {
                if let Some(dtls) = self.peer.dtls.as_mut().filter(|_| self.peer.shakes) {
                    let _ = dtls.handle_datagram(bytes, self.now);
                }
            }
            PacketKind::Rtp | PacketKind::Rtcp => {
                assert!(self.gate, "no media before the gate");
                let is_rtp = kind == PacketKind::Rtp;
                if is_rtp {
                    self.check_stream(bytes);
                }
                if let Some((_, receiver)) = &mut self.peer.keys {
                    let opened = if is_rtp { receiver.unprotect_rtp(bytes) } else { receiver.unprotect_rtcp(bytes) };
                    assert!(opened.is_ok(), "{kind:?} of ours does not open: {opened:?}");
                }
            }
            PacketKind::Stun | PacketKind::Unknown => panic!("we sent what nobody knows"),
        }
    }

    /// One SSRC, numbers in a row.
    fn check_stream(&mut self, bytes: &[u8]) {
        let view = crate::wire::rtp::RtpView::new_checked(bytes).expect("a packet of ours");
        assert_eq!(view.ssrc(), self.ours.ssrc);
        if let Some((seq, timestamp)) = self.stream.replace((view.seq(), view.timestamp())) {
            assert_eq!(view.seq(), seq.wrapping_add(1));
            // A host that slept skips media time, whole frames of it.
            assert_eq!(view.timestamp().wrapping_sub(timestamp) % 960, 0);
            assert!(view.timestamp() != timestamp);
        }
    }

    /// As an ICE-lite relay does.
    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let view = StunView::new_checked(request).expect("we send well-formed messages");
        if view.class() != Class::Request || !self.peer.answers {
            return None;
        }
        assert!(view.is_integrity_valid(&IntegrityKey::new(THEIR_PWD.as_bytes())));
        let mut out = [0; 200];
        let mut writer = StunWriter::new(&mut out, Class::Success, view.id());
        writer.xor_mapped_address(local(4));
        let length = writer.finish(Some(&IntegrityKey::new(THEIR_PWD.as_bytes()))).expect("it fits");
        Some(out[..length].to_vec())
    }
}

/// The host's end of the audio: of every kind there is, well-behaved and not.
struct Host {
    kind: u8,
    frames: u32,
    packet: Vec<u8>,
}

impl Host {
    fn new(kind: u8) -> Self {
        Self { kind: kind % 7, frames: 0, packet: Vec::new() }
    }
}

impl MediaPort for Host {
    fn wants_pcm(&self) -> Option<SampleRate> {
        [None, None, Some(SampleRate::Hz16000), Some(SampleRate::Hz48000), Some(SampleRate::Hz8000), None, None][usize::from(self.kind)]
    }

    fn wants_opus(&self) -> bool {
        matches!(self.kind, 1 | 4)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        match frame {
            Incoming::Pcm { samples, .. } => {
                assert_eq!(Some(samples.len()), self.wants_pcm().map(SampleRate::frame_samples));
            }
            Incoming::Opus { payload, .. } => {
                assert!(self.wants_opus() && !payload.is_empty());
                self.packet = payload.to_vec();
            }
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.frames += 1;
        match self.kind {
            1 if !self.packet.is_empty() && self.packet.len() <= frame.opus.len() => {
                frame.opus[..self.packet.len()].copy_from_slice(&self.packet);
                Outgoing::Opus(self.packet.len())
            }
            2 => {
                frame.pcm.iter_mut().enumerate().for_each(|(at, sample)| *sample = (at as i16).wrapping_mul(977));
                Outgoing::Pcm(SampleRate::Hz16000)
            }
            3 if self.frames > 3 => Outgoing::Finished,
            // More than there is: the call must send silence.
            5 => Outgoing::Opus(usize::MAX),
            6 => Outgoing::Opus(frame.opus.len()),
            _ => Outgoing::Silence,
        }
    }
}

/// One certificate for all, but a pacer of starts for each: their clocks all begin anew.
fn config() -> Arc<CallConfig> {
    static DTLS: OnceLock<DtlsContext> = OnceLock::new();
    let dtls = DTLS.get_or_init(|| {
        let certificate = Certificate::generate(1_795_305_600).expect("a certificate");
        DtlsContext::new(DtlsConfig::default(), certificate).expect("a context")
    });
    Arc::new(CallConfig {
        ice: IceConfig::default(),
        dtls: dtls.clone(),
        jitter: JitterConfig::default(),
        complexity: 0,
        ntp_origin: 1 << 63,
        watchdogs: Watchdogs::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Entropy;

    #[test]
    fn a_list_that_plays_fair_carries_a_call_with_either_keying_and_role() {
        // Real handshakes in three roles, then assumed keys in four profiles.
        for flags in [0x00, 0x01, 0x02, 0x20, 0x24, 0x28, 0x2C] {
            // Some time, gate, speech, a digit, a report of a receiver, speech with losses.
            let list = [flags, 2, 1, 10, 5, 10, 40, 15, 5, 7, 12, 8, 0x80, 201, 0, 1, 0, 0, 0, 9, 10, 0xE0, 1, 50];
            let world = play(&list);
            let stats = world.call.stats();
            assert_eq!(world.ended, Some(EndReason::HangUp), "{flags:#x}");
            assert!(stats.rtp_in > 40 && stats.rtp_out > 40 && stats.rtcp_in == 1, "{flags:#x}: {stats:?}");
            assert_eq!(world.digits, 1, "{flags:#x}");
        }
    }

    #[test]
    fn seeded_operation_lists_keep_the_invariants_and_get_behind_the_handshake() {
        let mut rng = SeededRng::new(0xCA11);
        let (mut keyed, mut media, mut ends) = (0, 0, Vec::new());
        for _ in 0..3_000 {
            let mut data = vec![0; 2 + rng.below(120) as usize];
            rng.fill(&mut data);
            let world = play(&data);
            keyed += usize::from(world.peer.keys.is_some());
            media += usize::from(world.stream.is_some());
            ends.extend(world.ended);
        }
        assert!(keyed > 300 && media > 50, "{keyed} lists had keys, {media} heard us");
        for end in [EndReason::HangUp, EndReason::ConsentLost, EndReason::IceTimeout] {
            assert!(ends.contains(&end), "{end:?}");
        }
    }
}
