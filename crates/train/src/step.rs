//! One training step on this CPU, from top to bottom: the forward of a batch, its backward, and nothing else.
//!
//! ```text
//! x = embedding[tokens]
//! each block:  x += o(norm(attention(rope(q(norm x)), rope(k(norm x)), v(norm x))))
//!              x += down(norm(a(gate(norm x)) · up(norm x)))
//! loss = cross_entropy(head(norm x), targets)
//! ```

pub use crate::arena::Keep;
use crate::arena::{Activations, Buffers, Extent, Saved, widest};
use crate::block::{Backward, Block};
use crate::clock::{self, Op};
use crate::frozen::Frozen;
use crate::loss::cross_entropy::{self, Gradients, Head, Options};
use crate::ops::attention::{self, Qkv, Shape};
use crate::ops::norm::{self, RmsNorm};
use crate::ops::rope::Rope;
use crate::ops::{Machine, Precision, embedding};
use crate::schedule::Order;
use crate::shadow::Shadow;
use crate::teacher::{Lesson, Taps};
use kernels::gemm::{self, Arithmetic, View};
use kernels::memory;
use kernels::pool::{PerWorker, Pool};
use model::layout::Named;
use model::{Adapter, LinearKind, Norm, Projection, Weights};
use std::ops::Range;

/// Tokens of a micro-batch, all `(T)` with T = sequences × `sequence`.
#[derive(Clone, Copy)]
pub struct MicroBatch<'a> {
    /// ids
    pub tokens: &'a [u32],
    /// the ids to be predicted; `cross_entropy::IGNORE` is not scored
    pub targets: &'a [u32],
    /// index in its sequence of the first token that each token may attend to
    pub starts: &'a [u32],
}

impl<'a> MicroBatch<'a> {
    /// All of a loader's batch.
    pub fn of(batch: &'a data::Batch) -> Self {
        Self { tokens: &batch.tokens, targets: &batch.targets, starts: &batch.starts }
    }

    /// Parts of `rows` tokens: micro-batches of a batch, or slices of a micro-batch.
    pub fn split(self, rows: usize) -> impl Iterator<Item = Self> {
        let parts = self.tokens.chunks(rows).zip(self.targets.chunks(rows)).zip(self.starts.chunks(rows));
        parts.map(|((tokens, targets), starts)| Self { tokens, targets, starts })
    }
}

/// Tokens that go through the network at once, if a sequence is no longer: their activations stay in the caches, and the
/// memory of a step does not grow with its batch. Results depend on it in their last bits.
const SLICE_TOKENS: usize = 1024;

/// Sequences that go through the network at once: the most that divide `batch` and hold at most 1024 tokens.
pub fn slice_of(batch: usize, sequence: usize) -> usize {
    let fits = |slice: &usize| batch.is_multiple_of(*slice) && slice * sequence <= SLICE_TOKENS;
    (1..=batch).rev().find(fits).unwrap_or(1)
}

/// What a network is made for: how much goes through it at once, and how low λ may go.
#[derive(Clone, Copy, Debug)]
pub struct Dimensions {
    /// sequences of a slice; micro-batches are whole slices
    pub batch: usize,
    /// S: tokens of a sequence
    pub sequence: usize,
    /// whether any step has λ < 1
    pub blend: bool,
    /// what the products of the backward are summed in, and those of the forward where λ < 1 or layers are dense
    pub backward: Arithmetic,
    /// of a forward for the backward; where that is nothing, there are no gradients
    pub keep: Keep,
}

/// Learns which gradients are final; see [`Network::forward_backward_watched`].
pub type Ready<'a> = dyn FnMut(&mut [f32], usize) + 'a;

