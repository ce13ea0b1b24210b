//! I2_S, the ternary format of `bitnet.cpp` (type 36): two bits a weight, one scale a tensor.

use super::{BlockFormat, Scale, Shape, TernaryFormat, cut, stored};
use std::array;

/// Bytes after the codes: the scale and 28 that some writers leave uninitialised.
const TAIL_BYTES: usize = 32;

/// Blocks of 4 · `GROUP` weights of the flattened row-major tensor in `GROUP` bytes.
///
/// ```text
/// bit       7 6      5 4      3 2      1 0
/// byte j    w[j]     w[G+j]   w[2G+j]  w[3G+j]      j = 0..G, stored as code + 1, 3 is illegal
///
/// [ block 0 ][ block 1 ] ... [ block n/4G-1 ][ f32 scale, 28 bytes ignored ]
/// ```
///
/// The x86 build of `bitnet.cpp` has G = 32, its ARM build wrote G = 16 at one time. Both files hold the same codes at
/// other places of a block, with the same counts of each, so nothing in the bytes tells them apart: a file is read as
/// the x86 layout unless an option says otherwise. Written bytes are those of its x86 `quantize_i2_s` (commit 16da220 with
/// `ACT_PARALLEL`, its default): 28 tensors of 28 when compared. A third arrangement (four rows interleaved, newer x86 builds that
/// quantise by themselves without `ACT_PARALLEL`) is not read here.
#[derive(Debug)]
pub struct Packed<const GROUP: usize>;

/// Blocks of 128, `q[4][32]`: what is written, and what published files hold.
pub static I2_S: Packed<32> = Packed;

/// Blocks of 64, `q[4][16]`; for reading only.
pub static I2_S_ARM: Packed<16> = Packed;

impl<const GROUP: usize> Packed<GROUP> {
    /// The stored numbers 0..=3 of whole blocks, in the order of the weights.
    fn each(blocks: &[u8], mut take: impl FnMut(usize, u8)) {
        for (number, block) in blocks.chunks_exact(GROUP).enumerate() {
            for (n, shift) in [6, 4, 2, 0].into_iter().enumerate() {
                for (j, byte) in block.iter().enumerate() {
                    take(number * 4 * GROUP + n * GROUP + j, byte >> shift & 3);
                }
            }
        }
    }
}

impl<const GROUP: usize> BlockFormat for Packed<GROUP> {
    fn shape(&self) -> Shape {
        Shape {
            name: if GROUP == 32 { "I2_S" } else { "I2_S_ARM" },
            ggml_type: 36,
            block_elements: 4 * GROUP,
            block_bytes: GROUP,
            tail_bytes: TAIL_BYTES,
        }
    }

    /// As `bitnet.cpp` does, the illegal code 3 is a zero here; [`TernaryFormat::codes`] refuses it.
    fn decode_blocks(&self, blocks: &[u8], tail: &[u8], out: &mut [f32]) {
        assert_eq!(blocks.len() * 4, out.len(), "elements");
        let scale = f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
        let values = [-scale, 0.0, scale, 0.0];
        Self::each(blocks, |at, number| out[at] = values[number as usize]);
    }

    fn ternary(&self) -> Option<&dyn TernaryFormat> {
        Some(self)
    }
}

impl<const GROUP: usize> TernaryFormat for Packed<GROUP> {
    fn scale(&self, tensor: &[u8]) -> Result<Scale, String> {
        let (_, tail) = cut(self, tensor, 0, 0)?;
        let scale = f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
        if !scale.is_finite() || scale < 0.0 {
            return Err(format!("the scale of the tensor is {scale}"));
        }
        Ok(Scale::One(scale))
    }

    fn codes(&self, tensor: &[u8], start: usize, out: &mut [i8]) -> Result<(), String> {
        let (blocks, _) = cut(self, tensor, start, out.len())?;
        // Whole arrays without branches become vector code: a model's load time is mostly this.
        let mut seen = [0; GROUP];
        for (block, out) in blocks.as_chunks::<GROUP>().0.iter().zip(out.chunks_exact_mut(4 * GROUP)) {
            for (out, shift) in out.as_chunks_mut::<GROUP>().0.iter_mut().zip([6, 4, 2, 0]) {
                let numbers = block.map(|byte| byte >> shift & 3);
                seen = array::from_fn(|i| seen[i].max(numbers[i]));
                *out = numbers.map(|number| number as i8 - 1);
            }
        }
        match seen.into_iter().max() {
            Some(3) => {
                let at = out.iter().position(|code| *code == 2).map_or(start, |at| start + at);
                Err(format!("element {at} has the code 3, which is no ternary weight"))
            }
            _ => Ok(()),
        }
    }

    fn encode_codes(&self, codes: &[i8], scale: f32, out: &mut [u8]) -> Result<(), String> {
        if !scale.is_finite() || scale < 0.0 {
            return Err(format!("{scale} is no scale of ternary weights"));
        }
        assert_eq!(codes.len(), out.len() * 4, "codes and bytes");
        assert!(out.len().is_multiple_of(GROUP), "{} bytes are no whole blocks", out.len());
        for (codes, block) in codes.chunks_exact(4 * GROUP).zip(out.chunks_exact_mut(GROUP)) {
            for (j, byte) in block.iter_mut().enumerate() {
                let at = |n: usize| stored(codes[n * GROUP + j]);
                *byte = at(0) << 6 | at(1) << 4 | at(2) << 2 | at(3);
            }
        }
        Ok(())
    }

    fn tail(&self, scale: f32) -> Vec<u8> {
        let mut tail = vec![0; TAIL_BYTES];
        tail[..4].copy_from_slice(&scale.to_le_bytes());
        tail
    }
}
