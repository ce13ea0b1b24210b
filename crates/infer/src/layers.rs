//! The forward pass of a set of tokens through all layers, to be read from top to bottom.

use crate::Engine;
use crate::attention::{Memory, Scratch};
use crate::beside::Beside;
use crate::linear::Operand;
use crate::pages::{PAGE, Pages};
use kernels::pool::{PerWorker, Rows};
use kernels::{gate, norm, rope, softmax};
use model::{Activation, Extra, Norm, Projection, RopeStyle};

/// Rows of a task in the operations that work on single rows.
const TASK_ROWS: usize = 8;

/// Where one token stands: its sequence's pages and its position.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub sequence: usize,
    pub position: usize,
}

/// The activations of T tokens, and what computing them needs; allocated once.
pub(crate) struct Activations {
    /// (T, H) residual stream
    stream: Vec<f32>,
    /// (T, widest norm); at the end (T, H), the input of the head
    pub normed: Vec<f32>,
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
    product: Vec<f32>,
    /// (T, F), (T, F): gate and up, where an adapter adds to them
    gated: [Vec<f32>; 2],
    /// (T, r): what an adapter is amid
    low: Vec<f32>,
    /// (C, D/2)
    cos: Vec<f32>,
    /// (C, D/2)
    sin: Vec<f32>,
    /// of attention
    scratch: PerWorker<Scratch>,
}

impl Activations {
    /// Room for `rows` tokens of sequences of at most `context`.
    pub(crate) fn new(engine: &Engine, rows: usize, context: usize) -> Self {
        let config = &engine.config;
        let widest = Norm::ALL.iter().map(|norm| norm.width(config)).max().unwrap_or(0);
        let threads = engine.pool.threads();
        let floats = |width: usize| vec![0.0; rows * width];
        let gated = (0..config.layers).any(|layer| engine.adapts_gate(layer));
        let (cos, sin) = model::rope::rope_tables(config, context);
        Self {
            stream: floats(config.hidden),
            normed: floats(widest),
            operand: Operand::new(engine.arithmetic, threads, rows, widest),
            q: floats(config.query_width()),
            k: floats(config.kv_width()),
            v: floats(config.kv_width()),
            mixed: floats(config.query_width()),
            product: floats(config.ffn),
            gated: [(); 2].map(|()| floats(if gated { config.ffn } else { 0 })),
            low: floats(engine.beside.as_ref().map_or(0, Beside::rank)),
            cos,
            sin,
            scratch: PerWorker::new(threads, || engine.heads().scratch(context)),
        }
    }
}

/// One pass: the tokens, where they stand, and the memory of their sequences.
pub(crate) struct Pass<'a> {
    pub engine: &'a Engine,
    pub rows: &'a mut Activations,
    pub pages: &'a mut Pages,
    /// the pages of each sequence
    pub tables: &'a [Vec<u32>],
    /// (T)
    pub places: &'a [Place],
}

impl Pass<'_> {
    /// Takes the tokens `ids` (T) through all layers; leaves the head's input (T, H) in `normed`.
    pub(crate) fn run(&mut self, ids: &[u32]) {
        let hidden = self.engine.config.hidden;
        for (row, id) in self.rows.stream.chunks_exact_mut(hidden).zip(ids) {
            self.engine.embedding.rows(*id as usize, row);
        }
        for layer in 0..self.engine.config.layers {
            self.attention(layer);
            self.feed_forward(layer);
        }
        let (engine, x) = (self.engine, &self.rows.stream[..ids.len() * hidden]);
        let normed = &mut self.rows.normed[..x.len()];
        engine.pool.for_rows(ids.len(), TASK_ROWS, Rows::new(normed, hidden), |range, out| {
            for (row, out) in range.zip(out.chunks_exact_mut(hidden)) {
                let x = &x[row * hidden..][..hidden];
                norm::rms_norm(x, Some(&engine.final_norm), engine.config.final_epsilon(), out);
            }
        });
    }

    /// `stream += O·norm(attention(Q·h, K·h, V·h))`, `h = norm(stream)`.
    fn attention(&mut self, layer: usize) {
        let engine = self.engine;
        let (config, block, on) = (&engine.config, &engine.blocks[layer], (&engine.pool, &*engine.memory));
        let tokens = self.places.len();
        let rows = &mut *self.rows;
        let input = Input { engine, layer, tokens };
        input.read(Norm::Attention, &rows.stream, &mut rows.normed, &mut rows.operand);
        let q = &mut rows.q[..tokens * config.query_width()];
        let k = &mut rows.k[..tokens * config.kv_width()];
        let v = &mut rows.v[..tokens * config.kv_width()];
        let linears = [Projection::Q, Projection::K, Projection::V].map(|p| block.linear(p));
        rows.operand.project(on, linears, [&mut *q, &mut *k, &mut *v]);
        let x = rows.operand.plain(&rows.normed);
        input.adapt(
            x,
            &mut rows.low,
            [(Projection::Q, &mut *q), (Projection::K, &mut *k), (Projection::V, &mut *v)],
        );
        for (x, bias) in [(&mut *q, Extra::QBias), (&mut *k, Extra::KBias), (&mut *v, Extra::VBias)] {
            if let Some(bias) = block.extra(bias) {
                x.chunks_exact_mut(bias.len()).for_each(|row| softmax::add(row, bias));
            }
        }
        rotate((engine, layer), (&rows.cos, &rows.sin), self.places, q, k);
        let width = config.kv_width();
        for ((place, k), v) in self.places.iter().zip(k.chunks_exact(width)).zip(v.chunks_exact(width)) {
            let (page, position) = place.page(self.tables);
            self.pages.write(page, layer, position, k, v);
        }
        let mixed = &mut rows.mixed[..tokens * config.query_width()];
        let memory = Memory { pages: self.pages, layer, tables: self.tables };
        engine.heads().attend(&engine.pool, &mut rows.scratch, memory, (self.places, q), mixed);
        input.read(Norm::AttentionSub, mixed, &mut rows.normed, &mut rows.operand);
        let stream = &mut rows.stream[..tokens * config.hidden];
        rows.operand.project_add(on, block.linear(Projection::O), stream);
        input.adapt(rows.operand.plain(&rows.normed), &mut rows.low, [(Projection::O, stream)]);
    }

    /// `stream += Down·norm(a(Gate·h) ⊙ Up·h)`, `h = norm(stream)`.
    fn feed_forward(&mut self, layer: usize) {
        let engine = self.engine;
        let (config, block, on) = (&engine.config, &engine.blocks[layer], (&engine.pool, &*engine.memory));
        let tokens = self.places.len();
        let rows = &mut *self.rows;
        let input = Input { engine, layer, tokens };
        input.read(Norm::Ffn, &rows.stream, &mut rows.normed, &mut rows.operand);
        let combine = match config.activation {
            Activation::Relu2 => gate::relu2,
            Activation::Silu => gate::silu,
        };
        let product = &mut rows.product[..tokens * config.ffn];
        let linears = [block.linear(Projection::Gate), block.linear(Projection::Up)];
        if engine.adapts_gate(layer) {
            let [gate, up] = rows.gated.each_mut().map(|x| &mut x[..product.len()]);
            rows.operand.project(on, linears, [&mut *gate, &mut *up]);
            let x = rows.operand.plain(&rows.normed);
            input.adapt(x, &mut rows.low, [(Projection::Gate, &mut *gate), (Projection::Up, &mut *up)]);
            let width = config.ffn;
            engine.pool.for_rows(tokens, 1, Rows::new(&mut *product, width), |range, out| {
                let part = range.start * width..range.end * width;
                combine(&gate[part.clone()], &up[part], out);
            });
        } else {
            rows.operand.project_gated(on, linears, combine, product);
        }
        input.read(Norm::FfnSub, product, &mut rows.normed, &mut rows.operand);
        let stream = &mut rows.stream[..tokens * config.hidden];
        rows.operand.project_add(on, block.linear(Projection::Down), stream);
        input.adapt(rows.operand.plain(&rows.normed), &mut rows.low, [(Projection::Down, stream)]);
    }
}

