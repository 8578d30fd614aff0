//! The HTTP face of the native API: who may ask what, and how it reads.
//!
//! Decides: scopes, shapes of bodies, statuses. Given: requests with a bearer key. Refuses: to touch a call itself (the control task does), and anything without a key.

use super::bodies::{AcceptBody, Action, AskBody, CallbackBody, DialBody, EmptyBody, PlayBody, RecordBody, TapBody};
use super::book::ApiCallId;
use super::contract::{ApiError, ApiOp, ApiReply, ApiRequest, NewCall};
use super::events::EventHub;
use super::idempotency::{Answer, Idempotency, KEY_BYTES_MAX, Key, Seen};
use super::routing::{self, Found, Route};
use super::signup::Signups;
use super::stream::{self, Filter};
use crate::config::{ApiConfig, AudioBridge, BridgeConfig, NumberRole, Scope};
use crate::control::bodies::{self, DigitsBody, digits_refused};
use crate::control::bridge_body::{self, BridgeBody, Plays};
use crate::control::figures::stats_json;
use crate::control::problem::Problem;
use crate::control::voip::{names_outside, refusal as voip_refusal};
use crate::graph::code::Cause;
use crate::session::{Dial, Personal};
use crate::shell::http_server::{Reply, Service, query_pairs, typed};
use crate::shell::{Commons, GraphClient, HostCommand, Reloader};
use crate::stream::Track;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tipring_engine::engine::SendDigitsError;
use tipring_engine::error::AdmitError;
use tipring_engine::time::Span;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The API of one daemon.
pub(crate) struct Native {
    pub(crate) config: ApiConfig,
    /// Prompts by name.
    pub(crate) prompts: HashMap<String, PathBuf>,
    pub(crate) commons: Commons,
    pub(crate) graph: Arc<GraphClient>,
    pub(crate) control: mpsc::Sender<HostCommand>,
    pub(crate) hub: Arc<EventHub>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) listeners: Arc<Semaphore>,
    pub(crate) memory: Mutex<Memory>,
    /// Changes of numbers and of the configuration.
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) signups: Signups,
}

/// What the API remembers of requests.
#[derive(Default)]
pub(crate) struct Memory(Idempotency);

impl Service for Native {
    async fn handle(&self, request: Request<Incoming>) -> Reply {
        self.route(request).await
    }
}

