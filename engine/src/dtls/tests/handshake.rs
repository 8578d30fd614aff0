//! Whole handshakes of two connections of ours.

use super::*;
use crate::rng::{Entropy, SeededRng};

const GCM: Profile = Profile::AeadAes128Gcm;
const CM: Profile = Profile::Aes128CmSha1_80;

//= rfc5764#section-4.2 type=test
//= rules#D16 type=test
#[test]
fn each_profile_connects_and_mirrors_its_keys() {
    for profile in [GCM, CM, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_32] {
        let both = context(&[profile]);
        let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
        world.run();
        world.assert_connected(profile);
        assert_eq!(world.now, Time::ZERO + Span::from_millis(20), "two round trips, no timer");
        assert!(world.ends.iter().all(|e| e.is_connected() && e.stats().retransmissions == 0));
    }
}

//= rfc5764#section-4.1.1:offer type=test
//= rfc5764#section-4.1.3 type=test
//= rules#D2 type=test
//= rules#D26 type=test
#[test]
fn the_offer_keeps_its_order() {
    let mut world = World::new(&default_context(), &context(&[CM, GCM]), |_, _, _| Fate::Deliver);
    world.run();
    world.assert_connected(CM);
    let hello = &world.log[0].2;
    let offer = [0x00, 0x0e, 0x00, 0x09, 0x00, 0x06, 0x00, 0x07, 0x00, 0x01, 0x00, 0x08, 0x00];
    assert!(hello.windows(offer.len()).any(|w| w == offer), "use_srtp offers 0007 0001 0008 and an empty MKI");
    assert!(hello.windows(4).any(|w| w == [0x00, 0x17, 0x00, 0x00]), "extended_master_secret is offered");
}

//= rfc6347#section-4.2.4 type=test
//= rules#D6 type=test
//= rules#D7 type=test
#[test]
fn every_datagram_lost_in_turn_is_repaired() {
    let both = default_context();
    for from in 0..2 {
        for index in 0..6 {
            for run in 1..=2 {
                let mut world =
                    World::new(
                        &both,
                        &both,
                        |f, i, _| if f == from && (index..index + run).contains(&i) { Fate::Lose } else { Fate::Deliver },
                    );
                world.run();
                world.assert_connected(GCM);
                assert!(world.now <= Time::ZERO + Span::from_millis(500), "{from} {index} {run}: {:?}", world.now);
            }
        }
    }
}

//= rules#D24 type=test
#[test]
fn small_datagrams_lost_doubled_or_late_are_repaired() {
    let config = DtlsConfig { mtu_bytes: 300, ..DtlsConfig::default() };
    let both = DtlsContext::new(config, Certificate::generate(UNIX_TIME_S).unwrap()).unwrap();
    for fate in [Fate::Lose, Fate::Twice, Fate::Late(Span::from_millis(7)), Fate::Late(Span::from_millis(120))] {
        for from in 0..2 {
            for index in 0..8 {
                let mut world = World::new(&both, &both, |f, i, _| if (f, i) == (from, index) { fate } else { Fate::Deliver });
                world.run();
                world.assert_connected(GCM);
                assert!(world.largest <= 300);
            }
        }
    }
}

//= meta#R-27 type=test
//= rules#X5 type=test
//= rules#D6 type=test
//= rules#D11 type=test
//= rules#D23 type=test
//= rules#D24 type=test
#[test]
fn each_flight_is_one_datagram() {
    let both = default_context();
    let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
    world.run();
    let flights: Vec<_> = world.log.iter().map(|(_, from, bytes)| (*from, bytes.len())).collect();
    assert_eq!(flights.iter().map(|f| f.0).collect::<Vec<_>>(), [0, 1, 0, 1], "{flights:?}");
    println!("bytes per flight: {flights:?}");
}

