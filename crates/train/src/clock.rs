//! Where the time of a step goes: each operation says when it begins, what it multiplies and what it moves.
//!
//! The sums belong to the thread that runs the steps; reading the clock some hundred times a step costs nothing.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// What a step spends its time in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// linear layers
    Linear,
    /// gradients of their inputs and weights
    LinearBackward,
    /// norms, and rounding to int8
    Norm,
    /// gradients of norms
    NormBackward,
    /// the gated product with its norm
    Gate,
    /// its gradient
    GateBackward,
    /// rotary positions, both ways
    Rope,
    /// attention
    Attention,
    /// gradients of queries, keys and values
    AttentionBackward,
    /// additions to the residual stream
    Residual,
    /// rows of the embedding, both ways
    Embedding,
    /// head and loss, both ways
    Loss,
    /// ternary codes of changed weights
    Quantise,
    /// clearing gradients, their norm, the update
    Optimiser,
}

impl Op {
    /// All of them, in the order of a step.
    pub const ALL: [Self; 14] = [
        Self::Embedding,
        Self::Norm,
        Self::Linear,
        Self::Rope,
        Self::Attention,
        Self::Gate,
        Self::Residual,
        Self::Loss,
        Self::LinearBackward,
        Self::NormBackward,
        Self::GateBackward,
        Self::AttentionBackward,
        Self::Optimiser,
        Self::Quantise,
    ];

    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::LinearBackward => "linear, backward",
            Self::Norm => "norm",
            Self::NormBackward => "norm, backward",
            Self::Gate => "gate and norm",
            Self::GateBackward => "gate and norm, backward",
            Self::Rope => "rope",
            Self::Attention => "attention",
            Self::AttentionBackward => "attention, backward",
            Self::Residual => "residual",
            Self::Embedding => "embedding",
            Self::Loss => "head and loss",
            Self::Quantise => "quantise weights",
            Self::Optimiser => "optimiser",
        }
    }
}

/// What an operation took, summed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// wall time
    pub time: Duration,
    /// multiply-adds of matrix products
    pub macs: u64,
    /// bytes of operands and results, each counted once a call
    pub bytes: u64,
}

thread_local! {
    static SPENT: RefCell<[Spent; Op::ALL.len()]> = const {
        RefCell::new([Spent { time: Duration::ZERO, macs: 0, bytes: 0 }; Op::ALL.len()])
    };
}

/// What this thread's operations took since the last call.
pub fn take() -> Vec<(Op, Spent)> {
    let spent = SPENT.take();
    Op::ALL.into_iter().map(|op| (op, spent[op as usize])).collect()
}

/// An operation under way; it ends where this is dropped.
pub(crate) struct Running {
    op: Op,
    macs: usize,
    bytes: usize,
    begun: Instant,
}

/// Begins an operation of so many multiply-adds on so many bytes.
pub(crate) fn begin(op: Op, macs: usize, bytes: usize) -> Running {
    Running { op, macs, bytes, begun: Instant::now() }
}

impl Drop for Running {
    fn drop(&mut self) {
        let time = self.begun.elapsed();
        SPENT.with_borrow_mut(|spent| {
            let spent = &mut spent[self.op as usize];
            spent.time += time;
            spent.macs += self.macs as u64;
            spent.bytes += self.bytes as u64;
        });
    }
}
