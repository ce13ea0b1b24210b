//! Q4_K (type 12): four bits a weight, a scale and a minimum of six bits per 32, two f16 per 256. For reading only.

use super::{BlockFormat, Shape, half_at, pairs};

const ELEMENTS: usize = 256;
const BYTES: usize = 144;

/// 256 weights in 144 bytes, eight groups of 32.
///
/// ```text
/// bit               7 6            5..0                        i = 0..4
/// s[i]              s(i+4) 5..4    scale of group i
/// s[4+i]            m(i+4) 5..4    minimum of group i
/// bit               7..4           3..0
/// s[8+i]            m(i+4) 3..0    s(i+4) 3..0
/// q[32k+j]          w[64k+32+j]    w[64k+j]                    k = 0..4, j = 0..32
///
/// [ d: f16 ][ dmin: f16 ][ s: 12 bytes ][ q: 128 bytes ]      weight = d · s(group) · code − dmin · m(group)
/// ```
#[derive(Debug)]
pub struct Q4K;

/// Scale and minimum of group `i`.
fn scale_and_minimum(s: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = match i {
        0..4 => (s[i] & 63, s[4 + i] & 63),
        _ => (s[4 + i] & 15 | s[i - 4] >> 6 << 4, s[4 + i] >> 4 | s[i] >> 6 << 4),
    };
    (f32::from(scale), f32::from(minimum))
}

impl BlockFormat for Q4K {
    fn shape(&self) -> Shape {
        Shape { name: "Q4_K", ggml_type: 12, block_elements: ELEMENTS, block_bytes: BYTES, tail_bytes: 0 }
    }

    fn decode_blocks(&self, blocks: &[u8], _tail: &[u8], out: &mut [f32]) {
        for (block, out) in pairs::<f32, BYTES, ELEMENTS>(blocks, out) {
            let (d, dmin) = (half_at(block), half_at(&block[2..]));
            let (s, q) = block[4..].split_at(12);
            for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                let (scale, minimum) = scale_and_minimum(s, group);
                let (scale, minimum) = (d * scale, dmin * minimum);
                let bytes = &q[group / 2 * 32..];
                for (value, byte) in out.iter_mut().zip(bytes) {
                    *value = scale * f32::from(byte >> (group % 2 * 4) & 15) - minimum;
                }
            }
        }
    }
}
