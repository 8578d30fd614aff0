//! Meta's relay for one call: an ICE-lite responder on one IPv4 and one IPv6 address, DTLS, and the user's media.
//!
//! Given: datagrams with their two addresses, the SDP of the business, the time. Decides: what is answered, which path is selected (the one
//! the business nominates), when keys exist, when silence ends the call. Refuses: to start anything (S1), to answer before it knows the
//! SDP of the business (S3), webhooks and Graph (`call.rs`), verdicts (`oracle.rs`).

use crate::faults::Fault;
use crate::media::{Echoed, Media, Sent, StreamParams};
use crate::recut;
use crate::sdp::{self, MetaSdp, PeerSdp};
use crate::timeline::{Direction, EventBlock, Leg, Path, Timeline, What};
use crate::tls::{Identity, Tls, TlsEvent, TlsRole};
use crate::user::UserScript;
use crate::wire::{self, DtlsRecord, Kind, Stun, StunWriter};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use tipring_engine::keying::{Keying, MasterKey, Profile, SdesSecret};
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};

/// What a relay is made of.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// IPv4 address and port it is reached at.
    pub v4: Option<SocketAddr>,
    /// IPv6 address and port; announced with the higher priority.
    pub v6: Option<SocketAddr>,
    /// Source of everything random but keys.
    pub seed: u64,
    /// Milliseconds since 1970 at the origin of time.
    pub unix_ms: u64,
    /// SRTP profiles it takes, best first.
    pub profiles: Vec<Profile>,
    /// Misbehaviour.
    pub faults: Vec<Fault>,
    /// What the user does.
    pub script: UserScript,
    /// `a=setup` of its answer to a business-initiated call: `passive`, `active` or the illegal `actpass`.
    pub answer_setup: &'static str,
    /// The number is set to SDES: keys in the SDP, no ICE, no DTLS, IPv4 only.
    pub sdes: bool,
    /// How soon an unanswered flight of its handshake is repeated; doubles. None: the library's one second. Stacks of the WebRTC family wait 50 ms.
    pub dtls_timer: Option<Span>,
}

impl RelayConfig {
    /// A well-behaved relay.
    pub fn new(v4: Option<SocketAddr>, v6: Option<SocketAddr>, seed: u64, unix_ms: u64, script: UserScript) -> Self {
        let profiles = vec![Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80];
        Self { v4, v6, seed, unix_ms, profiles, faults: Vec::new(), script, answer_setup: "passive", sdes: false, dtls_timer: None }
    }
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// From this address of the relay.
    pub local: SocketAddr,
    /// To this address of the business.
    pub remote: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// What the relay tells the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RelayEvent {
    /// The first authentic RTP packet of the business arrived.
    FirstMedia,
    /// No media of the business for too long (138021).
    Silence,
    /// The handshake failed.
    DtlsFailed(String),
    /// The business said BYE or closed DTLS.
    Left,
}

/// When each stage of the set-up was reached.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stages {
    /// The SDP of the business is known.
    pub sdp: Option<Time>,
    /// First authentic check.
    pub first_check: Option<Time>,
    /// A nominating check was answered.
    pub nominated: Option<Time>,
    /// First ClientHello.
    pub client_hello: Option<Time>,
    /// Keys exist.
    pub dtls_connected: Option<Time>,
    /// accept was answered with 200, or the user picked up.
    pub accepted: Option<Time>,
    /// First authentic RTP packet of the business.
    pub first_rtp: Option<Time>,
}

/// The relay of one call.
pub struct Relay {
    config: RelayConfig,
    rng: SeededRng,
    identity: Identity,
    sdes: SdesSecret,
    ufrag: String,
    pwd: String,
    stream: String,
    ssrc: u32,
    peer: Option<Peer>,
    selected: Option<Path>,
    tls: Option<Tls>,
    media: Option<Media>,
    stages: Stages,
    last_media: Option<Time>,
    is_over: bool,
    nominations_lost: u32,
    flights_lost: u32,
    flights_cut: u32,
    /// Number of the next plaintext record that we cut ourselves.
    next_record: u64,
    conflict_told: bool,
    failed_ids: HashSet<[u8; 12]>,
    garbage_due: Option<Time>,
    out: VecDeque<(Time, Transmit)>,
    events: VecDeque<RelayEvent>,
}

struct Peer {
    sdp: PeerSdp,
    role: TlsRole,
    answers_from: Time,
}

