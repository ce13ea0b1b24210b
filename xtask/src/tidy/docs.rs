//! Every source file says in its first line what it is.

use super::{Check, Finding};
use crate::tree::Tree;

/// See the module.
pub struct Docs;

impl Check for Docs {
    fn name(&self) -> &'static str {
        "docs"
    }

    fn run(&self, tree: &Tree) -> Vec<Finding> {
        tree.rust()
            .filter(|file| is_source(&file.path))
            .filter(|file| {
                let opening = file.text.strip_prefix("//! ").unwrap_or_default();
                opening.lines().next().unwrap_or_default().trim().is_empty()
            })
            .map(|file| {
                Finding::new(&file.path, 1, "does not begin with '//!' and a sentence that says what it is")
            })
            .collect()
    }
}

fn is_source(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["crates", _, "src", ..] | ["xtask", "src", ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_without_its_sentence_fires() {
        for sick in ["", "use std::io;\n", "// A comment.\n", "\n//! Late.\n", "//! \nmod a;\n"] {
            let tree = Tree::of(&[("crates/a/src/deep/b.rs", sick)]);
            assert_eq!(Docs.run(&tree).len(), 1, "{sick:?}");
        }
        let fine = "//! What it is.\n";
        assert!(
            Docs.run(&Tree::of(&[("crates/a/src/b.rs", fine), ("crates/a/tests/c.rs", "\n")])).is_empty()
        );
    }
}
