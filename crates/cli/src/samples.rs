//! What a run's checkpoints say: each new one is opened as it would be served, and goes on with a few prompts.

use crate::watch::Watch;
use anyhow::Result;
use checkpoint::hf::peft;
use checkpoint::{OpenOptions, native};
use infer::{EngineOptions, Model, Options, Sampling};
use journal::Run;
use journal::events::{Event, Kind};
use journal::metrics::Step;
use journal::samples::{Sample, Writer};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use train::{Observer, RunConfig};

/// Tokens of a sample.
const TOKENS: usize = 40;

/// Shows a run, and lets its checkpoints speak.
pub struct Samples {
    watch: Watch,
    run: Run,
    prompts: Vec<String>,
    threads: usize,
    writer: Writer,
}

impl Samples {
    /// For a run of `total` steps of which `done` are done.
    pub fn new(run: Run, prompts: Vec<String>, threads: usize, (done, total): (u64, u64)) -> Result<Self> {
        let writer = Writer::open_at(&run.samples(), done)?;
        Ok(Self { watch: Watch::new(done, total), run, prompts, threads, writer })
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.watch.finish();
    }

    fn ask(&mut self, step: u64) -> Result<()> {
        for sample in answers(&self.run.checkpoint(step), step, &self.prompts, self.threads)? {
            self.watch.say(&format!("step {step}: {}{}", sample.prompt, sample.text.replace('\n', " ")));
            self.writer.append(&sample)?;
        }
        Ok(())
    }
}

/// The model beside which a checkpoint has an adapter, if it has one.
fn beside(checkpoint: &Path) -> Result<Option<PathBuf>> {
    if !checkpoint.join(peft::CONFIG).is_file() {
        return Ok(None);
    }
    let config = RunConfig::resolve(None, Some(&checkpoint.join(native::CONFIG)), &[])?;
    Ok(config.origin().map(Path::to_path_buf))
}

/// How the checkpoint after `step` steps goes on with the prompts, greedily.
pub fn answers(checkpoint: &Path, step: u64, prompts: &[String], threads: usize) -> Result<Vec<Sample>> {
    let options = EngineOptions { threads, ..EngineOptions::default() };
    let model = match beside(checkpoint)? {
        None => Model::open(checkpoint, &OpenOptions::default(), options)?,
        Some(base) => Model::open(&base, &OpenOptions::default(), options)?.adapted(checkpoint)?,
    };
    let tokenizer = model.tokenizer()?;
    let mut samples = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let ids = tokenizer.encode(prompt, true);
        let context = (ids.len() + TOKENS).min(model.engine.config().context);
        let mut session = model.engine.session(context)?;
        let options = Options {
            max_tokens: context.saturating_sub(ids.len()),
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            end_of_text: model.end_ids.clone(),
            ..Options::default()
        };
        let generated =
            infer::generate(&mut session, tokenizer, &ids, &options, &mut |_| ControlFlow::Continue(()))?;
        samples.push(Sample { step, prompt: prompt.clone(), text: generated.text });
    }
    Ok(samples)
}

impl Observer for Samples {
    fn step(&mut self, step: &Step, total: u64) {
        self.watch.step(step, total);
    }

    fn event(&mut self, event: &Event) {
        self.watch.event(event);
        if event.kind != Kind::Checkpoint || self.prompts.is_empty() {
            return;
        }
        // A run is worth more than a sample of it.
        if let Err(error) = self.ask(event.step) {
            self.watch.say(&format!("step {}: no sample: {error:#}", event.step));
        }
    }
}
