//! The media of a call once it has keys: SRTP both ways, play-out, codec.
//!
//! Decides: what reaches the port at a tick, and what bytes a frame of ours becomes. Given: authenticated-or-not datagrams and frames. Refuses: to know how the
//! keys were made, when a frame is due, and where packets go.

use super::adapt::Adaption;
use super::forward::Arrived;
use super::params::MediaParams;
use super::port::{FrameBuffer, Incoming, MediaPort, Outgoing};
use super::stats::CallStats;
use crate::codec::silence::SILENCE_PACKET;
#[cfg(feature = "opus")]
use crate::codec::silence::{SilenceGate, Sound};
use crate::codec::{self, FRAME_SAMPLES_MAX, SampleRate};
#[cfg(feature = "opus")]
use crate::codec::{Application, Decoder, Encoder, EncoderSettings};
use crate::dtmf::{Digit, DigitReceiver, DigitSender};
use crate::error::DropReason;
use crate::jitter::{JitterBuffer, JitterConfig, JitterStats, Playout};
use crate::keying::Keying;
use crate::limits::{FRAME_TICKS, RTP_HEADER_BYTES, SEND_BYTES_MAX, SRTP_TRAILER_BYTES_MAX};
use crate::rtp::{Reporter, RtpSource};
use crate::srtp;
use crate::time::{Span, Time};
use crate::wire::rtp::{RtpHeader, RtpView};

/// Payload type of telephone-event that is listened to even when it was not negotiated (M14).
const DTMF_PAYLOAD_TYPE_OF_META: u8 = 126;
/// Samples of the longest Opus packet, 120 ms at 48 kHz.
const DECODE_SAMPLES_MAX: usize = 5_760;
/// Frames of 20 ms in it.
const PACKET_FRAMES_MAX: usize = DECODE_SAMPLES_MAX / FRAME_SAMPLES_MAX;
/// Questions to the jitter buffer per tick: eight packets of 2.5 ms, or some left out to catch up. What is owed beyond that waits for the next tick.
const PLAYOUTS_PER_TICK_MAX: usize = 8;

/// Buffers that every call of a shard uses in turn; nothing in them outlives one call into the hub.
pub struct Scratch {
    pub(super) frame: FrameBuffer,
    pcm: Box<[i16; DECODE_SAMPLES_MAX]>,
    /// Upper bound of the encoders' complexity: a busy shard lowers it, so that quality is shed before calls are.
    complexity_max: u8,
}

impl Scratch {
    /// Bounds the complexity of every encoder from the next frame on, 0 to 10.
    pub fn set_complexity_max(&mut self, complexity: u8) {
        self.complexity_max = complexity.min(10);
    }

    /// The bound.
    pub fn complexity_max(&self) -> u8 {
        self.complexity_max
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self { frame: FrameBuffer::default(), pcm: Box::new([0; DECODE_SAMPLES_MAX]), complexity_max: 10 }
    }
}

/// Media state; exists from the moment there are keys.
pub(super) struct Media {
    pub(super) tx: srtp::Sender,
    rx: srtp::Receiver,
    pub(super) params: MediaParams,
    adaption: Adaption,
    #[cfg(feature = "opus")]
    complexity: u8,
    /// The bound that the shard sets.
    #[cfg(feature = "opus")]
    complexity_max: u8,
    #[cfg(feature = "opus")]
    gate: SilenceGate,
    jitter_config: JitterConfig,
    /// Made with the first packet that waits for its tick: a call whose packets are forwarded never needs one.
    jitter: Option<Box<JitterBuffer>>,
    digits: DigitReceiver,
    #[cfg(feature = "opus")]
    decoder: Option<Decoder>,
    #[cfg(feature = "opus")]
    encoder: Option<Encoder>,
    /// Last sample that went into the encoder; zero after anything but PCM.
    #[cfg(feature = "opus")]
    last_sample: i16,
    /// The next PCM frame is of another port: it begins where the last one ended.
    #[cfg(feature = "opus")]
    is_splice_due: bool,
    /// Decoded audio of a packet of more than 20 ms that is not yet played.
    backlog: Vec<i16>,
    ssrc: Option<u32>,
    port_finished: bool,
}

/// What an authenticated RTP packet meant.
pub(super) enum Received {
    /// Audio, now in the jitter buffer.
    Audio,
    /// An event packet that repeats or ends a known digit.
    Event,
    /// A new digit.
    Digit(Digit),
}

