//! The safetensors format: eight bytes of header length, a JSON header, the tensors' bytes one after another.
//!
//! Format: <https://github.com/huggingface/safetensors#format>. The header is parsed here rather than by the
//! `safetensors` crate (which the tests use as an oracle), because a duplicate name, a limit that is passed and the
//! tensor that is wrong have to be named.

mod dtype;
mod header;
#[cfg(test)]
mod tests;
mod write;

pub use dtype::Dtype;
pub use write::{Entry, Writer, write};

use crate::error::{FileError, Kind};
use crate::mapped::Mapped;
use crate::nearest;
use crate::quant::{BF16, BlockFormat, F16, F32};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the header says about one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

/// An open safetensors file: header checked, tensors read from the map on demand.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    map: Mapped,
    tensors: Vec<TensorInfo>,
    /// Bytes of each tensor in the map, in the order of `tensors`.
    ranges: Vec<Range<usize>>,
    index: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl File {
    /// Maps `path` and checks its header: every tensor inside the file, none overlapping, no gap, no duplicate name.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let map = Mapped::open(path)?;
        let header = header::parse(&map).map_err(|what| {
            FileError::damaged(path, what, "get the file again, or use another checkpoint")
        })?;
        let names = header.tensors.iter().enumerate();
        let index = names.map(|(i, tensor)| (tensor.name.clone(), i)).collect();
        Ok(Self {
            path: path.to_owned(),
            map,
            index,
            tensors: header.tensors,
            ranges: header.ranges,
            metadata: header.metadata,
        })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in the order of their bytes in the file.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// The header's `__metadata__` table.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Type and shape of tensor `name`; when there is none, the error offers the nearest name.
    pub fn info(&self, name: &str) -> Result<&TensorInfo, FileError> {
        Ok(&self.tensors[self.find(name)?])
    }

    /// The bytes of tensor `name`, little-endian and row-major, not necessarily aligned to the element type.
    pub fn bytes(&self, name: &str) -> Result<&[u8], FileError> {
        Ok(&self.map[self.ranges[self.find(name)?].clone()])
    }

    /// The elements of a float tensor as f32: borrowed from the file where it holds aligned F32, else converted
    /// from F32, F16 or BF16 (all exact).
    pub fn f32(&self, name: &str) -> Result<Cow<'_, [f32]>, FileError> {
        let dtype = self.info(name)?.dtype;
        let bytes = self.bytes(name)?;
        match dtype {
            Dtype::F32 => match bytemuck::try_cast_slice(bytes) {
                Ok(elements) => Ok(Cow::Borrowed(elements)),
                Err(_) => Ok(convert(bytes, f32::from_le_bytes)),
            },
            Dtype::F16 => Ok(convert(bytes, |b| half::f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => Ok(convert(bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
            other => Err(self.no_float(name, other)),
        }
    }

    /// The elements of a float tensor from `start` on, row-major, into `out` as f32: a piece at a time of a tensor that
    /// need not be in memory twice. A range beyond the tensor's end is an error.
    pub fn f32_into(&self, name: &str, start: usize, out: &mut [f32]) -> Result<(), FileError> {
        let info = self.info(name)?;
        let (dtype, width) = (info.dtype, info.dtype.bytes());
        let bytes = self.bytes(name)?;
        let place = start
            .checked_add(out.len())
            .and_then(|end| Some(start.checked_mul(width)?..end.checked_mul(width)?));
        let Some(bytes) = place.and_then(|place| bytes.get(place)) else {
            let what =
                format!("tensor '{name}' of shape {:?} has no elements {start} + {}", info.shape, out.len());
            return Err(FileError::new(
                &self.path,
                Kind::Unfit,
                what,
                "check that this is the file you meant",
            ));
        };
        match dtype {
            Dtype::F32 => F32.decode_blocks(bytes, &[], out),
            Dtype::F16 => F16.decode_blocks(bytes, &[], out),
            Dtype::BF16 => BF16.decode_blocks(bytes, &[], out),
            other => return Err(self.no_float(name, other)),
        }
        Ok(())
    }

    fn no_float(&self, name: &str, dtype: Dtype) -> FileError {
        FileError::new(
            &self.path,
            Kind::Unfit,
            format!("tensor '{name}' holds {dtype} where F32, F16 or BF16 is needed"),
            "check that this is the file you meant",
        )
    }

    fn find(&self, name: &str) -> Result<usize, FileError> {
        self.index.get(name).copied().ok_or_else(|| {
            let hint = nearest::hint(name, self.tensors.iter().map(|tensor| tensor.name.as_str()));
            FileError::new(
                &self.path,
                Kind::Unfit,
                format!("it has no tensor '{name}'{hint}"),
                "check that this is the file you meant",
            )
        })
    }
}

/// Elements of `N` bytes each through `to_f32`; the header's check makes the length a multiple of `N`.
fn convert<const N: usize>(bytes: &[u8], to_f32: impl Fn([u8; N]) -> f32) -> Cow<'_, [f32]> {
    let (elements, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty(), "{} bytes of {N}-byte elements", bytes.len());
    Cow::Owned(elements.iter().map(|&element| to_f32(element)).collect())
}
