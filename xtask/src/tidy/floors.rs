//! A crate uses only crates below it. [`FLOORS`] is the one table that says which.

use super::{Check, Finding};
use crate::tree::{File, Tree};
use toml::{Table, Value};

/// Crate → crates of this workspace that it may use, each above what it uses. A new crate gets its line here
/// first.
const FLOORS: &[(&str, &[&str])] = &[
    // above the house, for its tests
    (TEST_ONLY, &["formats", "text", "data"]),
    // floor 5
    (
        "cli",
        &[
            "kernels",
            "formats",
            "text",
            "journal",
            "cluster",
            "model",
            "checkpoint",
            "data",
            "train",
            "infer",
            "eval",
            "lab",
            "report",
            "diagnose",
        ],
    ),
    // floor 4; `diagnose` asks `train` what a configuration means and what the official schedule is
    ("diagnose", &["infer", "train", "data", "model", "checkpoint", "formats", "journal", "text"]),
    ("eval", &["infer", "model", "text", "data"]),
    ("lab", &["report", "journal", "formats"]),
    ("report", &["checkpoint", "model", "journal", "formats"]),
    // floor 3: the engines never use each other
    ("train", &["kernels", "formats", "model", "checkpoint", "data", "journal", "cluster"]),
    ("infer", &["kernels", "formats", "model", "checkpoint", "text"]),
    // floor 2
    ("data", &["text", "formats"]),
    ("checkpoint", &["model", "formats", "journal"]),
    ("model", &["kernels", "formats"]),
    // floor 1
    ("text", &["formats"]),
    ("journal", &["formats"]),
    ("formats", &[]),
    ("cluster", &[]),
    ("kernels", &[]),
];

/// Any crate's tests may use it; no crate may.
const TEST_ONLY: &str = "testkit";

/// See the module.
pub struct Floors;

impl Check for Floors {
    fn name(&self) -> &'static str {
        "floors"
    }

    fn run(&self, tree: &Tree) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut seen = Vec::new();
        for file in tree.files.iter().filter(|file| is_crate_manifest(&file.path)) {
            match read(file) {
                Ok((name, uses)) => {
                    findings.extend(judge(file, &name, &uses));
                    seen.push(name);
                }
                Err(finding) => findings.push(finding),
            }
        }
        for (name, _) in FLOORS {
            if !seen.is_empty() && !seen.iter().any(|crate_name| crate_name == name) {
                let what =
                    format!("the table of floors names '{name}', which is no crate; take the line out");
                findings.push(Finding::new("xtask/src/tidy/floors.rs", 0, what));
            }
        }
        findings
    }
}

/// A dependency on a crate of this workspace.
struct Use {
    name: String,
    for_tests: bool,
}

fn is_crate_manifest(path: &str) -> bool {
    path.strip_prefix("crates/")
        .and_then(|rest| rest.strip_suffix("/Cargo.toml"))
        .is_some_and(|name| !name.contains('/'))
}

/// The package's name, and what it uses of this workspace.
fn read(file: &File) -> Result<(String, Vec<Use>), Finding> {
    let sick = |what: String| Finding::new(&file.path, 0, what);
    let manifest: Table = toml::from_str(&file.text).map_err(|error| sick(format!("not TOML: {error}")))?;
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str)
        .ok_or_else(|| sick("no package.name".to_owned()))?;
    let mut uses = Vec::new();
    collect(&manifest, &mut uses);
    let targets = manifest.get("target").and_then(Value::as_table);
    for target in targets.into_iter().flat_map(Table::values) {
        target.as_table().inspect(|table| collect(table, &mut uses));
    }
    Ok((name.to_owned(), uses))
}

fn collect(manifest: &Table, uses: &mut Vec<Use>) {
    for (section, for_tests) in
        [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
    {
        let table = manifest.get(section).and_then(Value::as_table);
        for (key, value) in table.into_iter().flatten() {
            let renamed = value.get("package").and_then(Value::as_str);
            let name = renamed.unwrap_or(key).to_owned();
            if FLOORS.iter().any(|(known, _)| *known == name) {
                uses.push(Use { name, for_tests });
            }
        }
    }
}

fn judge(file: &File, name: &str, uses: &[Use]) -> Vec<Finding> {
    let Some((_, allowed)) = FLOORS.iter().find(|(known, _)| *known == name) else {
        let what =
            format!("crate '{name}' has no floor; give it a line in FLOORS of xtask/src/tidy/floors.rs");
        return vec![Finding::new(&file.path, 0, what)];
    };
    uses.iter()
        .filter(|used| !allowed.contains(&used.name.as_str()))
        .filter(|used| !(used.for_tests && used.name == TEST_ONLY))
        .map(|used| {
            let what = format!("'{name}' may not use '{}': arrows between floors only go down", used.name);
            Finding::new(&file.path, 0, what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings about one manifest, without those about rows that have no crate here.
    fn about(manifest: &str) -> Vec<String> {
        let findings = Floors.run(&Tree::of(&[("crates/x/Cargo.toml", manifest)]));
        findings
            .into_iter()
            .filter(|finding| finding.path.starts_with("crates/"))
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn downwards_and_testkit_in_tests_are_fine() {
        let fine = "[package]\nname = 'model'\n[dependencies]\nkernels = {path = 'k'}\nserde = '1'\n\
                    [dev-dependencies]\ntestkit.workspace = true\nproptest = '1'\n";
        assert_eq!(about(fine), Vec::<String>::new());
    }

    #[test]
    fn upwards_fires_wherever_it_hides() {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for prefix in ["", "target.'cfg(unix)'."] {
                let sick =
                    format!("[package]\nname = 'train'\n[{prefix}{section}]\ninfer.workspace = true\n");
                assert_eq!(about(&sick).len(), 1, "{sick}");
            }
        }
        let renamed = "[package]\nname = 'train'\n[dependencies]\nengine = {package = 'infer', path = 'i'}\n";
        assert_eq!(about(renamed).len(), 1);
        let shipped = "[package]\nname = 'cli'\n[dependencies]\ntestkit.workspace = true\n";
        assert_eq!(about(shipped).len(), 1);
    }

    #[test]
    fn unknown_crates_broken_manifests_and_rows_without_a_crate_fire() {
        assert!(about("[package]\nname = 'attic'\n")[0].contains("no floor"));
        assert!(about("[package]\n")[0].contains("package.name"));
        assert!(about("[package")[0].contains("not TOML"));
        let lonely = Floors.run(&Tree::of(&[("crates/cli/Cargo.toml", "[package]\nname = 'cli'\n")]));
        assert_eq!(lonely.len(), FLOORS.len() - 1);
    }

    #[test]
    fn the_table_itself_has_no_circle() {
        for (at, (name, uses)) in FLOORS.iter().enumerate() {
            for used in *uses {
                let below = FLOORS.iter().position(|(known, _)| known == used);
                assert!(below.is_some_and(|below| below > at), "{name} uses {used}");
            }
        }
    }
}
