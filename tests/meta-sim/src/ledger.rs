//! Meta's side of many calls, without their media: numbers, apps, partners, users, webhooks that come twice, late, out of order and in batches, Graph that fails.
//!
//! Given: requests as bytes, answers to webhooks, the time, a seed. Decides: what happens to each call and who hears of it. Refuses: sockets and media (`shell.rs`, `relay.rs`).
//! What the business did is judged by [`Ledger::judge`] (`ledger/judge.rs`). After every `handle_*`, drain [`Ledger::poll_webhook`] and ask [`Ledger::poll_timeout`].

mod judge;
#[cfg(test)]
mod tests;

pub use judge::{Figures, Judgement};

use crate::graph::{self, Account, Action, ActionKind, Reply, invalid};
use crate::webhooks::{Ending, Writer, sign};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};

/// How often things go wrong, each in calls, webhooks or requests per thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A webhook comes twice.
    pub duplicated: u64,
    /// A webhook is held up by as much as three seconds, so that later ones overtake it.
    pub delayed: u64,
    /// A webhook waits for others of its app and comes with them in one body, sometimes with messages.
    pub batched: u64,
    /// A request never arrives.
    pub request_lost: u64,
    /// A request is acted on, and its reply never arrives.
    pub reply_lost: u64,
    /// A request is answered 5xx and not acted on.
    pub refused_5xx: u64,
    /// A call of a shared number is taken by the other partner.
    pub partner_takes: u64,
    /// The user gives the call up before anybody can answer: `terminate` may overtake `connect`.
    pub given_up: u64,
}

/// A business number, and who hears of its calls.
#[derive(Clone, Debug)]
pub struct Number {
    /// Ids and token.
    pub account: Account,
    /// Secrets of the apps that are subscribed; each gets every event.
    pub app_secrets: Vec<String>,
    /// Another partner, whom we do not know, answers some of its calls.
    pub has_partner: bool,
}

/// Everything a ledger starts from.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Of all chance.
    pub seed: u64,
    /// Milliseconds since 1970 at the origin of time.
    pub unix_ms: u64,
    /// The numbers there are.
    pub numbers: Vec<Number>,
    /// What goes wrong.
    pub rates: Rates,
    /// SDP of users who call.
    pub offer: String,
    /// SDP of users who are called.
    pub answer: String,
    /// How long a user who calls waits.
    pub patience: Span,
    /// How long Meta waits for media that has stopped.
    pub silence_max: Span,
}

/// A webhook on its way.
#[derive(Clone)]
pub struct Post {
    /// Names it for [`Ledger::handle_webhook_answer`].
    pub id: u64,
    /// Raw body.
    pub body: Vec<u8>,
    /// Value of `X-Hub-Signature-256`.
    pub signature: String,
    /// Calls and events inside: `connect`, `terminate`, `RINGING`, `ACCEPTED`, `REJECTED`.
    pub events: Vec<(String, String)>,
    secret: String,
}

/// What becomes of a request, and when the business may know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wire {
    /// The reply arrives after this time.
    Reply(Reply, Span),
    /// Nothing ever comes back.
    Silence,
}

/// Who ended a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EndedBy {
    /// The user.
    User,
    /// We.
    Business,
    /// The partner who had taken it.
    Partner,
    /// Meta, because nobody sent media any more.
    Silence,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ringing,
    PreAccepted,
    /// Taken by us, or by the user whom we called.
    Active,
    /// Taken by the other partner.
    Elsewhere,
    Ended(EndedBy),
}

/// A request as it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    kind: ActionKind,
    at: Time,
    arrived: bool,
    /// It changed something.
    acted: bool,
    /// The business got a reply that it can rely on: success, or a refusal that is no 5xx.
    is_sure: bool,
    /// The reply said that somebody else has the call.
    said_taken: bool,
}

