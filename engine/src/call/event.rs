//! What a call tells its host.

use super::params::LocalParams;
use super::stats::CallStats;
use crate::dtmf::Digit;
use crate::error::EndReason;
use crate::ice::Path;
use crate::keying::Profile;
use crate::time::{Span, Time};

/// A lifecycle event. `Ended` comes exactly once and last.
#[derive(Clone, PartialEq, Debug)]
pub enum CallEvent {
    /// Our parameters are complete: STUN servers have answered or had their time. Only if `LocalParams::complete` was false at first.
    LocalReady(Box<LocalParams>),
    /// ICE nominated its one pair; DTLS starts. With a peer that has no ICE: its address is known, `rtt` is zero.
    IceConnected {
        /// The pair: local base and remote address.
        path: Path,
        /// Round-trip time of its checks.
        rtt: Span,
    },
    /// The handshake is complete and the fingerprint verified. Not with SDES: there `MediaReady` follows the path at once.
    DtlsConnected {
        /// The negotiated SRTP profile.
        profile: Profile,
    },
    /// Media can flow as soon as the gate opens: time to send `accept`.
    MediaReady,
    /// The gate was opened.
    GateOpened,
    /// The first packet of the peer was authenticated.
    FirstRtpIn,
    /// Our first packet left.
    FirstRtpOut,
    /// The user typed a digit.
    Digit(Digit),
    /// The last digit of ours that was queued has left, its end repeated.
    DigitsSent,
    /// No packet of ours left for the time of [`Watchdogs::egress`](super::Watchdogs): `NO_EGRESS_20S`.
    NoEgress,
    /// Nothing came from the peer for the time of [`Watchdogs::ingress`](super::Watchdogs): `NO_INGRESS_30S`. The path may be well: consent watches it.
    NoIngress,
    /// A quiet that was told is over: packets leave, or come, again.
    MediaBack,
    /// A port has nothing more to say (a played file is over).
    PortFinished {
        /// Which: 0 is the one that the call was opened with, each that was attached later counts one more. An event may still be on its way to the host when its
        /// port has been exchanged.
        port: u32,
    },
    /// The call is over. Nothing follows.
    Ended(Box<Ended>),
}

/// How a call ended, with the evidence.
#[derive(Clone, PartialEq, Debug)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// Final figures.
    pub stats: CallStats,
    /// The last events of the call, oldest first.
    pub flight_recorder: Vec<Recorded>,
}

/// One entry of the flight recorder.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Recorded {
    /// When.
    pub at: Time,
    /// What happened.
    pub what: Moment,
}

/// What the flight recorder notes: steps of set-up and tear-down, never packets.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs, reason = "the names are the steps of docs/CALL_PATH.md")]
pub enum Moment {
    Opened,
    Gathered { candidates: u8 },
    RemoteParams { candidates: u8 },
    FirstCheckOut,
    IceConnected { rtt: Span },
    DtlsStarted { client: bool },
    DtlsConnected { profile: Profile },
    SdesKeyed { profile: Profile },
    EarlyPackets { kept: u8, dropped: u8 },
    GateOpened,
    FirstRtpOut,
    FirstRtpIn,
    PeerSsrc { ssrc: u32 },
    PeerBye,
    PortAttached,
    Digit,
    DigitsQueued { count: u8 },
    DigitsSent,
    EncoderTuned { bitrate_bps: u32, loss_percent: u8 },
    NoEgress,
    NoIngress,
    MediaBack,
    TlsReleased,
    Ended { reason: EndReason },
}
