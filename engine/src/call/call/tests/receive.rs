//! What comes in, by the rules of our checklist: P10, P11, P15, C9. (P8, P9: `wire/rtp/tests.rs`; P12 to P14: `rtp/report/tests.rs`, `jitter`.)

use super::*;
use std::sync::mpsc::Receiver;

fn listening() -> (Rig, Receiver<u32>) {
    let (port, hears) = Hears::pair();
    (Rig::open(MediaParams::default(), port), hears)
}

/// A packet of the peer under its keys, from wherever it comes and with whatever SSRC.
fn packet(sender: &mut srtp::Sender, ssrc: u32, seq: u16, timestamp: u32) -> Vec<u8> {
    let mut bytes = vec![0; 100];
    RtpHeader { payload_type: 111, marker: false, seq, timestamp, ssrc }.emit(bytes.first_chunk_mut().expect("room"));
    bytes[12..12 + SILENCE_PACKET.len()].copy_from_slice(&SILENCE_PACKET);
    let len = sender.protect_rtp(&mut bytes, 12 + SILENCE_PACKET.len()).expect("room");
    bytes.truncate(len);
    bytes
}

fn peers_sender() -> srtp::Sender {
    let ours = keying();
    srtp::Sender::from_keying(&Keying {
        local_key: ours.remote_key,
        local_salt: ours.remote_salt,
        remote_key: ours.local_key,
        remote_salt: ours.local_salt,
        profile: ours.profile,
    })
}

/// P10.
//= meta#R-16 type=test
//= rules#P10 type=test
#[test]
fn p10_an_unknown_payload_type_is_counted_and_nothing_else() {
    let (mut rig, heard) = listening();
    for k in 0..50 {
        rig.hear(111, 960 * k, &SILENCE_PACKET);
        // G.711, an unassigned dynamic type, and comfort noise, under the same SSRC and with wild timestamps.
        rig.hear([0, 100, 13][k as usize % 3], 0x9999_0000u32.wrapping_mul(k), &[0xff; 160]);
        rig.frames(1);
    }
    rig.frames(5);
    let stats = rig.call.stats();
    assert_eq!((stats.drops.of(DropReason::PayloadType), stats.rtp_in), (50, 50));
    assert_eq!((stats.jitter.resyncs, stats.jitter.stray, stats.jitter.late), (0, 0, 0), "{:?}", stats.jitter);
    let played: Vec<u32> = heard.try_iter().collect();
    assert!(played.len() >= 45 && played.windows(2).all(|pair| pair[1] == pair[0] + 960), "every packet once, in order: {played:?}");
}

/// P11, and C9: BYE ends a stream, not the call.
//= rules#P11 type=test
//= rules#C9 type=test
#[test]
fn p11_another_ssrc_is_heard_within_100_ms_and_a_bye_of_the_old_one_ends_nothing() {
    let (mut rig, heard) = listening();
    for k in 0..50 {
        rig.hear(111, 960 * k, &SILENCE_PACKET);
        rig.frames(1);
    }
    let mut compound = [0; 100];
    let mut writer = CompoundWriter::new(&mut compound);
    assert!(writer.receiver_report(PEER_SSRC, &[]) && writer.bye(PEER_SSRC));
    let len = writer.finish();
    rig.hear_rtcp(&compound[..len]);
    heard.try_iter().for_each(drop);
    // Another line altogether: lower sequence numbers, other timestamps, a roll-over counter of its own.
    let (mut other, path, begun) = (peers_sender(), rig.path, rig.now);
    let mut first = None;
    for k in 0..20u32 {
        let mut bytes = packet(&mut other, 0x0bad_cafe, 7 + k as u16, 0x7000_0000 + 960 * k);
        rig.call.handle_datagram(path, &mut bytes, rig.now);
        rig.frames(1);
        if first.is_none() && heard.try_iter().any(|timestamp| timestamp >= 0x7000_0000) {
            first = Some(rig.now.since(begun));
        }
    }
    assert!(first.is_some_and(|took| took <= Span::from_millis(100)), "{first:?}");
    assert!(rig.ended().is_none(), "the call goes on");
}

/// P15: authentic or not, media from elsewhere is nothing, and the path is ICE's to move.
//= rules#P15 type=test
#[test]
fn p15_no_address_is_learned_from_media() {
    let (mut rig, heard) = listening();
    rig.frames(5);
    let (mut sender, path) = (peers_sender(), rig.path);
    let elsewhere = Path { remote: "198.51.100.66:3480".parse().expect("an address"), ..path };
    for k in 0..50u32 {
        let mut bytes = packet(&mut sender, PEER_SSRC, 100 + k as u16, 960 * k);
        rig.call.handle_datagram(elsewhere, &mut bytes, rig.now);
        // `Rig::drain` asserts for every datagram of ours that it goes where the nomination went.
        rig.frames(1);
    }
    let stats = rig.call.stats();
    assert_eq!((stats.rtp_in, stats.drops.of(DropReason::MediaWrongSource)), (0, 50));
    assert_eq!((rig.call.path(), heard.try_iter().count()), (Some(path), 0));
}
