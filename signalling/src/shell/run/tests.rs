//! The whole daemon on loopback, against a Graph that says yes to everything.

use super::*;
use crate::config::{BridgeConfig, DirectConfig, GraphConfig, HttpConfig, NumberConfig, Secret, WebhookConfig};
use crate::session::Notice;
use crate::shell::observe::unix_s;
use crate::shell::{DaemonEvent, Observed, WebhookResult};
use crate::webhook::signature;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc as std_mpsc;

/// How long a step that must come may take on a busy machine; never waited for when it comes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    handle: DaemonHandle,
    events: std_mpsc::Receiver<DaemonEvent>,
    posts: std_mpsc::Receiver<serde_json::Value>,
}

/// Answers every POST with success and hands its body over. Ends with the process.
fn graph() -> (SocketAddr, std_mpsc::Receiver<serde_json::Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (tx, posts) = std_mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 4_096];
            let body = loop {
                let n = stream.read(&mut chunk).unwrap();
                request.extend_from_slice(&chunk[..n]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let length =
                    text.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap()));
                if let (Some((head, body)), Some(length)) = (text.split_once("\r\n\r\n"), length)
                    && body.len() >= length
                {
                    assert!(head.starts_with("POST /v25.0/1047000000000/calls HTTP/1.1"), "{head}");
                    assert!(head.contains("authorization: Bearer token of the number"), "{head}");
                    //= meta#R-08 type=test
                    assert!(!head.to_lowercase().contains("tipring") && !head.to_lowercase().contains("user-agent"), "{head}");
                    break body.to_owned();
                }
                assert!(n > 0, "the request broke off");
            };
            let yes = "{\"success\":true}";
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{yes}", yes.len()).unwrap();
            if tx.send(serde_json::from_str(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (addr, posts)
}

fn start() -> Running {
    let (graph, posts) = graph();
    let config = Config {
        http: HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() },
        engine: EngineConfig { addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], allow_loopback: true, ..EngineConfig::default() },
        graph: GraphConfig { base_url: format!("http://{graph}"), ..GraphConfig::default() },
        webhook: Some(WebhookConfig::new(Secret::new("verify"), vec![Secret::new("app secret")])),
        numbers: vec![NumberConfig {
            phone_number_id: "1047000000000".into(),
            access_token: Secret::new("token of the number"),
            keying: Default::default(),
            bridge: BridgeConfig::ECHO,
            waits: false,
            ..NumberConfig::new("", Secret::new(""))
        }],
        direct: Some(DirectConfig { listen: "127.0.0.1:0".parse().unwrap(), ..DirectConfig::new(Secret::new("direct")) }),
        drain_max: Duration::from_millis(200),
        ..Config::default()
    };
    let (tx, events) = std_mpsc::channel();
    let handle = Daemon::start(config, Arc::new(move |o: &Observed| drop(tx.send(o.event.clone())))).unwrap();
    Running { handle, events, posts }
}

fn post(to: SocketAddr, body: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    let signature = signature::sign(body.as_bytes(), b"app secret");
    write!(
        stream,
        "POST /webhook HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Hub-Signature-256: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn envelope(number: &str, call: serde_json::Value) -> String {
    serde_json::json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [{ "field": "calls", "value": {
        "messaging_product": "whatsapp", "metadata": { "display_phone_number": "15550001111", "phone_number_id": number }, "calls": [call] } }] }] })
    .to_string()
}

fn connect(wacid: &str) -> serde_json::Value {
    let offer = crate::control::TEST_OFFER;
    serde_json::json!({ "id": wacid, "from": "447700900123", "to": "15550001111", "event": "connect", "timestamp": unix_s().to_string(),
        "direction": "USER_INITIATED", "session": { "sdp_type": "offer", "sdp": offer } })
}

impl Running {
    fn wait(&self, what: &str, wanted: impl Fn(&DaemonEvent) -> bool) -> DaemonEvent {
        loop {
            let event = self.events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} never came"));
            if wanted(&event) {
                return event;
            }
        }
    }
}

