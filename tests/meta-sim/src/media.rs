//! The media of the simulated user: what is spoken and typed goes out, what the business says is heard.
//!
//! Given: keys, the script, packets, the time. Decides: packets of 20 ms, digits on the 48 kHz line with 8 kHz durations (RFC 4733), sender
//! reports; and what reaches the ear. Refuses: paths and handshakes (`relay.rs`), verdicts (`oracle.rs`).
//!
//! Meta's relay writes one fixed SSRC over whatever the business sends, so the ear here knows no SSRC either: all packets fall into one
//! stream by their timestamps, and a second source garbles it.

use crate::faults::Fault;
use crate::sdp::CNAME;
use crate::timeline::EventBlock;
use crate::user::{UserScript, Voice};
use crate::wire::{Rtcp, Rtp, opus_ticks, sender_report};
use std::collections::{HashSet, VecDeque};
use tipring_engine::codec::{Application, Decoder, Encoder, EncoderSettings, SampleRate};
use tipring_engine::keying::Keying;
use tipring_engine::rng::Entropy;
use tipring_engine::srtp::{Receiver, Sender};
use tipring_engine::time::{Span, Time};

/// Payload types and numbers of the user's stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamParams {
    /// SSRC, as announced.
    pub ssrc: u32,
    /// Opus.
    pub opus_pt: u8,
    /// telephone-event.
    pub dtmf_pt: u8,
    /// Milliseconds since 1970 at the origin of time.
    pub unix_ms: u64,
}

/// What was done in a tick, for the timeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// An RTP packet.
    Rtp(Rtp),
    /// A report.
    Rtcp,
    /// A digit began.
    Digit(char),
}

/// Both directions of the user's media.
pub struct Media {
    params: StreamParams,
    keying: Keying,
    sender: Sender,
    receiver: Receiver,
    mouth: Mouth,
    script: UserScript,
    digits: VecDeque<(Span, u8, char)>,
    event: Option<Event>,
    seq: u16,
    timestamp: u32,
    packets: u32,
    octets: u32,
    started: Option<Time>,
    next_frame: Time,
    next_report: Time,
    is_mute: bool,
    changes_ssrc: bool,
    has_gaps: bool,
    out: VecDeque<Vec<u8>>,
    heard: Ear,
}

/// Where the user's packets come from, and where those of the business go.
enum Mouth {
    Spoken { encoder: Box<Encoder>, decoder: Box<Decoder> },
    Numbered { tag: u32, number: u32, seen: HashSet<u32>, echoed: Echoed },
}

/// What came back of numbered packets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Echoed {
    /// Packets that were sent.
    pub sent: u32,
    /// Of those, how many came back.
    pub back: u32,
    /// Came back again under a new sequence number.
    pub repeated: u32,
    /// Packets of somebody else: another call's, or damaged ones.
    pub foreign: u32,
}

struct Event {
    code: u8,
    timestamp: u32,
    frames: u16,
}

impl Media {
    /// Keys it.
    pub fn new(
        params: StreamParams,
        keying: &Keying,
        script: &UserScript,
        faults: &[Fault],
        rng: &mut dyn Entropy,
    ) -> Result<Self, String> {
        let mouth = match script.voice {
            Voice::Spoken => Mouth::Spoken {
                encoder: Box::new(Encoder::new(&PHONE).map_err(|e| format!("no Opus encoder: {e}"))?),
                decoder: Box::new(Decoder::new(SampleRate::Hz16000).map_err(|e| format!("no Opus decoder: {e}"))?),
            },
            Voice::Numbered { tag } => Mouth::Numbered { tag, number: 0, seen: HashSet::new(), echoed: Echoed::default() },
        };
        let wraps = faults.contains(&Fault::SeqWrap);
        Ok(Self {
            params,
            keying: keying.clone(),
            sender: Sender::from_keying(keying),
            receiver: Receiver::from_keying(keying),
            mouth,
            script: script.clone(),
            digits: script.digits().into(),
            event: None,
            seq: if wraps { 65_530 } else { rng.u32() as u16 & 0x7fff },
            timestamp: if wraps { 0xffff_ff00 } else { rng.u32() },
            packets: 0,
            octets: 0,
            started: None,
            next_frame: Time::MAX,
            next_report: Time::MAX,
            is_mute: faults.contains(&Fault::MutePeer),
            has_gaps: faults.contains(&Fault::DtxGaps),
            changes_ssrc: faults.contains(&Fault::SsrcChange),
            out: VecDeque::new(),
            heard: Ear::default(),
        })
    }

    /// The line is open: the user may be heard from now on. The origin of the script's times.
    pub fn start(&mut self, now: Time) {
        if self.started.is_none() {
            self.started = Some(now);
            if !self.is_mute {
                self.next_frame = now;
                self.next_report = now + Span::from_secs(1);
            }
        }
    }

