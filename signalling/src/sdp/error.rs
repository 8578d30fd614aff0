//! What is wrong with a description, where, and what to do.

use core::fmt;

/// A description we cannot use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SdpError {
    /// What is wrong.
    pub kind: SdpErrorKind,
    /// Line, from 1; `None` if something is missing altogether.
    pub line: Option<u32>,
}

/// Everything that makes a description unusable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SdpErrorKind {
    /// Longer than 64 KiB.
    TooLong,
    /// More than 1000 lines.
    TooManyLines,
    /// A line of more than 4 KiB.
    LineTooLong,
    /// More than 16 media sections.
    TooManySections,
    /// It does not start with `v=0`.
    NotSdp,
    /// An `m=` line that cannot be read.
    MediaLine,
    /// No `m=audio`.
    NoAudio,
    /// The audio section has port 0.
    AudioRejected,
    /// More than one audio section that is in use.
    SeveralAudio,
    /// `RTP/AVP`: media in clear.
    ClearMedia,
    /// A transport protocol that is none of ours.
    Protocol,
    /// `a=crypto` and no fingerprint: keys by SDES.
    Sdes,
    /// No `a=fingerprint`.
    NoFingerprint,
    /// Fingerprints, but none is SHA-256.
    FingerprintHash,
    /// A SHA-256 fingerprint that is not 32 bytes in hex.
    FingerprintValue,
    /// `a=ice-ufrag` or `a=ice-pwd` is missing.
    NoCredentials,
    /// `a=ice-ufrag` or `a=ice-pwd` has a bad length or a blank in it.
    Credentials,
    /// `a=setup` is `holdconn` or no role at all, or illegal where it stands.
    Setup,
    /// No `a=rtcp-mux`.
    NoRtcpMux,
    /// No `opus/48000/2`.
    NoOpus,
    /// An ice-lite peer without a candidate we can reach: nobody would ever send a check.
    NoCandidate,
    /// `a=inactive`.
    Inactive,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl core::error::Error for SdpError {}

/// Something odd that did not matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SdpWarning {
    /// What.
    pub kind: SdpWarningKind,
    /// Line, from 1; 0 if something is missing.
    pub line: u32,
}

/// Everything that is odd but tolerated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SdpWarningKind {
    /// A line that is not `letter=value`.
    BrokenLine,
    /// A candidate that cannot be read.
    CandidateMalformed,
    /// A candidate whose transport is not UDP.
    CandidateTransport,
    /// A candidate whose address is a name.
    CandidateName,
    /// A candidate of a component other than 1.
    CandidateComponent,
    /// A candidate at an unspecified, multicast or broadcast address, or port 0.
    CandidateAddress,
    /// A candidate at a loopback or link-local address: kept, the engine's policy decides.
    CandidateLocal,
    /// More candidates than we take.
    CandidateLimit,
    /// No candidate; the peer is a full agent and may find us.
    NoCandidate,
    /// A fingerprint with another hash than SHA-256, ignored.
    FingerprintHash,
    /// No `a=setup`.
    NoSetup,
    /// `a=setup:actpass` in an answer.
    ActPassAnswer,
    /// `a=sendonly` or `a=recvonly`.
    Direction,
    /// Another packet time than 20 ms.
    PacketTime,
    /// A value of `a=fmtp` that cannot be read, replaced by its default.
    FormatParameter,
    /// A further SSRC.
    SeveralSsrc,
    /// A further media section, rejected.
    ExtraSection,
}
