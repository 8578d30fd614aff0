//! The engine's clock: monotonic time since the engine started, and the wall clock of that moment for sender reports.

use crate::time::{Span, Time};
use std::time::{Instant, SystemTime};

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const NTP_UNIX_OFFSET_S: u64 = 2_208_988_800;

/// Reads the monotonic clock. Copies share their origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    ntp_origin: u64,
}

impl Clock {
    /// A clock whose origin is now.
    #[allow(clippy::disallowed_methods, reason = "layer 3 is where the clock is read")]
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = unix.as_secs().wrapping_add(NTP_UNIX_OFFSET_S);
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        Self { origin: Instant::now(), ntp_origin: (seconds << 32) | fraction }
    }

    /// Now.
    #[allow(clippy::disallowed_methods, reason = "layer 3 is where the clock is read")]
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(Instant::now().duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX))
    }

    /// CPU time of the calling thread so far; zero where the system does not tell.
    pub(crate) fn thread_cpu() -> Span {
        crate::net::thread_cpu().unwrap_or(Span::ZERO)
    }

    /// Sleeps for `span`, or a little longer.
    #[allow(clippy::disallowed_methods, reason = "a shard's turns are spaced; nothing else sleeps")]
    pub(crate) fn sleep(&self, span: Span) {
        if span > Span::ZERO {
            std::thread::sleep(std::time::Duration::from_nanos(span.as_nanos()));
        }
    }

    /// NTP timestamp of [`Time::ZERO`]. A later jump of the system clock changes nothing: all timers are monotonic.
    pub(crate) fn ntp_origin(&self) -> u64 {
        self.ntp_origin
    }

    /// Seconds since the Unix epoch at the origin.
    pub(crate) fn unix_origin_s(&self) -> i64 {
        ((self.ntp_origin >> 32).wrapping_sub(NTP_UNIX_OFFSET_S)) as i64
    }
}
