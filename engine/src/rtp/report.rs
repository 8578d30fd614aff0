//! RTCP of a call: SR, RR, SDES CNAME and BYE out; reports in (C1 to C14).
//!
//! Given: the authenticated packets of the peer, the source we send from, and the time. Decides: when a report is due, what it says, what
//! the peer's reports mean. Refuses: feedback that nobody negotiated (C11), keys, and ending a call: a BYE is told, not acted on (C9).

use super::RtpSource;
use super::reception::Reception;
use crate::error::DropReason;
use crate::limits::RTP_CLOCK_HZ;
use crate::rng::Entropy;
use crate::time::{Span, Time};
use crate::wire::rtcp::{Compound, CompoundWriter, Packet, Report, SenderInfo};
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
    /// Report blocks about our stream that came, modulo 2^32.
    pub peer_reports: u32,
    /// Round-trip time from the peer's last report.
    pub rtt: Option<Span>,
}

/// Keeps reception statistics and writes the reports.
///
/// Drive it with [`Self::received_rtp`] and [`Self::received_rtcp`]; when [`Self::poll_timeout`] is reached, call [`Self::write_report`].
/// Nothing is allocated after [`Self::new`].
#[derive(Debug)]
pub struct Reporter {
    cname: Box<[u8]>,
    /// RTP clock of both streams in Hz.
    clock_hz: u32,
    /// Due time of the next report; none before the start and after BYE.
    due: Option<Time>,
    reception: Option<Reception>,
    /// The SSRC before the current one, and when it was left: its stragglers do not switch back.
    retired: Option<(u32, Time)>,
    /// Last sender report: who, middle of its NTP time, arrival.
    last_sr: Option<(u32, u32, Time)>,
    /// Who sent the last report.
    reporter_ssrc: Option<u32>,
    /// Our latest sender reports: middle of the NTP time, and when it left.
    sent_srs: [Option<(u32, Time)>; SENT_SRS_MAX],
    sent_srs_next: usize,
    /// Packets we had sent at the last report and the one before.
    sent_marks: [u32; 2],
    /// Reports written since the peer was last heard on RTCP.
    unheard_reports: u32,
    peer_fraction_lost: u8,
    peer_lost: i32,
    peer_jitter_ticks: u32,
    peer_reports: u32,
    rtt: Option<Span>,
}

impl Reporter {
    /// A reporter that signs with `cname`, cut at 255 bytes. One call, one CNAME (P4); take a random one (RFC 7022 section 4.2).
    //= rules#P4
    pub fn new(cname: &str, now: Time) -> Self {
        Self::with_clock(cname, RTP_CLOCK_HZ, now)
    }

    /// A reporter for streams of another RTP clock than 48 kHz: the far side of a relay.
    pub fn with_clock(cname: &str, clock_hz: u32, _now: Time) -> Self {
        Self {
            cname: cname.as_bytes()[..cname.floor_char_boundary(CNAME_BYTES_MAX)].into(),
            clock_hz,
            due: None,
            reception: None,
            retired: None,
            last_sr: None,
            reporter_ssrc: None,
            sent_srs: [None; SENT_SRS_MAX],
            sent_srs_next: 0,
            sent_marks: [0; 2],
            unheard_reports: 0,
            peer_fraction_lost: 0,
            peer_lost: 0,
            peer_jitter_ticks: 0,
            peer_reports: 0,
            rtt: None,
        }
    }

    /// Starts the report clock: the first report is due at once (the gate opened).
    pub fn start(&mut self, now: Time) {
        //= meta#R-39  RTCP is the sign of life: the first report does not wait half an interval
        self.due = Some(now);
    }

    /// Counts an authenticated RTP packet of the peer. `is_event` for telephone-event packets (C7).
    ///
    /// A new SSRC becomes the peer's stream at once and its statistics begin anew (P11); stragglers of the one before are not counted for
    /// half a second.
    //= rules#P11
    pub fn received_rtp(&mut self, view: &RtpView<'_>, is_event: bool, now: Time) {
        if self.reception.as_ref().is_none_or(|r| r.ssrc != view.ssrc()) {
            if self.retired.is_some_and(|(ssrc, left)| ssrc == view.ssrc() && now.since(left) < STRAGGLERS_MAX) {
                return;
            }
            self.retire(now);
            self.reception = Some(Reception::new(view, self.clock_hz, now));
        }
        if let Some(reception) = &mut self.reception {
            reception.count(view, is_event, now);
        }
    }

