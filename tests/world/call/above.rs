//! Everything above IP: webhooks with their delays, copies and forgeries, Graph with its failures, the wall clock with its jumps.
//!
//! Given: what Meta's stand-in and the session machine say. Decides: when and how often the other one hears it. Refuses: datagrams.

use super::{ORIGIN, REPLY_PATIENCE, Thing, UNIX_MS, World};
use tipring_engine::rng::Entropy;
use tipring_engine::time::Span;
use tipring_meta_sim::call::MetaCall;
use tipring_meta_sim::graph::{self as meta_graph, Account, Reply};
use tipring_meta_sim::webhooks::Delivery;
use tipring_signalling::graph::{GraphOutcome, json};
use tipring_signalling::session::{Input, RequestId};
use tipring_signalling::webhook::{envelope, signature};

/// One failure of Graph.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// 503 from something in front of Graph; nothing was done.
    Unavailable,
    /// No connection.
    NotSent,
    /// The request vanishes.
    RequestLost,
    /// It acts, and its reply vanishes.
    ReplyLost,
    /// It acts, and answers after three seconds.
    Slow,
}

impl World {
    /// Puts a webhook of Meta on its way to us.
    pub(super) fn post_webhook(&mut self, delivery: Delivery) {
        let mut at = self.now + self.signalling_delay();
        if let Some(late) = self.plan.trouble.webhooks_late.filter(|_| self.now < self.plan.trouble.until) {
            let mut span = || Span::from_nanos(self.dice.below(late.as_nanos() + 1));
            let (forgery, first, second) = (span(), span(), span());
            if self.dice.below(3) == 0 {
                let mut forged = delivery.clone();
                forged.body.push(b' ');
                forged.is_genuine = false;
                self.schedule_webhook(at + forgery, forged, true);
            }
            at += first;
            if self.dice.below(2) == 0 {
                self.schedule_webhook(at + second, delivery.clone(), true);
            }
        }
        self.schedule_webhook(at, delivery, false);
    }

    fn schedule_webhook(&mut self, at: tipring_engine::time::Time, delivery: Delivery, is_copy: bool) {
        self.webhooks_under_way += 1;
        self.agenda.schedule(at, Thing::Webhook { delivery, is_copy });
    }

    /// As the daemon's web server and control task: proven, parsed, fed.
    pub(super) fn take_webhook(&mut self, delivery: Delivery, is_copy: bool) {
        self.webhooks_under_way -= 1;
        self.outcome.trace.step(&delivery.event, self.now);
        let secrets = [Account::default().app_secret];
        let status = match signature::verify(&delivery.body, delivery.signature.as_deref(), &secrets) {
            Ok(_) => {
                let events = envelope::parse(&delivery.body).expect("an envelope of Meta");
                if delivery.event == "ACCEPTED" {
                    self.checks.accepted();
                }
                self.inbox.extend(events.into_iter().map(Input::Webhook));
                200
            }
            Err(_) => 401,
        };
        assert_eq!(status == 200, delivery.is_genuine, "a webhook acts if and only if its signature holds (R-45)");
        // Meta's stand-in waits for the answer to what it sent itself.
        if !is_copy {
            let took = self.signalling_delay();
            self.agenda.schedule(self.now + took, Thing::WebhookAnswered { delivery, status, took });
        }
    }

    /// As Graph's front door: read, then asked of the call.
    pub(super) fn take_request(&mut self, request: RequestId, name: &'static str, body: &str) {
        let failure = self.draw_failure(name);
        let early = match failure {
            Some(Failure::Unavailable) => Some(json::read_reply(503, b"upstream connect error")),
            Some(Failure::NotSent) => Some(GraphOutcome::NotSent),
            Some(Failure::RequestLost) => Some(GraphOutcome::Lost),
            Some(Failure::ReplyLost | Failure::Slow) | None => None,
        };
        self.outcome.trace.step(name, self.now);
        if let Some(outcome) = early {
            let after = if outcome == GraphOutcome::Lost { REPLY_PATIENCE } else { self.signalling_delay() };
            return self.agenda.schedule(self.now + after, Thing::GraphReplied { request, outcome, accepts: false });
        }
        let account = Account::default();
        let path = format!("/v25.0/{}/calls", account.phone_number_id);
        let token = format!("Bearer {}", account.access_token);
        let mut reply = match (meta_graph::read(&account, "POST", &path, Some(&token), body.as_bytes()), &mut self.meta) {
            (Err(reply), _) => reply,
            (Ok(action), Some(meta)) => meta.handle_action(&action, self.now),
            (Ok(action), None) => {
                let (meta, reply) = MetaCall::outgoing(self.meta_config(), &action, self.now);
                self.meta = meta;
                reply
            }
        };
        if failure == Some(Failure::Slow) {
            reply.delay = Span::from_secs(3);
        }
        let mut is_lost = failure == Some(Failure::ReplyLost);
        if self.plan.lose_reply_to == Some(name) {
            self.plan.lose_reply_to = None;
            is_lost = true;
        }
        self.answer(request, name, &reply, is_lost);
    }

    /// At most one failure for each action: one is what a repetition must heal.
    fn draw_failure(&mut self, name: &'static str) -> Option<Failure> {
        let trouble = &self.plan.trouble;
        if !trouble.graph || trouble.until <= self.now || self.failed_once.contains(&name) || self.dice.below(2) == 0 {
            return None;
        }
        self.failed_once.push(name);
        let all = [Failure::Unavailable, Failure::NotSent, Failure::RequestLost, Failure::ReplyLost, Failure::Slow];
        all.get(self.dice.below(5) as usize).copied()
    }

    fn answer(&mut self, request: RequestId, name: &'static str, reply: &Reply, is_lost: bool) {
        let at = self.now + reply.delay + self.signalling_delay();
        let accepts = name == "accept" && reply.status == 200;
        if is_lost {
            let lost = Thing::GraphReplied { request, outcome: GraphOutcome::Lost, accepts };
            return self.agenda.schedule(self.now + REPLY_PATIENCE, lost);
        }
        let outcome = json::read_reply(reply.status, reply.body.as_bytes());
        self.agenda.schedule(at, Thing::GraphReplied { request, outcome, accepts });
    }

    pub(super) fn signalling_delay(&mut self) -> Span {
        let least = self.plan.signalling_delay;
        least + Span::from_nanos(self.delays.below(least.as_nanos() + 1))
    }

    /// The wall clock, in seconds since 1970, with its jumps.
    pub(super) fn unix_s(&self) -> i64 {
        let opened = self.opened.unwrap_or(self.now);
        let jumps: i64 = self
            .plan
            .trouble
            .wall_jumps
            .iter()
            .filter(|(after, _)| opened + *after <= self.now && self.opened.is_some())
            .map(|(_, s)| s)
            .sum();
        debug_assert!(self.now >= ORIGIN);
        ((UNIX_MS + self.now.as_millis()) / 1_000) as i64 + jumps
    }
}
