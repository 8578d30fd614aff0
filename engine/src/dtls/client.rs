//! One DTLS connection of a call, in either role.
//!
//! Decides: when a flight is repeated, when the handshake has failed and why, what the call is told. Is given: datagrams of the selected
//! path, the time, the path's round trip. Refuses: which path that is, how SRTP uses the keys, TLS itself (`openssl.rs`), what may reach
//! the library (`gate.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use openssl::ssl::SslContext;

use super::gate::Gate;
use super::openssl::{self as library, ALERT_HANDSHAKE_FAILURE, RETRANSMISSIONS_PER_FLIGHT_MAX, Session, Step};
use super::{Certificate, Fingerprint};
use crate::error::{DropReason, EndReason, SetupError};
use crate::keying::{Keying, Profile};
use crate::limits::{DATAGRAM_BYTES_MAX, SEND_BYTES_MAX};
use crate::time::{Span, Time};

/// Which side sends the ClientHello.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum DtlsRole {
    /// We do (`a=setup:active` on our side): the rule with Meta.
    #[default]
    Client,
    /// The peer does.
    Server,
}

/// Timing and policy of the handshake.
#[derive(Clone, Debug)]
pub struct DtlsConfig {
    /// SRTP profiles we offer, best first. As server we choose by our order too.
    pub profiles: Vec<Profile>,
    /// First retransmission, unless twice the path's RTT (up to 1 s of it) is longer; doubles.
    pub retransmit_first: Span,
    /// Longest pause between retransmissions, unless the first was longer.
    pub retransmit_max: Span,
    /// Give up this long after the start.
    pub patience: Span,
    /// Largest datagram, in bytes: 300 to 1200.
    pub mtu_bytes: usize,
}

impl Default for DtlsConfig {
    /// AEAD-AES-128-GCM, AES-128-CM with SHA1-80, AEAD-AES-256-GCM; 50 ms doubling to 1 s; 10 s; 1200 bytes.
    fn default() -> Self {
        Self {
            profiles: vec![Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80, Profile::AeadAes256Gcm],
            retransmit_first: Span::from_millis(50),
            retransmit_max: Span::from_secs(1),
            patience: Span::from_secs(10),
            mtu_bytes: SEND_BYTES_MAX,
        }
    }
}

/// What every connection of a process shares: certificate, TLS library context, configuration. Cheap to clone (`Arc` inside), `Send + Sync`.
#[derive(Clone)]
pub struct DtlsContext(Arc<Shared>);

struct Shared {
    config: DtlsConfig,
    library: SslContext,
    fingerprint: Fingerprint,
}

impl DtlsContext {
    /// Builds the library context.
    ///
    /// Fails on a configuration that cannot work: no profile or one twice, an MTU outside 300 to 1200, no time to retransmit or wait.
    pub fn new(config: DtlsConfig, certificate: Certificate) -> Result<Self, SetupError> {
        let is_twice = |(i, p): (usize, &Profile)| config.profiles[..i].contains(p);
        if config.profiles.is_empty() || config.profiles.iter().enumerate().any(is_twice) {
            return Err(SetupError::Misuse("dtls profiles: name at least one SRTP profile, each once"));
        }
        if !(MTU_BYTES_MIN..=SEND_BYTES_MAX).contains(&config.mtu_bytes) {
            return Err(SetupError::Misuse("dtls mtu_bytes: choose 300 to 1200"));
        }
        if config.retransmit_first < RETRANSMIT_FIRST_MIN || config.retransmit_max < config.retransmit_first {
            return Err(SetupError::Misuse("dtls retransmit_first: choose at least 10 ms and at most retransmit_max"));
        }
        if config.patience <= config.retransmit_first {
            return Err(SetupError::Misuse("dtls patience: choose more than retransmit_first"));
        }
        let library = library::context(&config, &certificate)?;
        Ok(Self(Arc::new(Shared { config, library, fingerprint: certificate.fingerprint() })))
    }

    /// Fingerprint of our certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }
}

/// What the connection tells its call.
#[derive(Debug)]
pub enum DtlsEvent {
    /// Handshake complete and fingerprint verified. Happens once.
    Connected(Keying),
    /// The handshake or connection is over. Happens once, and nothing after it.
    Failed(EndReason),
}

