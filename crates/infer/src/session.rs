//! One sequence of tokens: its KV cache, and the forward pass from ids to logits, to be read from top to bottom.

use crate::cache::Cache;
use crate::linear::{self, Operand};
use crate::{Engine, InferError};
use kernels::pool::{PerWorker, Rows};
use kernels::{gate, norm, rope, softmax};
use model::{Activation, Config, Norm, NormPlacement, Projection, RopeStyle};

/// Tokens that go through the layers together; longer inputs go in several chunks.
const CHUNK: usize = 128;

/// Rows of a task in the operations that work on single rows.
const TASK_ROWS: usize = 8;

/// A sequence of tokens and what the network remembers of it. All memory but that of [`Session::forward_each`] is
/// allocated when the session is made.
pub struct Session<'e> {
    engine: &'e Engine,
    context: usize,
    position: usize,
    /// one a layer
    caches: Vec<Cache>,
    /// a row of C for each worker
    scores: PerWorker<Vec<f32>>,
    rows: Activations,
    /// (V), of the last token
    logits: Vec<f32>,
    /// (T, V), only for `forward_each`
    all_logits: Vec<f32>,
}

/// The activations of one chunk of T ≤ [`CHUNK`] tokens.
struct Activations {
    /// (T, H) residual stream
    stream: Vec<f32>,
    /// (T, widest norm)
    normed: Vec<f32>,
    /// what the projections read
    operand: Operand,
    /// (T, N·D)
    q: Vec<f32>,
    /// (T, K·D)
    k: Vec<f32>,
    /// (T, K·D)
    v: Vec<f32>,
    /// (T, N·D)
    mixed: Vec<f32>,
    /// (T, F)
    gate: Vec<f32>,
    /// (T, F)
    up: Vec<f32>,
    /// (T, F)
    product: Vec<f32>,
    /// (T, H), what a block adds to the stream
    out: Vec<f32>,
}

impl Activations {
    fn new(engine: &Engine, rows: usize) -> Self {
        let config = &engine.config;
        let widest = Norm::ALL.iter().map(|norm| norm.width(config)).max().unwrap_or(0);
        let floats = |width: usize| vec![0.0; rows * width];
        Self {
            stream: floats(config.hidden),
            normed: floats(widest),
            operand: Operand::new(engine.arithmetic, rows, widest),
            q: floats(config.query_width()),
            k: floats(config.kv_width()),
            v: floats(config.kv_width()),
            mixed: floats(config.query_width()),
            gate: floats(config.ffn),
            up: floats(config.ffn),
            product: floats(config.ffn),
            out: floats(config.hidden),
        }
    }
}

impl<'e> Session<'e> {
    /// `context` was checked by [`Engine::session`].
    pub(crate) fn new(engine: &'e Engine, context: usize) -> Self {
        let config = &engine.config;
        let cache = || Cache::new(context, config.kv_heads, config.head_size);
        Self {
            engine,
            context,
            position: 0,
            caches: (0..config.layers).map(|_| cache()).collect(),
            scores: PerWorker::new(engine.pool.threads(), || vec![0.0; context]),
            rows: Activations::new(engine, CHUNK.min(context)),
            logits: vec![0.0; config.vocabulary],
            all_logits: Vec::new(),
        }
    }

