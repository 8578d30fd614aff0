//! Packets of every shape become frames of 20 ms, and nothing is lost or invented.

use super::*;
use crate::rng::{Entropy, SeededRng};
use crate::wire::golden;
use proptest::prelude::*;

fn frames_of(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = [&[][..]; FRAMES_MAX];
    let count = toc::frames(packet, &mut frames).expect("well formed");
    frames[..count].iter().map(|frame| frame.to_vec()).collect()
}

fn pop_all(reframer: &mut OpusReframer) -> Vec<Vec<u8>> {
    let mut out = [0; OPUS_BYTES_MAX];
    std::iter::from_fn(|| reframer.pop(&mut out).map(|len| out[..len].to_vec())).collect()
}

fn packed(toc: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    let lengths: Vec<u16> = frames.iter().map(|frame| frame.len() as u16).collect();
    let mut out = [0; OPUS_BYTES_MAX];
    let len = pack(toc, &lengths, &frames.concat(), &mut out);
    out[..len].to_vec()
}

/// SILK wide band 20 ms, 10 ms and 60 ms; CELT full band 2.5 ms and 5 ms.
const SILK_20: u8 = 9 << 3;
const SILK_10: u8 = 8 << 3;
const SILK_60: u8 = 11 << 3;
const CELT_2_5: u8 = 28 << 3;
const CELT_5: u8 = 29 << 3;

//= meta#R-18 type=test
#[test]
fn long_packets_are_cut_where_their_frames_meet() {
    let frames: Vec<Vec<u8>> = (0..6).map(|k| vec![k; 20 + usize::from(k) * 50]).collect();
    let mut reframer = OpusReframer::default();
    reframer.push(&packed(SILK_20, &frames)).expect("120 ms");
    let cut = pop_all(&mut reframer);
    assert_eq!(cut.len(), 6);
    for (packet, frame) in cut.iter().zip(&frames) {
        assert_eq!((packet[0], &packet[1..]), (SILK_20, &frame[..]));
    }
    // Constant bit rate with padding, as some packetisers send it: three frames of two bytes.
    reframer.push(&[SILK_20 | 3, 0x43, 2, 1, 2, 3, 4, 5, 6, 0, 0]).expect("60 ms");
    assert_eq!(pop_all(&mut reframer), [[SILK_20, 1, 2], [SILK_20, 3, 4], [SILK_20, 5, 6]]);
}

//= meta#R-18 type=test
#[test]
fn short_frames_are_joined_over_packets() {
    let mut reframer = OpusReframer::default();
    reframer.push(&[SILK_10, 1, 2, 3]).expect("10 ms");
    assert_eq!(reframer.ready(), 0);
    reframer.push(&[SILK_10, 4, 5, 6]).expect("10 ms");
    assert_eq!(pop_all(&mut reframer), [[SILK_10 | 1, 1, 2, 3, 4, 5, 6]], "equal lengths: code 1");
    reframer.push(&[SILK_10 | 2, 1, 9, 8, 8]).expect("20 ms already");
    assert_eq!(pop_all(&mut reframer), [[SILK_10 | 2, 1, 9, 8, 8]], "different lengths: code 2");
    for k in 0..8 {
        reframer.push(&[CELT_2_5, k]).expect("2.5 ms");
    }
    assert_eq!(pop_all(&mut reframer), [[CELT_2_5 | 3, 0x88, 1, 1, 1, 1, 1, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7]]);
    // The source changes its mind half way: what is missing is empty, which a decoder conceals.
    reframer.push(&[CELT_5, 7, 7]).expect("5 ms");
    reframer.push(&[SILK_20, 1]).expect("20 ms");
    let packets = pop_all(&mut reframer);
    assert_eq!(frames_of(&packets[0]), [vec![7, 7], vec![], vec![], vec![]]);
    assert_eq!(packets[1], [SILK_20, 1]);
}

#[test]
fn what_cannot_be_divided_is_refused_with_the_reason_and_nothing_is_taken() {
    let mut reframer = OpusReframer::default();
    for (packet, why) in [
        (vec![SILK_60, 1, 2, 3], ReframeRefused::LongFrames),
        (vec![], ReframeRefused::Malformed),
        (vec![SILK_20 | 1, 1], ReframeRefused::Malformed),
        (vec![SILK_10; OPUS_BYTES_MAX], ReframeRefused::TooLarge),
        (vec![SILK_20; OPUS_BYTES_MAX + 1], ReframeRefused::TooLarge),
    ] {
        assert_eq!(reframer.push(&packet), Err(why));
        assert!(why.to_string().len() > 20);
    }
    assert_eq!(reframer.ready(), 0);
    let mut short = [0; 2];
    reframer.push(&[SILK_20, 1, 2]).expect("20 ms");
    assert_eq!((reframer.pop(&mut short), reframer.ready()), (None, 1), "no room, nothing lost");
}

