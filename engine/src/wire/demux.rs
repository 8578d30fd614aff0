//! Which protocol a datagram belongs to.
//!
//! Given: a datagram as received. Decides: its protocol from the first two bytes. Refuses: to look further, and to judge the source
//! address (X3 is the call's).

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
///
/// The second byte is taken whole, marker bit included: masked, an RR would read as payload type 73. A datagram of one byte in the RTP
/// range is `Rtp`, and its parser will call it truncated. ZRTP (16 to 19), TURN channels (64 to 79) and QUIC are `Unknown`.
//= rules#X1
//= rules#X2
pub fn classify(datagram: &[u8]) -> PacketKind {
    //= rfc5764#section-5.1.2  by the first byte
    //= rfc7983#section-7  first byte decides
    match datagram {
        [0..=3, ..] => PacketKind::Stun,
        [20..=63, ..] => PacketKind::Dtls,
        [128..=191, 192..=223, ..] => PacketKind::Rtcp,
        [128..=191, ..] => PacketKind::Rtp,
        _ => PacketKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::golden;

    //= rfc5764#section-5.1.2 type=test
    //= rfc7983#section-7 type=test
    //= rules#X1 type=test
    //= rules#X2 type=test
    #[test]
    fn first_and_second_bytes_as_in_the_table() {
        let file = golden::read("demux/first_byte.json");
        let first = file["table"].as_array().unwrap();
        let second = file["second_byte"].as_array().unwrap();
        assert_eq!((first.len(), second.len()), (256, 256));
        for (a, class) in first.iter().enumerate() {
            for (b, media) in second.iter().enumerate() {
                let expected = match (class.as_str().unwrap(), media.as_str().unwrap()) {
                    ("stun", _) => PacketKind::Stun,
                    ("dtls", _) => PacketKind::Dtls,
                    ("rtp/rtcp", "rtp") => PacketKind::Rtp,
                    ("rtp/rtcp", "rtcp") => PacketKind::Rtcp,
                    (other, _) => {
                        assert!(other.ends_with("drop"), "{other}");
                        PacketKind::Unknown
                    }
                };
                assert_eq!(classify(&[a as u8, b as u8, 0, 0]), expected, "{a} {b}");
            }
        }
    }

    //= rules#X4 type=test
    #[test]
    fn short_datagrams_have_a_class_too() {
        assert_eq!(classify(&[]), PacketKind::Unknown);
        assert_eq!(classify(&[0]), PacketKind::Stun);
        assert_eq!(classify(&[0x80]), PacketKind::Rtp);
        assert_eq!(classify(&[0x80, 200]), PacketKind::Rtcp);
    }
}
