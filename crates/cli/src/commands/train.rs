//! `trilobit train`: pre-train a model, or go on with a run.

use crate::interrupt::Interrupt;
use crate::ranks;
use crate::samples::Samples;
use crate::watch::Watch;
use ::data::Dataset;
use anyhow::{Context, Error, Result, bail};
use cluster::Group;
use formats::{Kind, atomic, bounded, limits};
use journal::{Lock, Run};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use train::config::{SourceConfig, StartConfig};
use train::course::Course;
use train::plan::{Plan, Rate};
use train::{Limits, Outcome, RunConfig, TrainError, Trainer};

/// What every command takes that makes a run.
#[derive(Clone, clap::Args)]
pub struct RunArgs {
    /// A TOML file with [model], [train], [schedule], [lambda]; over what the command itself sets
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A folder that 'trilobit data prepare' wrote; several are mixed evenly
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Conversations instead of --data: .jsonl files, also compressed, whose answers are learned; [sft] says how
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "data")]
    pub sft: Vec<PathBuf>,
    /// The run folder
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Go on with the run in --out from its newest sound checkpoint; --data or --sft says where its data has moved to
    #[arg(long)]
    pub resume: bool,
    /// Compute activations again in the backward instead of keeping them: less memory, more time, the same bits
    #[arg(long)]
    pub recompute: bool,
    /// Stop after this time with a checkpoint to resume from: 90s, 60m, 8h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub max_time: Option<Duration>,
    /// Under mpirun: a rank that is silent for so long ends the job
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "60s")]
    pub rank_timeout: Duration,
    /// Let every checkpoint go on with this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub sample: Vec<String>,
    /// Print parameters, memory, steps, tokens and time, and stop; with --resume, of what is left of the run
    #[arg(long)]
    pub dry_run: bool,
    /// Set one value: --set train.steps=1000
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// With --dry-run, print one JSON object
    #[arg(long, requires = "dry_run")]
    pub json: bool,
}

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// A shipped configuration: tiny, books10m, study256, 125m, 2b4t …
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Begin with the weights of this model, as it is: a Hugging Face folder, a GGUF file, a run or a checkpoint
    #[arg(long, value_name = "MODEL", conflicts_with = "preset")]
    from: Option<PathBuf>,
    /// Learn an adapter beside the weights of --from, which stay as they are; [lora] says how
    #[arg(long, value_enum, value_name = "KIND", requires = "from", conflicts_with = "preset")]
    adapter: Option<AdapterKind>,
    #[command(flatten)]
    run: RunArgs,
}

/// What is learned beside a model.
#[derive(Clone, Copy, clap::ValueEnum)]
enum AdapterKind {
    /// low-rank matrices beside the projections, kept as PEFT keeps them
    Lora,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { preset, from, adapter, run } = args;
    let is_named = preset.is_some() || from.is_some() || run.config.is_some();
    let config = || {
        if let Some(from) = &from {
            let source = checkpoint::open(from)?;
            let start = StartConfig { from: settled(from)? };
            let begin = match adapter {
                Some(AdapterKind::Lora) => RunConfig::adapt,
                None => RunConfig::start,
            };
            return Ok(begin(&start, source.config(), run.config.as_deref(), &run.sets()?)?);
        }
        if !is_named {
            bail!(
                "which model? name one with --preset NAME (tiny, books10m, 125m …), --config FILE, or --from MODEL to go on with one"
            );
        }
        Ok(RunConfig::resolve(preset.as_deref(), run.config.as_deref(), &run.sets()?)?)
    };
    let mut sets = from.iter().map(|from| path_set("start.from", from)).collect::<Result<Vec<_>>>()?;
    sets.extend(adapter.map(|AdapterKind::Lora| "lora={}".to_owned()));
    Ok(run.execute(&Wanted { config: &config, is_named, preset: preset.as_deref(), sets })?.code())
}

/// `key=path`, as `--set` takes it.
pub fn path_set(key: &str, path: &Path) -> Result<String> {
    Ok(format!("{key}={}", toml::Value::try_from(settled(path)?)?))
}

/// What is on disk by its absolute path, so that it is found from any working directory; other names, such as `random:tiny`,
/// as they are.
pub fn settled(path: &Path) -> Result<PathBuf> {
    match path.exists() {
        true => absolute(path),
        false => Ok(path.to_owned()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}: cannot be made absolute", path.display()))
}

/// How a command that makes a run came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// the plan is printed, and nothing is done
    Planned,
    /// all steps are done
    Finished,
    /// stopped before, with a checkpoint to go on from
    Stopped,
    /// one of the two, and rank 0 says which
    Followed,
    /// rank 0 says what went wrong
    Refused,
}

