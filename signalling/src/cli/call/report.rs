//! What came of a call of `tipring call`: for people, for programs, and as an exit code.

use crate::session::Ending;
use crate::shell::DaemonEvent;
use crate::verdict::Verdict;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// How it is told.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) json: bool,
}

impl Style {
    /// A step, on standard error: standard output is for the result.
    pub(super) fn say(self, step: &str) {
        eprintln!("{step}");
    }
}

/// What came of the call.
#[derive(Default)]
pub(super) struct Outcome {
    ending: Option<Ending>,
    rtp_in: u64,
    rtp_out: u64,
    digits: String,
    files: Vec<PathBuf>,
    troubles: Vec<String>,
}

impl Outcome {
    /// It was never made.
    pub(super) fn refused(verdict: Verdict) -> Self {
        Self { ending: Some(Ending { verdict, answered: false, duration_s: None, confirmed: false }), ..Self::default() }
    }

    /// Takes what a step adds.
    pub(super) fn note(&mut self, event: &DaemonEvent) {
        use tipring_engine::call::CallEvent;
        match event {
            DaemonEvent::Media { event: CallEvent::Ended(ended), .. } => {
                (self.rtp_in, self.rtp_out) = (ended.stats.rtp_in, ended.stats.rtp_out);
            }
            DaemonEvent::Media { event: CallEvent::Digit(digit), .. } => self.digits.push(digit.symbol),
            DaemonEvent::RecordingFinished { files, .. } => self.files.extend(files.iter().cloned()),
            DaemonEvent::RecordingFailed { why, .. } => self.troubles.push(format!("the recording failed: {why}")),
            _ => {}
        }
    }

    /// It is over.
    pub(super) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    /// Gives the recording its name and takes the scratch directory away.
    pub(super) fn keep(&mut self, file: &Path, scratch: &Path) {
        let wanted = |path: &&PathBuf| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.ends_with("-caller.opus") || name.ends_with(".wav")
        };
        let found = self.files.iter().find(wanted).cloned();
        self.files = match found {
            Some(path) => match std::fs::rename(&path, file) {
                Ok(()) => vec![file.to_owned()],
                Err(e) => {
                    self.troubles.push(format!("{} cannot be written: {e}", file.display()));
                    Vec::new()
                }
            },
            None => {
                self.troubles.push("nothing was recorded: no media came".into());
                Vec::new()
            }
        };
        // Our own direction is not asked for; what cannot be removed is named like no recording of a user's.
        let _ = std::fs::remove_dir_all(scratch);
    }

    pub(super) fn exit_code(&self) -> u8 {
        self.ending.as_ref().map_or(1, |ending| ending.verdict.exit_code(ending.answered))
    }

    /// The whole result.
    pub(super) fn told(&self, style: Style) -> String {
        let Some(ending) = &self.ending else { return String::new() };
        if style.json { format!("{}\n", self.to_json(ending)) } else { self.to_text(ending) }
    }

    fn to_json(&self, ending: &Ending) -> Value {
        let verdict = &ending.verdict;
        let evidence: Map<String, Value> = verdict.evidence.iter().map(|(k, v)| ((*k).to_owned(), v.as_str().into())).collect();
        let info = verdict.info();
        json!({
            "answered": ending.answered,
            "billed_s": ending.duration_s,
            "confirmed_by_meta": ending.confirmed,
            "verdict": {
                "code": verdict.code, "text": verdict.sentence, "advice": verdict.advice, "evidence": evidence,
                "cause": info.map(|i| i.cause.name()), "retry": info.map(|i| i.retry.name()),
                "retry_after_s": info.and_then(|i| (i.retry_after_s > 0).then_some(i.retry_after_s)),
            },
            "rtp_in": self.rtp_in, "rtp_out": self.rtp_out, "digits_in": self.digits.len(),
            "files": self.files, "troubles": self.troubles, "exit_code": self.exit_code(),
        })
    }

    fn to_text(&self, ending: &Ending) -> String {
        let mut out = format!("{}\n", ending.verdict);
        if let Some((_, details)) = ending.verdict.evidence.iter().find(|(name, _)| *name == "details") {
            out.push_str(&format!("Meta says: {details}\n"));
        }
        if let Some(info) = ending.verdict.info() {
            out.push_str(&format!("try again: {}\n", retry_text(info)));
        }
        if ending.answered {
            let seconds = ending.duration_s.map_or_else(|| "an unknown time".to_owned(), |s| format!("{s} s"));
            out.push_str(&format!("answered, {seconds} by Meta's count; {} packets heard, {} sent\n", self.rtp_in, self.rtp_out));
        }
        for file in &self.files {
            out.push_str(&format!("recorded: {}\n", file.display()));
        }
        for trouble in &self.troubles {
            out.push_str(&format!("{trouble}\n"));
        }
        out
    }
}

fn retry_text(info: &crate::graph::code::CodeInfo) -> String {
    use crate::graph::code::Retry;
    match info.retry {
        Retry::Never => "no, it would fail again".into(),
        Retry::AfterFix => "once that is done".into(),
        Retry::Once => format!("once, after {} s", info.retry_after_s),
        Retry::BackOff => format!("after {} s, then with growing pauses", info.retry_after_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphError, code};

    /// What a user of the command sees of each number: message, retry advice, exit code.
    #[test]
    fn every_number_of_meta_has_its_message_its_advice_and_its_exit_code() {
        for row in code::TABLE {
            let error = GraphError { http_status: 400, code: row.code, details: Some("the details".into()), ..GraphError::default() };
            let outcome = Outcome::refused(Verdict::of_graph("connect", &error));
            let text = outcome.told(Style { json: false });
            assert!(text.starts_with(&format!("META_{}: {}; {}\n", row.code, row.meaning, row.advice)), "{text}");
            assert!(text.contains("Meta says: the details\n") && text.contains("try again: "), "{text}");
            assert!(row.retry_after_s == 0 || text.contains(&format!("{} s", row.retry_after_s)), "{text}");
            let told: Value = serde_json::from_str(&outcome.told(Style { json: true })).expect("JSON");
            assert_eq!(told["verdict"]["retry"], row.retry.name());
            assert_eq!(told["verdict"]["cause"], row.cause.name());
            assert_eq!((outcome.exit_code(), told["exit_code"].as_u64()), (row.cause.exit_code(), Some(u64::from(row.cause.exit_code()))));
        }
    }

    #[test]
    fn endings_without_a_number_have_exit_codes_of_their_own() {
        let of = |code: &'static str, answered: bool| Verdict::fixed(code, "", "").exit_code(answered);
        let expected = [
            ("HANG_UP", true, 0),
            ("NOT_ANSWERED", false, 10),
            ("USER_DECLINED", false, 11),
            ("CANCELLED", false, 12),
            ("GRAPH_NO_REPLY", false, 13),
            ("GRAPH_UNAUTHORISED", false, 24),
            ("GRAPH_RATE_LIMIT", false, 22),
            ("GRAPH_SERVER_ERROR", false, 25),
            ("ICE_TIMEOUT", false, 1),
            ("DTLS_TIMEOUT", true, 1),
            ("META_999999", false, 1),
        ];
        for (code, answered, exit) in expected {
            assert_eq!(of(code, answered), exit, "{code}");
        }
    }
}
