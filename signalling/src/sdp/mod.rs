//! SDP of calls with Meta: offers and answers as typed values, and back to text (RFC 8866, RFC 3264).
//!
//! Decides: what of a description we accept, what our own says. Is given: text, or the engine's parameters.
//! Refuses: everything else SDP can express; there is one audio stream and no renegotiation.

mod candidate;
mod crypto;
mod error;
mod lines;
mod read;
#[cfg(test)]
pub(crate) mod tests;
mod write;

pub use crypto::Crypto;
pub use error::{SdpError, SdpErrorKind, SdpWarning, SdpWarningKind};

use tipring_engine::call::{LocalParams, RemoteParams, SetupRole};

/// A description from the peer: what the engine needs, and what our answer must repeat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteSdp {
    /// For the engine.
    pub params: RemoteParams,
    /// `a=mid` of the audio section; `None` if it has none.
    pub mid: Option<String>,
    /// Whether `a=group:BUNDLE` names that mid.
    pub bundled: bool,
    /// Every media section in order, because an answer has as many (RFC 3264 section 6).
    pub sections: Vec<Section>,
    /// Which of them is the audio section we use.
    pub audio_index: usize,
    /// The parameters of `a=fmtp` for Opus that we know and repeat, in their order (RFC 7587 section 7.1).
    pub opus_fmtp: String,
    /// The `a=crypto` line whose key is in `params`; `None` with DTLS.
    pub crypto: Option<Crypto>,
    /// Odd things that did not matter.
    pub warnings: Vec<SdpWarning>,
}

/// An `m=` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// `audio`, `video`, `application`.
    pub media: String,
    /// Transport protocol token, as offered.
    pub protocol: String,
    /// First format of the list.
    pub format: String,
    /// `a=mid`.
    pub mid: Option<String>,
}

/// How the two ends come by their SRTP keys: Meta's setting `srtp_key_exchange_protocol` of a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum KeyExchange {
    /// ICE and DTLS; the descriptions carry fingerprints.
    #[default]
    Dtls,
    /// The descriptions carry the keys (4.4). Whoever reads them can listen in, so only where the number is configured so (A14).
    Sdes,
}

/// Reads an offer of a number that keys by DTLS.
pub fn read_offer(text: &str) -> Result<RemoteSdp, SdpError> {
    read_offer_as(text, KeyExchange::Dtls)
}

/// Reads the answer to an offer of ours that keys by DTLS.
pub fn read_answer(text: &str) -> Result<RemoteSdp, SdpError> {
    read_answer_as(text, KeyExchange::Dtls)
}

/// Reads an offer. A description of the other kind than `exchange` is refused: neither falls back to the other.
pub fn read_offer_as(text: &str, exchange: KeyExchange) -> Result<RemoteSdp, SdpError> {
    read::read(text, read::Kind::Offer, exchange)
}

/// Reads the answer to an offer of ours that was written for `exchange`.
pub fn read_answer_as(text: &str, exchange: KeyExchange) -> Result<RemoteSdp, SdpError> {
    read::read(text, read::Kind::Answer, exchange)
}

/// Our `a=setup` for a peer that said `remote` (4.3): the other role, and the client's if it left us the choice.
pub fn our_role(remote: SetupRole) -> SetupRole {
    match remote {
        SetupRole::Active => SetupRole::Passive,
        SetupRole::Passive | SetupRole::ActPass => SetupRole::Active,
    }
}

/// Writes the answer to `offer` (4.6), keyed as the offer is. Lines end in CRLF. `session_id` is cut to 63 bits.
///
/// `a=setup` is the counterpart of the offer's whatever `local.role` says, because an answer has no other choice.
pub fn write_answer(offer: &RemoteSdp, local: &LocalParams, session_id: u64) -> String {
    write::answer(offer, local, session_id)
}

/// Writes our offer for a business-initiated call (4.7). Lines end in CRLF. `session_id` is cut to 63 bits.
pub fn write_offer(local: &LocalParams, session_id: u64) -> String {
    write_offer_as(local, session_id, KeyExchange::Dtls)
}

/// Writes our offer for this kind of key exchange: with SDES one `a=crypto` of AES_CM_128_HMAC_SHA1_80, no ICE and no DTLS (4.4).
pub fn write_offer_as(local: &LocalParams, session_id: u64, exchange: KeyExchange) -> String {
    write::offer(local, session_id, exchange)
}
