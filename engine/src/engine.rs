//! Level 3 of embedding: pinned shard threads, admission, handles, drain; and with threads of the host, level 2 (`hosted.rs`).
//!
//! Decides: which shard and port a call gets, and whether there is room. Is given: a configuration, once. Refuses: SDP, HTTP, tenants.
//! Every call below is bounded and never waits for a shard.

mod hosted;

use crate::bridge::rtp::{AddressRange, NO_TARGET, RtcpPort, RtpLeg, RtpLegParams, is_target};
use crate::call::DigitRefused;
use crate::call::{
    Call, CallConfig, CallEvent, CallStats, Direction, FarCommand, LocalParams, MediaPort, RemoteParams, SetupRole, Watchdogs,
};
use crate::dtls::{Certificate, DtlsConfig, DtlsContext};
use crate::error::{AdmitError, EndReason, SetupError};
use crate::ice::{Candidate, IceConfig, SPACING_BEHIND_NAT, StartPacer, is_usable_remote};
use crate::jitter::JitterConfig;
use crate::net::{Epoll, MediaSocket, Ports, Waker, pin_to_core};
use crate::rng::Entropy;
use crate::shard::{Clock, Command, FarSockets, Load, Mailbox, NewCall, Shard};
use crate::time::Span;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::hosted::HostShard;
pub use crate::net::{AddressPolicy, AddressRule, Discovered, InterfaceAddress, local_addresses};

/// Names one call of one engine, for its whole life and never again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// Limits and addresses. Plain data, checked once by [`Engine::start`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Local addresses to bind and advertise: at most one IPv4 and one IPv6. Empty: what the routing table names and the rules below let through.
    pub addresses: Vec<IpAddr>,
    /// Public addresses that a 1:1 NAT maps them to, advertised instead.
    pub public_addresses: Vec<IpAddr>,
    /// If not empty, only interfaces and networks named here are looked at when `addresses` is empty; bridges and link-local ones too, if named.
    pub candidate_allow: Vec<AddressRule>,
    /// Interfaces and networks never to be used.
    pub candidate_deny: Vec<AddressRule>,
    /// STUN servers that tell what a NAT makes of our addresses: at most one per family. Families with a public address do not ask.
    pub stun_servers: Vec<SocketAddr>,
    /// How long our description may wait for them.
    pub gather_patience: Span,
    /// Least time between two STUN transaction starts of any calls. None: 5 ms with STUN servers (there is a NAT), else 250 us (docs/adr/0007).
    pub check_spacing: Option<Span>,
    /// Loopback addresses may be bound, advertised and sent to. For tests and the demo.
    pub allow_loopback: bool,
    /// Local UDP ports.
    pub ports: RangeInclusive<u16>,
    /// Cores to pin shards to; empty: one shard, not pinned.
    pub cores: Vec<usize>,
    /// Calls per shard.
    pub calls_max_per_shard: usize,
    /// Handshakes in flight per shard.
    pub handshakes_max: usize,
    /// A shard whose thread took more of a core than this in the last second takes no new call, in percent (1 to 100). Opus complexity falls long before.
    pub load_max_percent: u8,
    /// SRTP profiles to offer, best first.
    pub profiles: Vec<crate::keying::Profile>,
    /// Opus encoder complexity, 0 to 10.
    pub complexity: u8,
    /// Local addresses for plain RTP legs, at most one per family; empty: those of `addresses`.
    pub rtp_addresses: Vec<IpAddr>,
    /// Where plain RTP may go. Empty, the default: nowhere, and there are no plain RTP legs.
    pub rtp_targets: Vec<AddressRange>,
    /// What quiet in either direction of the media does.
    pub watchdogs: Watchdogs,
    /// How long a call looks for a path before it ends with `ICE_TIMEOUT`.
    pub ice_patience: Span,
    /// How long a handshake may take before the call ends with `DTLS_TIMEOUT`.
    pub dtls_patience: Span,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            public_addresses: Vec::new(),
            candidate_allow: Vec::new(),
            candidate_deny: Vec::new(),
            stun_servers: Vec::new(),
            gather_patience: IceConfig::default().gather_patience,
            check_spacing: None,
            allow_loopback: false,
            ports: 40_000..=49_999,
            cores: Vec::new(),
            calls_max_per_shard: 2_000,
            handshakes_max: 200,
            load_max_percent: 95,
            profiles: vec![crate::keying::Profile::AeadAes128Gcm, crate::keying::Profile::Aes128CmSha1_80],
            complexity: 5,
            rtp_addresses: Vec::new(),
            rtp_targets: Vec::new(),
            watchdogs: Watchdogs::default(),
            ice_patience: IceConfig::default().patience,
            dtls_patience: DtlsConfig::default().patience,
        }
    }
}

