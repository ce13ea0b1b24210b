//! A network made ready to run: ternary codes packed once, everything else as the arithmetic wants it.

use crate::InferError;
use crate::attention::Heads;
use crate::linear::{Arithmetic, Linear};
use crate::session::Session;
use kernels::pool::Pool;
use kernels::rope;
use model::{Config, Norm, Projection, Weights};

/// How an engine runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineOptions {
    /// threads that compute, at least 1
    pub threads: usize,
    /// share of quantisation λ; 1 is BitLinear as served
    pub lambda: f32,
}

impl Default for EngineOptions {
    /// All processors, λ = 1.
    fn default() -> Self {
        Self { threads: std::thread::available_parallelism().map_or(1, usize::from), lambda: 1.0 }
    }
}

/// A network ready to run. It does not change: sessions hold what does.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) pool: Pool,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) blocks: Vec<Block>,
    /// (V, H)
    pub(crate) embedding: Vec<f32>,
    /// (V, H); empty where the embedding is the head
    untied_head: Vec<f32>,
    /// (H)
    pub(crate) final_norm: Vec<f32>,
    /// (C, D/2)
    pub(crate) cos: Vec<f32>,
    /// (C, D/2)
    pub(crate) sin: Vec<f32>,
}

/// One layer.
pub(crate) struct Block {
    gains: [Option<Vec<f32>>; 4],
    linears: Vec<Linear>,
}

impl Block {
    /// The gain of a norm, `None` where the network has none.
    pub(crate) fn gain(&self, norm: Norm) -> Option<&[f32]> {
        self.gains[norm as usize].as_deref()
    }

    /// The matrix of a projection.
    pub(crate) fn linear(&self, projection: Projection) -> &Linear {
        &self.linears[projection as usize]
    }
}

impl Engine {
    /// Quantises every projection through `model::quantize` (a scale γ and codes for each) and packs it.
    ///
    /// # Errors
    /// λ outside 0..=1.
    pub fn new(weights: &Weights, options: EngineOptions) -> Result<Self, InferError> {
        if !(0.0..=1.0).contains(&options.lambda) {
            return Err(InferError::Lambda(options.lambda));
        }
        let Weights { config, layout, data } = weights;
        let arithmetic = Arithmetic::of(config, options.lambda);
        let pool = Pool::new(options.threads);
        let block = |slots: &model::layout::BlockSlots| Block {
            gains: Norm::ALL.map(|norm| slots.gain(norm).map(|slot| slot.of(data).to_vec())),
            linears: Projection::ALL
                .map(|projection| {
                    let slot = slots.projection(projection);
                    Linear::new(arithmetic, &pool, slot.of(data), slot.rows)
                })
                .into(),
        };
        let (cos, sin) = rope::tables(config.context, config.head_size, config.rope_theta);
        Ok(Self {
            config: config.clone(),
            arithmetic,
            blocks: layout.blocks.iter().map(block).collect(),
            pool,
            embedding: layout.embedding.of(data).to_vec(),
            untied_head: match config.tied {
                true => Vec::new(),
                false => layout.head.of(data).to_vec(),
            },
            final_norm: layout.final_norm.of(data).to_vec(),
            cos,
            sin,
        })
    }

    /// The network's shape and choices.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A session with places for `context` tokens.
    ///
    /// # Errors
    /// `context` is 0 or more than the model is made for.
    pub fn session(&self, context: usize) -> Result<Session<'_>, InferError> {
        if context == 0 || context > self.config.context {
            return Err(InferError::ContextOutOfRange { wanted: context, context: self.config.context });
        }
        Ok(Session::new(self, context))
    }

    pub(crate) fn heads(&self) -> Heads {
        Heads { heads: self.config.heads, kv_heads: self.config.kv_heads, head_size: self.config.head_size }
    }

    /// (V, H)
    pub(crate) fn head(&self) -> &[f32] {
        match self.config.tied {
            true => &self.embedding,
            false => &self.untied_head,
        }
    }
}
