//! Walks a parsed TOML table and collects every fault, with path, line and fix.
//!
//! Decides: what is said about a wrong key or value. Refuses: what the keys mean (`config.rs`).

use super::secret::{Secret, SecretSource, resolve};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Dotted path of the key, as `number[0].access_token`; empty for the file as a whole.
    pub path: String,
    /// Line in the file, counted from 1, when the fault has a place.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}\n    fix: {}", self.what, self.fix)
    }
}

/// Collects faults of one file.
pub(super) struct Reader<'s> {
    text: &'s str,
    pub(super) source: &'s dyn SecretSource,
    pub(super) faults: Vec<Fault>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(text: &'s str, source: &'s dyn SecretSource) -> Self {
        Self { text, source, faults: Vec::new() }
    }

    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.as_bytes()[..span.start.min(self.text.len())].iter().filter(|&&b| b == b'\n').count()
    }

    pub(super) fn fault(&mut self, path: impl Into<String>, span: Option<&Range<usize>>, what: impl Into<String>, fix: impl Into<String>) {
        let line = span.map(|s| self.line(s));
        self.faults.push(Fault { path: path.into(), line, what: what.into(), fix: fix.into() });
    }
}

/// One table of the file while it is read. Every key that may stand there is named once, by reading it; [`Section::finish`] reports the rest.
pub(super) struct Section<'t, 'i> {
    pub(super) path: String,
    pub(super) span: Range<usize>,
    table: Option<&'t DeTable<'i>>,
    known: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    pub(super) fn root(table: &'t Spanned<DeTable<'i>>) -> Self {
        Self { path: String::new(), span: table.span(), table: Some(table.get_ref()), known: Vec::new() }
    }

    /// A section whose keys all have their defaults.
    fn absent(path: String) -> Self {
        Self { path, span: 0..0, table: None, known: Vec::new() }
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table.and_then(|t| t.get(key))
    }

    /// A sub-table; an absent one when it is not there.
    pub(super) fn table(&mut self, r: &mut Reader<'_>, key: &'static str) -> Self {
        let path = self.path_of(key);
        let Some(value) = self.value(key) else { return Self::absent(path) };
        match value.get_ref() {
            DeValue::Table(table) => Self { path, span: value.span(), table: Some(table), known: Vec::new() },
            other => {
                r.fault(&path, Some(&value.span()), format!("is a {}, not a table", other.type_str()), format!("write a section [{path}]"));
                Self::absent(path)
            }
        }
    }

