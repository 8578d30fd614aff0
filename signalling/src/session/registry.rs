//! All calls of this process: which call an input is for, and whether it is for any (1.6).
//!
//! Given: inputs, wall-clock seconds, and time. Decides: duplicates, tombstones, staleness, parking of events that outrun the reply to our own
//! `connect`. Refuses: what happens inside a call (`call.rs`), whose numbers these are (the shell routes), HTTP.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tipring_engine::error::AdmitError;
use tipring_engine::time::{Span, Time};

use super::call::{Call, Context, Phase, Requests, process_died};
use super::contract::{CallKey, CallView, Dial, Effect, Ending, Input, Notice, SessionConfig};
use super::outbound::dialling;
use super::types::{CallConnect, CallTerminate, Direction, Event, SdpType, Wacid};
use crate::verdict::Verdict;
use crate::webhook::dedup::{EventKey, Memory};

/// What happened so far, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Events seen before.
    pub duplicates: u64,
    /// `connect` events too old to be answered.
    pub stale: u64,
    /// Events for calls that had ended already.
    pub tombstoned: u64,
    /// Events we do not act on: unknown words, unknown calls, no number to answer for.
    pub unknown_events: u64,
    /// Calls refused because there were too many.
    pub refused_full: u64,
    /// Second descriptions for a call, ignored: there is no renegotiation.
    pub changed_sdp: u64,
    /// Events that waited for the reply to our own `connect`.
    pub parked: u64,
}

/// Every call of this process, by id. Feed with [`Self::handle`], then drain [`Self::poll_effect`], then ask [`Self::poll_timeout`].
pub struct Sessions {
    config: SessionConfig,
    calls: BTreeMap<CallKey, Call>,
    key_by_wacid: HashMap<Wacid, CallKey>,
    requests: Requests,
    timers: BTreeSet<(Time, CallKey)>,
    timer_by_call: HashMap<CallKey, Time>,
    effects: VecDeque<Effect>,
    seen: Memory,
    tombstones: Memory,
    parked: VecDeque<(Time, Event)>,
    next_key: u64,
    counts: Counts,
}

impl Sessions {
    /// No calls yet.
    pub fn new(config: SessionConfig) -> Self {
        Self {
            calls: BTreeMap::new(),
            key_by_wacid: HashMap::new(),
            requests: Requests::default(),
            timers: BTreeSet::new(),
            timer_by_call: HashMap::new(),
            effects: VecDeque::new(),
            seen: Memory::new(REMEMBERED_MAX, config.tombstone_ttl),
            tombstones: Memory::new(REMEMBERED_MAX, config.tombstone_ttl),
            parked: VecDeque::new(),
            next_key: 1,
            counts: Counts::default(),
            config,
        }
    }

    /// Takes one input. `unix_s` is the wall clock in seconds, compared with Meta's timestamps only. Drain the effects before the next one.
    pub fn handle(&mut self, input: Input, unix_s: i64, now: Time) {
        match input {
            Input::Webhook(event) => self.handle_event(event, unix_s, now),
            Input::GraphReply { request, outcome } => {
                // A reply that comes after its deadline, or after the end of its call, has no call any more.
                if let Some(&key) = self.requests.call_by_request.get(&request) {
                    self.with_call(key, now, |call, cx| call.handle_reply(&outcome, cx));
                    self.adopt_parked(key, now);
                    self.unpark(key, now);
                }
            }
            Input::Engine { call, event } => self.with_call(call, now, |call, cx| call.handle_engine(event, cx)),
            Input::Command { call, command } => self.with_call(call, now, |call, cx| call.handle_command(command, cx)),
            Input::Dial(dial) => self.dial(dial, unix_s, now),
            Input::Timeout => self.handle_timeout(now),
        }
    }

    /// A call that was open when the process before this one died: it is ended at Meta. Its end is told like any other.
    pub fn recover(&mut self, wacid: &Wacid, phone_number_id: Arc<str>, now: Time) -> CallKey {
        let key = self.new_key();
        let mut call = Call::new(key, Some(wacid.clone()), phone_number_id, now);
        // Meta may know our SDP, so `terminate` and not `reject`.
        call.touched = true;
        self.key_by_wacid.insert(wacid.clone(), key);
        self.calls.insert(key, call);
        self.with_call(key, now, |call, cx| call.end(process_died(), cx));
        key
    }

