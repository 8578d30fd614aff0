//! The one task that owns the calls: feeds the session machine and does what it says.
//!
//! Decides: nothing. Given: verified webhooks, engine events, Graph replies, commands, time. Refuses: to wait for any of them: what takes time is a task of its own
//! whose result comes back as an input.

use super::bridges::{Bridges, bridge_name};
use super::cdr::Record;
use super::http_client::GraphClient;
use super::intake::Delivery;
use super::media_table::MediaTable;
use super::metrics::Metrics;
use super::ng::Ng;
use super::observe::{CallRef, DaemonEvent, Watch, unix_s};
use super::store::{OpenCall, Receipt, Store};
use super::tenants::Tenants;
use super::tls::OsEntropy;
use crate::config::{BridgeConfig, TrunkConfig};
use crate::control::{ApiCallId, ApiRequest, Book, Direct, EventHub};
use crate::graph::{GraphAction, GraphOutcome};
use crate::sdp;
use crate::session::{CallKey, Carried, Command, Dial, Effect, EngineEvent, Event, Input, Notice, RequestId, Sessions, Wacid};
use crate::verdict::Evidence;
use crate::webhook::dedup::{EventKey, Memory};
use crate::webhook::envelope;
use crate::webhook::intake::Owner;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tipring_engine::call::{CallEvent, RemoteParams, SetupRole};
use tipring_engine::engine::{CallId, CommandError, Engine, SendDigitsError};
use tipring_engine::error::{AdmitError, EndReason};
use tipring_engine::time::{Span, Time};
use tokio::sync::{mpsc, watch};

/// What the host of the daemon may ask.
pub(crate) enum HostCommand {
    Dial(Box<Dial>),
    Call(CallKey, Command),
    Digits {
        call: CallKey,
        symbols: Box<str>,
        tone_ms: Option<u32>,
    },
    Api(Box<ApiRequest>),
    /// A recording is complete (names of its files, packets it missed) or failed.
    Recorded {
        call: CallKey,
        result: Result<(Vec<String>, u64), String>,
    },
    /// Numbers have changed.
    Tenants,
}

/// How far the stop has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stop {
    /// Not at all.
    Run,
    /// No new calls; running ones may finish.
    Drain,
    /// End everything.
    Now,
}

/// What came of a Graph request.
pub(super) struct GraphReply {
    request: RequestId,
    call: CallKey,
    action: &'static str,
    outcome: GraphOutcome,
    took: Duration,
}

/// What the process before this one left behind.
#[derive(Default)]
pub(super) struct Left {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) open: Vec<(u64, OpenCall)>,
    pub(super) ended: Vec<Wacid>,
}

/// The task's inputs.
pub(super) struct Inputs {
    pub(super) webhooks: mpsc::Receiver<Delivery>,
    pub(super) engine: mpsc::Receiver<(CallId, CallEvent)>,
    pub(super) host: mpsc::Receiver<HostCommand>,
    pub(super) stop: watch::Receiver<Stop>,
}

/// The task's state.
pub(super) struct ControlTask {
    pub(super) sessions: Sessions,
    pub(super) engine: Arc<Engine>,
    pub(super) graph: Arc<GraphClient>,
    pub(super) bridges: Arc<Bridges>,
    /// Who is served.
    pub(super) tenants: Arc<Tenants>,
    /// What the application was told already and nothing else remembers.
    pub(super) told: Memory,
    /// Who vouches for which addresses.
    pub(super) trunks: Vec<TrunkConfig>,
    /// Prompts by name.
    pub(super) prompts: HashMap<String, PathBuf>,
    /// What the native API knows.
    pub(super) book: Book,
    /// Who listens to it.
    pub(super) hub: Arc<EventHub>,
    /// Call detail records on their way to the disk.
    pub(super) records: Option<mpsc::Sender<Record>>,
    /// What outlives this process.
    pub(super) store: Arc<Store>,
    /// The webhook that is being dealt with.
    pub(super) receipt: Receipt,
    /// Webhooks whose events wait for a call to learn its id, and until when.
    pub(super) held: VecDeque<(Time, Receipt)>,
    /// Names calls and this run.
    pub(super) entropy: OsEntropy,
    /// The bridge of the call that is being dialled.
    pub(super) dial_bridge: Option<BridgeConfig>,
    /// The call that has just been dialled.
    pub(super) dialled: Option<ApiCallId>,
    /// A stop has begun. Unlike a drain that the API asked for, it cannot be taken back.
    pub(super) stopping: bool,
    pub(super) direct: Option<Arc<Direct>>,
    pub(super) ng: Option<Arc<Ng>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) watch: Watch,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) drain_max: Duration,
    pub(super) media: MediaTable,
    pub(super) replies: (mpsc::Sender<GraphReply>, mpsc::Receiver<GraphReply>),
    pub(super) in_flight: usize,
}

