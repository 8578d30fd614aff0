//! `[outbound]`: how calls that we make are let ring, and what counts as their pick-up.

use super::reader::{Reader, Section};
use crate::session::AnswerSignal;
use std::time::Duration;

/// `[outbound]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboundConfig {
    /// How long a call that we make may ring.
    pub ring_max: Duration,
    /// What its pick-up is.
    pub answer_signal: AnswerSignal,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self { ring_max: Duration::from_secs(60), answer_signal: AnswerSignal::Either }
    }
}

pub(super) fn read(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> OutboundConfig {
    let default = OutboundConfig::default();
    let mut s = root.table(r, "outbound");
    // Meta documents no ring time of its own; a phone that rings for minutes harms the number's pick-up rate.
    let ring_s = s.integer(r, "ring_s", 5..=300, default.ring_max.as_secs());
    let answer_signal = match s.str(r, "answer_signal") {
        None | Some(("either", _)) => AnswerSignal::Either,
        Some(("accepted", _)) => AnswerSignal::Accepted,
        Some((_, span)) => {
            r.fault("outbound.answer_signal", Some(&span), "is neither \"either\" nor \"accepted\"", "write one of the two");
            default.answer_signal
        }
    };
    s.finish(r);
    OutboundConfig { ring_max: Duration::from_secs(ring_s), answer_signal }
}
