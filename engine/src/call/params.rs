//! What two ends of a call tell each other through signalling, as values: never SDP text.
//!
//! Given by: `signalling::sdp`, or a host that has its own SDP. Refuses: parsing and writing text.

use crate::dtls::Fingerprint;
use crate::error::SetupError;
use crate::ice::{Candidate, Credentials};
use crate::keying::{MasterKey, SdesSecret};

/// The value of `a=setup` (RFC 4145 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SetupRole {
    /// Either; only in offers (D20), though answers of Meta with it have been seen.
    ActPass,
    /// Sends the ClientHello.
    Active,
    /// Waits for it.
    Passive,
}

/// Our side of a call, for the SDP we send. Stable from the moment the call is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalParams {
    /// Our ICE credentials.
    pub credentials: Credentials,
    /// Our candidates, best first; all there will ever be, if `complete`.
    pub candidates: Vec<Candidate>,
    /// Whether a description may be written from this. False while STUN servers are asked: `CallEvent::LocalReady` brings the rest.
    pub complete: bool,
    /// Fingerprint of our certificate.
    pub fingerprint: Fingerprint,
    /// What we say in `a=setup`: `Active` in answers, `ActPass` in offers.
    pub role: SetupRole,
    /// What our `a=crypto` key is cut from, should this call be keyed by SDES. A fresh one per call.
    pub sdes: SdesSecret,
    /// The one SSRC of the call.
    pub ssrc: u32,
    /// Canonical name, random, without any trace of the host.
    pub cname: String,
}

/// The peer's side of a call, from the SDP it sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteParams {
    /// Its ICE credentials, `==` included (M4). [`None`]: no ICE, symmetric RTP with the first of `candidates`; only together with `sdes`.
    pub credentials: Option<Credentials>,
    /// Whether it said `a=ice-lite`.
    pub lite: bool,
    /// Its UDP candidates of component 1; without ICE the one address of its `c=` and `m=` lines.
    pub candidates: Vec<Candidate>,
    /// Acceptable SHA-256 fingerprints: at least one, unless `sdes` keys the call.
    pub fingerprints: Vec<Fingerprint>,
    /// The key of its `a=crypto`. If there is one, there is no DTLS: keys are ready with the path.
    pub sdes: Option<MasterKey>,
    /// What it said in `a=setup`.
    pub role: SetupRole,
    /// What may be sent to it.
    pub media: MediaParams,
    /// The SSRC it announced. A hint: others are not dropped (`whatsapp-calling.md` 5.5).
    pub ssrc: Option<u32>,
}

impl RemoteParams {
    /// Whether these can key a call and find its peer at all. The error says what is missing.
    pub fn check(&self) -> Result<(), SetupError> {
        match (&self.sdes, &self.credentials) {
            (None, _) if self.fingerprints.is_empty() => {
                Err(SetupError::PeerIncompatible("no acceptable certificate fingerprint: never without one (A7)"))
            }
            (None, None) => Err(SetupError::PeerIncompatible("no ICE credentials: DTLS runs on a path that ICE has proven")),
            (Some(_), None) if self.candidates.is_empty() => Err(SetupError::PeerIncompatible("the peer has neither ICE nor an address")),
            _ => Ok(()),
        }
    }
}

/// Payload types and the peer's wishes for our Opus (RFC 7587 section 6.1, O3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaParams {
    /// Payload type of `opus/48000/2`.
    pub opus_payload_type: u8,
    /// Payload type of `telephone-event/8000`; 126 is listened to even when absent (M14).
    pub dtmf_payload_type: Option<u8>,
    /// Largest average bit rate in bits per second, 6 000 to 510 000.
    pub bitrate_bps_max: u32,
    /// Largest playback rate in Hz: caps the audio bandwidth.
    pub playback_rate_hz_max: u32,
    /// Whether in-band FEC is of use to it.
    pub fec: bool,
    /// Whether it wants packets of one size (`cbr=1`).
    pub cbr: bool,
    /// Whether it would take DTX. We never use it towards Meta (`whatsapp-calling.md` 5.5).
    pub dtx: bool,
}

impl Default for MediaParams {
    /// Meta's modern offer (`whatsapp-calling.md` 4.1).
    fn default() -> Self {
        Self {
            opus_payload_type: 111,
            dtmf_payload_type: Some(126),
            bitrate_bps_max: 20_000,
            playback_rate_hz_max: 16_000,
            fec: true,
            cbr: false,
            dtx: false,
        }
    }
}
