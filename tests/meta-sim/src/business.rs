//! A business side written by hand: just enough ICE, DTLS and media to carry a call, and to misbehave, so that the oracle can be seen to catch it.
//!
//! Given: Meta's SDP, datagrams, the time, and its misdeeds. Decides: what a business sends that keeps the rules, but for its misdeeds. Refuses: HTTP and sockets
//! (`shell/rehearsal.rs`), strangers: it is no part of the engine and takes whoever answers on loopback. It uses `wire`, `tls`, the SRTP transform and Opus.

use crate::tls::{Identity, Tls, TlsEvent, TlsRole};
use crate::wire::{self, Kind, Rtp, Stun, StunWriter};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use tipring_engine::codec::{Decoder, Encoder, EncoderSettings, SampleRate};
use tipring_engine::keying::Profile;
use tipring_engine::srtp::{Receiver, Sender};
use tipring_engine::time::{Span, Time};

macro_rules! misdeeds {
    ($($variant:ident => $name:literal, $rule:literal, $text:literal;)*) => {
        /// What the hand-written business does wrong.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Misdeed { $(#[doc = $text] $variant,)* }

        impl Misdeed {
            /// Every misdeed.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Stable name, as typed on a command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The rule that the oracle must find broken.
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$variant => $rule,)* }
            }
        }
    };
}

misdeeds! {
    MediaBeforeAccept => "early-media", "R-34", "We send media before accept is answered: the phone shows the call as answered too early.";
    Controlled => "we-are-controlled", "R-23", "Our first check says ICE-CONTROLLED, though Meta is ICE-lite.";
    NominatesAtOnce => "aggressive-nomination", "R-25", "Our first check carries USE-CANDIDATE already.";
    NominatesBoth => "two-nominations", "R-24", "We nominate both pairs.";
    DtlsBeforeNomination => "early-dtls", "R-25b", "We start DTLS before a pair is nominated.";
    OtherSdpInAccept => "other-sdp-in-accept", "UIC-same-sdp", "accept carries another SDP than pre_accept did.";
    NoPreAccept => "no-pre-accept", "R-32", "We accept without pre_accept.";
    SecondSsrc => "second-ssrc", "R-19", "Our SSRC changes two seconds into the call.";
    SkipsSeq => "skipped-sequence", "RFC3550-5.1", "Our sequence numbers jump two seconds into the call.";
    SlowMedia => "slow-media", "R-29", "Our first packet comes 400 ms after the gate opened: the first words are late.";
    NoReports => "no-reports", "R-39", "We never send RTCP.";
    NoConsent => "no-consent", "RFC7675-5.1", "We never ask for consent again.";
}

