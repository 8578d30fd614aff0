//! One direction of an SRTP session.

use super::Profile;
use crate::error::DropReason;

/// Protects what we send.
pub struct Sender {
    _private: (),
}

impl Sender {
    /// Keys it. `master_key` and `master_salt` have the profile's lengths; a wrong length panics (set-up path).
    pub fn new(_profile: Profile, _master_key: &[u8], _master_salt: &[u8]) -> Self {
        todo!()
    }
    /// Protects the RTP packet in `buffer[..len]` in place and returns its new length. `buffer` must have `SRTP_TRAILER_BYTES_MAX` bytes
    /// of room behind `len`. Sequence numbers must come in order, one SSRC (R10).
    pub fn protect_rtp(&mut self, _buffer: &mut [u8], _len: usize) -> Result<usize, DropReason> {
        todo!()
    }
    /// Protects the RTCP compound in `buffer[..len]` in place and returns its new length.
    pub fn protect_rtcp(&mut self, _buffer: &mut [u8], _len: usize) -> Result<usize, DropReason> {
        todo!()
    }
}

/// Opens what we receive.
pub struct Receiver {
    _private: (),
}

impl Receiver {
    /// Keys it.
    pub fn new(_profile: Profile, _master_key: &[u8], _master_salt: &[u8]) -> Self {
        todo!()
    }
    /// Authenticates and decrypts the SRTP packet in place; returns the length of the plain RTP packet. Nothing changes before the tag holds (R7).
    pub fn unprotect_rtp(&mut self, _packet: &mut [u8]) -> Result<usize, DropReason> {
        todo!()
    }
    /// Authenticates and decrypts the SRTCP packet in place; returns the length of the plain compound.
    pub fn unprotect_rtcp(&mut self, _packet: &mut [u8]) -> Result<usize, DropReason> {
        todo!()
    }
}