/// A network in training: weights, their quantised shadows, gradients and activations.
pub struct Network {
    /// latent weights, call `renew` after changing them; beside an adapter those of [`Frozen`]
    pub weights: Weights,
    /// what is learned beside the weights, which do not change then
    pub adapter: Option<Adapter>,
    /// same layout as the weights, or as the adapter where there is one
    pub gradients: Vec<f32>,
    /// the ternary forms of every projection, block by block
    pub shadows: Vec<[Shadow; 7]>,
    /// threads and buffers
    pub machine: Machine,
    /// what is learned from, besides the text
    pub lesson: Option<Box<Lesson>>,
    /// sum of `−log p(target)` over the scored targets of the last batch: its loss without what z-loss and label smoothing add
    pub nats: f64,
    /// what is shown to a student
    pub(crate) taps: Taps,
    options: Options,
    sequence: usize,
    /// tokens of a slice
    rows: usize,
    /// the packed head is that of these weights
    head_is_packed: bool,
    /// (L)
    precisions: Vec<Precision>,
    /// (L): when each layer is quantised, 0 for the first; empty where all are together
    pub ranks: Vec<usize>,
    rope: Rope,
    activations: Activations,
    /// (T, H): the gradient of a block's result while the block is computed again, where blocks are
    aside: Option<Vec<f32>>,
    buffers: Buffers,
}

impl Network {
    /// Takes the weights and reserves everything that steps of these dimensions need.
    pub fn new(weights: Weights, dimensions: Dimensions, options: Options, threads: usize) -> Self {
        let config = &weights.config;
        let shadow = |projection: Projection| {
            let (rows, cols) = projection.shape(config);
            Shadow::new(rows, cols, dimensions.blend, dimensions.keep != Keep::Nothing)
        };
        let shadows = match config.linear {
            LinearKind::Ternary => (0..config.layers).map(|_| Projection::ALL.map(shadow)).collect(),
            LinearKind::Dense => (0..config.layers).map(|_| Default::default()).collect(),
        };
        Self::with(Frozen { weights, shadows }, None, dimensions, options, threads)
    }

    /// A network that learns an adapter beside its weights, at λ = 1 where it is ternary; they have no gradients.
    pub fn adapted(
        base: Frozen,
        adapter: Adapter,
        dimensions: Dimensions,
        options: Options,
        threads: usize,
    ) -> Self {
        assert!(!dimensions.blend, "an adapter reads what a layer reads, not a blend of it");
        Self::with(base, Some(adapter), dimensions, options, threads)
    }

    fn with(
        Frozen { weights, shadows }: Frozen,
        adapter: Option<Adapter>,
        dimensions: Dimensions,
        options: Options,
        threads: usize,
    ) -> Self {
        let config = &weights.config;
        let rows = dimensions.batch * dimensions.sequence;
        let pool = Pool::new(threads);
        let machine = Machine {
            row: PerWorker::new(pool.threads(), || vec![0.0; 2 * widest(config)]),
            attention: PerWorker::new(pool.threads(), || {
                attention::Scratch::new(dimensions.sequence, config.head_size)
            }),
            pool,
            gemm: gemm::Workspace::default(),
            linear: gemm::Workspace::new(dimensions.backward),
            dinput: gemm::Workspace::new(dimensions.backward),
            dweight: gemm::Workspace::new(dimensions.backward),
            logits: gemm::Workspace::new(dimensions.backward),
            dlogits: gemm::Workspace::new(dimensions.backward),
            ternary: kernels::ternary::select(),
            units: vec![0.0; rows],
            partials: vec![0.0; rows.div_ceil(norm::BACKWARD_ROWS) * widest(config)],
        };
        let gradients = match dimensions.keep {
            Keep::Nothing => 0,
            Keep::All | Keep::Inputs => {
                adapter.as_ref().map_or(weights.data.len(), |adapter| adapter.data.len())
            }
        };
        let rank = adapter.as_ref().map_or(0, |adapter| adapter.rank.rank);
        let extent = Extent { rows, blend: dimensions.blend, rank };
        Self {
            gradients: memory::zeros(gradients),
            lesson: None,
            nats: 0.0,
            taps: Taps::default(),
            shadows,
            machine,
            options,
            sequence: dimensions.sequence,
            rows,
            head_is_packed: false,
            precisions: vec![Precision::Integer; config.layers],
            ranks: Vec::new(),
            rope: Rope::new(config, dimensions.sequence),
            activations: Activations::new(config, extent, dimensions.keep),
            aside: (dimensions.keep == Keep::Inputs).then(|| vec![0.0; rows * config.hidden]),
            buffers: Buffers::new(config, rows),
            adapter,
            weights,
        }
    }

