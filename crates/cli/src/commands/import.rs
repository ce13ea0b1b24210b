//! `trilobit import`: any model as a native checkpoint.

use crate::trial::TrialArgs;
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: TrialArgs,
    /// The checkpoint folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let model = args.source.open()?;
    let mut trial = args.source.trial(&model, &args.out)?;
    let tensors = checkpoint::import(&model, &args.out, &mut trial);
    let answers = trial.finish();
    println!(
        "wrote {}: {} tensors of the {}, read again and equal",
        args.out.display(),
        tensors?,
        model.dialect.name()
    );
    println!("{answers}");
    if model.tokenizer.is_none() {
        eprintln!("warning: the model has no tokenizer; add one with --tokenizer FILE");
    }
    Ok(ExitCode::SUCCESS)
}
