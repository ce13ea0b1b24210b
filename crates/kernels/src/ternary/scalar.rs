//! Plain loops: the kernel that all others must equal bit for bit.

use super::two_bit::{GROUP, GROUP_BYTES, TILE, tile_len};
use super::{DEPTH, PANEL, STEP, TernaryKernel, bytes};

/// The portable kernel.
pub struct Scalar;

impl TernaryKernel for Scalar {
    fn name(&self) -> &'static str {
        "scalar-i8-ternary"
    }

    fn is_supported(&self) -> bool {
        true
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

    fn panel_two_bit(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        let tile_len = tile_len(k);
        for (row, sums) in sums.iter_mut().enumerate() {
            let q = &q[row * k..][..k];
            for (column, sum) in sums.iter_mut().enumerate() {
                let tile = &packed[column / TILE * tile_len..][..tile_len];
                for (q, group) in q.chunks(GROUP).zip(tile.chunks_exact(GROUP_BYTES)) {
                    let bytes = &group[column % TILE * DEPTH..][..DEPTH];
                    let code = |at: usize| bytes[at % DEPTH] >> (2 * (at / DEPTH)) & 3;
                    *sum +=
                        q.iter().enumerate().map(|(at, q)| i32::from(*q) * i32::from(code(at))).sum::<i32>();
                }
            }
        }
    }

    fn panel_bytes(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]) {
        let tile_len = bytes::tile_len(k);
        for (row, sums) in sums.iter_mut().enumerate() {
            let q = &q[row * k..][..k];
            for (column, sum) in sums.iter_mut().enumerate() {
                let tile = &packed[column / TILE * tile_len..][..tile_len];
                for (q, step) in q.chunks(DEPTH).zip(tile.chunks_exact(bytes::STEP)) {
                    let weights = &step[column % TILE * DEPTH..][..DEPTH];
                    *sum += q.iter().zip(weights).map(|(q, w)| i32::from(*q) * i32::from(*w)).sum::<i32>();
                }
            }
        }
    }
}
