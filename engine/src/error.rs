//! What can go wrong, sorted by whose fault it is and what it does.
//!
//! Decides: the vocabulary. A packet is never an error: it is dropped, counted under a [`DropReason`], and nothing is returned. What ends
//! a call is exactly one [`EndReason`]. Bad arguments and unusable peers are a [`SetupError`]; no room is an [`AdmitError`].
//! Refuses: formatting for operators (`signalling::verdict` owns codes, sentences and next steps).

use core::fmt;

macro_rules! counted_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident => $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every variant, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many variants there are.
            pub const COUNT: usize = Self::ALL.len();

            /// A stable lower-case label, for metrics and reports.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// Position in [`Self::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

counted_enum! {
    /// Why a received datagram (or frame) went nowhere. Network noise: count it, do nothing else.
    DropReason {
        /// First byte belongs to no protocol we speak (RFC 7983), or the datagram is empty.
        Unknown => "unknown",
        /// Longer than the largest datagram we take.
        Oversized => "oversized",
        /// STUN that breaks RFC 8489 section 5 or has a bad length inside.
        StunMalformed => "stun_malformed",
        /// STUN whose MESSAGE-INTEGRITY, USERNAME or FINGERPRINT is missing or wrong.
        StunUnauthenticated => "stun_unauthenticated",
        /// STUN answer to a transaction that is not pending on that pair, or from another address.
        StunUnexpected => "stun_unexpected",
        /// DTLS from an address other than the selected remote one, or before a pair was nominated.
        DtlsWrongSource => "dtls_wrong_source",
        /// DTLS record refused by the gate in front of the TLS library.
        DtlsMalformed => "dtls_malformed",
        /// DTLS that no longer has a session to go to.
        DtlsUnexpected => "dtls_unexpected",
        /// RTP or RTCP from an address other than the selected remote one.
        MediaWrongSource => "media_wrong_source",
        /// RTP or RTCP before there are keys, and no room left to keep it.
        BeforeKeys => "before_keys",
        /// Shorter than its own header, tag or extension says.
        Truncated => "truncated",
        /// RTP header that breaks RFC 3550 section 5.1.
        RtpMalformed => "rtp_malformed",
        /// RTCP that breaks RFC 3550 section 6.
        RtcpMalformed => "rtcp_malformed",
        /// Authentication tag does not hold.
        Auth => "auth",
        /// Packet index seen before, or older than the replay list.
        Replay => "replay",
        /// No room for one more SSRC.
        SsrcLimit => "ssrc_limit",
        /// The key's packet limit is reached.
        KeyExhausted => "key_exhausted",
        /// SRTCP with E = 0: authenticated but not encrypted, refused by policy.
        NotEncrypted => "not_encrypted",
        /// Payload type that was not negotiated.
        PayloadType => "payload_type",
        /// Arrived after its play-out time.
        Late => "late",
        /// Second copy of a frame.
        Duplicate => "duplicate",
        /// The jitter buffer or slot pool is full.
        NoRoom => "no_room",
        /// Opus payload that breaks RFC 6716 section 3.
        OpusMalformed => "opus_malformed",
        /// telephone-event payload that breaks RFC 4733.
        DtmfMalformed => "dtmf_malformed",
        /// An Opus packet that is not 20 ms long, where nothing decodes it.
        FrameLength => "frame_length",
        /// Audio that gave way to a telephone-event.
        Replaced => "replaced",
        /// The far side of a relay is on hold.
        Held => "held",
        /// The call is over.
        Closed => "closed",
    }
}

