//! What is wrong with a description, where, and what to do.
//!
//! Decides: the wording. Never repeats a value of the description: values hold passwords and addresses (G9).

use core::fmt;

/// A description we cannot use: what, where, what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SdpError {
    /// What is wrong.
    pub kind: SdpErrorKind,
    /// Line, from 1; `None` if something is missing altogether.
    pub line: Option<u32>,
}

impl SdpError {
    pub(super) const fn at(kind: SdpErrorKind, line: u32) -> Self {
        Self { kind, line: Some(line) }
    }

    pub(super) const fn missing(kind: SdpErrorKind) -> Self {
        Self { kind, line: None }
    }
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "SDP line {line} ({}): {}; {}", self.kind.attribute(), self.kind.what(), self.kind.advice()),
            None => write!(f, "SDP ({}): {}; {}", self.kind.attribute(), self.kind.what(), self.kind.advice()),
        }
    }
}

impl core::error::Error for SdpError {}

/// Everything that makes a description unusable (4.8, 4.9, A3, A7).
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
    /// `a=crypto` and no fingerprint, but the number keys by DTLS.
    Sdes,
    /// No `a=crypto`, but the number keys by SDES.
    NoCrypto,
    /// More than one `a=crypto` in an answer.
    SeveralCrypto,
    /// An `a=crypto` that is not `tag suite inline:key`.
    CryptoLine,
    /// A suite that we do not have.
    CryptoSuite,
    /// A key that is not base64 of the suite's length.
    CryptoKey,
    /// An MKI, or several keys in one line.
    CryptoMki,
    /// A lifetime shorter than a call or longer than a key may last.
    CryptoLifetime,
    /// A session parameter that switches protection off, or that must be understood and is not.
    CryptoParameter,
    /// The answer names another suite or tag than our offer.
    CryptoAnswer,
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
    /// `a=setup` is `holdconn` or no role at all.
    Setup,
    /// Neither ICE nor a `c=` line with an IP address that somebody can be at.
    Address,
    /// No `a=rtcp-mux`.
    NoRtcpMux,
    /// No `opus/48000/2`.
    NoOpus,
    /// An ice-lite peer without a candidate we can reach: nobody would ever send a check.
    NoCandidate,
    /// `a=inactive`.
    Inactive,
}

