//! `trilobit heal`: make a pretrained full-precision model ternary, by training it while λ grows from 0 to 1.

use super::train::{End, RunArgs, Wanted, path_set, settled};
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
    /// Whether a model without norms before its output and down projections gets them [default: none]
    #[arg(long, value_enum)]
    sub_norm: Option<SubNorms>,
    /// Bring the weights into a basis without outliers first; the function stays, a tied head becomes a matrix of its own
    #[arg(long)]
    rotate: bool,
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
    let Args { from, sub_norm, rotate, teacher, mut run } = args;
    if run.sample.is_empty() {
        run.sample = PROMPTS.map(str::to_owned).to_vec();
    }
    let sub_norm = sub_norm.map(|sub_norm| match sub_norm {
        SubNorms::None => SubNorm::None,
        SubNorms::Insert => SubNorm::Insert,
    });
    let (from, teacher) = (from.as_deref(), teacher.as_deref());
    let beginning = Beginning { begins_with: from, student: from, sub_norm, rotate, teacher };
    Ok(heal(&run, &beginning, "which model? name the pretrained one with --from MODEL")?.code())
}

/// What a healing begins with.
pub struct Beginning<'a> {
    /// any MODEL; without one, a run can only go on
    pub begins_with: Option<&'a Path>,
    /// the same where it was typed
    pub student: Option<&'a Path>,
    /// whether norms are added, where that was typed
    pub sub_norm: Option<SubNorm>,
    /// whether the weights are brought into another basis
    pub rotate: bool,
    /// what is learned from besides the text
    pub teacher: Option<&'a Path>,
}

impl Beginning<'_> {
    /// The configuration of a healing of `from`, whose network is `source`.
    pub fn config(&self, run: &RunArgs, from: &Path, source: &model::Config) -> Result<RunConfig> {
        let Self { sub_norm, rotate, .. } = self;
        let heal =
            HealConfig { from: settled(from)?, sub_norm: sub_norm.unwrap_or_default(), rotate: *rotate };
        let teacher = self.teacher.map(settled).transpose()?;
        Ok(RunConfig::heal(heal, source, teacher.as_deref(), run.config.as_deref(), &run.sets()?)?)
    }

    /// What was typed, as `--set` takes it.
    pub fn sets(&self) -> Result<Vec<String>> {
        let mut sets = Vec::new();
        if let Some(student) = self.student {
            sets.push(path_set("heal.from", student)?);
        }
        if let Some(sub_norm) = self.sub_norm {
            sets.push(format!("heal.sub_norm={}", toml::Value::try_from(sub_norm)?));
        }
        if self.rotate {
            sets.push("heal.rotate=true".to_owned());
        }
        if let Some(teacher) = self.teacher {
            sets.push(path_set("distill.teacher", teacher)?);
        }
        Ok(sets)
    }
}

/// One run, and its summary, which rank 0 prints; where there is nothing to begin with, one that goes on, or else the error
/// `missing`.
pub fn heal(run: &RunArgs, beginning: &Beginning, missing: &'static str) -> Result<End> {
    let config = || {
        let Some(from) = beginning.begins_with else { bail!(missing) };
        beginning.config(run, from, checkpoint::open(from)?.config())
    };
    let is_named = beginning.begins_with.is_some();
    let end = run.execute(&Wanted { config: &config, is_named, preset: None, sets: beginning.sets()? })?;
    if matches!(end, End::Finished | End::Stopped) {
        summarise(&Run::open(run.out()?)?)?;
    }
    Ok(end)
}

/// Prints the perplexities on the validation split, and how much of what quantisation destroyed has come back.
fn summarise(run: &Run) -> Result<()> {
    let facts = run.facts()?;
    let untrained = |lambda: f64| facts.get(&layout::untrained_loss(lambda)).and_then(|loss| loss.as_f64());
    let (whole, broken) = (untrained(0.0), untrained(1.0));
    // What rounding did not destroy cannot come back.
    let destroyed = whole.zip(broken).filter(|(whole, broken)| broken > whole);
    let perplexity = |loss: f64| format!("{:.2}", loss.exp());
    println!(
        "{:>8} {:>12} {:>6} {:>12} {:>12} {:>9}",
        "step", "tokens", "λ", "at λ", "at λ = 1", "recovered"
    );
    if let Some(whole) = whole {
        println!("{:>8} {:>12} {:>6} {:>12}", 0, 0, 0, perplexity(whole));
    }
    if let Some(broken) = broken {
        println!(
            "{:>8} {:>12} {:>6} {:>12} {:>12} {:>9}",
            0,
            0,
            1,
            "",
            perplexity(broken),
            if destroyed.is_some() { "0 %" } else { "" }
        );
    }
    let steps = metrics::read(&run.metrics())?;
    for step in &steps {
        let Some(loss) = step.record.validation_loss else { continue };
        let ternary = step.record.ternary_validation_loss.unwrap_or(loss);
        let recovered = destroyed.map(|(whole, broken)| (broken - ternary) / (broken - whole));
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

/// Losses whose mean is where a healing has come to.
const NEWEST: usize = 50;

/// What the losses since λ came to 1 promise for more tokens; nothing while they are too few or do not fall. `whole` is the
/// loss of the untouched model.
fn outlook(steps: &[metrics::Step], whole: f64) -> Option<String> {
    let last_blended = steps.iter().rev().find(|step| step.lambda < 1.0).map_or(0, |step| step.tokens);
    let losses = steps.iter().filter(|step| step.tokens > last_blended);
    let points: Vec<(u64, f64)> = losses.map(|step| (step.tokens - last_blended, step.loss)).collect();
    // Healing seldom comes below the untouched model; where it has, that is no floor.
    let newest = &points[points.len() - points.len().min(NEWEST)..];
    let mean = newest.iter().map(|point| point.1).sum::<f64>() / newest.len().max(1) as f64;
    let trend = Trend::of(&points, if mean < whole { 0.0 } else { whole })?;
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
