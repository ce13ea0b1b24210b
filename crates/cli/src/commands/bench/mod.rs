//! `trilobit bench`: how fast this machine is.

mod inference;
mod load;
mod peer;

use anyhow::Result;
use clap::Subcommand;
use kernels::gemm::{self, Arithmetic, View, Workspace};
use kernels::pool::Pool;
use kernels::ternary::{self, Packed, TernaryKernel};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use train::RunConfig;
use train::clock::{Op, Spent};
use train::pace::{self, Pace};
use train::plan::Flops;

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
    /// The matrix products alone: f32, block floating point, and int8 by ternary with every kernel of this machine
    Kernels(Kernels),
    /// Tokens generated one after another
    Decode(inference::DecodeArgs),
    /// A prompt read at once
    Prefill(inference::PrefillArgs),
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
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
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
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
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
    let pace = pace::measure(&config, args.warmup, args.steps as usize)?;
    let flops = Flops::new(&config.model, config.train.sequence).total() as f64 * pace.tokens_per_s();
    let (seconds, speed) = (pace.median().as_secs_f64(), pace.tokens_per_s());
    let spent = spent(&pace);
    let pool = Pool::new(threads(Some(config.train.threads)));
    let peaks = json!({
        "int8_gmac_per_s": integer_peak(&pool, 9) / 2e9,
        "bfp16_gmac_per_s": float_peak(&pool, Arithmetic::Bfp16) / 2e9,
        "f32_gmac_per_s": float_peak(&pool, Arithmetic::F32) / 2e9,
    });
    if args.json {
        let seconds_all: Vec<f64> = pace.steps.iter().map(|step| step.as_secs_f64()).collect();
        println!(
            "{}",
            json!({
                "preset": args.preset, "set": args.set, "threads": pool.threads(),
                "tokens_per_step": pace.tokens_per_step, "step_s": seconds, "steps_s": seconds_all,
                "tokens_per_s": speed, "flop_per_s": flops, "ops": spent, "peaks": peaks,
                "loss_first": pace.losses.0, "loss_last": pace.losses.1, "peak_rss_mb": peak_rss_mb(),
            })
        );
        return Ok(());
    }
    println!("{speed:.0} tokens/s, {seconds:.3} s a step of {} tokens", pace.tokens_per_step);
    println!("{:.1} GFLOP/s over the whole step, a multiply-add counted as two", flops / 1e9);
    println!("\n{:<26} {:>9} {:>6} {:>8} {:>7}", "", "ms a step", "share", "GMAC/s", "GB/s");
    for op in &spent {
        let number = |key: &str| op[key].as_f64().unwrap_or(0.0);
        let (name, rate) = (op["op"].as_str().unwrap_or_default(), number("gmac_per_s"));
        let rate = if rate > 0.0 { format!("{rate:.0}") } else { String::new() };
        let share = 100.0 * number("share");
        println!("{name:<26} {:>9.2} {share:>5.1}% {rate:>8} {:>7.1}", number("ms"), number("gb_per_s"));
    }
    let peak = |key: &str| peaks[key].as_f64().unwrap_or(0.0);
    println!(
        "\nproducts that stay in the caches: int8 {:.0}, bfp16 {:.0}, f32 {:.0} GMAC/s",
        peak("int8_gmac_per_s"),
        peak("bfp16_gmac_per_s"),
        peak("f32_gmac_per_s")
    );
    Ok(())
}

/// What each operation took in a step, the longest first.
fn spent(pace: &Pace) -> Vec<Value> {
    let steps = pace.steps.len() as f64;
    let whole: f64 = pace.steps.iter().map(|step| step.as_secs_f64()).sum();
    let mut ops = pace.spent.clone();
    ops.sort_by_key(|(_, spent)| std::cmp::Reverse(spent.time));
    let row = |(op, spent): &(Op, Spent)| {
        let seconds = spent.time.as_secs_f64().max(1e-12);
        json!({
            "op": op.name(), "ms": 1e3 * seconds / steps, "share": seconds / whole,
            "mmac": spent.macs as f64 / steps / 1e6, "gmac_per_s": spent.macs as f64 / seconds / 1e9,
            "mb": spent.bytes as f64 / steps / 1e6, "gb_per_s": spent.bytes as f64 / seconds / 1e9,
        })
    };
    ops.iter().map(row).collect()
}

/// (M, N, K) of the three products that training spends its time in.
const SHAPES: [(usize, usize, usize); 3] = [(4096, 768, 256), (4096, 256, 768), (256, 768, 4096)];

fn kernels(args: &Kernels) {
    let pool = Pool::new(threads(args.threads));
    let mut rows = Vec::new();
    for shape in SHAPES {
        for arithmetic in [Arithmetic::F32, Arithmetic::Bfp16] {
            rows.push(row(
                gemm::select(arithmetic).name(),
                shape,
                floats(&pool, arithmetic, shape, args.rounds),
            ));
        }
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

fn floats(pool: &Pool, arithmetic: Arithmetic, (m, n, k): (usize, usize, usize), rounds: u32) -> f64 {
    let (a, b) = (vec![0.5; m * k], vec![0.25; n * k]);
    let (mut c, mut workspace) = (vec![0.0; m * n], Workspace::new(arithmetic));
    median(rounds, || {
        gemm::gemm(pool, &mut workspace, View::f32(&a, m, k), View::f32(&b, n, k).t(), &mut c, n, false);
    })
}

/// Operations per second of the product of floats on operands that stay in the caches.
fn float_peak(pool: &Pool, arithmetic: Arithmetic) -> f64 {
    let (m, n, k) = CACHED;
    2.0 * (m * n * k) as f64 / floats(pool, arithmetic, CACHED, 9)
}

fn integer(pool: &Pool, kernel: &dyn TernaryKernel, (m, n, k): (usize, usize, usize), rounds: u32) -> f64 {
    let codes: Vec<i8> = (0..n * k).map(|i| (i % 3) as i8 - 1).collect();
    let mut packed = vec![0; ternary::packed_len(n, k)];
    ternary::pack(pool, &codes, n, k, &mut packed);
    let (q, scale, mut out) = (vec![3i8; m * k], vec![1.0; m], vec![0.0; m * n]);
    median(rounds, || {
        ternary::matmul_scaled(pool, kernel, Packed { bytes: &packed, n, k }, &q, &scale, &mut out);
    })
}

/// (M, N, K) of a product that stays in the caches.
const CACHED: (usize, usize, usize) = (512, 512, 512);

/// Operations per second of the fastest ternary kernel on a product that stays in the caches.
fn integer_peak(pool: &Pool, rounds: u32) -> f64 {
    let (m, n, k) = CACHED;
    2.0 * (m * n * k) as f64 / integer(pool, ternary::select(), CACHED, rounds.max(9))
}

/// Median seconds of `rounds` calls after one that is not counted.
fn median(rounds: u32, mut call: impl FnMut()) -> f64 {
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
