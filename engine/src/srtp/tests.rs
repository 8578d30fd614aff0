//! Golden vectors, properties over roll-over, loss and replay, and forged packets.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::cipher::Path;
use super::index::INDEX_END;
use super::kdf::{Label, derive};
use super::sources::IDLE_PACKETS_MIN;
use super::{Profile, Receiver, Sender};
use crate::error::DropReason;
use crate::keying::Keying;
use crate::limits::{SRTP_SSRCS_MAX, SRTP_TRAILER_BYTES_MAX};

const PROFILES: [Profile; 4] = [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];
const PATHS: [Path; 3] = [Path::Best, Path::Narrow, Path::Portable];
const KEY: [u8; 32] = *b"an invented key of 32 bytes, yes";
const SALT: [u8; 14] = *b"invented salt!";

fn golden(name: &str) -> Value {
    let path = format!("{}/../tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a hex string");
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn profile(value: &Value) -> Profile {
    let name = value.as_str().expect("a profile name");
    PROFILES.into_iter().find(|profile| profile.name() == name).unwrap_or_else(|| panic!("profile {name}"))
}

fn pair(profile: Profile, path: Path) -> (Sender, Receiver) {
    let (key, salt) = (&KEY[..profile.key_bytes()], &SALT[..profile.salt_bytes()]);
    (Sender::on_path(profile, key, salt, path), Receiver::on_path(profile, key, salt, path))
}

fn rtp(ssrc: u32, index: u64, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0x6f];
    packet.extend((index as u16).to_be_bytes());
    packet.extend((index as u32).wrapping_mul(960).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn rtcp(ssrc: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(body);
    packet
}

fn protect(sender: &mut Sender, plain: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + SRTP_TRAILER_BYTES_MAX, 0xee);
    let len = sender.protect_rtp(&mut buffer, plain.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn protect_rtcp(sender: &mut Sender, plain: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + SRTP_TRAILER_BYTES_MAX, 0xee);
    let len = sender.protect_rtcp(&mut buffer, plain.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

/// Opens a copy; a drop must leave the bytes as they came.
fn unprotect(receiver: &mut Receiver, wire: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut packet = wire.to_vec();
    let result = receiver.unprotect_rtp(&mut packet);
    if result.is_err() {
        assert_eq!(packet, wire, "a dropped packet is untouched");
    }
    packet.truncate(result?);
    Ok(packet)
}

fn unprotect_rtcp(receiver: &mut Receiver, wire: &[u8]) -> Result<Vec<u8>, DropReason> {
    let mut packet = wire.to_vec();
    let result = receiver.unprotect_rtcp(&mut packet);
    if result.is_err() {
        assert_eq!(packet, wire, "a dropped packet is untouched");
    }
    packet.truncate(result?);
    Ok(packet)
}

//= rfc3711#section-4.3.1 type=test
//= rfc3711#section-4.3.2 type=test
//= rules#R1 type=test
#[test]
fn derives_the_keys_of_the_rfcs() {
    for case in golden("srtp/kdf.json")["cases"].as_array().expect("cases") {
        let label = match case["label"].as_u64().expect("label") {
            0 => Label::RtpEncryption,
            1 => Label::RtpAuthentication,
            2 => Label::RtpSalt,
            3 => Label::RtcpEncryption,
            4 => Label::RtcpAuthentication,
            5 => Label::RtcpSalt,
            other => panic!("label {other}"),
        };
        let mut out = vec![0xff; case["length"].as_u64().expect("length") as usize];
        derive(&hex(&case["master_key"]), &hex(&case["master_salt"]), label, &mut out);
        assert_eq!(out, hex(&case["expect"]), "{}", case["id"]);
    }
}

//= rfc3711#section-4.1.1 type=test
//= rfc3711#section-4.2 type=test
#[test]
fn primitives_give_the_known_answers() {
    use aes::cipher::KeyInit;
    let vectors = golden("srtp/primitives.json");
    let mut checked = (0, 0);
    for case in vectors["cases"].as_array().expect("cases") {
        if let Some(blocks) = case["blocks"].as_array() {
            let (key, iv) = (hex(&case["session_key"]), hex(&case["session_salt_shifted"]));
            let mut stream = vec![0; 65_282 * 16];
            let iv = iv.try_into().expect("16 bytes");
            match key.len() {
                16 => super::portable::apply_ctr(&aes::Aes128Enc::new_from_slice(&key).expect("length"), &iv, &mut stream),
                _ => super::portable::apply_ctr(&aes::Aes256Enc::new_from_slice(&key).expect("length"), &iv, &mut stream),
            }
            for block in blocks {
                let at = 16 * block["block"].as_u64().expect("block") as usize;
                assert_eq!(stream[at..at + 16], hex(&block["keystream"])[..], "{} {}", case["id"], block["block"]);
            }
            checked.0 += 1;
        } else {
            let mut key = hex(&case["key"]);
            if key.len() > 64 {
                // RFC 2104 section 2: a longer key is hashed first. SRTP has none.
                use sha1::Digest;
                key = sha1::Sha1::digest(&key).to_vec();
            }
            assert_eq!(super::hmac::HmacSha1::new(&key).digest(&hex(&case["data"]), &[])[..], hex(&case["digest"])[..], "{}", case["id"]);
            checked.1 += 1;
        }
    }
    assert_eq!(checked, (2, 7));
}

//= rfc5764#section-4.1.2 type=test
//= rfc3711#section-3.1 type=test
//= rfc3711#section-3.4 type=test
//= rfc3711#section-4.1.1 type=test
//= rfc3711#section-4.2 type=test
//= rules#R2 type=test
//= rules#R3 type=test
//= rules#R4 type=test
#[test]
fn packets_of_other_stacks_are_met_byte_for_byte() {
    for path in PATHS {
        for case in golden("srtp/packets_kat.json")["cases"].as_array().expect("cases") {
            let (profile, key, salt) = (profile(&case["profile"]), hex(&case["master_key"]), hex(&case["master_salt"]));
            let mut sender = Sender::on_path(profile, &key, &salt, path);
            let mut receiver = Receiver::on_path(profile, &key, &salt, path);
            let (plain, wire) = (hex(&case["plain"]), hex(&case["wire"]));
            if case["kind"] == "rtp" {
                assert_eq!(case["roc"], 0);
                assert_eq!(protect(&mut sender, &plain).as_ref(), Ok(&wire), "{}", case["id"]);
                assert_eq!(unprotect(&mut receiver, &wire), Ok(plain), "{}", case["id"]);
            } else {
                sender.start_at(0, case["srtcp_index"].as_u64().expect("index") as u32);
                assert_eq!(protect_rtcp(&mut sender, &plain).as_ref(), Ok(&wire), "{}", case["id"]);
                assert_eq!(unprotect_rtcp(&mut receiver, &wire), Ok(plain), "{}", case["id"]);
            }
        }
    }
}

/// Packets that the live libsrtp protected, over two roll-overs with late packets from before each: we send the same bytes and open them.
#[test]
fn packets_of_the_live_libsrtp_are_met_over_roll_overs() {
    let vectors = golden("srtp/libsrtp_kat.json");
    let mut cases = 0;
    for case in vectors["cases"].as_array().expect("cases") {
        let (profile, key, salt) = (profile(&case["profile"]), hex(&case["master_key"]), hex(&case["master_salt"]));
        let arrivals: Vec<(bool, u64, Vec<u8>, Vec<u8>)> = case["packets"]
            .as_array()
            .expect("packets")
            .iter()
            .map(|p| (p["kind"] == "rtcp", p["index"].as_u64().expect("index"), hex(&p["plain"]), hex(&p["wire"])))
            .collect();
        for path in PATHS {
            let mut sender = Sender::on_path(profile, &key, &salt, path);
            sender.start_at(0, 1);
            let mut in_order = arrivals.clone();
            in_order.sort_by_key(|&(is_rtcp, index, ..)| (is_rtcp, index));
            for (is_rtcp, index, plain, wire) in in_order {
                let sent = if is_rtcp { protect_rtcp(&mut sender, &plain) } else { protect(&mut sender, &plain) };
                assert_eq!(sent, Ok(wire), "{} {index}", profile.name());
            }
            let mut receiver = Receiver::on_path(profile, &key, &salt, path);
            for (is_rtcp, index, plain, wire) in &arrivals {
                let open = if *is_rtcp { unprotect_rtcp } else { unprotect };
                assert_eq!(open(&mut receiver, wire).as_ref(), Ok(plain), "{} {index}", profile.name());
                assert_eq!(open(&mut receiver, wire), Err(DropReason::Replay), "{} {index}", profile.name());
            }
        }
        assert!(arrivals.iter().any(|&(is_rtcp, index, ..)| !is_rtcp && index > 2 << 16), "two roll-overs");
        assert!(arrivals.windows(2).any(|two| two[0].1 >> 16 == 1 && two[1].1 >> 16 == 0), "a late packet from before");
        cases += 1;
    }
    assert_eq!(cases, PROFILES.len());
}

//= rfc3711#section-3.3 type=test
//= rfc3711#section-3.3.2 type=test
//= rules#R7 type=test
//= rules#R8 type=test
#[test]
fn receivers_live_through_the_scenarios() {
    let mut packets = 0;
    for name in [
        "scenario_headers_cm80",
        "scenario_malformed_cm80",
        "scenario_replay_cm80",
        "scenario_roc_poison_cm80",
        "scenario_two_ssrc_one_wraps_cm80",
        "scenario_wrap_inorder_cm32",
        "scenario_wrap_inorder_cm80",
        "scenario_wrap_reorder_cm80",
        "srtcp_cm32",
        "srtcp_cm80",
    ] {
        for path in PATHS {
            let scenario = golden(&format!("srtp/{name}.json"));
            let mut receiver =
                Receiver::on_path(profile(&scenario["profile"]), &hex(&scenario["master_key"]), &hex(&scenario["master_salt"]), path);
            for (at, packet) in scenario["packets"].as_array().expect("packets").iter().enumerate() {
                let wire = hex(&packet["wire"]);
                let result = if packet["kind"] == "rtcp" { unprotect_rtcp(&mut receiver, &wire) } else { unprotect(&mut receiver, &wire) };
                match packet["expect"].as_str().expect("expect") {
                    "accept" => assert_eq!(result, Ok(hex(&packet["plain"])), "{name} {at}: {}", packet["note"]),
                    "drop" => assert!(result.is_err(), "{name} {at}: {}", packet["note"]),
                    "either" => assert_eq!(result, Err(DropReason::NotEncrypted), "{name} {at}: our policy on E = 0"),
                    other => panic!("expectation {other}"),
                }
                packets += 1;
            }
        }
    }
    assert!(packets > 300, "only {packets} packets");
}

//= rfc5764#section-4.2:direction type=test
//= rules#D17 type=test
#[test]
fn keys_of_real_handshakes_fit() {
    for name in ["dtls/handshake_cm80.json", "dtls/handshake_gcm128.json"] {
        let handshake = golden(name);
        let sample = &handshake["sample"];
        let padded = |value: &Value, out: &mut [u8]| {
            let bytes = hex(value);
            out[..bytes.len()].copy_from_slice(&bytes);
        };
        let mut client = Keying {
            profile: profile(&handshake["srtp_profile"]),
            local_key: [0; 32],
            local_salt: [0; 14],
            remote_key: [0; 32],
            remote_salt: [0; 14],
        };
        padded(&handshake["client_write_key"], &mut client.local_key);
        padded(&handshake["client_write_salt"], &mut client.local_salt);
        padded(&handshake["server_write_key"], &mut client.remote_key);
        padded(&handshake["server_write_salt"], &mut client.remote_salt);

        let (rtp, rtcp) = (hex(&sample["rtp_plain"]), hex(&sample["rtcp_plain"]));
        let mut sender = Sender::from_keying(&client);
        assert_eq!(protect(&mut sender, &rtp), Ok(hex(&sample["sent_by_client"])));
        assert_eq!(protect_rtcp(&mut sender, &rtcp), Ok(hex(&sample["rtcp_sent_by_client"])));
        let mut receiver = Receiver::from_keying(&client);
        assert_eq!(unprotect(&mut receiver, &hex(&sample["sent_by_client"])), Err(DropReason::Auth), "halves are not swapped");
        assert_eq!(unprotect(&mut receiver, &hex(&sample["sent_by_server"])), Ok(rtp));
    }
}

//= rfc3711#section-9.1 type=test
//= rfc3711#section-9.1:ssrc type=test
//= rules#R10 type=test
#[test]
fn a_sender_never_uses_an_index_twice() {
    let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm, Path::Best);
    let first = protect(&mut sender, &rtp(1, 100, b"one")).expect("first");
    assert_eq!(protect(&mut sender, &rtp(1, 100, b"two")), Err(DropReason::Replay));
    assert_eq!(protect(&mut sender, &rtp(1, 99, b"old")), Err(DropReason::Replay));
    assert_eq!(protect(&mut sender, &rtp(2, 101, b"another source")), Err(DropReason::SsrcLimit));
    assert_eq!(protect(&mut sender, &rtp(1, 101, &[])[..11]), Err(DropReason::Truncated));
    let mut tight = rtp(1, 101, b"no room");
    let len = tight.len();
    assert_eq!(sender.protect_rtp(&mut tight, len), Err(DropReason::NoRoom));
    assert_eq!(sender.protect_rtp(&mut tight, len + 1), Err(DropReason::NoRoom));
    assert_eq!(tight, rtp(1, 101, b"no room"));
    let second = protect(&mut sender, &rtp(1, 101, b"two")).expect("refusals cost no index");
    assert_eq!(unprotect(&mut receiver, &first), Ok(rtp(1, 100, b"one")));
    assert_eq!(unprotect(&mut receiver, &second), Ok(rtp(1, 101, b"two")));
}

//= rfc3711#section-9.2 type=test
//= rules#R15 type=test
#[test]
fn keys_end_instead_of_wrapping() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile, Path::Best);
        sender.start_at(INDEX_END - 1, (1 << 31) - 1);
        receiver.sources().pretend(1, INDEX_END - 2);
        let last = protect(&mut sender, &rtp(1, INDEX_END - 1, b"last")).expect("the last index");
        assert_eq!(protect(&mut sender, &rtp(1, 0, b"beyond")), Err(DropReason::KeyExhausted));
        assert_eq!(unprotect(&mut receiver, &last), Ok(rtp(1, INDEX_END - 1, b"last")));
        assert_eq!(unprotect(&mut receiver, &last), Err(DropReason::Replay));
        let mut beyond = last;
        beyond[2..4].copy_from_slice(&[0, 0]);
        assert_eq!(unprotect(&mut receiver, &beyond), Err(DropReason::KeyExhausted));

        let last = protect_rtcp(&mut sender, &rtcp(1, b"last")).expect("the last index");
        assert_eq!(protect_rtcp(&mut sender, &rtcp(1, b"beyond")), Err(DropReason::KeyExhausted));
        assert_eq!(unprotect_rtcp(&mut receiver, &last), Ok(rtcp(1, b"last")));
    }
}

