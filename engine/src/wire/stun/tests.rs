//! STUN judged by RFC 5769, the golden vectors, a foreign implementation, and properties.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn golden(name: &str) -> Value {
    let path = format!("{}/../tests/golden/stun/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect("golden file is JSON")
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn id_of(hex: &str) -> TransactionId {
    TransactionId(bytes(hex).try_into().expect("12 bytes"))
}

#[test]
fn rfc_5769_messages_read_as_the_rfc_says() {
    let file = golden("messages.json");
    let mut seen = 0;
    for case in file["cases"].as_array().expect("cases").iter().filter(|c| c["expect"].is_object()) {
        let (wire, key) = (bytes(text(case, "hex")), IntegrityKey::new(text(case, "password").as_bytes()));
        let message = StunView::new_checked(&wire).expect("well-formed");
        let expect = &case["expect"];
        let class = match text(expect, "type") {
            "binding request" => Class::Request,
            "binding success" => Class::Success,
            other => panic!("unknown type {other}"),
        };
        assert_eq!(message.class(), class);
        assert!(message.authenticate(&key).is_ok(), "{}", case["id"]);
        assert!(message.authenticate(&IntegrityKey::new(b"another")).is_err());
        if let Some(username) = expect["username"].as_str() {
            assert_eq!(message.username(), Some(username.as_bytes()));
            assert_eq!(message.username_first(), username.split(':').next().map(str::as_bytes));
        }
        if let Some(priority) = expect["priority"].as_u64() {
            assert_eq!(message.priority().map(u64::from), Some(priority));
        }
        if let Some(tie_breaker) = expect["ice_controlled"].as_str() {
            assert_eq!(message.controlled(), u64::from_str_radix(tie_breaker, 16).ok());
            assert_eq!(message.controlling(), None);
        }
        if let Some(software) = expect["software"].as_str() {
            assert_eq!(message.software(), Some(software.as_bytes()));
        }
        if let Some(address) = expect["xor_mapped"].as_str() {
            assert_eq!(message.xor_mapped_address(), address.parse().ok());
        }
        seen += 1;
    }
    assert!(seen >= 2);
}

/// RFC 5769 sections 2.3 and 2.4, which the golden file lacks. 2.4 is a long-term request: its key is MD5 of user, realm and password,
/// and it has no FINGERPRINT.
#[test]
fn rfc_5769_ipv6_response_and_long_term_request() {
    let wire = bytes(concat!(
        "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a147",
        "0113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
    ));
    let message = StunView::new_checked(&wire).expect("well-formed");
    assert!(message.authenticate(&IntegrityKey::new(b"VOkJxbRl1RmTxUk/WvJxBt")).is_ok());
    assert_eq!(message.xor_mapped_address(), "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().ok());

    let wire = bytes(concat!(
        "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b90000",
        "0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f726700",
        "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
    ));
    let message = StunView::new_checked(&wire).expect("well-formed");
    assert_eq!(message.username(), Some("マトリックス".as_bytes()));
    assert!(message.has_integrity() && !message.is_fingerprint_valid());
    assert_eq!(message.unknown_required().count(), 0);
    assert!(message.is_integrity_valid(&IntegrityKey::new(&bytes(RFC_5769_LONG_TERM_KEY))));
}

const RFC_5769_LONG_TERM_KEY: &str = "e8ca7ad59d5eb0518e312911d2dab2a9";

//= rfc8445#section-7.2.2 type=test
//= rfc8445#section-7.1.1 type=test
//= rules#I7 type=test
#[test]
fn our_check_is_the_golden_one_byte_for_byte() {
    let file = golden("messages.json");
    let case = file["cases"].as_array().expect("cases").iter().find(|c| c["use"] == "encode").expect("an encode case");
    let input = &case["input"];
    let key = IntegrityKey::new(text(input, "remote_pwd").as_bytes());
    let mut out = [0xAA; 200];
    let mut writer = StunWriter::new(&mut out, Class::Request, id_of(text(input, "tid")));
    writer.username(text(input, "remote_ufrag"), text(input, "local_ufrag"));
    writer.priority(input["priority"].as_u64().expect("priority") as u32);
    writer.controlling(u64::from_str_radix(text(input, "tiebreaker"), 16).expect("hex"));
    let length = writer.finish(Some(&key)).expect("it fits");
    assert_eq!(out[..length], bytes(text(case, "hex")));
    assert!(length < 548);
}

#[test]
fn golden_responses_authenticate_as_told() {
    let file = golden("messages.json");
    for case in file["cases"].as_array().expect("cases").iter().filter(|c| c["use"] == "response to our check") {
        let wire = bytes(text(case, "hex"));
        let message = StunView::new_checked(&wire).expect("well-formed");
        let key = IntegrityKey::new(text(case, "remote_pwd").as_bytes());
        let counts = message.authenticate(&key).is_ok() && message.id() == id_of(text(case, "our_tid"));
        assert_eq!(counts, text(case, "expect") != "ignore", "{}", case["id"]);
        let unknown = message.unknown_required().collect::<Vec<_>>();
        match text(case, "id") {
            "resp-unknown-required" => assert_eq!(unknown, [0x7FFF]),
            "resp-attr-after-mi" => assert_eq!(message.xor_mapped_address(), "203.0.113.7:50000".parse().ok()),
            "resp-487" => assert_eq!(message.error_code(), Some(ROLE_CONFLICT)),
            "resp-400-short-reason" => assert_eq!((message.error_code(), message.error_reason()), (Some(400), Some(&b""[..]))),
            _ => assert!(unknown.is_empty()),
        }
    }
}

#[test]
fn malformed_datagrams_are_refused_or_do_not_authenticate() {
    let key = IntegrityKey::new(b"ourPassword0123456789ab");
    let file = golden("malformed.json");
    let cases = file["cases"].as_array().expect("cases");
    assert!(cases.len() >= 13);
    for case in cases {
        let wire = bytes(text(case, "hex"));
        assert_eq!(StunView::new_checked(&wire).err(), Some(DropReason::StunMalformed), "{}", case["id"]);
        assert!(StunView::new_checked(&wire).and_then(|m| m.authenticate(&key)).is_err());
    }
    assert_eq!(StunView::new_checked(&[0; 1_501]).err(), Some(DropReason::Oversized));
}

#[test]
fn only_the_first_of_a_repeated_attribute_counts_and_the_second_may_be_broken() {
    let mut out = [0; 200];
    let id = TransactionId([7; 12]);
    let length = StunWriter::new(&mut out, Class::Request, id).priority(1).priority(2).attribute(ATTR_PRIORITY, &[9]).finish(None);
    let message = StunView::new_checked(&out[..length.expect("it fits")]).expect("well-formed");
    assert_eq!(message.priority(), Some(1));
    assert!(message.is_fingerprint_valid() && !message.has_integrity());
    for (kind, value) in [(ATTR_PRIORITY, &[0; 3][..]), (ATTR_USE_CANDIDATE, &[0]), (ATTR_CONTROLLING, &[0; 7]), (ATTR_ERROR_CODE, &[0; 3])]
    {
        let length = StunWriter::new(&mut out, Class::Request, id).attribute(kind, value).finish(None).expect("it fits");
        assert_eq!(StunView::new_checked(&out[..length]).err(), Some(DropReason::StunMalformed), "{kind:#x}");
    }
}

#[test]
fn an_unknown_address_family_is_ignored() {
    let mut out = [0; 100];
    let id = TransactionId([7; 12]);
    let length = StunWriter::new(&mut out, Class::Success, id).attribute(ATTR_XOR_MAPPED_ADDRESS, &[0, 3, 1, 2, 3, 4, 5, 6]).finish(None);
    let message = StunView::new_checked(&out[..length.expect("it fits")]).expect("well-formed");
    assert_eq!(message.xor_mapped_address(), None);
}

#[test]
fn a_message_that_does_not_fit_is_none_at_every_size() {
    let key = IntegrityKey::new(b"x");
    let mut whole = [0; 200];
    let write = |out: &mut [u8]| {
        let mut writer = StunWriter::new(out, Class::Error, TransactionId([1; 12]));
        writer.error_code(UNKNOWN_ATTRIBUTE, "no").unknown_attributes(&[1, 2, 3]).finish(Some(&key))
    };
    let length = write(&mut whole).expect("it fits");
    for room in 0..length {
        assert_eq!(write(&mut vec![0; room]), None, "{room}");
    }
    assert_eq!(write(&mut vec![0; length]), Some(length));
    let message = StunView::new_checked(&whole[..length]).expect("well-formed");
    assert_eq!(message.unknown_attributes().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(StunWriter::new(&mut whole, Class::Error, TransactionId([1; 12])).error_code(299, "").finish(None), None);
}

#[test]
fn the_password_stays_out_of_debug() {
    assert_eq!(format!("{:?}", IntegrityKey::new(b"secret")), "IntegrityKey(redacted)");
}

prop_compose! {
    fn address()(v6 in any::<bool>(), bits in any::<u128>(), port in any::<u16>()) -> SocketAddr {
        let ip = if v6 { IpAddr::V6(Ipv6Addr::from_bits(bits)) } else { IpAddr::V4(Ipv4Addr::from_bits(bits as u32)) };
        SocketAddr::new(ip, port)
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        id in any::<[u8; 12]>(), first in "[!-9;-~]{1,40}", second in "[!-~]{1,40}", priority in any::<u32>(), tie in any::<u64>(),
        use_candidate in any::<bool>(), controlling in any::<bool>(), mapped in address(), code in 300u16..700, reason in "[ -~]{0,40}",
        unknown in proptest::collection::vec(any::<u16>(), 0..6), password in "[!-~]{22,80}", flip in any::<proptest::sample::Index>(),
    ) {
        let (id, key) = (TransactionId(id), IntegrityKey::new(password.as_bytes()));
        let mut out = [0; 600];
        let mut writer = StunWriter::new(&mut out, Class::Request, id);
        writer.username(&first, &second).priority(priority).xor_mapped_address(mapped).error_code(code, &reason).unknown_attributes(&unknown);
        if use_candidate {
            writer.use_candidate();
        }
        if controlling { writer.controlling(tie) } else { writer.controlled(tie) };
        let length = writer.finish(Some(&key)).expect("it fits");
        let message = StunView::new_checked(&out[..length]).expect("well-formed");
        prop_assert_eq!((message.id(), message.class(), message.priority()), (id, Class::Request, Some(priority)));
        prop_assert_eq!(message.username_first(), Some(first.as_bytes()));
        prop_assert_eq!(message.xor_mapped_address(), Some(mapped));
        prop_assert_eq!((message.error_code(), message.error_reason()), (Some(code), Some(reason.as_bytes())));
        prop_assert_eq!(message.unknown_attributes().collect::<Vec<_>>(), unknown);
        prop_assert_eq!(message.use_candidate(), use_candidate);
        prop_assert_eq!((message.controlling(), message.controlled()), if controlling { (Some(tie), None) } else { (None, Some(tie)) });
        prop_assert!(message.authenticate(&key).is_ok());
        // Any flipped bit is noticed.
        let at = flip.index(length * 8);
        out[at / 8] ^= 1 << (at % 8);
        prop_assert!(StunView::new_checked(&out[..length]).and_then(|m| m.authenticate(&key)).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_panic(mut wire in proptest::collection::vec(any::<u8>(), 0..200), honest in any::<bool>()) {
        if honest && wire.len() >= HEADER_BYTES {
            let length = (wire.len() - HEADER_BYTES) as u16;
            wire[..2].copy_from_slice(&[1, 1]);
            wire[2..4].copy_from_slice(&length.to_be_bytes());
            wire[4..8].copy_from_slice(&COOKIE.to_be_bytes());
        }
        crate::fuzzing::fuzz_stun(&wire);
    }
}
