//! How far a conversion is, and a caller's say in whether it is good.

use formats::FileError;
use model::Source;

/// What a conversion is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// tensors are read, converted and written
    Write,
    /// what was written is read again and compared
    Compare,
}

/// What was written, before it appears under its name: it reads back, and its tensors are the source's as far as its types
/// hold them.
pub struct Written<'a> {
    /// the network that was converted
    pub source: &'a dyn Source,
    /// the network as it was read again
    pub written: &'a dyn Source,
    /// the most that rounding to the types of the written form may move a value, relative to the largest beside it
    pub rounding: f32,
}

/// Hears how far a conversion is; `()` hears nothing.
pub trait Progress {
    /// A phase of that many tensors begins.
    fn begin(&mut self, phase: Phase, tensors: usize);

    /// One more tensor is done.
    fn advance(&mut self, name: &str);

    /// All is written and compared tensor by tensor.
    ///
    /// # Errors
    /// An error keeps it from appearing.
    fn judge(&mut self, _: &Written) -> Result<(), FileError> {
        Ok(())
    }
}

impl Progress for () {
    fn begin(&mut self, _: Phase, _: usize) {}

    fn advance(&mut self, _: &str) {}
}
