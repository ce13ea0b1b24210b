//! The loop around the step: data in, metrics out, checkpoints at the boundaries, and an orderly end at any moment.

mod begin;

use crate::config::{Guard as Policy, LossReduction, RunConfig};
use crate::engine::{Cpu, Engine};
use crate::guard::Alarm;
use crate::material::Material;
use crate::optim::adam::Update;
use crate::probe::Probe;
use crate::records::{Records, resident_bytes};
use crate::schedule::{Point, Schedule};
use crate::state::{Best, State};
use crate::step::MicroBatch;
use crate::validate::{Validation, bits_per_byte, scored, text_bytes, validate};
use crate::{TrainError, snapshot};
use begin::Share;
use checkpoint::retention;
use data::{Batch, Loader};
use journal::events::{Event, Kind};
use journal::metrics::{Record, Step};
use std::time::{Duration, Instant};

/// Learns what happens in a run; the default does nothing.
pub trait Observer {
    /// After every step.
    fn step(&mut self, _step: &Step, _total: u64) {}
    /// For everything that also goes to `events.jsonl`.
    fn event(&mut self, _event: &Event) {}
}

/// Somebody who does not look.
impl Observer for () {}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// all steps are done
    Finished,
    /// stopped by request after a checkpoint; resume goes on
    Interrupted,
    /// the time was up, after a checkpoint
    Deadline,
}

/// When to stop before the end.
pub struct Limits<'a> {
    /// asked before every step
    pub interrupted: &'a dyn Fn() -> bool,
    /// longest time that `run` may take, without the last checkpoint
    pub time: Option<Duration>,
}

/// One run, ready to go on from where it stands: the whole of it, or one rank of a job.
pub struct Trainer {
    config: RunConfig,
    schedule: Schedule,
    boundaries: Vec<u64>,
    engine: Cpu,
    material: Material,
    train: Loader,
    valid: Loader,
    batch: Batch,
    valid_batch: Batch,
    probe: Probe,
    share: Share,
    state: State,
    line: Step,
    /// only at rank 0
    records: Option<Records>,
}

impl Trainer {
    /// Leaves the job once every rank has come here. A rank that ends otherwise tells the others to end, too.
    pub fn leave(self) {
        if let Some(peers) = self.engine.peers {
            peers.group.finish();
        }
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// What the run's user should know of what it reads, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.material.notes
    }

    /// Where the run stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Trains to the end, or until a limit is reached; either way the last thing done is a checkpoint.
    pub fn run(&mut self, limits: &Limits, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let begun = Instant::now();
        let total = self.config.train.last();
        if self.state.step == 0 {
            self.first_checkpoint(observer)?;
        }
        while self.state.step < total {
            let time_is_up = limits.time.is_some_and(|time| begun.elapsed() >= time);
            let asked = [time_is_up, (limits.interrupted)()].map(|asked| f64::from(u8::from(asked)));
            let [time_is_up, interrupted] = self.engine.sum(asked).map(|ranks| ranks > 0.0);
            if time_is_up || interrupted {
                let outcome = if time_is_up { Outcome::Deadline } else { Outcome::Interrupted };
                self.save(observer)?;
                self.note(Kind::Interrupt, format!("{outcome:?}, to be resumed").to_lowercase(), observer)?;
                return Ok(outcome);
            }
            self.step(observer)?;
            observer.step(&self.line, total);
        }
        self.note(Kind::Finish, format!("{total} steps"), observer)?;
        Ok(Outcome::Finished)
    }

