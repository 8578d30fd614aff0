//! A business side written by hand for this package's own tests: just enough ICE, DTLS and media to carry a call, and to misbehave.
//!
//! It is no part of the engine: it uses `wire`, `tls`, the SRTP transform and Opus, and plays its steps from a script.

use crate::call::{CallConfig, MetaCall};
use crate::faults::Fault;
use crate::graph::{Account, Action, ActionKind};
use crate::relay::RelayConfig;
use crate::tls::{Identity, Tls, TlsEvent, TlsRole};
use crate::user::UserScript;
use crate::wire::{self, Kind, Rtp, Stun, StunWriter};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use tipring_engine::codec::{Decoder, Encoder, EncoderSettings, SampleRate};
use tipring_engine::keying::Profile;
use tipring_engine::srtp::{Receiver, Sender};
use tipring_engine::time::{Span, Time};

/// What the hand-written business does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Misdeed {
    Controlled,
    NominatesAtOnce,
    NominatesBoth,
    DtlsBeforeNomination,
    MediaBeforeAccept,
    OtherSdpInAccept,
    NoPreAccept,
    SecondSsrc,
    SkipsSeq,
    SlowMedia,
    NoReports,
    NoConsent,
}

/// The business of one call.
pub(crate) struct Business {
    pub(crate) locals: [SocketAddr; 2],
    misdeeds: Vec<Misdeed>,
    identity: Identity,
    remotes: Vec<SocketAddr>,
    remote_ufrag: String,
    remote_pwd: String,
    remote_fingerprint: String,
    role: TlsRole,
    pub(crate) sdp: String,
    checks: HashMap<[u8; 12], (SocketAddr, bool)>,
    retry_at: Time,
    consent_at: Time,
    next_id: u32,
    succeeded: Option<SocketAddr>,
    nominated: Option<SocketAddr>,
    tls: Option<Tls>,
    keyed: Option<(Sender, Receiver)>,
    spare: Option<Sender>,
    encoder: Encoder,
    decoder: Decoder,
    pub(crate) greeting: Arc<[i16]>,
    gate: bool,
    next_frame: Time,
    next_report: Time,
    sent: u32,
    pub(crate) heard: Vec<i16>,
    pub(crate) digits: Vec<u8>,
    last_event: Option<u32>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
}

const UFRAG: &str = "Xq3k";
const SSRC: u32 = 330_833_028;

impl Business {
    pub(crate) fn new(greeting: Arc<[i16]>, misdeeds: &[Misdeed]) -> Self {
        Self {
            locals: ["192.0.2.10:40000".parse().unwrap(), "[2001:db8::10]:40000".parse().unwrap()],
            misdeeds: misdeeds.to_vec(),
            identity: Identity::generate(1_795_300_000).unwrap(),
            remotes: Vec::new(),
            remote_ufrag: String::new(),
            remote_pwd: String::new(),
            remote_fingerprint: String::new(),
            role: TlsRole::Client,
            sdp: String::new(),
            checks: HashMap::new(),
            retry_at: Time::MAX,
            consent_at: Time::MAX,
            next_id: 0,
            succeeded: None,
            nominated: None,
            tls: None,
            keyed: None,
            spare: None,
            encoder: Encoder::new(&EncoderSettings::meta(SampleRate::Hz16000)).unwrap(),
            decoder: Decoder::new(SampleRate::Hz16000).unwrap(),
            greeting,
            gate: false,
            next_frame: Time::MAX,
            next_report: Time::MAX,
            sent: 0,
            heard: Vec::new(),
            digits: Vec::new(),
            last_event: None,
            out: VecDeque::new(),
        }
    }

    fn does(&self, misdeed: Misdeed) -> bool {
        self.misdeeds.contains(&misdeed)
    }