    /// The tables of an array `[[key]]`.
    pub(super) fn tables(&mut self, r: &mut Reader<'_>, key: &'static str) -> Vec<Self> {
        let path = self.path_of(key);
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            r.fault(
                &path,
                Some(&value.span()),
                "is not a list of tables",
                format!("write [[{path}]] with double brackets, once per entry"),
            );
            return Vec::new();
        };
        let mut out = Vec::new();
        for (i, item) in items.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    out.push(Self { path: format!("{path}[{i}]"), span: item.span(), table: Some(table), known: Vec::new() });
                }
                other => r.fault(
                    format!("{path}[{i}]"),
                    Some(&item.span()),
                    format!("is a {}, not a table", other.type_str()),
                    format!("write [[{path}]]"),
                ),
            }
        }
        out
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn is_set(&self, key: &'static str) -> bool {
        self.table.is_some_and(|t| t.get(key).is_some())
    }

    pub(super) fn str(&mut self, r: &mut Reader<'_>, key: &'static str) -> Option<(&'t str, Range<usize>)> {
        let value = self.value(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some((text, value.span())),
            None => {
                r.fault(
                    self.path_of(key),
                    Some(&value.span()),
                    format!("is a {}, not a string", value.get_ref().type_str()),
                    "put it in double quotes",
                );
                None
            }
        }
    }

    pub(super) fn bool(&mut self, r: &mut Reader<'_>, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            r.fault(
                self.path_of(key),
                Some(&value.span()),
                format!("is a {}, not true or false", value.get_ref().type_str()),
                "write true or false without quotes",
            );
            default
        })
    }

    pub(super) fn integer(&mut self, r: &mut Reader<'_>, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.value(key) else { return default };
        read_integer(value).filter(|n| range.contains(n)).unwrap_or_else(|| {
            r.fault(
                self.path_of(key),
                Some(&value.span()),
                format!("is not a whole number from {} to {}", range.start(), range.end()),
                format!("write a number in that range; the default is {default}"),
            );
            default
        })
    }

    pub(super) fn integers(&mut self, r: &mut Reader<'_>, key: &'static str, max: u64) -> Vec<u64> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let numbers = value.get_ref().as_array().and_then(|a| a.iter().map(read_integer).collect::<Option<Vec<_>>>());
        numbers.filter(|a| a.iter().all(|&n| n <= max)).unwrap_or_else(|| {
            r.fault(
                self.path_of(key),
                Some(&value.span()),
                format!("is not a list of numbers from 0 to {max}"),
                "write for example [2, 3]",
            );
            Vec::new()
        })
    }

    pub(super) fn strings(&mut self, r: &mut Reader<'_>, key: &'static str) -> Option<Vec<(&'t str, Range<usize>)>> {
        let value = self.value(key)?;
        let strings = value
            .get_ref()
            .as_array()
            .and_then(|a| a.iter().map(|v| v.get_ref().as_str().map(|s| (s, v.span()))).collect::<Option<Vec<_>>>());
        if strings.is_none() {
            r.fault(self.path_of(key), Some(&value.span()), "is not a list of strings", "write [\"...\", \"...\"]");
        }
        strings
    }

    pub(super) fn socket(&mut self, r: &mut Reader<'_>, key: &'static str, default: SocketAddr) -> SocketAddr {
        let Some((text, span)) = self.str(r, key) else { return default };
        text.parse().unwrap_or_else(|_| {
            r.fault(
                self.path_of(key),
                Some(&span),
                "is not an address and port",
                format!("write for example \"{default}\" or \"[::]:{}\"", default.port()),
            );
            default
        })
    }

    pub(super) fn addresses(&mut self, r: &mut Reader<'_>, key: &'static str) -> Vec<IpAddr> {
        let mut out: Vec<IpAddr> = Vec::new();
        for (i, (text, span)) in self.strings(r, key).unwrap_or_default().into_iter().enumerate() {
            let path = format!("{}[{i}]", self.path_of(key));
            match text.parse::<IpAddr>() {
                Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
                    r.fault(path, Some(&span), "cannot be advertised to a peer", "write the address of one interface");
                }
                Ok(ip) if out.iter().any(|o| o.is_ipv4() == ip.is_ipv4()) => {
                    r.fault(path, Some(&span), "is the second address of its family", "keep at most one IPv4 and one IPv6 address");
                }
                Ok(ip) => out.push(ip),
                Err(_) => r.fault(path, Some(&span), "is not an IP address", "write for example \"203.0.113.7\" (no host names, no port)"),
            }
        }
        out
    }

    pub(super) fn path(&mut self, r: &mut Reader<'_>, key: &'static str) -> Option<PathBuf> {
        let (text, span) = self.str(r, key)?;
        if text.is_empty() || text.contains('\0') {
            r.fault(self.path_of(key), Some(&span), "is not a path", "name a file or directory");
            return None;
        }
        Some(PathBuf::from(text))
    }

    pub(super) fn secret(&mut self, r: &mut Reader<'_>, key: &'static str, why: &str) -> Option<Secret> {
        if self.table.is_some_and(|t| t.get(key).is_none()) {
            self.known.push(key);
            self.missing(r, key, why);
            return None;
        }
        let (text, span) = self.str(r, key)?;
        resolve(text, r.source).map_err(|(what, fix)| r.fault(self.path_of(key), Some(&span), what, fix)).ok()
    }

    /// Reports a key that must be there.
    pub(super) fn missing(&self, r: &mut Reader<'_>, key: &str, why: &str) {
        let span = self.span.clone();
        r.fault(self.path_of(key), self.is_present().then_some(&span), "is missing", why);
    }

    /// Reports what was not asked for, with the nearest key that could be meant.
    pub(super) fn finish(self, r: &mut Reader<'_>) {
        for (key, _) in self.table.into_iter().flat_map(|t| t.iter()) {
            if !self.known.iter().any(|k| *k == key.get_ref().as_ref()) {
                let (what, fix) = unknown_key(key.get_ref(), &self.known);
                r.fault(self.path_of(key.get_ref()), Some(&key.span()), what, fix);
            }
        }
    }
}

/// The closest of `known` to `word`, if one is close enough to be meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (strsim::jaro_winkler(&word.to_ascii_lowercase(), &k.to_ascii_lowercase()), *k))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score >= 0.75)
        .map(|(_, k)| k)
}

fn unknown_key(key: &str, known: &[&str]) -> (String, String) {
    let fix = match nearest(key, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("valid here: {}", known.join(", ")),
    };
    ("unknown key".into(), fix)
}

fn read_integer(value: &Spanned<DeValue<'_>>) -> Option<u64> {
    let integer = value.get_ref().as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