    /// One step, its line in the metrics, and whatever falls due after it.
    fn step(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let step = self.state.step;
        let begun = Instant::now();
        let alarm = self.learn();
        if let Some(error) = self.engine.network.lesson.as_mut().and_then(|lesson| lesson.failure()) {
            return Err(error);
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.line.tokens_per_s = self.config.train.tokens_per_step() as f64 / seconds;
        self.line.record = Record::default();
        if let Some(alarm) = alarm {
            self.note(Kind::Guard, format!("step {step} is not applied: {alarm}"), observer)?;
        }
        let done = self.state.step;
        let boundary = self.is_boundary(done);
        // The first update has rate 0 where there is a warm-up: its record is that of the untrained network.
        if boundary || done == 1 || done.is_multiple_of(self.config.train.record_every.max(1)) {
            self.record(boundary);
        }
        if let Some(records) = &mut self.records {
            records.step(&self.line)?;
        }
        if self.schedule.phase(done) != self.schedule.phase(step) {
            self.note(Kind::Phase, format!("{} begins", self.schedule.phase(done)), observer)?;
        }
        if alarm.is_some() && self.config.train.guard == Policy::Stop {
            self.save(observer)?;
            let run = self.records.as_ref().map(|records| records.run.dir().to_path_buf());
            return Err(TrainError::Guard { step, run: run.unwrap_or_default() });
        }
        if boundary {
            self.save(observer)?;
        }
        Ok(())
    }

    /// Gradients of one batch and the update; fills in the line. Nothing in here allocates after the first call.
    fn learn(&mut self) -> Option<Alarm> {
        let train = &self.config.train;
        let Point { step, lr, weight_decay, lambda } = self.schedule.at(self.state.step);
        self.train.next(&mut self.batch);
        self.engine.begin(lambda as f32, self.share.accumulation);
        if let (Some(lesson), Some(distill)) = (&mut self.engine.network.lesson, &self.config.distill) {
            lesson.begin(distill.weights(step, train.steps));
        }
        let [targets] = self.engine.sum([scored(&self.batch.targets) as f64]);
        let targets = targets.max(1.0);
        let rows = self.share.batch * train.sequence;
        let factor = match train.reduction {
            LossReduction::Mean => 1.0 / targets as f32,
            LossReduction::Sum => 1.0,
        };
        let batches = MicroBatch::of(&self.batch).split(rows);
        let nats = batches.map(|batch| self.engine.forward_backward(batch, factor)).sum();
        let bytes = text_bytes(&self.batch.targets, &self.material.token_bytes) as f64;
        let norm = self.engine.gradient_norm();
        let [nats, bytes] = self.engine.sum([nats, bytes]);
        let loss = nats / targets;
        let alarm = self.state.guard.check(loss, norm).err();
        if alarm.is_none() {
            let clip = train.clip;
            let gradient_scale = if clip > 0.0 { (clip / (norm + 1e-6)).min(1.0) as f32 } else { 1.0 };
            self.engine.update(Update { lr: lr as f32, weight_decay: weight_decay as f32, gradient_scale });
            self.state.updates += 1;
        }
        self.state.step += 1;
        self.state.tokens += train.tokens_per_step();
        self.state.lambda = lambda;
        self.line.distillation = self.distilled().map(|sums| sums.map(|sum| sum / targets));
        self.line.step = step;
        self.line.tokens = self.state.tokens;
        self.line.loss = loss;
        self.line.bits_per_byte = bits_per_byte(nats, bytes);
        self.line.lr = lr;
        self.line.weight_decay = weight_decay;
        self.line.lambda = lambda;
        self.line.grad_norm = norm;
        alarm
    }

    /// Sums over all ranks of the losses that a teacher gave in this step.
    fn distilled(&mut self) -> Option<[f64; 3]> {
        let own = self.engine.network.lesson.as_ref()?.sums.values();
        Some(self.engine.sum(own))
    }

    /// Measures the weights after this step, for its line.
    fn record(&mut self, with_validation: bool) {
        let lambda = self.schedule.at(self.line.step).lambda as f32;
        self.engine.renew(lambda);
        if self.records.is_some() {
            let answers = self.probe.ask(&mut self.engine, self.config.train.sequence);
            let ternary = |shares: Vec<f32>| (!shares.is_empty()).then_some(shares);
            self.line.record = Record {
                phase: Some(self.schedule.phase(self.line.step).name().to_owned()),
                unique_tokens: Some(answers.unique_tokens as u32),
                output_entropy: Some(answers.output_entropy),
                repetition: Some(answers.repetition),
                zero_share: ternary(self.engine.zero_shares()),
                flip_rate: ternary(self.engine.flip_rates()),
                scale: ternary(self.engine.scales()),
                memory_bytes: resident_bytes(),
                ..Record::default()
            };
        }
        if with_validation {
            if lambda < 1.0 && self.config.heal.is_some() {
                self.engine.renew(1.0);
                self.line.record.ternary_validation_loss = Some(self.validate().loss);
                self.engine.renew(lambda);
            }
            let Validation { loss, bits_per_byte } = self.validate();
            self.line.record.validation_loss = Some(loss);
            self.line.record.validation_bits_per_byte = Some(bits_per_byte);
            if self.state.best.is_none_or(|best| loss < best.loss) {
                self.state.best = Some(Best { step: self.state.step, loss });
            }
        }
    }

    /// Whether a checkpoint is written and validation runs once `done` steps are done.
    fn is_boundary(&self, done: u64) -> bool {
        let every = self.config.train.checkpoint_every;
        let last = self.config.train.last();
        done == last || self.boundaries.contains(&done) || (every > 0 && done.is_multiple_of(every))
    }

    fn validate(&mut self) -> Validation {
        let batches = self.config.train.validate_batches;
        let token_bytes = &self.material.token_bytes;
        let own = validate(&mut self.engine, &mut self.valid, &mut self.valid_batch, batches, token_bytes);
        Validation::of(self.engine.sum(own))
    }

    /// The untrained network's checkpoint, its validation, and the codes that the first flip rate counts from.
    fn first_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.engine.renew(self.schedule.at(0).lambda as f32);
        self.engine.flip_rates();
        self.save(observer)?;
        let lambdas = match self.config.heal {
            None if self.config.start.is_some() => {
                return self.measure("before training", observer).map(drop);
            }
            None => return self.measure("untrained", observer).map(drop),
            Some(_) if self.config.lambda.blends() => [Some(1.0), Some(0.0)],
            Some(_) => [Some(1.0), None],
        };
        for lambda in lambdas.into_iter().flatten() {
            self.engine.renew(lambda);
            let loss = self.measure(&format!("λ = {lambda} before training"), observer)?;
            if let Some(records) = &self.records {
                let mut facts = records.run.facts()?;
                facts.insert(journal::layout::untrained_loss(f64::from(lambda)), loss.into());
                records.run.write_facts(&facts)?;
            }
        }
        Ok(())
    }

