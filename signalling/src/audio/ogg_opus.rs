//! Ogg Opus recordings without decoding (RFC 7845).
//!
//! Decides: pages, granule positions, and the silence put where no packet came. Is given: Opus packets with RTP timestamps at 48 kHz.
//! Refuses: to look into packets; their duration is told.

use std::io::{self, Read, Seek, Write};

use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};
use tipring_engine::codec::silence::SILENCE_PACKET;

/// Writes one mono Opus stream. A page goes to `W`, and `W` is flushed, at least once per second of audio, so that a recording whose
/// process was killed plays to its last second.
pub struct OggOpusWriter<W: Write> {
    pages: PacketWriter<'static, W>,
    serial: u32,
    /// End of what was written, in 48 kHz samples, pre-skip included: the granule position.
    granule: u64,
    page_granule: u64,
    /// RTP timestamp that continues the recording without a gap.
    next: Option<u32>,
}

impl<W: Write> OggOpusWriter<W> {
    /// Writes the two header packets. `serial` tells streams of one file apart; any number will do. `input_rate_hz` is information for
    /// players only.
    pub fn new(out: W, serial: u32, input_rate_hz: u32) -> io::Result<Self> {
        let mut pages = PacketWriter::new(out);
        let mut head = Vec::with_capacity(19);
        head.extend_from_slice(b"OpusHead\x01\x01");
        head.extend_from_slice(&PRE_SKIP.to_le_bytes());
        head.extend_from_slice(&input_rate_hz.to_le_bytes());
        // No gain, one stream (mapping family 0).
        head.extend_from_slice(&[0, 0, 0]);
        pages.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        let vendor = b"tipring";
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&(vendor.len() as u32).to_le_bytes());
        tags.extend_from_slice(vendor);
        tags.extend_from_slice(&0u32.to_le_bytes());
        pages.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        pages.inner_mut().flush()?;
        Ok(Self { pages, serial, granule: 0, page_granule: 0, next: None })
    }

    /// Appends a packet of `duration_ticks` (48 kHz) whose first sample has this RTP timestamp.
    ///
    /// A gap before it is filled with silence, up to ten minutes. Returns false, and writes nothing, for a packet that lies in what is
    /// recorded already (a copy, or one that came too late). A timestamp farther off than that is taken for a restarted sender and
    /// goes on without a gap.
    pub fn write(&mut self, packet: &[u8], timestamp: u32, duration_ticks: u32) -> io::Result<bool> {
        let mut next = self.next.unwrap_or(timestamp);
        let ahead = timestamp.wrapping_sub(next) as i32;
        if packet.is_empty() || duration_ticks == 0 || (-PAST_TICKS_MAX..0).contains(&ahead) {
            return Ok(false);
        }
        if (0..=GAP_TICKS_MAX).contains(&ahead) {
            for (toc, ticks) in SILENCES {
                while timestamp.wrapping_sub(next) >= ticks {
                    self.append(vec![toc, SILENCE_PACKET[1], SILENCE_PACKET[2]], ticks)?;
                    next = next.wrapping_add(ticks);
                }
            }
            // Less than 2.5 ms may be left; it stays in `next` and is made up for by the next gap.
        } else {
            next = timestamp;
        }
        self.append(packet.to_vec(), duration_ticks)?;
        self.next = Some(next.wrapping_add(duration_ticks));
        Ok(true)
    }

    /// Length so far in 48 kHz samples.
    pub fn ticks(&self) -> u64 {
        self.granule.saturating_sub(u64::from(PRE_SKIP))
    }

    /// Ends the stream and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        // A last page must hold a packet: this one ends where the stream ended, so players trim it away (RFC 7845 section 4.4).
        self.pages.write_packet(SILENCE_PACKET.to_vec(), self.serial, PacketWriteEndInfo::EndStream, self.granule)?;
        self.pages.inner_mut().flush()?;
        Ok(self.pages.into_inner())
    }

    fn append(&mut self, packet: Vec<u8>, ticks: u32) -> io::Result<()> {
        self.granule += u64::from(ticks);
        let full = self.granule - self.page_granule >= PAGE_TICKS_MAX;
        let end = if full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
        self.pages.write_packet(packet, self.serial, end, self.granule)?;
        if full {
            self.page_granule = self.granule;
            self.pages.inner_mut().flush()?;
        }
        Ok(())
    }
}

/// What an Ogg Opus file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OggOpusFile {
    /// Channels.
    pub channels: u8,
    /// Samples at 48 kHz that players leave out at the start.
    pub pre_skip: u16,
    /// Opus packets, each with the granule position of the page it ended on.
    pub packets: Vec<(Vec<u8>, u64)>,
    /// The stream was ended properly.
    pub is_finished: bool,
}

/// Reads the first logical stream of an Ogg Opus file; a file that breaks off gives what came before.
pub fn read_ogg_opus<R: Read + Seek>(input: R) -> io::Result<OggOpusFile> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut reader = PacketReader::new(input);
    let mut packet = || reader.read_packet().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e));
    let head = packet()?.ok_or_else(|| bad("empty file"))?;
    if head.data.len() < 19 || !head.data.starts_with(b"OpusHead") || head.data[8] >> 4 != 0 {
        return Err(bad("the first packet is no OpusHead of version 1 (RFC 7845 section 5.1)"));
    }
    if !packet()?.is_some_and(|tags| tags.data.starts_with(b"OpusTags")) {
        return Err(bad("the second packet is no OpusTags (RFC 7845 section 5.2)"));
    }
    let mut file = OggOpusFile {
        channels: head.data[9],
        pre_skip: u16::from_le_bytes([head.data[10], head.data[11]]),
        packets: Vec::new(),
        is_finished: false,
    };
    while let Ok(Some(p)) = packet() {
        if p.stream_serial() == head.stream_serial() {
            file.is_finished = p.last_in_stream();
            let granule = p.absgp_page();
            file.packets.push((p.data, granule));
        }
    }
    Ok(file)
}