/// Why the engine did not start: what, where, what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError(pub String);

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for StartError {}

impl EngineConfig {
    /// Every fault of the configuration, each with what to do; empty when it can be used.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let policy = self.address_policy();
        for &address in &self.addresses {
            if let Some(why) = policy.refusal(None, address) {
                faults.push(format!("address {address} cannot be a candidate: {why}"));
            }
        }
        for (what, addresses) in [("addresses", &self.addresses), ("addresses for plain RTP", &self.rtp_addresses)] {
            for (family, count) in [("IPv4", count(addresses, IpAddr::is_ipv4)), ("IPv6", count(addresses, IpAddr::is_ipv6))] {
                if count > 1 {
                    faults.push(format!("{count} {family} {what}: name at most one per family"));
                }
            }
        }
        for public in &self.public_addresses {
            if !self.addresses.is_empty() && !self.addresses.iter().any(|a| a.is_ipv4() == public.is_ipv4()) {
                faults.push(format!("public address {public} has no local address of its family to stand for"));
            }
        }
        for server in &self.stun_servers {
            if !is_usable_remote(*server, self.allow_loopback) {
                faults
                    .push(format!("STUN server {server} cannot be asked: give an address that this host can send to, and its port (3478)"));
            }
        }
        for (family, is_v4) in [("IPv4", true), ("IPv6", false)] {
            if self.stun_servers.iter().filter(|s| s.is_ipv4() == is_v4).count() > 1 {
                faults.push(format!("more than one STUN server for {family}: name at most one per family"));
            }
        }
        if self.gather_patience > GATHER_PATIENCE_MAX {
            faults.push(format!("gather_patience is above {} ms: Meta's caller waits for it", GATHER_PATIENCE_MAX.as_millis()));
        }
        if self.check_spacing.is_some_and(|spacing| spacing > CHECK_SPACING_MAX) {
            faults.push(format!("check_spacing is above {} ms: calls would never come to their checks", CHECK_SPACING_MAX.as_millis()));
        }
        if self.ports.is_empty() || *self.ports.start() == 0 {
            faults.push(format!(
                "port range {}-{} is empty or starts at 0: name for example 40000-49999",
                self.ports.start(),
                self.ports.end()
            ));
        }
        if self.calls_max_per_shard == 0 || self.handshakes_max == 0 {
            faults.push("calls_max_per_shard and handshakes_max must be at least 1".to_owned());
        }
        if !(1..=100).contains(&self.load_max_percent) {
            faults.push(format!("load_max_percent is {}: name 1 to 100, the share of a core", self.load_max_percent));
        }
        if self.profiles.is_empty() {
            faults.push("no SRTP profile: Meta needs at least SRTP_AES128_CM_HMAC_SHA1_80".to_owned());
        }
        if self.ice_patience < PATIENCE_MIN || self.dtls_patience < PATIENCE_MIN {
            faults.push(format!("ice_patience and dtls_patience must be at least {} ms", PATIENCE_MIN.as_millis()));
        }
        for (name, watchdog) in [("egress", self.watchdogs.egress), ("ingress", self.watchdogs.ingress)] {
            if watchdog.after < WATCHDOG_MIN {
                faults.push(format!("the {name} watchdog must allow at least {} ms of quiet", WATCHDOG_MIN.as_millis()));
            }
        }
        if self.complexity > 10 {
            faults.push(format!("Opus complexity {} is above 10", self.complexity));
        }
        faults
    }

    /// Which addresses of the host may be used.
    fn address_policy(&self) -> AddressPolicy {
        AddressPolicy { allow_loopback: self.allow_loopback, allow: self.candidate_allow.clone(), deny: self.candidate_deny.clone() }
    }

    //= rules#I16:all-calls
    fn ice(&self) -> IceConfig {
        let default = if self.stun_servers.is_empty() { StartPacer::default() } else { StartPacer::new(SPACING_BEHIND_NAT) };
        IceConfig {
            allow_loopback: self.allow_loopback,
            patience: self.ice_patience,
            stun_servers: self.stun_servers.clone(),
            gather_patience: self.gather_patience,
            starts: self.check_spacing.map_or(default, StartPacer::new),
            ..IceConfig::default()
        }
    }
}

