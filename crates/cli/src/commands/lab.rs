//! `trilobit lab`: run an experiment, and show what it has come to.

use crate::corpus;
use crate::interrupt::Interrupt;
use ::data::{Dataset, PrepareOptions, generated};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use formats::Kind;
use journal::Lock;
use lab::experiment::{self, Corpus, Settings};
use lab::folder::{DataSet, Facts};
use lab::points::Point;
use lab::results::Results;
use lab::runner::{self, Options, Status};
use lab::{Experiment, Folder, plot, shipped, slurm};
use report::RunData;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use train::RunConfig;
use train::config::{HealConfig, SubNorm};

/// Documents of the built-in corpus, in the full and in the quick size, and held out.
const DOCUMENTS: usize = 20_000;
const DOCUMENTS_QUICK: usize = 6_000;
const DOCUMENTS_HELD_OUT: usize = 300;
/// Share of the text held out.
const VALID_SHARE: f64 = 0.02;
/// Most runs of the report's page.
const PAGE_RUNS_MAX: usize = 24;
/// Most rows of the live table.
const ROWS_MAX: usize = 40;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run an experiment, or go on with it; finished runs are not repeated
    Run(Run),
    /// Tables, and claims with their verdicts and evidence
    Show(Show),
    /// The experiments that come with the program
    List,
}

#[derive(clap::Args)]
struct Run {
    /// A TOML file, or the name of a shipped experiment: collapse, scaling, separation … ('lab list')
    experiment: String,
    /// The experiment's folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The size that two cores do in minutes
    #[arg(long)]
    quick: bool,
    /// A folder that 'data prepare' wrote, in place of the built-in text; NAME=DIR where the experiment has several
    #[arg(long, value_name = "[NAME=]DIR")]
    data: Vec<String>,
    /// Held-out text of a data set, for measures of perplexity
    #[arg(long, value_name = "[NAME=]FILE")]
    text: Vec<String>,
    /// The model that an experiment of the command 'heal' heals, in place of the one it trains itself; with --data of its tokenizer
    #[arg(long, value_name = "MODEL", requires = "data")]
    from: Option<PathBuf>,
    /// Runs at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Only every N-th run, from the I-th on, counted from 0: one task of an array [default: the rank under mpirun]
    #[arg(long, value_name = "I/N", value_parser = parse_share)]
    share: Option<(usize, usize)>,
    /// Run nothing; write a Slurm script that runs everything as an array
    #[arg(long, value_name = "FILE.sh")]
    slurm: Option<PathBuf>,
    /// With --slurm: tasks of the array
    #[arg(long, value_name = "N", default_value_t = 8, requires = "slurm", value_parser = clap::value_parser!(u16).range(1..))]
    tasks: u16,
}