/// What a projection reads: the output of a norm.
#[derive(Clone, Copy)]
struct Input<'e> {
    engine: &'e Engine,
    layer: usize,
    tokens: usize,
}

impl Input<'_> {
    /// Adds to the results `(T, N)` of projections of `x (T, K)` what an adapter has beside them.
    fn adapt<const C: usize>(self, x: &[f32], low: &mut [f32], results: [(Projection, &mut [f32]); C]) {
        let Some(beside) = &self.engine.beside else { return };
        for (projection, result) in results {
            beside.add(&self.engine.pool, (self.layer, projection), x, low, result);
        }
    }

    /// Normalises the rows of `x` where the network does, and prepares the operand from them.
    fn read(self, norm: Norm, x: &[f32], normed: &mut [f32], operand: &mut Operand) {
        let Self { engine, layer, tokens } = self;
        let width = norm.width(&engine.config);
        let (gain, epsilon) = (engine.blocks[layer].gain(norm), engine.config.norm_epsilon);
        let exists = norm.exists(&engine.config);
        operand.load(&engine.pool, (tokens, width), normed, |row, out| {
            let x = &x[row * width..][..width];
            match exists {
                true => {
                    norm::rms_norm(x, gain, epsilon, out);
                }
                false => out.copy_from_slice(x),
            }
        });
    }
}

impl Place {
    /// The page that the position lies in, and its place there.
    fn page(self, tables: &[Vec<u32>]) -> (u32, usize) {
        (tables[self.sequence][self.position / PAGE], self.position % PAGE)
    }
}

/// Normalises the heads of queries (T, N·D) and keys (T, K·D) where the network does, and turns them by their positions.
fn rotate(
    (engine, layer): (&Engine, usize),
    (cos, sin): (&[f32], &[f32]),
    places: &[Place],
    q: &mut [f32],
    k: &mut [f32],
) {
    let config = &engine.config;
    let (query, kv, size) = (config.query_width(), config.kv_width(), config.head_size);
    let turn = match config.rope_style {
        RopeStyle::RotateHalf => rope::rotate_half,
        RopeStyle::Interleaved => rope::rotate_interleaved,
    };
    let gains = [Extra::QNorm, Extra::KNorm].map(|extra| engine.blocks[layer].extra(extra));
    let parts = (Rows::new(q, query), Rows::new(k, kv));
    engine.pool.for_rows(places.len(), TASK_ROWS, parts, |range, (q, k)| {
        for (place, (q, k)) in places[range].iter().zip(q.chunks_exact_mut(query).zip(k.chunks_exact_mut(kv)))
        {
            let angles = place.position * size / 2..(place.position + 1) * size / 2;
            let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
            for (heads, gain) in [q, k].into_iter().zip(gains) {
                for head in heads.chunks_exact_mut(size) {
                    if let Some(gain) = gain {
                        norm::rms_norm_in_place(head, gain, config.norm_epsilon);
                    }
                    turn(head, cos, sin);
                }
            }
        }
    });
}
