//! A daemon that is killed in the middle of a recorded call leaves files that play to the last second, and the Opus in them is what came off the wire, byte for byte.
//!
//! Real process, real sockets on loopback; the caller is one of the simulator's crowd, whose packets carry their number.
#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods, reason = "a process runs on the wall clock; nothing is asserted about it")]

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tipring_engine::keying::Profile;
use tipring_meta_sim::load::{Crowd, Words};
use tipring_signalling::audio::read_ogg_opus;

const TOKEN: &str = "a-token-of-this-test";

fn offer(words: &Words) -> String {
    let Words { ufrag, pwd, fingerprint, address } = words;
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 1 2 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\nm=audio {port} UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 {ip}\r\na=rtcp-mux\r\na=mid:audio\r\na=ice-lite\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=setup:actpass\r\na=fingerprint:sha-256 {fingerprint}\r\n\
         a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=rtpmap:111 opus/48000/2\r\n"
    )
}

/// Posts JSON; gives the answer once there is one.
fn post(to: SocketAddr, path: &str, body: &str) -> String {
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(to) {
            Ok(stream) => break stream,
            Err(e) => assert!(begun.elapsed() < Duration::from_secs(30), "the daemon does not listen: {e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let len = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    answer
}

fn file(directory: &Path, end: &str) -> PathBuf {
    let mut found = std::fs::read_dir(directory).expect("a folder").flatten().map(|entry| entry.path());
    found.find(|path| path.to_string_lossy().ends_with(end)).unwrap_or_else(|| panic!("no file *{end}"))
}

#[test]
fn a_killed_daemon_leaves_recordings_that_play_to_the_last_second() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("killed-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a folder");
    // Free now; the daemon takes it a moment later.
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let recordings = directory.join("recordings");
    let config = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[engine]\naddresses = [\"127.0.0.1\"]\nallow_loopback = true\nports = \"43400-43449\"\n\
         [direct]\nlisten = \"{listen}\"\ntoken = \"env:TOKEN_OF_THE_TEST\"\n[record]\ndirectory = \"{}\"\n",
        recordings.display()
    );
    let path = directory.join("tipring.toml");
    std::fs::write(&path, config).expect("a file");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_tipring"))
        .args(["serve", "--config"])
        .arg(&path)
        .env("TOKEN_OF_THE_TEST", TOKEN)
        .stdout(Stdio::null())
        .spawn()
        .expect("the daemon starts");

    let mut crowd = Crowd::new("127.0.0.1".parse().expect("an address"), Profile::AeadAes128Gcm, Vec::new()).expect("a caller");
    let (number, words) = crowd.join().expect("a caller");
    let body = serde_json::json!({ "sdp": offer(&words), "gate": "open", "bridge": { "kind": "echo", "record": true } }).to_string();
    let answer = post(listen, "/v1/sessions", &body);
    let fingerprint = answer.split("a=fingerprint:sha-256 ").nth(1).and_then(|rest| rest.get(..95)).expect("a fingerprint");
    crowd.meet(number, fingerprint).expect("a caller that waits");
    assert!(crowd.settle(Duration::from_secs(30)), "the call connects");
    let tally = crowd.run(Duration::from_millis(4_500));
    assert!(tally.received > 100, "the echo comes back: {tally:?}");
    // The recorder looks every tenth of a second.
    std::thread::sleep(Duration::from_millis(400));
    daemon.kill().expect("killed, not told");
    daemon.wait().expect("gone");

    let opus = std::fs::File::open(file(&recordings, "-caller.opus")).expect("a recording");
    let recorded = read_ogg_opus(BufReader::new(opus)).expect("Ogg Opus");
    assert!(!recorded.is_finished, "nobody ended it");
    // A probe is the lower byte of its number, but for its head, its mark and the moment at which it left.
    let numbers: Vec<u8> = recorded
        .packets
        .iter()
        .filter(|(packet, _)| packet.get(1..4) == Some(b"ldp"))
        .map(|(packet, _)| {
            let number = packet[4];
            assert!(packet.len() == 80 && packet[5] == number && packet[14..].iter().all(|b| *b == number), "as it came off the wire");
            number
        })
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "all of them, in order");
    let missing = tally.sent as i64 - numbers.len() as i64;
    assert!(missing <= 80, "{missing} of {} packets are missing: more than the last second", tally.sent);

    let wav = hound::WavReader::open(file(&recordings, ".wav")).expect("a header that says how much there is");
    let seconds = f64::from(wav.duration()) / f64::from(wav.spec().sample_rate);
    assert!(seconds > 1.5, "{seconds:.1} s of 4.5 are in the WAV: what waits for the other direction, and the last second");
    let samples = wav.into_samples::<i16>().collect::<Result<Vec<_>, _>>().expect("whole samples");
    assert!(samples.len() % 2 == 0);
    let _ = std::fs::remove_dir_all(&directory);
}
