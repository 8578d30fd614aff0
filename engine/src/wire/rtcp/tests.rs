//! Golden packets, counts and lengths that lie, round trips.

use super::*;
use crate::wire::golden;
use proptest::prelude::*;

fn name(packet: &Packet<'_>) -> Option<&'static str> {
    Some(match packet {
        Packet::Sr(..) => "SR",
        Packet::Rr(_) => "RR",
        Packet::Sdes(_) => "SDES",
        Packet::Bye(_) => "BYE",
        Packet::Feedback(Feedback { packet_type: TYPE_PSFB, format: 1, .. }) => "PLI",
        Packet::Feedback(_) => "FB",
        Packet::Other { .. } => return None,
        Packet::Broken { .. } => "broken",
    })
}

/// Sequence numbers a generic NACK asks for (RFC 4585 section 6.2.1); the engine itself has no use for them.
fn nacked(fci: &[u8]) -> Vec<u64> {
    let (pid, mask) = (u64::from(fci[0]) << 8 | u64::from(fci[1]), u16::from_be_bytes([fci[2], fci[3]]));
    core::iter::once(pid).chain((0..16).filter(|bit| mask >> bit & 1 == 1).map(|bit| pid + 1 + bit)).collect()
}

//= rfc3550#section-6.4.1 type=test
//= rules#C8 type=test
#[test]
fn golden_packets() {
    let file = golden::read("rtcp/packets.json");
    for case in file["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let bytes = golden::hex(&case["hex"]);
        let expect = &case["expect"];
        let compound = Compound::new_checked(&bytes);
        if expect.is_string() {
            let refused = compound.is_err_and(|_| true) || compound.unwrap().packets().all(|p| matches!(p, Packet::Broken { .. }));
            assert!(refused, "{id}");
            continue;
        }
        let packets: Vec<_> = compound.unwrap_or_else(|e| panic!("{id}: {e}")).packets().collect();
        if let Some(types) = expect["types"].as_array() {
            assert_eq!(packets.iter().filter_map(name).collect::<Vec<_>>(), types.iter().map(|t| t.as_str().unwrap()).collect::<Vec<_>>());
        }
        for packet in packets {
            match packet {
                Packet::Sr(info, report) => {
                    assert_eq!(
                        (report.ssrc, info.ntp, info.rtp_timestamp, info.packets, info.octets),
                        (1, 0xe123_4567_8000_0000, 960, 10, 400)
                    );
                }
                Packet::Rr(report) => {
                    for block in report.blocks() {
                        let fields = [
                            ("ssrc", i64::from(block.ssrc)),
                            ("fraction", block.fraction_lost.into()),
                            ("cumulative", block.cumulative_lost.into()),
                            ("highest", block.highest_seq.into()),
                            ("jitter", block.jitter.into()),
                            ("lsr", block.lsr.into()),
                            ("dlsr", block.dlsr.into()),
                        ];
                        for (key, value) in fields {
                            assert_eq!(Some(value), expect[key].as_i64(), "{id}: {key}");
                        }
                    }
                }
                Packet::Sdes(sdes) => assert_eq!(sdes.cname(1), expect["cname"].as_str().map(str::as_bytes)),
                Packet::Bye(bye) => {
                    let ssrcs: Vec<_> = expect["ssrcs"].as_array().unwrap().iter().map(|s| s.as_u64().unwrap() as u32).collect();
                    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), ssrcs);
                    assert_eq!(bye.reason, expect["reason"].as_str().unwrap().as_bytes());
                }
                Packet::Feedback(feedback) => {
                    assert_eq!((feedback.sender_ssrc, feedback.media_ssrc), (1, 2));
                    if let Some(wanted) = expect["nack"].as_array() {
                        assert_eq!(nacked(feedback.fci), wanted.iter().map(|n| n.as_u64().unwrap()).collect::<Vec<_>>());
                    }
                }
                Packet::Other { packet_type } => assert_eq!(packet_type, 210),
                Packet::Broken { packet_type } => panic!("{id}: {packet_type} is broken"),
            }
        }
    }
}

fn kinds(bytes: &[u8]) -> Vec<&'static str> {
    Compound::new_checked(bytes).unwrap().packets().map(|p| name(&p).unwrap_or("other")).collect()
}