//= rfc5764#section-4.1.2:tags type=test
//= rules#R5 type=test
#[test]
fn trailers_have_the_lengths_of_the_profile() {
    for (profile, rtp_bytes, rtcp_bytes) in [
        (Profile::Aes128CmSha1_80, 10, 14),
        (Profile::Aes128CmSha1_32, 4, 14),
        (Profile::AeadAes128Gcm, 16, 20),
        (Profile::AeadAes256Gcm, 16, 20),
    ] {
        let (mut sender, _) = pair(profile, Path::Best);
        assert_eq!(protect(&mut sender, &rtp(1, 0, b"")).expect("rtp").len(), 12 + rtp_bytes);
        assert_eq!(protect_rtcp(&mut sender, &rtcp(1, b"")).expect("rtcp").len(), 8 + rtcp_bytes);
    }
}

//= rfc3711#section-3.2.1:bound type=test
//= rules#R18 type=test
#[test]
fn only_authentic_packets_take_room_for_an_ssrc() {
    let (key, salt) = (&KEY[..16], &SALT);
    let profile = Profile::Aes128CmSha1_80;
    let mut receiver = Receiver::new(profile, key, salt);
    let fresh = receiver.sources().clone();
    for ssrc in 0..1_000 {
        let mut forged = rtp(ssrc, 1, &[0; 30]);
        forged[20] = ssrc as u8;
        assert_eq!(unprotect(&mut receiver, &forged), Err(DropReason::Auth));
    }
    assert_eq!(*receiver.sources(), fresh);

    let send = |ssrc, index| protect(&mut Sender::new(profile, key, salt), &rtp(ssrc, index, b"x")).expect("protect");
    for ssrc in 0..SRTP_SSRCS_MAX as u32 {
        unprotect(&mut receiver, &send(ssrc, 5)).expect("room");
    }
    assert_eq!(unprotect(&mut receiver, &send(99, 5)), Err(DropReason::SsrcLimit));
    for index in 6..6 + IDLE_PACKETS_MIN {
        unprotect(&mut receiver, &send(3, index)).expect("known");
    }
    unprotect(&mut receiver, &send(99, 5)).expect("SSRC 0 is idle");
    assert_eq!(unprotect(&mut receiver, &send(0, 5)), Err(DropReason::SsrcLimit), "a recording of a forgotten SSRC is not new");
}

