//! libopus as we wrap it: streams of another libopus, repair, hostile packets.

use super::*;
use crate::codec::silence::SILENCE_PACKET;
use crate::codec::{DECODE_SAMPLES_MAX, FRAME_SAMPLES_MAX};
use crate::rng::{Entropy, SeededRng};

const RATES: [SampleRate; 4] = [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000, SampleRate::Hz48000];

struct Golden {
    packets: Vec<Vec<u8>>,
    lost: Vec<usize>,
    plc_rms: f64,
    fec_rms: f64,
}

fn golden(name: &str) -> Golden {
    let path = format!("{}/../tests/golden/opus/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let bytes = |hex: &str| (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    Golden {
        packets: json["packets"].as_array().unwrap().iter().map(|p| bytes(p.as_str().unwrap())).collect(),
        lost: json["lost"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect(),
        plc_rms: json["error_rms_with_plc_only"].as_f64().unwrap(),
        fec_rms: json["error_rms_with_fec"].as_f64().unwrap(),
    }
}

fn play(golden: &Golden, rate: SampleRate, lost: &[usize], fec: bool) -> Vec<i16> {
    let mut decoder = Decoder::new(rate).unwrap();
    let mut out = [0; FRAME_SAMPLES_MAX];
    let mut pcm = Vec::new();
    for (i, packet) in golden.packets.iter().enumerate() {
        let samples = match (lost.contains(&i), golden.packets.get(i + 1)) {
            (false, _) => decoder.decode(packet, &mut out),
            (true, Some(next)) if fec => decoder.decode_fec(next, &mut out),
            (true, _) => decoder.conceal(&mut out),
        };
        assert_eq!(samples, Some(rate.frame_samples()), "every tick is one frame");
        pcm.extend_from_slice(&out[..rate.frame_samples()]);
    }
    pcm
}

fn rms(a: &[i16], b: &[i16]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum();
    (sum / a.len() as f64).sqrt()
}

//= rfc7587#section-3.3  a lost frame is decoded from the FEC of the packet after it
//= type=test
#[test]
fn a_foreign_stream_with_single_losses_is_repaired_as_well_as_it_was_there() {
    let golden = golden("stream_voip_16k_fec_single_losses");
    let rate = SampleRate::Hz48000;
    let whole = play(&golden, rate, &[], false);
    let plc = rms(&whole, &play(&golden, rate, &golden.lost, false));
    let fec = rms(&whole, &play(&golden, rate, &golden.lost, true));
    assert!(plc <= golden.plc_rms * 1.2, "concealment: {plc:.0} against {:.0}", golden.plc_rms);
    assert!(fec <= golden.fec_rms * 1.2, "FEC: {fec:.0} against {:.0}", golden.fec_rms);
    assert!(fec < plc * 0.7, "FEC must beat concealment clearly: {fec:.0} against {plc:.0}");
}

#[test]
fn a_clean_foreign_stream_decodes_at_every_rate() {
    let golden = golden("stream_voip_16k_clean");
    for rate in RATES {
        let pcm = play(&golden, rate, &[], false);
        let level = rms(&pcm, &vec![0; pcm.len()]);
        assert!((4_000.0..9_000.0).contains(&level), "{rate:?}: level {level:.0}, the sender's was 6524");
    }
}

fn tone(rate: SampleRate, frame: usize) -> Vec<i16> {
    let n = rate.frame_samples();
    (0..n)
        .map(|i| {
            let t = (frame * n + i) as f64 / f64::from(rate.hz());
            ((t * 440.0 * std::f64::consts::TAU).sin() * 8_000.0 + (t * 950.0 * std::f64::consts::TAU).sin() * 4_000.0) as i16
        })
        .collect()
}

//= rfc7587#section-3.1.2 type=test
//= rfc7587#section-7.1 type=test
//= rfc7587#section-3.4 type=test
#[test]
fn what_is_encoded_keeps_the_bit_rate_the_bandwidth_and_the_tone() {
    for rate in RATES {
        let mut encoder = Encoder::new(&EncoderSettings::meta(rate)).unwrap();
        let mut decoder = Decoder::new(rate).unwrap();
        let (mut out, mut packet, mut bytes, mut energy) = ([0i16; FRAME_SAMPLES_MAX], [0u8; OPUS_BYTES_MAX], 0, 0.0);
        for frame in 0..100 {
            let len = encoder.encode(&tone(rate, frame), &mut packet);
            assert!(len > 0);
            bytes += len;
            // Configurations 12 and up are wider than wide band, but for CELT 16 to 23 (RFC 6716 section 3.1, table 2).
            let config = packet[0] >> 3;
            assert!(config < 12 || (16..24).contains(&config), "wider than the peer plays: configuration {config}");
            assert_eq!(packet[0] & 4, 0, "mono");
            assert_eq!(decoder.decode(&packet[..len], &mut out), Some(rate.frame_samples()));
            energy += rms(&out[..rate.frame_samples()], &[0; FRAME_SAMPLES_MAX][..rate.frame_samples()]);
        }
        // 100 frames are 2 s: 5 000 bytes at 20 kb/s.
        assert!(bytes <= 5_600, "{rate:?}: {bytes} bytes in 2 s");
        assert!((4_500.0..8_000.0).contains(&(energy / 100.0)), "{rate:?}: level {:.0}, 6325 went in", energy / 100.0);
    }
}

#[test]
fn retuning_takes_effect_and_bad_values_are_brought_into_range() {
    let settings = EncoderSettings { bitrate_bps: 64_000, playback_rate_hz_max: 48_000, ..EncoderSettings::meta(SampleRate::Hz48000) };
    let mut encoder = Encoder::new(&settings).unwrap();
    let mut packet = [0; OPUS_BYTES_MAX];
    let mut bytes = |encoder: &mut Encoder| (0..50).map(|f| encoder.encode(&tone(SampleRate::Hz48000, f), &mut packet)).sum::<usize>();
    let before = bytes(&mut encoder);
    encoder.retune(&EncoderSettings { bitrate_bps: 1, complexity: 200, loss_percent: 255, rate: SampleRate::Hz8000, ..settings });
    assert_eq!(encoder.settings().bitrate_bps, 6_000);
    assert_eq!(encoder.settings().rate, SampleRate::Hz48000, "the rate cannot change in a running call");
    let after = bytes(&mut encoder);
    assert!(after * 3 < before, "{before} bytes before, {after} after");
    for bad in [
        EncoderSettings { bitrate_bps: 5_999, ..settings },
        EncoderSettings { complexity: 11, ..settings },
        EncoderSettings { loss_percent: 101, ..settings },
    ] {
        assert!(matches!(Encoder::new(&bad), Err(SetupError::Misuse(_))));
    }
}

#[test]
fn reset_forgets_the_past() {
    let golden = golden("stream_voip_16k_clean");
    let (mut used, mut fresh) = (Decoder::new(SampleRate::Hz16000).unwrap(), Decoder::new(SampleRate::Hz16000).unwrap());
    let (mut a, mut b) = ([0; 320], [0; 320]);
    for packet in &golden.packets[50..60] {
        used.decode(packet, &mut a).unwrap();
    }
    used.reset();
    for packet in &golden.packets[..10] {
        used.decode(packet, &mut a).unwrap();
        fresh.decode(packet, &mut b).unwrap();
        assert_eq!(a, b);
    }
}

#[test]
fn buffers_of_the_wrong_size_are_refused_not_overrun() {
    let mut decoder = Decoder::new(SampleRate::Hz48000).unwrap();
    let mut small = [0; FRAME_SAMPLES_MAX - 1];
    assert_eq!(decoder.decode(&SILENCE_PACKET, &mut small), None);
    assert_eq!(decoder.decode_fec(&SILENCE_PACKET, &mut small), None);
    assert_eq!(decoder.conceal(&mut small), None);
    assert_eq!(decoder.decode(&SILENCE_PACKET, &mut []), None);
    assert_eq!(decoder.decode(&[], &mut [0; FRAME_SAMPLES_MAX]), None);
    assert_eq!(decoder.decode(&SILENCE_PACKET, &mut [0; FRAME_SAMPLES_MAX]), Some(FRAME_SAMPLES_MAX));

    let mut encoder = Encoder::new(&EncoderSettings::meta(SampleRate::Hz8000)).unwrap();
    assert_eq!(encoder.encode(&[0; 159], &mut [0; 64]), 0);
    assert_eq!(encoder.encode(&[0; 160], &mut []), 0);
    for room in 1..40 {
        let mut out = [0xa5; 48];
        let len = encoder.encode(&tone(SampleRate::Hz8000, room), &mut out[..room]);
        assert!(len <= room && out[room..].iter().all(|&b| b == 0xa5), "wrote past {room} bytes");
    }
}

#[test]
fn hostile_packets_neither_panic_nor_write_past_their_length() {
    let golden = golden("stream_voip_16k_fec_single_losses");
    let mut rng = SeededRng::new(0x6f70_7573);
    let mut decoder = Decoder::new(SampleRate::Hz48000).unwrap();
    let mut out = vec![0i16; DECODE_SAMPLES_MAX + 8];
    for round in 0..4_000u32 {
        let mut packet = golden.packets[round as usize % golden.packets.len()].clone();
        match round % 4 {
            0 => (0..packet.len()).for_each(|i| packet[i] = rng.u64() as u8),
            1 => packet[0] = rng.u64() as u8,
            2 => packet.truncate(rng.u64() as usize % (packet.len() + 1)),
            _ => {
                let at = rng.u64() as usize % packet.len();
                packet[at] ^= 1 << (rng.u64() % 8);
            }
        }
        out[DECODE_SAMPLES_MAX..].fill(0x5a5a);
        let decoded = if round % 3 == 0 { decoder.decode_fec(&packet, &mut out) } else { decoder.decode(&packet, &mut out) };
        assert!(decoded.is_none_or(|n| n <= DECODE_SAMPLES_MAX));
        assert!(out[DECODE_SAMPLES_MAX..].iter().all(|&s| s == 0x5a5a));
        assert_eq!(decoder.conceal(&mut out), Some(FRAME_SAMPLES_MAX), "the decoder stays usable");
    }
}

/// A packet whose stereo bit is set decodes to one channel (O7).
//= rfc7587#section-3.4 type=test
#[test]
fn stereo_packets_decode_as_mono() {
    let mut decoder = Decoder::new(SampleRate::Hz48000).unwrap();
    let stereo = [SILENCE_PACKET[0] | 4, 0xff, 0xfe];
    assert_eq!(decoder.decode(&stereo, &mut [0; FRAME_SAMPLES_MAX]), Some(FRAME_SAMPLES_MAX));
}
