//! The buffer against the golden streams and against seeded paths.

use super::*;
use crate::rng::{Entropy, SeededRng};

#[derive(Clone, Copy)]
struct Sent {
    arrival_us: u64,
    ssrc: u32,
    seq: u16,
    ts: u32,
    ticks: u32,
    id: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Packet(u32),
    Fec(u32),
    Conceal,
    Continue,
    Silence,
}

struct Run {
    /// One entry per frame, with the time of its tick in microseconds.
    heard: Vec<(u64, Heard)>,
    stats: JitterStats,
    skips: u64,
    depth_max: usize,
    /// Play-out delay of each packet played: tick minus the time its first sample was sent, in microseconds, by id.
    starts: Vec<u32>,
}

const TICK_US: u64 = 20_000;

/// Delivers `sent` (in order of arrival) and ticks every 20 ms from `phase_us` until 400 ms after the last arrival.
fn run(sent: &[Sent], phase_us: u64, config: JitterConfig) -> Run {
    let mut buffer = JitterBuffer::new(config);
    let mut out = Run { heard: vec![], stats: buffer.stats(), skips: 0, depth_max: 0, starts: vec![] };
    let end = sent.last().map_or(0, |p| p.arrival_us) + 400_000;
    let (mut next, mut tick, mut owed) = (0, phase_us, 0i64);
    while tick <= end {
        while next < sent.len() && sent[next].arrival_us <= tick {
            let p = sent[next];
            // SILK, 20 ms, with voice and with a copy of the frame before it.
            let mut payload = [0x55; 50];
            payload[..2].copy_from_slice(&[0x48, 0xc0]);
            payload[2..6].copy_from_slice(&p.id.to_le_bytes());
            let _ = buffer.insert(p.ssrc, p.seq, p.ts, p.ticks, &payload, Time::ZERO + Span::from_micros(p.arrival_us));
            out.depth_max = out.depth_max.max(buffer.depth());
            next += 1;
        }
        let id = |payload: &[u8]| u32::from_le_bytes(payload[2..6].try_into().unwrap());
        owed = owed.min(0) + 960;
        let mut calls = 0;
        loop {
            calls += 1;
            assert!(calls <= 20, "a tick must end");
            let (heard, starts) = match buffer.tick(Time::ZERO + Span::from_micros(tick)) {
                Playout::Skip => {
                    out.skips += 1;
                    assert!(buffer.is_owed());
                    continue;
                }
                Playout::Packet { payload, starts, .. } => (Heard::Packet(id(payload)), starts),
                Playout::Fec { payload, .. } => (Heard::Fec(id(payload)), false),
                Playout::Conceal { .. } => (Heard::Conceal, false),
                Playout::Continue => (Heard::Continue, false),
                Playout::Silence => (Heard::Silence, false),
            };
            out.heard.push((tick, heard));
            match heard {
                Heard::Packet(id) => owed -= i64::from(sent.iter().find(|p| p.id == id).unwrap().ticks),
                Heard::Continue => {}
                _ => owed -= 960,
            }
            if starts {
                let Heard::Packet(id) = heard else { unreachable!() };
                out.starts.push(id);
            }
            assert_eq!(buffer.is_owed(), owed > 0, "the buffer and the host agree on what the tick still needs");
            if !buffer.is_owed() {
                break;
            }
        }
        tick += TICK_US;
    }
    out.stats = buffer.stats();
    check(sent, &out);
    out
}

/// What holds for every stream: order, no packet twice, the counters tell what was heard.
fn check(sent: &[Sent], run: &Run) {
    let mut last: Option<(u32, u32)> = None;
    for id in played(run) {
        let p = sent.iter().find(|p| p.id == id).expect("only what was sent is heard");
        if let Some((ssrc, before)) = last
            && ssrc == p.ssrc
            && !run.starts.contains(&id)
        {
            assert!(id > before, "{id} after {before}: twice or out of order");
        }
        last = Some((p.ssrc, id));
    }
    let count = |f: fn(&Heard) -> bool| run.heard.iter().filter(|(_, h)| f(h)).count() as u64;
    assert_eq!(run.stats.fec, count(|h| matches!(h, Heard::Fec(_))));
    let filled = count(|h| matches!(h, Heard::Conceal | Heard::Silence));
    let told = run.stats.concealed + run.stats.silent + run.stats.stretched;
    // At most the last run of concealment has not been decided about.
    assert!((told..=told + 5).contains(&filled), "{filled} ticks filled, {:?}", run.stats);
    assert!(run.depth_max <= crate::limits::JITTER_SLOTS_MAX);
}