    /// Names and places of what is learned.
    pub fn learned(&self) -> &[Named] {
        self.adapter.as_ref().map_or(self.weights.layout.tensors(), Adapter::tensors)
    }

    /// Quantises all projections anew; to be called when the weights or λ have changed.
    pub fn renew(&mut self, lambda: f32) {
        let layers = self.weights.config.layers;
        let ranks = std::mem::take(&mut self.ranks);
        self.renew_layers(|layer| match ranks.get(layer) {
            Some(rank) => Order::of_layer(lambda, *rank, layers),
            None => lambda,
        });
        self.ranks = ranks;
    }

    /// The same with a λ for each layer.
    pub fn renew_layers(&mut self, lambda: impl Fn(usize) -> f32) {
        let Weights { config, layout, data } = &self.weights;
        self.head_is_packed = false;
        let precision = |layer: usize| Precision::of(config.linear, lambda(layer));
        self.precisions.iter_mut().enumerate().for_each(|(layer, slot)| *slot = precision(layer));
        if config.linear == LinearKind::Dense || self.adapter.is_some() {
            return;
        }
        let _clock = clock::begin(Op::Quantise, 0, size_of_val(&**data));
        let pool = &self.machine.pool;
        for ((block, shadows), precision) in layout.blocks.iter().zip(&mut self.shadows).zip(&self.precisions)
        {
            for (projection, shadow) in Projection::ALL.into_iter().zip(shadows) {
                let slot = block.projection(projection);
                shadow.renew(pool, *precision, slot.of(data), slot.cols);
            }
        }
    }

    /// Sum of the losses of the scored targets.
    pub fn evaluate(&mut self, batch: MicroBatch) -> f64 {
        let mut loss = 0.0;
        self.nats = 0.0;
        for slice in batch.split(self.rows) {
            self.forward(slice);
            loss += self.head(slice, None);
        }
        loss
    }

    /// Sum of the losses of the scored targets; the gradients of that sum times `factor` are added up.
    pub fn forward_backward(&mut self, batch: MicroBatch, factor: f32) -> f64 {
        self.forward_backward_watched(batch, factor, &mut |_, _| {})
    }

    /// The same, and calls `ready(gradients, from)` whenever this batch adds nothing more to the gradients from index `from`
    /// of the arena upwards: the backward goes down the arena. `from` is 0 in the last call.
    pub fn forward_backward_watched(&mut self, batch: MicroBatch, factor: f32, ready: &mut Ready) -> f64 {
        let slices = batch.tokens.len() / self.rows;
        let mut loss = 0.0;
        self.nats = 0.0;
        for (index, slice) in batch.split(self.rows).enumerate() {
            if let Some(lesson) = &mut self.lesson {
                lesson.read(slice, factor);
            }
            self.forward(slice);
            loss += self.head(slice, Some(factor));
            match index + 1 == slices {
                true => self.backward(slice, ready),
                false => self.backward(slice, &mut |_, _| {}),
            }
        }
        loss
    }

    /// Calls `visit(row, logits (V))` for every row of the batch, in order.
    pub fn predict(&mut self, batch: MicroBatch, mut visit: impl FnMut(usize, &mut [f32])) {
        for (index, slice) in batch.split(self.rows).enumerate() {
            self.forward(slice);
            self.final_norm();
            let first = index * slice.tokens.len();
            self.logits(|row, logits| visit(first + row, logits));
        }
    }

