//! A call of ours against a relay of a few lines: real ICE and SRTP, keys put in by hand instead of a handshake.

use super::super::port::{FrameBuffer, Incoming, Outgoing};
use super::super::{MediaParams, RemoteParams, Watchdog};
use super::*;
use crate::bridge::Play;
use crate::codec::silence::SILENCE_PACKET;
use crate::codec::{Decoder, SampleRate};
use crate::dtls::{Certificate, DtlsConfig, Fingerprint};
use crate::keying::Profile;
use crate::limits::{FRAME_TICKS, OPUS_BYTES_MAX};
use crate::srtp;
use crate::wire::dtmf::TelephoneEvent;
use crate::wire::rtcp::{Compound, CompoundWriter, Packet, ReportBlock, SenderInfo};
use crate::wire::rtp::{RtpHeader, RtpView};
use crate::wire::stun::{Class, IntegrityKey, StunView, StunWriter};
use core::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

mod receive;
mod rules;

const RELAY_PWD: &str = "sGUUAvS/fOjzPtIoL72o2g==";
const PEER_SSRC: u32 = 0x5eed_0001;

/// A packet of ours as the relay has it.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) at: Time,
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) payload: Vec<u8>,
}

impl Got {
    fn event(&self) -> TelephoneEvent {
        assert_eq!(self.payload_type, 126);
        TelephoneEvent::parse(&self.payload).expect("an event of ours")
    }
}

/// A port that says what a closure says and is deaf.
pub(super) struct Says<F>(pub(super) F);

impl<F: FnMut(&mut FrameBuffer) -> Outgoing + Send> MediaPort for Says<F> {
    fn incoming(&mut self, _: Incoming<'_>) {}

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        (self.0)(frame)
    }
}

/// A mute port that tells the timestamps it is given.
struct Hears(Sender<u32>);

impl Hears {
    /// The port, and what it hears.
    fn pair() -> (Box<dyn MediaPort>, Receiver<u32>) {
        let (heard, hears) = channel();
        (Box::new(Self(heard)), hears)
    }
}

impl MediaPort for Hears {
    fn wants_opus(&self) -> bool {
        true
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Opus { timestamp, .. } = frame {
            self.0.send(timestamp).expect("the test listens");
        }
    }

    fn outgoing(&mut self, _: &mut FrameBuffer) -> Outgoing {
        Outgoing::Silence
    }
}

pub(super) fn mute() -> Box<dyn MediaPort> {
    Box::new(Says(|_: &mut FrameBuffer| Outgoing::Silence))
}

/// One call and the relay's side of it.
pub(super) struct Rig {
    pub(super) call: Call,
    pub(super) now: Time,
    pub(super) events: Vec<CallEvent>,
    pub(super) rtp: Vec<Got>,
    /// Plain compounds of ours.
    pub(super) rtcp: Vec<(Time, Vec<u8>)>,
    /// Whether the relay answers consent.
    pub(super) consents: bool,
    path: Path,
    peer: (srtp::Sender, srtp::Receiver),
    peer_seq: u16,
    scratch: Scratch,
}

fn keying() -> Keying {
    Keying { profile: Profile::AeadAes128Gcm, local_key: [1; 32], local_salt: [2; 14], remote_key: [3; 32], remote_salt: [4; 14] }
}

impl Rig {
    /// A call with keys whose gate is closed.
    pub(super) fn ready(media: MediaParams, port: Box<dyn MediaPort>) -> Self {
        let mut rig = Self::connected(media, port);
        rig.give_keys();
        rig
    }

    /// A call whose gate is open.
    pub(super) fn open(media: MediaParams, port: Box<dyn MediaPort>) -> Self {
        Self::ready(media, port).opened()
    }

    fn opened(mut self) -> Self {
        self.call.open_gate(self.now);
        self.pass(Span::ZERO);
        self
    }

    /// A call that has nominated its pair and has no keys yet.
    pub(super) fn connected(media: MediaParams, port: Box<dyn MediaPort>) -> Self {
        Self::new(port).connect(media)
    }

    fn connect(mut self, media: MediaParams) -> Self {
        self.set_remote(media);
        self.pass(Span::from_secs(1));
        assert!(self.call.path().is_some(), "{:?}", self.events);
        self
    }

