//! Learning from a teacher: its forward of the same tokens, and the losses that compare it with the student (SPEC §6).
//!
//! The teacher runs forward only and keeps one block's activations at a time. It reads the tokens as they are, unmasked.

use crate::TrainError;
use crate::cache::Cache;
use crate::config::{DistillConfig, HiddenKind, LossWeights, Reduction, RunConfig};
use crate::heal;
use crate::loss::cross_entropy::{IGNORE, Options};
use crate::loss::hidden;
use crate::loss::logits::Candidate;
use crate::loss::relation::{self, Cut};
use crate::ops::ROWS;
use crate::ops::attention::Qkv;
use crate::plan::available_memory;
use crate::step::{Dimensions, Keep, MicroBatch, Network};
use checkpoint::Loaded;
use kernels::pool::{PerWorker, Pool, Rows};
use model::{Config, Rotation};
use std::ops::Range;
use std::path::PathBuf;

/// Sums of a step's losses beside the cross-entropy, nats or as their kind has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distilled {
    /// τ²·KL of the next-token distributions
    pub logits: f64,
    /// divergences of relations
    pub relation: f64,
    /// differences of hidden states
    pub hidden: f64,
}

impl Distilled {
    /// The three numbers.
    pub fn values(self) -> [f64; 3] {
        [self.logits, self.relation, self.hidden]
    }
}

/// A teacher, what it said about the slice in hand, and how its losses weigh.
pub struct Lesson {
    /// what reads the tokens, once it is needed
    network: Option<Network>,
    waiting: Option<Waiting>,
    cache: Option<Cache>,
    /// those of the step
    pub weights: LossWeights,
    /// summed up since the last step began
    pub sums: Distilled,
    /// what a row's gradient is multiplied by
    factor: f32,
    temperature: f32,
    /// (T, K): the likeliest tokens, where not all count
    candidates: Vec<Candidate>,
    top_k: usize,
    candidates_known: bool,
    losses: Vec<f32>, // (T)
    relation: Option<Relation>,
    hidden: Option<Hidden>,
    /// the basis that the student was brought into
    rotation: Option<Rotation>,
    /// why the teacher could not be read, or the cache not keep something
    failure: Option<TrainError>,
}

/// A teacher that is read when the cache does not know what it would say.
struct Waiting {
    path: PathBuf,
    dimensions: Dimensions,
    threads: usize,
}

impl Waiting {
    fn read(&self) -> Result<Network, TrainError> {
        network(&checkpoint::open(&self.path)?, self.dimensions, self.threads)
    }
}

/// The network of a teacher.
fn network(model: &Loaded, dimensions: Dimensions, threads: usize) -> Result<Network, TrainError> {
    let needed = 4 * model.config().parameters() as u64;
    let free = available_memory().unwrap_or(u64::MAX);
    if needed > free {
        let reason = format!(
            "its weights need {:.1} GB and {:.1} GB are free; use a smaller teacher, or its likeliest tokens from a cache that a larger machine filled (distill.cache)",
            needed as f64 / 1e9,
            free as f64 / 1e9
        );
        return Err(TrainError::Teacher { path: model.path.clone(), reason });
    }
    let weights = heal::read(model, model.config())?;
    let mut network = Network::new(weights, dimensions, Options::default(), threads);
    network.renew(1.0);
    Ok(network)
}

/// The relations of one layer.
struct Relation {
    /// the student's
    layer: usize,
    cut: Cut,
    /// what the sum over heads is multiplied by
    scale: f32,
    scratch: PerWorker<relation::Scratch>,
    losses: Vec<f64>, // (sequences)
}

/// The states after every layer.
struct Hidden {
    kind: HiddenKind,
    /// (L)
    weights: Vec<f32>,
    /// (L): the teacher's layer that each of the student's is compared with
    layers: Vec<usize>,
    /// (T, H): the student's state before its final norm
    last: Vec<f32>,
    losses: Vec<f64>, // (T)
}

/// What a teacher shows besides its logits.
#[derive(Default)]
pub struct Taps {
    /// (L, T, H): the state after each layer; empty where nobody asks
    hidden: Vec<f32>,
    /// the layer whose queries, keys and values are kept
    layer: Option<usize>,
    /// (T, N·D), (T, K·D), (T, K·D)
    qkv: [Vec<f32>; 3],
}

