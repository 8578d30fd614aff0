//! One direction of a tapped call as samples, for somebody who listens along: a transcriber, a supervisor.
//!
//! Decides: the order of packets (60 ms are waited for one that is late), and what stands for one that never comes. Given: a tap's reader, and a turn every 20 ms.
//! Refuses: the call's own clock: who listens is served beside the call, never by it.

use super::tap::{TapReader, Taped};
use crate::codec::{DECODE_SAMPLES_MAX, Decoder, SampleRate, toc};
use crate::error::SetupError;
use crate::limits::{FRAME_TICKS, RTP_CLOCK_HZ};
use std::collections::{BTreeMap, VecDeque};

/// See above. Not for a shard's thread: it decodes and allocates.
pub struct Listener {
    reader: TapReader,
    /// The peer's packets, or those that we sent.
    incoming: bool,
    decoder: Decoder,
    /// By unrolled timestamp.
    waiting: BTreeMap<u64, Taped>,
    newest: u64,
    /// What is said next; none until a packet has come.
    head: Option<u64>,
    /// End of what was decoded of packets.
    played: u64,
    /// Decoded, from `head` on.
    samples: VecDeque<i16>,
    concealed: u32,
}

impl Listener {
    /// Listens to what the peer says (`incoming`), or to what it hears.
    pub fn new(reader: TapReader, incoming: bool, rate: SampleRate) -> Result<Self, SetupError> {
        Ok(Self {
            reader,
            incoming,
            decoder: Decoder::new(rate)?,
            waiting: BTreeMap::new(),
            newest: 0,
            head: None,
            played: 0,
            samples: VecDeque::new(),
            concealed: 0,
        })
    }

    /// Goes on with another reader of the same call: its port was exchanged.
    pub fn replace(&mut self, reader: TapReader) {
        self.reader = reader;
    }

    /// Whether the tap was closed and all that it handed on was taken.
    pub fn is_over(&mut self) -> bool {
        // Asked in this order: what is put in between is found.
        let is_closed = self.reader.is_closed();
        self.take();
        is_closed
    }

    /// One turn: hands on the next 20 ms; nothing before the first packet, and 40 ms while more than 200 ms wait.
    pub fn turn(&mut self, mut say: impl FnMut(&[i16])) {
        self.take();
        let Some(head) = self.head else { return };
        self.say(&mut say);
        if self.newest.saturating_sub(head) > BEHIND_TICKS_MAX {
            self.say(&mut say);
        }
    }

    fn take(&mut self) {
        while let Some(packet) = self.reader.next_packet() {
            if packet.incoming == self.incoming {
                self.put(packet);
            }
        }
    }

    fn put(&mut self, packet: Taped) {
        let step = i64::from(packet.timestamp.wrapping_sub(self.newest as u32) as i32);
        let mut at = self.newest.saturating_add_signed(step);
        if self.head.is_none() || step.unsigned_abs() > JUMP_TICKS {
            // The first, or another source: its past has nothing to do with what was heard. An epoch above zero, so that what came before has a place, and one for each
            // source, so that none leads below it.
            at = EPOCH + u64::from(packet.timestamp);
            self.waiting.clear();
            self.samples.clear();
            self.decoder.reset();
            (self.newest, self.head, self.played) = (at, Some(at - HOLD_TICKS), at - HOLD_TICKS);
        }
        if at < self.played {
            return;
        }
        if self.head.is_some_and(|head| at < head) {
            // Later than we waited, and the silence that was said for it cannot be taken back.
            self.head = Some(at);
            self.samples.clear();
        }
        self.newest = self.newest.max(at);
        self.waiting.insert(at, packet);
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_first();
        }
    }

    fn say(&mut self, say: &mut impl FnMut(&[i16])) {
        let (Some(head), samples) = (self.head, self.decoder.rate().frame_samples()) else { return };
        while self.samples.len() < samples {
            let ahead = self.samples.len() as u64 * u64::from(RTP_CLOCK_HZ) / u64::from(self.decoder.rate().hz());
            self.decode_at(head + ahead);
        }
        let frame: Vec<i16> = self.samples.drain(..samples).collect();
        self.head = Some(head + FRAME);
        say(&frame);
    }

    /// Decodes what belongs to `at`, or finds something in its stead: never nothing.
    fn decode_at(&mut self, at: u64) {
        while self.waiting.first_key_value().is_some_and(|(&first, _)| first < self.played) {
            self.waiting.pop_first();
        }
        let mut pcm = [0; DECODE_SAMPLES_MAX];
        let first = self.waiting.first_key_value().map(|(&first, _)| first);
        let decoded = match first {
            Some(first) if first < at + FRAME / 2 => self.waiting.pop_first().and_then(|(_, packet)| {
                let ticks = u64::from(toc::duration_ticks(packet.payload()).unwrap_or(FRAME_TICKS));
                (self.played, self.concealed) = (first + ticks, 0);
                self.decoder.decode(packet.payload(), &mut pcm)
            }),
            // The next one may know what this one said.
            Some(first) if first < at + FRAME + FRAME / 2 => {
                self.waiting.first_key_value().and_then(|(_, next)| self.decoder.decode_fec(next.payload(), &mut pcm))
            }
            _ if self.concealed < CONCEALED_MAX => {
                self.concealed += 1;
                self.decoder.conceal(&mut pcm)
            }
            _ => None,
        };
        // Silence for what cannot be decoded, and behind what was concealed.
        let len = decoded.unwrap_or_else(|| {
            pcm.fill(0);
            self.decoder.rate().frame_samples()
        });
        self.samples.extend(&pcm[..len]);
    }
}