    pub(super) fn count(&self, event: &CallEvent) -> usize {
        self.events.iter().filter(|e| *e == event).count()
    }

    pub(super) fn ended(&self) -> Option<&Ended> {
        match self.events.last() {
            Some(CallEvent::Ended(ended)) => Some(ended),
            _ => None,
        }
    }

    /// A call that knows nobody.
    pub(super) fn new(port: Box<dyn MediaPort>) -> Self {
        Self::watched(Watchdogs::default(), port)
    }

    /// The same with watchdogs of its own.
    pub(super) fn watched(watchdogs: Watchdogs, port: Box<dyn MediaPort>) -> Self {
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let path = Path { local: at("203.0.113.10:40000"), remote: at("198.51.100.1:3480") };
        let config = CallConfig {
            ice: IceConfig::default(),
            dtls: DtlsContext::new(DtlsConfig::default(), Certificate::generate(1_795_300_000).expect("a certificate")).expect("a context"),
            jitter: JitterConfig::default(),
            complexity: 5,
            watchdogs,
            ntp_origin: 0xe000_0000_0000_0000,
        };
        let now = Time::from_nanos(1_000_000_000);
        let mut entropy = SeededRng::new(7);
        let call = Call::new(&Arc::new(config), SetupRole::Active, vec![Candidate::host(path.local, 65_535)], port, &mut entropy, now);
        let theirs = Keying {
            local_key: keying().remote_key,
            local_salt: keying().remote_salt,
            remote_key: keying().local_key,
            remote_salt: keying().local_salt,
            profile: keying().profile,
        };
        Self {
            call: call.expect("a call"),
            now,
            events: Vec::new(),
            rtp: Vec::new(),
            rtcp: Vec::new(),
            consents: true,
            path,
            peer: (srtp::Sender::from_keying(&theirs), srtp::Receiver::from_keying(&theirs)),
            peer_seq: 100,
            scratch: Scratch::default(),
        }
    }

    fn set_remote(&mut self, media: MediaParams) {
        let remote = RemoteParams {
            sdes: None,
            credentials: Some(Credentials { ufrag: "Xq3k".into(), pwd: RELAY_PWD.into() }),
            lite: true,
            candidates: vec![Candidate::host(self.path.remote, 65_535)],
            fingerprints: vec![Fingerprint([9; 32])],
            role: SetupRole::ActPass,
            media,
            ssrc: None,
        };
        self.call.set_remote_params(remote, self.now).expect("good parameters");
        self.drain();
    }

    pub(super) fn give_keys(&mut self) {
        self.call.dtls = None;
        self.call.keys_ready(&keying(), self.now);
        self.drain();
    }