    /// The user is gone.
    pub fn stop(&mut self) {
        (self.next_frame, self.next_report) = (Time::MAX, Time::MAX);
    }

    /// When `handle_timeout` is wanted.
    pub fn poll_timeout(&self) -> Time {
        self.next_frame.min(self.next_report)
    }

    /// The next protected packet.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// Sends what is due; returns what that was.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<Sent> {
        let mut sent = Vec::new();
        let Some(started) = self.started else { return sent };
        while self.next_frame <= now {
            let at = self.next_frame.since(started);
            if self.changes_ssrc && at >= Span::from_secs(2) {
                // As after a hand-over of the phone: nothing goes on from before.
                self.changes_ssrc = false;
                self.params.ssrc = !self.params.ssrc;
                self.sender = Sender::from_keying(&self.keying);
                self.seq = self.seq.wrapping_sub(500);
                self.timestamp = self.timestamp.wrapping_add(1_000_000_000);
            }
            self.frame(at, &mut sent);
            self.timestamp = self.timestamp.wrapping_add(FRAME_TICKS);
            self.next_frame += Span::from_millis(20);
        }
        if self.next_report <= now {
            self.next_report = now + Span::from_millis(2_500);
            let unix_ns = u128::from(self.params.unix_ms) * 1_000_000 + u128::from(now.as_nanos());
            // Seconds from 1900 in the upper half, fractions below (RFC 3550 section 4).
            let ntp = (((unix_ns / 1_000_000_000 + 2_208_988_800) << 32) + ((unix_ns % 1_000_000_000) << 32) / 1_000_000_000) as u64;
            let report = sender_report(self.params.ssrc, ntp, self.timestamp, self.packets, self.octets, CNAME);
            if self.protect(&report, false) {
                sent.push(Sent::Rtcp);
            }
        }
        sent
    }

    fn frame(&mut self, at: Span, sent: &mut Vec<Sent>) {
        if self.event.is_none() && self.digits.front().is_some_and(|(due, _, _)| *due <= at) {
            let (_, code, digit) = self.digits.pop_front().expect("front was there");
            self.event = Some(Event { code, timestamp: self.timestamp, frames: 0 });
            sent.push(Sent::Digit(digit));
        }
        if let Some(mut event) = self.event.take() {
            event.frames += 1;
            let is_last = event.frames == EVENT_FRAMES;
            // RFC 4733 section 2.5.1.4: the final state three more times, with E.
            for end in if is_last { &[0, 0x80, 0x80, 0x80][..] } else { &[0][..] } {
                let [high, low] = (event.frames * 160).to_be_bytes();
                let marker = event.frames == 1;
                self.packet(self.params.dtmf_pt, marker, event.timestamp, &[event.code, end | 10, high, low], sent);
            }
            self.event = (!is_last).then_some(event);
            return;
        }
        if self.has_gaps && at.as_millis() % 1_000 >= 600 {
            return;
        }
        let mut payload = [0; 1_276];
        let len = match &mut self.mouth {
            Mouth::Spoken { encoder, .. } => encoder.encode(&self.script.frame(at), &mut payload),
            Mouth::Numbered { tag, number, echoed, .. } => {
                payload[..2].copy_from_slice(&NUMBERED_HEAD);
                payload[2..6].copy_from_slice(&tag.to_be_bytes());
                payload[6..10].copy_from_slice(&number.to_be_bytes());
                *number += 1;
                echoed.sent += 1;
                NUMBERED_BYTES
            }
        };
        self.packet(self.params.opus_pt, self.packets == 0, self.timestamp, &payload[..len], sent);
    }

    fn packet(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8], sent: &mut Vec<Sent>) {
        let mut bytes = Rtp::emit(payload_type, marker, self.seq, timestamp, self.params.ssrc).to_vec();
        bytes.extend_from_slice(payload);
        self.seq = self.seq.wrapping_add(1);
        self.packets += 1;
        self.octets += payload.len() as u32;
        let header = Rtp::parse(&bytes).expect("a header we wrote");
        if self.protect(&bytes, true) {
            sent.push(Sent::Rtp(header));
        }
    }

    fn protect(&mut self, plain: &[u8], is_rtp: bool) -> bool {
        let mut buffer = plain.to_vec();
        buffer.resize(plain.len() + 20, 0);
        let len =
            if is_rtp { self.sender.protect_rtp(&mut buffer, plain.len()) } else { self.sender.protect_rtcp(&mut buffer, plain.len()) };
        len.map(|len| {
            buffer.truncate(len);
            self.out.push_back(buffer);
        })
        .is_ok()
    }

    /// Takes a protected RTP packet of the business. Returns its header and the duration of its Opus payload, or its telephone-event.
    pub fn handle_rtp(&mut self, bytes: &[u8]) -> Result<(Rtp, Option<u32>, Option<EventBlock>), &'static str> {
        let mut buffer = bytes.to_vec();
        let len = self.receiver.unprotect_rtp(&mut buffer).map_err(|reason| reason.label())?;
        let plain = &buffer[..len];
        let rtp = Rtp::parse(plain).ok_or("rtp_malformed")?;
        let payload = &plain[rtp.payload_at..];
        let ticks = (rtp.payload_type == self.params.opus_pt).then(|| opus_ticks(payload)).flatten();
        if ticks.is_some() {
            match &mut self.mouth {
                Mouth::Spoken { decoder, .. } => self.heard.take(decoder, &rtp, payload),
                Mouth::Numbered { tag, number, seen, echoed } => echoed.take(payload, *tag, *number, seen),
            }
        }
        let event = match payload {
            &[code, flags, high, low] if rtp.payload_type == self.params.dtmf_pt => {
                Some(EventBlock { code, end: flags & 0x80 != 0, duration: u16::from_be_bytes([high, low]) })
            }
            _ => None,
        };
        Ok((rtp, ticks, event))
    }

    /// Takes a protected RTCP compound of the business.
    pub fn handle_rtcp(&mut self, bytes: &[u8]) -> Result<Rtcp, &'static str> {
        let mut buffer = bytes.to_vec();
        let len = self.receiver.unprotect_rtcp(&mut buffer).map_err(|reason| reason.label())?;
        Rtcp::parse(&buffer[..len]).ok_or("rtcp_malformed")
    }

    /// What came back of numbered packets; nothing of spoken words.
    pub fn echoed(&self) -> Echoed {
        match &self.mouth {
            Mouth::Spoken { .. } => Echoed::default(),
            Mouth::Numbered { echoed, .. } => *echoed,
        }
    }

    /// What the user heard: mono, 16 kHz, the first packet at the front, each packet where its timestamp says.
    pub fn heard(&self) -> &[i16] {
        &self.heard.pcm
    }
}

