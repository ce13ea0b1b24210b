//! `trilobit generate`: continue a prompt.

use crate::source::SourceArgs;
use anyhow::Result;
use infer::{EngineOptions, Model, Options, Sampling};
use serde_json::json;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

/// Which model, and how it runs; the arguments of every command that runs one.
#[derive(clap::Args)]
pub struct ModelArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Threads that compute [default: all processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Share of quantisation; 1 is the model as served
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, hide_short_help = true)]
    lambda: f32,
}

impl ModelArgs {
    /// Loads the model; checkpoints that were passed over are warned about.
    pub fn open(&self) -> Result<Model> {
        let mut options = EngineOptions { lambda: self.lambda, ..EngineOptions::default() };
        if let Some(threads) = self.threads {
            options.threads = threads.into();
        }
        let model = Model::open(&self.source.model, &self.source.options(), options)?;
        for warning in &model.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(model)
    }
}

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text to continue
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: String,
    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// Below 1 the likely become likelier, above 1 the choice widens; 0 always takes the likeliest
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f32,
    /// Choose among the K likeliest tokens; 0 means all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Choose among the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Choose among tokens at least SHARE times as likely as the likeliest
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Above 1, tokens seen before become less likely
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// The same seed draws the same tokens
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Print one JSON object at the end instead of the text as it comes
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let model = args.model.open()?;
    let tokenizer = model.tokenizer()?;
    let prompt = tokenizer.encode(&args.prompt, true);
    let wanted = prompt.len().saturating_add(args.max_tokens).max(1);
    let context = wanted.min(model.engine.config().context);
    let mut session = model.engine.session(context)?;
    let json = args.json;
    let mut write = |piece: &str| match json || print(piece).is_ok() {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    let options = Options {
        max_tokens: args.max_tokens,
        sampling: Sampling {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
            repetition_penalty: args.repeat_penalty,
            seed: args.seed,
        },
        stop: args.stop,
        end_of_text: model.end_ids.clone(),
    };
    let generated = infer::generate(&mut session, tokenizer, &prompt, &options, &mut write)?;
    if json {
        let object = json!({
            "text": generated.text,
            "tokens": generated.tokens,
            "tokens_per_s": generated.tokens_per_s,
            "finish": generated.finish.name(),
        });
        println!("{object}");
        return Ok(ExitCode::SUCCESS);
    }
    // A reader that has gone away (head, less) is no error.
    let _ = print("\n");
    eprintln!(
        "{} tokens, {:.1} tokens/s, ended by {}",
        generated.tokens.len(),
        generated.tokens_per_s,
        generated.finish.name()
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes a piece of text at once.
fn print(piece: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(piece.as_bytes())?;
    out.flush()
}
