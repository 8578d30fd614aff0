//! What does a whole packet cost a connected call: a datagram in, a tick, a datagram out, relayed and decoded?
//!
//! The wire and the simulator at its other end are not measured: the clock runs only inside of the call's own functions.

#![allow(clippy::disallowed_methods, reason = "an instrument reads the clock and waits for its processes")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use tipring_benches::{Nobody, Observer, Relayed, Step, Wire};
use tipring_engine::bridge::Echo;
use tipring_engine::call::MediaPort;
use tipring_engine::keying::Profile;
use tipring_engine::time::Span;

/// Time spent in one kind of step.
struct Watch {
    kind: Step,
    took: Duration,
}

impl Observer for Watch {
    fn step<T>(&mut self, kind: Step, run: impl FnOnce() -> T) -> T {
        if kind != self.kind {
            return run();
        }
        let start = Instant::now();
        let value = run();
        self.took += start.elapsed();
        value
    }
}

fn frames(c: &mut Criterion, name: &str, port: impl Fn() -> Box<dyn MediaPort>, profile: Profile) {
    for kind in [Step::Receive, Step::Tick, Step::Send] {
        let mut wire = Wire::new(port(), profile, &mut Nobody);
        wire.connect(&mut Nobody);
        wire.run(Span::from_secs(12), &mut Nobody);
        // Per frame of 20 ms: a datagram in; a tick; a datagram out and the question that finds nothing more.
        c.bench_function(&format!("{name}_{kind:?}_{profile:?}"), |b| {
            b.iter_custom(|count| {
                let mut watch = Watch { kind, took: Duration::ZERO };
                wire.run(Span::from_millis(20 * count), &mut watch);
                watch.took
            });
        });
    }
}

fn call(c: &mut Criterion) {
    frames(c, "relay", || Box::<Relayed>::default(), Profile::AeadAes128Gcm);
    frames(c, "relay", || Box::<Relayed>::default(), Profile::Aes128CmSha1_80);
    frames(c, "echo", || Box::<Echo>::default(), Profile::AeadAes128Gcm);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = call
}
criterion_main!(benches);
