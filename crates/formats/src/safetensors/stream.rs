//! Writing in pieces: the header from types and shapes alone, then the bytes as they come, never a whole file in memory.

use super::header::bytes_of;
use super::write::header_of;
use super::{Dtype, TensorInfo};
use crate::atomic::Pending;
use crate::error::{FileError, Kind};
use std::collections::BTreeMap;
use std::path::Path;

/// A safetensors file being written; it takes its place at [`Writer::finish`], see [`Pending`].
#[derive(Debug)]
pub struct Writer {
    pending: Pending,
    /// In the order of their bytes.
    tensors: Vec<TensorInfo>,
    /// The tensor that is being written, and how many of its bytes are.
    current: (usize, usize),
}

impl Writer {
    /// Writes the header of what will be `path`. Wider elements come first, so that every tensor is aligned to its
    /// element type; the order in which their bytes are to come is [`Writer::order`].
    pub fn create(
        path: &Path,
        mut tensors: Vec<TensorInfo>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, FileError> {
        tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bytes()));
        let header = header_of(&tensors, metadata).map_err(|what| {
            FileError::new(path, Kind::Unfit, what, "correct the tensors' names and shapes")
        })?;
        let mut pending = Pending::create(path)?;
        pending.write(&(header.len() as u64).to_le_bytes())?;
        pending.write(&header)?;
        Ok(Self { pending, tensors, current: (0, 0) })
    }

    /// The names in the order of their bytes.
    pub fn order(&self) -> Vec<String> {
        self.tensors.iter().map(|tensor| tensor.name.clone()).collect()
    }

    /// Appends bytes (little-endian, row-major) to tensor `name`: the one being written, or the next when that is
    /// complete.
    ///
    /// # Panics
    /// When the tensors come in another order, or with more bytes than their shape says.
    pub fn write(&mut self, name: &str, piece: &[u8]) -> Result<(), FileError> {
        self.advance();
        let (number, written) = self.current;
        let tensor = &self.tensors[number];
        let bytes = bytes_of(tensor).expect("the header's check covers it");
        assert_eq!(name, tensor.name, "the next tensor, after {written} of its {bytes} bytes");
        assert!(piece.len() <= bytes - written, "{} more bytes for {tensor:?} after {written}", piece.len());
        self.pending.write(piece)?;
        self.current.1 += piece.len();
        Ok(())
    }

    /// Appends f32 values to a tensor of F32 or BF16 (rounded half to even); see [`Writer::write`].
    ///
    /// # Panics
    /// As [`Writer::write`], and when the tensor has another type.
    pub fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<(), FileError> {
        self.advance();
        match self.tensors[self.current.0].dtype {
            Dtype::F32 => self.write(name, bytemuck::cast_slice(values)),
            Dtype::BF16 => {
                let rounded: Vec<u8> =
                    values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
                self.write(name, &rounded)
            }
            other => panic!("'{name}' is declared as {other}, and f32 values are given"),
        }
    }

    /// Brings the file to disk and puts it in its place.
    ///
    /// # Panics
    /// When a tensor is missing or incomplete.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.advance();
        if let Some(tensor) = self.tensors.get(self.current.0) {
            panic!("{tensor:?} has only {} bytes", self.current.1);
        }
        self.pending.commit()
    }

    fn advance(&mut self) {
        while self.tensors.get(self.current.0).is_some_and(|tensor| bytes_of(tensor) == Some(self.current.1))
        {
            self.current = (self.current.0 + 1, 0);
        }
    }
}
