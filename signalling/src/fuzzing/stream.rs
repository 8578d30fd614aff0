//! Audio streams of others: any messages in any dialect, between ticks of a call.

use crate::stream::{Dialect, StreamInfo, StreamSession, Wire, asterisk, l16, twilio};
use core::task::Waker;
use tipring_engine::bridge::{PcmConfig, pcm_port};
use tipring_engine::call::{FrameBuffer, Incoming, MediaPort, Outgoing};
use tipring_engine::codec::SampleRate;
use tipring_engine::codec::g711::Law;
use tipring_engine::limits::FRAME_MS;
use tipring_engine::time::{Span, Time};

/// A byte names the dialect; then operations: a byte of choice, one or two of length, and the message. What waits is bounded, marks come back once and in order, and
/// numbers have no gap.
pub fn fuzz_stream(data: &[u8]) {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let dialect = match choice % 6 {
        0 | 1 => Dialect::Twilio,
        2 => Dialect::L16(SampleRate::Hz16000),
        3 => Dialect::Asterisk(asterisk::Format::G711(Law::A)),
        4 => Dialect::Asterisk(asterisk::Format::Linear(SampleRate::Hz24000)),
        _ => Dialect::AudioSocket(SampleRate::Hz8000),
    };
    let config = PcmConfig { queue: Span::from_millis(2_000), ..PcmConfig::new(dialect.rate()) };
    let (mut port, mut link) = pcm_port(config, Waker::noop().clone());
    let mut session = StreamSession::new(dialect, StreamInfo::new([1; 16], [2; 16], [3; 16], Vec::new()));
    let mut now = Time::ZERO;
    let (mut numbers, mut marks_in, mut marks_out) = (0, 0, 0);
    while let Some((op, after)) = rest.split_first() {
        let take = |len: usize| after.split_at(len.min(after.len()));
        rest = after;
        match op % 8 {
            0 => session.start(),
            1..=3 => {
                let (len, after) = after.split_first_chunk::<2>().map_or((0, after), |(len, after)| (u16::from_be_bytes(*len), after));
                let (message, after) = after.split_at(usize::from(len).min(after.len()));
                rest = after;
                let text = String::from_utf8_lossy(message);
                let is_mark = match dialect {
                    Dialect::Twilio => matches!(twilio::read(&text), Ok((twilio::Said::Mark(_), _))),
                    Dialect::L16(_) => matches!(l16::read(&text), Ok(l16::Said::Mark(_))),
                    _ => false,
                };
                let taken =
                    if op % 8 == 3 { session.handle_binary(message, &mut link, now) } else { session.handle_text(&text, &mut link, now) };
                marks_in += usize::from(is_mark && op % 8 != 3 && taken.is_ok());
                assert!(taken.is_ok() || session.faults() > 0);
            }
            4 | 5 => {
                now += Span::from_millis(FRAME_MS);
                port.incoming(Incoming::Pcm { samples: &vec![7; dialect.rate().frame_samples()], heard: true });
                assert!(matches!(port.outgoing(&mut FrameBuffer::default()), Outgoing::Pcm(_) | Outgoing::Silence));
                let mut pcm = vec![0; dialect.rate().frame_samples()];
                while link.read(&mut pcm) {
                    session.handle_audio(&pcm);
                }
                session.handle_link(&mut link, now);
            }
            6 => {
                let (digit, after) = take(1);
                digit.iter().for_each(|d| session.handle_digit(char::from(b"0123456789*#ABCD!"[usize::from(*d) % 17])));
                rest = after;
            }
            _ => session.stop(),
        }
        while let Some(message) = session.poll_message() {
            if let Wire::Text(text) = message
                && let Ok(json) = serde_json::from_str::<serde_json::Value>(&text)
            {
                marks_out += usize::from(json["event"] == "mark");
                if let Some(number) = json["sequenceNumber"].as_str() {
                    numbers += 1;
                    assert_eq!(number, numbers.to_string());
                }
            }
        }
        assert!(link.waiting() <= 101 && marks_out <= marks_in);
        assert!(session.poll_timeout().is_none_or(|at| at <= now + Span::from_millis(FRAME_MS)));
    }
    // Everything that was taken leaves.
    for _ in 0..110 {
        now += Span::from_millis(FRAME_MS);
        let _ = port.outgoing(&mut FrameBuffer::default());
        session.handle_link(&mut link, now);
    }
    while let Some(message) = session.poll_message() {
        marks_out += usize::from(matches!(message, Wire::Text(text) if text.contains("\"event\":\"mark\"")));
    }
    assert_eq!((link.waiting(), marks_out), (0, marks_in));
}
