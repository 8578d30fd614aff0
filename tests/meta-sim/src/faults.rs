//! The ways in which Meta, the network, the user or an attacker can be told to misbehave. What a business can do wrong stands in `business.rs`.
//!
//! Decides: the vocabulary: name, sentence, whose fault it plays, what a good business side does. Refuses: the misbehaviour itself, which
//! lives where it happens (`relay.rs`, `call.rs`, `graph.rs`, `webhooks.rs`).

use core::fmt;

/// Whose fault a [`Fault`] plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// Meta's service or relay.
    Meta,
    /// The network between.
    Network,
    /// Somebody else.
    Attacker,
    /// The user's phone.
    User,
}

/// What a good business side makes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The call is carried and every rule holds.
    CallSucceeds,
    /// The call ends at the business with this end reason (`EndReason::code` of the engine).
    CallEnds(&'static str),
    /// No call comes to be: the delivery is refused, dropped or ignored.
    NoCall,
}

macro_rules! faults {
    ($($variant:ident => $name:literal, $blame:ident, $outcome:expr, $text:literal;)*) => {
        /// One misbehaviour. Several can be given to one call.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Fault { $(#[doc = $text] $variant,)* }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Stable name, as typed on a command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Whose fault it plays.
            pub const fn blame(self) -> Blame {
                match self { $(Self::$variant => Blame::$blame,)* }
            }

            /// What a good business side makes of it.
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$variant => $outcome,)* }
            }
        }
    };
}

