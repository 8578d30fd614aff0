//! What a demo call can go through, and what must come of it.
//!
//! Decides: the caller's script and the expectation of each scenario. Given: the simulator's faults. Refuses: the misbehaviour itself (`tipring-meta-sim`).

use std::fmt;
use std::sync::Arc;
use tipring_engine::time::Span;
use tipring_meta_sim::business::Misdeed;
use tipring_meta_sim::faults::{Blame, Fault, Outcome};
use tipring_meta_sim::user::{Speech, Typing, UserScript};

/// One way to go wrong, by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// The peer, the network, the user or an attacker misbehaves; the daemon has to cope.
    Theirs(Fault),
    /// A business misbehaves; the oracle has to say so. Our daemon does none of it, so the simulator's own business plays us.
    Ours(Misdeed),
}

/// What must come of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// The call is carried, and the oracle has no complaint.
    Works,
    /// The call fails, and this code names the cause: an end reason, a verdict, or a refused delivery.
    Fails(&'static str),
    /// The oracle finds this rule broken.
    Breaks(&'static str),
}

impl Scenario {
    /// Every scenario, in the order of the list.
    pub fn all() -> impl Iterator<Item = Self> {
        Fault::ALL.iter().map(|fault| Self::Theirs(*fault)).chain(Misdeed::ALL.iter().map(|misdeed| Self::Ours(*misdeed)))
    }

    /// By the name typed after `--misbehave`. The error names the nearest one.
    pub fn find(name: &str) -> Result<Self, String> {
        Self::all().find(|s| s.name() == name).ok_or_else(|| {
            let nearest = Self::all().map(|s| (strsim::damerau_levenshtein(s.name(), name), s.name())).min();
            let hint = nearest.filter(|(distance, _)| *distance <= 4).map_or(String::new(), |(_, near)| format!(" Did you mean `{near}`?"));
            format!("no fault is called `{name}`.{hint} `tipring demo --misbehave list` names them all")
        })
    }

    /// The fault that the simulator plays, unless it is ours.
    pub(super) fn fault(self) -> Option<Fault> {
        if let Self::Theirs(fault) = self { Some(fault) } else { None }
    }

    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Theirs(fault) => fault.name(),
            Self::Ours(misdeed) => misdeed.name(),
        }
    }

    /// What happens, one sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Theirs(fault) => fault.text(),
            Self::Ours(misdeed) => misdeed.text(),
        }
    }

    /// Whose fault it is, in one word.
    pub fn blame(self) -> &'static str {
        match self {
            Self::Ours(_) => "us",
            Self::Theirs(fault) => match fault.blame() {
                Blame::Meta => "Meta",
                Blame::Network => "network",
                Blame::Attacker => "attacker",
                Blame::User => "user",
            },
        }
    }

    /// What must come of it.
    pub fn expectation(self) -> Expectation {
        let fault = match self {
            Self::Theirs(fault) => fault,
            Self::Ours(misdeed) => return Expectation::Breaks(misdeed.rule()),
        };
        match (fault.outcome(), fault) {
            (Outcome::CallSucceeds, _) => Expectation::Works,
            (Outcome::CallEnds(_), Fault::DtlsNeverCompletes) => Expectation::Fails("DTLS_SILENT"),
            (Outcome::CallEnds(code), _) => Expectation::Fails(code),
            (Outcome::NoCall, Fault::Sha1OnlyFingerprint) => Expectation::Fails("SDP_NO_FINGERPRINT"),
            (Outcome::NoCall, Fault::TerminateBeforeConnect) => Expectation::Fails("TERMINATED_FIRST"),
            (Outcome::NoCall, Fault::StaleConnect) => Expectation::Fails("WEBHOOK_STALE"),
            (Outcome::NoCall, Fault::ForgedSignature) => Expectation::Fails("SIGNATURE_WRONG"),
            (Outcome::NoCall, Fault::MissingSignature) => Expectation::Fails("SIGNATURE_MISSING"),
            (Outcome::NoCall, Fault::SdpRefused) => Expectation::Fails("META_138008"),
            (Outcome::NoCall, Fault::Unauthorized) => Expectation::Fails("META_190"),
            (Outcome::NoCall, Fault::AcceptTaken) => Expectation::Fails("TAKEN_ELSEWHERE"),
            (Outcome::NoCall, _) => Expectation::Fails("NO_CALL"),
        }
    }

    /// Whether the business calls the user instead of being called.
    pub(super) fn is_outbound(self) -> bool {
        matches!(self, Self::Theirs(Fault::AnswersActive | Fault::AnswersActpass))
    }

    /// About how long it takes at most.
    pub(super) fn seconds_max(self) -> u64 {
        let script = self.script(&Arc::from([]));
        script.hang_up_after.unwrap_or(script.patience).as_millis() / 1_000
    }

    /// Short: the greeting is heard whole, then the user hangs up; or leaves when nothing comes of the call.
    pub(super) fn script(self, voice: &Arc<[i16]>) -> UserScript {
        let speech = vec![Speech { after: Span::from_millis(300), pcm: Arc::clone(voice) }];
        let (hang_up_after, patience) = match self {
            // The engine has to notice by itself: RFC 7675 gives it 30 s.
            Self::Theirs(Fault::ConsentLost) => (Span::from_secs(45), Span::from_secs(45)),
            Self::Theirs(fault) => match fault.outcome() {
                Outcome::CallEnds(_) => (Span::from_secs(20), Span::from_secs(20)),
                Outcome::NoCall => (Span::from_secs(5), Span::from_secs(3)),
                Outcome::CallSucceeds => (Span::from_millis(5_400), Span::from_secs(20)),
            },
            // Missing reports and consent need some seconds to be missed.
            Self::Ours(Misdeed::NoReports | Misdeed::NoConsent) => (Span::from_secs(9), Span::from_secs(5)),
            Self::Ours(_) => (Span::from_millis(3_500), Span::from_secs(5)),
        };
        UserScript { speech, hang_up_after: Some(hang_up_after), patience, ..UserScript::default() }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("a working call"),
            Self::Fails(code) => f.write_str(code),
            Self::Breaks(rule) => write!(f, "the oracle fails {rule}"),
        }
    }
}

/// The call without any misbehaviour: listen to the greeting, speak, hear oneself, type, hang up.
pub(super) fn clean_script(greeting_ms: u64, voice: &Arc<[i16]>) -> UserScript {
    let speaks = Span::from_millis(greeting_ms + 300);
    let types = speaks + Span::from_millis(voice.len() as u64 / 16 + 500);
    let hangs_up = types + Span::from_millis(200 * CLEAN_DIGITS.len() as u64 + 600);
    UserScript {
        speech: vec![Speech { after: speaks, pcm: Arc::clone(voice) }],
        typing: vec![Typing { after: types, digits: CLEAN_DIGITS.to_owned() }],
        hang_up_after: Some(hangs_up),
        ..UserScript::default()
    }
}

/// What the user of the clean call types.
pub(super) const CLEAN_DIGITS: &str = "742#";
