//! The conformance kit of audio streams, in virtual time: order and numbers of messages, chunks of any size, marks and clear to the tick, and thirty minutes of
//! producers that are too fast, too slow, or come in bursts. What is tested is the session with a real port; one tick is one question of the call.

use core::task::Waker;
use serde_json::Value;
use tipring_engine::bridge::{PcmConfig, PcmLink, PcmPort, pcm_port};
use tipring_engine::call::{FrameBuffer, Incoming, MediaPort, Outgoing};
use tipring_engine::codec::SampleRate;
use tipring_engine::codec::g711::Law;
use tipring_engine::dtmf::Digit;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tipring_signalling::stream::{Dialect, StreamInfo, StreamSession, Wire, l16, twilio};

const TICK: Span = Span::from_millis(20);

/// A call with a stream, without a network between.
struct Stream {
    port: PcmPort,
    link: PcmLink,
    session: StreamSession,
    now: Time,
    /// What the server got, in order.
    got: Vec<Wire>,
    frame: usize,
    /// Most frames that waited since last asked.
    most: u64,
}

impl Stream {
    fn new(dialect: Dialect) -> Self {
        let (port, link) = pcm_port(PcmConfig::new(dialect.rate()), Waker::noop().clone());
        let info = StreamInfo::new([1; 16], [2; 16], [3; 16], Vec::new());
        let mut session = StreamSession::new(dialect, info);
        session.start();
        let frame = dialect.rate().frame_samples();
        Self { port, link, session, now: Time::ZERO, got: Vec::new(), frame, most: 0 }
    }

    fn twilio() -> Self {
        Self::new(Dialect::Twilio)
    }

    /// The server says something.
    fn say(&mut self, said: &twilio::Said) {
        let sid = "MZ03030303030303030303030303030303";
        self.session.handle_text(&twilio::write(said, sid), &mut self.link, self.now).expect("a message of the protocol");
        self.listen();
    }

    /// One tick of the call: what the user hears, none for silence.
    fn tick(&mut self) -> Option<Vec<i16>> {
        self.most = self.most.max(self.link.waiting());
        self.now += TICK;
        self.port.incoming(Incoming::Pcm { samples: &vec![1_000; self.frame], heard: true });
        let mut buffer = FrameBuffer::default();
        let heard = match self.port.outgoing(&mut buffer) {
            Outgoing::Pcm(_) => Some(buffer.pcm[..self.frame].to_vec()),
            Outgoing::Silence => None,
            other => panic!("{other:?}"),
        };
        self.serve();
        heard
    }

    /// What the connection's task does when it is woken.
    fn serve(&mut self) {
        let mut pcm = vec![0; self.frame];
        while self.link.read(&mut pcm) {
            self.session.handle_audio(&pcm);
        }
        while let Some(digit) = self.link.read_digit() {
            self.session.handle_digit(digit.symbol);
        }
        self.session.handle_link(&mut self.link, self.now);
        self.listen();
    }

    fn listen(&mut self) {
        self.got.extend(std::iter::from_fn(|| self.session.poll_message()));
    }

    /// Messages of this kind since last asked, as JSON.
    fn events(&mut self, kind: &str) -> Vec<Value> {
        let all = std::mem::take(&mut self.got).into_iter().filter_map(|message| match message {
            Wire::Text(text) => Some(serde_json::from_str::<Value>(&text).expect("JSON")),
            Wire::Binary(_) => None,
        });
        all.filter(|message| message["event"] == kind).collect()
    }

    fn marks(&mut self) -> Vec<String> {
        self.events("mark").iter().map(|m| m["mark"]["name"].as_str().expect("a name").to_owned()).collect()
    }
}

/// mu-law whose every byte is another frame's.
fn speech(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i / 160) as u8 & 0x3f | 0x80).collect()
}

fn decoded(bytes: &[u8]) -> Vec<i16> {
    let mut samples = vec![0; bytes.len()];
    Law::Mu.decode(bytes, &mut samples);
    samples
}

