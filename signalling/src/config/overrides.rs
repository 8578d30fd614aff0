//! `TIPRING__SECTION__KEY`: single keys of the configuration from the environment.
//!
//! Decides: which key a variable names, and that a value is TOML if it reads as such, else a string. Given: the parsed file. Refuses: to override a table, and to
//! hide a mistake: a variable that names no key is a fault like an unknown key in the file.

use super::reader::Fault;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Start of every such variable.
const PREFIX: &str = "TIPRING__";

/// The overrides of this process, by name.
pub fn from_environment() -> Vec<(String, String)> {
    let mut found: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    found.sort();
    found
}

/// Puts the overrides into the table of a file. An entry of a list of tables is named by its place: `TIPRING__NUMBER__0__ANSWER`.
pub(super) fn apply<'i>(table: &mut Spanned<DeTable<'i>>, overrides: &'i [(String, String)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, text) in overrides {
        let path: Vec<String> = name.trim_start_matches(PREFIX).split("__").map(str::to_ascii_lowercase).collect();
        if let Err(what) = set(table.get_mut(), &path, value(text)) {
            faults.push(Fault {
                path: name.clone(),
                line: None,
                what,
                fix: "name a key of docs/CONFIG.md as TIPRING__SECTION__KEY, or unset the variable".into(),
            });
        }
    }
    faults
}

/// The text as a TOML value; what is none is a string.
fn value(text: &str) -> Spanned<DeValue<'_>> {
    match DeValue::parse(text) {
        Ok(parsed) if !parsed.get_ref().is_table() && !parsed.get_ref().is_datetime() => Spanned::new(0..0, parsed.into_inner()),
        _ => Spanned::new(0..0, DeValue::String(text.into())),
    }
}

fn set<'i>(table: &mut DeTable<'i>, path: &[String], value: Spanned<DeValue<'i>>) -> Result<(), String> {
    let (first, rest) = path.split_first().ok_or("names no key")?;
    if first.is_empty() {
        return Err("names no key".into());
    }
    if rest.is_empty() {
        if table.get(first.as_str()).is_some_and(|old| old.get_ref().is_table()) {
            return Err("names a section, not a key".into());
        }
        table.insert(Spanned::new(0..0, first.clone().into()), value);
        return Ok(());
    }
    if table.get(first.as_str()).is_none() {
        table.insert(Spanned::new(0..0, first.clone().into()), Spanned::new(0..0, DeValue::Table(DeTable::new())));
    }
    let Some(inner) = table.get_mut(first.as_str()) else { return Err("names no key".into()) };
    match inner.get_mut() {
        DeValue::Table(inner) => set(inner, rest, value),
        DeValue::Array(entries) => {
            let (place, rest) = rest.split_first().ok_or("names a list: say which entry")?;
            let entry =
                place.parse::<usize>().ok().and_then(|at| entry(entries, at)).ok_or("names an entry that the file does not have")?;
            set(entry, rest, value)
        }
        _ => Err("goes below a key that is no section".into()),
    }
}

fn entry<'t, 'i>(entries: &'t mut DeArray<'i>, at: usize) -> Option<&'t mut DeTable<'i>> {
    match entries.get_mut(at)?.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}
