//! Cuts a description into lines and sections, within bounds.
//!
//! Decides: what a line is. Accepts CRLF, LF and a missing last line end (RFC 8866 section 5). Refuses: meaning (`read.rs`).

use super::error::{SdpError, SdpErrorKind, SdpWarning, SdpWarningKind};

/// One `letter=value` line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// From 1.
    pub number: u32,
    /// The letter before `=`.
    pub letter: u8,
    /// What follows it.
    pub value: &'a str,
}

impl<'a> Line<'a> {
    /// The attribute's value if this is `a=name` or `a=name:value`; the value is empty in the first case.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        if self.letter != b'a' {
            return None;
        }
        match self.value.strip_prefix(name)?.as_bytes().first() {
            None => Some(""),
            Some(b':') => Some(self.value[name.len() + 1..].trim()),
            Some(_) => None,
        }
    }
}

/// The lines before the first `m=`, and one group for each `m=` line with what follows it.
pub(super) struct Layout<'a> {
    pub session: Vec<Line<'a>>,
    pub sections: Vec<Vec<Line<'a>>>,
}

/// Cuts `text`. Broken lines are skipped with a warning; a description that breaks a bound is refused.
//= protocols#A3  64 KiB, 1000 lines, 16 m-lines, 4 KiB a line
pub(super) fn cut<'a>(text: &'a str, warnings: &mut Vec<SdpWarning>) -> Result<Layout<'a>, SdpError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(SdpError::missing(SdpErrorKind::TooLong));
    }
    let mut layout = Layout { session: Vec::new(), sections: Vec::new() };
    let mut is_first = true;
    for (index, raw) in text.split('\n').enumerate() {
        let number = index as u32 + 1;
        if index >= LINES_MAX {
            return Err(SdpError::at(SdpErrorKind::TooManyLines, number));
        }
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        if raw.len() > LINE_BYTES_MAX {
            return Err(SdpError::at(SdpErrorKind::LineTooLong, number));
        }
        if raw.is_empty() {
            continue;
        }
        if is_first {
            if raw.trim_end() != "v=0" {
                return Err(SdpError::at(SdpErrorKind::NotSdp, number));
            }
            is_first = false;
        }
        let bytes = raw.as_bytes();
        // A NUL or another control character never belongs here and has crashed others (CVE-2018-1000099): the line is dropped.
        let is_sound =
            bytes.len() >= 2 && bytes[0].is_ascii_lowercase() && bytes[1] == b'=' && !raw.chars().any(|c| c.is_control() && c != '\t');
        if !is_sound {
            warn(warnings, SdpWarningKind::BrokenLine, number);
            continue;
        }
        let line = Line { number, letter: bytes[0], value: &raw[2..] };
        if line.letter == b'm' {
            if layout.sections.len() == SECTIONS_MAX {
                return Err(SdpError::at(SdpErrorKind::TooManySections, number));
            }
            layout.sections.push(vec![line]);
        } else {
            layout.sections.last_mut().unwrap_or(&mut layout.session).push(line);
        }
    }
    if is_first { Err(SdpError::missing(SdpErrorKind::NotSdp)) } else { Ok(layout) }
}

/// Notes something odd, unless there is enough noted already.
pub(super) fn warn(warnings: &mut Vec<SdpWarning>, kind: SdpWarningKind, line: u32) {
    if warnings.len() < WARNINGS_MAX {
        warnings.push(SdpWarning { kind, line });
    }
}

/// Whether `text` is a token of RFC 8866 section 9, at most 64 bytes: safe to repeat in our own SDP.
pub(super) fn is_token(text: &str) -> bool {
    let is_token_byte = |b: u8| matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'~');
    (1..=64).contains(&text.len()) && text.bytes().all(is_token_byte)
}

const TEXT_BYTES_MAX: usize = 64 * 1_024;
const LINES_MAX: usize = 1_000;
const LINE_BYTES_MAX: usize = 4 * 1_024;
const SECTIONS_MAX: usize = 16;
const WARNINGS_MAX: usize = 64;
