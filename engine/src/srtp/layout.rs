//! Where the parts of an RTP or RTCP packet are, as far as SRTP must know (RFC 3550 sections 5.1 and 6.4).
//!
//! Given: plain bytes. Decides: header length, sequence number, SSRC, all bounds checked (R14). Refuses: everything behind the header.

use crate::error::DropReason;
use crate::limits::RTP_HEADER_BYTES;

/// Bytes of an RTCP packet that stay clear: first word and sender SSRC.
pub(super) const RTCP_CLEAR_BYTES: usize = 8;

/// What SRTP reads of an RTP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RtpLayout {
    /// Fixed header, CSRC list and extension: what stays clear, in bytes.
    pub(super) header_bytes: usize,
    /// Sequence number.
    pub(super) seq: u16,
    /// Synchronisation source.
    pub(super) ssrc: u32,
}

impl RtpLayout {
    /// Reads the header of `packet`, which is without its tag. The header never reaches beyond it.
    //= rules#R14
    #[inline]
    pub(super) fn new(packet: &[u8]) -> Result<Self, DropReason> {
        let Some(fixed) = packet.first_chunk::<RTP_HEADER_BYTES>() else { return Err(DropReason::Truncated) };
        let [first, _, s0, s1, _, _, _, _, c0, c1, c2, c3] = *fixed;
        if first >> 6 != 2 {
            return Err(DropReason::RtpMalformed);
        }
        let mut header_bytes = RTP_HEADER_BYTES + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let Some(&[_, _, w0, w1]) = packet.get(header_bytes..header_bytes + 4) else { return Err(DropReason::Truncated) };
            header_bytes += 4 + 4 * usize::from(u16::from_be_bytes([w0, w1]));
        }
        if header_bytes > packet.len() {
            return Err(DropReason::Truncated);
        }
        Ok(Self { header_bytes, seq: u16::from_be_bytes([s0, s1]), ssrc: u32::from_be_bytes([c0, c1, c2, c3]) })
    }
}

/// The sender SSRC of an RTCP compound without trailer.
#[inline]
pub(super) fn rtcp_ssrc(packet: &[u8]) -> Result<u32, DropReason> {
    let Some(&[first, _, _, _, c0, c1, c2, c3]) = packet.first_chunk::<RTCP_CLEAR_BYTES>() else {
        return Err(DropReason::Truncated);
    };
    if first >> 6 != 2 {
        return Err(DropReason::RtcpMalformed);
    }
    Ok(u32::from_be_bytes([c0, c1, c2, c3]))
}
