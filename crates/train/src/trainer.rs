//! The loop around the step: data in, metrics out, checkpoints at the boundaries, and an orderly end at any moment.

use crate::config::{Guard as Policy, LossReduction, Optimizer, RunConfig, TrainConfig};
use crate::engine::{Cpu, Engine};
use crate::frozen::Beginning;
use crate::guard::{Alarm, Guard};
use crate::heal::{self, Speech};
use crate::material::Material;
use crate::optim::adam::Update;
use crate::probe::Probe;
use crate::records::{Records, resident_bytes};
use crate::schedule::{Order, Point, Schedule};
use crate::start::Start;
use crate::state::{Best, State};
use crate::step::{MicroBatch, slice_of};
use crate::teacher::Lesson;
use crate::validate::{Validation, bits_per_byte, scored, text_bytes, validate};
use crate::{TrainError, origin, snapshot};
use checkpoint::retention;
use cluster::Group;
use data::{Batch, Loader, LoaderOptions, Split};
use journal::events::{Event, Kind};
use journal::metrics::{Record, Step};
use journal::{Lock, Run};
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
    /// A new run in the folder `out`, from random weights or a model's; among the ranks of `group`, of which this is number 0.
    pub fn create(config: RunConfig, out: &Path, group: Option<Group>) -> Result<Self, TrainError> {
        let run = Run::create(out)?;
        let lock = Lock::acquire(out)?;
        Self::begin(config, run, lock, group)
    }

    /// Goes on with the run in `out` from its newest sound checkpoint, or from the beginning where it has none yet;
    /// its configuration is the run's own. Of the ranks of `group`, this is number 0.
    pub fn resume(out: &Path, mut group: Option<Group>) -> Result<Self, TrainError> {
        let run = Run::open(out)?;
        let lock = Lock::acquire(out)?;
        let config = RunConfig::resolve(None, Some(&run.config()), &[])?;
        let found = match checkpoint::locate(out) {
            Err(error) if error.kind == formats::Kind::Missing => {
                return Self::begin(config, run, lock, group);
            }
            found => found?,
        };
        let opened = found.checkpoint;
        if opened.model()? != config.model {
            return Err(TrainError::OtherModel { checkpoint: opened.dir().to_path_buf() });
        }
        let base = origin::beside_adapter(&config)?;
        let beginning = match &base {
            Some(base) => origin::begin(&config, base)?,
            None => Beginning::Learned(opened.load_weights()?),
        };
        let mut speech = Speech::saved(&opened)?;
        let own = (config.sft.is_some() && base.is_none()).then(|| checkpoint::open(opened.dir()));
        let told = own.transpose()?.or(base);
        let material = Material::open(&config, told.as_ref(), &mut speech)?;
        Start::of(&config, true)?.tell(&mut group);
        let voice = (material.tokenizer.clone(), speech);
        let mut trainer = Self::assemble(config, beginning, material, group)?;
        trainer.share_weights();
        trainer.state = snapshot::restore(&opened, &mut trainer.engine)?;
        trainer.agree()?;
        trainer.records = Some(Records::open(run, lock, &trainer.config, voice, trainer.state.step)?);
        for warning in found.warnings {
            trainer.note(Kind::Resume, warning, &mut ())?;
        }
        trainer.note(Kind::Resume, format!("from {}", opened.dir().display()), &mut ())?;
        Ok(trainer)
    }

    /// Any rank but number 0 of a run: what it is to do comes from there. Only the data is read here.
    pub fn join(mut group: Group) -> Result<Self, TrainError> {
        let Start { config, resumed } = Start::hear(&mut group)?;
        let config = RunConfig::from_toml(&config)?;
        let hears_weights = resumed || config.origin().is_some();
        let model = config.sft.as_ref().and(config.origin()).map(checkpoint::open).transpose()?;
        let mut speech = Speech::at_first(&config, model.as_ref());
        let material = Material::open(&config, model.as_ref(), &mut speech)?;
        let weights = match hears_weights {
            true => Weights::zeros(&config.model),
            false => Weights::random(&config.model, config.train.seed),
        };
        let mut trainer = Self::assemble(config, Beginning::Learned(weights), material, Some(group))?;
        if hears_weights {
            trainer.share_weights();
        }
        if resumed {
            snapshot::receive(&mut trainer.engine);
        }
        trainer.agree()?;
        Ok(trainer)
    }

    /// Leaves the job once every rank has come here. A rank that ends otherwise tells the others to end, too.
    pub fn leave(self) {
        if let Some(peers) = self.engine.peers {
            peers.group.finish();
        }
    }

    /// From random weights or a pretrained model's, in a folder that holds no checkpoint.
    fn begin(config: RunConfig, run: Run, lock: Lock, mut group: Option<Group>) -> Result<Self, TrainError> {
        let model = config.origin().map(checkpoint::open).transpose()?;
        let mut speech = Speech::at_first(&config, model.as_ref());
        let material = Material::open(&config, model.as_ref(), &mut speech)?;
        model.iter().try_for_each(|model| material.agree(&config, model))?;
        let beginning = match (&model, &config.heal) {
            (Some(model), Some(heal)) => Beginning::Learned(heal::begin(&config, heal, model, &material)?),
            (Some(model), None) => origin::begin(&config, model)?,
            (None, _) => Beginning::Learned(Weights::random(&config.model, config.train.seed)),
        };
        let records = Records::open(run, lock, &config, (material.tokenizer.clone(), speech), 0)?;
        Start::of(&config, false)?.tell(&mut group);
        let mut trainer = Self::assemble(config, beginning, material, group)?;
        if model.is_some() {
            trainer.share_weights();
        }
        trainer.state.ranks = trainer.order_of_layers();
        trainer.agree()?;
        records.begin()?;
        records.run.write_facts(&trainer.facts())?;
        trainer.records = Some(records);
        let (parameters, steps) = (trainer.config.model.parameters(), trainer.config.train.steps);
        let learned = match &trainer.engine.network.adapter {
            Some(adapter) => {
                format!(", of which none changes; an adapter of {} is learned", adapter.data.len())
            }
            None => String::new(),
        };
        trainer.note(Kind::Start, format!("{parameters} parameters{learned}, {steps} steps"), &mut ())?;
        for note in trainer.material.notes.clone() {
            trainer.note(Kind::Start, note, &mut ())?;
        }
        Ok(trainer)
    }

    fn assemble(
        config: RunConfig,
        beginning: Beginning,
        material: Material,
        group: Option<Group>,
    ) -> Result<Self, TrainError> {
        let train = &config.train;
        if group.is_some() && train.optimizer == Optimizer::Muon {
            return Err(TrainError::MuonAlone);
        }
        if group.is_some() && config.lora.is_some() {
            return Err(TrainError::AdapterAlone);
        }
        material.fits(&config)?;
        let (rank, ranks) = group.as_ref().map_or((0, 1), |group| (group.rank(), group.size()));
        let share = Share::of(train, ranks)?;
        let open = |split, batch: usize, rows: usize, rank: usize| -> Result<Loader, TrainError> {
            let options = LoaderOptions { batch, sequence: train.sequence, seed: train.seed };
            let mut loader = material.loader(split, options)?;
            loader.keep_rows(rank * rows..(rank + 1) * rows);
            Ok(loader)
        };
        let rows = share.batch * share.accumulation;
        let loader = open(Split::Train, train.batch * train.accumulation, rows, rank)?;
        // Where a batch is not split, every rank validates all of it, and the means are the same.
        let part = if share.batch < train.batch { rank } else { 0 };
        let valid = open(Split::Valid, train.batch, share.batch, part)?;
        let schedule = config.schedule()?;
        let state = State {
            step: 0,
            updates: 0,
            tokens: 0,
            lambda: schedule.at(0).lambda,
            cursor: loader.cursor(),
            guard: Guard::new(train.spike_ratio, train.spike_window),
            best: None,
            ranks: Vec::new(),
        };
        let mut engine = Cpu::new(&config, share.batch, beginning, group);
        if let Some(distill) = &config.distill {
            let teacher = checkpoint::open(&distill.teacher)?;
            material.agree(&config, &teacher)?;
            let lesson = Lesson::open(&config, distill, &teacher, slice_of(share.batch, train.sequence))?;
            engine.network.lesson = Some(Box::new(lesson));
        }
        let rows = share.batch * train.sequence;
        Ok(Self {
            boundaries: schedule.boundaries(),
            material,
            train: loader,
            valid,
            batch: Batch::default(),
            valid_batch: Batch::default(),
            probe: Probe::new(rows, train.sequence, config.model.vocabulary, train.seed),
            engine,
            share,
            state,
            line: Step::default(),
            schedule,
            config,
            records: None,
        })
    }

    /// When each layer is quantised; empty where all are together. Rank 0 decides alone.
    fn order_of_layers(&mut self) -> Vec<usize> {
        let layers = self.config.model.layers;
        match self.config.lambda.order {
            Order::Together => Vec::new(),
            Order::LastFirst => (0..layers).rev().collect(),
            Order::LeastSensitiveFirst => {
                self.valid.rewind();
                self.valid.next(&mut self.valid_batch);
                let mut order: Vec<(f64, usize)> =
                    (0..layers).map(|layer| (self.loss_without(layer), layer)).collect();
                order.sort_by(|a, b| a.0.total_cmp(&b.0));
                let mut ranks = vec![0; layers];
                order.iter().enumerate().for_each(|(rank, (_, layer))| ranks[*layer] = rank);
                ranks
            }
        }
    }

    /// Loss of the validation batch in hand with this layer alone at λ = 1.
    fn loss_without(&mut self, layer: usize) -> f64 {
        self.engine.network.renew_layers(|other| if other == layer { 1.0 } else { 0.0 });
        self.engine.network.evaluate(MicroBatch::of(&self.valid_batch))
    }

    fn share_weights(&mut self) {
        if let Some(peers) = &mut self.engine.peers {
            peers.broadcast(&mut self.engine.network.weights);
        }
    }

    /// Rank 0's state becomes that of every rank, and every rank goes to its place in the data; that one of them has other
    /// data is an error there.
    fn agree(&mut self) -> Result<(), TrainError> {
        if let Some(peers) = &mut self.engine.peers {
            let own = serde_json::to_vec(&self.state).expect("plain data becomes JSON");
            let state = peers.group.broadcast(own);
            self.state = serde_json::from_slice(&state).expect("what rank 0 wrote");
        }
        self.engine.optimizer.steps = self.state.updates;
        self.engine.network.ranks.clone_from(&self.state.ranks);
        Ok(self.train.seek(&self.state.cursor)?)
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
            return Err(error.into());
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
        if !train.document_mask {
            self.batch.starts.fill(0);
        }
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

    fn facts(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut facts = crate::material::object(serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "parameters": self.config.model.parameters(),
            "ln_vocabulary": (self.config.model.vocabulary as f64).ln(),
            "kernel": self.engine.network.machine.ternary.name(),
            "ranks": self.engine.peers.as_ref().map_or(1, |peers| peers.group.size()),
            "threads": self.engine.network.machine.pool.threads(),
            "started_unix_s": std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        }));
        facts.extend(self.material.facts());
        facts
    }
}

/// What one rank computes of a step.
#[derive(Clone, Copy)]
struct Share {
    /// sequences of a micro-batch
    batch: usize,
    /// micro-batches
    accumulation: usize,
}

impl Share {
    /// An even part of `train.batch`, or else of `train.accumulation`.
    fn of(train: &TrainConfig, ranks: usize) -> Result<Self, TrainError> {
        let TrainConfig { batch, accumulation, .. } = *train;
        if batch.is_multiple_of(ranks) {
            return Ok(Self { batch: batch / ranks, accumulation });
        }
        if accumulation.is_multiple_of(ranks) {
            return Ok(Self { batch, accumulation: accumulation / ranks });
        }
        Err(TrainError::Uneven { batch, accumulation, ranks })
    }
}
