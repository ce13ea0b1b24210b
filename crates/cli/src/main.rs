//! The `trilobit` command line: one verb, one file in `commands/`.
#![forbid(unsafe_code)]

mod commands;
mod interrupt;
mod ranks;
mod sampling;
mod source;
mod watch;

use clap::Parser;
use std::process::ExitCode;

/// Train, check, ship and serve 1.58-bit (BitNet b1.58) language models.
#[derive(Parser)]
#[command(name = "trilobit", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

/// Exit codes: 0 good, 1 findings or below a threshold, 2 error.
fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
