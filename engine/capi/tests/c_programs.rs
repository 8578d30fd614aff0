//! Programs in C against the library: misuse, a frame loop, and an epoll host that carries a hundred calls of the simulator's crowd.
//!
//! `CAPI_CFLAGS` adds flags for the compiler (`-fsanitize=address -g`), `CAPI_RUNNER` a program in front of each (`valgrind --leak-check=full --error-exitcode=9`);
//! `cargo interop -- capi` runs this with both.

#![allow(clippy::disallowed_methods, reason = "programs run on the wall clock; nothing is asserted about it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tipring_engine::keying::Profile;
use tipring_meta_sim::load::{Crowd, Words};

/// Where the library lies: beside this test, or one above.
fn library() -> PathBuf {
    let deps = std::env::current_exe().expect("a path").parent().expect("a folder").to_owned();
    let places = [deps.clone(), deps.parent().expect("a folder").to_owned()];
    places.into_iter().find(|place| place.join("libtipring.so").exists()).expect("cargo has built libtipring.so with this test")
}

/// Compiles a program against the shared library; gives its path.
fn program(source: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = Path::new(source).file_stem().expect("a name").to_str().expect("UTF-8");
    let out = std::env::temp_dir().join(format!("tipring-capi-{name}-{}", std::process::id()));
    let place = library();
    let flags = std::env::var("CAPI_CFLAGS").unwrap_or_default();
    let output = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-I"])
        .arg(root.join("include"))
        .args(flags.split_ascii_whitespace())
        .arg(root.join(source))
        .arg("-o")
        .arg(&out)
        .arg("-L")
        .arg(&place)
        .args(["-ltipring", "-lpthread"])
        .arg(format!("-Wl,-rpath,{}", place.display()))
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

/// A command that runs a program, behind the runner if one is named.
fn command(program: &Path) -> Command {
    let runner = std::env::var("CAPI_RUNNER").unwrap_or_default();
    let mut words = runner.split_ascii_whitespace();
    match words.next() {
        None => Command::new(program),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
    }
}

#[test]
fn whatever_a_host_does_wrong_gets_a_code() {
    let program = program("tests/misuse.c");
    let output = command(&program).output().expect("it runs");
    let _ = std::fs::remove_file(&program);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("every code as it should be"));
}

#[test]
fn the_frame_loop_runs_and_ends() {
    let program = program("examples/frame_loop.c");
    let output = command(&program).arg("1").output().expect("it runs");
    let _ = std::fs::remove_file(&program);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("our offer has") && said.contains("ended: HANG_UP"), "{said}");
}

#[test]
fn an_installed_library_is_found_and_links_both_ways() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = std::env::temp_dir().join(format!("tipring-capi-prefix-{}", std::process::id()));
    let prefix = place.to_str().expect("text");
    let run = |command: &mut Command| {
        let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    // Cargo has built it; `-o` keeps make from doing it once more.
    let built = format!("BUILT={}", library().display());
    run(Command::new("make").arg("-C").arg(root).args(["-o", "build", "install", &format!("PREFIX={prefix}"), &built]));
    let ask =
        |words: &[&str]| run(Command::new("pkg-config").args(words).arg("tipring").env("PKG_CONFIG_PATH", place.join("lib/pkgconfig")));
    assert_eq!(ask(&["--modversion"]), env!("CARGO_PKG_VERSION"));
    let shared = ask(&["--cflags", "--libs"]);
    // What belongs to the static library, and the archive by its name: beside it lies the shared one, which `-l` would take.
    let fixed = format!("{} {prefix}/lib/libtipring.a {}", ask(&["--cflags"]), ask(&["--static", "--libs"]).replace("-ltipring", ""));
    for (name, flags, needs_library) in [("shared", shared, true), ("static", fixed, false)] {
        let program = place.join(name);
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c99", "-Wall", "-Werror"]).arg(root.join("examples/frame_loop.c")).arg("-o").arg(&program);
        run(compiler.args(flags.split_ascii_whitespace()));
        let mut started = Command::new(&program);
        started.arg("1");
        if needs_library {
            started.env("LD_LIBRARY_PATH", place.join("lib"));
        }
        let said = run(&mut started);
        assert!(said.contains("ended: HANG_UP"), "{name}: {said}");
    }
    let _ = std::fs::remove_dir_all(&place);
}

