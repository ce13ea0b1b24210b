//! Q4_1 (type 3): four bits a weight, an f16 scale and an f16 minimum per 32.

use super::{BlockFormat, Encode, Shape, half_at, half_bytes, inverse, pairs, pairs_mut};

const ELEMENTS: usize = 32;
const BYTES: usize = 20;

/// 32 weights in 20 bytes.
///
/// ```text
/// bit       7..4      3..0
/// q[j]      w[16+j]   w[j]        j = 0..16
///
/// [ d: f16 ][ m: f16 ][ q: 16 bytes ]      weight = d · code + m
/// ```
#[derive(Debug)]
pub struct Q4_1;

/// m = the smallest value, d = (largest − smallest) / 15, codes rounded half up with the unrounded two.
fn encode(values: &[f32], out: &mut [u8]) {
    for (values, block) in pairs_mut::<f32, ELEMENTS, BYTES>(values, out) {
        let min = values.iter().copied().fold(f32::MAX, f32::min);
        let max = values.iter().copied().fold(f32::MIN, f32::max);
        let d = (max - min) / 15.0;
        let id = inverse(d);
        let code = |value: f32| (((value - min) * id + 0.5) as u8).min(15);
        block[..2].copy_from_slice(&half_bytes(d));
        block[2..4].copy_from_slice(&half_bytes(min));
        for (j, q) in block[4..].iter_mut().enumerate() {
            *q = code(values[j]) | code(values[16 + j]) << 4;
        }
    }
}

impl BlockFormat for Q4_1 {
    fn shape(&self) -> Shape {
        Shape { name: "Q4_1", ggml_type: 3, block_elements: ELEMENTS, block_bytes: BYTES, tail_bytes: 0 }
    }

    fn decode_blocks(&self, blocks: &[u8], _tail: &[u8], out: &mut [f32]) {
        for (block, out) in pairs::<f32, BYTES, ELEMENTS>(blocks, out) {
            let (d, m) = (half_at(block), half_at(&block[2..]));
            for (j, q) in block[4..].iter().enumerate() {
                out[j] = d * f32::from(q & 15) + m;
                out[16 + j] = d * f32::from(q >> 4) + m;
            }
        }
    }

    fn encoder(&self) -> Option<Encode> {
        Some(encode)
    }
}