fn played(run: &Run) -> Vec<u32> {
    run.heard.iter().filter_map(|(_, h)| if let Heard::Packet(id) = h { Some(*id) } else { None }).collect()
}

fn steady(n: u32, seq: u16, ts: u32) -> Vec<Sent> {
    (0..n)
        .map(|i| Sent {
            arrival_us: u64::from(i) * TICK_US,
            ssrc: 1,
            seq: seq.wrapping_add(i as u16),
            ts: ts.wrapping_add(i.wrapping_mul(960)),
            ticks: 960,
            id: i,
        })
        .collect()
}

fn golden(name: &str) -> Vec<Sent> {
    let path = format!("{}/../tests/golden/jitter/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let packets = json["packets"].as_array().unwrap();
    let first = packets[0][2].as_u64().unwrap() as u16;
    packets
        .iter()
        .map(|p| {
            let n = |i: usize| p[i].as_u64().unwrap();
            let seq = n(2) as u16;
            Sent {
                arrival_us: (p[0].as_f64().unwrap() * 1_000.0) as u64,
                ssrc: n(1) as u32,
                seq,
                ts: n(3) as u32,
                ticks: n(5) as u32 * 48,
                id: u32::from(seq.wrapping_sub(first)),
            }
        })
        .collect()
}

/// Every packet once, each 20 ms after the one before, nothing made up in between.
fn assert_exact(sent: &[Sent], run: &Run) {
    let from = run.heard.iter().position(|(_, h)| matches!(h, Heard::Packet(_))).expect("something is heard");
    let mut ids: Vec<u32> = sent.iter().map(|p| p.id).collect();
    ids.dedup();
    assert_eq!(played(run), ids);
    let body: Vec<_> = run.heard[from..].iter().take(ids.len()).map(|(_, h)| *h).collect();
    assert_eq!(body, ids.iter().map(|&id| Heard::Packet(id)).collect::<Vec<_>>(), "without a break");
    assert_eq!((run.stats.concealed, run.stats.fec, run.stats.stretched, run.stats.skipped, run.skips), (0, 0, 0, 0, 0));
    assert_eq!((run.stats.late, run.stats.resyncs, run.stats.stray), (0, 0, 0));
}

#[test]
fn golden_streams_without_impairment_play_exactly_whatever_the_phase() {
    for name in ["clean_5s", "seq_wrap", "ts_wrap"] {
        for phase_us in (0..TICK_US).step_by(1_700) {
            let sent = golden(name);
            assert_exact(&sent, &run(&sent, phase_us, JitterConfig::default()));
        }
    }
}

//= rfc7587#section-3.1.3 type=test
#[test]
fn golden_dtx_gap_is_silence_and_the_resume_is_not_late() {
    let sent = golden("dtx_gap");
    for phase_us in (0..TICK_US).step_by(3_000) {
        let run = run(&sent, phase_us, JitterConfig::default());
        assert_eq!(played(&run).len(), sent.len());
        let s = run.stats;
        assert_eq!((s.concealed, s.fec, s.late, s.skipped, s.resyncs, s.stretched), (0, 0, 0, 0, 0, 0), "{s:?}");
        let resumed = sent.windows(2).find(|w| w[1].ts - w[0].ts > 960).expect("the vector has a gap")[1];
        let (tick, _) = run.heard.iter().find(|(_, h)| *h == Heard::Packet(resumed.id)).unwrap();
        assert!(tick - resumed.arrival_us <= 60_000);
    }
}

//= rfc7587#section-4.2 type=test
//= rules#P14 type=test
#[test]
fn golden_mixed_packet_lengths_play_once_each() {
    let sent = golden("ptime60_mixed");
    for phase_us in (0..TICK_US).step_by(3_000) {
        let run = run(&sent, phase_us, JitterConfig::default());
        assert_eq!(played(&run), [0, 1, 2, 3, 4]);
        let from = run.heard.iter().position(|(_, h)| *h == Heard::Packet(0)).unwrap();
        let wanted = [
            Heard::Packet(0),
            Heard::Packet(1),
            Heard::Continue,
            Heard::Packet(2),
            Heard::Continue,
            Heard::Continue,
            Heard::Packet(3),
            Heard::Packet(4),
        ];
        assert_eq!(run.heard[from..from + 8].iter().map(|(_, h)| *h).collect::<Vec<_>>(), wanted);
    }
}

//= rules#J2 type=test
#[test]
fn golden_loss_and_jitter_settles_with_few_late_packets_and_uses_fec() {
    let sent = golden("loss5_jitter60");
    for phase_us in (0..TICK_US).step_by(2_500) {
        let run = run(&sent, phase_us, JitterConfig::default());
        let s = run.stats;
        let heard = played(&run).len() as f64 / sent.len() as f64;
        assert!(heard > 0.97, "{heard} {s:?}");
        // "once adapted": the second half of the 30 s.
        let half = sent.len() / 2;
        let ids = played(&run);
        let missed = sent[half..].iter().filter(|p| !ids.contains(&p.id)).count();
        assert!(missed * 100 <= sent.len() - half, "{missed} of {} not played: {s:?}", sent.len() - half);
        assert!(s.fec * 2 > 1_600 * 5 / 100, "{s:?}");
        assert!(s.target_us <= 200_000);
    }
}

#[test]
fn an_hour_without_jitter_keeps_its_delay() {
    let mut buffer = JitterBuffer::new(JitterConfig::default());
    let mut delay = None;
    for i in 0..180_000u32 {
        let now = Time::ZERO + Span::from_micros(u64::from(i) * TICK_US + 13_000);
        let mut payload = [0x80; 50];
        payload[46..].copy_from_slice(&i.to_le_bytes());
        buffer.insert(9, (i as u16).wrapping_add(60_000), i.wrapping_mul(960).wrapping_sub(7), 960, &payload, now).unwrap();
        let tick = Time::ZERO + Span::from_micros(u64::from(i) * TICK_US + 19_000);
        match buffer.tick(tick) {
            Playout::Packet { payload, .. } => {
                assert_eq!(u32::from_le_bytes(payload[46..].try_into().unwrap()), i - *delay.get_or_insert(i));
            }
            other => assert!(delay.is_none() && other == Playout::Silence, "{other:?} at {i}"),
        }
    }
    assert!(delay.unwrap() <= 3);
}

//= rfc7587#section-4.2 type=test
#[test]
fn every_packet_length_plays_without_a_break() {
    for ms in [5, 10, 20, 30, 40, 60, 100, 120u32] {
        let n = 12_000 / ms;
        let sent: Vec<_> = (0..n)
            .map(|i| Sent { arrival_us: u64::from(i * ms) * 1_000, ssrc: 1, seq: i as u16, ts: i * ms * 48, ticks: ms * 48, id: i })
            .collect();
        let run = run(&sent, 7_000, JitterConfig::default());
        assert_eq!(played(&run).len(), n as usize, "{ms} ms: {:?}", run.stats);
        let s = run.stats;
        assert_eq!((s.fec, s.concealed, s.stretched, s.skipped, s.late), (0, 0, 0, 0, 0), "{ms} ms: {s:?}");
    }
}

/// A path: `delay + jitter` for each packet, losses, copies.
fn path(seed: u64, n: u32, loss_percent: u64, jitter_ms: u64, dup_percent: u64, ppm: i64) -> Vec<Sent> {
    let mut rng = SeededRng::new(seed);
    let mut sent = Vec::new();
    for mut p in steady(n, rng.u32() as u16, rng.u32()) {
        p.arrival_us = (p.arrival_us as i64 * (1_000_000 + ppm) / 1_000_000) as u64 + 60_000;
        if rng.below(100) < loss_percent {
            continue;
        }
        let copies = 1 + u32::from(rng.below(100) < dup_percent);
        for _ in 0..copies {
            sent.push(Sent { arrival_us: p.arrival_us + rng.below(jitter_ms * 1_000 + 1), ..p });
        }
    }
    sent.sort_by_key(|p| p.arrival_us);
    sent
}

//= rules#J1 type=test
#[test]
fn seeded_grid_of_loss_and_jitter() {
    for loss in [0, 1, 5, 20] {
        for jitter in [0, 10, 30, 60, 120] {
            for seed in 0..3 {
                let sent = path(seed * 1_000 + loss * 10 + jitter, 2_000, loss, jitter, 2, 0);
                let run = run(&sent, 3_000, JitterConfig::default());
                let s = run.stats;
                let ids: std::collections::BTreeSet<u32> = sent.iter().map(|p| p.id).collect();
                let heard = played(&run).len() as f64 / ids.len() as f64;
                let case = format!("loss {loss} jitter {jitter} seed {seed}: {heard:.3} {s:?}");
                assert!(heard >= if jitter <= 30 { 0.98 } else { 0.95 }, "{case}");
                assert!(s.delay_us <= 300_000 && s.resyncs == 0, "{case}");
                if jitter == 0 {
                    assert_eq!((s.late, s.stretched), (0, 0), "{case}");
                    assert_eq!(heard, 1.0, "{case}");
                }
                if jitter == 0 && loss == 1 {
                    let lost = u64::from(*ids.last().unwrap() - ids.first().unwrap()) + 1 - ids.len() as u64;
                    assert!(s.fec * 10 >= lost * 7, "single losses are repaired: {lost} lost, {case}");
                }
                // Media time is conserved: what passed between the first and the last packet is what was heard, but for the change of delay.
                let (first, last) = (*ids.first().unwrap(), *ids.last().unwrap());
                let from = run.heard.iter().position(|(_, h)| matches!(h, Heard::Packet(_))).unwrap();
                let to = run.heard.iter().rposition(|(_, h)| matches!(h, Heard::Packet(_))).unwrap();
                assert!((to - from).abs_diff((last - first) as usize) <= 15, "{case}");
            }
        }
    }
}

/// J5: clocks differ by 500 ppm; the delay must not grow.
//= rules#J5 type=test
#[test]
fn drift_of_500_ppm_for_ten_minutes_neither_grows_nor_starves() {
    for ppm in [-500, 500] {
        let sent = path(1, 30_000, 0, 4, 0, ppm);
        let run = run(&sent, 0, JitterConfig::default());
        let s = run.stats;
        // 600 s at 500 ppm are 300 ms: 15 frames.
        assert!(s.skipped <= 18 && s.stretched + s.concealed <= 18, "{ppm}: {s:?}");
        assert!(s.delay_us <= 85_000, "{ppm}: {s:?}");
        assert_eq!(played(&run).len() as u64 + s.skipped, 30_000, "{ppm}: {s:?}");
        assert!(if ppm < 0 { s.skipped >= 12 } else { s.stretched + s.concealed >= 12 }, "{ppm}: {s:?}");
    }
}

/// P11, scenario 16: lower sequence, other timestamp, and stragglers of the old SSRC afterwards.
//= rules#P11 type=test
#[test]
fn another_ssrc_is_heard_within_100_ms() {
    let mut sent = steady(100, 50_000, 1 << 31);
    for mut p in steady(100, 3, 77) {
        p.arrival_us += 2_000_000;
        sent.push(Sent { ssrc: 2, id: p.id + 1_000, ..p });
    }
    for straggler in [97, 98, 99] {
        sent[straggler].arrival_us += 60_000;
    }
    sent.sort_by_key(|p| p.arrival_us);
    for phase_us in (0..TICK_US).step_by(3_000) {
        let run = run(&sent, phase_us, JitterConfig::default());
        let (tick, _) = run.heard.iter().find(|(_, h)| *h == Heard::Packet(1_000)).expect("the first packet of the new stream is heard");
        assert!(*tick <= 2_100_000, "{tick}");
        assert_eq!(played(&run).iter().filter(|&&id| id >= 1_000).count(), 100);
        assert_eq!((run.stats.resyncs, run.starts.clone()), (1, vec![0, 1_000]));
    }
}

/// J3: the same SSRC jumps back; two packets later there is sound again.
//= rules#J3 type=test
#[test]
fn a_backward_jump_costs_two_packets() {
    let mut sent = steady(100, 50_000, 5_000_000);
    for mut p in steady(100, 200, 4_000) {
        p.arrival_us += 2_000_000;
        sent.push(Sent { id: p.id + 1_000, ..p });
    }
    let run = run(&sent, 5_000, JitterConfig::default());
    let (tick, _) = run.heard.iter().find(|(_, h)| matches!(h, Heard::Packet(1_000..))).unwrap();
    assert!(*tick <= 2_100_000, "{tick}");
    assert_eq!(played(&run).iter().filter(|&&id| id >= 1_000).count(), 99);
    assert_eq!(run.stats.resyncs, 1);
}

#[test]
fn the_first_packets_are_heard_even_if_they_overtake_each_other() {
    for (a, b, c) in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)] {
        let mut sent = steady(50, 65_534, u32::MAX - 500);
        for (i, order) in [a, b, c].into_iter().enumerate() {
            sent[i].arrival_us = 20_000 + order * 9_000;
        }
        sent.sort_by_key(|p| p.arrival_us);
        let run = run(&sent, 0, JitterConfig::default());
        // The burst leaves 20 ms too much delay, which one frame may pay for later on.
        let ids = played(&run);
        assert_eq!(ids[..20], (0..20).collect::<Vec<_>>(), "{a}{b}{c}");
        assert!(ids.len() >= 49, "{a}{b}{c}");
    }
}

