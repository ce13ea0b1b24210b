//! The changelog has a place for what comes next.

use super::{Check, Finding};
use crate::tree::Tree;

const PATH: &str = "CHANGELOG.md";
const HEADING: &str = "## [Unreleased]";

/// See the module.
pub struct Changelog;

impl Check for Changelog {
    fn name(&self) -> &'static str {
        "changelog"
    }

    fn run(&self, tree: &Tree) -> Vec<Finding> {
        match tree.get(PATH) {
            None => vec![Finding::new(PATH, 0, "is missing")],
            Some(file) if !file.text.lines().any(|line| line == HEADING) => {
                vec![Finding::new(PATH, 0, format!("no section '{HEADING}'"))]
            }
            Some(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_a_missing_section_fire() {
        assert_eq!(Changelog.run(&Tree::of(&[])).len(), 1);
        assert_eq!(Changelog.run(&Tree::of(&[(PATH, "# Changelog\n\n## 0.1\n")])).len(), 1);
        let fine = format!("# Changelog\n\n{HEADING}\n");
        assert!(Changelog.run(&Tree::of(&[(PATH, &fine)])).is_empty());
    }
}
