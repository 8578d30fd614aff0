//! Which SSRCs of the peer have a context, and since when (R9, R18).
//!
//! Given: SSRC and index of authenticated packets. Decides: whose replay lists are kept. Refuses: anything a packet says before its tag was
//! verified; every method that writes is called `commit_`.
//!
//! At most [`SRTP_SSRCS_MAX`] contexts. When they are taken, a new authenticated SSRC replaces the one that was silent longest, provided
//! that others sent [`IDLE_PACKETS_MIN`] packets since. Giving a context up forgets its replay list, so an old recording of that SSRC
//! would be new again; therefore it is retired: it never gets a context again under these keys. After [`SRTP_SSRCS_RETIRED_MAX`]
//! retirements nothing is replaced any more. A peer that keeps to RFC 3550 needs one context per stream and stays far below both numbers.

use super::replay::Window;
use crate::error::DropReason;
use crate::limits::{SRTP_SSRCS_MAX, SRTP_SSRCS_RETIRED_MAX};

/// Authenticated packets of others after which a context counts as idle: 30 s of one stream at 50 packets per second.
pub(super) const IDLE_PACKETS_MIN: u64 = 1_500;

/// Which of the two replay lists of an SSRC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

/// Contexts of the peer's SSRCs.
//= rfc3711#section-3.2.1  a context per SSRC
//= rfc3711#section-3.2.1:bound  made by authentic packets, and not many
//= rules#R9
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sources {
    entries: [Source; SRTP_SSRCS_MAX],
    used: usize,
    /// Authenticated packets so far: the clock by which idleness is measured.
    heard: u64,
    retired: [u32; SRTP_SSRCS_RETIRED_MAX],
    retired_used: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Source {
    ssrc: u32,
    heard_at: u64,
    rtp: Window,
    rtcp: Window,
}

impl Sources {
    /// The replay list of `ssrc`; an empty one if it has no context.
    #[inline]
    pub(super) fn window(&self, ssrc: u32, kind: Kind) -> Window {
        match self.entries[..self.used].iter().find(|source| source.ssrc == ssrc) {
            Some(source) if kind == Kind::Rtp => source.rtp,
            Some(source) => source.rtcp,
            None => Window::default(),
        }
    }

    /// Remembers `index` of `ssrc`, whose packet is authentic and new. Makes a context if there is room; changes nothing otherwise.
    #[inline]
    pub(super) fn commit(&mut self, ssrc: u32, kind: Kind, index: u64) -> Result<(), DropReason> {
        let at = match self.entries[..self.used].iter().position(|source| source.ssrc == ssrc) {
            Some(at) => at,
            None => self.commit_new(ssrc)?,
        };
        self.heard += 1;
        let source = &mut self.entries[at];
        source.heard_at = self.heard;
        match kind {
            Kind::Rtp => source.rtp.commit(index),
            Kind::Rtcp => source.rtcp.commit(index),
        }
        Ok(())
    }

    //= rules#R18
    #[cold]
    fn commit_new(&mut self, ssrc: u32) -> Result<usize, DropReason> {
        if self.retired[..self.retired_used].contains(&ssrc) {
            return Err(DropReason::SsrcLimit);
        }
        let at = if self.used < SRTP_SSRCS_MAX {
            self.used += 1;
            self.used - 1
        } else {
            let (at, oldest) =
                self.entries.iter().enumerate().min_by_key(|(_, source)| source.heard_at).expect("there is at least one entry");
            if self.heard - oldest.heard_at < IDLE_PACKETS_MIN || self.retired_used == SRTP_SSRCS_RETIRED_MAX {
                return Err(DropReason::SsrcLimit);
            }
            self.retired[self.retired_used] = oldest.ssrc;
            self.retired_used += 1;
            at
        };
        self.entries[at] = Source { ssrc, ..Source::default() };
        Ok(at)
    }

    /// Pretends that everything of `ssrc` up to `highest` was received.
    #[cfg(test)]
    pub(super) fn pretend(&mut self, ssrc: u32, highest: u64) {
        let at = self.commit_new(ssrc).expect("room");
        self.entries[at].rtp = Window::starting_at(highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= rfc3711#section-3.2.1:bound type=test
    #[test]
    fn the_longest_silent_one_is_replaced_and_never_comes_back() {
        let mut sources = Sources::default();
        for ssrc in 0..SRTP_SSRCS_MAX as u32 {
            sources.commit(ssrc, Kind::Rtp, 7).expect("room");
        }
        assert_eq!(sources.commit(100, Kind::Rtp, 1), Err(DropReason::SsrcLimit), "nobody is idle yet");
        for index in 0..IDLE_PACKETS_MIN {
            sources.commit(1, Kind::Rtp, 100 + index).expect("known");
        }
        let before = sources.clone();
        sources.commit(100, Kind::Rtcp, 1).expect("SSRC 0 was silent longest");
        assert_eq!(sources.window(0, Kind::Rtp), Window::default());
        assert_eq!(sources.window(2, Kind::Rtp), before.window(2, Kind::Rtp), "others stay");
        let before = sources.clone();
        assert_eq!(sources.commit(0, Kind::Rtp, 8), Err(DropReason::SsrcLimit), "its replay list is lost");
        assert_eq!(sources, before);
    }

    //= rules#R18 type=test
    #[test]
    fn retirement_is_bounded() {
        let mut sources = Sources::default();
        let mut made = 0;
        for ssrc in 0..1_000 {
            if sources.commit(ssrc, Kind::Rtp, 0).is_ok() {
                made += 1;
                sources.heard += 2 * IDLE_PACKETS_MIN;
            }
        }
        assert_eq!(made, SRTP_SSRCS_MAX + SRTP_SSRCS_RETIRED_MAX);
    }
}
