//! What the native API knows of each call: a record, a time line, and one numbered stream of events.
//!
//! Given: notices of the session machine and events of the engine, with both clocks. Decides: names of states and events, and when the end of a call is told (once,
//! when signalling and media are both over). Refuses: to act on a call, and to keep anything without bound.

use crate::control::figures::stats_json;
use crate::session::{CallKey, CallStatusKind, Carried, Direction, Event, MetaError, Notice, Party, PermissionReply, Personal, Wacid};
use crate::shell::Receipt;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use tipring_engine::call::{CallEvent, CallStats, Ended};
use tipring_engine::rng::Entropy;
use tipring_engine::rtp::mos;
use tipring_engine::time::{Span, Time};

/// Names a call in the native API: 32 hex digits, random.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ApiCallId(Arc<str>);

impl ApiCallId {
    fn random(entropy: &mut dyn Entropy) -> Self {
        Self(format!("{:016x}{:016x}", entropy.u64(), entropy.u64()).into())
    }

    /// Takes what a URL named; nothing is known to exist by that.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as it stands in URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApiCallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// For spans.
    pub(crate) now: Time,
    /// For people: milliseconds since 1970.
    pub(crate) unix_ms: i64,
}

/// One event of the stream, as it is sent to everybody who may see it.
#[derive(Clone, Debug)]
pub(crate) struct ApiEvent {
    /// Its place in the stream of this process, from 1.
    pub(crate) number: u64,
    /// The call; deliveries of one call keep their order.
    pub(crate) call: Option<ApiCallId>,
    /// `call.offered` and so on.
    pub(crate) kind: &'static str,
    /// The whole event as JSON.
    pub(crate) json: Arc<str>,
    /// Holds the webhook that it tells of until it is delivered.
    pub(crate) receipt: Receipt,
}

/// One call as the API shows it.
struct Record {
    key: CallKey,
    wacid: Option<Wacid>,
    number_id: Arc<str>,
    outbound: bool,
    user: Party,
    opaque: Option<String>,
    state: &'static str,
    bridge: &'static str,
    created: At,
    accepted: Option<At>,
    /// Events told of this call.
    seq: u64,
    timeline: VecDeque<Value>,
    timeline_cut: u64,
    digits: u64,
    /// Whether the engine has, or had, a call for it that has not ended.
    media_open: bool,
    stats: Option<Box<CallStats>>,
    media_reason: Option<&'static str>,
    ending: Option<Value>,
    answered: bool,
}

/// Every call that the API can name. Live ones are bounded by the session machine, ended ones by [`ENDED_KEPT`].
pub(crate) struct Book {
    run: String,
    events: u64,
    calls: HashMap<ApiCallId, Record>,
    by_key: HashMap<CallKey, ApiCallId>,
    ended: VecDeque<ApiCallId>,
    /// Calls whose signalling is over and whose media has not said so yet: told without figures at that time.
    waiting: BTreeMap<(Time, CallKey), ()>,
    out: VecDeque<ApiEvent>,
    /// Direction and disposition of calls that were told to their end, for counters.
    results: VecDeque<(&'static str, &'static str)>,
    records: VecDeque<(CallKey, Option<Wacid>, Value)>,
}

impl Book {
    /// An empty book. `entropy` names this run, so that event ids of two runs never look alike.
    pub(crate) fn new(entropy: &mut dyn Entropy) -> Self {
        Self {
            run: format!("{:08x}", entropy.u64() as u32),
            events: 0,
            calls: HashMap::new(),
            by_key: HashMap::new(),
            ended: VecDeque::new(),
            waiting: BTreeMap::new(),
            out: VecDeque::new(),
            records: VecDeque::new(),
            results: VecDeque::new(),
        }
    }

