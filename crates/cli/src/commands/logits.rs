//! `trilobit logits`: what a model says about the next token, for parity checks.

use super::generate::ModelArgs;
use anyhow::{Result, bail};
use formats::npy;
use infer::Model;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    input: Input,
    /// The logits after every token, not only after the last
    #[arg(long)]
    all: bool,
    /// How many of the likeliest tokens to print
    #[arg(long, value_name = "N", default_value_t = 8)]
    top: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Write the logits to a NumPy file: (V), or (T, V) with --all
    #[arg(long, value_name = "FILE.npy")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// Text, encoded by the model's tokenizer
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    ids: Option<Vec<u32>>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let model = args.model.open()?;
    let ids = match (args.input.ids, args.input.prompt) {
        (Some(ids), _) => ids,
        (None, Some(prompt)) => model.tokenizer()?.try_encode(&prompt, true)?,
        (None, None) => bail!("there is no input; give --prompt TEXT or --ids 1,2,3"),
    };
    let config = model.engine.config();
    let mut session = model.engine.session(ids.len().clamp(1, config.context))?;
    let logits = match args.all {
        true => session.forward_all(&ids)?,
        false => session.forward(&ids)?.to_vec(),
    };
    let rows: Vec<&[f32]> = logits.chunks_exact(config.vocabulary).collect();
    if let Some(path) = &args.out {
        match args.all {
            true => npy::write_f32(path, &[rows.len(), config.vocabulary], &logits)?,
            false => npy::write_f32(path, &[config.vocabulary], &logits)?,
        }
        eprintln!("wrote {}", path.display());
    }
    if args.json {
        let content = match args.all {
            true => ("logits", json!(rows)),
            false => ("top", top_json(&logits, args.top)),
        };
        let object: Value =
            [("ids".to_owned(), json!(ids)), (content.0.to_owned(), content.1)].into_iter().collect();
        println!("{object}");
    } else if args.out.is_none() {
        let first = ids.len() - rows.len();
        for (row, logits) in rows.into_iter().enumerate() {
            print_top(&model, first + row, ids[first + row], &top(logits, args.top));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The `count` greatest logits, the lower id first among equals.
fn top(logits: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut ranked: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(count);
    ranked
}

fn top_json(logits: &[f32], count: usize) -> Value {
    top(logits, count).into_iter().map(|(id, logit)| json!([id, logit])).collect()
}

fn print_top(model: &Model, position: usize, id: u32, top: &[(usize, f32)]) {
    let spell = |id: u32| {
        let token = model.tokenizer().ok().and_then(|t| t.id_to_token(id));
        token.map_or(String::new(), |token| format!("{token:?}"))
    };
    println!("after token {position}: {id} {}", spell(id));
    for (id, logit) in top {
        println!("{id:>8}  {logit:>12.5}  {}", spell(*id as u32));
    }
}
