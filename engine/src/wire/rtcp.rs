//! RTCP compound packets (RFC 3550 section 6).
//!
//! Given: an authenticated compound, or what to write into one. Decides: whether the chain of lengths holds, and what each packet says.
//! Refuses: feedback semantics (NACK, PLI, REMB, TWCC are not negotiated, C11), intervals and statistics (`rtp::report`), and the order of
//! packets inside a compound: reduced-size forms (RFC 5506) are read although we never send them.

use crate::error::DropReason;

/// A compound whose chain of packet lengths has been checked to end exactly at its last byte.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    bytes: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks version and length of each packet, and that only the last one is padded (C8, RFC 3550 appendix A.2).
    ///
    /// Errors: `Truncated` when a header or packet is cut, `RtcpMalformed` for another version or padding in the middle. Nothing of such a
    /// compound is used.
    //= rules#G6
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let mut rest = bytes;
        loop {
            let &[first, _, high, low, ..] = rest else { return Err(DropReason::Truncated) };
            if first >> 6 != 2 {
                return Err(DropReason::RtcpMalformed);
            }
            // The length counts words minus one.
            let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
            let Some((packet, tail)) = rest.split_at_checked(length) else { return Err(DropReason::Truncated) };
            if first & 0x20 != 0 {
                let padding = usize::from(packet[length - 1]);
                if !tail.is_empty() || padding == 0 || !padding.is_multiple_of(4) || padding > length - 4 {
                    return Err(DropReason::RtcpMalformed);
                }
            }
            if tail.is_empty() {
                return Ok(Self { bytes });
            }
            rest = tail;
        }
    }

    /// The packets, in order.
    pub fn packets(&self) -> Packets<'a> {
        Packets { rest: self.bytes }
    }
}

/// One packet of a compound. Each was parsed by its own length, never by the compound's.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    /// Sender report.
    Sr(SenderInfo, Report<'a>),
    /// Receiver report.
    Rr(Report<'a>),
    /// Source description.
    Sdes(Sdes<'a>),
    /// Goodbye.
    Bye(Bye<'a>),
    /// Transport or payload feedback (RFC 4585): types 205 and 206.
    Feedback(Feedback<'a>),
    /// APP, XR and all types unknown to us: skipped by length.
    Other {
        /// Packet type.
        packet_type: u8,
    },
    /// Content that contradicts its own length or count: skipped by length, counted by the caller.
    Broken {
        /// Packet type.
        packet_type: u8,
    },
}

/// Iterator over the packets of a [`Compound`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

//= rules#C8
impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let &[first, packet_type, high, low, ..] = self.rest else { return None };
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let (packet, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let padding = if first & 0x20 != 0 { usize::from(packet[length - 1]) } else { 0 };
        let body = packet.get(4..length.saturating_sub(padding)).unwrap_or(&[]);
        Some(parse_packet(packet_type, first & 0x1f, body).unwrap_or(Packet::Broken { packet_type }))
    }
}

/// What a sender report says about its sender's stream (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    /// Wall clock of the report, 64-bit NTP format.
    pub ntp: u64,
    /// RTP timestamp of the same instant.
    pub rtp_timestamp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent, modulo 2^32.
    pub octets: u32,
}

/// The common part of sender and receiver reports.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> Report<'a> {
    /// Its report blocks, at most 31. Profile extensions behind them are skipped.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.blocks.chunks_exact(BLOCK_BYTES).map(ReportBlock::read)
    }
}

/// One reception report (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReportBlock {
    /// The stream reported on.
    pub ssrc: u32,
    /// Fraction lost since the last report, of 256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning: 24 bits signed on the wire, duplicates make it negative. Clamped when written.
    pub cumulative_lost: i32,
    /// Highest sequence number, extended by the count of its cycles.
    pub highest_seq: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last SR; zero if there was none.
    pub lsr: u32,
    /// Delay since that SR, in units of 1/65 536 s.
    pub dlsr: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8]) -> Self {
        let lost = be32(&bytes[4..8]);
        Self {
            ssrc: be32(&bytes[0..4]),
            fraction_lost: bytes[4],
            // Shift left and back again extends the sign of the lower 24 bits.
            cumulative_lost: (lost << 8) as i32 >> 8,
            highest_seq: be32(&bytes[8..12]),
            jitter: be32(&bytes[12..16]),
            lsr: be32(&bytes[16..20]),
            dlsr: be32(&bytes[20..24]),
        }
    }

    fn write(&self, out: &mut [u8]) {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        let words = [self.ssrc, u32::from(self.fraction_lost) << 24 | lost, self.highest_seq, self.jitter, self.lsr, self.dlsr];
        write_words(out, &words);
    }
}

