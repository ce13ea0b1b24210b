//! The rules of the house that a program can check. One rule is one file here and one line in [`CHECKS`].

mod changelog;
mod docs;
mod floors;
mod hygiene;
mod readme;
mod sizes;
mod unsafety;

use crate::tree::Tree;
use anyhow::Result;
use std::fmt;
use std::path::Path;

/// All checks, in the order in which they report.
pub static CHECKS: &[&dyn Check] = &[
    &floors::Floors,
    &unsafety::Unsafety,
    &sizes::Sizes,
    &docs::Docs,
    &hygiene::Hygiene,
    &changelog::Changelog,
    &readme::Readme,
];

/// One rule.
pub trait Check: Sync {
    /// The name of its file in `xtask/src/tidy`, without `.rs`.
    fn name(&self) -> &'static str;

    /// What breaks the rule; nothing in a healthy tree.
    fn run(&self, tree: &Tree) -> Vec<Finding>;
}

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the root of the repository.
    pub path: String,
    /// From 1; 0 means the file as a whole.
    pub line: usize,
    /// What is wrong and what to do about it.
    pub what: String,
}

impl Finding {
    /// A finding on a line, or on the whole file where `line` is 0.
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Runs all checks over the repository at `root` and prints what they find; true where they find nothing.
///
/// # Errors
/// Where the tree cannot be read.
pub fn run(root: &Path) -> Result<bool> {
    let tree = Tree::read(root)?;
    let mut found = 0;
    for check in CHECKS {
        for finding in check.run(&tree) {
            println!("{finding} [{}]", check.name());
            found += 1;
        }
    }
    eprintln!("tidy: {} checks over {} files, findings: {found}", CHECKS.len(), tree.files.len());
    Ok(found == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn every_check_has_its_file_and_every_file_its_check() {
        let mut files: Vec<String> = std::fs::read_dir(tree::root().join("xtask/src/tidy"))
            .expect("the folder of the checks")
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned())
            .filter(|name| name != "mod")
            .collect();
        files.sort();
        let mut names: Vec<&str> = CHECKS.iter().map(|check| check.name()).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn every_check_survives_an_empty_tree_and_files_of_rubbish() {
        let rubbish = "}}\"' ```\n[[[ = \u{0}\n\n\n";
        let paths = ["crates/a/Cargo.toml", "crates/a/src/lib.rs", "README.md", "CHANGELOG.md", ".ci/run"];
        let sick: Vec<(&str, &str)> = paths.iter().map(|path| (*path, rubbish)).collect();
        let healthy_names = |findings: Vec<Finding>| findings.iter().all(|f| !f.path.is_empty());
        for check in CHECKS {
            assert!(healthy_names(check.run(&Tree::of(&[]))), "{}", check.name());
            assert!(healthy_names(check.run(&Tree::of(&sick))), "{}", check.name());
        }
    }

    #[test]
    fn a_finding_names_the_line_where_there_is_one() {
        assert_eq!(Finding::new("a.rs", 3, "bad").to_string(), "a.rs:3: bad");
        assert_eq!(Finding::new("a.rs", 0, "bad").to_string(), "a.rs: bad");
    }
}
