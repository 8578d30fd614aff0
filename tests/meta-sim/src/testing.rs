//! The hand-written business and a call at Meta in virtual time, for this package's own tests.

use crate::business::{Business, Misdeed};
use crate::call::{CallConfig, MetaCall};
use crate::faults::Fault;
use crate::graph::{Account, Action, ActionKind};
use crate::relay::RelayConfig;
use crate::user::UserScript;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tipring_engine::time::{Span, Time};

/// A call and a business joined by links of 5 ms in virtual time.
pub(crate) struct World {
    pub(crate) call: MetaCall,
    pub(crate) business: Business,
    pub(crate) now: Time,
    pub(crate) actions: Vec<(ActionKind, u16)>,
    pub(crate) events: Vec<String>,
    in_flight: Vec<(Time, bool, SocketAddr, SocketAddr, Vec<u8>)>,
    accept_at: Time,
}

const LINK: Span = Span::from_millis(5);

impl World {
    pub(crate) fn new(script: UserScript, faults: &[Fault], misdeeds: &[Misdeed], greeting: Arc<[i16]>) -> Self {
        let now = Time::from_nanos(1_000_000_000);
        let addresses = (Some("198.51.100.1:3480".parse().unwrap()), Some("[2001:db8::1]:3480".parse().unwrap()));
        let mut relay = RelayConfig::new(addresses.0, addresses.1, 42, 1_795_300_000_000, script);
        relay.faults = faults.to_vec();
        let config = CallConfig { id: "wacid.HBgM".to_owned(), account: Account::default(), relay };
        let call = MetaCall::incoming(config, now).unwrap();
        let business = Business::new(greeting, misdeeds).unwrap();
        Self { call, business, now, actions: Vec::new(), events: Vec::new(), in_flight: Vec::new(), accept_at: Time::MAX }
    }

    pub(crate) fn act(&mut self, kind: ActionKind, sdp: Option<String>) -> u16 {
        let action = Action { kind, call_id: Some("wacid.HBgM".to_owned()), to: None, sdp, opaque: None };
        let reply = self.call.handle_action(&action, self.now);
        self.actions.push((kind, reply.status));
        reply.status
    }

    /// Runs until the call is finished, or for two minutes.
    pub(crate) fn run(&mut self) {
        let end = self.now + Span::from_secs(120);
        while self.now < end && !self.call.is_finished(self.now) {
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        let mut arrived: Vec<_> = self.in_flight.extract_if(.., |item| item.0 <= now).collect();
        arrived.sort_by_key(|item| item.0);
        for (_, to_meta, from, to, bytes) in arrived {
            if to_meta {
                self.call.handle_datagram(to, from, &bytes, now);
            } else {
                self.business.handle_datagram(from, &bytes, now);
            }
        }
        self.call.handle_timeout(now);
        self.business.handle_timeout(now);
        self.signal();
        while let Some(transmit) = self.call.poll_transmit(now) {
            self.in_flight.push((now + LINK, false, transmit.local, transmit.remote, transmit.bytes));
        }
        while let Some((remote, bytes)) = self.business.poll_transmit() {
            let local = self.business.locals[usize::from(remote.is_ipv6())];
            self.in_flight.push((now + LINK, true, local, remote, bytes));
        }
        let wire = self.in_flight.iter().map(|item| item.0).min().unwrap_or(Time::MAX);
        let call = self.call.poll_timeout(now).unwrap_or(Time::MAX);
        let next = wire.min(call).min(self.business.poll_timeout(now)).min(self.accept_at);
        self.now = next.clamp(now + Span::from_micros(10), now + Span::from_secs(1));
    }

    fn signal(&mut self) {
        while let Some(delivery) = self.call.poll_webhook(self.now) {
            self.events.push(delivery.event.clone());
            let signature = crate::webhooks::sign(&Account::default().app_secret, &delivery.body);
            let is_good = delivery.signature.as_deref() == Some(signature.as_str());
            self.call.handle_webhook_answer(&delivery, if is_good { 200 } else { 401 }, Span::from_millis(3), self.now);
            if is_good && delivery.event == "connect" && self.actions.is_empty() && !self.events.iter().any(|e| e == "terminate") {
                let body: Value = serde_json::from_slice(&delivery.body).unwrap();
                let changes = body["entry"][0]["changes"].as_array().unwrap();
                let call = &changes.last().unwrap()["value"]["calls"][0];
                self.business.take_remote(call["session"]["sdp"].as_str().unwrap(), "active");
                self.business.start(self.now);
                let sdp = self.business.sdp.clone();
                if self.business.does(Misdeed::NoPreAccept) {
                    self.accept(sdp);
                } else if self.act(ActionKind::PreAccept, Some(sdp)) == 200 {
                    self.accept_at = self.now + Span::from_millis(500);
                }
            }
        }
        if self.accept_at <= self.now && self.business.is_connected() {
            self.accept_at = Time::MAX;
            let mut sdp = self.business.sdp.clone();
            if self.business.does(Misdeed::OtherSdpInAccept) {
                sdp = sdp.replace("cname:eng", "cname:eng2");
            }
            self.accept(sdp);
        } else if self.accept_at <= self.now {
            self.accept_at = self.now + Span::from_millis(20);
        }
    }

    fn accept(&mut self, sdp: String) {
        if self.act(ActionKind::Accept, Some(sdp)) == 200 {
            self.business.open_gate(self.now);
        }
    }
}
