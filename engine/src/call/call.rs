//! One WhatsApp leg. Pure: no socket, no clock, no thread.
//!
//! Decides: the order of a call (ICE, then DTLS, then keys, then the gate) and which datagram reaches whom. Given: datagrams with their path, the time, the host's
//! port. Refuses: SDP, sockets, Graph; and to switch its pair, ever.

use super::event::{CallEvent, Ended, Moment};
use super::far::{FarCommand, FarSocket};
use super::forward::Forwarding;
use super::gate::FrameClock;
use super::media::{Media, Received, Scratch};
use super::params::{LocalParams, RemoteParams, SetupRole};
use super::port::MediaPort;
use super::recorder::FlightRecorder;
use super::stats::CallStats;
use super::watchdog::{Watch, WatchdogAction, Watchdogs};
use crate::dtls::{Dtls, DtlsContext, DtlsEvent, DtlsRole};
use crate::dtmf::{DigitRefused, DigitSender, TONE_MS};
use crate::error::{DropReason, EndReason, SetupError};
use crate::ice::{Agent, Candidate, Credentials, IceConfig, IceEvent, Path, is_usable_remote};
use crate::jitter::JitterConfig;
use crate::keying::{Keying, SdesSecret};
use crate::limits::{CALL_EVENTS_MAX, DATAGRAM_BYTES_MAX, EARLY_PACKETS_MAX, FRAME_MS, RTP_CLOCK_HZ};
use crate::rng::{Entropy, SeededRng};
use crate::rtp::{Reporter, RtpSource};
use crate::time::{Span, Time};
use crate::wire::demux::{PacketKind, classify};
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::sync::Arc;

mod relay;
mod setup;

use setup::dtls_role;

/// Packets that arrive between the peer's Finished and our keys are kept this long (D18).
const EARLY_PACKETS_AGE: Span = Span::from_secs(1);
/// The TLS object of a client is dropped this long after the handshake: its own last flight was answered, only close_notify could still come.
const TLS_GRACE_CLIENT: Span = Span::from_secs(10);
/// A server must answer a repeated flight 5 for twice the maximum segment life (D7).
const TLS_GRACE_SERVER: Span = Span::from_secs(240);

/// Bytes at the head of a port that a packet may need.
#[cfg(feature = "io")]
const PORT_BYTES_HOT: usize = 512;

/// What every call of an engine has in common. Immutable.
pub struct CallConfig {
    /// ICE timing and policy.
    pub ice: IceConfig,
    /// Certificate and DTLS policy.
    pub dtls: DtlsContext,
    /// Play-out delay bounds.
    pub jitter: JitterConfig,
    /// Opus encoder complexity, 0 to 10.
    pub complexity: u8,
    /// What quiet in either direction does.
    pub watchdogs: Watchdogs,
    /// NTP timestamp (RFC 5905, 32.32 fixed point) of [`Time::ZERO`], for sender reports.
    pub ntp_origin: u64,
}

impl CallConfig {
    fn ntp(&self, now: Time) -> u64 {
        let ns = u128::from(now.as_nanos());
        self.ntp_origin.wrapping_add(((ns << 32) / 1_000_000_000) as u64)
    }
}

/// How far a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Waiting for the peer's parameters, or checking.
    Connecting,
    /// A pair is nominated, the handshake runs.
    Handshaking,
    /// Keys on both sides.
    Ready,
    /// Over; the last datagrams may still be drained.
    Closed,
}

/// One WhatsApp leg.
///
/// Contract: after every `handle_*` call and command, drain `poll_transmit` until it yields nothing, then `poll_event`, then read `poll_timeout`. Time must not run
/// backwards. A datagram can never produce an error: it is dropped and counted in [`CallStats::drops`].
//= rules#G10
pub struct Call {
    config: Arc<CallConfig>,
    local: LocalParams,
    remote: Option<RemoteParams>,
    state: State,
    /// Something other than a forwarded packet happened since the last full drain. While it is not set, ICE, DTLS and events have nothing to give, and a packet need not
    /// ask them: their state stays out of the processor's cache.
    touched: bool,
    ice: Agent,
    dtls: Option<Dtls>,
    dtls_role: DtlsRole,
    /// Keys by SDES that wait for the path.
    sdes: Option<Keying>,
    tls_release_at: Option<Time>,
    path: Option<Path>,
    media: Option<Box<Media>>,
    early: VecDeque<(Time, Vec<u8>)>,
    early_dropped: u8,
    port: Box<dyn MediaPort>,
    /// Ports attached after the first.
    ports_attached: u32,
    source: RtpSource,
    reporter: Reporter,
    digits: DigitSender,
    egress: Watch,
    ingress: Watch,
    rng: SeededRng,
    gate_wanted: bool,
    clock: Option<FrameClock>,
    forwarding: Forwarding,
    frames_due: u64,
    gate_open: bool,
    report_due: bool,
    bye_due: bool,
    events: VecDeque<CallEvent>,
    stats: CallStats,
    recorder: FlightRecorder,
}