struct Entry {
    is_inbound: bool,
    number: usize,
    user: String,
    opaque: Option<String>,
    created: Time,
    state: State,
    sdps: Vec<String>,
    picked_up: Option<Time>,
    /// When the user hangs up after the pick-up; none: the business has to.
    talks_for: Option<Span>,
    /// When the called user decides, and how.
    decides: Option<(Time, bool)>,
    partner_at: Option<Time>,
    gives_up_at: Time,
    silent_since: Option<Time>,
    asked: Vec<Asked>,
    ended_at: Option<Time>,
    /// Apps, by their secrets, and events that each has answered 200.
    heard: Vec<(String, String)>,
    /// When its end had been answered 200 by every app.
    told_at: Option<Time>,
    /// When its `connect` had been answered 200 by every app.
    announced_at: Option<Time>,
}

/// All calls of some numbers at Meta.
pub struct Ledger {
    config: LedgerConfig,
    dice: SeededRng,
    calls: BTreeMap<String, Entry>,
    /// When something happens to a call by itself.
    timers: BTreeSet<(Time, String)>,
    timer_by_call: HashMap<String, Time>,
    next: u64,
    due: BTreeMap<(Time, u64), Post>,
    /// Bodies that wait for company, by secret, and until when.
    gathering: BTreeMap<String, (Time, Vec<Post>)>,
    under_way: BTreeMap<u64, Post>,
    answered: Vec<(u64, Vec<(String, String)>)>,
    posts: u64,
    duplicates: u64,
    batches: u64,
    refused: u64,
}

impl Ledger {
    /// No calls yet.
    pub fn new(config: LedgerConfig) -> Self {
        let dice = SeededRng::new(config.seed);
        Self {
            config,
            dice,
            calls: BTreeMap::new(),
            timers: BTreeSet::new(),
            timer_by_call: HashMap::new(),
            next: 1,
            due: BTreeMap::new(),
            gathering: BTreeMap::new(),
            under_way: BTreeMap::new(),
            answered: Vec::new(),
            posts: 0,
            duplicates: 0,
            batches: 0,
            refused: 0,
        }
    }

    /// A user calls a number. Returns the call's id.
    pub fn user_calls(&mut self, number: usize, now: Time) -> String {
        let id = self.open(true, number, format!("4477009{:05}", self.next % 100_000), None, now);
        let rates = self.config.rates;
        let has_partner = self.config.numbers[number].has_partner;
        let is_taken = has_partner && self.chance(rates.partner_takes);
        let is_given_up = self.chance(rates.given_up);
        let (partner_after, gives_up_after) = (self.within(50, 1_500), self.within(0, 3_000));
        let entry = self.calls.get_mut(&id).expect("just opened");
        entry.partner_at = is_taken.then_some(now + partner_after);
        if is_given_up {
            entry.gives_up_at = now + gives_up_after;
        }
        self.rearm(&id);
        self.tell(&id, "connect", now);
        id
    }

    /// A user writes to a number: a message among nothing else, for every app of the number. Returns what it says.
    pub fn user_writes(&mut self, number: usize, now: Time) -> String {
        let text = format!("message {}", self.next);
        let number = self.config.numbers[number].clone();
        let message = json!({"from": "447700900001", "id": format!("wamid.{}", self.next), "type": "text", "text": {"body": text}});
        let metadata = json!({"display_phone_number": number.account.display_number, "phone_number_id": number.account.phone_number_id});
        let value = json!({"messaging_product": "whatsapp", "metadata": metadata, "messages": [message]});
        let body = json!({"object": "whatsapp_business_account",
            "entry": [{"id": number.account.waba_id, "changes": [{"field": "messages", "value": value}]}]});
        let body = body.to_string().into_bytes();
        for secret in number.app_secrets {
            self.send(&body, Vec::new(), secret, now);
        }
        text
    }

