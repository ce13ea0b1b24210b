//! Writing: the header from metadata and declarations, then the tensors' bytes in pieces, one at a time.

use super::parse::{self, MAGIC};
use super::value::write_text;
use super::{TensorInfo, Value};
use crate::atomic::Pending;
use crate::error::{FileError, Kind};
use crate::quant::{BlockFormat, I2sLayout};
use std::path::Path;

const VERSION: u32 = 3;

/// A tensor that will be written.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Its name, unique in the file.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// How its bytes are held.
    pub format: &'static dyn BlockFormat,
}

/// A GGUF file being written; it takes its place at [`Writer::finish`], see [`Pending`].
#[derive(Debug)]
pub struct Writer {
    pending: Pending,
    /// Name and bytes of each tensor, as declared.
    tensors: Vec<(String, usize)>,
    alignment: usize,
    /// The tensor that is being written, and how many of its bytes are.
    current: (usize, usize),
}

impl Writer {
    /// Writes the header of what will be `path`: `metadata` in its order (`general.alignment` is honoured), then the
    /// table of tensors.
    ///
    /// What [`super::File::open`] would refuse or read as another format is an error.
    pub fn create(
        path: &Path,
        metadata: &[(String, Value)],
        tensors: &[Declaration],
    ) -> Result<Self, FileError> {
        let (header, alignment) = header(metadata, tensors)
            .map_err(|what| FileError::new(path, Kind::Unfit, what, "correct what is to be written"))?;
        let mut pending = Pending::create(path)?;
        pending.write(&header)?;
        let bytes = |tensor: &Declaration| bytes_of(tensor).expect("the header's check covers it");
        let tensors = tensors.iter().map(|tensor| (tensor.name.clone(), bytes(tensor))).collect();
        Ok(Self { pending, tensors, alignment, current: (0, 0) })
    }

    /// Appends `piece` to the bytes of tensor `name`: the one being written, or the next when that is complete.
    ///
    /// # Panics
    /// When the tensors do not come in the order of the declarations, or with more or fewer bytes than declared.
    pub fn write(&mut self, name: &str, piece: &[u8]) -> Result<(), FileError> {
        self.advance()?;
        let (number, written) = self.current;
        let Some((expected, bytes)) = self.tensors.get(number) else {
            panic!("'{name}' comes after the last of {} tensors", self.tensors.len());
        };
        assert_eq!(name, expected, "the next tensor, after {written} of its {bytes} bytes");
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
        self.finish_if(|_| Ok(()))
    }

    /// Brings the file to disk and puts it in its place once `verify`, which is given its temporary name, agrees.
    ///
    /// # Panics
    /// As [`Writer::finish`].
    pub fn finish_if<T>(
        mut self,
        verify: impl FnOnce(&Path) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        self.advance()?;
        if let Some((name, bytes)) = self.tensors.get(self.current.0) {
            panic!("'{name}' has {} bytes of {bytes}", self.current.1);
        }
        self.pending.commit_if(verify)
    }

    /// Pads what is complete and goes on to the next tensor that is not.
    fn advance(&mut self) -> Result<(), FileError> {
        while let Some(&(_, bytes)) = self.tensors.get(self.current.0) {
            if self.current.1 < bytes {
                break;
            }
            let padding = bytes.next_multiple_of(self.alignment) - bytes;
            self.pending.write(&vec![0; padding])?;
            self.current = (self.current.0 + 1, 0);
        }
        Ok(())
    }
}

/// Bytes of a tensor; `None` when its rows do not fit the format or the address space ends.
pub(super) fn bytes_of(tensor: &Declaration) -> Option<usize> {
    let elements = tensor.shape.iter().try_fold(1usize, |n, &dimension| n.checked_mul(dimension))?;
    tensor.format.bytes_for(elements)
}

/// The header with the padding after it, and the alignment. The error says what is wrong.
fn header(metadata: &[(String, Value)], tensors: &[Declaration]) -> Result<(Vec<u8>, usize), String> {
    let alignment = parse::alignment(metadata)?;
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        write_text(key, &mut out);
        out.extend(value.number().to_le_bytes());
        value.write(&mut out);
    }
    let mut offset = 0usize;
    for tensor in tensors {
        let (name, shape) = (&tensor.name, &tensor.shape);
        tensor
            .format
            .check_row(shape.last().copied().unwrap_or(1))
            .map_err(|what| format!("tensor '{name}': {what}"))?;
        write_text(name, &mut out);
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|&dimension| out.extend((dimension as u64).to_le_bytes()));
        out.extend(tensor.format.ggml_type().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        let end =
            bytes_of(tensor).and_then(|bytes| offset.checked_add(bytes)?.checked_next_multiple_of(alignment));
        offset = end.ok_or_else(|| format!("tensor '{name}' of shape {shape:?} is too large"))?;
    }
    out.resize(out.len().next_multiple_of(alignment), 0);
    let file_bytes = out.len().checked_add(offset).ok_or("the tensors are too large together")?;
    let read = parse::parse(&out, file_bytes, I2sLayout::default())?;
    for (tensor, read) in tensors.iter().zip(&read.tensors) {
        same(tensor, read)?;
    }
    Ok((out, alignment))
}

/// Whether a reader will see the tensor as it was declared.
fn same(tensor: &Declaration, read: &TensorInfo) -> Result<(), String> {
    let (name, declared) = (&tensor.name, tensor.format.name());
    match &read.format {
        Ok(format) if format.name() == declared => Ok(()),
        Ok(format) => Err(format!("tensor '{name}' is {declared}, which is read as {}", format.name())),
        Err(why) => Err(format!("tensor '{name}' as {declared} could not be read back: {why}")),
    }
}