    /// The network's shape and choices.
    pub fn config(&self) -> &'e Config {
        &self.engine.config
    }

    /// Tokens seen so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Places left in the context.
    pub fn remaining(&self) -> usize {
        self.context - self.position
    }

    /// Forgets all tokens.
    pub fn reset(&mut self) {
        self.position = 0;
    }

    /// Logits (V) of the last token given to [`Session::forward`] or [`Session::forward_each`].
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Reads `ids` after those seen so far; returns the logits (V) of the last.
    ///
    /// # Errors
    /// No ids, an id beyond the vocabulary, more ids than places are left. The session is then as it was before.
    pub fn forward(&mut self, ids: &[u32]) -> Result<&[f32], InferError> {
        self.check(ids)?;
        for chunk in ids.chunks(CHUNK) {
            self.advance(chunk);
        }
        let hidden = self.engine.config.hidden;
        let last = ((ids.len() - 1) % CHUNK) * hidden;
        let x = &self.rows.normed[last..last + hidden];
        linear::multiply_row(&self.engine.pool, x, self.engine.head(), &mut self.logits);
        Ok(&self.logits)
    }

    /// As [`Session::forward`], and shows `visit` the index and the logits (V) of each id.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_each(
        &mut self,
        ids: &[u32],
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), InferError> {
        self.check(ids)?;
        let vocabulary = self.engine.config.vocabulary;
        let hidden = self.engine.config.hidden;
        for (index, chunk) in ids.chunks(CHUNK).enumerate() {
            self.advance(chunk);
            let rows = chunk.len();
            if self.all_logits.len() < rows * vocabulary {
                self.all_logits.resize(rows * vocabulary, 0.0);
            }
            let logits = &mut self.all_logits[..rows * vocabulary];
            let Activations { normed, operand, .. } = &mut self.rows;
            let x = &normed[..rows * hidden];
            let workspace = &mut operand.workspace;
            linear::multiply(&self.engine.pool, workspace, x, rows, self.engine.head(), logits);
            for (row, logits) in logits.chunks_exact(vocabulary).enumerate() {
                visit(index * CHUNK + row, logits);
            }
            self.logits.copy_from_slice(&logits[(rows - 1) * vocabulary..]);
        }
        Ok(())
    }

    /// As [`Session::forward`], but returns the logits (T, V) of all ids.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_all(&mut self, ids: &[u32]) -> Result<Vec<f32>, InferError> {
        let mut all = Vec::new();
        self.forward_each(ids, &mut |_, logits| all.extend_from_slice(logits))?;
        Ok(all)
    }

    fn check(&self, ids: &[u32]) -> Result<(), InferError> {
        let vocabulary = self.engine.config.vocabulary;
        if ids.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        if let Some(position) = ids.iter().position(|id| *id as usize >= vocabulary) {
            let id = ids[position];
            return Err(InferError::TokenOutOfRange { position, id, vocabulary });
        }
        if ids.len() > self.remaining() {
            return Err(InferError::ContextFull {
                position: self.position,
                added: ids.len(),
                context: self.context,
            });
        }
        Ok(())
    }

    /// Takes one chunk through all layers; leaves its final normed rows (T, H) in `normed`.
    fn advance(&mut self, ids: &[u32]) {
        let hidden = self.engine.config.hidden;
        for (row, id) in self.rows.stream.chunks_exact_mut(hidden).zip(ids) {
            row.copy_from_slice(&self.engine.embedding[*id as usize * hidden..][..hidden]);
        }
        for layer in 0..self.engine.config.layers {
            self.attention(layer, ids.len());
            self.feed_forward(layer, ids.len());
        }
        let rows = &mut self.rows;
        let gain = Some(self.engine.final_norm.as_slice());
        let stream = &rows.stream[..ids.len() * hidden];
        normalise(self.engine, stream, gain, hidden, &mut rows.normed);
        self.position += ids.len();
    }

    /// `stream += O·norm(attention(Q·h, K·h, V·h))`, `h = norm(stream)`.
    fn attention(&mut self, layer: usize, tokens: usize) {
        let engine = self.engine;
        let config = &engine.config;
        let block = &engine.blocks[layer];
        let (hidden, query, kv) = (config.hidden, config.query_width(), config.kv_width());
        let rows = &mut self.rows;
        let stream = &rows.stream[..tokens * hidden];
        let input = Input { engine, layer, norm: Norm::Attention };
        input.read(stream, &mut rows.normed, &mut rows.operand);
        let (q, k) = (&mut rows.q[..tokens * query], &mut rows.k[..tokens * kv]);
        let v = &mut rows.v[..tokens * kv];
        block.linear(Projection::Q).apply(&engine.pool, &mut rows.operand, q);
        block.linear(Projection::K).apply(&engine.pool, &mut rows.operand, k);
        block.linear(Projection::V).apply(&engine.pool, &mut rows.operand, v);
        rotate(engine, self.position, q, k);
        let cache = &mut self.caches[layer];
        for (row, (k, v)) in k.chunks_exact(kv).zip(v.chunks_exact(kv)).enumerate() {
            cache.write(self.position + row, k, v);
        }
        let mixed = &mut rows.mixed[..tokens * query];
        let (scores, heads) = (&mut self.scores, engine.heads());
        heads.attend(&engine.pool, scores, cache, q, self.position, mixed);
        let input = Input { norm: Norm::AttentionSub, ..input };
        input.read(mixed, &mut rows.normed, &mut rows.operand);
        let out = &mut rows.out[..tokens * hidden];
        block.linear(Projection::O).apply(&engine.pool, &mut rows.operand, out);
        softmax::add(&mut rows.stream[..tokens * hidden], out);
    }

    /// `stream += Down·norm(a(Gate·h) ⊙ Up·h)`, `h = norm(stream)`.
    fn feed_forward(&mut self, layer: usize, tokens: usize) {
        let engine = self.engine;
        let config = &engine.config;
        let block = &engine.blocks[layer];
        let (hidden, ffn) = (config.hidden, config.ffn);
        let rows = &mut self.rows;
        let stream = &mut rows.stream[..tokens * hidden];
        let input = Input { engine, layer, norm: Norm::Ffn };
        input.read(stream, &mut rows.normed, &mut rows.operand);
        let gate = &mut rows.gate[..tokens * ffn];
        let up = &mut rows.up[..tokens * ffn];
        block.linear(Projection::Gate).apply(&engine.pool, &mut rows.operand, gate);
        block.linear(Projection::Up).apply(&engine.pool, &mut rows.operand, up);
        let product = &mut rows.product[..tokens * ffn];
        activate(engine, gate, up, product);
        let input = Input { norm: Norm::FfnSub, ..input };
        input.read(product, &mut rows.normed, &mut rows.operand);
        let out = &mut rows.out[..tokens * hidden];
        block.linear(Projection::Down).apply(&engine.pool, &mut rows.operand, out);
        softmax::add(stream, out);
    }
}

