//! An operation list for the jitter buffer: packets, events and ticks in any order, with any header fields and any clock.

use crate::jitter::{JitterBuffer, JitterConfig, Playout};
use crate::limits::JITTER_SLOTS_MAX;
use crate::time::{Span, Time};

/// Runs `data` as operations of eight bytes each.
///
/// Panics if a tick does not end, if the buffer holds more than it may, or if it hands out bytes it was not given.
pub fn fuzz_jitter(data: &[u8]) {
    let mut buffer = JitterBuffer::new(JitterConfig::default());
    let (mut now, mut seq, mut timestamp) = (Time::ZERO, 0u16, 0u32);
    let payload: [u8; 1_276] = core::array::from_fn(|i| i as u8);
    for op in data.chunks_exact(8) {
        let (a, b, c) = (op[1], u16::from_le_bytes([op[2], op[3]]), u32::from_le_bytes([op[4], op[5], op[6], op[7]]));
        match op[0] % 8 {
            // A stream that goes on, with packets of any length.
            0..=2 => {
                let ticks = [120, 240, 480, 960, 960, 960, 1_920, 2_880, 5_760][usize::from(a) % 9];
                (seq, timestamp) = (seq.wrapping_add(1), timestamp.wrapping_add(ticks));
                let _ = buffer.insert(1, seq, timestamp, ticks, &payload[..usize::from(b) % 200], now);
            }
            // The same with any numbers at all.
            3 => {
                let _ = buffer.insert(u32::from(a % 3), b, c, c % 6_000, &payload[..usize::from(b) % 1_277], now);
            }
            4 => (seq, timestamp) = (b, c),
            5 => buffer.note_event(1, seq.wrapping_add(u16::from(a % 4)), timestamp, now),
            6 => now += Span::from_nanos(u64::from(c) << (a % 40)),
            _ => {
                for _ in 0..=a % 8 {
                    tick(&mut buffer, now);
                    now += Span::from_millis(20);
                }
            }
        }
        assert!(buffer.depth() <= JITTER_SLOTS_MAX);
    }
}

fn tick(buffer: &mut JitterBuffer, now: Time) {
    // 2.5 ms is the shortest packet: eight of them and one skip fill a tick.
    for _ in 0..9 {
        if let Playout::Packet { payload, .. } | Playout::Fec { payload, .. } = buffer.tick(now) {
            assert!(!payload.is_empty() && payload.iter().enumerate().all(|(i, &byte)| byte == i as u8));
        }
        if !buffer.is_owed() {
            return;
        }
    }
    panic!("a tick of more than nine calls");
}

#[test]
fn seeded_operation_lists() {
    use crate::rng::{Entropy, SeededRng};
    for seed in 0..2_000 {
        let mut data = [0; 1_600];
        SeededRng::new(seed).fill(&mut data);
        fuzz_jitter(&data);
    }
}
