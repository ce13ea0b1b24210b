//! `trilobit tokenizer`: train one, encode text with one, look into one.

use crate::is_same;
use ::data::source::{self, SourceOptions};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use formats::atomic;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use text::Tokenizer;
use text::bpe::{self, TrainOptions};

/// How many of the longest tokens `inspect` shows.
const LONGEST_SHOWN: usize = 12;
/// Work shorter than this shows no progress.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Train a byte-level BPE tokenizer on text
    Train(Train),
    /// Print the token ids of a text
    Encode(Encode),
    /// Show what is in a tokenizer.json, and how it splits a text
    Inspect(Inspect),
}

#[derive(clap::Args)]
struct Train {
    #[command(flatten)]
    input: Input,
    /// Tokens in all: special tokens, 256 bytes, and merges
    #[arg(long, value_name = "N", default_value_t = TrainOptions::default().vocabulary)]
    vocab_size: usize,
    /// Where to write the tokenizer
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// A special token beside <|endoftext|>, which is always id 0; may be given several times
    #[arg(long, value_name = "TOKEN")]
    special: Vec<String>,
    /// Train on about this many bytes: whole documents, evenly over the text
    #[arg(long, value_name = "N")]
    sample_bytes: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Where text comes from.
#[derive(clap::Args)]
struct Input {
    /// Files, folders or globs of .txt, .jsonl or .parquet (text also .gz, .zst, .xz)
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// The key or column that holds the text in .jsonl and .parquet
    #[arg(long, value_name = "NAME", default_value = "text")]
    column: String,
    /// Replace what is not UTF-8 text instead of refusing the file
    #[arg(long)]
    lossy: bool,
}

#[derive(clap::Args)]
struct Encode {
    /// A Hugging Face tokenizer.json
    #[arg(long, value_name = "FILE")]
    tokenizer: PathBuf,
    /// The text to encode
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Inspect {
    /// A Hugging Face tokenizer.json
    #[arg(value_name = "FILE")]
    tokenizer: PathBuf,
    /// Show how this text splits
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
    /// Measure bytes per token on these files, folders or globs
    #[arg(long, value_name = "PATH", num_args = 1..)]
    input: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.verb {
        Verb::Train(args) => train(&args)?,
        Verb::Encode(args) => encode(&args)?,
        Verb::Inspect(args) => inspect(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn train(args: &Train) -> Result<()> {
    let started = Instant::now();
    let mut options = TrainOptions { vocabulary: args.vocab_size, ..Default::default() };
    options.special_tokens.extend(args.special.iter().filter(|t| *t != bpe::END_OF_TEXT).cloned());
    require_folder(&args.out)?;
    if args.input.input.iter().any(|input| is_same(input, &args.out)) {
        bail!(
            "{} is one of the texts, and the tokenizer would replace it; name another file",
            args.out.display()
        );
    }
    let progress = Progress::new();
    let whole_bytes = match args.sample_bytes {
        Some(_) => Some(Texts::open(&args.input, None, &progress)?.count()?),
        None => None,
    };
    let sample = args.sample_bytes.zip(whole_bytes).map(|(wanted, whole)| Sample::new(wanted, whole));
    let texts = Texts::open(&args.input, sample, &progress)?;
    let facts = texts.facts.clone();
    let trained = bpe::train(texts, &options);
    progress.finish();
    let facts = facts.lock().expect("no thread panicked with it");
    if let Some(error) = &facts.failed {
        bail!("{error}");
    }
    let file = trained?;
    let tokenizer = Tokenizer::from_bytes(&file).context("the trained tokenizer does not load")?;
    atomic::write_bytes(&args.out, &file)?;
    let whole_bytes = whole_bytes.unwrap_or(facts.bytes);
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        let summary = json!({
            "tokenizer": args.out, "vocabulary": tokenizer.vocabulary_size(), "documents": facts.documents,
            "text_bytes": facts.bytes, "text_bytes_available": whole_bytes, "fingerprint": tokenizer.fingerprint(),
            "seconds": seconds,
        });
        println!("{summary}");
        return Ok(());
    }
    let of = match facts.bytes < whole_bytes {
        true => format!(", a sample of {:.1} MB", megabytes(whole_bytes)),
        false => String::new(),
    };
    let documents = if facts.documents == 1 { "document" } else { "documents" };
    eprintln!(
        "{}: {} tokens, trained on {} {documents} ({:.1} MB{of}) in {seconds:.1} s",
        args.out.display(),
        tokenizer.vocabulary_size(),
        facts.documents,
        megabytes(facts.bytes),
    );
    Ok(())
}

/// Before minutes of work: there is a folder to write `path` into.
fn require_folder(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            bail!(
                "{}: cannot write: the folder {} does not exist; create it first",
                path.display(),
                folder.display()
            )
        }
        _ if path.is_dir() => bail!("{}: cannot write: it is a folder; name a file", path.display()),
        _ => Ok(()),
    }
}

fn encode(args: &Encode) -> Result<()> {
    let ids = Tokenizer::load(&args.tokenizer)?.try_encode(&args.text, false)?;
    if args.json {
        println!("{}", json!({ "ids": ids }));
    } else {
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        println!("{}", ids.join(" "));
    }
    Ok(())
}

fn inspect(args: &Inspect) -> Result<()> {
    let tokenizer = Tokenizer::load(&args.tokenizer)?;
    let input = match args.input.is_empty() {
        true => None,
        false => Some(measure(&tokenizer, &args.input)?),
    };
    let facts = describe(&tokenizer, args.text.as_deref(), input)?;
    if args.json {
        println!("{facts}");
    } else {
        print_facts(&args.tokenizer, &facts);
    }
    Ok(())
}

/// Bytes and tokens of all documents under `paths`.
fn measure(tokenizer: &Tokenizer, paths: &[PathBuf]) -> Result<Value> {
    let progress = Progress::new();
    let (mut bytes, mut tokens) = (0, 0);
    for document in source::documents(paths, &SourceOptions::default())? {
        let text = document?.text;
        bytes += text.len();
        tokens += tokenizer.try_encode(&text, false)?.len();
        progress.advance(text.len() as u64);
    }
    progress.finish();
    Ok(json!({ "bytes": bytes, "tokens": tokens, "bytes_per_token": bytes as f64 / tokens as f64 }))
}

/// All that `inspect` tells.
fn describe(tokenizer: &Tokenizer, text: Option<&str>, input: Option<Value>) -> Result<Value> {
    let ids = 0..tokenizer.vocabulary_size() as u32;
    let special = ids.clone().filter(|id| tokenizer.is_special(*id));
    let special: Vec<Value> =
        special.map(|id| json!({ "id": id, "token": tokenizer.id_to_token(id) })).collect();
    let bytes_of = |id| tokenizer.token_bytes(id).unwrap_or_default();
    let mut by_length: Vec<u32> = ids.clone().collect();
    by_length.sort_by_key(|id| std::cmp::Reverse(bytes_of(*id).len()));
    by_length.truncate(LONGEST_SHOWN);
    let longest = by_length.iter().map(|id| {
        let bytes = bytes_of(*id);
        json!({ "id": id, "bytes": bytes.len(), "text": visible(&bytes) })
    });
    let mut facts = json!({
        "kind": tokenizer.kind(),
        "vocabulary": tokenizer.vocabulary_size(),
        "ids_without_token": ids.filter(|id| tokenizer.token_bytes(*id).is_none()).count(),
        "end_of_text": tokenizer.end_of_text(),
        "special": special,
        "longest": longest.collect::<Vec<_>>(),
        "fingerprint": tokenizer.fingerprint(),
    });
    if let Some(text) = text {
        let ids = tokenizer.try_encode(text, false)?;
        let pieces = ids.iter().map(|id| match tokenizer.is_special(*id) {
            true => tokenizer.id_to_token(*id).unwrap_or_default(),
            false => visible(&bytes_of(*id)),
        });
        facts["text"] = json!({
            "bytes": text.len(), "tokens": ids.len(), "bytes_per_token": text.len() as f64 / ids.len().max(1) as f64,
            "pieces": pieces.collect::<Vec<_>>(), "ids": ids,
        });
    }
    if let Some(input) = input {
        facts["input"] = input;
    }
    Ok(facts)
}

fn print_facts(path: &Path, facts: &Value) {
    let list = |key: &str| facts[key].as_array().into_iter().flatten();
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!("{}: {}, {} tokens", path.display(), string(&facts["kind"]), facts["vocabulary"]);
    if facts["ids_without_token"] != 0 {
        println!("  {} ids have no token", facts["ids_without_token"]);
    }
    println!("fingerprint {}", string(&facts["fingerprint"]));
    println!("special tokens");
    for token in list("special") {
        let end = if token["id"] == facts["end_of_text"] { "  (ends a document)" } else { "" };
        println!("{:>8}  {}{end}", token["id"].to_string(), string(&token["token"]));
    }
    println!("longest tokens");
    for token in list("longest") {
        println!("{:>8}  {:>3} bytes  [{}]", token["id"].to_string(), token["bytes"], string(&token["text"]));
    }
    for (name, part) in ["text", "input"].map(|name| (name, &facts[name])) {
        if let Some(rate) = part["bytes_per_token"].as_f64() {
            println!("{name}: {} bytes, {} tokens, {rate:.3} bytes per token", part["bytes"], part["tokens"]);
        }
    }
    let pieces = facts["text"]["pieces"].as_array().into_iter().flatten();
    let split: String = pieces.map(|piece| format!("[{}]", string(piece))).collect();
    if !split.is_empty() {
        println!("{split}");
    }
}

/// Bytes as one line: blanks get a sign, bytes that are not UTF-8 are written `\xE6`.
fn visible(bytes: &[u8]) -> String {
    let mut line = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ' ' => line.push('·'),
                '\n' => line.push('⏎'),
                '\t' => line.push('⇥'),
                c if c.is_control() => line.extend(c.escape_default()),
                c => line.push(c),
            }
        }
        line.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    line
}