impl Native {
    async fn route(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let route = match parts.split_first() {
            Some((&"v1", rest)) => routing::find(request.method(), rest),
            _ => Found::Nothing,
        };
        match route {
            Found::Route(route) => {
                let reply = self.serve(route, &path, &parts[1..], request).await.unwrap_or_else(Problem::into_reply);
                debug_assert!(
                    route.is_documented(reply.status()),
                    "{} {} answers {}, which is not documented",
                    route.method,
                    route.pattern,
                    reply.status()
                );
                reply
            }
            Found::WrongMethod(allowed) => {
                let mut reply = Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "METHOD_NOT_ALLOWED",
                    format!("this path takes {allowed}"),
                    "see GET /v1/openapi.json",
                )
                .into_reply();
                reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
                reply
            }
            Found::Nothing => no_such().into_reply(),
        }
    }

    async fn serve(&self, route: &Route, path: &str, parts: &[&str], request: Request<Incoming>) -> Result<Reply, Problem> {
        let Some(scope) = route.scope else { return Ok(typed(StatusCode::OK, "application/json", OPENAPI)) };
        let client = self.authorise(&request)?;
        self.may(client, scope)?;
        if route.method == "POST" {
            return self.post(client, path, parts, request).await;
        }
        let call = |id: &str| ApiCallId::of(id);
        let query = request.uri().query().unwrap_or_default();
        let op = match (route.method, parts) {
            ("GET", ["calls"]) => list_op(query)?,
            ("GET", ["calls", id]) => ApiOp::Show(call(id)),
            ("GET", ["calls", id, "timeline"]) => ApiOp::Timeline(call(id)),
            ("GET", ["calls", id, "stats"]) => ApiOp::Stats(call(id)),
            ("GET", ["node"]) => ApiOp::Node,
            ("GET", ["permissions"]) => return self.permission(query).await,
            ("GET", ["events"]) => return self.events(request),
            ("GET", ["numbers"]) => return Ok(self.numbers()),
            ("GET", ["numbers", id]) => return self.number(id),
            ("GET", ["numbers", id, "settings"]) => return self.settings(id).await,
            ("PUT", ["numbers", id]) => return self.put_number(id, request).await,
            ("DELETE", ["numbers", id]) => return self.remove_number(id).await,
            _ => return Err(no_such()),
        };
        self.answer(op, StatusCode::OK).await
    }

    /// The client's place in the list of keys.
    fn authorise(&self, request: &Request<Incoming>) -> Result<usize, Problem> {
        let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |h| h.as_bytes());
        let token = match given.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
            _ => b"",
        };
        // Every key is compared, so that time does not tell which one was close.
        let found =
            self.config.keys.iter().enumerate().fold(None, |found, (i, key)| if key.token.matches(token) { Some(i) } else { found });
        found.ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "the bearer key is missing or wrong",
                "send the header Authorization: Bearer KEY with a key of [[api.key]]",
            )
        })
    }

    fn may(&self, client: usize, scope: Scope) -> Result<(), Problem> {
        if self.config.keys[client].scopes.contains(&scope) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "FORBIDDEN",
            format!("this key lacks the scope {}", scope.name()),
            "add the scope to its [[api.key]], or use another key",
        ))
    }

    async fn post(&self, client: usize, path: &str, rest: &[&str], request: Request<Incoming>) -> Result<Reply, Problem> {
        let key = idempotency_key(client, request.headers().get("idempotency-key"))?;
        let content_type =
            request.headers().get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
        let body = bodies::read(&self.commons, request.into_body()).await?;
        if !body.bytes.is_empty() && content_type.split(';').next().map(str::trim) != Some("application/json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "the body is not application/json",
                "send JSON with Content-Type: application/json",
            ));
        }
        let Some(key) = key else { return self.act(rest, &body.bytes).await };
        let mut digest = Sha256::new();
        digest.update(path.as_bytes());
        digest.update([0]);
        digest.update(&body.bytes);
        let seen = self.lock().0.begin(&key, digest.finalize().into(), self.commons.watch.now());
        match seen {
            Seen::Done(answer) => {
                let mut reply = typed(answer.status, answer.content_type, answer.body);
                reply.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
                return Ok(reply);
            }
            Seen::Running => {
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    "IDEMPOTENCY_RUNNING",
                    "the first request with this Idempotency-Key has not been answered yet",
                    "wait for its answer, or ask again a little later",
                ));
            }
            Seen::Other => {
                return Err(Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "IDEMPOTENCY_MISMATCH",
                    "this Idempotency-Key was used for another request",
                    "take a new key for each new request",
                ));
            }
            Seen::New => {}
        }
        let reply = self.act(rest, &body.bytes).await.unwrap_or_else(Problem::into_reply);
        let (parts, body) = reply.into_parts();
        // A body in memory cannot fail to be read.
        let bytes = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let content_type = if parts.status.is_success() { "application/json" } else { "application/problem+json" };
        self.lock().0.finish(&key, Answer { status: parts.status, content_type, body: bytes.clone() });
        Ok(Reply::from_parts(parts, bytes.into()))
    }

    async fn act(&self, rest: &[&str], body: &[u8]) -> Result<Reply, Problem> {
        let call = |id: &str| ApiCallId::of(id);
        let (op, status) = match rest {
            ["calls"] => return self.dial(json_body(body, false)?).await,
            ["permissions"] => return self.ask_permission(json_body(body, false)?).await,
            ["calls", id, "callback"] => return self.call_back(call(id), json_body(body, true)?).await,
            ["calls", id, "accept"] => {
                let body: AcceptBody = json_body(body, true)?;
                (ApiOp::Accept { call: call(id), bridge: body.bridge.map(|b| self.bridge(&b)).transpose()? }, StatusCode::ACCEPTED)
            }
            ["calls", id, "reject"] => {
                json_body::<EmptyBody>(body, true)?;
                (ApiOp::Reject(call(id)), StatusCode::ACCEPTED)
            }
            ["calls", id, "terminate"] => {
                json_body::<EmptyBody>(body, true)?;
                (ApiOp::Terminate(call(id)), StatusCode::ACCEPTED)
            }
            ["calls", id, "bridge"] => (ApiOp::Bridge { call: call(id), bridge: self.bridge(&json_body(body, false)?)? }, StatusCode::OK),
            ["calls", id, "play"] => {
                let body: PlayBody = json_body(body, false)?;
                (ApiOp::Play { call: call(id), prompt: body.prompt }, StatusCode::OK)
            }
            ["numbers", id, "settings"] => return self.change_settings(id, json_body(body, false)?).await,
            ["signups"] => return self.sign_up(json_body(body, false)?).await,
            ["calls", id, "dtmf"] => return self.digits(call(id), DigitsBody::read(body)?).await,
            ["calls", id, "record"] => {
                let body: RecordBody = json_body(body, false)?;
                (ApiOp::Record { call: call(id), on: body.action == Action::Start }, StatusCode::OK)
            }
            ["calls", id, "tap"] => (ApiOp::Tap { call: call(id), whom: self.tap(&json_body(body, false)?)? }, StatusCode::OK),
            ["node", "reload"] => {
                json_body::<EmptyBody>(body, true)?;
                return self.reload();
            }
            ["node", what @ ("drain" | "undrain")] => {
                json_body::<EmptyBody>(body, true)?;
                (ApiOp::Drain(*what == "drain"), StatusCode::OK)
            }
            _ => return Err(no_such()),
        };
        self.answer(op, status).await
    }

    /// Sends digits to the user's side. They are in no log and no event: they may be a PIN.
    async fn digits(&self, call: ApiCallId, body: DigitsBody) -> Result<Reply, Problem> {
        let ApiReply::Engine(id) = self.ask(ApiOp::Engine(call)).await? else { return Err(busy()) };
        let engine = Arc::clone(&self.commons.engine);
        let count = body.digits.chars().count();
        if count == 0 {
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_DIGITS", "digits is empty", "send 1 to 32 digits"));
        }
        // The call answers with the next turn of its shard; the wait must not hold the other connections up.
        let sent = tokio::task::spawn_blocking(move || engine.send_digits(id, &body.digits, body.tone_ms, STATS_WAIT)).await;
        match sent.unwrap_or(Err(SendDigitsError::Unanswered)) {
            Ok(()) => Ok(typed(StatusCode::ACCEPTED, "application/json", json!({ "digits": count }).to_string())),
            Err(SendDigitsError::Refused(e)) => Err(digits_refused(e, "wait for call.answered", || ApiError::Ended.into())),
            Err(SendDigitsError::Admit(AdmitError::NoSuchCall)) => Err(ApiError::Ended.into()),
            Err(e) => Err(ApiError::Engine(e.to_string()).into()),
        }
    }

    /// Calls the user back whose call this was, from the number that was called.
    async fn call_back(&self, call: ApiCallId, body: CallbackBody) -> Result<Reply, Problem> {
        let ApiReply::Caller(number, to, recipient) = self.ask(ApiOp::Caller(call)).await? else { return Err(busy()) };
        let text = |p: Option<Personal>| p.map(|p| p.reveal().to_owned());
        self.dial(DialBody {
            number_id: number.as_ref().to_owned(),
            to: text(to),
            recipient: text(recipient),
            bridge: body.bridge,
            opaque: body.opaque,
            check_permission: body.check_permission,
        })
        .await
    }

    async fn dial(&self, body: DialBody) -> Result<Reply, Problem> {
        let (to, recipient) = whom(body.to.as_deref(), body.recipient.as_deref())?;
        if body.opaque.as_ref().is_some_and(|o| o.chars().count() > 512) {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "OPAQUE_TOO_LONG",
                "opaque has more than 512 characters",
                "keep the data on your side and send its key",
            ));
        }
        let bridge = body.bridge.map(|b| self.bridge(&b)).transpose()?;
        self.known_number(&body.number_id)?;
        if body.check_permission.unwrap_or(true) {
            self.check_permission(&body.number_id, to.as_ref(), recipient.as_ref()).await?;
        }
        let dial = Dial { phone_number_id: body.number_id.into(), to, recipient, biz_opaque: body.opaque };
        self.answer(ApiOp::Dial(NewCall { dial: Box::new(dial), bridge }), StatusCode::CREATED).await
    }

    /// Refuses a call that Meta says it would refuse. When Meta cannot be asked the call is tried: Meta has the last word anyway.
    async fn check_permission(&self, number: &str, to: Option<&Personal>, recipient: Option<&Personal>) -> Result<(), Problem> {
        let Ok(permission) = self.graph.permission(number, to, recipient).await else { return Ok(()) };
        if permission.may_call() {
            return Ok(());
        }
        let verdict = permission.refusal();
        let mut problem =
            Problem::new(StatusCode::CONFLICT, "", format!("{}: permission is {}", verdict.sentence, permission.status.name()), "");
        problem.hint = match permission.may_call_by_status() {
            true => "call again when the limit expires: GET /v1/permissions tells".into(),
            false => "POST /v1/permissions asks the user; the answer comes as the event permission.reply".into(),
        };
        problem.code = verdict.code;
        Err(problem)
    }

    async fn permission(&self, query: &str) -> Result<Reply, Problem> {
        let query = query_pairs(query);
        let get = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        let number = get("number_id").unwrap_or_default();
        let (to, recipient) = whom(get("to"), get("recipient"))?;
        self.known_number(number)?;
        let permission = self.graph.permission(number, to.as_ref(), recipient.as_ref()).await.map_err(graph_problem)?;
        Ok(typed(StatusCode::OK, "application/json", permission.to_json().to_string()))
    }

    async fn ask_permission(&self, body: AskBody) -> Result<Reply, Problem> {
        let (to, recipient) = whom(body.to.as_deref(), body.recipient.as_deref())?;
        self.known_number(&body.number_id)?;
        let text = body.text.as_deref().filter(|t| !t.is_empty());
        if text.is_some_and(|t| t.chars().count() > 1_024) {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "TEXT_TOO_LONG",
                "text has more than 1024 characters",
                "shorten it",
            ));
        }
        let id = self.graph.ask_permission(&body.number_id, to.as_ref(), recipient.as_ref(), text).await.map_err(graph_problem)?;
        Ok(typed(StatusCode::ACCEPTED, "application/json", json!({ "message_id": id }).to_string()))
    }

    fn known_number(&self, number: &str) -> Result<(), Problem> {
        match self.reloader.tenants.now().number(number).map(|n| n.role) {
            Some(NumberRole::Full) => Ok(()),
            Some(_) => Err(ApiError::ReceiveOnly.into()),
            None => Err(ApiError::NoSuchNumber.into()),
        }
    }

    fn events(&self, mut request: Request<Incoming>) -> Result<Reply, Problem> {
        let headers = request.headers();
        let is = |name: header::HeaderName, wanted: &str| {
            headers
                .get_all(name)
                .iter()
                .filter_map(|h| h.to_str().ok())
                .flat_map(|h| h.split(','))
                .any(|t| t.trim().eq_ignore_ascii_case(wanted))
        };
        let key = headers.get(header::SEC_WEBSOCKET_KEY).cloned();
        let fits = is(header::CONNECTION, "upgrade") && is(header::UPGRADE, "websocket") && is(header::SEC_WEBSOCKET_VERSION, "13");
        let Some(key) = key.filter(|_| fits) else {
            let mut reply = Problem::new(
                StatusCode::UPGRADE_REQUIRED,
                "UPGRADE_REQUIRED",
                "this path is a WebSocket",
                "connect with a WebSocket client (RFC 6455, version 13)",
            )
            .into_reply();
            reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            return Ok(reply);
        };
        let query = query_pairs(request.uri().query().unwrap_or_default());
        let get = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        let types = get("types").map(|t| t.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect()).unwrap_or_default();
        let filter = Filter { types, call: get("call_id") };
        let permit = Arc::clone(&self.listeners).try_acquire_owned().map_err(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "LISTENERS_FULL", "too many listeners", "close some, or raise api.listeners_max")
        })?;
        let subscription = self.hub.subscribe(get("after").as_deref());
        let stop = self.stop.clone();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let _permit = permit;
            match upgrade.await {
                Ok(upgraded) => stream::run(TokioIo::new(upgraded), subscription, filter, stop).await,
                Err(e) => tracing::debug!(error = %e, "a WebSocket client left before the upgrade"),
            }
        });
        let mut reply = typed(StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
        let headers = reply.headers_mut();
        headers.clear();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is header text");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        Ok(reply)
    }

    /// Asks the control task.
    async fn ask(&self, op: ApiOp) -> Result<ApiReply, Problem> {
        let (reply, answer) = oneshot::channel();
        self.control.try_send(HostCommand::Api(Box::new(ApiRequest { op, reply }))).map_err(|_| busy())?;
        Ok(answer.await.map_err(|_| busy())??)
    }

    /// Asks the control task and writes its answer.
    async fn answer(&self, op: ApiOp, status: StatusCode) -> Result<Reply, Problem> {
        let body = match self.ask(op).await? {
            ApiReply::Json(body) => body,
            ApiReply::Caller(..) | ApiReply::Engine(_) => Value::Null,
            ApiReply::Media(call) => {
                let engine = Arc::clone(&self.commons.engine);
                // The engine answers with its next turn; the wait must not hold the other connections up.
                let stats = tokio::task::spawn_blocking(move || engine.stats(call, STATS_WAIT)).await.ok().flatten();
                stats.as_ref().map_or(Value::Null, stats_json)
            }
        };
        let mut reply = typed(status, "application/json", body.to_string());
        if status == StatusCode::CREATED
            && let Some(location) = body["id"].as_str().and_then(|id| HeaderValue::from_str(&format!("/v1/calls/{id}")).ok())
        {
            reply.headers_mut().insert(header::LOCATION, location);
        }
        Ok(reply)
    }

    /// Who is to listen along; none: nobody any more.
    fn tap(&self, wanted: &TapBody) -> Result<Option<(Box<AudioBridge>, Track)>, Problem> {
        match (wanted.action, &wanted.ws) {
            (Action::Start, Some(ws)) => Ok(Some((Box::new(bridge_body::audio(ws, &self.commons)?), wanted.track.unwrap_or_default()))),
            (Action::Stop, None) if wanted.track.is_none() => Ok(None),
            (action, _) => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "BAD_TAP",
                if action == Action::Start { "ws is missing" } else { "stop takes neither ws nor track" },
                "start with the ws of a listed audio server, and stop with nothing else",
            )),
        }
    }

    /// The bridge that a request asks for.
    fn bridge(&self, wanted: &BridgeBody) -> Result<BridgeConfig, Problem> {
        wanted.read(Plays::Prompts(&self.prompts), &self.commons)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        // A panic while the lock was held is a bug elsewhere; the memory has no half-made state.
        self.memory.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn no_such() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "no such path", "GET /v1/openapi.json lists every path; see docs/API.md")
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", "the node is busy or stops", "try again, or another node")
}