#[derive(clap::Args)]
struct Show {
    /// The folder that 'lab run --out' wrote
    dir: PathBuf,
    /// One JSON object
    #[arg(long, conflicts_with_all = ["csv", "markdown"])]
    json: bool,
    /// Tables and verdicts as CSV
    #[arg(long, conflicts_with = "markdown")]
    csv: bool,
    /// Markdown, as without any of these
    #[arg(long)]
    markdown: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Verb::Run(args) => run_experiment(&args),
        Verb::Show(args) => show(&args),
        Verb::List => {
            for (name, text) in shipped::EXPERIMENTS {
                let experiment = Experiment::parse(name, text, false)?;
                println!("{name:<12} {}: {}", experiment.title, experiment.question);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn show(args: &Show) -> Result<ExitCode> {
    let results = Results::of(&Folder::open(&args.dir)?)?;
    match (args.json, args.csv) {
        (true, _) => println!("{}", results.json()),
        (_, true) => print!("{}", results.csv()),
        _ => print!("{}", results.markdown()),
    }
    Ok(ExitCode::SUCCESS)
}

fn run_experiment(args: &Run) -> Result<ExitCode> {
    let text = shipped::text(&args.experiment)?;
    let experiment = Experiment::parse(&args.experiment, &text, args.quick)?;
    experiment.check_values(&args.experiment)?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("{}: cannot create the folder", args.out.display()))?;
    let facts =
        Facts { quick: args.quick, data: data_sets(args, &experiment)?, from: model(args, &experiment)? };
    check_settings(&args.experiment, &experiment, &facts)?;
    let folder = Folder::begin(&args.out.canonicalize()?, &args.experiment, &text, facts)?;
    let program = std::env::current_exe().context("cannot find the program itself")?;
    if let Some(path) = &args.slurm {
        let copy = folder.dir().join("experiment.toml");
        let script = slurm::script(&folder, &program, &copy, args.tasks.into());
        formats::atomic::write_bytes(path, script.as_bytes())?;
        eprintln!("{}: sbatch it; {} runs", path.display(), folder.points.len());
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt = Interrupt::install()?;
    let mut table = Table::default();
    let mut options = Options {
        program,
        jobs: args.jobs.into(),
        cores: cluster::launch::cores(),
        share: args.share.unwrap_or_else(rank),
        interrupted: &|| interrupt.is_asked(),
        watch: &mut |states| table.show(states),
    };
    let states = runner::run(&folder, &mut options)?;
    write_results(&folder)?;
    conclude(&folder, &states)
}

/// Resolves the configuration of every run: a key that is misspelt is found before the first one is trained.
fn check_settings(name: &str, experiment: &Experiment, facts: &Facts) -> Result<()> {
    let sets = |settings: &Settings| runner::sets(experiment, facts, settings);
    let begin = |settings: &Settings| RunConfig::resolve(settings.preset.as_deref(), None, &sets(settings));
    let source = match (&facts.from, &experiment.start) {
        (Some(from), _) => Some(checkpoint::open(from)?.config().clone()),
        (None, Some(start)) => {
            Some(begin(start).with_context(|| format!("{name}, the [start] table"))?.model)
        }
        (None, None) => None,
    };
    let from = facts.from.clone().unwrap_or_default();
    for point in lab::points::points(experiment) {
        let heal = HealConfig { from: from.clone(), sub_norm: SubNorm::default(), rotate: false };
        let config = match &source {
            Some(source) => RunConfig::heal(heal, source, None, None, &sets(&point.settings)),
            None => begin(&point.settings),
        };
        config.with_context(|| format!("{name}, run {}", point.label))?;
    }
    Ok(())
}

/// `I/N`, counted from 0.
fn parse_share(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((own, of)) if own < of => Ok((own, of)),
        _ => Err(format!("'{text}' is no share: write 0/4, 1/4, 2/4, 3/4")),
    }
}

/// The rank of this process under mpirun; the whole where there is none.
fn rank() -> (usize, usize) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    match (number("OMPI_COMM_WORLD_RANK"), number("OMPI_COMM_WORLD_SIZE")) {
        (Some(rank), Some(size)) if rank < size => (rank, size),
        _ => (0, 1),
    }
}

fn conclude(folder: &Folder, states: &[(Point, Status)]) -> Result<ExitCode> {
    let dir = folder.dir().display();
    let mut failed = states.iter().filter_map(|(point, status)| match status {
        Status::Failed(why) => Some((point, why)),
        _ => None,
    });
    if let Some((point, why)) = failed.next() {
        bail!(
            "{}: {why} (its log: {}/points/{}/log.txt); run the same command again to go on",
            point.label,
            dir,
            point.label
        );
    }
    let results = Results::of(folder)?;
    print!("{}", results.markdown());
    match results.is_complete() {
        true => eprintln!("{dir}: results.md, results.csv, results.json, report.html, plots/"),
        false => eprintln!("{dir}: not all runs are done; run the same command again to go on"),
    }
    Ok(ExitCode::SUCCESS)
}

fn write_results(folder: &Folder) -> Result<()> {
    let results = Results::of(folder)?;
    let write =
        |name: &str, text: String| formats::atomic::write_bytes(&folder.dir().join(name), text.as_bytes());
    write("results.md", results.markdown())?;
    write("results.csv", results.csv())?;
    write("results.json", format!("{:#}\n", results.json()))?;
    let measured = lab::results::measured(folder)?;
    std::fs::create_dir_all(folder.dir().join("plots"))?;
    for wanted in &folder.experiment.plots {
        write(&format!("plots/{}.svg", wanted.measure), plot::svg(wanted, &measured))?;
    }
    let begun = folder.points.iter().filter(|point| journal::Run::is_run(&folder.run_dir(point)));
    let read =
        |point: &Point| Ok(RunData { name: point.label.clone(), ..RunData::read(&folder.run_dir(point))? });
    let runs = begun.take(PAGE_RUNS_MAX).map(read).collect::<Result<Vec<_>>>()?;
    Ok(write("report.html", report::page(&runs, false))?)
}

/// The data sets: those that were named, the others made of the built-in corpus. An experiment that is gone on with has its own.
fn data_sets(args: &Run, experiment: &Experiment) -> Result<BTreeMap<String, DataSet>> {
    let (given, texts) = (named(&args.data, experiment, "--data")?, named(&args.text, experiment, "--text")?);
    if given.is_empty()
        && texts.is_empty()
        && let Ok(begun) = Folder::open(&args.out)
    {
        return Ok(begun.facts.data);
    }
    let mut sets = BTreeMap::new();
    for (name, path) in given {
        let path =
            path.canonicalize().with_context(|| format!("{}: there is no such data", path.display()))?;
        let vocabulary = Dataset::open(&path)?.vocabulary();
        sets.insert(name.clone(), DataSet { path, vocabulary, text: texts.get(&name).cloned() });
    }
    if sets.len() < experiment.data.len() {
        let built = built_in(&args.out, experiment, args.quick)?;
        built.into_iter().for_each(|(name, set)| {
            sets.entry(name).or_insert(set);
        });
    }
    Ok(sets)
}

/// The model to heal: the one that was named, or that the experiment was begun with.
fn model(args: &Run, experiment: &Experiment) -> Result<Option<PathBuf>> {
    let Some(path) = &args.from else {
        return Ok(Folder::open(&args.out)
            .ok()
            .filter(|_| args.data.is_empty())
            .and_then(|begun| begun.facts.from));
    };
    if experiment.verb != experiment::Verb::Heal {
        bail!(
            "--from {}: experiment '{}' trains its models; leave --from out, or take 'lambda'",
            path.display(),
            args.experiment
        );
    }
    let path = path.canonicalize().with_context(|| format!("{}: there is no such model", path.display()))?;
    Ok(Some(path))
}

/// `NAME=PATH`, or a path alone where there is only one data set.
fn named(given: &[String], experiment: &Experiment, option: &str) -> Result<BTreeMap<String, PathBuf>> {
    let names: Vec<&String> = experiment.data.keys().collect();
    let mut paths = BTreeMap::new();
    for text in given {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) if experiment.data.contains_key(name) => (name.to_owned(), path),
            _ if names.len() == 1 => (names[0].clone(), text.as_str()),
            _ => bail!("{option} {text}: say of which data set, {names:?}, as in {option} {}=…", names[0]),
        };
        paths.insert(name, PathBuf::from(path));
    }
    Ok(paths)
}

