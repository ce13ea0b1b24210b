//! Tensors in blocks, as GGUF files hold them: sizes, decoding to f32, encoding, and the codes of ternary formats.
//!
//! A tensor is its rows one after another, each a whole number of blocks; some formats add a tail after the last block.
//! Everything here works on pieces of a tensor that start and end at a block, so that nobody has to hold a whole one.

mod i2_s;
mod plain;
mod q4_0;
mod q4_1;
mod q4_k;
mod q6_k;
mod q8_0;
mod resolve;
#[cfg(test)]
mod tests;
mod tq1_0;
mod tq2_0;

pub use i2_s::{I2_S, I2_S_ARM};
pub use plain::{BF16, F16, F32};
pub use q4_0::Q4_0;
pub use q4_1::Q4_1;
pub use q4_k::Q4K;
pub use q6_k::{Q6K, decode_q6_k};
pub use q8_0::{Q8_0, decode_q8_0};
pub use resolve::{I2sLayout, named, resolve};
pub use tq1_0::TQ1_0;
pub use tq2_0::TQ2_0;

use std::fmt;

/// Every block format known here. `I2_S_ARM` has the type number of `I2_S`: only an option chooses it.
pub static FORMATS: &[&dyn BlockFormat] =
    &[&F32, &F16, &BF16, &I2_S, &I2_S_ARM, &TQ1_0, &TQ2_0, &Q8_0, &Q4_0, &Q4_1, &Q4K, &Q6K];

/// Values (a whole number of blocks) to the blocks' bytes. What is not finite has no meaning in a quantised block:
/// check before.
///
/// # Panics
/// When the lengths do not belong together.
pub type Encode = fn(values: &[f32], out: &mut [u8]);

/// What tells one block format from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// see [`BlockFormat::name`]
    pub name: &'static str,
    /// see [`BlockFormat::ggml_type`]
    pub ggml_type: u32,
    /// elements of a block
    pub block_elements: usize,
    /// bytes of a block
    pub block_bytes: usize,
    /// bytes after the last block
    pub tail_bytes: usize,
}

/// One way to hold the elements of a tensor: blocks of equal size, then perhaps a tail.
pub trait BlockFormat: Sync + fmt::Debug {
    /// Its name, number and sizes.
    fn shape(&self) -> Shape;

    /// The name in `llama.cpp` and here, in upper case.
    fn name(&self) -> &'static str {
        self.shape().name
    }

    /// The number of the type in a GGUF file, which alone does not identify it: see [`resolve`].
    fn ggml_type(&self) -> u32 {
        self.shape().ggml_type
    }

    /// Elements of a block; a row has to be a multiple.
    fn block_elements(&self) -> usize {
        self.shape().block_elements
    }

    /// Bytes of a block.
    fn block_bytes(&self) -> usize {
        self.shape().block_bytes
    }

    /// Bytes after the last block of a tensor.
    fn tail_bytes(&self) -> usize {
        self.shape().tail_bytes
    }

    /// Decodes whole blocks; `tail` is the tensor's. The lengths belong together: [`BlockFormat::decode`] checks.
    ///
    /// # Panics
    /// When they do not.
    fn decode_blocks(&self, blocks: &[u8], tail: &[u8], out: &mut [f32]);

    /// How to encode values block by block, where that is possible and wanted.
    fn encoder(&self) -> Option<Encode> {
        None
    }

    /// The ternary side of the format, if it has one.
    fn ternary(&self) -> Option<&dyn TernaryFormat> {
        None
    }

    /// Bytes of a tensor of that many elements, its tail included; `None` when they are no whole number of blocks or
    /// more than the address space holds.
    fn bytes_for(&self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_elements()) {
            return None;
        }
        (elements / self.block_elements()).checked_mul(self.block_bytes())?.checked_add(self.tail_bytes())
    }

    /// Whether rows of `row_elements` elements can be held. The error says what is wrong, without the tensor's name.
    fn check_row(&self, row_elements: usize) -> Result<(), String> {
        if row_elements.is_multiple_of(self.block_elements()) {
            return Ok(());
        }
        Err(format!(
            "rows of {row_elements} elements are no multiple of {}, the block of {}",
            self.block_elements(),
            self.name()
        ))
    }

    /// Decodes the elements from `start` on (a multiple of the block) into `out` (whole blocks); `tensor` is all of the
    /// tensor's bytes. The error says what does not fit.
    fn decode(&self, tensor: &[u8], start: usize, out: &mut [f32]) -> Result<(), String> {
        let (blocks, tail) = cut(self, tensor, start, out.len())?;
        self.decode_blocks(blocks, tail, out);
        Ok(())
    }
}

/// A block format that holds codes −1, 0, +1 and scales.
pub trait TernaryFormat: BlockFormat {
    /// The scale of the whole tensor, if it has one. A scale that is no number at all is an error.
    fn scale(&self, tensor: &[u8]) -> Result<Scale, String>;

    /// The codes of the elements from `start` on (a multiple of the block) into `out` (whole blocks). A code that is
    /// none of the three is an error, as is a range that does not fit.
    fn codes(&self, tensor: &[u8], start: usize, out: &mut [i8]) -> Result<(), String>;