pub(super) fn graph_problem(verdict: crate::verdict::Verdict) -> Problem {
    let detail = verdict.evidence.iter().find(|(k, _)| *k == "details").map_or_else(String::new, |(_, text)| format!(" ({text})"));
    // What the state of the user or the account forbids is no failure of a gateway; a token, an outage and a silence are.
    let status = match verdict.info().map(|info| info.cause) {
        Some(Cause::Permission | Cause::User | Cause::Limit | Cause::Account) => StatusCode::CONFLICT,
        Some(Cause::Request) => StatusCode::UNPROCESSABLE_ENTITY,
        Some(Cause::Token | Cause::Meta | Cause::Media) | None => StatusCode::BAD_GATEWAY,
    };
    Problem { status, code: verdict.code, detail: format!("{}{detail}", verdict.sentence), hint: verdict.advice }
}

fn list_op(query: &str) -> Result<ApiOp, Problem> {
    let query = query_pairs(query);
    let get = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    let bad = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_QUERY", detail, "see GET /v1/openapi.json");
    let limit = match get("limit").map(str::parse::<usize>) {
        None => LIST_DEFAULT,
        Some(Ok(limit @ 1..=LIST_MAX)) => limit,
        Some(_) => return Err(bad(format!("limit is not a number from 1 to {LIST_MAX}"))),
    };
    let state = get("state").map(str::to_owned);
    if let Some(state) = &state
        && !STATES.contains(&state.as_str())
    {
        return Err(bad(format!("state is none of {}", STATES.join(", "))));
    }
    Ok(ApiOp::List { state, limit })
}

