//! One file per operation, each a forward and a backward that can be read side by side.
//! All run on the rows of a batch: `T` below is batch × sequence.

pub mod attention;
pub mod embedding;
pub mod gate;
pub mod heads;
pub mod linear;
pub mod lora;
pub mod norm;
pub mod rope;

use crate::clock::{self, Op};
use kernels::gemm;
use kernels::pool::{PerWorker, Pool, Rows};
use kernels::ternary::TernaryKernel;
use model::LinearKind;

/// Rows of one task of an elementwise operation.
pub const ROWS: usize = 16;

/// The threads, the kernels and the buffers that operations share.
pub struct Machine {
    /// threads
    pub pool: Pool,
    /// packing buffers of products that are always in single precision: the logits of evaluations, and adapters
    pub gemm: gemm::Workspace,
    /// those of the forward of linear layers that are not ternary
    pub linear: gemm::Workspace,
    /// those of the gradients of inputs
    pub dinput: gemm::Workspace,
    /// those of the gradients of weights, which keep the packed input for the next layer that reads it
    pub dweight: gemm::Workspace,
    /// those of the head's forward in training, which keep the packed head until the weights change
    pub logits: gemm::Workspace,
    /// the same for the gradient of the head's input
    pub dlogits: gemm::Workspace,
    /// the int8 × ternary kernel of this machine
    pub ternary: &'static dyn TernaryKernel,
    /// two rows of the widest tensor for each worker
    pub row: PerWorker<Vec<f32>>,
    /// buffers of the attention tasks
    pub attention: PerWorker<attention::Scratch>,
    /// one factor a row of the batch
    pub units: Vec<f32>,
    /// partial sums, one row a block of rows
    pub partials: Vec<f32>,
}

impl Machine {
    /// Adds the partial gradients of a gain that `blocks` tasks left.
    fn add_partials(&self, blocks: usize, dgain: Option<&mut [f32]>) {
        if let Some(dgain) = dgain {
            let partials = self.partials.chunks_exact(dgain.len()).take(blocks);
            partials.for_each(|part| kernels::softmax::add(dgain, part));
        }
    }
}

/// The arithmetic of the linear layers in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Precision {
    /// λ = 1: int8 × ternary integers, as served
    Integer,
    /// 0 < λ < 1: floats on the way from full precision to BitLinear
    Blend(f32),
    /// λ = 0, or dense layers
    Full,
}

impl Precision {
    /// The arithmetic of layers of a kind at λ.
    pub fn of(kind: LinearKind, lambda: f32) -> Self {
        match kind {
            LinearKind::Dense => Self::Full,
            LinearKind::Ternary if lambda >= 1.0 => Self::Integer,
            LinearKind::Ternary if lambda <= 0.0 => Self::Full,
            LinearKind::Ternary => Self::Blend(lambda),
        }
    }
}

/// `to = x`, both `(T, width)`.
pub fn keep(pool: &Pool, x: &[f32], to: &mut [f32], width: usize) {
    let _clock = clock::begin(Op::Residual, 0, 2 * size_of_val(x));
    pool.for_rows(x.len() / width, ROWS, Rows::new(to, width), |rows, to| {
        to.copy_from_slice(&x[rows.start * width..rows.end * width]);
    });
}

/// `x += y`, and `to` becomes the same; all `(T, width)`.
pub fn add_and_keep(pool: &Pool, x: &mut [f32], y: &[f32], to: &mut [f32], width: usize) {
    let _clock = clock::begin(Op::Residual, 0, 3 * size_of_val(x));
    let parts = (Rows::new(x, width), Rows::new(to, width));
    pool.for_rows(y.len() / width, ROWS, parts, |rows, (x, to)| {
        kernels::softmax::add(x, &y[rows.start * width..rows.end * width]);
        to.copy_from_slice(x);
    });
}

/// `x += y`, both `(T, width)`.
pub fn add(pool: &Pool, x: &mut [f32], y: &[f32], width: usize) {
    let _clock = clock::begin(Op::Residual, 0, 2 * size_of_val(x));
    pool.for_rows(x.len() / width, ROWS, Rows::new(x, width), |rows, x| {
        kernels::softmax::add(x, &y[rows.start * width..rows.end * width]);
    });
}
