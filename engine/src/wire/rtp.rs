//! RTP packets: a checked view and the header we emit (RFC 3550 section 5.1, RFC 8285).
//!
//! Given: bytes whose authentication has been checked, or header fields to send. Decides: whether every length inside the packet holds.
//! Refuses: payloads, sequence logic, and header extensions of our own: none is negotiated with Meta, so none is sent (P6).

use crate::error::DropReason;
use crate::limits::RTP_HEADER_BYTES;

/// A view of an RTP packet whose lengths have been checked: no accessor can panic.
#[derive(Clone, Copy, Debug)]
pub struct RtpView<'a> {
    bytes: &'a [u8],
    header_bytes: usize,
    padding_bytes: usize,
}

impl<'a> RtpView<'a> {
    /// Checks version, CSRC, extension and padding lengths (P8).
    ///
    /// For packets in the clear only: in SRTP the padding count is encrypted, use [`header_extent`] before decryption.
    /// Errors: `Truncated` when a length points past the end, `RtpMalformed` for another version or impossible padding.
    //= rules#P8
    //= rules#G6
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let header_bytes = header_extent(bytes)?;
        let room = bytes.len() - header_bytes;
        let padding_bytes = match bytes {
            [first, .., last] if first & 0x20 != 0 => {
                // The count includes itself, so zero is impossible; it is unsigned, 255 is legal.
                let padding = usize::from(*last);
                if padding == 0 || padding > room {
                    return Err(DropReason::RtpMalformed);
                }
                padding
            }
            _ => 0,
        };
        Ok(Self { bytes, header_bytes, padding_bytes })
    }

    /// Payload type, 0 to 127.
    pub fn payload_type(&self) -> u8 {
        self.bytes[1] & 0x7f
    }

    /// Marker bit.
    pub fn marker(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    /// Sequence number.
    pub fn seq(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// RTP timestamp.
    pub fn timestamp(&self) -> u32 {
        be32(&self.bytes[4..8])
    }

    /// Synchronisation source.
    pub fn ssrc(&self) -> u32 {
        be32(&self.bytes[8..12])
    }

    /// Contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.bytes[RTP_HEADER_BYTES..csrc_end(self.bytes[0])].chunks_exact(4).map(be32)
    }

    /// Header extension elements (RFC 8285); none when there is no extension or it has another profile than the one- and two-byte forms.
    pub fn extensions(&self) -> Extensions<'a> {
        let Some((profile, body)) = self.extension() else { return Extensions { form: Form::OneByte, rest: &[] } };
        match profile {
            0xbede => Extensions { form: Form::OneByte, rest: body },
            0x1000..=0x100f => Extensions { form: Form::TwoByte, rest: body },
            _ => Extensions { form: Form::OneByte, rest: &[] },
        }
    }

    /// Profile word and body of the header extension, if any (RFC 3550 section 5.3.1).
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        if self.bytes[0] & 0x10 == 0 {
            return None;
        }
        let start = csrc_end(self.bytes[0]);
        Some((u16::from_be_bytes([self.bytes[start], self.bytes[start + 1]]), &self.bytes[start + 4..self.header_bytes]))
    }

    /// Bytes before the payload: fixed header, CSRC list, header extension.
    pub fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// Bytes of padding behind the payload, its count byte included.
    pub fn padding_bytes(&self) -> usize {
        self.padding_bytes
    }

    /// Payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_bytes..self.bytes.len() - self.padding_bytes]
    }
}

/// Bytes before the payload, checked against the packet's length but without a look at padding: what SRTP may know before decryption.
///
/// Errors: `Truncated` when a length points past the end, `RtpMalformed` for another version than 2. RFC 3550 section 5.1, 5.3.1.
pub fn header_extent(bytes: &[u8]) -> Result<usize, DropReason> {
    if bytes.len() < RTP_HEADER_BYTES {
        return Err(DropReason::Truncated);
    }
    if bytes[0] >> 6 != 2 {
        return Err(DropReason::RtpMalformed);
    }
    let mut end = csrc_end(bytes[0]);
    if bytes[0] & 0x10 != 0 {
        let Some(&[_, _, high, low]) = bytes.get(end..end + 4) else { return Err(DropReason::Truncated) };
        // The length counts words behind these four bytes; zero is valid.
        end += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    }
    if end > bytes.len() { Err(DropReason::Truncated) } else { Ok(end) }
}

/// One element of a header extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extension<'a> {
    /// Local identifier: 1 to 14 in the one-byte form, 1 to 255 in the two-byte form.
    pub id: u8,
    /// Its data; 1 to 16 bytes in the one-byte form, 0 to 255 in the two-byte form.
    pub data: &'a [u8],
}

/// Elements of a header extension. What cannot be read ends the iteration and never the packet (P9).
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    form: Form,
    rest: &'a [u8],
}

//= rules#P9
impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Extension<'a>> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest; // padding between elements
                continue;
            }
            let element = match self.form {
                //= rfc8285#section-4.2  identifier 15 ends the block, and so does 0 with a length
                Form::OneByte if matches!(first >> 4, 0 | 15) => None,
                Form::OneByte => rest.split_at_checked(usize::from(first & 0x0f) + 1).map(|split| (first >> 4, split)),
                Form::TwoByte => rest.split_first().and_then(|(&n, data)| data.split_at_checked(n.into())).map(|split| (first, split)),
            };
            let Some((id, (data, rest))) = element else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            return Some(Extension { id, data });
        }
    }
}

/// The header we emit: no CSRC, no extension, no padding (P6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpHeader {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub seq: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl RtpHeader {
    /// Writes the 12 bytes at the start of `out`.
    //= rules#P6
    pub fn emit(&self, out: &mut [u8; 12]) {
        debug_assert!(self.payload_type < 128, "payload types have seven bits");
        out[0] = 0x80;
        out[1] = u8::from(self.marker) << 7 | (self.payload_type & 0x7f);
        out[2..4].copy_from_slice(&self.seq.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OneByte,
    TwoByte,
}

/// Where the CSRC list ends, by the count in the first byte.
const fn csrc_end(first: u8) -> usize {
    RTP_HEADER_BYTES + 4 * (first & 0x0f) as usize
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("callers slice four bytes"))
}

#[cfg(test)]
mod tests;