    /// Takes a notice of the session machine.
    pub(crate) fn notice(&mut self, key: CallKey, wacid: Option<&Wacid>, notice: &Notice, at: At, entropy: &mut dyn Entropy) {
        if let Notice::Offered { phone_number_id, .. } | Notice::Dialling { phone_number_id, .. } | Notice::Missed { phone_number_id, .. } =
            notice
        {
            self.open(key, phone_number_id, matches!(notice, Notice::Dialling { .. }), at, entropy);
        } else if let (Notice::Ended(_), None) = (notice, self.by_key.get(&key)) {
            // Too late to be announced at all: it came and went in one notice.
            self.open(key, &Arc::from(""), false, at, entropy);
        }
        let Some(id) = self.by_key.get(&key).cloned() else { return };
        let Some(record) = self.calls.get_mut(&id) else { return };
        if record.wacid.is_none() {
            record.wacid = wacid.cloned();
        }
        let (kind, data) = match notice {
            Notice::Offered { user, deeplink_payload, cta_payload, .. } => {
                record.user = (**user).clone();
                let data = json!({ "direction": "inbound", "user": user_json(user), "deeplink_payload": deeplink_payload, "cta_payload": cta_payload });
                ("call.offered", data)
            }
            // `call.missed` follows with the end.
            Notice::Missed { user, .. } => {
                record.user = (**user).clone();
                return;
            }
            Notice::Dialling { user, biz_opaque, .. } => {
                (record.user, record.opaque) = ((**user).clone(), biz_opaque.clone());
                ("call.dialling", json!({ "direction": "outbound", "user": user_json(user), "opaque": biz_opaque }))
            }
            Notice::PreAccepted => ("call.preaccepted", json!({})),
            Notice::MediaReady => ("call.media_ready", json!({})),
            Notice::Accepted | Notice::Answered => {
                record.state = "active";
                record.accepted = Some(at);
                (if record.outbound { "call.answered" } else { "call.accepted" }, json!({}))
            }
            Notice::Status(CallStatusKind::Ringing) => {
                record.state = "ringing";
                ("call.ringing", json!({}))
            }
            // The pick-up is told by `Answered`, which also opens the gate.
            Notice::Status(CallStatusKind::Accepted) => return,
            Notice::Status(CallStatusKind::Rejected) => ("call.declined", json!({})),
            Notice::Warning(text) => ("call.warning", json!({ "text": text })),
            Notice::Ended(ending) => {
                record.state = "ending";
                record.answered = ending.answered;
                let verdict = &ending.verdict;
                let evidence: Map<String, Value> = verdict.evidence.iter().map(|(k, v)| ((*k).to_owned(), v.as_str().into())).collect();
                record.ending = Some(json!({
                    "disposition": disposition(ending.answered, &verdict.code),
                    "billed_s": ending.duration_s,
                    "confirmed_by_meta": ending.confirmed,
                    "verdict": {
                        "code": verdict.code, "text": verdict.sentence, "advice": verdict.advice, "evidence": evidence,
                        "cause": verdict.info().map(|info| info.cause.name()), "retry": verdict.info().map(|info| info.retry.name()),
                        "retry_after_s": verdict.info().and_then(|info| (info.retry_after_s > 0).then_some(info.retry_after_s)),
                    },
                }));
                if record.media_open {
                    self.waiting.insert((at.now + FIGURES_WAIT, key), ());
                } else {
                    self.finish(&id, at);
                }
                return;
            }
        };
        self.tell(&id, kind, data, at);
    }

    /// A call of the process before this one, which is only to be ended.
    pub(crate) fn recovered(&mut self, key: CallKey, number_id: &Arc<str>, wacid: Option<Wacid>, at: At, entropy: &mut dyn Entropy) {
        self.open(key, number_id, wacid.is_none(), at, entropy);
        if let Some(record) = self.by_key.get(&key).and_then(|id| self.calls.get_mut(id)) {
            record.wacid = wacid;
        }
    }

    /// The engine opened a call for `key`.
    pub(crate) fn media_opened(&mut self, key: CallKey, bridge: &'static str) {
        if let Some(record) = self.by_key.get(&key).and_then(|id| self.calls.get_mut(id)) {
            record.media_open = true;
            record.bridge = bridge;
        }
    }

    /// Takes an event of the engine.
    pub(crate) fn media(&mut self, key: CallKey, event: &CallEvent, at: At) {
        let Some(id) = self.by_key.get(&key).cloned() else { return };
        match event {
            CallEvent::Digit(digit) => {
                if let Some(record) = self.calls.get_mut(&id) {
                    record.digits += 1;
                }
                self.tell(&id, "call.dtmf", json!({ "digit": digit.symbol.to_string() }), at);
            }
            CallEvent::PortFinished { .. } => self.tell(&id, "call.play_finished", json!({}), at),
            CallEvent::Ended(ended) => self.media_ended(&id, ended, at),
            _ => {}
        }
    }