impl SdpErrorKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::TooLong,
        Self::TooManyLines,
        Self::LineTooLong,
        Self::TooManySections,
        Self::NotSdp,
        Self::MediaLine,
        Self::NoAudio,
        Self::AudioRejected,
        Self::SeveralAudio,
        Self::ClearMedia,
        Self::Protocol,
        Self::Sdes,
        Self::NoCrypto,
        Self::SeveralCrypto,
        Self::CryptoLine,
        Self::CryptoSuite,
        Self::CryptoKey,
        Self::CryptoMki,
        Self::CryptoLifetime,
        Self::CryptoParameter,
        Self::CryptoAnswer,
        Self::Address,
        Self::NoFingerprint,
        Self::FingerprintHash,
        Self::FingerprintValue,
        Self::NoCredentials,
        Self::Credentials,
        Self::Setup,
        Self::NoRtcpMux,
        Self::NoOpus,
        Self::NoCandidate,
        Self::Inactive,
    ];

    /// The line or attribute it is about.
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::TooLong => "session",
            Self::TooManyLines => "session",
            Self::LineTooLong => "session",
            Self::TooManySections => "m",
            Self::NotSdp => "v",
            Self::MediaLine => "m",
            Self::NoAudio => "m=audio",
            Self::AudioRejected => "m=audio",
            Self::SeveralAudio => "m=audio",
            Self::ClearMedia => "m=audio",
            Self::Protocol => "m=audio",
            Self::Sdes
            | Self::NoCrypto
            | Self::SeveralCrypto
            | Self::CryptoLine
            | Self::CryptoSuite
            | Self::CryptoKey
            | Self::CryptoMki
            | Self::CryptoLifetime
            | Self::CryptoParameter
            | Self::CryptoAnswer => "a=crypto",
            Self::Address => "c=",
            Self::NoFingerprint => "a=fingerprint",
            Self::FingerprintHash => "a=fingerprint",
            Self::FingerprintValue => "a=fingerprint",
            Self::NoCredentials => "a=ice-ufrag, a=ice-pwd",
            Self::Credentials => "a=ice-ufrag, a=ice-pwd",
            Self::Setup => "a=setup",
            Self::NoRtcpMux => "a=rtcp-mux",
            Self::NoOpus => "a=rtpmap",
            Self::NoCandidate => "a=candidate",
            Self::Inactive => "a=inactive",
        }
    }

    /// What is wrong.
    pub const fn what(self) -> &'static str {
        match self {
            Self::TooLong => "it is longer than 64 KiB",
            Self::TooManyLines => "it has more than 1000 lines",
            Self::LineTooLong => "the line is longer than 4 KiB",
            Self::TooManySections => "it has more than 16 media sections",
            Self::NotSdp => "it does not start with v=0",
            Self::MediaLine => "the media line is not `m=media port protocol formats`",
            Self::NoAudio => "it has no audio section",
            Self::AudioRejected => "the audio section has port 0, so it is rejected",
            Self::SeveralAudio => "a second audio section is in use",
            Self::ClearMedia => "RTP/AVP means media in clear, which is never accepted",
            Self::Protocol => "the transport protocol is not one of RTP/SAVP(F) or UDP/TLS/RTP/SAVP(F)",
            Self::Sdes => "it carries SDES keys and no fingerprint, but this number is configured for DTLS",
            Self::NoCrypto => "it carries no SDES key, but this number is configured for SDES",
            Self::SeveralCrypto => "the answer carries more than one SDES key",
            Self::CryptoLine => "the key line is not `tag suite inline:key`",
            Self::CryptoSuite => "none of the SRTP suites is one of ours",
            Self::CryptoKey => "the key is not base64 of the suite's length",
            Self::CryptoMki => "the key has an MKI, or there are several in one line",
            Self::CryptoLifetime => "the key's lifetime is shorter than a call may be, or is no lifetime",
            Self::CryptoParameter => "a session parameter switches protection off or is unknown",
            Self::CryptoAnswer => "the answer names another suite or tag than our offer did",
            Self::Address => "there is neither ICE nor a c= line with an IP address that somebody can be at",
            Self::NoFingerprint => "it has no fingerprint, so the DTLS certificate could not be proven",
            Self::FingerprintHash => "none of the fingerprints is sha-256",
            Self::FingerprintValue => "the sha-256 fingerprint is not 32 hex bytes joined by colons",
            Self::NoCredentials => "the ICE credentials are missing",
            Self::Credentials => "the ufrag has not 4 to 256 or the pwd not 22 to 256 printable characters",
            Self::Setup => "the DTLS role is none of active, passive, actpass",
            Self::NoRtcpMux => "RTP and RTCP are not multiplexed, but there is only one port",
            Self::NoOpus => "there is no opus/48000/2",
            Self::NoCandidate => "the peer is ice-lite and names no UDP candidate with an IP address",
            Self::Inactive => "the audio section is inactive",
        }
    }

    /// What to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::TooLong => "send a description of one audio stream; real ones have about 1.5 KiB",
            Self::TooManyLines => "send a description of one audio stream; real ones have about 25 lines",
            Self::LineTooLong => "shorten the line",
            Self::TooManySections => "offer one m=audio",
            Self::NotSdp => "check that session.sdp reached us as one plain string, neither empty nor JSON inside JSON",
            Self::MediaLine => "check that no line break was lost on the way",
            Self::NoAudio => "offer one m=audio",
            Self::AudioRejected => "end the call: the peer does not want audio",
            Self::SeveralAudio => "offer one m=audio only: WhatsApp calls carry one stream",
            Self::ClearMedia => "use UDP/TLS/RTP/SAVPF",
            Self::Protocol => "use UDP/TLS/RTP/SAVPF",
            Self::Sdes => "set srtp_key_exchange_protocol of the number to DTLS at Meta, or keying = \"sdes\" of the number here",
            Self::NoCrypto => "set srtp_key_exchange_protocol of the number to SDES at Meta, or keying = \"dtls\" of the number here",
            Self::SeveralCrypto => "answer with one a=crypto",
            Self::CryptoLine => "check that the line was not cut",
            Self::CryptoSuite => "offer AES_CM_128_HMAC_SHA1_80",
            Self::CryptoKey => "check that the line was neither cut nor decoded: `=`, `+` and `/` belong to it",
            Self::CryptoMki => "send one key without |MKI:length",
            Self::CryptoLifetime => "leave the lifetime out, or say 2^31",
            Self::CryptoParameter => "leave session parameters out",
            Self::CryptoAnswer => "repeat tag and suite of the offer",
            Self::Address => "put an IPv4 address into c=, and the port into m=",
            Self::NoFingerprint => "add one a=fingerprint:sha-256; a number set to SDES must be set to DTLS",
            Self::FingerprintHash => "add one a=fingerprint:sha-256",
            Self::FingerprintValue => "check that the line was not cut",
            Self::NoCredentials => "add a=ice-ufrag and a=ice-pwd",
            Self::Credentials => "check that the line was neither cut nor decoded: `=`, `+` and `/` belong to it",
            Self::Setup => "use a=setup:actpass in offers, active or passive in answers",
            Self::NoRtcpMux => "add a=rtcp-mux",
            Self::NoOpus => "offer Opus; G.711 alone is not supported",
            Self::NoCandidate => "add one host candidate: udp, component 1, an IP address",
            Self::Inactive => "use a=sendrecv: hold and resume do not exist on WhatsApp calls",
        }
    }
}

