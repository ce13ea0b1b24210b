//! `trilobit plan`: what a job of several nodes would take.

use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::process::ExitCode;
use train::RunConfig;
use train::forecast::{Forecast, Nodes};

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// A shipped configuration: 125m, 2b4t …
    #[arg(long, value_name = "NAME", required_unless_present = "config")]
    preset: Option<String>,
    /// A TOML file, over the preset
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one value: --set train.batch=1024
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Nodes, one rank each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    nodes: u32,
    /// GB/s into a node, and at the same time out of it: 12.5 for 100 Gbit/s
    #[arg(long, value_name = "GB/s")]
    network: f64,
    /// Tokens per second of one node alone, as 'bench train' measures them; assumed where left out
    #[arg(long, value_name = "N")]
    tokens_per_s: Option<f64>,
    /// Tokens of the run, for example 4e12; the configuration's steps where left out
    #[arg(long, value_name = "N")]
    tokens: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// More of anything than there is on Earth.
const LARGEST: f64 = 1e18;

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let config = RunConfig::resolve(args.preset.as_deref(), args.config.as_deref(), &args.set)?;
    for (name, value) in
        [("network", Some(args.network)), ("tokens-per-s", args.tokens_per_s), ("tokens", args.tokens)]
    {
        let is_good = value.is_none_or(|value| value > 0.0 && value <= LARGEST);
        ensure!(
            is_good,
            "--{name} {} is not a number above 0, at most {LARGEST:e}",
            value.unwrap_or_default()
        );
    }
    let machines = Nodes {
        nodes: args.nodes as usize,
        network_bytes_per_s: args.network * 1e9,
        tokens_per_s: args.tokens_per_s,
    };
    let whole = config.train.last() * config.train.tokens_per_step();
    let forecast = Forecast::new(&config, machines, args.tokens.map_or(whole, |tokens| tokens as u64))?;
    match args.json {
        true => println!("{}", serde_json::to_string(&forecast)?),
        false => print!("{forecast}"),
    }
    let train::config::TrainConfig { batch, accumulation, .. } = config.train;
    let nodes = args.nodes as usize;
    if !batch.is_multiple_of(nodes) && !accumulation.is_multiple_of(nodes) {
        eprintln!(
            "warning: neither train.batch = {batch} nor train.accumulation = {accumulation} can be split evenly over {nodes} nodes, so this run would be refused; choose a multiple with --set train.batch=N"
        );
    }
    Ok(ExitCode::SUCCESS)
}
