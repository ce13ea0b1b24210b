//! Writing: the header from types and shapes, then the tensors' bytes streamed from where they are.

use super::header::{LENGTH_BYTES, METADATA, bytes_of};
use super::{Dtype, TensorInfo};
use crate::error::{FileError, Kind};
use crate::{atomic, limits};
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
    let infos: Vec<TensorInfo> = ordered.iter().map(info).collect();
    let header = header_of(&infos, metadata)
        .map_err(|what| FileError::new(path, Kind::Unfit, what, "correct the tensors' names and shapes"))?;
    atomic::write(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (_, _, _, bytes) in ordered {
            out.write_all(bytes)?;
        }
        Ok(())
    })
}

/// The JSON text, padded with spaces so that the data is aligned. The error says what is wrong.
pub(super) fn header_of(
    tensors: &[TensorInfo],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, String> {
    if tensors.len() > limits::TENSORS_MAX {
        return Err(format!("{} tensors are more than a file may have", tensors.len()));
    }
    let mut table = Map::new();
    if !metadata.is_empty() {
        table.insert(METADATA.into(), json!(metadata));
    }
    let mut names = HashSet::new();
    let mut start = 0;
    for info in tensors {
        let TensorInfo { name, dtype, shape } = info;
        if name == METADATA || name.len() > limits::TENSOR_NAME_BYTES_MAX || shape.len() > limits::RANK_MAX {
            return Err(format!("tensor '{name}' of shape {shape:?} cannot be written"));
        }
        if !names.insert(name) {
            return Err(format!("there are two tensors named '{name}'"));
        }
        let end = bytes_of(info).and_then(|bytes| bytes.checked_add(start));
        let end = end.ok_or_else(|| format!("tensor '{name}' of shape {shape:?} is too large"))?;
        let entry = json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [start, end]});
        table.insert(name.clone(), entry);
        start = end;
    }
    let mut text = serde_json::to_vec(&Value::Object(table)).expect("plain data becomes JSON");
    text.resize((LENGTH_BYTES + text.len()).next_multiple_of(64) - LENGTH_BYTES, b' ');
    if text.len() > limits::SAFETENSORS_HEADER_BYTES_MAX {
        return Err(format!("a header of {} bytes is longer than the format allows", text.len()));
    }
    Ok(text)
}