    /// Lets time pass, turning whenever the call wants it.
    pub(super) fn pass(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(at) = self.call.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.call.handle_timeout(&mut self.scratch, self.now);
            self.drain();
        }
        self.now = until;
    }

    pub(super) fn frames(&mut self, count: u64) {
        self.pass(Span::from_millis(20 * count));
    }

    pub(super) fn drain(&mut self) {
        let mut out = [0; DATAGRAM_BYTES_MAX];
        while let Some((len, path)) = self.call.poll_transmit(&mut self.scratch, &mut out, self.now) {
            assert_eq!(path, self.path);
            let bytes = &mut out[..len];
            match classify(bytes) {
                PacketKind::Stun if self.consents => self.answer(&out[..len]),
                PacketKind::Rtp => {
                    let len = self.peer.1.unprotect_rtp(bytes).expect("our own packet");
                    let view = RtpView::new_checked(&bytes[..len]).expect("our own packet");
                    self.rtp.push(Got {
                        at: self.now,
                        payload_type: view.payload_type(),
                        marker: view.marker(),
                        seq: view.seq(),
                        timestamp: view.timestamp(),
                        ssrc: view.ssrc(),
                        payload: view.payload().to_vec(),
                    });
                }
                PacketKind::Rtcp => {
                    let len = self.peer.1.unprotect_rtcp(bytes).expect("our own compound");
                    self.rtcp.push((self.now, bytes[..len].to_vec()));
                }
                _ => {}
            }
        }
        while let Some(event) = self.call.poll_event() {
            self.events.push(event);
        }
    }

    /// What an ice-lite relay does with a check.
    fn answer(&mut self, request: &[u8]) {
        let message = StunView::new_checked(request).expect("our own check");
        let mut out = [0; 200];
        let mut writer = StunWriter::new(&mut out, Class::Success, message.id());
        writer.xor_mapped_address(self.path.local);
        let len = writer.finish(Some(&IntegrityKey::new(RELAY_PWD.as_bytes()))).expect("it fits");
        self.call.handle_datagram(self.path, &mut out[..len], self.now);
    }

    /// An Opus packet of the peer with this timestamp.
    pub(super) fn hear(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let mut bytes = [0; 300];
        let header = RtpHeader { payload_type, marker: false, seq: self.peer_seq, timestamp, ssrc: PEER_SSRC };
        self.peer_seq = self.peer_seq.wrapping_add(1);
        header.emit(bytes.first_chunk_mut().expect("room"));
        bytes[12..12 + payload.len()].copy_from_slice(payload);
        let len = self.peer.0.protect_rtp(&mut bytes, 12 + payload.len()).expect("room");
        self.call.handle_datagram(self.path, &mut bytes[..len], self.now);
        self.drain();
    }

    /// A compound of the peer.
    pub(super) fn hear_rtcp(&mut self, compound: &[u8]) {
        let mut bytes = [0; 600];
        bytes[..compound.len()].copy_from_slice(compound);
        let len = self.peer.0.protect_rtcp(&mut bytes, compound.len()).expect("room");
        self.call.handle_datagram(self.path, &mut bytes[..len], self.now);
        self.drain();
    }

    /// What holds of every stream of ours, digits or not (P1, P2, P5).
    pub(super) fn check_stream(&self) {
        let first = &self.rtp[0];
        assert!(first.marker);
        for (k, got) in self.rtp.iter().enumerate() {
            assert_eq!(got.ssrc, first.ssrc);
            assert_eq!(got.seq, first.seq.wrapping_add(k as u16), "packet {k}");
            assert_eq!(got.at, first.at + Span::from_millis(20).times(k as u64), "packet {k} is on the grid");
            if got.payload_type != 126 {
                assert_eq!(got.timestamp, first.timestamp.wrapping_add(FRAME_TICKS * k as u32), "audio line at packet {k}");
            }
        }
    }
}

//= rfc4733#section-2.5.1:call type=test
//= rfc4733#section-2.1 type=test
//= meta#R-19 type=test
//= meta#R-20 type=test
//= rules#C4 type=test
//= rules#T1 type=test
//= rules#T3 type=test
//= rules#T4 type=test
#[test]
fn digits_replace_the_audio_of_their_frames_and_the_line_runs_on() {
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let port = Says(move |frame: &mut FrameBuffer| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        frame.opus[..3].copy_from_slice(&SILENCE_PACKET);
        Outgoing::Opus(3)
    });
    let mut rig = Rig::open(MediaParams::default(), Box::new(port));
    rig.frames(9);
    rig.call.send_digits("5", None, rig.now).expect("taken");
    rig.call.send_digits("#", Some(40), rig.now).expect("taken");
    rig.frames(30);
    rig.check_stream();

    let start = rig.rtp.iter().position(|got| got.payload_type == 126).expect("an event");
    assert_eq!(start, 10, "the frame after the command");
    let five = &rig.rtp[start..start + 7];
    let facts: Vec<_> = five.iter().map(|got| (got.marker, got.event().end, got.event().duration)).collect();
    assert_eq!(
        facts,
        [
            (true, false, 160),
            (false, false, 320),
            (false, false, 480),
            (false, false, 640),
            (false, true, 800),
            (false, true, 800),
            (false, true, 800)
        ]
    );
    let frame = |k: usize| rig.rtp[0].timestamp.wrapping_add(FRAME_TICKS * k as u32);
    assert!(five.iter().all(|got| got.timestamp == frame(start) && got.event().event == 5 && got.payload.len() == 4));
    // 100 ms of pause, in which two of the three ends left.
    let pause = &rig.rtp[start + 7..start + 10];
    assert!(pause.iter().all(|got| got.payload_type == 111 && !got.marker));
    let pound = &rig.rtp[start + 10..start + 14];
    assert!(pound.iter().all(|got| got.timestamp == frame(start + 10) && got.event().event == 11));
    assert_eq!(pound.iter().filter(|got| got.marker).count(), 1);
    assert_eq!(pound.iter().map(|got| got.event().duration).collect::<Vec<_>>(), [160, 320, 320, 320]);
    assert!(rig.rtp[start + 14..].iter().all(|got| got.payload_type == 111));

    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), rig.rtp.len() as u64, "a live source keeps its time under a digit");
    let stats = rig.call.stats();
    assert_eq!((stats.digits_out, stats.events_out, stats.rtp_out), (2, 11, rig.rtp.len() as u64));
    assert_eq!(rig.events.iter().filter(|event| **event == CallEvent::DigitsSent).count(), 1);
    // Reports count event packets and their four octets (RFC 3550 section 6.4.1).
    assert_eq!(rig.call.source.sent().1, 11 * 4 + (rig.rtp.len() as u32 - 11) * 3);
}

