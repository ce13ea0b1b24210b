//! The project's chores: `cargo xtask ci|tidy|golden|bench`.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xtask::{bench, ci, golden, tidy, tree};

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Formatting, tidy, clippy without warnings, and the README's test command
    Ci,
    /// Check the rules of the house: floors, unsafe, sizes, docs, hygiene, changelog, readme
    Tidy,
    /// Make the golden files anew with PyTorch, and say which of them changed
    Golden(golden::Args),
    /// Run two commands in turn and write the ratio of their tokens/s to bench/runs
    Bench(bench::Args),
}

/// Exit codes: 0 good, 1 findings, 2 error.
fn main() -> ExitCode {
    let root = tree::root();
    let outcome = match Cli::parse().chore {
        Chore::Ci => ci::run(&root),
        Chore::Tidy => tidy::run(&root),
        Chore::Golden(args) => golden::run(&root, &args),
        Chore::Bench(args) => bench::run(&root, &args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
