//! All arithmetic that must be fast: slices in, slices out; no I/O, no environment, no model words.

pub mod attend;
pub mod gate;
pub mod gemm;
pub mod half;
pub mod isa;
mod lanes;
pub mod memory;
pub mod norm;
pub mod optim;
pub mod pool;
pub mod quantize;
pub mod rope;
pub mod softmax;
pub mod ternary;