/// Something odd that did not matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SdpWarning {
    /// What.
    pub kind: SdpWarningKind,
    /// Line, from 1; 0 if something is missing.
    pub line: u32,
}

impl fmt::Display for SdpWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "SDP: {}", self.kind.what()),
            line => write!(f, "SDP line {line}: {}", self.kind.what()),
        }
    }
}

/// Everything that is odd but tolerated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SdpWarningKind {
    /// A line that is not `letter=value`, or an attribute that cannot be read; ignored.
    BrokenLine,
    /// A candidate that cannot be read; skipped.
    CandidateMalformed,
    /// A candidate whose transport is not UDP; skipped.
    CandidateTransport,
    /// A candidate whose address is a name; skipped, nothing is ever resolved.
    CandidateName,
    /// A candidate of a component other than 1; skipped.
    CandidateComponent,
    /// A candidate at an unspecified, multicast, broadcast or IPv4-mapped address, or at port 0; skipped.
    CandidateAddress,
    /// A candidate at a loopback or link-local address: kept, the engine's policy decides.
    CandidateLocal,
    /// More than 32 candidates; the rest is ignored.
    CandidateLimit,
    /// No candidate; the peer is a full agent and may find us.
    NoCandidate,
    /// A fingerprint with another hash than SHA-256, ignored.
    FingerprintHash,
    /// No `a=setup`: taken as `actpass`.
    NoSetup,
    /// `a=setup:actpass` in an answer: we are the client.
    ActPassAnswer,
    /// `a=sendonly` or `a=recvonly`.
    Direction,
    /// A packet time that excludes 20 ms, or wants another; 20 ms it stays.
    PacketTime,
    /// A value of `a=fmtp` that cannot be read or is out of range; clamped or replaced by its default.
    FormatParameter,
    /// A further SSRC; the first counts.
    SeveralSsrc,
    /// A further media section; our answer rejects it.
    ExtraSection,
}

impl SdpWarningKind {
    /// What was odd and what was done.
    pub const fn what(self) -> &'static str {
        match self {
            Self::BrokenLine => "a line that cannot be read was ignored",
            Self::CandidateMalformed => "a candidate that cannot be read was skipped",
            Self::CandidateTransport => "a candidate that is not UDP was skipped",
            Self::CandidateName => "a candidate whose address is a name was skipped",
            Self::CandidateComponent => "a candidate of another component than 1 was skipped",
            Self::CandidateAddress => "a candidate at an address nobody can be at was skipped",
            Self::CandidateLocal => "a candidate is a loopback or link-local address",
            Self::CandidateLimit => "candidates after the 32nd were ignored",
            Self::NoCandidate => "there is no candidate; the peer must find us",
            Self::FingerprintHash => "a fingerprint that is not sha-256 was ignored",
            Self::NoSetup => "a=setup is missing, taken as actpass",
            Self::ActPassAnswer => "a=setup:actpass in an answer, taken as passive",
            Self::Direction => "the stream is not sendrecv",
            Self::PacketTime => "another packet time than 20 ms is asked for; 20 ms is used",
            Self::FormatParameter => "a format parameter is out of range",
            Self::SeveralSsrc => "more than one SSRC is announced",
            Self::ExtraSection => "a further media section is rejected",
        }
    }
}
