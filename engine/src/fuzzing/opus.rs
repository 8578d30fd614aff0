//! Fuzz bodies of the Opus decoder and of who listens along: what our framing lets through goes into the library, in any order, with losses between.

use crate::bridge::{Listener, Play, Tap};
use crate::call::{Incoming, MediaPort};
use crate::codec::{Decoder, SampleRate, toc};

/// A byte of rate, then operations: a packet behind its length in one byte, repaired or not, or a gap. No more samples than there is room, and framing of ours
/// that holds is framing that libopus takes.
pub fn fuzz_opus_decode(data: &[u8]) {
    let Some((&choice, mut rest)) = data.split_first() else { return };
    let rate = [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz48000, SampleRate::Hz16000][usize::from(choice & 3)];
    let mut decoder = Decoder::new(rate).expect("libopus has a decoder of every rate");
    let frame = rate.frame_samples();
    let mut room = vec![0i16; 6 * frame];
    while let Some((&op, tail)) = rest.split_first() {
        let (&len, tail) = tail.split_first().unwrap_or((&0, &[]));
        let (packet, tail) = tail.split_at(tail.len().min(usize::from(len)));
        rest = tail;
        let out = &mut room[..frame * (1 + usize::from(op >> 3) % 6)];
        match op % 8 {
            0 => {
                if let Some(samples) = decoder.decode_fec(packet, out) {
                    assert!(samples <= out.len());
                }
            }
            1 => {
                if let Some(samples) = decoder.conceal(out) {
                    assert!(samples <= out.len());
                }
            }
            2 => decoder.reset(),
            _ => {
                let ticks = toc::duration_ticks(packet);
                if let Some(samples) = decoder.decode(packet, &mut room) {
                    let expected = ticks.expect("the library takes only what our framing grants") as usize * frame / 960;
                    assert_eq!(samples, expected, "both count the same time");
                }
            }
        }
        assert_eq!(decoder.rate(), rate);
    }
}

/// Operations: a direction, a timestamp and a packet behind its length in one byte; then a turn. Whoever listens hears one or two frames of 20 ms a turn, or none before the
/// first packet, whatever the timestamps say.
pub fn fuzz_listen(data: &[u8]) {
    let rate = SampleRate::Hz8000;
    let (mut tap, reader) = Tap::new(Box::new(Play::new([].into(), rate)));
    let mut listener = Listener::new(reader, true, rate).expect("libopus has a decoder of every rate");
    let mut has_come = false;
    let mut rest = data;
    while let Some((&[op, a, b, c, d, len], tail)) = rest.split_first_chunk::<6>() {
        let (payload, tail) = tail.split_at(tail.len().min(usize::from(len)));
        rest = tail;
        let timestamp = u32::from_be_bytes([a, b, c, d]);
        match op % 4 {
            0 => tap.sent(payload, timestamp),
            1 => {}
            _ => {
                tap.incoming(Incoming::Opus { payload, timestamp });
                has_come = true;
            }
        }
        let mut frames = 0;
        listener.turn(|frame| {
            assert_eq!(frame.len(), rate.frame_samples());
            frames += 1;
        });
        assert!(if has_come { (1..=2).contains(&frames) } else { frames == 0 }, "{frames}");
    }
    drop(tap);
    assert!(listener.is_over());
}

#[test]
fn listeners_stand_golden_packets_at_any_time() {
    use crate::rng::{Entropy, SeededRng};
    use crate::wire::golden;
    let file = golden::read("opus/framing.json");
    let packets: Vec<Vec<u8>> = file["cases"].as_array().expect("cases").iter().map(|case| golden::hex(&case["hex"])).collect();
    let mut rng = SeededRng::new(0x1157);
    for _ in 0..300 {
        let (mut data, mut timestamp) = (Vec::new(), rng.u32());
        for _ in 0..rng.below(60) {
            let step = [960, 0, 2_880, 0xffff_fc40, 480, 480_001, 0x8000_0000, 0x7fff_ffff][rng.below(8) as usize];
            timestamp = timestamp.wrapping_add(if rng.below(3) == 0 { step } else { 960 });
            let packet = &packets[rng.below(packets.len() as u64) as usize];
            let packet = &packet[..packet.len().min(255)];
            data.push(rng.u32() as u8);
            data.extend(timestamp.to_be_bytes());
            data.push(packet.len() as u8);
            data.extend(packet);
        }
        fuzz_listen(&data);
    }
}

#[test]
fn golden_packets_and_mutations_of_them() {
    use crate::rng::{Entropy, SeededRng};
    use crate::wire::golden;
    let packets: Vec<Vec<u8>> = golden::read("opus/framing.json")["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .map(|case| golden::hex(&case["hex"]))
        .filter(|packet| packet.len() < 256)
        .collect();
    assert!(packets.len() >= 5);
    let mut rng = SeededRng::new(0x0b05);
    for round in 0..1_500 {
        let mut data = vec![round as u8];
        for _ in 0..1 + rng.below(4) {
            let packet = &packets[rng.below(packets.len() as u64) as usize];
            data.extend([rng.u32() as u8, packet.len() as u8]);
            data.extend(packet);
        }
        for _ in 0..rng.below(3) {
            let at = rng.below(data.len() as u64) as usize;
            data[at] = rng.u32() as u8;
        }
        fuzz_opus_decode(&data);
    }
}
