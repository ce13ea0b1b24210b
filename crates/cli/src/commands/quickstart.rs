//! `trilobit quickstart`: the whole way in about two minutes, from a text to a sentence.

use super::train::{parse_time, say_stopped, watch};
use crate::corpus;
use crate::interrupt::Interrupt;
use ::data::{PrepareOptions, generated};
use ::train::config::SourceConfig;
use ::train::{Outcome, RunConfig, Trainer, pace};
use anyhow::{Context, Result, bail};
use checkpoint::OpenOptions;
use infer::{EngineOptions, Model, Options, Sampling};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Documents of the built-in corpus.
const DOCUMENTS: usize = 20_000;
/// A user's text is cut into documents of about this size at blank lines, so that some can be held out.
const DOCUMENT_BYTES: usize = 4 << 10;
/// Share of the text held out.
const VALID_SHARE: f64 = 0.02;
/// Share of the time that steps may plan for; the rest is for validation and checkpoints.
const STEP_SHARE: f64 = 0.85;
const STEPS: std::ops::RangeInclusive<u64> = 20..=5000;
/// What the trained model continues where the corpus is the built-in one.
const PROMPT: &str = "Once upon a time";

/// As typed.
#[derive(clap::Args)]
pub struct Args {
    /// Train on this text instead of the built-in corpus
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Where everything goes [default: runs/quickstart, or the next free number]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// About how long to train
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = parse_time)]
    max_time: Duration,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let out = args.out.clone().unwrap_or_else(free_folder);
    let (tokenizer, shards, run) = (out.join("tokenizer.json"), out.join("data"), out.join("run"));
    let corpus_file = out.join("corpus.txt");
    if let Some(there) = [&corpus_file, &tokenizer, &shards, &run].into_iter().find(|path| path.exists()) {
        bail!(
            "{} is there already, and quickstart would write it anew; choose another --out, or go on with a run by 'trilobit train --out {} --resume'",
            there.display(),
            run.display()
        );
    }
    std::fs::create_dir_all(&out).with_context(|| format!("{}: cannot create the folder", out.display()))?;

    eprintln!("1/4 text");
    let documents = documents(args.text.as_deref())?;
    corpus::write(&documents, &corpus_file)?;

    eprintln!("2/4 tokenizer");
    let vocabulary = corpus::train_tokenizer(&documents, &tokenizer)?;

    eprintln!("3/4 tokens");
    let prepare = PrepareOptions {
        inputs: vec![corpus_file],
        valid_share: VALID_SHARE,
        tokenizer: tokenizer.clone(),
        out: shards.clone(),
        ..PrepareOptions::default()
    };
    ::data::prepare(&prepare, &())?;

    let config = config(vocabulary, &shards, args.max_time)?;
    eprintln!(
        "4/4 training {} parameters for {} steps of {} tokens",
        config.model.parameters(),
        config.train.steps,
        config.train.tokens_per_step()
    );
    let mut trainer = Trainer::create(config, &run, None)?;
    let outcome = watch(&mut trainer, &interrupt, None)?;
    let done = trainer.state().step;
    drop(trainer);
    if outcome == Outcome::Interrupted {
        say_stopped(&run, done);
        return Ok(ExitCode::SUCCESS);
    }
    let prompt = if args.text.is_none() { PROMPT.to_owned() } else { beginning(&documents[0]) };
    speak(&run, &prompt)?;
    farewell(&out, &prompt);
    Ok(ExitCode::SUCCESS)
}

/// `runs/quickstart`, `runs/quickstart-2`, …: the first that is not there.
fn free_folder() -> PathBuf {
    let name = |number: u32| match number {
        1 => PathBuf::from("runs/quickstart"),
        number => PathBuf::from(format!("runs/quickstart-{number}")),
    };
    (1..).map(name).find(|path| !path.exists()).expect("numbers do not end")
}

/// The built-in corpus, or the file's text cut at blank lines.
fn documents(path: Option<&Path>) -> Result<Vec<String>> {
    let Some(path) = path else { return Ok(generated::corpus(0, DOCUMENTS).collect()) };
    let mut documents = vec![String::new()];
    for document in ::data::source::documents(&[path.to_path_buf()], &Default::default())? {
        for paragraph in document?.text.split_inclusive("\n\n") {
            let last = documents.last_mut().expect("never empty");
            match last.len() + paragraph.len() > DOCUMENT_BYTES && !last.is_empty() {
                true => documents.push(paragraph.to_owned()),
                false => last.push_str(paragraph),
            }
        }
    }
    Ok(documents)
}

/// The preset `tiny` for this text, with as many steps as fit into the time.
fn config(vocabulary: usize, shards: &Path, time: Duration) -> Result<RunConfig> {
    let mut config = RunConfig::resolve(Some("tiny"), None, &[format!("model.vocabulary={vocabulary}")])?;
    let dataset = ::data::Dataset::open(shards)?;
    let fewest = ::data::Split::ALL.map(|split| dataset.tokens(split)).into_iter().min().unwrap_or(0);
    // A short text has short windows, and at least one of them to validate on.
    config.train.sequence = config.train.sequence.min((fewest as usize / 2).max(8));
    let step = pace::measure(&config, 1, 3)?.median();
    let steps = (time.as_secs_f64() * STEP_SHARE / step.as_secs_f64()) as u64;
    config.train.steps = steps.clamp(*STEPS.start(), *STEPS.end());
    config.train.checkpoint_every = 0;
    config.data = vec![SourceConfig { path: shards.to_path_buf(), weight: 1.0 }];
    config.validate()?;
    Ok(config)
}

/// The first words of a text.
fn beginning(text: &str) -> String {
    text.split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}

/// Prints what the model says.
fn speak(run: &Path, prompt: &str) -> Result<()> {
    let model = Model::open(run, &OpenOptions::default(), EngineOptions::default())?;
    let tokenizer = model.tokenizer()?;
    let ids = tokenizer.encode(prompt, true);
    let mut session = model.engine.session(model.engine.config().context)?;
    let options = Options {
        max_tokens: 80,
        sampling: Sampling { temperature: 0.7, seed: 1, ..Sampling::default() },
        stop: vec!["\n\n".to_owned()],
        end_of_text: model.end_ids.clone(),
        ..Options::default()
    };
    print!("\n{prompt}");
    infer::generate(&mut session, tokenizer, &ids, &options, &mut |piece| {
        print!("{piece}");
        match std::io::stdout().flush() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    println!("\n");
    Ok(())
}

fn farewell(out: &Path, prompt: &str) {
    let out = out.display();
    eprintln!("{out}: corpus.txt, tokenizer.json, data/ (token shards), run/ (config, metrics, checkpoints)");
    eprintln!("next:");
    eprintln!("  trilobit generate {out}/run --prompt \"{prompt}\" --temperature 0.8 --seed 2");
    eprintln!("  trilobit checkpoint inspect {out}/run");
    eprintln!("  trilobit quickstart --text YOUR.txt --max-time 10m");
}
