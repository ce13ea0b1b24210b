//! The GGUF format: typed metadata, a table of tensors, their bytes at aligned places.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian. What a
//! tensor's type number means depends on who wrote the file: see [`crate::quant::resolve`].

mod parse;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub use value::{Array, Value};
pub use write::{Declaration, Writer};

use crate::error::{FileError, Kind};
use crate::mapped::Mapped;
use crate::nearest;
use crate::quant::{BlockFormat, I2sLayout, Scale, TernaryFormat};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The key that names the model's architecture, which prefixes its other keys.
pub const ARCHITECTURE: &str = "general.architecture";
/// The key of the number that names the mixture of tensor types.
pub const FILE_TYPE: &str = "general.file_type";
/// The key of the tensors' alignment in bytes.
pub const ALIGNMENT: &str = "general.alignment";

/// What the header says about one tensor.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Its name, unique in the file.
    pub name: String,
    /// Dimensions, outermost first (the file has them innermost first).
    pub shape: Vec<usize>,
    /// The type's number in the file.
    pub ggml_type: u32,
    /// What the number means, or why such a tensor cannot be read.
    pub format: Result<&'static dyn BlockFormat, String>,
}

impl TensorInfo {
    /// The product of the dimensions.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An open GGUF file: header checked, tensors read from the map on demand.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    map: Mapped,
    header: parse::Header,
    keys: HashMap<String, usize>,
    names: HashMap<String, usize>,
}