impl ControlTask {
    /// Runs until the stop is complete: drained or timed out, calls told to end, Graph answered or given up.
    pub(super) async fn run(mut self, mut inputs: Inputs, left: Left) {
        self.recover(left);
        let mut stop = Stop::Run;
        let mut give_up: Option<tokio::time::Instant> = None;
        loop {
            let wake = self.sessions.poll_timeout().map(|t| self.watch.instant(t));
            let figures = self.book.poll_timeout().map(|t| self.watch.instant(t));
            // While stopping, look every 50 ms whether the calls are gone: that is not an event anybody sends.
            let look = (stop != Stop::Run).then(|| tokio::time::Instant::now() + Duration::from_millis(50));
            let next = [wake, figures, look].into_iter().flatten().min();
            tokio::select! {
                Some(event) = inputs.engine.recv() => self.engine_event(event.0, event.1),
                Some(reply) = self.replies.1.recv() => self.graph_reply(reply),
                Some(delivery) = inputs.webhooks.recv() => self.webhook(delivery),
                Some(command) = inputs.host.recv() => self.host_command(command),
                () = sleep_until(next) => {
                    if wake.is_some_and(|w| w <= tokio::time::Instant::now()) {
                        self.feed(Input::Timeout);
                    }
                    if figures.is_some_and(|f| f <= tokio::time::Instant::now()) {
                        self.book.handle_timeout(self.at());
                        self.tell_events();
                    }
                }
                changed = inputs.stop.changed() => {
                    // A handle that is gone asks for nothing less than an explicit stop.
                    let wanted = if changed.is_err() { Stop::Now } else { *inputs.stop.borrow_and_update() };
                    if wanted > stop {
                        give_up = Some(self.begin_stop(wanted));
                        stop = wanted;
                    }
                    if changed.is_err() && stop == Stop::Now {
                        // `changed` would be ready for ever: from here on only the clock and the inputs count.
                        inputs.stop = watch::channel(Stop::Now).1;
                    }
                }
            }
            if let Some(deadline) = give_up {
                let over = tokio::time::Instant::now() >= deadline;
                // The end of a call is told after its place is free: a verdict may still wait for it.
                let quiet = self.engine.calls() == 0 && self.in_flight == 0 && self.media.is_empty() && self.book.is_quiet();
                if stop == Stop::Drain && over {
                    tracing::warn!(calls = self.engine.calls(), "drain time is over: ending the calls that are left");
                    give_up = Some(self.begin_stop(Stop::Now));
                    stop = Stop::Now;
                } else if quiet || over {
                    return;
                }
            }
        }
    }

    /// Starts a stage of the stop; returns when it is given up.
    fn begin_stop(&mut self, stage: Stop) -> tokio::time::Instant {
        self.stopping = true;
        self.draining.store(true, Ordering::Relaxed);
        self.engine.drain();
        if stage == Stop::Drain {
            tracing::info!(calls = self.engine.calls(), "draining");
            return tokio::time::Instant::now() + self.drain_max;
        }
        let calls: Vec<CallKey> = self.sessions.calls().map(|c| c.call).collect();
        for call in calls {
            self.feed(Input::Command { call, command: Command::Terminate });
        }
        if let Some(direct) = &self.direct {
            direct.close_all();
        }
        if let Some(ng) = &self.ng {
            ng.close_all();
        }
        tokio::time::Instant::now() + STOP_NOW_MAX
    }

    /// Takes up what the process before this one left: its calls are ended at Meta, what it was told and did not deal with is dealt with.
    fn recover(&mut self, left: Left) {
        let at = self.at();
        for wacid in &left.ended {
            self.sessions.entomb(wacid, at.now);
        }
        if !left.open.is_empty() || !left.deliveries.is_empty() {
            tracing::warn!(
                calls = left.open.len(),
                webhooks = left.deliveries.len(),
                "the process before this one died: taking up what it left"
            );
        }
        for (row, open) in left.open {
            let (key, number, wacid) = match open {
                OpenCall::Known { wacid, phone_number_id } => {
                    (self.sessions.recover(&wacid, phone_number_id.clone(), at.now), phone_number_id, Some(wacid))
                }
                OpenCall::Dialled(dial) => {
                    let number = dial.phone_number_id.clone();
                    (self.sessions.recover_dial(dial, at.now), number, None)
                }
            };
            self.store.adopted(key, row);
            self.book.recovered(key, &number, wacid, at, &mut self.entropy);
        }
        self.feed(Input::Timeout);
        for delivery in left.deliveries {
            self.webhook(delivery);
        }
    }

