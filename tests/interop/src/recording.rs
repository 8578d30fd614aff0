//! A recording whose daemon is killed in mid-call: FFmpeg must play it to its last second, and its packets must be those of the wire. str0m is on the WhatsApp side.
//!
//! Decides: how much may be missing. The daemon is this program once more, in a process of its own, so that there is something to kill.

use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tipring_signalling::audio::read_ogg_opus;
use tipring_signalling::config::RecordConfig;
use tipring_tests::sound::typical_tone_share;
use tipring_tests::str0m_peer::Str0mPeer;

use crate::Failure;
use crate::gateway::{Case, Gateway};

const TONE_HZ: f64 = 700.0;
const TALK: Duration = Duration::from_secs(8);
/// What may be missing at the end: a page of Ogg and a flush of the WAV are one second, the recorder's thread comes now and then, the machine may be busy.
const MISSING_S_MAX: f64 = 1.5;

pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    match arguments {
        [] => judge(),
        [word, place] if word == "--daemon" => serve(Path::new(place)),
        _ => Err("the judge of recordings takes no arguments".to_owned()),
    }
}

/// The daemon's process: says where it listens, and records until it is killed.
fn serve(place: &Path) -> Result<bool, Failure> {
    let record = RecordConfig { directory: place.to_owned(), ogg: true, wav: true };
    let (_daemon, base) = Gateway::daemon(|config| config.record = Some(record))?;
    println!("{base}");
    // Until the judge is gone as well.
    let _ = std::io::stdin().read_line(&mut String::new());
    Ok(true)
}

#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn judge() -> Result<bool, Failure> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders down").join("target/interop/recording");
    // What an earlier run left; it may also not be there.
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
    let (mut daemon, base) = start(&place)?;
    let gateway = Gateway::at(base)?;
    let mut peer = Str0mPeer::default();
    let body = json!({ "sdp": peer.offer(), "gate": "open", "bridge": { "kind": "echo", "record": true } });
    let (session, made) = gateway.give_offer_in(&body)?;
    peer.take_answer(made["sdp"].as_str().ok_or_else(|| format!("no answer in {made}"))?);
    let peer = peer.run(TONE_HZ);
    gateway.wait_open(&session)?;
    std::thread::sleep(TALK);
    let shown = gateway.session(&session)?;
    daemon.kill().and_then(|()| daemon.wait()).map_err(|e| format!("the daemon cannot be killed: {e}"))?;
    let traffic = peer.finish();

    let mut clean = true;
    for (suffix, wire) in [("-caller.opus", Some(&traffic.spoken)), ("-ours.opus", Some(&traffic.received)), (".wav", None)] {
        let mut case = Case::new(suffix.trim_start_matches(['-', '.']));
        case.session(&shown);
        if let Err(failure) = find(&place, suffix).and_then(|path| file(&path, wire, &mut case)) {
            case.check(false, failure);
        }
        clean &= case.print();
    }
    Ok(clean)
}

fn start(place: &Path) -> Result<(Child, String), Failure> {
    let me = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
    let mut command = Command::new(me);
    command.args(["recording", "--daemon"]).arg(place).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("the daemon does not start: {e}"))?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // The judge's own headline comes first.
    let base = lines.find_map(|line| line.ok().filter(|line| line.starts_with("http://")));
    Ok((child, base.ok_or("the daemon ended before it listened; its reason is above")?))
}

fn find(place: &Path, suffix: &str) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(place).map_err(|e| format!("{}: {e}", place.display()))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.to_string_lossy().ends_with(suffix)).ok_or_else(|| format!("no recording ends with {suffix}"))
}

/// Plays one file in FFmpeg, and compares its packets with the wire's.
fn file(path: &Path, wire: Option<&Vec<Vec<u8>>>, case: &mut Case) -> Result<(), Failure> {
    let mut command = Command::new("ffmpeg");
    command.args(["-loglevel", "error", "-i"]).arg(path).args(["-ac", "1", "-ar", "16000", "-f", "s16le", "-"]);
    let played = command.stdin(Stdio::null()).output().map_err(|e| format!("ffmpeg does not start: {e}"))?;
    let pcm: Vec<i16> = played.stdout.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    let seconds = pcm.len() as f64 / 16_000.0;
    let missing = TALK.as_secs_f64() - seconds;
    case.check(played.status.success() && missing < MISSING_S_MAX, format!("ffmpeg plays {seconds:.2} of {} s", TALK.as_secs()));
    let share = typical_tone_share(pcm.get(8_000..).unwrap_or_default(), TONE_HZ, 16_000);
    case.check(share > 0.9, format!("tone share {share:.3}"));
    if let Some(wire) = wire {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let file = read_ogg_opus(Cursor::new(bytes)).map_err(|e| format!("{}: {e}", path.display()))?;
        let packets: Vec<&[u8]> = file.packets.iter().map(|(packet, _)| packet.as_slice()).collect();
        let same = in_common(&packets, wire);
        case.check(same * 100 >= packets.len() * 98, format!("{same} of {} packets as on the wire", packets.len()));
    }
    Ok(())
}

/// Packets that both have, in the same order. A busy machine may have lost one on the way to the peer: then both go on from the nearest place where they agree.
fn in_common(packets: &[&[u8]], wire: &[Vec<u8>]) -> usize {
    let (mut a, mut b, mut same) = (0, 0, 0);
    while a < packets.len() && b < wire.len() {
        let agree = |(x, y): &(usize, usize)| packets.get(a + x).is_some_and(|p| wire.get(b + y).is_some_and(|w| *p == w.as_slice()));
        let nearest = (0..=ASTRAY_MAX).flat_map(|sum| (0..=sum).map(move |x| (x, sum - x))).find(agree);
        let Some((x, y)) = nearest else { return same };
        (a, b, same) = (a + x + 1, b + y + 1, same + 1);
    }
    same
}

/// Packets in a row that only one side may know: those before the keys, for example.
const ASTRAY_MAX: usize = 50;