impl End {
    /// What the process says of it.
    pub fn code(self) -> ExitCode {
        match self {
            Self::Planned | Self::Finished | Self::Stopped | Self::Followed => ExitCode::SUCCESS,
            Self::Refused => ExitCode::from(2),
        }
    }
}

/// The run that a command wants.
pub struct Wanted<'a> {
    /// its configuration but for the data
    pub config: &'a dyn Fn() -> Result<RunConfig>,
    /// whether a model was typed, so that there is a configuration
    pub is_named: bool,
    /// the preset that was typed
    pub preset: Option<&'a str>,
    /// `key=value` of the command's own options that were typed: a run that goes on was begun with the same
    pub sets: Vec<String>,
}

impl RunArgs {
    /// Begins the run or goes on with it, to its end or a limit; or prints its plan.
    pub fn execute(&self, wanted: &Wanted) -> Result<End> {
        if self.dry_run {
            let plan = self.plan(wanted)?;
            match self.json {
                true => println!("{}", serde_json::to_string(&plan)?),
                false => print!("{plan}"),
            }
            return Ok(End::Planned);
        }
        let out = self.out()?;
        let interrupt = Interrupt::install()?;
        match ranks::join(self.rank_timeout, out)? {
            Some(group) if !group.is_root() => {
                let rank = group.rank();
                self.follow(group, &interrupt).with_context(|| format!("rank {rank}"))
            }
            group => self.lead(wanted, group, &interrupt),
        }
    }

    /// What was set by name, by --recompute and by --sft.
    pub fn sets(&self) -> Result<Vec<String>> {
        let mut sets = self.set.clone();
        if self.recompute {
            sets.insert(0, "train.recompute=true".to_owned());
        }
        if !self.sft.is_empty() {
            let files = self.sft.iter().map(|path| absolute(path)).collect::<Result<Vec<_>>>()?;
            let files = toml::Value::try_from(files)?;
            sets.insert(0, format!("sft.files={files}"));
        }
        Ok(sets)
    }

    /// The run folder.
    pub fn out(&self) -> Result<&Path> {
        let Some(out) = &self.out else {
            bail!("--out RUN is missing: name the folder that the run is to write")
        };
        Ok(out)
    }

    /// The wanted configuration with the data that was typed.
    fn complete(&self, wanted: &Wanted) -> Result<RunConfig> {
        let mut config = (wanted.config)()?;
        if !self.data.is_empty() {
            config.data = self.sources()?;
        }
        Ok(config)
    }

    /// The data that was typed.
    fn sources(&self) -> Result<Vec<SourceConfig>> {
        let source = |path: &PathBuf| Ok(SourceConfig { path: absolute(path)?, weight: 1.0 });
        self.data.iter().map(source).collect()
    }

    /// Whether this goes on with a run, and does not begin one. A run that was killed before it wrote anything has nothing to go
    /// on from, but says how it is to begin.
    fn goes_on(&self, wanted: &Wanted) -> Result<bool> {
        Ok(self.resume && (!wanted.is_named || Run::is_run(self.out()?)))
    }

    /// The only process of a run, or rank 0 of a job.
    fn lead(&self, wanted: &Wanted, group: Option<Group>, interrupt: &Interrupt) -> Result<End> {
        let out = self.out()?;
        let mut trainer = match self.goes_on(wanted)? {
            true => self.go_on(wanted, group)?,
            false => Trainer::create(self.complete(wanted)?, out, group)?,
        };
        for warning in trainer.config().warnings() {
            eprintln!("warning: {warning}");
        }
        for note in trainer.notes() {
            eprintln!("{note}");
        }
        if trainer.config().heal.is_some() && trainer.state().step == 0 {
            eprintln!("{}", Course::of(trainer.config())?);
        }
        let outcome = self.watch(&mut trainer, interrupt);
        let done = trainer.state().step;
        let is_common =
            |error: &Error| matches!(error.downcast_ref::<TrainError>(), Some(TrainError::Guard { .. }));
        // A rank that leaves alone ends the others, whatever they are writing.
        if outcome.as_ref().map_or_else(is_common, |_| true) {
            trainer.leave();
        }
        match outcome? {
            Outcome::Finished => {
                eprintln!("{}: all {done} steps are done", out.display());
                Ok(End::Finished)
            }
            Outcome::Interrupted | Outcome::Deadline => {
                say_stopped(out, done);
                Ok(End::Stopped)
            }
        }
    }

    fn watch(&self, trainer: &mut Trainer, interrupt: &Interrupt) -> Result<Outcome> {
        let config = trainer.config();
        let run = Run::open(self.out()?)?;
        let steps = (trainer.state().step, config.train.last());
        let mut watch = Samples::new(run, self.sample.clone(), config.train.threads_used(), steps)?;
        let limits = Limits { interrupted: &|| interrupt.is_asked(), time: self.max_time };
        let outcome = trainer.run(&limits, &mut watch);
        watch.finish();
        Ok(outcome?)
    }