    fn webhook(&mut self, mut delivery: Delivery) {
        // Until the last event of it is told to whoever must hear it, it stays in the store.
        self.receipt = delivery.receipt.take().unwrap_or_default();
        let parked = self.sessions.counts().parked;
        self.deal_with(&mut delivery);
        let now = self.watch.now();
        while self.held.front().is_some_and(|(until, _)| *until <= now) {
            self.held.pop_front();
        }
        let receipt = std::mem::take(&mut self.receipt);
        if self.sessions.counts().parked > parked {
            self.held.push_back((now + PARKED_WAIT, receipt));
        }
    }

    fn deal_with(&mut self, delivery: &mut Delivery) {
        let before = self.sessions.counts();
        for (owner, event) in std::mem::take(&mut delivery.events) {
            //= meta#R-03  the event of a call becomes a call
            //= meta#R-04  another partner's number on the same app is none of our business
            let (what, wacid) = describe(&event);
            let what = match owner {
                Owner::Us => what,
                Owner::Observed => "observed",
                Owner::OtherApp => "other_app",
                Owner::Nobody => "other_number",
            };
            self.metrics.event(what, 1);
            self.watch.tell(DaemonEvent::WebhookEvent { what, wacid });
            match owner {
                Owner::Us => self.act_on(event),
                Owner::Observed => self.observe(&event),
                Owner::OtherApp | Owner::Nobody => {}
            }
        }
        let after = self.sessions.counts();
        self.metrics.event("duplicate", after.duplicates - before.duplicates);
        self.metrics.event("stale", after.stale - before.stale);
        self.metrics.event("after_the_end", after.tombstoned - before.tombstoned);
        self.metrics.event("changed_sdp", after.changed_sdp - before.changed_sdp);
    }

    fn act_on(&mut self, event: Event) {
        self.carry(&event);
        let (is_end, wacid) = match &event {
            Event::Terminate(t) => (true, Some(t.wacid.clone())),
            Event::Connect(c) => (false, Some(c.wacid.clone())),
            _ => (false, None),
        };
        let ended = is_end.then(|| event.clone());
        let is_known = wacid.as_ref().is_some_and(|w| self.sessions.by_wacid(w).is_some());
        self.feed(Input::Webhook(event));
        match wacid {
            Some(wacid) if is_end && !is_known => {
                self.store.ended(CallKey(0), Some(&wacid), unix_s());
                self.sip_ended(&wacid, ended);
            }
            Some(wacid) if !is_end => self.name(&wacid),
            _ => {}
        }
    }

    /// A call of a number with SIP: Meta told that it was created, and tells only its end after that (3.8).
    fn sip_ended(&mut self, wacid: &Wacid, event: Option<Event>) {
        let now = self.watch.now();
        if let Some(event) = event
            && self.told.contains(&("sip", wacid), now)
            && self.told.insert(&("sip ended", wacid), now)
        {
            self.book.observed(&event, self.at());
            self.tell_events();
        }
    }

    /// Tells the application of a call that is another partner's; nothing is asked of Graph for it.
    //= meta#R-06  receive, not send
    fn observe(&mut self, event: &Event) {
        match event {
            Event::Connect(_) | Event::Terminate(_) | Event::Status(_) => {
                if EventKey::of(event).is_some_and(|key| self.told.insert(&key, self.watch.now())) {
                    self.book.observed(event, self.at());
                    self.tell_events();
                }
            }
            _ => self.carry(event),
        }
    }

    /// Writes down the id of a call that we made, once it is known.
    fn name(&self, wacid: &Wacid) {
        if let Some(view) = self.sessions.by_wacid(wacid).and_then(|key| self.sessions.call(key))
            && view.outbound
        {
            self.store.named(view.call, &OpenCall::Known { wacid: wacid.clone(), phone_number_id: view.phone_number_id });
        }
    }

