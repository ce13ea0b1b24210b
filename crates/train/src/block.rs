//! One transformer block, forward and backward.

use crate::arena::{Buffers, Saved};
use crate::ops::attention::{self, Qkv, Shape};
use crate::ops::gate::{self, Gated};
use crate::ops::heads::{self, Heads};
use crate::ops::linear::{self, Weight};
use crate::ops::lora::{self, LowRank};
use crate::ops::norm::{self, RmsNorm};
use crate::ops::rope::Rope;
use crate::ops::{Machine, Precision, add, add_and_keep, keep};
use crate::shadow::Shadow;
use crate::teacher::Lesson;
use model::layout::{Extra, Slot};
use model::{Adapter, Norm, Projection, Weights};

/// One transformer block with everything it only reads.
pub(crate) struct Block<'a> {
    pub weights: &'a Weights,
    pub shadows: &'a [Shadow; 7],
    /// what is learned beside weights that do not change
    pub adapter: Option<&'a Adapter>,
    pub layer: usize,
    pub precision: Precision,
    pub shape: Shape<'a>,
    pub rope: &'a Rope,
}

impl<'a> Block<'a> {
    fn weight(&self, projection: Projection) -> Weight<'a> {
        let slot = self.weights.layout.blocks[self.layer].projection(projection);
        let shadow = &self.shadows[projection as usize];
        // Of a ternary network beside which an adapter is learned, there are only codes.
        let latent = match self.precision {
            Precision::Integer => &[],
            Precision::Blend(_) | Precision::Full => slot.of(&self.weights.data),
        };
        Weight { latent, shadow, rows: slot.rows, cols: slot.cols }
    }

    fn low_rank(&self, projection: Projection) -> Option<LowRank<'a>> {
        let adapter = self.adapter?;
        let pair = adapter.pair(self.layer, projection)?;
        let (a, b) = (pair.a.of(&adapter.data), pair.b.of(&adapter.data));
        Some(LowRank { a, b, rank: adapter.rank.rank, scale: adapter.rank.scale() })
    }

    /// The slots of what stands between a projection and RoPE: bias and gain.
    fn head_slots(&self, projection: Projection) -> [Option<Slot>; 2] {
        let block = &self.weights.layout.blocks[self.layer];
        match projection {
            Projection::Q => [block.extra(Extra::QBias), block.extra(Extra::QNorm)],
            Projection::K => [block.extra(Extra::KBias), block.extra(Extra::KNorm)],
            Projection::V => [block.extra(Extra::VBias), None],
            Projection::O | Projection::Gate | Projection::Up | Projection::Down => [None, None],
        }
    }

    fn heads(&self, projection: Projection) -> Heads<'a> {
        let Weights { config, data, .. } = self.weights;
        let [bias, gain] = self.head_slots(projection).map(|slot| slot.map(|slot| slot.of(data)));
        Heads { bias, gain, epsilon: config.norm_epsilon }
    }

    fn gated(&self) -> Gated<'a> {
        Gated { activation: self.weights.config.activation, norm: self.rms_norm(Norm::FfnSub) }
    }

    fn rms_norm(&self, norm: Norm) -> RmsNorm<'a> {
        let Weights { config, layout, data } = self.weights;
        let gain = layout.blocks[self.layer].gain(norm).map(|slot| slot.of(data));
        RmsNorm { exists: norm.exists(config), gain, epsilon: config.norm_epsilon }
    }

    /// `y = W·x`, and what an adapter adds; `low (7, T, r)` keeps the latter's middle.
    fn linear(
        &self,
        machine: &mut Machine,
        projection: Projection,
        input: &norm::Input,
        low: &mut [f32],
        y: &mut [f32],
    ) {
        linear::forward(machine, self.precision, self.weight(projection), input, y);
        if let Some(pair) = self.low_rank(projection) {
            lora::forward(machine, pair, input.floats, part_of(low, projection), y);
        }
    }

    pub(crate) fn forward(&self, machine: &mut Machine, saved: &mut Saved, buffers: &mut Buffers) {
        let config = &self.weights.config;
        let Buffers { stream, branch, .. } = buffers;
        let (query, kv) = (config.query_width(), config.kv_width());

        keep(&machine.pool, stream, saved.input, config.hidden);
        norm::forward(
            machine,
            self.rms_norm(Norm::Attention),
            self.precision,
            stream,
            saved.norm(Norm::Attention),
        );
        let [input, ..] = &saved.inputs;
        self.linear(machine, Projection::Q, input, saved.low, saved.q);
        self.linear(machine, Projection::K, input, saved.low, saved.k);
        self.linear(machine, Projection::V, input, saved.low, saved.v);
        let rows = self.shape.starts.len();
        let [raw_q, raw_k] = &mut saved.raw;
        heads::forward(machine, self.heads(Projection::Q), saved.q, raw_q, rows);
        heads::forward(machine, self.heads(Projection::K), saved.k, raw_k, rows);
        heads::forward(machine, self.heads(Projection::V), saved.v, &mut [], rows);
        self.rope.forward(&machine.pool, saved.q, query, self.shape.sequence);
        self.rope.forward(&machine.pool, saved.k, kv, self.shape.sequence);
        let qkv = Qkv { q: saved.q, k: saved.k, v: saved.v };
        attention::forward(machine, self.shape, qkv, saved.mixed, saved.lse);

        let [_, input, ..] = &mut saved.inputs;
        norm::forward(machine, self.rms_norm(Norm::AttentionSub), self.precision, saved.mixed, input);
        self.linear(machine, Projection::O, input, saved.low, branch);
        add_and_keep(&machine.pool, stream, branch, saved.middle, config.hidden);

        norm::forward(machine, self.rms_norm(Norm::Ffn), self.precision, stream, saved.norm(Norm::Ffn));
        let [_, _, input, _] = &saved.inputs;
        self.linear(machine, Projection::Gate, input, saved.low, saved.gate);
        self.linear(machine, Projection::Up, input, saved.low, saved.up);
        let [.., input] = &mut saved.inputs;
        gate::forward(machine, self.gated(), self.precision, (saved.gate, saved.up), input);
        self.linear(machine, Projection::Down, input, saved.low, branch);
        add(&machine.pool, stream, branch, config.hidden);
    }

    /// `buffers.stream` holds the gradient of the block's result and becomes that of its input.
    pub(crate) fn backward(&self, pass: &mut Backward, saved: &mut Saved, buffers: &mut Buffers) {
        self.backward_ffn(pass, saved, buffers);
        self.backward_attention(pass, saved, buffers);
    }

    fn backward_ffn(&self, pass: &mut Backward, saved: &mut Saved, buffers: &mut Buffers) {
        let Weights { config, .. } = self.weights;
        let Buffers { stream, dnorm, .. } = buffers;
        let rows = self.shape.starts.len();
        let dinput = &mut dnorm[..rows * config.ffn];

        let [.., input] = &saved.inputs;
        pass.linear(Projection::Down, (input, saved.low), stream, dinput, false);
        pass.gate(dinput, input.factor, (saved.gate, saved.up));

        let dinput = &mut dnorm[..rows * config.hidden];
        let [_, _, input, _] = &saved.inputs;
        pass.linear(Projection::Gate, (input, saved.low), saved.gate, dinput, false);
        pass.linear(Projection::Up, (input, saved.low), saved.up, dinput, true);
        pass.norm(Norm::Ffn, dinput, (saved.middle, input.factor), (stream, true));
    }

    fn backward_attention(&self, pass: &mut Backward, saved: &mut Saved, buffers: &mut Buffers) {
        let Weights { config, .. } = self.weights;
        let Buffers { stream, dnorm, dmixed, dq, dk, dv, .. } = buffers;
        let (rows, query, kv) = (self.shape.starts.len(), config.query_width(), config.kv_width());
        let dinput = &mut dnorm[..rows * query];

        let [_, input, ..] = &saved.inputs;
        pass.linear(Projection::O, (input, saved.low), stream, dinput, false);
        pass.norm(Norm::AttentionSub, dinput, (saved.mixed, input.factor), (dmixed, false));
        let qkv = Qkv { q: saved.q, k: saved.k, v: saved.v };
        let result = attention::Saved { out: saved.mixed, lse: saved.lse, dout: dmixed };
        attention::backward(pass.machine, self.shape, qkv, result, dq, dk, dv);
        if let Some(lesson) = &mut pass.lesson {
            lesson.relate(&pass.machine.pool, self.layer, qkv, [dq, dk, dv]);
        }
        self.rope.backward(&pass.machine.pool, dq, query, self.shape.sequence);
        self.rope.backward(&pass.machine.pool, dk, kv, self.shape.sequence);

        pass.heads(Projection::Q, dq, saved.raw[0]);
        pass.heads(Projection::K, dk, saved.raw[1]);
        pass.heads(Projection::V, dv, &[]);
        let dinput = &mut dnorm[..rows * config.hidden];
        let [input, ..] = &saved.inputs;
        pass.linear(Projection::Q, (input, saved.low), dq, dinput, false);
        pass.linear(Projection::K, (input, saved.low), dk, dinput, true);
        pass.linear(Projection::V, (input, saved.low), dv, dinput, true);
        pass.norm(Norm::Attention, dinput, (saved.input, input.factor), (stream, true));
    }
}

