//! The public listener over real loopback sockets, byte by byte.

use super::*;
use crate::config::{Config, Secret, TlsPaths, WebhookConfig};
use crate::shell::forward::Forwarder;
use crate::shell::http_server::{Limits, serve};
use crate::shell::intake::Delivery;
use crate::shell::store::Store;
use crate::shell::tls;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::sync::watch;

const SECRET: &str = "app secret";
const BODY: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;

struct World {
    addr: SocketAddr,
    queue: mpsc::Receiver<Delivery>,
    seen: Arc<Mutex<Vec<WebhookResult>>>,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    _stop: watch::Sender<bool>,
}

async fn world(queue_max: usize, read_timeout: Duration, connections_max: usize, tls: Option<&TlsPaths>) -> World {
    let certificate = tls.map(|paths| tls::Certificate::load(paths).unwrap());
    let acceptor = certificate.as_ref().map(|certificate| tokio_rustls::TlsAcceptor::from(certificate.server_config().unwrap()));
    world_with(queue_max, read_timeout, connections_max, acceptor, certificate).await
}

async fn world_with(
    queue_max: usize,
    read_timeout: Duration,
    connections_max: usize,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    certificate: Option<Arc<Certificate>>,
) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (tx, queue) = mpsc::channel(queue_max);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let seen = Arc::clone(&seen);
        Arc::new(move |o: &crate::shell::Observed| {
            if let DaemonEvent::WebhookIn { result, .. } = o.event {
                seen.lock().unwrap().push(result);
            }
        })
    };
    let metrics = Arc::new(Metrics::default());
    let draining = Arc::new(AtomicBool::new(false));
    let tenants = Arc::new(Tenants::of(&Config {
        webhook: Some(WebhookConfig::new(Secret::new("verify me"), vec![Secret::new("another app"), Secret::new(SECRET)])),
        ..Config::default()
    }));
    let routes = Routes {
        tenants: Arc::clone(&tenants),
        intake: Intake { tenants, store: Arc::new(Store::none()), forwarder: Forwarder::start(&metrics).unwrap(), queue: tx },
        bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
        unproven: Arc::new(Semaphore::new(UNPROVEN_BYTES_MAX)),
        read_timeout,
        is_behind_proxy: false,
        certificate,
        audit: Audit::default(),
        calls: Box::new(|| 1),
        calls_max: 2,
        draining: Arc::clone(&draining),
        metrics: Arc::clone(&metrics),
        watch: Watch::new(observer),
    };
    let (stop, stopped) = watch::channel(false);

    tokio::spawn(serve(listener, acceptor, Limits { connections_max, read_timeout }, Arc::new(routes), stopped));
    World { addr, queue, seen, metrics, draining, _stop: stop }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

const LONG: Duration = Duration::from_secs(30);

/// Sends one request on a connection of its own; returns status and body.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> (u16, String) {
    // The server may answer and close before it has read all of a body that is too large.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"));
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, b)| b.to_owned()))
}

async fn send(world: &World, request: &[u8]) -> (u16, String) {
    exchange(&mut TcpStream::connect(world.addr).await.unwrap(), request).await
}

fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let mut out = format!("{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{length}{headers}\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

fn signed(body: &[u8]) -> Vec<u8> {
    request("POST", "/webhook", &format!("X-Hub-Signature-256: {}\r\n", signature::sign(body, SECRET.as_bytes())), body)
}

#[test]
fn the_challenge_comes_back_as_it_came() {
    runtime().block_on(async {
        let world = world(1, LONG, 8, None).await;
        let table = [
            ("hub.mode=subscribe&hub.challenge=0001158201444&hub.verify_token=verify%20me", 200, "0001158201444"),
            ("hub.verify_token=verify+me&hub.challenge=a%26b&hub.mode=subscribe", 200, "a&b"),
            ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=verify%20m", 403, ""),
            ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=verify%20me2", 403, ""),
            ("hub.mode=subscribe&hub.challenge=1", 403, ""),
            ("hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=verify%20me", 403, ""),
            ("hub.mode=subscribe&hub.verify_token=verify%20me", 403, ""),
            ("", 403, ""),
        ];
        for (query, status, body) in table {
            let (got, text) = send(&world, &request("GET", &format!("/webhook?{query}"), "", b"")).await;
            assert_eq!(got, status, "{query}");
            if status == 200 {
                assert_eq!(text, body, "{query}");
            }
        }
    });
}

//= meta#R-45 type=test
#[test]
fn only_a_body_signed_by_a_known_app_is_taken() {
    runtime().block_on(async {
        let mut world = world(16, LONG, 8, None).await;
        let good = signature::sign(BODY, SECRET.as_bytes());
        let wrong = signature::sign(BODY, b"other");
        let mut changed = BODY.to_vec();
        changed[2] ^= 1;
        let rows: &[(&str, String, &[u8], u16, WebhookResult)] = &[
            ("good", format!("X-Hub-Signature-256: {good}\r\n"), BODY, 200, WebhookResult::Taken),
            ("missing", String::new(), BODY, 401, WebhookResult::SignatureMissing),
            ("wrong secret", format!("X-Hub-Signature-256: {wrong}\r\n"), BODY, 401, WebhookResult::SignatureWrong),
            ("changed body", format!("X-Hub-Signature-256: {good}\r\n"), &changed, 401, WebhookResult::SignatureWrong),
            ("truncated", format!("X-Hub-Signature-256: {}\r\n", &good[..good.len() - 1]), BODY, 401, WebhookResult::SignatureMalformed),
            ("empty header", "X-Hub-Signature-256: \r\n".into(), BODY, 401, WebhookResult::SignatureMalformed),
            ("not text", "X-Hub-Signature-256: sha256=\u{ff}\r\n".into(), BODY, 401, WebhookResult::SignatureMalformed),
            (
                "old header only",
                format!("X-Hub-Signature: {}\r\n", good.replace("sha256", "sha1")),
                BODY,
                401,
                WebhookResult::SignatureMissing,
            ),
        ];
        for (name, headers, body, status, result) in rows {
            let (got, _) = send(&world, &request("POST", "/webhook", headers, body)).await;
            assert_eq!(got, *status, "{name}");
            assert_eq!(world.seen.lock().unwrap().pop(), Some(*result), "{name}");
        }
        let delivery = world.queue.try_recv().unwrap();
        assert!(delivery.events.is_empty() && delivery.receipt.is_some(), "an envelope without entries");
        assert!(world.queue.try_recv().is_err(), "nothing unproven is queued");
        assert_eq!(world.metrics.snapshot().webhooks_with(WebhookResult::SignatureMissing), 2);
    });
}

//= meta#R-13 type=test
#[test]
fn three_mebibytes_are_taken_and_one_byte_more_is_not() {
    runtime().block_on(async {
        let mut world = world(16, LONG, 8, None).await;
        let body = vec![b' '; envelope::BODY_BYTES_MAX];
        assert_eq!(send(&world, &signed(&body)).await.0, 200);
        assert_eq!(
            world.seen.lock().unwrap().pop(),
            Some(WebhookResult::Unreadable),
            "blanks are no envelope; Meta would only repeat them"
        );
        assert!(world.queue.try_recv().is_ok());

        let body = vec![b' '; envelope::BODY_BYTES_MAX + 1];
        // By its declared length, before a byte of it is read.
        let head_only = &signed(&body)[..signed(&body).len() - body.len()];
        assert_eq!(send(&world, head_only).await.0, 413);

        // Chunked: the length shows only while reading.
        let mut chunked =
            b"POST /webhook HTTP/1.1\r\nHost: h\r\nX-Hub-Signature-256: sha256=00\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        chunked.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        chunked.extend_from_slice(&body);
        let mut stream = TcpStream::connect(world.addr).await.unwrap();
        let (mut read, mut write) = stream.split();
        let sending = async { write.write_all(&chunked).await };
        let mut answer = [0; 12];
        let reading = async { read.read_exact(&mut answer).await };
        let (_, got) = tokio::join!(sending, reading);
        got.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    });
}

//= meta#R-38 type=test
#[test]
fn a_full_queue_says_503_so_that_meta_tries_again() {
    runtime().block_on(async {
        let mut world = world(1, LONG, 8, None).await;
        assert_eq!(send(&world, &signed(BODY)).await.0, 200);
        assert_eq!(send(&world, &signed(BODY)).await.0, 503);
        drop(world.queue.recv().await);
        assert_eq!(send(&world, &signed(BODY)).await.0, 200);
    });
}

#[test]
fn a_body_that_never_ends_is_given_up() {
    runtime().block_on(async {
        let world = world(1, Duration::from_millis(100), 8, None).await;
        let mut whole = signed(BODY);
        whole.truncate(whole.len() - 1);
        assert_eq!(send(&world, &whole).await.0, 408);
        assert_eq!(world.seen.lock().unwrap().pop(), Some(WebhookResult::TooSlow));
    });
}

#[test]
fn a_head_that_never_ends_frees_its_connection() {
    runtime().block_on(async {
        // One connection only: a second request is answered when the first, slow one was given up.
        let world = world(1, Duration::from_millis(100), 1, None).await;
        let mut slow = TcpStream::connect(world.addr).await.unwrap();
        slow.write_all(b"POST /webhook HTT").await.unwrap();
        assert_eq!(send(&world, &request("GET", "/livez", "", b"")).await.0, 200);
    });
}

#[test]
fn wrong_methods_and_paths_are_told_apart() {
    runtime().block_on(async {
        let world = world(1, LONG, 8, None).await;
        for (method, target, status) in [
            ("PUT", "/webhook", 405),
            ("DELETE", "/webhook", 405),
            ("HEAD", "/webhook", 405),
            ("POST", "/livez", 405),
            ("POST", "/metrics", 405),
            ("GET", "/webhook/", 404),
            ("GET", "/", 404),
            ("GET", "/v1/sessions", 404),
            ("GET", "/livez", 200),
            ("GET", "/readyz", 200),
            ("GET", "/metrics", 200),
        ] {
            assert_eq!(send(&world, &request(method, target, "", b"")).await.0, status, "{method} {target}");
        }
        world.draining.store(true, Ordering::Relaxed);
        assert_eq!(send(&world, &request("GET", "/readyz", "", b"")).await.0, 503);
        assert_eq!(send(&world, &request("GET", "/livez", "", b"")).await.0, 200);
        let (_, metrics) = send(&world, &request("GET", "/metrics", "", b"")).await;
        assert!(metrics.contains("tipring_draining 1\n") && metrics.contains("tipring_webhooks_total{result=\"taken\"} 0\n"), "{metrics}");
    });
}

#[test]
fn garbage_and_oversized_heads_end_the_connection_not_the_server() {
    runtime().block_on(async {
        let world = world(1, LONG, 8, None).await;
        let long = format!("GET /livez HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(32 * 1_024));
        let many = format!("GET /livez HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(100));
        assert_eq!(send(&world, long.as_bytes()).await.0, 431);
        assert_eq!(send(&world, many.as_bytes()).await.0, 431);
        assert_eq!(send(&world, b"\x16\x03\x01\x00\xa5\x01\x00\x00 not http\r\n\r\n").await.0, 400);
        assert_eq!(send(&world, &request("GET", "/livez", "", b"")).await.0, 200);
    });
}

/// A directory of this test, removed at the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        let mut name = [0; 8];
        tls::random(&mut name);
        let path = std::env::temp_dir().join(format!("tipring-test-{:016x}", u64::from_le_bytes(name)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn tls_serves_the_configured_certificate() {
    let scratch = Scratch::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let paths = TlsPaths { cert: scratch.0.join("cert.pem"), key: scratch.0.join("key.pem") };
    std::fs::write(&paths.cert, made.cert.pem()).unwrap();
    std::fs::write(&paths.key, made.signing_key.serialize_pem()).unwrap();
    runtime().block_on(async {
        let world = world(1, LONG, 8, Some(&paths)).await;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let stream = TcpStream::connect(world.addr).await.unwrap();
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        assert_eq!(exchange(&mut stream, &signed(BODY)).await.0, 200);
        let stream = TcpStream::connect(world.addr).await.unwrap();
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let (_, metrics) = exchange(&mut stream, &request("GET", "/metrics", "", b"")).await;
        let left = metrics.lines().find_map(|line| line.strip_prefix("tipring_certificate_left_seconds ")).expect("a figure");
        assert!(left.parse::<i64>().unwrap() > 0, "{left}");
        // Plain HTTP on the TLS port gets nowhere, and harms nobody.
        let mut plain = TcpStream::connect(world.addr).await.unwrap();
        plain.write_all(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/"));
    });
}

#[test]
fn a_certificate_that_has_ended_is_told_and_takes_the_node_out_of_service() {
    let scratch = Scratch::new();
    let paths = TlsPaths { cert: scratch.0.join("cert.pem"), key: scratch.0.join("key.pem") };
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    std::fs::write(&paths.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&paths.key, key.serialize_pem()).unwrap();
    runtime().block_on(async {
        // As a listener with it would answer; nobody would shake hands with that one.
        let world = world_with(1, LONG, 8, None, Some(tls::Certificate::load(&paths).unwrap())).await;
        let (status, why) = send(&world, &request("GET", "/readyz", "", b"")).await;
        assert_eq!((status, why.as_str()), (503, "the certificate has ended\n"));
    });
}

/// What an operator reads of strangers: one line a second, with address, reason and hash, and nothing of the body.
#[test]
fn a_refused_webhook_is_told_with_its_source_and_the_hash_of_its_body() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().json().with_max_level(tracing::Level::INFO).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(log, || {
        runtime().block_on(async {
            let world = world(1, LONG, 8, None).await;
            let forged = request("POST", "/webhook", &format!("X-Hub-Signature-256: sha256={}\r\n", "0".repeat(64)), b"a stranger's body");
            for _ in 0..20 {
                assert_eq!(send(&world, &forged).await.0, 401);
            }
            assert_eq!(world.metrics.snapshot().webhooks_with(WebhookResult::SignatureWrong), 20, "the counter has them all");
        });
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).unwrap();
    let fields = &first["fields"];
    assert_eq!((&first["level"], &fields["result"], &fields["source"]), (&"WARN".into(), &"signature_wrong".into(), &"127.0.0.1".into()));
    // sha256sum of the body
    assert_eq!(fields["sha256"], "34d90f03a2fc03ac67415e1a40ff8736b59ba679a144aa3afd984cd43c87ad94");
    assert!(!text.contains("stranger"), "{text}");
}

#[test]
fn a_key_of_another_certificate_is_refused_with_both_names() {
    let scratch = Scratch::new();
    let (one, two) =
        (rcgen::generate_simple_self_signed(vec!["a".into()]).unwrap(), rcgen::generate_simple_self_signed(vec!["b".into()]).unwrap());
    let paths = TlsPaths { cert: scratch.0.join("cert.pem"), key: scratch.0.join("key.pem") };
    std::fs::write(&paths.cert, one.cert.pem()).unwrap();
    std::fs::write(&paths.key, two.signing_key.serialize_pem()).unwrap();
    let error = tls::Certificate::load(&paths).unwrap_err();
    assert!(error.contains("cert.pem") && error.contains("key.pem") && error.contains("belong together"), "{error}");
    std::fs::write(&paths.cert, "no pem").unwrap();
    assert!(tls::Certificate::load(&paths).unwrap_err().contains("holds no certificate"));
}

/// Every way in which somebody other than Meta, or Meta on a bad day, may post: answered as documented, counted by its reason, and nothing of it queued.
#[test]
fn attacks_are_refused_by_name() {
    runtime().block_on(async {
        let mut world = world(16, Duration::from_millis(300), 64, None).await;
        let deep = vec![b'['; 200_000];
        let deep_object = format!("{{\"entry\":{}", "{\"a\":".repeat(50_000));
        let huge = vec![b'x'; envelope::BODY_BYTES_MAX + 1];
        let header = |signature: &str| format!("X-Hub-Signature-256: {signature}\r\n");
        let of = |body: &[u8], secret: &[u8]| header(&signature::sign(body, secret));
        let mut cut = signed(BODY);
        cut.truncate(cut.len() - 3);
        let rows: Vec<(&str, Vec<u8>, u16, WebhookResult)> = vec![
            ("missing", request("POST", "/webhook", "", BODY), 401, WebhookResult::SignatureMissing),
            ("wrong", request("POST", "/webhook", &of(BODY, b"guess"), BODY), 401, WebhookResult::SignatureWrong),
            ("of another body", request("POST", "/webhook", &of(b"{}", SECRET.as_bytes()), BODY), 401, WebhookResult::SignatureWrong),
            ("malformed", request("POST", "/webhook", &header("sha256=00"), BODY), 401, WebhookResult::SignatureMalformed),
            ("truncated", cut, 408, WebhookResult::TooSlow),
            ("3 MiB and a byte", signed(&huge)[..4_096].to_vec(), 413, WebhookResult::TooLarge),
            ("deep JSON", signed(&deep), 200, WebhookResult::Unreadable),
            ("deep objects", signed(deep_object.as_bytes()), 200, WebhookResult::Unreadable),
            ("wrong method", request("PATCH", "/webhook", "", b""), 405, WebhookResult::WrongMethod),
        ];
        for (name, bytes, status, result) in &rows {
            assert_eq!(send(&world, bytes).await.0, *status, "{name}");
            assert_eq!(world.seen.lock().unwrap().pop(), Some(*result), "{name}");
        }
        // A replay is proven, so it is taken; its events meet the memory of the session machine (R-35).
        for _ in 0..2 {
            assert_eq!(send(&world, &signed(BODY)).await.0, 200);
        }
        let mut queued = 0;
        while let Ok(delivery) = world.queue.try_recv() {
            assert!(delivery.events.is_empty(), "nothing unproven or unread becomes an event");
            queued += 1;
        }
        assert_eq!(queued, 4, "the two unreadable ones and the two proven ones");
        let (_, metrics) = send(&world, &request("GET", "/metrics", "", b"")).await;
        for (_, _, _, result) in &rows {
            let line = format!("tipring_webhooks_total{{result=\"{}\"}} ", result.label());
            assert!(metrics.lines().any(|l| l.starts_with(&line) && !l.ends_with(" 0")), "{line} in {metrics}");
        }
    });
}

#[test]
fn bodies_that_never_end_take_bounded_memory_and_only_for_a_while() {
    runtime().block_on(async {
        let world = world(16, Duration::from_secs(3), 128, None).await;
        // Forty promises of 3 MiB, all but kept: 120 MiB if nobody counted.
        let whole = signed(&vec![b'x'; envelope::BODY_BYTES_MAX]);
        let mut held = Vec::new();
        for _ in 0..40 {
            let mut stream = TcpStream::connect(world.addr).await.unwrap();
            let part = whole[..whole.len() - 1].to_vec();
            held.push(tokio::spawn(async move {
                // One that is refused is closed under the writer.
                let _ = stream.write_all(&part).await;
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer).await;
                String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|s| s.parse::<u16>().ok()).unwrap_or(0)
            }));
        }
        let mut by_status = std::collections::BTreeMap::<u16, u32>::new();
        for one in held {
            *by_status.entry(one.await.unwrap()).or_default() += 1;
        }
        // 16 MiB hold five of them at a time; others are told so at once, or are cut off while they still write.
        let counted = world.metrics.snapshot();
        assert!(counted.webhooks_with(WebhookResult::QueueFull) >= 1, "{by_status:?}");
        assert!(by_status.keys().all(|status| [0, 408, 503].contains(status)), "{by_status:?}");
        assert_eq!(send(&world, &signed(BODY)).await.0, 200, "and then there is room again");
    });
}