//= rfc6347#section-4.2.4.1 type=test
//= rules#D8 type=test
//= rules#D9 type=test
//= rules#D10 type=test
//= rules#D25 type=test
#[test]
fn the_retransmission_schedule_is_exact() {
    let cases = [
        (10, [50, 150, 350, 750, 1550, 2550, 3550]),
        (150, [300, 900, 1900, 2900, 3900, 4900, 5900]),
        // Seed 256: a round trip with a pause of our own in it.
        (1_900, [1000, 2000, 3000, 4000, 5000, 6000, 7000]),
    ];
    for (rtt_ms, want) in cases {
        let context = default_context();
        let mut client = Dtls::new(&context, DtlsRole::Client, &[Fingerprint([1; 32])], Span::from_millis(rtt_ms), Time::ZERO).unwrap();
        let (mut out, mut hellos, mut times) = ([0u8; 1500], Vec::new(), Vec::new());
        let mut now = Time::ZERO;
        loop {
            while let Some(len) = client.poll_transmit(&mut out) {
                hellos.push(out[..len].to_vec());
                times.push(now.as_millis());
            }
            let Some(next) = client.poll_timeout() else { break };
            now = next;
            client.handle_timeout(now);
        }
        assert_eq!(times[0], 0);
        assert_eq!(times[1..8], want);
        assert!(times.len() <= 13, "the library's limit of 12 repetitions");
        assert_eq!(now, Time::ZERO + Span::from_secs(10));
        assert!(matches!(client.poll_event(), Some(DtlsEvent::Failed(EndReason::DtlsTimeout))));
        assert_eq!(client.handle_datagram(&hellos[0], now), Err(DropReason::Closed));
        // D10: same message, new record number.
        for (index, hello) in hellos.iter().enumerate() {
            assert_eq!(hello[..11], [22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, index as u8]);
            assert_eq!(hello[13..], hellos[0][13..]);
        }
    }
}

//= rfc5764#section-5.1.1:fingerprint type=test
//= rfc5764#section-5.1.1 type=test
//= rules#D15 type=test
//= rules#D28 type=test
//= rules#G4 type=test
#[test]
fn a_certificate_other_than_announced_ends_with_an_alert() {
    let (client, server) = (default_context(), default_context());
    for wrong in 0..2 {
        let lists = [[server.fingerprint()], [client.fingerprint()]];
        let list = |end: usize| if end == wrong { [Fingerprint([7; 32])] } else { lists[end] };
        let ends = [
            Dtls::new(&client, DtlsRole::Client, &list(0), DELAY, Time::ZERO).unwrap(),
            Dtls::new(&server, DtlsRole::Server, &list(1), DELAY, Time::ZERO).unwrap(),
        ];
        let mut world = World::of(ends, |_, _, _| Fate::Deliver);
        world.run();
        assert_eq!(world.failed[wrong], Some(EndReason::FingerprintMismatch));
        assert!(world.keying.iter().all(Option::is_none));
        // The other side sees the alert only in clear, so it is noted, and its own patience decides.
        assert_eq!(world.failed[1 - wrong], Some(EndReason::DtlsAlert(42)));
        assert_eq!(world.now, Time::ZERO + Span::from_secs(10));
        assert_eq!(world.ends[1 - wrong].stats().noted_alert, Some(42));
    }
}

//= rules#D21 type=test
#[test]
fn one_of_several_fingerprints_suffices() {
    let (client, server) = (default_context(), default_context());
    let ends = [
        Dtls::new(&client, DtlsRole::Client, &[Fingerprint([7; 32]), server.fingerprint()], DELAY, Time::ZERO).unwrap(),
        Dtls::new(&server, DtlsRole::Server, &[client.fingerprint(), Fingerprint([7; 32])], DELAY, Time::ZERO).unwrap(),
    ];
    let mut world = World::of(ends, |_, _, _| Fate::Deliver);
    world.run();
    world.assert_connected(GCM);
    assert!(matches!(Dtls::new(&client, DtlsRole::Client, &[], DELAY, Time::ZERO), Err(SetupError::PeerIncompatible(_))));
    assert!(matches!(
        Dtls::new(&client, DtlsRole::Client, &[Fingerprint([7; 32]); 9], DELAY, Time::ZERO),
        Err(SetupError::PeerIncompatible(_))
    ));
}

//= rfc5764#section-4.1.1 type=test
//= rfc5764#section-5.1.1 type=test
//= rules#D3 type=test
#[test]
fn no_common_profile_ends_both_sides() {
    let mut world = World::new(&context(&[GCM]), &context(&[CM]), |_, _, _| Fate::Deliver);
    world.run();
    assert!(world.keying.iter().all(Option::is_none));
    assert!(world.failed.contains(&Some(EndReason::NoSrtpProfile)), "{:?}", world.failed);
    assert!(world.failed.iter().all(Option::is_some));
}

