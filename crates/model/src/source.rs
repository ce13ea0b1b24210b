//! A network whose tensors are read one at a time, wherever they are kept: in memory, in a native checkpoint, in a
//! Hugging Face folder, in a GGUF file. What converts or serves a model reads it through [`Source`] and never holds it whole.

use crate::{Config, Weights};
use formats::quant::BlockFormat;
use formats::{FileError, Kind, nearest};
use std::ops::Range;
use std::path::Path;

/// What the stored elements of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Encoding {
    /// floating-point values: a dense or a latent matrix, an embedding, a gain
    Float,
    /// codes −1, 0, +1 times one scale: `Ŵ = scale · T`
    Ternary {
        /// γ, the tensor's own; the absmean of `Ŵ` is a smaller number
        scale: f32,
    },
}

/// A tensor as it is kept: its rows one after another, each in whole blocks.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    /// of more than one element a block, and without a tail
    pub format: &'static dyn BlockFormat,
    /// all blocks
    pub bytes: &'a [u8],
}

/// Tensors by our names ([`crate::layout::Named::name`]), as rows of the shapes that [`crate::Layout`] says; a gain is one row.
pub trait Source: Send + Sync {
    /// The network's shape and choices.
    fn config(&self) -> &Config;

    /// What a tensor holds.
    ///
    /// # Errors
    /// There is no such tensor; its scale is not finite.
    fn encoding(&self, name: &str) -> Result<Encoding, FileError>;

    /// Writes the values of some rows of a tensor, row-major; of a ternary one `scale · code`.
    ///
    /// # Errors
    /// There is no such tensor, or its bytes cannot be what they say.
    ///
    /// # Panics
    /// When the rows are not those of the tensor, or `out` is not as long as they are.
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError>;

    /// Writes the codes of some rows of a tensor whose encoding is [`Encoding::Ternary`].
    ///
    /// # Errors
    /// As [`Source::read`], and a code that is none of −1, 0, +1.
    ///
    /// # Panics
    /// As [`Source::read`], and when the tensor is not ternary.
    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError>;

    /// The values of a tensor in the blocks of a quantised format, where that is how they are kept and [`Source::read`] gives
    /// them unchanged; `None` else.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn blocks(&self, name: &str) -> Result<Option<Blocks<'_>>, FileError> {
        let _ = name;
        Ok(None)
    }

    /// Says that a tensor will not be read again soon, so that the memory of its file can go.
    fn release(&self, name: &str) {
        let _ = name;
    }
}

impl Source for Weights {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        self.named(name).map(|_| Encoding::Float)
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        let slot = self.named(name)?.slot;
        out.copy_from_slice(&slot.of(&self.data)[rows.start * slot.cols..rows.end * slot.cols]);
        Ok(())
    }

    fn read_codes(&self, name: &str, _: Range<usize>, _: &mut [i8]) -> Result<(), FileError> {
        panic!("'{name}' is latent: it has values, and codes only once it is quantised");
    }
}

impl Weights {
    fn named(&self, name: &str) -> Result<&crate::layout::Named, FileError> {
        let tensors = self.layout.tensors();
        tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| {
            let hint = nearest::hint(name, tensors.iter().map(|tensor| tensor.name.as_str()));
            let what = format!("the network has no tensor '{name}'{hint}");
            FileError::new(Path::new("weights in memory"), Kind::Unfit, what, "check the name")
        })
    }
}