impl Relay {
    /// Sets it up; at least one address must be given.
    pub fn new(mut config: RelayConfig) -> Result<Self, String> {
        if config.faults.contains(&Fault::AnswersActive) {
            config.answer_setup = "active";
        }
        if config.faults.contains(&Fault::AnswersActpass) {
            config.answer_setup = "actpass";
        }
        if config.v4.is_none() && config.v6.is_none() {
            return Err("a relay needs an address: give `v4`, `v6` or both".to_owned());
        }
        let mut rng = SeededRng::new(config.seed);
        let identity = Identity::generate((config.unix_ms / 1_000) as i64)?;
        let mut raw = [0; 28];
        rng.fill(&mut raw);
        let ufrag = raw[..16].iter().map(|b| ALPHABET[usize::from(*b) % ALPHABET.len()] as char).collect();
        let mut pwd = [0; 16];
        rng.fill(&mut pwd);
        let hex: String = raw.iter().take(16).map(|b| format!("{b:02x}")).collect();
        let stream = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        let ssrc = rng.u32();
        let sdes = SdesSecret::generate(|out| rng.fill(out));
        Ok(Self {
            config,
            identity,
            sdes,
            ufrag,
            pwd: STANDARD.encode(pwd),
            stream,
            ssrc,
            rng,
            peer: None,
            selected: None,
            tls: None,
            media: None,
            stages: Stages::default(),
            last_media: None,
            is_over: false,
            nominations_lost: 0,
            flights_lost: 0,
            flights_cut: 0,
            next_record: 0,
            conflict_told: false,
            failed_ids: HashSet::new(),
            garbage_due: None,
            out: VecDeque::new(),
            events: VecDeque::new(),
        })
    }

    /// The offer of a user-initiated call.
    pub fn offer(&self) -> String {
        self.describe("actpass", "audio", sdp::OPUS_PT, sdp::DTMF_PT)
    }

    /// The answer to the offer of a business-initiated call.
    pub fn answer(&self, offer: &PeerSdp) -> String {
        self.describe(self.config.answer_setup, &offer.mid, offer.opus_pt, offer.dtmf_pt.unwrap_or(sdp::DTMF_PT))
    }

    fn describe(&self, setup: &str, mid: &str, opus_pt: u8, dtmf_pt: u8) -> String {
        let mut fingerprint = format!("sha-256 {}", self.identity.fingerprint(false));
        if self.has(Fault::WrongFingerprint) {
            let flipped = if fingerprint.ends_with('0') { "1" } else { "0" };
            fingerprint.replace_range(fingerprint.len() - 1.., flipped);
        }
        if self.has(Fault::Sha1OnlyFingerprint) {
            fingerprint = format!("sha-1 {}", self.identity.fingerprint(true));
        }
        if self.has(Fault::LowercaseFingerprint) {
            fingerprint.make_ascii_lowercase();
        }
        let key = self.sdes.key(Profile::Aes128CmSha1_80).to_base64();
        MetaSdp {
            crypto: self.config.sdes.then_some(&key),
            unix_ms: self.config.unix_ms,
            v4: self.config.v4,
            v6: self.config.v6,
            ufrag: &self.ufrag,
            pwd: &self.pwd,
            fingerprint: &fingerprint,
            setup,
            mid,
            opus_pt,
            dtmf_pt,
            ssrc: self.ssrc,
            stream: &self.stream,
        }
        .to_string()
    }

    /// Tells it the SDP of the business; from now on it answers. A second time changes nothing.
    pub fn set_peer(&mut self, sdp: PeerSdp, now: Time) {
        if self.peer.is_some() {
            return;
        }
        // `setup:passive` of the business means that Meta has to start.
        let meta_starts = sdp.setup == "passive" || (sdp.setup != "active" && self.config.answer_setup == "active");
        let role = if meta_starts || self.has(Fault::StartsUnasked) { TlsRole::Client } else { TlsRole::Server };
        let delay = if self.has(Fault::LateSdp) { Span::from_millis(2_900) } else { Span::ZERO };
        self.stages.sdp = Some(now);
        let crypto = sdp.crypto.clone();
        self.peer = Some(Peer { sdp, role, answers_from: now + delay });
        if let Some(crypto) = crypto {
            let their_key = crypto.split_once("inline:").and_then(|(_, key)| MasterKey::from_base64(Profile::Aes128CmSha1_80, key));
            match their_key.map(|key| Keying::of_sdes(&self.sdes.key(key.profile()), &key)) {
                Some(Ok(keying)) => self.keyed(&keying, now),
                _ => self.events.push_back(RelayEvent::DtlsFailed("the key of a=crypto cannot be used".to_owned())),
            }
        }
    }

