//! A file fits in one reading, a function on one screen.

use super::{Check, Finding};
use crate::rust;
use crate::tree::{File, Tree};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Kinds of file that people read from top to bottom.
const CODE: &[&str] = &["rs", "py", "sh"];

/// `path` or `path::function` that may be longer, each with the reason. One that is no longer needed is a
/// finding.
const ALLOWED: &[(&str, &str)] = &[];

/// See the module.
pub struct Sizes;

impl Check for Sizes {
    fn name(&self) -> &'static str {
        "sizes"
    }

    fn run(&self, tree: &Tree) -> Vec<Finding> {
        judge(tree, ALLOWED)
    }
}

fn judge(tree: &Tree, allowed: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut needed = Vec::new();
    for file in tree.files.iter().filter(|file| CODE.contains(&file.extension())) {
        for (place, finding) in too_long(file) {
            match allowed.iter().any(|(allowed, _)| *allowed == place) {
                true => needed.push(place),
                false => findings.push(finding),
            }
        }
    }
    for (place, reason) in allowed {
        let path = place.split("::").next().unwrap_or(place);
        if !needed.iter().any(|needed| needed == place) {
            findings.push(Finding::new(path, 0, format!("the exception '{place}' is no longer needed")));
        }
        if reason.trim().is_empty() {
            findings.push(Finding::new(path, 0, format!("the exception '{place}' gives no reason")));
        }
    }
    findings
}

/// What is too long in a file: its name in the table of exceptions, and the finding.
fn too_long(file: &File) -> Vec<(String, Finding)> {
    let mut long = Vec::new();
    let lines = file.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines, at most {FILE_LINES_MAX}; split it by what its parts are about");
        long.push((file.path.clone(), Finding::new(&file.path, 0, what)));
    }
    if file.extension() != "rs" {
        return long;
    }
    // What does not lex is reported by `unsafety`, or by the compiler.
    let tokens = rust::tokens(&file.text).unwrap_or_default();
    for function in rust::functions(&tokens) {
        if function.lines > FUNCTION_LINES_MAX {
            let what = format!(
                "fn {} has {} lines, at most {FUNCTION_LINES_MAX}; give its steps names of their own",
                function.name, function.lines
            );
            let place = format!("{}::{}", file.path, function.name);
            long.push((place, Finding::new(&file.path, function.line, what)));
        }
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize) -> String {
        format!("\nfn long() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
    }

    #[test]
    fn limits_are_exact() {
        let fine = Tree::of(&[
            ("a.rs", &function_of(FUNCTION_LINES_MAX)),
            ("b.py", &"x\n".repeat(FILE_LINES_MAX)),
            ("c.json", &"x\n".repeat(FILE_LINES_MAX + 1)),
        ]);
        assert_eq!(judge(&fine, &[]), []);
        let sick = Tree::of(&[
            ("a.rs", &function_of(FUNCTION_LINES_MAX + 1)),
            ("b.py", &"x\n".repeat(FILE_LINES_MAX + 1)),
        ]);
        let lines: Vec<usize> = judge(&sick, &[]).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 0]);
    }

    #[test]
    fn an_exception_silences_its_place_only_and_only_while_needed() {
        let long = function_of(FUNCTION_LINES_MAX + 1);
        let tree = Tree::of(&[("a.rs", &long)]);
        assert_eq!(judge(&tree, &[("a.rs::long", "one table, row by row")]), []);
        assert_eq!(judge(&tree, &[("a.rs::long", " ")]).len(), 1);
        assert_eq!(judge(&tree, &[("a.rs::short", "why not")]).len(), 2);
    }
}
