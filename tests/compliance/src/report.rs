//! What the lists and the anchors say together.
//!
//! Given: requirements and anchors. Decides: what each requirement rests on, the totals, and the faults: unknown names, promises without
//! proof, proof for what is said to be missing. Refuses: line numbers in the page that is kept in the tree; they would change with every commit.

use crate::anchors::Anchor;
use crate::requirements::{Lists, Requirement, Status};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Totals of one document.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Totals {
    requirements: usize,
    /// At least one anchor in product code.
    implemented: usize,
    /// At least one anchor in a test.
    tested: usize,
    refused: usize,
    not_applicable: usize,
    planned: usize,
}

/// Requirements joined with their anchors.
pub struct Report {
    lists: Lists,
    code: BTreeMap<String, Vec<Anchor>>,
    tests: BTreeMap<String, Vec<Anchor>>,
    faults: Vec<String>,
}

impl Report {
    /// Joins them and looks for faults.
    pub fn new(lists: Lists, anchors: Vec<Anchor>) -> Self {
        let mut report = Self { lists, code: BTreeMap::new(), tests: BTreeMap::new(), faults: Vec::new() };
        for anchor in anchors {
            if let Some(fault) = report.fault_of_anchor(&anchor) {
                report.faults.push(format!("{}:{}: {fault}", anchor.path, anchor.line));
            }
            let map = if anchor.is_test { &mut report.tests } else { &mut report.code };
            map.entry(anchor.id.clone()).or_default().push(anchor);
        }
        let promises: Vec<String> =
            report.requirements().filter_map(|r| report.fault_of_promise(r).map(|f| format!("{}: {f}", r.id))).collect();
        report.faults.extend(promises);
        report
    }

