//! FFmpeg as the far side of a relay: it says a tone to our plain RTP leg and writes down what the leg says, in Opus (passed through) and in G.711 and L16
//! (transcoded). str0m is on the WhatsApp side.
//!
//! Decides: which figures are good enough. FFmpeg sends and receives with different sockets, so each direction is a session of its own: symmetric RTP with a declared
//! address hears one address only, and that is the point.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tipring_engine::codec::SampleRate;
use tipring_signalling::audio::load_wav;
use tipring_tests::sound::typical_tone_share;
use tipring_tests::str0m_peer::{Running, Str0mPeer};

use crate::Failure;
use crate::gateway::{Case, Gateway};

/// What str0m says, and what FFmpeg says.
const THEIR_TONE_HZ: f64 = 700.0;
const FAR_TONE_HZ: f64 = 450.0;
/// How long each direction lasts.
const TALK: Duration = Duration::from_secs(8);

/// A codec of the leg, as FFmpeg and SDP name it.
struct Codec {
    name: &'static str,
    payload_type: u8,
    rtpmap: &'static str,
    encoder: &'static [&'static str],
}

const CODECS: &[Codec] = &[
    Codec {
        name: "opus",
        payload_type: 111,
        rtpmap: "opus/48000/2",
        encoder: &["-c:a", "libopus", "-ar", "48000", "-b:a", "24k", "-frame_duration", "20", "-application", "voip"],
    },
    Codec { name: "pcmu", payload_type: 0, rtpmap: "PCMU/8000", encoder: &["-c:a", "pcm_mulaw", "-ar", "8000"] },
    Codec { name: "pcma", payload_type: 8, rtpmap: "PCMA/8000", encoder: &["-c:a", "pcm_alaw", "-ar", "8000"] },
    Codec { name: "l16/16000", payload_type: 96, rtpmap: "L16/16000", encoder: &["-c:a", "pcm_s16be", "-ar", "16000"] },
];

pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    let names: Vec<&str> = CODECS.iter().map(|c| c.name).collect();
    if let Some(unknown) = arguments.iter().find(|a| !names.contains(&a.as_str())) {
        return Err(format!("{unknown:?} is no codec of a leg; there are {}", names.join(", ")));
    }
    let gateway = Gateway::start()?;
    let mut clean = true;
    for codec in CODECS.iter().filter(|c| arguments.is_empty() || arguments.iter().any(|a| a == c.name)) {
        for (title, direction) in [("hears", listen as fn(&Gateway, &Codec, &mut Case) -> Result<(), Failure>), ("speaks", speak)] {
            let mut case = Case::new(&format!("{} {title}", codec.name));
            if let Err(failure) = direction(&gateway, codec, &mut case) {
                case.check(false, failure);
            }
            clean &= case.print();
        }
    }
    gateway.stop();
    Ok(clean)
}

/// A session whose far side is at `port`; str0m talks. Gives its address, where the far side sends, and str0m.
fn session(gateway: &Gateway, codec: &Codec, port: u16) -> Result<(String, String, Running), Failure> {
    let mut peer = Str0mPeer::default();
    let rtp = json!({ "remote": format!("127.0.0.1:{port}"), "codec": codec.name, "payload_type": codec.payload_type });
    let (session, made) = gateway.give_offer_bridged(peer.offer(), &json!({ "rtp": rtp }))?;
    peer.take_answer(made["sdp"].as_str().ok_or_else(|| format!("no answer in {made}"))?);
    let local = made["rtp"]["local"].as_str().ok_or_else(|| format!("no leg in {made}"))?.to_owned();
    Ok((session, local, peer.run(THEIR_TONE_HZ)))
}

