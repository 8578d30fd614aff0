//! One whole call in virtual time: our engine and signalling on one side, Meta's stand-in on the other, links and seeded delays between.
//!
//! Given: a [`Plan`]. Decides: the order of things, by their times. Refuses: sockets, threads, clocks; the call is driven as a shard and the
//! daemon's control task drive it, and every step is followed by the checkers.

mod above;
mod noise;

use super::check::{Checks, Trace};
use super::far::{FarEnd, FarPlan};
use super::plan::{Audio, Hop, Plan};
use super::{Agenda, Link};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use tipring_engine::bridge::rtp::LegCodec;
use tipring_engine::bridge::{Echo, Play, PromptEcho};
use tipring_engine::call::{
    Call, CallConfig, CallEvent, Ended, FrameBuffer, Incoming, MediaPort, Outgoing, RemoteParams, Scratch, SetupRole, Watchdogs,
};
use tipring_engine::codec::SampleRate;
use tipring_engine::dtls::{Certificate, DtlsConfig, DtlsContext};
use tipring_engine::dtmf::Digit;
use tipring_engine::error::AdmitError;
use tipring_engine::ice::{Candidate, IceConfig, Path};
use tipring_engine::jitter::JitterConfig;
use tipring_engine::limits::DATAGRAM_BYTES_MAX;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::call::{CallConfig as MetaConfig, CallKind, MetaCall};
use tipring_meta_sim::graph::Account;
use tipring_meta_sim::media::Echoed;
use tipring_meta_sim::oracle::{Context, Limits, Verdict, judge};
use tipring_meta_sim::relay::{RelayConfig, Stages};
use tipring_meta_sim::timeline::Entry;
use tipring_meta_sim::webhooks::Delivery;
use tipring_signalling::graph::{GraphOutcome, json};
use tipring_signalling::sdp;
use tipring_signalling::session::{
    CallKey, Command, Dial, Effect, EngineEvent, Input, Notice, Personal, RequestId, SessionConfig, Sessions,
};
use tipring_signalling::verdict::{Evidence, LocalCandidates};

const ORIGIN: Time = Time::from_nanos(1_000_000_000);
const UNIX_MS: u64 = 1_795_300_000_000;
/// No call of any plan lasts longer than this and what the user talks; a longer one hangs.
const LIFE_MAX: Span = Span::from_secs(300);
/// Steps at one instant; more is a loop.
const STEPS_MAX: u32 = 10_000;
/// How long the HTTP client waits for a reply that never comes.
const REPLY_PATIENCE: Span = Span::from_secs(5);

const OUR_V4: &str = "203.0.113.10:40000";
const OUR_V6: &str = "[2001:db8:1::10]:40000";
const RELAY_V4: &str = "198.51.100.1:3480";
const RELAY_V6: &str = "[2001:db8::1]:3480";
const STRANGER_V4: &str = "192.0.2.66:6666";
const STRANGER_V6: &str = "[2001:db8:bad::66]:6666";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address of ours")
}

/// What all calls of an engine share: one certificate for the process, as in production. The turns of checks are each world's own: worlds live in
/// different times, and what one took would hold up the next.
fn engine_config() -> Arc<CallConfig> {
    static DTLS: OnceLock<DtlsContext> = OnceLock::new();
    let make = || {
        let certificate = Certificate::generate((UNIX_MS / 1_000) as i64).expect("a certificate");
        DtlsContext::new(DtlsConfig::default(), certificate).expect("a TLS context")
    };
    Arc::new(CallConfig {
        ice: IceConfig::default(),
        dtls: DTLS.get_or_init(make).clone(),
        jitter: JitterConfig::default(),
        complexity: 5,
        watchdogs: Watchdogs::default(),
        ntp_origin: (UNIX_MS / 1_000 + 2_208_988_800) << 32,
    })
}