//= rfc4733#section-2.5.1:call type=test
#[test]
fn digits_are_refused_with_the_reason_and_wait_for_the_gate() {
    let mut rig = Rig::new(mute());
    assert_eq!(rig.call.send_digits("1", None, rig.now), Err(DigitRefused::NoPeerYet));

    let mut rig = Rig::ready(MediaParams { dtmf_payload_type: None, ..MediaParams::default() }, mute());
    assert_eq!(rig.call.send_digits("1", None, rig.now), Err(DigitRefused::NotNegotiated));

    let mut rig = Rig::ready(MediaParams::default(), mute());
    assert_eq!(rig.call.send_digits("12x", None, rig.now), Err(DigitRefused::NotAKey('x')));
    assert_eq!(rig.call.send_digits("12", Some(20), rig.now), Err(DigitRefused::Length(20)));
    assert_eq!(rig.call.send_digits(&"1".repeat(33), None, rig.now), Err(DigitRefused::Full));
    rig.call.send_digits("9", None, rig.now).expect("taken");
    rig.frames(20);
    assert_eq!(rig.rtp.len(), 0);
    rig.call.open_gate(rig.now);
    rig.pass(Span::ZERO);
    assert_eq!((rig.rtp[0].payload_type, rig.rtp[0].marker), (126, true), "none of the refused ones was taken");
    rig.frames(30);
    assert_eq!(rig.call.stats().digits_out, 1);

    rig.call.send_digits("123", None, rig.now).expect("taken");
    rig.frames(2);
    rig.call.cancel_digits();
    rig.frames(40);
    assert_eq!(rig.call.stats().digits_out, 2, "the one on the line ends, the others never begin");
    rig.call.close(EndReason::HangUp, rig.now);
    assert_eq!(rig.call.send_digits("1", None, rig.now), Err(DigitRefused::CallOver));
}

/// A compound of the peer about our stream.
fn report(rig: &Rig, fraction_lost: u8) -> Vec<u8> {
    let block =
        ReportBlock { ssrc: rig.call.local_params().ssrc, fraction_lost, cumulative_lost: 0, highest_seq: 0, jitter: 0, lsr: 0, dlsr: 0 };
    let mut out = [0; 200];
    let mut writer = CompoundWriter::new(&mut out);
    assert!(writer.receiver_report(PEER_SSRC, &[block]) && writer.cname(PEER_SSRC, b"relay"));
    let len = writer.finish();
    out[..len].to_vec()
}