    /// Says how the network does at the λ of its last renewal; returns its loss.
    fn measure(&mut self, what: &str, observer: &mut dyn Observer) -> Result<f64, TrainError> {
        let Validation { loss, bits_per_byte } = self.validate();
        let message = format!(
            "{what}: validation loss {loss:.4}, perplexity {:.4}, {bits_per_byte:.4} bits per byte",
            loss.exp()
        );
        self.note(Kind::Phase, message, observer)?;
        Ok(loss)
    }

    /// Writes the checkpoint of this step unless it is there, then removes those that have had their time.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let dir = self.records.as_ref().map(|records| records.run.checkpoint(self.state.step));
        let is_there = dir.as_ref().is_some_and(|dir| dir.exists());
        let [is_there] = self.engine.sum([f64::from(u8::from(is_there))]);
        if is_there > 0.0 {
            return Ok(());
        }
        self.state.cursor = self.train.cursor();
        let (Some(records), Some(dir)) = (&mut self.records, dir) else {
            snapshot::send(&mut self.engine);
            return Ok(());
        };
        records.sync()?;
        snapshot::save(&dir, records, &mut self.engine, &self.state)?;
        let keep: Vec<String> = self.kept().map(journal::layout::checkpoint_name).collect();
        let checkpoints = dir.parent().expect("a folder in the folder of checkpoints");
        retention::prune(checkpoints, self.config.train.keep_last, &keep)?;
        self.note(Kind::Checkpoint, format!("{}", dir.display()), observer)
    }

    /// Steps whose checkpoints stay however old: phase boundaries and the best.
    fn kept(&self) -> impl Iterator<Item = u64> {
        self.boundaries.iter().copied().chain(self.state.best.map(|best| best.step))
    }

    fn note(&mut self, kind: Kind, message: String, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let Some(records) = &mut self.records else { return Ok(()) };
        let event = Event { step: self.state.step, kind, message };
        records.event(&event)?;
        observer.event(&event);
        Ok(())
    }
}