    /// Calls `visit(layer, norm, x (T, W))` with what each sub-norm would read, for a slice through a dense network without them.
    pub fn observe_sub_norms(&mut self, slice: MicroBatch, visit: &mut dyn FnMut(usize, Norm, &[f32])) {
        self.forward_watched(slice, &mut |layer, saved| {
            for norm in [Norm::AttentionSub, Norm::FfnSub] {
                visit(layer, norm, saved.norm(norm).floats);
            }
        });
    }

    /// The logits of the slice whose head input is in `buffers.branch`.
    fn logits(&mut self, mut visit: impl FnMut(usize, &mut [f32])) {
        let Weights { config, layout, data } = &self.weights;
        let (vocabulary, hidden) = (config.vocabulary, config.hidden);
        let head = View::f32(layout.head.of(data), vocabulary, hidden);
        let chunk = cross_entropy::chunk_rows(self.rows, vocabulary);
        let Machine { pool, gemm: workspace, .. } = &mut self.machine;
        for (index, x) in self.buffers.branch.chunks(chunk * hidden).enumerate() {
            let rows = x.len() / hidden;
            let logits = &mut self.buffers.logits[..rows * vocabulary];
            let multiply = if index == 0 { gemm::gemm } else { gemm::gemm_again };
            multiply(pool, workspace, View::f32(x, rows, hidden), head.t(), logits, vocabulary, false);
            for (row, logits) in logits.chunks_exact_mut(vocabulary).enumerate() {
                visit(index * chunk + row, logits);
            }
        }
    }

    fn forward(&mut self, batch: MicroBatch) {
        self.forward_watched(batch, &mut |_, _| {});
    }

    /// Calls `visit(layer, what it keeps)` after each block.
    fn forward_watched(&mut self, batch: MicroBatch, visit: &mut dyn FnMut(usize, &mut Saved)) {
        let table = self.weights.layout.embedding.of(&self.weights.data);
        embedding::forward(&mut self.buffers.stream, table, batch.tokens, self.weights.config.hidden);
        for layer in 0..self.weights.config.layers {
            let shape = Shape { config: &self.weights.config, sequence: self.sequence, starts: batch.starts };
            let block = Block {
                weights: &self.weights,
                shadows: &self.shadows[layer],
                adapter: self.adapter.as_ref(),
                layer,
                precision: self.precisions[layer],
                shape,
                rope: &self.rope,
            };
            let saved = &mut self.activations.block(layer);
            block.forward(&mut self.machine, saved, &mut self.buffers);
            self.taps.take(layer, &self.buffers.stream, Qkv { q: saved.q, k: saved.k, v: saved.v });
            visit(layer, saved);
        }
    }

    /// Reads a slice as a teacher: afterwards its logits and its taps can be asked for.
    pub(crate) fn read(&mut self, slice: MicroBatch) {
        self.forward(slice);
        self.final_norm();
    }

    /// The logits `(rows, V)` of some rows of the slice that was read; as many at once as a chunk of the loss holds.
    pub(crate) fn logits_of(&mut self, rows: Range<usize>) -> &mut [f32] {
        let Weights { config, layout, data } = &self.weights;
        let (vocabulary, hidden) = (config.vocabulary, config.hidden);
        let head = View::f32(layout.head.of(data), vocabulary, hidden);
        let x = View::f32(&self.buffers.branch[rows.start * hidden..rows.end * hidden], rows.len(), hidden);
        let logits = &mut self.buffers.logits[..rows.len() * vocabulary];
        let multiply = if self.head_is_packed { gemm::gemm_again } else { gemm::gemm };
        let Machine { pool, logits: workspace, .. } = &mut self.machine;
        multiply(pool, workspace, x, head.t(), logits, vocabulary, false);
        self.head_is_packed = true;
        logits
    }

    /// `buffers.branch` becomes the input of the head.
    fn final_norm(&mut self) {
        let Buffers { stream, branch, final_factor, .. } = &mut self.buffers;
        norm::forward_plain(&self.machine, rms_norm_of_head(&self.weights), stream, final_factor, branch);
    }

