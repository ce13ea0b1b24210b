//! Plain loops: the kernel that all others must equal bit for bit.

use super::{DEPTH, PANEL, STEP, TernaryKernel};
use crate::isa::Isa;

/// The portable kernel.
pub struct Scalar;

impl TernaryKernel for Scalar {
    fn name(&self) -> &'static str {
        "scalar-i8-ternary"
    }

    fn isa(&self) -> Isa {
        Isa::Scalar
    }

    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        for (row, sums) in sums.iter_mut().enumerate() {
            let q = &q[row * k..][..k];
            for (q, weights) in q.chunks(DEPTH).zip(packed.chunks_exact(STEP)) {
                for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(DEPTH)) {
                    *sum += q.iter().zip(weights).map(|(q, w)| i32::from(*q) * i32::from(*w)).sum::<i32>();
                }
            }
        }
    }
}
