//! Direct mode: SDP in, SDP out, media by the engine. Meta is never called.
//!
//! Decides: which session a request means and whether it fits its state. Given: requests with a bearer token; engine events. Refuses: renegotiation (a session
//! has one offer and one answer), files that the configuration does not name, and anything without the token.

use super::bodies::{self, DigitsBody, digits_refused};
use super::bridge_body::{BridgeBody, Plays};
use super::figures::stats_json;
use super::problem::Problem;
use super::rtp_body::{BadLeg, RtpChange};
use super::voip;
use crate::config::{BridgeConfig, DirectConfig};
use crate::sdp;
use crate::shell::http_server::{Reply, Service, query_pairs, typed};
use crate::shell::{CallRef, Commons, DaemonEvent, random};
use crate::verdict::Verdict;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, header};
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use tipring_engine::bridge::rtp::NO_TARGET;
use tipring_engine::call::{CallEvent, CallStats, LocalParams, SetupRole};
use tipring_engine::engine::{CallId, CommandError, RtpLegLocal, SendDigitsError};
use tipring_engine::error::{AdmitError, EndReason, SetupError};
use tipring_engine::time::Span;
use tokio::sync::oneshot;

/// Names a session of Direct mode: 32 hex digits, random.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionId(Arc<str>);

impl SessionId {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        random(&mut bytes);
        Self(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into())
    }

    /// The id as it stands in URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Direct mode of one daemon.
pub(crate) struct Direct {
    config: DirectConfig,
    commons: Commons,
    table: Mutex<Table>,
}

/// Our parameters, or where they will come from.
type Local = Result<Box<LocalParams>, oneshot::Receiver<Box<LocalParams>>>;

#[derive(Default)]
struct Table {
    by_id: HashMap<SessionId, Session>,
    /// Kept until the engine said `Ended`, also when the session was deleted before.
    by_call: HashMap<CallId, SessionId>,
    /// Requests that wait for our candidates.
    gathering: HashMap<CallId, oneshot::Sender<Box<LocalParams>>>,
    /// Sessions that ended by themselves, oldest first; they stay readable until room is needed.
    ended: VecDeque<SessionId>,
}

struct Session {
    call: CallId,
    state: State,
    gate_wanted: bool,
    /// It ends when its audio server has left.
    hangs_up: bool,
    /// Our end of its plain RTP leg.
    rtp: Option<RtpLegLocal>,
    ended: Option<(EndReason, Box<CallStats>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    WaitingAnswer,
    Connecting,
    MediaReady,
    Open,
    Ended,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::WaitingAnswer => "waiting_answer",
            Self::Connecting => "connecting",
            Self::MediaReady => "media_ready",
            Self::Open => "open",
            Self::Ended => "ended",
        }
    }
}

/// Body of `POST /v1/sessions` and `PUT .../answer` as JSON.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct SessionBody {
    sdp: Option<String>,
    role: Option<String>,
    gate: Option<String>,
    bridge: Option<BridgeBody>,
}

/// What a request carried, once read.
struct Parsed {
    body: SessionBody,
    as_sdp: bool,
}

impl Service for Direct {
    async fn handle(&self, request: Request<Incoming>) -> Reply {
        self.route(request).await.unwrap_or_else(Problem::into_reply)
    }
}

