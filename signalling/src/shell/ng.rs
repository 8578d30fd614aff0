//! Calls that a SIP proxy makes of a WhatsApp leg and a plain RTP leg, over rtpengine's control protocol.
//!
//! Decides: which call a request means, whether it fits, and what is said when there is no room. Given: requests by UDP and HTTP; engine events. Refuses: a new
//! description for an established WhatsApp leg (Meta answers a re-INVITE with 500), and calls whose two ends are of one kind.

mod play;

use super::commons::Commons;
use super::http_server::{Limits, Reply, Service, serve, typed};
use super::observe::{CallRef, DaemonEvent, unix_s};
use super::tls::random;
use crate::config::NgConfig;
use crate::control::SessionId;
use crate::ng::plain_sdp::{self, PlainSdp};
use crate::ng::{Command, Request, error_reply, read_body as read_dictionary, read_datagram};
use crate::sdp;
use crate::verdict::Verdict;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tipring_engine::bridge::rtp::{LegEvents, NO_TARGET, PRE_ROLL, RtcpPort, RtpLegParams};
use tipring_engine::bridge::{OverSwitch, Play};
use tipring_engine::call::{CallEvent, CallStats, LocalParams, SetupRole};
use tipring_engine::codec::SampleRate;
use tipring_engine::engine::{CallId, CommandError};
use tipring_engine::error::{AdmitError, EndReason, SetupError};
use tipring_engine::rtp::mos;
use tipring_engine::time::Span;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};

/// The calls of all proxies.
pub(crate) struct Ng {
    config: NgConfig,
    commons: Commons,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<String, NgCall>,
    by_call: HashMap<CallId, String>,
    total: u64,
}

struct NgCall {
    call: CallId,
    name: SessionId,
    from_tag: String,
    to_tag: String,
    created: i64,
    last_signal: i64,
    local: Box<LocalParams>,
    /// Our end of the plain leg.
    rtp: SocketAddr,
    /// What plays over it.
    over: OverSwitch,
    offered: Offered,
    /// The offer as it came, and what was answered.
    offer: (String, String),
    answer: Option<(String, String)>,
    ended: Option<(i64, EndReason)>,
}

/// Who offered.
enum Offered {
    WhatsApp(Box<sdp::RemoteSdp>),
    Plain(Box<PlainSdp>),
}

/// What goes wrong with a request.
enum Refusal {
    /// A sentence for the proxy's log.
    Error(String),
    /// There is no room: another node may have it.
    Full(&'static str),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Error(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Self::Error(why.to_owned())
    }
}

impl Ng {
    pub(crate) fn new(config: NgConfig, commons: Commons) -> Self {
        Self { config, commons, table: Mutex::default() }
    }

    /// Answers a request. May wait some milliseconds for a shard: not for the control thread.
    fn ask(&self, dictionary: &Value) -> Value {
        let request = match Request::read(dictionary) {
            Ok(request) => request,
            Err(why) => return error_reply(why),
        };
        let done = match &request.command {
            Command::Ping => Ok(json!({ "result": "pong" })),
            Command::Offer => self.offer(&request),
            Command::Answer => self.answer(&request),
            Command::Delete => self.delete(&request),
            Command::Query => self.query(&request),
            Command::List => Ok(self.list(&request)),
            Command::Statistics => Ok(self.statistics()),
            Command::PlayDtmf => self.play_dtmf(&request),
            Command::PlayMedia => self.play_media(&request),
            Command::StopMedia => self.stop_media(&request),
            Command::StartRecording => self.record(&request, true),
            Command::StopRecording => self.record(&request, false),
            Command::Other(name) => Err(Refusal::Error(format!(
                "{name}: no such command; tipring has ping, offer, answer, delete, query, list, statistics, play and stop media, play DTMF, start and stop recording"
            ))),
        };
        match done {
            Ok(reply) => reply,
            Err(Refusal::Error(why)) => {
                tracing::info!(command = ?request.command, %why, "ng: refused");
                error_reply(why)
            }
            // Kamailio asks whether it may be told so; the texts are what both proxies look for otherwise.
            Err(Refusal::Full(text)) if request.knows_load_limit() => json!({ "result": "load limit", "message": text }),
            Err(Refusal::Full(text)) => error_reply(text),
        }
    }