/// Delay of libopus at 48 kHz: what encoders of speech put there. The stream may have begun elsewhere, but less is cut than is heard.
const PRE_SKIP: u16 = 312;
/// 1 s.
const PAGE_TICKS_MAX: u64 = 48_000;
/// 10 min.
const GAP_TICKS_MAX: i32 = 600 * 48_000;
/// 10 s.
const PAST_TICKS_MAX: i32 = 10 * 48_000;
/// Silence of 20, 10, 5 and 2.5 ms: CELT, full band, mono (RFC 6716 section 3.1, configurations 31 down to 28).
const SILENCES: [(u8, u32); 4] = [(SILENCE_PACKET[0], 960), (0xf0, 480), (0xe8, 240), (0xe0, 120)];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn packet(i: u32) -> Vec<u8> {
        // SILK wide band, 20 ms, mono; the length passes the lacing boundary of 255 bytes.
        let mut p = vec![0x48; 1 + (i as usize * 37) % 300];
        p[1..].fill(i as u8);
        p
    }

    #[test]
    fn what_goes_in_comes_out_with_its_time() {
        let mut w = OggOpusWriter::new(Cursor::new(Vec::new()), 7, 16_000).unwrap();
        let start = u32::MAX - 20_000;
        for i in 0..200 {
            assert!(w.write(&packet(i), start.wrapping_add(i * 960), 960).unwrap());
        }
        assert!(!w.write(&packet(199), start.wrapping_add(199 * 960), 960).unwrap(), "a copy");
        assert_eq!(w.ticks(), 200 * 960 - 312);
        let file = read_ogg_opus(Cursor::new(w.finish().unwrap().into_inner())).unwrap();
        assert_eq!((file.channels, file.pre_skip, file.is_finished), (1, 312, true));
        assert_eq!(file.packets.len(), 201);
        for (i, (data, granule)) in file.packets[..200].iter().enumerate() {
            assert_eq!(*data, packet(i as u32));
            assert!(*granule >= (i as u64 + 1) * 960 && *granule <= (i as u64 + 1) * 960 + 48_000);
        }
        assert_eq!(file.packets[200], (SILENCE_PACKET.to_vec(), 200 * 960), "trimmed away");
    }

    #[test]
    fn gaps_are_silence_of_their_length() {
        let mut w = OggOpusWriter::new(Cursor::new(Vec::new()), 7, 48_000).unwrap();
        w.write(&[0x48, 1], 0, 960).unwrap();
        // 2 s, and 10 + 5 + 2.5 ms, and a third of a millisecond that is carried on.
        let after = 960 + 96_000 + 480 + 240 + 120 + 16;
        w.write(&[0x48, 2], after, 960).unwrap();
        w.write(&[0x48, 3], after + 960 + 104, 960).unwrap();
        // A restarted sender: no gap.
        w.write(&[0x48, 4], 0x8000_0000, 960).unwrap();
        w.write(&[0x48, 5], 0x8000_0000 + 960, 960).unwrap();
        let file = read_ogg_opus(Cursor::new(w.finish().unwrap().into_inner())).unwrap();
        let tocs: Vec<u8> = file.packets.iter().map(|(p, _)| p[0]).collect();
        let mut wanted = vec![0x48];
        wanted.extend([0xf8; 100]);
        wanted.extend([0xf0, 0xe8, 0xe0, 0x48, 0xe0, 0x48, 0x48, 0x48, 0xf8]);
        assert_eq!(tocs, wanted);
        assert_eq!(file.packets.last().unwrap().1, 960 * 5 + 96_000 + 840 + 120);
    }

    #[test]
    fn every_length_of_silence_decodes_to_silence_of_that_length() {
        let mut decoder = tipring_engine::codec::Decoder::new(tipring_engine::codec::SampleRate::Hz48000).unwrap();
        let mut out = [0; 5_760];
        for (toc, ticks) in SILENCES {
            assert_eq!(decoder.decode(&[toc, SILENCE_PACKET[1], SILENCE_PACKET[2]], &mut out), Some(ticks as usize));
            assert!(out[..ticks as usize].iter().all(|s| s.abs() <= 1));
        }
    }

    #[test]
    fn a_killed_recording_keeps_all_but_the_last_second() {
        let mut sink = Cursor::new(Vec::new());
        let mut w = OggOpusWriter::new(&mut sink, 7, 48_000).unwrap();
        for i in 0..130 {
            w.write(&packet(i), i * 960, 960).unwrap();
        }
        drop(w);
        let file = read_ogg_opus(Cursor::new(sink.into_inner())).unwrap();
        assert!(!file.is_finished);
        assert!(file.packets.len() >= 100, "{}", file.packets.len());
        assert!(file.packets.iter().zip(0..).all(|((data, _), i)| *data == packet(i)));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(read_ogg_opus(Cursor::new(Vec::new())).is_err());
        assert!(read_ogg_opus(Cursor::new(vec![0x52; 400])).is_err());
        let mut pages = PacketWriter::new(Cursor::new(Vec::new()));
        pages.write_packet(&b"\x01vorbis, or something else"[..], 1, PacketWriteEndInfo::EndStream, 0).unwrap();
        assert!(read_ogg_opus(Cursor::new(pages.into_inner().into_inner())).unwrap_err().to_string().contains("OpusHead"));
    }
}