impl Direct {
    pub(crate) fn new(config: DirectConfig, commons: Commons) -> Self {
        Self { config, commons, table: Mutex::default() }
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Reply, Problem> {
        self.authorise(&request)?;
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method().clone(), parts.as_slice()) {
            (Method::POST, ["v1", "sessions"]) => self.create(request).await,
            (Method::GET, ["v1", "sessions"]) => Ok(self.list()),
            (Method::GET, ["v1", "sessions", id]) => self.show(id).await,
            (Method::DELETE, ["v1", "sessions", id]) => Ok(self.delete(id)),
            (Method::PUT, ["v1", "sessions", id, "answer"]) => self.answer(id, request).await,
            (Method::POST, ["v1", "sessions", id, "gate"]) => self.gate(id),
            (Method::PUT, ["v1", "sessions", id, "rtp"]) => self.change_rtp(id, request).await,
            (Method::POST, ["v1", "sessions", id, "digits"]) => self.digits(id, request).await,
            (_, ["v1", "sessions"]) => Err(wrong_method("GET or POST")),
            (_, ["v1", "sessions", _]) => Err(wrong_method("GET or DELETE")),
            (_, ["v1", "sessions", _, "answer" | "rtp"]) => Err(wrong_method("PUT")),
            (_, ["v1", "sessions", _, "gate" | "digits"]) => Err(wrong_method("POST")),
            _ => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "no such path",
                "the paths start with /v1/sessions; see docs/DIRECT_MODE.md",
            )),
        }
    }

    fn authorise(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |h| h.as_bytes());
        match given.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") && self.config.token.matches(token) => Ok(()),
            _ => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "the bearer token is missing or wrong",
                "send the header Authorization: Bearer TOKEN with the token that [direct] names",
            )),
        }
    }

    async fn create(&self, request: Request<Incoming>) -> Result<Reply, Problem> {
        let query = query_pairs(request.uri().query().unwrap_or_default());
        let Parsed { body, as_sdp } = self.read(request).await?;
        let gate_wanted = gate_wanted(&query, &body)?;
        let bridge = match &body.bridge {
            None => self.config.bridge.clone(),
            Some(wanted) => wanted.read(Plays::Configured(self.config.bridge.kind.wav()), &self.commons)?,
        };
        let offer = offer_of(&body)?;
        let (id, local, rtp) = self.open(offer.as_ref(), &bridge, gate_wanted)?;
        // The wait ends by itself: the engine bounds it, and the end of the call drops the sender.
        let local = match local {
            Ok(local) => local,
            Err(gathering) => gathering.await.map_err(|_| gone_at_once())?,
        };
        let text = match &offer {
            None => sdp::write_offer(&local, random_u64()),
            Some(offer) => sdp::write_answer(offer, &local, random_u64()),
        };
        let state = if offer.is_some() { State::Connecting } else { State::WaitingAnswer };
        let mut reply = if as_sdp {
            typed(StatusCode::CREATED, "application/sdp", text)
        } else {
            let kind = if offer.is_some() { "answer" } else { "offer" };
            let mut body = serde_json::json!({ "id": id.as_str(), "state": state.name(), "sdp_type": kind, "sdp": text });
            if let Some(rtp) = rtp {
                body["rtp"] = rtp_json(&rtp);
            }
            typed(StatusCode::CREATED, "application/json", body.to_string())
        };
        let location = header::HeaderValue::from_str(&format!("/v1/sessions/{id}")).expect("hex digits are header text");
        reply.headers_mut().insert(header::LOCATION, location);
        Ok(reply)
    }

    /// Opens the media call under the table's lock, so that its first event finds its session.
    ///
    /// Our parameters, or where they come from once the STUN servers have answered.
    fn open(
        &self,
        offer: Option<&sdp::RemoteSdp>,
        bridge: &BridgeConfig,
        gate_wanted: bool,
    ) -> Result<(SessionId, Local, Option<RtpLegLocal>), Problem> {
        let mut table = self.lock();
        if table.by_id.len() >= self.config.sessions_max {
            let Some(oldest) = table.ended.pop_front() else {
                self.commons.metrics.call_refused();
                return Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "SESSIONS_FULL",
                    "every session is taken",
                    "DELETE sessions that are over, or raise direct.sessions_max",
                ));
            };
            table.by_id.remove(&oldest);
        }
        let id = SessionId::random();
        let role = offer.map_or(SetupRole::ActPass, |o| sdp::our_role(o.params.role));
        let port = self.commons.bridges.port(bridge, &CallRef::Direct(id.clone()), &[("session_id", id.as_str().to_owned())]);
        let (call, local) = self.commons.engine.open_call(role, port).map_err(|e| self.not_admitted(e))?;
        self.commons.metrics.call_opened();
        let call_ref = CallRef::Direct(id.clone());
        let rtp = match self.commons.bridges.attach_rtp(&self.commons.engine, call, bridge, &call_ref) {
            Ok(rtp) => rtp,
            Err(e) => {
                self.release(call);
                table.by_call.insert(call, id);
                return Err(self.rtp_refused(e));
            }
        };
        if let Some(offer) = offer
            && let Err(e) = self.commons.engine.set_remote(call, offer.params.clone())
        {
            self.release(call);
            table.by_call.insert(call, id);
            return Err(self.refused(e));
        }
        let local = if local.complete {
            Ok(Box::new(local))
        } else {
            let (ready, gathering) = oneshot::channel();
            table.gathering.insert(call, ready);
            Err(gathering)
        };
        let state = if offer.is_some() { State::Connecting } else { State::WaitingAnswer };
        table.by_call.insert(call, id.clone());
        table.by_id.insert(id.clone(), Session { call, state, gate_wanted, hangs_up: bridge.kind.hangs_up(), rtp, ended: None });
        self.commons.watch.tell(DaemonEvent::MediaOpened { call: call_ref });
        Ok((id, local, rtp))
    }

    async fn answer(&self, id: &str, request: Request<Incoming>) -> Result<Reply, Problem> {
        let Parsed { body, .. } = self.read(request).await?;
        let text = body.sdp.ok_or_else(|| {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "SDP_MISSING",
                "there is no answer in the body",
                "send the answer as application/sdp, or as JSON with sdp",
            )
        })?;
        let remote = sdp::read_answer(&text).map_err(|e| bad_sdp(&e))?;
        let mut table = self.lock();
        let session = find(&mut table, id)?;
        if session.state != State::WaitingAnswer {
            return Err(wrong_state(
                session.state,
                "an answer is taken once, and only for a session that made an offer; there is no renegotiation",
            ));
        }
        self.commons.engine.set_remote(session.call, remote.params).map_err(|e| self.refused(e))?;
        session.state = State::Connecting;
        Ok(state_reply(StatusCode::OK, id, session))
    }

    fn gate(&self, id: &str) -> Result<Reply, Problem> {
        let mut table = self.lock();
        let session = find(&mut table, id)?;
        match session.state {
            State::Ended => Err(wrong_state(State::Ended, "open a new session")),
            State::Open => Ok(state_reply(StatusCode::OK, id, session)),
            State::WaitingAnswer | State::Connecting => {
                session.gate_wanted = true;
                Ok(state_reply(StatusCode::ACCEPTED, id, session))
            }
            State::MediaReady => {
                self.commons.engine.open_gate(session.call).map_err(|e| self.refused(e))?;
                session.gate_wanted = true;
                Ok(state_reply(StatusCode::OK, id, session))
            }
        }
    }

    /// Moves or holds the far side of a session's plain RTP leg.
    async fn change_rtp(&self, id: &str, request: Request<Incoming>) -> Result<Reply, Problem> {
        let bad = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_RTP", detail, BAD_RTP_HINT);
        let body = bodies::read(&self.commons, request.into_body()).await?;
        let change: RtpChange = bodies::json_object(&body.bytes, BAD_RTP_HINT)?;
        let remote = change.remote().map_err(|e| match e {
            BadLeg::Body(detail) => bad(detail),
            BadLeg::Outside(what) => voip::refusal(what),
        })?;
        let direction = change.direction().map_err(bad)?;
        let mut table = self.lock();
        let session = find(&mut table, id)?;
        if session.rtp.is_none() {
            return Err(wrong_state(session.state, "the session has no plain RTP leg; open one with bridge.rtp"));
        }
        if let Some(remote) = remote {
            self.commons.engine.set_rtp_remote(session.call, remote).map_err(|e| self.rtp_refused(e))?;
        }
        if let Some(direction) = direction {
            self.commons.engine.set_rtp_direction(session.call, direction).map_err(|e| self.refused(e))?;
        }
        Ok(state_reply(StatusCode::OK, id, session))
    }

    /// Sends digits in the running stream. Their text is in no log: it may be a PIN.
    async fn digits(&self, id: &str, request: Request<Incoming>) -> Result<Reply, Problem> {
        let body = bodies::read(&self.commons, request.into_body()).await?;
        let DigitsBody { digits, tone_ms } = DigitsBody::read(&body.bytes)?;
        let call = {
            let mut table = self.lock();
            let session = find(&mut table, id)?;
            if session.state == State::Ended {
                return Err(wrong_state(State::Ended, "open a new session"));
            }
            session.call
        };
        let engine = Arc::clone(&self.commons.engine);
        // The call answers with the next turn of its shard; the wait must not hold the other connections up.
        let sent = tokio::task::spawn_blocking(move || engine.send_digits(call, &digits, tone_ms, SHARD_WAIT)).await;
        match sent.unwrap_or(Err(SendDigitsError::Unanswered)) {
            Ok(()) => Ok(typed(StatusCode::ACCEPTED, "application/json", serde_json::json!({ "id": id }).to_string())),
            Err(SendDigitsError::Admit(AdmitError::NoSuchCall)) => {
                Err(wrong_state(State::Ended, "the call has just ended; open a new session"))
            }
            Err(SendDigitsError::Admit(e)) => Err(self.not_admitted(e)),
            Err(SendDigitsError::Refused(e)) => {
                Err(digits_refused(e, "put the peer's answer first", || wrong_state(State::Ended, "open a new session")))
            }
            Err(SendDigitsError::Unanswered) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "BUSY",
                SendDigitsError::Unanswered.to_string(),
                "ask for the session: digits_out counts those that were sent",
            )),
        }
    }

    async fn show(&self, id: &str) -> Result<Reply, Problem> {
        let (call, mut body, ended) = {
            let mut table = self.lock();
            let session = find(&mut table, id)?;
            (session.call, state_json(id, session), session.ended.as_ref().map(|(_, s)| s.clone()))
        };
        let stats = match ended {
            Some(stats) => Some(*stats),
            None => {
                let engine = Arc::clone(&self.commons.engine);
                // The engine answers with its next turn; the wait must not hold the other connections up.
                tokio::task::spawn_blocking(move || engine.stats(call, SHARD_WAIT)).await.ok().flatten()
            }
        };
        body["stats"] = stats.as_ref().map_or(serde_json::Value::Null, stats_json);
        Ok(typed(StatusCode::OK, "application/json", body.to_string()))
    }

    fn list(&self) -> Reply {
        let table = self.lock();
        let sessions: Vec<_> = table.by_id.iter().map(|(id, s)| state_json(id.as_str(), s)).collect();
        typed(StatusCode::OK, "application/json", serde_json::json!({ "sessions": sessions }).to_string())
    }

    fn delete(&self, id: &str) -> Reply {
        let mut table = self.lock();
        if let Some(session) = table.by_id.remove(&SessionId(id.into())) {
            if session.state == State::Ended {
                table.ended.retain(|e| e.as_str() != id);
            } else {
                self.release(session.call);
            }
        }
        let mut reply = typed(StatusCode::NO_CONTENT, "text/plain", Bytes::new());
        reply.headers_mut().remove(header::CONTENT_TYPE);
        reply
    }

    /// Ends every session: the daemon stops.
    pub(crate) fn close_all(&self) {
        for session in self.lock().by_id.values().filter(|s| s.state != State::Ended) {
            self.release(session.call);
        }
    }

    /// Takes an engine event if its call is ours.
    pub(crate) fn handle_event(&self, call: CallId, event: &CallEvent) -> bool {
        let id = {
            let mut table = self.lock();
            let Some(id) = table.by_call.get(&call).cloned() else { return false };
            self.advance(&mut table, &id, call, event);
            id
        };
        self.commons.watch.tell(DaemonEvent::Media { call: CallRef::Direct(id), event: event.clone() });
        true
    }

    fn advance(&self, table: &mut Table, id: &SessionId, call: CallId, event: &CallEvent) {
        if matches!(event, CallEvent::Ended(_)) {
            table.by_call.remove(&call);
            table.gathering.remove(&call);
        }
        if let CallEvent::LocalReady(local) = event
            && let Some(ready) = table.gathering.remove(&call)
        {
            // Whoever asked may have gone.
            let _ = ready.send(local.clone());
        }
        let Some(session) = table.by_id.get_mut(id) else { return };
        match event {
            CallEvent::MediaReady => {
                session.state = State::MediaReady;
                if session.gate_wanted
                    && let Err(e) = self.commons.engine.open_gate(call)
                {
                    tracing::warn!(session = %id, error = %e, "the gate did not open");
                }
            }
            CallEvent::GateOpened => session.state = State::Open,
            CallEvent::PortFinished { .. } if session.hangs_up => self.release(call),
            CallEvent::Ended(ended) => {
                session.state = State::Ended;
                session.ended = Some((ended.reason, Box::new(ended.stats.clone())));
                table.ended.push_back(id.clone());
            }
            _ => {}
        }
    }

    /// Reads the body: SDP, JSON, or nothing.
    async fn read(&self, request: Request<Incoming>) -> Result<Parsed, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let wants_sdp = request.headers().get(header::ACCEPT).is_some_and(|a| a.as_bytes() == b"application/sdp");
        let body = bodies::read(&self.commons, request.into_body()).await?;
        parse(&content_type, wants_sdp, &body.bytes)
    }

    fn release(&self, call: CallId) {
        if let Err(e) = self.commons.engine.close(call, EndReason::HangUp) {
            tracing::debug!(error = %e, "close of a call that is gone");
        }
    }

    fn not_admitted(&self, error: AdmitError) -> Problem {
        self.commons.metrics.call_refused();
        let verdict = Verdict::of_admit(error);
        Problem { status: StatusCode::SERVICE_UNAVAILABLE, code: verdict.code, detail: verdict.sentence.into_owned(), hint: verdict.advice }
    }

    /// A plain RTP leg that cannot be: what was asked for is told as it is.
    fn rtp_refused(&self, error: CommandError) -> Problem {
        match error {
            CommandError::Setup(SetupError::Misuse(why)) => {
                self.commons.metrics.call_refused();
                if why == NO_TARGET {
                    return voip::refusal("an address that no [[trunk]] lists (R-10)");
                }
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_RTP", why, "see the table of rtp in docs/DIRECT_MODE.md")
            }
            other => self.refused(other),
        }
    }

    fn refused(&self, error: CommandError) -> Problem {
        match error {
            CommandError::Admit(AdmitError::NoSuchCall) => wrong_state(State::Ended, "the call has just ended; open a new session"),
            CommandError::Admit(e) => self.not_admitted(e),
            CommandError::Setup(e) => {
                self.commons.metrics.call_refused();
                let verdict = Verdict::of_setup(&e);
                Problem {
                    status: StatusCode::UNPROCESSABLE_ENTITY,
                    code: verdict.code,
                    detail: verdict.sentence.into_owned(),
                    hint: verdict.advice,
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic while the lock was held is a bug elsewhere; the table itself has no half-made state worth refusing for.
        self.table.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Reads a body: SDP, JSON, or nothing. `content_type` is in lower case and without parameters.
fn parse(content_type: &str, wants_sdp: bool, bytes: &[u8]) -> Result<Parsed, Problem> {
    if bytes.is_empty() {
        return Ok(Parsed { body: SessionBody::default(), as_sdp: wants_sdp });
    }
    match content_type {
        "application/sdp" => {
            let text = String::from_utf8(bytes.to_vec()).map_err(|_| {
                Problem::new(StatusCode::BAD_REQUEST, "BAD_SDP_TEXT", "the SDP is not UTF-8", "send the SDP as it is, unencoded")
            })?;
            Ok(Parsed { body: SessionBody { sdp: Some(text), ..SessionBody::default() }, as_sdp: true })
        }
        "application/json" => {
            let hint = "the members are sdp, role, gate, bridge; SDP lines end in \\r\\n inside the string";
            Ok(Parsed { body: bodies::json_object(bytes, hint)?, as_sdp: wants_sdp })
        }
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "the body is neither application/sdp nor application/json",
            "set the Content-Type header to what the body is",
        )),
    }
}

/// Whether the gate opens by itself. The URL wins over the body.
fn gate_wanted(query: &[(String, String)], body: &SessionBody) -> Result<bool, Problem> {
    let gate = query.iter().find(|(k, _)| k == "gate").map(|(_, v)| v.as_str()).or(body.gate.as_deref());
    match gate {
        None | Some("hold") => Ok(false),
        Some("open") => Ok(true),
        Some(_) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "BAD_GATE",
            "gate is neither open nor hold",
            "send gate=hold (the default) or gate=open",
        )),
    }
}