/// What the connection did so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DtlsStats {
    /// Datagrams given to `handle_datagram`.
    pub datagrams_in: u64,
    /// Datagrams that the gate or the state refused.
    pub datagrams_refused: u64,
    /// Datagrams handed out by `poll_transmit`.
    pub datagrams_out: u64,
    /// Bytes handed out by `poll_transmit`.
    pub bytes_out: u64,
    /// The largest of them, in bytes.
    pub datagram_out_bytes_max: usize,
    /// Flights that our timer repeated.
    pub retransmissions: u32,
    /// The first fatal alert that came unauthenticated during the handshake: evidence, not proof (D14).
    pub noted_alert: Option<u8>,
    /// What was announced and what was shown instead, if the handshake ended over it.
    pub mismatch: Option<Mismatch>,
    /// How often the role was changed because the peer did not keep to its own (`whatsapp-calling.md` 4.3); stays at 255.
    pub role_changes: u8,
}

/// Two fingerprints that should have been one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The first that the SDP announced.
    pub announced: Fingerprint,
    /// That of the certificate in the handshake.
    pub shown: Fingerprint,
}

/// One connection. `Send`, not `Sync`.
///
/// After every input drain `poll_transmit`, then `poll_event`, then ask `poll_timeout`. Time never runs backwards.
pub struct Dtls {
    shared: Arc<Shared>,
    session: Option<Session>,
    role: DtlsRole,
    peer: Box<[Fingerprint]>,
    gate: Gate,
    state: State,
    /// The half in the other role, if both were tried: the peer may go on with it yet.
    parked: Option<Box<Half>>,
    /// Halves made as server of an unexpected hello: each costs a signature.
    halves_made: u8,
    events: VecDeque<DtlsEvent>,
    /// A close_notify made before the library's object was given up.
    farewell: Option<Vec<u8>>,
    admitted: Vec<u8>,
    stats: DtlsStats,
}

enum State {
    Handshake(Schedule),
    Connected,
    Over,
}

/// When to repeat our last flight, and when to give up.
struct Schedule {
    first: Span,
    pause: Span,
    /// None while there is no flight of ours to repeat.
    next: Option<Time>,
    /// Repetitions of this flight since we took up this role.
    repetitions: u32,
    /// The same over the whole life of the library's object, which has a limit.
    repetitions_of_flight: u32,
    give_up: Time,
}

impl Schedule {
    /// Starts with a flight that was never repeated, or goes on with one after `pause`.
    fn begin(&mut self, pause: Span, repetitions_of_flight: u32, now: Time) {
        (self.pause, self.next, self.repetitions) = (pause, Some(now + pause), 0);
        self.repetitions_of_flight = repetitions_of_flight;
    }
}

/// One of two roles that are tried in turn.
struct Half {
    session: Session,
    role: DtlsRole,
    gate: Gate,
    /// Where its doubling stopped: taking turns must not make the two of them quicker.
    pause: Span,
    repetitions_of_flight: u32,
}

impl Dtls {
    /// Starts: a client has its first flight ready at once. `peer` are the acceptable fingerprints; 1 to 8.
    /// `rtt` is the path's round-trip time as ICE measured it.
    //= rules#D9
    pub fn new(context: &DtlsContext, role: DtlsRole, peer: &[Fingerprint], rtt: Span, now: Time) -> Result<Self, SetupError> {
        let config = &context.0.config;
        let session = Session::new(&context.0.library, role, peer, config.mtu_bytes)?;
        // D9: a flight needs a round trip and the peer's signature; twice the round trip keeps slow paths free of storms. The one sample there may be can
        // hold a pause of our own as well, so it counts up to the RFC's own second.
        //= rfc6347#section-4.2.4.1  an initial timer value of 1 second
        let first = config.retransmit_first.max(rtt.times(2).min(RETRANSMIT_FIRST_OF_RTT_MAX)).min(config.patience);
        let schedule =
            Schedule { first, pause: first, next: None, repetitions: 0, repetitions_of_flight: 0, give_up: now + config.patience };
        let mut dtls = Self {
            shared: context.0.clone(),
            session: Some(session),
            role,
            peer: peer.into(),
            gate: Gate::new(role),
            state: State::Handshake(schedule),
            parked: None,
            halves_made: 0,
            events: VecDeque::with_capacity(2),
            farewell: None,
            admitted: Vec::new(),
            stats: DtlsStats::default(),
        };
        dtls.step(now);
        Ok(dtls)
    }

