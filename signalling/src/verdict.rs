//! One sentence per ending: a stable code, what happened, what to do next.
//!
//! Decides: the wording of every ending, in one table per source. Is given: end reasons, Graph errors, webhook errors, and evidence.
//! Refuses: deciding that a call ends. Sentences hold no number, id or address.

mod evidence;

pub use evidence::{Evidence, Family, LocalCandidates, Reached, is_unroutable};

use core::fmt;
use std::borrow::Cow;

use tipring_engine::dtls::DtlsStats;
use tipring_engine::error::{AdmitError, EndReason, SetupError};

use crate::graph::{GraphError, code};
use crate::sdp::SdpError;
use crate::session::MetaError;

/// Why a call ended, for people and programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Stable, upper case: `ICE_TIMEOUT`, `META_138021`.
    pub code: Cow<'static, str>,
    /// What happened, one sentence without its full stop.
    pub sentence: Cow<'static, str>,
    /// What to do about it, one sentence without its full stop. Empty if there is nothing to do.
    pub advice: Cow<'static, str>,
    /// Facts it leans on: name and value. Texts of Meta under `details` may quote a phone number.
    pub evidence: Vec<(&'static str, String)>,
}

/// The handshake of a call that ended.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DtlsEvidence {
    /// Datagrams of the peer.
    pub datagrams_in: u64,
    /// Of those, datagrams that were no DTLS of its role.
    pub datagrams_refused: u64,
    /// Flights that we repeated.
    pub repetitions: u32,
    /// Times that we changed the role because the peer did not keep to its own.
    pub role_changes: u8,
    /// Start of the fingerprint that was announced, and of the one that was shown instead: four bytes each.
    pub mismatch: Option<(String, String)>,
}

impl DtlsEvidence {
    /// From the engine's figures.
    pub fn of(stats: &DtlsStats) -> Self {
        Self {
            datagrams_in: stats.datagrams_in,
            datagrams_refused: stats.datagrams_refused,
            repetitions: stats.retransmissions,
            role_changes: stats.role_changes,
            mismatch: stats.mismatch.map(|m| (m.announced.prefix(), m.shown.prefix())),
        }
    }

    fn list(&self) -> Vec<(&'static str, String)> {
        let mut list = vec![
            ("dtls_datagrams_in", self.datagrams_in.to_string()),
            ("dtls_datagrams_refused", self.datagrams_refused.to_string()),
            ("dtls_repetitions", self.repetitions.to_string()),
        ];
        if self.role_changes > 0 {
            list.push(("dtls_role_changes", self.role_changes.to_string()));
        }
        if let Some((announced, shown)) = &self.mismatch {
            list.push(("fingerprint_announced", announced.clone()));
            list.push(("fingerprint_shown", shown.clone()));
        }
        list
    }
}

impl Verdict {
    /// Of an ending by the engine.
    pub fn of_end(reason: EndReason, evidence: &Evidence) -> Self {
        let mut verdict = match reason {
            EndReason::IceTimeout => of_ice_timeout(evidence),
            EndReason::DtlsTimeout => of_dtls_timeout(evidence),
            EndReason::NoIngress if evidence.packets_in == Some(0) => Self::fixed(
                "NO_INGRESS_EVER",
                "the path stood, but no media ever came from Meta",
                "check that the firewall lets UDP in from the relay, and whether the user's app was muted or in a lift",
            ),
            other => row(other),
        };
        if let EndReason::DtlsAlert(description) = reason {
            verdict.evidence.push(("alert", alert_name(description).map_or_else(|| description.to_string(), str::to_owned)));
        }
        if is_of_dtls(reason) {
            verdict.evidence.extend(evidence.dtls.iter().flat_map(DtlsEvidence::list));
        }
        verdict.evidence.extend(evidence.list());
        verdict
    }

