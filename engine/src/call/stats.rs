//! Figures of one call.

use super::far::FarStats;
use crate::dtls::DtlsStats;
use crate::error::DropCounts;
use crate::ice::IceStats;
use crate::jitter::JitterStats;
use crate::keying::Profile;
use crate::rtp::RemoteStats;
use crate::time::{Span, Time};

/// When each stage of set-up was reached, from the call's own clock. Absent: not reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Milestones {
    /// The call was opened.
    pub opened: Time,
    /// The peer's parameters arrived; checks start.
    pub remote_params: Option<Time>,
    /// First connectivity check sent.
    pub first_check: Option<Time>,
    /// Pair nominated.
    pub ice_connected: Option<Time>,
    /// Handshake complete, fingerprint verified.
    pub dtls_connected: Option<Time>,
    /// Gate opened.
    pub gate_opened: Option<Time>,
    /// First packet of ours.
    pub first_rtp_out: Option<Time>,
    /// First authenticated packet of the peer.
    pub first_rtp_in: Option<Time>,
    /// The call was over.
    pub ended: Option<Time>,
}

/// Figures of one call. Single writer.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CallStats {
    /// Set-up stages.
    pub milestones: Milestones,
    /// The negotiated profile.
    pub profile: Option<Profile>,
    /// Datagrams and frames that went nowhere.
    pub drops: DropCounts,
    /// Datagrams received, all kinds.
    pub datagrams_in: u64,
    /// Datagrams sent, all kinds.
    pub datagrams_out: u64,
    /// Of these, datagrams that the operating system refused to take: no route, a full queue.
    pub sends_refused: u64,
    /// RTP packets sent.
    pub rtp_out: u64,
    /// RTP payload octets sent.
    pub rtp_octets_out: u64,
    /// Of the RTP packets sent, frames of silence we made because nobody had anything to say.
    pub silence_out: u64,
    /// Of those, frames in place of an Opus packet of the port that was no 20 ms.
    pub misframed_out: u64,
    /// Authenticated RTP packets received.
    pub rtp_in: u64,
    /// RTCP compounds sent and received.
    pub rtcp_out: u64,
    /// Authenticated RTCP compounds received.
    pub rtcp_in: u64,
    /// Digits received.
    pub digits_in: u64,
    /// Digits of ours that began.
    pub digits_out: u64,
    /// Of the RTP packets sent, telephone-event packets.
    pub events_out: u64,
    /// When our last RTP packet left.
    pub last_rtp_out: Option<Time>,
    /// When the last authenticated RTP or RTCP packet of the peer came.
    pub last_media_in: Option<Time>,
    /// Times that no packet of ours left for longer than the watchdog allows.
    pub no_egress: u32,
    /// Times that nothing came from the peer for longer than the watchdog allows.
    pub no_ingress: u32,
    /// Bit rate the encoder is set to, in bits per second: within the peer's `maxaveragebitrate`, less while its reports say congestion.
    pub encoder_bitrate_bps: u32,
    /// Loss that the encoder prepares for, in percent, after the peer's reports.
    pub expected_loss_percent: u8,
    /// Reception and the peer's reports.
    pub remote: RemoteStats,
    /// Jitter buffer.
    pub jitter: JitterStats,
    /// Round-trip time of consent checks.
    pub ice_rtt: Option<Span>,
    /// Checks, answers, consent: the evidence of an ICE verdict.
    pub ice: IceStats,
    /// Datagrams and repetitions of the handshake: the evidence of a DTLS verdict.
    pub dtls: DtlsStats,
    /// The far side of a relay, when the port has one.
    pub far: Option<Box<FarStats>>,
}
