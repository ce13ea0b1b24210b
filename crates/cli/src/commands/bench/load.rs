//! `trilobit bench load`: how long a user waits for the first token after a cold start.

use super::{peak_rss_mb, threads};
use anyhow::{Context, Result, bail};
use checkpoint::OpenOptions;
use infer::{EngineOptions, Model};
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// A model on the disk
    model: PathBuf,
    /// Threads [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Bytes that are read at once.
const PIECE: usize = 4 << 20;

/// Reads the files plainly, then loads the model and lets it read a short prompt; the files are dropped from the system's
/// cache before either.
pub fn run(args: &Args) -> Result<()> {
    let files = files(&checkpoint::open(&args.model)?.path)?;
    let dropped = drop_all(&files)?;
    let begun = Instant::now();
    let mut bytes = 0;
    for file in &files {
        bytes += read(file)?;
    }
    let read_s = begun.elapsed().as_secs_f64();
    let dropped = drop_all(&files)? && dropped;
    let begun = Instant::now();
    first_token(args)?;
    let first_token_s = begun.elapsed().as_secs_f64();
    if args.json {
        println!(
            "{}",
            json!({
                "threads": threads(args.threads), "bytes": bytes, "cold": dropped, "read_s": read_s,
                "read_gb_per_s": bytes as f64 / read_s / 1e9, "first_token_s": first_token_s,
                "beyond_read_s": first_token_s - read_s, "peak_rss_mb": peak_rss_mb(),
            })
        );
        return Ok(());
    }
    if !dropped {
        eprintln!(
            "warning: this system does not drop files from its cache on request, so this is no cold start"
        );
    }
    let (megabytes, speed) = (bytes as f64 / 1e6, bytes as f64 / read_s / 1e9);
    println!("{read_s:.2} s to read {megabytes:.0} MB ({speed:.2} GB/s)");
    println!("{first_token_s:.2} s to the first token, {:.2} s beyond reading", first_token_s - read_s);
    Ok(())
}

fn first_token(args: &Args) -> Result<()> {
    let options = EngineOptions { threads: threads(args.threads), ..EngineOptions::default() };
    let model = Model::open(&args.model, &OpenOptions::default(), options)?;
    let config = model.engine.config();
    let prompt = infer::prompts(config.vocabulary, model.tokenizer().ok()).swap_remove(0);
    let prompt = &prompt[..prompt.len().min(config.context)];
    model.engine.session(prompt.len())?.forward_best(prompt, 1)?;
    Ok(())
}

/// The file, or the files of the folder.
fn files(model: &Path) -> Result<Vec<PathBuf>> {
    if model.is_file() {
        return Ok(vec![model.to_owned()]);
    }
    if !model.is_dir() {
        bail!("{} is not on the disk; name a file or a folder", model.display());
    }
    let unreadable = || format!("cannot list {}", model.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(model).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// Reads a file from its beginning to its end and returns its bytes.
fn read(path: &Path) -> Result<u64> {
    let unreadable = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(unreadable)?;
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        match file.read(&mut piece).with_context(unreadable)? {
            0 => return Ok(bytes),
            count => bytes += count as u64,
        }
    }
}

/// Drops files from the system's cache; false where it cannot be asked to. What is not on the disk yet is written first, because
/// only then the system lets go of it.
fn drop_all(files: &[PathBuf]) -> Result<bool> {
    #[cfg(target_os = "linux")]
    for path in files {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        file.sync_all().with_context(|| format!("cannot write {} to the disk", path.display()))?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
            .with_context(|| format!("cannot drop {} from the cache", path.display()))?;
    }
    let _ = files;
    Ok(cfg!(target_os = "linux"))
}