    /// Of a call that ended without the engine's doing, by what the engine knows: the cause comes first; the symptom, as Meta or we named it,
    /// joins the evidence under the name given.
    ///
    /// `None` if the engine knows of no fault: its media stood, and packets left.
    pub fn of_autopsy(evidence: &Evidence, symptom: Option<(&'static str, &Self)>) -> Option<Self> {
        let mut verdict = match evidence.reached? {
            Reached::Checking => of_ice_timeout(evidence),
            Reached::Handshake => of_dtls_timeout(evidence),
            Reached::Media if evidence.packets_out == Some(0) => row(EndReason::NoEgress),
            Reached::Media => return None,
        };
        if evidence.reached == Some(Reached::Handshake) {
            verdict.evidence.extend(evidence.dtls.iter().flat_map(DtlsEvidence::list));
        }
        verdict.evidence.extend(evidence.list());
        verdict.evidence.extend(symptom.map(|(name, symptom)| (name, symptom.code.to_string())));
        Some(verdict)
    }

    /// Adds what the engine knows to the evidence.
    pub(crate) fn with(mut self, evidence: &Evidence) -> Self {
        self.evidence.extend(evidence.list());
        self
    }

    /// Of a refusal by Graph; `action` is [`crate::graph::GraphAction::name`].
    pub fn of_graph(action: &'static str, error: &GraphError) -> Self {
        let mut verdict = Self::of_code(error.code).unwrap_or_else(|| match error.http_status {
            401 | 403 => {
                Self::fixed("GRAPH_UNAUTHORISED", "Graph refused the token", "check the access token of the number and its permissions")
            }
            404 => {
                Self::fixed("GRAPH_NOT_FOUND", "Graph does not know this number or address", "check phone_number_id and the API version")
            }
            429 => Self::fixed("GRAPH_RATE_LIMIT", "Graph refused the request because there were too many", "slow down"),
            500.. => Self::fixed("GRAPH_SERVER_ERROR", "Graph failed to answer", "try again; look at Meta's status page if it stays"),
            _ => Self::fixed("GRAPH_REFUSED", "Graph refused the request", "see the details; report it with its fbtrace_id"),
        });
        verdict.evidence.push(("action", action.to_owned()));
        verdict.evidence.push(("http_status", error.http_status.to_string()));
        let optional = [
            ("code", (error.code != 0).then(|| error.code.to_string())),
            ("subcode", error.subcode.map(|n| n.to_string())),
            ("details", error.details.clone().or_else(|| (!error.message.is_empty()).then(|| error.message.clone()))),
            ("fbtrace_id", error.fbtrace_id.clone()),
        ];
        verdict.evidence.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        verdict
    }

    /// Of a Graph request without a readable reply, twice.
    pub fn of_lost(action: &'static str) -> Self {
        let mut verdict = Self::fixed(
            "GRAPH_NO_REPLY",
            "Graph gave no reply to the request, not even to its repetition",
            "check the way to graph.facebook.com: DNS, proxy, firewall",
        );
        verdict.evidence.push(("action", action.to_owned()));
        verdict
    }

    /// Of an error in a webhook.
    pub fn of_meta(error: &MetaError) -> Self {
        let mut verdict = Self::of_code(error.code).unwrap_or_else(|| {
            Self::fixed("META_FAILED", "Meta says that the call failed", "see the call log of the number in WhatsApp Manager")
        });
        if !error.details.is_empty() {
            verdict.evidence.push(("details", error.details.clone()));
        }
        verdict
    }

    /// Of an SDP we cannot use.
    pub fn of_sdp(error: &SdpError) -> Self {
        use crate::sdp::SdpErrorKind as Kind;
        let code = match error.kind {
            Kind::NoOpus => "CODEC_REFUSED",
            Kind::NoCandidate => "SDP_NO_CANDIDATE",
            Kind::NoFingerprint | Kind::FingerprintHash | Kind::FingerprintValue => "SDP_NO_FINGERPRINT",
            Kind::Sdes => "SDP_SDES",
            _ => "SDP_REFUSED",
        };
        let place = error.line.map(|line| ("line", line.to_string()));
        Self {
            code: code.into(),
            sentence: format!("Meta's session description cannot be used: {}", error.kind.what()).into(),
            advice: error.kind.advice().into(),
            evidence: place.into_iter().chain([("attribute", error.kind.attribute().to_owned())]).collect(),
        }
    }

    /// Of a lack of room.
    pub fn of_admit(error: AdmitError) -> Self {
        match error {
            AdmitError::Calls => Self::fixed("FULL_CALLS", "every call slot is taken", "add a node, or raise calls_max_per_shard"),
            AdmitError::Handshakes => Self::fixed(
                "FULL_HANDSHAKES",
                "too many calls are being set up at this moment",
                "add a node, or raise handshakes_max if the CPU has room",
            ),
            AdmitError::Load => Self::fixed(
                "FULL_LOAD",
                "the media threads are as busy as they may be",
                "add a node or cores, or raise load_max_percent if late packets do no harm",
            ),
            AdmitError::Ports => Self::fixed(
                "FULL_PORTS",
                "no media port is free, or the system refused to bind one",
                "widen the port range, and see ip_local_reserved_ports and the limit of open files",
            ),
            AdmitError::Draining => Self::fixed("DRAINING", "this node is draining and takes no new calls", "send calls to another node"),
            AdmitError::Mailbox => {
                Self::fixed("FULL_MAILBOX", "the media thread is too busy to be told of the call", "lower the load of this node")
            }
            AdmitError::NoSuchCall => {
                Self::fixed("INTERNAL_FAULT", "the media call was gone before its set-up ended", "report it: this is a bug of ours")
            }
        }
    }

    /// Of a call that could not be set up.
    pub fn of_setup(error: &SetupError) -> Self {
        let (code, sentence, what) = match error {
            SetupError::Misuse(what) => ("INTERNAL_FAULT", "the engine was used wrongly", what),
            SetupError::PeerIncompatible(what) => ("PEER_INCOMPATIBLE", "Meta's parameters cannot work with ours", what),
            SetupError::Library(what) => ("LIBRARY_FAILED", "the TLS or codec library refused to start", what),
        };
        let mut verdict = Self::fixed(code, sentence, "report it with the evidence");
        verdict.evidence.push(("what", (*what).to_owned()));
        verdict
    }

    /// What the table knows of the number that Meta gave; `None` for verdicts that are not Meta's, and for numbers that it does not hold.
    pub fn info(&self) -> Option<&'static code::CodeInfo> {
        self.code.strip_prefix("META_").and_then(|number| number.parse().ok()).and_then(code::lookup)
    }

