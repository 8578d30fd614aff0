//! What does SRTP cost per packet of 20 ms Opus: in one call whose keys are in cache, and round robin over 4,096 calls whose keys are not?

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tipring_engine::keying::Profile;
use tipring_engine::srtp::{Receiver, Sender};
use tipring_engine::wire::rtp::RtpHeader;

const PROFILES: [Profile; 4] = [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];
/// 20 kb/s: 50 bytes and the header.
const PACKET_BYTES: usize = 12 + 50;
const CALLS: usize = 4_096;

fn key(call: usize) -> ([u8; 32], [u8; 14]) {
    let (mut key, mut salt) = ([0x11; 32], [0x22; 14]);
    key[..8].copy_from_slice(&(call as u64).to_le_bytes());
    salt[..8].copy_from_slice(&(call as u64).to_le_bytes());
    (key, salt)
}

fn sender(profile: Profile, call: usize) -> Sender {
    let (key, salt) = key(call);
    Sender::new(profile, &key[..profile.key_bytes()], &salt[..profile.salt_bytes()])
}

fn receiver(profile: Profile, call: usize) -> Receiver {
    let (key, salt) = key(call);
    Receiver::new(profile, &key[..profile.key_bytes()], &salt[..profile.salt_bytes()])
}

fn packet(seq: u32) -> [u8; 100] {
    let mut packet = [0x5a; 100];
    let header = RtpHeader { payload_type: 111, marker: false, seq: seq as u16, timestamp: seq.wrapping_mul(960), ssrc: 7 };
    header.emit(packet.first_chunk_mut().expect("a hundred bytes"));
    packet
}

/// Sends in the order of sequence numbers through `calls` senders in turn.
fn protect(c: &mut Criterion, name: &str, calls: usize) {
    let mut group = c.benchmark_group(name);
    for profile in PROFILES {
        let mut senders: Vec<Sender> = (0..calls).map(|call| sender(profile, call)).collect();
        let mut turn = 0usize;
        group.bench_function(format!("{profile:?}"), |b| {
            b.iter(|| {
                let mut buffer = packet((turn / calls) as u32);
                let len = senders[turn % calls].protect_rtp(&mut buffer, PACKET_BYTES);
                turn += 1;
                black_box((buffer, len.expect("room for the trailer")))
            });
        });
    }
    group.finish();
}

/// Receives what fresh senders made; making it is not measured.
fn unprotect(c: &mut Criterion, name: &str, calls: usize) {
    let mut group = c.benchmark_group(name);
    for profile in PROFILES {
        let mut senders: Vec<Sender> = (0..calls).map(|call| sender(profile, call)).collect();
        let mut receivers: Vec<Receiver> = (0..calls).map(|call| receiver(profile, call)).collect();
        let (mut made, mut turn) = (0usize, 0usize);
        group.bench_function(format!("{profile:?}"), |b| {
            b.iter_batched(
                || {
                    let mut buffer = packet((made / calls) as u32);
                    let len = senders[made % calls].protect_rtp(&mut buffer, PACKET_BYTES).expect("room for the trailer");
                    made += 1;
                    (buffer, len)
                },
                |(mut buffer, len)| {
                    let plain = receivers[turn % calls].unprotect_rtp(&mut buffer[..len]);
                    turn += 1;
                    assert_eq!(plain, Ok(PACKET_BYTES));
                    buffer
                },
                BatchSize::NumIterations(1_000),
            );
        });
    }
    group.finish();
}

fn hot(c: &mut Criterion) {
    protect(c, "protect_hot", 1);
    unprotect(c, "unprotect_hot", 1);
}

fn round_robin(c: &mut Criterion) {
    protect(c, "protect_4096_calls", CALLS);
    unprotect(c, "unprotect_4096_calls", CALLS);
}

criterion_group!(benches, hot, round_robin);
criterion_main!(benches);