const FRAME: u64 = FRAME_TICKS as u64;
const EPOCH: u64 = 1 << 40;
/// What a packet may be late: 60 ms.
const HOLD_TICKS: u64 = 3 * FRAME;
/// 200 ms.
const BEHIND_TICKS_MAX: u64 = 10 * FRAME;
/// Ten seconds: not a gap, another source.
const JUMP_TICKS: u64 = 500 * FRAME;
const WAITING_MAX: usize = 64;
/// Frames in a row that libopus invents; silence is better behind 100 ms.
const CONCEALED_MAX: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::Tap;
    use crate::call::{FrameBuffer, Incoming, MediaPort, Outgoing};
    use crate::codec::{Encoder, EncoderSettings};

    const RATE: SampleRate = SampleRate::Hz16000;

    struct Mute;

    impl MediaPort for Mute {
        fn incoming(&mut self, _: Incoming<'_>) {}

        fn outgoing(&mut self, _: &mut FrameBuffer) -> Outgoing {
            Outgoing::Silence
        }
    }

    /// Twenty milliseconds each of a tone of 440 Hz, as Opus.
    fn tone(frames: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(&EncoderSettings::meta(RATE)).unwrap();
        let rate = encoder.settings().rate;
        let (samples, step) = (rate.frame_samples(), core::f64::consts::TAU * 440.0 / f64::from(rate.hz()));
        let mut packet = [0; 500];
        (0..frames)
            .map(|frame| {
                let pcm: Vec<i16> = (0..samples).map(|k| (9_000.0 * (step * (frame * samples + k) as f64).sin()) as i16).collect();
                let len = encoder.encode(&pcm, &mut packet);
                packet[..len].to_vec()
            })
            .collect()
    }

    /// The share of 20 ms frames behind the first 200 ms that are loud.
    fn loud(heard: &[i16]) -> f64 {
        let frames: Vec<_> = heard.chunks(RATE.frame_samples()).skip(10).collect();
        let is_loud = |frame: &&&[i16]| frame.iter().any(|s| s.unsigned_abs() > 1_000);
        frames.iter().filter(is_loud).count() as f64 / frames.len() as f64
    }

    fn listen(order: impl Iterator<Item = (usize, u32)>, start: u32) -> (Vec<i16>, usize) {
        let (mut tap, reader) = Tap::new(Box::new(Mute));
        let mut listener = Listener::new(reader, true, RATE).unwrap();
        let packets = tone(200);
        let (mut heard, mut turns) = (Vec::new(), 0);
        listener.turn(|_| panic!("nothing was said yet"));
        for (nth, at) in order {
            tap.incoming(Incoming::Opus { payload: &packets[nth], timestamp: start.wrapping_add(at * FRAME_TICKS) });
            // What we say is another direction.
            tap.sent(&[0xf8, 0xff, 0xfe], 7);
            listener.turn(|frame| heard.extend_from_slice(frame));
            turns += 1;
        }
        drop(tap);
        assert!(listener.is_over());
        (heard, turns)
    }

    #[test]
    fn packets_come_out_in_order_whole_and_in_time_across_a_wrap() {
        let swapped = (0..200).map(|k| (k ^ 1, (k ^ 1) as u32));
        let (heard, turns) = listen(swapped, u32::MAX - 100 * FRAME_TICKS);
        assert_eq!(heard.len(), turns * RATE.frame_samples(), "20 ms a turn");
        assert!(loud(&heard) > 0.99, "{}", loud(&heard));
        // A tone of one frequency stays one: no frame is missing, doubled or out of its place.
        let crossings = heard[3_200..].windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count() as f64;
        let expected = 440.0 * (heard.len() - 3_200) as f64 / f64::from(RATE.hz());
        assert!((crossings - expected).abs() <= 2.0, "{crossings} of {expected}");
    }

    #[test]
    fn lost_packets_are_concealed_and_a_pause_is_silence() {
        let (heard, turns) = listen((0..200).map(|k| (k, k as u32)).filter(|(k, _)| k % 10 != 7), 5);
        // One turn a packet: the twenty that are lost are caught up with.
        assert!(heard.len() >= turns * RATE.frame_samples() && loud(&heard) > 0.99, "{}", loud(&heard));

        let (mut tap, reader) = Tap::new(Box::new(Mute));
        let mut listener = Listener::new(reader, true, RATE).unwrap();
        for (k, packet) in tone(20).iter().enumerate() {
            tap.incoming(Incoming::Opus { payload: packet, timestamp: k as u32 * FRAME_TICKS });
            listener.turn(|_| {});
        }
        let mut heard = Vec::new();
        for _ in 0..50 {
            listener.turn(|frame| heard.extend_from_slice(frame));
        }
        assert_eq!(heard.len(), 50 * RATE.frame_samples(), "a pause has its length");
        assert!(heard[20 * RATE.frame_samples()..].iter().all(|s| *s == 0));
    }

    #[test]
    fn another_source_is_heard_at_once_and_another_reader_goes_on() {
        let packets = tone(200);
        let (mut tap, reader) = Tap::new(Box::new(Mute));
        let mut listener = Listener::new(reader, true, RATE).unwrap();
        let mut heard = Vec::new();
        for (k, packet) in packets.iter().enumerate() {
            // Half way the source changes, and with it the timeline; then the port is exchanged.
            let jump = if k < 60 { 0 } else { 0x7000_0000 };
            if k == 120 {
                let (other, reader) = Tap::new(Box::new(Mute));
                tap = other;
                assert!(listener.is_over());
                listener.replace(reader);
            }
            tap.incoming(Incoming::Opus { payload: packet, timestamp: jump + k as u32 * FRAME_TICKS });
            listener.turn(|frame| heard.extend_from_slice(frame));
        }
        assert_eq!(heard.len(), 200 * RATE.frame_samples());
        assert!(loud(&heard) > 0.95, "{}", loud(&heard));
    }
}