//= rfc3711#section-3.2.1 type=test
//= rules#R9 type=test
#[test]
fn roll_over_counters_belong_to_an_ssrc_and_wait_for_it() {
    for profile in PROFILES {
        let (mut old, mut receiver) = pair(profile, Path::Best);
        let (mut new, _) = pair(profile, Path::Best);
        for index in [65_530, 65_535, 65_536, 98_000, 130_000, 131_071, 131_072] {
            let plain = rtp(0xaaaa, index, b"old");
            assert_eq!(unprotect(&mut receiver, &protect(&mut old, &plain).expect("protect")), Ok(plain));
        }
        let plain = rtp(0xbbbb, 17, b"new");
        assert_eq!(unprotect(&mut receiver, &protect(&mut new, &plain).expect("protect")), Ok(plain), "ROC 0 for a new SSRC");
        let plain = rtp(0xaaaa, 131_073, b"old again");
        assert_eq!(unprotect(&mut receiver, &protect(&mut old, &plain).expect("protect")), Ok(plain), "ROC 2 is kept");
    }
}

#[test]
fn sizes_are_what_the_documentation_says() {
    use super::cipher::{CmKeys, GcmKeys};
    let sizes = [size_of::<Sender>(), size_of::<Receiver>(), 2 * size_of::<CmKeys>(), 2 * size_of::<GcmKeys>()];
    assert!(sizes[0] <= 96 && sizes[1] <= 1_024 && sizes[2] <= 512 && sizes[3] <= 1_024, "{sizes:?}");
}