impl Taps {
    /// Keeps what is asked for of a layer.
    pub fn take(&mut self, layer: usize, stream: &[f32], qkv: Qkv) {
        if let Some(hidden) = self.hidden.chunks_exact_mut(stream.len()).nth(layer) {
            hidden.copy_from_slice(stream);
        }
        if self.layer == Some(layer) {
            for (kept, values) in self.qkv.iter_mut().zip([qkv.q, qkv.k, qkv.v]) {
                kept.clear();
                kept.extend_from_slice(values);
            }
        }
    }

    /// Brings what was kept into the student's basis.
    fn rotate(&mut self, pool: &Pool, rotation: &Rotation) {
        let [_, _, values] = &mut self.qkv;
        for (turn, kept) in [(&rotation.stream, &mut self.hidden), (&rotation.values, values)] {
            let rows = kept.len() / turn.width();
            pool.for_rows(rows, ROWS, Rows::new(kept, turn.width()), |_, kept| turn.rows(kept));
        }
    }
}

impl Lesson {
    /// Reads `model`, the teacher of a run, and reserves what slices of `slice` sequences need. Where there is a cache, the
    /// teacher is read once that does not know what it would say.
    ///
    /// # Errors
    /// The teacher cannot be read, does not fit into memory, has not come to λ = 1, or has another vocabulary than the student; its
    /// hidden states have another width and are to be compared.
    pub fn open(
        config: &RunConfig,
        distill: &DistillConfig,
        model: &Loaded,
        slice: usize,
    ) -> Result<Self, TrainError> {
        let (student, teacher) = (&config.model, model.config().clone());
        let unfit = |reason: String| TrainError::Teacher { path: distill.teacher.clone(), reason };
        if let Some(lambda) = model.unfinished() {
            return Err(unfit(format!(
                "its training had reached λ = {lambda:.3} of 1, so the ternary network it would teach as is another, much worse model; take it to λ = 1 first, or teach by what it was healed from"
            )));
        }
        if teacher.vocabulary != student.vocabulary {
            let reason = format!(
                "it has {} token ids and the student {}; they have to be the same ones",
                teacher.vocabulary, student.vocabulary
            );
            return Err(unfit(reason));
        }
        if distill.hidden.is_on() && teacher.hidden != student.hidden {
            let reason = format!(
                "its hidden states have {} elements and the student's {}; leave distill.hidden at 0",
                teacher.hidden, student.hidden
            );
            return Err(unfit(reason));
        }
        let rows = slice * config.train.sequence;
        let mut lesson = Self::without_teacher(config, distill, rows, &teacher)?;
        let threads = config.train.threads_used();
        let dimensions = Dimensions {
            batch: slice,
            sequence: config.train.sequence,
            blend: false,
            backward: config.train.backward.arithmetic(),
            keep: Keep::Nothing,
        };
        if let Some(folder) = &distill.cache {
            lesson.cache = Some(Cache::open(folder, distill.top_k, model)?);
            lesson.waiting = Some(Waiting { path: model.path.clone(), dimensions, threads });
            return Ok(lesson);
        }
        let mut network = network(model, dimensions, threads)?;
        network
            .taps
            .hidden
            .resize(if lesson.hidden.is_some() { teacher.layers * rows * teacher.hidden } else { 0 }, 0.0);
        network.taps.layer = lesson
            .relation
            .as_ref()
            .map(|relation| teacher_layer(relation.layer, student.layers, teacher.layers));
        lesson.network = Some(network);
        Ok(lesson)
    }

