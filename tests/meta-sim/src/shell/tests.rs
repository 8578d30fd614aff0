//! The shell on real loopback sockets, against the hand-written business.

use super::*;
use crate::correlate::tests::speech as voice;
use crate::testing::Business;
use serde_json::{Value, json};

/// Takes webhooks, checks their signature, and hands `connect` on.
async fn serve_webhooks(listener: TcpListener, events: mpsc::Sender<Value>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let events = events.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let events = events.clone();
                async move {
                    let signature = request.headers()["x-hub-signature-256"].to_str().unwrap().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let is_good = signature == crate::webhooks::sign(&Account::default().app_secret, &body);
                    if is_good {
                        events.send(serde_json::from_slice(&body).unwrap()).await.unwrap();
                    }
                    let status = if is_good { 200 } else { 401 };
                    Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(Full::new(Bytes::new())).unwrap())
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn act(graph: &str, action: &str, call_id: &str, sdp: &str) -> u16 {
    let account = Account::default();
    let body = json!({"messaging_product": "whatsapp", "call_id": call_id, "action": action,
        "session": {"sdp_type": "answer", "sdp": sdp}});
    let request = reqwest::Client::new()
        .post(format!("{graph}/v25.0/{}/calls", account.phone_number_id))
        .header("authorization", format!("Bearer {}", account.access_token))
        .header("content-type", "application/json")
        .body(body.to_string());
    request.send().await.unwrap().status().as_u16()
}

async fn business(mut events: mpsc::Receiver<Value>, graph: String, greeting: Arc<[i16]>) -> Business {
    let clock = Clock::start();
    let mut business = Business::new(greeting, &[]);
    let connect = events.recv().await.unwrap();
    let call = connect["entry"][0]["changes"][0]["value"]["calls"][0].clone();
    let id = call["id"].as_str().unwrap().to_owned();
    business.take_remote(call["session"]["sdp"].as_str().unwrap(), "active");
    let sdp = business.sdp.clone();
    assert_eq!(act(&graph, "pre_accept", &id, &sdp).await, 200);
    let sockets = Sockets::bind(true).await.unwrap();
    business.start(clock.now());
    let (mut accepting, mut is_accepted) = (None, false);
    let (mut buffer4, mut buffer6) = ([0; 2_048], [0; 2_048]);
    loop {
        let now = clock.now();
        business.handle_timeout(now);
        while let Some((remote, bytes)) = business.poll_transmit() {
            let local = if remote.is_ipv4() { sockets.v4_address } else { sockets.v6_address };
            sockets.send(local.unwrap(), remote, &bytes);
        }
        if business.is_connected() && accepting.is_none() {
            let (graph, id, sdp) = (graph.clone(), id.clone(), sdp.clone());
            accepting = Some(tokio::spawn(async move { act(&graph, "accept", &id, &sdp).await }));
        }
        let wake = business.poll_timeout(now).min(now + Span::from_millis(5));
        tokio::select! {
            received = receive(sockets.v4.as_ref(), &mut buffer4) => {
                let (len, remote) = received.unwrap();
                business.handle_datagram(remote, &buffer4[..len], clock.now());
            }
            received = receive(sockets.v6.as_ref(), &mut buffer6) => {
                let (len, remote) = received.unwrap();
                business.handle_datagram(remote, &buffer6[..len], clock.now());
            }
            status = async { accepting.as_mut().unwrap().await }, if accepting.is_some() && !is_accepted => {
                assert_eq!(status.unwrap(), 200);
                is_accepted = true;
                business.open_gate(clock.now());
            }
            event = events.recv() => {
                if event.unwrap()["entry"][0]["changes"][0]["value"]["calls"][0]["event"] == "terminate" {
                    return business;
                }
            }
            () = tokio::time::sleep(duration(wake.since(now))) => {}
        }
    }
}

#[tokio::test]
async fn one_call_over_loopback_with_http_and_udp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, events) = mpsc::channel(16);
    let server = tokio::spawn(serve_webhooks(listener, sender));
    let mut config = SimConfig::new(url);
    // A loaded machine is not what is tested.
    config.limits.client_hello = Span::from_secs(2);
    config.limits.first_rtp = Span::from_secs(2);
    config.limits.webhook_answer = Span::from_secs(5);
    let sim = Sim::start(config).await.unwrap();
    let greeting: Arc<[i16]> = voice(700).into();
    let business = tokio::spawn(business(events, sim.graph_url(), greeting.clone()));
    let script = UserScript { hang_up_after: Some(Span::from_millis(1_500)), ..UserScript::default() };
    let mut report = sim.call(script, &[]).await.unwrap();
    let business = business.await.unwrap();
    server.abort();
    report.judge_speech(greeting);
    assert!(!report.is_cut_off);
    assert_eq!(report.failures(), Vec::<&Verdict>::new());
    assert!(report.verdicts.iter().any(|v| v.rule == "R-31" && v.seen));
    assert!(!business.heard.is_empty() && report.stages.first_rtp.is_some());
}

#[tokio::test]
async fn graph_refuses_strangers_and_calls_nobody_waits_for() {
    let sim = Sim::start(SimConfig::new("http://127.0.0.1:9/")).await.unwrap();
    let graph = sim.graph_url();
    assert_eq!(act(&graph, "terminate", "wacid.unknown", "").await, 400);
    let body = json!({"messaging_product": "whatsapp", "to": "1", "action": "connect", "session": {"sdp_type": "offer", "sdp": "v=0\r\n"}});
    let url = format!("{graph}/v25.0/{}/calls", Account::default().phone_number_id);
    let client = reqwest::Client::new();
    let request = || client.post(&url).body(body.to_string());
    assert_eq!(request().send().await.unwrap().status(), 401);
    let reply = request().header("authorization", "Bearer meta-sim-token").send().await.unwrap();
    assert!(reply.status() == 400 && reply.text().await.unwrap().contains("138001"));
}