/// FFmpeg writes down what the leg says.
fn listen(gateway: &Gateway, codec: &Codec, case: &mut Case) -> Result<(), Failure> {
    let port = free_port()?;
    let place = scratch()?;
    let (sdp, wav) = (place.join("far.sdp"), place.join("far.wav"));
    let mut text = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {}\r\n",
        codec.payload_type
    );
    let _ = write!(text, "a=rtpmap:{} {}\r\n", codec.payload_type, codec.rtpmap);
    std::fs::write(&sdp, text).map_err(|e| format!("{}: {e}", sdp.display()))?;
    let (session, _, peer) = session(gateway, codec, port)?;
    let seconds = TALK.as_secs().to_string();
    let mut command = Command::new("ffmpeg");
    command.args(["-y", "-protocol_whitelist", "file,udp,rtp", "-fflags", "nobuffer", "-i"]).arg(&sdp);
    command.args(["-t", &seconds, "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le"]).arg(&wav);
    let mut ffmpeg = start(command)?;
    gateway.wait_open(&session)?;
    let ended = wait(&mut ffmpeg, TALK + Duration::from_secs(20));
    let shown = gateway.session(&session)?;
    gateway.hang_up(&session)?;
    peer.finish();
    ended?;
    case.session(&shown);
    let far = &shown["stats"]["far"];
    case.fact(format!("leg out {}", far["rtp_out"]));
    let heard = load_wav(&wav, SampleRate::Hz16000).map_err(|e| e.to_string())?;
    let share = typical_tone_share(heard.get(16_000..).unwrap_or_default(), THEIR_TONE_HZ, 16_000);
    case.check(share > 0.9 && heard.len() > 4 * 16_000, format!("tone share at ffmpeg {share:.3} over {:.1} s", heard.len() as f64 / 16e3));
    Ok(())
}

/// FFmpeg says a tone to the leg.
#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn speak(gateway: &Gateway, codec: &Codec, case: &mut Case) -> Result<(), Failure> {
    let port = free_port()?;
    let (session, local, peer) = session(gateway, codec, port)?;
    let mut command = Command::new("ffmpeg");
    let source = format!("sine=frequency={FAR_TONE_HZ}:sample_rate=48000");
    command.args(["-re", "-f", "lavfi", "-i", &source, "-t", "12", "-ac", "1"]).args(codec.encoder);
    // 20 ms a packet: what the muxer fills at this rate.
    command.args(["-payload_type", &codec.payload_type.to_string(), "-f", "rtp"]);
    command.args(["-max_delay", "20000"]).arg(format!("rtp://{local}?localrtpport={port}"));
    let mut ffmpeg = start(command)?;
    gateway.wait_open(&session)?;
    std::thread::sleep(TALK);
    let shown = gateway.session(&session)?;
    let _ = ffmpeg.kill();
    let _ = ffmpeg.wait();
    gateway.hang_up(&session)?;
    let (heard, packets) = peer.stop();
    case.session(&shown);
    let far = &shown["stats"]["far"];
    case.check(far["rtp_in"].as_u64().unwrap_or(0) > 100, format!("leg in {}, drops {}", far["rtp_in"], far["drops"]));
    let share = typical_tone_share(heard.get(32_000..).unwrap_or_default(), FAR_TONE_HZ, 16_000);
    case.check(share > 0.9 && packets > 200, format!("tone share at str0m {share:.3} in {packets} packets"));
    Ok(())
}

fn start(mut command: Command) -> Result<Child, Failure> {
    command.args(["-loglevel", "error"]).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().map_err(|e| format!("ffmpeg does not start: {e}"))
}

/// Waits for a program to end by itself, and ends it if it does not.
#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn wait(child: &mut Child, patience: Duration) -> Result<(), Failure> {
    let begun = std::time::Instant::now();
    while begun.elapsed() < patience {
        if let Ok(Some(status)) = child.try_wait() {
            return if status.success() { Ok(()) } else { Err(format!("ffmpeg ended with {status}")) };
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
    Err("ffmpeg heard nothing for so long that it was ended".to_owned())
}

/// An even port that nobody uses now: FFmpeg takes the one above for RTCP.
fn free_port() -> Result<u16, Failure> {
    for _ in 0..50 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").map_err(|e| format!("no port: {e}"))?;
        let port = socket.local_addr().map_err(|e| format!("no port: {e}"))?.port();
        if port % 2 == 0 && std::net::UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
    Err("no pair of free ports".to_owned())
}

fn scratch() -> Result<PathBuf, Failure> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders down").join("target/interop/rtp");
    std::fs::create_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
    Ok(place)
}
