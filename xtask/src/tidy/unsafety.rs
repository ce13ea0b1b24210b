//! `unsafe` stands only where [`PLACES`] says; every other crate root forbids it.

use super::{Check, Finding};
use crate::rust;
use crate::tree::{File, Tree};

/// Folders (ending in `/`) and files that may hold `unsafe`, each with its reason.
const PLACES: &[(&str, &str)] = &[
    ("crates/kernels/", "SIMD intrinsics and slices shared between threads"),
    ("crates/formats/src/mapped.rs", "a memory map is sound only while nobody cuts the file"),
];

/// Crate roots that do not forbid, because a place of [`PLACES`] lies below them; `deny` is asked of them
/// where a single file is the exception.
const ROOTS: &[(&str, Option<&str>)] =
    &[("crates/kernels/src/lib.rs", None), ("crates/formats/src/lib.rs", Some("deny"))];

/// See the module.
pub struct Unsafety;

impl Check for Unsafety {
    fn name(&self) -> &'static str {
        "unsafety"
    }

    fn run(&self, tree: &Tree) -> Vec<Finding> {
        let mut findings = Vec::new();
        for file in tree.rust() {
            findings.extend(words(file));
            findings.extend(root(file));
        }
        findings
    }
}

fn words(file: &File) -> Vec<Finding> {
    let allowed = |place: &str| match place.ends_with('/') {
        true => file.path.starts_with(place),
        false => file.path == place,
    };
    if PLACES.iter().any(|(place, _)| allowed(place)) {
        return Vec::new();
    }
    let tokens = match rust::tokens(&file.text) {
        Ok(tokens) => tokens,
        Err(reason) => return vec![Finding::new(&file.path, 0, format!("not Rust: {reason}"))],
    };
    tokens
        .iter()
        .filter(|token| rust::is_word(Some(token), "unsafe"))
        .map(|token| Finding::new(&file.path, token.line, "unsafe outside its places; move it to kernels"))
        .collect()
}

fn root(file: &File) -> Option<Finding> {
    let parts: Vec<&str> = file.path.split('/').collect();
    let is_root = matches!(
        parts[..],
        ["crates", _, "src", "lib.rs" | "main.rs"] | ["xtask", "src", "lib.rs" | "main.rs"]
    );
    let level = match ROOTS.iter().find(|(path, _)| *path == file.path) {
        Some((_, None)) => return None,
        Some((_, Some(level))) => level,
        None => "forbid",
    };
    let attribute = format!("#![{level}(unsafe_code)]");
    (is_root && !file.text.lines().any(|line| line == attribute))
        .then(|| Finding::new(&file.path, 0, format!("a crate root without {attribute}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<Finding> {
        Unsafety.run(&Tree::of(&[(path, text)]))
    }

    #[test]
    fn the_word_fires_in_code_only() {
        assert_eq!(findings("crates/data/src/a.rs", "\nfn f() { unsafe { g() } }\n")[0].line, 2);
        assert_eq!(findings("crates/train/tests/a.rs", "unsafe impl Send for X {}\n").len(), 1);
        assert!(findings("crates/data/src/a.rs", "// unsafe\nconst A: &str = \"unsafe\";\n").is_empty());
    }

    #[test]
    fn its_places_are_free_and_their_neighbours_are_not() {
        let sick = "fn f() { unsafe { g() } }\n";
        assert!(findings("crates/kernels/src/a.rs", sick).is_empty());
        assert!(findings("crates/formats/src/mapped.rs", sick).is_empty());
        assert_eq!(findings("crates/formats/src/mapped/more.rs", sick).len(), 1);
    }

    #[test]
    fn a_root_without_its_attribute_fires() {
        assert_eq!(findings("crates/data/src/lib.rs", "//! Data.\n").len(), 1);
        assert_eq!(findings("crates/formats/src/lib.rs", "#![warn(unsafe_code)]\n").len(), 1);
        assert!(findings("crates/formats/src/lib.rs", "#![deny(unsafe_code)]\n").is_empty());
        assert!(findings("crates/cli/src/main.rs", "#![forbid(unsafe_code)]\n").is_empty());
        assert!(findings("crates/cli/src/commands/main.rs", "//! No root.\n").is_empty());
    }
}
