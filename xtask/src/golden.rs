//! `cargo xtask golden`: makes the golden files anew with the Python scripts in `tools/golden`.
//!
//! Those are the scripts `make_NAME.py`; each knows where its files lie, and which of them changed is seen by comparing the
//! tree before and after. With `--full` nothing is made: see [`full`].

mod full;

use crate::tree;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPTS: &str = "tools/golden";
const REQUIREMENTS: &str = "tools/golden/requirements.txt";
const ENVIRONMENT: &str = "target/golden-venv";

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// Instead, compare with everything that needs a download: transformers, llama.cpp, ggml, real models
    #[arg(long, conflicts_with = "names")]
    full: bool,
    /// Only these scripts: the file name, with or without `.py`
    names: Vec<String>,
}

/// Runs the scripts and names the files that changed; false where any did. With `--full` compares; false where a check failed.
///
/// # Errors
/// Where there is no script to run, the environment cannot be made, or a script fails.
pub fn run(root: &Path, args: &Args) -> Result<bool> {
    if args.full {
        return full::run(root);
    }
    let scripts = scripts(root, &args.names)?;
    let python = environment(root, ENVIRONMENT, REQUIREMENTS)?;
    let before = contents(root)?;
    for script in &scripts {
        eprintln!("==> {script}");
        call(root, Command::new(&python).arg(Path::new(SCRIPTS).join(script)))?;
    }
    let changes = changes(&before, &contents(root)?);
    for change in &changes {
        println!("{change}");
    }
    if changes.is_empty() {
        eprintln!("golden: {} scripts ran, no file changed", scripts.len());
    }
    Ok(changes.is_empty())
}

/// The names of the scripts to run, sorted.
fn scripts(root: &Path, names: &[String]) -> Result<Vec<String>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(root.join(SCRIPTS)).with_context(|| format!("cannot read {SCRIPTS}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(".py")
            && is_chosen(stem, names)
        {
            scripts.push(name);
        }
    }
    scripts.sort();
    if scripts.is_empty() {
        bail!("no script in {SCRIPTS} is called so; they are named make_NAME.py");
    }
    Ok(scripts)
}

fn is_chosen(stem: &str, names: &[String]) -> bool {
    let named = |name: &String| name.trim_end_matches(".py") == stem;
    stem.starts_with("make_") && (names.is_empty() || names.iter().any(named))
}

/// The Python of the virtual environment `folder`, which holds the packages of `requirements`; made where missing or out of
/// date.
fn environment(root: &Path, folder: &str, requirements: &str) -> Result<PathBuf> {
    let python = root.join(folder).join("bin/python");
    let stamp = root.join(folder).join("requirements.txt");
    let wanted =
        fs::read_to_string(root.join(requirements)).with_context(|| format!("cannot read {requirements}"))?;
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    eprintln!("==> making {folder} (PyTorch is large; this happens once)");
    call(root, Command::new("python3").args(["-m", "venv", "--clear", folder]))?;
    call(root, Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r", requirements]))?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

fn call(root: &Path, command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.current_dir(root).status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed ({status}); its own message is above");
    }
    Ok(())
}

/// Path → hash of the content, of every file that git tracks or would track.
fn contents(root: &Path) -> Result<BTreeMap<String, u64>> {
    let mut contents = BTreeMap::new();
    for path in tree::paths(root)? {
        if let Ok(bytes) = fs::read(root.join(&path)) {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            contents.insert(path, hasher.finish());
        }
    }
    Ok(contents)
}

fn changes(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let mut changes = Vec::new();
    for (path, hash) in after {
        match before.get(path) {
            None => changes.push(format!("new      {path}")),
            Some(old) if old != hash => changes.push(format!("changed  {path}")),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    changes.extend(gone.map(|path| format!("gone     {path}")));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_that_make_files_run() {
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            ["bitnet", "hf_export_check", "make_model", "make_ops"].map(|stem| is_chosen(stem, &names))
        };
        assert_eq!(chosen(&[]), [false, false, true, true]);
        assert_eq!(chosen(&["make_ops.py", "bitnet"]), [false, false, false, true]);
    }

    #[test]
    fn every_kind_of_change_is_named() {
        let before = BTreeMap::from([("a".into(), 1), ("b".into(), 2), ("c".into(), 3)]);
        let after = BTreeMap::from([("a".into(), 1), ("b".into(), 9), ("d".into(), 4)]);
        assert_eq!(changes(&before, &after), ["changed  b", "new      d", "gone     c"]);
        assert!(changes(&before, &before).is_empty());
    }
}