    /// A call whose `connect` the process before this one may have posted: it is ended as soon as a webhook tells its id.
    pub fn recover_dial(&mut self, dial: Box<Dial>, now: Time) -> CallKey {
        let key = self.new_key();
        let until = now + self.config.ring_deadline;
        let mut call = Call::new(key, None, dial.phone_number_id.clone(), until);
        call.dial = Some(dial);
        call.is_orphan = true;
        call.phase = Phase::AwaitingId { until };
        self.calls.insert(key, call);
        self.with_call(key, now, |_, _| {});
        key
    }

    /// A call that had ended before this process began.
    pub fn entomb(&mut self, wacid: &Wacid, now: Time) {
        self.tombstones.insert(wacid, now);
    }

    /// From now on calls of these numbers are keyed by SDES; running calls stay as they are.
    pub fn set_sdes_numbers(&mut self, numbers: BTreeSet<Arc<str>>) {
        self.config.sdes_numbers = numbers;
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to feed [`Input::Timeout`]. Asked after the effects are drained.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// The calls there are, in the order they came.
    pub fn calls(&self) -> impl Iterator<Item = CallView> + '_ {
        self.calls.values().map(Call::view)
    }

    /// One call; `None` once it has ended.
    pub fn call(&self, call: CallKey) -> Option<CallView> {
        self.calls.get(&call).map(Call::view)
    }