    fn offer(&self, request: &Request) -> Result<Value, Refusal> {
        let (id, from_tag, text) = (request.needed("call-id")?, request.needed("from-tag")?, request.needed("sdp")?);
        let now = unix_s();
        let mut table = self.lock();
        if let Some(call) = table.by_id.get_mut(id).filter(|call| call.ended.is_none()) {
            call.last_signal = now;
            if call.offer.0 == text {
                return Ok(json!({ "result": "ok", "sdp": call.offer.1 }));
            }
            return Err(NO_RE_OFFER.into());
        }
        table.by_id.retain(|_, call| call.ended.is_none_or(|(at, _)| now - at < ENDED_KEPT_S));
        table.by_id.remove(id);
        if table.by_id.len() >= self.config.sessions_max {
            self.commons.metrics.call_refused();
            return Err(Refusal::Full(NO_SESSION));
        }
        let is_webrtc = plain_sdp::is_webrtc(text);
        if let Some(transport) = request.transport()
            && transport.to_ascii_lowercase().contains("savp") == is_webrtc
        {
            return Err(
                format!("both ends would be of one kind ({transport}): tipring stands between a WhatsApp leg and a plain RTP leg").into()
            );
        }
        let (offered, leg) = if is_webrtc {
            let offer = sdp::read_offer(text).map_err(|e| format!("the offer of the WhatsApp side: {e}"))?;
            let named = request.codecs().iter().find_map(|name| crate::control::codec_named(name).ok());
            let codec = named.unwrap_or(self.config.codec);
            let events = Some(LegEvents { payload_type: 101, clock_hz: 8_000 });
            // Where the plain side is, its answer says; nobody else is heard before.
            let leg = RtpLegParams {
                remote: None,
                learn: true,
                rtcp: RtcpPort::Next,
                codec,
                payload_type: codec.default_payload_type(),
                events,
                pre_roll: PRE_ROLL,
            };
            (Offered::WhatsApp(Box::new(offer)), leg)
        } else {
            let offer = plain_sdp::read(text).map_err(|e| format!("the offer of the plain side: {e}"))?;
            let leg = offer.leg.clone();
            (Offered::Plain(Box::new(offer)), leg)
        };
        let role = match &offered {
            Offered::WhatsApp(offer) => sdp::our_role(offer.params.role),
            Offered::Plain(_) => SetupRole::ActPass,
        };
        let quiet = Play::new(Arc::from([]), SampleRate::Hz16000);
        let (call, local) = self.commons.engine.open_call(role, Box::new(quiet)).map_err(|e| self.not_admitted(e))?;
        self.commons.metrics.call_opened();
        if !local.complete {
            // A family without a public address asks STUN servers, and this answer cannot wait for them.
            table.by_call.insert(call, id.to_owned());
            self.release(call);
            return Err("our candidates are not known yet: name engine.public_addresses for each family instead of stun_servers".into());
        }
        let name = SessionId::random();
        let call_ref = CallRef::Direct(name.clone());
        let opened =
            self.commons.bridges.attach_proxied(&self.commons.engine, call, leg.clone(), request.records(), &call_ref).and_then(|opened| {
                if let Offered::WhatsApp(offer) = &offered {
                    self.commons.engine.set_remote(call, offer.params.clone())?;
                }
                Ok(opened)
            });
        table.by_call.insert(call, id.to_owned());
        let (rtp, over) = match opened {
            Ok((local, over)) => (local.rtp, over),
            Err(e) => {
                self.commons.bridges.forget(&call_ref);
                self.release(call);
                return Err(self.refused(e));
            }
        };
        let reply = match &offered {
            Offered::WhatsApp(_) => plain_sdp::write_offer(&leg, rtp, random_u64()),
            Offered::Plain(_) => sdp::write_offer(&local, random_u64()),
        };
        let new = NgCall {
            call,
            name,
            from_tag: from_tag.to_owned(),
            to_tag: String::new(),
            created: now,
            last_signal: now,
            local: Box::new(local),
            rtp,
            over,
            offered,
            offer: (text.to_owned(), reply.clone()),
            answer: None,
            ended: None,
        };
        table.by_id.insert(id.to_owned(), new);
        table.total += 1;
        drop(table);
        self.commons.watch.tell(DaemonEvent::MediaOpened { call: call_ref });
        Ok(json!({ "result": "ok", "sdp": reply }))
    }