//= rfc5764#section-4.1.2:lifetime type=test
//= rules#R15 type=test
#[test]
fn r15_a_key_protects_so_many_packets_and_then_none() {
    for (profile, life) in PROFILES.into_iter().zip([1 << 31, 1 << 31, 1 << 48, 1 << 48]) {
        let (mut sender, mut receiver) = pair(profile, Path::Best);
        assert_eq!(sender.wear_out(3), life, "{}", profile.name());
        let wires: Vec<_> = (0..3).map(|i| protect(&mut sender, &rtp(1, 10 + 2 * i, b"x")).expect("one of the last")).collect();
        for _ in 0..2 {
            assert_eq!(protect(&mut sender, &rtp(1, 99, b"x")), Err(DropReason::KeyExhausted));
        }
        assert!(wires.iter().all(|wire| unprotect(&mut receiver, wire).is_ok()), "gaps count as nothing, packets do");
        protect_rtcp(&mut sender, &rtcp(1, b"goodbye")).expect("reports have their own count");
    }
}

//= rules#R6 type=test
#[test]
fn r6_a_late_packet_steps_back_over_a_roll_over_but_never_before_the_start() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile, Path::Best);
        sender.start_at(65_534, 0);
        let wires: Vec<_> = (65_534..65_540).map(|i| protect(&mut sender, &rtp(1, i, b"x")).expect("protect")).collect();
        receiver.sources().pretend(1, 65_533);
        for at in [5, 0, 1, 4] {
            assert!(unprotect(&mut receiver, &wires[at]).is_ok(), "{at}");
        }
        let (mut early, mut fresh) = pair(profile, Path::Best);
        early.start_at(5, 0);
        let first = protect(&mut early, &rtp(2, 5, b"x")).expect("protect");
        unprotect(&mut fresh, &first).expect("the first");
        let mut before = first.clone();
        before[2..4].copy_from_slice(&0xfff0u16.to_be_bytes());
        assert_eq!(unprotect(&mut fresh, &before), Err(DropReason::Replay), "there is no cycle before the first");
    }
}

