//! Fuzz body of the Opus decoder: what our framing lets through goes into the library, in any order, with losses between.

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