    /// The call with this id at Meta.
    pub fn by_wacid(&self, wacid: &Wacid) -> Option<CallKey> {
        self.key_by_wacid.get(wacid).copied()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn handle_event(&mut self, event: Event, unix_s: i64, now: Time) {
        let Some(event_key) = EventKey::of(&event) else {
            self.counts.unknown_events += u64::from(matches!(event, Event::Other { .. } | Event::Errors { .. }));
            return;
        };
        if let Event::Connect(connect) = &event
            && let Some(key) = self.by_wacid(&connect.wacid)
            && self.is_changed_sdp(key, connect, now)
        {
            return;
        }
        //= meta#R-35  the same event acts once
        if !self.seen.insert(&event_key, now) {
            self.counts.duplicates += 1;
            return;
        }
        self.dispatch(event, unix_s, now);
    }

    fn dispatch(&mut self, event: Event, unix_s: i64, now: Time) {
        let wacid = match &event {
            Event::Connect(connect) => &connect.wacid,
            Event::Terminate(terminate) => &terminate.wacid,
            Event::Status(status) => &status.wacid,
            Event::Errors { .. } | Event::Permission(_) | Event::Carried(_) | Event::Other { .. } | Event::NotCalls => return,
        };
        let known = self.by_wacid(wacid);
        match (event, known) {
            (Event::Connect(connect), Some(key)) => {
                if self.calls.get(&key).is_some_and(|call| call.is_outbound() && call.remote_text.is_none()) {
                    self.with_call(key, now, |call, cx| call.handle_answer(&connect, cx));
                } else {
                    // The same once more, under another timestamp.
                    self.counts.duplicates += 1;
                }
            }
            (Event::Terminate(terminate), Some(key)) => self.with_call(key, now, |call, cx| call.handle_terminate(&terminate, cx)),
            (Event::Status(status), Some(key)) => self.with_call(key, now, |call, cx| call.handle_status(status.status, cx)),
            (Event::Connect(connect), None) => self.handle_unknown_connect(connect, unix_s, now),
            (Event::Terminate(terminate), None) => self.handle_unknown_terminate(terminate, now),
            (event @ Event::Status(_), None) => self.park(event, now),
            _ => {}
        }
    }

    fn handle_unknown_connect(&mut self, connect: Box<CallConnect>, unix_s: i64, now: Time) {
        let is_answer = match (connect.direction, &connect.sdp) {
            (Some(direction), _) => direction == Direction::BusinessInitiated,
            (None, Some((SdpType::Answer, _))) => true,
            (None, _) => false,
        };
        //= meta#R-36  `terminate` came first: the late `connect` is ignored
        if self.tombstones.contains(&connect.wacid, now) {
            // For a call of ours the reply to `connect` may still be on its way; the parked events will tell the story in order.
            self.counts.tombstoned += 1;
        } else if !is_answer {
            self.open_inbound(&connect, unix_s, now);
        } else if let Some(key) = self.calls.values().find(|call| call.adopts(&connect)).map(|call| call.key) {
            self.with_call(key, now, |call, cx| call.handle_answer(&connect, cx));
            self.unpark(key, now);
        } else {
            self.park(Event::Connect(connect), now);
        }
    }

    fn handle_unknown_terminate(&mut self, terminate: Box<CallTerminate>, now: Time) {
        if !self.tombstones.insert(&terminate.wacid, now) {
            self.counts.tombstoned += 1;
        } else if self.is_awaiting_id() {
            self.park(Event::Terminate(terminate), now);
        }
    }

    fn open_inbound(&mut self, connect: &CallConnect, unix_s: i64, now: Time) {
        let Some(phone_number_id) = connect.phone_number_id.clone() else {
            self.counts.unknown_events += 1;
            return;
        };
        let key = self.new_key();
        let age = connect.timestamp_unix_s.map_or(0, |sent| unix_s.saturating_sub(sent).max(0)) as u64;
        let window = self.config.accept_window;
        //= meta#R-37  too old to be answered: missed, and no request is made for it
        if Span::from_secs(age) > window {
            self.counts.stale += 1;
            self.tombstones.insert(&connect.wacid, now);
            let mut verdict = Verdict::fixed(
                "WEBHOOK_STALE",
                "the webhook of the call came too late to answer it",
                "answer webhooks with 200 within a second, and look for outages in front of us",
            );
            verdict.evidence.push(("age_s", age.to_string()));
            let ending = Ending { verdict, answered: false, duration_s: None, confirmed: false };
            // Who called is told, so that somebody may call back.
            let missed = Notice::Missed { phone_number_id, user: Box::new(connect.user.clone()) };
            for notice in [missed, Notice::Ended(Box::new(ending))] {
                self.effects.push_back(Effect::Notify { call: key, wacid: Some(connect.wacid.clone()), notice });
            }
            return;
        }
        let is_full = self.calls.len() >= self.config.calls_max;
        if is_full {
            self.counts.refused_full += 1;
            // Calls that are only being rejected are bounded as well; beyond that Meta's own time-out has to do.
            if self.calls.len() >= self.config.calls_max.saturating_mul(2) {
                self.tombstones.insert(&connect.wacid, now);
                return;
            }
        }
        //= meta#R-33  what is left of the window
        let give_up = now + (window - Span::from_secs(age));
        let mut call = Call::new(key, Some(connect.wacid.clone()), phone_number_id, give_up);
        call.keying = self.config.key_exchange(&call.phone_number_id);
        let session_id = session_id(unix_s, key);
        self.key_by_wacid.insert(connect.wacid.clone(), key);
        self.calls.insert(key, call);
        self.with_call(key, now, |call, cx| {
            if is_full { call.end(Verdict::of_admit(AdmitError::Calls), cx) } else { call.start_inbound(connect, session_id, cx) }
        });
    }

    fn dial(&mut self, dial: Box<Dial>, unix_s: i64, now: Time) {
        let key = self.new_key();
        let mut call = Call::new(key, None, dial.phone_number_id.clone(), now + self.config.ring_deadline);
        call.keying = self.config.key_exchange(&call.phone_number_id);
        let is_full = self.calls.len() >= self.config.calls_max;
        self.counts.refused_full += u64::from(is_full);
        self.calls.insert(key, call);
        let session_id = session_id(unix_s, key);
        self.with_call(key, now, |call, cx| {
            if is_full {
                call.notify(dialling(&dial), cx);
                call.end(Verdict::of_admit(AdmitError::Calls), cx);
            } else {
                call.start_outbound(dial, session_id, cx);
            }
        });
    }

    fn handle_timeout(&mut self, now: Time) {
        // Each pass removes or moves the timer it handles; a call has few deadlines, so a bound far above that is only a net.
        for _ in 0..self.timers.len().saturating_mul(8).saturating_add(8) {
            match self.timers.first() {
                Some(&(at, key)) if at <= now => {
                    self.with_call(key, now, Call::handle_timeout);
                    self.adopt_parked(key, now);
                    self.unpark(key, now);
                }
                _ => break,
            }
        }
    }

    /// Whether this `connect` brings another description than the call has: said loudly, then ignored (1.6).
    //= meta#R-41  a second description is ignored loudly
    fn is_changed_sdp(&mut self, key: CallKey, connect: &CallConnect, now: Time) -> bool {
        let text = connect.sdp.as_ref().map(|(_, text)| text);
        let is_changed =
            self.calls.get(&key).is_some_and(|call| call.remote_text.is_some() && text.is_some() && call.remote_text.as_ref() != text);
        if is_changed {
            self.counts.changed_sdp += 1;
            let warning = Notice::Warning("a second `connect` brought another SDP: ignored, calls cannot be renegotiated");
            self.with_call(key, now, |call, cx| call.notify(warning, cx));
        }
        is_changed
    }

    /// Keeps an event for a call that Meta may not have named to us yet (3.5).
    fn park(&mut self, event: Event, now: Time) {
        if !self.is_awaiting_id() {
            self.counts.unknown_events += 1;
            return;
        }
        while self.parked.front().is_some_and(|&(until, _)| until <= now) || self.parked.len() >= PARKED_MAX {
            self.parked.pop_front();
        }
        self.counts.parked += 1;
        self.parked.push_back((now + PARKED_TTL, event));
    }

    /// The reply to a `connect` is lost, and its webhook came before that was noticed: it is waiting.
    fn adopt_parked(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get(&key) else { return };
        let is_its = |(until, event): &(Time, Event)| *until > now && matches!(event, Event::Connect(connect) if call.adopts(connect));
        let Some(at) = self.parked.iter().position(is_its) else { return };
        let Some((_, Event::Connect(connect))) = self.parked.remove(at) else { return };
        let over = self.parked.iter().find_map(|(until, event)| match event {
            Event::Terminate(terminate) if *until > now && terminate.wacid == connect.wacid => Some(terminate.clone()),
            _ => None,
        });
        self.with_call(key, now, |call, cx| match over {
            // We had given it up, and Meta has ended it meanwhile: there is nothing left for us to end.
            Some(terminate) if call.is_orphan => {
                call.wacid = Some(connect.wacid.clone());
                call.handle_terminate(&terminate, cx);
            }
            _ => call.handle_answer(&connect, cx),
        });
    }

    /// Hands parked events to the call that has just learned its id.
    fn unpark(&mut self, key: CallKey, now: Time) {
        let Some(wacid) = self.calls.get(&key).filter(|call| call.is_outbound()).and_then(|call| call.wacid.clone()) else { return };
        let mut mine = Vec::new();
        self.parked.retain(|(until, event)| {
            let is_mine = EventKey::of(event).is_some_and(|event_key| event_key.wacid == wacid);
            if is_mine && *until > now {
                mine.push(event.clone());
            }
            !is_mine && *until > now
        });
        for event in mine {
            // The wall clock only matters for new calls, and this one is known.
            self.dispatch(event, 0, now);
        }
    }

    /// Whether some call of ours may own an id that we have not heard of.
    fn is_awaiting_id(&self) -> bool {
        self.calls.values().any(|call| call.is_outbound() && call.wacid.is_none())
    }

    /// Runs `f` on a call and keeps the indexes in step with what it did.
    fn with_call(&mut self, key: CallKey, now: Time, f: impl FnOnce(&mut Call, &mut Context<'_>)) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        f(call, &mut Context { config: &self.config, effects: &mut self.effects, requests: &mut self.requests, now });
        let wacid = call.wacid.clone();
        let is_done = call.phase == Phase::Done;
        let deadline = call.next_deadline().filter(|_| !is_done);
        if let Some(old) = self.timer_by_call.remove(&key) {
            self.timers.remove(&(old, key));
        }
        if let Some(at) = deadline {
            self.timers.insert((at, key));
            self.timer_by_call.insert(key, at);
        }
        if is_done {
            self.calls.remove(&key);
            if let Some(wacid) = wacid {
                self.key_by_wacid.remove(&wacid);
                self.tombstones.insert(&wacid, now);
            }
        } else if let Some(wacid) = wacid {
            self.key_by_wacid.entry(wacid).or_insert(key);
        }
    }

    fn new_key(&mut self) -> CallKey {
        let key = CallKey(self.next_key);
        self.next_key += 1;
        key
    }
}

/// For `o=`: unique by second and call (RFC 8866 section 5.2).
fn session_id(unix_s: i64, key: CallKey) -> u64 {
    (unix_s as u64) << 31 | (key.0 & 0x7fff_ffff)
}

/// Events and ended calls that are remembered: at 100 calls/s more than 15 minutes, at usual rates the whole 48 h.
const REMEMBERED_MAX: usize = 200_000;
const PARKED_MAX: usize = 256;
/// Longer than a reply to `connect` may take before it counts as lost.
const PARKED_TTL: Span = Span::from_secs(20);
