//! One process of ours and all of Meta in virtual time.
//!
//! Given: how many calls, a seed. Decides: what the network, the engine and the application do. Judges: what we know of our own calls; Meta's side is judged by the ledger.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use tipring_engine::call::{LocalParams, SetupRole};
use tipring_engine::dtls::Fingerprint;
use tipring_engine::error::{AdmitError, EndReason};
use tipring_engine::ice::{Candidate, CandidateKind, Credentials};
use tipring_engine::keying::SdesSecret;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::graph::Account;
use tipring_meta_sim::ledger::{Figures, Ledger, LedgerConfig, Number, Post, Rates, Wire};
use tipring_signalling::graph::{GraphOutcome, json};
use tipring_signalling::session::{
    CallKey, Command, Dial, Effect, EngineEvent, Event, Input, Notice, Personal, RequestId, SessionConfig, Sessions, Wacid,
};
use tipring_signalling::webhook::intake::{Owner, sort};
use tipring_signalling::webhook::{envelope, signature};

/// What came of a run.
pub struct Report {
    /// Meta's figures.
    pub figures: Figures,
    /// Ours, as text.
    pub ours: String,
    /// Broken rules.
    pub faults: Vec<String>,
    /// How long it all took, in the world's own time.
    pub virtual_s: u64,
}

/// What happens at a time.
enum Thing {
    /// The next call, by a user or by us.
    NextCall,
    Webhook(Post),
    /// The answer of a webhook reaches Meta.
    Answer(u64, u16),
    Graph(RequestId, GraphOutcome),
    Engine(CallKey, EngineEvent),
    Command(CallKey, Command),
}

/// What was seen of one of our calls.
#[derive(Default)]
struct Witness {
    wacid: Option<String>,
    offered: u32,
    dialled: u32,
    ended: u32,
    opened: u32,
    closed: u32,
    /// The engine ended it, or never opened it.
    is_gone: bool,
    gates: u32,
    local_told: bool,
}

pub struct World {
    now: Time,
    dice: SeededRng,
    ledger: Ledger,
    sessions: Sessions,
    agenda: BTreeMap<(Time, u64), Thing>,
    next: u64,
    left: u64,
    users: u64,
    witnesses: HashMap<CallKey, Witness>,
    key_by_request: HashMap<RequestId, CallKey>,
    codes: BTreeMap<String, u64>,
    events: BTreeMap<&'static str, u64>,
    faults: Vec<String>,
}

const UNIX_MS: u64 = 1_795_300_000_000;
/// The app of numbers 0 to 2, and that of number 3, which hears of number 2 as well.
const SECRETS: [&str; 2] = ["secret of the app for calls", "secret of the other app"];
const APPS: [&str; 2] = ["calls", "other"];

impl World {
    pub fn run(calls: u64, seed: u64) -> Report {
        let mut world = Self::new(calls, seed);
        world.schedule(Span::ZERO, Thing::NextCall);
        let mut steps = 0_u64;
        while let Some(at) = world.next_time() {
            world.now = world.now.max(at);
            world.step();
            steps += 1;
            if steps > 2_000 * (calls + 100) {
                world.faults.push("the world never comes to rest".into());
                break;
            }
        }
        world.report(calls)
    }

