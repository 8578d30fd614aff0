//! str0m, a WebRTC stack in Rust, as an ICE-lite far end, for a minute each way: it offers, then it answers. We echo its tone.
//!
//! Decides: which figures are good enough. `tests/tests/direct_mode.rs` runs the same pair for seconds in every `cargo test`; here it runs long enough
//! for reports, consent and clock drift to matter. str0m has no telephone-event, so digits are left to other judges.

use std::time::Duration;

use tipring_tests::sound::tone_share;
use tipring_tests::str0m_peer::Str0mPeer;

use crate::Failure;
use crate::gateway::{Case, Gateway};

const TONE_HZ: f64 = 620.0;
const RATE_HZ: u32 = 16_000;

pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    let seconds = match arguments {
        [] => 60,
        [seconds] => seconds.parse().ok().filter(|&s| s >= 5).ok_or("str0m takes how many seconds (5 or more) each case lasts")?,
        _ => return Err("str0m takes at most one argument: how many seconds (5 or more) each case lasts".to_owned()),
    };
    let gateway = Gateway::start()?;
    let mut clean = true;
    for they_offer in [true, false] {
        let mut case = Case::new(if they_offer { "they offer" } else { "they answer" });
        if let Err(failure) = call(&gateway, they_offer, seconds, &mut case) {
            case.check(false, failure);
        }
        clean &= case.print();
    }
    gateway.stop();
    Ok(clean)
}

#[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
fn call(gateway: &Gateway, they_offer: bool, seconds: u64, case: &mut Case) -> Result<(), Failure> {
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
    std::thread::sleep(Duration::from_secs(seconds));
    let shown = gateway.session(&session)?;
    gateway.hang_up(&session)?;
    let traffic = peer.finish();
    let figure = |name: &str| shown["stats"][name].as_u64().unwrap_or(0);
    case.session(&shown);
    // The peer goes on for a moment after the figures were asked for.
    let (to_us, from_us) = (traffic.sent.saturating_sub(figure("rtp_in")), figure("rtp_out").saturating_sub(traffic.received.len() as u64));
    case.check(
        to_us <= 5 && from_us <= 5,
        format!("at most {to_us} lost of {} to us, {from_us} of {} from us", traffic.sent, figure("rtp_out")),
    );
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