/// A part of `low (7, T, r)`.
fn part_of(low: &mut [f32], projection: Projection) -> &mut [f32] {
    let len = low.len() / Projection::ALL.len();
    &mut low[projection as usize * len..][..len]
}

/// A block's backward with what it writes: the shared buffers, and the gradients of its weights or of its adapter.
pub(crate) struct Backward<'a, 'b> {
    pub block: &'a Block<'b>,
    pub machine: &'a mut Machine,
    pub gradients: &'a mut [f32],
    pub lesson: Option<&'a mut Lesson>,
}

impl Backward<'_, '_> {
    /// See [`linear::backward`] and [`lora::backward`].
    fn linear(
        &mut self,
        projection: Projection,
        (input, low): (&norm::Input, &mut [f32]),
        dy: &[f32],
        dx: &mut [f32],
        again: bool,
    ) {
        let block = self.block;
        let (weight, precision) = (block.weight(projection), block.precision);
        let Some(adapter) = block.adapter else {
            let slot = block.weights.layout.blocks[block.layer].projection(projection);
            let dw = slot.of_mut(self.gradients);
            return linear::backward(self.machine, precision, weight, input, dy, (dx, again), Some(dw));
        };
        linear::backward(self.machine, precision, weight, input, dy, (&mut *dx, again), None);
        if let (Some(low_rank), Some(pair)) =
            (block.low_rank(projection), adapter.pair(block.layer, projection))
        {
            // A stands right before B.
            let (before, after) = self.gradients.split_at_mut(pair.b.start);
            let gradients = (&mut before[pair.a.start..], &mut after[..pair.b.len()]);
            let kept = (&*input.floats, part_of(low, projection));
            lora::backward(self.machine, low_rank, kept, dy, dx, gradients);
        }
    }