    /// Any other rank: rank 0 tells it what to do, and speaks for all.
    fn follow(&self, group: Group, interrupt: &Interrupt) -> Result<End> {
        let mut trainer = Trainer::join(group)?;
        let limits = Limits { interrupted: &|| interrupt.is_asked(), time: self.max_time };
        let end = match trainer.run(&limits, &mut ()) {
            Ok(_) => End::Followed,
            // Every rank comes to the same verdict, and rank 0 says it.
            Err(TrainError::Guard { .. }) => End::Refused,
            Err(error) => return Err(error.into()),
        };
        trainer.leave();
        Ok(end)
    }

    /// The run in --out from its newest sound checkpoint, with its data where it is now.
    fn go_on(&self, wanted: &Wanted, group: Option<Group>) -> Result<Trainer> {
        let out = self.out()?;
        let file = Run::open(out)?.config();
        let before = bounded::read_text(&file, limits::CONFIG_BYTES_MAX)?;
        let own = self.agree(wanted)?;
        if own == RunConfig::from_toml(&before)? {
            return Ok(Trainer::resume(out, group)?);
        }
        let write = |text: &str| -> Result<()> {
            let _lock = Lock::acquire(out)?;
            Ok(atomic::write_bytes(&file, text.as_bytes())?)
        };
        write(&own.to_toml()?)?;
        // Whether this is the same data, its position in the checkpoint decides.
        match Trainer::resume(out, group) {
            Ok(trainer) => Ok(trainer),
            Err(error) => {
                write(&before)?;
                Err(error.into())
            }
        }
    }

    /// The run's own configuration counts, with its files where they are now; what is typed again has to say the same.
    fn agree(&self, wanted: &Wanted) -> Result<RunConfig> {
        let out = self.out()?;
        let run = Run::open(out)?;
        let mut own = RunConfig::resolve(None, Some(&run.config()), &[])?;
        self.relocate(&run, &mut own)?;
        let mut sets = wanted.sets.clone();
        sets.extend(self.sets()?);
        if !self.data.is_empty() {
            sets.push(format!("data={}", toml::Value::try_from(self.sources()?)?));
        }
        match own.change(wanted.preset, self.config.as_deref(), &sets)? {
            None => Ok(own),
            Some(change) => {
                bail!("{}: {change}; leave that out to go on, or choose another --out", out.display())
            }
        }
    }

    /// Makes the paths of a run absolute, and takes typed ones for its data where that may be the same: the first source has to
    /// have the fingerprint that the run wrote down.
    fn relocate(&self, run: &Run, own: &mut RunConfig) -> Result<()> {
        let models = [
            own.start.as_mut().map(|start| &mut start.from),
            own.heal.as_mut().map(|heal| &mut heal.from),
            own.distill.as_mut().map(|distill| &mut distill.teacher),
        ];
        let files = own.sft.iter_mut().flat_map(|sft| &mut sft.files);
        let sources = own.data.iter_mut().map(|source| &mut source.path);
        for path in models.into_iter().flatten().chain(files).chain(sources) {
            *path = settled(path)?;
        }
        // Without a checkpoint nothing would say that it is not the same.
        if checkpoint::candidates(run.dir()).is_err() {
            return Ok(());
        }
        if let Some(sft) = own.sft.as_mut().filter(|sft| sft.files.len() == self.sft.len()) {
            for (file, typed) in sft.files.iter_mut().zip(&self.sft).filter(|(_, typed)| typed.is_file()) {
                *file = absolute(typed)?;
            }
        }
        if own.data.len() == self.data.len() {
            let facts = run.facts().unwrap_or_default();
            let known = facts.get("data_fingerprint").and_then(|known| known.as_str());
            for (index, (source, typed)) in own.data.iter_mut().zip(&self.data).enumerate() {
                let found = Dataset::open(typed);
                if found.is_ok_and(|found| index > 0 || known == Some(found.fingerprint())) {
                    source.path = absolute(typed)?;
                }
            }
        }
        Ok(())
    }

    /// What the run will take, or what is left of one that goes on; its warnings are said.
    ///
    /// # Errors
    /// The configuration contradicts itself, or its data or a model is not there or does not fit.
    pub fn plan(&self, wanted: &Wanted) -> Result<Plan> {
        let goes_on = self.goes_on(wanted)?;
        let config = if goes_on { self.agree(wanted)? } else { self.complete(wanted)? };
        look_at_data(&config)?;
        let mut plan = Plan::new(&config, Rate::assumed(config.train.threads))?;
        if let Some(distill) = &config.distill {
            plan = plan.with_teacher(&config, checkpoint::open(&distill.teacher)?.config());
        }
        if goes_on {
            let out = self.out()?;
            let done = steps_done(out)?;
            eprintln!("{}: {done} of {} steps are done; what is left of it:", out.display(), plan.steps);
            plan = left(plan, &config, done)?;
        }
        for warning in config.warnings() {
            eprintln!("warning: {warning}");
        }
        if let Some(note) = arrival_note(&config)? {
            eprintln!("{note}");
        }
        Ok(plan)
    }
}