    /// Encodes whole blocks of codes. A scale that the format cannot hold is an error.
    ///
    /// # Panics
    /// When a code is none of −1, 0, 1 or the lengths do not belong together.
    fn encode_codes(&self, codes: &[i8], scale: f32, out: &mut [u8]) -> Result<(), String>;

    /// What follows the last block of a tensor of that scale.
    fn tail(&self, _scale: f32) -> Vec<u8> {
        Vec::new()
    }
}

/// How the codes of a tensor become weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Weight = this · code, for the whole tensor. Finite, not negative; zero for a tensor of zeros.
    One(f32),
    /// The blocks differ (or a scale is negative): the tensor is to be read as floats.
    PerBlock,
}

/// The blocks of `elements` elements from `start` on, and the tail of the tensor.
fn cut<'a, F: BlockFormat + ?Sized>(
    format: &F,
    tensor: &'a [u8],
    start: usize,
    elements: usize,
) -> Result<(&'a [u8], &'a [u8]), String> {
    let (name, block) = (format.name(), format.block_elements());
    let blocks_bytes = tensor.len().checked_sub(format.tail_bytes());
    let Some(blocks_bytes) = blocks_bytes.filter(|n| n.is_multiple_of(format.block_bytes())) else {
        return Err(format!("{} bytes are no whole {name} tensor", tensor.len()));
    };
    let (blocks, tail) = tensor.split_at(blocks_bytes);
    if !start.is_multiple_of(block) || !elements.is_multiple_of(block) {
        return Err(format!("{elements} elements from {start} on are no whole {name} blocks of {block}"));
    }
    let first = start / block;
    let place = first.checked_add(elements / block).and_then(|end| {
        Some(first.checked_mul(format.block_bytes())?..end.checked_mul(format.block_bytes())?)
    });
    match place.and_then(|place| blocks.get(place)) {
        Some(piece) => Ok((piece, tail)),
        None => Err(format!(
            "{elements} elements from {start} on lie beyond a tensor of {} {name} blocks of {block}",
            blocks_bytes / format.block_bytes()
        )),
    }
}

/// Blocks of `B` bytes beside their `E` elements.
///
/// # Panics
/// When the lengths do not belong together.
#[inline(always)]
fn pairs<'a, T, const B: usize, const E: usize>(
    blocks: &'a [u8],
    out: &'a mut [T],
) -> impl Iterator<Item = (&'a [u8; B], &'a mut [T; E])> {
    let (blocks, rest) = blocks.as_chunks::<B>();
    let (elements, left) = out.as_chunks_mut::<E>();
    assert!(rest.is_empty() && left.is_empty(), "{} bytes and {} elements over", rest.len(), left.len());
    assert_eq!(blocks.len(), elements.len(), "blocks of bytes and of elements");
    blocks.iter().zip(elements)
}

/// Blocks of `E` elements beside their `B` bytes.
///
/// # Panics
/// When the lengths do not belong together.
fn pairs_mut<'a, T, const E: usize, const B: usize>(
    values: &'a [T],
    out: &'a mut [u8],
) -> impl Iterator<Item = (&'a [T; E], &'a mut [u8; B])> {
    let (values, left) = values.as_chunks::<E>();
    let (blocks, rest) = out.as_chunks_mut::<B>();
    assert!(rest.is_empty() && left.is_empty(), "{} bytes and {} elements over", rest.len(), left.len());
    assert_eq!(blocks.len(), values.len(), "blocks of bytes and of elements");
    values.iter().zip(blocks)
}

/// The little-endian f16 at the start of `bytes`, as f32.
#[inline]
fn half_at(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// `value` as little-endian f16, rounded half to even.
fn half_bytes(value: f32) -> [u8; 2] {
    half::f16::from_f32(value).to_le_bytes()
}

/// 1/d, and 0 for 0.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Largest |value|; 0 for none.
fn abs_max(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max: f32, value| max.max(value.abs()))
}

/// `code` + 1 as the unsigned number that ternary formats store.
///
/// # Panics
/// When it is none of −1, 0, 1.
fn stored(code: i8) -> u8 {
    assert!((-1..=1).contains(&code), "{code} is no ternary code");
    (code + 1) as u8
}

/// The ternary scale that f16 makes of `scale`; an error when nothing is left of it.
fn ternary_half(scale: f32, name: &str) -> Result<[u8; 2], String> {
    let rounded = half::f16::from_f32(scale);
    if !rounded.is_finite() || scale < 0.0 || (rounded.to_f32() == 0.0 && scale != 0.0) {
        return Err(format!("the scale {scale:e} does not fit the 16-bit scale of {name}"));
    }
    Ok(rounded.to_le_bytes())
}

/// The one scale of blocks with an f16 scale each, given per block with whether any code is other than 0.
///
/// `llama.cpp` gives a block of zeros the scale 0, so such blocks do not count.
fn one_scale(blocks: impl Iterator<Item = (f32, bool)>) -> Result<Scale, String> {
    let mut one = None;
    for (number, (d, any)) in blocks.enumerate() {
        if !d.is_finite() {
            return Err(format!("the scale of block {number} is {d}"));
        }
        if !any {
            continue;
        }
        if d <= 0.0 || one.is_some_and(|one| one != d) {
            return Ok(Scale::PerBlock);
        }
        one = Some(d);
    }
    Ok(Scale::One(one.unwrap_or(0.0)))
}
