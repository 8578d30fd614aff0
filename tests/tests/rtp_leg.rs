//! A relay over real sockets on loopback: str0m on the WhatsApp side, a plain RTP peer on the other, our engine between them. Tones go both ways; the plain side sees
//! unbroken sequence numbers, str0m the tone of the plain side.

#![allow(clippy::disallowed_methods, reason = "real sockets run on the wall clock; nothing is asserted about it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tipring_engine::bridge::PromptEcho;
use tipring_engine::bridge::rtp::{RtcpPort, RtpLegParams};
use tipring_engine::call::{CallEvent, Ended};
use tipring_engine::engine::{Engine, EngineConfig};
use tipring_engine::error::{DropReason, EndReason};
use tipring_engine::time::Span;
use tipring_signalling::sdp;
use tipring_tests::rtp_peer::RtpPeer;
use tipring_tests::sound::typical_tone_share;
use tipring_tests::str0m_peer::{Running, Str0mPeer};

const THEIR_TONE_HZ: f64 = 700.0;
const FAR_TONE_HZ: f64 = 450.0;
const TALK: Duration = Duration::from_secs(3);

fn engine() -> Engine {
    let config = EngineConfig {
        addresses: vec!["127.0.0.1".parse().expect("an address")],
        allow_loopback: true,
        ports: 42_800..=43_199,
        rtp_targets: vec!["127.0.0.0/8".parse().expect("a range")],
        ..EngineConfig::default()
    };
    Engine::start(config).expect("an engine")
}

/// Sets a call up with str0m; the port is silent until one is attached.
fn call(engine: &Engine) -> (tipring_engine::engine::CallId, Running) {
    let mut peer = Str0mPeer::default();
    let remote = sdp::read_offer(&peer.offer()).expect("str0m's offer is one we can answer");
    let (call, local) = engine.open_call(sdp::our_role(remote.params.role), Box::new(PromptEcho::default())).expect("a call");
    peer.take_answer(&sdp::write_answer(&remote, &local, 1));
    engine.set_remote(call, remote.params).expect("the peer is usable");
    engine.open_gate(call).expect("the gate");
    (call, peer.run(THEIR_TONE_HZ))
}

/// Talks for a while after the keys are there, then hangs up.
fn talk(engine: &Engine, call: tipring_engine::engine::CallId) -> Ended {
    let begun = Instant::now();
    let mut connected = None;
    let mut closing = false;
    while begun.elapsed() < Duration::from_secs(30) {
        match engine.next_event(Span::from_millis(50)) {
            Some((_, CallEvent::DtlsConnected { .. })) => connected = Some(Instant::now()),
            Some((_, CallEvent::Ended(ended))) => return *ended,
            _ => {}
        }
        if !closing && connected.is_some_and(|at| at.elapsed() > TALK) {
            closing = true;
            engine.close(call, EndReason::HangUp).expect("closed");
        }
    }
    panic!("the call never ended");
}

fn relay(rtcp: RtcpPort) {
    let engine = engine();
    let (call, str0m) = call(&engine);
    let peer = RtpPeer::bind();
    let params = RtpLegParams { rtcp, ..RtpLegParams::opus(peer.address()) };
    let local = engine.attach_rtp(call, params, |leg| leg).expect("a leg");
    assert_eq!(local.rtcp.port() - local.rtp.port(), u16::from(rtcp == RtcpPort::Next));
    let peer = peer.run_opus(local.rtp, FAR_TONE_HZ);
    let ended = talk(&engine, call);
    let (heard, packets) = str0m.stop();
    let far = peer.stop();

    assert_eq!(ended.reason, EndReason::HangUp, "{:?}", ended.flight_recorder);
    let stats = ended.stats.far.as_ref().expect("figures of the leg");
    assert!(heard.len() > 2 * 16_000, "str0m received {packets} packets; {:?}", ended.stats);
    let share = typical_tone_share(&heard[16_000..], FAR_TONE_HZ, 16_000);
    assert!(share > 0.9, "str0m hears {share:.3} of the far side's tone; {stats:?}");

    let pcm = far.heard();
    assert!(pcm.len() > 2 * 16_000, "the far side received {} packets; {stats:?}", far.packets.len());
    let share = typical_tone_share(&pcm[8_000..], THEIR_TONE_HZ, 16_000);
    assert!(share > 0.9, "the far side hears {share:.3} of str0m's tone");
    assert_eq!(far.jumps(), 0, "sequence numbers of the leg are unbroken when the source's are");
    assert!(stats.rtcp_out >= 1 && stats.drops.of(DropReason::MediaWrongSource) == 0, "{stats:?}");
    assert_eq!(ended.stats.drops.of(DropReason::Auth), 0);
}

//= meta#R-09 type=test
//= meta#R-17 type=test
#[test]
fn opus_goes_through_both_ways_with_rtcp_on_one_port() {
    relay(RtcpPort::Mux);
}

#[test]
fn opus_goes_through_both_ways_with_rtcp_on_the_next_port() {
    relay(RtcpPort::Next);
}

//= meta#R-10 type=test
#[test]
fn plain_rtp_goes_nowhere_unless_it_is_told_where_it_may() {
    let config = EngineConfig {
        addresses: vec!["127.0.0.1".parse().expect("an address")],
        allow_loopback: true,
        ports: 43_200..=43_209,
        ..EngineConfig::default()
    };
    let engine = Arc::new(Engine::start(config).expect("an engine"));
    let (call, _) = engine.open_call(tipring_engine::call::SetupRole::ActPass, Box::new(PromptEcho::default())).expect("a call");
    let params = RtpLegParams::opus("127.0.0.1:4000".parse().expect("an address"));
    let refused = engine.attach_rtp(call, params, |leg| leg).expect_err("no target is configured");
    assert!(refused.to_string().contains("R-10"), "{refused}");
}

//= meta#R-18 type=test
#[test]
fn an_echo_that_waits_for_nothing_gives_every_word_back() {
    let engine = engine();
    let (call, str0m) = call(&engine);
    let ended = talk(&engine, call);
    let (heard, packets) = str0m.stop();
    assert!(heard.len() > 2 * 16_000, "str0m received {packets} packets");
    let share = typical_tone_share(&heard[16_000..], THEIR_TONE_HZ, 16_000);
    assert!(share > 0.9, "str0m hears {share:.3} of its own tone; {:?}", ended.stats);
    assert_eq!(ended.stats.jitter.played, 0, "nothing went through the jitter buffer");
}