impl Call {
    /// Opens a call on these local candidates (their bases are the bound sockets). `role` is what our SDP says in `a=setup`: `Active` or `Passive` in an answer,
    /// `ActPass` in an offer.
    pub fn new(
        config: &Arc<CallConfig>,
        role: SetupRole,
        candidates: Vec<Candidate>,
        port: Box<dyn MediaPort>,
        entropy: &mut dyn Entropy,
        now: Time,
    ) -> Result<Self, SetupError> {
        if candidates.is_empty() {
            return Err(SetupError::Misuse("a call needs at least one local candidate"));
        }
        let credentials = Credentials::generate(entropy);
        let source = RtpSource::new(entropy);
        let cname = cname(entropy);
        let local = LocalParams {
            credentials: credentials.clone(),
            candidates: candidates.clone(),
            complete: true,
            fingerprint: config.dtls.fingerprint(),
            role,
            sdes: SdesSecret::generate(|out| entropy.fill(out)),
            ssrc: source.ssrc(),
            cname,
        };
        let mut call = Self {
            ice: Agent::new(config.ice.clone(), credentials, candidates, entropy),
            reporter: Reporter::new(&local.cname, now),
            digits: DigitSender::new(),
            egress: Watch::new(config.watchdogs.egress),
            ingress: Watch::new(config.watchdogs.ingress),
            rng: SeededRng::new(entropy.u64()),
            config: Arc::clone(config),
            local,
            remote: None,
            state: State::Connecting,
            touched: true,
            dtls: None,
            dtls_role: DtlsRole::Client,
            sdes: None,
            tls_release_at: None,
            path: None,
            media: None,
            early: VecDeque::new(),
            early_dropped: 0,
            port,
            ports_attached: 0,
            source,
            gate_wanted: false,
            clock: None,
            forwarding: Forwarding::default(),
            frames_due: 0,
            gate_open: false,
            report_due: false,
            bye_due: false,
            events: VecDeque::with_capacity(CALL_EVENTS_MAX),
            stats: CallStats::default(),
            recorder: FlightRecorder::new(),
        };
        call.stats.milestones.opened = now;
        call.recorder.note(Moment::Opened, now);
        call.local.complete = !call.ice.start_gathering(now);
        Ok(call)
    }

    /// Lets the stream begin at this sequence number and timestamp, to meet their wrap within seconds. For tests: a live call begins where its entropy says (P1,
    /// R11). The SSRC stays. No effect once a packet left.
    #[doc(hidden)]
    pub fn start_stream_at(&mut self, seq: u16, timestamp: u32) {
        if self.stats.rtp_out == 0 {
            self.source = RtpSource::with_start(self.source.ssrc(), seq, timestamp);
        }
    }

    /// Our side, for the SDP.
    pub fn local_params(&self) -> &LocalParams {
        &self.local
    }