/// One line about a datagram; of media there would be too many.
fn show(to_meta: bool, is_v6: bool, bytes: &[u8], sent: Span, arrivals: [Option<Span>; 2]) {
    let what = match bytes {
        [20, ..] => "DTLS ChangeCipherSpec".to_owned(),
        [21, ..] => "DTLS alert".to_owned(),
        [22, _, _, 0, 0, .., _] => format!("DTLS handshake, message {}", bytes.get(13).copied().unwrap_or_default()),
        [22, ..] => "DTLS handshake, encrypted".to_owned(),
        [0..=3, kind, ..] => format!("STUN {:#06x}", u16::from_be_bytes([bytes[0], *kind])),
        _ => return,
    };
    let ms = |span: Span| span.as_micros() as f64 / 1_000.0;
    let came = match arrivals {
        [None, None] => "lost".to_owned(),
        [first, copy] => [first, copy].into_iter().flatten().map(|at| format!("arrives {:.1}", ms(at))).collect::<Vec<_>>().join(", "),
    };
    let (arrow, family) = (if to_meta { "->" } else { "<-" }, if is_v6 { "v6" } else { "v4" });
    println!("{:>10.1} ms  {arrow} {family} {what}, {} bytes: {came}", ms(sent), bytes.len());
}

/// What is on the agenda.
enum Thing {
    ToUs {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    ToMeta {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    Webhook {
        delivery: Delivery,
        is_copy: bool,
    },
    WebhookAnswered {
        delivery: Delivery,
        status: u16,
        took: Span,
    },
    Graph {
        request: RequestId,
        action: &'static str,
        body: String,
    },
    GraphReplied {
        request: RequestId,
        outcome: GraphOutcome,
        accepts: bool,
    },
    HangUp(CallKey),
    SendDigits(&'static str),
    Move(Audio),
    /// Our shard's thread stops for so long.
    Stall(Span),
    /// What was said to the shard while it stood still.
    Do(Effect),
    Noise,
}

/// Our media call of the moment.
struct Tenant {
    key: CallKey,
    call: Call,
}

/// The host's end: the greeting, then the echo; keeps what is heard.
struct Ends {
    inner: Play,
    listens: bool,
    heard: mpsc::Sender<Vec<i16>>,
}

impl MediaPort for Ends {
    fn wants_pcm(&self) -> Option<SampleRate> {
        self.listens.then_some(SampleRate::Hz16000)
    }

    fn wants_opus(&self) -> bool {
        self.inner.wants_opus()
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        match frame {
            // The receiver lives as long as the world.
            Incoming::Pcm { samples, heard } => {
                drop(self.heard.send(samples.to_vec()));
                if !heard {
                    // Behind a frame: it was not the user's.
                    drop(self.heard.send(Vec::new()));
                }
            }
            Incoming::Opus { .. } => self.inner.incoming(frame),
        }
    }

    fn digit(&mut self, digit: Digit) {
        self.inner.digit(digit);
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.inner.outgoing(frame)
    }
}

/// What came of a call.
pub struct Outcome {
    /// The engine's last word, if a media call was opened.
    pub ended: Option<Ended>,
    /// The session machine's verdict, if it had a call.
    pub verdict: Option<String>,
    /// Whether Meta's accept, or the called user, made it a conversation.
    pub answered: bool,
    /// What the user typed, as our host was told.
    pub digits: String,
    /// The same on the far side of a relay.
    pub far_digits: String,
    /// What our host, or the far side of a relay, heard: mono, 16 kHz.
    pub heard: Vec<i16>,
    /// The longest run of frames, of 20 ms each, that our host heard nothing of the user in, between two in which it did.
    pub longest_gap_frames: u32,
    /// What the user heard: mono, 16 kHz.
    pub user_heard: Vec<i16>,
    /// What Meta's side saw.
    pub timeline: Vec<Entry>,
    /// When each stage was reached at Meta.
    pub stages: Stages,
    /// From the webhook with the offer (or our own request) to keys on our side.
    pub set_up: Option<Span>,
    /// From first to last moment.
    pub lasted: Span,
    /// Everything that happened, folded.
    pub trace: Trace,
    /// Garbage that was thrown at us.
    pub noise: u64,
    /// What came back of numbered packets.
    pub echoed: Echoed,
    /// Datagrams that were put on a link, both directions.
    pub datagrams: u64,
    /// Moments at which something happened, each followed by the checkers.
    pub steps: u64,
    kind: CallKind,
}

impl Outcome {
    /// The oracle's failures, as lines. `greeting`: what the user should have heard.
    pub fn failures(&self, limits: Limits, greeting: Option<Arc<[i16]>>) -> Vec<Verdict> {
        let context = Context { kind: self.kind, limits, reference: greeting };
        judge(&self.timeline, &self.user_heard, &context).into_iter().filter(|verdict| !verdict.pass).collect()
    }

    /// Code of the engine's end reason; empty when no media call was opened.
    pub fn reason(&self) -> &'static str {
        self.ended.as_ref().map_or("", |ended| ended.reason.code())
    }
}

/// The world of one call.
pub struct World {
    plan: Plan,
    now: Time,
    agenda: Agenda<Thing>,
    /// To Meta and to us, by family.
    links: [[Link; 2]; 2],
    hops: [u64; 2],
    delays: SeededRng,
    dice: SeededRng,
    entropy: SeededRng,
    meta: Option<MetaCall>,
    sessions: Sessions,
    config: Arc<CallConfig>,
    tenant: Option<Tenant>,
    inbox: VecDeque<Input>,
    scratch: Scratch,
    out: Box<[u8; DATAGRAM_BYTES_MAX]>,
    heard: (mpsc::Sender<Vec<i16>>, mpsc::Receiver<Vec<i16>>),
    far_digits: (mpsc::Sender<char>, mpsc::Receiver<char>),
    last_rtp: Option<(SocketAddr, Vec<u8>)>,
    checks: Checks,
    /// Our thread stands still until then.
    stalled_until: Time,
    /// When our media call was opened.
    opened: Option<Time>,
    /// Actions of Graph that have failed once.
    failed_once: Vec<&'static str>,
    webhooks_under_way: u32,
    outcome: Outcome,
}

impl World {
    /// Runs a call from the first ring to the last datagram. Panics when an invariant breaks or the call never ends.
    pub fn run(plan: Plan) -> Outcome {
        let mut world = Self::new(plan);
        world.begin();
        while !world.is_over() {
            world.step();
        }
        world.finish()
    }

    fn new(plan: Plan) -> Self {
        let mut seeds = SeededRng::new(plan.seed);
        let mut link = |config: &super::LinkConfig| Link::new(config.clone(), seeds.u64());
        let links = [[link(&plan.to_meta[0]), link(&plan.to_meta[1])], [link(&plan.to_us[0]), link(&plan.to_us[1])]];
        let outcome = Outcome {
            ended: None,
            verdict: None,
            answered: false,
            digits: String::new(),
            far_digits: String::new(),
            heard: Vec::new(),
            longest_gap_frames: 0,
            user_heard: Vec::new(),
            timeline: Vec::new(),
            stages: Stages::default(),
            set_up: None,
            lasted: Span::ZERO,
            trace: Trace::default(),
            noise: 0,
            echoed: Echoed::default(),
            datagrams: 0,
            steps: 0,
            kind: plan.kind,
        };
        Self {
            now: ORIGIN,
            agenda: Agenda::default(),
            links,
            hops: [0; 2],
            delays: SeededRng::new(seeds.u64()),
            dice: SeededRng::new(seeds.u64()),
            entropy: SeededRng::new(seeds.u64()),
            meta: None,
            sessions: Sessions::new(SessionConfig {
                auto_answer: true,
                sdes_numbers: plan.sdes.then(|| Account::default().phone_number_id.as_str().into()).into_iter().collect(),
                ..SessionConfig::default()
            }),
            config: engine_config(),
            tenant: None,
            inbox: VecDeque::new(),
            scratch: Scratch::default(),
            out: Box::new([0; DATAGRAM_BYTES_MAX]),
            heard: mpsc::channel(),
            far_digits: mpsc::channel(),
            last_rtp: None,
            checks: Checks::default(),
            stalled_until: ORIGIN,
            opened: None,
            failed_once: Vec::new(),
            webhooks_under_way: 0,
            outcome,
            plan,
        }
    }

    fn begin(&mut self) {
        if self.plan.kind == CallKind::UserInitiated {
            let config = self.meta_config();
            self.meta = Some(MetaCall::incoming(config, self.now).expect("the relay has addresses"));
        } else {
            let dial = Dial {
                phone_number_id: Account::default().phone_number_id.as_str().into(),
                to: Personal::new(&self.plan.script.number),
                recipient: None,
                biz_opaque: None,
            };
            self.inbox.push_back(Input::Dial(Box::new(dial)));
        }
        for (after, length) in self.plan.trouble.stalls.clone() {
            self.agenda.schedule(self.now + after, Thing::Stall(length));
        }
        if let Some(noise) = self.plan.noise {
            self.agenda.schedule(self.now + self.plan.noise_after + noise.every, Thing::Noise);
        }
        self.settle_all();
    }

    fn meta_config(&self) -> MetaConfig {
        let script = self.plan.script.clone();
        let mut relay = RelayConfig::new(Some(at(RELAY_V4)), Some(at(RELAY_V6)), self.plan.seed, UNIX_MS, script);
        relay.faults.clone_from(&self.plan.faults);
        relay.sdes = self.plan.sdes;
        relay.dtls_timer = self.plan.dtls_timer;
        MetaConfig { id: format!("wacid.World{}", self.plan.seed), account: Account::default(), relay }
    }

    /// The call is gone at both ends, and nobody waits for anything.
    fn is_over(&self) -> bool {
        let meta = self.meta.as_ref().is_some_and(|meta| meta.is_finished(self.now));
        meta && self.tenant.is_none() && self.webhooks_under_way == 0 && self.sessions.calls().next().is_none()
    }

    /// Goes to the next moment at which something happens, and lets it.
    fn step(&mut self) {
        let media = self.tenant.as_ref().and_then(|tenant| tenant.call.poll_timeout()).map(|at| at.max(self.stalled_until));
        // The stand-in may ask to be polled at once; that is not ours to judge.
        let meta = self.meta.as_ref().and_then(|meta| meta.poll_timeout(self.now)).map(|at| at.max(self.now + Span::from_micros(10)));
        let next = [self.agenda.next_at(), media, meta, self.sessions.poll_timeout()].into_iter().flatten().min();
        let Some(next) = next else { panic!("nothing will ever happen again, and the call is not over") };
        self.now = next.max(self.now);
        let age = self.now.since(ORIGIN);
        let talk = self.plan.script.hang_up_after.unwrap_or_default();
        assert!(age < talk + LIFE_MAX, "the call never ends");
        assert!(self.plan.planted.is_none_or(|at| age < at), "a planted failure");
        if self.plan.live_by.is_some_and(|at| at < self.now) {
            let hangs = self.tenant.as_ref().is_some_and(|tenant| tenant.call.is_setting_up());
            assert!(!hangs, "the faults are over, and the call is neither connected nor ended {} ms after the ring", age.as_millis());
        }
        self.outcome.steps += 1;
        let mut steps = 0;
        while let Some(thing) = self.agenda.take_due(self.now) {
            steps += 1;
            assert!(steps < STEPS_MAX, "things happen for ever at {:?}", self.now);
            self.happen(thing);
            self.settle_all();
        }
        if let Some(tenant) = &mut self.tenant
            && self.stalled_until <= self.now
            && tenant.call.poll_timeout().is_some_and(|at| at <= self.now)
        {
            tenant.call.handle_timeout(&mut self.scratch, self.now);
            self.settle_all();
        }
        if self.sessions.poll_timeout().is_some_and(|at| at <= self.now) {
            self.inbox.push_back(Input::Timeout);
            self.settle_all();
        }
        if self.stalled_until <= self.now {
            Checks::deadline("the call", self.tenant.as_ref().and_then(|tenant| tenant.call.poll_timeout()), self.now);
        }
        Checks::deadline("the session machine", self.sessions.poll_timeout(), self.now);
        if let Some(meta) = &mut self.meta {
            meta.handle_timeout(self.now);
        }
        self.drain_meta();
    }

    fn happen(&mut self, thing: Thing) {
        let now = self.now;
        match thing {
            // The kernel keeps it until the thread runs again.
            Thing::ToUs { .. } | Thing::Do(_) if now < self.stalled_until => self.agenda.schedule(self.stalled_until, thing),
            Thing::Do(effect) => self.perform(effect),
            Thing::Stall(length) => {
                self.stalled_until = self.stalled_until.max(now + length);
                self.checks.stalled(length);
            }
            Thing::ToUs { local, remote, mut bytes } => {
                if let Some(tenant) = &mut self.tenant {
                    tenant.call.handle_datagram(Path { local, remote }, &mut bytes, now);
                }
            }
            Thing::ToMeta { local, remote, bytes } => {
                if let Some(meta) = &mut self.meta {
                    meta.handle_datagram(local, remote, &bytes, now);
                }
            }
            Thing::Webhook { delivery, is_copy } => self.take_webhook(delivery, is_copy),
            Thing::WebhookAnswered { delivery, status, took } => {
                if let Some(meta) = &mut self.meta {
                    meta.handle_webhook_answer(&delivery, status, took, now);
                }
            }
            Thing::Graph { request, action, body } => self.take_request(request, action, &body),
            Thing::GraphReplied { request, outcome, accepts } => {
                if accepts {
                    self.checks.accepted();
                }
                self.inbox.push_back(Input::GraphReply { request, outcome });
            }
            Thing::HangUp(call) => self.inbox.push_back(Input::Command { call, command: Command::Terminate }),
            Thing::SendDigits(symbols) => {
                if let Some(tenant) = &mut self.tenant {
                    tenant.call.send_digits(symbols, Some(100), now).expect("keys of a telephone, and a peer that agreed to them");
                }
            }
            Thing::Move(audio) => self.move_to(audio),
            Thing::Noise => self.make_noise(),
        }
    }

    /// Drains everybody until the world is still.
    fn settle_all(&mut self) {
        loop {
            self.settle();
            if let Some(input) = self.inbox.pop_front() {
                let unix_s = self.unix_s();
                self.sessions.handle(input, unix_s, self.now);
                while let Some(effect) = self.sessions.poll_effect() {
                    self.perform(effect);
                    self.settle();
                }
            } else {
                return self.drain_meta();
            }
        }
    }

    /// Drains the call after it was touched, as a shard does.
    fn settle(&mut self) {
        let Some(mut tenant) = self.tenant.take() else { return };
        let now = self.now;
        self.checks.drain();
        while let Some((len, path)) = tenant.call.poll_transmit(&mut self.scratch, &mut self.out[..], now) {
            self.checks.sent(&self.out[..len], path, tenant.call.path());
            let from = self.nat().filter(|_| path.local.is_ipv4()).unwrap_or(path.local);
            let bytes = self.out[..len].to_vec();
            self.travel(true, path.remote, from, bytes);
        }
        while tenant.call.poll_far_transmit(&mut self.out[..], now).is_some() {}
        self.checks.selected(tenant.call.path());
        let mut over = false;
        while let Some(event) = tenant.call.poll_event() {
            self.checks.event(&event);
            let told = match event {
                CallEvent::DtlsConnected { .. } => {
                    self.outcome.set_up = Some(now.since(ORIGIN));
                    None
                }
                CallEvent::MediaReady => Some(EngineEvent::MediaReady),
                CallEvent::FirstRtpIn => Some(EngineEvent::FirstMediaIn),
                CallEvent::Digit(digit) => {
                    self.outcome.digits.push(digit.symbol);
                    None
                }
                CallEvent::Ended(ended) => {
                    over = true;
                    let local = LocalCandidates::of(tenant.call.local_params());
                    let told = EngineEvent::Ended { reason: ended.reason, evidence: Box::new(Evidence::of(&ended.stats, local)) };
                    self.outcome.ended = Some(*ended);
                    Some(told)
                }
                // No STUN server is configured in this world.
                CallEvent::LocalReady(_) => None,
                CallEvent::IceConnected { .. }
                | CallEvent::GateOpened
                | CallEvent::FirstRtpOut
                | CallEvent::PortFinished { .. }
                | CallEvent::DigitsSent
                | CallEvent::NoEgress
                | CallEvent::NoIngress
                | CallEvent::MediaBack => None,
            };
            self.inbox.extend(told.map(|event| Input::Engine { call: tenant.key, event }));
        }
        if !over {
            self.tenant = Some(tenant);
        }
    }

    /// Does what the session machine says, as the daemon's control task does.
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::SetRemote { .. } | Effect::OpenGate { .. } | Effect::CloseCall { .. } if self.now < self.stalled_until => {
                self.agenda.schedule(self.stalled_until, Thing::Do(effect));
            }
            Effect::Graph { request, action, .. } => {
                let at = self.now + self.signalling_delay();
                self.agenda.schedule(at, Thing::Graph { request, action: action.name(), body: json::body(&action) });
            }
            Effect::OpenCall { call, remote } => {
                let event = self.open(call, remote);
                self.inbox.push_back(Input::Engine { call, event });
            }
            Effect::SetRemote { call, remote } => {
                if let Some(tenant) = self.tenant.as_mut().filter(|tenant| tenant.key == call) {
                    tenant.call.set_remote_params(*remote, self.now).expect("a usable answer");
                }
            }
            Effect::OpenGate { call } => {
                if let Some(tenant) = self.tenant.as_mut().filter(|tenant| tenant.key == call) {
                    tenant.call.open_gate(self.now);
                }
            }
            Effect::CloseCall { call, reason } => {
                if let Some(tenant) = self.tenant.as_mut().filter(|tenant| tenant.key == call) {
                    tenant.call.close(reason, self.now);
                }
            }
            Effect::Notify { call, notice, .. } => match notice {
                Notice::Accepted | Notice::Answered => {
                    self.outcome.answered = true;
                    // The first media of a called user is as good as Meta's ACCEPTED.
                    self.checks.accepted();
                    if let Some(after) = self.plan.hang_up_after {
                        self.agenda.schedule(self.now + after, Thing::HangUp(call));
                    }
                    if let Some((after, symbols)) = self.plan.sends_digits {
                        self.agenda.schedule(self.now + after, Thing::SendDigits(symbols));
                    }
                    for (after, audio) in self.plan.moves.clone() {
                        self.agenda.schedule(self.now + after, Thing::Move(audio));
                    }
                }
                Notice::Ended(ending) => {
                    assert!(self.outcome.verdict.is_none(), "Ended is told once");
                    self.outcome.verdict = Some(ending.verdict.code.into_owned());
                }
                _ => {}
            },
        }
    }

