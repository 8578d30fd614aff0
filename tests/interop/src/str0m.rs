//! str0m, a WebRTC stack in Rust, as an ICE-lite far end, both ways at once: in one call it offers, in the other it answers. We echo its tone.
//!
//! Decides: which figures are good enough. `tests/tests/direct_mode.rs` runs the same pair for seconds in every `cargo test`; here it runs long enough
//! for reports and consent to matter, or as long as one asks. str0m has no telephone-event, so digits are left to other judges.

use std::time::Duration;

use tipring_tests::sound::tone_share;
use tipring_tests::str0m_peer::{Running, Str0mPeer};

use crate::Failure;
use crate::gateway::{Case, Gateway};

const TONE_HZ: f64 = 620.0;
const RATE_HZ: u32 = 16_000;
/// Four consent checks and ten reports of each side.
const SECONDS: u64 = 20;

pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    let seconds = match arguments {
        [] => SECONDS,
        [seconds] => seconds.parse().ok().filter(|&s| s >= 5).ok_or("str0m takes how many seconds (5 or more) each case lasts")?,
        _ => return Err("str0m takes at most one argument: how many seconds (5 or more) each case lasts".to_owned()),
    };
    let gateway = Gateway::start()?;
    let opened = [true, false].map(|they_offer| {
        let name = if they_offer { "they offer" } else { "they answer" };
        (Case::new(name), open(&gateway, they_offer))
    });
    if opened.iter().any(|(_, call)| call.is_ok()) {
        wait(Duration::from_secs(seconds));
    }
    let mut clean = true;
    for (mut case, call) in opened {
        if let Err(failure) = call.and_then(|call| judge(&gateway, call, seconds, &mut case)) {
            case.check(false, failure);
        }
        clean &= case.print();
    }
    gateway.stop();
    Ok(clean)
}

/// A call that is on.
struct Live {
    session: String,
    peer: Running,
}

#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn wait(span: Duration) {
    std::thread::sleep(span);
}

fn open(gateway: &Gateway, they_offer: bool) -> Result<Live, Failure> {
    let mut peer = Str0mPeer::default();
    let session = if they_offer {
        let (session, answer) = gateway.give_offer(peer.offer())?;
        peer.take_answer(&answer);
        session
    } else {
        let (session, offer) = gateway.ask_offer()?;
        gateway.give_answer(&session, peer.answer(&offer))?;
        session
    };
    let peer = peer.run(TONE_HZ);
    gateway.wait_open(&session)?;
    Ok(Live { session, peer })
}

fn judge(gateway: &Gateway, Live { session, peer }: Live, seconds: u64, case: &mut Case) -> Result<(), Failure> {
    // What we had sent when the peer stopped, and what of its packets came in the end.
    let before = gateway.session(&session)?;
    let traffic = peer.finish();
    wait(Duration::from_millis(300));
    let shown = gateway.session(&session)?;
    gateway.hang_up(&session)?;
    case.session(&shown);
    let figure = |of: &serde_json::Value, name: &str| of["stats"][name].as_u64().unwrap_or(0);
    let (came, left) = (figure(&shown, "rtp_in"), figure(&before, "rtp_out"));
    let (to_us, from_us) = (traffic.sent.saturating_sub(came), left.saturating_sub(traffic.received.len() as u64));
    case.check(to_us <= 5 && from_us <= 5, format!("at most {to_us} lost of {} to us, {from_us} of {left} from us", traffic.sent));
    case.check(traffic.jitter_us < 20_000.0, format!("jitter at str0m {:.2} ms", traffic.jitter_us / 1e3));
    let heard = traffic.heard();
    // The echo starts within the first second. Half a second is long against a period and short against a drift of clocks.
    let windows = heard.get(RATE_HZ as usize..).unwrap_or_default().chunks_exact(RATE_HZ as usize / 2);
    let mut shares: Vec<f64> = windows.map(|window| tone_share(window, TONE_HZ, RATE_HZ)).collect();
    shares.sort_by(f64::total_cmp);
    let at = |part: usize| shares.get(shares.len() * part / 100).copied().unwrap_or(0.0);
    case.check(
        at(50) > 0.9 && shares.len() as u64 >= 2 * (seconds - 3),
        format!("tone share median {:.3}, worst of twenty {:.3}", at(50), at(5)),
    );
    Ok(())
}