    /// Exit code of a command that made this call: 0 for one that was answered and hung up, 10 to 13 for how it was not answered, 20 to 27 by
    /// [`code::Cause`], 1 for every other failure.
    pub fn exit_code(&self, answered: bool) -> u8 {
        match (&*self.code, self.info()) {
            (_, Some(info)) => info.cause.exit_code(),
            ("HANG_UP", None) if answered => 0,
            ("NOT_ANSWERED", None) => 10,
            ("USER_DECLINED", None) => 11,
            ("CANCELLED" | "HANG_UP", None) => 12,
            ("GRAPH_UNAUTHORISED", None) => code::Cause::Token.exit_code(),
            ("GRAPH_RATE_LIMIT", None) => code::Cause::Limit.exit_code(),
            ("GRAPH_SERVER_ERROR", None) => code::Cause::Meta.exit_code(),
            ("GRAPH_NO_REPLY", None) => 13,
            _ => 1,
        }
    }

    /// One that needs no evidence.
    pub(crate) const fn fixed(code: &'static str, sentence: &'static str, advice: &'static str) -> Self {
        Self { code: Cow::Borrowed(code), sentence: Cow::Borrowed(sentence), advice: Cow::Borrowed(advice), evidence: Vec::new() }
    }

    /// Of a number of Meta; `None` for 0.
    fn of_code(number: u32) -> Option<Self> {
        if number == 0 {
            return None;
        }
        let (sentence, advice) = match code::lookup(number) {
            Some(row) => (row.meaning, row.advice),
            None => ("Meta gave an error number that we do not know", "see the details and Meta's list of error codes"),
        };
        Some(Self { code: format!("META_{number}").into(), ..Self::fixed("", sentence, advice) })
    }
}