    /// Takes an authenticated compound packet. `Ok(true)` when it carried a BYE for the peer's stream (C9).
    ///
    /// A compound whose chain of lengths is broken is refused whole. One broken packet inside is skipped: the others count, and the
    /// compound is told as `RtcpMalformed` unless it carried that BYE. `own_ssrc` picks the blocks that are about us (C12). The round-trip
    /// time is taken on the `now` line from the sender report the peer names, so that steps of the wall clock and invented LSRs cannot
    /// bend it.
    //= rules#C9
    //= rules#C11
    pub fn received_rtcp(&mut self, compound: &[u8], own_ssrc: u32, now: Time) -> Result<bool, DropReason> {
        let compound = Compound::new_checked(compound)?;
        self.unheard_reports = 0;
        let mut has_bye = false;
        let mut is_broken = false;
        for packet in compound.packets() {
            match packet {
                Packet::Sr(info, report) => {
                    self.last_sr = Some((report.ssrc, ntp_middle(info.ntp), now));
                    self.take_report(&report, own_ssrc, now);
                }
                Packet::Rr(report) => self.take_report(&report, own_ssrc, now),
                Packet::Bye(bye) => has_bye |= bye.ssrcs().any(|ssrc| self.is_peer(ssrc)),
                //= rfc4585#section-4.2  feedback that was not negotiated has no effect
                Packet::Sdes(_) | Packet::Feedback(_) | Packet::Other { .. } => {}
                Packet::Broken { .. } => is_broken = true,
            }
        }
        if has_bye {
            self.retire(now);
        }
        if is_broken && !has_bye { Err(DropReason::RtcpMalformed) } else { Ok(has_bye) }
    }

    /// When the next report is due; none before `start` and after BYE.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// Writes the report that is due, and draws the time of the next one.
    ///
    /// `ntp` is the wall clock of `now` in 64-bit NTP format (C4); `ticks_since_frame` the media time in 48 kHz units since the source's
    /// current timestamp, so that both name one instant.
    /// Returns the bytes written, at most [`REPORT_BYTES_MAX`]; 0 if `out` is too small. A sender report if a packet left since the last
    /// but one report, else a receiver report; SDES CNAME behind either (C1).
    //= rules#C2
    pub fn write_report(
        &mut self,
        source: &RtpSource,
        ntp: u64,
        ticks_since_frame: u32,
        entropy: &mut dyn Entropy,
        out: &mut [u8],
        now: Time,
    ) -> usize {
        //= rfc3550#section-6.3.1  uniformly between half and one and a half intervals
        let drawn = Span::from_nanos(INTERVAL.as_nanos() / 2 + entropy.below(INTERVAL.as_nanos()));
        self.due = Some(now + drawn);
        self.unheard_reports = self.unheard_reports.saturating_add(1);
        self.write(source, ntp, ticks_since_frame, false, out, now)
    }

    /// Writes the last compound, with BYE (C10). No report is due afterwards.
    ///
    /// Same result as [`Self::write_report`]; call it once, after the last RTP packet.
    //= rules#C10
    pub fn write_bye(&mut self, source: &RtpSource, ntp: u64, ticks_since_frame: u32, out: &mut [u8], now: Time) -> usize {
        self.due = None;
        self.write(source, ntp, ticks_since_frame, true, out, now)
    }

    /// Current figures.
    pub fn stats(&self) -> RemoteStats {
        let own = self.reception.as_ref();
        RemoteStats {
            ssrc: own.map_or(0, |r| r.ssrc),
            packets: own.map_or(0, |r| r.packets),
            octets: own.map_or(0, |r| r.octets),
            lost: own.map_or(0, Reception::lost),
            jitter_ticks: own.map_or(0, Reception::jitter_ticks),
            peer_fraction_lost: self.peer_fraction_lost,
            peer_lost: self.peer_lost,
            peer_jitter_ticks: self.peer_jitter_ticks,
            peer_reports: self.peer_reports,
            rtt: self.rtt,
        }
    }

    /// Whether three reports went out and nothing came back on RTCP (C14, RFC 8083 section 4.1): worth telling, not worth ending a call,
    /// as long as nobody has recorded whether Meta's relay reports at all.
    //= rules#C14
    pub fn is_peer_silent(&self) -> bool {
        self.unheard_reports >= UNHEARD_REPORTS_MAX
    }