#[test]
fn the_oldest_gives_way() {
    let mut reframer = OpusReframer::default();
    for k in 0..10 {
        reframer.push(&[SILK_20, k]).expect("20 ms");
    }
    assert_eq!((reframer.ready(), reframer.dropped()), (8, 2));
    assert_eq!(pop_all(&mut reframer)[0], [SILK_20, 2]);
}

#[test]
fn golden_packets_keep_their_frames() {
    let file = golden::read("opus/framing.json");
    let mut kept = 0;
    for case in file["cases"].as_array().unwrap() {
        let packet = golden::hex(&case["hex"]);
        let mut reframer = OpusReframer::default();
        let Some(frames) = case["expect"]["frames"].as_u64() else {
            assert_eq!(
                reframer.push(&packet),
                Err(if packet.len() > OPUS_BYTES_MAX { ReframeRefused::TooLarge } else { ReframeRefused::Malformed })
            );
            continue;
        };
        assert!(packet.len() > OPUS_BYTES_MAX || frames_of(&packet).len() as u64 == frames, "{}", case["id"]);
        if reframer.push(&packet).is_ok() && toc::duration_ticks(&packet).unwrap().is_multiple_of(FRAME_TICKS) {
            kept += 1;
            let whole: Vec<_> = pop_all(&mut reframer).iter().flat_map(|packet| frames_of(packet)).collect();
            assert_eq!(whole, frames_of(&packet), "{}", case["id"]);
        }
    }
    assert!(kept > 3, "{kept} cases were of use");
}

#[cfg(feature = "opus")]
#[test]
fn a_decoder_hears_the_same_from_60_ms_packets_and_from_what_they_become() {
    use crate::codec::{Decoder, Encoder, EncoderSettings, SampleRate};
    let mut encoder = Encoder::new(&EncoderSettings::meta(SampleRate::Hz16000)).expect("an encoder");
    let packets: Vec<Vec<u8>> = (0..30)
        .map(|k| {
            let pcm: Vec<i16> = (0..320).map(|i| ((f64::from(k * 320 + i) * 0.09).sin() * 9_000.0) as i16).collect();
            let mut out = [0; OPUS_BYTES_MAX];
            let len = encoder.encode(&pcm, &mut out);
            out[..len].to_vec()
        })
        .collect();
    assert!(packets.iter().all(|packet| packet[0] & 3 == 0), "libopus makes code 0 here");
    let mut reframer = OpusReframer::default();
    let mut decoders = [Decoder::new(SampleRate::Hz16000).expect("a decoder"), Decoder::new(SampleRate::Hz16000).expect("a decoder")];
    let mut heard = [Vec::new(), Vec::new()];
    for three in packets.chunks(3).filter(|three| three.iter().all(|packet| packet[0] == three[0][0])) {
        let long = packed(three[0][0], &three.iter().map(|packet| packet[1..].to_vec()).collect::<Vec<_>>());
        let mut pcm = [0; 960];
        assert_eq!(decoders[0].decode(&long, &mut pcm), Some(960), "libopus takes what we pack");
        heard[0].extend(pcm);
        reframer.push(&long).expect("60 ms");
        for packet in pop_all(&mut reframer) {
            assert_eq!(decoders[1].decode(&packet, &mut pcm), Some(320));
            heard[1].extend(&pcm[..320]);
        }
    }
    assert!(heard[0].len() > 16_000 / 2 && heard[0] == heard[1]);
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in(seed in any::<u64>(), config in prop::sample::select(vec![8_u8, 9, 12, 13, 16, 28, 29, 30, 31]), packets in 1_usize..12) {
        let mut rng = SeededRng::new(seed);
        let mut reframer = OpusReframer::default();
        let (mut pushed, mut popped) = (Vec::new(), Vec::new());
        for _ in 0..packets {
            let count = 1 + rng.below(6) as usize;
            let frames: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    let mut frame = vec![0; rng.below(150) as usize];
                    rng.fill(&mut frame);
                    frame
                })
                .collect();
            reframer.push(&packed(config << 3, &frames)).expect("well formed");
            pushed.extend(frames);
            for packet in pop_all(&mut reframer) {
                prop_assert_eq!(toc::duration_ticks(&packet), Ok(FRAME_TICKS));
                popped.extend(frames_of(&packet));
            }
        }
        let per_packet = (FRAME_TICKS / toc::frame_ticks(config << 3)) as usize;
        prop_assert!(pushed.len() - popped.len() < per_packet);
        prop_assert_eq!(&pushed[..popped.len()], &popped[..]);
    }
}
