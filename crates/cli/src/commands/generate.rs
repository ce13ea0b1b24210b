//! `trilobit generate`: continue a prompt.

use crate::FREE_SPACE;
use crate::sampling::{GrammarArgs, SamplingArgs};
use crate::source::SourceArgs;
use anyhow::{Result, bail};
use infer::{EngineOptions, KvType, Model, Options, Proposals, TokenLogprob};
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use text::Tokenizer;

/// Which model, and how it runs; the arguments of every command that runs one.
#[derive(clap::Args)]
pub struct ModelArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// A LoRA adapter beside the model: a run with '--adapter lora', or a folder of PEFT
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Threads that compute [default: all processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Keys and values: as computed, binary16, or int8 with a scale for each token and head [default: as computed where a whole context fits in 256 MB]
    #[arg(long, value_enum, value_name = "TYPE")]
    kv: Option<Kv>,
    /// Round activations in blocks of N with a scale each, as llama.cpp does in blocks of 256 beside TQ1_0 and TQ2_0: what a model
    /// says there, at the speed of a dense one [default: a scale for each token, as trained]
    #[arg(long, value_name = "N", hide_short_help = true)]
    activation_block: Option<usize>,
    /// Share of quantisation; 1 is the model as served
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, hide_short_help = true)]
    lambda: f32,
}

/// How keys and values are kept, as typed.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Kv {
    F32,
    F16,
    I8,
}

impl From<Kv> for KvType {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F32 => Self::F32,
            Kv::F16 => Self::F16,
            Kv::I8 => Self::I8,
        }
    }
}

impl ModelArgs {
    /// Loads the model; checkpoints that were passed over are warned about.
    pub fn open(&self) -> Result<Model> {
        let mut options = EngineOptions {
            lambda: self.lambda,
            kv: self.kv.map(Into::into),
            activation_block: self.activation_block,
            ..EngineOptions::default()
        };
        if let Some(threads) = self.threads {
            options.threads = threads.into();
        }
        let mut model = Model::open(&self.source.model, &self.source.options(), options)?;
        if self.activation_block.is_some() && !model.engine.rounds_activations() {
            eprintln!(
                "note: this model's activations are not rounded, so --activation-block changes nothing"
            );
        }
        if let Some(adapter) = &self.adapter {
            model = model.adapted(adapter)?;
        }
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
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    grammar: GrammarArgs,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Propose up to N tokens from the text so far and check them together: the same text, sooner where it repeats itself
    #[arg(long, value_name = "N", default_value_t = 0)]
    lookup: usize,
    /// With --json, the log-probability of each token and of the N likeliest
    #[arg(long, value_name = "N", requires = "json", hide_short_help = true)]
    logprobs: Option<usize>,
    /// Print one JSON object at the end instead of the text as it comes
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let model = args.model.open()?;
    let tokenizer = model.tokenizer()?;
    let prompt = tokenizer.try_encode(&args.prompt, true)?;
    let wanted = prompt.len().saturating_add(args.max_tokens).max(1);
    let context = wanted.min(model.engine.config().context);
    let mut session = model.engine.session(context)?;
    let json = args.json;
    let mut printed = Ok(true);
    let mut write = |piece: &str| {
        if !json {
            printed = print(piece);
        }
        match printed {
            Ok(true) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    let ends = model.end_ids.clone();
    let options = Options {
        max_tokens: args.max_tokens,
        sampling: args.sampling.sampling(),
        stop: args.stop,
        logprobs: args.logprobs,
        lookup: args.lookup,
        constraint: args.grammar.constraint(tokenizer, &ends)?,
        end_of_text: ends,
    };
    let generated = infer::generate(&mut session, tokenizer, &prompt, &options, &mut write)?;
    if json {
        let mut object = json!({
            "text": generated.text,
            "tokens": generated.tokens,
            "tokens_per_s": generated.tokens_per_s,
            "finish": generated.finish.name(),
        });
        if args.logprobs.is_some() {
            let steps = generated.logprobs.iter().map(|step| logprob(tokenizer, step));
            object["logprobs"] = steps.collect();
        }
        if args.lookup > 0 {
            let Proposals { proposed, accepted } = generated.proposals;
            object["lookup"] = json!({ "proposed": proposed, "accepted": accepted });
        }
        println!("{object}");
        return Ok(ExitCode::SUCCESS);
    }
    if printed? {
        print("\n")?;
    }
    eprintln!(
        "{} tokens, {:.1} tokens/s, ended by {}",
        generated.tokens.len(),
        generated.tokens_per_s,
        generated.finish.name()
    );
    let Proposals { proposed, accepted } = generated.proposals;
    if args.lookup > 0 {
        eprintln!("lookup: {accepted} of {proposed} proposed tokens were the text");
    }
    Ok(ExitCode::SUCCESS)
}

/// A token with its alternatives.
fn logprob(tokenizer: &Tokenizer, step: &TokenLogprob) -> Value {
    let token = |id: u32| tokenizer.id_to_token(id);
    let top = step.top.iter().map(|(id, logprob)| json!([id, token(*id), logprob]));
    json!({ "id": step.id, "token": token(step.id), "logprob": step.logprob, "top": top.collect::<Value>() })
}

/// Writes a piece of text at once. False where the reader has gone away (head, less), which is no error.
pub fn print(piece: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(piece.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => bail!("failed printing to stdout: {error}; {FREE_SPACE}"),
    }
}
