//! The tensors of safetensors files under our names: what a native checkpoint and a Hugging Face folder have in common.

use formats::safetensors::{Dtype, File};
use formats::{FileError, Kind, nearest};
use model::{Config, Encoding, Source};
use std::collections::HashMap;
use std::ops::Range;

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// F32, F16 or BF16
    Float,
    /// I8 codes −1, 0, +1 of the tensor's own shape
    Codes {
        /// γ
        scale: f32,
    },
    /// U8 `[ceil(rows/4), cols]`: `packed[r] |= (T[i·R + r] + 1) << 2i`, i = 0..4 (Hugging Face's offline form)
    Packed {
        /// γ
        scale: f32,
    },
}

/// Where a tensor is.
#[derive(Clone, Debug)]
pub struct Place {
    /// index into the files
    pub file: usize,
    /// its name there
    pub stored: String,
    /// output features; 1 for a vector
    pub rows: usize,
    /// input features; the length of a vector
    pub cols: usize,
    /// how its elements are stored
    pub form: Form,
}

/// A network in safetensors files, mapped and read on demand.
#[derive(Debug)]
pub struct Table {
    config: Config,
    files: Vec<File>,
    places: HashMap<String, Place>,
}

impl Table {
    /// The network of `config`, whose tensors by our names are at `places`.
    ///
    /// # Errors
    /// A tensor of the network has no place, or its type, shape or scale cannot be.
    pub(crate) fn new(
        config: Config,
        files: Vec<File>,
        places: HashMap<String, Place>,
    ) -> Result<Self, FileError> {
        let table = Self { config, files, places };
        for named in model::Layout::new(&table.config).tensors() {
            let place = table.place(&named.name)?;
            assert_eq!((place.rows, place.cols), (named.slot.rows, named.slot.cols), "{}", named.name);
            table.check(place, &named.shape())?;
        }
        Ok(table)
    }

    /// The files, for who looks at them as they are.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    fn check(&self, place: &Place, shape: &[usize]) -> Result<(), FileError> {
        let file = &self.files[place.file];
        let info = file.info(&place.stored)?;
        let unfit = |what: String| {
            let remedy = "use the configuration the file was written with";
            Err(FileError::new(file.path(), Kind::Unfit, format!("tensor '{}' {what}", info.name), remedy))
        };
        let (dtypes, shape): (&[Dtype], Vec<usize>) = match place.form {
            Form::Float => (&[Dtype::F32, Dtype::F16, Dtype::BF16], shape.to_vec()),
            Form::Codes { .. } => (&[Dtype::I8], shape.to_vec()),
            Form::Packed { .. } => (&[Dtype::U8], vec![place.rows.div_ceil(4), place.cols]),
        };
        if !dtypes.contains(&info.dtype) {
            let wanted: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
            return unfit(format!("holds {} where {} is needed", info.dtype, wanted.join(" or ")));
        }
        if info.shape != shape {
            return unfit(format!("has shape {:?}, and the network needs {shape:?}", info.shape));
        }
        match place.form {
            Form::Codes { scale } | Form::Packed { scale } if !(scale.is_finite() && scale >= 0.0) => {
                unfit(format!("has the scale {scale}, which is none"))
            }
            _ => Ok(()),
        }
    }

    fn place(&self, name: &str) -> Result<&Place, FileError> {
        self.places.get(name).ok_or_else(|| {
            let hint = nearest::hint(name, self.places.keys().map(String::as_str));
            let what = format!("the network's tensor '{name}' is not there{hint}");
            FileError::new(self.files[0].path(), Kind::Unfit, what, "check that this is the model you meant")
        })
    }
}

impl Source for Table {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        Ok(match self.place(name)?.form {
            Form::Float => Encoding::Float,
            Form::Codes { scale } | Form::Packed { scale } => Encoding::Ternary { scale },
        })
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        let place = self.place(name)?;
        let scale = match place.form {
            Form::Float => {
                let start = rows.start * place.cols;
                return self.files[place.file].f32_into(&place.stored, start, out);
            }
            Form::Codes { scale } | Form::Packed { scale } => scale,
        };
        let mut codes = vec![0; out.len()];
        self.read_codes(name, rows, &mut codes)?;
        out.iter_mut().zip(codes).for_each(|(out, code)| *out = scale * f32::from(code));
        Ok(())
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        let place = self.place(name)?;
        let cols = place.cols;
        assert!(rows.end <= place.rows && out.len() == rows.len() * cols, "rows {rows:?} of '{name}'");
        let file = &self.files[place.file];
        let bytes = file.bytes(&place.stored)?;
        let sound = match place.form {
            Form::Float => panic!("'{name}' has values, and codes only once it is quantised"),
            Form::Codes { .. } => {
                let stored = &bytes[rows.start * cols..rows.end * cols];
                out.iter_mut().zip(stored).for_each(|(out, byte)| *out = *byte as i8);
                out.iter().all(|code| (-1..=1).contains(code))
            }
            Form::Packed { .. } => unpack(bytes, place, rows, out),
        };
        match sound {
            true => Ok(()),
            false => Err(FileError::damaged(
                file.path(),
                format!("tensor '{}' holds a code that is none of -1, 0, +1", place.stored),
                "get the file again",
            )),
        }
    }
}

/// Writes the codes of `rows`; false when one of them is 2.
fn unpack(bytes: &[u8], place: &Place, rows: Range<usize>, out: &mut [i8]) -> bool {
    let (cols, stride) = (place.cols, place.rows.div_ceil(4));
    let mut largest = 0;
    for (row, out) in rows.zip(out.chunks_exact_mut(cols)) {
        let shift = 2 * (row / stride);
        for (out, byte) in out.iter_mut().zip(&bytes[row % stride * cols..][..cols]) {
            let code = byte >> shift & 3;
            largest = largest.max(code);
            *out = code as i8 - 1;
        }
    }
    largest < 3
}
