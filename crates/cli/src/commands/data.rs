//! `trilobit data`: text files to token shards, and what is in them.

mod batches;

use anyhow::{Result, bail};
use checkpoint::TokenizerFrom;
use clap::Subcommand;
use data::{Dataset, Manifest, Phase, PrepareOptions, Split, Summary};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Turn .txt, .md, .jsonl and .parquet files into token shards; run it again to continue after an interruption
    Prepare(Prepare),
    /// Describe a prepared data set and verify it
    Stats(Stats),
    /// Write the batches of a run as safetensors, to train another framework on the same tokens
    Batches(batches::Args),
}

#[derive(clap::Args)]
struct Prepare {
    /// tokenizer.json with an end-of-text token, or a MODEL that has one
    #[arg(long, value_name = "FILE")]
    tokenizer: PathBuf,
    /// Files, folders and globs; text and .jsonl also as .gz, .zst, .xz
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Share of the text, in whole documents, held out for validation
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    valid_share: f64,
    /// Validation text of its own; nothing is held out then
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "valid_share")]
    valid: Vec<PathBuf>,
    /// Column (key) of .parquet and .jsonl files that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    column: String,
    /// Line that parts the documents of a text file
    #[arg(long, value_name = "LINE", default_value = "<|endoftext|>")]
    separator: String,
    /// Replace what is not UTF-8 text instead of refusing the file
    #[arg(long)]
    lossy: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Stats {
    /// Folder that `data prepare` wrote
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Print the facts as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Verb::Prepare(args) => prepare(args)?,
        Verb::Stats(args) => stats(&args)?,
        Verb::Batches(args) => batches::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The `tokenizer.json` that is meant: the file itself, or that of a model, which may have to be written to `scratch` first.
fn tokenizer_file(given: PathBuf, scratch: &Path) -> Result<PathBuf> {
    if given.extension().is_some_and(|ending| ending == "json") {
        return Ok(given);
    }
    match checkpoint::open(&given)?.tokenizer {
        Some(TokenizerFrom::File(path)) => Ok(path),
        Some(TokenizerFrom::Json(bytes)) => {
            let path = scratch.join("tokenizer.json");
            formats::atomic::write_bytes(&path, &bytes)?;
            Ok(path)
        }
        None => bail!("{}: this model has no tokenizer; name a tokenizer.json", given.display()),
    }
}

fn prepare(args: Prepare) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut options = PrepareOptions {
        inputs: args.input,
        valid: args.valid,
        valid_share: args.valid_share,
        tokenizer: tokenizer_file(args.tokenizer, scratch.path())?,
        out: args.out,
        ..PrepareOptions::default()
    };
    options.source.column = args.column;
    options.source.separator = args.separator;
    options.source.lossy = args.lossy;
    let begin = Instant::now();
    let progress = Bar::default();
    let summary = data::prepare(&options, &progress);
    progress.clear();
    let Summary { manifest, shards_kept } = summary?;
    let seconds = begin.elapsed().as_secs_f64();
    if args.json {
        let mut object = serde_json::to_value(&manifest)?;
        object["seconds"] = seconds.into();
        object["shards_kept"] = shards_kept.into();
        println!("{object}");
        return Ok(());
    }
    print!("{}", describe(&manifest));
    if shards_kept > 0 {
        println!("{shards_kept} shards were there already");
    }
    println!("written to {} in {seconds:.1} s", options.out.display());
    warn(&manifest);
    Ok(())
}

fn stats(args: &Stats) -> Result<()> {
    let dataset = Dataset::open(&args.folder)?;
    match args.json {
        true => println!("{}", serde_json::to_string(dataset.manifest())?),
        false => print!("{}", describe(dataset.manifest())),
    }
    warn(dataset.manifest());
    Ok(())
}

fn warn(manifest: &Manifest) {
    for warning in &manifest.warnings {
        eprintln!("warning: {warning}");
    }
}

/// The facts of a data set, for people.
fn describe(manifest: &Manifest) -> String {
    let mut lines = vec![format!("{:<10} {:>15} {:>15} {:>15}", "split", "documents", "tokens", "bytes")];
    for split in Split::ALL {
        let facts = manifest.split(split);
        let (name, documents) = (split.name(), facts.documents);
        lines.push(format!("{name:<10} {documents:>15} {:>15} {:>15}", facts.tokens, facts.bytes));
    }
    let s = &manifest.statistics;
    let [one, two, three] = s.distinct.map(|share| share * 100.0);
    lines.push(format!("vocabulary      {} ids, {} in use", manifest.tokenizer.vocabulary, s.types));
    lines.push(format!("bytes per token {:.3}", s.bytes_per_token));
    lines.push(format!(
        "unigram entropy {:.4} nats per token = {:.4} bits per byte",
        s.unigram_entropy, s.unigram_bits_per_byte
    ));
    lines.push(format!(
        "variety         {one:.1} % of tokens, {two:.1} % of pairs, {three:.1} % of triples distinct (in {} tokens)",
        s.sampled_tokens
    ));
    lines.push(format!("duplicates      {} documents dropped", manifest.duplicates));
    lines.push(format!("fingerprint     {}", manifest.fingerprint));
    for source in &manifest.sources {
        let share = source.share * 100.0;
        lines
            .push(format!("source          {share:5.1} %  {} ({} documents)", source.path, source.documents));
    }
    lines.join("\n") + "\n"
}

/// The phase under way as a progress bar on the terminal; nothing where there is none.
#[derive(Default)]
struct Bar {
    bar: Mutex<Option<ProgressBar>>,
    documents: AtomicU64,
}

impl Bar {
    fn clear(&self) {
        if let Some(bar) = self.bar.lock().expect("no panic while drawing").take() {
            bar.finish_and_clear();
        }
    }
}

impl data::Progress for Bar {
    fn begin(&self, phase: Phase, bytes: Option<u64>) {
        self.clear();
        self.documents.store(0, Ordering::Relaxed);
        let name = match phase {
            Phase::Scan => "reading",
            Phase::Tokenise => "tokenising",
            Phase::Measure => "measuring",
        };
        let (bar, template) = match bytes {
            None => (ProgressBar::new_spinner(), "{prefix} {spinner} {bytes} {bytes_per_sec} {msg}"),
            Some(bytes) => (
                ProgressBar::new(bytes),
                "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left {msg}",
            ),
        };
        let style = ProgressStyle::with_template(template).expect("a fixed template parses");
        let bar = bar.with_style(style).with_prefix(name);
        *self.bar.lock().expect("no panic while drawing") = Some(bar);
    }

    fn advance(&self, documents: u64, bytes: u64) {
        /// A message is formatted for one call in so many.
        const MESSAGE_EVERY: u64 = 64;
        let before = self.documents.fetch_add(documents, Ordering::Relaxed);
        if let Some(bar) = &*self.bar.lock().expect("no panic while drawing") {
            bar.inc(bytes);
            if before.is_multiple_of(MESSAGE_EVERY) {
                bar.set_message(format!("{} documents", before + documents));
            }
        }
    }
}