    /// What does not hold; empty if all does.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.lists.documents.iter().flat_map(|d| &d.requirements)
    }

    fn fault_of_anchor(&self, anchor: &Anchor) -> Option<String> {
        let document = anchor.id.split('#').next().unwrap_or_default();
        if self.lists.documents.iter().any(|d| d.name == document) {
            if !self.requirements().any(|r| r.id == anchor.id) {
                return Some(format!(
                    "`{}` is no requirement of tests/compliance/{document}.toml: list it there, or correct it",
                    anchor.id
                ));
            }
        } else if !self.lists.unlisted.contains_key(document) {
            return Some(format!("`{document}` is no document of tests/compliance: correct it, or name it in unlisted.toml"));
        }
        match (anchor.is_test, anchor.in_tests) {
            (true, false) => Some("`type=test` outside of test code".to_owned()),
            (false, true) => Some("an anchor in test code must say `type=test`".to_owned()),
            _ => None,
        }
    }

    fn fault_of_promise(&self, requirement: &Requirement) -> Option<&'static str> {
        let (code, tests) = (self.code.contains_key(&requirement.id), self.tests.contains_key(&requirement.id));
        match requirement.status {
            Status::Implement if !code => Some("said to be implemented, and no anchor in the code says where"),
            Status::Implement if !tests => Some("said to be implemented, and no test holds it"),
            Status::NotApplicable if code => Some("said not to apply, and code claims to implement it"),
            _ => None,
        }
    }

    fn totals(&self, requirements: &[Requirement]) -> Totals {
        let count = |f: &dyn Fn(&Requirement) -> bool| requirements.iter().filter(|r| f(r)).count();
        let of = |status: Status| count(&|r| r.status == status);
        Totals {
            requirements: requirements.len(),
            implemented: count(&|r| r.status == Status::Implement && self.code.contains_key(&r.id)),
            tested: count(&|r| r.status == Status::Implement && self.tests.contains_key(&r.id)),
            refused: of(Status::Refuse),
            not_applicable: of(Status::NotApplicable),
            planned: of(Status::Planned),
        }
    }

    fn all_totals(&self) -> Vec<(&str, Totals)> {
        let mut all: Vec<_> = self.lists.documents.iter().map(|d| (d.name.as_str(), self.totals(&d.requirements))).collect();
        let every: Vec<Requirement> = self.requirements().cloned().collect();
        all.push(("all", self.totals(&every)));
        all
    }

    /// The report for a terminal, with lines.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for document in &self.lists.documents {
            let _ = writeln!(out, "{} {}", document.name, document.title);
            for requirement in &document.requirements {
                let _ = writeln!(out, "  {:<15} {:<6} {}", status(requirement), level(requirement), requirement.id);
                let _ = writeln!(out, "      {}", requirement.text);
                if let Some(why) = &requirement.why {
                    let _ = writeln!(out, "      because: {why}");
                }
                for (label, map) in [("code", &self.code), ("test", &self.tests)] {
                    for anchor in map.get(&requirement.id).into_iter().flatten() {
                        let _ = writeln!(out, "      {label}: {}:{} {}", anchor.path, anchor.line, anchor.symbol);
                    }
                }
            }
        }
        let _ = writeln!(
            out,
            "\n{:<8} {:>12} {:>11} {:>6} {:>7} {:>14} {:>7}",
            "", "requirements", "implemented", "tested", "refused", "not applicable", "planned"
        );
        for (name, t) in self.all_totals() {
            let _ = writeln!(
                out,
                "{name:<8} {:>12} {:>11} {:>6} {:>7} {:>14} {:>7}",
                t.requirements, t.implemented, t.tested, t.refused, t.not_applicable, t.planned
            );
        }
        let _ = writeln!(out, "{} anchors in {} documents without a list", self.unlisted().values().sum::<usize>(), self.unlisted().len());
        out
    }

    /// The report for programs.
    pub fn json(&self) -> String {
        let places = |map: &BTreeMap<String, Vec<Anchor>>, id: &str| -> Vec<Value> {
            let anchors = map.get(id).into_iter().flatten();
            anchors.map(|a| json!({ "path": a.path, "line": a.line, "symbol": a.symbol })).collect()
        };
        let documents: Vec<Value> = self
            .lists
            .documents
            .iter()
            .map(|d| {
                let requirements: Vec<Value> = d
                    .requirements
                    .iter()
                    .map(|r| {
                        let mut value = json!(r);
                        value["code"] = json!(places(&self.code, &r.id));
                        value["tests"] = json!(places(&self.tests, &r.id));
                        value
                    })
                    .collect();
                json!({ "name": d.name, "title": d.title, "requirements": requirements })
            })
            .collect();
        let totals: BTreeMap<&str, Value> = self
            .all_totals()
            .into_iter()
            .map(|(name, t)| {
                let value = json!({
                    "requirements": t.requirements, "implemented": t.implemented, "tested": t.tested,
                    "refused": t.refused, "not-applicable": t.not_applicable, "planned": t.planned,
                });
                (name, value)
            })
            .collect();
        let whole = json!({ "documents": documents, "totals": totals, "unlisted": self.unlisted(), "faults": self.faults });
        serde_json::to_string_pretty(&whole).expect("plain data")
    }

    /// The page for the tree: files and names, no lines.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "# Compliance\n\nWhat tipring takes from each document, where it is done and which test holds it. Written by `cargo compliance --markdown`;\n\
             do not edit. The requirements and the reasons are in `tests/compliance/*.toml`, the places are anchors (`//= rfc8445#section-7.3`)\n\
             in the sources. `cargo test` fails when an anchor names nothing, when something implemented has no code or no test, and when this\n\
             page is out of date. `cargo compliance` prints the lines as well.\n\n\
             Implemented means: wholly, in product code, and tested. Planned means: missing or incomplete today; the reason says what.\n\n\
             | document | requirements | implemented | tested | refused | not applicable | planned |\n|---|---|---|---|---|---|---|\n",
        );
        for (name, t) in self.all_totals() {
            let (i, te, r, n, p) = (t.implemented, t.tested, t.refused, t.not_applicable, t.planned);
            let _ = writeln!(out, "| {name} | {} | {i} | {te} | {r} | {n} | {p} |", t.requirements);
        }
        for document in &self.lists.documents {
            let _ = write!(out, "\n## {}: {}\n\n", document.name, document.title);
            out.push_str("| requirement | level | status | code | tests |\n|---|---|---|---|---|\n");
            for requirement in &document.requirements {
                let section = requirement.id.split_once('#').map_or("", |(_, section)| section);
                let why = requirement.why.as_ref().map_or(String::new(), |why| format!(" *{}*", cell(why)));
                let text = format!("**{section}** {}{why}", cell(&requirement.text));
                let (code, tests) = (named(&self.code, &requirement.id), named(&self.tests, &requirement.id));
                let _ = writeln!(out, "| {text} | {} | {} | {code} | {tests} |", level(requirement), status(requirement));
            }
        }
        let _ =
            write!(out, "\n## Other documents\n\nAnchors also name sections of these, whose requirements are not listed one by one.\n\n");
        for name in self.unlisted().keys() {
            let _ = writeln!(out, "- {name}: {}", self.lists.unlisted.get(*name).map_or("unknown", String::as_str));
        }
        out
    }

    /// How many anchors name each document without a list.
    fn unlisted(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for (id, anchors) in self.code.iter().chain(&self.tests) {
            let document = id.split('#').next().unwrap_or_default();
            if self.lists.unlisted.contains_key(document) {
                *counts.entry(document).or_default() += anchors.len();
            }
        }
        counts
    }
}