/// Below this, an ordinary hole in a radio link would count as quiet.
const WATCHDOG_MIN: Span = Span::from_secs(2);

/// The caller hears ring-back meanwhile; ICE and DTLS start after it.
const GATHER_PATIENCE_MAX: Span = Span::from_secs(2);
/// Two checks of a pair in the 8 s that media has, with a hundred calls at once.
const CHECK_SPACING_MAX: Span = Span::from_millis(40);

/// Below this a healthy but distant relay would be given up.
const PATIENCE_MIN: Span = Span::from_millis(500);

fn count(addresses: &[IpAddr], is: fn(&IpAddr) -> bool) -> usize {
    addresses.iter().filter(|a| is(a)).count()
}

/// Randomness of the operating system.
struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system has no randomness to give: nothing here is safe without it");
    }
}

fn refused_by_system(e: std::io::Error) -> StartError {
    StartError(format!("the system refused a descriptor or a thread: {e}; look at RLIMIT_NOFILE"))
}

struct ShardHandle {
    mailbox: Mailbox,
    load: Arc<Load>,
    /// None: a thread of the host turns it.
    thread: Option<JoinHandle<()>>,
}

/// The engine. `Send + Sync`; dropping it ends every call.
pub struct Engine {
    config: EngineConfig,
    rtp_targets: Arc<[AddressRange]>,
    call_config: Arc<CallConfig>,
    clock: Clock,
    shards: Vec<ShardHandle>,
    ports: Arc<Mutex<Ports>>,
    host: Arc<Waker>,
    waiter: Mutex<(Epoll, usize)>,
    next_id: AtomicU64,
    draining: AtomicBool,
}

impl Engine {
    /// Checks the configuration, makes the certificate, starts and pins the shards. No addresses configured: those the routing table names.
    pub fn start(config: EngineConfig) -> Result<Self, StartError> {
        let count = config.cores.len().max(1);
        let (mut engine, shards) = Self::prepare(config, count)?;
        for (number, shard) in shards.into_iter().enumerate() {
            let core = engine.config.cores.get(number).copied();
            let body = move || {
                if let Some(core) = core {
                    // A container may forbid it; the shard then runs where the scheduler likes.
                    let _ = pin_to_core(core);
                }
                shard.run();
            };
            let thread = std::thread::Builder::new().name(format!("tipring-shard-{number}")).spawn(body).map_err(refused_by_system)?;
            engine.shards[number].thread = Some(thread);
        }
        Ok(engine)
    }

    /// As [`Engine::start`], for a host that turns the shards on `count` threads of its own: no thread is started, and `cores` is not looked at.
    ///
    /// Nothing moves but when [`HostShard::turn`] is called. What waits for an answer of a shard ([`Engine::stats`], [`Engine::send_digits`]) must not be called on
    /// the only thread that turns it.
    pub fn start_hosted(config: EngineConfig, count: usize) -> Result<(Self, Vec<HostShard>), StartError> {
        if count == 0 {
            return Err(StartError("an engine without shards carries no call: ask for at least one".to_owned()));
        }
        let (engine, shards) = Self::prepare(config, count)?;
        Ok((engine, shards.into_iter().map(HostShard::new).collect()))
    }

