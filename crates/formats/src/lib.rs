//! Bytes on disk, hostile until proven good: safetensors, GGUF, llama2.c, dumped logits, memory maps, atomic files.
//!
//! Everything here reads with a bound from [`limits`] and writes so that a kill at any moment leaves
//! either the old content or the new one, never a part.
#![deny(unsafe_code)]

pub mod atomic;
pub mod bounded;
pub mod error;
pub mod folder;
pub mod gguf;
#[cfg(test)]
mod hostile;
pub mod kld;
pub mod limits;
pub mod llama2c;
pub mod manifest;
pub mod mapped;
pub mod nearest;
pub mod npy;
pub mod quant;
pub mod safetensors;

pub use error::{FileError, Kind};

#[cfg(target_endian = "big")]
compile_error!(
    "the formats here are little-endian and read in place; a big-endian machine needs conversions"
);
