//! What stands behind a handle, in safe Rust: an engine's common things, and a call with the host's end of its audio.
//!
//! Decides: defaults, formats, and which error a refusal is. Given: values that `raw` has read. Refuses: pointers.

use crate::opus_port::OpusQueues;
use crate::types::*;
use core::net::SocketAddr;
use core::task::Waker;
use std::cell::RefCell;
use std::sync::Arc;
use tipring_engine::bridge::{PcmConfig, PcmLink, pcm_port};
use tipring_engine::call::{Call, CallConfig, CallEvent, DigitRefused, MediaPort, Scratch, SetupRole, Watchdogs};
use tipring_engine::codec::g711::Law;
use tipring_engine::codec::{FRAME_SAMPLES_MAX, SampleRate};
use tipring_engine::dtls::{Certificate, DtlsConfig, DtlsContext};
use tipring_engine::error::SetupError;
use tipring_engine::ice::{Candidate, IceConfig, Path};
use tipring_engine::jitter::JitterConfig;
use tipring_engine::limits::{FRAME_MS, PLAYOUT_DELAY_MS_MAX};
use tipring_engine::rng::Entropy;
use tipring_engine::time::{Span, Time};
use tipring_signalling::sdp;

thread_local! {
    /// Buffers that calls use in turn; nothing outlives one call into the hub.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// Randomness of the operating system.
struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system has no randomness to give: nothing here is safe without it");
    }
}

/// An error with a sentence for people.
pub struct Refusal {
    pub code: ErrorCode,
    pub line: u32,
    pub text: String,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, line: 0, text: String::new() }
    }
}

impl From<SetupError> for Refusal {
    fn from(error: SetupError) -> Self {
        let code = match error {
            SetupError::Misuse(_) => TR_ERR_STATE,
            SetupError::PeerIncompatible(_) => TR_ERR_PEER,
            SetupError::Library(_) => TR_ERR_LIBRARY,
        };
        Self { code, line: 0, text: error.to_string() }
    }
}

impl From<sdp::SdpError> for Refusal {
    fn from(error: sdp::SdpError) -> Self {
        Self { code: TR_ERR_SDP, line: error.line.unwrap_or(0), text: error.to_string() }
    }
}

/// What calls of an engine have in common.
pub struct EngineBox(pub Arc<CallConfig>);

impl EngineBox {
    pub fn new(config: &TrEngineConfig) -> Result<Self, Refusal> {
        let delay_ms = if config.delay_ms_max == 0 { PLAYOUT_DELAY_MS_MAX } else { u64::from(config.delay_ms_max) };
        if config.complexity > 10 || config.allow_loopback > 1 || !(FRAME_MS..=PLAYOUT_DELAY_MS_MAX).contains(&delay_ms) {
            return Err(TR_ERR_ARGUMENT.into());
        }
        let unix_ns = if config.unix_ns_at_zero == 0 { unix_ns() } else { config.unix_ns_at_zero };
        let unix_s = unix_ns / 1_000_000_000;
        let fraction = (u128::from(unix_ns % 1_000_000_000) << 32) / 1_000_000_000;
        let certificate = Certificate::generate(i64::try_from(unix_s).unwrap_or(i64::MAX))?;
        Ok(Self(Arc::new(CallConfig {
            ice: IceConfig { allow_loopback: config.allow_loopback == 1, ..IceConfig::default() },
            dtls: DtlsContext::new(DtlsConfig::default(), certificate)?,
            jitter: JitterConfig { delay_max: Span::from_millis(delay_ms), ..JitterConfig::default() },
            complexity: if config.complexity == 0 { 5 } else { config.complexity as u8 },
            watchdogs: Watchdogs::default(),
            ntp_origin: (unix_s.wrapping_add(NTP_UNIX_OFFSET_S) << 32) | fraction as u64,
        })))
    }
}

#[allow(clippy::disallowed_methods, reason = "the wall clock of sender reports, read once and only if the host leaves it to us")]
fn unix_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The host's end of the audio.
enum Audio {
    Pcm(PcmLink),
    G711(Law, PcmLink),
    Opus(OpusQueues),
}

/// A call.
pub struct CallBox {
    call: Call,
    audio: Audio,
    /// Our description; made when the call is.
    sdp: String,
}