//= meta#R-39 type=test
//= meta#R-29 type=test
//= rules#P7 type=test
//= rules#C3 type=test
#[test]
fn a_relay_that_never_sends_is_told_once_and_the_call_stays_up() {
    let mut rig = Rig::open(MediaParams::default(), mute());
    rig.pass(Span::from_millis(29_999));
    assert_eq!(rig.count(&CallEvent::NoIngress), 0);
    rig.pass(Span::from_secs(60));
    assert_eq!((rig.count(&CallEvent::NoIngress), rig.ended().is_some()), (1, false));
    rig.check_stream();
    assert_eq!(rig.rtp.len(), 4_500, "50 packets a second, 90 s");
    assert!(rig.rtcp.windows(2).all(|w| w[1].0.since(w[0].0) <= Span::from_millis(3_770)), "reports go on");

    rig.hear(111, 0, &SILENCE_PACKET);
    assert_eq!(rig.count(&CallEvent::MediaBack), 1);
    for _ in 0..8 {
        rig.pass(Span::from_secs(20));
        let compound = report(&rig, 0);
        rig.hear_rtcp(&compound);
    }
    assert_eq!(rig.count(&CallEvent::NoIngress), 1, "reports are a sign of life");
    rig.pass(Span::from_secs(31));
    assert_eq!(rig.count(&CallEvent::NoIngress), 2, "the next quiet is told anew");
    let stats = rig.call.stats();
    assert_eq!((stats.no_ingress, stats.no_egress), (2, 0));
    assert!(stats.last_rtp_out.is_some_and(|at| rig.now.since(at) < Span::from_millis(20)));
}

#[test]
fn quiet_ends_the_call_where_the_host_wants_it() {
    let ending = Watchdog { after: Span::from_secs(30), action: WatchdogAction::End };
    let mut rig = Rig::watched(Watchdogs { ingress: ending, ..Watchdogs::default() }, mute()).connect(MediaParams::default());
    rig.give_keys();
    rig.pass(Span::from_secs(40));
    assert!(rig.ended().is_none(), "before the gate nothing is expected");
    let mut rig = rig.opened();
    rig.pass(Span::from_secs(31));
    let ended = rig.ended().expect("it ended");
    assert_eq!((ended.reason, ended.reason.code()), (EndReason::NoIngress, "NO_INGRESS_30S"));
    assert!(ended.flight_recorder.iter().any(|recorded| recorded.what == Moment::NoIngress));
    assert_eq!(
        ended.stats.milestones.ended.map(|at| at.since(ended.stats.milestones.gate_opened.expect("opened"))),
        Some(Span::from_secs(30))
    );

    let off = Watchdog { action: WatchdogAction::Off, ..ending };
    let mut rig = Rig::watched(Watchdogs { ingress: off, ..Watchdogs::default() }, mute()).connect(MediaParams::default());
    rig.give_keys();
    let mut rig = rig.opened();
    rig.pass(Span::from_secs(100));
    assert!(rig.ended().is_none() && rig.count(&CallEvent::NoIngress) == 0);
}

//= meta#R-39 type=test
#[test]
fn a_call_whose_packets_do_not_leave_ends_after_20_s() {
    let mut rig = Rig::ready(MediaParams::default(), mute());
    rig.call.media.as_mut().expect("media").exhaust_key();
    let mut rig = rig.opened();
    rig.pass(Span::from_secs(25));
    let ended = rig.ended().expect("it ended");
    assert_eq!((ended.reason, ended.reason.code()), (EndReason::NoEgress, "NO_EGRESS_20S"));
    assert_eq!((rig.rtp.len(), ended.stats.last_rtp_out), (0, None));
    let (opened, over) = (ended.stats.milestones.gate_opened.expect("opened"), ended.stats.milestones.ended.expect("over"));
    assert_eq!(over.since(opened), Span::from_secs(20));
}

#[test]
fn a_process_that_stood_still_is_no_quiet_of_the_line() {
    let mut rig = Rig::open(MediaParams::default(), mute());
    rig.frames(10);
    // Nobody turns for 28 s: below the 30 s of consent, above the 20 s of the watchdog.
    rig.now += Span::from_secs(28);
    rig.call.handle_timeout(&mut rig.scratch, rig.now);
    rig.drain();
    rig.frames(50);
    assert_eq!((rig.ended().is_some(), rig.call.stats().no_egress, rig.call.stats().no_ingress), (false, 0, 0));
}