/// Seed 9818: everything before the wrap was lost. The counter is found by the tag, once, and nothing but an authentic packet moves it.
//= rfc3711#section-3.3.1:lost-wrap type=test
//= rules#R11 type=test
#[test]
fn r11_a_stream_of_which_everything_before_the_wrap_was_lost_is_met() {
    for profile in PROFILES {
        for path in PATHS {
            let (mut sender, mut receiver) = pair(profile, path);
            sender.start_at(65_530, 0);
            let sent: Vec<_> =
                (65_530u64..65_560).map(|index| protect(&mut sender, &rtp(7, index, b"speech")).expect("in order")).collect();
            // Forged ones first: neither counter is believed.
            let mut forged = sent[8].clone();
            *forged.last_mut().expect("a tag") ^= 1;
            assert_eq!(unprotect(&mut receiver, &forged), Err(DropReason::Auth));
            assert_eq!(*receiver.sources(), super::sources::Sources::default(), "nothing is remembered of it");
            for wire in &sent[8..] {
                assert!(unprotect(&mut receiver, wire).is_ok());
            }
            assert_eq!(unprotect(&mut receiver, &sent[8]), Err(DropReason::Replay));
            // One from before the wrap that comes late after all.
            assert!(unprotect(&mut receiver, &sent[5]).is_ok());
            assert_eq!(unprotect(&mut receiver, &sent[5]), Err(DropReason::Replay));
            // A known SSRC gets one guess: a counter that is off by more is an attack or a loss of half a cycle.
            let (mut far, _) = pair(profile, path);
            far.start_at((3 << 16) + 100, 0);
            let wire = protect(&mut far, &rtp(7, (3 << 16) + 100, b"speech")).expect("in order");
            assert_eq!(unprotect(&mut receiver, &wire), Err(DropReason::Auth));
        }
    }
}

