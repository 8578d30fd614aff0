//! A call of ours against a relay of a few lines: real ICE and SRTP, keys put in by hand instead of a handshake.

use super::super::port::{FrameBuffer, Incoming, Outgoing};
use super::super::{MediaParams, RemoteParams};
use super::*;
use crate::codec::silence::SILENCE_PACKET;
use crate::dtls::{Certificate, DtlsConfig, Fingerprint};
use crate::keying::Profile;
use crate::limits::FRAME_TICKS;
use crate::srtp;
use crate::wire::dtmf::TelephoneEvent;
use crate::wire::rtp::{RtpHeader, RtpView};
use crate::wire::stun::{Class, IntegrityKey, StunView, StunWriter};
use core::net::SocketAddr;

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
        let mut rig = Self::ready(media, port);
        rig.call.open_gate(rig.now);
        rig.drain();
        rig
    }

    /// A call that has nominated its pair and has no keys yet.
    pub(super) fn connected(media: MediaParams, port: Box<dyn MediaPort>) -> Self {
        let mut rig = Self::new(port);
        rig.set_remote(media);
        rig.pass(Span::from_secs(1));
        assert!(rig.call.path().is_some(), "{:?}", rig.events);
        rig
    }

    /// A call that knows nobody.
    pub(super) fn new(port: Box<dyn MediaPort>) -> Self {
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let path = Path { local: at("203.0.113.10:40000"), remote: at("198.51.100.1:3480") };
        let config = CallConfig {
            ice: IceConfig::default(),
            dtls: DtlsContext::new(DtlsConfig::default(), Certificate::generate(1_795_300_000).expect("a certificate")).expect("a context"),
            jitter: JitterConfig::default(),
            complexity: 5,
            watchdogs: Watchdogs::default(),
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
            credentials: Credentials { ufrag: "Xq3k".into(), pwd: RELAY_PWD.into() },
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
