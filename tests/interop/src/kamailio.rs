//! Kamailio of Debian with its stock rtpengine module, SIPp as the phone that calls; str0m, then the simulator of Meta's relay, as the side that is called. Media goes
//! through our `ng` listener; SIPp sends back what it hears, so what the called side hears went through every leg both ways. Then the first of two nodes is stopped, and
//! calls must go on with the second.
//!
//! Decides: which figures are good enough. Refuses: to teach Kamailio anything; `peers/kamailio.cfg` is what its manual says.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tipring_engine::time::{Span, Time};
use tipring_meta_sim::call::CallKind;
use tipring_meta_sim::oracle::{self, Context, Limits};
use tipring_meta_sim::relay::{Relay, RelayConfig};
use tipring_meta_sim::sdp::{SdpKind, judge as judge_sdp};
use tipring_meta_sim::timeline::Timeline;
use tipring_meta_sim::user::{Speech, UserScript};

use tipring_signalling::config::{Config, NgConfig};
use tipring_signalling::shell::{Daemon, DaemonHandle};
use tipring_tests::sound::{tone, tone_share};
use tipring_tests::str0m_peer::{Running, Str0mPeer};

use crate::Failure;
use crate::gateway::Case;

const CONFIG: &str = include_str!("../peers/kamailio.cfg");
const PHONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/phone.xml");
const TONE_HZ: f64 = 620.0;
/// Milliseconds that a call of SIPp lasts.
const CALL_MS: u32 = 7_000;

/// What the called side heard of one call.
#[derive(Default)]
struct Called {
    /// Mono, 16 kHz.
    heard: Vec<i16>,
    /// What the simulator's judge has to say against us.
    faults: Vec<String>,
}

/// A called side that talks.
enum Talking {
    Str0m(Running),
    Meta(JoinHandle<Called>, Arc<AtomicBool>),
}

pub fn run(_arguments: &[String]) -> Result<bool, Failure> {
    let mut nodes = [Some(node(43_500)?), Some(node(43_600)?)];
    let ports: Vec<u16> = nodes.iter().flatten().filter_map(|node| Some(node.ng_addr()?.port())).collect();
    let web = UdpSocket::bind("127.0.0.1:0").map_err(|e| format!("no socket: {e}"))?;
    let at = |socket: &UdpSocket| socket.local_addr().map(|a| a.port()).map_err(|e| e.to_string());
    let (web_port, sip_port) = (at(&web)?, at(&UdpSocket::bind("127.0.0.1:0").map_err(|e| e.to_string())?)?);
    let config = CONFIG
        .replace("@SIP@", &sip_port.to_string())
        .replace("@NODE1@", &ports[0].to_string())
        .replace("@NODE2@", &ports[1].to_string())
        .replace("@WEB@", &web_port.to_string());
    let path = std::env::temp_dir().join(format!("tipring-kamailio-{}.cfg", std::process::id()));
    std::fs::write(&path, config).map_err(|e| format!("{}: {e}", path.display()))?;
    let over = Arc::new(AtomicBool::new(false));
    let (told, calls) = channel();
    let answering = std::thread::spawn({
        let over = Arc::clone(&over);
        move || answer(&web, &told, &over)
    });
    let proxy = proxy(&path)?;
    let mut clean = true;
    clean &= phone_calls("str0m", "whatsapp", sip_port, 2, &calls, &nodes).print();
    clean &= phone_calls("meta-sim", "meta", sip_port, 2, &calls, &nodes).print();
    nodes[0] = None;
    // Which node a call asks first is a matter of its id: of six, some ask the one that is gone.
    clean &= phone_calls("first gone", "whatsapp", sip_port, 6, &calls, &nodes).print();
    over.store(true, Ordering::Relaxed);
    stop(proxy);
    let _ = answering.join();
    let _ = std::fs::remove_file(path);
    Ok(clean)
}

fn node(first_port: u16) -> Result<DaemonHandle, Failure> {
    let mut config = Config { drain_max: Duration::ZERO, ..Config::default() };
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    config.http.listen = (loopback, 0).into();
    config.engine.addresses = vec![loopback.into()];
    config.engine.allow_loopback = true;
    config.engine.ports = first_port..=first_port + 99;
    config.engine.rtp_targets = vec!["127.0.0.0/8".parse().map_err(|e| format!("{e}"))?];
    config.ng = Some(NgConfig::new((loopback, 0).into()));
    Daemon::start(config, Arc::new(|_| {})).map_err(|e| format!("the daemon does not start: {e}"))
}

