//! A safetensors file that takes f32 values for tensors of F32 and of BF16, and the bytes of the others.

use formats::FileError;
use formats::quant::{BF16, BlockFormat};
use formats::safetensors::{Dtype, TensorInfo, Writer};
use std::collections::BTreeMap;
use std::path::Path;

/// See the module.
pub(crate) struct TensorsOut {
    writer: Writer,
    infos: Vec<TensorInfo>,
}

impl TensorsOut {
    /// Begins the file `path`. Wider elements come first, so that every tensor is aligned to its element type.
    pub(crate) fn create(
        path: &Path,
        mut infos: Vec<TensorInfo>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, FileError> {
        infos.sort_by_key(|info| std::cmp::Reverse(info.dtype.bytes()));
        Ok(Self { writer: Writer::create(path, &infos, metadata)?, infos })
    }

    /// The names in the order in which their bytes have to come.
    pub(crate) fn order(&self) -> Vec<String> {
        self.infos.iter().map(|info| info.name.clone()).collect()
    }

    /// See [`Writer::write`].
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        self.writer.write(name, bytes)
    }

    /// Appends values to a tensor of F32, or of BF16 (rounded half to even).
    ///
    /// # Panics
    /// As [`Writer::write`], and when the tensor has another type.
    pub(crate) fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<(), FileError> {
        let dtype = self.infos.iter().find(|info| info.name == name).map(|info| info.dtype);
        match (dtype, BF16.encoder()) {
            (Some(Dtype::F32), _) => self.writer.write(name, bytemuck::cast_slice(values)),
            (Some(Dtype::BF16), Some(encode)) => {
                let mut bytes = vec![0; values.len() * 2];
                encode(values, &mut bytes);
                self.writer.write(name, &bytes)
            }
            other => panic!("'{name}' is declared as {other:?}, and f32 values are given"),
        }
    }

    /// See [`Writer::finish`].
    pub(crate) fn finish(self) -> Result<(), FileError> {
        self.writer.finish()
    }
}
