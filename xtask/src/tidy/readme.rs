//! The commands that the documents show exist, and the test command is the same everywhere.

use super::{Check, Finding};
use crate::ci;
use crate::tree::{File, Tree};

const README: &str = "README.md";
const CI: &str = ".ci/run";
const VERBS: &str = "crates/cli/src/commands/mod.rs";

/// What stands before a verb in an example.
const CALLS: &[&str] = &["trilobit ", "target/release/trilobit ", "cargo run --release -- "];

/// See the module.
pub struct Readme;

impl Check for Readme {
    fn name(&self) -> &'static str {
        "readme"
    }

    fn run(&self, tree: &Tree) -> Vec<Finding> {
        let mut findings = test_command(tree);
        let verbs = tree.get(VERBS).map(verbs).unwrap_or_default();
        for file in tree.files.iter().filter(|file| file.extension() == "md") {
            for (line, verb) in called(file) {
                if !verbs.contains(&verb) {
                    let what = format!("shows the command '{verb}', which {VERBS} does not have");
                    findings.push(Finding::new(&file.path, line, what));
                }
            }
        }
        findings
    }
}

fn test_command(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let readme = tree.get(README).map(code).unwrap_or_default();
    if !readme.iter().any(|(_, line)| *line == ci::TEST) {
        findings.push(Finding::new(README, 0, format!("does not show the test command '{}'", ci::TEST)));
    }
    let last = tree.get(CI).and_then(|file| file.text.lines().last());
    if last != Some(ci::TEST) {
        findings.push(Finding::new(CI, 0, format!("does not end with the test command '{}'", ci::TEST)));
    }
    findings
}

/// The lines inside fenced code blocks, trimmed, with their numbers.
fn code(file: &File) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut inside = false;
    for (number, line) in file.lines() {
        match line.trim_start().starts_with("```") {
            true => inside = !inside,
            false if inside => lines.push((number, line.trim())),
            false => {}
        }
    }
    lines
}

/// The verbs that a document calls in its code blocks, with their lines.
fn called(file: &File) -> Vec<(usize, String)> {
    let mut verbs = Vec::new();
    for (number, line) in code(file) {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let rest = CALLS.iter().find_map(|call| line.strip_prefix(call));
        let verb = rest.and_then(|rest| rest.split_whitespace().next());
        if let Some(verb) = verb.filter(|verb| !verb.starts_with('-')) {
            verbs.push((number, verb.to_owned()));
        }
    }
    verbs
}

/// The variants of `enum Command`, as they are typed: `LikeThis` is `like-this`.
fn verbs(file: &File) -> Vec<String> {
    let mut verbs = Vec::new();
    let body = file.text.split_once("enum Command {").map_or("", |(_, body)| body);
    for line in body.lines().take_while(|line| *line != "}") {
        let name = line.trim().split(['(', ',', ' ']).next().unwrap_or_default();
        if name.starts_with(|first: char| first.is_ascii_uppercase()) {
            verbs.push(kebab(name));
        }
    }
    verbs
}

fn kebab(name: &str) -> String {
    let mut typed = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !typed.is_empty() {
            typed.push('-');
        }
        typed.push(character.to_ascii_lowercase());
    }
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: &str = "pub enum Command {\n    /// Walk\n    Walk(walk::Args),\n    SitDown,\n}\nX(y)\n";

    fn findings(readme: &str, ci: &str) -> Vec<Finding> {
        Readme.run(&Tree::of(&[(README, readme), (CI, ci), (VERBS, COMMANDS)]))
    }

    #[test]
    fn a_verb_that_does_not_exist_fires_at_its_line() {
        let ci = format!("#!/usr/bin/env bash\n{}\n", ci::TEST);
        let fine = format!(
            "trilobit fly\n```\n{}\ntrilobit walk --far\n  $ trilobit sit-down\ntrilobit --help\n```\n",
            ci::TEST
        );
        assert_eq!(findings(&fine, &ci), []);
        for call in CALLS {
            let sick = format!("{fine}```\n{call}fly\n```\n");
            let found = findings(&sick, &ci);
            assert_eq!(found.len(), 1, "{call}");
            assert_eq!(found[0].line, 9);
        }
    }

    #[test]
    fn a_test_command_that_differs_fires() {
        let readme = format!("```\n{}\n```\n", ci::TEST);
        assert_eq!(findings(&readme, "cargo test\n").len(), 1);
        assert_eq!(findings("```\ncargo test\n```\n", &format!("{}\n", ci::TEST)).len(), 1);
        assert_eq!(findings(ci::TEST, "").len(), 2);
    }
}