impl Echoed {
    fn take(&mut self, payload: &[u8], tag: u32, sent: u32, seen: &mut HashSet<u32>) {
        // What the business says of its own, silence above all, is shorter.
        if payload.len() < NUMBERED_BYTES {
            return;
        }
        let word = |at: usize| u32::from_be_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
        let is_ours = payload.len() == NUMBERED_BYTES && payload[..2] == NUMBERED_HEAD && word(2) == tag && word(6) < sent;
        match is_ours.then(|| seen.insert(word(6))) {
            Some(true) => self.back += 1,
            Some(false) => self.repeated += 1,
            None => self.foreign += 1,
        }
    }
}

#[derive(Default)]
struct Ear {
    pcm: Vec<i16>,
    first: Option<u32>,
}

impl Ear {
    fn take(&mut self, decoder: &mut Decoder, rtp: &Rtp, payload: &[u8]) {
        let mut frame = [0; 1_920];
        let Some(len) = decoder.decode(payload, &mut frame) else { return };
        let first = *self.first.get_or_insert(rtp.timestamp);
        // 48 kHz ticks to 16 kHz samples.
        let at = rtp.timestamp.wrapping_sub(first) as usize / 3;
        if at + len > HEARD_SAMPLES_MAX {
            return;
        }
        if self.pcm.len() < at + len {
            self.pcm.resize(at + len, 0);
        }
        self.pcm[at..at + len].copy_from_slice(&frame[..len]);
    }
}

/// The phone's encoder.
const PHONE: EncoderSettings = EncoderSettings {
    rate: SampleRate::Hz16000,
    application: Application::Voip,
    // Below about 20 kbit/s libopus leaves the redundant copies out, and nothing lost could be repaired.
    bitrate_bps: 32_000,
    // The phone's sound is not on trial: above 1 Opus takes half the time of a simulated call.
    complexity: 1,
    fec: true,
    loss_percent: 10,
    cbr: false,
    playback_rate_hz_max: 16_000,
};
/// SILK wideband, 20 ms, mono, one frame (RFC 6716 section 3.1); then voice activity and no LBRR copy.
const NUMBERED_HEAD: [u8; 2] = [0x48, 0x80];
/// Size of a numbered packet: 24 kbit/s.
const NUMBERED_BYTES: usize = 60;
/// RTP ticks per frame: 48 kHz for 20 ms.
const FRAME_TICKS: u32 = 960;
/// Length of a digit in frames: 100 ms.
const EVENT_FRAMES: u16 = 5;
/// Five minutes are kept.
const HEARD_SAMPLES_MAX: usize = 5 * 60 * 16_000;