    /// Exchanges the host's end of the running call, as `Engine::attach` does.
    fn move_to(&mut self, audio: Audio) {
        let greeting = self.plan.greeting.clone();
        let port: Box<dyn MediaPort> = match audio {
            Audio::Greeting => Box::new(Play::new(greeting, SampleRate::Hz16000)),
            Audio::Echo => Box::new(Echo::default()),
            Audio::PromptEcho => Box::new(PromptEcho::default()),
            Audio::Relay => {
                let (heard, digits) = (self.heard.0.clone(), self.far_digits.0.clone());
                Box::new(FarEnd::new(FarPlan::clean(LegCodec::Opus), greeting, self.entropy.u64(), heard, digits, self.now))
            }
        };
        if let Some(tenant) = &mut self.tenant {
            tenant.call.attach(port, self.now);
        }
    }

    fn open(&mut self, key: CallKey, remote: Option<Box<RemoteParams>>) -> EngineEvent {
        assert!(self.tenant.is_none() && self.opened.is_none(), "one call, one media call");
        self.opened = Some(self.now);
        if self.plan.trouble.mailbox_full {
            return EngineEvent::NotAdmitted(AdmitError::Mailbox);
        }
        let role = remote.as_ref().map_or(SetupRole::ActPass, |remote| sdp::our_role(remote.role));
        let greeting = self.plan.greeting.clone();
        let heard = self.heard.0.clone();
        let ends: Box<dyn MediaPort> = match self.plan.far.clone() {
            Some(far) => {
                self.checks.pauses = true;
                Box::new(FarEnd::new(far, greeting, self.entropy.u64(), heard, self.far_digits.0.clone(), self.now))
            }
            None => {
                let inner = Play::then(greeting, SampleRate::Hz16000, Box::new(Echo::default()));
                Box::new(Ends { inner, listens: self.plan.listens, heard })
            }
        };
        let candidates = vec![Candidate::host(at(OUR_V4), u16::MAX), Candidate::host(at(OUR_V6), u16::MAX - 1)];
        let call = Call::new(&self.config, role, candidates, ends, &mut self.entropy, self.now);
        let mut call = call.expect("it has candidates");
        if let Some((seq, timestamp)) = self.plan.stream_starts_at {
            call.start_stream_at(seq, timestamp);
        }
        let local = call.local_params().clone();
        let refused = remote.and_then(|remote| call.set_remote_params(*remote, self.now).err());
        if let Some(error) = refused {
            return EngineEvent::NotSetUp(error);
        }
        self.tenant = Some(Tenant { key, call });
        EngineEvent::LocalReady(Box::new(local))
    }

