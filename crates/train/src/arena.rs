//! The arenas of a step: what each block keeps for the backward, and the buffers that blocks share.

use crate::loss::cross_entropy::chunk_rows;
use crate::ops::norm::Input;
use kernels::memory::zeros;
use model::{Config, LinearKind, Norm};

/// Cuts a slice into named pieces, one after the other.
struct Carver<'a, T>(&'a mut [T]);

impl<'a, T> Carver<'a, T> {
    fn take(&mut self, len: usize) -> &'a mut [T] {
        let (piece, rest) = std::mem::take(&mut self.0).split_at_mut(len);
        self.0 = rest;
        piece
    }
}

/// Which activations exist, and how many rows they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// T: tokens of one micro-batch
    pub rows: usize,
    /// whether any step may have λ < 1
    pub blend: bool,
    /// r of the adapter that is trained; 0 where the weights are
    pub rank: usize,
}

/// How much of a forward is kept for the backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// everything that the backward reads
    All,
    /// what each block read; the backward computes the rest again, a block at a time
    Inputs,
    /// nothing: there is no backward, and blocks share one place
    Nothing,
}

impl Keep {
    /// Blocks of `layers` that have a place of their own.
    fn blocks(self, layers: usize) -> usize {
        match self {
            Self::All => layers,
            Self::Inputs | Self::Nothing => layers.min(1),
        }
    }

    /// Blocks of `layers` whose input has a place of its own.
    fn inputs(self, layers: usize) -> usize {
        match self {
            Self::All | Self::Inputs => layers,
            Self::Nothing => layers.min(1),
        }
    }
}

/// What one block keeps from its forward for its backward.
pub struct Saved<'a> {
    /// (T, H): residual stream on entry
    pub input: &'a mut [f32],
    /// (T, H): residual stream after attention
    pub middle: &'a mut [f32],
    /// (T, N·D)
    pub q: &'a mut [f32],
    /// (T, K·D)
    pub k: &'a mut [f32],
    /// (T, K·D)
    pub v: &'a mut [f32],
    /// (T, N·D), (T, K·D): queries and keys before their heads' norms; empty where there are none
    pub raw: [&'a mut [f32]; 2],
    /// (T, N·D): attention's result
    pub mixed: &'a mut [f32],
    /// (T, N): log-sum-exp of attention's rows
    pub lse: &'a mut [f32],
    /// (T, F)
    pub gate: &'a mut [f32],
    /// (T, F)
    pub up: &'a mut [f32],
    /// (7, T, r): `s·A·x` of every projection with an adapter; empty where there is none
    pub low: &'a mut [f32],
    /// the linear layers' inputs, in the order of `Norm::ALL`
    pub inputs: [Input<'a>; 4],
}

impl<'a> Saved<'a> {
    /// The linear layers' input behind a norm.
    pub fn norm(&mut self, norm: Norm) -> &mut Input<'a> {
        &mut self.inputs[norm as usize]
    }
}

/// The arena of everything saved, block after block.
pub struct Activations {
    config: Config,
    extent: Extent,
    keep: Keep,
    /// (L, T, H), or (1, T, H) where nothing is kept: what blocks read
    inputs: Vec<f32>,
    floats: Vec<f32>,
    codes: Vec<i8>,
}

impl Activations {
    /// Room for what is kept of all blocks.
    pub fn new(config: &Config, extent: Extent, keep: Keep) -> Self {
        let blocks = keep.blocks(config.layers);
        Self {
            config: config.clone(),
            extent,
            keep,
            inputs: zeros(keep.inputs(config.layers) * extent.rows * config.hidden),
            floats: zeros(blocks * floats_per_block(config, extent)),
            codes: vec![0; blocks * codes_per_block(config, extent)],
        }
    }

    /// The pieces of one block. Where blocks share a place, they are those of the block that was computed last.
    pub fn block(&mut self, layer: usize) -> Saved<'_> {
        let place = layer % self.keep.blocks(self.config.layers);
        let entry = layer % self.keep.inputs(self.config.layers);
        let (config, extent) = (self.config.clone(), self.extent);
        let rows = extent.rows;
        let (floats, codes) = (floats_per_block(&config, self.extent), codes_per_block(&config, self.extent));
        let mut floats = Carver(&mut self.floats[place * floats..][..floats]);
        let mut codes = Carver(&mut self.codes[place * codes..][..codes]);
        let (hidden, query, kv) =
            (rows * config.hidden, rows * config.query_width(), rows * config.kv_width());
        let (keeps_codes, keeps_floats) = kept(&config, self.extent);
        let mut input = |norm: Norm| {
            let width = rows * norm.width(&config);
            Input {
                factor: floats.take(rows),
                scale: floats.take(rows),
                codes: codes.take(width * usize::from(keeps_codes)),
                floats: floats.take(width * usize::from(keeps_floats)),
                adapted: extent.rank > 0,
            }
        };
        let inputs = Norm::ALL.map(&mut input);
        Saved {
            inputs,
            input: &mut self.inputs[entry * hidden..][..hidden],
            middle: floats.take(hidden),
            q: floats.take(query),
            k: floats.take(kv),
            v: floats.take(kv),
            raw: [query, kv].map(|len| floats.take(len * usize::from(config.qk_norm))),
            mixed: floats.take(query),
            lse: floats.take(rows * config.heads),
            gate: floats.take(rows * config.ffn),
            up: floats.take(rows * config.ffn),
            low: floats.take(7 * rows * extent.rank),
        }
    }
}

