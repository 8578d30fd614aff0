//! telephone-event payloads (RFC 4733 section 2.3).
//!
//! Given: the payload of an event packet, or the fields of one to send. Decides: nothing; it is four bytes. Refuses: several events in one
//! payload (section 2.5.1.5): only the first block is read, because on a 48 kHz line with 8 kHz durations the start of the next is a guess.

use crate::error::DropReason;

/// One telephone-event block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// Event code: 0 to 15 DTMF, 16 flash, others mean nothing to us.
    pub event: u8,
    /// The event has ended and `duration` is final.
    pub end: bool,
    /// Power in -dBm0, 0 to 63.
    pub volume: u8,
    /// Length of the event (or of its current segment) so far, in 8 kHz units.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Bytes of one block.
    pub const BYTES: usize = 4;

    /// Reads the first block of a payload. The reserved bit is ignored (RFC 4733 section 2.3.3); fewer than four bytes are malformed.
    //= rfc4733#section-2.3.3  R is not looked at
    pub fn parse(payload: &[u8]) -> Result<Self, DropReason> {
        let &[event, flags, high, low, ..] = payload else { return Err(DropReason::DtmfMalformed) };
        Ok(Self { event, end: flags & 0x80 != 0, volume: flags & 0x3f, duration: u16::from_be_bytes([high, low]) })
    }

    /// The block as bytes, reserved bit zero. A volume above 63 is sent as 63.
    pub fn emit(&self) -> [u8; Self::BYTES] {
        let [high, low] = self.duration.to_be_bytes();
        //= rfc4733#section-2.3.3  R is zero
        //= rfc4733#section-2.3.4  six bits of -dBm0
        [self.event, u8::from(self.end) << 7 | self.volume.min(63), high, low]
    }

    /// The key of this event: `0` to `9`, `*`, `#`, `A` to `D`, or `!` for a hook flash; none for any other event.
    pub fn symbol(&self) -> Option<char> {
        SYMBOLS.get(usize::from(self.event)).map(|&s| char::from(s))
    }
}

/// The event code of a key, 0 to 15, or 16 for `!` (flash); letters in either case.
//= rules#T9
pub fn event_of(symbol: char) -> Option<u8> {
    let wanted = u8::try_from(symbol).ok()?.to_ascii_uppercase();
    SYMBOLS.iter().position(|&s| s == wanted).map(|code| code as u8)
}

/// Keys by event code (RFC 4733 section 3.2, Table 3); 16 is flash in the registry of telephone events.
//= rfc4733#section-3.2  table 3
const SYMBOLS: &[u8; 17] = b"0123456789*#ABCD!";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::golden;
    use crate::wire::rtp::RtpView;
    use proptest::prelude::*;

    //= rfc4733#section-2.3.4 type=test
    //= rfc4733#section-2.3.2 type=test
    #[test]
    fn golden_packets_read_and_write_back() {
        for name in ["rfc4733_911", "rfc4733_fig3", "send_digit5_100ms"] {
            let file = golden::read(&format!("dtmf/{name}.json"));
            for packet in file["packets"].as_array().unwrap() {
                let bytes = golden::hex(&packet["hex"]);
                let payload = RtpView::new_checked(&bytes).unwrap().payload();
                let event = TelephoneEvent::parse(payload).unwrap();
                assert_eq!(u64::from(event.event), packet["event"].as_u64().unwrap());
                assert_eq!(u64::from(event.end), packet["end"].as_u64().unwrap());
                assert_eq!(u64::from(event.volume), packet["volume"].as_u64().unwrap());
                assert_eq!(u64::from(event.duration), packet["duration"].as_u64().unwrap());
                assert_eq!(event.emit(), payload);
            }
        }
    }

    //= rfc4733#section-3.2 type=test
    //= rules#T9 type=test
    #[test]
    fn keys_and_codes_map_both_ways() {
        for (code, symbol) in "0123456789*#ABCD!".chars().enumerate() {
            assert_eq!(event_of(symbol), Some(code as u8));
            let event = TelephoneEvent { event: code as u8, end: false, volume: 10, duration: 160 };
            assert_eq!(event.symbol(), Some(symbol));
        }
        assert_eq!(event_of('d'), Some(15));
        assert_eq!([event_of('E'), event_of(' '), event_of('５')], [None; 3]);
        assert_eq!(TelephoneEvent { event: 17, end: false, volume: 0, duration: 1 }.symbol(), None);
    }

    //= rfc4733#section-2.3.3 type=test
    //= rules#T1 type=test
    #[test]
    fn the_reserved_bit_is_ignored_and_never_sent() {
        let block = TelephoneEvent { event: 5, end: true, volume: 63, duration: 800 };
        assert_eq!(TelephoneEvent::parse(&[5, 0xff, 0x03, 0x20]), Ok(block));
        assert_eq!(block.emit(), [5, 0xbf, 0x03, 0x20]);
        assert_eq!(TelephoneEvent { volume: 255, ..block }.emit(), block.emit());
    }

    proptest! {
        //= rfc4733#section-2.3.4 type=test
        //= rules#T9 type=test
        #[test]
        fn round_trip(event: u8, end: bool, volume in 0_u8..64, duration: u16) {
            let block = TelephoneEvent { event, end, volume, duration };
            prop_assert_eq!(TelephoneEvent::parse(&block.emit()), Ok(block));
        }
    }
}
