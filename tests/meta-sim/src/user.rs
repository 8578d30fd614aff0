//! The person with the phone: what they say, type, and when they hang up.
//!
//! Given: spans after the pick-up. Decides: what is due. Refuses: codecs and packets (`media.rs`).

use std::sync::Arc;
use tipring_engine::time::Span;

/// Something said.
#[derive(Clone, Debug)]
pub struct Speech {
    /// When it starts, after the pick-up.
    pub after: Span,
    /// Mono, 16 kHz.
    pub pcm: Arc<[i16]>,
}

/// Something typed: each digit 100 ms long, 100 ms apart.
#[derive(Clone, Debug)]
pub struct Typing {
    /// When the first digit starts, after the pick-up.
    pub after: Span,
    /// Of `0123456789*#ABCD`; others are skipped.
    pub digits: String,
}

/// How the user's words become packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Voice {
    /// Encoded from the script's speech, and what comes back is decoded for the ear.
    Spoken,
    /// Numbered packets that no codec ever sees: what comes back of them is counted, not heard. Calls with different tags must never hear each other.
    Numbered {
        /// Whose packets they are.
        tag: u32,
    },
}

/// What the user does in one call.
#[derive(Clone, Debug)]
pub struct UserScript {
    /// Who calls: digits, country code first. Empty for a user without a visible number.
    pub number: String,
    /// Profile name.
    pub name: String,
    /// How it is said.
    pub voice: Voice,
    /// What is said.
    pub speech: Vec<Speech>,
    /// What is typed.
    pub typing: Vec<Typing>,
    /// When the user hangs up, after the pick-up; none: the business has to.
    pub hang_up_after: Option<Span>,
    /// How long the user (calling) or Meta (called) waits for the pick-up.
    pub patience: Span,
    /// Called by the business: when the phone is picked up, after ringing; none: rejected.
    pub pick_up_after: Option<Span>,
}

impl Default for UserScript {
    fn default() -> Self {
        Self {
            number: "15550100123".to_owned(),
            name: "Ada".to_owned(),
            voice: Voice::Spoken,
            speech: Vec::new(),
            typing: Vec::new(),
            hang_up_after: Some(Span::from_secs(5)),
            patience: Span::from_secs(30),
            pick_up_after: Some(Span::from_millis(1_500)),
        }
    }
}

impl UserScript {
    /// The 20 ms frame of speech at `at` after the pick-up; silence where nothing is said, the later speech where two overlap.
    pub fn frame(&self, at: Span) -> [i16; 320] {
        let mut out = [0; 320];
        for speech in &self.speech {
            let from = speech.after.as_micros() as i64 * 16 / 1_000;
            let start = at.as_micros() as i64 * 16 / 1_000 - from;
            for (offset, sample) in out.iter_mut().enumerate() {
                let index = start + offset as i64;
                if index >= 0 && (index as usize) < speech.pcm.len() {
                    *sample = speech.pcm[index as usize];
                }
            }
        }
        out
    }

    /// Every digit with its start, after the pick-up, in order.
    pub fn digits(&self) -> Vec<(Span, u8, char)> {
        let mut out: Vec<_> = self
            .typing
            .iter()
            .flat_map(|typing| {
                let known = typing.digits.chars().filter_map(|c| event_code(c).map(|code| (code, c)));
                known.enumerate().map(|(n, (code, c))| (typing.after + Span::from_millis(200).times(n as u64), code, c))
            })
            .collect();
        out.sort_by_key(|(at, _, _)| *at);
        out
    }
}

/// The event code of a digit (RFC 4733 section 3.2).
pub fn event_code(digit: char) -> Option<u8> {
    Some(match digit {
        '0'..='9' => digit as u8 - b'0',
        '*' => 10,
        '#' => 11,
        'A'..='D' => digit as u8 - b'A' + 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_lies_where_the_script_puts_it() {
        let script =
            UserScript { speech: vec![Speech { after: Span::from_millis(30), pcm: (1..=400).collect() }], ..UserScript::default() };
        assert_eq!(script.frame(Span::ZERO), [0; 320]);
        let second = script.frame(Span::from_millis(20));
        assert_eq!((second[159], second[160], second[319]), (0, 1, 160));
        let third = script.frame(Span::from_millis(40));
        assert_eq!((third[0], third[239], third[240]), (161, 400, 0));
    }

    #[test]
    fn digits_are_spread_and_unknown_ones_skipped() {
        let typing = vec![Typing { after: Span::from_secs(1), digits: "1x#".to_owned() }];
        let digits = UserScript { typing, ..UserScript::default() }.digits();
        assert_eq!(digits, [(Span::from_secs(1), 1, '1'), (Span::from_millis(1_200), 11, '#')]);
    }
}
