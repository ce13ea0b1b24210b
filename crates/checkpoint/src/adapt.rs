//! A network as other formats want it: RMSNorm layers with gains before the projections, RoPE by halves. What it
//! computes stays the same.
//!
//! - Norms inside BitLinear have no gains: they equal norm layers, sub-norms included, whose gains are all 1.
//! - RoPE that pairs (2i, 2i+1) equals RoPE that pairs (i, i + D/2) once the rows of q and k (their biases, and the gains of
//!   their norms) are put in this order: even ones of a head first, then odd ones. A scale belongs to a whole tensor, so
//!   codes and scales stay.

use formats::FileError;
use model::{Config, Encoding, NormPlacement, RopeStyle, Source};
use std::ops::Range;

/// A view of another source.
pub struct Adapted<'a> {
    inner: &'a dyn Source,
    config: Config,
}

/// The network of `config` with outside norms and the pairing `style`.
pub fn standard(config: &Config, style: RopeStyle) -> Config {
    let mut config = config.clone();
    if config.norm_placement == NormPlacement::Inside {
        config.norm_placement = NormPlacement::Outside;
        config.sub_norms = true;
    }
    config.rope_style = style;
    config
}

impl<'a> Adapted<'a> {
    /// The network of `inner` with outside norms and the pairing `style`.
    pub fn new(inner: &'a dyn Source, style: RopeStyle) -> Self {
        let config = standard(inner.config(), style);
        Self { inner, config }
    }

    /// Whether `name` is a gain that the other network does not have.
    fn is_made(&self, name: &str) -> bool {
        self.inner.config().norm_placement == NormPlacement::Inside
            && (name.ends_with("_sub_norm") || name.ends_with(".attn_norm") || name.ends_with(".ffn_norm"))
    }

    /// What of tensor `name` is to be reordered, because RoPE turns it and the pairing differs.
    fn turned(&self, name: &str) -> Option<Turned> {
        if self.config.rope_style == self.inner.config().rope_style {
            return None;
        }
        match name.rsplit('.').next()? {
            "q" | "k" => Some(Turned::Rows),
            "q_bias" | "k_bias" | "q_norm" | "k_norm" => Some(Turned::Elements),
            _ => None,
        }
    }

    /// Which row of the other network is row `row` here.
    fn from(&self, row: usize) -> usize {
        other_row(self.config.rope_style, self.config.head_size, row)
    }

    /// Fills `out` row by row with `read`, in the order of this network.
    fn rows<T>(
        &self,
        rows: Range<usize>,
        out: &mut [T],
        read: impl Fn(Range<usize>, &mut [T]) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        if rows.is_empty() {
            return Ok(());
        }
        let cols = out.len() / rows.len();
        rows.zip(out.chunks_exact_mut(cols)).try_for_each(|(row, out)| {
            let row = self.from(row);
            read(row..row + 1, out)
        })
    }
}

/// Which row of the other pairing is row `row` of q or k with the pairing `style`.
pub(crate) fn other_row(style: RopeStyle, head_size: usize, row: usize) -> usize {
    let half = head_size / 2;
    let (head, i) = (row / head_size * head_size, row % head_size);
    head + match style {
        RopeStyle::RotateHalf => (i % half) * 2 + i / half,
        RopeStyle::Interleaved => i / 2 + (i % 2) * half,
    }
}

enum Turned {
    Rows,
    Elements,
}

impl Source for Adapted<'_> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        if self.is_made(name) { Ok(Encoding::Float) } else { self.inner.encoding(name) }
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        if self.is_made(name) {
            out.fill(1.0);
            return Ok(());
        }
        match self.turned(name) {
            None => self.inner.read(name, rows, out),
            Some(Turned::Rows) => self.rows(rows, out, |rows, out| self.inner.read(name, rows, out)),
            Some(Turned::Elements) => {
                let mut other = vec![0.0; out.len()];
                self.inner.read(name, rows, &mut other)?;
                out.iter_mut().enumerate().for_each(|(i, out)| *out = other[self.from(i)]);
                Ok(())
            }
        }
    }

    fn release(&self, name: &str) {
        self.inner.release(name);
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        match self.turned(name) {
            Some(Turned::Rows) => self.rows(rows, out, |rows, out| self.inner.read_codes(name, rows, out)),
            _ => self.inner.read_codes(name, rows, out),
        }
    }
}
