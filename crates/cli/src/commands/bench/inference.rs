//! `trilobit bench decode|prefill`: how fast a model is served, and how near that is to what the machine can do.

use super::{peak_rss_mb, peer, threads};
use crate::commands::generate::Kv;
use anyhow::{Result, bail};
use checkpoint::OpenOptions;
use infer::{Batch, Engine, EngineOptions, Limits, Model, Piece, SequenceId, Want};
use kernels::memory::{self, Memory};
use kernels::pool::Pool;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What `decode` and `prefill` share, as typed.
#[derive(clap::Args)]
struct Args {
    /// A model; without one, a preset with random weights
    model: Option<PathBuf>,
    /// The shape of a network with random weights
    #[arg(long, value_name = "NAME", default_value = "2b4t", conflicts_with = "model")]
    preset: String,
    /// Random weights of the preset
    #[arg(long)]
    random: bool,
    /// Threads [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Keys and values [default: as computed where a whole context fits in 256 MB]
    #[arg(long, value_enum, value_name = "TYPE")]
    kv: Option<Kv>,
    /// Repetitions; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A shell command that runs after each repetition, to compare with; its last line on stdout is a JSON object with
    /// `tokens_per_s`
    #[arg(long, value_name = "COMMAND")]
    peer: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// As typed.
#[derive(clap::Args)]
pub struct DecodeArgs {
    #[command(flatten)]
    common: Args,
    /// Tokens to generate
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Tokens that each sequence has read before decoding is timed
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    prompt: u32,
    /// Sequences decoded together
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sequences: u32,
    /// All logits of each token instead of the best one (greedy)
    #[arg(long)]
    all_logits: bool,
}

/// As typed.
#[derive(clap::Args)]
pub struct PrefillArgs {
    #[command(flatten)]
    common: Args,
    /// Tokens to read
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
}

/// Tokens of a sequence that are read at once.
const ROWS: usize = 512;

impl Args {
    fn engine(&self) -> Result<Engine> {
        let kv = self.kv.map(Into::into);
        let options = EngineOptions { threads: threads(self.threads), kv, ..EngineOptions::default() };
        let path = match &self.model {
            Some(_) if self.random => {
                bail!("a model was named, so --random has nothing to do; leave one of them out")
            }
            Some(path) => path.clone(),
            None => format!("random:{}", self.preset).into(),
        };
        Ok(Model::open(&path, &OpenOptions::default(), options)?.engine)
    }
}

/// Some token of the vocabulary.
fn id(index: usize, vocabulary: usize) -> u32 {
    (index * 7919 % vocabulary) as u32
}

/// Times single steps of all sequences together.
pub fn decode(args: &DecodeArgs) -> Result<()> {
    let engine = args.common.engine()?;
    let want = if args.all_logits { Want::All } else { Want::Best(1) };
    let [tokens, prompt, sequences] = [args.tokens, args.prompt, args.sequences].map(|count| count as usize);
    let context = prompt.saturating_add(tokens).min(engine.config().context);
    if prompt >= context {
        bail!(
            "--prompt {prompt} leaves no place to decode in: the context is {} tokens",
            engine.config().context
        );
    }
    let limits = Limits {
        sequences,
        context,
        tokens: sequences.saturating_mul(context + 31),
        rows: sequences.max(ROWS.min(context)),
    };
    let mut batch = engine.batch(limits)?;
    let sequences: Vec<SequenceId> = (0..sequences).map_while(|_| batch.open(context)).collect();
    if tokens > context - prompt {
        eprintln!("note: the context has room for {} of the {tokens} tokens", context - prompt);
    }
    let tokens = tokens.min(context - prompt);
    let rounds = Rounds::run(&args.common, (tokens * sequences.len()) as f64, || {
        decode_round(&mut batch, &sequences, (prompt, tokens), want)
    })?;
    let steps = rounds.speed() / sequences.len() as f64;
    let bytes = engine.decode_bytes(want) as f64;
    let bandwidth = bandwidth(engine.threads())?;
    let mut result = json!({
        "threads": engine.threads(), "sequences": sequences.len(), "prompt": prompt, "tokens": tokens,
        "tokens_per_s": steps * sequences.len() as f64, "ms_per_step": 1e3 / steps,
        "bytes_per_step": bytes, "gb_per_s": bytes * steps / 1e9, "read_gb_per_s": bandwidth,
        "share_of_read": bytes * steps / 1e9 / bandwidth, "peak_rss_mb": peak_rss_mb(),
    });
    rounds.add_peer(&mut result);
    print(&args.common, &result, "share_of_read", "of a plain multi-stream read");
    Ok(())
}

/// Seconds for `tokens` steps after a prompt, which is read in the first round.
fn decode_round(
    batch: &mut Batch,
    sequences: &[SequenceId],
    (prompt, tokens): (usize, usize),
    want: Want,
) -> Result<f64> {
    let vocabulary = batch.config().vocabulary;
    let ids: Vec<u32> = (0..prompt).map(|i| id(i, vocabulary)).collect();
    for &sequence in sequences {
        batch.rewind(sequence, batch.seen(sequence).min(prompt))?;
        for ids in ids[batch.seen(sequence)..].chunks(ROWS) {
            batch.forward(&[Piece { sequence, ids, want }])?;
        }
    }
    let begun = Instant::now();
    for step in 0..tokens {
        let ids: Vec<[u32; 1]> = (0..sequences.len()).map(|i| [id(step + i, vocabulary)]).collect();
        let pieces = sequences.iter().zip(&ids).map(|(&sequence, ids)| Piece { sequence, ids, want });
        batch.forward(&pieces.collect::<Vec<_>>())?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Times whole prompts.
pub fn prefill(args: &PrefillArgs) -> Result<()> {
    let engine = args.common.engine()?;
    let tokens = (args.tokens as usize).min(engine.config().context);
    if tokens < args.tokens as usize {
        eprintln!("note: the context has room for {tokens} of the {} tokens", args.tokens);
    }
    let ids: Vec<u32> = (0..tokens).map(|i| id(i, engine.config().vocabulary)).collect();
    let mut session = engine.session(tokens)?;
    let rounds = Rounds::run(&args.common, tokens as f64, || {
        session.reset();
        let begun = Instant::now();
        session.forward(&ids)?;
        Ok(begun.elapsed().as_secs_f64())
    })?;
    let speed = rounds.speed();
    let operations = engine.operations_per_token() as f64 * speed;
    let peak = super::integer_peak(&Pool::new(engine.threads()), args.common.rounds);
    let mut result = json!({
        "threads": engine.threads(), "tokens": tokens, "tokens_per_s": speed, "seconds": tokens as f64 / speed,
        "read_gb_per_s": bandwidth(engine.threads())?,
        "gop_per_s": operations / 1e9, "peak_gop_per_s": peak / 1e9, "share_of_peak": operations / peak,
        "peak_rss_mb": peak_rss_mb(),
    });
    rounds.add_peer(&mut result);
    print(&args.common, &result, "share_of_peak", "of the integer peak");
    Ok(())
}

fn print(args: &Args, result: &Value, share: &str, of: &str) {
    if args.json {
        println!("{result}");
        return;
    }
    let number = |key: &str| result[key].as_f64().unwrap_or(0.0);
    println!("{:.1} tokens/s, {:.0} % {of}", number("tokens_per_s"), 100.0 * number(share));
    let middle = |key: &str| result[key]["median"].as_f64();
    if let (Some(peer), Some(ratio)) = (middle("peer"), middle("ratio")) {
        println!(
            "peer {peer:.1} tokens/s, ratio {ratio:.2}; a plain read gets {:.1} GB/s",
            number("read_gb_per_s")
        );
    }
}

/// Tokens per second of each repetition, and of the peer's beside it.
struct Rounds {
    ours: Vec<f64>,
    /// empty without a peer
    peer: Vec<f64>,
}

impl Rounds {
    /// Repeats what takes some seconds for `tokens`, after one time that is not counted; the peer in between.
    fn run(args: &Args, tokens: f64, mut round: impl FnMut() -> Result<f64>) -> Result<Self> {
        let mut rounds = Self { ours: Vec::new(), peer: Vec::new() };
        round()?;
        for _ in 0..args.rounds {
            rounds.ours.push(tokens / round()?);
            if let Some(command) = &args.peer {
                rounds.peer.push(peer::speed(&peer::measure(Path::new("."), command)?)?);
            }
        }
        Ok(rounds)
    }

    /// The median of ours.
    fn speed(&self) -> f64 {
        let mut speeds = self.ours.clone();
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2]
    }

    /// Writes the peer's speed, and ours over its in the same round.
    fn add_peer(&self, result: &mut Value) {
        if !self.peer.is_empty() {
            let ratios = self.ours.iter().zip(&self.peer).map(|(ours, peer)| ours / peer);
            result["ratio"] = peer::spread(ratios.collect());
            result["peer"] = peer::spread(self.peer.clone());
        }
    }
}

/// GB/s of a plain read of half a gigabyte, the best of three.
fn bandwidth(threads: usize) -> Result<f64> {
    const BYTES: usize = 512 << 20;
    let mut block = Memory::zeroed(BYTES)?;
    block.fill(1);
    let pool = Pool::new(threads);
    let read = || {
        let begun = Instant::now();
        std::hint::black_box(memory::read(&pool, &block));
        BYTES as f64 / begun.elapsed().as_secs_f64() / 1e9
    };
    Ok((0..3).map(|_| read()).fold(0.0, f64::max))
}