/// Makes data sets of the built-in corpus, unless they are there, all with one tokenizer.
fn built_in(out: &Path, experiment: &Experiment, quick: bool) -> Result<Vec<(String, DataSet)>> {
    let dir = out.join("data");
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    // Other shares of the same experiment may be at it.
    let _lock = loop {
        match Lock::acquire(&dir) {
            Err(error) if error.kind == Kind::Locked => std::thread::sleep(Duration::from_millis(300)),
            lock => break lock?,
        }
    };
    let documents: Vec<String> =
        generated::corpus(0, if quick { DOCUMENTS_QUICK } else { DOCUMENTS }).collect();
    let held_out: Vec<String> = generated::corpus(1, DOCUMENTS_HELD_OUT).collect();
    let tokenizer = dir.join("tokenizer.json");
    if !tokenizer.exists() {
        eprintln!("a tokenizer for the built-in text");
        corpus::train_tokenizer(&documents, &tokenizer)?;
    }
    let mut sets = Vec::new();
    for (name, kind) in &experiment.data {
        let of = |all: &[String]| -> Vec<String> {
            let is_story =
                |text: &&String| *kind == Corpus::Mixed || !text.contains(|c: char| c.is_ascii_digit());
            all.iter().filter(is_story).cloned().collect()
        };
        let [path, input, text] =
            ["", ".train.txt", ".held-out.txt"].map(|ending| dir.join(format!("{name}{ending}")));
        if Dataset::open(&path).is_err() {
            corpus::write(&of(&documents), &input)?;
            corpus::write(&of(&held_out), &text)?;
            let prepare = PrepareOptions {
                inputs: vec![input],
                valid_share: VALID_SHARE,
                tokenizer: tokenizer.clone(),
                out: path.clone(),
                ..PrepareOptions::default()
            };
            ::data::prepare(&prepare, &())?;
        }
        let vocabulary = Dataset::open(&path)?.vocabulary();
        sets.push((name.clone(), DataSet { path, vocabulary, text: Some(text) }));
    }
    Ok(sets)
}

/// The live table: redrawn on a terminal, a line for each change elsewhere.
#[derive(Default)]
struct Table {
    drawn: usize,
    known: Vec<Status>,
}

impl Table {
    fn show(&mut self, states: &[(Point, Status)]) {
        let mut out = std::io::stderr().lock();
        if out.is_terminal() {
            let rows = states.iter().take(ROWS_MAX);
            let text: String =
                rows.map(|(point, status)| format!("\x1b[2K{}\n", line(point, status))).collect();
            let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
            // A table that cannot be shown stops nothing.
            let _ = write!(out, "{up}{text}");
            self.drawn = states.len().min(ROWS_MAX);
            return;
        }
        self.known.resize(states.len(), Status::Waiting);
        for ((point, status), known) in states.iter().zip(&mut self.known) {
            if std::mem::discriminant(status) != std::mem::discriminant(known) {
                let _ = writeln!(out, "{}", line(point, status));
                *known = status.clone();
            }
        }
    }
}

fn line(point: &Point, status: &Status) -> String {
    let short = report::number::short;
    let state = match status {
        Status::Waiting => "waiting".to_owned(),
        Status::Running { done, loss } => format!("step {done}, loss {}", short(*loss)),
        Status::Done { loss } => format!("done, last loss {}", short(*loss)),
        Status::Stopped => "stopped; goes on next time".to_owned(),
        Status::Elsewhere => "another process has it".to_owned(),
        Status::Failed(why) => format!("failed: {}", why.chars().take(100).collect::<String>()),
    };
    format!("{:<48} {state}", point.label)
}