    /// Takes a datagram that `demux` sorted as DTLS, from the selected path.
    ///
    /// An error says why it went nowhere; the connection is as it was.
    //= rules#X5
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Time) -> Result<(), DropReason> {
        self.stats.datagrams_in += 1;
        let may_change = self.stats.role_changes < ROLE_CHANGES_MAX;
        if may_change
            && self.parked.as_ref().is_some_and(|half| half.gate.is_continued_by(datagram))
            && !self.gate.is_continued_by(datagram)
            && !self.insists()
        {
            // Only whoever took up what the other half had said can have written this.
            self.swap(now);
        }
        let result = self.admit(datagram);
        if result.is_err() {
            self.stats.datagrams_refused += 1;
            return result;
        }
        // The library reads one "datagram" of at most 16 KiB; records go in one by one, so reassembled ones always fit.
        let admitted = core::mem::take(&mut self.admitted);
        let mut rest = &admitted[..];
        while let Some(&[high, low]) = rest.get(11..13) {
            let (record, behind) = rest.split_at(13 + usize::from(u16::from_be_bytes([high, low])));
            rest = behind;
            if let Some(session) = &mut self.session {
                session.feed(record);
                self.step(now);
            }
        }
        if !matches!(self.state, State::Over) {
            self.admitted = admitted;
        }
        // It came after our own hello had long been unanswered: there is nothing to wait for.
        self.fall_back(now);
        Ok(())
    }

    /// Takes the time: repeats the last flight, or gives up.
    //= rules#D25
    pub fn handle_timeout(&mut self, now: Time) {
        let State::Handshake(schedule) = &mut self.state else { return };
        if now >= schedule.give_up {
            //= rfc6347#section-4.1.2.7  what came in clear decides nothing, but names the likely cause once time has decided
            let alert = self.gate.noted_alert().map(EndReason::DtlsAlert);
            self.fail(alert.or(self.gate.noted_hello()).unwrap_or(EndReason::DtlsTimeout));
            return;
        }
        if schedule.next.is_none_or(|next| now < next) {
            return;
        }
        let Some(session) = &mut self.session else { return };
        if let Some(record) = self.gate.take_retry() {
            //= rfc6347#section-4.2.1  the second ClientHello is a new flight and starts its own timer
            session.feed(&record);
            return self.step(now);
        }
        if self.role == DtlsRole::Server && schedule.repetitions >= RETURN_AFTER_REPETITIONS && self.parked.is_some() {
            // The hello led nowhere, so it may have been forged: what the descriptions said is tried again.
            return self.resume(now);
        }
        if self.fall_back(now) {
            return;
        }
        self.repeat(now);
    }

    /// Repeats our last flight.
    //= rules#D7
    //= rules#D8
    //= rules#D11
    fn repeat(&mut self, now: Time) {
        let (State::Handshake(schedule), Some(session)) = (&mut self.state, &mut self.session) else { return };
        if schedule.repetitions_of_flight >= RETRANSMISSIONS_PER_FLIGHT_MAX {
            schedule.next = None;
            return;
        }
        if schedule.repetitions == SHRINK_AFTER_REPETITIONS {
            //= rfc6347#section-4.1.1.1  after repeated silence try smaller datagrams
            session.shrink_mtu(MTU_BYTES_FALLBACK);
        }
        session.retransmit();
        self.stats.retransmissions += 1;
        schedule.repetitions += 1;
        schedule.repetitions_of_flight += 1;
        //= rfc6347#section-4.2.4.1  the pause doubles with each repetition
        schedule.pause = schedule.pause.times(2).min(self.shared.config.retransmit_max.max(schedule.first));
        schedule.next = (schedule.repetitions_of_flight < RETRANSMISSIONS_PER_FLIGHT_MAX).then(|| now + schedule.pause);
    }

    /// Both sides started: if ours was repeated for nothing and theirs is at hand, be the server after all. True if that was so.
    fn fall_back(&mut self, now: Time) -> bool {
        let State::Handshake(schedule) = &self.state else { return false };
        // Each detour that led nowhere makes the next one wait longer: the descriptions are the likelier truth.
        let detours = u32::from(self.stats.role_changes / 2);
        let is_early = schedule.repetitions < FALLBACK_AFTER_REPETITIONS * (1 + detours);
        if self.role != DtlsRole::Client || is_early || self.stats.role_changes >= ROLE_CHANGES_MAX {
            return false;
        }
        let Some(hello) = self.gate.take_peer_hello() else { return false };
        if self.parked.as_ref().is_some_and(|half| half.gate.answers(&hello)) {
            // It never got our answer: the same one again, for it may have got a part.
            self.resume(now);
            return true;
        }
        if self.halves_made == SERVER_HALVES_MAX {
            return false;
        }
        let Ok(session) = Session::new(&self.shared.library, DtlsRole::Server, &self.peer, self.shared.config.mtu_bytes) else {
            self.fail(EndReason::InternalFault);
            return true;
        };
        let (gate, record) = Gate::answering(&hello);
        self.halves_made += 1;
        let pause = schedule.first;
        self.parked = Some(Box::new(Half { session, role: DtlsRole::Server, gate, pause, repetitions_of_flight: 0 }));
        self.swap(now);
        if let Some(session) = &mut self.session {
            session.feed(&record);
            self.step(now);
        }
        true
    }

    /// Whether we stay the client of a server that has answered, though its other half goes on with what we said as server.
    ///
    /// Two ends that both started, by the same rules, answer each other's hello at the same moment: each would complete as server, one handshake each, and
    /// neither could read the other. So the one whose fingerprint is the greater stays client, as long as its repetitions may still be answered.
    fn insists(&self) -> bool {
        let State::Handshake(schedule) = &self.state else { return false };
        let is_greater = self.peer.iter().all(|peer| self.shared.fingerprint.0 > peer.0);
        self.role == DtlsRole::Client && self.gate.is_answered() && is_greater && schedule.repetitions < RETURN_AFTER_REPETITIONS
    }

    /// Goes on with the other half, whose last flight is due.
    fn resume(&mut self, now: Time) {
        self.swap(now);
        self.repeat(now);
    }

    /// Changes places with the other half.
    fn swap(&mut self, now: Time) {
        let State::Handshake(schedule) = &mut self.state else { return };
        let (Some(session), Some(half)) = (self.session.take(), self.parked.take()) else { return };
        let Half { session: other, role, gate, pause, repetitions_of_flight } = *half;
        let gate = core::mem::replace(&mut self.gate, gate);
        // Evidence outlives a change of roles.
        self.gate.take_notes_of(&gate);
        let Schedule { pause: stopped_at, repetitions_of_flight: repeated, .. } = *schedule;
        self.parked = Some(Box::new(Half { session, role: self.role, gate, pause: stopped_at, repetitions_of_flight: repeated }));
        self.session = Some(other);
        self.role = role;
        schedule.begin(pause, repetitions_of_flight, now);
        self.stats.role_changes = self.stats.role_changes.saturating_add(1);
    }

    /// Writes the next datagram to send into `out` and returns its length. `out` should hold `limits::SEND_BYTES_MAX`; a datagram that
    /// does not fit is lost, as on any network.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<usize> {
        let datagram = match self.session.as_mut().and_then(Session::pop) {
            Some(datagram) => datagram,
            None if matches!(self.state, State::Over) => {
                self.session = None;
                self.farewell.take()?
            }
            None => return None,
        };
        out.get_mut(..datagram.len())?.copy_from_slice(&datagram);
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += datagram.len() as u64;
        self.stats.datagram_out_bytes_max = self.stats.datagram_out_bytes_max.max(datagram.len());
        Some(datagram.len())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        match &self.state {
            State::Handshake(schedule) => Some(schedule.next.map_or(schedule.give_up, |next| next.min(schedule.give_up))),
            State::Connected | State::Over => None,
        }
    }

    /// Ends the connection from our side, without an event. Queues a close_notify if there is anyone to read it; drain `poll_transmit`.
    pub fn close(&mut self) {
        if let (State::Connected, Some(session)) = (&self.state, &mut self.session) {
            session.close();
        }
        self.state = State::Over;
        self.parked = None;
        self.gate.finish();
    }

    /// Gives up the library's object of a finished handshake (about 10 KB), keeping only a close_notify for `close`.
    ///
    /// From then on every datagram is `DropReason::DtlsUnexpected`: a close_notify of the peer is not seen, and as server a repeated flight
    /// of the peer is not answered any more. So wait: a client some seconds, a server until media has come, which proves that our Finished
    /// arrived. Does nothing before the handshake is complete or while datagrams wait in `poll_transmit`.
    pub fn release(&mut self) {
        if let (State::Connected, Some(session)) = (&self.state, &mut self.session)
            && session.outgoing() == 0
        {
            session.close();
            self.farewell = session.pop();
            self.session = None;
            self.admitted = Vec::new();
        }
    }

    /// The role as it is now: that of `new`, unless the peer did not keep to its own.
    pub fn role(&self) -> DtlsRole {
        self.role
    }

    /// Whether the handshake is complete and verified, and the connection not over.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected)
    }

    /// What happened so far.
    pub fn stats(&self) -> DtlsStats {
        DtlsStats { noted_alert: self.gate.noted_alert(), ..self.stats }
    }

    /// Puts what may reach the library into `self.admitted`.
    fn admit(&mut self, datagram: &[u8]) -> Result<(), DropReason> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(DropReason::Oversized);
        }
        match (&self.state, &self.session) {
            (State::Over, _) => Err(DropReason::Closed),
            (_, None) => Err(DropReason::DtlsUnexpected),
            (State::Handshake(_), _) => self.gate.admit(datagram, &mut self.admitted),
            (State::Connected, _) => Gate::admit_protected(datagram, &mut self.admitted),
        }
    }

    /// Lets the library work and draws the consequences.
    //= rules#D8
    //= rules#D19
    fn step(&mut self, now: Time) {
        let Some(session) = &mut self.session else { return };
        let outgoing_before = session.outgoing();
        let step = session.step();
        let is_flight_new = session.outgoing() > outgoing_before;
        match (&mut self.state, step) {
            (State::Over, _) | (State::Connected, Step::Complete | Step::Pending) => {}
            (State::Handshake(schedule), Step::Pending) => {
                // Only a new flight of ours resets the timer; a partial flight of the peer does not (D8).
                if is_flight_new {
                    schedule.begin(schedule.first, 0, now);
                }
            }
            (State::Handshake(_), Step::Complete) => self.complete(),
            // It came behind the peer's Finished: the keys never get used, the connection is over.
            (_, Step::PeerClosed) => self.fail(EndReason::PeerClosed),
            (_, Step::Alert(description)) => self.fail(EndReason::DtlsAlert(description)),
            (_, Step::WrongFingerprint(shown)) => {
                self.stats.mismatch = Some(Mismatch { announced: self.peer[0], shown });
                self.fail(EndReason::FingerprintMismatch);
            }
            (_, Step::WrongProfile) => self.fail(EndReason::NoSrtpProfile),
            // The keys are out and media flows; a peer that repeats itself endlessly ends nothing (G3).
            (State::Connected, Step::Exhausted) => self.session = None,
            (_, Step::Exhausted | Step::Refused) => self.fail(EndReason::DtlsFailed),
        }
    }

    /// The library says that the handshake is complete, and its callback has matched the fingerprint.
    //= rules#D3
    //= rules#D6
    fn complete(&mut self) {
        let Some(session) = &mut self.session else { return };
        let Some(profile) = session.profile() else {
            //= rfc5764#section-4.1.1  without a common profile there is nothing to protect media with
            session.send_fatal(ALERT_HANDSHAKE_FAILURE);
            return self.fail(EndReason::NoSrtpProfile);
        };
        match session.export(profile) {
            Some(keying) => {
                self.state = State::Connected;
                self.parked = None;
                self.gate.finish();
                //= rfc5764#section-5.1.1  keys leave here, and only of a complete handshake
                self.events.push_back(DtlsEvent::Connected(keying));
            }
            None => self.fail(EndReason::InternalFault),
        }
    }

    /// Over; what waits to be sent still goes out.
    fn fail(&mut self, reason: EndReason) {
        if !matches!(self.state, State::Over) {
            self.state = State::Over;
            self.parked = None;
            self.gate.finish();
            self.events.push_back(DtlsEvent::Failed(reason));
        }
    }
}