//= meta#R-03 type=test
//= meta#R-38 type=test
//= meta#R-28 type=test
#[test]
fn a_call_is_pre_accepted_with_our_answer_and_ends_with_its_terminate() {
    let running = start();
    let to = running.handle.webhook_addr();
    let body = envelope("1047000000000", connect("wacid.ABC"));
    assert!(post(to, &body).starts_with("HTTP/1.1 200"));
    running.wait("the delivery", |e| matches!(e, DaemonEvent::WebhookIn { result: WebhookResult::Taken, .. }));
    running.wait("the media call", |e| matches!(e, DaemonEvent::MediaOpened { .. }));
    let request = running.posts.recv_timeout(PATIENCE).expect("pre_accept");
    assert_eq!((request["action"].as_str(), request["call_id"].as_str()), (Some("pre_accept"), Some("wacid.ABC")));
    let sdp = request["session"]["sdp"].as_str().unwrap();
    assert!(sdp.contains("a=setup:active\r\n") && sdp.contains(" 127.0.0.1 "), "{sdp}");
    running.wait("the notice", |e| matches!(e, DaemonEvent::Notice { notice: Notice::PreAccepted, .. }));
    assert_eq!(running.handle.calls(), 1);

    //= meta#R-35 type=test
    assert!(post(to, &body).starts_with("HTTP/1.1 200"), "a repetition is answered, not acted on");
    let end = serde_json::json!({ "id": "wacid.ABC", "event": "terminate", "timestamp": unix_s().to_string(), "direction": "USER_INITIATED", "status": "COMPLETED" });
    assert!(post(to, &envelope("1047000000000", end)).starts_with("HTTP/1.1 200"));
    running.wait("the end", |e| matches!(e, DaemonEvent::Notice { notice: Notice::Ended(_), .. }));
    assert!(running.posts.try_recv().is_err(), "one pre_accept, nothing else");
    assert_eq!(running.handle.metrics().calls_opened, 1);
    running.handle.shutdown();
}

//= meta#R-04 type=test
#[test]
fn a_call_to_another_number_is_answered_200_and_left_alone() {
    let running = start();
    assert!(post(running.handle.webhook_addr(), &envelope("999", connect("wacid.X"))).starts_with("HTTP/1.1 200"));
    let event = running.wait("the event", |e| matches!(e, DaemonEvent::WebhookEvent { .. }));
    assert!(matches!(event, DaemonEvent::WebhookEvent { what: "other_number", .. }), "{event:?}");
    assert_eq!(running.handle.calls(), 0);
    running.handle.shutdown();
}

#[test]
fn a_stop_ends_what_the_drain_time_did_not() {
    let running = start();
    let addr = running.handle.webhook_addr();
    assert!(post(addr, &envelope("1047000000000", connect("wacid.STOP"))).starts_with("HTTP/1.1 200"));
    running.wait("the notice", |e| matches!(e, DaemonEvent::Notice { notice: Notice::PreAccepted, .. }));
    let Running { handle, posts, .. } = running;
    handle.shutdown();
    let actions: Vec<_> = posts.try_iter().filter_map(|p| p["action"].as_str().map(str::to_owned)).collect();
    assert_eq!(actions.first().map(String::as_str), Some("pre_accept"));
    assert!(actions.iter().skip(1).any(|a| a == "terminate" || a == "reject"), "Meta is told: {actions:?}");
    assert!(TcpStream::connect(addr).is_err(), "the listener is gone");
}

#[test]
fn a_taken_port_is_told_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config { http: HttpConfig { listen: taken.local_addr().unwrap(), ..HttpConfig::default() }, ..Config::default() };
    let Err(error) = Daemon::start(config, Arc::new(|_| {})) else { panic!("the port is taken") };
    assert!(error.to_string().starts_with("http.listen: cannot listen on"), "{error}");
}