    fn media_ended(&mut self, id: &ApiCallId, ended: &Ended, at: At) {
        let Some(record) = self.calls.get_mut(id) else { return };
        record.media_open = false;
        record.media_reason = Some(ended.reason.code());
        record.stats = Some(Box::new(ended.stats.clone()));
        if record.ending.is_some() {
            self.finish(id, at);
        }
    }

    /// The audio of a call now comes from and goes to something else.
    pub(crate) fn bridged(&mut self, key: CallKey, bridge: &'static str, at: At) {
        let Some(id) = self.by_key.get(&key).cloned() else { return };
        if let Some(record) = self.calls.get_mut(&id) {
            record.bridge = bridge;
        }
        self.tell(&id, "call.bridged", json!({ "kind": bridge }), at);
    }

    /// A recording began.
    pub(crate) fn recording(&mut self, key: CallKey, at: At) {
        if let Some(id) = self.by_key.get(&key).cloned() {
            self.tell(&id, "call.recording_started", json!({}), at);
        }
    }

    /// A recording is complete, or failed; its call may be over by then.
    pub(crate) fn recorded(&mut self, key: CallKey, result: Result<(&[String], u64), &str>, at: At) {
        let found = self.by_key.get(&key).cloned().or_else(|| {
            let is_it = |id: &&ApiCallId| self.calls.get(*id).is_some_and(|record| record.key == key);
            self.ended.iter().rev().find(is_it).cloned()
        });
        let Some(id) = found else { return };
        match result {
            Ok((files, lost)) => self.tell(&id, "call.recording_finished", json!({ "files": files, "packets_lost": lost }), at),
            Err(why) => self.tell(&id, "call.recording_failed", json!({ "text": why }), at),
        }
    }

    /// A user allows calls, or takes that back.
    pub(crate) fn permission(&mut self, reply: &PermissionReply, at: At) {
        let text = |p: &Option<Personal>| p.as_ref().map(|p| p.reveal().to_owned());
        // A callback permission names the call that led to it (3.10).
        let context = reply.context_id.as_ref().and_then(|id| Wacid::new(id.reveal()));
        let call = context.as_ref().and_then(|id| self.calls.iter().find(|(_, r)| r.wacid.as_ref() == Some(id))).map(|(id, _)| id.as_str());
        let data = json!({
            "user": user_json(&reply.user), "accepted": reply.accepted, "permanent": reply.is_permanent, "expires_s": reply.expires_unix_s,
            "by_user": reply.by_user, "after_call": call, "message_id": text(&reply.message_id), "context_id": text(&reply.context_id),
        });
        self.push(None, "permission.reply", json!({ "number_id": reply.phone_number_id.as_deref(), "data": data }), at);
    }

    /// What Meta tells and only the application can use.
    pub(crate) fn carried(&mut self, carried: &Carried, at: At) {
        let data: Value = serde_json::from_str(carried.json.reveal()).unwrap_or(Value::Null);
        let call = carried.wacid.as_ref().and_then(|wacid| self.calls.iter().find(|(_, record)| record.wacid.as_ref() == Some(wacid)));
        let call = call.map(|(id, _)| id.clone());
        let body = json!({
            "call_id": call.as_ref().map(ApiCallId::as_str), "wacid": carried.wacid.as_ref().map(Wacid::as_str),
            "number_id": carried.phone_number_id.as_deref(), "data": data,
        });
        self.push(call, carried.kind, body, at);
    }

    /// A call that is another partner's on a number that we may receive for.
    pub(crate) fn observed(&mut self, event: &Event, at: At) {
        let (wacid, number, data) = match event {
            Event::Connect(c) => {
                let outbound = c.direction == Some(Direction::BusinessInitiated);
                let data =
                    json!({ "event": "connect", "direction": if outbound { "outbound" } else { "inbound" }, "user": user_json(&c.user) });
                (&c.wacid, &c.phone_number_id, data)
            }
            Event::Terminate(t) => {
                let errors: Vec<_> = t.errors.iter().map(|e| json!({ "code": e.code, "details": e.details })).collect();
                (&t.wacid, &t.phone_number_id, json!({ "event": "terminate", "billed_s": t.duration_s, "errors": errors }))
            }
            Event::Status(s) => {
                let status = match s.status {
                    CallStatusKind::Ringing => "ringing",
                    CallStatusKind::Accepted => "accepted",
                    CallStatusKind::Rejected => "rejected",
                };
                (&s.wacid, &s.phone_number_id, json!({ "event": status }))
            }
            _ => return,
        };
        self.push(None, "call.observed", json!({ "wacid": wacid.as_str(), "number_id": number.as_deref(), "data": data }), at);
    }

