//! Asterisk of Debian's unstable distribution, in a root of its own: its `chan_websocket` and `chan_audiosocket` as the far end of a call, `Echo()` as its application; str0m
//! is the caller. What the caller hears back went through our stream and Asterisk's channel, both ways.
//!
//! Decides: Asterisk's configuration, and which figures are good enough. Refuses: to teach Asterisk anything. AudioSocket's channel and ours both connect, as clients of that protocol
//! do: [`splice`] stands between them, takes the name that each begins with, and hands on every other byte as it is.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tipring_signalling::config::AudioTarget;
use tipring_tests::sound::tone_share;
use tipring_tests::str0m_peer::Str0mPeer;

use crate::gateway::{Case, Gateway};
use crate::{Failure, install};

const TONE_HZ: f64 = 620.0;
/// How long the caller talks.
const TALK: Duration = Duration::from_secs(6);
const WAIT: Duration = Duration::from_secs(20);
/// Where Asterisk's files are, inside its root.
const HOME: &str = "/judge";

/// What Asterisk needs to be told. `@HTTP@` is its port.
const FILES: [(&str, &str); 4] = [
    (
        "asterisk.conf",
        "[directories]\nastetcdir => /judge\nastdbdir => /judge\nastkeydir => /judge\nastagidir => /judge\nastspooldir => /judge\nastrundir => /judge\nastlogdir => /judge\n",
    ),
    (
        "modules.conf",
        "[modules]\nautoload=no\nload=res_sorcery_config.so\nload=res_timing_timerfd.so\nload=res_http_websocket.so\nload=res_websocket_client.so\n\
         load=res_audiosocket.so\nload=chan_audiosocket.so\nload=chan_websocket.so\nload=app_echo.so\nload=codec_ulaw.so\nload=codec_alaw.so\n\
         load=codec_resample.so\nload=res_clioriginate.so\n",
    ),
    ("http.conf", "[general]\nenabled=yes\nbindaddr=127.0.0.1\nbindport=@HTTP@\n"),
    ("logger.conf", "[general]\n[logfiles]\nconsole => warning,error\n"),
];

/// Who ends the call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    We,
    Asterisk,
}