    /// Takes a request: method, path, `Authorization`, body.
    pub fn handle_request(&mut self, method: &str, path: &str, authorization: Option<&str>, body: &[u8], now: Time) -> Wire {
        let rates = self.config.rates;
        let delay = self.within(40, 400);
        let is_lost = self.chance(rates.request_lost);
        let is_5xx = !is_lost && self.chance(rates.refused_5xx);
        let loses_reply = !is_lost && !is_5xx && self.chance(rates.reply_lost);
        let number = self.config.numbers.iter().position(|n| path.contains(&format!("/{}/", n.account.phone_number_id)));
        let Some(number) = number else { return Wire::Reply(invalid("the phone number id in the path does not exist"), delay) };
        let action = match graph::read(&self.config.numbers[number].account, method, path, authorization, body) {
            Ok(action) => action,
            Err(reply) => {
                self.refused += 1;
                return Wire::Reply(reply, delay);
            }
        };
        if is_lost || is_5xx {
            self.note(&action, now, false, false, false, false);
            let reply = Reply { status: 503, ..Reply::error(131_016, "Service unavailable", "try again") };
            return if is_lost { Wire::Silence } else { Wire::Reply(reply, delay) };
        }
        let (reply, acted, id) = self.act(number, &action, now);
        if let Some(id) = action.call_id.as_ref().or(id.as_ref()) {
            self.rearm(id);
        }
        let is_taken = reply.body.contains("already in progress");
        let action = Action { call_id: action.call_id.clone().or(id), ..action };
        self.note(&action, now, true, acted, !loses_reply, is_taken && !loses_reply);
        if loses_reply { Wire::Silence } else { Wire::Reply(reply, delay) }
    }

    /// Our media of a call has stopped: Meta ends the call when that lasts.
    pub fn handle_silence(&mut self, id: &str, now: Time) {
        if let Some(entry) = self.calls.get_mut(id) {
            entry.silent_since.get_or_insert(now);
        }
        self.rearm(id);
    }

    /// A webhook was answered. Anything but 200 makes it come again.
    pub fn handle_webhook_answer(&mut self, id: u64, status: u16, now: Time) {
        let Some(post) = self.under_way.remove(&id) else { return };
        if status != 200 {
            let again = self.within(100, 500);
            self.push(now + again, post);
            return;
        }
        for (call, event) in &post.events {
            let Some(entry) = self.calls.get_mut(call) else { continue };
            // A business that hears by several apps may go by one of them: it knows for sure when each has been answered.
            let told = (post.secret.clone(), event.clone());
            if !entry.heard.contains(&told) {
                entry.heard.push(told);
            }
            let apps = self.config.numbers[entry.number].app_secrets.len();
            if entry.heard.iter().filter(|(_, heard)| heard == event).count() < apps {
                continue;
            }
            match event.as_str() {
                "terminate" => entry.told_at = entry.told_at.or(Some(now)),
                "connect" => entry.announced_at = entry.announced_at.or(Some(now)),
                _ => {}
            }
        }
        self.answered.push((id, post.events));
    }