/// The offer to answer; none when we are to make one.
fn offer_of(body: &SessionBody) -> Result<Option<sdp::RemoteSdp>, Problem> {
    match (body.role.as_deref(), &body.sdp) {
        (None | Some("answer"), Some(text)) => sdp::read_offer(text).map(Some).map_err(|e| bad_sdp(&e)),
        (None | Some("offer"), None) => Ok(None),
        (Some("offer"), Some(_)) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "BAD_ROLE",
            "role is offer, but an SDP was sent",
            "leave sdp out to have our offer, or leave role out to have your offer answered",
        )),
        (Some("answer"), None) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "SDP_MISSING",
            "role is answer, but there is no offer to answer",
            "send the offer as sdp",
        )),
        (Some(_), _) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "BAD_ROLE",
            "role is neither offer nor answer",
            "role says what we do: send \"offer\" without sdp, or leave it out",
        )),
    }
}

/// Reads any bytes as a request to open a session: what is refused says what, why and how to do better.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_request(data: &[u8]) {
    let (head, body) = data.split_at(data.iter().position(|&b| b == b'\n').unwrap_or(data.len()));
    let query = query_pairs(&String::from_utf8_lossy(head));
    let body = body.get(1..).unwrap_or_default();
    for content_type in ["application/json", "application/sdp", "text/plain"] {
        let offer = parse(content_type, false, body).and_then(|parsed| {
            if let Some(Err(why)) = parsed.body.bridge.as_ref().and_then(|bridge| bridge.rtp()).map(super::rtp_body::RtpBody::params) {
                assert!(!format!("{why:?}").is_empty());
            }
            gate_wanted(&query, &parsed.body)?;
            offer_of(&parsed.body)
        });
        if let Err(problem) = offer {
            assert!(problem.status.is_client_error() && !problem.code.is_empty() && !problem.detail.is_empty() && !problem.hint.is_empty());
        }
    }
}

