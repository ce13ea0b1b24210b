//! `trilobit heal`: make a pretrained full-precision model ternary, by training it while λ grows from 0 to 1.

use super::train::{End, RunArgs, Wanted};
use anyhow::{Result, bail};
use clap::ValueEnum;
use journal::trend::Trend;
use journal::{Run, layout, metrics};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use train::RunConfig;
use train::config::{HealConfig, SubNorm};

/// What the checkpoints go on with where nothing else is asked for.
pub const PROMPTS: [&str; 2] = ["The capital of France is", "Once upon a time there was"];

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// The pretrained model: a Hugging Face folder, a GGUF file, a run or a checkpoint
    #[arg(long, value_name = "MODEL")]
    from: Option<PathBuf>,
    /// Whether a model without norms before its output and down projections gets them
    #[arg(long, value_enum, default_value_t = SubNorms::None)]
    sub_norm: SubNorms,
    /// Learn from this model, too: the healthy model itself, or a larger one with the same tokenizer; [distill] says how
    #[arg(long, value_name = "MODEL")]
    teacher: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum SubNorms {
    /// the model keeps its shape, and its function at λ = 0
    None,
    /// new norms, with the gains that change the model's function least
    Insert,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { from, sub_norm, teacher, mut run } = args;
    if run.sample.is_empty() {
        run.sample = PROMPTS.map(str::to_owned).to_vec();
    }
    let sub_norm = match sub_norm {
        SubNorms::None => SubNorm::None,
        SubNorms::Insert => SubNorm::Insert,
    };
    let beginning =
        from.as_deref().map(|student| Beginning { student, sub_norm, teacher: teacher.as_deref() });
    Ok(heal(&run, beginning, "which model? name the pretrained one with --from MODEL")?.code())
}

/// What a healing begins with.
pub struct Beginning<'a> {
    /// any MODEL
    pub student: &'a Path,
    /// whether norms are added
    pub sub_norm: SubNorm,
    /// what is learned from besides the text
    pub teacher: Option<&'a Path>,
}

/// One run, and its summary; without a beginning, one that goes on, or else the error `missing`.
pub fn heal(run: &RunArgs, beginning: Option<Beginning>, missing: &'static str) -> Result<End> {
    let config = || {
        let Some(Beginning { student, sub_norm, teacher }) = &beginning else { bail!(missing) };
        let source = checkpoint::open(student)?;
        let heal = HealConfig { from: student.to_path_buf(), sub_norm: *sub_norm };
        Ok(RunConfig::heal(heal, source.config(), *teacher, run.config.as_deref(), &run.sets()?)?)
    };
    let end = run.execute(&Wanted { config: &config, is_given: beginning.is_some() })?;
    if end != End::Planned {
        summarise(&Run::open(run.out()?)?)?;
    }
    Ok(end)
}

/// Prints the perplexities on the validation split, and how much of what quantisation destroyed has come back.
fn summarise(run: &Run) -> Result<()> {
    let facts = run.facts()?;
    let untrained = |lambda: f64| facts.get(&layout::untrained_loss(lambda)).and_then(|loss| loss.as_f64());
    let (whole, broken) = (untrained(0.0), untrained(1.0));
    let perplexity = |loss: f64| format!("{:.2}", loss.exp());
    println!(
        "{:>8} {:>12} {:>6} {:>12} {:>12} {:>9}",
        "step", "tokens", "λ", "at λ", "at λ = 1", "recovered"
    );
    if let Some(whole) = whole {
        println!("{:>8} {:>12} {:>6} {:>12}", 0, 0, 0, perplexity(whole));
    }
    if let Some(broken) = broken {
        println!("{:>8} {:>12} {:>6} {:>12} {:>12} {:>9}", 0, 0, 1, "", perplexity(broken), "0 %");
    }
    let steps = metrics::read(&run.metrics())?;
    for step in &steps {
        let Some(loss) = step.record.validation_loss else { continue };
        let ternary = step.record.ternary_validation_loss.unwrap_or(loss);
        let recovered = whole.zip(broken).map(|(whole, broken)| (broken - ternary) / (broken - whole));
        println!(
            "{:>8} {:>12} {:>6.3} {:>12} {:>12} {:>9}",
            step.step + 1,
            step.tokens,
            step.lambda,
            perplexity(loss),
            perplexity(ternary),
            recovered.map_or(String::new(), |share| format!("{:.1} %", 100.0 * share))
        );
    }
    println!(
        "perplexity on the validation split; recovered: share of the loss that λ = 1 added to the untrained model"
    );
    if let Some(sentence) = outlook(&steps, whole.unwrap_or(0.0)) {
        println!("{sentence}");
    }
    Ok(())
}

/// What the losses since λ came to 1 promise for more tokens; nothing while they are too few or do not fall. `whole` is the
/// loss of the untouched model.
fn outlook(steps: &[metrics::Step], whole: f64) -> Option<String> {
    let last_blended = steps.iter().rev().find(|step| step.lambda < 1.0).map_or(0, |step| step.tokens);
    let losses = steps.iter().filter(|step| step.tokens > last_blended);
    let points: Vec<(u64, f64)> = losses.map(|step| (step.tokens - last_blended, step.loss)).collect();
    let trend = Trend::of(&points, whole)?;
    let tokens = points.last()?.0 as f64;
    let after = |times: f64| trend.at(times * tokens).exp();
    let Trend { floor, drop, power, error } = trend;
    Some(format!(
        "the training loss since λ = 1 follows {floor:.2} + {drop:.2} / D^{power:.3} (D tokens, {error:.3} nats beside it): \
         perplexity {:.0} on text like it now, {:.0} after twice, {:.0} after ten times the {tokens} tokens at λ = 1",
        after(1.0),
        after(2.0),
        after(10.0)
    ))
}
