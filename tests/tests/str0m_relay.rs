//! A foreign judge: str0m as an ICE-lite relay with a DTLS server, over real sockets on loopback. It offers, we answer, tones go both ways and are found by
//! correlation; with AES-CM and with AES-GCM. It reads our SDP, answers our checks, and decrypts our SRTP with code that none of us wrote.

#![allow(clippy::disallowed_methods, reason = "str0m is driven by the wall clock over real sockets; nothing is asserted about it")]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tipring_engine::bridge::Play;
use tipring_engine::call::{CallEvent, Ended, FrameBuffer, Incoming, MediaPort, Outgoing};
use tipring_engine::codec::SampleRate;
use tipring_engine::engine::{Engine, EngineConfig};
use tipring_engine::error::EndReason;
use tipring_engine::keying::Profile;
use tipring_engine::time::Span;
use tipring_signalling::sdp;
use tipring_tests::sound::{tone, typical_tone_share};
use tipring_tests::str0m_peer::Str0mPeer;

const OUR_TONE_HZ: f64 = 440.0;
const THEIR_TONE_HZ: f64 = 700.0;
/// How long tones are exchanged.
const TALK: Duration = Duration::from_secs(3);

/// Plays our tone and keeps what is heard.
struct Ends {
    tone: Play,
    heard: mpsc::Sender<Vec<i16>>,
}

impl MediaPort for Ends {
    fn wants_pcm(&self) -> Option<SampleRate> {
        Some(SampleRate::Hz16000)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Pcm { samples, heard: true } = frame {
            let _ = self.heard.send(samples.to_vec());
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.tone.outgoing(frame)
    }
}

fn call_with(profile: Profile) {
    let mut peer = Str0mPeer::default();
    let offer = peer.offer();
    let remote = sdp::read_offer(&offer).expect("str0m's offer is one we can answer");
    let (heard_tx, heard_rx) = mpsc::channel();
    let ends = Ends { tone: Play::new(tone(OUR_TONE_HZ, 16_000, 10.0).into(), SampleRate::Hz16000), heard: heard_tx };
    let config = EngineConfig {
        addresses: vec!["127.0.0.1".parse().expect("an address")],
        allow_loopback: true,
        ports: 42_000..=42_399,
        profiles: vec![profile],
        ..EngineConfig::default()
    };
    let engine = Engine::start(config).expect("an engine");
    let (call, local) = engine.open_call(sdp::our_role(remote.params.role), Box::new(ends)).expect("a call");
    let answer = sdp::write_answer(&remote, &local, 1);
    peer.take_answer(&answer);
    engine.set_remote(call, remote.params).expect("the peer is usable");
    engine.open_gate(call).expect("the gate");

    let judge = peer.run(THEIR_TONE_HZ);

    let mut ended: Option<Ended> = None;
    let mut connected = None;
    let begun = Instant::now();
    let mut closing = false;
    while ended.is_none() && begun.elapsed() < Duration::from_secs(30) {
        match engine.next_event(Span::from_millis(50)) {
            Some((_, CallEvent::DtlsConnected { profile })) => connected = Some((profile, Instant::now())),
            Some((_, CallEvent::Ended(end))) => ended = Some(*end),
            _ => {}
        }
        if !closing && connected.is_some_and(|(_, at)| at.elapsed() > TALK) {
            closing = true;
            engine.close(call, EndReason::HangUp).expect("closed");
        }
    }
    let ended = ended.expect("the call ended");
    assert_eq!(ended.reason, EndReason::HangUp, "{:?}", ended.flight_recorder);
    assert_eq!(connected.map(|(p, _)| p), Some(profile), "the profile we offered is the one in use");

    // What str0m heard of us: at least two seconds of packets, our tone in them.
    let (theirs, packets) = judge.stop();
    assert!(theirs.len() > 2 * 16_000, "str0m received {packets} packets");
    let share = typical_tone_share(&theirs[8_000..], OUR_TONE_HZ, 16_000);
    assert!(share > 0.9, "str0m hears {share:.3} of our tone");

    // What we heard of str0m.
    let ours: Vec<i16> = heard_rx.try_iter().flatten().collect();
    assert!(ours.len() > 2 * 16_000, "we heard {} samples; {:?}", ours.len(), ended.stats);
    let share = typical_tone_share(&ours[8_000..], THEIR_TONE_HZ, 16_000);
    assert!(share > 0.9, "we hear {share:.3} of str0m's tone");
    assert_eq!(ended.stats.drops.of(tipring_engine::error::DropReason::Auth), 0);
}

#[test]
fn tones_both_ways_with_aes_gcm() {
    call_with(Profile::AeadAes128Gcm);
}

//= rfc5764#section-4.1.2 type=test
#[test]
fn tones_both_ways_with_aes_cm() {
    call_with(Profile::Aes128CmSha1_80);
}
