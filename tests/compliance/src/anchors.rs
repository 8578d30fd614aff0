//! Anchors in the sources: comments of the form `//= document#section  text`, with `type=test` for a test.
//!
//! Given: the Rust files of the tree. Decides: where each anchor stands, what item it belongs to, and whether it may stand there.
//! Refuses: anchors in string literals and in the middle of lines; only a line that is nothing but the anchor counts.

use std::fs;
use std::path::Path;

/// One anchor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// The requirement it names, as in the lists.
    pub id: String,
    pub is_test: bool,
    /// File, from the root of the tree.
    pub path: String,
    /// Line of the anchor, from 1.
    pub line: usize,
    /// The function, type or constant it belongs to.
    pub symbol: String,
    /// It stands in test code: in a file of tests or behind a `#[cfg(test)]`.
    pub in_tests: bool,
}

/// All anchors of the tree at `root`, by path and line.
pub fn scan(root: &Path) -> Result<Vec<Anchor>, String> {
    let mut found = Vec::new();
    for folder in ["engine", "signalling", "tests", "benches", "fuzz"] {
        let path = root.join(folder);
        if path.is_dir() {
            walk(&path, folder, &mut found)?;
        }
    }
    Ok(found)
}

fn walk(folder: &Path, name: &str, found: &mut Vec<Anchor>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{name}: {e}"))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(|e| format!("{name}: {e}"))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let file = entry.file_name();
        let file = file.to_string_lossy();
        let (path, name) = (entry.path(), format!("{name}/{file}"));
        if path.is_dir() {
            if file != "target" {
                walk(&path, &name, found)?;
            }
        } else if file.ends_with(".rs") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
            found.extend(read(&name, &text));
        }
    }
    Ok(())
}

/// The anchors of one file.
fn read(path: &str, text: &str) -> Vec<Anchor> {
    let lines: Vec<&str> = text.lines().collect();
    let is_test_file = path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
    // A single helper or `mod tests;` may be gated anywhere; a module with its body has nothing but tests behind it.
    let is_test_module = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
    let tests_from = lines.windows(2).position(is_test_module).unwrap_or(lines.len());
    let mut anchors: Vec<Anchor> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some(body) = line.trim_start().strip_prefix("//=") else { continue };
        let is_test = body.split_whitespace().any(|word| word == "type=test");
        match body.split_whitespace().next().filter(|word| word.contains('#')) {
            Some(id) => {
                let in_tests = is_test_file || i > tests_from;
                let (id, path) = (id.to_owned(), path.to_owned());
                anchors.push(Anchor { id, is_test, path, line: i + 1, symbol: symbol(&lines, i), in_tests });
            }
            // A line of its own under the anchor it speaks of.
            None => {
                if let Some(anchor) = anchors.last_mut().filter(|a| is_test && a.line == i) {
                    anchor.is_test = true;
                }
            }
        }
    }
    anchors
}

/// The item that the anchor in line `at` stands right above or, failing that, inside of.
fn symbol(lines: &[&str], at: usize) -> String {
    let depth = indent(lines[at]);
    let mut below = lines[at + 1..].iter().filter(|line| {
        let line = line.trim_start();
        !(line.is_empty() || line.starts_with("//") || line.starts_with("#["))
    });
    if let Some(name) = below.next().and_then(|line| item(line)) {
        return name;
    }
    let above = lines[..at].iter().rev().filter(|line| !line.trim().is_empty() && indent(line) < depth);
    above.filter_map(|line| item(line)).next().unwrap_or_else(|| "(file)".to_owned())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The name of the item that this line declares.
fn item(line: &str) -> Option<String> {
    let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    let keyword = words.find(|word| !["pub", "crate", "super", "self", "in", "async", "unsafe", "extern", "default"].contains(word))?;
    let next = words.next()?;
    match keyword {
        // `const fn name`, and `const _` which is an assertion.
        "const" if next == "fn" => words.next().map(str::to_owned),
        "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "mod" | "macro_rules" => Some(next.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The anchors of `text`, in which `@` stands for the mark, so that this file holds no anchors of its own.
    fn found(path: &str, text: &str) -> Vec<(String, bool, usize, String, bool)> {
        let text = text.replace('@', "//=");
        read(path, &text).into_iter().map(|a| (a.id, a.is_test, a.line, a.symbol, a.in_tests)).collect()
    }

    #[test]
    fn anchors_are_found_with_their_item() {
        let text = "@ a#1  above an item\n#[inline]\npub(super) const fn one() {\n    let x = 1;\n    @ a#2  inside\n    x\n}\n#[cfg(test)]\nfn helper() {}\n@ a#4\nfn three() {}\n\
                    #[cfg(test)]\nmod tests {\n    @ a#3 type=test\n    #[test]\n    fn two() {}\n}\n";
        let code = [("a#1", false, 1, "one", false), ("a#2", false, 5, "one", false), ("a#4", false, 10, "three", false)];
        let expected = [code[0], code[1], code[2], ("a#3", true, 14, "two", true)];
        assert_eq!(found("engine/src/x.rs", text), expected.map(|(id, t, l, s, i)| (id.to_owned(), t, l, s.to_owned(), i)));
    }

    #[test]
    fn a_second_line_can_say_that_it_is_a_test() {
        let text = "@ a#1  long\n@ type=test\nfn t() {}\nlet s = \"@ a#2\";\n@ type=test\n";
        assert_eq!(found("engine/src/x/tests.rs", text), [("a#1".to_owned(), true, 1, "t".to_owned(), true)]);
    }

    #[test]
    fn what_is_no_anchor_is_none() {
        assert!(found("engine/src/x.rs", "// = a#1\nlet a = 1; @ a#2\n/// @ a#3\n@\n@ words only\n").is_empty());
    }
}
