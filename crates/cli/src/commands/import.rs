//! `trilobit import`: any model as a native checkpoint.

use crate::source::{Bar, SourceArgs};
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// The checkpoint folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let model = args.source.open()?;
    let mut bar = Bar::new();
    let tensors = checkpoint::import(&model, &args.out, &mut bar);
    bar.finish();
    println!(
        "wrote {}: {} tensors of the {}, read again and equal",
        args.out.display(),
        tensors?,
        model.dialect.name()
    );
    if model.tokenizer.is_none() {
        eprintln!("warning: the model has no tokenizer; add one with --tokenizer FILE");
    }
    Ok(ExitCode::SUCCESS)
}