/// A tone of 16 kHz samples, `phase` in radians at its first one.
fn tone(phase: f64, frames: usize) -> Arc<[i16]> {
    (0..frames * 320).map(|i| ((phase + i as f64 * 440.0 / 16_000.0 * core::f64::consts::TAU).sin() * 12_000.0) as i16).collect()
}

//= rfc7587#section-7.1:loss type=test
//= rfc7587#section-8 type=test
//= rfc7587#section-7.1 type=test
//= rules#C13 type=test
#[test]
fn the_encoder_follows_fmtp_and_reports() {
    let media = MediaParams { bitrate_bps_max: 24_000, playback_rate_hz_max: 8_000, ..MediaParams::default() };
    let mut rig = Rig::open(media, Box::new(Play::new(tone(0.0, 5_000), SampleRate::Hz16000)));
    rig.frames(5);
    let settings = |rig: &Rig| *rig.call.media.as_ref().and_then(|m| m.encoder_settings()).expect("an encoder");
    let at_first = settings(&rig);
    assert_eq!((at_first.bitrate_bps, at_first.playback_rate_hz_max, at_first.fec, at_first.loss_percent), (24_000, 8_000, true, 0));
    for _ in 0..3 {
        rig.pass(Span::from_secs(2));
        let compound = report(&rig, 102);
        rig.hear_rtcp(&compound);
    }
    rig.frames(2);
    let stats = rig.call.stats();
    assert_eq!((stats.encoder_bitrate_bps, stats.expected_loss_percent), (18_000, 25));
    assert_eq!((settings(&rig).bitrate_bps, settings(&rig).loss_percent), (18_000, 25), "and the encoder knows");
    assert_eq!(stats.remote.peer_reports, 3);
    for _ in 0..40 {
        rig.pass(Span::from_secs(2));
        let compound = report(&rig, 0);
        rig.hear_rtcp(&compound);
    }
    rig.frames(2);
    assert_eq!((settings(&rig).bitrate_bps, settings(&rig).loss_percent), (24_000, 0), "never above what the peer asked for");
    rig.call.close(EndReason::HangUp, rig.now);
    rig.drain();
    assert!(rig.ended().expect("over").flight_recorder.iter().any(|r| matches!(r.what, Moment::EncoderTuned { bitrate_bps: 18_000, .. })));
}

