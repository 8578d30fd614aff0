//! Rules of our checklist about a whole call: I21, X4, D20, P7, P16, C11, C12.

use super::*;

/// ICMP comes to us as a refusal of the next send.
//= rules#I21 type=test
#[test]
fn i21_a_send_that_the_system_refuses_is_evidence_and_no_more() {
    let mut rig = Rig::new(mute());
    rig.call.note_send_refused();
    let mut rig = rig.connect(MediaParams::default());
    rig.give_keys();
    let mut rig = rig.opened();
    for _ in 0..500 {
        rig.call.note_send_refused();
        rig.frames(1);
    }
    rig.check_stream();
    assert_eq!((rig.call.stats().sends_refused, rig.rtp.len(), rig.ended().is_some()), (501, 501, false));
}

//= rules#X4 type=test
#[test]
fn x4_no_byte_and_too_many_bytes_are_counted_drops() {
    let mut rig = Rig::open(MediaParams::default(), mute());
    let path = rig.path;
    for mut datagram in [vec![], vec![0; 1_501], vec![0x80; 1_501], vec![22; 2_000], vec![0x80; 65_507]] {
        rig.call.handle_datagram(path, &mut datagram, rig.now);
    }
    rig.frames(50);
    rig.check_stream();
    let drops = rig.call.stats().drops;
    assert_eq!((drops.of(DropReason::Unknown), drops.of(DropReason::Oversized)), (1, 4));
}

//= rules#D20 type=test
#[test]
fn d20_roles_follow_both_setup_lines() {
    use SetupRole::{ActPass, Active, Passive};
    for (ours, theirs, role) in [
        (Active, Passive, Some(DtlsRole::Client)),
        (Active, ActPass, Some(DtlsRole::Client)),
        (Active, Active, None),
        (Passive, Active, Some(DtlsRole::Server)),
        (Passive, ActPass, Some(DtlsRole::Server)),
        (Passive, Passive, None),
        (ActPass, Active, Some(DtlsRole::Server)),
        (ActPass, Passive, Some(DtlsRole::Client)),
        // Illegal in an answer, and seen.
        (ActPass, ActPass, Some(DtlsRole::Client)),
    ] {
        assert_eq!(dtls_role(ours, theirs).ok(), role, "{ours:?} and {theirs:?}");
    }
}

//= rules#P7 type=test
#[test]
fn p7_the_first_packet_leaves_with_the_later_of_keys_and_accept() {
    type Step = fn(&mut Rig);
    for accept_first in [false, true] {
        let mut rig = Rig::connected(MediaParams::default(), mute());
        let (first, second): (Step, Step) =
            if accept_first { (|r| r.call.open_gate(r.now), Rig::give_keys) } else { (Rig::give_keys, |r| r.call.open_gate(r.now)) };
        first(&mut rig);
        rig.pass(Span::from_secs(1));
        assert_eq!((rig.rtp.len(), rig.rtcp.len()), (0, 0));
        second(&mut rig);
        rig.pass(Span::ZERO);
        assert_eq!((rig.rtp.len(), rig.rtp[0].at), (1, rig.now), "accept first: {accept_first}");
        assert_eq!(rig.rtp[0].payload, SILENCE_PACKET, "the port has nothing to say");
        assert_eq!(rig.call.stats().rtp_in, 0, "and nothing came in");
    }
}

//= rules#P16 type=test
#[test]
fn p16_header_extensions_are_passed_over_unread() {
    let (port, heard) = Hears::pair();
    let mut rig = Rig::open(MediaParams::default(), port);
    let path = rig.path;
    for k in 0..50u32 {
        let mut bytes = vec![0; 100];
        let header = RtpHeader { payload_type: 111, marker: false, seq: 100 + k as u16, timestamp: 960 * k, ssrc: PEER_SSRC };
        header.emit(bytes.first_chunk_mut().expect("room"));
        bytes[0] |= 0x10;
        // One element of one byte, as RFC 6464 has it: voice, and a level.
        let rest = [&[0xbe, 0xde, 0, 1, 0x10, 0x80 | k as u8, 0, 0][..], &SILENCE_PACKET].concat();
        bytes[12..12 + rest.len()].copy_from_slice(&rest);
        let len = rig.peer.0.protect_rtp(&mut bytes, 12 + rest.len()).expect("room");
        // In clear on the wire, and signed: another level is a forged packet.
        let mut forged = bytes[..len].to_vec();
        forged[17] ^= 0x7f;
        rig.call.handle_datagram(path, &mut forged, rig.now);
        rig.call.handle_datagram(path, &mut bytes[..len], rig.now);
        rig.frames(1);
    }
    let stats = rig.call.stats();
    assert_eq!((stats.rtp_in, stats.drops.of(DropReason::Auth)), (50, 50));
    assert!(heard.try_iter().count() >= 45);
}

//= rules#C11 type=test
#[test]
fn c11_feedback_that_nobody_negotiated_has_no_effect() {
    let run = |with_feedback: bool| {
        let mut rig = Rig::open(MediaParams::default(), mute());
        let ours = rig.call.local_params().ssrc.to_be_bytes();
        for _ in 0..20 {
            let mut compound = report(&rig, 0);
            // NACK, CCFB, TWCC; PLI, FIR, REMB: each with one word of its own.
            for (format, packet_type) in [(1, 205), (11, 205), (15, 205), (1, 206), (4, 206), (15, 206)] {
                compound.extend([0x80 | format, packet_type, 0, 3]);
                compound.extend([&PEER_SSRC.to_be_bytes()[..], &ours, &[0xff; 4]].concat());
            }
            let len = if with_feedback { compound.len() } else { compound.len() - 6 * 16 };
            rig.hear_rtcp(&compound[..len]);
            rig.frames(25);
        }
        let stats = rig.call.stats();
        assert_eq!((stats.rtcp_in, stats.drops.of(DropReason::RtcpMalformed), rig.ended().is_some()), (20, 0, false));
        for (_, compound) in &rig.rtcp {
            let is_feedback = |packet: Packet<'_>| matches!(packet, Packet::Feedback(_) | Packet::Other { .. });
            assert!(!Compound::new_checked(compound).expect("our own").packets().any(is_feedback), "we send none");
        }
        (format!("{:?}", rig.rtp), rig.rtcp, stats.encoder_bitrate_bps, stats.expected_loss_percent)
    };
    assert!(run(true) == run(false), "what we send, and when, is the same");
}

//= rules#C12 type=test
#[test]
fn c12_reports_about_others_are_not_ours() {
    let mut rig = Rig::open(MediaParams::default(), mute());
    let theirs = rig.call.local_params().ssrc ^ 1;
    let block = ReportBlock { ssrc: theirs, fraction_lost: 200, cumulative_lost: 9, highest_seq: 0, jitter: 7, lsr: 0, dlsr: 0 };
    let mut out = [0; 200];
    let mut writer = CompoundWriter::new(&mut out);
    assert!(writer.receiver_report(PEER_SSRC, &[block]) && writer.cname(PEER_SSRC, b"relay"));
    let len = writer.finish();
    rig.hear_rtcp(&out[..len]);
    let seen = |rig: &Rig| (rig.call.stats().remote.peer_reports, rig.call.stats().remote.peer_fraction_lost, rig.call.stats().rtcp_in);
    assert_eq!(seen(&rig), (0, 0, 1));
    let ours = report(&rig, 77);
    rig.hear_rtcp(&ours);
    assert_eq!(seen(&rig), (1, 77, 2));
}