fn find<'t>(table: &'t mut Table, id: &str) -> Result<&'t mut Session, Problem> {
    table.by_id.get_mut(&SessionId(id.into())).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "NO_SUCH_SESSION",
            "there is no session of this id",
            "it was deleted, or made room for a newer one; open a new session",
        )
    })
}

fn wrong_method(allowed: &str) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", format!("this path takes {allowed}"), "see docs/DIRECT_MODE.md")
}

fn wrong_state(state: State, hint: &'static str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "WRONG_STATE", format!("the session is in state {}", state.name()), hint)
}

fn gone_at_once() -> Problem {
    wrong_state(State::Ended, "the call ended before its candidates were gathered; open a new session")
}

fn bad_sdp(error: &sdp::SdpError) -> Problem {
    let verdict = Verdict::of_sdp(error);
    let line = error.line.map(|l| format!(" (line {l})")).unwrap_or_default();
    Problem {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        code: verdict.code,
        detail: format!("{}{line}", verdict.sentence),
        hint: verdict.advice,
    }
}

fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn state_reply(status: StatusCode, id: &str, session: &Session) -> Reply {
    typed(status, "application/json", state_json(id, session).to_string())
}

fn state_json(id: &str, session: &Session) -> serde_json::Value {
    let mut out = serde_json::json!({ "id": id, "state": session.state.name(), "gate": if session.gate_wanted { "open" } else { "hold" } });
    if let Some(rtp) = &session.rtp {
        out["rtp"] = rtp_json(rtp);
    }
    if let Some((reason, _)) = &session.ended {
        out["end_reason"] = reason.code().into();
    }
    out
}

/// Where the far side of a plain RTP leg sends.
fn rtp_json(local: &RtpLegLocal) -> serde_json::Value {
    serde_json::json!({ "local": local.rtp.to_string(), "local_rtcp": local.rtcp.to_string() })
}

/// How long a request waits for the answer of a call: several turns of a shard.
const SHARD_WAIT: Span = Span::from_millis(200);
/// What moves or holds a plain RTP leg.
const BAD_RTP_HINT: &str = "send {\"remote\": \"ADDRESS:PORT\"}, {\"direction\": ...}, or both";