/// Why a call ended. Exactly one per call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// The host closed the call: hang-up from either side as told by signalling. Nothing to do.
    HangUp,
    /// The host gave the call up before it was accepted. Nothing to do.
    Cancelled,
    /// No connectivity check was ever answered. Check reachability of our candidate and the firewall.
    IceTimeout,
    /// Checks were answered, but the nominating check was not. The path broke during set-up.
    IceNominationFailed,
    /// The peer kept answering 487 although it said it is lite.
    IceRoleConflict,
    /// No usable remote candidate.
    IceNoCandidates,
    /// 30 s without a consent answer (RFC 7675 section 5.1), or consent revoked. The path is dead.
    ConsentLost,
    /// The DTLS handshake got no answer, or never finished.
    DtlsTimeout,
    /// The peer ended the handshake or the connection with this alert description (RFC 5246 section 7.2).
    DtlsAlert(u8),
    /// The certificate is not the one the SDP announced. Someone is in the middle, or the SDP is of another call.
    FingerprintMismatch,
    /// The peer chose no SRTP profile that we offered.
    NoSrtpProfile,
    /// The TLS library refused the handshake for another reason.
    DtlsFailed,
    /// The peer's parameters do not fit ours: it repeats our SDES key, or names an address of a family that we do not have.
    PeerIncompatible,
    /// An authenticated close_notify. The peer left without signalling.
    PeerClosed,
    /// We sent no media for 20 s after the start. Our side is broken.
    NoEgress,
    /// Nothing came from the peer for 30 s.
    NoIngress,
    /// Our own fault: an invariant broke or a shard faulted. Report it.
    InternalFault,
}

impl EndReason {
    /// A stable upper-case code, for events, logs and call detail records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::HangUp => "HANG_UP",
            Self::Cancelled => "CANCELLED",
            Self::IceTimeout => "ICE_TIMEOUT",
            Self::IceNominationFailed => "ICE_NOMINATION_FAILED",
            Self::IceRoleConflict => "ICE_ROLE_CONFLICT",
            Self::IceNoCandidates => "ICE_NO_CANDIDATES",
            Self::ConsentLost => "CONSENT_LOST",
            Self::DtlsTimeout => "DTLS_TIMEOUT",
            Self::DtlsAlert(_) => "DTLS_ALERT",
            Self::FingerprintMismatch => "FINGERPRINT_MISMATCH",
            Self::NoSrtpProfile => "NO_SRTP_PROFILE",
            Self::DtlsFailed => "DTLS_FAILED",
            Self::PeerIncompatible => "PEER_INCOMPATIBLE",
            Self::PeerClosed => "PEER_CLOSED",
            Self::NoEgress => "NO_EGRESS_20S",
            Self::NoIngress => "NO_INGRESS_30S",
            Self::InternalFault => "INTERNAL_FAULT",
        }
    }
}

/// A call could not be set up with these arguments or this peer. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetupError {
    /// The embedding code called in the wrong order or with an impossible value. Fixable by reading your code.
    Misuse(&'static str),
    /// The peer's parameters cannot work with us, for example no acceptable fingerprint.
    PeerIncompatible(&'static str),
    /// The TLS or codec library refused to start.
    Library(&'static str),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misuse(what) => write!(f, "misuse of the engine: {what}"),
            Self::PeerIncompatible(what) => write!(f, "peer incompatible: {what}"),
            Self::Library(what) => write!(f, "library refused: {what}"),
        }
    }
}

impl core::error::Error for SetupError {}

/// There is no room for one more call. Try another node, or later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdmitError {
    /// Every call slot of every shard is taken.
    Calls,
    /// Too many handshakes are in flight.
    Handshakes,
    /// Every shard that has room is as busy as it may be.
    Load,
    /// No free port in the configured range, or the system refused to bind one.
    Ports,
    /// The engine is draining.
    Draining,
    /// The shard's mailbox is full.
    Mailbox,
    /// The call is gone.
    NoSuchCall,
}

impl fmt::Display for AdmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calls => "every call slot is taken",
            Self::Handshakes => "too many handshakes in flight",
            Self::Load => "the media threads are as busy as they may be",
            Self::Ports => "no free media port",
            Self::Draining => "draining: no new calls",
            Self::Mailbox => "the shard's mailbox is full",
            Self::NoSuchCall => "no such call",
        })
    }
}

impl core::error::Error for AdmitError {}

/// How many datagrams and frames went nowhere, by reason. Single writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DropCounts([u64; DropReason::COUNT]);

impl Default for DropCounts {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl DropCounts {
    /// Counts one.
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason.index()] += 1;
    }

    /// How many were dropped for `reason`.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// How many were dropped in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&r| (r, self.of(r))).filter(|&(_, n)| n > 0)
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_counts_add_up() {
        let mut labels: Vec<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DropReason::COUNT);

        let mut counts = DropCounts::default();
        counts.count(DropReason::Auth);
        counts.count(DropReason::Auth);
        counts.count(DropReason::Late);
        assert_eq!((counts.of(DropReason::Auth), counts.total()), (2, 3));
        assert_eq!(counts.iter().count(), 2);
    }
}
