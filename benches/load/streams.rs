//! How many calls does one core carry when each is bridged to an audio WebSocket, both directions decoded and encoded?
//!
//! The daemon runs in a process of its own, pinned to one core by `taskset`; callers and audio servers are this process. Each server says 20 ms of speech every 20 ms and takes
//! what it is sent. Counted is the daemon's whole CPU time: shard, streams, HTTP. Words: `--calls N` (40), `--seconds N` (10), `--rounds N` (3, the protocols
//! taking turns), `--json` (writes `docs/performance/streams.json`, which `cargo perf` puts into its page).
#![allow(clippy::disallowed_methods, reason = "a bench measures the wall clock")]

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tipring_engine::codec::g711::Law;
use tipring_engine::codec::{Decoder, SampleRate};
use tipring_engine::keying::Profile;
use tipring_meta_sim::load::{Crowd, Words};
use tipring_signalling::cli::bench::speech;
use tipring_signalling::config::{AudioTarget, Config, DirectConfig, Secret};
use tipring_signalling::shell::Daemon;
use tipring_signalling::stream::twilio::{self, Said};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

const TOKEN: &str = "token";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        words.iter().position(|w| w == name).and_then(|at| words.get(at + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    if let Some(at) = words.iter().position(|w| w == "--daemon") {
        return daemon(&words[at + 1]);
    }
    let is_bench = words.iter().any(|w| w == "--bench");
    // `cargo test` builds benches and may run them: then a few calls are enough.
    let (calls, seconds, rounds) =
        if is_bench { (number("--calls", 40), number("--seconds", 10), number("--rounds", 3)) } else { (2, 2, 1) };
    let mut rows = Vec::new();
    for _ in 0..rounds {
        for protocol in ["twilio", "l16"] {
            match load(protocol, calls as usize, Duration::from_secs(seconds)) {
                Ok(row) => rows.push(row),
                Err(why) => {
                    eprintln!("{protocol}: {why}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    if words.iter().any(|w| w == "--json") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance/streams.json");
        let text = serde_json::to_string_pretty(&rows).unwrap_or_default();
        if let Err(e) = std::fs::write(path, text + "\n") {
            eprintln!("{path}: {e}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The daemon's process: prints its address, runs until its input ends.
fn daemon(url: &str) -> ExitCode {
    let mut config = Config::on_loopback(40_000..=41_999);
    config.audio_targets = vec![AudioTarget { url: url.to_owned(), authorization: None, ca: None }];
    let mut direct = DirectConfig::new(Secret::new(TOKEN));
    direct.listen = "127.0.0.1:0".parse().expect("an address");
    config.direct = Some(direct);
    config.drain_max = Duration::ZERO;
    match Daemon::start(config, Arc::new(|_| {})) {
        Ok(daemon) => {
            println!("{}", daemon.direct_addr().expect("Direct mode is on"));
            let _ = std::io::stdin().read_line(&mut String::new());
            daemon.shutdown();
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn load(protocol: &'static str, calls: usize, span: Duration) -> Result<Value, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let url = format!("ws://{}/", listener.local_addr().map_err(|e| e.to_string())?);
    let heard = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&heard);
    std::thread::spawn(move || serve(listener, protocol, &counted));
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let start = |mut command: Command| command.args(["--daemon", &url]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).arg(&exe);
    let (mut child, cores) = match start(pinned) {
        Ok(child) => (child, "one core"),
        // No taskset here: the machine's cores then, and the line says so.
        Err(_) => (start(Command::new(&exe)).map_err(|e| e.to_string())?, "all cores"),
    };
    let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    let direct: SocketAddr = lines.next().and_then(Result::ok).and_then(|line| line.parse().ok()).ok_or("the daemon does not start")?;
    let localhost = "127.0.0.1".parse().map_err(|e| format!("{e}"))?;
    let mut crowd = Crowd::new(localhost, Profile::Aes128CmSha1_80, speech())?;
    for _ in 0..calls {
        let (number, words) = crowd.join().map_err(|e| e.to_string())?;
        let body = json!({ "sdp": offer(&words), "gate": "open", "bridge": { "ws": { "url": url, "protocol": protocol } } });
        let answer = post(direct, &body)?;
        let sdp = answer["sdp"].as_str().ok_or_else(|| format!("no answer: {answer}"))?.to_owned();
        let fingerprint = sdp.lines().find_map(|l| l.strip_prefix("a=fingerprint:sha-256 ")).ok_or("no fingerprint")?;
        crowd.meet(number, fingerprint.trim())?;
        crowd.attend();
    }
    if !crowd.settle(Duration::from_secs(30)) {
        return Err(format!("{} of {calls} are connected", crowd.connected()));
    }
    // Buffers settle before anything is counted.
    crowd.run(Duration::from_secs(2));
    let (cpu_before, heard_before, begun) = (cpu_ms(child.id())?, heard.load(Ordering::Relaxed), Instant::now());
    let tally = crowd.run(span);
    let took = begun.elapsed().as_secs_f64();
    let cpu_ms = cpu_ms(child.id())? - cpu_before;
    let heard = heard.load(Ordering::Relaxed) - heard_before;
    let us_per_call = cpu_ms as f64 * 1e3 / took / calls as f64;
    println!(
        "{protocol:<8} {calls} calls, daemon on {cores}: {us_per_call:.0} us of CPU per call and second, {:.0} calls per core; \
         {} packets sent, {} came back, {heard} messages at the servers; used {:.2} of a core",
        1e6 / us_per_call,
        tally.sent,
        tally.received,
        cpu_ms as f64 / 1e3 / took,
    );
    drop(child.stdin.take());
    let _ = child.wait();
    // A tenth may be on its way or lost to a busy machine; a bench of silence would say nothing.
    if tally.received * 10 < tally.sent * 9 || heard * 10 < tally.sent * 9 {
        return Err("audio did not flow both ways".into());
    }
    Ok(json!({
        "protocol": protocol, "calls": calls, "us_per_call": us_per_call, "calls_per_core": 1e6 / us_per_call, "core_used": cpu_ms as f64 / 1e3 / took,
        "sent": tally.sent, "received": tally.received, "heard": heard, "seconds": took,
    }))
}

/// Milliseconds of CPU that a process has used, by the scheduler's account of all its threads.
fn cpu_ms(pid: u32) -> Result<u64, String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| e.to_string())?;
    // Behind the name: state, ten others, user and system time in hundredths of a second (proc(5)).
    let fields: Vec<u64> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    fields.get(11).zip(fields.get(12)).map(|(user, system)| (user + system) * 10).ok_or_else(|| "no account of the daemon".into())
}

/// One JSON request by HTTP.
fn post(at: SocketAddr, body: &Value) -> Result<Value, String> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(at).map_err(|e| e.to_string())?;
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).map_err(|e| e.to_string())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map_err(|e| e.to_string())?;
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|e| format!("{e}: {reply}"))
}

fn offer(words: &Words) -> String {
    let Words { ufrag, pwd, fingerprint, address } = words;
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 1 2 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\nm=audio {port} UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 {ip}\r\n\
         a=rtcp-mux\r\na=mid:audio\r\na=ice-lite\r\na=sendrecv\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=setup:actpass\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=rtpmap:111 opus/48000/2\r\n\
         a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1\r\na=rtpmap:126 telephone-event/8000\r\n"
    )
}

/// The audio servers, all on one thread.
fn serve(listener: std::net::TcpListener, protocol: &'static str, heard: &Arc<AtomicU64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(listener).expect("a socket");
        let frames: Arc<[Vec<i16>]> = frames(if protocol == "l16" { SampleRate::Hz16000 } else { SampleRate::Hz8000 }).into();
        while let Ok((stream, _)) = listener.accept().await {
            let (heard, frames) = (Arc::clone(heard), Arc::clone(&frames));
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
                let (mut to_call, mut from_call) = socket.split();
                let mut sid = None;
                let mut tick = tokio::time::interval(Duration::from_millis(20));
                let mut at = 0;
                loop {
                    tokio::select! {
                        message = from_call.next() => match message {
                            Some(Ok(Message::Binary(_))) => {
                                sid.get_or_insert_default();
                                heard.fetch_add(1, Ordering::Relaxed);
                            }
                            Some(Ok(Message::Text(text))) => {
                                let is_media = text.as_str().contains("\"media\"");
                                heard.fetch_add(u64::from(is_media), Ordering::Relaxed);
                                if sid.is_none() && is_media {
                                    let message: Value = serde_json::from_str(text.as_str()).unwrap_or_default();
                                    sid = Some(message["streamSid"].as_str().unwrap_or_default().to_owned());
                                }
                            }
                            Some(Ok(_)) => {}
                            _ => return,
                        },
                        _ = tick.tick() => {
                            let Some(sid) = &sid else { continue };
                            at = (at + 1) % frames.len();
                            if to_call.send(said(&frames[at], protocol, sid)).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
}

fn said(frame: &[i16], protocol: &str, sid: &str) -> Message {
    if protocol == "l16" {
        return Message::binary(frame.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>());
    }
    let mut mu_law = vec![0; frame.len()];
    Law::Mu.encode(frame, &mut mu_law);
    Message::text(twilio::write(&Said::Media(mu_law), sid))
}

/// The bench's speech in frames of 20 ms.
fn frames(rate: SampleRate) -> Vec<Vec<i16>> {
    let mut decoder = Decoder::new(rate).expect("a decoder");
    let mut pcm = vec![0; rate.frame_samples() * 6];
    speech()
        .iter()
        .map(|packet| {
            let made = decoder.decode(packet, &mut pcm).unwrap_or(0);
            pcm[..made].to_vec()
        })
        .collect()
}
