//! `trilobit train`: pre-train a model, or go on with a run.

use crate::interrupt::Interrupt;
use crate::ranks;
use crate::watch::Watch;
use anyhow::{Context, Result, bail};
use cluster::Group;
use journal::Run;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use train::config::SourceConfig;
use train::plan::{Plan, Rate};
use train::{Limits, Outcome, RunConfig, TrainError, Trainer};

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// A shipped configuration: tiny, books10m, study256, 125m, 2b4t …
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// A TOML file with [model], [train], [schedule], [lambda]; over the preset, if both are given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder that 'trilobit data prepare' wrote; several are mixed evenly
    #[arg(long, value_name = "DIR", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The run folder
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Go on with the run in --out from its newest sound checkpoint
    #[arg(long)]
    resume: bool,
    /// Stop after this time with a checkpoint to resume from: 90s, 60m, 8h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    max_time: Option<Duration>,
    /// Under mpirun: a rank that is silent for so long ends the job
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "60s")]
    rank_timeout: Duration,
    /// Print parameters, memory, steps, tokens and time, and stop
    #[arg(long)]
    dry_run: bool,
    /// Set one value: --set train.steps=1000
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// With --dry-run, print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if args.dry_run {
        return dry_run(&args);
    }
    let Some(out) = &args.out else {
        bail!("--out RUN is missing: name the folder that the run is to write")
    };
    let interrupt = Interrupt::install()?;
    match ranks::join(args.rank_timeout, out)? {
        Some(group) if !group.is_root() => {
            let rank = group.rank();
            follow(&args, group, &interrupt).with_context(|| format!("rank {rank}"))
        }
        group => lead(&args, out, group, &interrupt),
    }
}

/// The only process of a run, or rank 0 of a job.
fn lead(args: &Args, out: &Path, group: Option<Group>, interrupt: &Interrupt) -> Result<ExitCode> {
    // A run that was killed before it wrote anything has nothing to go on from, but says how it is to begin.
    let is_begun = Run::is_run(out) || (args.preset.is_none() && args.config.is_none());
    let mut trainer = match args.resume && is_begun {
        true => resume(args, out, group)?,
        false => Trainer::create(config(args)?, out, group)?,
    };
    for warning in trainer.config().warnings() {
        eprintln!("warning: {warning}");
    }
    let outcome = watch(&mut trainer, interrupt, args.max_time)?;
    let done = trainer.state().step;
    trainer.leave();
    match outcome {
        Outcome::Finished => eprintln!("{}: all {done} steps are done", out.display()),
        Outcome::Interrupted | Outcome::Deadline => {
            let out = out.display();
            eprintln!("{out}: stopped after {done} steps; 'trilobit train --out {out} --resume' goes on");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Any other rank: rank 0 tells it what to do, and speaks for all.
fn follow(args: &Args, group: Group, interrupt: &Interrupt) -> Result<ExitCode> {
    let mut trainer = Trainer::join(group)?;
    let limits = Limits { interrupted: &|| interrupt.is_asked(), time: args.max_time };
    match trainer.run(&limits, &mut ()) {
        // Every rank comes to the same verdict, and rank 0 says it.
        Err(TrainError::Guard { .. }) => return Ok(ExitCode::from(2)),
        outcome => outcome?,
    };
    trainer.leave();
    Ok(ExitCode::SUCCESS)
}

/// Trains to the end or a limit, visibly.
pub fn watch(trainer: &mut Trainer, interrupt: &Interrupt, time: Option<Duration>) -> Result<Outcome> {
    let mut watch = Watch::new(trainer.state().step, trainer.config().train.last());
    let limits = Limits { interrupted: &|| interrupt.is_asked(), time };
    let outcome = trainer.run(&limits, &mut watch);
    watch.finish();
    Ok(outcome?)
}

fn config(args: &Args) -> Result<RunConfig> {
    if args.preset.is_none() && args.config.is_none() {
        bail!("which model? name one with --preset NAME (tiny, books10m, 125m …) or --config FILE");
    }
    let mut config = RunConfig::resolve(args.preset.as_deref(), args.config.as_deref(), &args.set)?;
    if !args.data.is_empty() {
        config.data = args.data.iter().map(|path| SourceConfig { path: path.clone(), weight: 1.0 }).collect();
    }
    Ok(config)
}

/// The run's own configuration counts; what is given again has to say the same.
fn resume(args: &Args, out: &Path, group: Option<Group>) -> Result<Trainer> {
    let trainer = Trainer::resume(out, group)?;
    if args.preset.is_some() || args.config.is_some() || !args.set.is_empty() {
        let mut given = config(args)?;
        if given.data.is_empty() {
            given.data = trainer.config().data.clone();
        }
        let (given, own) = (given.to_toml()?, trainer.config().to_toml()?);
        if let Some((given, own)) = given.lines().zip(own.lines()).find(|(given, own)| given != own) {
            bail!(
                "{}: it was begun with '{own}', and '{given}' is asked for now; leave the configuration out to go on, or choose another --out",
                out.display()
            );
        }
    }
    Ok(trainer)
}

fn dry_run(args: &Args) -> Result<ExitCode> {
    let config = config(args)?;
    let plan = Plan::new(&config, Rate::assumed(config.train.threads))?;
    match args.json {
        true => println!("{}", serde_json::to_string(&plan)?),
        false => print!("{plan}"),
    }
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
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