impl CallBox {
    /// Takes an offer, or makes one.
    pub fn new(
        engine: &EngineBox,
        config: &TrCallConfig,
        addresses: &[(SocketAddr, SocketAddr)],
        offer: Option<&str>,
        now: Time,
    ) -> Result<Self, Refusal> {
        let (port, audio) = ends(config)?;
        let offer = offer.map(sdp::read_offer).transpose()?;
        let role = offer.as_ref().map_or(SetupRole::ActPass, |offer| sdp::our_role(offer.params.role));
        let candidates = addresses
            .iter()
            .enumerate()
            .map(|(i, (base, advertised))| Candidate { base: Some(*base), ..Candidate::host(*advertised, u16::MAX - i as u16) });
        let mut call = Call::new(&engine.0, role, candidates.collect(), port, &mut OsEntropy, now)?;
        let session_id = OsEntropy.u64();
        let sdp = match &offer {
            Some(offer) => sdp::write_answer(offer, call.local_params(), session_id),
            None => sdp::write_offer(call.local_params(), session_id),
        };
        if let Some(offer) = offer {
            call.set_remote_params(offer.params, now)?;
        }
        Ok(Self { call, audio, sdp })
    }

    pub fn sdp(&self) -> &str {
        &self.sdp
    }

    pub fn remote_answer(&mut self, text: &str, now: Time) -> Result<(), Refusal> {
        let answer = sdp::read_answer(text)?;
        Ok(self.call.set_remote_params(answer.params, now)?)
    }

    pub fn recv(&mut self, path: Path, datagram: &mut [u8], now: Time) {
        self.call.handle_datagram(path, datagram, now);
    }

    pub fn send(&mut self, out: &mut [u8], now: Time) -> Option<(usize, Path)> {
        SCRATCH.with_borrow_mut(|scratch| self.call.poll_transmit(scratch, out, now))
    }

    pub fn deadline(&self) -> u64 {
        self.call.poll_timeout().map_or(u64::MAX, Time::as_nanos)
    }

    pub fn timeout(&mut self, now: Time) {
        if let Audio::Pcm(link) | Audio::G711(_, link) = &mut self.audio {
            link.pump();
        }
        SCRATCH.with_borrow_mut(|scratch| self.call.handle_timeout(scratch, now));
    }

    pub fn gate(&mut self, now: Time) -> ErrorCode {
        if self.call.is_closed() {
            return TR_ERR_STATE;
        }
        self.call.open_gate(now);
        TR_OK
    }

    /// Bytes taken; fewer than given when the queue is full.
    pub fn write(&mut self, audio: &[u8]) -> Result<usize, ErrorCode> {
        if self.call.is_closed() {
            return Err(TR_ERR_STATE);
        }
        match &mut self.audio {
            Audio::Pcm(link) => {
                let (pairs, odd) = audio.as_chunks::<2>();
                if !odd.is_empty() {
                    return Err(TR_ERR_ARGUMENT);
                }
                let taken = in_pieces(pairs, link, |pair| i16::from_ne_bytes(*pair));
                Ok(taken * 2)
            }
            Audio::G711(law, link) => {
                let law = *law;
                Ok(in_pieces(audio, link, |byte| {
                    let mut sample = [0];
                    law.decode(&[*byte], &mut sample);
                    sample[0]
                }))
            }
            Audio::Opus(queues) => match queues.write(audio) {
                Ok(true) => Ok(audio.len()),
                Ok(false) => Ok(0),
                Err(_) => Err(TR_ERR_ARGUMENT),
            },
        }
    }

    pub fn flush(&mut self) {
        if let Audio::Pcm(link) | Audio::G711(_, link) = &mut self.audio {
            link.flush();
        }
    }

    pub fn clear(&mut self) {
        match &mut self.audio {
            Audio::Pcm(link) | Audio::G711(_, link) => link.clear(),
            Audio::Opus(queues) => queues.clear(),
        }
    }

    pub fn waiting_ms(&self) -> i32 {
        let frames = match &self.audio {
            Audio::Pcm(link) | Audio::G711(_, link) => link.waiting(),
            Audio::Opus(queues) => queues.waiting() as u64,
        };
        i32::try_from(frames * FRAME_MS).unwrap_or(i32::MAX)
    }

    /// Bytes of the next frame; it is in `out` if they fit. None: there is none for now.
    pub fn read(&mut self, out: &mut [u8]) -> Option<usize> {
        let (law, link) = match &mut self.audio {
            Audio::Opus(queues) => return queues.read(out),
            Audio::Pcm(link) => (None, link),
            Audio::G711(law, link) => (Some(*law), link),
        };
        let samples = link.rate().frame_samples();
        let bytes = if law.is_some() { samples } else { samples * 2 };
        let mut pcm = [0; FRAME_SAMPLES_MAX];
        let Some(out) = out.get_mut(..bytes) else { return link.has_frame().then_some(bytes) };
        if !link.read(&mut pcm) {
            return None;
        }
        match law {
            Some(law) => drop(law.encode(&pcm[..samples], out)),
            None => out.as_chunks_mut::<2>().0.iter_mut().zip(&pcm).for_each(|(pair, sample)| *pair = sample.to_ne_bytes()),
        }
        Some(bytes)
    }