impl File {
    /// Maps `path` and checks its header: limits, unique names, every readable tensor aligned, inside the file and
    /// apart from the others. A tensor of an unknown type is no error until it is read.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_with(path, I2sLayout::default())
    }

    /// [`File::open`], with the layout of the file's I2_S tensors, which nothing in it tells.
    pub fn open_with(path: &Path, layout: I2sLayout) -> Result<Self, FileError> {
        let map = Mapped::open(path)?;
        let header = parse::parse(&map, map.len(), layout).map_err(|what| {
            FileError::damaged(path, what, "get the file again, or convert the model again")
        })?;
        let keys = header.metadata.iter().enumerate().map(|(i, (key, _))| (key.clone(), i)).collect();
        let names = header.tensors.iter().enumerate().map(|(i, tensor)| (tensor.name.clone(), i)).collect();
        Ok(Self { path: path.to_owned(), map, header, keys, names })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// The tensors' alignment, bytes.
    pub fn alignment(&self) -> usize {
        self.header.alignment
    }

    /// `general.architecture`; empty when the file has none.
    pub fn architecture(&self) -> &str {
        parse::architecture(&self.header.metadata)
    }

    /// `general.file_type`, if the file has it.
    pub fn file_type(&self) -> Option<u32> {
        parse::file_type(&self.header.metadata)
    }

    /// The metadata in the order of the file.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.header.metadata
    }

    /// The value of `key`, if there is one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).map(|&i| &self.header.metadata[i].1)
    }

    /// The whole number at `key`, of any integer type that holds it.
    pub fn u64(&self, key: &str) -> Result<u64, FileError> {
        self.typed(key, "a whole number that is not negative", Value::as_u64)
    }

    /// The whole number at `key`, of any integer type, below 2³².
    pub fn u32(&self, key: &str) -> Result<u32, FileError> {
        self.typed(key, "a whole number below 2^32", |value| value.as_u64()?.try_into().ok())
    }

    /// The float at `key`; an f64 is rounded.
    pub fn f32(&self, key: &str) -> Result<f32, FileError> {
        self.typed(key, "a float", |value| match value {
            Value::F32(number) => Some(*number),
            Value::F64(number) => Some(*number as f32),
            _ => None,
        })
    }

    /// The truth value at `key`.
    pub fn bool(&self, key: &str) -> Result<bool, FileError> {
        self.typed(key, "true or false", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// The text at `key`.
    pub fn str(&self, key: &str) -> Result<&str, FileError> {
        self.typed(key, "a text", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The array of texts at `key`.
    pub fn strings(&self, key: &str) -> Result<&[String], FileError> {
        self.typed(key, "an array of texts", |value| match value {
            Value::Array(Array::String(texts)) => Some(&texts[..]),
            _ => None,
        })
    }

    /// The array of f32 at `key`.
    pub fn f32s(&self, key: &str) -> Result<&[f32], FileError> {
        self.typed(key, "an array of f32", |value| match value {
            Value::Array(Array::F32(numbers)) => Some(&numbers[..]),
            _ => None,
        })
    }

    /// The array of i32, or of integers of another type that fit, at `key`.
    pub fn i32s(&self, key: &str) -> Result<Vec<i32>, FileError> {
        self.typed(key, "an array of i32", |value| match value {
            Value::Array(array) => array.as_i32s(),
            _ => None,
        })
    }

    /// The tensors in the order of the header.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.header.tensors.iter()
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Tensor `name`, ready to read; the error says that there is none (and offers the nearest name), or why its type
    /// cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, FileError> {
        let Some(&i) = self.names.get(name) else {
            let hint = nearest::hint(name, self.tensors().map(|tensor| tensor.name.as_str()));
            return Err(self.unfit(format!("it has no tensor '{name}'{hint}")));
        };
        let info = &self.header.tensors[i];
        match &info.format {
            Ok(format) => Ok(Tensor {
                file: self,
                info,
                format: *format,
                bytes: &self.map[self.header.ranges[i].clone()],
            }),
            Err(why) => Err(FileError::new(
                &self.path,
                Kind::Unfit,
                format!("tensor '{name}' cannot be read: {why}"),
                "convert the model to another type first",
            )),
        }
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        needed: &str,
        take: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, FileError> {
        let Some(value) = self.get(key) else {
            let hint = nearest::hint(key, self.header.metadata.iter().map(|(key, _)| key.as_str()));
            return Err(self.unfit(format!("it has no key '{key}'{hint}")));
        };
        take(value).ok_or_else(|| {
            self.unfit(format!("key '{key}' holds {} where {needed} is needed", value.describe()))
        })
    }

    fn unfit(&self, what: String) -> FileError {
        FileError::new(&self.path, Kind::Unfit, what, "check that this is the file you meant")
    }
}

/// One readable tensor of an open file.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    file: &'a File,
    /// What the header says.
    pub info: &'a TensorInfo,
    /// How its bytes are to be read.
    pub format: &'static dyn BlockFormat,
    /// All of its bytes, its tail included.
    pub bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// Decodes the elements from `start` on into `out`, row-major; both in whole blocks, as rows are.
    pub fn f32_into(&self, start: usize, out: &mut [f32]) -> Result<(), FileError> {
        self.named(self.format.decode(self.bytes, start, out))
    }

    /// The ternary side of its format, if it has one.
    pub fn ternary(&self) -> Option<&'static dyn TernaryFormat> {
        self.format.ternary()
    }

    /// The tensor's scale, when its format is ternary.
    pub fn scale(&self) -> Result<Option<Scale>, FileError> {
        self.ternary().map(|ternary| self.named(ternary.scale(self.bytes))).transpose()
    }

    /// The codes of the elements from `start` on into `out`; both in whole blocks.
    ///
    /// # Panics
    /// When the format is not ternary.
    pub fn codes_into(&self, start: usize, out: &mut [i8]) -> Result<(), FileError> {
        let ternary = self.ternary().expect("only a ternary format has codes");
        self.named(ternary.codes(self.bytes, start, out))
    }

    fn named<T>(&self, result: Result<T, String>) -> Result<T, FileError> {
        result.map_err(|what| {
            FileError::damaged(
                &self.file.path,
                format!("tensor '{}': {what}", self.info.name),
                "get the file again, or convert the model again",
            )
        })
    }
}
