//! Level 3 of embedding: the engine's own threads carry the calls, the host hears events; its audio is an object that is asked once per 20 ms.
//!
//! ```text
//! cargo run --example embed_engine
//! ```

mod peer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tipring_engine::call::{CallEvent, FrameBuffer, Incoming, MediaPort, Outgoing, SetupRole};
use tipring_engine::codec::SampleRate;
use tipring_engine::engine::{Engine, EngineConfig};
use tipring_engine::error::EndReason;
use tipring_engine::time::Span;

/// The host's end of the audio: hears 16 kHz, hums 440 Hz. It runs on the shard's thread: no lock, no allocation, no waiting.
struct Hum {
    at: u32,
    frames_heard: Arc<AtomicU64>,
}

impl MediaPort for Hum {
    fn wants_pcm(&self) -> Option<SampleRate> {
        Some(SampleRate::Hz16000)
    }

    fn speaks_pcm(&self) -> Option<SampleRate> {
        Some(SampleRate::Hz16000)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Pcm { heard: true, .. } = frame {
            self.frames_heard.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        for sample in &mut frame.pcm[..SampleRate::Hz16000.frame_samples()] {
            let phase = self.at as f32 * 440.0 / 16_000.0;
            *sample = (phase.fract() * std::f32::consts::TAU).sin().mul_add(6_000.0, 0.0) as i16;
            self.at = (self.at + 1) % 16_000;
        }
        Outgoing::Pcm(SampleRate::Hz16000)
    }
}

fn main() {
    let caller = peer::caller(Duration::from_secs(1));
    let config = EngineConfig {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        allow_loopback: true,
        ports: 43_500..=43_599,
        ..EngineConfig::default()
    };
    let engine = Engine::start(config).expect("a host with an address");
    let frames_heard = Arc::new(AtomicU64::new(0));
    let audio = Hum { at: 0, frames_heard: Arc::clone(&frames_heard) };
    let (call, ours) = engine.open_call(SetupRole::Active, Box::new(audio)).expect("room for a call");
    caller.answer(&ours);
    engine.set_remote(call, caller.offer.clone()).expect("an offer that can work");
    loop {
        match engine.next_event(Span::from_millis(50)) {
            Some((id, CallEvent::MediaReady)) => engine.open_gate(id).expect("the call is there"),
            Some((_, CallEvent::Ended(ended))) => {
                println!("{}: {} packets in, {} out", ended.reason.code(), ended.stats.rtp_in, ended.stats.rtp_out);
                assert!(ended.stats.rtp_out > 0 && frames_heard.load(Ordering::Relaxed) > 0);
                return;
            }
            _ if caller.call.is_finished() => engine.close(call, EndReason::HangUp).expect("room in the mailbox"),
            _ => {}
        }
    }
}

#[test]
fn it_carries_a_call() {
    main();
}
