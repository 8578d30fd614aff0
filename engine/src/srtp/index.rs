//! The 48-bit packet index behind a 16-bit sequence number (RFC 3711 section 3.3.1).
//!
//! Given: the highest authenticated index and a wire sequence number. Decides: the most likely index. Refuses: to remember anything; what
//! is committed, and when, is `session.rs`.

/// Packet indexes are below this (RFC 3711 section 3.2.1).
pub(super) const INDEX_END: u64 = 1 << 48;

/// Why there is no index for a sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoIndex {
    /// The packet would be from before the first roll-over counter.
    BeforeStart,
    /// The packet would be behind the last index of this key.
    PastEnd,
}

/// Extends a 16-bit sequence number to the 48-bit SRTP packet index.
///
/// `highest` is the highest authenticated index of this SSRC, if there is one; without it the roll-over counter is 0 (R9). Returns the
/// index nearest to `highest`, in `0..2^48`. A wrong guess shows up as an authentication failure.
/// RFC 3711 section 3.3.1; the roll-over counter steps forward or back by at most one.
//= rfc3711#section-3.3.1  if s_l < 32768 and SEQ - s_l > 32768 then v = ROC - 1; if s_l >= 32768 and s_l - 32768 > SEQ then v = ROC + 1
//= rules#R6
pub(super) fn estimate(highest: Option<u64>, seq: u16) -> Result<u64, NoIndex> {
    let Some(highest) = highest else { return Ok(u64::from(seq)) };
    let (roc, last) = (highest >> 16, i32::from(highest as u16));
    let distance = i32::from(seq) - last;
    let roc = if last < 0x8000 && distance > 0x8000 {
        roc.checked_sub(1).ok_or(NoIndex::BeforeStart)?
    } else if last >= 0x8000 && distance < -0x8000 {
        roc + 1
    } else {
        roc
    };
    let index = roc << 16 | u64::from(seq);
    if index < INDEX_END { Ok(index) } else { Err(NoIndex::PastEnd) }
}

/// The index of the next packet to send, or `None` if `seq` does not lie within 2^15 - 1 ahead of `last`.
///
/// A sender knows its own order, so nothing is guessed: an index is never used twice (R10).
//= rules#R10
pub(super) fn advance(last: Option<u64>, seq: u16) -> Option<u64> {
    let Some(last) = last else { return Some(u64::from(seq)) };
    match seq.wrapping_sub(last as u16) {
        0 | 0x8000.. => None,
        ahead => Some(last + u64::from(ahead)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    //= rfc3711#section-3.3.1 type=test
    //= rules#R6 type=test
    #[test]
    fn rolls_over_in_both_directions() {
        assert_eq!(estimate(None, 65_535), Ok(65_535));
        assert_eq!(estimate(Some(65_535), 0), Ok(65_536));
        assert_eq!(estimate(Some(65_536), 65_535), Ok(65_535), "a late packet belongs to the counter before");
        assert_eq!(estimate(Some(3), 65_534), Err(NoIndex::BeforeStart));
        assert_eq!(estimate(Some(INDEX_END - 1), 0), Err(NoIndex::PastEnd));
        assert_eq!(estimate(Some(0x1_0000), 0x8000), Ok(0x1_8000), "exactly 2^15 ahead stays in this counter");
        assert_eq!(estimate(Some(0x1_8000), 0), Ok(0x1_0000), "exactly 2^15 behind stays in this counter");
    }

    //= rules#R10 type=test
    #[test]
    fn a_sender_only_goes_forward() {
        assert_eq!(advance(None, 40_000), Some(40_000));
        assert_eq!(advance(Some(65_535), 0), Some(65_536));
        assert_eq!(advance(Some(65_536), 0), None);
        assert_eq!(advance(Some(65_536), 65_535), None);
        assert_eq!(advance(Some(10), 10 + 0x7fff), Some(10 + 0x7fff));
        assert_eq!(advance(Some(10), 10 + 0x8000), None);
    }

    proptest! {
        #[test]
        fn finds_every_index_within_half_a_cycle(highest in 0x8000u64..INDEX_END - 0x8000, distance in -0x7fffi64..0x8000) {
            let index = highest.checked_add_signed(distance).expect("in range");
            prop_assert_eq!(estimate(Some(highest), index as u16), Ok(index));
        }
    }
}