#[test]
fn messages_come_in_order_and_are_numbered_without_gaps() {
    let mut stream = Stream::twilio();
    stream.listen();
    for k in 0..50 {
        if k == 10 {
            stream.port.digit(Digit { symbol: '7', duration_ms: 80, timestamp: 0 });
        }
        if k == 20 {
            stream.say(&twilio::Said::Mark("at once".into()));
        }
        stream.tick();
    }
    stream.session.stop();
    stream.session.stop();
    stream.session.handle_audio(&[0; 160]);
    stream.listen();
    let all: Vec<Value> = std::mem::take(&mut stream.got)
        .iter()
        .map(|m| if let Wire::Text(text) = m { serde_json::from_str(text).expect("JSON") } else { panic!("binary") })
        .collect();
    let kinds: Vec<&str> = all.iter().map(|m| m["event"].as_str().expect("an event")).collect();
    assert_eq!((kinds[0], kinds[1], kinds[2], *kinds.last().expect("some")), ("connected", "start", "media", "stop"));
    assert_eq!([kinds.iter().filter(|k| **k == "media").count(), kinds.len()], [50, 55]);
    assert!(all[0].get("sequenceNumber").is_none(), "the first message has no number");
    for (k, message) in all[1..].iter().enumerate() {
        assert_eq!(message["sequenceNumber"], (k + 1).to_string(), "{message}");
        assert_eq!(message["streamSid"], all[1]["streamSid"]);
    }
    let media: Vec<&Value> = all.iter().filter(|m| m["event"] == "media").map(|m| &m["media"]).collect();
    for (k, media) in media.iter().enumerate() {
        assert_eq!((&media["chunk"], &media["timestamp"]), (&(k + 1).to_string().into(), &(k * 20).to_string().into()));
        assert_eq!(media["track"], "inbound");
    }
    let digit = all.iter().find(|m| m["event"] == "dtmf").expect("a digit");
    assert_eq!((&digit["dtmf"]["digit"], &digit["dtmf"]["track"]), (&"7".into(), &"inbound_track".into()));
}

#[test]
fn a_server_that_did_not_read_sees_the_hole_in_the_time_not_in_the_numbers() {
    let mut stream = Stream::twilio();
    stream.tick();
    stream.session.skip_audio();
    stream.tick();
    let media = stream.events("media");
    assert_eq!((&media[1]["media"]["chunk"], &media[1]["media"]["timestamp"]), (&"2".into(), &"40".into()));
}

#[test]
fn chunks_of_any_size_are_heard_sample_by_sample() {
    let mut rng = SeededRng::new(6);
    for size in [1, 37, 160, 161, 320, 999, 4_000, 8_000, 40_000] {
        let mut stream = Stream::twilio();
        let said = speech(40_000);
        let mut heard = Vec::new();
        let mut rest = &said[..];
        while !rest.is_empty() {
            // In bursts, well ahead of the ear.
            for _ in 0..1 + rng.below(1 + 2_000 / size as u64) {
                let (now, later) = rest.split_at(rest.len().min(size));
                stream.say(&twilio::Said::Media(now.to_vec()));
                rest = later;
            }
            if size > 160 || stream.link.waiting() > 5 {
                heard.extend(stream.tick().unwrap_or_default());
            }
        }
        while stream.link.waiting() > 0 {
            heard.extend(stream.tick().unwrap_or_default());
        }
        assert_eq!(&heard[..said.len()], &decoded(&said)[..], "chunks of {size} bytes");
        assert!(heard.len() < said.len() + 160, "and nothing between them");
    }
}

#[test]
fn a_mark_comes_back_with_the_tick_at_which_its_audio_has_left() {
    let mut stream = Stream::twilio();
    stream.say(&twilio::Said::Mark("nothing before".into()));
    assert_eq!(stream.marks(), ["nothing before"]);
    stream.say(&twilio::Said::Media(speech(160 * 50)));
    stream.say(&twilio::Said::Mark("one second".into()));
    stream.say(&twilio::Said::Media(speech(160 * 49 + 80)));
    stream.say(&twilio::Said::Mark("two".into()));
    stream.say(&twilio::Said::Mark("two again".into()));
    for tick in 1..=100 {
        assert!(stream.tick().is_some());
        let wanted: &[&str] = match tick {
            50 => &["one second"],
            100 => &["two", "two again"],
            _ => &[],
        };
        assert_eq!(stream.marks(), wanted, "after {tick} ticks");
    }
    // A mark in the middle of a frame waits for the rest of it, as long as there is one.
    stream.say(&twilio::Said::Media(speech(80)));
    stream.say(&twilio::Said::Mark("half".into()));
    stream.say(&twilio::Said::Media(speech(80)));
    assert_eq!(stream.marks(), [""; 0]);
    stream.tick();
    assert_eq!(stream.marks(), ["half"]);
}

#[test]
fn clear_is_silence_at_the_next_tick_and_all_marks_at_once() {
    let mut stream = Stream::twilio();
    for minute in 0..4 {
        // The bot talks for a long time, and is interrupted.
        stream.say(&twilio::Said::Media(speech(8_000 * 20)));
        stream.say(&twilio::Said::Mark(format!("a {minute}")));
        stream.say(&twilio::Said::Media(speech(8_000 * 20 + 5)));
        stream.say(&twilio::Said::Mark(format!("b {minute}")));
        for _ in 0..37 {
            assert!(stream.tick().is_some());
        }
        assert_eq!(stream.marks(), [""; 0]);
        stream.say(&twilio::Said::Clear);
        assert_eq!(stream.marks(), [format!("a {minute}"), format!("b {minute}")], "before the next tick");
        assert_eq!(stream.tick(), None, "barge-in within one frame");
        stream.say(&twilio::Said::Media(vec![0x85; 320]));
        stream.say(&twilio::Said::Mark("answer".into()));
        assert_eq!(stream.tick(), Some(decoded(&[0x85; 160])), "what is said after it is not delayed");
        stream.tick();
        assert_eq!((stream.tick(), stream.marks()), (None, vec!["answer".to_owned()]));
    }
}

