//! How a run begins or goes on: from random weights, a model, a checkpoint, or what rank 0 says.

use super::Trainer;
use crate::config::{Optimizer, RunConfig, TrainConfig};
use crate::engine::{Cpu, Engine};
use crate::frozen::Beginning;
use crate::guard::Guard;
use crate::heal::{self, Speech};
use crate::material::Material;
use crate::probe::Probe;
use crate::records::Records;
use crate::schedule::Order;
use crate::start::Start;
use crate::state::State;
use crate::step::{MicroBatch, slice_of};
use crate::teacher::Lesson;
use crate::{TrainError, origin, snapshot};
use checkpoint::retention;
use cluster::Group;
use data::{Batch, Loader, LoaderOptions, Split};
use journal::events::Kind;
use journal::metrics::Step;
use journal::{Lock, Run};
use model::Weights;
use std::path::Path;

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
        let TrainConfig { spike_ratio, spike_window, .. } = trainer.config.train;
        trainer.state.guard.set(spike_ratio, spike_window);
        trainer.agree()?;
        let (done, checkpoints) = (trainer.state.step, run.checkpoints());
        trainer.records = Some(Records::open(run, lock, &trainer.config, voice, done)?);
        let from = opened.dir().display();
        if !found.warnings.is_empty() {
            // Whoever goes on hears that some of the work is done again.
            trainer.material.notes.extend(found.warnings.clone());
            trainer
                .material
                .notes
                .push(format!("the run goes on from {from}, which is older: {done} steps are done"));
        }
        for warning in found.warnings {
            trainer.note(Kind::Resume, warning, &mut ())?;
        }
        for (name, aside) in retention::set_aside(&checkpoints, done)? {
            trainer.note(
                Kind::Resume,
                format!("{name} was passed over and is now called {aside}"),
                &mut (),
            )?;
        }
        trainer.note(Kind::Resume, format!("from {from}"), &mut ())?;
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

    /// From random weights or a pretrained model's, in a folder that holds no checkpoint.
    fn begin(config: RunConfig, run: Run, lock: Lock, mut group: Option<Group>) -> Result<Self, TrainError> {
        let model = config.origin().map(checkpoint::open).transpose()?;
        let mut speech = Speech::at_first(&config, model.as_ref());
        let mut material = Material::open(&config, model.as_ref(), &mut speech)?;
        model.iter().try_for_each(|model| material.agree(&config, model))?;
        let beginning = match (&model, &config.heal) {
            (Some(model), Some(heal)) => Beginning::Learned(heal::begin(&config, heal, model, &material)?),
            (Some(model), None) => origin::begin(&config, model)?,
            (None, _) => Beginning::Learned(Weights::random(&config.model, config.train.seed)),
        };
        let voice = (material.tokenizer.clone(), speech);
        Start::of(&config, false)?.tell(&mut group);
        let mut trainer = Self::assemble(config, beginning, material, group)?;
        if model.is_some() {
            trainer.share_weights();
        }
        trainer.state.ranks = trainer.order_of_layers();
        trainer.agree()?;
        let records = Records::begin(run, lock, &trainer.config, voice)?;
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
        mut material: Material,
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
            let options = LoaderOptions {
                batch,
                sequence: train.sequence,
                seed: train.seed,
                document_mask: train.document_mask,
            };
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
            material.agree_with_teacher(&config, &teacher)?;
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
        self.engine.evaluate(MicroBatch::of(&self.valid_batch))
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
pub(super) struct Share {
    /// sequences of a micro-batch
    pub(super) batch: usize,
    /// micro-batches
    pub(super) accumulation: usize,
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