    /// Tells the application what is its business alone, once.
    fn carry(&mut self, event: &Event) {
        let at = self.at();
        match event {
            Event::Permission(reply) => {
                //= meta#R-35  told once
                let key = (reply.message_id.clone(), reply.accepted, reply.expires_unix_s);
                if reply.message_id.is_some() && !self.told.insert(&key, at.now) {
                    return self.metrics.event("duplicate", 1);
                }
                self.book.permission(reply, at);
            }
            Event::Carried(carried) => {
                if !self.told.insert(&(carried.kind, &carried.json), at.now) {
                    return self.metrics.event("duplicate", 1);
                }
                self.switch_profile(carried);
                if let ("call.created", Some(wacid)) = (carried.kind, &carried.wacid) {
                    self.told.insert(&("sip", wacid), at.now);
                }
                self.book.carried(carried, at);
            }
            Event::Errors { phone_number_id, errors } => self.book.meta_errors(phone_number_id.as_deref(), errors, at),
            _ => return,
        }
        self.tell_events();
    }

    /// Meta says that a number is keyed otherwise from now on: its next call is, its running ones stay as they are.
    //= whatsapp-calling#section-3.11  a change of `srtp_key_exchange_protocol` switches the SDP generator
    fn switch_profile(&mut self, carried: &Carried) {
        let (Some(number), Some(keying)) = (&carried.phone_number_id, envelope::keying_of_settings(carried)) else { return };
        if self.tenants.told_keying(number, keying) {
            tracing::warn!(
                number = &**number,
                ?keying,
                "Meta switched the keying of a number: its next calls follow; write it into the configuration"
            );
            self.sessions.set_sdes_numbers(self.tenants.now().sdes_numbers());
        }
    }

    fn graph_reply(&mut self, reply: GraphReply) {
        self.in_flight -= 1;
        self.metrics.graph(reply.action, &reply.outcome, reply.took);
        self.watch.tell(DaemonEvent::GraphReply {
            call: reply.call,
            action: reply.action,
            outcome: reply.outcome.clone(),
            took: reply.took,
        });
        let named = match &reply.outcome {
            GraphOutcome::Success { wacid } => wacid.clone(),
            _ => None,
        };
        self.feed(Input::GraphReply { request: reply.request, outcome: reply.outcome });
        if let Some(wacid) = named {
            self.name(&wacid);
        }
    }

    fn host_command(&mut self, command: HostCommand) {
        match command {
            HostCommand::Dial(dial) => self.feed(Input::Dial(dial)),
            HostCommand::Call(call, command) => self.feed(Input::Command { call, command }),
            HostCommand::Digits { call, symbols, tone_ms } => self.send_digits(call, symbols, tone_ms),
            HostCommand::Api(request) => self.api(*request),
            HostCommand::Recorded { call, result } => {
                self.book.recorded(call, result.as_ref().map(|(files, lost)| (files.as_slice(), *lost)).map_err(String::as_str), self.at());
                self.tell_events();
            }
            HostCommand::Tenants => self.sessions.set_sdes_numbers(self.tenants.now().sdes_numbers()),
        }
    }