    fn without_teacher(
        config: &RunConfig,
        distill: &DistillConfig,
        rows: usize,
        teacher: &Config,
    ) -> Result<Self, TrainError> {
        let student = &config.model;
        let sequence = config.train.sequence;
        let heads = distill.relation_heads(student);
        let relation = distill.relation.is_on().then(|| {
            let widths = [student, teacher].map(|model| model.query_width().max(model.kv_width()) / heads);
            Relation {
                layer: distill.relation_layer(student),
                cut: Cut { sequence, heads },
                scale: match distill.relation_reduction {
                    Reduction::Mean => 1.0 / heads as f32,
                    Reduction::Sum => 1.0,
                },
                scratch: PerWorker::new(config.train.threads_used(), || {
                    relation::Scratch::new(sequence, widths)
                }),
                losses: vec![0.0; rows / sequence],
            }
        });
        let divides = |width: usize| width.is_multiple_of(heads);
        if relation.is_some() && !(divides(teacher.query_width()) && divides(teacher.kv_width())) {
            let reason = format!(
                "its {} query and {} key elements cannot be cut into {heads} relation heads; set distill.relation_heads to a divisor",
                teacher.query_width(),
                teacher.kv_width()
            );
            return Err(TrainError::Teacher { path: distill.teacher.clone(), reason });
        }
        let hidden = distill.hidden.is_on().then(|| Hidden {
            kind: distill.hidden_kind,
            weights: distill.hidden_layers.of(student.layers),
            layers: (0..student.layers)
                .map(|layer| teacher_layer(layer, student.layers, teacher.layers))
                .collect(),
            last: vec![0.0; rows * student.hidden],
            losses: vec![0.0; rows],
        });
        Ok(Self {
            network: None,
            waiting: None,
            cache: None,
            weights: distill.weights(0, 1),
            sums: Distilled::default(),
            factor: 0.0,
            temperature: distill.temperature as f32,
            candidates: vec![Candidate::default(); rows * distill.top_k],
            top_k: distill.top_k,
            candidates_known: false,
            losses: vec![0.0; rows],
            relation,
            hidden,
            rotation: config.heal.as_ref().filter(|heal| heal.rotate).map(|_| Rotation::of(teacher)),
            failure: None,
        })
    }

    /// Forgets the last step's sums and takes the weights of the next.
    pub(crate) fn begin(&mut self, weights: LossWeights) {
        self.weights = weights;
        self.sums = Distilled::default();
    }

    /// What went wrong since the last call.
    pub(crate) fn failure(&mut self) -> Option<TrainError> {
        self.failure.take()
    }

    /// Lets the teacher read a slice, unless the cache knows what it would say.
    pub(crate) fn read(&mut self, slice: MicroBatch, factor: f32) {
        self.factor = factor;
        self.candidates_known =
            self.cache.as_mut().is_some_and(|cache| cache.find(slice, &mut self.candidates));
        if self.candidates_known {
            return;
        }
        if let Some(waiting) = self.waiting.take() {
            let read = waiting.read();
            self.network = read.map_err(|error| self.failure = Some(error)).ok();
        }
        match &mut self.network {
            Some(network) => {
                network.read(slice);
                let Network { taps, machine, .. } = network;
                self.rotation.iter().for_each(|rotation| taps.rotate(&machine.pool, rotation));
            }
            // The failure ends the run after this step, whatever that comes to.
            None => self.candidates_known = true,
        }
    }

    /// Whether what it says about next tokens counts in this step.
    pub(crate) fn speaks(&self) -> bool {
        self.weights.logits != 0.0
    }

