//! `trilobit export`: a model in the format of another program, read again and compared before it appears.

use crate::merge::MergeArgs;
use crate::trial::TrialArgs;
use anyhow::{Result, bail};
use checkpoint::hf::{self, Storing};
use checkpoint::{Loaded, Report, gguf};
use clap::ValueEnum;
use formats::quant;
use model::LinearKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    format: Format,
}

#[derive(clap::Subcommand)]
enum Format {
    /// A Hugging Face folder, as transformers loads it
    Hf(HfArgs),
    /// A GGUF file, as llama.cpp or bitnet.cpp loads it
    Gguf(GgufArgs),
}

#[derive(clap::Args)]
struct GgufArgs {
    #[command(flatten)]
    source: TrialArgs,
    #[command(flatten)]
    merge: MergeArgs,
    /// The file to write; what is there is replaced once the new one is complete
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Type of the projections: i2_s (bitnet.cpp), tq1_0 or tq2_0 (llama.cpp), f16
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// Type of embedding and head: f16, q8_0, q6_k or f32
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    embedding: String,
    /// Round the projections of a dense model, or of one whose λ is not 1 yet, to three values, which makes another, much worse model
    #[arg(long)]
    quantize: bool,
    /// Add zeros to rows that are no whole blocks of the type (256 of tq1_0 and tq2_0, 128 of i2_s): the same network with a larger
    /// width. Without it such matrices are F16 with the same three values
    #[arg(long)]
    widen: bool,
}

#[derive(clap::Args)]
struct HfArgs {
    #[command(flatten)]
    source: TrialArgs,
    #[command(flatten)]
    merge: MergeArgs,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// offline: packed codes; online: latent values that transformers quantises itself [default: offline]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// The class that computes packed codes; bitlinear stores 1/scale
    #[arg(long, value_enum, default_value_t = Class::Autobitlinear)]
    linear_class: Class,
    /// Type of embedding, head and norms (and of latent values)
    #[arg(long, value_enum, default_value_t = Type::F32)]
    dtype: Type,
    /// Round the projections of a dense model, or of one whose λ is not 1 yet, to three values, which makes another, much worse model
    #[arg(long)]
    quantize: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Mode {
    Online,
    Offline,
}

#[derive(Clone, Copy, ValueEnum)]
enum Class {
    Autobitlinear,
    Bitlinear,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Type {
    F32,
    Bf16,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.format {
        Format::Hf(args) => hugging_face(&args),
        Format::Gguf(args) => gguf_file(&args),
    }
}

fn hugging_face(args: &HfArgs) -> Result<ExitCode> {
    let model = args.merge.apply(args.source.open()?, args.quantize)?;
    let is_dense = model.config().linear == LinearKind::Dense && !args.quantize;
    let storing = match (args.mode, args.linear_class) {
        (None, _) if is_dense => Storing::Dense,
        (Some(Mode::Online), Class::Autobitlinear) => Storing::Online,
        (Some(Mode::Online), Class::Bitlinear) => {
            bail!("--linear-class bitlinear holds packed codes only; use it with --mode offline")
        }
        (_, Class::Autobitlinear) => Storing::Offline,
        (_, Class::Bitlinear) => Storing::OfflineInverted,
    };
    let options = hf::Options {
        storing,
        bf16: args.dtype == Type::Bf16,
        quantize: args.quantize,
        shard_bytes: hf::SHARD_BYTES_MAX,
    };
    let mut trial = args.source.trial(&model, &args.out)?;
    let report = hf::export(&model, &args.out, &options, &mut trial);
    let answers = trial.finish();
    say(&report?, &model, &args.out);
    println!("{answers}");
    Ok(ExitCode::SUCCESS)
}

fn gguf_file(args: &GgufArgs) -> Result<ExitCode> {
    let format = |name: &str, known: &[&str]| match quant::named(name) {
        Ok(format) if known.contains(&format.name()) => Ok(format),
        Ok(format) => bail!("{} is not written there; choose {}", format.name(), known.join(", ")),
        Err(what) => bail!("{what}; choose {}", known.join(", ")),
    };
    let options = gguf::Options {
        format: format(&args.kind, &["I2_S", "TQ1_0", "TQ2_0", "F16"])?,
        embedding: format(&args.embedding, &["F16", "Q8_0", "Q6_K", "F32"])?,
        quantize: args.quantize,
        widen: args.widen,
    };
    let model = args.merge.apply(args.source.open()?, args.quantize)?;
    if model.tokenizer.is_none() {
        eprintln!(
            "warning: the model has no tokenizer; other programs need one: add it with --tokenizer FILE"
        );
    }
    let mut trial = args.source.trial(&model, &args.out)?;
    let report = gguf::export(&model, &args.out, &options, &mut trial);
    let answers = trial.finish();
    say(&report?, &model, &args.out);
    println!("{answers}");
    Ok(ExitCode::SUCCESS)
}

/// What was written, and how near it is.
fn say(report: &Report, model: &Loaded, out: &Path) {
    for note in &report.notes {
        eprintln!("note: {note}");
    }
    let is_forced = model.config().linear == LinearKind::Dense || model.unfinished().is_some();
    if !report.distortions.is_empty() && is_forced {
        println!("{:<24} {:>7} {:>14} {:>7}", "quantised", "zeros", "relative error", "cosine");
        for (name, found) in &report.distortions {
            let (zeros, error) = (found.zero_share * 100.0, found.relative_error);
            println!("{name:<24} {zeros:>5.1} % {error:>14.4} {:>7.4}", found.cosine);
        }
    } else if !report.distortions.is_empty() {
        println!("{} latent matrices were written as at λ = 1", report.distortions.len());
    }
    println!(
        "wrote {}: {} tensors read again: codes and values as their types hold them, scales within {:.1e} (the type allows {:.1e})",
        out.display(),
        report.tensors,
        report.largest,
        report.tolerance
    );
}
