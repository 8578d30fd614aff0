//! What happened in a call, as Meta's side saw it: typed entries in order of time.
//!
//! Given: observations. Decides: nothing. Refuses: opinions (`oracle.rs`), secrets (no key, password or SDP body is kept, only digests).

use std::net::SocketAddr;
use tipring_engine::time::Time;

/// Where an entry was seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Leg {
    /// Graph API.
    Graph,
    /// Webhook deliveries.
    Webhook,
    /// Connectivity and consent checks.
    Stun,
    /// Handshake.
    Dtls,
    /// Media.
    Rtp,
    /// Reports.
    Rtcp,
    /// The person with the phone.
    User,
}

/// Who acted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// The business, towards Meta.
    FromBusiness,
    /// Meta, towards the business.
    FromMeta,
}

/// One observation.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// When.
    pub at: Time,
    /// Where.
    pub leg: Leg,
    /// By whom.
    pub direction: Direction,
    /// What.
    pub what: What,
}

/// A pair of addresses: ours (Meta's) and theirs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Address of the relay.
    pub local: SocketAddr,
    /// Address of the business.
    pub remote: SocketAddr,
}

/// A telephone-event block (RFC 4733 section 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventBlock {
    /// Event code.
    pub code: u8,
    /// The E bit.
    pub end: bool,
    /// In 8 kHz steps.
    pub duration: u16,
}

/// What was observed.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// A Binding request.
    StunRequest {
        /// Transaction id.
        id: [u8; 12],
        /// Where.
        path: Path,
        /// USERNAME and MESSAGE-INTEGRITY hold, FINGERPRINT is there.
        authentic: bool,
        /// Tie-breaker of ICE-CONTROLLING.
        controlling: Option<u64>,
        /// ICE-CONTROLLED is there.
        controlled: bool,
        /// USE-CANDIDATE is there.
        use_candidate: bool,
    },
    /// Any other STUN message of the business.
    StunOther {
        /// Message type.
        kind: u16,
    },
    /// Our answer: 200 for success, else the error code.
    StunAnswer {
        /// Transaction id.
        id: [u8; 12],
        /// Where.
        path: Path,
        /// 200 or the error code.
        code: u16,
    },
    /// A DTLS datagram.
    Dtls {
        /// Where.
        path: Path,
        /// Length in bytes.
        bytes: usize,
        /// Content type of its first record.
        content: u8,
        /// Handshake type of its first record, when clear.
        handshake: Option<u8>,
    },
    /// The certificate of the business.
    Certificate {
        /// `P-256`, `RSA`, or another kind.
        key: String,
        /// It is the one announced.
        matches_sdp: bool,
    },
    /// Keys exist; the profile's IANA name.
    DtlsConnected {
        /// Name of the SRTP profile.
        profile: &'static str,
    },
    /// The handshake or connection ended badly.
    DtlsFailed {
        /// Why.
        why: String,
    },
    /// An RTP packet that authenticated.
    Rtp {
        /// Where.
        path: Path,
        /// SSRC.
        ssrc: u32,
        /// Payload type.
        payload_type: u8,
        /// Sequence number.
        seq: u16,
        /// Timestamp.
        timestamp: u32,
        /// Marker.
        marker: bool,
        /// Header extension, contributing sources or padding are there.
        has_extras: bool,
        /// Duration of an Opus payload in 48 kHz ticks; none for events and for what is not Opus.
        ticks: Option<u32>,
        /// The telephone-event of the business in it.
        event: Option<EventBlock>,
    },
    /// A protected packet that did not authenticate, or came before keys.
    MediaRefused {
        /// Why.
        why: &'static str,
    },
    /// An RTCP compound that authenticated.
    Rtcp {
        /// SSRC of its first packet.
        ssrc: u32,
        /// It starts with SR or RR.
        starts_with_report: bool,
        /// CNAME.
        cname: Option<String>,
        /// It holds a BYE.
        bye: bool,
    },
    /// A call action.
    GraphRequest {
        /// `pre_accept`, `accept`, `reject`, `terminate`, `connect`.
        action: String,
        /// SHA-256 of its SDP.
        sdp: Option<[u8; 32]>,
    },
    /// Our answer to a call action.
    GraphReply {
        /// Which.
        action: String,
        /// HTTP status.
        status: u16,
        /// Meta's code when it is an error.
        code: Option<u32>,
    },
    /// The SDP of the business was looked at: none when all is well.
    SdpJudged {
        /// Faults found; the first is what Meta would refuse.
        faults: Vec<crate::sdp::SdpFault>,
        /// SSRC it announced.
        ssrc: Option<u32>,
    },
    /// A webhook was sent.
    WebhookSent {
        /// `connect`, `terminate`, `RINGING`, …
        event: String,
    },
    /// A webhook was answered, or the attempt failed (status 0).
    WebhookAnswered {
        /// Which.
        event: String,
        /// HTTP status; 0 when there was no answer.
        status: u16,
        /// Time to the answer in milliseconds.
        took_ms: u64,
        /// 200 was the right answer; a forged delivery deserves another.
        is_genuine: bool,
    },
    /// The user's phone shows the call as answered; by accept or by early media.
    PickedUp {
        /// It was media before accept that did it.
        by_early_media: bool,
    },
    /// The user began a digit.
    Digit(char),
    /// The user hung up.
    HungUp,
    /// The relay gave the call up for want of media (138021).
    Silence {
        /// How long nothing came, in milliseconds.
        ms: u64,
    },
}

/// A bounded list of entries. When it is full, further media packets are counted, not kept; everything else is kept.
#[derive(Clone, Default, Debug)]
pub struct Timeline {
    entries: Vec<Entry>,
    media_dropped: u64,
}

impl Timeline {
    /// Adds an observation.
    pub fn push(&mut self, at: Time, leg: Leg, direction: Direction, what: What) {
        if self.entries.len() >= ENTRIES_MAX && matches!(leg, Leg::Rtp | Leg::Stun | Leg::Rtcp) {
            self.media_dropped += 1;
            return;
        }
        self.entries.push(Entry { at, leg, direction, what });
    }

    /// Entries so far, in order of time.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Packets that found no room.
    pub fn media_dropped(&self) -> u64 {
        self.media_dropped
    }
}

/// Both directions of an hour of media.
const ENTRIES_MAX: usize = 400_000;
