//! `trilobit bench`: how fast this machine is.

mod inference;
mod load;
mod peer;

use anyhow::Result;
use clap::Subcommand;
use kernels::gemm::{self, View, Workspace};
use kernels::pool::Pool;
use kernels::ternary::{self, Packed, TernaryKernel};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use train::plan::Flops;
use train::{RunConfig, pace};

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Whole training steps of a configuration, on random tokens
    Train(Train),
    /// The matrix products alone: f32, and int8 by ternary with every kernel of this machine
    Kernels(Kernels),
    /// Tokens generated one after another
    Decode(inference::Args),
    /// A prompt read at once
    Prefill(inference::Args),
    /// From a cold start to the first token, beside the time to read the files
    Load(load::Args),
}

#[derive(clap::Args)]
struct Train {
    /// A shipped configuration
    #[arg(long, value_name = "NAME", default_value = "books10m")]
    preset: String,
    /// A TOML file over the preset
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one value: --set train.batch=16
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Threads [default: those of the configuration, or all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Steps before the clock starts
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: usize,
    /// Timed steps; the median counts
    #[arg(long, value_name = "N", default_value_t = 7)]
    steps: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Kernels {
    /// Threads [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Repetitions; the median counts
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.verb {
        Verb::Train(args) => train(&args)?,
        Verb::Kernels(args) => kernels(&args),
        Verb::Decode(args) => inference::decode(&args)?,
        Verb::Prefill(args) => inference::prefill(&args)?,
        Verb::Load(args) => load::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn train(args: &Train) -> Result<()> {
    let mut config = RunConfig::resolve(Some(&args.preset), args.config.as_deref(), &args.set)?;
    if let Some(threads) = args.threads {
        config.train.threads = threads;
    }
    let pace = pace::measure(&config, args.warmup, args.steps)?;
    let flops = Flops::new(&config.model, config.train.sequence).total() as f64 * pace.tokens_per_s();
    let (seconds, speed) = (pace.median().as_secs_f64(), pace.tokens_per_s());
    if args.json {
        let seconds_all: Vec<f64> = pace.steps.iter().map(|step| step.as_secs_f64()).collect();
        println!(
            "{}",
            json!({
                "preset": args.preset, "set": args.set, "threads": threads(Some(config.train.threads)),
                "tokens_per_step": pace.tokens_per_step, "step_s": seconds, "steps_s": seconds_all,
                "tokens_per_s": speed, "flop_per_s": flops,
                "loss_first": pace.losses.0, "loss_last": pace.losses.1, "peak_rss_mb": peak_rss_mb(),
            })
        );
        return Ok(());
    }
    println!("{speed:.0} tokens/s, {seconds:.3} s a step of {} tokens", pace.tokens_per_step);
    println!("{:.1} GFLOP/s over the whole step, a multiply-add counted as two", flops / 1e9);
    Ok(())
}

/// (M, N, K) of the three products that training spends its time in.
const SHAPES: [(usize, usize, usize); 3] = [(4096, 768, 256), (4096, 256, 768), (256, 768, 4096)];

fn kernels(args: &Kernels) {
    let pool = Pool::new(threads(args.threads));
    let mut rows = Vec::new();
    for shape in SHAPES {
        rows.push(row("f32", shape, single(&pool, shape, args.rounds)));
        for kernel in ternary::supported() {
            rows.push(row(kernel.name(), shape, integer(&pool, kernel, shape, args.rounds)));
        }
    }
    if args.json {
        println!("{}", json!({ "threads": pool.threads(), "kernels": rows }));
        return;
    }
    for row in rows {
        let name = row["kernel"].as_str().unwrap_or_default();
        println!(
            "{name:<24} {:<18} {:>7.1} GOP/s",
            row["shape"].to_string(),
            row["gop_per_s"].as_f64().unwrap_or(0.0)
        );
    }
}

fn row(name: &str, (m, n, k): (usize, usize, usize), seconds: f64) -> Value {
    json!({ "kernel": name, "shape": [m, n, k], "gop_per_s": 2.0 * (m * n * k) as f64 / seconds / 1e9 })
}

fn single(pool: &Pool, (m, n, k): (usize, usize, usize), rounds: usize) -> f64 {
    let (a, b) = (vec![0.5; m * k], vec![0.25; n * k]);
    let (mut c, mut workspace) = (vec![0.0; m * n], Workspace::default());
    median(rounds, || {
        gemm::gemm(pool, &mut workspace, View::f32(&a, m, k), View::f32(&b, n, k).t(), &mut c, n, false);
    })
}

fn integer(pool: &Pool, kernel: &dyn TernaryKernel, (m, n, k): (usize, usize, usize), rounds: usize) -> f64 {
    let codes: Vec<i8> = (0..n * k).map(|i| (i % 3) as i8 - 1).collect();
    let mut packed = vec![0; ternary::packed_len(n, k)];
    ternary::pack(pool, &codes, n, k, &mut packed);
    let (q, scale, mut out) = (vec![3i8; m * k], vec![1.0; m], vec![0.0; m * n]);
    median(rounds, || {
        ternary::matmul_scaled(pool, kernel, Packed { bytes: &packed, n, k }, &q, &scale, &mut out);
    })
}

/// Operations per second of the fastest ternary kernel on a product that stays in the caches.
fn integer_peak(pool: &Pool, rounds: usize) -> f64 {
    const SHAPE: (usize, usize, usize) = (512, 512, 512);
    let (m, n, k) = SHAPE;
    2.0 * (m * n * k) as f64 / integer(pool, ternary::select(), SHAPE, rounds.max(9))
}

/// Median seconds of `rounds` calls after one that is not counted.
fn median(rounds: usize, mut call: impl FnMut()) -> f64 {
    call();
    let mut seconds: Vec<f64> = (0..rounds.max(1))
        .map(|_| {
            let begun = Instant::now();
            call();
            begun.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn threads(asked: Option<usize>) -> usize {
    match asked {
        None | Some(0) => std::thread::available_parallelism().map_or(1, |n| n.get()),
        Some(threads) => threads,
    }
}

/// Largest resident memory of this process so far, where the system tells.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}
