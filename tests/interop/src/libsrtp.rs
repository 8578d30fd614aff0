//! libsrtp as a judge of our SRTP and SRTCP, packet by packet, in both directions.
//!
//! Two senders with the same keys protect the same packets: every byte must be equal. Two receivers get the same datagrams, lost, reordered,
//! repeated, recorded and forged by a seed: they must accept the same ones and give the same plain bytes. Sequence numbers jump, so the
//! roll-over counter moves often, with packets from before still on the way.
//!
//! Refuses to compare, because libsrtp differs by policy: an SRTCP packet with E = 0 (it passes one, we drop it), a step of 2^15 or more
//! in the first cycle of a sequence number, and the index of the first SRTCP packet (it sends 1, we send 0; ours is started at 1 here).
//!
//! `--write-known-answers FILE` writes the packets that `engine/src/srtp/tests.rs` checks without libsrtp.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use srtp::{CryptoPolicy, Session, StreamPolicy};
use tipring_engine::keying::Profile;
use tipring_engine::limits::SRTP_TRAILER_BYTES_MAX;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::srtp::{Receiver, Sender};

use crate::Failure;

const PACKETS: u64 = 100_000;
const SEED: u64 = 0x5107;
const PROFILES: [Profile; 4] = [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm];

pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    match arguments {
        [] => Ok(judge()?),
        [option, file] if option == "--write-known-answers" => {
            std::fs::write(file, known_answers()?).map_err(|e| format!("cannot write {file}: {e}"))?;
            println!("wrote {file}");
            Ok(true)
        }
        _ => Err("libsrtp takes no argument, or --write-known-answers FILE".to_owned()),
    }
}

/// What one run over one profile counted.
#[derive(Default)]
struct Tally {
    sent: u64,
    sent_rtcp: u64,
    roll_overs: u64,
    wire_differs: u64,
    arrived: u64,
    accepted: u64,
    dropped: u64,
    verdict_differs: u64,
    plain_differs: u64,
}

fn judge() -> Result<bool, Failure> {
    println!(
        "{:<28} {:>8} {:>7} {:>9} {:>8} {:>8} {:>8} | {:>10} {:>13} {:>11}",
        "profile", "sent", "rtcp", "roll-over", "arrived", "accepted", "dropped", "wire diff", "verdict diff", "plain diff"
    );
    let mut clean = true;
    for profile in PROFILES {
        let t = compare(profile)?;
        println!(
            "{:<28} {:>8} {:>7} {:>9} {:>8} {:>8} {:>8} | {:>10} {:>13} {:>11}",
            profile.name(),
            t.sent,
            t.sent_rtcp,
            t.roll_overs,
            t.arrived,
            t.accepted,
            t.dropped,
            t.wire_differs,
            t.verdict_differs,
            t.plain_differs
        );
        // A run in which nothing is accepted, dropped or rolled over would agree without saying anything.
        clean &= t.wire_differs + t.verdict_differs + t.plain_differs == 0;
        clean &= t.sent == PACKETS && t.roll_overs > 2 && t.accepted > PACKETS / 2 && t.dropped > PACKETS / 50;
    }
    println!("{}", if clean { "no difference" } else { "DIFFERENCES FOUND" });
    Ok(clean)
}

/// One datagram on the way: RTCP or not, as it was, as it is on the wire.
type Flight = (bool, Vec<u8>);

fn compare(profile: Profile) -> Result<Tally, Failure> {
    let mut rng = SeededRng::new(SEED + profile.key_bytes() as u64 + profile.rtp_tag_bytes() as u64);
    let (key, salt) = keys(profile, &mut rng);
    let (mut ours, mut theirs) = Ends::pair(profile, &key, &salt)?;
    let ssrc = rng.u32();
    let mut tally = Tally::default();
    let mut on_the_way: BTreeMap<(u64, u64), Flight> = BTreeMap::new();
    let mut recorded: Vec<Flight> = Vec::new();
    // Close to the first wrap, so that it is met with packets on the way.
    let mut index = 65_000;
    for now in 0..PACKETS {
        let before = index >> 16;
        // One in 200 is a step of up to half a cycle: many roll-overs in one run.
        index += if rng.below(200) == 0 { 1 + rng.below(30_000) } else { 1 };
        tally.roll_overs += (index >> 16) - before;
        let plain = rtp(&mut rng, ssrc, index);
        let mut sent = vec![(false, protect(&mut ours, &mut theirs, &plain, false, &mut tally)?)];
        tally.sent += 1;
        if now % 50 == 0 {
            let plain = rtcp(&mut rng, ssrc);
            sent.push((true, protect(&mut ours, &mut theirs, &plain, true, &mut tally)?));
            tally.sent_rtcp += 1;
        }
        for flight in sent {
            let order = rng.u64();
            let delay = if rng.below(50) == 0 { rng.below(200) } else { rng.below(6) };
            // One in 20 is lost, one in 50 comes twice, one in 50 is forged, one in 50 is an old recording.
            if rng.below(20) != 0 {
                on_the_way.insert((now + delay, order), flight.clone());
            }
            if rng.below(50) == 0 {
                on_the_way.insert((now + rng.below(300), order ^ 1), flight.clone());
            }
            if rng.below(50) == 0 {
                let mut forged = flight.clone();
                let bit = rng.below(8 * forged.1.len() as u64) as usize;
                forged.1[bit / 8] ^= 1 << (bit % 8);
                on_the_way.insert((now + rng.below(6), order ^ 2), forged);
            }
            if rng.below(50) == 0 && !recorded.is_empty() {
                let old = recorded[rng.below(recorded.len() as u64) as usize].clone();
                on_the_way.insert((now + rng.below(6), order ^ 3), old);
            }
            recorded.push(flight);
        }
        while let Some(entry) = on_the_way.first_entry()
            && (entry.key().0 <= now || now + 1 == PACKETS)
        {
            let (is_rtcp, wire) = entry.remove();
            arrive(&mut ours, &mut theirs, &wire, is_rtcp, &mut tally);
        }
    }
    Ok(tally)
}