    /// Keys exist: media may come and go.
    fn keyed(&mut self, keying: &Keying, now: Time) {
        self.stages.dtls_connected = Some(now);
        let Some(peer) = &self.peer else { return };
        let params = StreamParams {
            ssrc: self.ssrc,
            opus_pt: peer.sdp.opus_pt,
            dtmf_pt: peer.sdp.dtmf_pt.unwrap_or(sdp::DTMF_PT),
            unix_ms: self.config.unix_ms,
        };
        match Media::new(params, keying, &self.config.script, &self.config.faults, &mut self.rng) {
            Ok(mut media) => {
                if self.stages.accepted.is_some() && !self.is_over {
                    media.start(now);
                }
                self.media = Some(media);
            }
            Err(why) => self.events.push_back(RelayEvent::DtlsFailed(why)),
        }
    }

    /// The call is on: accept was answered 200, or the called user picked up.
    pub fn set_accepted(&mut self, now: Time) {
        if self.stages.accepted.is_none() {
            self.stages.accepted = Some(now);
            self.last_media = self.last_media.or(Some(now));
            if let Some(media) = &mut self.media {
                media.start(now);
            }
        }
    }

    /// The call is over: media stops, checks are still answered.
    pub fn hang_up(&mut self) {
        self.is_over = true;
        if let Some(media) = &mut self.media {
            media.stop();
        }
    }

