//! Rules of our checklist that no other test of the handshake holds.

use super::*;

fn ms(ms: u64) -> Time {
    Time::ZERO + Span::from_millis(ms)
}

/// What an end has to send.
fn sent(end: &mut Dtls) -> Vec<Vec<u8>> {
    let mut out = [0u8; 1500];
    core::iter::from_fn(|| end.poll_transmit(&mut out).map(|len| out[..len].to_vec())).collect()
}

fn client_and_server(client: &DtlsContext, server: &DtlsContext) -> [Dtls; 2] {
    [
        Dtls::new(client, DtlsRole::Client, &[server.fingerprint()], Span::from_millis(10), Time::ZERO).unwrap(),
        Dtls::new(server, DtlsRole::Server, &[client.fingerprint()], Span::from_millis(10), Time::ZERO).unwrap(),
    ]
}

/// A vector with a length of two bytes in front, and what is behind it.
fn vector(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes[2..].split_at(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}

//= rules#D1 type=test
//= rules#D27 type=test
#[test]
fn d1_d27_hello_offers_what_we_speak_and_no_more_and_no_ticket_comes() {
    let both = default_context();
    let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
    world.run();
    world.assert_connected(Profile::AeadAes128Gcm);
    // Behind the headers of record and message: version, random, then an empty session id and an empty cookie.
    let hello = &world.log[0].2[25..];
    assert_eq!((&hello[..2], &hello[34..36]), (&[0xfe, 0xfd][..], &[0, 0][..]));
    let (ciphers, rest) = vector(&hello[36..]);
    let mut ciphers: Vec<_> = ciphers.chunks(2).collect();
    ciphers.sort_unstable();
    assert_eq!(ciphers, [[0xc0, 0x2b], [0xc0, 0x2c], [0xcc, 0xa9]], "ECDHE-ECDSA with AES-GCM or ChaCha20");
    assert_eq!(rest[..2], [1, 0], "no compression");
    let (mut extensions, _) = vector(&rest[2..]);
    let mut kinds = Vec::new();
    while !extensions.is_empty() {
        kinds.push(u16::from_be_bytes([extensions[0], extensions[1]]));
        extensions = vector(&extensions[2..]).1;
    }
    assert!(kinds.contains(&14), "use_srtp: {kinds:?}");
    for (kind, name) in [(35, "session_ticket"), (43, "supported_versions"), (41, "pre_shared_key"), (15, "heartbeat")] {
        assert!(!kinds.contains(&kind), "{name}: {kinds:?}");
    }
    let answer = &world.log[1].2[25..];
    assert_eq!((&answer[..2], answer[34]), (&[0xfe, 0xfd][..], 0), "the version, and no session to resume");
    // ChangeCipherSpec and Finished; a ticket with our certificate in it would make this 666 bytes.
    let last = &world.log[3].2;
    assert!(last[0] == 20 && last.len() <= 80, "{} bytes", last.len());
}

//= rules#D7 type=test
#[test]
fn d7_a_repeated_last_flight_is_answered_minutes_later_until_released() {
    let config = DtlsConfig {
        retransmit_first: Span::from_secs(20),
        retransmit_max: Span::from_secs(60),
        patience: Span::from_secs(300),
        ..DtlsConfig::default()
    };
    let both = DtlsContext::new(config, Certificate::generate(UNIX_TIME_S).unwrap()).unwrap();
    let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
    // Whatever the server says after its first flight is lost for 200 s; the client repeats itself at 20, 60, 120, 180 and 240 s.
    loop {
        world.flying.retain(|flying| flying.to == 1 || !(ms(15)..ms(200_000)).contains(&flying.at));
        if world.keying.iter().all(Option::is_some) || !world.step(ms(300_000)) {
            break;
        }
    }
    world.assert_connected(Profile::AeadAes128Gcm);
    assert!(world.now >= ms(240_000), "{:?}", world.now);
    assert_eq!((world.ends[0].stats().retransmissions, world.ends[1].stats().retransmissions), (5, 0));
    let flight = world.log.iter().rfind(|(_, from, _)| *from == 0).unwrap().2.clone();
    world.ends[1].release();
    assert_eq!(world.ends[1].handle_datagram(&flight, world.now), Err(DropReason::DtlsUnexpected));
}

//= rules#D8 type=test
#[test]
fn d8_part_of_a_flight_resets_no_timer() {
    let small = DtlsConfig { mtu_bytes: 300, ..DtlsConfig::default() };
    let small = DtlsContext::new(small, Certificate::generate(UNIX_TIME_S).unwrap()).unwrap();
    let [mut client, mut server] = client_and_server(&default_context(), &small);
    let hello = sent(&mut client).remove(0);
    server.handle_datagram(&hello, ms(5)).unwrap();
    let flight = sent(&mut server);
    assert!(flight.len() > 2);
    for (k, datagram) in flight[..flight.len() - 1].iter().enumerate() {
        client.handle_datagram(datagram, ms(10 + k as u64)).unwrap();
        assert_eq!(client.poll_timeout(), Some(ms(50)), "datagram {k}");
        assert!(sent(&mut client).is_empty());
    }
    client.handle_timeout(ms(50));
    let again = sent(&mut client);
    assert_eq!((again.len(), &again[0][13..]), (1, &hello[13..]), "the hello, whole");
    assert_eq!(client.poll_timeout(), Some(ms(150)), "doubled");
    client.handle_datagram(flight.last().unwrap(), ms(60)).unwrap();
    assert!(!sent(&mut client).is_empty(), "the next flight");
    assert_eq!(client.poll_timeout(), Some(ms(110)), "with a timer of its own");
}

//= rules#D11 type=test
#[test]
fn d11_after_three_silent_repetitions_datagrams_become_smaller() {
    let both = default_context();
    let [mut client, mut server] = client_and_server(&both, &both);
    server.handle_datagram(&sent(&mut client)[0], Time::ZERO).unwrap();
    let mut flights = vec![sent(&mut server)];
    while flights.len() < 7 {
        server.handle_timeout(server.poll_timeout().unwrap());
        flights.push(sent(&mut server));
    }
    let sizes: Vec<Vec<usize>> = flights.iter().map(|flight| flight.iter().map(Vec::len).collect()).collect();
    assert!(sizes[..4].iter().all(|flight| flight.len() == 1 && (549..=1_200).contains(&flight[0])), "{sizes:?}");
    assert!(sizes[4..].iter().all(|flight| flight.len() > 1 && flight.iter().all(|&len| len <= 548)), "{sizes:?}");
}

//= rules#D22 type=test
#[test]
fn d22_a_hello_after_the_handshake_gets_no_answer() {
    let both = default_context();
    let mut world = World::new(&both, &both, |_, _, _| Fate::Deliver);
    world.run();
    let mut stranger = Dtls::new(&both, DtlsRole::Client, &[both.fingerprint()], DELAY, Time::ZERO).unwrap();
    let hello = sent(&mut stranger).remove(0);
    let request = unhex("16fefd0000000000000000000c000000000000000000000000");
    for end in &mut world.ends {
        for datagram in [&hello, &request] {
            assert_eq!(end.handle_datagram(datagram, world.now), Err(DropReason::DtlsMalformed));
            assert!(sent(end).is_empty() && end.poll_event().is_none() && end.is_connected());
        }
    }
}

//= rules#D29 type=test
//= rules#G10 type=test
#[test]
fn d29_the_failure_of_one_connection_does_not_surface_in_another() {
    let both = default_context();
    let wrong = || {
        [
            Dtls::new(&both, DtlsRole::Client, &[Fingerprint([7; 32])], DELAY, Time::ZERO).unwrap(),
            Dtls::new(&both, DtlsRole::Server, &[both.fingerprint()], DELAY, Time::ZERO).unwrap(),
        ]
    };
    // Turn by turn on one thread: the library's queue of errors belongs to the thread.
    let mut failing = [
        World::of(wrong(), |_, _, _| Fate::Deliver),
        World::new(&context(&[Profile::AeadAes128Gcm]), &context(&[Profile::Aes128CmSha1_80]), |_, _, _| Fate::Deliver),
    ];
    let mut good = World::new(&both, &both, |_, _, _| Fate::Deliver);
    loop {
        let mut is_any = false;
        for world in &mut failing {
            is_any |= world.step(ms(30_000));
            is_any |= good.step(ms(30_000));
        }
        if !is_any {
            break;
        }
    }
    good.assert_connected(Profile::AeadAes128Gcm);
    assert_eq!(failing[0].failed[0], Some(EndReason::FingerprintMismatch));
    assert!(failing[1].failed.contains(&Some(EndReason::NoSrtpProfile)));
}