/// Both ends of one implementation.
struct Ours(Sender, Receiver);
struct Theirs(Session, Session);
struct Ends;

impl Ends {
    fn pair(profile: Profile, key: &[u8], salt: &[u8]) -> Result<(Ours, Theirs), Failure> {
        let both = [key, salt].concat();
        let policy = || StreamPolicy {
            rtp: policy(profile, false),
            rtcp: policy(profile, true),
            key: &both,
            window_size: 128,
            ..Default::default()
        };
        let failed = |e| format!("libsrtp refuses {}: {e}", profile.name());
        let mut sender = Sender::new(profile, key, salt);
        sender.start_at(0, 1);
        Ok((
            Ours(sender, Receiver::new(profile, key, salt)),
            Theirs(Session::with_outbound_template(policy()).map_err(failed)?, Session::with_inbound_template(policy()).map_err(failed)?),
        ))
    }
}

fn policy(profile: Profile, is_rtcp: bool) -> CryptoPolicy {
    match profile {
        Profile::Aes128CmSha1_80 => CryptoPolicy::aes_cm_128_hmac_sha1_80(),
        // RFC 5764 section 4.1.2: SRTCP keeps the long tag.
        Profile::Aes128CmSha1_32 if is_rtcp => CryptoPolicy::aes_cm_128_hmac_sha1_80(),
        Profile::Aes128CmSha1_32 => CryptoPolicy::aes_cm_128_hmac_sha1_32(),
        Profile::AeadAes128Gcm => CryptoPolicy::aes_gcm_128_16_auth(),
        Profile::AeadAes256Gcm => CryptoPolicy::aes_gcm_256_16_auth(),
    }
}

fn keys(profile: Profile, rng: &mut SeededRng) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut salt) = (vec![0; profile.key_bytes()], vec![0; profile.salt_bytes()]);
    rng.fill(&mut key);
    rng.fill(&mut salt);
    (key, salt)
}

/// Protects with both; returns the bytes of libsrtp, and of us every other time if they differ.
fn protect(ours: &mut Ours, theirs: &mut Theirs, plain: &[u8], is_rtcp: bool, tally: &mut Tally) -> Result<Vec<u8>, Failure> {
    let mut mine = plain.to_vec();
    mine.resize(plain.len() + SRTP_TRAILER_BYTES_MAX, 0);
    let len = if is_rtcp { ours.0.protect_rtcp(&mut mine, plain.len()) } else { ours.0.protect_rtp(&mut mine, plain.len()) };
    mine.truncate(len.map_err(|reason| format!("we refuse to send: {reason}"))?);
    let mut other = plain.to_vec();
    let result = if is_rtcp { theirs.0.protect_rtcp(&mut other) } else { theirs.0.protect(&mut other) };
    result.map_err(|e| format!("libsrtp refuses to send: {e}"))?;
    if mine == other {
        return Ok(mine);
    }
    tally.wire_differs += 1;
    Ok(if tally.wire_differs.is_multiple_of(2) { mine } else { other })
}

