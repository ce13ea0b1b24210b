//! Q6_K (type 14): six bits a weight, an i8 scale per 16, an f16 scale per 256.

use super::{BlockFormat, Encode, Shape, half_at, half_bytes, pairs, pairs_mut};

const ELEMENTS: usize = 256;
const BYTES: usize = 210;
const GROUP: usize = 16;
const GROUPS: usize = ELEMENTS / GROUP;
/// Codes are −32..=31.
const CODES: f32 = 32.0;
/// Groups whose largest |value| is below count as zeros, as in ggml.
const EPSILON: f32 = 1e-15;

/// 256 weights in 210 bytes, sixteen groups of 16.
///
/// ```text
/// bit              7 6          5 4         3 2         1 0         h = 0, 1 (halves of 128), j = 0..32
/// lo[64h+j]        low four of w[128h+64+j]   low four of w[128h+j]
/// lo[64h+32+j]     low four of w[128h+96+j]   low four of w[128h+32+j]
/// hi[32h+j]        w[128h+96+j]  w[128h+64+j] w[128h+32+j] w[128h+j]      the upper two bits of each
///
/// [ lo: 128 bytes ][ hi: 64 ][ s: 16 × i8 ][ d: f16 ]      code stored + 32, weight = d · s(group) · code
/// ```
#[derive(Debug)]
pub struct Q6K;

/// Where weight `i` lies: byte and shift of its low four bits, byte and shift of its upper two.
#[inline(always)]
fn place(i: usize) -> ((usize, usize), (usize, usize)) {
    let (half, n, j) = (i / 128, i / 32 % 4, i % 32);
    ((64 * half + 32 * (n % 2) + j, n / 2 * 4), (128 + 32 * half + j, n * 2))
}

/// The code that `value · inverse` rounds to (half to even).
fn code(value: f32, inverse: f32) -> f32 {
    (value * inverse).round_ties_even().clamp(-CODES, CODES - 1.0)
}

/// The scale with the least squared error of a group, weighted by value², among 19 candidates around the one that makes
/// the largest value −32 (ggml's `make_qx_quants`): the candidates give codes, and for given codes the best scale is
/// Σw·x·q / Σw·q². Returns the scale and the codes.
fn best_scale(x: &[f32; GROUP]) -> (f32, [f32; GROUP]) {
    let largest = x.iter().fold(0.0f32, |max, &v| if max.abs() < v.abs() { v } else { max });
    if largest.abs() < EPSILON {
        return (0.0, [-CODES; GROUP]);
    }
    let sums = |inverse: f32| {
        let (mut xq, mut qq) = (0.0f32, 0.0f32);
        for &value in x {
            let (q, w) = (code(value, inverse), value * value);
            xq += w * value * q;
            qq += w * q * q;
        }
        (xq, qq)
    };
    let mut chosen = -CODES / largest;
    let (xq, qq) = sums(chosen);
    let mut scale = if qq == 0.0 { 0.0 } else { xq / qq };
    let mut best = scale * xq;
    for step in (-9i8..=9).filter(|&step| step != 0) {
        let inverse = -(CODES + 0.1 * f32::from(step)) / largest;
        let (xq, qq) = sums(inverse);
        if qq > 0.0 && xq * xq > best * qq {
            (scale, chosen) = (xq / qq, inverse);
            best = scale * xq;
        }
    }
    (scale, x.map(|value| code(value, chosen)))
}

/// One block: the groups' best scales, these rounded to i8 multiples of d, then the codes for the rounded scales.
fn encode_block(values: &[f32; ELEMENTS], block: &mut [u8; BYTES]) {
    *block = [0; BYTES];
    let (groups, _) = values.as_chunks::<GROUP>();
    let mut scales = [0.0f32; GROUPS];
    let mut codes = [[0.0f32; GROUP]; GROUPS];
    for (i, group) in groups.iter().enumerate() {
        (scales[i], codes[i]) = best_scale(group);
    }
    let largest = scales.iter().fold(0.0f32, |max, &s| if max.abs() < s.abs() { s } else { max });
    if largest.is_nan() || largest.abs() < EPSILON {
        return;
    }
    let inverse = -128.0 / largest;
    let d = half_bytes(1.0 / inverse);
    block[208..].copy_from_slice(&d);
    for (i, group) in groups.iter().enumerate() {
        let scale = (inverse * scales[i]).round_ties_even().min(127.0) as i8;
        block[192 + i] = scale as u8;
        let step = half_at(&d) * f32::from(scale);
        if step != 0.0 {
            codes[i] = group.map(|value| (value / step).round_ties_even().clamp(-CODES, CODES - 1.0));
        }
    }
    for (i, &code) in codes.as_flattened().iter().enumerate() {
        let stored = (code + CODES) as u8;
        let ((low, low_shift), (high, high_shift)) = place(i);
        block[low] |= (stored & 15) << low_shift;
        block[high] |= stored >> 4 << high_shift;
    }
}

fn encode(values: &[f32], out: &mut [u8]) {
    pairs_mut::<f32, ELEMENTS, BYTES>(values, out).for_each(|(values, block)| encode_block(values, block));
}

/// [`Q6K`]'s decoding of whole blocks, to be inlined where wider registers may be used than the crate is compiled for.
///
/// # Panics
/// When the lengths do not belong together.
#[inline(always)]
pub fn decode_q6_k(blocks: &[u8], out: &mut [f32]) {
    for (block, out) in pairs::<f32, BYTES, ELEMENTS>(blocks, out) {
        let d = half_at(&block[208..]);
        for (group, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            let ((low, low_shift), (high, high_shift)) = place(group * GROUP);
            let scale = d * f32::from(block[192 + group] as i8);
            let (low, high) = (&block[low..][..GROUP], &block[high..][..GROUP]);
            for ((value, low), high) in out.iter_mut().zip(low).zip(high) {
                let stored = low >> low_shift & 15 | (high >> high_shift & 3) << 4;
                *value = scale * (f32::from(stored) - CODES);
            }
        }
    }
}

impl BlockFormat for Q6K {
    fn shape(&self) -> Shape {
        Shape { name: "Q6_K", ggml_type: 14, block_elements: ELEMENTS, block_bytes: BYTES, tail_bytes: 0 }
    }

    fn decode_blocks(&self, blocks: &[u8], _tail: &[u8], out: &mut [f32]) {
        decode_q6_k(blocks, out);
    }

    fn encoder(&self) -> Option<Encode> {
        Some(encode)
    }
}