    /// Final norm, head and loss, which is returned, and of which `nats` takes its part. With a factor, `buffers.stream` becomes
    /// the gradient of the last block's result.
    fn head(&mut self, batch: MicroBatch, factor: Option<f32>) -> f64 {
        if let (Some(lesson), Some(_)) = (&mut self.lesson, factor) {
            lesson.last_state(&self.buffers.stream);
        }
        self.final_norm();
        let norm = rms_norm_of_head(&self.weights);
        let Weights { config, layout, data } = &self.weights;
        let Buffers { stream, branch, final_factor, dnorm, logits, losses, nats, .. } = &mut self.buffers;
        let (hidden, vocabulary) = (config.hidden, config.vocabulary);
        let dx = &mut dnorm[..branch.len()];
        let packed = &mut self.head_is_packed;
        let weight = layout.head.of(data);
        let mut head = Head { weight, packed, vocabulary, hidden, logits, losses, nats };
        let gradients = factor.map(|factor| {
            let dweight = self.adapter.is_none().then(|| layout.head.of_mut(&mut self.gradients));
            Gradients { dx: &mut *dx, dweight, factor, lesson: self.lesson.as_deref_mut() }
        });
        let sums = cross_entropy::forward_backward(
            &mut self.machine,
            self.options,
            &mut head,
            branch,
            batch.targets,
            gradients,
        );
        self.nats += sums.nats;
        if factor.is_some() {
            if let Some(lesson) = &mut self.lesson {
                lesson.heard(batch);
            }
            let dgain = self.adapter.is_none().then(|| layout.final_norm.of_mut(&mut self.gradients));
            norm::backward(&mut self.machine, norm, dx, (stream, final_factor), (branch, false), dgain);
            std::mem::swap(stream, branch);
        }
        sums.loss
    }

    fn backward(&mut self, batch: MicroBatch, ready: &mut Ready) {
        ready(&mut self.gradients, self.weights.layout.final_norm.start);
        for layer in (0..self.weights.config.layers).rev() {
            let shape = Shape { config: &self.weights.config, sequence: self.sequence, starts: batch.starts };
            let block = Block {
                weights: &self.weights,
                shadows: &self.shadows[layer],
                adapter: self.adapter.as_ref(),
                layer,
                precision: self.precisions[layer],
                shape,
                rope: &self.rope,
            };
            let mut lesson = self.lesson.as_deref_mut();
            if let Some(lesson) = &mut lesson {
                let above =
                    (layer + 1 < self.weights.config.layers).then(|| self.activations.block(layer + 1).input);
                let dstream = &mut self.buffers.stream;
                lesson.compare(&self.machine.pool, layer, above.as_deref(), batch.targets, dstream);
            }
            let saved = &mut self.activations.block(layer);
            let machine = &mut self.machine;
            // What the last block kept is still there.
            if let Some(aside) = self.aside.as_mut().filter(|_| layer + 1 < self.weights.config.layers) {
                std::mem::swap(&mut self.buffers.stream, aside);
                self.buffers.stream.copy_from_slice(saved.input);
                block.forward(machine, saved, &mut self.buffers);
                std::mem::swap(&mut self.buffers.stream, aside);
            }
            let mut pass = Backward { block: &block, machine, gradients: &mut self.gradients, lesson };
            block.backward(&mut pass, saved, &mut self.buffers);
            ready(&mut self.gradients, self.weights.layout.blocks[layer].start());
        }
        if self.adapter.is_none() {
            let dtable = self.weights.layout.embedding.of_mut(&mut self.gradients);
            embedding::backward(dtable, &self.buffers.stream, batch.tokens, self.weights.config.hidden);
        }
        ready(&mut self.gradients, 0);
    }
}

fn rms_norm_of_head(weights: &Weights) -> RmsNorm<'_> {
    let gain = Some(weights.layout.final_norm.of(&weights.data));
    RmsNorm { exists: true, gain, epsilon: weights.config.final_epsilon() }
}
