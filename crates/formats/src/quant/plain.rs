//! The unquantised types: blocks of one element, little-endian.

use super::{BlockFormat, Encode, Shape, pairs, pairs_mut};
use half::{bf16, f16};

/// 32-bit floats (type 0).
#[derive(Debug)]
pub struct F32;

/// IEEE half precision (type 1): 1 sign, 5 exponent, 10 fraction bits. Encoding rounds half to even; beyond ±65504 it
/// becomes infinite.
#[derive(Debug)]
pub struct F16;

/// The upper half of an f32 (type 30): 1 sign, 8 exponent, 7 fraction bits. Encoding rounds half to even.
#[derive(Debug)]
pub struct BF16;

macro_rules! plain {
    ($format:ident, $name:literal, $number:literal, $bytes:literal, $decode:expr, $encode:expr) => {
        impl BlockFormat for $format {
            fn shape(&self) -> Shape {
                Shape {
                    name: $name,
                    ggml_type: $number,
                    block_elements: 1,
                    block_bytes: $bytes,
                    tail_bytes: 0,
                }
            }

            fn decode_blocks(&self, blocks: &[u8], _tail: &[u8], out: &mut [f32]) {
                for (bytes, [value]) in pairs::<_, $bytes, 1>(blocks, out) {
                    *value = $decode(*bytes);
                }
            }

            fn encoder(&self) -> Option<Encode> {
                Some(|values, out| {
                    for ([value], bytes) in pairs_mut::<_, 1, $bytes>(values, out) {
                        *bytes = $encode(*value);
                    }
                })
            }
        }
    };
}

plain!(F32, "F32", 0, 4, f32::from_le_bytes, f32::to_le_bytes);
plain!(F16, "F16", 1, 2, |b| f16::from_le_bytes(b).to_f32(), |v| f16::from_f32(v).to_le_bytes());
plain!(BF16, "BF16", 30, 2, |b| bf16::from_le_bytes(b).to_f32(), |v| bf16::from_f32(v).to_le_bytes());
