//! AudioSocket (Asterisk's `res_audiosocket`): a type byte, a length in two bytes (big-endian), a payload; over TCP.
//!
//! Decides: how frames are cut out of a stream of bytes. Given: bytes as TCP gives them. Refuses: payloads longer than the length can say, and rates that Opus does
//! not know.

use tipring_engine::codec::SampleRate;

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// The side that sends it hangs up.
    Hangup,
    /// Names the call: 16 bytes. The first frame of the client.
    Uuid([u8; 16]),
    /// One digit, as ASCII.
    Dtmf(u8),
    /// Signed linear, 16 bit, little-endian, mono, at the rate that the type names.
    Audio {
        /// In Hz.
        rate_hz: u32,
        /// Whole samples.
        samples: Vec<i16>,
    },
    /// Something went wrong on the side that sends it; the byte is its own.
    Error(u8),
    /// A type that this version does not have, or a payload that does not fit its type.
    Other(u8),
}

/// Rates by the low bits of the type, from 0x10.
const RATES: [u32; 9] = [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000];

/// The type of audio at a rate that Opus knows.
pub const fn audio_type(rate: SampleRate) -> u8 {
    match rate {
        SampleRate::Hz8000 => 0x10,
        SampleRate::Hz16000 => 0x12,
        SampleRate::Hz24000 => 0x13,
        SampleRate::Hz48000 => 0x16,
    }
}

/// Writes a frame; none if its payload is too long, or its rate is none of the protocol's.
pub fn write(frame: &Frame) -> Option<Vec<u8>> {
    let (kind, payload) = match frame {
        Frame::Hangup => (0x00, Vec::new()),
        Frame::Uuid(uuid) => (0x01, uuid.to_vec()),
        Frame::Dtmf(digit) => (0x03, vec![*digit]),
        Frame::Audio { rate_hz, samples } => {
            let index = RATES.iter().position(|rate| rate == rate_hz)?;
            (0x10 + index as u8, super::l16::bytes_of(samples))
        }
        Frame::Error(code) => (0xff, vec![*code]),
        Frame::Other(kind) => (*kind, Vec::new()),
    };
    let length = u16::try_from(payload.len()).ok()?;
    let mut out = vec![kind];
    out.extend(length.to_be_bytes());
    out.extend(payload);
    Some(out)
}

/// Cuts frames out of a stream.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame. What stays is less than one frame: 64 KiB and 3 bytes at most.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let [kind, high, low, ..] = *self.bytes.as_slice() else { return None };
        let end = 3 + usize::from(u16::from_be_bytes([high, low]));
        let payload = self.bytes.get(3..end)?;
        let frame = match (kind, payload) {
            (0x00, _) => Frame::Hangup,
            (0x01, uuid) => uuid.try_into().map_or(Frame::Other(kind), Frame::Uuid),
            (0x03, [digit]) => Frame::Dtmf(*digit),
            (0x10..=0x18, audio) if audio.len() % 2 == 0 => Frame::Audio {
                rate_hz: RATES[usize::from(kind - 0x10)],
                samples: audio.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect(),
            },
            (0xff, code) => Frame::Error(code.first().copied().unwrap_or(0)),
            _ => Frame::Other(kind),
        };
        self.bytes.drain(..end);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_of_the_documentation() {
        let mut reader = FrameReader::default();
        reader.push(&[0x01, 0, 16]);
        assert_eq!(reader.next_frame(), None);
        reader.push(&[7; 16]);
        reader.push(&[
            0x10, 0, 4, 0x34, 0x12, 0xfe, 0xff, 0x03, 0, 1, b'5', 0x12, 0, 0, 0xff, 0, 1, 4, 0x00, 0, 0, 0x55, 0, 1, 9, 0x10, 0, 1, 1,
        ]);
        let wanted = [
            Frame::Uuid([7; 16]),
            Frame::Audio { rate_hz: 8_000, samples: vec![0x1234, -2] },
            Frame::Dtmf(b'5'),
            Frame::Audio { rate_hz: 16_000, samples: vec![] },
            Frame::Error(4),
            Frame::Hangup,
            Frame::Other(0x55),
            Frame::Other(0x10),
        ];
        for frame in wanted {
            assert_eq!(reader.next_frame(), Some(frame));
        }
        assert_eq!(reader.next_frame(), None);
        assert_eq!(write(&Frame::Audio { rate_hz: 11_025, samples: vec![] }), None);
        assert_eq!(write(&Frame::Audio { rate_hz: 8_000, samples: vec![0; 32_768] }), None, "longer than the length can say");
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000, SampleRate::Hz48000] {
            assert_eq!(write(&Frame::Audio { rate_hz: rate.hz(), samples: vec![] }).map(|bytes| bytes[0]), Some(audio_type(rate)));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_however_it_is_cut(samples: Vec<i16>, uuid: [u8; 16], digit: u8, rate in 0_usize..9, cut in 1_usize..40) {
            let frames = [
                Frame::Uuid(uuid),
                Frame::Audio { rate_hz: RATES[rate], samples },
                Frame::Dtmf(digit),
                Frame::Error(digit),
                Frame::Hangup,
            ];
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| write(frame).expect("short")).collect();
            let mut reader = FrameReader::default();
            let mut back = Vec::new();
            for piece in bytes.chunks(cut) {
                reader.push(piece);
                back.extend(std::iter::from_fn(|| reader.next_frame()));
            }
            prop_assert_eq!(&back[..], &frames[..]);
            prop_assert!(reader.bytes.is_empty());
        }
    }
}
