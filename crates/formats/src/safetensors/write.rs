//! Writing: the header from types and shapes, then the tensors' bytes, whole or in pieces.

use super::header::{LENGTH_BYTES, METADATA, bytes_of};
use super::{Dtype, TensorInfo};
use crate::atomic::Pending;
use crate::error::{FileError, Kind};
use crate::limits;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// A tensor to write: name, element type, shape, and its bytes (little-endian, row-major).
pub type Entry<'a> = (String, Dtype, Vec<usize>, &'a [u8]);

/// Writes `tensors` to `path`, atomically and without a second copy of them in memory.
///
/// Wider elements come first, so that every tensor is aligned to its element type; among equals the order given
/// stays. A duplicate name, and what [`super::File::open`] would refuse, is an error.
///
/// # Panics
/// When the length of a tensor's bytes is not what its shape and type say.
pub fn write(path: &Path, tensors: &[Entry], metadata: &BTreeMap<String, String>) -> Result<(), FileError> {
    let mut ordered: Vec<&Entry> = tensors.iter().collect();
    ordered.sort_by_key(|(_, dtype, _, _)| std::cmp::Reverse(dtype.bytes()));
    let info = |(name, dtype, shape, bytes): &&Entry| {
        let info = TensorInfo { name: name.clone(), dtype: *dtype, shape: shape.clone() };
        assert_eq!(bytes_of(&info), Some(bytes.len()), "bytes of {info:?}");
        info
    };
    let declared: Vec<TensorInfo> = ordered.iter().map(info).collect();
    let mut writer = Writer::create(path, &declared, metadata)?;
    ordered.into_iter().try_for_each(|(name, _, _, bytes)| writer.write(name, bytes))?;
    writer.finish()
}

/// A safetensors file being written piece by piece; it takes its place at [`Writer::finish`], see [`Pending`].
#[derive(Debug)]
pub struct Writer {
    pending: Pending,
    /// Name and bytes of each tensor, as declared.
    tensors: Vec<(String, usize)>,
    /// The tensor that is being written, and how many of its bytes are.
    current: (usize, usize),
}

impl Writer {
    /// Writes the header of what will be `path`. The tensors keep the order given; those of wider elements have to
    /// come first if every tensor is to be aligned to its element type, as some readers want.
    ///
    /// A duplicate name, and what [`super::File::open`] would refuse, is an error.
    pub fn create(
        path: &Path,
        tensors: &[TensorInfo],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, FileError> {
        let (header, bytes) = header(tensors, metadata).map_err(|what| {
            FileError::new(path, Kind::Unfit, what, "correct the tensors' names and shapes")
        })?;
        let mut pending = Pending::create(path)?;
        pending.write(&(header.len() as u64).to_le_bytes())?;
        pending.write(&header)?;
        let tensors = tensors.iter().map(|tensor| tensor.name.clone()).zip(bytes).collect();
        Ok(Self { pending, tensors, current: (0, 0) })
    }

    /// Appends `piece` to the bytes of tensor `name`: the one being written, or the next when that is complete.
    ///
    /// # Panics
    /// When the tensors do not come in the order of the declarations, or with more or fewer bytes than declared.
    pub fn write(&mut self, name: &str, piece: &[u8]) -> Result<(), FileError> {
        let (number, written) = self.current;
        let Some((current, bytes)) = self.tensors.get(number) else {
            panic!("'{name}' comes after the last of {} tensors", self.tensors.len());
        };
        if current != name {
            assert_eq!(written, *bytes, "bytes of '{current}' when '{name}' comes");
            self.current = (number + 1, 0);
            return self.write(name, piece);
        }
        assert!(
            piece.len() <= bytes - written,
            "'{name}' has {bytes} bytes, {written} + {} given",
            piece.len()
        );
        self.pending.write(piece)?;
        self.current.1 += piece.len();
        Ok(())
    }

    /// Brings the file to disk and puts it in its place.
    ///
    /// # Panics
    /// When a tensor is missing or incomplete.
    pub fn finish(self) -> Result<(), FileError> {
        let (number, mut written) = self.current;
        for (name, bytes) in self.tensors.iter().skip(number) {
            assert_eq!(written, *bytes, "bytes of '{name}'");
            written = 0;
        }
        self.pending.commit()
    }
}

/// The JSON text, padded with spaces so that the data is aligned, and the bytes of each tensor. The error says what is
/// wrong.
fn header(
    tensors: &[TensorInfo],
    metadata: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, Vec<usize>), String> {
    if tensors.len() > limits::TENSORS_MAX {
        return Err(format!("{} tensors are more than a file may have", tensors.len()));
    }
    let mut table = Map::new();
    if !metadata.is_empty() {
        table.insert(METADATA.into(), json!(metadata));
    }
    let mut names = HashSet::new();
    let mut start = 0usize;
    let mut lengths = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let TensorInfo { name, dtype, shape } = tensor;
        if name == METADATA || name.len() > limits::TENSOR_NAME_BYTES_MAX || shape.len() > limits::RANK_MAX {
            return Err(format!("tensor '{name}' of shape {shape:?} cannot be written"));
        }
        if !names.insert(name) {
            return Err(format!("there are two tensors named '{name}'"));
        }
        let bytes = bytes_of(tensor);
        let end = bytes.and_then(|bytes| start.checked_add(bytes));
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(format!("tensor '{name}' of shape {shape:?} is too large"));
        };
        lengths.push(bytes);
        let entry = json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [start, end]});
        table.insert(name.clone(), entry);
        start = end;
    }
    let mut text = serde_json::to_vec(&Value::Object(table)).expect("plain data becomes JSON");
    text.resize((LENGTH_BYTES + text.len()).next_multiple_of(64) - LENGTH_BYTES, b' ');
    if text.len() > limits::SAFETENSORS_HEADER_BYTES_MAX {
        return Err(format!("a header of {} bytes is longer than the format allows", text.len()));
    }
    Ok((text, lengths))
}