/// The places of a requirement as a table cell: each file once, with the names in it.
fn named(map: &BTreeMap<String, Vec<Anchor>>, id: &str) -> String {
    let mut by_path: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for anchor in map.get(id).into_iter().flatten() {
        by_path.entry(&anchor.path).or_default().insert(&anchor.symbol);
    }
    let files = by_path.iter().map(|(path, symbols)| {
        let symbols: Vec<String> = symbols.iter().map(|s| format!("`{s}`")).collect();
        format!("{path}: {}", symbols.join(", "))
    });
    files.collect::<Vec<_>>().join("<br>")
}

/// Text that stays inside its table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn level(requirement: &Requirement) -> String {
    format!("{:?}", requirement.level).to_uppercase()
}

fn status(requirement: &Requirement) -> &'static str {
    match requirement.status {
        Status::Implement => "implemented",
        Status::Refuse => "refused",
        Status::NotApplicable => "not applicable",
        Status::Planned => "planned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::{Document, Level};

    fn lists(status: Status) -> Lists {
        let why = Some("w | v".to_owned());
        let requirement = Requirement { id: "rfc1#section-2".to_owned(), level: Level::Must, text: "be good".to_owned(), status, why };
        let document = Document { name: "rfc1".to_owned(), title: "One".to_owned(), requirements: vec![requirement] };
        Lists { documents: vec![document], unlisted: [("rfc9".to_owned(), "Nine".to_owned())].into() }
    }

    fn anchor(id: &str, is_test: bool, in_tests: bool) -> Anchor {
        Anchor { id: id.to_owned(), is_test, path: "engine/src/a.rs".to_owned(), line: 7, symbol: "f".to_owned(), in_tests }
    }

    #[test]
    fn each_fault_is_told() {
        let (code, test) = (anchor("rfc1#section-2", false, false), anchor("rfc1#section-2", true, true));
        let faults =
            |status, anchors: &[&Anchor]| Report::new(lists(status), anchors.iter().map(|a| (*a).clone()).collect()).faults().join("\n");
        assert_eq!(faults(Status::Implement, &[&code, &test]), "");
        assert_eq!(faults(Status::Planned, &[]), "");
        assert_eq!(faults(Status::Refuse, &[&test]), "");
        assert!(faults(Status::Implement, &[&test]).contains("no anchor in the code"));
        assert!(faults(Status::Implement, &[&code]).contains("no test holds it"));
        assert!(faults(Status::NotApplicable, &[&code]).contains("not to apply"));
        assert!(faults(Status::Planned, &[&anchor("rfc1#section-3", false, false)]).contains("engine/src/a.rs:7: `rfc1#section-3` is no"));
        assert!(faults(Status::Planned, &[&anchor("rfc2#section-2", false, false)]).contains("`rfc2` is no document"));
        assert_eq!(faults(Status::Planned, &[&anchor("rfc9#anything", false, false)]), "");
        assert!(faults(Status::Planned, &[&anchor("rfc9#anything", true, false)]).contains("outside of test code"));
        assert!(faults(Status::Planned, &[&anchor("rfc9#anything", false, true)]).contains("must say `type=test`"));
    }

    #[test]
    fn totals_and_places_are_those_of_the_anchors() {
        let anchors = vec![anchor("rfc1#section-2", false, false), anchor("rfc1#section-2", true, true), anchor("rfc9#x", false, false)];
        let report = Report::new(lists(Status::Implement), anchors);
        let page = report.markdown();
        assert!(page.contains("| rfc1 | 1 | 1 | 1 | 0 | 0 | 0 |") && page.contains("| all | 1 | 1 | 1 | 0 | 0 | 0 |"), "{page}");
        let row = "| **section-2** be good *w \\| v* | MUST | implemented | engine/src/a.rs: `f` | engine/src/a.rs: `f` |";
        assert!(page.contains(row) && page.contains("- rfc9: Nine"), "{page}");
        assert!(!page.contains(":7"), "no line numbers in the page");
        assert!(report.text().contains("code: engine/src/a.rs:7 f"));
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["documents"][0]["requirements"][0]["tests"][0]["line"], 7);
        assert_eq!(json["totals"]["all"]["implemented"], 1);
        assert_eq!(json["unlisted"]["rfc9"], 1);
    }
}