    fn new(calls: u64, seed: u64) -> Self {
        let samples: serde_json::Value =
            serde_json::from_str(include_str!("../golden/sdp/meta_samples.json")).expect("golden samples are JSON");
        let sdp = |part: &str| {
            let cases = samples["cases"].as_array().expect("cases");
            cases
                .iter()
                .find(|c| c["id"].as_str().is_some_and(|id| id.contains(part)))
                .and_then(|c| c["sdp"].as_str())
                .expect("a sample")
                .to_owned()
        };
        let number = |n: usize, secrets: &[&str], has_partner: bool| Number {
            account: Account {
                phone_number_id: format!("104700000000{n}"),
                display_number: format!("1555000111{n}"),
                access_token: format!("token of number {n}"),
                ..Account::default()
            },
            app_secrets: secrets.iter().map(|s| (*s).to_owned()).collect(),
            has_partner,
        };
        let ledger = Ledger::new(LedgerConfig {
            seed,
            unix_ms: UNIX_MS,
            numbers: vec![
                number(0, &SECRETS[..1], false),
                number(1, &SECRETS[..1], true),
                number(2, &SECRETS, false),
                number(3, &SECRETS[1..], false),
            ],
            rates: Rates {
                duplicated: 200,
                delayed: 100,
                batched: 150,
                request_lost: 15,
                reply_lost: 15,
                refused_5xx: 30,
                partner_takes: 300,
                given_up: 50,
            },
            offer: sdp("offer-user-initiated"),
            answer: sdp("answer-business-initiated"),
            patience: Span::from_secs(40),
            silence_max: Span::from_secs(30),
        });
        Self {
            now: Time::from_nanos(1),
            dice: SeededRng::new(seed ^ 0x5eed),
            ledger,
            sessions: Sessions::new(SessionConfig { auto_answer: false, ..SessionConfig::default() }),
            agenda: BTreeMap::new(),
            next: 0,
            left: calls,
            users: 0,
            witnesses: HashMap::new(),
            key_by_request: HashMap::new(),
            codes: BTreeMap::new(),
            events: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    fn next_time(&self) -> Option<Time> {
        let agenda = self.agenda.first_key_value().map(|(&(at, _), _)| at);
        [agenda, self.sessions.poll_timeout(), self.ledger.poll_timeout()].into_iter().flatten().min()
    }

    fn step(&mut self) {
        self.ledger.handle_timeout(self.now);
        while let Some(post) = self.ledger.poll_webhook(self.now) {
            let travel = self.within(5, 60);
            self.schedule(travel, Thing::Webhook(post));
        }
        while let Some((&(at, n), _)) = self.agenda.first_key_value() {
            if at > self.now {
                break;
            }
            if let Some(thing) = self.agenda.remove(&(at, n)) {
                self.happen(thing);
            }
        }
        if self.sessions.poll_timeout().is_some_and(|at| at <= self.now) {
            self.feed(Input::Timeout);
        }
    }

    fn happen(&mut self, thing: Thing) {
        match thing {
            Thing::NextCall => self.next_call(),
            Thing::Webhook(post) => self.webhook(&post),
            Thing::Answer(id, status) => self.ledger.handle_webhook_answer(id, status, self.now),
            Thing::Graph(request, outcome) => self.feed(Input::GraphReply { request, outcome }),
            Thing::Engine(call, event) => self.engine(call, event),
            Thing::Command(call, command) => self.feed(Input::Command { call, command }),
        }
    }

    fn next_call(&mut self) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let number = self.dice.below(4) as usize;
        if self.dice.below(2) == 0 {
            self.ledger.user_calls(number, self.now);
        } else {
            self.users += 1;
            let opaque = (self.dice.below(2) == 0).then(|| format!("call {}", self.users));
            let dial = Dial {
                phone_number_id: format!("104700000000{number}").into(),
                to: Personal::new(&format!("4478{:08}", self.users)),
                recipient: None,
                biz_opaque: opaque,
            };
            self.feed(Input::Dial(Box::new(dial)));
        }
        let pause = self.within(10, 90);
        self.schedule(pause, Thing::NextCall);
    }

    /// What the public listener does, without sockets.
    fn webhook(&mut self, post: &Post) {
        // A listener that is restarted, a full queue, an answer that gets lost: Meta comes again.
        match self.dice.below(1_000) {
            0..=9 => return self.schedule(Span::from_millis(20), Thing::Answer(post.id, 0)),
            10..=29 => return self.schedule(Span::from_millis(20), Thing::Answer(post.id, 503)),
            30..=39 => self.schedule(Span::from_millis(20), Thing::Answer(post.id, 0)),
            _ => self.schedule(Span::from_millis(20), Thing::Answer(post.id, 200)),
        }
        let Ok(app) = signature::verify(&post.body, Some(&post.signature), &SECRETS) else {
            return self.faults.push("a signature of Meta's was refused".into());
        };
        let Ok(events) = envelope::parse(&post.body) else { return self.faults.push("a body of Meta's was not understood".into()) };
        let owner = |number: &str| match number.strip_prefix("104700000000") {
            Some("0" | "1" | "2") if APPS[app] == "calls" => Owner::Us,
            Some("3") if APPS[app] == "other" => Owner::Us,
            Some(_) => Owner::OtherApp,
            None => Owner::Nobody,
        };
        for (owner, event) in sort(events, owner).events {
            let label = match (owner, &event) {
                (Owner::OtherApp, _) => "by the other app",
                (_, Event::NotCalls) => "not calls",
                _ => "ours",
            };
            *self.events.entry(label).or_default() += 1;
            if owner == Owner::Us {
                self.feed(Input::Webhook(event));
            }
        }
    }

    fn engine(&mut self, call: CallKey, event: EngineEvent) {
        let Some(witness) = self.witnesses.get_mut(&call) else { return };
        if witness.is_gone {
            return;
        }
        match &event {
            EngineEvent::Ended { .. } | EngineEvent::NotAdmitted(_) => witness.is_gone = true,
            // A call that was closed says only that it has ended.
            _ if witness.closed > 0 => return,
            EngineEvent::LocalReady(_) => witness.local_told = true,
            _ => {}
        }
        if let (EngineEvent::Ended { .. }, Some(wacid)) = (&event, witness.wacid.clone()) {
            self.ledger.handle_silence(&wacid, self.now);
        }
        self.feed(Input::Engine { call, event });
    }

    fn feed(&mut self, input: Input) {
        let unix_s = (UNIX_MS + self.now.as_millis()) as i64 / 1_000;
        self.sessions.handle(input, unix_s, self.now);
        while let Some(effect) = self.sessions.poll_effect() {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Graph { request, call, phone_number_id, action } => {
                if self.key_by_request.insert(request, call).is_some() {
                    self.faults.push(format!("{request:?} was used twice"));
                }
                let number = phone_number_id.strip_prefix("104700000000").unwrap_or_default();
                let (path, token) = (format!("/v25.0/{phone_number_id}/calls"), format!("Bearer token of number {number}"));
                if self.dice.below(1_000) < 10 {
                    // The connection was refused: nothing was sent.
                    return self.schedule(Span::from_secs(3), Thing::Graph(request, GraphOutcome::NotSent));
                }
                match self.ledger.handle_request("POST", &path, Some(&token), json::body(&action).as_bytes(), self.now) {
                    Wire::Reply(reply, after) => {
                        let outcome = json::read_reply(reply.status, reply.body.as_bytes());
                        self.schedule(after, Thing::Graph(request, outcome));
                    }
                    Wire::Silence => self.schedule(Span::from_secs(10), Thing::Graph(request, GraphOutcome::Lost)),
                }
            }
            Effect::OpenCall { call, .. } => {
                self.witnesses.entry(call).or_default().opened += 1;
                let after = self.within(1, 400);
                let event = match self.dice.below(1_000) {
                    0..=9 => EngineEvent::NotAdmitted(AdmitError::Ports),
                    _ => EngineEvent::LocalReady(Box::new(self.local())),
                };
                self.schedule(after, Thing::Engine(call, event));
                if self.dice.below(1_000) < 30 {
                    let after = self.within(500, 30_000);
                    let event = EngineEvent::Ended { reason: EndReason::ConsentLost, evidence: Box::default() };
                    self.schedule(after, Thing::Engine(call, event));
                }
            }
            Effect::SetRemote { call, .. } => self.media_comes_up(call),
            Effect::OpenGate { call } => {
                self.witnesses.entry(call).or_default().gates += 1;
                let (first, hang_up) = (self.within(50, 300), self.within(1_000, 50_000));
                self.schedule(first, Thing::Engine(call, EngineEvent::FirstMediaIn));
                // Users hang up, or we do; a call that neither ends would be a bug of this world.
                self.schedule(hang_up, Thing::Command(call, Command::Terminate));
            }
            Effect::CloseCall { call, reason } => {
                let witness = self.witnesses.entry(call).or_default();
                witness.closed += 1;
                if witness.is_gone {
                    self.faults.push(format!("{call:?} was closed although the engine had said its end"));
                }
                let event = EngineEvent::Ended { reason, evidence: Box::default() };
                self.schedule(Span::from_millis(10), Thing::Engine(call, event));
            }
            Effect::Notify { call, wacid, notice } => self.notice(call, wacid.as_ref(), &notice),
        }
    }

    fn notice(&mut self, call: CallKey, wacid: Option<&Wacid>, notice: &Notice) {
        let witness = self.witnesses.entry(call).or_default();
        if let Some(wacid) = wacid {
            witness.wacid = Some(wacid.as_str().to_owned());
        }
        match notice {
            Notice::Offered { .. } => {
                witness.offered += 1;
                let after = self.within(0, 2_000);
                let command = if self.dice.below(20) == 0 { Command::Reject } else { Command::Accept };
                self.schedule(after, Thing::Command(call, command));
                if self.dice.below(20) == 0 {
                    let after = self.within(0, 4_000);
                    self.schedule(after, Thing::Command(call, Command::Terminate));
                }
            }
            Notice::Dialling { .. } => {
                witness.dialled += 1;
                if self.dice.below(20) == 0 {
                    let after = self.within(0, 4_000);
                    self.schedule(after, Thing::Command(call, Command::Terminate));
                }
            }
            Notice::PreAccepted => self.media_comes_up(call),
            Notice::Ended(ending) => {
                witness.ended += 1;
                *self.codes.entry(ending.verdict.code.clone().into_owned()).or_default() += 1;
            }
            _ => {}
        }
    }

    fn media_comes_up(&mut self, call: CallKey) {
        if self.dice.below(1_000) >= 30 {
            let after = self.within(100, 1_500);
            self.schedule(after, Thing::Engine(call, EngineEvent::MediaReady));
        }
    }

    fn report(mut self, calls: u64) -> Report {
        let judgement = self.ledger.judge();
        let mut faults = std::mem::take(&mut self.faults);
        faults.extend(judgement.faults);
        let stuck = self.sessions.calls().count();
        if stuck > 0 {
            faults.push(format!("{stuck} calls are stuck in our session machine"));
        }
        let mut offered: HashMap<&str, u32> = HashMap::new();
        for (key, w) in &self.witnesses {
            let mut broken = |what: &str| faults.push(format!("{key:?} {:?}: {what}", w.wacid));
            if w.ended != 1 {
                broken(&format!("{} endings", w.ended));
            }
            if w.offered + w.dialled > 1 || w.gates > 1 || w.opened > 1 || w.closed > 1 {
                broken("announced, opened, let through or closed more than once");
            }
            if w.opened == 1 && w.closed == 0 && !w.is_gone {
                broken("its media was never released");
            }
            if w.gates == 1 && !w.local_told {
                broken("a gate was opened without media");
            }
            if let Some(wacid) = w.wacid.as_deref().filter(|_| w.offered > 0) {
                *offered.entry(wacid).or_default() += w.offered;
            }
        }
        //= meta#R-35 type=test
        faults.extend(offered.iter().filter(|(_, times)| **times > 1).map(|(wacid, times)| format!("{wacid} was offered {times} times")));
        let known: std::collections::HashSet<&str> = self.witnesses.values().filter_map(|w| w.wacid.as_deref()).collect();
        faults
            .extend(self.ledger.owed().filter(|id| !known.contains(id)).map(|id| format!("{id} was announced to us and nothing was done")));
        let announced = self.witnesses.values().filter(|w| w.offered + w.dialled > 0).count();
        if (announced as u64) < calls / 2 {
            faults.push(format!("only {announced} calls came about: this world proves little"));
        }
        let counts = self.sessions.counts();
        let mut ours = String::new();
        let _ = writeln!(
            ours,
            "our machine  {announced} calls announced, {} gates opened",
            self.witnesses.values().map(|w| w.gates).sum::<u32>()
        );
        let _ = writeln!(
            ours,
            "our intake   {:?}; repeated {}, stale {}, after the end {}, parked {}, unknown {}",
            self.events, counts.duplicates, counts.stale, counts.tombstoned, counts.parked, counts.unknown_events
        );
        let _ = write!(ours, "our verdicts {:?}", self.codes);
        Report { figures: judgement.figures, ours, faults, virtual_s: self.now.as_millis() / 1_000 }
    }

    fn schedule(&mut self, after: Span, thing: Thing) {
        self.next += 1;
        self.agenda.insert((self.now + after, self.next), thing);
    }

    fn within(&mut self, from_ms: u64, to_ms: u64) -> Span {
        Span::from_millis(from_ms + self.dice.below(to_ms - from_ms + 1))
    }

    /// Our parameters: each call has others, so that answers differ.
    fn local(&mut self) -> LocalParams {
        LocalParams {
            credentials: Credentials {
                ufrag: format!("u{:015}", self.dice.below(1_000_000_000_000)),
                pwd: "7fJSbV2N5qWiA5QiDKwK3vuh".into(),
            },
            candidates: vec![Candidate {
                address: "203.0.113.7:40000".parse().expect("an address"),
                kind: CandidateKind::Host,
                priority: 2_130_706_431,
                foundation: "1".to_owned(),
                base: None,
            }],
            complete: true,
            fingerprint: Fingerprint([7; 32]),
            role: SetupRole::Active,
            sdes: SdesSecret::generate(|out| self.dice.fill(out)),
            ssrc: self.dice.u64() as u32,
            cname: "k3J9xQ".into(),
        }
    }
}
