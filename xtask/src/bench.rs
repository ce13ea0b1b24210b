//! `cargo xtask bench`: two commands in turn, A B A B …, and the ratio of their speeds.
//!
//! An absolute speed on a shared machine says little. A ratio does, where both sides ran within seconds of
//! each other, several times, and where a reading of the memory's speed shows how quiet the machine was.

use anyhow::{Context, Result, bail};
use peer::{SPEED, measure, speed, spread};
use serde_json::{Map, Value, json};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[path = "../../crates/cli/src/commands/bench/peer.rs"]
mod peer;

/// Larger than the last-level cache of the machines that we measure on.
const READ_BYTES: usize = 1 << 30;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// What is measured; the file becomes bench/runs/DATE-HOST/NAME.json
    name: String,
    /// Our command, for the shell; its last line on stdout is a JSON object with `tokens_per_s`
    #[arg(long)]
    ours: String,
    /// The peer's command, under the same contract
    #[arg(long)]
    peer: String,
    /// How often each side runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The machine's name in the folder; by default its host name
    #[arg(long)]
    host: Option<String>,
}

/// Runs the rounds, prints the medians and writes the file; always true.
///
/// # Errors
/// Where a command fails or prints no speed, or the file cannot be written.
pub fn run(root: &Path, args: &Args) -> Result<bool> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let started = seconds_since_1970()?;
    let before = read_speeds(threads);
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        let ours = measure(root, &args.ours)?;
        let peer = measure(root, &args.peer)?;
        let ratio = speed(&ours)? / speed(&peer)?;
        eprintln!(
            "round {round}: ours {:.1}, peer {:.1} tokens/s, ratio {ratio:.3}",
            speed(&ours)?,
            speed(&peer)?
        );
        rounds.push(Round { ours, peer, ratio });
    }
    let report = json!({
        "name": args.name,
        "date": date(started),
        "cpu": cpu(),
        "threads_available": threads,
        "commit": commit(root),
        "ours": side(&args.ours, rounds.iter().map(|round| &round.ours))?,
        "peer": side(&args.peer, rounds.iter().map(|round| &round.peer))?,
        "ratio": spread(rounds.iter().map(|round| round.ratio).collect()),
        "read_gb_per_s": { "before": before, "after": read_speeds(threads) },
    });
    let path = path(root, args, &date(started))?;
    fs::create_dir_all(path.parent().context("the path has a folder")?)?;
    fs::write(&path, format!("{report:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", json!({ "file": path, "ratio": report["ratio"] }));
    Ok(true)
}

/// What both sides printed, and ours over theirs.
struct Round {
    ours: Map<String, Value>,
    peer: Map<String, Value>,
    ratio: f64,
}

/// A side's command, the spread of its speed, and all that it printed.
fn side<'a>(command: &str, printed: impl Iterator<Item = &'a Map<String, Value>>) -> Result<Value> {
    let printed: Vec<_> = printed.collect();
    let speeds = printed.iter().map(|object| speed(object)).collect::<Result<Vec<_>>>()?;
    Ok(json!({ "command": command, SPEED: spread(speeds), "printed": printed }))
}

/// Plain reading of main memory in GB/s, by one thread and by all: the best of three.
fn read_speeds(threads: usize) -> Value {
    let memory = vec![1_u64; READ_BYTES / size_of::<u64>()];
    let best = |threads| {
        let speeds = (0..3).map(|_| read_speed(&memory, threads));
        let best = speeds.fold(0.0, f64::max);
        (best * 10.0).round() / 10.0
    };
    json!({ "threads_1": best(1), "threads_all": best(threads) })
}

fn read_speed(memory: &[u64], threads: usize) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for part in memory.chunks(memory.len().div_ceil(threads)) {
            scope.spawn(move || black_box(sum(part)));
        }
    });
    size_of_val(memory) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Four sums side by side, so that the additions never wait for each other; written out, so that it reads
/// at the memory's speed in an unoptimised build, too.
fn sum(part: &[u64]) -> u64 {
    let (mut a, mut b, mut c, mut d) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (eights, rest) = part.as_chunks::<8>();
    for &[p, q, r, s, t, u, v, w] in eights {
        a = a.wrapping_add(p).wrapping_add(t);
        b = b.wrapping_add(q).wrapping_add(u);
        c = c.wrapping_add(r).wrapping_add(v);
        d = d.wrapping_add(s).wrapping_add(w);
    }
    let rest = rest.iter().fold(0, |total: u64, value| total.wrapping_add(*value));
    [b, c, d, rest].iter().fold(a, |total, value| total.wrapping_add(*value))
}

fn path(root: &Path, args: &Args, date: &str) -> Result<PathBuf> {
    let host = match &args.host {
        Some(host) => host.clone(),
        None => fs::read_to_string("/proc/sys/kernel/hostname")
            .context("cannot read the host name; name the machine with --host")?,
    };
    for part in [args.name.as_str(), host.trim()] {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if part.is_empty() || part.starts_with('.') || !part.chars().all(plain) {
            bail!("'{part}' cannot be part of a file name; use letters, digits, '-', '_' and '.'");
        }
    }
    let folder = root.join("bench/runs").join(format!("{date}-{}", host.trim()));
    Ok(folder.join(format!("{}.json", args.name)))
}

fn seconds_since_1970() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.context("the clock stands before 1970; set it")?.as_secs())
}

/// `2026-11-30` (UTC) of seconds since 1970: the civil calendar, counted in eras of 400 years that begin in
/// March.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

fn cpu() -> Value {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or(Value::Null, |(_, name)| json!(name.trim()))
}

/// The commit that was measured, with `-dirty` where the tree differs from it; null outside a clone.
fn commit(root: &Path) -> Value {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(root)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            json!(String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (20_787, "2026-11-30"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days * 86_400 + 86_399), expected);
        }
    }

    #[test]
    fn a_name_that_would_leave_its_folder_is_refused() {
        let args = |name: &str| Args {
            name: name.to_owned(),
            ours: String::new(),
            peer: String::new(),
            rounds: 1,
            host: Some("box".to_owned()),
        };
        let good = path(Path::new("r"), &args("train-s"), "2026-11-30").expect("a path");
        assert_eq!(good, Path::new("r/bench/runs/2026-11-30-box/train-s.json"));
        for sick in ["", "../x", "a/b", ".hidden"] {
            assert!(path(Path::new("r"), &args(sick), "2026-11-30").is_err(), "{sick}");
        }
    }

    #[test]
    fn the_sum_reads_every_word() {
        let numbers: Vec<u64> = (0..1003).collect();
        assert_eq!(sum(&numbers), 1002 * 1003 / 2);
        assert_eq!(sum(&[]), 0);
    }
}