/// The business of one call. After every `handle_*`, drain `poll_transmit` and ask `poll_timeout`.
pub struct Business {
    /// Its addresses, IPv4 and IPv6.
    pub locals: [SocketAddr; 2],
    misdeeds: Vec<Misdeed>,
    identity: Identity,
    remotes: Vec<SocketAddr>,
    remote_ufrag: String,
    remote_pwd: String,
    remote_fingerprint: String,
    role: TlsRole,
    /// Its answer, once it knows the offer.
    pub sdp: String,
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
    /// What the user said: mono, 16 kHz.
    pub heard: Vec<i16>,
    /// Events the user typed (RFC 4733 section 3.2).
    pub digits: Vec<u8>,
    last_event: Option<u32>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Business {
    /// One that says `greeting` (mono, 16 kHz) once the gate is open. The error says what a library refused.
    pub fn new(greeting: Arc<[i16]>, misdeeds: &[Misdeed]) -> Result<Self, String> {
        Ok(Self {
            locals: [SocketAddr::from(([192, 0, 2, 10], 40_000)), SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10], 40_000))],
            misdeeds: misdeeds.to_vec(),
            identity: Identity::generate(1_795_300_000)?,
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
            encoder: Encoder::new(&EncoderSettings::meta(SampleRate::Hz16000)).map_err(|e| e.to_string())?,
            decoder: Decoder::new(SampleRate::Hz16000).map_err(|e| e.to_string())?,
            greeting,
            gate: false,
            next_frame: Time::MAX,
            next_report: Time::MAX,
            sent: 0,
            heard: Vec::new(),
            digits: Vec::new(),
            last_event: None,
            out: VecDeque::new(),
        })
    }

    pub(crate) fn does(&self, misdeed: Misdeed) -> bool {
        self.misdeeds.contains(&misdeed)
    }

    /// Takes Meta's SDP and writes its own, with this `a=setup`.
    pub fn take_remote(&mut self, sdp: &str, setup: &str) {
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
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                Some(SocketAddr::new(fields.get(4)?.parse().ok()?, fields.get(5)?.parse().ok()?))
            })
            .collect();
        self.role = if value("setup") == "active" { TlsRole::Server } else { TlsRole::Client };
        self.sdp = self.describe(setup);
    }

    /// Its SDP with this `a=setup`.
    pub fn describe(&self, setup: &str) -> String {
        SDP.replace("{fingerprint}", &self.identity.fingerprint(false)).replace("{setup}", setup)
    }

    /// Starts its checks.
    pub fn start(&mut self, now: Time) {
        for remote in self.remotes.clone() {
            let nominates = self.does(Misdeed::NominatesAtOnce);
            self.check(remote, nominates, now);
        }
        self.retry_at = now + Span::from_millis(500);
    }

    /// accept was answered 200: media may flow.
    pub fn open_gate(&mut self, now: Time) {
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

    /// Keys exist.
    pub fn is_connected(&self) -> bool {
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

    /// Takes a datagram from `remote`. What it cannot use is dropped.
    pub fn handle_datagram(&mut self, remote: SocketAddr, bytes: &[u8], now: Time) {
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
                let Ok(len) = receiver.unprotect_rtp(&mut buffer) else { return };
                let Some(rtp) = Rtp::parse(&buffer[..len]) else { return };
                let payload = &buffer[rtp.payload_at..len];
                if rtp.payload_type == 126 {
                    if self.last_event != Some(rtp.timestamp) {
                        self.last_event = Some(rtp.timestamp);
                        self.digits.extend(payload.first());
                    }
                } else {
                    let mut frame = [0; 1_920];
                    let len = self.decoder.decode(payload, &mut frame).unwrap_or(0);
                    self.heard.extend_from_slice(&frame[..len]);
                }
            }
            _ => {}
        }
    }

    fn handle_stun(&mut self, remote: SocketAddr, bytes: &[u8], now: Time) {
        let Some(message) = Stun::parse(bytes) else { return };
        if !message.is_authentic(self.remote_pwd.as_bytes()) {
            return;
        }
        let Some((_, nominates)) = self.checks.remove(&message.id) else { return };
        if message.kind == wire::BINDING_ERROR {
            // A conflict over the role it claimed wrongly: the same check with the right one.
            return self.check(remote, nominates, now);
        }
        if nominates {
            if self.nominated.is_none() {
                self.nominated = Some(remote);
                self.consent_at = now + Span::from_secs(5);
                let profiles = [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];
                if self.tls.is_none() {
                    self.tls = Tls::new(&self.identity, self.role, &profiles, &self.remote_fingerprint, now).ok();
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

    /// Takes the time.
    pub fn handle_timeout(&mut self, now: Time) {
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
            if let Some(remote) = self.nominated {
                self.check(remote, false, now);
            }
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
        let protected = if is_rtp { sender.protect_rtp(&mut buffer, len) } else { sender.protect_rtcp(&mut buffer, len) };
        let Ok(len) = protected else { return };
        buffer.truncate(len);
        self.out.push_back((remote, buffer));
    }

    /// The next datagram, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop_front()
    }

    /// When `handle_timeout` is wanted; [`Time::MAX`]: never.
    pub fn poll_timeout(&self, now: Time) -> Time {
        let tls = self.tls.as_ref().and_then(|tls| tls.poll_timeout(now)).unwrap_or(Time::MAX);
        tls.min(self.retry_at).min(self.consent_at).min(self.next_frame).min(self.next_report)
    }
}

/// Its SDP; the candidate stands for any: a lite peer never looks.
const SDP: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\n\
    m=audio 40000 UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 127.0.0.1\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
    a=candidate:1 1 udp 2130706431 127.0.0.1 40000 typ host\r\na=ice-ufrag:Xq3k\r\na=ice-pwd:7fJSbV2N5qWiA5QiDKwK3vuh\r\n\
    a=fingerprint:sha-256 {fingerprint}\r\n\
    a=setup:{setup}\r\na=mid:audio\r\na=sendrecv\r\na=msid:eng a0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
    a=fmtp:111 minptime=20;useinbandfec=1\r\na=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\na=ptime:20\r\na=maxptime:20\r\n\
    a=ssrc:330833028 cname:eng\r\n";
const UFRAG: &str = "Xq3k";
const SSRC: u32 = 330_833_028;
