//! `trilobit distill`: let a student learn from a teacher, at once or in the three stages of BitDistill.

use super::heal::{Beginning, PROMPTS, heal};
use super::train::{End, RunArgs};
use anyhow::Result;
use clap::ValueEnum;
use journal::Run;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use train::config::SubNorm;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// The model that is learned from; any MODEL that fits into memory and has the student's tokenizer
    #[arg(long, value_name = "MODEL")]
    teacher: Option<PathBuf>,
    /// What the student begins with: any MODEL; a full-precision one becomes ternary on the way [default: the teacher]
    #[arg(long, value_name = "MODEL")]
    student: Option<PathBuf>,
    /// Several stages in order, each a run inside --out
    #[arg(long, value_enum)]
    recipe: Option<Recipe>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Recipe {
    /// Sub-norms are inserted; continued pre-training while λ grows; then text, distributions and relations together
    Bitdistill,
}

/// What the last stage of BitDistill sets where nothing else does (arXiv 2510.13998; the relations' weight is that of its
/// generation tasks, for a mean over heads and positions).
const BITDISTILL: [&str; 4] =
    ["distill.logits=1", "distill.temperature=5", "distill.relation=1000", "lambda.kind=one"];

const NO_TEACHER: &str = "which teacher? name one with --teacher MODEL";

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { teacher, student, recipe, mut run } = args;
    if run.sample.is_empty() {
        run.sample = PROMPTS.map(str::to_owned).to_vec();
    }
    let (Some(teacher), false) = (teacher, run.resume && recipe.is_none()) else {
        // A run that goes on knows its teacher.
        return Ok(heal(&run, None, NO_TEACHER)?.code());
    };
    let student = student.unwrap_or_else(|| teacher.clone());
    match recipe {
        None => {
            let beginning = Beginning { student: &student, sub_norm: SubNorm::None, teacher: Some(&teacher) };
            Ok(heal(&run, Some(beginning), NO_TEACHER)?.code())
        }
        Some(Recipe::Bitdistill) => bitdistill(&run, &student, &teacher),
    }
}

/// Continued pre-training in `1-pretrain`, distillation in `2-distill`; a stage that was begun goes on.
fn bitdistill(run: &RunArgs, student: &Path, teacher: &Path) -> Result<ExitCode> {
    let out = run.out()?;
    let folders = ["1-pretrain", "2-distill"].map(|name| out.join(name));
    let first = RunArgs { out: Some(folders[0].clone()), resume: Run::is_run(&folders[0]), ..run.clone() };
    let beginning = Beginning { student, sub_norm: SubNorm::Insert, teacher: None };
    eprintln!("stage 1 of 2: sub-norms and continued pre-training, {}", folders[0].display());
    let end = heal(&first, (!first.resume).then_some(beginning), NO_TEACHER)?;
    if end != End::Finished {
        return Ok(end.code());
    }
    eprintln!("stage 2 of 2: distillation, {}", folders[1].display());
    let values = BITDISTILL.iter().map(|set| (*set).to_owned());
    let second = RunArgs {
        set: values.chain(run.set.iter().cloned()).collect(),
        out: Some(folders[1].clone()),
        resume: Run::is_run(&folders[1]),
        ..run.clone()
    };
    let beginning = Beginning { student: &folders[0], sub_norm: SubNorm::None, teacher: Some(teacher) };
    Ok(heal(&second, (!second.resume).then_some(beginning), NO_TEACHER)?.code())
}
