//! No stray whitespace, no unfinished code, nothing that ties the tree to one machine.

use super::{Check, Finding};
use crate::rust::{self, Kind};
use crate::tree::{File, Tree};

/// Files that people write; a space at the end of a line of data may be data.
const WRITTEN: &[&str] = &["rs", "toml", "md", "py", "sh", "yml"];

/// Macros that mark unfinished code or a debugging session.
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// Folders of one particular machine, and the options by which a package source of one network is named.
/// Written in pieces, so that this file does not find itself.
const LOCAL: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("index", "-url"),
    concat!("find", "-links"),
    concat!("trusted", "-host"),
    concat!("replace", "-with"),
];

/// See the module.
pub struct Hygiene;

impl Check for Hygiene {
    fn name(&self) -> &'static str {
        "hygiene"
    }

    fn run(&self, tree: &Tree) -> Vec<Finding> {
        let mut findings = Vec::new();
        for file in &tree.files {
            if WRITTEN.contains(&file.extension()) || file.path.starts_with(".ci/") {
                findings.extend(whitespace(file));
            }
            if file.extension() == "rs" {
                findings.extend(unfinished(file));
            }
            findings.extend(local(file));
        }
        findings
    }
}

fn whitespace(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        if line.trim_end() != line {
            findings.push(Finding::new(&file.path, number, "whitespace at the end of the line"));
        }
        if line.contains('\t') {
            findings.push(Finding::new(&file.path, number, "a tab; use spaces"));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::new(&file.path, 0, "no newline at the end of the file"));
    }
    findings
}

fn unfinished(file: &File) -> Vec<Finding> {
    // What does not lex is reported by `unsafety`, or by the compiler.
    let tokens = rust::tokens(&file.text).unwrap_or_default();
    let mut findings = Vec::new();
    for window in tokens.windows(3) {
        let [name, mark, open] = window else { continue };
        let Kind::Word(word) = &name.kind else {
            continue;
        };
        let is_call = mark.kind == Kind::Mark('!') && matches!(open.kind, Kind::Open { .. });
        if is_call && UNFINISHED.contains(&word.as_str()) {
            findings.push(Finding::new(&file.path, name.line, format!("{word}! marks unfinished code")));
        }
    }
    findings
}

fn local(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        let word = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
        for name in LOCAL {
            let standing_alone = |at: usize| !line[..at].ends_with(word);
            if line.match_indices(name).any(|(at, _)| standing_alone(at) || !name.starts_with('/')) {
                findings.push(Finding::new(
                    &file.path,
                    number,
                    format!("'{name}' exists on one machine only"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let findings = Hygiene.run(&Tree::of(&[(path, text)]));
        findings.into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn whitespace_fires_in_what_people_write() {
        assert_eq!(found("a.md", "fine\nsick \n")[0].0, 2);
        assert_eq!(found("a.md", "sick\r\n").len(), 1);
        assert_eq!(found(".ci/run", "\tsick\n").len(), 1);
        assert_eq!(found("a.toml", "a = 1").len(), 1);
        assert!(found("merges.txt", "data \t\n").is_empty());
    }

    #[test]
    fn unfinished_code_fires_in_code_only() {
        for word in UNFINISHED {
            assert_eq!(found("a.rs", &format!("fn f() {{ {word}!(\"later\") }}\n")).len(), 1);
        }
        assert!(found("a.rs", "// todo!()\nfn f(dbg: bool) -> bool { dbg != (true) }\n").is_empty());
    }

    #[test]
    fn one_machine_fires() {
        for name in LOCAL {
            assert_eq!(found("a.txt", &format!("x {name}y\n")).len(), 1, "{name}");
        }
        assert!(found("a.md", "see frame/work/page.md\n").iter().all(|(line, _)| *line == 0));
    }
}