/// The texts of the inputs for the trainer, which takes no errors: the first one ends them and is kept.
struct Texts<'p> {
    documents: source::Documents,
    sample: Option<Sample>,
    facts: std::sync::Arc<Mutex<Facts>>,
    progress: &'p Progress,
}

#[derive(Default)]
struct Facts {
    documents: u64,
    bytes: u64,
    failed: Option<String>,
}

impl<'p> Texts<'p> {
    fn open(input: &Input, sample: Option<Sample>, progress: &'p Progress) -> Result<Self> {
        let options =
            SourceOptions { column: input.column.clone(), lossy: input.lossy, ..Default::default() };
        let documents = source::documents(&input.input, &options)?;
        Ok(Self { documents, sample, facts: Default::default(), progress })
    }

    /// Reads all; returns the bytes of text.
    fn count(self) -> Result<u64> {
        let mut bytes = 0;
        for document in self.documents {
            let read = document?.text.len() as u64;
            self.progress.advance(read);
            bytes += read;
        }
        Ok(bytes)
    }
}

impl Iterator for Texts<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut facts = self.facts.lock().expect("no thread panicked with it");
        loop {
            let text = match self.documents.next() {
                Some(Ok(document)) => document.text,
                Some(Err(error)) => {
                    facts.failed = Some(error.to_string());
                    return None;
                }
                None => {
                    self.progress.wait("computing merges");
                    return None;
                }
            };
            let bytes = text.len() as u64;
            self.progress.advance(bytes);
            if self.sample.as_mut().is_none_or(|sample| sample.takes(bytes)) {
                facts.documents += 1;
                facts.bytes += bytes;
                return Some(text);
            }
        }
    }
}