/// A packet of ours, ready to leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Its length in bytes.
    pub(super) len: usize,
    /// The port said for the first time that it has nothing more to say.
    pub(super) finished: bool,
    /// It was the last packet of the last digit in the queue.
    pub(super) digits_done: bool,
}

impl Media {
    pub(super) fn new(keying: &Keying, params: MediaParams, jitter: JitterConfig, complexity: u8, port: &dyn MediaPort) -> Self {
        #[cfg(not(feature = "opus"))]
        let _ = complexity;
        let mut media = Self {
            tx: srtp::Sender::from_keying(keying),
            rx: srtp::Receiver::from_keying(keying),
            params,
            adaption: Adaption::new(&params),
            #[cfg(feature = "opus")]
            complexity,
            jitter_config: jitter,
            jitter: None,
            digits: DigitReceiver::default(),
            #[cfg(feature = "opus")]
            decoder: None,
            #[cfg(feature = "opus")]
            encoder: None,
            #[cfg(feature = "opus")]
            last_sample: 0,
            #[cfg(feature = "opus")]
            is_splice_due: false,
            #[cfg(feature = "opus")]
            complexity_max: 10,
            #[cfg(feature = "opus")]
            gate: SilenceGate::default(),
            backlog: Vec::new(),
            ssrc: None,
            port_finished: false,
        };
        media.prepare(port);
        media
    }

    /// Makes what this port will need, so that nothing is made while packets pass.
    fn prepare(&mut self, port: &dyn MediaPort) {
        #[cfg(feature = "opus")]
        {
            self.fit_decoder(port.wants_pcm());
            if let Some(rate) = port.speaks_pcm() {
                self.fit_encoder(rate);
            }
        }
        #[cfg(not(feature = "opus"))]
        let _ = port;
    }

    /// Takes a report about our stream: fraction lost of 256, and the round-trip time. Gives bit rate and expected loss when they change.
    pub(super) fn reported(&mut self, fraction_lost: u8, rtt: Option<Span>) -> Option<(u32, u8)> {
        let before = self.encoder_target();
        self.adaption.report(fraction_lost, rtt);
        Some(self.encoder_target()).filter(|after| *after != before)
    }

    /// Takes how many of the peer's packets have not come so far. Gives bit rate and expected loss when they change.
    pub(super) fn missed(&mut self, lost: i64) -> Option<(u32, u8)> {
        let before = self.encoder_target();
        self.adaption.missed(lost);
        Some(self.encoder_target()).filter(|after| *after != before)
    }

    /// Uses the key up before anything was sent: no packet can be.
    #[cfg(test)]
    pub(super) fn exhaust_key(&mut self) {
        self.tx.start_at(1 << 48, 0);
    }

    /// What the encoder is set to.
    #[cfg(all(test, feature = "opus"))]
    pub(super) fn encoder_settings(&self) -> Option<&EncoderSettings> {
        self.encoder.as_ref().map(Encoder::settings)
    }

    /// Bit rate and expected loss, in bits per second and percent.
    pub(super) fn encoder_target(&self) -> (u32, u8) {
        (self.adaption.bitrate_bps(), self.adaption.loss_percent())
    }

    pub(super) fn jitter_stats(&self) -> JitterStats {
        self.jitter.as_ref().map(|j| j.stats()).unwrap_or_default()
    }

    /// The SSRC of the peer's stream as last authenticated.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// A new port speaks: it may finish again.
    pub(super) fn port_exchanged(&mut self, port: &dyn MediaPort) {
        self.port_finished = false;
        self.backlog.clear();
        #[cfg(feature = "opus")]
        {
            self.is_splice_due = true;
        }
        self.prepare(port);
    }