    pub fn dtmf(&mut self, digits: &str, tone_ms: u32, now: Time) -> ErrorCode {
        match self.call.send_digits(digits, (tone_ms > 0).then_some(tone_ms), now) {
            Ok(()) => TR_OK,
            Err(DigitRefused::NotAKey(_) | DigitRefused::Length(_)) => TR_ERR_ARGUMENT,
            Err(DigitRefused::Full) => TR_ERR_FULL,
            Err(DigitRefused::NotNegotiated) => TR_ERR_PEER,
            Err(DigitRefused::NoPeerYet | DigitRefused::CallOver) => TR_ERR_STATE,
        }
    }

    /// Kind and value of the next event.
    pub fn event(&mut self) -> Option<(u32, u32)> {
        Some(match self.call.poll_event()? {
            CallEvent::IceConnected { .. } => (TR_EVENT_ICE_CONNECTED, 0),
            CallEvent::DtlsConnected { .. } => (TR_EVENT_DTLS_CONNECTED, 0),
            CallEvent::MediaReady => (TR_EVENT_MEDIA_READY, 0),
            CallEvent::GateOpened => (TR_EVENT_GATE_OPENED, 0),
            CallEvent::FirstRtpIn => (TR_EVENT_FIRST_RTP_IN, 0),
            CallEvent::FirstRtpOut => (TR_EVENT_FIRST_RTP_OUT, 0),
            CallEvent::Digit(digit) => (TR_EVENT_DIGIT, u32::from(digit.symbol)),
            CallEvent::DigitsSent => (TR_EVENT_DIGITS_SENT, 0),
            CallEvent::NoEgress => (TR_EVENT_NO_EGRESS, 0),
            CallEvent::NoIngress => (TR_EVENT_NO_INGRESS, 0),
            CallEvent::MediaBack => (TR_EVENT_MEDIA_BACK, 0),
            CallEvent::Ended(ended) => (TR_EVENT_ENDED, number_of(ended.reason)),
            CallEvent::LocalReady(_) | CallEvent::PortFinished { .. } => (TR_EVENT_OTHER, 0),
        })
    }

    pub fn stats(&self) -> TrStats {
        let stats = self.call.stats();
        let setup = stats.milestones.remote_params.zip(stats.milestones.dtls_connected);
        TrStats {
            datagrams_in: stats.datagrams_in,
            datagrams_out: stats.datagrams_out,
            rtp_in: stats.rtp_in,
            rtp_out: stats.rtp_out,
            silence_out: stats.silence_out,
            dropped: stats.drops.total(),
            digits_in: stats.digits_in,
            digits_out: stats.digits_out,
            setup_ns: setup.map_or(0, |(from, to)| to.since(from).as_nanos()),
            ..TrStats::default()
        }
    }

    pub fn close(&mut self, now: Time) {
        self.call.close(tipring_engine::error::EndReason::HangUp, now);
    }
}

/// Pushes what `from` has, through a small buffer; returns how many were taken.
fn in_pieces<T>(from: &[T], link: &mut PcmLink, sample: impl Fn(&T) -> i16) -> usize {
    let mut pcm = [0; FRAME_SAMPLES_MAX];
    let mut taken = 0;
    for piece in from.chunks(pcm.len()) {
        pcm.iter_mut().zip(piece).for_each(|(to, from)| *to = sample(from));
        let now = link.push(&pcm[..piece.len()]);
        taken += now;
        if now < piece.len() {
            break;
        }
    }
    taken
}

fn ends(config: &TrCallConfig) -> Result<(Box<dyn MediaPort>, Audio), ErrorCode> {
    let queue_ms = if config.queue_ms == 0 { 60_000 } else { config.queue_ms };
    if !(640..=600_000).contains(&queue_ms) {
        return Err(TR_ERR_ARGUMENT);
    }
    // The host asks when it wants to know: nobody is to be woken.
    let pcm = |rate| pcm_port(PcmConfig { queue: Span::from_millis(queue_ms.into()), ..PcmConfig::new(rate) }, Waker::noop().clone());
    let linear = |rate| {
        let (port, link) = pcm(rate);
        let port: Box<dyn MediaPort> = Box::new(port);
        (port, Audio::Pcm(link))
    };
    let g711 = |law| {
        let (port, link) = pcm(SampleRate::Hz8000);
        let port: Box<dyn MediaPort> = Box::new(port);
        (port, Audio::G711(law, link))
    };
    Ok(match config.format {
        1 => linear(SampleRate::Hz8000),
        2 => linear(SampleRate::Hz16000),
        3 => linear(SampleRate::Hz24000),
        4 => linear(SampleRate::Hz48000),
        5 => g711(Law::Mu),
        6 => g711(Law::A),
        7 => {
            let (port, queues) = OpusQueues::new();
            (Box::new(port), Audio::Opus(queues))
        }
        _ => return Err(TR_ERR_ARGUMENT),
    })
}

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;