    fn answer(&self, request: &Request) -> Result<Value, Refusal> {
        let (id, to_tag, text) = (request.needed("call-id")?, request.needed("to-tag")?, request.needed("sdp")?);
        let mut table = self.lock();
        let call = table.by_id.get_mut(id).filter(|call| call.ended.is_none()).ok_or(UNKNOWN_CALL)?;
        call.last_signal = unix_s();
        if let Some((before, reply)) = &call.answer
            && before == text
        {
            return Ok(json!({ "result": "ok", "sdp": reply }));
        }
        let reply = match &call.offered {
            Offered::WhatsApp(offer) => {
                // A 183 and a 200 may name different places; the WhatsApp leg need not know.
                let plain = plain_sdp::read(text).map_err(|e| format!("the answer of the plain side: {e}"))?;
                self.commons.engine.set_rtp_remote(call.call, plain.remote).map_err(|e| self.refused(e))?;
                self.commons.engine.set_rtp_direction(call.call, plain.direction).map_err(|e| self.refused(e))?;
                call.answer.as_ref().map_or_else(|| sdp::write_answer(offer, &call.local, random_u64()), |(_, reply)| reply.clone())
            }
            Offered::Plain(_) if call.answer.is_some() => return Err(NO_RE_OFFER.into()),
            Offered::Plain(offer) => {
                let remote = sdp::read_answer(text).map_err(|e| format!("the answer of the WhatsApp side: {e}"))?;
                self.commons.engine.set_remote(call.call, remote.params).map_err(|e| self.refused(e))?;
                plain_sdp::write_answer(offer, call.rtp, random_u64())
            }
        };
        // By SIP there is no pre-accept: who answers, listens. The gate waits for the keys by itself.
        self.commons.engine.open_gate(call.call).map_err(|e| self.refused(e))?;
        call.to_tag = to_tag.to_owned();
        call.answer = Some((text.to_owned(), reply.clone()));
        Ok(json!({ "result": "ok", "sdp": reply }))
    }

    fn delete(&self, request: &Request) -> Result<Value, Refusal> {
        let id = request.needed("call-id")?;
        let taken = self.lock().by_id.remove(id);
        let Some(call) = taken else {
            return Ok(json!({ "result": "ok", "warning": "Call-ID not found or tags didn't match" }));
        };
        let stats = self.commons.engine.stats(call.call, SHARD_WAIT);
        self.commons.bridges.forget(&CallRef::Direct(call.name.clone()));
        if call.ended.is_none() {
            self.release(call.call);
        }
        Ok(report(&call, stats.as_ref()))
    }

    fn query(&self, request: &Request) -> Result<Value, Refusal> {
        let id = request.needed("call-id")?;
        let call = self.lock().by_id.get(id).map(|call| call.call).ok_or(UNKNOWN_CALL)?;
        let stats = self.commons.engine.stats(call, SHARD_WAIT);
        let table = self.lock();
        Ok(report(table.by_id.get(id).ok_or(UNKNOWN_CALL)?, stats.as_ref()))
    }

    fn list(&self, request: &Request) -> Value {
        let limit = usize::try_from(request.number("limit").unwrap_or(32)).unwrap_or(usize::MAX);
        let table = self.lock();
        let calls: Vec<&String> = table.by_id.iter().filter(|(_, call)| call.ended.is_none()).map(|(id, _)| id).take(limit).collect();
        json!({ "result": "ok", "calls": calls })
    }

    fn statistics(&self) -> Value {
        let table = self.lock();
        let running = table.by_id.values().filter(|call| call.ended.is_none()).count();
        json!({ "result": "ok", "statistics": {
            "currentstatistics": { "sessionsown": running, "sessionsforeign": 0, "sessionstotal": running, "mediacalls": self.commons.engine.calls() },
            "totalstatistics": { "uptime": self.commons.watch.now().as_millis() / 1_000, "managedsessions": table.total },
        } })
    }