    /// What it says about the next token after some rows of the slice.
    pub(crate) fn say(&mut self, rows: Range<usize>) -> Said<'_> {
        let logits: &mut [f32] = match (&mut self.network, self.candidates_known) {
            (Some(network), false) => network.logits_of(rows.clone()),
            _ => &mut [],
        };
        Said {
            logits,
            candidates: &mut self.candidates[rows.start * self.top_k..rows.end * self.top_k],
            losses: &mut self.losses[rows],
            chooses: self.top_k > 0 && !self.candidates_known,
            rounds: self.cache.is_some(),
            temperature: self.temperature,
            factor: self.factor * self.weights.logits,
            text: self.weights.cross_entropy,
        }
    }

    /// Keeps what the teacher said about a slice, and sums up.
    pub(crate) fn heard(&mut self, slice: MicroBatch) {
        if !self.speaks() {
            return;
        }
        if let (false, Some(cache)) = (self.candidates_known, &mut self.cache) {
            let kept = cache.keep(slice, &self.candidates);
            self.failure = self.failure.take().or(kept.err().map(TrainError::from));
        }
        self.sums.logits +=
            self.losses[..slice.tokens.len()].iter().map(|loss| f64::from(*loss)).sum::<f64>();
    }

    /// The student's state before its final norm.
    pub(crate) fn last_state(&mut self, state: &[f32]) {
        if let Some(hidden) = &mut self.hidden {
            hidden.last.copy_from_slice(state);
        }
    }

    /// Adds the gradient of the relations by a layer's queries, keys and values.
    pub(crate) fn relate(&mut self, pool: &Pool, layer: usize, qkv: Qkv, gradients: [&mut [f32]; 3]) {
        let (Some(relation), Some(network)) = (&mut self.relation, &self.network) else { return };
        let factor = self.factor * self.weights.relation * relation.scale;
        if layer != relation.layer || factor == 0.0 {
            return;
        }
        let pairs = [qkv.q, qkv.k, qkv.v].into_iter().zip(&network.taps.qkv).zip(gradients);
        for ((student, teacher), gradient) in pairs {
            let loss = relation::forward_backward(
                pool,
                &mut relation.scratch,
                relation.cut,
                (student, teacher),
                gradient,
                (factor, &mut relation.losses),
            );
            self.sums.relation += loss * f64::from(relation.scale);
        }
    }

    /// Adds the gradient by the state after a layer, `(T, H)`; `state` is `None` for the last layer.
    pub(crate) fn compare(
        &mut self,
        pool: &Pool,
        layer: usize,
        state: Option<&[f32]>,
        targets: &[u32],
        gradient: &mut [f32],
    ) {
        let (Some(Hidden { kind, weights, layers, last, losses }), Some(network)) =
            (&mut self.hidden, &self.network)
        else {
            return;
        };
        let share = self.weights.hidden * weights[layer];
        if share == 0.0 {
            return;
        }
        let (state, size) = (state.unwrap_or(last), gradient.len());
        let teacher = &network.taps.hidden[layers[layer] * size..][..size];
        let width = size / targets.len();
        let (kind, factor) = (*kind, self.factor * share);
        losses.fill(0.0);
        let parts = (Rows::new(gradient, width), Rows::new(&mut losses[..], 1));
        pool.for_rows(targets.len(), ROWS, parts, |rows, (gradient, losses)| {
            for ((row, gradient), loss) in rows.zip(gradient.chunks_exact_mut(width)).zip(losses) {
                let own = row * width..(row + 1) * width;
                if targets[row] != IGNORE {
                    *loss = hidden::row(kind, &state[own.clone()], &teacher[own], gradient, factor);
                }
            }
        });
        self.sums.hidden += losses.iter().sum::<f64>() * f64::from(weights[layer]);
    }
}

/// What a teacher says about some rows.
pub(crate) struct Said<'a> {
    /// (rows, V); empty where the cache spoke
    pub(crate) logits: &'a mut [f32],
    /// (rows, K); empty where all tokens count
    pub(crate) candidates: &'a mut [Candidate],
    /// (rows)
    pub(crate) losses: &'a mut [f32],
    /// the candidates are still to be chosen
    pub(crate) chooses: bool,
    /// their logits are those that a cache gives back
    pub(crate) rounds: bool,
    /// τ
    pub(crate) temperature: f32,
    /// of the gradients
    pub(crate) factor: f32,
    /// weight of the cross-entropy
    pub(crate) text: f32,
}

/// The layer at the same height.
fn teacher_layer(layer: usize, student: usize, teacher: usize) -> usize {
    ((layer + 1) * teacher).div_ceil(student) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teacher_is_read_once_the_cache_does_not_know_its_answer() {
        let dir = testkit::temp_dir();
        let is_read = |(teacher, vocabulary): (&str, usize)| {
            let own = [
                format!("distill.teacher={teacher}"),
                format!("distill.cache={}", dir.path().display()),
                format!("model.vocabulary={vocabulary}"),
            ];
            let sets = ["train.batch=1", "train.sequence=8", "train.threads=1", "distill.top_k=4"];
            let sets = [&sets.map(str::to_owned)[..], &own].concat();
            let config = RunConfig::resolve(Some("tiny"), None, &sets).unwrap();
            let distill = config.distill.as_ref().unwrap();
            let mut lesson =
                Lesson::open(&config, distill, &checkpoint::open(&distill.teacher).unwrap(), 1).unwrap();
            assert!(lesson.network.is_none());
            let (tokens, starts) = ([1, 2, 3, 4, 5, 6, 7, 8], [0; 8]);
            let slice = MicroBatch { tokens: &tokens, targets: &tokens, starts: &starts };
            lesson.begin(distill.weights(0, 1));
            lesson.read(slice, 1.0);
            lesson.heard(slice);
            assert!(lesson.failure().is_none());
            lesson.network.is_some()
        };
        let asked = [("random:tiny", 2048), ("random:tiny", 2048), ("random:books10m", 8192)];
        assert_eq!(asked.map(is_read), [true, false, true]);
    }
}