//= rfc7587#section-6.1:cbr type=test
#[test]
fn cbr_gives_packets_of_one_size() {
    let sizes = |cbr| {
        let mut rig = Rig::open(MediaParams { cbr, ..MediaParams::default() }, Box::new(Play::new(tone(0.3, 60), SampleRate::Hz16000)));
        rig.frames(50);
        let mut sizes: Vec<_> = rig.rtp.iter().map(|got| got.payload.len()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    };
    assert_eq!(sizes(true).len(), 1);
    assert!(sizes(false).len() > 1);
}

//= rfc5764#section-5.1.2:early type=test
//= rules#D18 type=test
#[test]
fn media_that_overtakes_the_handshake_is_kept_up_to_a_bound_and_played() {
    let (port, hears) = Hears::pair();
    let mut rig = Rig::connected(MediaParams::default(), port);
    // Two that are too old by the time there are keys, then more than fit.
    for k in 0..2 {
        rig.hear(111, 960 * k, &SILENCE_PACKET);
    }
    rig.now += Span::from_millis(1_100);
    for k in 2..62 {
        rig.hear(111, 960 * k, &SILENCE_PACKET);
    }
    assert_eq!(rig.call.stats().drops.of(DropReason::BeforeKeys), 10, "50 are kept");
    assert_eq!(rig.call.stats().rtp_in, 0, "and none is looked at before there are keys");
    rig.give_keys();
    assert_eq!((rig.call.stats().rtp_in, rig.count(&CallEvent::FirstRtpIn)), (50, 1));
    rig.frames(10);
    let first = hears.try_iter().next().expect("something is played");
    assert!(first >= 2 * 960, "the old ones are gone");
    rig.call.close(EndReason::HangUp, rig.now);
    rig.drain();
    let moments = &rig.ended().expect("over").flight_recorder;
    assert!(moments.iter().any(|r| r.what == Moment::EarlyPackets { kept: 50, dropped: 12 }), "{moments:?}");
}

fn sender_info(compound: &[u8]) -> (SenderInfo, bool) {
    let compound = Compound::new_checked(compound).expect("our own compound");
    let info = compound.packets().find_map(|packet| if let Packet::Sr(info, _) = packet { Some(info) } else { None });
    (info.expect("a sender report"), compound.packets().any(|packet| matches!(packet, Packet::Bye(_))))
}

//= rfc3550#section-6.4.1 type=test
//= rules#C4 type=test
//= rules#C10 type=test
#[test]
fn every_report_the_bye_too_names_the_instant_it_is_written() {
    let mut rig = Rig::open(MediaParams::default(), mute());
    rig.frames(300);
    rig.pass(Span::from_millis(7));
    rig.call.close(EndReason::HangUp, rig.now);
    rig.drain();
    let (first, _) = sender_info(&rig.rtcp[0].1);
    for (at, compound) in &rig.rtcp {
        let (info, is_bye) = sender_info(compound);
        let passed = at.since(rig.rtcp[0].0).as_nanos();
        let ticks = u128::from(info.rtp_timestamp.wrapping_sub(first.rtp_timestamp));
        assert!(ticks.abs_diff(u128::from(passed) * 48_000 / 1_000_000_000) <= 1, "{ticks} ticks in {passed} ns, BYE: {is_bye}");
        let ntp = (u128::from(info.ntp.wrapping_sub(first.ntp)) * 1_000_000_000) >> 32;
        assert!(ntp.abs_diff(passed.into()) <= 1);
        assert_eq!(is_bye, *at == rig.now);
    }
    assert!(rig.rtcp.len() > 2);
}

#[test]
fn sequence_and_timestamp_wrap_within_seconds_when_a_test_wants_it() {
    let mut rig = Rig::ready(MediaParams::default(), mute());
    rig.call.start_stream_at(65_530, 0xffff_ff00);
    let mut rig = rig.opened();
    rig.frames(100);
    rig.check_stream();
    assert_eq!((rig.rtp[0].seq, rig.rtp[0].timestamp), (65_530, 0xffff_ff00));
    rig.call.start_stream_at(1, 1);
    rig.frames(2);
    rig.check_stream();
}

//= meta#R-19 type=test
#[test]
fn ports_are_exchanged_in_the_middle_of_a_wave_without_a_click() {
    let play = |phase| Box::new(Play::new(tone(phase, 500), SampleRate::Hz16000));
    let mut rig = Rig::open(MediaParams::default(), play(0.0));
    rig.frames(49);
    // The other port begins at its crest: a step of 12 000 without a splice.
    rig.call.attach(play(core::f64::consts::FRAC_PI_2), rig.now);
    rig.frames(50);
    rig.call.attach(mute(), rig.now);
    rig.frames(50);
    rig.check_stream();
    assert_eq!(rig.rtp.iter().filter(|got| got.marker).count(), 1, "no port begins a talk spurt of its own");

    let mut decoder = Decoder::new(SampleRate::Hz16000).expect("a decoder");
    let mut heard = Vec::new();
    for got in &rig.rtp {
        let mut pcm = [0; 320];
        assert_eq!(decoder.decode(&got.payload, &mut pcm), Some(320));
        heard.extend(pcm);
    }
    let step = |frames: core::ops::Range<usize>| {
        heard[frames.start * 320..frames.end * 320].windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().expect("samples")
    };
    let steady = step(20..48);
    assert!(step(48..54) * 10 <= steady * 13, "from tone to tone: a step of {} where the tone has {steady}", step(48..54));
    assert!(step(98..110) * 10 <= steady * 13, "from tone to silence: a step of {} where the tone has {steady}", step(98..110));
    assert!(heard[120 * 320..].iter().all(|s| s.abs() < 50), "and then it is silent");
}

//= meta#R-18 type=test
//= meta#R-39 type=test
//= rules#P7 type=test
#[test]
fn packets_leave_every_20_ms_whatever_the_port_does() {
    let mut said = 0_usize;
    let port = Says(move |frame: &mut FrameBuffer| {
        said += 1;
        // 60 ms in three frames, a packet of nothing, one longer than the buffer, an empty one, silence, the right thing.
        match said % 6 {
            0 => {
                frame.opus[..8].copy_from_slice(&[0x4b, 3, 1, 2, 3, 4, 5, 6]);
                Outgoing::Opus(8)
            }
            1 => Outgoing::Opus(0),
            2 => Outgoing::Opus(OPUS_BYTES_MAX + 1),
            3 => Outgoing::Opus(usize::MAX),
            4 => Outgoing::Silence,
            _ => {
                frame.opus[..3].copy_from_slice(&SILENCE_PACKET);
                Outgoing::Opus(3)
            }
        }
    });
    let mut rig = Rig::open(MediaParams::default(), Box::new(port));
    rig.frames(299);
    rig.call.attach(Box::new(Says(|_: &mut FrameBuffer| Outgoing::Finished)), rig.now);
    rig.frames(300);
    rig.check_stream();
    assert_eq!(rig.rtp.len(), 600);
    assert!(rig.rtp.iter().all(|got| crate::codec::toc::duration_ticks(&got.payload) == Ok(FRAME_TICKS)));
    assert_eq!(rig.call.stats().misframed_out, 200);
    assert_eq!(rig.count(&CallEvent::PortFinished { port: 1 }), 1, "the one that was attached");
}

//= rfc4733#section-2.5.1:call type=test
//= rules#T6 type=test
#[test]
fn digits_replace_forwarded_frames_too() {
    let mut rig = Rig::open(MediaParams::default(), Box::new(crate::bridge::PromptEcho::default()));
    for k in 0..30 {
        if k == 10 {
            rig.call.send_digits("7", None, rig.now).expect("taken");
        }
        rig.pass(Span::from_millis(20));
        rig.hear(111, 960 * k, &[0x48, k as u8]);
    }
    let events: Vec<_> = rig.rtp.iter().filter(|got| got.payload_type == 126).map(|got| (got.timestamp, got.event())).collect();
    assert_eq!(events.len(), 7);
    assert!(events.iter().all(|(timestamp, event)| *timestamp == events[0].0 && event.event == 7));
    assert!(rig.rtp.windows(2).all(|w| w[1].seq == w[0].seq.wrapping_add(1) && w[1].ssrc == w[0].ssrc));
    let audio: Vec<_> = rig.rtp.iter().filter(|got| got.payload_type == 111).map(|got| got.timestamp).collect();
    assert!(audio.windows(2).all(|w| w[1].wrapping_sub(w[0]).is_multiple_of(960) && w[1] != w[0]), "{audio:?}");
    assert_eq!((rig.count(&CallEvent::DigitsSent), rig.call.stats().digits_out), (1, 1));
}

//= meta#R-19 type=test
#[test]
fn a_call_is_moved_between_speakers_without_a_hole() {
    use crate::bridge::{PcmConfig, pcm_port};

    let rate = SampleRate::Hz16000;
    let speaker = || pcm_port(PcmConfig::new(rate), core::task::Waker::noop().clone());
    let speech: Vec<i16> = (0..320).map(|i| (8_000.0 * (f64::from(i) * core::f64::consts::TAU / 40.0).sin()) as i16).collect();
    let (port, mut link) = speaker();
    let mut rig = Rig::open(MediaParams::default(), Box::new(port));
    for _ in 0..12 {
        for _ in 0..25 {
            link.push(&speech);
            rig.frames(1);
        }
        // The next one speaks already when the call is moved, as people do.
        let (next, mut next_link) = speaker();
        next_link.push(&speech);
        rig.call.attach(Box::new(next), rig.now);
        link = next_link;
    }
    rig.check_stream();
    let mut decoder = Decoder::new(rate).expect("a decoder");
    let mut heard = Vec::new();
    for got in &rig.rtp {
        let mut pcm = [0; 320];
        assert_eq!(decoder.decode(&got.payload, &mut pcm), Some(320));
        heard.extend(pcm);
    }
    let spoken = &heard[640..heard.len() - 320];
    let hole = spoken.split(|s| s.unsigned_abs() > 1_000).map(<[i16]>::len).max().expect("samples");
    assert!(hole <= 640, "a hole of {} ms", hole / 16);
}
