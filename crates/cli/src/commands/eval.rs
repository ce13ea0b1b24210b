//! `trilobit eval`: measure a model.

use super::generate::ModelArgs;
use anyhow::Result;
use eval::Windows;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;

/// Longest text, bytes; all of it is held, and its tokens.
const TEXT_BYTES_MAX: u64 = 1 << 28;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    measure: Measure,
}

#[derive(clap::Subcommand)]
enum Measure {
    /// How well a model predicts a text
    Perplexity(PerplexityArgs),
}

#[derive(clap::Args)]
struct PerplexityArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The text, UTF-8; also compressed: .gz .zst .xz
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens the model sees at a time [default: the model's context]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Tokens from the start of a window to that of the next; less than the window gives each token more context
    /// [default: the window]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.measure {
        Measure::Perplexity(args) => perplexity(&args),
    }
}

fn perplexity(args: &PerplexityArgs) -> Result<ExitCode> {
    let text = data::source::whole(&args.text, TEXT_BYTES_MAX)?;
    let model = args.model.open()?;
    let context = model.engine.config().context;
    let window = args.window.unwrap_or(context);
    let stride = args.stride.unwrap_or(window);
    let windows = Windows { window, stride };
    windows.check(context)?;
    let mut session = model.engine.session(window)?;
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} tokens, {per_sec}, {eta} left")?);
    let mut progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let result = eval::perplexity(&mut session, model.tokenizer()?, &text, windows, &mut progress)?;
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
    } else {
        println!("nll per token    {:.5} nats", result.nll_per_token);
        println!("perplexity       {:.4}", result.perplexity);
        println!("bits per byte    {:.5}", result.bits_per_byte);
        if let Some(word_perplexity) = result.word_perplexity {
            println!("word perplexity  {word_perplexity:.3}");
        }
        println!("tokens           {}", result.tokens);
    }
    Ok(ExitCode::SUCCESS)
}