#[cfg(test)]
impl Dtls {
    /// Sends an authenticated fatal alert, as a peer might.
    pub(super) fn send_fatal(&mut self, description: u8) {
        self.session.as_mut().expect("a live connection").send_fatal(description);
    }

    /// Sends application data, as a peer might.
    pub(super) fn write(&mut self, data: &[u8]) {
        self.session.as_mut().expect("a live connection").write(data);
    }
}

const MTU_BYTES_MIN: usize = 300;
/// What every IPv4 path carries (576 bytes) less IP and UDP headers.
const MTU_BYTES_FALLBACK: usize = 548;
/// Three repetitions unanswered: the fourth goes in smaller datagrams (D11).
const SHRINK_AFTER_REPETITIONS: u32 = 3;
/// Two repetitions unanswered, six round trips at least: a peer that meant to answer our hello would have.
const FALLBACK_AFTER_REPETITIONS: u32 = 2;
/// Four repetitions of our ServerHello unanswered: whoever sent that hello does not go on.
const RETURN_AFTER_REPETITIONS: u32 = 4;
/// Changes of roles in one handshake; a peer that is met needs two for each second of darkness at most. It ends as it is after that.
const ROLE_CHANGES_MAX: u8 = 24;
/// A peer that starts unasked repeats one hello; a second one is for a first that was forged.
const SERVER_HALVES_MAX: u8 = 2;
const RETRANSMIT_FIRST_MIN: Span = Span::from_millis(10);
const RETRANSMIT_FIRST_OF_RTT_MAX: Span = Span::from_secs(1);