//= rules#C8 type=test
#[test]
fn a_broken_packet_does_not_take_its_neighbours_along() {
    let rr = [0x80, 201, 0, 1, 0, 0, 0, 1];
    // RC = 31 in a packet of two words, though the compound has room for the blocks.
    let liar = [0x9f, 201, 0, 1, 0, 0, 0, 1];
    assert_eq!(
        kinds(&[&rr[..], &liar, &rr, &[0x80, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e']].concat()),
        ["RR", "broken", "RR", "other"]
    );
    // SDES whose only chunk has no terminator.
    let sdes = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b'];
    assert_eq!(kinds(&[&sdes[..], &rr].concat()), ["broken", "RR"]);
    // SDES that announces two chunks and has one; BYE that announces two sources and has one.
    assert_eq!(kinds(&[0x82, 202, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0]), ["broken"]);
    assert_eq!(kinds(&[0x82, 203, 0, 1, 0, 0, 0, 1]), ["broken"]);
    // Feedback without a media source.
    assert_eq!(kinds(&[0x81, 206, 0, 1, 0, 0, 0, 1]), ["broken"]);
    // Nothing to say at all is legal for SDES and BYE.
    assert_eq!(kinds(&[0x80, 202, 0, 0, 0x80, 203, 0, 0]), ["SDES", "BYE"]);
}

//= rfc3550#section-6.5 type=test
#[test]
fn each_sdes_chunk_ends_on_a_word() {
    // Two chunks of one item each; the first is filled up with three zeros behind its text.
    let body = [&[0, 0, 0, 1, 1, 3, b'a', b'b', b'c', 0, 0, 0][..], &[0, 0, 0, 2, 4, 1, b'x', 1, 0, 0, 0, 0]].concat();
    let sdes = |body: &[u8]| [&[0x82, 202, 0, body.len() as u8 / 4][..], body].concat();
    let bytes = sdes(&body);
    let Some(Packet::Sdes(read)) = Compound::new_checked(&bytes).unwrap().packets().next() else { panic!("no SDES") };
    let items: Vec<_> = read.items().collect();
    assert_eq!(items, [(1, 1, &b"abc"[..]), (2, 4, b"x"), (2, 1, b"")]);
    assert_eq!((read.cname(1), read.cname(2), read.cname(3)), (Some(&b"abc"[..]), Some(&b""[..]), None));
    // Cut by a word, the second chunk has no terminator.
    assert_eq!(kinds(&sdes(&body[..20])), ["broken"]);
}

//= rules#C8 type=test
#[test]
fn padding_only_in_the_last_packet() {
    let padded = [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
    let plain = [0x80, 201, 0, 1, 0, 0, 0, 1];
    assert_eq!(kinds(&[&plain[..], &padded].concat()), ["RR", "RR"]);
    let reason = |bytes: &[u8]| Compound::new_checked(bytes).map(|_| ()).unwrap_err();
    assert_eq!(reason(&[&padded[..], &plain].concat()), DropReason::RtcpMalformed);
    for impossible in [0, 3, 12, 255] {
        let mut packet = padded;
        packet[11] = impossible;
        assert_eq!(reason(&packet), DropReason::RtcpMalformed);
    }
    // All of the body is padding: a receiver report then has no sender.
    let mut packet = padded;
    packet[11] = 8;
    assert_eq!(kinds(&packet), ["broken"]);
}

#[test]
fn every_cut_of_a_compound_is_refused() {
    let bytes = golden::hex(&golden::read("rtcp/packets.json")["cases"][0]["hex"]);
    for length in (0..bytes.len()).filter(|&n| n != 28) {
        assert_eq!(Compound::new_checked(&bytes[..length]).map(|_| ()), Err(DropReason::Truncated), "{length}");
    }
}

//= rules#C8 type=test
#[test]
fn profile_extensions_are_skipped() {
    let mut out = [0; 64];
    let block = ReportBlock { ssrc: 7, ..ReportBlock::default() };
    let mut writer = CompoundWriter::new(&mut out);
    assert!(writer.receiver_report(1, &[block]));
    let length = writer.finish();
    out[3] += 2;
    let compound = Compound::new_checked(&out[..length + 8]).unwrap();
    let Some(Packet::Rr(report)) = compound.packets().next() else { panic!("not a receiver report") };
    assert_eq!(report.blocks().collect::<Vec<_>>(), [block]);
}

#[test]
fn what_does_not_fit_is_left_out_whole() {
    let mut out = [0; 16];
    let mut writer = CompoundWriter::new(&mut out);
    assert!(writer.receiver_report(1, &[]));
    assert!(!writer.cname(1, b"too long for it"));
    assert!(!writer.cname(1, &[b'x'; 256]));
    assert!(writer.bye(1));
    assert!(!writer.bye(1));
    assert_eq!(writer.finish(), 16);
    assert_eq!(kinds(&out), ["RR", "BYE"]);
}

prop_compose! {
    fn block()(ssrc: u32, fraction_lost: u8, cumulative_lost in -0x80_0000..0x80_0000, highest_seq: u32, jitter: u32, lsr: u32, dlsr: u32) -> ReportBlock {
        ReportBlock { ssrc, fraction_lost, cumulative_lost, highest_seq, jitter, lsr, dlsr }
    }
}

proptest! {
    #[test]
    fn reports_round_trip(
        ssrc: u32,
        ntp: u64,
        (rtp_timestamp, packets, octets) in any::<(u32, u32, u32)>(),
        blocks in prop::collection::vec(block(), 0..32),
        cname in prop::collection::vec(any::<u8>(), 0..256),
        is_sender: bool,
    ) {
        let mut out = [0xff; 1_200];
        let info = SenderInfo { ntp, rtp_timestamp, packets, octets };
        let mut writer = CompoundWriter::new(&mut out);
        let is_written = if is_sender { writer.sender_report(ssrc, &info, &blocks) } else { writer.receiver_report(ssrc, &blocks) };
        prop_assert!(is_written);
        prop_assert!(writer.cname(ssrc, &cname));
        prop_assert!(writer.bye(ssrc));
        let length = writer.finish();
        let compound = Compound::new_checked(&out[..length]).unwrap();
        let packets: Vec<_> = compound.packets().collect();
        prop_assert_eq!(packets.len(), 3);
        match packets[0] {
            Packet::Sr(read, report) if is_sender => {
                prop_assert_eq!(read, info);
                prop_assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);
            }
            Packet::Rr(report) if !is_sender => prop_assert_eq!(report.blocks().collect::<Vec<_>>(), blocks),
            _ => prop_assert!(false, "first packet is no report"),
        }
        let Packet::Sdes(sdes) = packets[1] else { panic!("no SDES") };
        prop_assert_eq!(sdes.cname(ssrc), Some(&cname[..]));
        prop_assert_eq!(sdes.cname(ssrc.wrapping_add(1)), None);
        let Packet::Bye(bye) = packets[2] else { panic!("no BYE") };
        prop_assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [ssrc]);
    }

    #[test]
    fn any_bytes_are_a_compound_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        crate::fuzzing::fuzz_rtcp(&bytes);
    }
}
