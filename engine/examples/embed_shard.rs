//! Level 2 of embedding: the host's own event loop turns a shard, between whatever else it does. One descriptor stands for all calls.
//!
//! ```text
//! cargo run --example embed_shard
//! ```
mod peer;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::Duration;
use tipring_engine::bridge::PromptEcho;
use tipring_engine::call::{CallEvent, SetupRole};
use tipring_engine::engine::{Engine, EngineConfig};
use tipring_engine::error::EndReason;
use tipring_engine::time::Span;

const CALLS: usize = 4;

fn main() {
    let callers: Vec<_> = (0..CALLS).map(|_| peer::caller(Duration::from_secs(1))).collect();
    let config = EngineConfig {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        allow_loopback: true,
        ports: 43_400..=43_499,
        ..EngineConfig::default()
    };
    let (engine, mut shards) = Engine::start_hosted(config, 1).expect("a host with an address");
    let shard = &mut shards[0];

    let mut calls = Vec::new();
    for caller in &callers {
        let (call, ours) = engine.open_call(SetupRole::Active, Box::new(PromptEcho::default())).expect("room for a call");
        caller.answer(&ours);
        engine.set_remote(call, caller.offer.clone()).expect("an offer that can work");
        calls.push(call);
    }

    let mut ended = 0;
    while ended < CALLS {
        // The host's own descriptors would stand beside ours.
        let wait = Timespec { tv_sec: 0, tv_nsec: shard.wait().as_nanos() as i64 };
        // Interrupted or timed out: a turn does no harm.
        let _ = poll(&mut [PollFd::new(shard, PollFlags::IN)], Some(&wait));
        shard.turn();
        while let Some((call, event)) = engine.next_event(Span::ZERO) {
            match event {
                CallEvent::MediaReady => engine.open_gate(call).expect("the call is there"),
                CallEvent::Ended(end) => {
                    println!("{call:?} {}: {} packets in, {} out", end.reason.code(), end.stats.rtp_in, end.stats.rtp_out);
                    assert!(end.reason == EndReason::HangUp && end.stats.rtp_in > 0);
                    ended += 1;
                }
                _ => {}
            }
        }
        for (call, _) in calls.iter().zip(&callers).filter(|(_, caller)| caller.call.is_finished()) {
            engine.close(*call, EndReason::HangUp).expect("room in the mailbox");
        }
    }
    for caller in callers {
        let heard = caller.call.join().expect("the caller");
        assert!(heard.sent > 0 && heard.received * 10 >= heard.sent * 9, "{heard:?}");
    }
    drop(engine);
    assert!(!shard.turn(), "the engine is gone, and the shard knows");
}

#[test]
fn it_carries_calls() {
    main();
}
