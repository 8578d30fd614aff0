//! How soon is a webhook answered 200 at 1,000 per second on one core, while the messaging receiver is slow, and while it is down?
//!
//! The daemon runs in a process of its own, pinned to one core by `taskset`, with a store on disk; the load comes from this one, open loop: a webhook is due each
//! millisecond whatever became of the others, and its latency counts from that moment. Words: `--seconds N` (20), `--rate N` (1000), `--receiver-ms N` (5000). On a machine that others
//! use as well, start it by `chrt -r 50`; `TMPDIR` says which disk the store is on.
#![allow(clippy::disallowed_methods, reason = "a bench measures the wall clock")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tipring_signalling::config::{Config, NumberConfig, Secret, StoreConfig, WebhookConfig};
use tipring_signalling::shell::{Daemon, ForwardResult, WebhookResult};
use tipring_signalling::webhook::signature;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const SECRET: &str = "the secret of the app";
const NUMBER: &str = "1047000000000";
/// Connections that the load is spread over, as Meta's is.
const CONNECTIONS: usize = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        words.iter().position(|w| w == name).and_then(|at| words.get(at + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    if let Some(at) = words.iter().position(|w| w == "--daemon") {
        return daemon(&words[at + 1], &words[at + 2]);
    }
    // `cargo test` builds benches and may run them: then a second is enough.
    let is_bench = words.iter().any(|w| w == "--bench");
    let (seconds, rate) = (number("--seconds", if is_bench { 20 } else { 1 }), number("--rate", 1_000));
    let delay = Duration::from_millis(number("--receiver-ms", 5_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let is_good = [Some(delay), None].map(|receiver| runtime.block_on(load(seconds, rate, receiver)));
    if is_good == [true; 2] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The daemon's process: prints its address, runs until its input ends, prints what it counted.
fn daemon(receiver: &str, directory: &str) -> ExitCode {
    let mut webhook = WebhookConfig::new(Secret::new("verify"), vec![Secret::new(SECRET)]);
    webhook.forward_other_to = Some(format!("http://{receiver}/messages"));
    let mut config = Config { webhook: Some(webhook), numbers: vec![NumberConfig::new(NUMBER, Secret::new("token"))], ..Config::default() };
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    config.engine.addresses = vec!["127.0.0.1".parse().expect("an address")];
    config.engine.allow_loopback = true;
    // Nobody is there: each request fails at once, and calls end as they would when Graph is down.
    config.graph.base_url = "http://127.0.0.1:9".into();
    config.store = Some(StoreConfig::new(Path::new(directory).join("store.redb")));
    config.drain_max = Duration::ZERO;
    let daemon = match Daemon::start(config, Arc::new(|_| {})) {
        Ok(daemon) => daemon,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", daemon.webhook_addr());
    let _ = std::io::stdin().read_line(&mut String::new());
    let m = daemon.metrics();
    println!(
        "counted      {} taken, {} refused for want of room; {} forwards done, {} tried again; {} calls opened",
        m.webhooks_with(WebhookResult::Taken),
        m.webhooks_with(WebhookResult::QueueFull) + m.webhooks_with(WebhookResult::ForwardFull) + m.webhooks_with(WebhookResult::NotStored),
        m.forwards_with(ForwardResult::Delivered),
        m.forwards_with(ForwardResult::Retried),
        m.calls_opened
    );
    drop(daemon);
    ExitCode::SUCCESS
}

/// One run; the receiver takes so long, or nobody is there. True when each webhook was answered 200.
async fn load(seconds: u64, rate: u64, delay: Option<Duration>) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let receiver: SocketAddr = listener.local_addr().expect("an address");
    match delay {
        Some(delay) => drop(tokio::spawn(slow_receiver(listener, delay))),
        // Whoever connects there is refused at once.
        None => drop(listener),
    }
    let directory = std::env::temp_dir().join(format!("tipring-bench-webhooks-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let exe = std::env::current_exe().expect("this program");
    let arguments = ["--daemon".into(), receiver.to_string(), directory.display().to_string()];
    let pinned = Command::new("taskset").args(["-c", "0"]).arg(&exe).args(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let (mut child, cores) = match pinned {
        Ok(child) => (child, "one core"),
        // No taskset here: the machine's cores then, and the line says so.
        Err(_) => {
            (Command::new(&exe).args(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the daemon"), "all cores")
        }
    };
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let address: SocketAddr = lines.next().and_then(Result::ok).and_then(|line| line.parse().ok()).expect("its address");
    println!(
        "question     p99 of webhook 200 at {rate}/s for {seconds} s, daemon on {cores}, store on disk, messaging receiver {}",
        delay.map_or("is down".to_owned(), |delay| format!("takes {} ms", delay.as_millis()))
    );

    let (done, mut latencies) = mpsc::unbounded_channel::<(Duration, u16)>();
    let senders: Vec<mpsc::UnboundedSender<(Instant, Vec<u8>)>> = (0..CONNECTIONS).map(|_| connection(address, done.clone())).collect();
    drop(done);
    let total = seconds * rate;
    let (start, unix_s) = (Instant::now(), unix_s());
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let mut n = 0;
        while n < total {
            let due = (start.elapsed().as_nanos() as u64 * rate / 1_000_000_000 + 1).min(total);
            while n < due {
                let at = start + Duration::from_nanos(n * 1_000_000_000 / rate);
                // The receiver lives as long as the daemon.
                let _ = senders[n as usize % CONNECTIONS].send((at, request(n, unix_s)));
                n += 1;
            }
            counted.store(n, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut all = Vec::new();
    while let Some((latency, status)) = latencies.recv().await {
        if status == 200 {
            all.push(latency);
        } else {
            eprintln!("answered {status}");
        }
    }
    // Panics are told by the task itself.
    let _ = sending.await;
    let took = start.elapsed();
    if let Some(mut input) = child.stdin.take() {
        let _ = input.write_all(b"\n");
    }
    all.sort_unstable();
    let at = |q: f64| {
        all.get(((all.len() as f64 * q) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    println!("answered     {} of {} with 200 in {:.1} s", all.len(), sent.load(Ordering::Relaxed), took.as_secs_f64());
    println!(
        "latency      p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, most {:.1} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    if let Some(Ok(line)) = lines.next() {
        println!("{line}");
    }
    let _ = child.wait();
    let _ = std::fs::remove_dir_all(&directory);
    all.len() as u64 == total
}

/// Posts what it is given on one connection, one after the other.
fn connection(address: SocketAddr, done: mpsc::UnboundedSender<(Duration, u16)>) -> mpsc::UnboundedSender<(Instant, Vec<u8>)> {
    let (tx, mut rx) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.expect("the daemon listens");
        stream.set_nodelay(true).expect("TCP");
        let mut buffer = vec![0; 4_096];
        while let Some((due, request)) = rx.recv().await {
            if stream.write_all(&request).await.is_err() {
                break;
            }
            let mut filled = 0;
            let status = loop {
                match stream.read(&mut buffer[filled..]).await {
                    Ok(n) if n > 0 => filled += n,
                    _ => break 0,
                }
                let text = String::from_utf8_lossy(&buffer[..filled]);
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length: usize = head
                        .lines()
                        .find_map(|l| l.to_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok()))
                        .unwrap_or(0);
                    if body.len() >= length {
                        break head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
                    }
                }
            };
            let _ = done.send((due.elapsed(), status));
        }
    });
    tx
}

/// Nineteen messages, then an event of a call; of those each fifth is a new call.
fn request(n: u64, unix_s: u64) -> Vec<u8> {
    let metadata = format!(r#"{{"display_phone_number":"15550001111","phone_number_id":"{NUMBER}"}}"#);
    let change = if !n.is_multiple_of(20) {
        format!(
            r#"{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{metadata},"messages":[{{"from":"447700900123","id":"wamid.{n}","type":"text","text":{{"body":"hello {n}"}}}}]}}}}"#
        )
    } else if n.is_multiple_of(100) {
        let offer = include_str!("../../tests/golden/sdp/meta_samples.json");
        let samples: serde_json::Value = serde_json::from_str(offer).expect("golden samples");
        let sdp = &samples["cases"][0]["sdp"];
        format!(
            r#"{{"field":"calls","value":{{"metadata":{metadata},"calls":[{{"id":"wacid.{n}","from":"447700900123","to":"15550001111","event":"connect","direction":"USER_INITIATED","timestamp":"{unix_s}","session":{{"sdp_type":"offer","sdp":{sdp}}}}}]}}}}"#
        )
    } else {
        format!(
            r#"{{"field":"calls","value":{{"metadata":{metadata},"calls":[{{"id":"wacid.{}","event":"terminate","status":"COMPLETED","timestamp":"{unix_s}"}}]}}}}"#,
            n / 100 * 100
        )
    };
    let body = format!(r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{change}]}}]}}"#);
    let signature = signature::sign(body.as_bytes(), SECRET.as_bytes());
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nX-Hub-Signature-256: {signature}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// Reads a request, waits, says 200.
async fn slow_receiver(listener: TcpListener, delay: Duration) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            let mut filled = 0;
            loop {
                match stream.read(&mut buffer[filled..]).await {
                    Ok(n) if n > 0 => filled += n,
                    _ => return,
                }
                let text = String::from_utf8_lossy(&buffer[..filled]).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length: usize =
                    head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok())).unwrap_or(0);
                if body.len() < length {
                    continue;
                }
                filled = 0;
                tokio::time::sleep(delay).await;
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                    return;
                }
            }
        });
    }
}

fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
