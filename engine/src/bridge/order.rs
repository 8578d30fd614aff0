//! Keeps a forwarded stream in order without holding anything back.
//!
//! Decides: whether a packet goes on, came too late, or begins a new line. Given: SSRC, sequence number and timestamp, as they arrive. Refuses: to wait; a packet
//! that comes after a later one is dropped, because ours was numbered without it and a key stream is never used twice.

use crate::error::DropReason;

/// Largest forward step of a run (RFC 3550 appendix A.1).
const DROPOUT_MAX: i16 = 3_000;
/// Largest backward step of a run (RFC 3550 appendix A.1).
const MISORDER_MAX: i16 = 100;

/// The order of one incoming stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Order {
    newest: Option<Newest>,
    /// Where a jump would continue; two in a row are a restart (RFC 3550 appendix A.1).
    resync_at: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    ssrc: u32,
    seq: u16,
    /// Of the newest audio; none when there were only events.
    timestamp: Option<u32>,
}

/// A packet that goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Next {
    /// The line begins anew with it.
    pub(super) fresh: bool,
    /// Sequence numbers between it and the one before; 0 when fresh.
    pub(super) missing: u16,
}

impl Order {
    /// Takes one packet of any kind; events count in the same sequence, their timestamps do not.
    pub(super) fn take(&mut self, ssrc: u32, seq: u16, timestamp: Option<u32>) -> Result<Next, DropReason> {
        let Some(newest) = self.newest.filter(|n| n.ssrc == ssrc) else { return Ok(self.restart(ssrc, seq, timestamp)) };
        let step = seq.wrapping_sub(newest.seq) as i16;
        if step == 0 {
            return Err(DropReason::Duplicate);
        }
        if (-MISORDER_MAX..0).contains(&step) {
            self.resync_at = None;
            return Err(DropReason::Late);
        }
        let backwards = timestamp.zip(newest.timestamp).is_some_and(|(now, before)| now.wrapping_sub(before) as i32 <= 0);
        if !(1..=DROPOUT_MAX).contains(&step) || backwards {
            //= rfc3550#appendix-A.1  two packets in sequence after a jump: the other side has restarted
            if self.resync_at.replace(seq.wrapping_add(1)) == Some(seq) {
                return Ok(self.restart(ssrc, seq, timestamp));
            }
            return Err(DropReason::Late);
        }
        self.resync_at = None;
        self.newest = Some(Newest { ssrc, seq, timestamp: timestamp.or(newest.timestamp) });
        Ok(Next { fresh: false, missing: step as u16 - 1 })
    }

    fn restart(&mut self, ssrc: u32, seq: u16, timestamp: Option<u32>) -> Next {
        self.resync_at = None;
        self.newest = Some(Newest { ssrc, seq, timestamp });
        Next { fresh: true, missing: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(missing: u16) -> Result<Next, DropReason> {
        Ok(Next { fresh: false, missing })
    }

    const FRESH: Result<Next, DropReason> = Ok(Next { fresh: true, missing: 0 });

    #[test]
    fn order_is_kept_and_what_is_late_or_double_goes() {
        let mut order = Order::default();
        assert_eq!(order.take(1, 65_534, Some(0)), FRESH);
        assert_eq!(order.take(1, 65_535, Some(960)), next(0));
        assert_eq!(order.take(1, 1, Some(2_880)), next(1));
        assert_eq!(order.take(1, 0, Some(1_920)), Err(DropReason::Late));
        assert_eq!(order.take(1, 1, Some(2_880)), Err(DropReason::Duplicate));
        assert_eq!(order.take(1, 2, None), next(0), "an event says nothing about the line");
        assert_eq!(order.take(1, 3, Some(4_800)), next(0));
    }

    //= rfc3550#appendix-A.1 type=test
    #[test]
    fn a_restart_takes_two_packets_and_a_new_ssrc_none() {
        let mut order = Order::default();
        assert_eq!(order.take(1, 1_000, Some(960_000)), FRESH);
        assert_eq!(order.take(1, 40_000, Some(5)), Err(DropReason::Late));
        assert_eq!(order.take(1, 40_001, Some(965)), FRESH);
        assert_eq!(order.take(1, 40_002, Some(7)), Err(DropReason::Late), "a timestamp that runs backwards is a jump as well");
        assert_eq!(order.take(1, 40_003, Some(500)), FRESH);
        assert_eq!(order.take(2, 9, Some(1)), FRESH);
    }
}
