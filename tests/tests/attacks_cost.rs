//! What floods cost, in virtual time: no memory, and little of a processor. The victim's call must go on.

#[allow(dead_code, reason = "shared with attacks.rs")]
#[path = "attacks/line.rs"]
mod line;

use std::time::Duration;
use tipring_benches::counting::{Counting, allocations, held_bytes, watch};
use tipring_tests::process::resident_bytes;

use line::{Line, Seen, from_relay, from_stranger, peace};
use tipring_engine::error::DropReason;
use tipring_engine::keying::Profile;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::Span;
use tipring_tests::world::CpuClock;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Of flood.
const SECONDS: u32 = 10;
/// Packets of a second of the flood that is promised to be cheap.
const FLOOD: usize = 50_000;
/// A fifth of a second of processor time for them: 4 us each.
const BUDGET: Duration = Duration::from_millis(200);

/// Garbage of every kind there is: noise, checks with a wrong HMAC, RTP and RTCP with a wrong tag, handshakes and alerts from nobody.
fn garbage(line: &Line) -> Vec<Vec<u8>> {
    let mut rng = SeededRng::new(50);
    let last = line.seen.last_rtp.clone().expect("the relay has spoken");
    let check = line.seen.last_check.clone().expect("we have checked");
    let mut kinds: Vec<Vec<u8>> = Vec::new();
    for n in 0..64u8 {
        let mut noise = vec![0; 1 + rng.below(1_400) as usize];
        rng.fill(&mut noise);
        let mut forged = last.clone();
        forged[3] = forged[3].wrapping_add(n);
        *forged.last_mut().expect("a tag") ^= 1;
        let mut other = forged.clone();
        other[8..12].copy_from_slice(&rng.u32().to_be_bytes());
        let rtcp = [&[0x81, 200 + n % 7, 0, 12][..], &noise[..noise.len().min(60)], &[0x80, 0, 0, n]].concat();
        let mut stun = check.clone();
        stun[8] ^= n | 1;
        let mut answer = stun.clone();
        answer[0] = 1;
        let hello = [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, n, 0, 60][..], &[1; 60]].concat();
        let sealed = [&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, n, 0, 40][..], &[n; 40]].concat();
        kinds.extend([noise, forged, other, rtcp, stun, answer, hello, sealed]);
    }
    kinds
}

/// G5: 50,000 packets of garbage a second cost less than a fifth of a core and no memory, from a stranger or from the relay's own address.
//= rules#G5 type=test
#[test]
fn garbage_flood() {
    watch();
    for (profile, name) in [(Profile::AeadAes128Gcm, "GCM"), (Profile::Aes128CmSha1_80, "CM")] {
        let (mut line, remote) = Line::new(9, profile);
        line.introduce(remote);
        line.connect(&mut peace);
        // Until the TLS object is gone and everything lazy was made.
        line.run(Span::from_secs(12), &mut peace);
        let kinds = garbage(&line);
        let mut copy = [0; 2_048];
        for (who, path) in [("a stranger", from_stranger()), ("the relay's address", from_relay())] {
            // The kernel's account moves in steps of milliseconds: ten seconds of flood are long enough for it.
            let mut used = Duration::ZERO;
            for _ in 0..SECONDS {
                let (held, count) = (held_bytes(), allocations());
                let dropped = line.stats().drops.total();
                let stats_cost = allocations() - count;
                let clock = CpuClock::start();
                for n in 0..FLOOD {
                    let packet = &kinds[n % kinds.len()];
                    copy[..packet.len()].copy_from_slice(packet);
                    line.call.handle_datagram(path, &mut copy[..packet.len()], line.now);
                }
                used += clock.map(CpuClock::used).unwrap_or_default();
                // Reading the clock opens a file: that and the figures are all that may be allocated.
                assert!(allocations() - count <= stats_cost + 16, "{name}, {who}: {} allocations", allocations() - count);
                assert!((held_bytes() - held).abs() <= 4_096, "{name}, {who}: {} bytes held", held_bytes() - held);
                assert_eq!(line.stats().drops.total() - dropped, FLOOD as u64, "{name}, {who}: every one is counted");
            }
            let per_second = used / SECONDS;
            println!("{name}, {who}: {FLOOD} packets of garbage take {:.1} ms of processor time", per_second.as_secs_f64() * 1e3);
            assert!(per_second < BUDGET, "{name}, {who}: {per_second:?} of a second");
            let sent = line.sent.len();
            line.run(Span::from_millis(10), &mut peace);
            assert!(line.sent.len() - sent <= 2, "{name}, {who}: nothing is answered");
        }
        let before = line.stats().rtp_in;
        line.run(Span::from_secs(2), &mut peace);
        assert!(line.ended.is_none() && line.stats().rtp_in - before > 90, "{name}: the call goes on");
    }
}

