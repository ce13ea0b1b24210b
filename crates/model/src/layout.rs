//! Which tensor lies where: one flat arena holds all parameters (and another, of the same layout, all gradients).

use crate::config::{Config, NormPlacement};

/// A matrix (or a vector as one row) inside a flat arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// index of the first element
    pub start: usize,
    /// output features; 1 for a vector
    pub rows: usize,
    /// input features; the length of a vector
    pub cols: usize,
}

impl Slot {
    /// Number of elements.
    pub fn len(self) -> usize {
        self.rows * self.cols
    }

    /// True only for a slot of no elements, which no layout contains.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The slot's elements in `arena`, row-major `(rows, cols)`.
    pub fn of(self, arena: &[f32]) -> &[f32] {
        &arena[self.start..self.start + self.len()]
    }

    /// The slot's elements in `arena`, to be written.
    pub fn of_mut(self, arena: &mut [f32]) -> &mut [f32] {
        &mut arena[self.start..self.start + self.len()]
    }
}

/// The seven linear layers of a block, in the order of their use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// All seven, in the order of their use.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The name inside `layers.{l}.`.
    pub fn name(self) -> &'static str {
        ["q", "k", "v", "o", "gate", "up", "down"][self as usize]
    }

    /// (output features, input features).
    pub fn shape(self, config: &Config) -> (usize, usize) {
        let (hidden, query, kv) = (config.hidden, config.query_width(), config.kv_width());
        match self {
            Self::Q => (query, hidden),
            Self::K | Self::V => (kv, hidden),
            Self::O => (hidden, query),
            Self::Gate | Self::Up => (config.ffn, hidden),
            Self::Down => (hidden, config.ffn),
        }
    }

    /// The norm whose output this projection reads.
    pub fn norm(self) -> Norm {
        match self {
            Self::Q | Self::K | Self::V => Norm::Attention,
            Self::O => Norm::AttentionSub,
            Self::Gate | Self::Up => Norm::Ffn,
            Self::Down => Norm::FfnSub,
        }
    }
}

/// The four norms of a block, in the order of their use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Norm {
    Attention,
    AttentionSub,
    Ffn,
    FfnSub,
}

impl Norm {
    /// All four, in the order of their use.
    pub const ALL: [Self; 4] = [Self::Attention, Self::AttentionSub, Self::Ffn, Self::FfnSub];

    /// The name inside `layers.{l}.`.
    pub fn name(self) -> &'static str {
        ["attn_norm", "attn_sub_norm", "ffn_norm", "ffn_sub_norm"][self as usize]
    }

    /// Elements normalised together.
    pub fn width(self, config: &Config) -> usize {
        match self {
            Self::Attention | Self::Ffn => config.hidden,
            Self::AttentionSub => config.query_width(),
            Self::FfnSub => config.ffn,
        }
    }

    /// Whether the network normalises here at all; norms inside BitLinear stand before every projection.
    pub fn exists(self, config: &Config) -> bool {
        match self {
            Self::Attention | Self::Ffn => true,
            Self::AttentionSub | Self::FfnSub => {
                config.sub_norms || config.norm_placement == NormPlacement::Inside
            }
        }
    }

    /// Whether this norm has a trained gain.
    pub fn has_gain(self, config: &Config) -> bool {
        self.exists(config) && config.norm_placement == NormPlacement::Outside
    }
}

/// The vectors that only some families have, beside the norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Extra {
    QBias,
    KBias,
    VBias,
    QNorm,
    KNorm,
}

impl Extra {
    /// All five, in the order of the arena.
    pub const ALL: [Self; 5] = [Self::QBias, Self::KBias, Self::VBias, Self::QNorm, Self::KNorm];

    /// The name inside `layers.{l}.`.
    pub fn name(self) -> &'static str {
        ["q_bias", "k_bias", "v_bias", "q_norm", "k_norm"][self as usize]
    }

    /// Number of elements.
    pub fn width(self, config: &Config) -> usize {
        match self {
            Self::QBias => config.query_width(),
            Self::KBias | Self::VBias => config.kv_width(),
            Self::QNorm | Self::KNorm => config.head_size,
        }
    }

    /// Whether the network has it.
    pub fn exists(self, config: &Config) -> bool {
        match self {
            Self::QBias | Self::KBias | Self::VBias => config.qkv_bias,
            Self::QNorm | Self::KNorm => config.qk_norm,
        }
    }
}

/// The slots of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSlots {
    norms: [Option<Slot>; 4],
    projections: [Slot; 7],
    extras: [Option<Slot>; 5],
}