/// Runs thirty minutes; returns the most that waited in the last ten, and how many marks came back of how many.
fn thirty_minutes(mut produce: impl FnMut(u64) -> Option<Vec<u8>>) -> (u64, usize, usize, Stream) {
    let mut stream = Stream::twilio();
    let (mut sent, mut back) = (0, 0);
    for tick in 0..90_000 {
        if let Some(bytes) = produce(tick) {
            stream.say(&twilio::Said::Media(bytes));
        }
        if tick % 500 == 499 {
            stream.say(&twilio::Said::Mark("m".into()));
            sent += 1;
        }
        stream.tick();
        back += stream.marks().len();
        if tick == 60_000 {
            stream.most = 0;
        }
    }
    (stream.most, back, sent, stream)
}

#[test]
fn thirty_minutes_of_a_clock_that_is_too_fast_or_too_slow_do_not_grow() {
    for per_mille in [990, 999, 1_000, 1_001, 1_010] {
        let mut given = 0;
        let (most, back, sent, stream) = thirty_minutes(|tick| {
            let due = (tick + 1) * 160 * per_mille / 1_000;
            let bytes = vec![0x90; (due - given) as usize];
            given = due;
            Some(bytes)
        });
        assert!(most <= 14, "at {per_mille} per mille {most} frames wait");
        assert!(sent - back <= 1, "marks come back: {back} of {sent}");
        assert_eq!(stream.link.refused(), 0);
        if per_mille < 1_000 {
            assert_eq!(stream.link.skipped(), 0, "a slow one is never cut");
        }
    }
}

#[test]
fn thirty_minutes_of_a_producer_that_never_waits_are_bounded() {
    // Twice as much as can be heard, for ever: a minute waits, the rest is refused and counted.
    let (most, _, _, stream) = thirty_minutes(|_| Some(vec![0x90; 320]));
    assert_eq!(most, 3_000);
    assert!(stream.link.refused() > 80_000 * 160);
    // One that says a sentence every ten seconds, at once: each is heard in full and the queue runs dry.
    let mut said = 0_u64;
    let (most, back, sent, stream) = thirty_minutes(|tick| {
        (tick % 500 == 0).then(|| {
            said += 400;
            vec![0x90; 160 * 400]
        })
    });
    assert_eq!((most, back, sent), (400, 180, 180));
    assert_eq!((stream.link.left(), stream.link.skipped(), stream.link.refused()), (said, 0, 0));
}

#[test]
fn a_server_that_hiccups_is_caught_up_with() {
    // In real time with pauses, but every minute one and a half seconds come late and at once.
    let mut late = Vec::new();
    let (most, _, _, stream) = thirty_minutes(|tick| {
        let frame = if tick % 200 < 40 { vec![0xff; 160] } else { vec![0x90; 160] };
        late.extend(frame);
        let stalls = tick % 3_000 < 75;
        (!stalls).then(|| std::mem::take(&mut late))
    });
    let at_the_end = stream.link.waiting();
    assert!(most <= 80 && at_the_end <= 8, "{most}, {at_the_end} frames wait");
}

#[test]
fn l16_at_its_rates() {
    for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000] {
        let mut stream = Stream::new(Dialect::L16(rate));
        let samples: Vec<i16> = (0..rate.frame_samples() as i16 * 10).collect();
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        for piece in bytes.chunks(1_001) {
            stream.session.handle_binary(piece, &mut stream.link, stream.now).expect("audio");
        }
        stream.session.handle_text(&l16::write(&l16::Said::Mark("end".into())), &mut stream.link, stream.now).expect("a mark");
        let heard: Vec<i16> = (0..10).flat_map(|_| stream.tick().expect("a frame")).collect();
        assert_eq!(heard, samples);
        let binary: Vec<usize> = stream.got.iter().filter_map(|m| if let Wire::Binary(b) = m { Some(b.len()) } else { None }).collect();
        assert_eq!(binary, vec![rate.frame_samples() * 2; 10]);
        assert_eq!(stream.events("mark").len(), 1);
        (0..500).for_each(|_| drop(stream.tick()));
        let stats = stream.events("stats");
        assert_eq!((stats.len(), &stats[0]["queue_ms"]), (1, &0.into()));
        stream.session.handle_text(&l16::write(&l16::Said::Stop), &mut stream.link, stream.now).expect("a farewell");
        assert!(stream.session.is_over());
    }
}