/// ES2021-09, CVE-2021-41105: 200 runts, then a million packets with the right SSRC and the wrong tag, from the selected address.
//= rules#R17 type=test
#[test]
fn srtp_error_flood() {
    watch();
    let (mut line, remote) = Line::new(10, Profile::AeadAes128Gcm);
    line.introduce(remote);
    line.connect(&mut peace);
    line.run(Span::from_secs(12), &mut peace);
    let runt = [0x80, 0x00, 0x70, 0x28, 0x09, 0xcd, 0x2d, 0x15, 0xfd, 0x3e, 0x5c, 0x86, 0x41];
    for _ in 0..200 {
        line.call.handle_datagram(from_relay(), &mut runt.clone(), line.now);
    }
    let (held, before) = (held_bytes(), line.stats());
    let mut forged = line.seen.last_rtp.clone().expect("the relay has spoken");
    *forged.last_mut().expect("a tag") ^= 1;
    let mut copy = forged.clone();
    for n in 0..1_000_000u32 {
        copy.copy_from_slice(&forged);
        copy[2..4].copy_from_slice(&(n as u16).to_be_bytes());
        line.call.handle_datagram(from_relay(), &mut copy, line.now);
    }
    let after = line.stats();
    let refused = |stats: &tipring_engine::call::CallStats| stats.drops.of(DropReason::Auth) + stats.drops.of(DropReason::Replay);
    assert!(refused(&after) - refused(&before) >= 999_000, "{:?}", after.drops);
    assert_eq!(after.rtp_in, before.rtp_in);
    assert!((held_bytes() - held).abs() < 4_096, "{} bytes held", held_bytes() - held);
    line.run(Span::from_secs(2), &mut peace);
    assert!(line.ended.is_none() && line.stats().rtp_in - after.rtp_in > 90, "the call goes on");
}

/// Ten thousand hostile handshake datagrams in each phase: what is kept of them is bounded, and gone with the handshake.
//= rules#G5 type=test
#[test]
fn handshake_floods_keep_memory_flat() {
    watch();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/dtls/hostile_datagrams.json");
    let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).expect("a golden file")).expect("JSON");
    let survives = |case: &&serde_json::Value| case["measured"]["with_gate"].as_str().is_some_and(|text| text.starts_with("survives"));
    let datagrams: Vec<Vec<u8>> = file["cases"].as_array().expect("cases").iter().filter(survives).map(hex).collect();
    assert!(datagrams.len() >= 4, "{} cases", datagrams.len());
    let quiet = flooded(&[], 0);
    let loud = flooded(&datagrams, 10_000);
    println!("bytes of a call, its relay and what was noted of them: {quiet} in peace, {loud} after 30,000 hostile handshake datagrams");
    // A growing list of the simulator doubles sooner or later; had the call kept what was thrown at it, that would be megabytes.
    assert!(loud - quiet < 256 << 10, "{loud} bytes instead of {quiet}");
    let resident = resident_bytes();
    for _ in 0..5 {
        flooded(&datagrams, 10_000);
    }
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < 8 << 20, "{grown} bytes more after five times as much: the TLS library keeps something");
}

fn hex(case: &serde_json::Value) -> Vec<u8> {
    let text = case["hex"].as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// Runs a call through the flood; gives the bytes that it holds fifteen seconds later.
fn flooded(datagrams: &[Vec<u8>], count: usize) -> i64 {
    let held = held_bytes();
    let (mut line, remote) = Line::new(11, Profile::AeadAes128Gcm);
    line.introduce(remote);
    let mut left = [count; 3];
    let mut attack = |seen: &Seen| {
        let phase = if seen.is_keyed { 2 } else { usize::from(seen.dtls_in > 0) };
        let now = left[phase].min(2_500);
        left[phase] -= now;
        (0..now).map(|n| (from_relay(), datagrams[n % datagrams.len()].clone())).collect()
    };
    line.connect(&mut attack);
    assert!(line.seen.is_keyed && line.ended.is_none(), "{:?}", line.ended);
    line.run(Span::from_secs(15), &mut attack);
    assert!(line.ended.is_none() && line.stats().rtp_in > 500, "the call goes on");
    // The notes of this test are no part of the call.
    (line.seen.tape, line.sent) = (Vec::new(), Vec::new());
    drop(line.heard());
    held_bytes() - held
}
