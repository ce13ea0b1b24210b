//! The loop around the step: data in, metrics out, checkpoints at the boundaries, and an orderly end at any moment.

use crate::config::{Guard as Policy, Optimizer, RunConfig};
use crate::engine::{Cpu, Engine};
use crate::guard::{Alarm, Guard};
use crate::loss::cross_entropy::Options;
use crate::optim::adam::{self, Update};
use crate::probe::Probe;
use crate::schedule::{Point, Schedule};
use crate::state::{Best, State};
use crate::step::{Dimensions, MicroBatch, slice_of};
use crate::validate::{Validation, bits_per_byte, scored, text_bytes, validate};
use crate::{TrainError, snapshot};
use checkpoint::retention;
use data::{Batch, Dataset, Loader, LoaderOptions, Source, Split};
use journal::events::{Event, Kind};
use journal::metrics::{Record, Step};
use journal::{Lock, Run, events, metrics};
use model::Weights;
use std::path::Path;
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

/// One run, ready to go on from where it stands.
pub struct Trainer {
    config: RunConfig,
    config_text: String,
    schedule: Schedule,
    boundaries: Vec<u64>,
    engine: Cpu,
    train: Loader,
    valid: Loader,
    batch: Batch,
    valid_batch: Batch,
    token_bytes: Vec<u16>,
    tokenizer: Vec<u8>,
    probe: Probe,
    state: State,
    run: Run,
    line: Step,
    metrics: metrics::Writer,
    events: events::Writer,
    _lock: Lock,
}

impl Trainer {
    /// A new run in the folder `out`, from random weights.
    pub fn create(config: RunConfig, out: &Path) -> Result<Self, TrainError> {
        let run = Run::create(out)?;
        let lock = Lock::acquire(out)?;
        let weights = Weights::random(&config.model, config.train.seed);
        let mut trainer = Self::assemble(config, run, lock, weights)?;
        trainer.begin()?;
        Ok(trainer)
    }

    /// Writes what a run folder holds before the first step. The configuration comes first: with it alone a run
    /// that was killed here can be resumed.
    fn begin(&mut self) -> Result<(), TrainError> {
        formats::atomic::write_bytes(&self.run.config(), self.config_text.as_bytes())?;
        formats::atomic::write_bytes(&self.run.tokenizer(), &self.tokenizer)?;
        self.write_facts()?;
        let (parameters, steps) = (self.config.model.parameters(), self.config.train.steps);
        self.note(Kind::Start, format!("{parameters} parameters, {steps} steps"), &mut ())
    }

    /// Goes on with the run in `out` from its newest sound checkpoint, or from the beginning where it has none yet;
    /// its configuration is the run's own.
    pub fn resume(out: &Path) -> Result<Self, TrainError> {
        let run = Run::open(out)?;
        let lock = Lock::acquire(out)?;
        let config = RunConfig::resolve(None, Some(&run.config()), &[])?;
        let found = match checkpoint::locate(out) {
            Err(error) if error.kind == formats::Kind::Missing => {
                let weights = Weights::random(&config.model, config.train.seed);
                let mut trainer = Self::assemble(config, run, lock, weights)?;
                trainer.metrics = metrics::Writer::open_at(&trainer.run.metrics(), 0)?;
                trainer.begin()?;
                return Ok(trainer);
            }
            found => found?,
        };
        let opened = found.checkpoint;
        let weights = opened.load_weights()?;
        if weights.config != config.model {
            return Err(TrainError::OtherModel { checkpoint: opened.dir().to_path_buf() });
        }
        let mut trainer = Self::assemble(config, run, lock, weights)?;
        trainer.state = snapshot::restore(&opened, &mut trainer.engine)?;
        trainer.train.seek(&trainer.state.cursor)?;
        trainer.metrics = metrics::Writer::open_at(&trainer.run.metrics(), trainer.state.step)?;
        for warning in found.warnings {
            trainer.note(Kind::Resume, warning, &mut ())?;
        }
        trainer.note(Kind::Resume, format!("from {}", opened.dir().display()), &mut ())?;
        Ok(trainer)
    }