impl fmt::Display for Verdict {
    /// Code, sentence and advice on one line; the evidence stays out of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.sentence)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

/// No pair was nominated: the evidence tells which of the usual causes it is.
fn of_ice_timeout(evidence: &Evidence) -> Verdict {
    let known = |value: Option<u64>| value.unwrap_or(0);
    match (evidence.checks_sent, known(evidence.checks_answered)) {
        (Some(0), _) => Verdict::fixed(
            "ICE_NO_CHECKS",
            "no connectivity check could be sent at all",
            "check that the host has a route for the address family of Meta's candidates",
        ),
        (_, 1..) => Verdict::fixed(
            "ICE_UNSTABLE",
            "connectivity checks were answered, but none was good enough to nominate",
            "look for packet loss or a NAT that changes ports between us and the relay",
        ),
        (Some(sent), 0) if known(evidence.sends_refused) >= sent => Verdict::fixed(
            "ICE_NO_ROUTE",
            "the operating system refused to send every connectivity check",
            "check the routes and the outgoing firewall rules of this host for the address family of Meta's candidates",
        ),
        (_, 0) if known(evidence.checks_refused) > 0 => Verdict::fixed(
            "ICE_REFUSED",
            "Meta's relay answered our connectivity checks with errors only",
            "check that Meta took the SDP of this very call (pre_accept or accept answered 200); report it if it did",
        ),
        (_, 0) if known(evidence.stun_unsigned) > 0 => Verdict::fixed(
            "ICE_UNSIGNED_ANSWERS",
            "connectivity checks were answered, but by somebody who does not know the password of Meta's SDP",
            "check that the SDP belongs to this call, and that no proxy between us and the relay rewrites STUN",
        ),
        (_, 0) if evidence.is_private_only() => Verdict::fixed(
            "ICE_NO_RESPONSE_PRIVATE_CANDIDATE",
            "no connectivity check was answered, and our SDP named private addresses only",
            "configure public_addresses or stun_servers, and let UDP of the media ports through the firewall",
        ),
        _ => row(EndReason::IceTimeout),
    }
}

/// The handshake was never finished: whether the peer was silent, unintelligible or slow tells the usual causes apart.
fn of_dtls_timeout(evidence: &Evidence) -> Verdict {
    match &evidence.dtls {
        Some(DtlsEvidence { datagrams_in: 0, .. }) => Verdict::fixed(
            "DTLS_SILENT",
            "the path stood, but Meta's relay never answered the DTLS handshake",
            "check that Meta took our SDP (pre_accept or accept answered 200), that a=setup of both sides differs, and that a firewall lets more than STUN pass",
        ),
        Some(dtls) if dtls.datagrams_in == dtls.datagrams_refused => Verdict::fixed(
            "DTLS_UNINTELLIGIBLE",
            "the path stood, but what Meta's relay sent was no part of the DTLS handshake that we expected",
            "report it with the SDP's a=setup lines: both sides may wait for the other, or the relay speaks another version of DTLS",
        ),
        _ => {
            let (sentence, advice) = end_row(EndReason::DtlsTimeout);
            Verdict::fixed(EndReason::DtlsTimeout.code(), sentence, advice)
        }
    }
}

/// Whether the figures of the handshake say anything about this ending.
const fn is_of_dtls(reason: EndReason) -> bool {
    matches!(
        reason,
        EndReason::DtlsTimeout
            | EndReason::DtlsAlert(_)
            | EndReason::DtlsFailed
            | EndReason::FingerprintMismatch
            | EndReason::NoSrtpProfile
            | EndReason::PeerClosed
    )
}

/// The plain verdict of an end reason.
fn row(reason: EndReason) -> Verdict {
    let (sentence, advice) = end_row(reason);
    Verdict::fixed(reason.code(), sentence, advice)
}

/// Sentence and advice of each end reason.
const fn end_row(reason: EndReason) -> (&'static str, &'static str) {
    match reason {
        EndReason::HangUp => ("the call was hung up", ""),
        EndReason::Cancelled => ("the call was given up before it was accepted", ""),
        EndReason::IceTimeout => (
            "no connectivity check to Meta's relay was answered",
            "let UDP out to and in from the relay (ports 3478, 3480, 3482, 3484, 40012 today), and check that pre_accept reached Meta in time",
        ),
        EndReason::IceNominationFailed => (
            "the path to the relay worked and then broke before it was nominated",
            "look for packet loss, or for a firewall that closes the port again",
        ),
        EndReason::IceRoleConflict => (
            "Meta's relay kept claiming the controlling role although it said ice-lite",
            "report it with the SDP's session part: Meta's side is odd",
        ),
        EndReason::IceNoCandidates => {
            ("Meta's SDP named no address that we may use", "check that IPv4 is configured, and allow_loopback in tests")
        }
        EndReason::ConsentLost => ("the path to Meta's relay died during the call", "look at the network between this host and the relay"),
        EndReason::DtlsTimeout => (
            "the path stood, but the DTLS handshake was never finished",
            "check that Meta took our SDP (pre_accept or accept answered 200), and that datagrams of 1200 bytes pass",
        ),
        EndReason::DtlsAlert(_) => {
            ("Meta ended the DTLS connection with an alert", "the alert names the cause; bad_certificate points at a wrong fingerprint")
        }
        EndReason::FingerprintMismatch => (
            "the certificate is not the one that Meta's SDP announced",
            "check that webhook and media belong to the same call; if they do, someone is in the middle",
        ),
        EndReason::NoSrtpProfile => ("Meta chose none of the SRTP profiles we offered", "offer AES128_CM_SHA1_80 in srtp.profiles"),
        EndReason::PeerIncompatible => (
            "Meta's description does not fit ours: it repeats our own SDES key, or names no address of a family that we have",
            "report it with both descriptions; nothing was sent",
        ),
        EndReason::DtlsFailed => ("the TLS library refused the handshake", "report it with the flight recorder of the call"),
        EndReason::PeerClosed => ("Meta closed the media connection without a terminate webhook so far", ""),
        EndReason::NoEgress => (
            "no media of ours left for 20 s although the gate was open",
            "report it with the flight recorder: the engine must send silence by itself",
        ),
        EndReason::NoIngress => (
            "neither media nor reports came from Meta for 30 s, and the configuration ends such calls",
            "the user's network is the likely cause; a muted user looks the same, so set the ingress watchdog to tell if such calls should go on",
        ),
        EndReason::InternalFault => ("the engine failed", "report it with the log: this is a bug of ours"),
    }
}

/// RFC 5246 section 7.2, as far as it is likely.
const fn alert_name(description: u8) -> Option<&'static str> {
    Some(match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        90 => "user_canceled",
        110 => "unsupported_extension",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: &[EndReason] = &[
        EndReason::HangUp,
        EndReason::Cancelled,
        EndReason::IceTimeout,
        EndReason::IceNominationFailed,
        EndReason::IceRoleConflict,
        EndReason::IceNoCandidates,
        EndReason::ConsentLost,
        EndReason::DtlsTimeout,
        EndReason::DtlsAlert(42),
        EndReason::FingerprintMismatch,
        EndReason::NoSrtpProfile,
        EndReason::DtlsFailed,
        EndReason::PeerIncompatible,
        EndReason::PeerClosed,
        EndReason::NoEgress,
        EndReason::NoIngress,
        EndReason::InternalFault,
    ];

    #[test]
    fn every_end_reason_has_its_own_code_and_sentence() {
        let verdicts: Vec<_> = REASONS.iter().map(|&reason| Verdict::of_end(reason, &Evidence::default())).collect();
        for (verdict, reason) in verdicts.iter().zip(REASONS) {
            assert_eq!(verdict.code, reason.code());
            assert!(verdict.sentence.len() > 10 && verdict.code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'));
            assert!(verdicts.iter().filter(|v| v.sentence == verdict.sentence).count() == 1, "{verdict}");
        }
    }

    /// Each way ICE can fail has its own code, and each names what the engine saw.
    #[test]
    fn evidence_sharpens_quiet() {
        let of = |packets_in| {
            let evidence = Evidence { packets_in: Some(packets_in), last_in_ms: (packets_in > 0).then_some(30_000), ..Evidence::default() };
            Verdict::of_end(EndReason::NoIngress, &evidence)
        };
        assert_eq!((of(0).code, of(7).code), ("NO_INGRESS_EVER".into(), "NO_INGRESS_30S".into()));
        assert!(of(7).evidence.contains(&("last_in_ms", "30000".to_owned())));
        assert_eq!(Verdict::of_end(EndReason::NoEgress, &Evidence::default()).code, "NO_EGRESS_20S");
    }

    #[test]
    fn evidence_sharpens_an_ice_timeout() {
        let private = LocalCandidates { hosts: 2, reflexive: 0, unroutable: 2 };
        let base = Evidence { checks_sent: Some(9), checks_answered: Some(0), reached: Some(Reached::Checking), ..Evidence::default() };
        let table = [
            ("ICE_NO_CHECKS", Evidence { checks_sent: Some(0), ..base.clone() }),
            ("ICE_UNSTABLE", Evidence { checks_answered: Some(3), local: Some(private), ..base.clone() }),
            ("ICE_NO_ROUTE", Evidence { sends_refused: Some(9), ..base.clone() }),
            ("ICE_REFUSED", Evidence { checks_refused: Some(2), ..base.clone() }),
            ("ICE_UNSIGNED_ANSWERS", Evidence { stun_unsigned: Some(1), ..base.clone() }),
            ("ICE_NO_RESPONSE_PRIVATE_CANDIDATE", Evidence { local: Some(private), ..base.clone() }),
            ("ICE_TIMEOUT", Evidence { local: Some(LocalCandidates { unroutable: 1, ..private }), ..base.clone() }),
            ("ICE_TIMEOUT", base),
        ];
        for (code, evidence) in &table {
            let ended = Verdict::of_end(EndReason::IceTimeout, evidence);
            assert_eq!(ended.code, *code);
            assert!(!ended.advice.is_empty(), "{code}: what to do");
            assert!(ended.evidence.iter().any(|(name, _)| *name == "checks_sent"), "{code}: {:?}", ended.evidence);
            let meta = Verdict::of_meta(&MetaError { code: 138_021, details: String::new() });
            let autopsy = Verdict::of_autopsy(evidence, Some(("meta", &meta))).expect("the engine knows");
            assert_eq!(autopsy.code, *code, "whoever ends the call, the cause is the same");
            assert_eq!(autopsy.evidence.last(), Some(&("meta", "META_138021".to_owned())));
        }
        let alert = Verdict::of_end(EndReason::DtlsAlert(42), &Evidence { packets_out: Some(0), ..Evidence::default() });
        assert_eq!(alert.evidence, [("alert", "bad_certificate".to_owned()), ("packets_out", "0".to_owned())]);
    }

    #[test]
    fn evidence_sharpens_the_end_of_a_handshake() {
        let of = |reason, dtls| Verdict::of_end(reason, &Evidence { dtls: Some(dtls), ..Evidence::default() });
        let silent = of(EndReason::DtlsTimeout, DtlsEvidence { repetitions: 12, ..DtlsEvidence::default() });
        assert_eq!(silent.code, "DTLS_SILENT");
        assert!(silent.evidence.contains(&("dtls_repetitions", "12".to_owned())));
        let of_timeout = |datagrams_in, datagrams_refused| {
            of(EndReason::DtlsTimeout, DtlsEvidence { datagrams_in, datagrams_refused, ..DtlsEvidence::default() }).code
        };
        assert_eq!(of_timeout(3, 3), "DTLS_UNINTELLIGIBLE");
        assert_eq!(of_timeout(3, 1), "DTLS_TIMEOUT");
        let mismatch = Some(("AB:CD:EF:01".to_owned(), "12:34:56:78".to_owned()));
        let wrong = of(EndReason::FingerprintMismatch, DtlsEvidence { datagrams_in: 1, mismatch, ..DtlsEvidence::default() });
        assert!(wrong.evidence.contains(&("fingerprint_announced", "AB:CD:EF:01".to_owned())));
        assert!(wrong.evidence.contains(&("fingerprint_shown", "12:34:56:78".to_owned())));
        let hung_up = of(EndReason::HangUp, DtlsEvidence::default());
        assert!(hung_up.evidence.is_empty(), "a call that went well says nothing of its handshake");
    }

    #[test]
    fn an_autopsy_goes_as_far_as_the_call_came() {
        let dtls = |datagrams_in| DtlsEvidence { datagrams_in, ..DtlsEvidence::default() };
        let at = |reached, dtls_in, packets_out| {
            let evidence = Evidence { reached, dtls: Some(dtls(dtls_in)), packets_out: Some(packets_out), ..Evidence::default() };
            Verdict::of_autopsy(&evidence, None).map(|v| v.code.into_owned())
        };
        assert_eq!(at(Some(Reached::Handshake), 0, 0).as_deref(), Some("DTLS_SILENT"));
        assert_eq!(at(Some(Reached::Handshake), 3, 0).as_deref(), Some("DTLS_TIMEOUT"));
        assert_eq!(at(Some(Reached::Media), 6, 0).as_deref(), Some("NO_EGRESS_20S"));
        assert_eq!(at(Some(Reached::Media), 6, 100), None, "then Meta's own word stands");
        assert_eq!(at(None, 0, 0), None);
        let evidence = Evidence {
            reached: Some(Reached::Handshake),
            dtls: Some(dtls(0)),
            ipv4: Some(Family { sent: 4, answered: 2 }),
            ipv6: Some(Family { sent: 3, answered: 0 }),
            ..Evidence::default()
        };
        let list = Verdict::of_autopsy(&evidence, None).expect("a fault").evidence;
        assert!(list.contains(&("ipv4", "4 sent, 2 answered".to_owned())) && list.contains(&("ipv6", "3 sent, 0 answered".to_owned())));
    }

    #[test]
    fn meta_numbers_become_codes() {
        let error = GraphError { http_status: 401, code: 138_006, fbtrace_id: Some("AbC".into()), ..GraphError::default() };
        let verdict = Verdict::of_graph("connect", &error);
        assert_eq!(verdict.code, "META_138006");
        assert!(verdict.evidence.contains(&("fbtrace_id", "AbC".to_owned())));
        assert_eq!(Verdict::of_graph("accept", &GraphError { http_status: 429, ..GraphError::default() }).code, "GRAPH_RATE_LIMIT");
        assert_eq!(Verdict::of_meta(&MetaError { code: 138_021, details: String::new() }).code, "META_138021");
        assert_eq!(Verdict::of_meta(&MetaError { code: 0, details: "x".into() }).code, "META_FAILED");
        let sdp = crate::sdp::read_offer("v=0\r\n").expect_err("refused");
        assert_eq!(Verdict::of_sdp(&sdp).code, "SDP_REFUSED");
    }
}
