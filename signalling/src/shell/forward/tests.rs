//! The messaging receiver verifies, is slow, is down, and comes back.

use super::*;
use crate::webhook::signature;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &[u8] = b"the app's secret";

/// What a receiver got: bodies whose signature held, in order.
#[derive(Default)]
struct Got {
    bodies: Mutex<Vec<Vec<u8>>>,
    requests: AtomicU64,
}

/// Answers with what `status` says of the n-th request (from 0); 0 hangs up without an answer.
fn receiver(status: impl Fn(u64) -> u16 + Send + Sync + 'static) -> (String, Arc<Got>) {
    let got = Arc::new(Got::default());
    let (tx, rx) = std::sync::mpsc::channel();
    let seen = Arc::clone(&got);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tx.send(listener.local_addr().unwrap()).unwrap();
            let status = Arc::new(status);
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (seen, status) = (Arc::clone(&seen), Arc::clone(&status));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    let mut chunk = [0; 8_192];
                    let (head, body) = loop {
                        let n = stream.read(&mut chunk).await.unwrap_or(0);
                        if n == 0 {
                            return;
                        }
                        request.extend_from_slice(&chunk[..n]);
                        let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                        let head = String::from_utf8(request[..end].to_vec()).unwrap().to_lowercase();
                        let length: usize =
                            head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.trim().parse().unwrap());
                        if request.len() >= end + 4 + length {
                            break (head, request[end + 4..].to_vec());
                        }
                    };
                    let answer = status(seen.requests.fetch_add(1, Ordering::Relaxed));
                    let claimed = head.lines().find_map(|l| l.strip_prefix("x-hub-signature-256: ")).map(str::to_owned);
                    assert_eq!(signature::verify(&body, claimed.as_deref(), &[SECRET]), Ok(0), "the signature must hold over the bytes");
                    assert!(head.contains("content-type: application/json"), "{head}");
                    if answer == 0 {
                        return;
                    }
                    if answer == 200 {
                        seen.bodies.lock().unwrap().push(body);
                    }
                    let _ =
                        stream.write_all(format!("HTTP/1.1 {answer} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await;
                });
            }
        });
    });
    (format!("http://{}/messages", rx.recv().unwrap()), got)
}

fn parcel(url: &str, text: &str) -> Parcel {
    Parcel {
        url: url.into(),
        body: Bytes::copy_from_slice(text.as_bytes()),
        signature: signature::sign(text.as_bytes(), SECRET),
        content_type: "application/json; charset=utf-8".into(),
        receipt: Receipt::default(),
    }
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let (tx, rx) = std::sync::mpsc::channel::<()>();
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        // Nobody sends: this is a pause of 10 ms.
        let _ = rx.recv_timeout(Duration::from_millis(10));
    }
    drop(tx);
    panic!("{what} never came");
}

//= meta#R-01 type=test
#[test]
fn bodies_arrive_byte_for_byte_with_their_signature() {
    let (url, got) = receiver(|_| 200);
    let metrics = Arc::new(Metrics::default());
    let forwarder = Forwarder::start(&metrics).unwrap();
    let bodies = ["{\"entry\":[]}", "{ \"entry\" : [ ] }\n", "{\"text\":\"\\u00e9\\/é\"}"];
    for body in bodies {
        forwarder.send(parcel(&url, body));
    }
    wait_for("three bodies", || got.bodies.lock().unwrap().len() == 3);
    let mut arrived = got.bodies.lock().unwrap().clone();
    arrived.sort();
    let mut sent: Vec<Vec<u8>> = bodies.iter().map(|b| b.as_bytes().to_vec()).collect();
    sent.sort();
    assert_eq!(arrived, sent);
    wait_for("an empty backlog", || forwarder.backlog.count.load(Ordering::Relaxed) == 0);
    assert_eq!(forwarder.backlog.bytes.load(Ordering::Relaxed), 0);
    assert_eq!(metrics.snapshot().forwards_with(ForwardResult::Delivered), 3);
}

#[test]
fn a_receiver_that_fails_is_tried_again_and_one_bad_body_holds_up_no_other() {
    // The first five requests fail in three ways, later ones are taken.
    let (url, got) = receiver(|n| [500, 0, 503, 302, 404].get(n as usize).copied().unwrap_or(200));
    let (other, others) = receiver(|_| 200);
    let metrics = Arc::new(Metrics::default());
    let forwarder = Forwarder::start(&metrics).unwrap();
    for n in 0..10 {
        forwarder.send(parcel(&url, &format!("{{\"n\":{n}}}")));
    }
    forwarder.send(parcel(&other, "{}"));
    wait_for("the other receiver's body", || others.bodies.lock().unwrap().len() == 1);
    wait_for("all ten", || got.bodies.lock().unwrap().len() == 10);
    assert!(metrics.snapshot().forwards_with(ForwardResult::Retried) >= 5);
}

#[test]
fn a_receiver_that_is_down_fills_a_bounded_backlog_and_is_asked_seldom() {
    let metrics = Arc::new(Metrics::default());
    let forwarder = Forwarder::start(&metrics).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/nobody");
    let body = "x".repeat(1 << 20);
    let mut taken = 0;
    while forwarder.has_room(body.len()) && taken < 1_000 {
        forwarder.send(parcel(&url, &body));
        taken += 1;
    }
    assert_eq!(taken, 64, "64 MiB and no more");
    wait_for("failures", || metrics.snapshot().forwards_with(ForwardResult::Retried) >= 3);
    // A lane of sixteen that tried all again at once would have made hundreds by now.
    assert!(metrics.snapshot().forwards_with(ForwardResult::Retried) < 64);
}
