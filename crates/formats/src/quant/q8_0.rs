//! Q8_0 (type 8): eight bits a weight, one f16 scale per 32.

use super::{BlockFormat, Encode, Shape, abs_max, half_at, half_bytes, inverse, pairs, pairs_mut};

const ELEMENTS: usize = 32;
const BYTES: usize = 34;

/// 32 weights in 34 bytes.
///
/// ```text
/// [ d: f16 ][ q: 32 × i8 ]      weight = d · q
/// ```
#[derive(Debug)]
pub struct Q8_0;

/// d = max|value| / 127, q = value/d with the unrounded d, rounded half away from zero.
fn encode(values: &[f32], out: &mut [u8]) {
    for (values, block) in pairs_mut::<f32, ELEMENTS, BYTES>(values, out) {
        let d = abs_max(values) / 127.0;
        let id = inverse(d);
        block[..2].copy_from_slice(&half_bytes(d));
        for (q, value) in block[2..].iter_mut().zip(values) {
            *q = (value * id).round() as i8 as u8;
        }
    }
}

/// [`Q8_0`]'s decoding of whole blocks, to be inlined where wider registers may be used than the crate is compiled for.
///
/// # Panics
/// When the lengths do not belong together.
#[inline(always)]
pub fn decode_q8_0(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in pairs::<f32, BYTES, ELEMENTS>(blocks, out) {
        let d = half_at(block);
        for (value, &q) in out.iter_mut().zip(&block[2..]) {
            *value = f32::from(q as i8) * d;
        }
    }
}

impl BlockFormat for Q8_0 {
    fn shape(&self) -> Shape {
        Shape { name: "Q8_0", ggml_type: 8, block_elements: ELEMENTS, block_bytes: BYTES, tail_bytes: 0 }
    }

    fn decode_blocks(&self, blocks: &[u8], _tail: &[u8], out: &mut [f32]) {
        decode_q8_0(blocks, out);
    }

    fn encoder(&self) -> Option<Encode> {
        Some(encode)
    }
}