    /// Gives the call its peer and starts the checks. Once; nothing is changed by a refusal.
    pub fn set_remote_params(&mut self, remote: RemoteParams, now: Time) -> Result<(), SetupError> {
        if self.remote.is_some() {
            //= meta#R-41  one description each
            return Err(SetupError::Misuse("the peer's parameters are set once: there is no re-negotiation (R-41)"));
        }
        if self.state == State::Closed {
            return Err(SetupError::Misuse("the call is over"));
        }
        self.touched = true;
        remote.check()?;
        let sdes = remote
            .sdes
            .as_ref()
            .map(|theirs| Keying::of_sdes(&self.local.sdes.key(theirs.profile()), theirs))
            .transpose()
            .map_err(SetupError::PeerIncompatible)?;
        if sdes.is_none() {
            self.dtls_role = dtls_role(self.local.role, remote.role)?;
        }
        let plain = match &remote.credentials {
            Some(credentials) if self.ice.set_remote(credentials.clone(), remote.lite, &remote.candidates, now) => None,
            Some(_) => return Err(SetupError::PeerIncompatible("ICE refused the peer's parameters")),
            None => Some(self.plain_path(&remote)?),
        };
        self.sdes = sdes;
        self.stats.milestones.remote_params = Some(now);
        self.recorder.note(Moment::RemoteParams { candidates: remote.candidates.len().min(255) as u8 }, now);
        self.remote = Some(remote);
        self.drain_ice(now);
        if let Some(path) = plain {
            self.path_ready(path, Span::ZERO, now);
        }
        Ok(())
    }

    /// The path to a peer without ICE: from our first base of its family to the address it named. Symmetric RTP (RFC 4961): nothing that
    /// comes from elsewhere is ever heard, and we never follow it there.
    fn plain_path(&self, remote: &RemoteParams) -> Result<Path, SetupError> {
        // I11: the same policy as for candidates: only where the configuration says so, an address nobody else can be at
        let usable = remote.candidates.first().map(|c| c.address).filter(|&at| is_usable_remote(at, self.config.ice.allow_loopback));
        let remote = usable.ok_or(SetupError::PeerIncompatible("the peer has neither ICE nor an address that we may send to"))?;
        let base = self.local.candidates.iter().map(|c| c.base.unwrap_or(c.address)).find(|base| base.is_ipv4() == remote.is_ipv4());
        let local = base.ok_or(SetupError::PeerIncompatible("the peer has neither ICE nor an address of a family that we have"))?;
        Ok(Path { local, remote })
    }

    /// Takes a datagram from one of the call's sockets. `datagram` is decrypted in place.
    //= rules#R17
    //= rules#G5
    pub fn handle_datagram(&mut self, path: Path, datagram: &mut [u8], now: Time) {
        self.stats.datagrams_in += 1;
        if let Err(reason) = self.sort(path, datagram, now) {
            self.stats.drops.count(reason);
        }
    }

