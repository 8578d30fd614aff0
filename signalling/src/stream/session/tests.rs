//! Small faces of the session; how it keeps time with a call is in `tests/tests/audio_stream.rs`.

use super::*;
use core::task::Waker;
use tipring_engine::bridge::{PcmConfig, pcm_port};
use tipring_engine::codec::SampleRate;

fn session(dialect: Dialect) -> (StreamSession, PcmLink) {
    let info = StreamInfo::new([1; 16], [0xab; 16], [3; 16], vec![("lang".into(), "pt \"br\"".into())]);
    // The port is given away: nothing of these tests is asked for by a call.
    let (port, link) = pcm_port(PcmConfig::new(dialect.rate()), Waker::noop().clone());
    drop(port);
    (StreamSession::new(dialect, info), link)
}

fn said(session: &mut StreamSession) -> Vec<Wire> {
    std::iter::from_fn(|| session.poll_message()).collect()
}

fn json(message: &Wire) -> serde_json::Value {
    match message {
        Wire::Text(text) => serde_json::from_str(text).expect("JSON"),
        Wire::Binary(bytes) => panic!("{bytes:?}"),
    }
}

#[test]
fn the_first_words_of_each_dialect() {
    let (mut twilio, _) = session(Dialect::Twilio);
    twilio.handle_audio(&[0; 160]);
    twilio.handle_digit('1');
    assert_eq!(said(&mut twilio), [], "nothing before the call listens");
    twilio.start();
    twilio.start();
    let first: Vec<_> = said(&mut twilio).iter().map(json).collect();
    assert_eq!(first[0], serde_json::json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" }));
    let sid = "MZ03030303030303030303030303030303";
    assert_eq!(
        first[1],
        serde_json::json!({
            "event": "start", "sequenceNumber": "1", "streamSid": sid,
            "start": {
                "accountSid": "AC01010101010101010101010101010101", "streamSid": sid, "callSid": "CAabababababababababababababababab",
                "tracks": ["inbound"], "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
                "customParameters": { "lang": "pt \"br\"" },
            },
        })
    );
    assert_eq!(first.len(), 2);

    let (mut l16, _) = session(Dialect::L16(SampleRate::Hz24000));
    l16.start();
    l16.handle_audio(&[0x0102, -1]);
    let words = said(&mut l16);
    let start = json(&words[0]);
    assert_eq!(
        (&start["rate"], &start["encoding"], &start["parameters"]["lang"]),
        (&24_000.into(), &"pcm16le".into(), &"pt \"br\"".into())
    );
    assert_eq!(words[1], Wire::Binary(vec![2, 1, 255, 255]));

    let (mut socket, _) = session(Dialect::AudioSocket(SampleRate::Hz8000));
    socket.start();
    socket.handle_audio(&[1]);
    socket.handle_digit('#');
    socket.stop();
    let bytes: Vec<u8> = said(&mut socket).into_iter().flat_map(|m| if let Wire::Binary(b) = m { b } else { panic!("text") }).collect();
    let mut wanted = vec![1, 0, 16];
    wanted.extend([0xab; 16]);
    wanted.extend([0x10, 0, 2, 1, 0, 3, 0, 1, b'#', 0, 0, 0]);
    assert_eq!(bytes, wanted);
}

#[test]
fn samples_may_be_cut_anywhere() {
    for dialect in [Dialect::L16(SampleRate::Hz8000), Dialect::Asterisk(Format::Linear(SampleRate::Hz8000))] {
        let (mut session, mut link) = session(dialect);
        session.start();
        let bytes: Vec<u8> = (0..640_u32).map(|i| i as u8).collect();
        for piece in bytes.chunks(7) {
            session.handle_binary(piece, &mut link, Time::ZERO).expect("audio");
        }
        session.handle_binary(&[], &mut link, Time::ZERO).expect("nothing");
        assert_eq!((link.waiting(), link.is_part_waiting()), (2, false), "320 samples, whole");
        session.handle_binary(&[9], &mut link, Time::ZERO).expect("half a sample");
        assert_eq!(session.poll_timeout(), None);
    }
}

#[test]
fn asterisk_says_when_to_wait_and_what_it_speaks() {
    let (mut ours, mut link) = session(Dialect::Asterisk(Format::G711(Law::Mu)));
    ours.handle_binary(&[0xff; 160], &mut link, Time::ZERO).expect("audio before MEDIA_START is heard");
    assert_eq!(link.waiting(), 1);
    ours.handle_text(r#"{"event":"MEDIA_START","format":"ulaw"}"#, &mut link, Time::ZERO).expect("ours");
    ours.start();
    assert_eq!(said(&mut ours), [Wire::Text(r#"{"command":"ANSWER"}"#.into())]);
    ours.handle_text("MEDIA_XOFF", &mut link, Time::ZERO).expect("an event");
    ours.handle_audio(&[0; 160]);
    assert_eq!(said(&mut ours), [], "its queue is full");
    ours.handle_text("MEDIA_XON", &mut link, Time::ZERO).expect("an event");
    ours.handle_audio(&[0; 160]);
    assert_eq!(said(&mut ours), [Wire::Binary(vec![0xff; 160])]);

    let (mut other, mut link) = session(Dialect::Asterisk(Format::G711(Law::Mu)));
    let fault = other.handle_text("MEDIA_START connection_id:1 format:slin16", &mut link, Time::ZERO).unwrap_err();
    assert!(fault.to_string().contains("c(ulaw)") && other.is_over(), "{fault}");
}

#[test]
fn faults_change_nothing_and_are_counted() {
    let (mut twilio, mut link) = session(Dialect::Twilio);
    twilio.start();
    said(&mut twilio);
    let stranger = r#"{"event":"media","streamSid":"MZ99","media":{"payload":"////"}}"#;
    for text in ["x", stranger, r#"{"event":"media"}"#] {
        assert!(twilio.handle_text(text, &mut link, Time::ZERO).is_err());
    }
    assert!(twilio.handle_binary(&[1, 2], &mut link, Time::ZERO).is_err());
    assert_eq!((twilio.faults(), link.waiting(), twilio.is_over()), (4, 0, false));
    twilio.handle_text(r#"{"event":"hold"}"#, &mut link, Time::ZERO).expect("later versions of the protocol are no fault");
    let (mut socket, mut link) = session(Dialect::AudioSocket(SampleRate::Hz8000));
    assert!(socket.handle_binary(&[0x12, 0, 2, 0, 0], &mut link, Time::ZERO).is_err(), "another rate");
    assert!(socket.handle_binary(&[0, 0, 0], &mut link, Time::ZERO).is_ok() && socket.is_over());
}