//= rules#R12 type=test
#[test]
fn r12_a_first_srtcp_index_of_0_or_1_is_taken() {
    for first in [0, 1] {
        let (mut sender, mut receiver) = pair(Profile::Aes128CmSha1_80, Path::Best);
        sender.start_at(0, first);
        for _ in 0..3 {
            let wire = protect_rtcp(&mut sender, &rtcp(1, b"report")).expect("protect");
            assert_eq!(unprotect_rtcp(&mut receiver, &wire), Ok(rtcp(1, b"report")));
        }
    }
}

//= rfc3711#section-3.4:unencrypted type=test
//= rules#R13 type=test
#[test]
fn r13_srtcp_that_says_it_is_plain_is_refused() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile, Path::Best);
        let mut wire = protect_rtcp(&mut sender, &rtcp(1, b"report")).expect("protect");
        // The word with E stands behind the tag in GCM, and before 10 bytes of tag else.
        let word = wire.len() - if profile.rtp_tag_bytes() == 16 { 4 } else { 14 };
        assert_eq!(wire[word] & 0x80, 0x80);
        wire[word] &= 0x7f;
        assert_eq!(unprotect_rtcp(&mut receiver, &wire), Err(DropReason::NotEncrypted));
    }
}

//= rules#R14 type=test
#[test]
fn r14_lengths_are_judged_before_anything_is_read() {
    for profile in PROFILES {
        let (_, mut receiver) = pair(profile, Path::Best);
        for len in 0..12 + profile.rtp_tag_bytes() {
            let mut short = vec![0x80; len];
            assert!(matches!(receiver.unprotect_rtp(&mut short), Err(DropReason::Truncated)), "{len}");
        }
        for len in 0..8 + 4 + 10 {
            let mut short = vec![0x80; len];
            assert!(matches!(receiver.unprotect_rtcp(&mut short), Err(DropReason::Truncated | DropReason::NotEncrypted)), "{len}");
        }
        // 15 CSRCs, or an extension of 65,535 words, that are not there.
        for first in [0x8f, 0x90] {
            let mut lying = rtp(1, 1, &[0xff; 40]);
            lying[0] = first;
            let known = receiver.sources().clone();
            assert!(receiver.unprotect_rtp(&mut lying).is_err());
            assert_eq!(*receiver.sources(), known);
        }
    }
}

//= rules#R16 type=test
#[test]
fn r16_an_mki_or_any_byte_too_many_is_no_packet() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile, Path::Best);
        let wire = protect(&mut sender, &rtp(1, 1, b"payload")).expect("protect");
        for mki_bytes in 1..=8 {
            let tag = wire.len() - profile.rtp_tag_bytes();
            let before_tag = [&wire[..tag], &vec![0; mki_bytes], &wire[tag..]].concat();
            let behind = [&wire[..], &vec![0; mki_bytes]].concat();
            for odd in [before_tag, behind] {
                assert_eq!(unprotect(&mut receiver, &odd), Err(DropReason::Auth), "{mki_bytes}");
            }
        }
        assert_eq!(unprotect(&mut receiver, &wire), Ok(rtp(1, 1, b"payload")), "and the packet itself is still new");
    }
}

//= rules#R17 type=test
#[test]
fn r17_failures_end_nothing_whatever_their_number() {
    let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm, Path::Best);
    let wire = protect(&mut sender, &rtp(1, 1, b"payload")).expect("protect");
    for number in 0..20_000u32 {
        let mut forged = wire.clone();
        forged[12..16].copy_from_slice(&(number + 1).to_be_bytes());
        forged[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        assert_eq!(unprotect(&mut receiver, &forged), Err(DropReason::Auth));
    }
    assert_eq!(unprotect(&mut receiver, &wire), Ok(rtp(1, 1, b"payload")));
}

