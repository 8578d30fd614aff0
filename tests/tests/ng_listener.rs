//! A SIP proxy at our `ng` listener, played by a few lines: it pings, offers and answers both ways round between a plain RTP phone and str0m as the WhatsApp side, asks,
//! repeats itself, comes too often, lets announcements be made and calls be recorded, and hangs up. Audio is judged at both ends.

#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tipring_engine::codec::g711::Law;
use tipring_signalling::audio::read_ogg_opus;
use tipring_signalling::config::{Config, NgConfig, PromptConfig, RecordConfig};
use tipring_signalling::ng::bencode;
use tipring_signalling::shell::{Daemon, DaemonEvent, DaemonHandle, Observed, Observer};
use tipring_tests::rtp_peer::RtpPeer;
use tipring_tests::sound::{tone, tone_share, typical_tone_share};
use tipring_tests::str0m_peer::Str0mPeer;

const PHONE_HZ: f64 = 440.0;
const WHATSAPP_HZ: f64 = 620.0;

struct Proxy {
    socket: UdpSocket,
    daemon: Option<DaemonHandle>,
    cookies: u32,
}

impl Proxy {
    fn start(first_port: u16, sessions_max: usize) -> Self {
        Self::start_with(first_port, sessions_max, |_| Arc::new(|_| {}))
    }

    fn start_with(first_port: u16, sessions_max: usize, change: impl FnOnce(&mut Config) -> Observer) -> Self {
        let mut config = Config { drain_max: Duration::from_secs(1), ..Config::default() };
        config.http.listen = "127.0.0.1:0".parse().expect("an address");
        config.engine.addresses = vec!["127.0.0.1".parse().expect("an address")];
        config.engine.allow_loopback = true;
        config.engine.rtp_targets = vec!["127.0.0.0/8".parse().expect("a range")];
        config.engine.ports = first_port..=first_port + 99;
        let mut ng = NgConfig::new("127.0.0.1:0".parse().expect("an address"));
        ng.sessions_max = sessions_max;
        config.ng = Some(ng);
        let observer = change(&mut config);
        let daemon = Daemon::start(config, observer).expect("a daemon");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(daemon.ng_addr().expect("ng is on")).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        Self { socket, daemon: Some(daemon), cookies: 0 }
    }

    /// Sends these bytes; gives what came back behind the cookie.
    fn raw(&self, cookie: &str, body: &[u8]) -> Vec<u8> {
        self.socket.send(&[cookie.as_bytes(), b" ", body].concat()).expect("sent");
        let mut buffer = vec![0; 65_536];
        let len = self.socket.recv(&mut buffer).expect("an answer");
        let reply = &buffer[..len];
        let rest = reply.strip_prefix(cookie.as_bytes()).and_then(|r| r.strip_prefix(b" ")).expect("our own cookie");
        rest.to_vec()
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.cookies += 1;
        let cookie = format!("4711_{}", self.cookies);
        bencode::read(&self.raw(&cookie, &bencode::write(request))).expect("bencode")
    }

    /// The SDP of a good answer.
    fn sdp(&mut self, request: &Value) -> String {
        let reply = self.ask(request);
        assert_eq!(reply["result"], "ok", "{reply}");
        reply["sdp"].as_str().expect("an SDP").to_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.daemon.take());
    }
}

fn phone_sdp(at: SocketAddr) -> String {
    let port = at.port();
    format!("v=0\r\no=u 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n")
}

/// Where an SDP of ours wants its RTP.
fn rtp_of(sdp: &str) -> SocketAddr {
    let port = sdp.lines().find_map(|l| l.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok()).expect("a port");
    SocketAddr::new("127.0.0.1".parse().expect("an address"), port)
}

/// A phone that says its tone in A-law.
fn talk(phone: RtpPeer, to: SocketAddr) -> tipring_tests::rtp_peer::RunningPeer {
    let speech = tone(PHONE_HZ, 8_000, 20.0);
    let mut at = 0;
    phone.run(to, 8, 160, move |out| {
        let len = Law::A.encode(&speech[at..at + 160], out.get_mut(..160).expect("room"));
        at = (at + 160) % (speech.len() / 160 * 160);
        len
    })
}