/// A source description packet (RFC 3550 section 6.5), checked to its last item.
#[derive(Clone, Copy, Debug)]
pub struct Sdes<'a> {
    count: u8,
    body: &'a [u8],
}

impl<'a> Sdes<'a> {
    /// Every item as (SSRC, item type, text). CNAME is type 1. Chunks without items yield nothing.
    pub fn items(&self) -> SdesItems<'a> {
        SdesItems { rest: self.body, chunks_left: self.count, ssrc: None, pos: 0 }
    }

    /// The CNAME of `ssrc`, as bytes: UTF-8 by the RFC, unchecked.
    pub fn cname(&self, ssrc: u32) -> Option<&'a [u8]> {
        self.items().find(|&(of, item, _)| of == ssrc && item == SDES_CNAME).map(|(_, _, text)| text)
    }
}

/// Iterator over the items of an [`Sdes`].
#[derive(Clone, Debug)]
pub struct SdesItems<'a> {
    rest: &'a [u8],
    chunks_left: u8,
    ssrc: Option<u32>,
    /// Offset inside the chunk that starts at `rest`.
    pos: usize,
}

impl SdesItems<'_> {
    /// Reads to the end; whether that was the end of the last chunk and not a cut.
    fn ends_whole(mut self) -> bool {
        while self.next().is_some() {}
        self.chunks_left == 0 && self.ssrc.is_none()
    }
}

impl<'a> Iterator for SdesItems<'a> {
    type Item = (u32, u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(ssrc) = self.ssrc else {
                if self.chunks_left == 0 {
                    return None;
                }
                self.ssrc = Some(be32(self.rest.get(..4)?));
                self.pos = 4;
                continue;
            };
            let item = *self.rest.get(self.pos)?;
            if item == 0 {
                // The terminator, then zeros up to the next word.
                self.rest = self.rest.get((self.pos + 1).next_multiple_of(4)..)?;
                self.chunks_left -= 1;
                self.ssrc = None;
                continue;
            }
            let length = usize::from(*self.rest.get(self.pos + 1)?);
            let text = self.rest.get(self.pos + 2..self.pos + 2 + length)?;
            self.pos += 2 + length;
            return Some((ssrc, item, text));
        }
    }
}

/// A goodbye packet (RFC 3550 section 6.6).
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
    /// Why, as bytes; empty when not given.
    pub reason: &'a [u8],
}

impl<'a> Bye<'a> {
    /// The streams that end, at most 31.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.ssrcs.chunks_exact(4).map(be32)
    }
}

/// A feedback packet (RFC 4585 section 6.1), its control information unread.
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a> {
    /// 205 transport layer, 206 payload specific.
    pub packet_type: u8,
    /// Feedback message type, 0 to 31.
    pub format: u8,
    /// Who sends it.
    pub sender_ssrc: u32,
    /// The stream it is about.
    pub media_ssrc: u32,
    /// Feedback control information.
    pub fci: &'a [u8],
}

