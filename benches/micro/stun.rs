//! What does a consent check cost: written, and read with its integrity verified?

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tipring_engine::wire::stun::{Class, IntegrityKey, StunView, StunWriter, TransactionId};

fn write(out: &mut [u8], key: &IntegrityKey, id: u8) -> usize {
    let mut writer = StunWriter::new(out, Class::Request, TransactionId([id; 12]));
    writer.username("remoteremoteremo", "locallocallocall").priority(1_862_270_975).controlling(7).use_candidate();
    writer.finish(Some(key)).expect("room for a check")
}

fn check(c: &mut Criterion) {
    let key = IntegrityKey::new(b"a password of usual length");
    let mut out = [0; 300];
    c.bench_function("stun_write_check", |b| b.iter(|| black_box(write(&mut out, &key, 3))));
    let len = write(&mut out, &key, 3);
    c.bench_function("stun_read_check", |b| {
        b.iter(|| {
            let view = StunView::new_checked(black_box(&out[..len])).expect("our own check");
            view.authenticate(&key).expect("the right key");
            view.priority()
        });
    });
    c.bench_function("stun_refuse_wrong_key", |b| {
        let wrong = IntegrityKey::new(b"another password");
        b.iter(|| StunView::new_checked(black_box(&out[..len])).expect("our own check").authenticate(&wrong).is_err());
    });
}

criterion_group!(benches, check);
criterion_main!(benches);