    /// Meta complains without naming a call.
    pub(crate) fn meta_errors(&mut self, number_id: Option<&str>, errors: &[MetaError], at: At) {
        let errors: Vec<_> = errors.iter().map(|e| json!({ "code": e.code, "details": e.details })).collect();
        self.push(None, "account.errors", json!({ "number_id": number_id, "data": { "errors": errors } }), at);
    }

    /// Direction and disposition of the next call that was told to its end.
    pub(crate) fn poll_result(&mut self) -> Option<(&'static str, &'static str)> {
        self.results.pop_front()
    }

    /// Whether every call has been told to its end.
    pub(crate) fn is_quiet(&self) -> bool {
        self.by_key.is_empty()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    /// Tells the end of calls whose media never said goodbye.
    pub(crate) fn handle_timeout(&mut self, at: At) {
        while let Some((&(due, key), ())) = self.waiting.first_key_value() {
            if due > at.now {
                return;
            }
            self.waiting.pop_first();
            if let Some(id) = self.by_key.get(&key).cloned() {
                self.finish(&id, at);
            }
        }
    }

    /// The next event for everybody who listens.
    pub(crate) fn poll_event(&mut self) -> Option<ApiEvent> {
        self.out.pop_front()
    }

    /// The next call detail record.
    pub(crate) fn poll_record(&mut self) -> Option<(CallKey, Option<Wacid>, Value)> {
        self.records.pop_front()
    }

    /// The id of this run, the first half of every event id.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// The key of a call that has not ended, or what is wrong with the id.
    pub(crate) fn key(&self, id: &ApiCallId) -> Result<CallKey, Lookup> {
        let record = self.calls.get(id).ok_or(Lookup::Unknown)?;
        if record.state == "ended" { Err(Lookup::Ended) } else { Ok(record.key) }
    }

    /// The id of a call.
    pub(crate) fn id(&self, key: CallKey) -> Option<&ApiCallId> {
        self.by_key.get(&key)
    }

    /// Whom to call back for a user's call that is over: business number, phone, business-scoped id.
    pub(crate) fn caller(&self, id: &ApiCallId) -> Option<(Arc<str>, Option<Personal>, Option<Personal>)> {
        let record = self.calls.get(id).filter(|record| !record.outbound && record.state == "ended" && !record.number_id.is_empty())?;
        Some((record.number_id.clone(), record.user.phone.clone(), record.user.user_id.clone()))
    }

    /// Whether we made the call.
    pub(crate) fn is_outbound(&self, id: &ApiCallId) -> bool {
        self.calls.get(id).is_some_and(|record| record.outbound)
    }

    /// Where the call stands.
    pub(crate) fn state(&self, id: &ApiCallId) -> Option<&'static str> {
        self.calls.get(id).map(|record| record.state)
    }

    /// One call.
    pub(crate) fn show(&self, id: &ApiCallId) -> Option<Value> {
        let record = self.calls.get(id)?;
        let mut out = json!({
            "id": id.as_str(),
            "wacid": record.wacid.as_ref().map(Wacid::as_str),
            "number_id": &*record.number_id,
            "direction": if record.outbound { "outbound" } else { "inbound" },
            "user": user_json(&record.user),
            "state": record.state,
            "bridge": record.bridge,
            "opaque": record.opaque,
            "created_ms": record.created.unix_ms,
            "accepted_ms": record.accepted.map(|at| at.unix_ms),
            "digits_in": record.digits,
        });
        if record.state == "ended" {
            out["ended"] = record.ending.clone().unwrap_or(Value::Null);
        }
        Some(out)
    }