/// Whether the linear layers' inputs are kept as codes, and whether as floats.
fn kept(config: &Config, extent: Extent) -> (bool, bool) {
    let ternary = config.linear == LinearKind::Ternary;
    (ternary, extent.blend || extent.rank > 0 || !ternary)
}

/// f32 elements that one block keeps besides its input.
fn floats_per_block(config: &Config, extent: Extent) -> usize {
    let norms: usize = Norm::ALL.iter().map(|norm| norm.width(config)).sum();
    let inputs = if kept(config, extent).1 { norms } else { 0 };
    let attention = 2 * config.query_width() + 2 * config.kv_width() + config.heads;
    let raw = if config.qk_norm { config.query_width() + config.kv_width() } else { 0 };
    extent.rows * (8 + inputs + config.hidden + attention + raw + 2 * config.ffn + 7 * extent.rank)
}

/// int8 elements that one block keeps.
fn codes_per_block(config: &Config, extent: Extent) -> usize {
    let norms: usize = Norm::ALL.iter().map(|norm| norm.width(config)).sum();
    if kept(config, extent).0 { extent.rows * norms } else { 0 }
}

/// Bytes of the arena, and of a gradient that is put aside while a block is computed again.
pub fn activation_bytes(config: &Config, extent: Extent, keep: Keep) -> usize {
    let block = size_of::<f32>() * floats_per_block(config, extent) + codes_per_block(config, extent);
    let input = size_of::<f32>() * extent.rows * config.hidden;
    let aside = usize::from(keep == Keep::Inputs);
    keep.blocks(config.layers) * block + (keep.inputs(config.layers) + aside) * input
}

/// Buffers that blocks share, overwritten by each.
pub struct Buffers {
    /// (T, H): the residual stream; in the backward its gradient
    pub stream: Vec<f32>,
    /// (T, H): result of a branch, before it is added; in the head the final norm's output, then its gradient
    pub branch: Vec<f32>,
    /// (T): factors of the final norm
    pub final_factor: Vec<f32>,
    /// (T, widest): gradient of a norm's output
    pub dnorm: Vec<f32>,
    /// (T, N·D): gradient of attention's result
    pub dmixed: Vec<f32>,
    /// (T, N·D)
    pub dq: Vec<f32>,
    /// (T, K·D)
    pub dk: Vec<f32>,
    /// (T, K·D)
    pub dv: Vec<f32>,
    /// one chunk of logits
    pub logits: Vec<f32>,
    /// (T)
    pub losses: Vec<f32>,
    /// (T): of the losses, what is of the text alone
    pub nats: Vec<f32>,
}

impl Buffers {
    /// Room for batches of `rows` tokens.
    pub fn new(config: &Config, rows: usize) -> Self {
        let (query, kv) = (config.query_width(), config.kv_width());
        let room = |width: usize| vec![0.0; rows * width];
        Self {
            stream: room(config.hidden),
            branch: room(config.hidden),
            final_factor: room(1),
            dnorm: room(widest(config)),
            dmixed: room(query),
            dq: room(query),
            dk: room(kv),
            dv: room(kv),
            logits: zeros(chunk_rows(rows, config.vocabulary) * config.vocabulary),
            losses: room(1),
            nats: room(1),
        }
    }
}

/// f32 elements of all shared buffers.
pub fn buffer_floats(config: &Config, rows: usize) -> usize {
    let (query, kv) = (config.query_width(), config.kv_width());
    let widths = 2 * config.hidden + 3 + widest(config) + 2 * query + 2 * kv;
    rows * widths + chunk_rows(rows, config.vocabulary) * config.vocabulary
}

/// The widest row that a norm reads.
pub fn widest(config: &Config) -> usize {
    config.hidden.max(config.query_width()).max(config.ffn)
}