    fn drain_meta(&mut self) {
        let Some(mut meta) = self.meta.take() else { return };
        let mut webhooks = Vec::new();
        while let Some(transmit) = meta.poll_transmit(self.now) {
            let is_rtp = transmit.bytes.first().is_some_and(|byte| *byte >= 128);
            if is_rtp && self.plan.noise.is_some() {
                self.last_rtp = Some((transmit.local, transmit.bytes.clone()));
            }
            self.travel(false, transmit.remote, transmit.local, transmit.bytes);
        }
        while let Some(delivery) = meta.poll_webhook(self.now) {
            webhooks.push(delivery);
        }
        self.meta = Some(meta);
        webhooks.into_iter().for_each(|delivery| self.post_webhook(delivery));
    }

    /// The address that our IPv4 datagrams show by now, behind a NAT.
    fn nat(&self) -> Option<SocketAddr> {
        let (from, address) = self.plan.nat_rebinds.unzip();
        address.filter(|_| from.is_some_and(|from| from <= self.now)).or(self.plan.nat)
    }

    /// Puts a datagram on its link.
    fn travel(&mut self, to_meta: bool, to: SocketAddr, from: SocketAddr, mut bytes: Vec<u8>) {
        self.outcome.trace.datagram(u8::from(to_meta), &bytes, self.now);
        self.outcome.datagrams += 1;
        let nth = &mut self.hops[usize::from(!to_meta)];
        let hop = Hop { to_meta, nth: *nth, bytes: &bytes, now: self.now };
        *nth += 1;
        if self.plan.lose.as_mut().is_some_and(|lose| lose(&hop)) {
            return;
        }
        if !to_meta && self.plan.nat.is_some() && to.is_ipv4() && self.nat() != Some(to) {
            return;
        }
        let link = &mut self.links[usize::from(!to_meta)][usize::from(to.is_ipv6())];
        let [first, copy] = link.send(&mut bytes, self.now);
        if self.plan.shows {
            show(to_meta, to.is_ipv6(), &bytes, self.now.since(ORIGIN), [first, copy].map(|at| at.map(|at| at.since(ORIGIN))));
        }
        for (arrival, bytes) in [(copy, copy.map(|_| bytes.clone())), (first, Some(bytes))] {
            let (Some(arrival), Some(bytes)) = (arrival, bytes) else { continue };
            let thing = if to_meta {
                Thing::ToMeta { local: to, remote: from, bytes }
            } else {
                let local = if to.is_ipv4() { at(OUR_V4) } else { to };
                Thing::ToUs { local, remote: from, bytes }
            };
            self.agenda.schedule(arrival, thing);
        }
    }

    fn finish(mut self) -> Outcome {
        self.outcome.lasted = self.now.since(ORIGIN);
        let (mut run, mut begun) = (0, false);
        let mut frames = self.heard.1.try_iter().peekable();
        while let Some(frame) = frames.next() {
            self.outcome.heard.extend(frame);
            if frames.next_if(Vec::is_empty).is_some() {
                run += u32::from(begun);
            } else {
                self.outcome.longest_gap_frames = self.outcome.longest_gap_frames.max(run);
                (run, begun) = (0, true);
            }
        }
        self.outcome.far_digits = self.far_digits.1.try_iter().collect();
        if let Some(meta) = &self.meta {
            self.outcome.stages = meta.stages();
            self.outcome.user_heard = meta.heard().to_vec();
            self.outcome.echoed = meta.echoed();
            self.outcome.timeline = meta.timeline().entries().to_vec();
            // Held-back Graph answers are noted ahead of their time.
            self.outcome.timeline.sort_by_key(|entry| entry.at);
        }
        self.outcome
    }
}
