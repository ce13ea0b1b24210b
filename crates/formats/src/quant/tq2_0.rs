//! TQ2_0, a ternary format of `llama.cpp` (type 35): two bits a weight, one f16 scale per 256.

use super::{BlockFormat, Encode, Scale, Shape, TernaryFormat, abs_max, cut, inverse, pairs, pairs_mut};
use super::{half_at, half_bytes, one_scale, stored, ternary_half};

const ELEMENTS: usize = 256;
const CODES_BYTES: usize = 64;
const BYTES: usize = CODES_BYTES + 2;

/// 256 weights in 66 bytes.
///
/// ```text
/// bit            7 6       5 4       3 2       1 0
/// qs[m]          w[m+96]   w[m+64]   w[m+32]   w[m]        m = 0..32, stored as code + 1
/// qs[32+m]       w[m+224]  w[m+192]  w[m+160]  w[m+128]
///
/// [ qs: 64 bytes ][ d: f16 ]      weight = d · code
/// ```
///
/// A tensor with one f32 scale loses by the rounding of that scale to f16: at most 2⁻¹¹ of it, more below 6.1e-5.
#[derive(Debug)]
pub struct TQ2_0;

/// The stored numbers of a block in the order of its weights.
fn numbers(block: &[u8; BYTES]) -> [u8; ELEMENTS] {
    let mut numbers = [0; ELEMENTS];
    let halves = block[..CODES_BYTES].as_chunks::<32>().0.iter().zip(numbers.as_chunks_mut::<128>().0);
    for (bytes, numbers) in halves {
        for (numbers, n) in numbers.as_chunks_mut::<32>().0.iter_mut().zip(0..) {
            *numbers = bytes.map(|byte| byte >> (2 * n) & 3);
        }
    }
    numbers
}

/// The bytes of a block from its stored numbers (each 0..=2) and its scale.
fn block(numbers: &[u8; ELEMENTS], d: [u8; 2]) -> [u8; BYTES] {
    let mut block = [0; BYTES];
    for (i, number) in numbers.iter().enumerate() {
        let (half, n, m) = (i / 128, i / 32 % 4, i % 32);
        block[half * 32 + m] |= number << (2 * n);
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

impl BlockFormat for TQ2_0 {
    fn shape(&self) -> Shape {
        Shape { name: "TQ2_0", ggml_type: 35, block_elements: ELEMENTS, block_bytes: BYTES, tail_bytes: 0 }
    }

    /// As `llama.cpp` does, the illegal code 3 is 2·d here; [`TernaryFormat::codes`] refuses it.
    fn decode_blocks(&self, blocks: &[u8], _tail: &[u8], out: &mut [f32]) {
        for (block, out) in pairs::<f32, BYTES, ELEMENTS>(blocks, out) {
            let d = half_at(&block[CODES_BYTES..]);
            *out = numbers(block).map(|number| d * (f32::from(number) - 1.0));
        }
    }

    fn encoder(&self) -> Option<Encode> {
        Some(encode)
    }

    fn ternary(&self) -> Option<&dyn TernaryFormat> {
        Some(self)
    }
}

impl TernaryFormat for TQ2_0 {
    fn scale(&self, tensor: &[u8]) -> Result<Scale, String> {
        cut(self, tensor, 0, 0)?;
        let (blocks, _) = tensor.as_chunks::<BYTES>();
        // 0x55: four codes of zero.
        one_scale(
            blocks.iter().map(|b| (half_at(&b[CODES_BYTES..]), b[..CODES_BYTES] != [0x55; CODES_BYTES])),
        )
    }

    fn codes(&self, tensor: &[u8], start: usize, out: &mut [i8]) -> Result<(), String> {
        let (blocks, _) = cut(self, tensor, start, out.len())?;
        for (at, (block, out)) in pairs::<i8, BYTES, ELEMENTS>(blocks, out).enumerate() {
            let numbers = numbers(block);
            // The largest first: looking for a place is no vector code.
            if numbers.iter().copied().fold(0, u8::max) == 3 {
                let i = numbers.iter().position(|&number| number == 3).unwrap_or_default();
                let at = start + at * ELEMENTS + i;
                return Err(format!("element {at} has the code 3, which is no ternary weight"));
            }
            *out = numbers.map(|number| number as i8 - 1);
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