//= rules#D19 type=test
#[test]
fn close_notify_is_heard_both_ways() {
    let both = default_context();
    for closer in 0..2 {
        for is_released in [false, true] {
            let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
            world.run();
            world.assert_connected(GCM);
            if is_released {
                world.ends[closer].release();
                assert!(world.ends[closer].is_connected());
                assert_eq!(world.ends[closer].handle_datagram(&world.log[0].2, world.now), Err(DropReason::DtlsUnexpected));
            }
            world.ends[closer].close();
            world.drain();
            world.run();
            assert_eq!(world.failed[1 - closer], Some(EndReason::PeerClosed));
            assert_eq!(world.failed[closer], None, "the closer knows");
        }
    }
}

//= rules#I33 type=test
//= rules#D19 type=test
#[test]
fn an_authenticated_alert_ends_with_its_number() {
    let both = default_context();
    for sender in 0..2 {
        let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
        world.run();
        world.ends[sender].send_fatal(80);
        world.drain();
        world.run();
        assert_eq!(world.failed[1 - sender], Some(EndReason::DtlsAlert(80)));
        assert!(!world.ends[1 - sender].is_connected());
        assert_eq!(world.ends[1 - sender].stats().noted_alert, None, "proven, not noted");
    }
}

//= rules#D13 type=test
#[test]
fn a_replayed_datagram_of_a_live_connection_changes_nothing() {
    let both = default_context();
    let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
    world.run();
    let log: Vec<_> = world.log.iter().map(|(_, from, bytes)| (1 - *from, bytes.clone())).collect();
    let sent = world.sent;
    for _ in 0..40 {
        for (to, bytes) in &log {
            let _ = world.ends[*to].handle_datagram(bytes, world.now);
            world.drain();
        }
    }
    world.assert_connected(GCM);
    assert_eq!(world.sent, sent, "and nothing is answered: no reflection");
}

//= rules#D7 type=test
#[test]
fn a_server_answers_a_repeated_last_flight_until_released() {
    let both = default_context();
    // Both first copies of the server's last flight are lost; the client repeats its own.
    let mut world = World::new(&both, &both, |f, i, _| if f == 1 && (1..3).contains(&i) { Fate::Lose } else { Fate::Deliver });
    world.run();
    world.assert_connected(GCM);
    assert_eq!(world.ends[0].stats().retransmissions, 2);
    assert_eq!(world.ends[1].stats().retransmissions, 0, "it answers, it has no timer any more");
}

//= rules#D13 type=test
#[test]
fn a_silent_peer_costs_no_memory_and_garbage_changes_nothing() {
    let both = default_context();
    let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
    let mut seed = 1u64;
    for round in 0..400usize {
        let mut garbage = vec![0u8; round % 1500];
        for byte in &mut garbage {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (seed >> 56) as u8;
        }
        for end in 0..2 {
            assert!(world.ends[end].handle_datagram(&garbage, world.now).is_err());
        }
        if let [first, second, third, ..] = &mut garbage[..] {
            (*first, *second, *third) = (20 + round as u8 % 4, 0xfe, 0xfd);
            for end in 0..2 {
                let _ = world.ends[end].handle_datagram(&garbage, world.now);
            }
        }
        world.drain();
    }
    world.run();
    world.assert_connected(GCM);
}

#[test]
fn a_bad_configuration_is_refused_with_a_reason() {
    let make = |config| DtlsContext::new(config, Certificate::generate(UNIX_TIME_S).unwrap()).err();
    let base = DtlsConfig::default;
    for config in [
        DtlsConfig { profiles: vec![], ..base() },
        DtlsConfig { profiles: vec![GCM, GCM], ..base() },
        DtlsConfig { mtu_bytes: 1_201, ..base() },
        DtlsConfig { mtu_bytes: 299, ..base() },
        DtlsConfig { retransmit_first: Span::ZERO, ..base() },
        DtlsConfig { retransmit_max: Span::from_millis(1), ..base() },
        DtlsConfig { patience: Span::ZERO, ..base() },
    ] {
        assert!(matches!(make(config), Some(SetupError::Misuse(_))));
    }
    assert_eq!(make(base()), None);
}

#[test]
fn the_types_travel_as_promised() {
    fn shared<T: Send + Sync + Clone>() {}
    fn owned<T: Send>() {}
    shared::<DtlsContext>();
    owned::<Dtls>();
    owned::<Certificate>();
}

