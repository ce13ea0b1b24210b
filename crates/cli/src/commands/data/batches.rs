//! `trilobit data batches`: the batches of a run as safetensors, so that another framework trains on the same tokens.

use crate::is_same;
use anyhow::{Result, bail};
use bytemuck::cast_slice;
use data::{Batch, Loader, LoaderOptions, Source, Split};
use formats::safetensors::{self, Dtype, Entry};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Most tokens that one file may hold; the batches are built in memory.
const TOKENS_MAX: usize = 1 << 28;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// A folder that 'data prepare' wrote
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to write tokens, targets and starts, each (steps, batch, sequence) of u32
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Batches, from the first of the run on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Sequences of a batch: train.batch × train.accumulation of the run
    #[arg(long, value_name = "B")]
    batch: usize,
    /// Tokens of a sequence: train.sequence
    #[arg(long, value_name = "T")]
    sequence: usize,
    /// train.seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let steps = args.steps as usize;
    let tokens = steps.saturating_mul(args.batch).saturating_mul(args.sequence);
    if tokens > TOKENS_MAX {
        bail!("{tokens} tokens are more than the {TOKENS_MAX} that one file may hold; ask for fewer --steps");
    }
    if args.out.parent().is_some_and(|folder| is_same(folder, &args.folder)) {
        bail!("{} lies in the data set itself; name a file elsewhere", args.out.display());
    }
    let sources = [Source { path: args.folder.clone(), weight: 1.0 }];
    let options =
        LoaderOptions { batch: args.batch, sequence: args.sequence, seed: args.seed, document_mask: true };
    let mut loader = Loader::open(&sources, Split::Train, options)?;
    let (mut batch, mut all) = (Batch::default(), Batch::default());
    for _ in 0..args.steps {
        loader.next(&mut batch);
        all.tokens.extend(&batch.tokens);
        all.targets.extend(&batch.targets);
        all.starts.extend(&batch.starts);
    }
    let shape = vec![steps, args.batch, args.sequence];
    let entry = |name: &str, values| -> Entry { (name.to_owned(), Dtype::U32, shape.clone(), values) };
    let entries = [
        entry("tokens", cast_slice(&all.tokens)),
        entry("targets", cast_slice(&all.targets)),
        entry("starts", cast_slice(&all.starts)),
    ];
    safetensors::write(&args.out, &entries, &BTreeMap::new())?;
    eprintln!("{}: {} batches of {} × {} tokens", args.out.display(), args.steps, args.batch, args.sequence);
    Ok(())
}
