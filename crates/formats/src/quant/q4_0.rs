//! Q4_0 (type 2): four bits a weight, one f16 scale per 32.

use super::{BlockFormat, Encode, Shape, half_at, half_bytes, inverse, pairs, pairs_mut};

const ELEMENTS: usize = 32;
const BYTES: usize = 18;

/// 32 weights in 18 bytes.
///
/// ```text
/// bit       7..4      3..0
/// q[j]      w[16+j]   w[j]        j = 0..16, stored as code + 8
///
/// [ d: f16 ][ q: 16 bytes ]      weight = d · code
/// ```
#[derive(Debug)]
pub struct Q4_0;

/// d = the value of largest magnitude / −8, so that this one is exact; codes rounded half up with the unrounded d.
fn encode(values: &[f32], out: &mut [u8]) {
    for (values, block) in pairs_mut::<f32, ELEMENTS, BYTES>(values, out) {
        let largest = values.iter().fold(0.0f32, |max, &v| if max.abs() < v.abs() { v } else { max });
        let d = largest / -8.0;
        let id = inverse(d);
        let code = |value: f32| ((value * id + 8.5) as u8).min(15);
        block[..2].copy_from_slice(&half_bytes(d));
        for (j, q) in block[2..].iter_mut().enumerate() {
            *q = code(values[j]) | code(values[16 + j]) << 4;
        }
    }
}

impl BlockFormat for Q4_0 {
    fn shape(&self) -> Shape {
        Shape { name: "Q4_0", ggml_type: 2, block_elements: ELEMENTS, block_bytes: BYTES, tail_bytes: 0 }
    }

    fn decode_blocks(&self, blocks: &[u8], _tail: &[u8], out: &mut [f32]) {
        for (block, out) in pairs::<f32, BYTES, ELEMENTS>(blocks, out) {
            let d = half_at(block);
            for (j, q) in block[2..].iter().enumerate() {
                out[j] = d * (f32::from(q & 15) - 8.0);
                out[16 + j] = d * (f32::from(q >> 4) - 8.0);
            }
        }
    }

    fn encoder(&self) -> Option<Encode> {
        Some(encode)
    }
}