fn arrive(ours: &mut Ours, theirs: &mut Theirs, wire: &[u8], is_rtcp: bool, tally: &mut Tally) {
    let mut mine = wire.to_vec();
    let len = if is_rtcp { ours.1.unprotect_rtcp(&mut mine) } else { ours.1.unprotect_rtp(&mut mine) };
    let mut other = wire.to_vec();
    let result = if is_rtcp { theirs.1.unprotect_rtcp(&mut other) } else { theirs.1.unprotect(&mut other) };
    tally.arrived += 1;
    match (len, result) {
        (Ok(len), Ok(())) => {
            tally.accepted += 1;
            tally.plain_differs += u64::from(mine[..len] != other[..]);
        }
        (Err(_), Err(_)) => tally.dropped += 1,
        (mine, other) => {
            tally.verdict_differs += 1;
            if tally.verdict_differs <= 10 {
                eprintln!("  verdicts differ: we say {mine:?}, libsrtp says {other:?}, rtcp {is_rtcp}, {} bytes", wire.len());
            }
        }
    }
}

/// A packet with any number of CSRCs, with and without extension, with 0 to 400 bytes of payload.
fn rtp(rng: &mut SeededRng, ssrc: u32, index: u64) -> Vec<u8> {
    let csrcs = if rng.below(8) == 0 { rng.below(16) } else { 0 };
    let extension = (rng.below(8) == 0).then(|| rng.below(6));
    let mut packet = vec![0x80 | csrcs as u8 | if extension.is_some() { 0x10 } else { 0 }, 111];
    packet.extend((index as u16).to_be_bytes());
    packet.extend((index as u32).wrapping_mul(960).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    for _ in 0..csrcs {
        packet.extend(rng.u32().to_be_bytes());
    }
    if let Some(words) = extension {
        packet.extend([0xbe, 0xde, 0, words as u8]);
        packet.extend((0..words).flat_map(|_| rng.u32().to_be_bytes()));
    }
    let mut payload = vec![0; rng.below(400) as usize];
    rng.fill(&mut payload);
    packet.extend(payload);
    packet
}

/// A sender report with random numbers in it.
fn rtcp(rng: &mut SeededRng, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    let mut report = [0; 20];
    rng.fill(&mut report);
    packet.extend(report);
    packet
}

/// Packets of libsrtp in order of arrival: two roll-overs, each followed by a late packet from before it.
fn known_answers() -> Result<String, Failure> {
    const INDEXES: [u64; 16] = [
        65_533, 65_534, 65_535, 65_536, 65_537, 65_600, 90_000, 120_000, 131_069, 131_070, 131_071, 131_072, 131_073, 131_200, 160_000,
        160_001,
    ];
    // Positions in `INDEXES`.
    const ARRIVAL: [usize; 16] = [0, 2, 3, 1, 4, 5, 6, 7, 9, 11, 10, 8, 12, 13, 15, 14];
    let mut rng = SeededRng::new(SEED);
    let mut out = String::from(
        "{\n \"source\": \"protected by libsrtp 2 through the srtp crate: cargo interop -- libsrtp --write-known-answers FILE\",\n \
         \"note\": \"packets in order of arrival; the sender protected them in order of index\",\n \"cases\": [\n",
    );
    for (at, profile) in PROFILES.into_iter().enumerate() {
        let (key, salt) = keys(profile, &mut rng);
        let (_, mut theirs) = Ends::pair(profile, &key, &salt)?;
        let ssrc = rng.u32();
        let mut sent = Vec::new();
        let failed = |e| format!("libsrtp refuses to send: {e}");
        for index in INDEXES {
            let plain = rtp(&mut rng, ssrc, index);
            let mut wire = plain.clone();
            theirs.0.protect(&mut wire).map_err(failed)?;
            sent.push(("rtp", index, plain, wire));
        }
        let mut arrival: Vec<_> = ARRIVAL.iter().map(|&at| sent[at].clone()).collect();
        for index in 1..=3 {
            let plain = rtcp(&mut rng, ssrc);
            let mut wire = plain.clone();
            theirs.0.protect_rtcp(&mut wire).map_err(failed)?;
            arrival.push(("rtcp", index, plain, wire));
        }
        let comma = if at == 0 { "" } else { ",\n" };
        let (name, key, salt) = (profile.name(), hex(&key), hex(&salt));
        write!(
            out,
            "{comma}  {{\n   \"profile\": \"{name}\",\n   \"master_key\": \"{key}\",\n   \"master_salt\": \"{salt}\",\n   \"packets\": [\n"
        )
        .expect("a string takes everything");
        let packets: Vec<String> = arrival
            .iter()
            .map(|(kind, index, plain, wire)| {
                format!("    {{\"kind\": \"{kind}\", \"index\": {index}, \"plain\": \"{}\", \"wire\": \"{}\"}}", hex(plain), hex(wire))
            })
            .collect();
        write!(out, "{}\n   ]\n  }}", packets.join(",\n")).expect("a string takes everything");
    }
    out.push_str("\n ]\n}\n");
    Ok(out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