//= rules#R19 type=test
//= rules#G9 type=test
#[test]
fn r19_no_key_is_shown() {
    let (sender, receiver) = pair(Profile::AeadAes256Gcm, Path::Best);
    let shown = format!("{sender:?} {receiver:?}");
    assert!(shown.contains("AeadAes256Gcm") && shown.len() < 200, "{shown}");
    for secret in [format!("{:?}", &KEY[..4]), format!("{:?}", &SALT[..4])] {
        assert!(!shown.contains(secret.trim_matches(['[', ']'])), "{shown}");
    }
}

/// The wide way has a case for each number of blocks: every length that takes it, and some beyond, with and without an extension.
#[test]
fn all_paths_agree_on_every_length_of_speech() {
    for profile in PROFILES {
        for (length, extension) in (0..=210).flat_map(|length| [(length, false), (length, true)]) {
            let mut plain = rtp(7, 9, &[]);
            if extension {
                plain[0] |= 0x10;
                plain.extend([0xbe, 0xde, 0, 1, 0x51, 0xaa, 0, 0]);
            }
            plain.extend((0..length).map(|i: u32| (i * 37 + length) as u8));
            let wires = PATHS.map(|path| protect(&mut pair(profile, path).0, &plain).expect("room"));
            assert!(wires[0] == wires[1] && wires[0] == wires[2], "{} of {length} bytes", profile.name());
            for path in PATHS {
                let (_, mut receiver) = pair(profile, path);
                let mut forged = wires[0].clone();
                *forged.last_mut().expect("a tag") ^= 1;
                assert_eq!(unprotect(&mut receiver, &forged), Err(DropReason::Auth));
                assert_eq!(unprotect(&mut receiver, &wires[0]).as_ref(), Ok(&plain), "{} of {length} bytes", profile.name());
            }
        }
    }
}

/// An RTP packet with CSRCs, an extension and any payload length.
fn any_rtp() -> impl Strategy<Value = Vec<u8>> {
    let words = |most| prop::collection::vec(any::<[u8; 4]>(), 0..=most);
    (any::<u32>(), words(15), prop::option::of((any::<[u8; 2]>(), words(8))), prop::collection::vec(any::<u8>(), 0..1_400), any::<u16>())
        .prop_map(|(ssrc, csrcs, extension, payload, seq)| {
            let mut packet = rtp(ssrc, u64::from(seq), &[]);
            packet[0] |= csrcs.len() as u8;
            packet.extend(csrcs.as_flattened());
            if let Some((kind, words)) = extension {
                packet[0] |= 0x10;
                packet.extend(kind);
                packet.extend((words.len() as u16).to_be_bytes());
                packet.extend(words.as_flattened());
            }
            packet.extend(payload);
            packet
        })
}