    /// The engine and `count` shards that nobody turns yet.
    fn prepare(mut config: EngineConfig, count: usize) -> Result<(Self, Vec<Shard>), StartError> {
        let mut faults = Vec::new();
        if config.addresses.is_empty() {
            let found = local_addresses(&config.address_policy());
            if found.chosen.is_empty() {
                faults.push(format!(
                    "this host has no address that Meta could reach ({found}): set addresses, or name one in candidate_allow"
                ));
            }
            config.addresses = found.chosen;
        }
        faults.extend(config.check());
        for &address in &config.addresses {
            if let Err(e) = MediaSocket::bind(SocketAddr::new(address, 0)) {
                faults.push(format!("address {address} cannot be bound: {e}; name an address of this host, or leave addresses out"));
            }
        }
        if !faults.is_empty() {
            return Err(StartError(faults.join("; ")));
        }
        let clock = Clock::start();
        let library = |e: SetupError| StartError(e.to_string());
        let certificate = Certificate::generate(clock.unix_origin_s()).map_err(library)?;
        let dtls = DtlsConfig { profiles: config.profiles.clone(), patience: config.dtls_patience, ..DtlsConfig::default() };
        let call_config = Arc::new(CallConfig {
            ice: config.ice(),
            dtls: DtlsContext::new(dtls, certificate).map_err(library)?,
            jitter: JitterConfig::default(),
            complexity: config.complexity,
            watchdogs: config.watchdogs,
            ntp_origin: clock.ntp_origin(),
        });
        let ports = Arc::new(Mutex::new(Ports::new(config.ports.clone())));
        let host = Arc::new(Waker::new().map_err(refused_by_system)?);
        let waiter = Epoll::new().map_err(refused_by_system)?;
        waiter.add(&*host, 0).map_err(refused_by_system)?;
        let (mut handles, mut shards) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            let (mailbox, mail) = Mailbox::new(Arc::clone(&host)).map_err(refused_by_system)?;
            let load = Arc::new(Load::default());
            let shard = Shard::new(clock, mail, Arc::clone(&load), Arc::clone(&ports), config.calls_max_per_shard);
            shards.push(shard.map_err(refused_by_system)?);
            handles.push(ShardHandle { mailbox, load, thread: None });
        }
        let engine = Self {
            rtp_targets: config.rtp_targets.clone().into(),
            config,
            call_config,
            clock,
            shards: handles,
            ports,
            host,
            waiter: Mutex::new((waiter, 0)),
            next_id: AtomicU64::new(1),
            draining: AtomicBool::new(false),
        };
        Ok((engine, shards))
    }

    /// Binds a port, makes credentials, and puts the call on a shard. `role` is what our SDP says: `Active` (or `Passive`) to answer, `ActPass` to offer.
    ///
    /// With STUN servers configured the parameters may be incomplete: write no description before [`CallEvent::LocalReady`].
    pub fn open_call(&self, role: SetupRole, port: Box<dyn MediaPort>) -> Result<(CallId, LocalParams), AdmitError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(AdmitError::Draining);
        }
        let number = self.admit()?;
        let shard = &self.shards[number];
        let leave = |error| {
            shard.load.calls.fetch_sub(1, Ordering::Relaxed);
            shard.load.setting_up.fetch_sub(1, Ordering::Relaxed);
            error
        };
        let (local_port, sockets) = self.bind().ok_or(AdmitError::Ports).map_err(leave)?;
        let release = |error| {
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).release(local_port, self.clock.now());
            leave(error)
        };
        let candidates = self.candidates(&sockets);
        let call = Call::new(&self.call_config, role, candidates, port, &mut OsEntropy, self.clock.now());
        let call = call.map_err(|_| release(AdmitError::Ports))?;
        let local = call.local_params().clone();
        // The shard is part of the name, so that a command finds it without a table.
        let id = CallId(self.next_id.fetch_add(1, Ordering::Relaxed) * self.shards.len() as u64 + number as u64);
        let new = NewCall { id, call, sockets, port: Some(local_port) };
        match shard.mailbox.post(Command::Open(Box::new(new))) {
            Ok(()) => Ok((id, local)),
            Err(_) => Err(release(AdmitError::Mailbox)),
        }
    }

    /// Takes a place on the emptiest shard.
    fn admit(&self) -> Result<usize, AdmitError> {
        let mut why = AdmitError::Calls;
        let mut order: Vec<usize> = (0..self.shards.len()).filter(|&i| !self.shards[i].load.faulted.load(Ordering::Relaxed)).collect();
        order.sort_by_key(|&i| self.shards[i].load.calls.load(Ordering::Relaxed));
        for i in order {
            let load = &self.shards[i].load;
            if load.percent.load(Ordering::Relaxed) > usize::from(self.config.load_max_percent) {
                why = AdmitError::Load;
                continue;
            }
            if load.calls.fetch_add(1, Ordering::Relaxed) >= self.config.calls_max_per_shard {
                load.calls.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            if load.setting_up.fetch_add(1, Ordering::Relaxed) >= self.config.handshakes_max {
                load.setting_up.fetch_sub(1, Ordering::Relaxed);
                load.calls.fetch_sub(1, Ordering::Relaxed);
                why = AdmitError::Handshakes;
                continue;
            }
            return Ok(i);
        }
        Err(why)
    }

    /// One port, bound on every configured address. Ports that somebody else holds are put back at the end of the queue.
    fn bind(&self) -> Option<(u16, Vec<MediaSocket>)> {
        const TRIES: usize = 16;
        for _ in 0..TRIES {
            let now = self.clock.now();
            let port = self.ports.lock().unwrap_or_else(PoisonError::into_inner).take(now)?;
            let sockets: std::io::Result<Vec<_>> =
                self.config.addresses.iter().map(|&address| MediaSocket::bind(SocketAddr::new(address, port))).collect();
            match sockets {
                Ok(sockets) => return Some((port, sockets)),
                Err(_) => self.ports.lock().unwrap_or_else(PoisonError::into_inner).release(port, now),
            }
        }
        None
    }

    //= rules#I9
    fn candidates(&self, sockets: &[MediaSocket]) -> Vec<Candidate> {
        let mut candidates = Vec::with_capacity(sockets.len());
        for (i, socket) in sockets.iter().enumerate() {
            let local = socket.local();
            // Each family its own local preference (I9); which is higher decides nothing, the first that answers does.
            let preference = u16::MAX - i as u16;
            let public = self.config.public_addresses.iter().find(|p| p.is_ipv4() == local.is_ipv4());
            candidates.push(match public {
                // A 1:1 NAT keeps ports: what the world sees is a host candidate with another address. Its base is what the socket is bound to:
                // pairs, PRIORITY and datagrams go by the base, only the description by the address (RFC 8445 section 5.1.1).
                Some(&public) => Candidate { base: Some(local), ..Candidate::host(SocketAddr::new(public, local.port()), preference) },
                None => Candidate::host(local, preference),
            });
        }
        candidates
    }

    /// Gives the call its peer: checks start. Refuses parameters that cannot work.
    pub fn set_remote(&self, call: CallId, remote: RemoteParams) -> Result<(), CommandError> {
        remote.check().map_err(CommandError::Setup)?;
        self.post(call, Command::SetRemote(call, Box::new(remote)))
    }

    /// Opens the egress gate: `accept` answered 200.
    pub fn open_gate(&self, call: CallId) -> Result<(), CommandError> {
        self.post(call, Command::OpenGate(call))
    }

    /// Exchanges the host's end of the audio; the peer notices nothing.
    pub fn attach(&self, call: CallId, port: Box<dyn MediaPort>) -> Result<(), CommandError> {
        self.post(call, Command::Attach(call, port))
    }

    /// Makes a plain RTP leg the host's end of the audio: binds its port or ports and returns our addresses, for the far side's SDP. `wrap` may put something around
    /// the leg, a recorder's tap for example. The leg goes with the call, or with the next port that is attached.
    pub fn attach_rtp(
        &self,
        call: CallId,
        params: RtpLegParams,
        wrap: impl FnOnce(Box<dyn MediaPort>) -> Box<dyn MediaPort>,
    ) -> Result<RtpLegLocal, CommandError> {
        let family = params.remote;
        let rtcp = params.rtcp;
        let leg = RtpLeg::new(params, &self.rtp_targets, self.call_config.ntp_origin, &mut OsEntropy, self.clock.now());
        let leg = leg.map_err(CommandError::Setup)?;
        let addresses = if self.config.rtp_addresses.is_empty() { &self.config.addresses } else { &self.config.rtp_addresses };
        let address = addresses.iter().copied().find(|a| family.is_none_or(|f| f.is_ipv4() == a.is_ipv4()));
        let address = address.ok_or(CommandError::Setup(SetupError::Misuse("no local address of the RTP leg's family")))?;
        let far = self.bind_far(address, rtcp).ok_or(CommandError::Admit(AdmitError::Ports))?;
        let local: Vec<SocketAddr> = far.each().map(|(_, socket)| socket.local()).collect();
        let local = RtpLegLocal { rtp: local[0], rtcp: *local.last().unwrap_or(&local[0]) };
        let port = far.port;
        self.post(call, Command::AttachFar(call, wrap(Box::new(leg)), Box::new(far))).map(|()| local).inspect_err(|_| {
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).release(port, self.clock.now());
        })
    }

    /// Moves the far side of a call's RTP leg to another address.
    pub fn set_rtp_remote(&self, call: CallId, remote: SocketAddr) -> Result<(), CommandError> {
        if !is_target(&self.rtp_targets, remote) {
            return Err(CommandError::Setup(SetupError::Misuse(NO_TARGET)));
        }
        self.post(call, Command::Far(call, FarCommand::Remote(remote)))
    }

    /// Holds, mutes or resumes the far side of a call's RTP leg. The peer hears silence from one that may not speak.
    pub fn set_rtp_direction(&self, call: CallId, direction: Direction) -> Result<(), CommandError> {
        self.post(call, Command::Far(call, FarCommand::Direction(direction)))
    }

    fn bind_far(&self, address: IpAddr, rtcp: RtcpPort) -> Option<FarSockets> {
        const TRIES: usize = 16;
        for _ in 0..TRIES {
            let now = self.clock.now();
            let port = self.ports.lock().unwrap_or_else(PoisonError::into_inner).take(now)?;
            let bind = |port: u16| MediaSocket::bind(SocketAddr::new(address, port)).ok();
            let sockets = match rtcp {
                RtcpPort::Mux => bind(port).map(|rtp| (rtp, None)),
                // The port above may be a call's; then another pair is tried.
                RtcpPort::Next => port.checked_add(1).and_then(|above| Some((bind(port)?, Some(bind(above)?)))),
            };
            match sockets {
                Some((rtp, rtcp)) => return Some(FarSockets::new(rtp, rtcp, port)),
                None => self.ports.lock().unwrap_or_else(PoisonError::into_inner).release(port, now),
            }
        }
        None
    }

    /// Sends digits in the running stream, `tone_ms` each (none: 100 ms); see [`Call::send_digits`]. All of them or none.
    ///
    /// Waits at most `wait` for the answer of the call's shard, which comes with its next turn.
    pub fn send_digits(&self, call: CallId, symbols: &str, tone_ms: Option<u32>, wait: Span) -> Result<(), SendDigitsError> {
        let (reply, answer) = sync_channel(1);
        self.post(call, Command::SendDigits(call, symbols.into(), tone_ms, reply))
            .map_err(|_| SendDigitsError::Admit(AdmitError::Mailbox))?;
        match answer.recv_timeout(Duration::from_nanos(wait.as_nanos())) {
            Ok(outcome) => outcome.map_err(SendDigitsError::Refused),
            Err(RecvTimeoutError::Disconnected) => Err(SendDigitsError::Admit(AdmitError::NoSuchCall)),
            Err(RecvTimeoutError::Timeout) => Err(SendDigitsError::Unanswered),
        }
    }

    /// Ends the call: BYE, close_notify, port into quarantine, `Ended` as the last event. A call that is over already is not an error.
    pub fn close(&self, call: CallId, reason: EndReason) -> Result<(), CommandError> {
        self.post(call, Command::Close(call, reason))
    }

    /// Figures of a running call, from the next turn of its shard; none when the call is over or the turn takes longer than `wait`.
    pub fn stats(&self, call: CallId, wait: Span) -> Option<CallStats> {
        let (reply, answer) = sync_channel(1);
        self.post(call, Command::Stats(call, reply)).ok()?;
        answer.recv_timeout(Duration::from_nanos(wait.as_nanos())).ok()
    }

    fn post(&self, call: CallId, command: Command) -> Result<(), CommandError> {
        let shard = &self.shards[(call.0 % self.shards.len() as u64) as usize];
        shard.mailbox.post(command).map_err(|_| CommandError::Admit(AdmitError::Mailbox))
    }

    /// The next event of any call. Waits at most `wait`. Meant for one thread; more take turns.
    pub fn next_event(&self, wait: Span) -> Option<(CallId, CallEvent)> {
        let mut waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
        let (epoll, next) = &mut *waiter;
        let deadline = self.clock.now() + wait;
        loop {
            // Taken before the rings are read: a report that comes after the reading wakes the next wait.
            self.host.clear();
            // Round robin, so that a busy shard does not silence the others.
            for i in 0..self.shards.len() {
                let number = (*next + i) % self.shards.len();
                if let Some(report) = self.shards[number].mailbox.next_report() {
                    *next = number + 1;
                    return Some(report);
                }
            }
            let left = deadline.since(self.clock.now());
            if left == Span::ZERO {
                return None;
            }
            let left_ms = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
            if epoll.wait(left_ms).is_err() {
                return None;
            }
        }
    }

    /// Calls that have not ended.
    pub fn calls(&self) -> usize {
        self.shards.iter().map(|s| s.load.calls.load(Ordering::Relaxed)).sum()
    }

    /// The configuration in use, addresses filled in.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Refuses new calls from now on ([`AdmitError::Draining`]); running calls go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Takes new calls again.
    pub fn undrain(&self) {
        self.draining.store(false, Ordering::Relaxed);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            let mut stop = Some(Command::Stop);
            if shard.thread.is_none() {
                // The host's thread may turn it no more; if the mailbox is full, the shard ends when it is dropped.
                let _ = stop.take().map(|stop| shard.mailbox.post(stop));
            }
            // A full mailbox empties within turns; the shard never waits for us.
            while let Some(command) = stop.take() {
                stop = shard.mailbox.post(command).err();
                std::thread::yield_now();
            }
            if let Some(thread) = shard.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// Our end of a plain RTP leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpLegLocal {
    /// Where the far side sends its RTP.
    pub rtp: SocketAddr,
    /// Where it sends its RTCP; the same address with `RtcpPort::Mux`.
    pub rtcp: SocketAddr,
}