    /// The calls, newest first; `state` filters.
    pub(crate) fn list(&self, state: Option<&str>, limit: usize) -> Value {
        let mut found: Vec<_> = self.calls.iter().filter(|(_, r)| state.is_none_or(|s| s == r.state)).collect();
        found.sort_by_key(|(_, record)| std::cmp::Reverse(record.created.now));
        let total = found.len();
        let calls: Vec<_> = found.into_iter().take(limit).filter_map(|(id, _)| self.show(id)).collect();
        json!({ "calls": calls, "total": total })
    }

    /// What happened to a call so far, oldest first.
    pub(crate) fn timeline(&self, id: &ApiCallId) -> Option<Value> {
        let record = self.calls.get(id)?;
        Some(json!({ "id": id.as_str(), "events": record.timeline, "events_forgotten": record.timeline_cut }))
    }

    /// The figures of an ended call.
    pub(crate) fn stats(&self, id: &ApiCallId) -> Option<Value> {
        self.calls.get(id)?.stats.as_deref().map(stats_json)
    }

    fn open(&mut self, key: CallKey, number_id: &Arc<str>, outbound: bool, at: At, entropy: &mut dyn Entropy) {
        let id = ApiCallId::random(entropy);
        let record = Record {
            key,
            wacid: None,
            number_id: number_id.clone(),
            outbound,
            user: Party::default(),
            opaque: None,
            state: if outbound { "dialling" } else { "offered" },
            bridge: "none",
            created: at,
            accepted: None,
            seq: 0,
            timeline: VecDeque::new(),
            timeline_cut: 0,
            digits: 0,
            media_open: false,
            stats: None,
            media_reason: None,
            ending: None,
            answered: false,
        };
        self.by_key.insert(key, id.clone());
        self.calls.insert(id, record);
    }

    fn finish(&mut self, id: &ApiCallId, at: At) {
        let Some(record) = self.calls.get_mut(id) else { return };
        let key = record.key;
        let mut data = record.ending.clone().unwrap_or_else(|| json!({}));
        data["direction"] = if record.outbound { "outbound" } else { "inbound" }.into();
        data["bridge"] = record.bridge.into();
        data["opaque"] = record.opaque.clone().into();
        data["digits_in"] = record.digits.into();
        data["duration_ms"] = record.accepted.map(|from| at.now.since(from.now).as_millis()).into();
        data["accept_ms"] = record.accepted.map(|accepted| accepted.now.since(record.created.now).as_millis()).into();
        data["media_end"] = record.media_reason.into();
        //= meta#R-10  no leg of ours can reach the PSTN, and each record attests it
        data["voip_only"] = true.into();
        if let Some(stats) = &record.stats {
            let remote = &stats.remote;
            data["media"] = stats_json(stats);
            data["rtt_ms"] = remote.rtt.or(stats.ice_rtt).map(|rtt| rtt.as_millis()).into();
            data["mos"] = quality(stats).into();
        }
        let is_missed = !record.outbound && !record.answered && MISSED.contains(&data["disposition"].as_str().unwrap_or_default());
        let missed = (is_missed && !record.number_id.is_empty()).then(|| {
            json!({ "user": user_json(&record.user), "disposition": data["disposition"], "callback": format!("/v1/calls/{id}/callback") })
        });
        let result = DISPOSITIONS.into_iter().find(|d| data["disposition"] == *d).unwrap_or("failed");
        self.results.push_back((if record.outbound { "outbound" } else { "inbound" }, result));
        if self.results.len() > RECORDS_MAX {
            self.results.pop_front();
        }
        record.state = "ended";
        record.ending = Some(data.clone());
        //= meta#R-07  number, opaque data, direction, duration
        let mut cdr = json!({
            "id": id.as_str(), "wacid": record.wacid.as_ref().map(Wacid::as_str), "number_id": &*record.number_id, "user": user_json(&record.user),
            "created_ms": record.created.unix_ms, "accepted_ms": record.accepted.map(|a| a.unix_ms), "ended_ms": at.unix_ms, "answered": record.answered,
        });
        if let (Some(cdr), Some(data)) = (cdr.as_object_mut(), data.as_object()) {
            cdr.extend(data.clone());
        }
        if self.records.len() >= RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back((key, record.wacid.clone(), cdr));
        if let Some(missed) = missed {
            self.tell(id, "call.missed", missed, at);
        }
        self.tell(id, "call.ended", data, at);
        self.waiting.retain(|(_, waiting), ()| *waiting != key);
        self.by_key.remove(&key);
        self.ended.push_back(id.clone());
        while self.ended.len() > ENDED_KEPT {
            if let Some(oldest) = self.ended.pop_front() {
                self.calls.remove(&oldest);
            }
        }
    }