fn offer(words: &Words) -> String {
    let Words { ufrag, pwd, fingerprint, address } = words;
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 1 2 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\nm=audio {port} UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 {ip}\r\n\
         a=rtcp-mux\r\na=mid:audio\r\na=ice-lite\r\na=sendrecv\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=setup:actpass\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=rtpmap:111 opus/48000/2\r\n\
         a=fmtp:111 useinbandfec=1\r\na=rtpmap:126 telephone-event/8000\r\n"
    )
}

/// What the host says.
#[derive(Debug)]
enum Said {
    Answer(usize, String),
    Ready(usize),
    Ended(usize, String),
}

fn listen(child: &mut Child) -> Receiver<Said> {
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let (told, said) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let id = |text: &str| text.parse().expect("a number");
            let word = match words.as_slice() {
                ["ANSWER", call, bytes] => {
                    let mut sdp = vec![0; bytes.parse().expect("a length")];
                    lines.read_exact(&mut sdp).expect("an answer");
                    Said::Answer(id(call), String::from_utf8(sdp).expect("text"))
                }
                ["READY", call] => Said::Ready(id(call)),
                ["ENDED", call, reason] => Said::Ended(id(call), (*reason).to_owned()),
                other => panic!("{other:?}"),
            };
            if told.send(word).is_err() {
                return;
            }
            line.clear();
        }
    });
    said
}

fn tell(stdin: &mut ChildStdin, text: &str) {
    stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("the host reads");
}

#[test]
fn an_epoll_host_in_c_carries_a_hundred_calls() {
    const CALLS: usize = 100;
    let patience = Duration::from_secs(60);
    let program = program("examples/epoll_host.c");
    let mut child = command(&program).arg("127.0.0.1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    let said = listen(&mut child);
    let localhost = "127.0.0.1".parse().expect("an address");
    let mut crowd = Crowd::new(localhost, Profile::Aes128CmSha1_80, Vec::new()).expect("a crowd");
    let mut ready = Vec::new();
    for call in 0..CALLS {
        let (number, words) = crowd.join().expect("a caller");
        let sdp = offer(&words);
        tell(&mut stdin, &format!("OFFER {call} {}\n{sdp}", sdp.len()));
        loop {
            match said.recv_timeout(patience).expect("an answer") {
                Said::Answer(id, answer) => {
                    assert_eq!(id, call);
                    let fingerprint = answer.lines().find_map(|l| l.strip_prefix("a=fingerprint:sha-256 ")).expect("a fingerprint");
                    crowd.meet(number, fingerprint.trim()).expect("a caller that waits");
                    break;
                }
                Said::Ready(id) => ready.push(id),
                other => panic!("{other:?}"),
            }
        }
        // Those who are there already are not kept waiting.
        crowd.attend();
    }
    assert!(crowd.settle(patience), "{} of {CALLS} are connected", crowd.connected());
    while ready.len() < CALLS {
        match said.recv_timeout(patience).expect("media is ready") {
            Said::Ready(id) => ready.push(id),
            other => panic!("{other:?}"),
        }
    }
    ready.iter().for_each(|id| tell(&mut stdin, &format!("GATE {id}\n")));
    let tally = crowd.run(Duration::from_secs(3));
    println!("100 calls of a C host: {} packets sent, {} came back", tally.sent, tally.received);
    // Behind a runner a host is slower than its callers.
    let least = if std::env::var_os("CAPI_RUNNER").is_some_and(|runner| !runner.is_empty()) { 50 } else { 3 };
    assert!(tally.sent >= CALLS as u64 * 50 && tally.received * least >= tally.sent, "{} sent, {} came back", tally.sent, tally.received);
    assert_eq!(tally.refused, 0, "nothing of another call, nothing that does not authenticate");
    (0..CALLS).for_each(|call| tell(&mut stdin, &format!("BYE {call}\n")));
    let mut ended = [false; CALLS];
    for _ in 0..CALLS {
        match said.recv_timeout(patience).expect("the call ends") {
            Said::Ended(id, reason) => {
                assert_eq!(reason, "HANG_UP");
                assert!(!std::mem::replace(&mut ended[id], true), "once");
            }
            other => panic!("{other:?}"),
        }
    }
    tell(&mut stdin, "QUIT\n");
    drop(stdin);
    let status = child.wait().expect("it ends");
    let _ = std::fs::remove_file(&program);
    assert!(status.success(), "{status}");
}