faults! {
    WrongFingerprint => "wrong-fingerprint", Attacker, Outcome::CallEnds("FINGERPRINT_MISMATCH"), "The relay's certificate is not the one its SDP announces.";
    Sha1OnlyFingerprint => "sha1-only-fingerprint", Meta, Outcome::NoCall, "The offer announces a SHA-1 fingerprint only.";
    LowercaseFingerprint => "lowercase-fingerprint", Meta, Outcome::CallSucceeds, "The offer writes its fingerprint in lower case.";
    NoAnswerToChecks => "no-answer-to-checks", Network, Outcome::CallEnds("ICE_TIMEOUT"), "No connectivity check is ever answered.";
    LateSdp => "late-sdp", Meta, Outcome::CallSucceeds, "The relay answers checks only 2.9 s after it was given our SDP.";
    DeadIpv6 => "dead-ipv6", Network, Outcome::CallSucceeds, "The IPv6 candidate, higher in priority, is a black hole.";
    SlowIpv6 => "slow-ipv6", Network, Outcome::CallSucceeds, "The IPv6 candidate answers 200 ms late.";
    Signed487 => "signed-487", Meta, Outcome::CallSucceeds, "The first check is answered with an authentic 487 (role conflict).";
    Unsigned487 => "unsigned-487", Attacker, Outcome::CallSucceeds, "The first check gets a forged 487 without integrity before its true answer.";
    LostNominationAnswers => "lost-nomination-answers", Network, Outcome::CallSucceeds, "The answers to the first three nominating checks are lost.";
    ConsentLost => "consent-lost", Network, Outcome::CallEnds("CONSENT_LOST"), "Two seconds after the pick-up the relay stops answering anything.";
    DtlsNeverCompletes => "dtls-never-completes", Meta, Outcome::CallEnds("DTLS_TIMEOUT"), "The relay swallows every DTLS datagram.";
    LostFlight6 => "lost-flight-6", Network, Outcome::CallSucceeds, "The relay's last handshake flight is lost twice.";
    OnlyCm80 => "only-cm80", Meta, Outcome::CallSucceeds, "The relay knows only SRTP_AES128_CM_HMAC_SHA1_80.";
    OnlyGcm256 => "only-gcm256", Meta, Outcome::CallSucceeds, "The relay knows only SRTP_AEAD_AES_256_GCM.";
    FragmentedFlight => "fragmented-flight", Network, Outcome::CallSucceeds, "The relay cuts its handshake flight at 256 bytes, sends the pieces last one first, loses one, and cuts the repetition at 200.";
    TwoProfiles => "two-profiles", Meta, Outcome::CallEnds("NO_SRTP_PROFILE"), "The relay's ServerHello picks two SRTP profiles.";
    MkiAnswered => "mki-answered", Meta, Outcome::CallEnds("NO_SRTP_PROFILE"), "The relay's ServerHello answers with an MKI nobody offered.";
    StartsUnasked => "starts-unasked", Meta, Outcome::CallSucceeds, "The relay's SDP waits for our ClientHello, but the relay starts DTLS itself.";
    DtlsAlert => "dtls-alert", Attacker, Outcome::CallSucceeds, "A forged plaintext alert follows each handshake datagram.";
    MutePeer => "mute-peer", User, Outcome::CallSucceeds, "The user's phone never sends a packet.";
    DtxGaps => "dtx-gaps", User, Outcome::CallSucceeds, "The phone sends nothing for 400 ms of every second; sequence numbers go on unbroken.";
    AnswersActive => "answers-active", Meta, Outcome::CallSucceeds, "Called by the business, the relay answers a=setup:active and starts DTLS itself.";
    AnswersActpass => "answers-actpass", Meta, Outcome::CallSucceeds, "Called by the business, the relay answers the illegal a=setup:actpass and waits.";
    SsrcChange => "ssrc-change", Meta, Outcome::CallSucceeds, "Two seconds after the pick-up the relay's SSRC, sequence and timestamp change.";
    SeqWrap => "seq-wrap", Meta, Outcome::CallSucceeds, "The relay's sequence numbers and timestamps start just below their wrap.";
    DuplicateWebhooks => "duplicate-webhooks", Meta, Outcome::CallSucceeds, "Every webhook is delivered twice.";
    ReorderedWebhooks => "reordered-webhooks", Meta, Outcome::CallSucceeds, "A second copy of connect follows the terminate.";
    TerminateBeforeConnect => "terminate-before-connect", Meta, Outcome::NoCall, "The user hangs up at once: terminate is delivered before connect.";
    StaleConnect => "stale-connect", Meta, Outcome::NoCall, "connect is delivered with a timestamp ten minutes old.";
    DelayedConnect => "delayed-connect", Meta, Outcome::CallSucceeds, "connect is delivered three seconds late.";
    ForgedSignature => "forged-signature", Attacker, Outcome::NoCall, "connect is signed with another secret.";
    MissingSignature => "missing-signature", Attacker, Outcome::NoCall, "connect carries no signature.";
    BatchedWebhook => "batched-webhook", Meta, Outcome::CallSucceeds, "connect stands last in a batch of 100 changes of other fields.";
    UnknownEvent => "unknown-event", Meta, Outcome::CallSucceeds, "An event nobody knows, with members nobody knows, precedes connect.";
    EmptyPhones => "empty-phones", User, Outcome::CallSucceeds, "The user's number is withheld: empty strings and a BSUID.";
    SdpRefused => "sdp-refused", Meta, Outcome::NoCall, "pre_accept and accept are refused with 138008.";
    Unauthorized => "unauthorized", Meta, Outcome::NoCall, "Every call action is refused with 190: the access token expired.";
    AcceptTaken => "accept-taken", Meta, Outcome::NoCall, "accept is refused: another app took the call.";
    Garbage => "garbage", Attacker, Outcome::CallSucceeds, "Random bytes, truncated STUN, spoofed RTP and clear alerts come from the relay's own address.";
    GraphSlow => "graph-slow", Meta, Outcome::CallSucceeds, "Every Graph answer takes 700 ms.";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::str::FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|fault| fault.name()).collect();
            format!("no fault is called `{name}`; choose one of: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_parse_back() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(*fault));
            assert!(fault.text().ends_with('.'));
        }
        assert!("nonsense".parse::<Fault>().unwrap_err().contains("dead-ipv6"));
    }
}