    /// Takes a datagram that came from `remote` to `local`.
    pub fn handle_datagram(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8], timeline: &mut Timeline, now: Time) {
        let path = Path { local, remote };
        match wire::kind(bytes) {
            Kind::Stun => self.handle_stun(path, bytes, timeline, now),
            Kind::Dtls => self.handle_dtls(path, bytes, timeline, now),
            kind @ (Kind::Rtp | Kind::Rtcp) => self.handle_media(path, kind, bytes, timeline, now),
            Kind::Unknown => {}
        }
    }

    fn handle_stun(&mut self, path: Path, bytes: &[u8], timeline: &mut Timeline, now: Time) {
        let Some(message) = Stun::parse(bytes) else { return };
        if message.kind != wire::BINDING_REQUEST {
            return timeline.push(now, Leg::Stun, Direction::FromBusiness, What::StunOther { kind: message.kind });
        }
        let expected = self.peer.as_ref().map(|peer| format!("{}:{}", self.ufrag, peer.sdp.ufrag));
        let first_part = message.username.and_then(|name| name.split(':').next());
        let is_named = match &expected {
            Some(name) => message.username == Some(name),
            None => first_part == Some(&self.ufrag),
        };
        let authentic = is_named && message.has_fingerprint && message.is_authentic(self.pwd.as_bytes());
        let what = What::StunRequest {
            id: message.id,
            path,
            authentic,
            controlling: message.controlling,
            controlled: message.controlled.is_some(),
            use_candidate: message.use_candidate,
        };
        timeline.push(now, Leg::Stun, Direction::FromBusiness, what);

        let is_ready = self.peer.as_ref().is_some_and(|peer| peer.answers_from <= now);
        let is_dead = self.has(Fault::NoAnswerToChecks) || self.is_lost(now) || (self.has(Fault::DeadIpv6) && path.local.is_ipv6());
        if !is_ready || is_dead {
            return;
        }
        if !authentic {
            let answer = StunWriter::new(wire::BINDING_ERROR, message.id).error(401, "Unauthorized").finish(None);
            return self.answer_check(path, message.id, 401, answer, timeline, now);
        }
        self.stages.first_check.get_or_insert(now);
        if !self.conflict_told {
            if self.has(Fault::Unsigned487) {
                self.conflict_told = true;
                let forged = StunWriter::new(wire::BINDING_ERROR, message.id).error(487, "Role Conflict").finish(None);
                self.send(path, forged, now);
            } else if self.has(Fault::Signed487) {
                self.conflict_told = true;
                self.failed_ids.insert(message.id);
            }
        }
        if message.controlled.is_some() || self.failed_ids.contains(&message.id) {
            // RFC 8445 section 7.3.1.1: a lite agent is controlled, so another controlled one is a conflict.
            let conflict = StunWriter::new(wire::BINDING_ERROR, message.id).error(487, "Role Conflict").finish(Some(self.pwd.as_bytes()));
            return self.answer_check(path, message.id, 487, conflict, timeline, now);
        }
        if message.use_candidate && self.has(Fault::LostNominationAnswers) && self.nominations_lost < 3 {
            self.nominations_lost += 1;
            return;
        }
        let answer = StunWriter::new(wire::BINDING_SUCCESS, message.id).mapped(path.remote).finish(Some(self.pwd.as_bytes()));
        self.answer_check(path, message.id, 200, answer, timeline, now);
        if message.use_candidate && self.selected.is_none() {
            self.selected = Some(path);
            self.stages.nominated = Some(now);
            self.garbage_due = self.has(Fault::Garbage).then_some(now);
            if let Some(Peer { sdp, role, .. }) = &self.peer {
                let profiles: &[Profile] = match () {
                    () if self.has(Fault::OnlyCm80) => &[Profile::Aes128CmSha1_80],
                    () if self.has(Fault::OnlyGcm256) => &[Profile::AeadAes256Gcm],
                    () => &self.config.profiles,
                };
                match Tls::with_timer(&self.identity, *role, profiles, &sdp.fingerprint, self.config.dtls_timer, now) {
                    Ok(tls) => self.tls = Some(tls),
                    Err(why) => self.events.push_back(RelayEvent::DtlsFailed(why)),
                }
            }
            self.flush_tls(timeline, now);
        }
    }

    fn answer_check(&mut self, path: Path, id: [u8; 12], code: u16, bytes: Vec<u8>, timeline: &mut Timeline, now: Time) {
        let delay = if self.has(Fault::SlowIpv6) && path.local.is_ipv6() { Span::from_millis(200) } else { Span::ZERO };
        timeline.push(now, Leg::Stun, Direction::FromMeta, What::StunAnswer { id, path, code });
        self.send(path, bytes, now + delay);
    }

    fn handle_dtls(&mut self, path: Path, bytes: &[u8], timeline: &mut Timeline, now: Time) {
        let record = DtlsRecord::parse(bytes);
        let (content, handshake) = record.map_or((bytes[0], None), |r| (r.content, r.handshake));
        timeline.push(now, Leg::Dtls, Direction::FromBusiness, What::Dtls { path, bytes: bytes.len(), content, handshake });
        // A ClientHello before nomination is lost at a real relay; so it is here.
        if self.selected != Some(path) || self.has(Fault::DtlsNeverCompletes) || self.is_lost(now) {
            return;
        }
        if handshake == Some(1) {
            self.stages.client_hello.get_or_insert(now);
        }
        if handshake == Some(1) && self.has(Fault::StartsUnasked) {
            // It has said hello itself and takes no other.
            return;
        }
        if let Some(tls) = &mut self.tls {
            tls.handle_datagram(bytes, now);
        }
        self.flush_tls(timeline, now);
    }

    fn flush_tls(&mut self, timeline: &mut Timeline, now: Time) {
        let (Some(path), Some(mut tls)) = (self.selected, self.tls.take()) else { return };
        let mut wrote = false;
        while let Some(bytes) = tls.poll_transmit() {
            let record = DtlsRecord::parse(&bytes);
            let (content, handshake) = record.map_or((0, None), |r| (r.content, r.handshake));
            timeline.push(now, Leg::Dtls, Direction::FromMeta, What::Dtls { path, bytes: bytes.len(), content, handshake });
            wrote = true;
            if tls.is_connected() && self.has(Fault::LostFlight6) && self.flights_lost < 2 {
                continue;
            }
            self.send_handshake(path, bytes, tls.is_connected(), now);
            if self.has(Fault::DtlsAlert) {
                self.send(path, CLEAR_ALERT.to_vec(), now);
            }
        }
        if wrote && tls.is_connected() {
            self.flights_lost += 1;
        }
        while let Some(event) = tls.poll_event() {
            match event {
                TlsEvent::Certificate { key, matches_sdp } => {
                    timeline.push(now, Leg::Dtls, Direction::FromBusiness, What::Certificate { key, matches_sdp });
                }
                TlsEvent::Connected(keying) => {
                    timeline.push(now, Leg::Dtls, Direction::FromMeta, What::DtlsConnected { profile: keying.profile.name() });
                    self.keyed(&keying, now);
                }
                TlsEvent::Failed(why) => {
                    timeline.push(now, Leg::Dtls, Direction::FromMeta, What::DtlsFailed { why: why.clone() });
                    self.events.push_back(RelayEvent::DtlsFailed(why));
                }
                TlsEvent::Closed => self.events.push_back(RelayEvent::Left),
            }
        }
        self.tls = Some(tls);
    }

    /// Sends a datagram of the TLS library, or what a fault makes of it.
    fn send_handshake(&mut self, path: Path, bytes: Vec<u8>, is_last_flight: bool, now: Time) {
        let is_answer_odd = self.has(Fault::TwoProfiles) || self.has(Fault::MkiAnswered);
        if is_answer_odd {
            let best = profile_number(self.config.profiles.first().copied());
            return self.send(path, recut::with_srtp_answer(&bytes, best, self.has(Fault::MkiAnswered)), now);
        }
        if !self.has(Fault::FragmentedFlight) || is_last_flight {
            return self.send(path, bytes, now);
        }
        let cut = if self.flights_cut == 0 { 256 } else { 200 };
        let pieces = recut::fragment(&bytes, cut, &mut self.next_record);
        for (index, piece) in pieces.into_iter().enumerate() {
            if self.flights_cut > 0 || index != 1 {
                self.send(path, piece, now);
            }
        }
        self.flights_cut += 1;
    }

    fn handle_media(&mut self, path: Path, kind: Kind, bytes: &[u8], timeline: &mut Timeline, now: Time) {
        let leg = if kind == Kind::Rtp { Leg::Rtp } else { Leg::Rtcp };
        let refuse = |timeline: &mut Timeline, why| timeline.push(now, leg, Direction::FromBusiness, What::MediaRefused { why });
        if self.is_lost(now) {
            return;
        }
        let Some(media) = &mut self.media else { return refuse(timeline, "before_keys") };
        if kind == Kind::Rtcp {
            match media.handle_rtcp(bytes) {
                Ok(rtcp) => {
                    if rtcp.bye {
                        self.events.push_back(RelayEvent::Left);
                    }
                    let starts_with_report = rtcp.types.first().is_some_and(|t| matches!(*t, wire::RTCP_SR | wire::RTCP_RR));
                    let what = What::Rtcp { ssrc: rtcp.ssrc, starts_with_report, cname: rtcp.cname, bye: rtcp.bye };
                    timeline.push(now, leg, Direction::FromBusiness, what);
                }
                Err(why) => refuse(timeline, why),
            }
            return;
        }
        match media.handle_rtp(bytes) {
            Ok((rtp, ticks, event)) => {
                if self.config.sdes && self.selected.is_none() {
                    // The maiden packet: an SDES relay sends to where the first authentic packet came from (RFC 4961).
                    self.selected = Some(path);
                    let profile = Profile::Aes128CmSha1_80.name();
                    timeline.push(now, Leg::Dtls, Direction::FromMeta, What::DtlsConnected { profile });
                }
                timeline.push(now, leg, Direction::FromBusiness, rtp_entry(path, &rtp, ticks, event));
                self.last_media = Some(now);
                if self.stages.first_rtp.is_none() {
                    self.stages.first_rtp = Some(now);
                    self.events.push_back(RelayEvent::FirstMedia);
                }
            }
            Err(why) => refuse(timeline, why),
        }
    }

    /// Takes the time.
    pub fn handle_timeout(&mut self, timeline: &mut Timeline, now: Time) {
        if let Some(tls) = &mut self.tls {
            tls.handle_timeout(now);
        }
        self.flush_tls(timeline, now);
        if self.is_lost(now)
            && let Some(media) = &mut self.media
        {
            media.stop();
        }
        if let (Some(path), Some(media)) = (self.selected, self.media.as_mut()) {
            for sent in media.handle_timeout(now) {
                match sent {
                    Sent::Rtp(rtp) => timeline.push(now, Leg::Rtp, Direction::FromMeta, rtp_entry(path, &rtp, None, None)),
                    Sent::Rtcp => {
                        let what = What::Rtcp { ssrc: self.ssrc, starts_with_report: true, cname: None, bye: false };
                        timeline.push(now, Leg::Rtcp, Direction::FromMeta, what);
                    }
                    Sent::Digit(digit) => timeline.push(now, Leg::User, Direction::FromMeta, What::Digit(digit)),
                }
            }
            let packets: Vec<_> = std::iter::from_fn(|| media.poll_transmit()).collect();
            for bytes in packets {
                self.send(path, bytes, now);
            }
        }
        self.throw_garbage(now);
        if let Some(at) = self.silence_due()
            && at <= now
        {
            self.is_over = true;
            let ms = now.since(self.last_media.unwrap_or(now)).as_millis();
            timeline.push(now, Leg::User, Direction::FromMeta, What::Silence { ms });
            self.events.push_back(RelayEvent::Silence);
        }
    }

    /// What nobody but an attacker would send, from the address that the business trusts.
    fn throw_garbage(&mut self, now: Time) {
        let (Some(path), Some(due)) = (self.selected, self.garbage_due) else { return };
        if due > now {
            return;
        }
        self.garbage_due = (!self.is_over).then_some(now + GARBAGE_PACE);
        let mut noise = vec![0; 20 + self.rng.below(200) as usize];
        self.rng.fill(&mut noise);
        let bytes = match self.rng.below(4) {
            // RTP as the user's phone would send it, but for the tag.
            0 => [&wire::Rtp::emit(sdp::OPUS_PT, false, self.rng.u32() as u16, self.rng.u32(), self.ssrc)[..], &noise].concat(),
            // A Binding request that stops in the middle.
            1 => [&[0, 1, 0, 88, 0x21, 0x12, 0xa4, 0x42][..], &noise[..20]].concat(),
            2 => CLEAR_ALERT.to_vec(),
            _ => noise,
        };
        self.send(path, bytes, now);
    }

    /// The next datagram whose time has come.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        let due = self.out.iter().position(|(at, _)| *at <= now)?;
        self.out.remove(due).map(|(_, transmit)| transmit)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front()
    }

    /// When `handle_timeout` or `poll_transmit` is wanted.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let tls = self.tls.as_ref().and_then(|tls| tls.poll_timeout(now));
        let media = self.media.as_ref().map(Media::poll_timeout);
        let out = self.out.iter().map(|(at, _)| *at).min();
        [tls, media, out, self.silence_due(), self.garbage_due].into_iter().flatten().min().filter(|at| *at != Time::MAX)
    }

    /// When each stage was reached.
    pub fn stages(&self) -> Stages {
        self.stages
    }

    /// What the user heard: mono, 16 kHz.
    pub fn heard(&self) -> &[i16] {
        self.media.as_ref().map_or(&[], Media::heard)
    }

    /// What came back of numbered packets.
    pub fn echoed(&self) -> Echoed {
        self.media.as_ref().map(Media::echoed).unwrap_or_default()
    }

    /// TS: 20 s without media at the start, 30 s later.
    fn silence_due(&self) -> Option<Time> {
        if self.is_over || self.stages.accepted.is_none() {
            return None;
        }
        let patience = if self.stages.first_rtp.is_some() { 30 } else { 20 };
        self.last_media.map(|at| at + Span::from_secs(patience))
    }

    fn is_lost(&self, now: Time) -> bool {
        self.has(Fault::ConsentLost) && self.stages.accepted.is_some_and(|at| now.since(at) >= Span::from_secs(2))
    }

    fn has(&self, fault: Fault) -> bool {
        self.config.faults.contains(&fault)
    }

    fn send(&mut self, path: Path, bytes: Vec<u8>, at: Time) {
        let is_black_hole = self.has(Fault::DeadIpv6) && path.local.is_ipv6();
        if !is_black_hole && !self.is_lost(at) {
            self.out.push_back((at, Transmit { local: path.local, remote: path.remote, bytes }));
        }
    }
}

/// RFC 5764 section 4.1.2, RFC 7714 section 14.2.
fn profile_number(profile: Option<Profile>) -> u16 {
    match profile {
        Some(Profile::AeadAes128Gcm) => 7,
        Some(Profile::AeadAes256Gcm) => 8,
        Some(Profile::Aes128CmSha1_32) => 2,
        Some(Profile::Aes128CmSha1_80) | None => 1,
    }
}

fn rtp_entry(path: Path, rtp: &wire::Rtp, ticks: Option<u32>, event: Option<EventBlock>) -> What {
    What::Rtp {
        path,
        ssrc: rtp.ssrc,
        payload_type: rtp.payload_type,
        seq: rtp.seq,
        timestamp: rtp.timestamp,
        marker: rtp.marker,
        has_extras: rtp.has_extension || rtp.csrc_count > 0 || rtp.has_padding,
        ticks,
        event,
    }
}

/// A fatal handshake_failure of epoch 0, in clear: anybody can write one.
const CLEAR_ALERT: [u8; 15] = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
/// Between two datagrams of garbage.
const GARBAGE_PACE: Span = Span::from_millis(7);
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
