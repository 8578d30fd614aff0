//! Opus packets of any length into packets of 20 ms, without decoding.
//!
//! Given: whole Opus packets in order. Decides: which frames go into which packet of 20 ms (RFC 6716 section 3.2 says how frames are packed; nothing inside a frame is
//! touched). Refuses: single frames of 40 and 60 ms, which only a decoder can divide, and time: whoever pops once per 20 ms plays in time.

use super::toc;
use crate::limits::{FRAME_TICKS, OPUS_BYTES_MAX};
use core::fmt;

/// Why a packet cannot be re-framed. Nothing of it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReframeRefused {
    /// It breaks RFC 6716 section 3.4.
    Malformed,
    /// Its frames are of 40 or 60 ms each: decode it and encode 20 ms frames.
    LongFrames,
    /// 20 ms of it would be longer than the largest packet we send.
    TooLarge,
}

impl fmt::Display for ReframeRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the Opus packet is malformed (RFC 6716 section 3.4)",
            Self::LongFrames => {
                "the Opus packet has frames of 40 or 60 ms, which cannot be divided; let the source send frames of 20 ms, or give PCM"
            }
            Self::TooLarge => "20 ms of the Opus packet would not fit into one packet",
        })
    }
}

impl core::error::Error for ReframeRefused {}

/// Cuts long packets into frames of 20 ms and joins short ones. A queue of at most [`REFRAMED_PACKETS_MAX`]; the oldest gives way.
#[derive(Debug)]
pub struct OpusReframer {
    ready: [Slot; REFRAMED_PACKETS_MAX],
    head: usize,
    len: usize,
    /// Frames of less than 20 ms that wait for their neighbours: their bytes one behind the other.
    part: [u8; OPUS_BYTES_MAX],
    part_bytes: usize,
    lengths: [u16; SHORT_FRAMES_MAX],
    frames: usize,
    /// TOC byte of the waiting frames, its code cleared.
    toc: u8,
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    bytes: [u8; OPUS_BYTES_MAX],
    len: usize,
}

impl Default for OpusReframer {
    fn default() -> Self {
        Self {
            ready: [Slot { bytes: [0; OPUS_BYTES_MAX], len: 0 }; REFRAMED_PACKETS_MAX],
            head: 0,
            len: 0,
            part: [0; OPUS_BYTES_MAX],
            part_bytes: 0,
            lengths: [0; SHORT_FRAMES_MAX],
            frames: 0,
            toc: 0,
            dropped: 0,
        }
    }
}

impl OpusReframer {
    /// Takes a packet of 2.5 to 120 ms. Short frames are joined across packets as long as mode, bandwidth and channels stay; when they change, what is left is filled up
    /// with empty frames, which a decoder conceals.
    pub fn push(&mut self, packet: &[u8]) -> Result<(), ReframeRefused> {
        if packet.len() > OPUS_BYTES_MAX {
            return Err(ReframeRefused::TooLarge);
        }
        let mut frames = [&[][..]; FRAMES_MAX];
        let count = toc::frames(packet, &mut frames).map_err(|_| ReframeRefused::Malformed)?;
        let (frames, config) = (&frames[..count], packet[0] & !3);
        //= rfc6716#section-3.2  frames are packed anew, never changed
        match FRAME_TICKS / toc::frame_ticks(config) {
            0 => return Err(ReframeRefused::LongFrames),
            1 => {
                self.flush();
                for frame in frames {
                    self.queue(|out| pack(config, &[frame.len() as u16], frame, out));
                }
            }
            per_packet => {
                // Frames of one packet fit together, with room for any lengths; only neighbours from several packets may not.
                if packet.len() + HEADER_BYTES_MAX > OPUS_BYTES_MAX {
                    return Err(ReframeRefused::TooLarge);
                }
                for frame in frames {
                    if self.frames > 0 && (self.toc != config || self.part_bytes + frame.len() + HEADER_BYTES_MAX > OPUS_BYTES_MAX) {
                        self.flush();
                    }
                    self.toc = config;
                    self.part[self.part_bytes..self.part_bytes + frame.len()].copy_from_slice(frame);
                    self.part_bytes += frame.len();
                    self.lengths[self.frames] = frame.len() as u16;
                    self.frames += 1;
                    if self.frames == per_packet as usize {
                        self.flush();
                    }
                }
            }
        }
        Ok(())
    }

