//! `trilobit distill`: let a student learn from a teacher, at once or in the three stages of BitDistill.

use super::heal::{Beginning, PROMPTS, heal};
use super::train::{End, RunArgs, Wanted};
use anyhow::{Result, bail};
use clap::ValueEnum;
use journal::Run;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use train::RunConfig;
use train::config::SubNorm;
use train::plan::Plan;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// The model that is learned from; any MODEL that fits into memory and has the student's tokenizer
    #[arg(long, value_name = "MODEL")]
    teacher: Option<PathBuf>,
    /// What the student begins with: any MODEL; a full-precision one becomes ternary on the way [default: the teacher]
    #[arg(long, value_name = "MODEL")]
    student: Option<PathBuf>,
    /// Several stages in order, each a run inside --out; --set lambda.… is for the first alone, distill.… for the last
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

/// What BitDistill does, in order.
const STAGES: [&str; 2] = ["sub-norms and continued pre-training", "distillation"];

const NO_TEACHER: &str = "which teacher? name one with --teacher MODEL";

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { teacher, student, recipe, mut run } = args;
    if run.sample.is_empty() {
        run.sample = PROMPTS.map(str::to_owned).to_vec();
    }
    let (student, teacher) = (student.as_deref(), teacher.as_deref());
    match (recipe, teacher) {
        (None, _) => {
            let begins_with = teacher.map(|teacher| student.unwrap_or(teacher));
            let beginning = Beginning { begins_with, student, sub_norm: None, rotate: false, teacher };
            Ok(heal(&run, &beginning, NO_TEACHER)?.code())
        }
        (Some(Recipe::Bitdistill), Some(teacher)) => bitdistill(&run, student, teacher),
        (Some(Recipe::Bitdistill), None) => bail!(NO_TEACHER),
    }
}

/// Continued pre-training in `1-pretrain`, distillation in `2-distill`; a stage that was begun goes on.
fn bitdistill(run: &RunArgs, student: Option<&Path>, teacher: &Path) -> Result<ExitCode> {
    if cluster::launch::ranks().is_some_and(|ranks| ranks > 1) {
        bail!(
            "--recipe bitdistill has two stages, and ranks meet once: start its stages as two jobs, 'heal --sub-norm insert' and then 'distill' with the first one's run as the --student"
        );
    }
    let out = run.out()?;
    let folders = ["1-pretrain", "2-distill"].map(|name| out.join(name));
    let (first, second) =
        (stage(run, &folders[0], &[], "distill"), stage(run, &folders[1], &BITDISTILL, "lambda"));
    let begins_with = student.unwrap_or(teacher);
    let beginning = Beginning {
        begins_with: Some(begins_with),
        student,
        sub_norm: Some(SubNorm::Insert),
        rotate: false,
        teacher: None,
    };
    let half = Some(&*folders[0]);
    let going_on =
        Beginning { begins_with: half, student: half, sub_norm: None, rotate: false, teacher: Some(teacher) };
    let begun = || beginning.config(&first, begins_with, checkpoint::open(begins_with)?.config());
    let distilled = || {
        let network = match first.resume {
            true => RunConfig::resolve(None, Some(&Run::open(&folders[0])?.config()), &[])?.model,
            false => begun()?.model,
        };
        going_on.config(&second, &folders[0], &network)
    };
    if run.dry_run {
        let plans = [
            first.plan(&Wanted { config: &begun, is_named: true, preset: None, sets: beginning.sets()? })?,
            second.plan(&Wanted {
                config: &distilled,
                is_named: true,
                preset: None,
                sets: going_on.sets()?,
            })?,
        ];
        show(&plans, run.json)?;
        return Ok(End::Planned.code());
    }
    if !second.resume {
        // Said before the first stage takes its time.
        checkpoint::open(teacher)?;
        distilled()?;
    }
    eprintln!("stage 1 of 2: {}, {}", STAGES[0], folders[0].display());
    let end = heal(&first, &beginning, NO_TEACHER)?;
    if end != End::Finished {
        return Ok(end.code());
    }
    eprintln!("stage 2 of 2: {}, {}", STAGES[1], folders[1].display());
    Ok(heal(&second, &going_on, NO_TEACHER)?.code())
}

/// Prints the plans of both stages.
fn show(plans: &[Plan; 2], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::json!({"stages": plans}));
        return Ok(());
    }
    for (number, (stage, plan)) in STAGES.iter().zip(plans).enumerate() {
        println!("stage {} of 2: {stage}\n{plan}", number + 1);
    }
    Ok(())
}

/// The arguments of a stage that writes `folder`: `values`, and over them what was set, but for the table of the other stage.
fn stage(run: &RunArgs, folder: &Path, values: &[&str], table_of_other: &str) -> RunArgs {
    let is_own = |set: &&String| set.split(['.', '=']).next().is_none_or(|key| key.trim() != table_of_other);
    let values = values.iter().map(|set| (*set).to_owned());
    RunArgs {
        set: values.chain(run.set.iter().filter(is_own).cloned()).collect(),
        out: Some(folder.to_owned()),
        resume: Run::is_run(folder),
        ..run.clone()
    }
}
