//! How far a conversion is.

/// What a conversion is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// tensors are read, converted and written
    Write,
    /// what was written is read again and compared
    Compare,
}

/// Hears how far a conversion is; `()` hears nothing.
pub trait Progress {
    /// A phase of that many tensors begins.
    fn begin(&mut self, phase: Phase, tensors: usize);

    /// One more tensor is done.
    fn advance(&mut self, name: &str);
}

impl Progress for () {
    fn begin(&mut self, _: Phase, _: usize) {}

    fn advance(&mut self, _: &str) {}
}
