//! A network with more columns than it was trained with, so that the rows of its projections are whole blocks of a format.
//!
//! What is added is zero: elements of the residual stream, heads (as many query heads to a key head as before), gates. The stream
//! then has H' elements and the mean of its squares is H/H' of what it was; with ε·H/H' for ε and gains times √(H/H') every
//! norm gives what it gave. A largest magnitude does not change, so neither do the codes of activations.

use crate::convert::named;
use crate::ternary::{self, Ternary};
use formats::{FileError, Kind};
use model::{Config, Encoding, NormPlacement, Source};
use std::ops::Range;
use std::path::Path;

/// A view of another source.
pub(super) struct Widened<'a> {
    inner: &'a dyn Source,
    config: Config,
}

impl<'a> Widened<'a> {
    /// The network of `inner` with rows of a multiple of `block` elements.
    ///
    /// # Errors
    /// It has sub-norms, which one ε cannot serve beside the others; it becomes larger than a network may be.
    pub(super) fn new(inner: &'a dyn Source, block: usize, path: &Path) -> Result<Self, FileError> {
        let config = widened(inner.config(), block);
        let unfit = |what: String| Err(FileError::new(path, Kind::Unfit, what, "leave --widen away"));
        let has_sub_norms = config.sub_norms || config.norm_placement == NormPlacement::Inside;
        if has_sub_norms && config != *inner.config() {
            return unfit(
                "it has sub-norms, which are not widened: their zeros would need another epsilon".into(),
            );
        }
        match config.validate() {
            Ok(()) => Ok(Self { inner, config }),
            Err(error) => {
                unfit(format!("widened to rows of whole blocks of {block} it is no network: {error}"))
            }
        }
    }

    /// The network as it is.
    pub(super) fn unchanged(inner: &'a dyn Source) -> Self {
        Self { inner, config: inner.config().clone() }
    }

    /// The codes and the scale of a projection, those of the narrow one with zeros beside.
    ///
    /// # Errors
    /// As [`ternary::read`].
    pub(super) fn ternary(&self, name: &str) -> Result<Ternary, FileError> {
        let narrow = named(self.inner.config(), name);
        let found = ternary::read(self.inner, &narrow)?;
        let wide = named(&self.config, name).slot;
        let mut codes = vec![0; wide.len()];
        let rows = found.codes.chunks_exact(narrow.slot.cols).zip(codes.chunks_exact_mut(wide.cols));
        rows.for_each(|(narrow, wide)| wide[..narrow.len()].copy_from_slice(narrow));
        Ok(Ternary { codes, ..found })
    }

    /// √(H/H').
    fn gain(&self) -> f32 {
        share(self.inner.config(), &self.config).sqrt() as f32
    }

    /// Fills `out`, some rows of a tensor, with what `read` gives of the narrow one and zeros beside.
    fn fill<T: Copy + Default>(
        &self,
        name: &str,
        rows: Range<usize>,
        out: &mut [T],
        read: impl FnOnce(Range<usize>, &mut [T]) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let (narrow, cols) = (named(self.inner.config(), name).slot, named(&self.config, name).slot.cols);
        let there = rows.start.min(narrow.rows)..rows.end.min(narrow.rows);
        if narrow.cols == cols && there == rows {
            return read(rows, out);
        }
        let mut values = vec![T::default(); there.len() * narrow.cols];
        read(there, &mut values)?;
        out.fill(T::default());
        let rows = values.chunks_exact(narrow.cols).zip(out.chunks_exact_mut(cols));
        rows.for_each(|(narrow, wide)| wide[..narrow.len()].copy_from_slice(narrow));
        Ok(())
    }
}

/// `config` with rows of a multiple of `block` elements.
fn widened(config: &Config, block: usize) -> Config {
    let group = config.heads / config.kv_heads;
    let fits = |kv_heads: &usize| (kv_heads * group * config.head_size).is_multiple_of(block);
    // A multiple of the block always fits.
    let kv_heads = (config.kv_heads..).find(fits).unwrap_or(config.kv_heads);
    let hidden = config.hidden.next_multiple_of(block);
    let mut wide = Config {
        hidden,
        kv_heads,
        heads: kv_heads * group,
        ffn: config.ffn.next_multiple_of(block),
        ..config.clone()
    };
    let epsilon = |epsilon: f32| (f64::from(epsilon) * share(config, &wide)) as f32;
    (wide.norm_epsilon, wide.final_norm_epsilon) =
        (epsilon(config.norm_epsilon), config.final_norm_epsilon.map(epsilon));
    wide
}

/// H/H'.
fn share(narrow: &Config, wide: &Config) -> f64 {
    narrow.hidden as f64 / wide.hidden as f64
}

/// Whether the tensor is the gain of a norm of the residual stream.
fn is_gain(name: &str) -> bool {
    name == "final_norm" || name.ends_with(".attn_norm") || name.ends_with(".ffn_norm")
}

impl Source for Widened<'_> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        self.inner.encoding(name)
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        self.fill(name, rows, out, |rows, out| self.inner.read(name, rows, out))?;
        if is_gain(name) {
            out.iter_mut().for_each(|gain| *gain *= self.gain());
        }
        Ok(())
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        self.fill(name, rows, out, |rows, out| self.inner.read_codes(name, rows, out))
    }

    fn release(&self, name: &str) {
        self.inner.release(name);
    }
}
