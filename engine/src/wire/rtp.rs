//! RTP packets: a checked view and the header we emit (RFC 3550 section 5.1, RFC 8285).

use crate::error::DropReason;

/// A view of an RTP packet whose lengths have been checked: no accessor can panic.
#[derive(Clone, Copy, Debug)]
pub struct RtpView<'a> {
    bytes: &'a [u8],
}

impl<'a> RtpView<'a> {
    /// Checks version, CSRC, extension and padding lengths (P8).
    pub fn new_checked(_bytes: &'a [u8]) -> Result<Self, DropReason> {
        todo!()
    }
    /// Payload type, 0 to 127.
    pub fn payload_type(&self) -> u8 {
        todo!()
    }
    /// Marker bit.
    pub fn marker(&self) -> bool {
        todo!()
    }
    /// Sequence number.
    pub fn seq(&self) -> u16 {
        todo!()
    }
    /// RTP timestamp.
    pub fn timestamp(&self) -> u32 {
        todo!()
    }
    /// Synchronisation source.
    pub fn ssrc(&self) -> u32 {
        todo!()
    }
    /// Bytes before the payload: fixed header, CSRC list, header extension.
    pub fn header_bytes(&self) -> usize {
        todo!()
    }
    /// Payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        let _ = self.bytes;
        todo!()
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
    pub fn emit(&self, _out: &mut [u8; 12]) {
        todo!()
    }
}