    /// Takes an engine event if its call is ours.
    pub(crate) fn handle_event(&self, call: CallId, event: &CallEvent) -> bool {
        let name = {
            let mut table = self.lock();
            let Some(id) = table.by_call.get(&call).cloned() else { return false };
            if let CallEvent::Ended(_) = event {
                table.by_call.remove(&call);
            }
            table.by_id.get_mut(&id).filter(|ng| ng.call == call).map(|ng| {
                if let CallEvent::Ended(ended) = event {
                    ng.ended = Some((unix_s(), ended.reason));
                }
                ng.name.clone()
            })
        };
        if let Some(name) = name {
            if let CallEvent::Ended(_) = event {
                self.commons.bridges.forget(&CallRef::Direct(name.clone()));
            }
            self.commons.watch.tell(DaemonEvent::Media { call: CallRef::Direct(name), event: event.clone() });
        }
        true
    }

    /// Ends every call: the daemon stops.
    pub(crate) fn close_all(&self) {
        for call in self.lock().by_id.values().filter(|call| call.ended.is_none()) {
            self.release(call.call);
        }
    }

    fn release(&self, call: CallId) {
        if let Err(e) = self.commons.engine.close(call, EndReason::HangUp) {
            tracing::debug!(error = %e, "close of a call that is gone");
        }
    }

    fn not_admitted(&self, error: AdmitError) -> Refusal {
        self.commons.metrics.call_refused();
        Refusal::Full(if error == AdmitError::Ports { NO_PORT } else { NO_SESSION })
    }

