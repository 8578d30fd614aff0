//! A bot of the Pipecat framework, with its own Twilio serializer, as the audio server of a call; str0m is the caller. The bot echoes: what the caller hears went through
//! both of our directions and the framework's.
//!
//! Decides: which figures are good enough. Refuses: to teach the framework anything; `peers/pipecat_bot.py` is what its manual says for Twilio.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tipring_signalling::config::AudioTarget;
use tipring_tests::sound::tone_share;
use tipring_tests::str0m_peer::Str0mPeer;

use crate::gateway::{Case, Gateway};
use crate::{Failure, install};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/pipecat_bot.py");
const TONE_HZ: f64 = 620.0;

#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    let seconds = match arguments {
        [] => 10,
        [seconds] => seconds.parse().ok().filter(|&s: &u64| s >= 5).ok_or("twilio takes how many seconds (5 or more) the call lasts")?,
        _ => return Err("twilio takes at most one argument: how many seconds (5 or more) the call lasts".to_owned()),
    };
    let python = install::python("twilio", &["pipecat-ai", "fastapi", "uvicorn", "websockets"])?;
    let mut bot = Command::new(&python)
        .arg(SCRIPT)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start {}: {e}", python.display()))?;
    let mut lines = BufReader::new(bot.stdout.take().ok_or("no pipe")?).lines();
    let port = lines.next().and_then(Result::ok).ok_or("the bot ended before it listened; its reason is above")?;
    let url = format!("ws://127.0.0.1:{port}/ws");
    let gateway = Gateway::start_with(vec![AudioTarget { url: url.clone(), authorization: None, ca: None }])?;
    let mut peer = Str0mPeer::default();
    let bridge = json!({ "ws": { "url": url, "parameters": { "language": "pt" } } });
    let (session, answered) = gateway.give_offer_bridged(peer.offer(), &bridge)?;
    peer.take_answer(answered["sdp"].as_str().ok_or("no answer")?);
    let peer = peer.run(TONE_HZ);
    let mut case = Case::new("pipecat");
    let open = gateway.wait_open(&session);
    std::thread::sleep(Duration::from_secs(seconds));
    let shown = gateway.session(&session)?;
    gateway.hang_up(&session)?;
    let (heard, _) = peer.stop();
    open?;
    case.session(&shown);
    // Hanging up ends the stream, and with it the bot.
    let told = lines.next().and_then(Result::ok).unwrap_or_default();
    let seen: Value = serde_json::from_str(&told).unwrap_or(Value::Null);
    let _ = bot.kill();
    let _ = bot.wait();
    gateway.stop();
    case.fact(format!("pipecat-ai {}", seen["version"].as_str().unwrap_or("?")));
    case.check(seen["transport"] == "twilio", format!("takes us for {}", seen["transport"]));
    let frames = seen["frames"].as_u64().unwrap_or(0);
    case.check(frames * 20 >= (seconds - 2) * 1_000, format!("{frames} frames of 20 ms reached its pipeline"));
    // The framework gathers before it speaks; from then on it is the tone.
    let begin = heard.iter().position(|s| s.unsigned_abs() > 1_000).unwrap_or(heard.len());
    let windows = heard[begin..].chunks_exact(8_000);
    let mut shares: Vec<f64> = windows.map(|window| tone_share(window, TONE_HZ, 16_000)).collect();
    shares.sort_by(f64::total_cmp);
    let median = shares.get(shares.len() / 2).copied().unwrap_or(0.0);
    case.check(
        median > 0.9 && shares.len() as u64 >= 2 * (seconds - 4),
        format!("the caller hears its tone, share {median:.3}, in {} half seconds", shares.len()),
    );
    Ok(case.print())
}