#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn proxy(config: &Path) -> Result<Child, Failure> {
    let mut command = Command::new("kamailio");
    command.args(["-DD", "-E", "-m", "32", "-M", "8", "-f"]).arg(config).args(["-Y", "/tmp"]).stdin(Stdio::null());
    let mut child = command.spawn().map_err(|e| format!("cannot start kamailio: {e}"))?;
    std::thread::sleep(Duration::from_secs(2));
    match child.try_wait() {
        Ok(None) => Ok(child),
        other => Err(format!("kamailio ended at once ({other:?}); its reason is above")),
    }
}

fn stop(mut child: Child) {
    // Its children end with it on SIGTERM; a plain kill would leave them.
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
}

/// SIPp calls `user`, one call after the other; each is judged by what the called side heard.
fn phone_calls(name: &str, user: &str, sip_port: u16, count: usize, calls: &Receiver<Called>, nodes: &[Option<DaemonHandle>; 2]) -> Case {
    let mut case = Case::new(name);
    let before: u64 = nodes.iter().flatten().map(|node| node.metrics().calls_opened).sum();
    let output = Command::new("sipp")
        .args([&format!("127.0.0.1:{sip_port}"), "-sf", PHONE, "-s", user, "-i", "127.0.0.1", "-mi", "127.0.0.1", "-rtp_echo"])
        .args(["-m", &count.to_string(), "-l", "1", "-r", "1", "-d", &CALL_MS.to_string(), "-timeout", "120", "-timeout_error", "-nostdin"])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => case.fact(format!("SIPp completed {count} calls")),
        Ok(output) => case.check(false, format!("SIPp ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
        Err(e) => case.check(false, format!("cannot start sipp: {e}")),
    }
    let opened = nodes.iter().flatten().map(|node| node.metrics().calls_opened).sum::<u64>() - before;
    case.check(opened == count as u64, format!("{opened} calls on our nodes"));
    let mut shares = Vec::new();
    while let Ok(called) = calls.recv_timeout(Duration::from_secs(3)) {
        let windows = called.heard.chunks_exact(8_000);
        let mut of_call: Vec<f64> = windows.skip(2).map(|window| tone_share(window, TONE_HZ, 16_000)).collect();
        of_call.sort_by(f64::total_cmp);
        shares.push(of_call.get(of_call.len() / 2).copied().unwrap_or(0.0));
        case.check(called.heard.len() > 16_000 * 4, format!("{} ms heard", called.heard.len() / 16));
        for fault in called.faults {
            case.check(false, fault);
        }
    }
    let worst = shares.iter().copied().fold(1.0, f64::min);
    case.check(
        shares.len() == count && worst > 0.9,
        format!("{} calls heard their tone come back from the phone, worst share {worst:.3}", shares.len()),
    );
    case
}

/// The called side: answers INVITEs with str0m's description, and tells what was heard when BYE comes.
fn answer(socket: &UdpSocket, told: &Sender<Called>, over: &AtomicBool) {
    let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
    let mut running: HashMap<String, (String, Talking)> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let Ok(text) = std::str::from_utf8(&buffer[..len]) else { continue };
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let Some(id) = head.lines().find_map(|l| l.strip_prefix("Call-ID: ")) else { continue };
        let method = head.split(' ').next().unwrap_or_default();
        let sdp = match method {
            "INVITE" => {
                let is_meta = head.starts_with("INVITE sip:meta@");
                let entry = running.entry(id.to_owned()).or_insert_with(|| if is_meta { meta_answers(body) } else { str0m_answers(body) });
                Some(entry.0.clone())
            }
            "BYE" => None,
            _ => continue,
        };
        let port = socket.local_addr().map_or(0, |a| a.port());
        let _ = socket.send_to(ok(head, sdp.as_deref(), port).as_bytes(), from);
        if method == "BYE"
            && let Some((_, peer)) = running.remove(id)
        {
            let _ = told.send(peer.stop());
        }
    }
}