    fn assemble(config: RunConfig, run: Run, lock: Lock, weights: Weights) -> Result<Self, TrainError> {
        let train = &config.train;
        let sources: Vec<Source> =
            config.data.iter().map(|s| Source { path: s.path.clone(), weight: s.weight }).collect();
        let first = sources.first().ok_or(TrainError::NoData)?;
        let dataset = Dataset::open(&first.path)?;
        if dataset.vocabulary() > config.model.vocabulary {
            return Err(TrainError::Vocabulary {
                path: first.path.clone(),
                data: dataset.vocabulary(),
                model: config.model.vocabulary,
            });
        }
        let options = |batch| LoaderOptions { batch, sequence: train.sequence, seed: train.seed };
        let loader = Loader::open(&sources, Split::Train, options(train.batch * train.accumulation))?;
        let valid = Loader::open(&sources, Split::Valid, options(train.batch))?;
        let schedule = config.schedule()?;
        let state = State {
            step: 0,
            updates: 0,
            tokens: 0,
            lambda: schedule.at(0).lambda,
            cursor: loader.cursor(),
            guard: Guard::new(train.spike_ratio, train.spike_window),
            best: None,
        };
        let rows = train.batch * train.sequence;
        Ok(Self {
            engine: engine(&config, weights),
            boundaries: schedule.boundaries(),
            train: loader,
            valid,
            batch: Batch::default(),
            valid_batch: Batch::default(),
            token_bytes: dataset.token_bytes().to_vec(),
            tokenizer: read(&dataset.tokenizer_path())?,
            probe: Probe::new(rows, train.sequence, config.model.vocabulary, train.seed),
            // All lines stay for now: only a resume knows which are to be written again.
            metrics: metrics::Writer::open_at(&run.metrics(), u64::MAX)?,
            events: events::Writer::open(&run.events())?,
            config_text: config.to_toml()?,
            state,
            run,
            line: Step::default(),
            schedule,
            config,
            _lock: lock,
        })
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Where the run stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Trains to the end, or until a limit is reached; either way the last thing done is a checkpoint.
    pub fn run(&mut self, limits: &Limits, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let begun = Instant::now();
        let total = self.config.train.steps;
        if self.state.step == 0 {
            self.first_checkpoint(observer)?;
        }
        while self.state.step < total {
            let time_is_up = limits.time.is_some_and(|time| begun.elapsed() >= time);
            if time_is_up || (limits.interrupted)() {
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
        let seconds = begun.elapsed().as_secs_f64();
        self.line.tokens_per_s = self.config.train.tokens_per_step() as f64 / seconds;
        self.line.record = Record::default();
        if let Some(alarm) = alarm {
            self.note(Kind::Guard, format!("step {step} is not applied: {alarm}"), observer)?;
        }
        let done = self.state.step;
        let boundary = self.is_boundary(done);
        if boundary || done.is_multiple_of(self.config.train.record_every.max(1)) {
            self.record(boundary);
        }
        self.metrics.append(&self.line)?;
        if self.schedule.phase(done) != self.schedule.phase(step) {
            self.note(Kind::Phase, format!("{} begins", self.schedule.phase(done)), observer)?;
        }
        if alarm.is_some() && self.config.train.guard == Policy::Stop {
            self.save(observer)?;
            return Err(TrainError::Guard { step, run: self.run.dir().to_path_buf() });
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
        if !train.document_mask {
            self.batch.starts.fill(0);
        }
        self.engine.begin(lambda as f32);
        let targets = scored(&self.batch.targets);
        let factor = 1.0 / targets.max(1) as f32;
        let rows = train.batch * train.sequence;
        let batches = MicroBatch::of(&self.batch).split(rows);
        let nats: f64 = batches.map(|batch| self.engine.forward_backward(batch, factor)).sum();
        let loss = nats / targets.max(1) as f64;
        let norm = self.engine.gradient_norm();
        let alarm = self.state.guard.check(loss, norm).err();
        if alarm.is_none() {
            let clip = train.clip;
            let gradient_scale = if clip > 0.0 { (clip / (norm + 1e-6)).min(1.0) as f32 } else { 1.0 };
            self.engine.update(Update { lr: lr as f32, weight_decay: weight_decay as f32, gradient_scale });
            self.state.updates += 1;
        }
        self.state.step += 1;
        self.state.tokens += self.batch.tokens.len() as u64;
        self.state.lambda = lambda;
        self.line.step = step;
        self.line.tokens = self.state.tokens;
        self.line.loss = loss;
        self.line.bits_per_byte = bits_per_byte(nats, text_bytes(&self.batch.targets, &self.token_bytes));
        self.line.lr = lr;
        self.line.weight_decay = weight_decay;
        self.line.lambda = lambda;
        self.line.grad_norm = norm;
        alarm
    }

    /// Measures the weights after this step, for its line.
    fn record(&mut self, with_validation: bool) {
        let lambda = self.schedule.at(self.line.step).lambda as f32;
        self.engine.renew(lambda);
        let answers = self.probe.ask(&mut self.engine, self.config.train.sequence);
        let ternary = |shares: Vec<f32>| (!shares.is_empty()).then_some(shares);
        self.line.record = Record {
            phase: Some(self.schedule.phase(self.line.step).name().to_owned()),
            unique_tokens: Some(answers.unique_tokens as u32),
            output_entropy: Some(answers.output_entropy),
            repetition: Some(answers.repetition),
            zero_share: ternary(self.engine.zero_shares()),
            flip_rate: ternary(self.engine.flip_rates()),
            ..Record::default()
        };
        if with_validation {
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
        self.boundaries.contains(&done) || (every > 0 && done.is_multiple_of(every))
    }

    fn validate(&mut self) -> Validation {
        let batches = self.config.train.validate_batches;
        validate(&mut self.engine, &mut self.valid, &mut self.valid_batch, batches, &self.token_bytes)
    }

    /// The untrained network's checkpoint, its validation, and the codes that the first flip rate counts from.
    fn first_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.engine.renew(self.schedule.at(0).lambda as f32);
        self.engine.flip_rates();
        self.save(observer)?;
        let Validation { loss, bits_per_byte } = self.validate();
        let message = format!("untrained: validation loss {loss:.4}, {bits_per_byte:.4} bits per byte");
        self.note(Kind::Phase, message, observer)
    }

    /// Writes the checkpoint of this step unless it is there, then removes those that have had their time.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let dir = self.run.checkpoint(self.state.step);
        if dir.exists() {
            return Ok(());
        }
        self.metrics.sync()?;
        self.state.cursor = self.train.cursor();
        snapshot::save(&dir, &self.config_text, &self.tokenizer, &self.engine, &self.state)?;
        let keep: Vec<String> = self.kept().map(journal::layout::checkpoint_name).collect();
        retention::prune(&self.run.checkpoints(), self.config.train.keep_last, &keep)?;
        self.note(Kind::Checkpoint, format!("{}", dir.display()), observer)
    }

    /// Steps whose checkpoints stay however old: phase boundaries and the best.
    fn kept(&self) -> impl Iterator<Item = u64> {
        self.boundaries.iter().copied().chain(self.state.best.map(|best| best.step))
    }

    fn note(&mut self, kind: Kind, message: String, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let event = Event { step: self.state.step, kind, message };
        self.events.append(&event)?;
        observer.event(&event);
        Ok(())
    }

    fn write_facts(&self) -> Result<(), TrainError> {
        let dataset = Dataset::open(&self.config.data[0].path)?;
        let facts = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "parameters": self.config.model.parameters(),
            "ln_vocabulary": (self.config.model.vocabulary as f64).ln(),
            "unigram_entropy": dataset.unigram_entropy(),
            "data_fingerprint": dataset.fingerprint(),
            "train_tokens": dataset.tokens(Split::Train),
            "kernel": self.engine.network.machine.ternary.name(),
            "threads": self.engine.network.machine.pool.threads(),
            "started_unix_s": std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        });
        let serde_json::Value::Object(facts) = facts else { unreachable!("an object literal") };
        Ok(self.run.write_facts(&facts)?)
    }
}

pub(crate) fn engine(config: &RunConfig, weights: Weights) -> Cpu {
    let train = &config.train;
    let blend = config.lambda.blends();
    let dimensions = Dimensions {
        batch: slice_of(train.batch, train.sequence),
        sequence: train.sequence,
        blend,
        backward: train.backward.arithmetic(),
    };
    let loss = Options { label_smoothing: train.label_smoothing as f32, z_loss: train.z_loss as f32 };
    let optimizer = adam::Options {
        beta1: train.beta1 as f32,
        beta2: train.beta2 as f32,
        epsilon: train.epsilon as f32,
        coupled: train.optimizer == Optimizer::Adam,
    };
    let threads = match train.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        threads => threads,
    };
    Cpu::new(weights, dimensions, loss, optimizer, threads)
}

fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    std::fs::read(path).map_err(|error| formats::FileError::io(path, "read", &error).into())
}
