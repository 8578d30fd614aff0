//! Watchdogs over both directions of a call's media: silence that is not meant is told, or ends the call.
//!
//! Decides: when a direction has been quiet for too long. Given: the moments packets left and authenticated packets came. Refuses: to take quiet for a dead path (consent
//! decides that, I33), and to know whether somebody is muted: what quiet means is the host's to say, by its [`WatchdogAction`].

use crate::time::{Span, Time};

/// What to do when a direction is quiet for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchdogAction {
    /// Nothing.
    Off,
    /// An event; the call goes on.
    Tell,
    /// The call ends with the reason of the watchdog.
    End,
}

/// One watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watchdog {
    /// Longest quiet that is in order.
    pub after: Span,
    /// What then.
    pub action: WatchdogAction,
}

/// The watchdogs of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watchdogs {
    /// No RTP packet of ours left although the gate is open: `NO_EGRESS_20S`. Ends the call by default: Meta ends one that hears nothing from us for 20 s (M10), and
    /// an engine that sends silence by itself has no excuse. Before there are keys ICE and DTLS have timeouts and reasons of their own.
    pub egress: Watchdog,
    /// Neither RTP nor RTCP came from the peer with the gate open: `NO_INGRESS_30S`. Only told by default: a muted user, DTX, or a relay that never sends are in
    /// order as long as consent is answered (scenario 15).
    pub ingress: Watchdog,
}

impl Default for Watchdogs {
    fn default() -> Self {
        Self {
            //= meta#R-39  20 s at the start, 30 s later: Meta hangs up
            egress: Watchdog { after: Span::from_secs(20), action: WatchdogAction::End },
            ingress: Watchdog { after: Span::from_secs(30), action: WatchdogAction::Tell },
        }
    }
}

/// One direction, watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    watchdog: Watchdog,
    /// The last sign of life, or the moment from which signs are expected.
    since: Option<Time>,
    is_told: bool,
}

impl Watch {
    pub(super) fn new(watchdog: Watchdog) -> Self {
        Self { watchdog, since: None, is_told: false }
    }

    /// From `now` on packets are expected; a later sign of life counts from itself.
    pub(super) fn expect(&mut self, now: Time) {
        self.since = Some(self.since.map_or(now, |since| since.max(now)));
    }

    /// A packet passed. True when it ends a quiet that was told.
    pub(super) fn alive(&mut self, now: Time) -> bool {
        if let Some(since) = &mut self.since {
            *since = now;
        }
        core::mem::take(&mut self.is_told)
    }

    /// When [`Self::bark`] wants to be asked.
    pub(super) fn deadline(&self) -> Option<Time> {
        let is_watching = self.watchdog.action != WatchdogAction::Off && !self.is_told;
        self.since.filter(|_| is_watching).map(|since| since + self.watchdog.after)
    }

    /// What is to be done now, once per quiet.
    pub(super) fn bark(&mut self, now: Time) -> Option<WatchdogAction> {
        self.deadline().filter(|&at| at <= now)?;
        self.is_told = true;
        Some(self.watchdog.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn each_quiet_is_told_once_and_its_end_too() {
        let mut watch = Watch::new(Watchdog { after: Span::from_millis(100), action: WatchdogAction::Tell });
        assert!(!watch.alive(at(5)));
        assert_eq!((watch.deadline(), watch.bark(at(500))), (None, None), "nothing is expected yet");
        watch.expect(at(10));
        assert_eq!(watch.bark(at(109)), None);
        assert!(!watch.alive(at(60)));
        assert_eq!(watch.deadline(), Some(at(160)));
        assert_eq!(watch.bark(at(160)), Some(WatchdogAction::Tell));
        assert_eq!((watch.bark(at(900)), watch.deadline()), (None, None));
        assert!(watch.alive(at(1_000)));
        assert_eq!(watch.bark(at(1_100)), Some(WatchdogAction::Tell));
        let mut off = Watch::new(Watchdog { after: Span::from_millis(100), action: WatchdogAction::Off });
        off.expect(at(0));
        assert_eq!((off.deadline(), off.bark(at(900))), (None, None));
    }
}