proptest! {
    /// Round trip, all paths bit for bit alike, and any flipped bit is found and changes nothing.
    //= rules#R3 type=test
    //= rules#R7 type=test
    #[test]
    fn all_paths_agree_on_any_packet(
        plain in any_rtp(), key in any::<[u8; 32]>(), salt in any::<[u8; 14]>(), roc in any::<u32>(), flip in any::<prop::sample::Index>()
    ) {
        for profile in PROFILES {
            let (key, salt) = (&key[..profile.key_bytes()], &salt[..profile.salt_bytes()]);
            let index = u64::from(roc) << 16 | u64::from(u16::from_be_bytes([plain[2], plain[3]]));
            let ssrc = u32::from_be_bytes([plain[8], plain[9], plain[10], plain[11]]);
            let wires = PATHS.map(|path| {
                let mut sender = Sender::on_path(profile, key, salt, path);
                sender.start_at(index, 0);
                protect(&mut sender, &plain).expect("protect")
            });
            prop_assert_eq!(&wires[0], &wires[1]);
            prop_assert_eq!(&wires[0], &wires[2]);
            let mut forged = wires[0].clone();
            let bit = flip.index(8 * forged.len());
            forged[bit / 8] ^= 1 << (bit % 8);
            for path in PATHS {
                let mut receiver = Receiver::on_path(profile, key, salt, path);
                if index > 0 {
                    receiver.sources().pretend(ssrc, index - 1);
                }
                let before = receiver.sources().clone();
                prop_assert!(unprotect(&mut receiver, &forged).is_err());
                prop_assert_eq!(&*receiver.sources(), &before);
                prop_assert_eq!(unprotect(&mut receiver, &wires[0]), Ok(plain.clone()));
                prop_assert_eq!(unprotect(&mut receiver, &wires[0]), Err(DropReason::Replay));
            }
        }
    }

    //= rules#R4 type=test
    #[test]
    fn all_paths_agree_on_any_compound(
        body in prop::collection::vec(any::<u8>(), 0..600), ssrc in any::<u32>(), index in 0u32..1 << 31, flip in any::<prop::sample::Index>()
    ) {
        let plain = rtcp(ssrc, &body);
        for profile in PROFILES {
            let wires = PATHS.map(|path| {
                let (mut sender, _) = pair(profile, path);
                sender.start_at(0, index);
                protect_rtcp(&mut sender, &plain).expect("protect")
            });
            prop_assert_eq!(&wires[0], &wires[1]);
            prop_assert_eq!(&wires[0], &wires[2]);
            let mut forged = wires[0].clone();
            let bit = flip.index(8 * forged.len());
            forged[bit / 8] ^= 1 << (bit % 8);
            for path in PATHS {
                let (_, mut receiver) = pair(profile, path);
                let before = receiver.sources().clone();
                prop_assert!(unprotect_rtcp(&mut receiver, &forged).is_err());
                prop_assert_eq!(&*receiver.sources(), &before);
                prop_assert_eq!(unprotect_rtcp(&mut receiver, &wires[0]), Ok(plain.clone()));
                prop_assert_eq!(unprotect_rtcp(&mut receiver, &wires[0]), Err(DropReason::Replay));
            }
        }
    }

    /// Two SSRCs, both rolling over again and again, with loss, reordering, duplicates and forged packets in between. A packet is
    /// accepted if and only if it is new and less than 128 behind the highest of its SSRC.
    //= rfc3711#section-3.3.1 type=test
    //= rfc3711#section-3.3.2 type=test
    #[test]
    fn roll_over_survives_loss_and_disorder(
        start in 0u64..0x8000, steps in prop::collection::vec((0u8..2, 1u64..0x6000, 0u64..200, 0u8..4), 1..120), which in 0usize..4
    ) {
        let profile = PROFILES[which];
        let (mut a, mut receiver) = pair(profile, Path::Best);
        let (mut b, _) = pair(profile, Path::Best);
        let mut next = [start, start / 2];
        let mut sent: [Vec<(u64, Vec<u8>)>; 2] = [Vec::new(), Vec::new()];
        let mut seen = [BTreeSet::new(), BTreeSet::new()];
        for (source, jump, back, action) in steps {
            let source = usize::from(source);
            let ssrc = 0x100 + source as u32;
            // A small jump now and then, so that the window is used as well.
            let jump = if back % 2 == 0 { jump } else { 1 + jump % 5 };
            for step in [jump, 1, 1] {
                next[source] += step;
                let sender = if source == 0 { &mut a } else { &mut b };
                let wire = protect(sender, &rtp(ssrc, next[source], &next[source].to_be_bytes())).expect("protect");
                sent[source].push((next[source], wire));
            }
            let from_end = sent[source].len() - 1 - (back as usize).min(sent[source].len() - 1);
            let arrivals = match action {
                0 => vec![sent[source].len() - 1],
                1 => vec![sent[source].len() - 1, from_end],
                2 => vec![sent[source].len() - 1, sent[source].len() - 3, sent[source].len() - 3],
                _ => vec![sent[source].len() - 2, sent[source].len() - 1, sent[source].len() - 3],
            };
            for at in arrivals {
                let (index, wire) = &sent[source][at];
                let mut forged = wire.clone();
                forged[3] ^= 0x40;
                forged[2] ^= 0x80;
                let before = receiver.sources().clone();
                prop_assert!(unprotect(&mut receiver, &forged).is_err());
                prop_assert_eq!(&*receiver.sources(), &before);

                let highest: Option<u64> = seen[source].last().copied();
                let new = !seen[source].contains(index) && highest.is_none_or(|h| index + 128 > h);
                let result = unprotect(&mut receiver, wire);
                if new {
                    prop_assert_eq!(result, Ok(rtp(ssrc, *index, &index.to_be_bytes())));
                    seen[source].insert(*index);
                } else {
                    prop_assert!(matches!(result, Err(DropReason::Replay | DropReason::Auth)), "{:?}", result);
                }
            }
        }
    }

    //= rules#R14 type=test
    #[test]
    fn noise_is_dropped(mut data in prop::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        if version && !data.is_empty() {
            data[0] = data[0] & 0x3f | 0x80;
        }
        for profile in PROFILES {
            let (_, mut receiver) = pair(profile, Path::Best);
            let before = receiver.sources().clone();
            prop_assert!(unprotect(&mut receiver, &data).is_err());
            prop_assert!(unprotect_rtcp(&mut receiver, &data).is_err());
            prop_assert_eq!(&*receiver.sources(), &before);
        }
    }
}