/// What a projection reads: the output of a norm.
#[derive(Clone, Copy)]
struct Input<'e> {
    engine: &'e Engine,
    layer: usize,
    norm: Norm,
}

impl Input<'_> {
    /// Normalises the rows of `x` where the network does, and prepares the operand from them.
    fn read(self, x: &[f32], normed: &mut [f32], operand: &mut Operand) {
        let Self { engine, layer, norm } = self;
        let width = norm.width(&engine.config);
        if !norm.exists(&engine.config) {
            return operand.load(&engine.pool, x, width);
        }
        let gain = engine.blocks[layer].gain(norm);
        debug_assert!(gain.is_some() == (engine.config.norm_placement == NormPlacement::Outside));
        normalise(engine, x, gain, width, normed);
        operand.load(&engine.pool, &normed[..x.len()], width);
    }
}

/// RMSNorm of the rows of `x` (T, W) into `out`.
fn normalise(engine: &Engine, x: &[f32], gain: Option<&[f32]>, width: usize, out: &mut [f32]) {
    let epsilon = engine.config.norm_epsilon;
    let parts = Rows::new(&mut out[..x.len()], width);
    let tokens = x.len() / width;
    engine.pool.for_rows(tokens, TASK_ROWS, parts, |range, out| {
        let x = &x[range.start * width..range.end * width];
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            norm::rms_norm(x, gain, epsilon, out);
        }
    });
}

/// Turns queries (T, N·D) and keys (T, K·D) of the positions from `first` on.
fn rotate(engine: &Engine, first: usize, q: &mut [f32], k: &mut [f32]) {
    let config = &engine.config;
    let (query, kv, size) = (config.query_width(), config.kv_width(), config.head_size);
    let turn = match config.rope_style {
        RopeStyle::RotateHalf => rope::rotate_half,
        RopeStyle::Interleaved => rope::rotate_interleaved,
    };
    let tokens = q.len() / query;
    let parts = (Rows::new(q, query), Rows::new(k, kv));
    engine.pool.for_rows(tokens, TASK_ROWS, parts, |range, (q, k)| {
        for (token, (q, k)) in range.zip(q.chunks_exact_mut(query).zip(k.chunks_exact_mut(kv))) {
            let angles = (first + token) * size / 2..(first + token + 1) * size / 2;
            let (cos, sin) = (&engine.cos[angles.clone()], &engine.sin[angles]);
            let heads = q.chunks_exact_mut(size).chain(k.chunks_exact_mut(size));
            heads.for_each(|head| turn(head, cos, sin));
        }
    });
}

/// `product = a(gate) ⊙ up`, all (T, F).
fn activate(engine: &Engine, gate: &[f32], up: &[f32], product: &mut [f32]) {
    let ffn = engine.config.ffn;
    let combine = match engine.config.activation {
        Activation::Relu2 => gate::relu2,
        Activation::Silu => gate::silu,
    };
    let tokens = gate.len() / ffn;
    let parts = Rows::new(product, ffn);
    engine.pool.for_rows(tokens, TASK_ROWS, parts, |range, product| {
        let part = range.start * ffn..range.end * ffn;
        combine(&gate[part.clone()], &up[part], product);
    });
}
