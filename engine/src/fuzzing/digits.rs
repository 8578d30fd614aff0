//! Fuzz body of the digit sender: digits in, event packets out, and a receiver at the other end that must read the very same digits.

use crate::dtmf::{DigitReceiver, DigitSender};
use crate::time::{Span, Time};
use crate::wire::dtmf::TelephoneEvent;

/// Two bytes an operation: a digit, a string of them, ticks, or nothing more. What was taken comes out once each and in order, with one marker, three
/// ends, durations that grow by 160, and a pause behind.
pub fn fuzz_dtmf_send(data: &[u8]) {
    let mut line = Line::default();
    for op in data.chunks_exact(2) {
        line.play(op[0], op[1]);
    }
    // Sixty seconds a digit and 32 of them is the most there can be.
    let mut ticks = 0;
    while !line.sender.is_idle() {
        line.tick();
        ticks += 1;
        assert!(ticks <= 33 * 3_010, "a digit never ends");
    }
    assert_eq!(line.received, line.sent, "what was taken is what is read");
    assert!(line.sender.queued() == 0 && line.sender.tick(line.timestamp).is_none());
}

#[derive(Default)]
struct Line {
    sender: DigitSender,
    receiver: DigitReceiver,
    now: Time,
    timestamp: u32,
    /// Taken by the sender, in order; the last `queued` of them have not begun.
    sent: String,
    received: String,
    ends: u32,
    /// Full segments of the digit on the line.
    segments: u32,
    last: Option<(u32, u16)>,
}

impl Line {
    fn play(&mut self, op: u8, choice: u8) {
        let before = self.sender.queued();
        match op % 8 {
            0 | 1 => {
                let symbol = char::from(choice);
                match self.sender.push(symbol) {
                    Ok(()) => self.sent.push(symbol.to_ascii_uppercase()),
                    Err(refused) => {
                        assert!(!refused.to_string().is_empty());
                        assert_eq!(self.sender.queued(), before, "a refusal takes nothing");
                    }
                }
            }
            2 => {
                let length_ms = u32::from(choice) * [1, 20, 300][usize::from(op >> 3) % 3];
                let symbol = char::from(b"0123456789*#ABCD!x"[usize::from(choice) % 18]);
                if self.sender.push_for(symbol, length_ms).is_ok() {
                    assert!((40..=60_000).contains(&length_ms));
                    self.sent.push(symbol);
                }
            }
            3 => {
                let symbols = &"0123456789*#ABCD!0123456789*#ABCD!1é"[usize::from(choice) % 35..];
                if self.sender.push_all(symbols).is_ok() {
                    assert!(symbols.is_ascii());
                    self.sent.push_str(symbols);
                } else {
                    assert_eq!(self.sender.queued(), before, "all or none");
                }
            }
            4 if choice & 0x80 != 0 => {
                self.sender.clear();
                self.sent.truncate(self.sent.len() - before);
                assert_eq!(self.sender.queued(), 0);
            }
            // Media time that nobody sent: a host that slept.
            5 if self.last.is_none() => self.timestamp = self.timestamp.wrapping_add(u32::from(choice) * 9_600),
            _ => (0..choice % 64).for_each(|_| self.tick()),
        }
    }

    fn tick(&mut self) {
        let packet = self.sender.tick(self.timestamp);
        if let Some(packet) = packet {
            let event = TelephoneEvent::parse(&packet.payload).expect("a packet of ours");
            // The marker stands on the first packet of a digit and on no other.
            assert_eq!(packet.marker, self.last.is_none(), "one marker a digit");
            if let Some((timestamp, duration)) = self.last {
                if packet.timestamp == timestamp {
                    let is_repeated = self.ends > 0 && event.duration == duration;
                    assert!(is_repeated || event.duration == duration.saturating_add(160), "{} after {duration}", event.duration);
                } else {
                    assert_eq!(
                        (duration, packet.timestamp),
                        (u16::MAX, timestamp.wrapping_add(u32::from(u16::MAX) * 6)),
                        "segments follow"
                    );
                    self.segments += 1;
                }
            }
            let units = self.segments * u32::from(u16::MAX) + u32::from(event.duration);
            assert!(units >= 160 && (event.duration == u16::MAX || units.is_multiple_of(160)), "whole frames");
            self.last = Some((packet.timestamp, event.duration));
            self.ends += u32::from(event.end);
            assert!(self.ends == 0 || event.end, "nothing but ends after the end");
            if self.ends == 3 {
                (self.ends, self.last, self.segments) = (0, None, 0);
            }
            if let Ok(Some(digit)) = self.receiver.handle_packet(packet.timestamp, &packet.payload, self.now) {
                self.received.push(digit.symbol);
            }
        } else {
            assert!(self.last.is_none(), "a digit has no gap");
        }
        self.now += Span::from_millis(20);
        self.timestamp = self.timestamp.wrapping_add(960);
    }
}

#[test]
fn seeded_operation_lists() {
    use crate::rng::{Entropy, SeededRng};
    for seed in 0..1_000 {
        let mut data = [0; 60];
        SeededRng::new(seed).fill(&mut data);
        fuzz_dtmf_send(&data);
    }
    // Every key, a minute of one of them, and a string.
    fuzz_dtmf_send(b"\x000\x009\x00*\x00#\x00A\x00D\x00!\x12\xc8\x03\x04\x04\x80");
}
