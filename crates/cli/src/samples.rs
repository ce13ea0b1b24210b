//! What a run's checkpoints say: each new one is opened as it would be served, and goes on with a few prompts.

use crate::watch::Watch;
use anyhow::Result;
use checkpoint::OpenOptions;
use infer::{EngineOptions, Model, Options, Sampling};
use journal::Run;
use journal::events::{Event, Kind};
use journal::metrics::Step;
use journal::samples::{Sample, Writer};
use std::ops::ControlFlow;
use train::Observer;

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

    /// Answers of the checkpoint after `step` steps, greedily.
    fn ask(&mut self, step: u64) -> Result<()> {
        let options = EngineOptions { threads: self.threads, ..EngineOptions::default() };
        let model = Model::open(&self.run.checkpoint(step), &OpenOptions::default(), options)?;
        let tokenizer = model.tokenizer()?;
        for prompt in &self.prompts {
            let ids = tokenizer.encode(prompt, true);
            let context = (ids.len() + TOKENS).min(model.engine.config().context);
            let mut session = model.engine.session(context)?;
            let options = Options {
                max_tokens: context - ids.len(),
                sampling: Sampling { temperature: 0.0, ..Sampling::default() },
                end_of_text: model.end_ids.clone(),
                ..Options::default()
            };
            let generated =
                infer::generate(&mut session, tokenizer, &ids, &options, &mut |_| ControlFlow::Continue(()))?;
            self.watch.say(&format!("step {step}: {prompt}{}", generated.text.replace('\n', " ")));
            self.writer.append(&Sample { step, prompt: prompt.clone(), text: generated.text })?;
        }
        Ok(())
    }
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