    /// The next packet of 20 ms into `out`; its length, or none when there is none or `out` is too short.
    pub fn pop(&mut self, out: &mut [u8]) -> Option<usize> {
        let slot = (self.len > 0).then(|| &self.ready[self.head])?;
        out.get_mut(..slot.len)?.copy_from_slice(&slot.bytes[..slot.len]);
        let len = slot.len;
        self.head = (self.head + 1) % REFRAMED_PACKETS_MAX;
        self.len -= 1;
        Some(len)
    }

    /// Packets that are ready.
    pub fn ready(&self) -> usize {
        self.len
    }

    /// Packets that gave way to newer ones.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether frames wait for their neighbours to make up 20 ms.
    pub fn is_started(&self) -> bool {
        self.frames > 0
    }

    /// Ends a started packet: what is missing becomes empty frames ("lost" to the decoder, RFC 6716 section 3.2.1).
    pub fn flush(&mut self) {
        if self.frames == 0 {
            return;
        }
        let wanted = (FRAME_TICKS / toc::frame_ticks(self.toc)) as usize;
        self.lengths[self.frames..wanted].fill(0);
        let (toc, lengths, part, part_bytes) = (self.toc, self.lengths, self.part, self.part_bytes);
        (self.frames, self.part_bytes) = (0, 0);
        self.queue(|out| pack(toc, &lengths[..wanted], &part[..part_bytes], out));
    }

    fn queue(&mut self, write: impl FnOnce(&mut [u8; OPUS_BYTES_MAX]) -> usize) {
        if self.len == REFRAMED_PACKETS_MAX {
            self.head = (self.head + 1) % REFRAMED_PACKETS_MAX;
            self.len -= 1;
            self.dropped += 1;
        }
        let slot = &mut self.ready[(self.head + self.len) % REFRAMED_PACKETS_MAX];
        slot.len = write(&mut slot.bytes);
        self.len += 1;
    }
}

/// Writes a packet of these frames, whose bytes lie one behind the other in `body`: code 0 for one, 1 or 2 for two, 3 with lengths for more.
fn pack(toc: u8, lengths: &[u16], body: &[u8], out: &mut [u8; OPUS_BYTES_MAX]) -> usize {
    // The last length is what is left of the packet.
    let announced = lengths.split_last().map_or(&[][..], |(_, others)| others);
    let mut at = 1;
    match *lengths {
        [_] => out[0] = toc,
        [first, second] if first == second => {
            out[0] = toc | 1;
            return append(body, at, out);
        }
        [_, _] => out[0] = toc | 2,
        _ => {
            (out[0], out[1]) = (toc | 3, VBR | lengths.len() as u8);
            at = 2;
        }
    }
    for &length in announced {
        //= rfc6716#section-3.2.1  one byte below 252, else two
        if length < 252 {
            out[at] = length as u8;
            at += 1;
        } else {
            let low = 252 + (length & 3);
            (out[at], out[at + 1]) = (low as u8, ((length - low) / 4) as u8);
            at += 2;
        }
    }
    append(body, at, out)
}

fn append(body: &[u8], at: usize, out: &mut [u8; OPUS_BYTES_MAX]) -> usize {
    out[at..at + body.len()].copy_from_slice(body);
    at + body.len()
}

/// Flag of a code 3 packet: each frame has its own length.
const VBR: u8 = 0x80;
/// Packets of 20 ms that may wait: 160 ms, one packet of 120 ms and two more.
pub const REFRAMED_PACKETS_MAX: usize = 8;
/// Frames of a packet (RFC 6716 section 3.2.5).
const FRAMES_MAX: usize = 48;
/// Frames of 2.5 ms in 20 ms.
const SHORT_FRAMES_MAX: usize = 8;
/// TOC, count byte and seven lengths of two bytes.
const HEADER_BYTES_MAX: usize = 2 + 2 * (SHORT_FRAMES_MAX - 1);

const _: () = assert!(REFRAMED_PACKETS_MAX > 6);

#[cfg(test)]
mod tests;