    //= rules#C1
    //= rules#C4
    fn write(&mut self, source: &RtpSource, ntp: u64, ticks_since_frame: u32, is_bye: bool, out: &mut [u8], now: Time) -> usize {
        let (packets, octets) = source.sent();
        //= rfc3550#section-6.4  a sender report if we sent since the report before the last one
        let is_sender = packets != self.sent_marks[1];
        self.sent_marks = [packets, self.sent_marks[0]];

        let block = self.reception.as_mut().map(|reception| {
            let (lsr, dlsr) = match self.last_sr {
                Some((ssrc, middle, arrival)) if ssrc == reception.ssrc => (middle, to_65536ths(now.since(arrival))),
                _ => (0, 0),
            };
            reception.take_block(lsr, dlsr)
        });
        let blocks = block.as_slice();

        let ssrc = source.ssrc();
        let mut writer = CompoundWriter::new(out);
        let is_whole = if is_sender {
            let rtp_timestamp = source.timestamp().wrapping_add(ticks_since_frame);
            writer.sender_report(ssrc, &SenderInfo { ntp, rtp_timestamp, packets, octets }, blocks)
        } else {
            writer.receiver_report(ssrc, blocks)
        } && writer.cname(ssrc, &self.cname)
            && (!is_bye || writer.bye(ssrc));
        if !is_whole {
            return 0;
        }
        if is_sender {
            self.sent_srs[self.sent_srs_next] = Some((ntp_middle(ntp), now));
            self.sent_srs_next = (self.sent_srs_next + 1) % SENT_SRS_MAX;
        }
        writer.finish()
    }

    //= rules#C12
    fn take_report(&mut self, report: &Report<'_>, own_ssrc: u32, now: Time) {
        self.reporter_ssrc = Some(report.ssrc);
        for block in report.blocks().filter(|b| b.ssrc == own_ssrc) {
            self.peer_reports = self.peer_reports.wrapping_add(1);
            self.peer_fraction_lost = block.fraction_lost;
            self.peer_lost = block.cumulative_lost;
            self.peer_jitter_ticks = block.jitter;
            if let Some(rtt) = self.round_trip(block.lsr, block.dlsr, now) {
                self.rtt = Some(rtt);
            }
        }
    }

    /// Time since the sender report that `lsr` names, less the time the peer sat on it (C6); none when that is negative or not ours.
    //= rules#C6
    fn round_trip(&self, lsr: u32, dlsr: u32, now: Time) -> Option<Span> {
        if lsr == 0 {
            return None;
        }
        // Newest first: a middle of 32 bits comes again after 18 hours, the ring holds minutes.
        let newest_first = (1..=SENT_SRS_MAX).map(|back| self.sent_srs[(self.sent_srs_next + SENT_SRS_MAX - back) % SENT_SRS_MAX]);
        let (_, left) = newest_first.flatten().find(|&(middle, _)| middle == lsr)?;
        let held = (u128::from(dlsr) * 1_000_000_000 / 65_536) as u64;
        now.since(left).as_nanos().checked_sub(held).map(Span::from_nanos)
    }

    fn is_peer(&self, ssrc: u32) -> bool {
        self.reception.as_ref().is_some_and(|r| r.ssrc == ssrc) || self.reception.is_none() && self.reporter_ssrc == Some(ssrc)
    }

    fn retire(&mut self, now: Time) {
        if let Some(reception) = self.reception.take() {
            self.retired = Some((reception.ssrc, now));
        }
    }
}

/// The middle 32 bits of an NTP timestamp: 16.16 seconds.
fn ntp_middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A span in units of 1/65 536 s, saturating at 18 hours.
fn to_65536ths(span: Span) -> u32 {
    u32::try_from(u128::from(span.as_nanos()) * 65_536 / 1_000_000_000).unwrap_or(u32::MAX)
}

/// Largest compound we write: SR with one block, SDES with a CNAME of 255 bytes, BYE.
pub const REPORT_BYTES_MAX: usize = 28 + 24 + 268 + 8;
/// Longest CNAME (RFC 3550 section 6.5).
const CNAME_BYTES_MAX: usize = 255;
/// Mean interval: reports come 1.25 s to 3.75 s apart, inside the 1 to 5 s that Meta is known to accept (C2). RFC 3550's own minimum of
/// 5 s halves at the start; we stay at the half, 40 bytes/s against a session of 3 KB/s, below the 5 % share.
const INTERVAL: Span = Span::from_millis(2_500);
/// Stragglers of the SSRC before: more than the worst play-out delay plus the reordering a relay may add.
const STRAGGLERS_MAX: Span = Span::from_millis(500);
/// Sender reports remembered for the round-trip time: at least 20 s of them.
const SENT_SRS_MAX: usize = 16;
/// Reports without an echo until the peer counts as silent (C14).
const UNHEARD_REPORTS_MAX: u32 = 3;

const _: () = assert!(REPORT_BYTES_MAX <= crate::limits::SEND_BYTES_MAX);
const _: () = assert!(INTERVAL.as_nanos() / 2 >= 1_000_000_000 && INTERVAL.as_nanos() * 3 / 2 <= 5_000_000_000);

#[cfg(test)]
mod tests;