    //= rules#X3
    //= rules#X4
    //= rules#P15
    //= rules#G2
    fn sort(&mut self, path: Path, datagram: &mut [u8], now: Time) -> Result<(), DropReason> {
        if self.state == State::Closed {
            return Err(DropReason::Closed);
        }
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DropReason::Oversized);
        }
        match classify(datagram) {
            PacketKind::Stun => {
                self.touched = true;
                let outcome = self.ice.handle_stun(path, datagram, now);
                self.drain_ice(now);
                outcome
            }
            // X3: only the selected pair reaches the parsers of DTLS and SRTP. This, not the TLS library, is what stops a ClientHello race.
            //= rfc8445#section-12.2  the selected pair only
            PacketKind::Dtls if self.path != Some(path) => Err(DropReason::DtlsWrongSource),
            PacketKind::Dtls => {
                self.touched = true;
                let dtls = self.dtls.as_mut().ok_or(DropReason::DtlsUnexpected)?;
                let outcome = dtls.handle_datagram(datagram, now);
                self.drain_dtls(now);
                outcome
            }
            PacketKind::Rtp | PacketKind::Rtcp if self.path != Some(path) => Err(DropReason::MediaWrongSource),
            kind @ (PacketKind::Rtp | PacketKind::Rtcp) => {
                if self.media.is_none() {
                    return self.keep_early(datagram, now);
                }
                self.receive_media(kind, datagram, now)
            }
            PacketKind::Unknown => Err(DropReason::Unknown),
        }
    }

    /// Keeps media that overtook the end of the handshake (D18).
    //= rfc5764#section-5.1.2:early  at most 50 packets or 1 s
    //= rules#D18
    fn keep_early(&mut self, datagram: &[u8], now: Time) -> Result<(), DropReason> {
        while self.early.front().is_some_and(|(at, _)| now.since(*at) > EARLY_PACKETS_AGE) {
            self.early.pop_front();
            self.early_dropped = self.early_dropped.saturating_add(1);
        }
        if self.early.len() >= EARLY_PACKETS_MAX {
            self.early_dropped = self.early_dropped.saturating_add(1);
            return Err(DropReason::BeforeKeys);
        }
        self.early.push_back((now, datagram.to_vec()));
        Ok(())
    }

    //= rules#G1
    fn receive_media(&mut self, kind: PacketKind, datagram: &mut [u8], now: Time) -> Result<(), DropReason> {
        let media = self.media.as_mut().ok_or(DropReason::BeforeKeys)?;
        if kind == PacketKind::Rtcp {
            let compound = media.receive_rtcp(datagram)?;
            let reports = self.reporter.stats().peer_reports;
            let outcome = self.reporter.received_rtcp(compound, self.source.ssrc(), now);
            let about_us = self.reporter.stats();
            if about_us.peer_reports != reports
                && let Some((bitrate_bps, loss_percent)) = media.reported(about_us.peer_fraction_lost, about_us.rtt)
            {
                self.recorder.note(Moment::EncoderTuned { bitrate_bps, loss_percent }, now);
            }
            self.heard(now);
            let bye = outcome?;
            self.stats.rtcp_in += 1;
            if bye {
                self.recorder.note(Moment::PeerBye, now);
            }
            return Ok(());
        }
        let ssrc_before = media.ssrc();
        let received = media.receive_rtp(datagram, self.port.as_mut(), &mut self.reporter, now)?;
        let ssrc = media.ssrc();
        self.stats.rtp_in += 1;
        self.heard(now);
        if self.stats.milestones.first_rtp_in.is_none() {
            self.stats.milestones.first_rtp_in = Some(now);
            self.recorder.note(Moment::FirstRtpIn, now);
            self.push_event(CallEvent::FirstRtpIn);
        }
        if let Some(ssrc) = ssrc.filter(|_| ssrc != ssrc_before) {
            self.recorder.note(Moment::PeerSsrc { ssrc }, now);
        }
        if let Received::Digit(digit) = received {
            self.stats.digits_in += 1;
            self.recorder.note(Moment::Digit, now);
            self.port.digit(digit);
            self.push_event(CallEvent::Digit(digit));
        }
        Ok(())
    }

    /// An authenticated packet of the peer's media came.
    fn heard(&mut self, now: Time) {
        self.stats.last_media_in = Some(now);
        if self.ingress.alive(now) {
            self.media_back(now);
        }
    }

    fn media_back(&mut self, now: Time) {
        self.recorder.note(Moment::MediaBack, now);
        self.push_event(CallEvent::MediaBack);
    }

    /// Asks both watchdogs.
    fn watch(&mut self, now: Time) {
        if let Some(action) = self.egress.bark(now) {
            self.stats.no_egress += 1;
            self.recorder.note(Moment::NoEgress, now);
            self.push_event(CallEvent::NoEgress);
            if action == WatchdogAction::End {
                return self.close(EndReason::NoEgress, now);
            }
        }
        if let Some(action) = self.ingress.bark(now) {
            self.stats.no_ingress += 1;
            self.recorder.note(Moment::NoIngress, now);
            self.push_event(CallEvent::NoIngress);
            if action == WatchdogAction::End {
                self.close(EndReason::NoIngress, now);
            }
        }
    }

    /// Takes the time: retransmissions, consent, play-out, reports.
    pub fn handle_timeout(&mut self, scratch: &mut Scratch, now: Time) {
        if self.state == State::Closed {
            return;
        }
        self.touched = true;
        self.ice.handle_timeout(now);
        self.drain_ice(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
            self.drain_dtls(now);
        }
        if self.tls_release_at.is_some_and(|at| at <= now) {
            self.release_tls(now);
        }
        if let Some(far) = self.port.far_mut().filter(|far| far.poll_timeout().is_some_and(|at| at <= now)) {
            far.handle_timeout(now);
        }
        if self.state == State::Ready {
            self.turn_media(scratch, now);
        }
        if self.state != State::Closed {
            self.watch(now);
        }
    }

    /// Play-out, frames and reports that are due.
    //= rules#C3
    fn turn_media(&mut self, scratch: &mut Scratch, now: Time) {
        if self.port.forwards() {
            if let Some(clock) = self.clock.as_mut().filter(|_| self.gate_open) {
                let owed = self.forwarding.take_due(clock, now);
                for _ in 0..owed.skipped {
                    self.source.advance_frame(false);
                }
                self.frames_due += owed.frames;
            }
        } else if let (Some(clock), Some(media)) = (&mut self.clock, &mut self.media) {
            let due = clock.take(now);
            if due.skipped > 0 {
                // The process stood still. That nothing left meanwhile, and nothing was read, is no quiet of the line.
                self.egress.expect(now);
                self.ingress.expect(now);
            }
            for _ in 0..due.frames {
                media.play(self.port.as_mut(), scratch, now);
            }
            if self.gate_open {
                for _ in 0..due.skipped {
                    self.source.advance_frame(false);
                }
                self.frames_due += due.frames;
            }
        }
        if self.gate_open && self.reporter.poll_timeout().is_some_and(|at| at <= now) {
            self.report_due = true;
        }
    }

    /// Writes the next datagram to send into `out` (at least [`DATAGRAM_BYTES_MAX`] bytes) and says where it goes.
    pub fn poll_transmit(&mut self, scratch: &mut Scratch, out: &mut [u8], now: Time) -> Option<(usize, Path)> {
        let sent = self.next_datagram(scratch, out, now)?;
        self.stats.datagrams_out += 1;
        Some(sent)
    }

    /// Notes that the operating system refused the last datagram of [`Self::poll_transmit`]: evidence, nothing more.
    //= rules#I21
    pub fn note_send_refused(&mut self) {
        self.stats.sends_refused += 1;
    }

    //= rules#I30
    fn next_datagram(&mut self, scratch: &mut Scratch, out: &mut [u8], now: Time) -> Option<(usize, Path)> {
        if !self.touched {
            let path = self.path?;
            return self.next_forwarded(scratch, out, now).map(|len| (len, path));
        }
        if self.state != State::Closed
            && let Some(sent) = self.ice.poll_transmit(out, now)
        {
            if self.stats.milestones.first_check.is_none() {
                self.stats.milestones.first_check = Some(now);
                self.recorder.note(Moment::FirstCheckOut, now);
            }
            return Some(sent);
        }
        let path = self.path?;
        if let Some(sent) = self.next_forwarded(scratch, out, now) {
            return Some((sent, path));
        }
        if let Some(media) = &mut self.media {
            while self.frames_due > 0 {
                self.frames_due -= 1;
                if self.forwarding.is_event(now) {
                    // A digit of the far side is under way; its packets carry the time.
                    continue;
                }
                let sent = media.send_frame(self.port.as_mut(), &mut self.source, &mut self.digits, scratch, &mut self.stats, out);
                let Ok(sent) = sent else { continue };
                self.stats.last_rtp_out = Some(now);
                if self.egress.alive(now) {
                    self.media_back(now);
                }
                if sent.finished {
                    self.push_event(CallEvent::PortFinished { port: self.ports_attached });
                }
                if sent.digits_done {
                    self.recorder.note(Moment::DigitsSent, now);
                    self.push_event(CallEvent::DigitsSent);
                }
                self.note_first_rtp_out(now);
                //= rfc8445#section-12.1  on the nominated path, from its base
                return Some((sent.len, path));
            }
            if core::mem::take(&mut self.report_due) {
                let since_frame = self.clock.map_or(Span::ZERO, |clock| clock.since_frame(now));
                let ntp = self.config.ntp(now);
                let len = self.reporter.write_report(&self.source, ntp, ticks(since_frame), &mut self.rng, out, now);
                if let Some((bitrate_bps, loss_percent)) = media.missed(self.reporter.stats().lost) {
                    self.recorder.note(Moment::EncoderTuned { bitrate_bps, loss_percent }, now);
                }
                if let Ok(len) = media.protect_rtcp(out, len) {
                    self.stats.rtcp_out += 1;
                    return Some((len, path));
                }
            }
            if core::mem::take(&mut self.bye_due) {
                let since_frame = self.clock.map_or(Span::ZERO, |clock| clock.since_frame(now));
                let ntp = self.config.ntp(now);
                let len = self.reporter.write_bye(&self.source, ntp, ticks(since_frame), out, now);
                if let Ok(len) = media.protect_rtcp(out, len) {
                    self.stats.rtcp_out += 1;
                    return Some((len, path));
                }
            }
        }
        let len = self.dtls.as_mut()?.poll_transmit(out)?;
        Some((len, path))
    }

    /// Whether it plays and sends by its clock, not packet by packet.
    #[cfg(feature = "io")]
    pub(crate) fn ticks(&self) -> bool {
        self.state == State::Ready && !self.port.forwards()
    }

    /// Whether nothing but packets happened since [`Self::drained`]: there are no events then, and no deadline has moved nearer.
    #[cfg(feature = "io")]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.touched && !self.forwarding.is_held()
    }

    /// Says that datagrams and events were drained and the deadline is about to be read.
    #[cfg(feature = "io")]
    pub(crate) fn drained(&mut self) {
        self.touched = false;
    }

    /// Where those parts of the call lie that a packet needs and that are not in the call itself, for a shard that has them fetched ahead of time.
    #[cfg(feature = "io")]
    pub(crate) fn hot_parts(&self) -> [(*const u8, usize); 2] {
        let media = self.media.as_deref().map_or((core::ptr::null(), 0), |m| (core::ptr::from_ref(m).cast(), size_of::<Media>()));
        [media, (core::ptr::from_ref(&*self.port).cast(), PORT_BYTES_HOT.min(size_of_val(&*self.port)))]
    }

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<CallEvent> {
        self.events.pop_front()
    }

    /// When `handle_timeout` wants to be called; [`None`] when the call is over.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.state == State::Closed {
            return None;
        }
        let clock = self.clock.filter(|_| self.state == State::Ready);
        let clock = if self.port.forwards() {
            clock.filter(|_| self.gate_open).map(|c| self.forwarding.deadline(&c))
        } else {
            clock.map(|c| c.next())
        };
        let far = self.port.far().and_then(|far| far.poll_timeout());
        let report = self.reporter.poll_timeout().filter(|_| self.gate_open);
        let dtls = self.dtls.as_ref().and_then(Dtls::poll_timeout);
        let (egress, ingress) = (self.egress.deadline(), self.ingress.deadline());
        [self.ice.poll_timeout(), dtls, self.tls_release_at, clock, report, far, egress, ingress].into_iter().flatten().min()
    }

    /// Opens the egress gate: `accept` answered 200. Before media is ready the wish is kept and the gate opens with the keys.
    //= rules#P7
    pub fn open_gate(&mut self, now: Time) {
        self.touched = true;
        self.gate_wanted = true;
        if self.state != State::Ready || self.gate_open {
            return;
        }
        self.gate_open = true;
        //= meta#R-29  the clock of what we send is our own
        //= meta#R-31  the source is asked from here on
        // The first frame is due now, not at the next tick of the play-out clock: accept to first RTP costs nothing.
        self.clock = Some(FrameClock::start_at(now));
        self.forwarding.begin();
        self.reporter.start(now);
        //= meta#R-39  from here on packets are owed, ours as well as theirs
        self.egress.expect(now);
        self.ingress.expect(now);
        self.stats.milestones.gate_opened = Some(now);
        self.recorder.note(Moment::GateOpened, now);
        self.push_event(CallEvent::GateOpened);
    }

    /// Exchanges the host's end of the audio. SSRC, sequence and timestamps run on.
    pub fn attach(&mut self, port: Box<dyn MediaPort>, now: Time) -> Box<dyn MediaPort> {
        self.touched = true;
        self.recorder.note(Moment::PortAttached, now);
        if let Some(media) = &mut self.media {
            media.port_exchanged(port.as_ref());
        }
        self.forwarding.begin();
        self.ports_attached = self.ports_attached.wrapping_add(1);
        core::mem::replace(&mut self.port, port)
    }

    /// Sends digits (`0` to `9`, `*`, `#`, `A` to `D`, `!`) as telephone-event in the running stream, one after the other, `tone_ms` each
    /// (40 to 60 000; 100 when none is given) with pauses of 100 ms. All of them or none.
    ///
    /// Their packets replace the audio of their frames; SSRC, sequence and timeline run on (T1 to T6). Before the gate opens they wait for it.
    /// [`CallEvent::DigitsSent`] says when the queue is empty. Errors: see [`DigitRefused`].
    //= rfc4733#section-2.5.1:call  on request
    pub fn send_digits(&mut self, symbols: &str, tone_ms: Option<u32>, now: Time) -> Result<(), DigitRefused> {
        if self.state == State::Closed {
            return Err(DigitRefused::CallOver);
        }
        let remote = self.remote.as_ref().ok_or(DigitRefused::NoPeerYet)?;
        // M14 makes us listen on 126 in any case. To send there without being asked would be noise to a peer that never agreed.
        if remote.media.dtmf_payload_type.is_none() {
            return Err(DigitRefused::NotNegotiated);
        }
        self.touched = true;
        let queued = self.digits.queued();
        self.digits.push_all_for(symbols, tone_ms.unwrap_or(TONE_MS))?;
        if self.digits.queued() > queued {
            self.recorder.note(Moment::DigitsQueued { count: self.digits.queued() as u8 }, now);
        }
        Ok(())
    }

    /// Forgets the digits of ours that have not begun. The one on the line ends as it would have.
    pub fn cancel_digits(&mut self) {
        self.digits.clear();
    }

    /// Ends the call. `Ended` is the last event; the last datagrams (BYE, close_notify) wait in `poll_transmit`.
    //= rules#I32
    //= rules#C10
    //= rules#G12
    pub fn close(&mut self, reason: EndReason, now: Time) {
        if self.state == State::Closed {
            return;
        }
        //= rfc7675#section-5.1:stop  no farewell either
        // Without consent nothing at all may be sent (I32).
        let may_send = reason != EndReason::ConsentLost && self.path.is_some();
        self.touched = true;
        self.bye_due = may_send && self.gate_open;
        self.frames_due = 0;
        self.report_due = false;
        self.state = State::Closed;
        self.stats.milestones.ended = Some(now);
        self.recorder.note(Moment::Ended { reason }, now);
        let ended = Ended { reason, stats: self.stats(), flight_recorder: self.recorder.dump() };
        match (&mut self.dtls, may_send) {
            (Some(dtls), true) => dtls.close(),
            _ => self.dtls = None,
        }
        if let Some(far) = self.port.far_mut() {
            far.close(now);
        }
        self.events.push_back(CallEvent::Ended(Box::new(ended)));
    }

    /// Whether the call is over.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether ICE and DTLS are still under way: such a call counts against the handshake limit.
    pub fn is_setting_up(&self) -> bool {
        matches!(self.state, State::Connecting | State::Handshaking)
    }

    /// The nominated path.
    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// Figures so far.
    pub fn stats(&self) -> CallStats {
        let mut stats = self.stats.clone();
        stats.remote = self.reporter.stats();
        stats.jitter = self.media.as_ref().map(|m| m.jitter_stats()).unwrap_or_default();
        (stats.encoder_bitrate_bps, stats.expected_loss_percent) = self.media.as_ref().map(|m| m.encoder_target()).unwrap_or_default();
        stats.ice_rtt = self.ice.rtt();
        stats.ice = *self.ice.stats();
        stats.dtls = self.dtls.as_ref().map(Dtls::stats).unwrap_or_default();
        stats.far = self.port.far().map(|far| Box::new(far.stats()));
        stats
    }

    fn note_first_rtp_out(&mut self, now: Time) {
        if self.stats.milestones.first_rtp_out.is_none() {
            self.stats.milestones.first_rtp_out = Some(now);
            self.recorder.note(Moment::FirstRtpOut, now);
            self.push_event(CallEvent::FirstRtpOut);
        }
    }

    /// Lifecycle events always find room: there are fewer than [`CALL_EVENTS_MAX`] of them. Digits may be lost to a host that stopped reading.
    fn push_event(&mut self, event: CallEvent) {
        self.touched = true;
        if self.events.len() < CALL_EVENTS_MAX - 1 {
            self.events.push_back(event);
        }
    }
}

/// A span in units of the RTP clock.
fn ticks(span: Span) -> u32 {
    span.scale(u64::from(RTP_CLOCK_HZ), 1_000_000_000).as_nanos() as u32
}

/// 16 random letters and digits: a CNAME that says nothing about the host.
fn cname(entropy: &mut dyn Entropy) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..16).map(|_| char::from(LETTERS[entropy.below(32) as usize])).collect()
}

#[cfg(test)]
mod tests;