    /// Opens an SRTP packet and sorts it. Nothing of the call changes before the tag holds (R7).
    //= rules#R7
    //= rules#P10
    pub(super) fn receive_rtp(
        &mut self,
        packet: &mut [u8],
        port: &mut dyn MediaPort,
        reporter: &mut Reporter,
        now: Time,
    ) -> Result<Received, DropReason> {
        let len = self.rx.unprotect_rtp(packet)?;
        let view = RtpView::new_checked(&packet[..len])?;
        let payload_type = view.payload_type();
        let is_event = self.is_event(payload_type);
        //= meta#R-16  anything else is dropped
        if !is_event && payload_type != self.params.opus_payload_type {
            return Err(DropReason::PayloadType);
        }
        reporter.received_rtp(&view, is_event, now);
        self.ssrc = Some(view.ssrc());
        let arrived =
            Arrived { ssrc: view.ssrc(), seq: view.seq(), timestamp: view.timestamp(), marker: view.marker(), payload: view.payload() };
        if is_event {
            port.event_arrived(&arrived, now);
            if let Some(jitter) = &mut self.jitter {
                jitter.note_event(view.ssrc(), view.seq(), view.timestamp(), now);
            }
            return Ok(match self.digits.handle_packet(view.timestamp(), view.payload(), now)? {
                Some(digit) => Received::Digit(digit),
                None => Received::Event,
            });
        }
        let duration_ticks = codec::toc::duration_ticks(view.payload())?;
        if port.forwards() {
            port.arrived(&arrived, now);
            return Ok(Received::Audio);
        }
        let jitter = self.jitter.get_or_insert_with(|| Box::new(JitterBuffer::new(self.jitter_config)));
        jitter.insert(view.ssrc(), view.seq(), view.timestamp(), duration_ticks, view.payload(), now)?;
        Ok(Received::Audio)
    }