    fn tell(&mut self, id: &ApiCallId, kind: &'static str, data: Value, at: At) {
        let Some(record) = self.calls.get_mut(id) else { return };
        record.seq += 1;
        if record.timeline.len() >= TIMELINE_MAX {
            record.timeline.pop_front();
            record.timeline_cut += 1;
        }
        record.timeline.push_back(json!({
            "at_ms": at.unix_ms, "after_ms": at.now.since(record.created.now).as_millis(), "type": kind, "data": data.clone(),
        }));
        let body = json!({
            "seq": record.seq, "call_id": id.as_str(), "wacid": record.wacid.as_ref().map(Wacid::as_str), "number_id": &*record.number_id, "data": data,
        });
        self.push(Some(id.clone()), kind, body, at);
    }

    fn push(&mut self, call: Option<ApiCallId>, kind: &'static str, mut body: Value, at: At) {
        self.events += 1;
        body["event_id"] = format!("{}-{}", self.run, self.events).into();
        body["ts_ms"] = at.unix_ms.into();
        body["type"] = kind.into();
        // The control task drains after each input, so this bound is only a net.
        if self.out.len() >= EVENTS_WAITING_MAX {
            self.out.pop_front();
        }
        self.out.push_back(ApiEvent { number: self.events, call, kind, json: body.to_string().into(), receipt: Receipt::default() });
    }
}

/// Why an id names no call that can be acted on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lookup {
    /// Never seen, or long ended.
    Unknown,
    /// Over.
    Ended,
}

/// The person on the phone. The application may see numbers; logs never do.
fn user_json(user: &Party) -> Value {
    let text = |p: &Option<Personal>| p.as_ref().map(|p| p.reveal().to_owned());
    json!({ "phone": text(&user.phone), "user_id": text(&user.user_id), "parent_user_id": text(&user.parent_user_id), "name": text(&user.name) })
}

/// Every disposition.
const DISPOSITIONS: [&str; 7] = ["completed", "not_answered", "rejected", "declined", "cancelled", "taken_elsewhere", "failed"];
/// Dispositions of a user's call that should be called back: the user wanted to talk and nobody did.
const MISSED: [&str; 3] = ["not_answered", "failed", "cancelled"];

fn disposition(answered: bool, code: &str) -> &'static str {
    match code {
        _ if answered => "completed",
        "NOT_ANSWERED" | "WEBHOOK_STALE" => "not_answered",
        "REJECTED" | "DRAINING" => "rejected",
        "USER_DECLINED" => "declined",
        "CANCELLED" | "HANG_UP" => "cancelled",
        "TAKEN_ELSEWHERE" => "taken_elsewhere",
        _ => "failed",
    }
}

/// Estimated listening quality of what the peer sent, 1.0 to 4.5; none without media.
fn quality(stats: &CallStats) -> Option<f64> {
    let packets = stats.remote.packets;
    if packets == 0 {
        return None;
    }
    let jitter = &stats.jitter;
    let lost = jitter.concealed + jitter.late;
    let loss = lost as f32 / (jitter.played + lost).max(1) as f32;
    let rtt = stats.remote.rtt.or(stats.ice_rtt).unwrap_or(Span::ZERO);
    Some((f64::from(mos::estimate(loss, rtt, Span::from_micros(jitter.target_us))) * 100.0).round() / 100.0)
}

/// Ended calls that can still be looked at.
const ENDED_KEPT: usize = 1_024;
/// Events of one call that are kept; the oldest go first.
const TIMELINE_MAX: usize = 256;
/// Events that wait to be taken.
const EVENTS_WAITING_MAX: usize = 4_096;
/// Call detail records that wait to be written.
const RECORDS_MAX: usize = 4_096;
/// How long the end of a call waits for the figures of its media.
const FIGURES_WAIT: Span = Span::from_secs(2);

#[cfg(test)]
mod tests;