/// Writes a compound into a caller's buffer, packet by packet. A packet that does not fit is left out whole.
#[derive(Debug)]
pub struct CompoundWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> CompoundWriter<'a> {
    /// A writer at the start of `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Appends a sender report with at most 31 blocks. False if it did not fit.
    #[must_use]
    pub fn sender_report(&mut self, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) -> bool {
        let words = [ssrc, (info.ntp >> 32) as u32, info.ntp as u32, info.rtp_timestamp, info.packets, info.octets];
        self.report(TYPE_SR, &words, blocks)
    }

    /// Appends a receiver report with at most 31 blocks. False if it did not fit.
    #[must_use]
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> bool {
        self.report(TYPE_RR, &[ssrc], blocks)
    }

    /// Appends a source description with the CNAME of `ssrc`, at most 255 bytes. False if it did not fit.
    #[must_use]
    pub fn cname(&mut self, ssrc: u32, cname: &[u8]) -> bool {
        let Ok(length) = u8::try_from(cname.len()) else { return false };
        // SSRC, item type and length, text, at least one zero, up to a word.
        let body_bytes = (4 + 2 + cname.len() + 1).next_multiple_of(4);
        let Some(body) = self.packet(TYPE_SDES, 1, body_bytes) else { return false };
        body[..4].copy_from_slice(&ssrc.to_be_bytes());
        body[4] = SDES_CNAME;
        body[5] = length;
        body[6..6 + cname.len()].copy_from_slice(cname);
        body[6 + cname.len()..].fill(0);
        true
    }

    /// Appends a goodbye of `ssrc` without a reason. False if it did not fit.
    #[must_use]
    pub fn bye(&mut self, ssrc: u32) -> bool {
        let Some(body) = self.packet(TYPE_BYE, 1, 4) else { return false };
        body.copy_from_slice(&ssrc.to_be_bytes());
        true
    }

    /// Bytes written.
    pub fn finish(self) -> usize {
        self.len
    }

    fn report(&mut self, packet_type: u8, words: &[u32], blocks: &[ReportBlock]) -> bool {
        if blocks.len() > COUNT_MAX {
            return false;
        }
        let Some(body) = self.packet(packet_type, blocks.len() as u8, 4 * words.len() + BLOCK_BYTES * blocks.len()) else { return false };
        write_words(body, words);
        for (block, room) in blocks.iter().zip(body[4 * words.len()..].chunks_exact_mut(BLOCK_BYTES)) {
            block.write(room);
        }
        true
    }

    /// Writes a header and gives the room of the body; `body_bytes` is a multiple of four.
    fn packet(&mut self, packet_type: u8, count: u8, body_bytes: usize) -> Option<&mut [u8]> {
        let packet = self.out.get_mut(self.len..self.len + 4 + body_bytes)?;
        self.len += packet.len();
        let (header, body) = packet.split_at_mut(4);
        header[0] = 0x80 | count;
        header[1] = packet_type;
        header[2..].copy_from_slice(&((body_bytes / 4) as u16).to_be_bytes());
        Some(body)
    }
}

/// Reads the body of one packet; none when it is shorter than its type or count asks.
fn parse_packet(packet_type: u8, count: u8, body: &[u8]) -> Option<Packet<'_>> {
    //= rfc3550#section-6.4.1  the count is held against this packet's own length
    Some(match packet_type {
        TYPE_SR => {
            let info = SenderInfo {
                ntp: u64::from(be32(body.get(4..8)?)) << 32 | u64::from(be32(body.get(8..12)?)),
                rtp_timestamp: be32(body.get(12..16)?),
                packets: be32(body.get(16..20)?),
                octets: be32(body.get(20..24)?),
            };
            Packet::Sr(info, parse_report(count, body, 24)?)
        }
        TYPE_RR => Packet::Rr(parse_report(count, body, 4)?),
        TYPE_SDES => {
            let sdes = Sdes { count, body };
            if !sdes.items().ends_whole() {
                return None;
            }
            Packet::Sdes(sdes)
        }
        TYPE_BYE => {
            let (ssrcs, rest) = body.split_at_checked(4 * usize::from(count))?;
            let reason = match rest.split_first() {
                Some((&length, text)) => text.get(..usize::from(length))?,
                None => &[],
            };
            Packet::Bye(Bye { ssrcs, reason })
        }
        TYPE_RTPFB | TYPE_PSFB => Packet::Feedback(Feedback {
            packet_type,
            format: count,
            sender_ssrc: be32(body.get(..4)?),
            media_ssrc: be32(body.get(4..8)?),
            fci: &body[8..],
        }),
        _ => Packet::Other { packet_type },
    })
}

fn parse_report(count: u8, body: &[u8], start: usize) -> Option<Report<'_>> {
    let blocks = body.get(start..start + BLOCK_BYTES * usize::from(count))?;
    Some(Report { ssrc: be32(&body[..4]), blocks })
}

fn write_words(out: &mut [u8], words: &[u32]) {
    for (word, room) in words.iter().zip(out.chunks_exact_mut(4)) {
        room.copy_from_slice(&word.to_be_bytes());
    }
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("callers slice four bytes"))
}

/// Report block on the wire, in bytes.
const BLOCK_BYTES: usize = 24;
/// Largest value of the five-bit count.
const COUNT_MAX: usize = 31;
const TYPE_SR: u8 = 200;
const TYPE_RR: u8 = 201;
const TYPE_SDES: u8 = 202;
const TYPE_BYE: u8 = 203;
const TYPE_RTPFB: u8 = 205;
const TYPE_PSFB: u8 = 206;
/// SDES item type of the canonical name.
const SDES_CNAME: u8 = 1;

#[cfg(test)]
mod tests;