/// The path holds everything up for 300 ms, then delivers at once.
#[test]
fn the_delay_comes_back_after_a_stall_of_the_path() {
    let mut sent = steady(3_000, 1, 0);
    for p in &mut sent[200..215] {
        p.arrival_us = 215 * TICK_US;
    }
    let run = run(&sent, 1_000, JitterConfig::default());
    assert!(run.stats.delay_us <= 80_000, "{:?}", run.stats);
    assert!(played(&run).len() >= 2_975, "{:?}", run.stats);
}

/// T10: events take over sequence numbers for 300 ms; audio goes on afterwards on its own timeline.
//= rfc4733#section-2.5.2.2:audio type=test
//= rules#T10 type=test
#[test]
fn events_are_neither_loss_nor_audio() {
    let mut buffer = JitterBuffer::new(JitterConfig::default());
    let mut heard = 0;
    for i in 0..200u32 {
        let now = Time::ZERO + Span::from_micros(u64::from(i) * TICK_US);
        if (100..115).contains(&i) {
            buffer.note_event(1, i as u16, 96_000, now);
        } else {
            buffer.insert(1, i as u16, i * 960, 960, &[7; 40], now).unwrap();
        }
        match buffer.tick(now) {
            Playout::Packet { .. } => heard += 1,
            Playout::Silence => {}
            other => panic!("{other:?} at {i}"),
        }
    }
    let s = buffer.stats();
    assert!(heard >= 182, "{heard}");
    assert_eq!((s.concealed, s.fec, s.late, s.resyncs, s.skipped), (0, 0, 0, 0, 0));
}

