//! `cargo xtask ci`: everything a change must pass, the cheap parts first.

use crate::tidy;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// The test command of the README and of `.ci/run`; a tidy check holds the three together.
pub const TEST: &str = "cargo test --release --workspace";

/// Release like [`TEST`], so that C libraries and procedural macros are built once for both.
const CLIPPY: &str = "cargo clippy --release --workspace --all-targets -- -D warnings";

const FORMAT: &str = "cargo fmt --all --check";

/// Runs the steps in order and stops at the first that fails; false says that one did.
///
/// # Errors
/// Where a command cannot be started or the tree cannot be read.
pub fn run(root: &Path) -> Result<bool> {
    if !step(root, FORMAT)? || !tidy::run(root)? {
        return Ok(false);
    }
    Ok(step(root, CLIPPY)? && step(root, TEST)?)
}

fn step(root: &Path, command: &str) -> Result<bool> {
    eprintln!("==> {command}");
    let mut words = command.split(' ');
    let program = words.next().context("the command is empty")?;
    let status = Command::new(program)
        .args(words)
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start {program}; is the Rust toolchain installed?"))?;
    if !status.success() {
        eprintln!("failed: {command}");
    }
    Ok(status.success())
}