    /// Takes the time.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((_, id)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.advance(&id, now);
            self.rearm(&id);
        }
        let full: Vec<String> = self.gathering.iter().filter(|(_, (until, _))| *until <= now).map(|(secret, _)| secret.clone()).collect();
        for secret in full {
            self.flush(&secret, now);
        }
    }

    /// The next webhook to post.
    pub fn poll_webhook(&mut self, now: Time) -> Option<Post> {
        let (&(at, id), _) = self.due.first_key_value()?;
        if at > now {
            return None;
        }
        let post = self.due.remove(&(at, id))?;
        self.under_way.insert(post.id, post.clone());
        self.posts += 1;
        Some(post)
    }

    /// When `handle_timeout` or `poll_webhook` is wanted.
    pub fn poll_timeout(&self) -> Option<Time> {
        let calls = self.timers.first().map(|(at, _)| *at);
        let webhook = self.due.first_key_value().map(|(&(at, _), _)| at);
        let gathering = self.gathering.values().map(|(until, _)| *until).min();
        [calls, webhook, gathering].into_iter().flatten().min()
    }

    /// Calls that have not ended, of those that anybody of ours has touched; and all.
    pub fn open_calls(&self) -> (Vec<String>, usize) {
        let open = || self.calls.iter().filter(|(_, e)| !matches!(e.state, State::Ended(_)));
        (open().filter(|(_, e)| e.asked.iter().any(|a| a.acted)).map(|(id, _)| id.clone()).collect(), open().count())
    }

    /// Calls whose `connect` was answered 200 while they were on: the business owes each an end and a record.
    pub fn owed(&self) -> impl Iterator<Item = &str> {
        let is_owed = |e: &Entry| e.announced_at.is_some_and(|told| e.ended_at.is_none_or(|ended| ended > told));
        self.calls.iter().filter(move |(_, e)| is_owed(e)).map(|(id, _)| id.as_str())
    }

    /// Events of webhooks that were answered 200, in the order of the answers.
    pub fn acknowledged(&self) -> impl Iterator<Item = &(String, String)> {
        self.answered.iter().flat_map(|(_, events)| events)
    }

    /// Everybody hangs up: users who call give up, users who talk hang up.
    pub fn everybody_hangs_up(&mut self, now: Time) {
        let ids: Vec<String> = self.calls.iter().filter(|(_, e)| !matches!(e.state, State::Ended(_))).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.end(&id, EndedBy::User, now);
            self.rearm(&id);
        }
    }

    fn open(&mut self, is_inbound: bool, number: usize, user: String, opaque: Option<String>, now: Time) -> String {
        // A real one is base64 of such words; opaque to everybody.
        let id = format!("wacid.{:016X}{:08}=", self.dice.u64(), self.next);
        self.next += 1;
        let talk = self.within(2_000, 40_000);
        let we_hang_up = self.dice.below(3) == 0;
        let entry = Entry {
            is_inbound,
            number,
            user,
            opaque,
            created: now,
            state: State::Ringing,
            sdps: Vec::new(),
            picked_up: None,
            talks_for: (!we_hang_up).then_some(talk),
            decides: None,
            partner_at: None,
            gives_up_at: now + self.config.patience,
            silent_since: None,
            asked: Vec::new(),
            ended_at: None,
            heard: Vec::new(),
            told_at: None,
            announced_at: None,
        };
        self.calls.insert(id.clone(), entry);
        id
    }

    /// What an action does. Returns the reply, whether something changed, and the id of a new call.
    fn act(&mut self, number: usize, action: &Action, now: Time) -> (Reply, bool, Option<String>) {
        if action.kind == ActionKind::Connect {
            return self.connect(number, action, now);
        }
        let id = action.call_id.clone().unwrap_or_default();
        let Some(entry) = self.calls.get_mut(&id).filter(|e| e.number == number) else { return (invalid("Invalid call id"), false, None) };
        let refused = |text: &str| (invalid(text), false, None);
        let success = (Reply::success(), true, None);
        match (action.kind, entry.state) {
            (_, State::Ended(_)) => refused("Invalid call id: the call has ended"),
            (ActionKind::Terminate, State::Elsewhere) => {
                // Meta lets any partner of the number end the call: that is why we must not.
                self.end(&id, EndedBy::Business, now);
                success
            }
            (ActionKind::Terminate, _) => {
                self.end(&id, EndedBy::Business, now);
                success
            }
            (_, State::Active | State::Elsewhere) => refused("Call is already in progress"),
            (ActionKind::Reject, _) => {
                self.end(&id, EndedBy::Business, now);
                success
            }
            _ if !entry.is_inbound => refused("only an incoming call can be accepted or rejected"),
            (kind, _) => {
                let sdp = action.sdp.clone().unwrap_or_default();
                if entry.sdps.first().is_some_and(|known| *known != sdp) {
                    entry.sdps.push(sdp);
                    return refused("the SDP differs from the one given in pre_accept");
                }
                if entry.sdps.is_empty() {
                    entry.sdps.push(sdp);
                }
                if kind == ActionKind::Accept {
                    entry.state = State::Active;
                    entry.picked_up = Some(now);
                } else {
                    entry.state = State::PreAccepted;
                }
                success
            }
        }
    }

    fn connect(&mut self, number: usize, action: &Action, now: Time) -> (Reply, bool, Option<String>) {
        let user = action.to.clone().unwrap_or_default();
        let is_running = self.calls.values().any(|e| e.number == number && e.user == user && !matches!(e.state, State::Ended(_)));
        if is_running {
            return (Reply::error(138_003, "Duplicate call", "a call with this user is already running"), false, None);
        }
        let id = self.open(false, number, user, action.opaque.clone(), now);
        let decides_after = self.within(1_200, 20_000);
        let picks_up = self.dice.below(5) != 0;
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.decides = Some((now + decides_after, picks_up));
        }
        self.tell(&id, "connect", now + Span::from_millis(1_000));
        self.tell(&id, "RINGING", now + Span::from_millis(600));
        (Reply::ok(&json!({"messaging_product": "whatsapp", "calls": [{"id": id}]})), true, Some(id))
    }

    fn advance(&mut self, id: &str, now: Time) {
        let silence_max = self.config.silence_max;
        let Some(entry) = self.calls.get_mut(id) else { return };
        if entry.state == State::Active && entry.silent_since.is_some_and(|since| since + silence_max <= now) {
            return self.end(id, EndedBy::Silence, now);
        }
        match entry.state {
            State::Ringing | State::PreAccepted => {
                if entry.partner_at.is_some_and(|at| at <= now) {
                    entry.state = State::Elsewhere;
                    entry.picked_up = Some(now);
                    return;
                }
                match entry.decides {
                    Some((at, true)) if at <= now => {
                        entry.state = State::Active;
                        entry.picked_up = Some(now);
                        self.tell(id, "ACCEPTED", now);
                    }
                    Some((at, false)) if at <= now => {
                        self.tell(id, "REJECTED", now);
                        self.end(id, EndedBy::User, now);
                    }
                    _ if entry.gives_up_at <= now => self.end(id, EndedBy::User, now),
                    _ => {}
                }
            }
            State::Active if entry.talks_for.zip(entry.picked_up).is_some_and(|(span, at)| at + span <= now) => {
                self.end(id, EndedBy::User, now)
            }
            State::Elsewhere => self.end(id, EndedBy::Partner, now),
            _ => {}
        }
    }

    fn end(&mut self, id: &str, by: EndedBy, now: Time) {
        let Some(entry) = self.calls.get_mut(id).filter(|e| !matches!(e.state, State::Ended(_))) else { return };
        entry.state = State::Ended(by);
        entry.ended_at = Some(now);
        self.tell(id, "terminate", now);
    }

    /// Sends an event of a call to every app of its number.
    fn tell(&mut self, id: &str, event: &str, at: Time) {
        let entry = &self.calls[id];
        let number = self.config.numbers[entry.number].clone();
        let writer = Writer {
            account: number.account.clone(),
            call_id: id.to_owned(),
            user_number: entry.user.clone(),
            user_name: "Ada".to_owned(),
            is_user_initiated: entry.is_inbound,
            unix_ms: self.config.unix_ms,
            opaque: entry.opaque.clone(),
            faults: Vec::new(),
        };
        let error = matches!(entry.state, State::Ended(EndedBy::Silence)).then_some(138_021);
        let body = match event {
            "connect" => writer.connect(if entry.is_inbound { &self.config.offer } else { &self.config.answer }, at).body,
            "terminate" => writer.terminate(Ending { picked_up: entry.picked_up, error }, at).body,
            status => writer.status(status, at).body,
        };
        for secret in number.app_secrets {
            self.send(&body, vec![(id.to_owned(), event.to_owned())], secret, at);
        }
    }

    /// Puts a body on its way to one app: soon or late, once or twice, alone or with others.
    fn send(&mut self, body: &[u8], events: Vec<(String, String)>, secret: String, at: Time) {
        let rates = self.config.rates;
        let post = Post { id: 0, signature: sign(&secret, body), body: body.to_vec(), events, secret };
        let mut due = at + self.within(20, 200);
        if self.chance(rates.delayed) {
            due += self.within(200, 3_000);
        }
        if self.chance(rates.duplicated) {
            self.duplicates += 1;
            let again = due + self.within(0, 5_000);
            self.push(again, post.clone());
        }
        if self.chance(rates.batched) {
            let until = due + Span::from_millis(300);
            self.gathering.entry(post.secret.clone()).or_insert((until, Vec::new())).1.push(post);
        } else {
            self.push(due, post);
        }
    }

    /// Joins what waits for one app into one body, with messages among it now and then.
    fn flush(&mut self, secret: &str, now: Time) {
        let Some((_, posts)) = self.gathering.remove(secret) else { return };
        let mut entries: Vec<Value> = Vec::new();
        let mut events = Vec::new();
        for post in posts {
            let body: Value = serde_json::from_slice(&post.body).expect("we wrote it");
            entries.extend(body["entry"].as_array().cloned().unwrap_or_default());
            events.extend(post.events);
        }
        if self.dice.below(2) == 0 {
            let message = json!({"id": "1", "changes": [{"field": "messages", "value": {"messaging_product": "whatsapp",
                "messages": [{"from": "447700900001", "id": "wamid.1", "type": "text", "text": {"body": "hello"}}]}}]});
            let place = self.dice.below(entries.len() as u64 + 1) as usize;
            entries.insert(place, message);
        }
        self.batches += 1;
        let body = json!({"object": "whatsapp_business_account", "entry": entries}).to_string().into_bytes();
        self.push(now, Post { id: 0, signature: sign(secret, &body), body, events, secret: secret.to_owned() });
    }

    fn push(&mut self, due: Time, mut post: Post) {
        post.id = self.next;
        self.next += 1;
        self.due.insert((due, post.id), post);
    }

    fn note(&mut self, action: &Action, at: Time, arrived: bool, acted: bool, is_sure: bool, said_taken: bool) {
        if let Some(entry) = action.call_id.as_ref().and_then(|id| self.calls.get_mut(id)) {
            entry.asked.push(Asked { kind: action.kind, at, arrived, acted, is_sure, said_taken });
        }
    }

    /// Keeps the timer of a call in step with what happened to it.
    fn rearm(&mut self, id: &str) {
        if let Some(at) = self.timer_by_call.remove(id) {
            self.timers.remove(&(at, id.to_owned()));
        }
        if let Some(at) = self.calls.get(id).and_then(|e| next_of(e, &self.config)) {
            self.timers.insert((at, id.to_owned()));
            self.timer_by_call.insert(id.to_owned(), at);
        }
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.dice.below(1_000) < per_mille
    }

    fn within(&mut self, from_ms: u64, to_ms: u64) -> Span {
        Span::from_millis(from_ms + self.dice.below(to_ms - from_ms + 1))
    }
}

/// When something happens to a call by itself.
fn next_of(entry: &Entry, config: &LedgerConfig) -> Option<Time> {
    // Before the pick-up nobody expects media, and the other partner has media of its own.
    let silence = entry.silent_since.filter(|_| entry.state == State::Active).map(|since| since + config.silence_max);
    let own = match entry.state {
        State::Ended(_) => return None,
        State::Ringing | State::PreAccepted => {
            [entry.partner_at, entry.decides.map(|(at, _)| at), Some(entry.gives_up_at)].into_iter().flatten().min()
        }
        State::Active => entry.talks_for.zip(entry.picked_up).map(|(span, at)| at + span),
        State::Elsewhere => entry.picked_up.map(|at| at + PARTNER_TALKS),
    };
    [own, silence].into_iter().flatten().min()
}

/// How long the other partner talks.
const PARTNER_TALKS: Span = Span::from_secs(15);