    pub(crate) fn take_remote(&mut self, sdp: &str, setup: &str) {
        let value = |name: &str| {
            let prefix = format!("a={name}:");
            sdp.lines().find_map(|line| line.strip_prefix(prefix.as_str())).unwrap_or_default().to_owned()
        };
        self.remote_ufrag = value("ice-ufrag");
        self.remote_pwd = value("ice-pwd");
        self.remote_fingerprint = value("fingerprint").split(' ').nth(1).unwrap_or_default().to_owned();
        self.remotes = sdp
            .lines()
            .filter_map(|line| line.strip_prefix("a=candidate:"))
            .map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                SocketAddr::new(fields[4].parse().unwrap(), fields[5].parse().unwrap())
            })
            .collect();
        self.role = if value("setup") == "active" { TlsRole::Server } else { TlsRole::Client };
        self.sdp = self.describe(setup);
    }

    pub(crate) fn describe(&self, setup: &str) -> String {
        let print = crate::sdp::tests::ANSWER.lines().find(|line| line.starts_with("a=fingerprint")).unwrap();
        crate::sdp::tests::ANSWER
            .replace(print, &format!("a=fingerprint:sha-256 {}", self.identity.fingerprint(false)))
            .replace("a=setup:active", &format!("a=setup:{setup}"))
    }

    pub(crate) fn start(&mut self, now: Time) {
        for remote in self.remotes.clone() {
            let nominates = self.does(Misdeed::NominatesAtOnce);
            self.check(remote, nominates, now);
        }
        self.retry_at = now + Span::from_millis(500);
    }

    pub(crate) fn open_gate(&mut self, now: Time) {
        self.gate = true;
        self.start_media(now);
    }

    fn start_media(&mut self, now: Time) {
        if (self.gate || self.does(Misdeed::MediaBeforeAccept)) && self.keyed.is_some() && self.next_frame == Time::MAX {
            self.next_frame = now + if self.does(Misdeed::SlowMedia) { Span::from_millis(400) } else { Span::ZERO };
            if !self.does(Misdeed::NoReports) {
                self.next_report = self.next_frame + Span::from_secs(1);
            }
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.keyed.is_some()
    }

    fn check(&mut self, remote: SocketAddr, nominates: bool, _now: Time) {
        self.next_id += 1;
        let mut id = [7; 12];
        id[..4].copy_from_slice(&self.next_id.to_be_bytes());
        self.checks.insert(id, (remote, nominates));
        let role = if self.does(Misdeed::Controlled) && self.next_id == 1 { wire::ICE_CONTROLLED } else { wire::ICE_CONTROLLING };
        let mut message = StunWriter::new(wire::BINDING_REQUEST, id)
            .attribute(wire::USERNAME, format!("{}:{UFRAG}", self.remote_ufrag).as_bytes())
            .attribute(wire::PRIORITY, &1_845_501_695_u32.to_be_bytes())
            .attribute(role, &u64::from(self.next_id).to_be_bytes());
        if nominates {
            message = message.attribute(wire::USE_CANDIDATE, &[]);
        }
        self.out.push_back((remote, message.finish(Some(self.remote_pwd.as_bytes()))));
    }

    pub(crate) fn handle_datagram(&mut self, remote: SocketAddr, bytes: &[u8], now: Time) {
        match wire::kind(bytes) {
            Kind::Stun => self.handle_stun(remote, bytes, now),
            // Gate of D14: a clear alert never reaches the library.
            Kind::Dtls if bytes[0] != 21 || bytes[3..5] != [0, 0] => {
                if let Some(tls) = &mut self.tls {
                    tls.handle_datagram(bytes, now);
                }
                self.flush(now);
            }
            Kind::Rtp => {
                let Some((_, receiver)) = &mut self.keyed else { return };
                let mut buffer = bytes.to_vec();
                let Ok(len) = receiver.unprotect_rtp(&mut buffer) else { panic!("Meta's packet does not authenticate") };
                let rtp = Rtp::parse(&buffer[..len]).unwrap();
                let payload = &buffer[rtp.payload_at..len];
                if rtp.payload_type == 126 {
                    if self.last_event != Some(rtp.timestamp) {
                        self.last_event = Some(rtp.timestamp);
                        self.digits.push(payload[0]);
                    }
                } else {
                    let mut frame = [0; 1_920];
                    let len = self.decoder.decode(payload, &mut frame).unwrap();
                    self.heard.extend_from_slice(&frame[..len]);
                }
            }
            _ => {}
        }
    }

    fn handle_stun(&mut self, remote: SocketAddr, bytes: &[u8], now: Time) {
        let message = Stun::parse(bytes).unwrap();
        if !message.is_authentic(self.remote_pwd.as_bytes()) {
            return;
        }
        let Some((_, nominates)) = self.checks.remove(&message.id) else { return };
        if message.kind == wire::BINDING_ERROR {
            assert_eq!(message.error, Some(487));
            return self.check(remote, nominates, now);
        }
        if nominates {
            if self.nominated.is_none() {
                self.nominated = Some(remote);
                self.consent_at = now + Span::from_secs(5);
                let profiles = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];
                if self.tls.is_none() {
                    self.tls = Some(Tls::new(&self.identity, self.role, &profiles, &self.remote_fingerprint, now).unwrap());
                }
                self.flush(now);
            }
        } else if self.succeeded.is_none() || (self.does(Misdeed::NominatesBoth) && self.nominated.is_none()) {
            self.succeeded = Some(remote);
            if self.does(Misdeed::DtlsBeforeNomination) {
                self.out.push_back((remote, vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]));
            }
            self.check(remote, true, now);
        }
    }

    fn flush(&mut self, now: Time) {
        let (Some(remote), Some(tls)) = (self.nominated, &mut self.tls) else { return };
        while let Some(bytes) = tls.poll_transmit() {
            self.out.push_back((remote, bytes));
        }
        let events: Vec<_> = std::iter::from_fn(|| tls.poll_event()).collect();
        for event in events {
            if let TlsEvent::Connected(keying) = event {
                self.spare = Some(Sender::from_keying(&keying));
                self.keyed = Some((Sender::from_keying(&keying), Receiver::from_keying(&keying)));
                self.start_media(now);
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if self.retry_at <= now {
            self.retry_at = if self.nominated.is_some() { Time::MAX } else { now + Span::from_millis(500) };
            let mut pending: Vec<_> = self.checks.values().copied().collect();
            pending.sort_unstable();
            pending.dedup();
            if self.nominated.is_none() {
                pending.retain(|(_, nominates)| *nominates || self.succeeded.is_none());
                for (remote, nominates) in pending {
                    self.check(remote, nominates, now);
                }
            }
        }
        if self.consent_at <= now && !self.does(Misdeed::NoConsent) {
            self.consent_at = now + Span::from_secs(5);
            let remote = self.nominated.unwrap();
            self.check(remote, false, now);
        } else if self.consent_at <= now {
            self.consent_at = Time::MAX;
        }
        if let Some(tls) = &mut self.tls {
            tls.handle_timeout(now);
        }
        self.flush(now);
        while self.next_frame <= now {
            self.next_frame += Span::from_millis(20);
            let from = self.sent as usize * 320;
            let mut pcm = [0; 320];
            for (n, sample) in pcm.iter_mut().enumerate() {
                *sample = self.greeting.get(from + n).copied().unwrap_or(0);
            }
            let mut payload = [0; 1_276];
            let len = self.encoder.encode(&pcm, &mut payload);
            let skip = u16::from(self.does(Misdeed::SkipsSeq) && self.sent > 100);
            let ssrc = SSRC ^ u32::from(self.does(Misdeed::SecondSsrc) && self.sent > 100);
            let mut bytes = Rtp::emit(111, self.sent == 0, 1_000 + self.sent as u16 + skip, 48_000 + 960 * self.sent, ssrc).to_vec();
            bytes.extend_from_slice(&payload[..len]);
            if ssrc != SSRC
                && let Some(spare) = self.spare.take()
            {
                // The engine's sender refuses a second source; whoever has two has two senders.
                self.keyed = self.keyed.take().map(|(_, receiver)| (spare, receiver));
            }
            self.protect(bytes, true);
            self.sent += 1;
        }
        if self.next_report <= now {
            self.next_report = now + Span::from_millis(2_500);
            self.protect(wire::sender_report(SSRC, 1, 48_000, self.sent, 0, "eng"), false);
        }
    }

    fn protect(&mut self, plain: Vec<u8>, is_rtp: bool) {
        let (Some((sender, _)), Some(remote)) = (&mut self.keyed, self.nominated) else { return };
        let len = plain.len();
        let mut buffer = plain;
        buffer.resize(len + 20, 0);
        let len = if is_rtp { sender.protect_rtp(&mut buffer, len) } else { sender.protect_rtcp(&mut buffer, len) }.unwrap();
        buffer.truncate(len);
        self.out.push_back((remote, buffer));
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop_front()
    }

    pub(crate) fn poll_timeout(&self, now: Time) -> Time {
        let tls = self.tls.as_ref().and_then(|tls| tls.poll_timeout(now)).unwrap_or(Time::MAX);
        tls.min(self.retry_at).min(self.consent_at).min(self.next_frame).min(self.next_report)
    }
}

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
        let business = Business::new(greeting, misdeeds);
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