/// Where λ would come to 1 at the very end: that no step trains with it.
fn arrival_note(config: &RunConfig) -> Result<Option<String>> {
    let (schedule, last) = (config.schedule()?, config.train.last());
    let [before, end] = [last.saturating_sub(1), last].map(|step| schedule.at(step).lambda);
    Ok((before < 1.0 && end == 1.0).then(|| {
        format!(
            "note: λ comes to 1 after the last step, which trains at λ = {before:.4}; for steps at λ = 1 take lambda.kind = \"fixed-n\" with lambda.n below {last}"
        )
    }))
}

/// Steps that the newest sound checkpoint of a run has done.
fn steps_done(run: &Path) -> Result<u64> {
    match checkpoint::locate(run) {
        Ok(found) => {
            let step = found.checkpoint.state().get("step").and_then(|step| step.as_u64());
            Ok(step.unwrap_or(0))
        }
        Err(error) if error.kind == Kind::Missing => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// A plan of the steps after `done`.
fn left(mut plan: Plan, config: &RunConfig, done: u64) -> Result<Plan> {
    let last = plan.steps;
    let boundaries = config.schedule()?.boundaries_until(last);
    let every = config.train.checkpoint_every;
    let is_due = |step: &u64| boundaries.contains(step) || every > 0 && step.is_multiple_of(every);
    let steps = last.saturating_sub(done);
    if done > 0 {
        plan.checkpoints = (done + 1..=last).filter(is_due).count() as u64;
    }
    plan.checkpoints_kept = plan.checkpoints_kept.min(plan.checkpoints);
    plan.seconds *= steps as f64 / last.max(1) as f64;
    (plan.steps, plan.tokens) = (steps, steps * plan.tokens_per_step);
    Ok(plan)
}

/// Looks whether the data of a run is there and has no ids that its network has not.
fn look_at_data(config: &RunConfig) -> Result<()> {
    for SourceConfig { path, .. } in &config.data {
        let (data, model) = (Dataset::open(path)?.vocabulary(), config.model.vocabulary);
        if data > model {
            return Err(TrainError::Vocabulary { path: path.clone(), data, model }.into());
        }
    }
    let files = config.sft.iter().flat_map(|sft| &sft.files);
    match files.into_iter().find(|file| !file.is_file()) {
        Some(file) => bail!("{}: there is no such file; name the conversations with --sft", file.display()),
        None => Ok(()),
    }
}

/// Says that `run` was stopped, and how it goes on.
pub fn say_stopped(run: &Path, done: u64) {
    let run = run.display();
    eprintln!("{run}: stopped after {done} steps; 'trilobit train --out {run} --resume' goes on");
}

/// Trains to the end or a limit, visibly.
pub fn watch(trainer: &mut Trainer, interrupt: &Interrupt, time: Option<Duration>) -> Result<Outcome> {
    let mut watch = Watch::new(trainer.state().step, trainer.config().train.last());
    let limits = Limits { interrupted: &|| interrupt.is_asked(), time };
    let outcome = trainer.run(&limits, &mut watch);
    watch.finish();
    Ok(outcome?)
}

/// `90`, `90s`, `60m`, `8h`, `1.5h`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds_per_unit = match unit {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(format!("'{unit}' is no unit of time: write 90s, 60m or 8h")),
    };
    let number: f64 =
        number.trim().parse().map_err(|_| format!("'{text}' is no time: write 90s, 60m or 8h"))?;
    Duration::try_from_secs_f64(number * seconds_per_unit)
        .map_err(|_| format!("'{text}' is no length of time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lambda_that_comes_to_1_at_the_very_end_is_told() {
        let note = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
            arrival_note(&RunConfig::resolve(Some("tiny"), None, &sets).unwrap()).unwrap()
        };
        let told = note(&["train.steps=50", "lambda.kind=linear"]).unwrap();
        assert!(told.contains("λ = 0.9800") && told.contains("below 50"), "{told}");
        assert_eq!(note(&["train.steps=50", "lambda.kind=fixed-n", "lambda.n=40"]), None);
        assert_eq!(note(&["train.steps=50"]), None);
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let seconds = |text| parse_time(text).map(|time| time.as_secs());
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("120s"), Ok(120));
        assert_eq!(seconds("60m"), Ok(3600));
        assert_eq!(seconds("1.5h"), Ok(5400));
        for wrong in ["", "m", "5 parsecs", "-3s", "1e999h", "nan"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