/// J4: authenticated nonsense costs neither memory nor an end to the ticks, and the stream recovers from it.
//= rules#J4 type=test
#[test]
fn garbage_is_bounded_and_recovered_from() {
    for seed in 0..20 {
        let mut rng = SeededRng::new(seed);
        let mut buffer = JitterBuffer::new(JitterConfig::default());
        let payload = [1u8; 1_276];
        for i in 0..3_000u64 {
            let now = Time::ZERO + Span::from_micros(i * 5_000);
            let ts = if rng.below(2) == 0 { rng.u32() } else { (i * 240) as u32 };
            let len = 1 + rng.below(1_276) as usize;
            let _ = buffer.insert(rng.below(2) as u32, rng.u32() as u16, ts, rng.below(6_000) as u32, &payload[..len], now);
            let _ = buffer.insert(1, i as u16, ts, 240, &payload[..len], now);
            assert!(buffer.depth() <= crate::limits::JITTER_SLOTS_MAX);
            if i % 4 == 0 {
                (0..20)
                    .take_while(|_| {
                        buffer.tick(now);
                        buffer.is_owed()
                    })
                    .count();
                assert!(!buffer.is_owed());
            }
        }
        let mut heard = 0;
        for i in 0..500u32 {
            let now = Time::ZERO + Span::from_micros(15_000_000 + u64::from(i) * TICK_US);
            let _ = buffer.insert(7, i as u16, i * 960, 960, &payload[..40], now);
            (0..20)
                .take_while(|_| {
                    heard += u32::from(matches!(buffer.tick(now), Playout::Packet { .. }));
                    buffer.is_owed()
                })
                .count();
        }
        assert!(heard >= 490, "seed {seed}: {heard} {:?}", buffer.stats());
    }
}