/// Both sides say hello. Ours is not answered, because the other is a client as well; so ours becomes the server of the hello it kept.
#[test]
fn when_both_sides_start_the_unanswered_one_becomes_the_server() {
    let quick = default_context();
    let config = DtlsConfig { retransmit_first: Span::from_millis(600), retransmit_max: Span::from_secs(2), ..DtlsConfig::default() };
    let stubborn = DtlsContext::new(config, Certificate::generate(UNIX_TIME_S).unwrap()).unwrap();
    // Lost hellos of the other side only cost time.
    for lost in 0..2 {
        let ends = [
            Dtls::new(&quick, DtlsRole::Client, &[stubborn.fingerprint()], DELAY, Time::ZERO).unwrap(),
            Dtls::new(&stubborn, DtlsRole::Client, &[quick.fingerprint()], DELAY, Time::ZERO).unwrap(),
        ];
        let mut world = World::of(ends, |from, nth, _| if from == 1 && nth < lost { Fate::Lose } else { Fate::Deliver });
        world.run();
        world.assert_connected(GCM);
        assert_eq!((world.ends[0].role(), world.ends[1].role()), (DtlsRole::Server, DtlsRole::Client));
        assert_eq!((world.ends[0].stats().role_changes, world.ends[1].stats().role_changes), (1, 0));
        assert!(world.now <= Time::ZERO + Span::from_secs(3), "{:?}", world.now);
    }
}

/// Two of our kind that both start: same rules, same timers, so each takes the other's hello at the same time. They end in one handshake, not in one each.
#[test]
fn two_ends_that_both_start_by_the_same_rules_share_one_handshake() {
    let contexts = [default_context(), default_context()];
    let [a, b] = &contexts;
    for seed in 0..300u64 {
        let mut random = SeededRng::new(seed);
        let ends = [
            Dtls::new(a, DtlsRole::Client, &[b.fingerprint()], DELAY, Time::ZERO).unwrap(),
            Dtls::new(b, DtlsRole::Client, &[a.fingerprint()], DELAY, Time::ZERO).unwrap(),
        ];
        // From none to four of ten lost, up to 100 ms late, and after forty each the path is good.
        let lost = 10 * (seed % 5);
        let mut world = World::of(ends, |_, nth, _| match random.below(100) {
            _ if seed == 0 || nth >= 40 => Fate::Deliver,
            draw if draw < lost => Fate::Lose,
            _ => Fate::Late(Span::from_millis(random.below(100) * (seed / 5 % 2))),
        });
        while !world.keying.iter().all(Option::is_some) && world.step(Time::ZERO + Span::from_secs(30)) {}
        println!(
            "seed {seed}: {:?} {:?} {:?}",
            world.now,
            world.failed,
            world.ends.each_ref().map(|end| (end.role(), end.stats().role_changes))
        );
        world.assert_connected(GCM);
        assert_ne!(world.ends[0].role(), world.ends[1].role(), "seed {seed}");
    }
}

/// A forged hello while the path is dead makes us change the role; when nobody goes on with it, we change back, and the genuine server is met.
#[test]
fn a_forged_hello_costs_a_detour_and_not_the_call() {
    let both = default_context();
    let mut stranger = Dtls::new(&default_context(), DtlsRole::Client, &[Fingerprint([9; 32])], DELAY, Time::ZERO).unwrap();
    let mut hello = [0u8; 1500];
    let len = stranger.poll_transmit(&mut hello).unwrap();
    // The first three datagrams of the client, its hellos, are lost.
    let mut world = World::new(&both, &both, |from, nth, _| if from == 0 && nth < 3 { Fate::Lose } else { Fate::Deliver });
    assert_eq!(world.ends[0].handle_datagram(&hello[..len], Time::ZERO), Ok(()), "kept");
    world.drain();
    world.run();
    world.assert_connected(GCM);
    assert_eq!((world.ends[0].role(), world.ends[0].stats().role_changes), (DtlsRole::Client, 2));
    assert!(world.now <= Time::ZERO + Span::from_secs(3), "{:?}", world.now);

    // With a server that answers, the same hello changes nothing at all.
    let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
    let _ = world.ends[0].handle_datagram(&hello[..len], Time::ZERO);
    world.run();
    world.assert_connected(GCM);
    assert_eq!((world.now, world.ends[0].stats().role_changes), (Time::ZERO + Span::from_millis(20), 0));
}

