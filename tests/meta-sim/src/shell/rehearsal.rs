//! A call against the hand-written business on loopback: what a business that breaks a rule looks like, and that the oracle says so.
//!
//! Given: the user's script and the misdeeds. Decides: the order of the business's HTTP requests. Refuses: to be a business: it answers one call.

use super::{Sim, SimConfig, Sockets, duration, receive};
use crate::business::{Business, Misdeed};
use crate::graph::Account;
use crate::shell::CallReport;
use crate::user::UserScript;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tipring_engine::time::{Span, Time};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Runs one call that the hand-written business takes, misbehaving as told. `config.webhook_url` is not used.
pub async fn rehearse(config: SimConfig, script: UserScript, misdeeds: &[Misdeed], greeting: Arc<[i16]>) -> Result<CallReport, String> {
    rehearse_with(config, script, Business::new(greeting, misdeeds)?, misdeeds).await.map(|(report, _)| report)
}

/// As [`rehearse`], and hands the business back.
pub(crate) async fn rehearse_with(
    config: SimConfig,
    script: UserScript,
    mut business: Business,
    misdeeds: &[Misdeed],
) -> Result<(CallReport, Business), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| format!("no webhook listener on loopback: {e}"))?;
    let url = format!("http://{}/hook", listener.local_addr().map_err(|e| e.to_string())?);
    let account = config.account.clone();
    let (sender, mut events) = mpsc::channel(16);
    let server = tokio::spawn(serve_webhooks(listener, account.clone(), sender));
    let sim = Sim::start(SimConfig { webhook_url: url, ..config }).await?;
    let sockets = Sockets::bind(true).await.map_err(|e| format!("no socket on loopback: {e}"))?;
    let has = |misdeed| misdeeds.contains(&misdeed);
    let mut desk = Desk { account, graph: sim.graph_url(), client: reqwest::Client::new(), call_id: String::new(), asked: None };
    let mut call = pin!(sim.call(script, &[]));
    let (mut buffer4, mut buffer6) = ([0; 2_048], [0; 2_048]);
    let (mut accept_at, mut accepted_sdp) = (Time::MAX, None);
    let report = loop {
        let now = sim.now();
        business.handle_timeout(now);
        while let Some((remote, bytes)) = business.poll_transmit() {
            let local = if remote.is_ipv4() { sockets.v4_address } else { sockets.v6_address };
            if let Some(local) = local {
                sockets.send(local, remote, &bytes);
            }
        }
        if business.is_connected() && accept_at == Time::MAX && accepted_sdp.is_none() {
            // As a person takes a moment, so that what comes too early can be seen.
            accept_at = now + ACCEPT_AFTER;
        }
        if accept_at <= now && desk.asked.is_none() {
            accept_at = Time::MAX;
            let sdp = if has(Misdeed::OtherSdpInAccept) { business.sdp.replace("cname:eng", "cname:eng2") } else { business.sdp.clone() };
            desk.ask("accept", &sdp);
            accepted_sdp = Some(sdp);
        }
        let wake = business.poll_timeout(now).min(accept_at).min(now + Span::from_millis(50));
        tokio::select! {
            report = &mut call => break report,
            received = receive(sockets.v4.as_ref(), &mut buffer4) => {
                if let Ok((len, remote)) = received {
                    business.handle_datagram(remote, &buffer4[..len], sim.now());
                }
            }
            received = receive(sockets.v6.as_ref(), &mut buffer6) => {
                if let Ok((len, remote)) = received {
                    business.handle_datagram(remote, &buffer6[..len], sim.now());
                }
            }
            Some(body) = events.recv() => {
                let event = &body["entry"][0]["changes"][0]["value"]["calls"][0];
                if event["event"] == "connect" && desk.call_id.is_empty() {
                    desk.call_id = event["id"].as_str().unwrap_or_default().to_owned();
                    business.take_remote(event["session"]["sdp"].as_str().unwrap_or_default(), "active");
                    let (action, sdp) = (if has(Misdeed::NoPreAccept) { "accept" } else { "pre_accept" }, business.sdp.clone());
                    desk.ask(action, &sdp);
                    if action == "accept" {
                        accepted_sdp = Some(sdp);
                    }
                }
            }
            status = desk.answer() => {
                match (accepted_sdp.is_some(), status) {
                    (false, 200) => business.start(sim.now()),
                    (true, 200) => {
                        if has(Misdeed::NoPreAccept) {
                            business.start(sim.now());
                        }
                        business.open_gate(sim.now());
                    }
                    // Refused: the user will give up.
                    _ => {}
                }
            }
            () = tokio::time::sleep(duration(wake.since(now))) => {}
        }
    };
    server.abort();
    report.map(|report| (report, business))
}

/// Speaks to Graph, one request at a time.
struct Desk {
    account: Account,
    graph: String,
    client: reqwest::Client,
    call_id: String,
    asked: Option<JoinHandle<u16>>,
}

impl Desk {
    fn ask(&mut self, action: &str, sdp: &str) {
        let body = json!({"messaging_product": "whatsapp", "call_id": self.call_id, "action": action,
            "session": {"sdp_type": "answer", "sdp": sdp}});
        let request = self
            .client
            .post(format!("{}/v25.0/{}/calls", self.graph, self.account.phone_number_id))
            .header("authorization", format!("Bearer {}", self.account.access_token))
            .header("content-type", "application/json")
            .body(body.to_string());
        self.asked = Some(tokio::spawn(async move { request.send().await.map_or(0, |reply| reply.status().as_u16()) }));
    }

    /// HTTP status of the request in flight, 0 without an answer; never, when there is none.
    async fn answer(&mut self) -> u16 {
        match &mut self.asked {
            Some(asked) => {
                let status = asked.await.unwrap_or(0);
                self.asked = None;
                status
            }
            None => std::future::pending().await,
        }
    }
}

/// Takes webhooks that are signed well, and hands them on.
async fn serve_webhooks(listener: TcpListener, account: Account, events: mpsc::Sender<Value>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (events, account) = (events.clone(), account.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (events, secret) = (events.clone(), account.app_secret.clone());
                async move {
                    let signature =
                        request.headers().get("x-hub-signature-256").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
                    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let is_good = signature == crate::webhooks::sign(&secret, &body);
                    if let (true, Ok(value)) = (is_good, serde_json::from_slice(&body)) {
                        // The rehearsal is over when nobody listens.
                        let _ = events.send(value).await;
                    }
                    let status = if is_good { 200 } else { 401 };
                    Ok::<_, Infallible>(Response::builder().status(status).body(Full::new(Bytes::new())).unwrap_or_default())
                }
            });
            // A broken connection is the other side's business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// From the keys to the accept.
const ACCEPT_AFTER: Span = Span::from_millis(300);
