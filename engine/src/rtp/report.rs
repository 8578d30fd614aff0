//! RTCP of a call: SR, RR, SDES CNAME and BYE out; reports in (C1 to C14).

use super::RtpSource;
use crate::error::DropReason;
use crate::rng::Entropy;
use crate::time::{Span, Time};
use crate::wire::rtp::RtpView;

/// What the peer's reports and our own counting say about the call.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RemoteStats {
    /// SSRC of the peer's stream.
    pub ssrc: u32,
    /// Packets received on it.
    pub packets: u64,
    /// Payload octets received on it.
    pub octets: u64,
    /// Packets lost on the way to us, cumulative (may be negative with duplicates).
    pub lost: i64,
    /// Interarrival jitter in RTP timestamp units.
    pub jitter_ticks: u32,
    /// Fraction of our packets the peer lost in its last interval, 0 to 255 of 256.
    pub peer_fraction_lost: u8,
    /// Our packets the peer lost, cumulative.
    pub peer_lost: i32,
    /// Jitter the peer sees, in RTP timestamp units.
    pub peer_jitter_ticks: u32,
    /// Round-trip time from the peer's last report.
    pub rtt: Option<Span>,
}

/// Keeps reception statistics and writes the reports.
pub struct Reporter {
    _private: (),
}

impl Reporter {
    /// A reporter that signs with `cname`.
    pub fn new(_cname: &str, _now: Time) -> Self {
        todo!()
    }
    /// Starts the report clock: the first report is due at once (the gate opened).
    pub fn start(&mut self, _now: Time) {
        todo!()
    }
    /// Counts an authenticated RTP packet of the peer. `is_event` for telephone-event packets (C7).
    pub fn received_rtp(&mut self, _view: &RtpView<'_>, _is_event: bool, _now: Time) {
        todo!()
    }
    /// Takes an authenticated compound packet. `Ok(true)` when it carried a BYE for the peer's stream (C9).
    pub fn received_rtcp(&mut self, _compound: &[u8], _own_ssrc: u32, _now: Time) -> Result<bool, DropReason> {
        todo!()
    }
    /// When the next report is due; none before `start`.
    pub fn poll_timeout(&self) -> Option<Time> {
        todo!()
    }
    /// Writes the report that is due, and draws the time of the next one. `ntp` is the wall clock of `now` in NTP format (C4); `ticks_since_frame` the media time since the source's current timestamp.
    pub fn write_report(
        &mut self,
        _source: &RtpSource,
        _ntp: u64,
        _ticks_since_frame: u32,
        _entropy: &mut dyn Entropy,
        _out: &mut [u8],
        _now: Time,
    ) -> usize {
        todo!()
    }
    /// Writes the last compound, with BYE (C10).
    pub fn write_bye(&mut self, _source: &RtpSource, _ntp: u64, _out: &mut [u8], _now: Time) -> usize {
        todo!()
    }
    /// Current figures.
    pub fn stats(&self) -> RemoteStats {
        todo!()
    }
}