/// A relay that starts unasked with the timer of its library (1 s, doubling), and a path that is dark for seconds: our half as server is kept, whichever
/// flight was lost, and taken up again when the relay repeats itself (seed 256).
#[test]
fn a_peer_that_starts_unasked_is_met_after_a_blackout_in_any_flight() {
    let quick = default_context();
    let config = DtlsConfig { retransmit_first: Span::from_secs(1), retransmit_max: Span::from_secs(8), ..DtlsConfig::default() };
    let slow = DtlsContext::new(config, Certificate::generate(UNIX_TIME_S).unwrap()).unwrap();
    for dark_from_ms in [0, 5, 300, 355, 362, 367, 372, 1_200] {
        for dark_ms in [700, 1_500, 2_900, 4_000] {
            let ends = [
                Dtls::new(&quick, DtlsRole::Client, &[slow.fingerprint()], DELAY, Time::ZERO).unwrap(),
                Dtls::new(&slow, DtlsRole::Client, &[quick.fingerprint()], DELAY, Time::ZERO).unwrap(),
            ];
            // The other end takes no hello, as the relay of the simulated world.
            let mut world =
                World::of(ends, |from, _, bytes| if from == 0 && bytes[13] == 1 && bytes[0] == 22 { Fate::Lose } else { Fate::Deliver });
            let (from, to) = (Time::ZERO + Span::from_millis(dark_from_ms), Time::ZERO + Span::from_millis(dark_from_ms + dark_ms));
            let end = Time::ZERO + Span::from_secs(10);
            loop {
                // What is on its way when the dark begins, or sent in it, is lost.
                let now = world.now;
                world.flying.retain(|flying| flying.at < from || flying.at >= to || now >= to);
                if world.keying.iter().all(Option::is_some) || !world.step(end) {
                    break;
                }
            }
            world.assert_connected(GCM);
            assert_eq!(world.ends[0].role(), DtlsRole::Server, "dark from {dark_from_ms} for {dark_ms} ms");
            assert!(world.ends[0].stats().role_changes <= 9, "{}", world.ends[0].stats().role_changes);
        }
    }
}

/// A forged hello makes us a server, and the genuine server's answer to our own hello comes late: the half that said hello goes on with it at once.
#[test]
fn an_answer_that_comes_after_the_change_of_roles_is_taken() {
    let both = default_context();
    let mut stranger = Dtls::new(&default_context(), DtlsRole::Client, &[Fingerprint([9; 32])], DELAY, Time::ZERO).unwrap();
    let mut hello = [0u8; 1500];
    let len = stranger.poll_transmit(&mut hello).unwrap();
    // The server's first flight needs 400 ms, and what we say as a server is lost: a real one would end over it.
    let mut world = World::new(&both, &both, |from, nth, bytes| match (from, nth) {
        (1, 0) => Fate::Late(Span::from_millis(400)),
        (0, _) if bytes[13] == 2 => Fate::Lose,
        (1, _) if nth < 5 && bytes[13] == 2 => Fate::Lose,
        _ => Fate::Deliver,
    });
    assert_eq!(world.ends[0].handle_datagram(&hello[..len], Time::ZERO), Ok(()), "kept");
    world.drain();
    world.run();
    world.assert_connected(GCM);
    assert_eq!((world.ends[0].role(), world.ends[0].stats().role_changes), (DtlsRole::Client, 2));
    let met = world.log.iter().find(|(_, from, bytes)| *from == 0 && bytes.windows(3).any(|w| w == [20, 0xfe, 0xfd])).unwrap().0;
    assert!(met <= Time::ZERO + Span::from_millis(420), "{met:?}");
}

/// Forged hellos without end cost two signatures, not one each, and a genuine server is met as soon as the path lives.
#[test]
fn a_flood_of_forged_hellos_costs_two_signatures() {
    let both = default_context();
    let mut world =
        World::new(&both, &both, |from, nth, bytes| if from == 0 && (nth < 4 || bytes[13] == 2) { Fate::Lose } else { Fate::Deliver });
    let mut out = [0u8; 1500];
    let mut flights = std::collections::HashSet::new();
    for _ in 0..60 {
        let mut stranger = Dtls::new(&both, DtlsRole::Client, &[Fingerprint([9; 32])], DELAY, Time::ZERO).unwrap();
        let len = stranger.poll_transmit(&mut out).unwrap();
        let _ = world.ends[0].handle_datagram(&out[..len], world.now);
        world.drain();
        if !world.step(Time::ZERO + Span::from_secs(9)) {
            break;
        }
    }
    world.run();
    world.assert_connected(GCM);
    for (_, from, bytes) in &world.log {
        if *from == 0 && bytes[0] == 22 && bytes[13] == 2 {
            flights.insert(bytes[27..59].to_vec());
        }
    }
    assert!(flights.len() <= 2, "{} ServerHellos", flights.len());
}