    /// Passes digits on to the media call; a refusal comes back as an event. They are in no log: they may be a PIN.
    fn send_digits(&self, call: CallKey, symbols: Box<str>, tone_ms: Option<u32>) {
        let (engine, watch) = (Arc::clone(&self.engine), self.watch.clone());
        let refused = move |why| watch.tell(DaemonEvent::DigitsRefused { call, why });
        let Some(id) = self.media.call(call) else {
            return refused(SendDigitsError::Admit(AdmitError::NoSuchCall));
        };
        // The call answers with the next turn of its shard: nothing to wait for here.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(why) = engine.send_digits(id, &symbols, tone_ms, DIGITS_WAIT) {
                refused(why);
            }
        }));
    }

    fn engine_event(&mut self, call: CallId, event: CallEvent) {
        match &event {
            CallEvent::MediaReady => self.metrics.call_media_ready(),
            CallEvent::Ended(ended) => self.metrics.call_ended(ended),
            _ => {}
        }
        let Some(key) = self.media.key(call) else {
            let is_ng = || self.ng.as_ref().is_some_and(|ng| ng.handle_event(call, &event));
            if !self.direct.as_ref().is_some_and(|d| d.handle_event(call, &event)) && !is_ng() {
                tracing::debug!(?call, "event of a call that nobody owns");
            }
            return;
        };
        let is_left = self.media.is_left(call, &event);
        self.book.media(key, &event, self.at());
        self.watch.tell(DaemonEvent::Media { call: CallRef::Meta(key), event: event.clone() });
        let told = match event {
            CallEvent::LocalReady(params) => {
                self.media.set_local(call, &params);
                Some(EngineEvent::LocalReady(params))
            }
            CallEvent::MediaReady => Some(EngineEvent::MediaReady),
            CallEvent::FirstRtpIn => Some(EngineEvent::FirstMediaIn),
            CallEvent::Ended(ended) => {
                let local = self.media.ended(call).unwrap_or_default();
                self.bridges.forget(&CallRef::Meta(key));
                Some(EngineEvent::Ended { reason: ended.reason, evidence: Box::new(Evidence::of(&ended.stats, local)) })
            }
            _ => None,
        };
        match told {
            Some(event) => self.feed(Input::Engine { call: key, event }),
            // The audio server has left for good.
            None if is_left => self.feed(Input::Command { call: key, command: Command::Terminate }),
            None => self.tell_events(),
        }
    }

    /// Feeds one input and does everything that follows from it.
    pub(super) fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.sessions.handle(input, unix_s(), self.watch.now());
            while let Some(effect) = self.sessions.poll_effect() {
                if let Some(input) = self.perform(effect) {
                    inputs.push_back(input);
                }
            }
        }
        self.tell_events();
    }

    /// Does one thing. What follows from it at once comes back as an input.
    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Graph { request, call, phone_number_id, action } => {
                let (graph, replies, name, watch) = (Arc::clone(&self.graph), self.replies.0.clone(), action.name(), self.watch.clone());
                self.in_flight += 1;
                self.watch.tell(DaemonEvent::GraphRequest { call, action: name });
                let written = self.write_down(call, &phone_number_id, &action);
                tokio::spawn(async move {
                    if let Some(written) = written {
                        // If the disk fails the call goes on all the same; only a crash would leave it to Meta's own time-out.
                        let _ = written.await;
                    }
                    let started = watch.now();
                    let outcome = graph.post(&phone_number_id, &action).await;
                    let took = Duration::from_nanos(watch.now().since(started).as_nanos());
                    // The receiver is gone only when the daemon has stopped.
                    let _ = replies.send(GraphReply { request, call, action: name, outcome, took }).await;
                });
                None
            }
            Effect::OpenCall { call, remote } => self.open_call(call, remote).map(|event| Input::Engine { call, event }),
            Effect::SetRemote { call, remote } => {
                let id = self.media.call(call)?;
                self.set_remote(id, *remote).err().map(|event| Input::Engine { call, event })
            }
            Effect::OpenGate { call } => {
                if let Some(Err(e)) = self.media.call(call).map(|id| self.engine.open_gate(id)) {
                    // The call has ended or will; its own event says why.
                    tracing::warn!(?call, error = %e, "the gate did not open");
                }
                None
            }
            Effect::CloseCall { call, reason } => {
                if let Some(id) = self.media.let_go(call) {
                    self.close(id, reason);
                }
                None
            }
            Effect::Notify { call, wacid, notice } => self.notice(call, wacid, notice),
        }
    }

    /// From the first request on a call is open at Meta: that must be on the disk before the request is sent.
    fn write_down(&self, call: CallKey, number: &Arc<str>, action: &GraphAction) -> Option<tokio::sync::oneshot::Receiver<bool>> {
        let phone_number_id = number.clone();
        let open = match action {
            GraphAction::PreAccept { wacid, .. } | GraphAction::Accept { wacid, .. } | GraphAction::Reject { wacid } => {
                OpenCall::Known { wacid: wacid.clone(), phone_number_id }
            }
            GraphAction::Connect { to, recipient, biz_opaque, .. } => OpenCall::Dialled(Box::new(Dial {
                phone_number_id,
                to: to.clone(),
                recipient: recipient.clone(),
                biz_opaque: biz_opaque.clone(),
            })),
            GraphAction::Terminate { .. } => return None,
        };
        self.store.opening(call, &open)
    }

    /// Tells everybody, and answers a call of a number that answers by itself.
    fn notice(&mut self, call: CallKey, wacid: Option<Wacid>, notice: Notice) -> Option<Input> {
        let at = self.at();
        self.book.notice(call, wacid.as_ref(), &notice, at, &mut self.entropy);
        let follows = match &notice {
            Notice::Offered { phone_number_id, .. } => {
                let waits = self.tenants.now().number(phone_number_id).is_some_and(|number| number.waits);
                (!waits).then_some(Input::Command { call, command: Command::Accept })
            }
            Notice::Dialling { .. } => {
                self.dialled = self.book.id(call).cloned();
                None
            }
            _ => None,
        };
        self.watch.tell(DaemonEvent::Notice { call, wacid, notice });
        follows
    }

    /// What the session machine is to hear at once; nothing if STUN servers are still asked for our candidates.
    fn open_call(&mut self, call: CallKey, remote: Option<Box<RemoteParams>>) -> Option<EngineEvent> {
        let role = remote.as_ref().map_or(SetupRole::ActPass, |r| sdp::our_role(r.role));
        let number = self.sessions.call(call).map(|c| c.phone_number_id);
        let table = self.tenants.now();
        let of_number = || number.and_then(|n| table.number(&n)).map_or(BridgeConfig::ECHO, |n| n.bridge.clone());
        let bridge = self.dial_bridge.take().unwrap_or_else(of_number);
        let port = self.bridges.port(&bridge, &CallRef::Meta(call), &self.about(call));
        let (id, local) = match self.engine.open_call(role, port) {
            Ok(opened) => opened,
            Err(e) => {
                self.metrics.call_refused();
                return Some(EngineEvent::NotAdmitted(e));
            }
        };
        self.metrics.call_opened();
        self.media.opened(call, id, &local, bridge.clone());
        self.book.media_opened(call, bridge_name(&bridge));
        if bridge.record {
            self.book.recording(call, self.at());
        }
        self.watch.tell(DaemonEvent::MediaOpened { call: CallRef::Meta(call) });
        match self.bridges.attach_rtp(&self.engine, id, &bridge, &CallRef::Meta(call)) {
            Ok(rtp) => {
                if rtp.is_some() {
                    self.media.port_attached(call);
                }
                self.media.set_bridge(call, bridge, rtp);
            }
            Err(e) => {
                self.metrics.call_refused();
                self.media.let_go(call);
                self.close(id, EndReason::Cancelled);
                return Some(match e {
                    CommandError::Admit(e) => EngineEvent::NotAdmitted(e),
                    CommandError::Setup(e) => EngineEvent::NotSetUp(e),
                });
            }
        }
        match remote.map_or(Ok(()), |remote| self.set_remote(id, *remote)) {
            Ok(()) => local.complete.then(|| EngineEvent::LocalReady(Box::new(local))),
            Err(event) => Some(event),
        }
    }

    /// Gives a call its peer; if that fails the call is closed, and the session machine told why.
    fn set_remote(&mut self, id: CallId, remote: RemoteParams) -> Result<(), EngineEvent> {
        self.engine.set_remote(id, remote).map_err(|e| {
            self.metrics.call_refused();
            if let Some(key) = self.media.key(id) {
                self.media.let_go(key);
            }
            self.close(id, EndReason::Cancelled);
            match e {
                CommandError::Admit(e) => EngineEvent::NotAdmitted(e),
                CommandError::Setup(e) => EngineEvent::NotSetUp(e),
            }
        })
    }

    fn close(&self, id: CallId, reason: EndReason) {
        if let Err(e) = self.engine.close(id, reason) {
            tracing::debug!(error = %e, "close of a call that is gone");
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Label and call of a webhook event.
fn describe(event: &Event) -> (&'static str, Option<Wacid>) {
    match event {
        Event::Connect(c) => ("connect", Some(c.wacid.clone())),
        Event::Terminate(t) => ("terminate", Some(t.wacid.clone())),
        Event::Status(s) => ("status", Some(s.wacid.clone())),
        Event::Errors { .. } => ("errors", None),
        Event::Permission(_) => ("permission", None),
        Event::Carried(c) => ("carried", c.wacid.clone()),
        Event::Other { .. } => ("other", None),
        Event::NotCalls => ("not_calls", None),
    }
}

/// How long a webhook stays in the store whose event waits for a call to learn its id: a little longer than the session machine lets it wait.
const PARKED_WAIT: Span = Span::from_secs(21);
/// How long a call may take to say whether it takes digits: several turns of a shard.
const DIGITS_WAIT: Span = Span::from_millis(200);
/// How long an immediate stop waits for Graph to take the hang-ups.
const STOP_NOW_MAX: Duration = Duration::from_secs(3);
