//! The one RTP stream we send: it alone owns SSRC, sequence, timestamp and marker (R-19, P1 to P5).

use crate::rng::Entropy;
use crate::wire::rtp::RtpHeader;

/// The outgoing stream of a call, from first packet to last.
#[derive(Clone, Debug)]
pub struct RtpSource {
    _private: (),
}

impl RtpSource {
    /// A stream with random SSRC and timestamp, and a random first sequence number below 2^15 (P1, R11).
    pub fn new(_entropy: &mut dyn Entropy) -> Self {
        todo!()
    }
    /// The SSRC.
    pub fn ssrc(&self) -> u32 {
        todo!()
    }
    /// Header of the next audio packet; its timestamp is that of the current frame. Sequence moves by one.
    pub fn audio(&mut self, _payload_type: u8) -> RtpHeader {
        todo!()
    }
    /// One 20 ms frame of media time has passed, whether a packet was sent or not (P2). `sent` is false for a frame without a packet; the
    /// next packet then carries the marker (P3).
    pub fn advance_frame(&mut self, _sent: bool) {
        todo!()
    }
    /// Timestamp of the current frame.
    pub fn timestamp(&self) -> u32 {
        todo!()
    }
    /// Packets and payload octets sent so far, for the sender report.
    pub fn sent(&self) -> (u32, u32) {
        todo!()
    }
    /// Records the payload length of a packet that left.
    pub fn count_sent(&mut self, _payload_bytes: usize) {
        todo!()
    }
}