    /// `dx` becomes the gradient of the projection's result; those of bias and gain are added to.
    fn heads(&mut self, projection: Projection, dx: &mut [f32], raw: &[f32]) {
        let [bias, gain] = self.block.head_slots(projection);
        let (rows, Heads { gain: values, epsilon, .. }) =
            (self.block.shape.starts.len(), self.block.heads(projection));
        let frozen = self.block.adapter.is_some();
        if let Some(values) = values {
            let dgain = gain.filter(|_| !frozen).map(|slot| slot.of_mut(self.gradients));
            heads::norms_backward(self.machine, (values, epsilon), dx, raw, rows, dgain);
        }
        if let Some(slot) = bias.filter(|_| !frozen) {
            heads::bias_backward(self.machine, dx, rows, slot.of_mut(self.gradients));
        }
    }

    /// The slot of a norm's gain, where the weights are learned.
    fn gain(&self, norm: Norm) -> Option<Slot> {
        let slot = self.block.weights.layout.blocks[self.block.layer].gain(norm);
        slot.filter(|_| self.block.adapter.is_none())
    }

    /// `dx` is written, or added to; the gain's gradient is added to; `dy` is overwritten.
    fn norm(&mut self, norm: Norm, dy: &mut [f32], saved: (&[f32], &[f32]), dx: (&mut [f32], bool)) {
        let dgain = self.gain(norm).map(|slot| slot.of_mut(self.gradients));
        norm::backward(self.machine, self.block.rms_norm(norm), dy, saved, dx, dgain);
    }

    /// `gate` and `up` become their gradients; the gain's gradient is added to; `dy` is overwritten.
    fn gate(&mut self, dy: &mut [f32], factor: &[f32], gate_and_up: (&mut [f32], &mut [f32])) {
        let dgain = self.gain(Norm::FfnSub).map(|slot| slot.of_mut(self.gradients));
        gate::backward(self.machine, self.block.gated(), dy, factor, gate_and_up, dgain);
    }
}
