//! A network made ready to run: ternary codes packed once, everything else as the arithmetic wants it.

use crate::InferError;
use crate::attention::Heads;
use crate::batch::{Batch, Limits, Want};
use crate::beside::Beside;
use crate::linear::{Arithmetic, Linear};
use crate::pages::KvType;
use crate::room;
use crate::screen::{self, Screen};
use crate::session::Session;
use crate::table::Table;
use kernels::memory::Memory;
use kernels::pool::Pool;
use model::{Adapter, Config, Extra, Layout, Norm, Projection, Source};

/// How an engine runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineOptions {
    /// threads that compute, at least 1
    pub threads: usize,
    /// share of quantisation λ; 1 is BitLinear as served
    pub lambda: f32,
    /// how keys and values are kept; `None` is [`KvType::for_network`]
    pub kv: Option<KvType>,
    /// activations of a token that share a scale; `None` is all of them, as in training. Engines of other formats round in
    /// blocks: llama.cpp in blocks of 256 beside TQ1_0 and TQ2_0
    pub activation_block: Option<usize>,
    /// keep a large head a second time at eight bits a weight, so that the best tokens are found (exactly) at half the cost
    pub screen: bool,
}

impl Default for EngineOptions {
    /// All processors, λ = 1, keys and values as they fit, activations token by token, the head screened.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, lambda: 1.0, kv: None, activation_block: None, screen: true }
    }
}

/// A network ready to run. It does not change: sessions and batches hold what does.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) pool: Pool,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) kv: KvType,
    /// packed codes of all projections, in the order of their use
    pub(crate) memory: Memory,
    pub(crate) blocks: Vec<Block>,
    /// (V, H)
    pub(crate) embedding: Table,
    /// (V, H); `None` where the embedding is the head
    untied_head: Option<Table>,
    /// of the head, where it is large
    pub(crate) screen: Option<Screen>,
    /// (H)
    pub(crate) final_norm: Vec<f32>,
    /// what is added to the projections
    pub(crate) beside: Option<Beside>,
}

/// One layer.
pub(crate) struct Block {
    gains: [Option<Vec<f32>>; 4],
    extras: [Option<Vec<f32>>; 5],
    linears: [Linear; 7],
}

impl Block {
    /// The gain of a norm, `None` where the network has none.
    pub(crate) fn gain(&self, norm: Norm) -> Option<&[f32]> {
        self.gains[norm as usize].as_deref()
    }

    /// A bias, or the gain of a head's norm; `None` where the network has none.
    pub(crate) fn extra(&self, extra: Extra) -> Option<&[f32]> {
        self.extras[extra as usize].as_deref()
    }

    /// The matrix of a projection.
    pub(crate) fn linear(&self, projection: Projection) -> &Linear {
        &self.linears[projection as usize]
    }
}

impl Engine {
    /// Reads every tensor once and makes it ready; a ternary tensor keeps its scale, a latent one is quantised through
    /// `model::quantize`.
    ///
    /// # Errors
    /// λ outside 0..=1, blocks of no activations, a tensor that cannot be read, no memory for the packed codes.
    pub fn new(source: &dyn Source, options: EngineOptions) -> Result<Self, InferError> {
        if !(0.0..=1.0).contains(&options.lambda) {
            return Err(InferError::Lambda(options.lambda));
        }
        if options.activation_block == Some(0) {
            return Err(InferError::ActivationBlock);
        }
        let config = source.config().clone();
        let arithmetic = Arithmetic::of(&config, options.lambda, options.activation_block);
        let table = (config.vocabulary, config.hidden);
        let screened = options.screen && table.0 * table.1 >= screen::ELEMENTS_MIN;
        room::check(&config, arithmetic, screened)?;
        let pool = Pool::new(options.threads);
        let layout = Layout::new(&config);
        let loader = Loader { source, pool: &pool, arithmetic };
        let (memory, blocks) = loader.blocks(&layout)?;
        let embedding = Table::read_large(&pool, source, "embedding", table)?;
        let untied_head =
            if config.tied { None } else { Some(Table::read_large(&pool, source, "head", table)?) };
        let head = untied_head.as_ref().unwrap_or(&embedding);
        let screen = screened.then(|| Screen::new(&pool, head)).transpose();
        let bytes = table.0 * table.1;
        let screen = screen.map_err(|error| InferError::Memory { bytes, error })?;
        Ok(Self {
            arithmetic,
            kv: options.kv.unwrap_or(KvType::for_network(&config)),
            memory,
            blocks,
            embedding,
            untied_head,
            screen,
            final_norm: loader.vector("final_norm", config.hidden)?,
            beside: None,
            config,
            pool,
        })
    }

    /// The same network with an adapter beside its projections, which stay as they are.
    ///
    /// # Panics
    /// If the adapter was made for another network.
    pub fn with_adapter(self, adapter: &Adapter) -> Self {
        Self { beside: Some(Beside::new(adapter, &self.config)), ..self }
    }