impl BlockSlots {
    /// The gain of a norm, `None` where the network has none.
    pub fn gain(&self, norm: Norm) -> Option<Slot> {
        self.norms[norm as usize]
    }

    /// The matrix of a projection.
    pub fn projection(&self, projection: Projection) -> Slot {
        self.projections[projection as usize]
    }

    /// Index of the block's first element in the arena.
    pub fn start(&self) -> usize {
        let slots =
            self.projections.iter().chain(self.norms.iter().flatten()).chain(self.extras.iter().flatten());
        slots.map(|slot| slot.start).min().expect("a block has projections")
    }

    /// A bias, or the gain of a head's norm; `None` where the network has none.
    pub fn extra(&self, extra: Extra) -> Option<Slot> {
        self.extras[extra as usize]
    }
}

/// Name and place of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// our name, for example `layers.0.q`
    pub name: String,
    /// where it lies
    pub slot: Slot,
    /// true for matrices, false for gains and biases; only matrices decay
    pub is_matrix: bool,
}

impl Named {
    /// Whether it is one of the seven projections of a block: what BitLinear quantises.
    pub fn is_projection(&self) -> bool {
        let inside = self.name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        inside.is_some_and(|(_, name)| Projection::ALL.iter().any(|projection| projection.name() == name))
    }

    /// `[rows, cols]` of a matrix, `[len]` of a vector.
    pub fn shape(&self) -> Vec<usize> {
        if self.is_matrix { vec![self.slot.rows, self.slot.cols] } else { vec![self.slot.cols] }
    }
}

/// Where every tensor of a network lies in its arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// (V, H)
    pub embedding: Slot,
    /// one a layer
    pub blocks: Vec<BlockSlots>,
    /// (H)
    pub final_norm: Slot,
    /// (V, H); the embedding's slot where tied
    pub head: Slot,
    tensors: Vec<Named>,
    len: usize,
}

impl Layout {
    /// Lays out the network of `config`: embedding, blocks, final norm, head.
    pub fn new(config: &Config) -> Self {
        Self::plan(config, true)
    }

    /// The same without the projections, for who keeps those in another form: of their slots only the shapes mean anything.
    pub fn without_projections(config: &Config) -> Self {
        Self::plan(config, false)
    }

    fn plan(config: &Config, holds_projections: bool) -> Self {
        let mut plan = Planner { holds_projections, tensors: Vec::new(), len: 0 };
        let embedding = plan.matrix("embedding".into(), config.vocabulary, config.hidden);
        let blocks = (0..config.layers).map(|layer| plan.block(config, layer)).collect();
        let final_norm = plan.vector("final_norm".into(), config.hidden);
        let head = match config.tied {
            true => embedding,
            false => plan.matrix("head".into(), config.vocabulary, config.hidden),
        };
        Self { embedding, blocks, final_norm, head, tensors: plan.tensors, len: plan.len }
    }

    /// Elements of the arena: the number of parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: every network has an embedding.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All tensors in the order of the arena.
    pub fn tensors(&self) -> &[Named] {
        &self.tensors
    }
}

/// Where a slot begins that no arena has.
const NOWHERE: usize = usize::MAX;

struct Planner {
    holds_projections: bool,
    tensors: Vec<Named>,
    len: usize,
}

impl Planner {
    fn add(&mut self, name: String, rows: usize, cols: usize, is_matrix: bool) -> Slot {
        let slot = Slot { start: self.len, rows, cols };
        self.len += slot.len();
        self.tensors.push(Named { name, slot, is_matrix });
        slot
    }

    fn matrix(&mut self, name: String, rows: usize, cols: usize) -> Slot {
        self.add(name, rows, cols, true)
    }

    fn vector(&mut self, name: String, len: usize) -> Slot {
        self.add(name, 1, len, false)
    }

    fn block(&mut self, config: &Config, layer: usize) -> BlockSlots {
        let mut norms = [None; 4];
        let mut last = None;
        let projections = Projection::ALL.map(|projection| {
            let norm = projection.norm();
            if last != Some(norm) && norm.has_gain(config) {
                let name = format!("layers.{layer}.{}", norm.name());
                norms[norm as usize] = Some(self.vector(name, norm.width(config)));
            }
            last = Some(norm);
            let (rows, cols) = projection.shape(config);
            match self.holds_projections {
                true => self.matrix(format!("layers.{layer}.{}", projection.name()), rows, cols),
                false => Slot { start: NOWHERE, rows, cols },
            }
        });
        let extras = Extra::ALL.map(|extra| {
            let name = || format!("layers.{layer}.{}", extra.name());
            extra.exists(config).then(|| self.vector(name(), extra.width(config)))
        });
        BlockSlots { norms, projections, extras }
    }
}
