//! `trilobit data`.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// As typed.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args) -> Result<ExitCode> {
    bail!("'data' is not built yet")
}