/// Name; options of the channel that is dialled; our `ws` members beside the URL; who ends it.
const WEBSOCKET: [(&str, &str, &str, Ends); 3] = [
    ("slin16", "c(slin16)n", r#"{"protocol": "asterisk"}"#, Ends::We),
    ("ulaw", "c(ulaw)n", r#"{"protocol": "asterisk", "format": "ulaw"}"#, Ends::Asterisk),
    ("slin24 JSON", "c(slin24)nf(json)", r#"{"protocol": "asterisk", "format": "slin24"}"#, Ends::We),
];
const AUDIOSOCKET: [(&str, &str, &str, Ends); 2] = [
    ("socket 8k", "c(slin)", r#"{"protocol": "audiosocket"}"#, Ends::We),
    ("socket 16k", "c(slin16)", r#"{"protocol": "audiosocket", "rate": 16000}"#, Ends::Asterisk),
];

/// A running Asterisk.
struct Asterisk {
    root: PathBuf,
    child: Child,
}

pub fn run(_arguments: &[String]) -> Result<bool, Failure> {
    let http = free_port()?;
    let asterisk = Asterisk::start(http)?;
    println!("{}", asterisk.ask("core show version")?.trim());
    let splice_at = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("no socket: {e}"))?;
    let splice_port = splice_at.local_addr().map_err(|e| e.to_string())?.port();
    let target = |url: String| AudioTarget { url, authorization: None, ca: None };
    let gateway =
        Gateway::start_with(vec![target(format!("ws://127.0.0.1:{http}/media/")), target(format!("tcp://127.0.0.1:{splice_port}"))])?;
    let mut clean = true;
    for (name, options, ws, ends) in WEBSOCKET {
        asterisk.ask(&format!("channel originate WebSocket/INCOMING/{options} application Echo"))?;
        let id = asterisk.variable("MEDIA_WEBSOCKET_CONNECTION_ID")?;
        let url = format!("ws://127.0.0.1:{http}/media/{id}");
        clean &= call(name, &gateway, &asterisk, &url, ws, ends, || Ok(()))?;
    }
    for (name, options, ws, ends) in AUDIOSOCKET {
        let url = format!("tcp://127.0.0.1:{splice_port}");
        let dial = format!(
            "channel originate AudioSocket/127.0.0.1:{splice_port}/40325ec2-5efd-4bd3-805f-53576e581d13/{options} application Echo"
        );
        clean &= call(name, &gateway, &asterisk, &url, ws, ends, || {
            let (ours, _) = splice_at.accept().map_err(|e| format!("we did not come: {e}"))?;
            let taken = splice_at.try_clone().map_err(|e| e.to_string())?;
            let theirs = std::thread::spawn(move || taken.accept().map(|(theirs, _)| theirs));
            asterisk.ask(&dial)?;
            let theirs = theirs.join().ok().and_then(Result::ok).ok_or("Asterisk did not come")?;
            splice(ours, theirs).map_err(|e| format!("between the two: {e}"))
        })?;
    }
    gateway.stop();
    Ok(clean)
}

/// One call: `then` brings Asterisk when our audio connection comes to it.
#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn call(
    name: &str,
    gateway: &Gateway,
    asterisk: &Asterisk,
    url: &str,
    ws: &str,
    ends: Ends,
    then: impl FnOnce() -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let mut ws: Value = serde_json::from_str(ws).map_err(|e| e.to_string())?;
    ws["url"] = url.into();
    let mut peer = Str0mPeer::default();
    let (session, answered) = gateway.give_offer_bridged(peer.offer(), &json!({ "ws": ws }))?;
    peer.take_answer(answered["sdp"].as_str().ok_or("no answer")?);
    let peer = peer.run(TONE_HZ);
    let open = gateway.wait_open(&session);
    then()?;
    std::thread::sleep(TALK);
    let shown = gateway.session(&session)?;
    let mut case = Case::new(name);
    match ends {
        Ends::We => {
            gateway.hang_up(&session)?;
            case.check(wait(|| Ok(asterisk.channels()?.is_empty()))?, "our end ends its channel");
        }
        Ends::Asterisk => {
            asterisk.ask("channel request hangup all")?;
            case.check(wait(|| Ok(gateway.session(&session).map_or(true, |s| s["state"] == "ended")))?, "its hang-up ends our call");
        }
    }
    let (heard, _) = peer.stop();
    open?;
    case.session(&shown);
    let begin = heard.iter().position(|s| s.unsigned_abs() > 1_000).unwrap_or(heard.len());
    let mut shares: Vec<f64> = heard[begin..].chunks_exact(8_000).map(|window| tone_share(window, TONE_HZ, 16_000)).collect();
    shares.sort_by(f64::total_cmp);
    let median = shares.get(shares.len() / 2).copied().unwrap_or(0.0);
    case.check(
        median > 0.9 && shares.len() as u64 >= 2 * (TALK.as_secs() - 2),
        format!("the caller hears its tone, share {median:.3}, in {} half seconds", shares.len()),
    );
    Ok(case.print())
}

#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn wait(mut is_so: impl FnMut() -> Result<bool, Failure>) -> Result<bool, Failure> {
    let begun = Instant::now();
    while begun.elapsed() < WAIT {
        if is_so()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(false)
}

impl Asterisk {
    #[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
    fn start(http: u16) -> Result<Self, Failure> {
        let root = install::unstable_root("asterisk", &["asterisk"], "usr/sbin/asterisk")?;
        let home = root.join(HOME.trim_start_matches('/'));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
        for (name, text) in FILES {
            let text = text.replace("@HTTP@", &http.to_string());
            std::fs::write(home.join(name), text).map_err(|e| format!("{}: {e}", home.display()))?;
        }
        let log = std::fs::File::create(home.join("log")).map_err(|e| format!("{}: {e}", home.display()))?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let mut command = Self::command(&root);
        let child = command.arg("-fn").stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let mut asterisk = Self { root, child: child.map_err(|e| format!("cannot start asterisk: {e}"))? };
        let begun = Instant::now();
        while !asterisk.ask("core waitfullybooted").is_ok_and(|said| said.contains("fully booted")) {
            if begun.elapsed() > WAIT || !matches!(asterisk.child.try_wait(), Ok(None)) {
                let log = std::fs::read_to_string(asterisk.root.join(HOME.trim_start_matches('/')).join("log")).unwrap_or_default();
                return Err(format!("asterisk does not come up: {log}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(asterisk)
    }

    fn command(root: &Path) -> Command {
        let mut command = Command::new("chroot");
        command.arg(root).args(["/usr/sbin/asterisk", "-C", &format!("{HOME}/asterisk.conf")]);
        command
    }

    /// A command of its console; gives what it says.
    fn ask(&self, command: &str) -> Result<String, Failure> {
        let output = Self::command(&self.root).args(["-rx", command]).stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("cannot start asterisk's console: {e}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Names of its channels.
    fn channels(&self) -> Result<Vec<String>, Failure> {
        let said = self.ask("core show channels concise")?;
        Ok(said.lines().filter_map(|line| line.split_once('!')).map(|(name, _)| name.to_owned()).collect())
    }

    /// A variable of its only channel.
    fn variable(&self, name: &str) -> Result<String, Failure> {
        let mut found = None;
        wait(|| {
            let Some(channel) = self.channels()?.into_iter().next() else { return Ok(false) };
            let shown = self.ask(&format!("core show channel {channel}"))?;
            found = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned);
            Ok(found.is_some())
        })?;
        found.ok_or_else(|| format!("Asterisk's channel has no {name}"))
    }
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two clients of AudioSocket as two ends of one line. Both begin with a frame that names the call (type, length, 16 bytes), which a server keeps for itself.
fn splice(mut ours: TcpStream, mut theirs: TcpStream) -> std::io::Result<()> {
    let mut name = [0; 19];
    for stream in [&mut ours, &mut theirs] {
        stream.set_nodelay(true)?;
        stream.read_exact(&mut name)?;
        if name[..3] != [1, 0, 16] {
            return Err(std::io::Error::other(format!("a call that begins with {:?}", &name[..3])));
        }
    }
    for (mut from, mut to) in [(ours.try_clone()?, theirs.try_clone()?), (theirs, ours)] {
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(len @ 1..) = from.read(&mut buffer) {
                if to.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("no socket: {e}"))?;
    listener.local_addr().map(|at| at.port()).map_err(|e| e.to_string())
}
