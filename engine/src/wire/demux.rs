//! Which protocol a datagram belongs to.

/// The protocol of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketKind {
    /// First byte 0 to 3.
    Stun,
    /// First byte 20 to 63.
    Dtls,
    /// First byte 128 to 191, second byte outside 192 to 223.
    Rtp,
    /// First byte 128 to 191, second byte 192 to 223 (RFC 5761 section 4).
    Rtcp,
    /// Anything else, or empty.
    Unknown,
}

/// Sorts a datagram by its first two bytes (RFC 7983, RFC 5761).
pub fn classify(_datagram: &[u8]) -> PacketKind {
    todo!()
}