    /// The network's shape and choices.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the projections read rounded activations.
    pub fn rounds_activations(&self) -> bool {
        self.arithmetic != Arithmetic::Dense
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Bytes of weights that one step of decoding reads: all logits wanted, or only the best.
    pub fn decode_bytes(&self, want: Want) -> usize {
        let floats = |block: &Block| block.linears.iter().map(Linear::float_bytes).sum::<usize>();
        let head = match (want, &self.screen) {
            (Want::Best(_), Some(screen)) => screen.bytes(),
            _ => self.head().bytes(),
        };
        let beside = self.beside.as_ref().map_or(0, Beside::bytes);
        self.memory.len() + self.blocks.iter().map(floats).sum::<usize>() + beside + head
    }

    /// Multiplications and additions of the projections for one token.
    pub fn operations_per_token(&self) -> usize {
        let layer = Projection::ALL.map(|projection| {
            let (n, k) = projection.shape(&self.config);
            2 * n * k
        });
        self.config.layers * layer.iter().sum::<usize>()
    }

    /// A session with places for `context` tokens.
    ///
    /// # Errors
    /// `context` is 0 or more than the model is made for, or needs more memory than is left.
    pub fn session(&self, context: usize) -> Result<Session<'_>, InferError> {
        if context == 0 || context > self.config.context {
            return Err(InferError::ContextOutOfRange { wanted: context, context: self.config.context });
        }
        Session::new(self, context)
    }

    /// Many sequences that go through the network together.
    ///
    /// # Errors
    /// They need more memory than is left.
    pub fn batch(&self, limits: Limits) -> Result<Batch<'_>, InferError> {
        room::check_batch(self, &limits)?;
        Ok(Batch::new(self, limits))
    }

    /// Whether an adapter adds to the gate or the up projection of a layer, which then are not computed as one.
    pub(crate) fn adapts_gate(&self, layer: usize) -> bool {
        let has = |beside: &Beside| [Projection::Gate, Projection::Up].iter().any(|p| beside.has(layer, *p));
        self.beside.as_ref().is_some_and(has)
    }

    pub(crate) fn heads(&self) -> Heads {
        Heads { heads: self.config.heads, kv_heads: self.config.kv_heads, head_size: self.config.head_size }
    }

    /// (V, H)
    pub(crate) fn head(&self) -> &Table {
        self.untied_head.as_ref().unwrap_or(&self.embedding)
    }
}

/// Reads the tensors of a network.
struct Loader<'a> {
    source: &'a dyn Source,
    pool: &'a Pool,
    arithmetic: Arithmetic,
}

impl Loader<'_> {
    fn blocks(&self, layout: &Layout) -> Result<(Memory, Vec<Block>), InferError> {
        let slots = || layout.blocks.iter().flat_map(|block| Projection::ALL.map(|p| block.projection(p)));
        let packed = |slot: model::Slot| Linear::packed_len(self.arithmetic, (slot.rows, slot.cols));
        let bytes: usize = slots().map(packed).sum();
        let mut memory = Memory::zeroed(bytes).map_err(|error| InferError::Memory { bytes, error })?;
        let mut at = 0;
        let mut blocks = Vec::with_capacity(layout.blocks.len());
        for (layer, slots) in layout.blocks.iter().enumerate() {
            let mut gains = [const { None }; 4];
            for norm in Norm::ALL {
                if let Some(slot) = slots.gain(norm) {
                    let name = format!("layers.{layer}.{}", norm.name());
                    gains[norm as usize] = Some(self.vector(&name, slot.len())?);
                }
            }
            let mut extras = [const { None }; 5];
            for extra in Extra::ALL {
                if let Some(slot) = slots.extra(extra) {
                    let name = format!("layers.{layer}.{}", extra.name());
                    extras[extra as usize] = Some(self.vector(&name, slot.len())?);
                }
            }
            let mut linears = Vec::with_capacity(7);
            for projection in Projection::ALL {
                let slot = slots.projection(projection);
                let name = format!("layers.{layer}.{}", projection.name());
                let bytes = at..at + packed(slot);
                at = bytes.end;
                let tensor = (name.as_str(), slot.rows, slot.cols);
                linears.push(Linear::read(
                    self.arithmetic,
                    self.pool,
                    self.source,
                    tensor,
                    (&mut memory, bytes),
                )?);
                self.source.release(&name);
            }
            let linears = linears.try_into().unwrap_or_else(|_| unreachable!("seven projections"));
            blocks.push(Block { gains, extras, linears });
        }
        Ok((memory, blocks))
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, InferError> {
        let mut values = vec![0.0; len];
        self.source.read(name, 0..1, &mut values)?;
        Ok(values)
    }
}
