//! Another implementation's opinion: what stun-rs builds we read, and what we build it reads and validates.

use super::*;
use proptest::prelude::*;
use stun_rs::attributes::ice::{IceControlled, IceControlling, Priority, UseCandidate};
use stun_rs::attributes::stun::{ErrorCode, Fingerprint, MessageIntegrity, Software, UnknownAttributes, UserName, XorMappedAddress};
use stun_rs::methods::BINDING;
use stun_rs::{
    DecoderContextBuilder, HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunMessage, StunMessageBuilder,
};

fn foreign_id(id: [u8; 12]) -> stun_rs::TransactionId {
    stun_rs::TransactionId::from(id)
}

fn foreign_key(password: &str) -> HMACKey {
    HMACKey::new_short_term(password).expect("a key")
}

fn build(builder: StunMessageBuilder, password: &str, out: &mut [u8]) -> usize {
    let message = builder.with_attribute(MessageIntegrity::new(foreign_key(password))).with_attribute(Fingerprint::default()).build();
    MessageEncoderBuilder::default().build().encode(out, &message).expect("it encodes")
}

/// Decodes with both MESSAGE-INTEGRITY and FINGERPRINT validated by the other side.
fn decode(wire: &[u8], password: &str) -> Result<StunMessage, String> {
    let context = DecoderContextBuilder::default().with_key(foreign_key(password)).with_validation().build();
    let (message, size) = MessageDecoderBuilder::default().with_context(context).build().decode(wire).map_err(|e| format!("{e:?}"))?;
    assert_eq!(size, wire.len());
    Ok(message)
}

prop_compose! {
    fn address()(v6 in any::<bool>(), bits in any::<u128>(), port in any::<u16>()) -> SocketAddr {
        let ip = if v6 { IpAddr::V6(Ipv6Addr::from_bits(bits)) } else { IpAddr::V4(Ipv4Addr::from_bits(bits as u32)) };
        SocketAddr::new(ip, port)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn checks_agree_both_ways(
        id in any::<[u8; 12]>(), first in "[A-Za-z0-9+/]{4,32}", second in "[A-Za-z0-9+/]{4,32}", priority in any::<u32>(),
        tie in any::<u64>(), nominates in any::<bool>(), controlling in any::<bool>(), password in "[A-Za-z0-9+/]{22,32}(==)?",
    ) {
        let key = IntegrityKey::new(password.as_bytes());
        let username = format!("{first}:{second}");

        let mut builder = StunMessageBuilder::new(BINDING, MessageClass::Request)
            .with_transaction_id(foreign_id(id))
            .with_attribute(UserName::new(&username).expect("a user name"))
            .with_attribute(Software::new("another").expect("software"))
            .with_attribute(Priority::new(priority));
        if nominates {
            builder = builder.with_attribute(UseCandidate::default());
        }
        builder = if controlling { builder.with_attribute(IceControlling::new(tie)) } else { builder.with_attribute(IceControlled::new(tie)) };
        let mut out = [0; 400];
        let length = build(builder, &password, &mut out);
        let ours = StunView::new_checked(&out[..length]).expect("well-formed");
        prop_assert!(ours.authenticate(&key).is_ok());
        prop_assert_eq!((ours.class(), ours.id().0, ours.username()), (Class::Request, id, Some(username.as_bytes())));
        prop_assert_eq!((ours.priority(), ours.use_candidate(), ours.software()), (Some(priority), nominates, Some(&b"another"[..])));
        prop_assert_eq!((ours.controlling(), ours.controlled()), if controlling { (Some(tie), None) } else { (None, Some(tie)) });

        let mut writer = StunWriter::new(&mut out, Class::Request, TransactionId(id));
        writer.username(&first, &second).priority(priority);
        if nominates {
            writer.use_candidate();
        }
        if controlling { writer.controlling(tie) } else { writer.controlled(tie) };
        let length = writer.finish(Some(&key)).expect("it fits");
        let theirs = decode(&out[..length], &password).expect("they validate it");
        prop_assert_eq!(theirs.class(), MessageClass::Request);
        prop_assert_eq!(theirs.transaction_id().as_bytes(), &id);
        prop_assert_eq!(theirs.get::<UserName>().expect("there").as_user_name().expect("typed").as_str(), username);
        prop_assert_eq!(theirs.get::<Priority>().expect("there").as_priority().expect("typed").as_u32(), priority);
        prop_assert_eq!(theirs.get::<UseCandidate>().is_some(), nominates);
        prop_assert_eq!(theirs.get::<IceControlling>().is_some(), controlling);
        prop_assert!(decode(&out[..length], "another password of 22").is_err());
    }

    #[test]
    fn answers_agree_both_ways(
        id in any::<[u8; 12]>(), mapped in address(), code in 300u16..700, unknown in proptest::collection::vec(any::<u16>(), 0..5),
        password in "[A-Za-z0-9+/]{22,32}(==)?",
    ) {
        let key = IntegrityKey::new(password.as_bytes());
        let mut out = [0; 400];

        let builder = StunMessageBuilder::new(BINDING, MessageClass::SuccessResponse)
            .with_transaction_id(foreign_id(id))
            .with_attribute(XorMappedAddress::from(mapped));
        let length = build(builder, &password, &mut out);
        let ours = StunView::new_checked(&out[..length]).expect("well-formed");
        prop_assert!(ours.authenticate(&key).is_ok());
        prop_assert_eq!((ours.class(), ours.xor_mapped_address()), (Class::Success, Some(mapped)));

        let length = StunWriter::new(&mut out, Class::Success, TransactionId(id)).xor_mapped_address(mapped).finish(Some(&key));
        let theirs = decode(&out[..length.expect("it fits")], &password).expect("they validate it");
        prop_assert_eq!(theirs.class(), MessageClass::SuccessResponse);
        prop_assert_eq!(theirs.get::<XorMappedAddress>().expect("there").as_xor_mapped_address().expect("typed").socket_address(), &mapped);

        let mut list = UnknownAttributes::default();
        unknown.iter().for_each(|&kind| list.add(kind));
        let builder = StunMessageBuilder::new(BINDING, MessageClass::ErrorResponse)
            .with_transaction_id(foreign_id(id))
            .with_attribute(ErrorCode::new(stun_rs::ErrorCode::new(code, "Some reason").expect("a code")))
            .with_attribute(list);
        let length = build(builder, &password, &mut out);
        let ours = StunView::new_checked(&out[..length]).expect("well-formed");
        prop_assert!(ours.authenticate(&key).is_ok());
        prop_assert_eq!((ours.class(), ours.error_code(), ours.error_reason()), (Class::Error, Some(code), Some(&b"Some reason"[..])));
        // stun-rs keeps one of equal entries.
        prop_assert!(unknown.iter().all(|&kind| ours.unknown_attributes().any(|k| k == kind)));

        let mut writer = StunWriter::new(&mut out, Class::Error, TransactionId(id));
        let length = writer.error_code(code, "Some reason").unknown_attributes(&unknown).finish(Some(&key)).expect("it fits");
        let theirs = decode(&out[..length], &password).expect("they validate it");
        let error = theirs.get::<ErrorCode>().expect("there").as_error_code().expect("typed").error_code().clone();
        prop_assert_eq!((error.error_code(), error.reason()), (code, "Some reason"));
        let listed = theirs.get::<UnknownAttributes>().expect("there").as_unknown_attributes().expect("typed").attributes().to_vec();
        prop_assert!(unknown.iter().all(|kind| listed.contains(kind)));
    }
}