    fn refused(&self, error: CommandError) -> Refusal {
        match error {
            CommandError::Admit(AdmitError::NoSuchCall) => UNKNOWN_CALL.into(),
            CommandError::Admit(e) => self.not_admitted(e),
            //= meta#R-10  an address that no trunk lists
            CommandError::Setup(SetupError::Misuse(why)) if why == NO_TARGET => {
                Refusal::Error(format!("VOIP_ONLY: {why}; name it in the targets of a [[trunk]]"))
            }
            CommandError::Setup(SetupError::Misuse(why)) => Refusal::Error(format!("{why}; name it in the targets of a [[trunk]]")),
            CommandError::Setup(e) => Refusal::Error(Verdict::of_setup(&e).sentence.into_owned()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic while the lock was held is a bug elsewhere; the table itself has no half-made state.
        self.table.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// `POST /ng` with a dictionary, or a cookie and a dictionary, in either encoding.
impl Service for Ng {
    async fn handle(&self, request: hyper::Request<Incoming>) -> Reply {
        if request.method() != Method::POST || !matches!(request.uri().path(), "/ng" | "/ng-plain") {
            return typed(StatusCode::NOT_FOUND, "text/plain", "POST a dictionary to /ng\n");
        }
        let body = match self.commons.body(request.into_body(), BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(_) => return typed(StatusCode::BAD_REQUEST, "text/plain", "the body did not come whole\n"),
        };
        let (cookie, read) = match body.bytes.first() {
            Some(b'{' | b'd') => (String::new(), read_dictionary(&body.bytes)),
            _ => match read_datagram(&body.bytes) {
                Ok((cookie, value, encoding)) => (format!("{cookie} "), Ok((value, encoding))),
                Err((_, why)) => (String::new(), Err(why)),
            },
        };
        let (dictionary, encoding) = match read {
            Ok(read) => read,
            Err(why) => return typed(StatusCode::BAD_REQUEST, "text/plain", format!("{why}\n")),
        };
        // Short: a few hundred requests a second at most, and only figures wait for a shard.
        let reply = self.ask(&dictionary);
        typed(StatusCode::OK, "application/json", Bytes::from([cookie.as_bytes(), &encoding.write(&reply)].concat()))
    }
}

/// The sockets of `[ng]`, bound and not yet served.
pub(super) struct NgSockets {
    udp: std::net::UdpSocket,
    http: Option<std::net::TcpListener>,
    /// Where datagrams are taken.
    pub(super) address: SocketAddr,
}

impl NgSockets {
    /// Binds both. The error is for an operator.
    pub(super) fn bind(config: &NgConfig) -> Result<Self, String> {
        let fault =
            |key: &str, at: SocketAddr, e: std::io::Error| format!("ng.{key}: cannot listen on {at}: {e}; is another process there?");
        let udp = std::net::UdpSocket::bind(config.listen).map_err(|e| fault("listen", config.listen, e))?;
        udp.set_nonblocking(true).map_err(|e| fault("listen", config.listen, e))?;
        let address = udp.local_addr().map_err(|e| fault("listen", config.listen, e))?;
        let http = match config.http {
            None => None,
            Some(at) => {
                let listener = std::net::TcpListener::bind(at).map_err(|e| fault("http", at, e))?;
                listener.set_nonblocking(true).map_err(|e| fault("http", at, e))?;
                Some(listener)
            }
        };
        Ok(Self { udp, http, address })
    }

    /// Serves both until `stop` becomes true.
    pub(super) async fn serve(self, ng: Arc<Ng>, limits: Limits, stop: watch::Receiver<bool>) {
        let http = self.http.and_then(|listener| tokio::net::TcpListener::from_std(listener).ok());
        let udp = UdpSocket::from_std(self.udp);
        let by_http = async {
            if let Some(listener) = http {
                serve(listener, None, limits, Arc::clone(&ng), stop.clone()).await;
            }
        };
        let by_udp = async {
            match udp {
                Ok(socket) => serve_udp(socket, Arc::clone(&ng), stop.clone()).await,
                Err(e) => tracing::error!(error = %e, "ng: the socket cannot be watched"),
            }
        };
        tokio::join!(by_http, by_udp);
    }
}

/// Replies by cookie: a proxy repeats what was not answered in time, and must not open a second call by it.
#[derive(Default)]
struct Cookies {
    /// None while the answer is made.
    by_cookie: HashMap<String, Option<Arc<[u8]>>>,
    order: VecDeque<String>,
}

impl Cookies {
    /// True if this cookie is new; it is then being answered.
    fn begin(&mut self, cookie: &str) -> Result<(), Option<Arc<[u8]>>> {
        if let Some(known) = self.by_cookie.get(cookie) {
            return Err(known.clone());
        }
        if self.order.len() >= COOKIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_cookie.remove(&oldest);
        }
        self.by_cookie.insert(cookie.to_owned(), None);
        self.order.push_back(cookie.to_owned());
        Ok(())
    }

    fn done(&mut self, cookie: &str, reply: Arc<[u8]>) {
        if let Some(slot) = self.by_cookie.get_mut(cookie) {
            *slot = Some(reply);
        }
    }
}

/// Answers datagrams until `stop` becomes true.
async fn serve_udp(socket: UdpSocket, ng: Arc<Ng>, mut stop: watch::Receiver<bool>) {
    let socket = Arc::new(socket);
    let cookies = Arc::new(Mutex::new(Cookies::default()));
    let permits = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut buffer = vec![0; BODY_BYTES_MAX];
    loop {
        let (len, from) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // A proxy that has gone: its port is closed.
                Err(e) => {
                    tracing::debug!(error = %e, "ng: receive");
                    continue;
                }
            },
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (cookie, dictionary, encoding) = match read_datagram(&buffer[..len]) {
            Ok(read) => read,
            Err((Some(cookie), why)) => {
                let reply = [cookie.as_bytes(), b" ", &crate::ng::Encoding::Bencode.write(&error_reply(why))].concat();
                let _ = socket.send_to(&reply, from).await;
                continue;
            }
            // Nobody to answer to.
            Err((None, _)) => continue,
        };
        let known = cookies.lock().unwrap_or_else(|e| e.into_inner()).begin(&cookie);
        match known {
            Ok(()) => {}
            Err(Some(reply)) => {
                let _ = socket.send_to(&reply, from).await;
                continue;
            }
            // The answer is on its way.
            Err(None) => continue,
        }
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (socket, cookies, ng) = (Arc::clone(&socket), Arc::clone(&cookies), Arc::clone(&ng));
        tokio::spawn(async move {
            let answered = tokio::task::spawn_blocking(move || encoding.write(&ng.ask(&dictionary))).await;
            let body = answered.unwrap_or_else(|_| encoding.write(&error_reply("a fault of ours; please report it")));
            let reply: Arc<[u8]> = [cookie.as_bytes(), b" ", &body].concat().into();
            cookies.lock().unwrap_or_else(|e| e.into_inner()).done(&cookie, Arc::clone(&reply));
            let _ = socket.send_to(&reply, from).await;
            drop(permit);
        });
    }
}

/// What `query` and `delete` tell.
fn report(call: &NgCall, stats: Option<&CallStats>) -> Value {
    let default = CallStats::default();
    let stats = stats.unwrap_or(&default);
    let far = stats.far.as_deref();
    let stream = |ssrc: u32, packets: u64, bytes: u64| {
        json!([{ "index": 1, "type": "audio", "streams": [{ "local port": call.rtp.port(), "SSRC": ssrc,
            "stats": { "packets": packets, "bytes": bytes, "errors": 0 } }] }])
    };
    let seen = &stats.remote;
    let web = stream(seen.ssrc, stats.rtp_in, seen.octets);
    let plain = far.map_or_else(|| stream(0, 0, 0), |far| stream(far.reception.ssrc, far.rtp_in, far.reception.octets));
    let (from, to) = match &call.offered {
        Offered::WhatsApp(_) => (web, plain),
        Offered::Plain(_) => (plain, web),
    };
    let mut tags = Map::new();
    for (tag, medias) in [(&call.from_tag, from), (&call.to_tag, to)] {
        if !tag.is_empty() {
            tags.insert(tag.clone(), json!({ "tag": tag, "created": call.created, "medias": medias }));
        }
    }
    let mut ssrcs = Map::new();
    if seen.packets > 0 {
        let all = seen.packets as f32 + seen.lost.max(0) as f32;
        let loss = seen.lost.max(0) as f32 / all;
        let rtt = seen.rtt.unwrap_or(Span::ZERO);
        let now = json!({ "MOS": (mos::estimate(loss, rtt, Span::from_millis(60)) * 10.0).round() as i64, "packet loss": (loss * 100.0).round() as i64,
            "jitter": seen.jitter_ticks / 48, "round-trip time": rtt.as_micros(), "round-trip time leg": rtt.as_micros(), "samples": 1, "reported at": call.last_signal });
        ssrcs.insert(seen.ssrc.to_string(), json!({ "average MOS": now, "lowest MOS": now, "highest MOS": now }));
    }
    let rtp_in = stats.rtp_in + far.map_or(0, |far| far.rtp_in);
    let octets = seen.octets + far.map_or(0, |far| far.reception.octets);
    let mut out = json!({
        "result": "ok", "created": call.created, "last signal": call.last_signal, "tags": tags, "SSRC": ssrcs,
        "totals": {
            "RTP": { "packets": rtp_in, "bytes": octets, "errors": stats.drops.total() },
            "RTCP": { "packets": stats.rtcp_in + far.map_or(0, |far| far.rtcp_in), "bytes": 0, "errors": 0 },
        },
    });
    if let Some((_, reason)) = call.ended {
        out["ended"] = reason.code().into();
    }
    out
}

fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    u64::from_le_bytes(bytes)
}

const NO_RE_OFFER: &str = "the WhatsApp leg of this call has its description, and Meta takes no other one (a re-INVITE is answered 500): keep it, or end the call";
const UNKNOWN_CALL: &str = "Unknown call-id";
/// The two texts that Kamailio and OpenSIPS take for an overload, letter by letter.
const NO_SESSION: &str = "Parallel session limit reached";
const NO_PORT: &str = "Ran out of ports";
/// How long a call that ended by itself can be asked for, in seconds.
const ENDED_KEPT_S: i64 = 60;
/// How long a request waits for the answer of a call: several turns of a shard.
const SHARD_WAIT: Span = Span::from_millis(200);
const BODY_BYTES_MAX: usize = 64 * 1_024;
/// Requests at a time; more wait in the kernel, and proxies ask again.
const REQUESTS_MAX: usize = 64;
/// Replies kept: several seconds of a busy proxy.
const COOKIES_MAX: usize = 4_096;