/// Both have talked for a while: what each heard is the other.
fn judge(phone: tipring_tests::rtp_peer::RunningPeer, whatsapp: tipring_tests::str0m_peer::Running) {
    let heard = phone.stop();
    assert_eq!(heard.jumps(), 0);
    let bytes: Vec<u8> = heard.packets.iter().filter(|p| p.payload_type == 8).flat_map(|p| p.payload.clone()).collect();
    let mut pcm = vec![0; bytes.len()];
    Law::A.decode(&bytes, &mut pcm);
    let begin = pcm.iter().position(|s| s.unsigned_abs() > 1_000).expect("the phone hears something");
    let share = typical_tone_share(&pcm[begin + 4_000..], WHATSAPP_HZ, 8_000);
    assert!(share > 0.9, "the phone hears {share:.3} of the WhatsApp side");
    let (heard, _) = whatsapp.stop();
    let begin = heard.iter().position(|s| s.unsigned_abs() > 1_000).expect("the WhatsApp side hears something");
    let share = typical_tone_share(&heard[begin + 8_000..], PHONE_HZ, 16_000);
    assert!(share > 0.9, "the WhatsApp side hears {share:.3} of the phone");
}

/// Waits until media has come from the WhatsApp side, then lets them talk.
fn let_them_talk(proxy: &mut Proxy, call_id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let figures = proxy.ask(&json!({ "command": "query", "call-id": call_id }));
        assert_eq!(figures["result"], "ok", "{figures}");
        if figures["totals"]["RTP"]["packets"].as_i64().is_some_and(|n| n > 300) {
            return figures;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{figures}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_phone_calls_whatsapp() {
    let mut proxy = Proxy::start(43_100, 10);
    assert_eq!(proxy.ask(&json!({ "command": "ping" })), json!({ "result": "pong" }));
    let phone = RtpPeer::bind();
    let offer = json!({ "command": "offer", "call-id": "1@pbx", "from-tag": "a", "sdp": phone_sdp(phone.address()), "ICE": "force",
        "transport protocol": "UDP/TLS/RTP/SAVPF", "flags": ["trust-address"], "supports": ["load limit"] });
    let ours = proxy.sdp(&offer);
    assert!(ours.contains("a=fingerprint:sha-256 ") && ours.contains("a=setup:actpass"), "{ours}");
    assert_eq!(proxy.sdp(&offer), ours, "asked again with another cookie, it is the same call");
    let mut peer = Str0mPeer::default();
    let theirs = peer.answer(&ours);
    let answer = json!({ "command": "answer", "call-id": "1@pbx", "from-tag": "a", "to-tag": "b", "sdp": theirs, "transport-protocol": "RTP/AVP", "ICE": "remove" });
    let to_phone = proxy.sdp(&answer);
    assert!(to_phone.contains("RTP/AVP 8\r\n") && !to_phone.contains("ice") && !to_phone.contains("fingerprint"), "{to_phone}");
    let (phone, peer) = (talk(phone, rtp_of(&to_phone)), peer.run(WHATSAPP_HZ));
    let figures = let_them_talk(&mut proxy, "1@pbx");
    assert!(figures["tags"]["a"]["medias"].is_array() && figures["tags"]["b"]["medias"].is_array(), "{figures}");
    assert!(
        figures["SSRC"].as_object().is_some_and(|s| s.values().all(|s| s["average MOS"]["MOS"].as_i64().is_some_and(|mos| mos > 30))),
        "{figures}"
    );
    let mut held = offer.clone();
    held["sdp"] = json!(offer["sdp"].as_str().expect("text").replace("m=audio ", "a=sendonly\r\nm=audio "));
    let refused = proxy.ask(&held);
    assert!(refused["result"] == "error" && refused["error-reason"].as_str().is_some_and(|why| why.contains("500")), "{refused}");
    assert_eq!(proxy.ask(&json!({ "command": "list" })), json!({ "result": "ok", "calls": ["1@pbx"] }));
    let digits = proxy.ask(&json!({ "command": "play DTMF", "call-id": "1@pbx", "code": "5", "duration": 120 }));
    // str0m takes no telephone-event: the refusal says so.
    assert!(digits["result"] == "error" && digits["error-reason"].as_str().is_some_and(|why| !why.is_empty()), "{digits}");
    judge(phone, peer);
    let gone = proxy.ask(&json!({ "command": "delete", "call-id": "1@pbx", "from-tag": "a" }));
    assert!(gone["result"] == "ok" && gone["totals"]["RTP"]["packets"].as_i64().is_some_and(|n| n > 300), "{gone}");
    let again = proxy.ask(&json!({ "command": "delete", "call-id": "1@pbx", "from-tag": "a" }));
    assert!(again["result"] == "ok" && again["warning"].is_string(), "{again}");
}

#[test]
fn whatsapp_calls_a_phone() {
    let mut proxy = Proxy::start(43_200, 10);
    let mut peer = Str0mPeer::default();
    // Daemon-side parsing: all options are one string.
    let offer = json!({ "command": "offer", "call-id": "2@meta", "from-tag": "w", "sdp": peer.offer(), "rtpp-flags": "RTP/AVP ICE=remove codec-transcode-PCMA" });
    let to_phone = proxy.sdp(&offer);
    assert!(to_phone.contains("RTP/AVP 8 101\r\n") && to_phone.contains("PCMA/8000"), "{to_phone}");
    let phone = RtpPeer::bind();
    let answer = json!({ "command": "answer", "call-id": "2@meta", "from-tag": "w", "to-tag": "p", "sdp": phone_sdp(phone.address()) });
    let ours = proxy.sdp(&answer);
    assert!(ours.contains("a=setup:active\r\n"), "{ours}");
    assert_eq!(proxy.sdp(&answer), ours, "a 200 that repeats a 183");
    peer.take_answer(&ours);
    let (phone, peer) = (talk(phone, rtp_of(&to_phone)), peer.run(WHATSAPP_HZ));
    let_them_talk(&mut proxy, "2@meta");
    judge(phone, peer);
}

#[test]
fn retries_overload_and_nonsense() {
    let mut proxy = Proxy::start(43_300, 1);
    let phone = RtpPeer::bind();
    let offer = |id: &str| json!({ "command": "offer", "call-id": id, "from-tag": "a", "sdp": phone_sdp(phone.address()) });
    // The same cookie is answered from memory, byte for byte, whatever it asks the second time.
    let first = proxy.raw("c1", &bencode::write(&offer("1")));
    assert_eq!(proxy.raw("c1", &bencode::write(&offer("2"))), first);
    // One call fits; the second is for another node, in the words that each proxy knows.
    let full = proxy.ask(&offer("3"));
    assert_eq!(full, json!({ "result": "error", "error-reason": "Parallel session limit reached" }));
    let mut knows = offer("3");
    knows["supports"] = json!(["load limit"]);
    assert_eq!(proxy.ask(&knows)["result"], "load limit");
    for (request, word) in [
        (json!({ "command": "mesh" }), "no such command"),
        (json!({ "command": "offer", "call-id": "9" }), "from-tag"),
        (json!({ "command": "answer", "call-id": "9", "to-tag": "b", "sdp": "x" }), "Unknown call-id"),
        (json!({ "command": "query", "call-id": "9" }), "Unknown call-id"),
        (json!({ "command": "start recording", "call-id": "1" }), "[record]"),
    ] {
        let reply = proxy.ask(&request);
        assert!(reply["result"] == "error" && reply["error-reason"].as_str().is_some_and(|why| why.contains(word)), "{reply}");
    }
    assert_eq!(proxy.ask(&json!({ "command": "delete", "call-id": "1" }))["result"], "ok");
    let mut both = offer("4");
    both["transport-protocol"] = json!("RTP/AVP");
    let reply = proxy.ask(&both);
    assert!(reply["error-reason"].as_str().is_some_and(|why| why.contains("one kind")), "{reply}");
    let elsewhere =
        json!({ "command": "offer", "call-id": "5", "from-tag": "a", "sdp": phone_sdp(phone.address()).replace("127.0.0.1", "192.0.2.1") });
    let reply = proxy.ask(&elsewhere);
    assert!(reply["error-reason"].as_str().is_some_and(|why| why.contains("[[trunk]]")), "{reply}");
    let json_reply = proxy.raw("j1", b"{\"command\":\"statistics\"}");
    let statistics: Value = serde_json::from_slice(&json_reply).expect("asked in JSON, answered in JSON");
    assert_eq!(statistics["statistics"]["currentstatistics"]["sessionstotal"], 0, "{statistics}");
    assert!(bencode::read(&proxy.raw("n1", b"not a dictionary")).is_ok_and(|reply| reply["result"] == "error"));
}

/// A WAV file of the tone, 16 kHz, mono.
fn wav(frequency_hz: f64, seconds: f64) -> Vec<u8> {
    let data: Vec<u8> = tone(frequency_hz, 16_000, seconds).iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let size = |bytes: usize| (bytes as u32).to_le_bytes();
    let format = [&16_u32.to_le_bytes()[..], &[1, 0, 1, 0], &16_000_u32.to_le_bytes(), &32_000_u32.to_le_bytes(), &[2, 0, 16, 0]].concat();
    [b"RIFF", &size(36 + data.len())[..], b"WAVEfmt ", &format, b"data", &size(data.len()), &data].concat()
}

/// One request in JSON by HTTP.
fn post(at: SocketAddr, request: &Value) -> Value {
    let body = request.to_string();
    let head = format!("POST /ng HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(at).expect("ng by HTTP");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).expect("sent");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("an answer");
    let reply = String::from_utf8(reply).expect("text");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    serde_json::from_str(reply.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

#[test]
fn announcements_and_recordings_of_a_running_call_by_http() {
    const PROMPT_HZ: f64 = 880.0;
    const BLOB_HZ: f64 = 1_300.0;
    let place = std::env::temp_dir().join(format!("tipring-ng-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory");
    std::fs::write(place.join("welcome.wav"), wav(PROMPT_HZ, 1.0)).expect("a file");
    let http: SocketAddr = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let (told, recorded) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let mut proxy = Proxy::start_with(43_400, 10, |config| {
        config.ng.as_mut().expect("ng is on").http = Some(http);
        config.prompts = vec![PromptConfig { name: "welcome".into(), wav: place.join("welcome.wav") }];
        config.record = Some(RecordConfig { directory: place.join("recordings"), ogg: true, wav: false });
        Arc::new(move |seen: &Observed| {
            if let DaemonEvent::RecordingFinished { files, .. } = &seen.event {
                let _ = told.lock().expect("nobody panics here").send(files.clone());
            }
        })
    });
    let phone = RtpPeer::bind();
    let offer = json!({ "command": "offer", "call-id": "1@pbx", "from-tag": "a", "sdp": phone_sdp(phone.address()) });
    let ours = post(http, &offer)["sdp"].as_str().expect("an SDP").to_owned();
    let mut peer = Str0mPeer::default();
    let theirs = peer.answer(&ours);
    let to_phone = post(http, &json!({ "command": "answer", "call-id": "1@pbx", "from-tag": "a", "to-tag": "b", "sdp": theirs }));
    let (phone, peer) = (talk(phone, rtp_of(to_phone["sdp"].as_str().expect("an SDP"))), peer.run(WHATSAPP_HZ));
    let_them_talk(&mut proxy, "1@pbx");
    assert_eq!(post(http, &json!({ "command": "start recording", "call-id": "1@pbx" })), json!({ "result": "ok" }));
    // Before the prompt, so that its beginning lies in the recording whenever the call obeys.
    std::thread::sleep(Duration::from_millis(200));
    let play = json!({ "command": "play media", "call-id": "1@pbx", "from-tag": "b", "file": "welcome", "repeat-times": 2 });
    assert_eq!(post(http, &play), json!({ "result": "ok", "duration": 1_000 }));
    std::thread::sleep(Duration::from_millis(2_600));
    assert_eq!(post(http, &json!({ "command": "stop recording", "call-id": "1@pbx" })), json!({ "result": "ok" }));
    // As the proxies send it: bytes in bencode.
    let blob = wav(BLOB_HZ, 1.8);
    let request =
        [b"d7:call-id5:1@pbx7:command10:play media5:flagsl3:alle4:blob", blob.len().to_string().as_bytes(), b":", &blob, b"e"].concat();
    assert_eq!(bencode::read(&proxy.raw("b1", &request)), Ok(json!({ "result": "ok", "duration": 1_800 })));
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(post(http, &json!({ "command": "stop media", "call-id": "1@pbx", "from-tag": "b" })), json!({ "result": "ok" }));
    std::thread::sleep(Duration::from_millis(1_000));
    for (request, word) in [
        (json!({ "command": "play media", "call-id": "1@pbx", "from-tag": "a", "file": "welcome" }), "plain side"),
        (json!({ "command": "play media", "call-id": "1@pbx", "from-tag": "b", "file": "/etc/passwd" }), "[[prompt]]"),
        (json!({ "command": "play media", "call-id": "1@pbx", "from-tag": "b" }), "file or blob"),
        (json!({ "command": "play media", "call-id": "1@pbx", "from-tag": "b", "blob": "hello" }), "no WAV file"),
        (json!({ "command": "stop media", "call-id": "2@pbx", "from-tag": "b" }), "Unknown call-id"),
        (json!({ "command": "start recording", "call-id": "2@pbx" }), "Unknown call-id"),
    ] {
        let reply = post(http, &request);
        assert!(reply["result"] == "error" && reply["error-reason"].as_str().is_some_and(|why| why.contains(word)), "{reply}");
    }
    // What the caller heard, by tenths of a second: the phone, the prompt twice, the phone, a part of the blob, the phone.
    let (heard, _) = peer.stop();
    let by_tone = |frequency_hz: f64| -> Vec<usize> {
        let windows = heard.chunks_exact(1_600).enumerate();
        windows.filter(|(_, window)| tone_share(window, frequency_hz, 16_000) > 0.8).map(|(at, _)| at).collect()
    };
    let (line, prompt, cut) = (by_tone(PHONE_HZ), by_tone(PROMPT_HZ), by_tone(BLOB_HZ));
    assert!((14..=21).contains(&prompt.len()), "the prompt twice: {prompt:?}");
    assert!((1..=14).contains(&cut.len()) && prompt.last() < cut.first(), "the blob was cut short: {cut:?}");
    let after = |at: Option<&usize>| line.iter().filter(|n| Some(*n) > at).count();
    assert!(
        line.first() < prompt.first() && after(prompt.last()) > after(cut.last()) && after(cut.last()) > 0,
        "{line:?} {prompt:?} {cut:?}"
    );
    // The caller went on being heard by the phone.
    let heard = phone.stop();
    assert_eq!(heard.jumps(), 0);
    let files: Vec<PathBuf> = recorded.recv_timeout(Duration::from_secs(30)).expect("the recording is complete");
    let ours = files.iter().find(|file| file.to_string_lossy().ends_with("-ours.opus")).expect("what we sent");
    let file = read_ogg_opus(Cursor::new(std::fs::read(ours).expect("a file"))).expect("an Ogg file");
    assert!(files.len() == 2 && (100..=250).contains(&file.packets.len()), "{files:?}, {} packets", file.packets.len());
    assert_eq!(post(http, &json!({ "command": "delete", "call-id": "1@pbx" }))["result"], "ok");
    drop(proxy);
    let _ = std::fs::remove_dir_all(place);
}