/// Digits of a phone, or a business-scoped id; exactly what Meta takes.
fn whom(to: Option<&str>, recipient: Option<&str>) -> Result<(Option<Personal>, Option<Personal>), Problem> {
    let bad = |detail: &str, hint| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_RECIPIENT", detail, hint);
    if let Some(to) = to {
        let digits = to.strip_prefix('+').unwrap_or(to);
        if !(6..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            //= meta#R-10  `tel:` and everything that is no WhatsApp user is refused
            if let Some(what) = names_outside(to).filter(|_| !digits.bytes().all(|b| b.is_ascii_digit())) {
                return Err(voip_refusal(what));
            }
            return Err(bad("to is not a phone number", "send 6 to 15 digits with the country code; calls go to WhatsApp users only"));
        }
        return Ok((Personal::new(digits), recipient.and_then(Personal::new)));
    }
    match recipient {
        Some(id) if !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic()) => Ok((None, Personal::new(id))),
        Some(_) => Err(bad("recipient is not a business-scoped user id", "send the user_id of a webhook")),
        None => Err(bad("neither to nor recipient is there", "send to (digits) or recipient (business-scoped user id)")),
    }
}

fn idempotency_key(client: usize, header: Option<&HeaderValue>) -> Result<Option<Key>, Problem> {
    let Some(header) = header else { return Ok(None) };
    match header.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= KEY_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(Some((client, text.to_owned())))
        }
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "BAD_IDEMPOTENCY_KEY",
            "Idempotency-Key is empty, too long, or not printable ASCII without spaces",
            "send 1 to 255 printable characters, for example a UUID",
        )),
    }
}

fn json_body<T: DeserializeOwned>(body: &[u8], may_be_empty: bool) -> Result<T, Problem> {
    let body = if body.is_empty() && may_be_empty { b"{}" } else { body };
    bodies::json_object(body, "GET /v1/openapi.json shows the members of each body")
}

/// The document that describes this API (OpenAPI 3.1).
pub(crate) const OPENAPI: &str = include_str!("openapi.json");
/// What a call can be.
const STATES: [&str; 6] = ["offered", "dialling", "ringing", "active", "ending", "ended"];
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1_000;
/// How long figures may take: several turns of a shard.
const STATS_WAIT: Span = Span::from_millis(200);