/// Chooses whole documents evenly over a text, the same each time: after each document the share of the sample that is
/// taken is that of the text that is seen, to within one document.
struct Sample {
    wanted: u128,
    whole: u128,
    seen: u128,
    taken: u128,
}

impl Sample {
    fn new(wanted: u64, whole: u64) -> Self {
        Self { wanted: wanted.min(whole).into(), whole: whole.into(), seen: 0, taken: 0 }
    }

    fn takes(&mut self, bytes: u64) -> bool {
        self.seen += u128::from(bytes);
        let takes = self.taken * self.whole < self.wanted * self.seen;
        if takes {
            self.taken += u128::from(bytes);
        }
        takes
    }
}

/// A line on the terminal for work over a second; nothing where there is no terminal.
struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{spinner} {msg} {bytes} ({bytes_per_sec}, {elapsed})");
        bar.set_style(style.expect("the template is well-formed"));
        bar.set_message("reading");
        Self { bar, started: Instant::now() }
    }

    fn advance(&self, bytes: u64) {
        if self.bar.is_hidden() && self.started.elapsed() > PROGRESS_AFTER {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(bytes);
    }

    /// The reading is done; what follows tells nothing about its own progress.
    fn wait(&self, message: &'static str) {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        self.bar.set_style(style.expect("the template is well-formed"));
        self.bar.set_message(message);
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_broken_characters_are_visible() {
        assert_eq!(visible(b" the\n\t\x07"), "·the⏎⇥\\u{7}");
        assert_eq!(visible(&"é東".as_bytes()[..4]), "é\\xE6\\x9D");
    }

    #[test]
    fn a_sample_is_even_and_near_its_size() {
        let sizes: Vec<u64> = (0..1000).map(|i| 50 + i % 101).collect();
        let whole = sizes.iter().sum();
        let mut sample = Sample::new(whole / 4, whole);
        let taken: Vec<bool> = sizes.iter().map(|bytes| sample.takes(*bytes)).collect();
        assert!(sample.taken.abs_diff(u128::from(whole / 4)) <= 150);
        for part in taken.chunks(100) {
            let count = part.iter().filter(|t| **t).count();
            assert!((20..=30).contains(&count), "{count} of 100");
        }
        let mut all = Sample::new(u64::MAX, whole);
        assert!(sizes.iter().all(|bytes| all.takes(*bytes)));
    }
}
