//! The lists of requirements.
//!
//! Given: `tests/compliance/*.toml`. Decides: what a well-formed list is. Refuses: a list that says less than it must, with the file, the
//! requirement and what is missing.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The documents whose requirements are listed, in the order of the report.
const DOCUMENTS: &[&str] = &["rfc8445", "rfc7675", "rfc5764", "rfc3711", "rfc4733", "rfc7587", "meta", "rules"];

/// How binding a requirement is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Interoperation or safety hangs on it.
    Must,
    /// To be done unless there is a reason.
    Should,
    /// Allowed.
    May,
    /// Our own choice where the document leaves room, or a fact it only informs of.
    Policy,
}

/// What we do about a requirement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Done and tested: anchors of both kinds must exist.
    Implement,
    /// Deliberately not done, or done otherwise.
    Refuse,
    /// The situation cannot arise here.
    NotApplicable,
    /// Wanted, and missing or incomplete today.
    Planned,
}

/// One requirement.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// `document#section`, with `:name` behind it where one section asks for several things.
    pub id: String,
    pub level: Level,
    /// What is asked for, in our own words.
    pub text: String,
    pub status: Status,
    /// The reason when it is not simply implemented; also what an implemented one leaves out.
    pub why: Option<String>,
}

/// A document and what it asks of us.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    #[serde(skip)]
    pub name: String,
    pub title: String,
    #[serde(rename = "requirement")]
    pub requirements: Vec<Requirement>,
}

/// Everything that anchors may name.
#[derive(Clone, Debug)]
pub struct Lists {
    pub documents: Vec<Document>,
    /// Documents that anchors may name although their requirements are not listed, with their titles.
    pub unlisted: BTreeMap<String, String>,
}

/// Reads the lists of the tree at `root`.
pub fn load(root: &Path) -> Result<Lists, String> {
    let folder = root.join("tests/compliance");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|e| format!("tests/compliance/{name}: {e}"));
    let mut documents = Vec::new();
    for name in DOCUMENTS {
        documents.push(parse(name, &read(&format!("{name}.toml"))?)?);
    }
    let unlisted = toml::from_str(&read("unlisted.toml")?).map_err(|e| format!("tests/compliance/unlisted.toml: {e}"))?;
    Ok(Lists { documents, unlisted })
}

fn parse(name: &str, text: &str) -> Result<Document, String> {
    let mut document: Document = toml::from_str(text).map_err(|e| format!("tests/compliance/{name}.toml: {e}"))?;
    document.name = name.to_owned();
    let mut seen = BTreeSet::new();
    for requirement in &document.requirements {
        let fault = |what: &str| Err(format!("tests/compliance/{name}.toml: {}: {what}", requirement.id));
        if requirement.id.split_once('#').is_none_or(|(document, section)| document != name || section.is_empty()) {
            return fault("the id must be the name of the file, `#` and a section");
        }
        if !seen.insert(&requirement.id) {
            return fault("listed twice");
        }
        if requirement.text.trim().is_empty() {
            return fault("`text` is empty: say in one sentence what is asked for");
        }
        let has_reason = requirement.why.as_ref().is_some_and(|why| !why.trim().is_empty());
        if requirement.status != Status::Implement && !has_reason {
            return fault("`why` is missing: whatever is not implemented needs its reason");
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(id: &str, rest: &str) -> Result<Document, String> {
        parse("rfc1", &format!("title = 't'\n[[requirement]]\nid = '{id}'\nlevel = 'MUST'\ntext = 'x'\n{rest}"))
    }

    #[test]
    fn a_list_that_says_too_little_is_refused() {
        assert_eq!(list("rfc1#section-1", "status = 'implement'").expect("good").requirements.len(), 1);
        let told = |id: &str, rest: &str, word: &str| {
            let message = list(id, rest).expect_err(word);
            assert!(message.contains(word), "{message}");
        };
        told("rfc2#section-1", "status = 'implement'", "the name of the file");
        told("rfc1", "status = 'implement'", "the name of the file");
        told("rfc1#section-1", "status = 'refuse'", "`why` is missing");
        told("rfc1#section-1", "status = 'planned'\nwhy = ' '", "`why` is missing");
        told("rfc1#section-1", "status = 'perhaps'", "perhaps");
        told("rfc1#section-1", "status = 'implement'\nwhen = 'soon'", "when");
        let twice = "status = 'implement'\n[[requirement]]\nid = 'rfc1#section-1'\nlevel = 'MAY'\ntext = 'y'\nstatus = 'implement'";
        told("rfc1#section-1", twice, "listed twice");
    }
}
