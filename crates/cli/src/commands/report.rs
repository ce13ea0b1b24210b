//! `trilobit report`: one page about one run or several, once or live; a summary on the terminal.

use crate::interrupt::Interrupt;
use crate::samples::answers;
use anyhow::{Context, Result};
use journal::samples;
use journal::{Run, layout};
use report::RunData;
use report::live::Server;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Most runs of one page; more are unreadable.
const RUNS_MAX: usize = 64;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// Run folders; several are laid over each other and compared
    #[arg(value_name = "RUN", required = true, num_args = 1..=RUNS_MAX)]
    runs: Vec<PathBuf>,
    /// Write the page to this file
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Serve the page to browsers of this machine, renewed while training goes on, until Ctrl-C
    #[arg(long)]
    live: bool,
    /// With --live: the port on 127.0.0.1; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8650, requires = "live")]
    port: u16,
    /// First let every checkpoint continue this prompt, greedily, and keep the answers in samples.jsonl
    #[arg(long, value_name = "PROMPT")]
    sample: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    for dir in &args.runs {
        ask_checkpoints(dir, &args.sample)?;
    }
    let runs = args.runs.iter().map(|dir| Ok(RunData::read(dir)?)).collect::<Result<Vec<_>>>()?;
    if let Some(out) = &args.out {
        let with_weights = runs.into_iter().zip(&args.runs).map(|(run, dir)| run.with_weights(dir));
        let runs: Vec<RunData> = distinct(with_weights.collect());
        let page = report::page(&runs, false);
        formats::atomic::write_bytes(out, page.as_bytes())?;
        print!("{}", report::terminal::summary(&runs));
        eprintln!("{}: {} bytes, opens in any browser", out.display(), page.len());
    } else {
        print!("{}", report::terminal::summary(&distinct(runs)));
    }
    if args.live {
        serve(&args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs of the same name get a number, so that a legend tells them apart.
fn distinct(mut runs: Vec<RunData>) -> Vec<RunData> {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (index, run) in runs.iter_mut().enumerate() {
        let before = names[..index].iter().filter(|name| **name == run.name).count();
        if before > 0 {
            run.name = format!("{} ({})", run.name, before + 1);
        }
    }
    runs
}

fn serve(args: &Args) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let server = Server::bind(args.port, args.runs.clone()).with_context(|| {
        format!("port {} of 127.0.0.1 cannot be listened on; name another with --port", args.port)
    })?;
    eprintln!("http://{}/ until Ctrl-C", server.address()?);
    Ok(server.serve(&|| interrupt.is_asked())?)
}

/// Lets every checkpoint answer the prompts that it has not answered yet.
fn ask_checkpoints(dir: &Path, prompts: &[String]) -> Result<()> {
    if prompts.is_empty() {
        return Ok(());
    }
    let run = Run::open(dir)?;
    let known = if run.samples().exists() { samples::read(&run.samples())? } else { Vec::new() };
    let is_known = |step: u64, prompt: &str| known.iter().any(|s| s.step == step && s.prompt == prompt);
    for step in steps(&run.checkpoints())? {
        let open: Vec<String> = prompts.iter().filter(|prompt| !is_known(step, prompt)).cloned().collect();
        if !open.is_empty() {
            let mut writer = samples::Writer::open_at(&run.samples(), u64::MAX)?;
            for answer in answers(&run.checkpoint(step), step, &open, 0)? {
                writer.append(&answer)?;
            }
        }
    }
    Ok(())
}

/// Steps of the checkpoints in a folder, ascending.
fn steps(dir: &Path) -> Result<Vec<u64>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("{}: cannot list it", dir.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut steps: Vec<u64> = names.filter_map(|name| layout::checkpoint_step(&name)).collect();
    steps.sort_unstable();
    Ok(steps)
}
