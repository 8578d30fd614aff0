//! Golden headers, extension traps, round trips.

use super::*;
use crate::wire::golden;
use proptest::prelude::*;

//= rfc3550#section-5.1 type=test
//= rfc8285#section-4.2 type=test
//= rules#P8 type=test
#[test]
fn golden_headers() {
    let file = golden::read("rtp/headers.json");
    for case in file["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let bytes = golden::hex(&case["hex"]);
        let expect = &case["expect"];
        if expect == "reject" {
            assert!(RtpView::new_checked(&bytes).is_err(), "{id}");
            continue;
        }
        let view = RtpView::new_checked(&bytes).unwrap_or_else(|e| panic!("{id}: {e}"));
        let number = |key: &str, value: u64| {
            if let Some(wanted) = expect[key].as_u64() {
                assert_eq!(value, wanted, "{id}: {key}");
            }
        };
        number("seq", view.seq().into());
        number("timestamp", view.timestamp().into());
        number("ssrc", view.ssrc().into());
        number("pt", view.payload_type().into());
        number("marker", view.marker().into());
        number("header_len", view.header_bytes() as u64);
        number("padding", view.padding_bytes() as u64);
        assert_eq!(view.payload(), golden::hex(&expect["payload"]), "{id}");
        if let Some(wanted) = expect["extensions"].as_object() {
            let found: Vec<_> = view.extensions().collect();
            assert_eq!(found.len(), wanted.len(), "{id}");
            for element in found {
                assert_eq!(element.data, golden::hex(&wanted[&element.id.to_string()]), "{id}");
            }
        }
    }
}

fn with_extension(profile: u16, body: &[u8]) -> Vec<u8> {
    assert!(body.len().is_multiple_of(4));
    let mut packet = vec![0x90, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
    packet.extend(profile.to_be_bytes());
    packet.extend((body.len() as u16 / 4).to_be_bytes());
    packet.extend(body);
    packet.push(b'q');
    packet
}

fn elements(packet: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let view = RtpView::new_checked(packet).expect("a broken element never breaks the packet");
    assert_eq!(view.payload(), b"q");
    view.extensions().map(|e| (e.id, e.data.to_vec())).collect()
}

//= rules#P9 type=test
#[test]
fn unreadable_elements_end_the_block_not_the_packet() {
    // Identifier 0 with a length.
    assert_eq!(elements(&with_extension(0xbede, &[0x10, 7, 0x02, 0x20])), [(1, vec![7])]);
    // An element that runs past its block.
    assert_eq!(elements(&with_extension(0xbede, &[0x10, 7, 0x2f, 0x20])), [(1, vec![7])]);
    // Two-byte form: length past the block, and a lone identifier as last byte.
    assert_eq!(elements(&with_extension(0x1003, &[1, 0, 2, 9])), [(1, vec![])]);
    assert_eq!(elements(&with_extension(0x100f, &[1, 1, 5, 2])), [(1, vec![5])]);
    // A profile that is neither: skipped whole.
    assert_eq!(elements(&with_extension(0xabcd, &[0x10, 7, 0, 0])), []);
}

#[test]
fn padding_must_count_itself_and_fit() {
    let mut packet = vec![0xa0, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 0];
    assert_eq!(RtpView::new_checked(&packet).map(|_| ()), Err(DropReason::RtpMalformed));
    *packet.last_mut().unwrap() = 3;
    assert_eq!(RtpView::new_checked(&packet).unwrap().payload(), b"");
    // P set and no payload: the last byte would be the SSRC's.
    assert_eq!(RtpView::new_checked(&packet[..12]).map(|_| ()), Err(DropReason::RtpMalformed));
    // Encrypted, the same header has an extent all the same.
    assert_eq!(header_extent(&packet[..12]), Ok(12));
}

#[test]
fn contributing_sources_are_read() {
    let mut packet = vec![0x82, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, b'x'];
    let view = RtpView::new_checked(&packet).unwrap();
    assert_eq!(view.csrcs().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(view.payload(), b"x");
    packet[0] = 0x83;
    assert_eq!(RtpView::new_checked(&packet).map(|_| ()), Err(DropReason::Truncated));
}

//= rules#P6 type=test
#[test]
fn p6_what_we_write_has_no_csrc_no_padding_and_no_extension() {
    for (payload_type, marker) in [(111, false), (126, true), (0, false), (127, true)] {
        let mut bytes = [0xff; 12];
        RtpHeader { payload_type, marker, seq: 0xffff, timestamp: 0xffff_ffff, ssrc: 0xffff_ffff }.emit(&mut bytes);
        assert_eq!(bytes[0], 0x80, "version 2 and nothing else");
        let view = RtpView::new_checked(&bytes).unwrap();
        assert_eq!((view.csrcs().count(), view.padding_bytes(), view.extension(), view.header_bytes()), (0, 0, None, 12));
    }
}

proptest! {
    #[test]
    fn header_round_trip(payload_type in 0_u8..128, marker: bool, seq: u16, timestamp: u32, ssrc: u32, payload: Vec<u8>) {
        let header = RtpHeader { payload_type, marker, seq, timestamp, ssrc };
        let mut fixed = [0xff; 12];
        header.emit(&mut fixed);
        let packet = [&fixed[..], &payload].concat();
        let view = RtpView::new_checked(&packet).unwrap();
        let read = RtpHeader {
            payload_type: view.payload_type(),
            marker: view.marker(),
            seq: view.seq(),
            timestamp: view.timestamp(),
            ssrc: view.ssrc(),
        };
        prop_assert_eq!(read, header);
        prop_assert_eq!(view.payload(), &payload[..]);
        prop_assert_eq!(view.header_bytes(), 12);
    }

    //= rules#P8 type=test
    #[test]
    fn any_bytes_are_a_view_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        crate::fuzzing::fuzz_rtp(&bytes);
    }
}
