//! TQ1_0, a ternary format of `llama.cpp` (type 34): five weights a byte, one f16 scale per 256.

use super::{BlockFormat, Encode, Scale, Shape, TernaryFormat, abs_max, cut, inverse, pairs, pairs_mut};
use super::{half_at, half_bytes, one_scale, stored, ternary_half};

const ELEMENTS: usize = 256;
const CODES_BYTES: usize = 52;
const BYTES: usize = CODES_BYTES + 2;
const POWERS: [u8; 5] = [81, 27, 9, 3, 1];

/// 256 weights in 54 bytes.
///
/// ```text
/// byte            digits in base 3, the most significant first
/// qs[m]           w[m]      w[m+32]   w[m+64]   w[m+96]   w[m+128]      m = 0..32
/// qs[32+m]        w[160+m]  w[176+m]  w[192+m]  w[208+m]  w[224+m]      m = 0..16
/// qh[j]           w[240+j]  w[244+j]  w[248+j]  w[252+j]  -             j = 0..4
///
/// [ qs: 48 bytes ][ qh: 4 ][ d: f16 ]      digit = code + 1, weight = d · code
/// ```
///
/// A byte holds ceil(digits · 256 / 243), so that digit n is `((byte · 3ⁿ mod 256) · 3) >> 8`: every byte decodes to
/// legal digits. The scale of a one-scale tensor is rounded to f16: see [`super::TQ2_0`].
#[derive(Debug)]
pub struct TQ1_0;

/// Which byte, and which digit of it, holds weight `i` of a block.
fn place(i: usize) -> (usize, usize) {
    match i {
        0..160 => (i % 32, i / 32),
        160..240 => (32 + i % 16, (i - 160) / 16),
        _ => (48 + i % 4, (i - 240) / 4),
    }
}

/// The digits 0..=2 of a block in the order of its weights.
fn digits(block: &[u8; BYTES]) -> [u8; ELEMENTS] {
    std::array::from_fn(|i| {
        let (byte, digit) = place(i);
        let shifted = block[byte].wrapping_mul(3u8.pow(digit as u32));
        ((u16::from(shifted) * 3) >> 8) as u8
    })
}

/// The bytes of a block from its digits (each 0..=2) and its scale.
fn block(digits: &[u8; ELEMENTS], d: [u8; 2]) -> [u8; BYTES] {
    let mut block = [0; BYTES];
    for (i, value) in digits.iter().enumerate() {
        let (byte, digit) = place(i);
        block[byte] += value * POWERS[digit];
    }
    for byte in &mut block[..CODES_BYTES] {
        *byte = (u16::from(*byte) * 256).div_ceil(243) as u8;
    }
    block[CODES_BYTES..].copy_from_slice(&d);
    block
}

/// As `llama.cpp` quantises: the scale of a block is its largest |value|, a code is value/scale rounded half away.
fn encode(values: &[f32], out: &mut [u8]) {
    for (values, bytes) in pairs_mut::<f32, ELEMENTS, BYTES>(values, out) {
        let d = abs_max(values);
        let id = inverse(d);
        *bytes =
            block(&values.map(|value| stored((value * id).round().clamp(-1.0, 1.0) as i8)), half_bytes(d));
    }
}

impl BlockFormat for TQ1_0 {
    fn shape(&self) -> Shape {
        Shape { name: "TQ1_0", ggml_type: 34, block_elements: ELEMENTS, block_bytes: BYTES, tail_bytes: 0 }
    }

    fn decode_blocks(&self, blocks: &[u8], _tail: &[u8], out: &mut [f32]) {
        for (block, out) in pairs::<f32, BYTES, ELEMENTS>(blocks, out) {
            let d = half_at(&block[CODES_BYTES..]);
            *out = digits(block).map(|digit| d * (f32::from(digit) - 1.0));
        }
    }

    fn encoder(&self) -> Option<Encode> {
        Some(encode)
    }

    fn ternary(&self) -> Option<&dyn TernaryFormat> {
        Some(self)
    }
}

impl TernaryFormat for TQ1_0 {
    fn scale(&self, tensor: &[u8]) -> Result<Scale, String> {
        cut(self, tensor, 0, 0)?;
        let (blocks, _) = tensor.as_chunks::<BYTES>();
        one_scale(blocks.iter().map(|b| (half_at(&b[CODES_BYTES..]), digits(b) != [1; ELEMENTS])))
    }

    fn codes(&self, tensor: &[u8], start: usize, out: &mut [i8]) -> Result<(), String> {
        let (blocks, _) = cut(self, tensor, start, out.len())?;
        for (block, out) in pairs::<i8, BYTES, ELEMENTS>(blocks, out) {
            *out = digits(block).map(|digit| digit as i8 - 1);
        }
        Ok(())
    }

    fn encode_codes(&self, codes: &[i8], scale: f32, out: &mut [u8]) -> Result<(), String> {
        let d = ternary_half(scale, self.name())?;
        for (codes, bytes) in pairs_mut::<i8, ELEMENTS, BYTES>(codes, out) {
            *bytes = block(&codes.map(stored), d);
        }
        Ok(())
    }
}
