//! What does the jitter buffer cost per packet: one insert and one tick, in a steady stream and with one packet in twenty lost?

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tipring_engine::jitter::{JitterBuffer, JitterConfig, Playout};
use tipring_engine::time::{Span, Time};

fn stream(c: &mut Criterion, name: &str, lost_every: u64) {
    let mut buffer = JitterBuffer::new(JitterConfig::default());
    let (mut now, mut index, mut played) = (Time::ZERO + Span::from_millis(1), 0u64, 0u64);
    let payload = [0x48; 50];
    c.bench_function(name, |b| {
        b.iter(|| {
            index += 1;
            now += Span::from_millis(20);
            if index % lost_every != 0 {
                buffer.insert(7, index as u16, (index as u32).wrapping_mul(960), 960, black_box(&payload), now).expect("in order");
            }
            played += u64::from(matches!(buffer.tick(now), Playout::Packet { .. }));
        });
    });
    assert!(played > 0 || index < 100, "the stream was played");
}

fn jitter(c: &mut Criterion) {
    stream(c, "jitter_insert_and_tick", u64::MAX);
    stream(c, "jitter_insert_and_tick_5_percent_lost", 20);
}

criterion_group!(benches, jitter);
criterion_main!(benches);