impl Talking {
    fn stop(self) -> Called {
        match self {
            Self::Str0m(peer) => Called { heard: peer.stop().0, faults: Vec::new() },
            Self::Meta(thread, over) => {
                over.store(true, Ordering::Relaxed);
                thread.join().unwrap_or_else(|_| Called { faults: vec!["the simulator panicked".into()], ..Called::default() })
            }
        }
    }
}

fn str0m_answers(offer: &str) -> (String, Talking) {
    let mut peer = Str0mPeer::default();
    (peer.answer(offer), Talking::Str0m(peer.run(TONE_HZ)))
}

/// The simulator of Meta's relay, its user picking up at once and saying the tone.
#[expect(clippy::disallowed_methods, reason = "a relay needs the time of day")]
fn meta_answers(offer: &str) -> (String, Talking) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket on loopback");
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let speech = vec![Speech { after: Span::ZERO, pcm: tone(TONE_HZ, 16_000, 20.0).into() }];
    let script = UserScript { speech, hang_up_after: None, ..UserScript::default() };
    let config = RelayConfig::new(socket.local_addr().ok(), None, unix_ms, unix_ms, script);
    let mut relay = Relay::new(config).expect("a relay with an address");
    let (peer, faults) = judge_sdp(offer, SdpKind::Offer, false);
    let faults: Vec<String> = faults.iter().map(|fault| format!("our offer: {} {}", fault.rule, fault.text)).collect();
    let over = Arc::new(AtomicBool::new(false));
    let Some(peer) = peer else { return (String::new(), Talking::Meta(std::thread::spawn(|| Called { heard: Vec::new(), faults }), over)) };
    let answer = relay.answer(&peer);
    relay.set_peer(peer, Time::ZERO);
    relay.set_accepted(Time::ZERO);
    let told = Arc::clone(&over);
    (answer, Talking::Meta(std::thread::spawn(move || meta_talks(relay, &socket, &told, faults)), over))
}

/// Runs the simulator until `over`; its judge then speaks about our ICE, DTLS and stream.
#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn meta_talks(mut relay: Relay, socket: &UdpSocket, over: &AtomicBool, mut faults: Vec<String>) -> Called {
    let begun = Instant::now();
    let now = || Time::ZERO + Span::from_micros(begun.elapsed().as_micros() as u64);
    let Ok(local) = socket.local_addr() else { return Called::default() };
    let _ = socket.set_read_timeout(Some(Duration::from_millis(2)));
    let mut timeline = Timeline::default();
    let mut buffer = [0; 2_000];
    while !over.load(Ordering::Relaxed) {
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            relay.handle_datagram(local, from, &buffer[..len], &mut timeline, now());
        }
        relay.handle_timeout(&mut timeline, now());
        while let Some(transmit) = relay.poll_transmit(now()) {
            let _ = socket.send_to(&transmit.bytes, transmit.remote);
        }
    }
    // How soon is a matter of the machine and of SIP; everything else is not.
    let soon = Span::from_secs(5);
    let limits = Limits { client_hello: soon, first_rtp: soon, ..Limits::default() };
    let context = Context { kind: CallKind::BusinessInitiated, limits, reference: None };
    let verdicts = oracle::judge(timeline.entries(), relay.heard(), &context);
    // By SIP, BYE says that the call is over; `terminate` is Graph's word.
    faults.extend(verdicts.iter().filter(|verdict| !verdict.pass && verdict.rule != "UIC-terminate").map(ToString::to_string));
    Called { heard: relay.heard().to_vec(), faults }
}

/// A 200 to a request (RFC 3261 section 8.2.6).
fn ok(head: &str, sdp: Option<&str>, port: u16) -> String {
    let mut out = String::from("SIP/2.0 200 OK\r\n");
    for line in head.lines().skip(1) {
        let name = line.split(':').next().unwrap_or_default();
        match name {
            "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => out.push_str(line),
            "To" if line.contains(";tag=") => out.push_str(line),
            "To" => out.push_str(&format!("{line};tag=web")),
            _ => continue,
        }
        out.push_str("\r\n");
    }
    let body = sdp.unwrap_or_default();
    out.push_str(&format!("Contact: <sip:web@127.0.0.1:{port}>\r\n"));
    if sdp.is_some() {
        out.push_str("Content-Type: application/sdp\r\n");
    }
    out.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    out
}