/// Why a command did not reach its call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// No room, or no such call.
    Admit(AdmitError),
    /// The peer's parameters cannot work.
    Setup(SetupError),
}

impl core::fmt::Display for CommandError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Admit(e) => e.fmt(f),
            Self::Setup(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for CommandError {}

/// Why digits were not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendDigitsError {
    /// No room in the mailbox, or no such call.
    Admit(AdmitError),
    /// The call did not take them, and why.
    Refused(DigitRefused),
    /// The shard did not answer in time: they may still be sent.
    Unanswered,
}

impl core::fmt::Display for SendDigitsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Admit(e) => e.fmt(f),
            Self::Refused(e) => e.fmt(f),
            Self::Unanswered => f.write_str("the media thread did not answer in time; the digits may still be sent"),
        }
    }
}

impl core::error::Error for SendDigitsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::PromptEcho;

    //= rules#I16:all-calls type=test
    #[test]
    fn i16_starts_are_5_ms_apart_behind_a_nat_and_as_configured() {
        let spacing = |stun_servers: &[&str], check_spacing| {
            let stun_servers = stun_servers.iter().map(|s| s.parse().expect("an address")).collect();
            EngineConfig { stun_servers, check_spacing, ..EngineConfig::default() }.ice().starts.spacing()
        };
        assert_eq!(spacing(&[], None), Span::from_micros(250));
        assert_eq!(spacing(&["192.0.2.1:3478"], None), Span::from_millis(5));
        for servers in [&[][..], &["192.0.2.1:3478"]] {
            assert_eq!(spacing(servers, Some(Span::from_millis(7))), Span::from_millis(7));
        }
    }

    #[test]
    fn a_shard_as_busy_as_it_may_be_takes_no_call_and_the_other_one_does() {
        let config = EngineConfig {
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
            allow_loopback: true,
            ports: 43_900..=43_949,
            cores: vec![0, 0],
            ..EngineConfig::default()
        };
        let engine = Engine::start(config).expect("an engine");
        let open = || engine.open_call(SetupRole::Active, Box::<PromptEcho>::default()).map(|(call, _)| call.0 % 2);
        // The shards are idle, so they find nothing new that would overwrite this.
        let busy = |number: usize, percent| engine.shards[number].load.percent.store(percent, Ordering::Relaxed);
        busy(0, 96);
        busy(1, 95);
        assert_eq!(open(), Ok(1));
        busy(0, 100);
        busy(1, 100);
        assert_eq!(open(), Err(AdmitError::Load));
        busy(0, 95);
        assert_eq!(open(), Ok(0));
    }
}