//= rfc5764#section-4.1 type=test
#[test]
fn application_data_means_nothing() {
    let both = default_context();
    let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
    world.run();
    for sender in 0..2 {
        for data in [&b"hello"[..], &[0x80, 0x6f, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], &[7; 1_000]] {
            let sent = world.sent[1 - sender];
            world.ends[sender].write(data);
            world.drain();
            world.run();
            assert_eq!(world.sent[1 - sender], sent, "no answer");
        }
    }
    world.assert_connected(GCM);
    assert_eq!(world.ends[0].stats().datagrams_refused + world.ends[1].stats().datagrams_refused, 0, "read, and forgotten");
    world.ends[1].close();
    world.drain();
    world.run();
    assert_eq!(world.failed[0], Some(EndReason::PeerClosed), "what comes behind it is still heard");
}

/// The flight with `from` replaced by `to` inside its ServerHello, and all lengths put right.
fn tampered(flight: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let body = 13 + 12;
    let mut out = flight.to_vec();
    let at = body + 34 + flight[body + 34..].windows(from.len()).position(|w| w == from).expect("the extension");
    out.splice(at..at + from.len(), to.iter().copied());
    let grown = (to.len() - from.len()) as u16;
    let extensions = body + 35 + usize::from(flight[body + 34]) + 3;
    // Record, message, fragment, extensions: the low 16 bits of each length.
    for at in [11, 13 + 2, 13 + 10, extensions] {
        let length = u16::from_be_bytes([out[at], out[at + 1]]) + grown;
        out[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    out
}

//= rfc5764#section-4.1.1 type=test
//= rfc5764#section-4.1.3 type=test
//= rules#D3 type=test
#[test]
fn two_profiles_a_strange_one_or_an_mki_in_the_answer_end_the_handshake() {
    let both = default_context();
    for (what, answer) in [
        ("two profiles", &[0, 14, 0, 7, 0, 4, 0, 7, 0, 1, 0][..]),
        ("one that was not offered", &[0, 14, 0, 5, 0, 2, 0, 2, 0]),
        ("one that does not exist", &[0, 14, 0, 5, 0, 2, 0x77, 0x77, 0]),
        ("an MKI", &[0, 14, 0, 6, 0, 2, 0, 7, 1, 0xaa]),
    ] {
        let mut client = Dtls::new(&both, DtlsRole::Client, &[both.fingerprint()], DELAY, Time::ZERO).unwrap();
        let mut server = Dtls::new(&both, DtlsRole::Server, &[both.fingerprint()], DELAY, Time::ZERO).unwrap();
        let mut out = [0u8; 1500];
        let len = client.poll_transmit(&mut out).unwrap();
        server.handle_datagram(&out[..len], Time::ZERO).unwrap();
        let len = server.poll_transmit(&mut out).unwrap();
        let flight = tampered(&out[..len], &[0, 14, 0, 5, 0, 2, 0, 7, 0], answer);
        client.handle_datagram(&flight, Time::ZERO).unwrap();
        let event = client.poll_event();
        assert!(matches!(event, Some(DtlsEvent::Failed(EndReason::NoSrtpProfile))), "{what}: {event:?}");
        let len = client.poll_transmit(&mut out).expect("an alert");
        assert_eq!((out[0], len), (21, 15), "{what}: and nothing else");
        assert!(client.poll_transmit(&mut out).is_none() && client.poll_event().is_none());
    }
}

//= rules#D28 type=test
#[test]
fn a_mismatch_tells_what_was_announced_and_what_was_shown() {
    let (client, server) = (default_context(), default_context());
    let announced = Fingerprint([0xab; 32]);
    let ends = [
        Dtls::new(&client, DtlsRole::Client, &[announced], DELAY, Time::ZERO).unwrap(),
        Dtls::new(&server, DtlsRole::Server, &[client.fingerprint()], DELAY, Time::ZERO).unwrap(),
    ];
    let mut world = World::of(ends, |_, _, _| Fate::Deliver);
    world.run();
    assert_eq!(world.failed[0], Some(EndReason::FingerprintMismatch));
    assert_eq!(world.ends[0].stats().mismatch, Some(Mismatch { announced, shown: server.fingerprint() }));
    assert_eq!(announced.prefix(), "AB:AB:AB:AB");
}