    /// Opens an SRTCP packet in place and returns the plain compound.
    pub(super) fn receive_rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], DropReason> {
        let len = self.rx.unprotect_rtcp(packet)?;
        Ok(&packet[..len])
    }

    fn is_event(&self, payload_type: u8) -> bool {
        match self.params.dtmf_payload_type {
            Some(negotiated) => payload_type == negotiated,
            None => payload_type == DTMF_PAYLOAD_TYPE_OF_META && self.params.opus_payload_type != DTMF_PAYLOAD_TYPE_OF_META,
        }
    }

    /// Plays one tick: gives the port what the peer said.
    pub(super) fn play(&mut self, port: &mut dyn MediaPort, scratch: &mut Scratch, now: Time) {
        port.tick(now);
        let wants_opus = port.wants_opus();
        let wants_pcm = port.wants_pcm();
        #[cfg(feature = "opus")]
        self.fit_decoder(wants_pcm);
        let mut heard = false;
        #[cfg_attr(not(feature = "opus"), expect(unused_mut, reason = "nothing is decoded without a codec"))]
        let mut decoded = 0;
        for _ in 0..PLAYOUTS_PER_TICK_MAX {
            // No packet has waited yet: nothing to play, and nothing missing.
            let Some(jitter) = &mut self.jitter else { break };
            // What was decoded for this tick before (packets of less than 20 ms) stays at the front of the scratch buffer.
            #[cfg(feature = "opus")]
            let room = &mut scratch.pcm[decoded..];
            match jitter.tick(now) {
                Playout::Packet { payload, timestamp, starts } => {
                    heard = true;
                    if wants_opus {
                        port.incoming(Incoming::Opus { payload, timestamp });
                    }
                    #[cfg(feature = "opus")]
                    if let Some(decoder) = &mut self.decoder {
                        if starts {
                            decoder.reset();
                        }
                        decoded += decoder.decode(payload, room).unwrap_or(0);
                    }
                    #[cfg(not(feature = "opus"))]
                    let _ = starts;
                }
                #[cfg(feature = "opus")]
                Playout::Fec { payload, .. } => {
                    heard = true;
                    if let Some(decoder) = &mut self.decoder {
                        decoded += decoder.decode_fec(payload, room).or_else(|| decoder.conceal(room)).unwrap_or(0);
                    }
                }
                #[cfg(feature = "opus")]
                Playout::Conceal { .. } => {
                    if let Some(decoder) = &mut self.decoder {
                        decoded += decoder.conceal(room).unwrap_or(0);
                    }
                }
                Playout::Continue => heard = true,
                _ => {}
            }
            if !jitter.is_owed() {
                break;
            }
        }
        if let Some(rate) = wants_pcm {
            self.deliver(port, rate, &scratch.pcm[..decoded], heard);
        }
    }

    /// Gives the port exactly one frame; what a long packet holds beyond it waits for the next ticks.
    fn deliver(&mut self, port: &mut dyn MediaPort, rate: SampleRate, decoded: &[i16], heard: bool) {
        let samples = rate.frame_samples();
        // The rule: one packet, one tick, no copy.
        if decoded.len() == samples && self.backlog.is_empty() {
            port.incoming(Incoming::Pcm { samples: decoded, heard });
            return;
        }
        // At most one packet of 120 ms waits; more would be a jitter buffer that does not count its ticks.
        if self.backlog.len() + decoded.len() <= PACKET_FRAMES_MAX * samples {
            self.backlog.extend_from_slice(decoded);
        }
        if self.backlog.len() >= samples {
            port.incoming(Incoming::Pcm { samples: &self.backlog[..samples], heard });
            self.backlog.drain(..samples);
        } else {
            const QUIET: [i16; FRAME_SAMPLES_MAX] = [0; FRAME_SAMPLES_MAX];
            port.incoming(Incoming::Pcm { samples: &QUIET[..samples], heard: false });
        }
    }

    #[cfg(feature = "opus")]
    fn fit_decoder(&mut self, wanted: Option<SampleRate>) {
        if self.decoder.as_ref().map(Decoder::rate) != wanted {
            // Once per exchange of ports, not per packet. A library that refuses leaves the port with silence.
            let fits = self.decoder.as_mut().zip(wanted).is_some_and(|(decoder, rate)| decoder.renew(rate));
            if !fits {
                self.decoder = wanted.and_then(|rate| Decoder::new(rate).ok());
            }
            self.backlog = Vec::with_capacity(wanted.map_or(0, |rate| PACKET_FRAMES_MAX * rate.frame_samples()));
        }
    }

    /// Makes one packet of ours in `out`: a digit's, or what the port says; stamps and protects it.
    //= rules#P7
    //= rules#T1
    pub(super) fn send_frame(
        &mut self,
        port: &mut dyn MediaPort,
        source: &mut RtpSource,
        digits: &mut DigitSender,
        scratch: &mut Scratch,
        stats: &mut CallStats,
        out: &mut [u8],
    ) -> Result<Sent, DropReason> {
        let said = if self.port_finished { Outgoing::Silence } else { port.outgoing(&mut scratch.frame) };
        let finished = said == Outgoing::Finished;
        self.port_finished |= finished;

        //= meta#R-27  whatever a port hands over
        let room = out.len().min(SEND_BYTES_MAX).saturating_sub(SRTP_TRAILER_BYTES_MAX);
        let payload = out.get_mut(RTP_HEADER_BYTES..room).ok_or(DropReason::NoRoom)?;
        if let Some(payload_type) = self.params.dtmf_payload_type
            && let Some(event) = digits.tick(source.timestamp())
        {
            //= rfc4733#section-2.5.1:call  in place of the audio of its frames, on the audio's own line
            payload.get_mut(..event.payload.len()).ok_or(DropReason::NoRoom)?.copy_from_slice(&event.payload);
            let header = source.event(payload_type, event.marker, event.timestamp);
            stats.digits_out += u64::from(event.marker);
            stats.events_out += 1;
            let len = self.stamp(source, &header, event.payload.len(), stats, out)?;
            return Ok(Sent { len, finished, digits_done: digits.is_done() });
        }
        let mut len = match said {
            #[cfg(feature = "opus")]
            Outgoing::Pcm(rate) => {
                self.complexity_max = scratch.complexity_max;
                self.encode(rate, &mut scratch.frame.pcm[..rate.frame_samples()], payload)
            }
            // Speech that breaks off inside a wave would click: one more frame brings it down.
            #[cfg(feature = "opus")]
            Outgoing::Silence | Outgoing::Finished if self.last_sample != 0 => self.fade_out(&mut scratch.frame.pcm, payload),
            Outgoing::Opus(len) => match scratch.frame.opus.get(..len) {
                //= meta#R-18  one frame of 20 ms, whatever a port thinks
                Some(packet) if len <= payload.len() && codec::toc::duration_ticks(packet) == Ok(FRAME_TICKS) => {
                    payload[..len].copy_from_slice(packet);
                    len
                }
                _ => {
                    stats.misframed_out += 1;
                    0
                }
            },
            _ => 0,
        };
        if len == 0 {
            len = SILENCE_PACKET.len();
            //= meta#R-39  silence is packets too
            payload[..len].copy_from_slice(&SILENCE_PACKET);
            stats.silence_out += 1;
        }

        #[cfg(feature = "opus")]
        if !matches!(said, Outgoing::Pcm(_)) {
            self.last_sample = 0;
        }
        let header = source.audio(self.params.opus_payload_type);
        port.sent(&payload[..len], header.timestamp);
        let len = self.stamp(source, &header, len, stats, out)?;
        Ok(Sent { len, finished, digits_done: false })
    }

    /// Puts the header in front of `out[12..12 + len]`, counts the frame and protects it.
    //= rules#T6
    fn stamp(
        &mut self,
        source: &mut RtpSource,
        header: &RtpHeader,
        len: usize,
        stats: &mut CallStats,
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        let head: &mut [u8; RTP_HEADER_BYTES] = out.first_chunk_mut().ok_or(DropReason::NoRoom)?;
        header.emit(head);
        source.count_sent(len);
        source.advance_frame(true);
        stats.rtp_out += 1;
        stats.rtp_octets_out += len as u64;
        self.tx.protect_rtp(out, RTP_HEADER_BYTES + len)
    }

    #[cfg(feature = "opus")]
    fn settings(&self, rate: SampleRate) -> EncoderSettings {
        EncoderSettings {
            rate,
            application: Application::Voip,
            bitrate_bps: self.adaption.bitrate_bps(),
            complexity: self.complexity.min(self.complexity_max),
            fec: self.params.fec,
            loss_percent: self.adaption.loss_percent(),
            cbr: self.params.cbr,
            playback_rate_hz_max: self.params.playback_rate_hz_max,
        }
    }

    /// Has an encoder for this rate. Allocates at most once in a call, and not even then while packets pass if the port said its rate beforehand.
    #[cfg(feature = "opus")]
    fn fit_encoder(&mut self, rate: SampleRate) {
        let settings = self.settings(rate);
        let fits = match &mut self.encoder {
            Some(encoder) if encoder.settings().rate == rate => {
                encoder.retune(&settings);
                true
            }
            Some(encoder) => encoder.renew(&settings),
            None => false,
        };
        if !fits {
            // A library that refuses leaves silence.
            self.encoder = Encoder::new(&settings).ok();
        }
    }

    #[cfg(feature = "opus")]
    fn encode(&mut self, rate: SampleRate, samples: &mut [i16], out: &mut [u8]) -> usize {
        let sound = self.gate.judge(samples);
        if sound == Sound::Silent && !self.is_splice_due {
            // The frame before was as quiet: what ends here is no wave that could click.
            self.last_sample = 0;
            return 0;
        }
        self.fit_encoder(rate);
        if sound == Sound::HeardAgain
            && let Some(encoder) = &mut self.encoder
        {
            encoder.reset();
        }
        if core::mem::take(&mut self.is_splice_due) {
            splice(self.last_sample, samples);
        }
        self.last_sample = samples.last().copied().unwrap_or(0);
        self.encoder.as_mut().map_or(0, |encoder| encoder.encode(samples, out))
    }

    /// One frame that falls from the last sample to nothing.
    #[cfg(feature = "opus")]
    fn fade_out(&mut self, samples: &mut [i16; FRAME_SAMPLES_MAX], out: &mut [u8]) -> usize {
        let Some(encoder) = &mut self.encoder else { return 0 };
        let samples = &mut samples[..encoder.settings().rate.frame_samples()];
        samples.fill(0);
        splice(self.last_sample, samples);
        encoder.encode(samples, out)
    }

    /// Protects the compound in `out[..len]`.
    pub(super) fn protect_rtcp(&mut self, out: &mut [u8], len: usize) -> Result<usize, DropReason> {
        self.tx.protect_rtcp(out, len)
    }
}

/// Lets `samples` begin where `last` ended: the step between them fades within the first quarter of the frame, 5 ms.
#[cfg(feature = "opus")]
fn splice(last: i16, samples: &mut [i16]) {
    let Some(&first) = samples.first() else { return };
    let (step, len) = (i32::from(last) - i32::from(first), samples.len() as i32 / 4);
    for (left, sample) in (1..=len).rev().zip(samples) {
        let moved = i32::from(*sample) + step * left / len;
        *sample = moved.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

#[cfg(all(test, feature = "opus"))]
mod tests {
    use super::*;

    #[test]
    fn a_splice_begins_where_the_last_frame_ended_and_leaves_the_rest_alone() {
        let tone: Vec<i16> = (0..320).map(|i| ((f64::from(i) * 0.17 + 2.0).sin() * 20_000.0) as i16).collect();
        for last in [-32_768, -20_000, 0, 123, 32_767] {
            let mut samples = tone.clone();
            splice(last, &mut samples);
            assert_eq!(samples[0], last);
            assert_eq!(samples[80..], tone[80..]);
            let step = samples.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap();
            assert!(step < 4_500, "a step of {step} from {last}");
        }
        splice(5, &mut []);
    }
}
