//! A matrix of floats, kept in the narrowest type that holds every one of its values exactly.

use crate::failure::Failure;
use formats::FileError;
use formats::quant::{self, BlockFormat};
use kernels::gemm::{self, View, Workspace};
use kernels::half::{self, Half};
use kernels::pool::{PerWorker, Pool, Rows};
use kernels::softmax;
use model::{Blocks, Source};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Rows that a task reads or multiplies.
const TASK_ROWS: usize = 128;

/// Rows that one call of gemm multiplies, so that their f32 copy stays small.
const STRIPE_ROWS: usize = 1024;

/// Elements that are decoded at a time for a product: whole blocks of every format.
const PIECE: usize = 256;

/// Elements that are read before the file's memory is given back, so that a large table is not in memory twice.
const SPAN_ELEMENTS: usize = 1 << 24;

/// (N, K) floats.
pub(crate) struct Table {
    columns: usize,
    elements: Elements,
}

enum Elements {
    Single(Vec<f32>),
    Half(Half, Vec<u16>),
    /// as its file holds it
    Blocks(&'static dyn BlockFormat, Vec<u8>),
}

impl Table {
    /// The values of (N, K) as they are.
    pub(crate) fn of(values: Vec<f32>, columns: usize) -> Self {
        Self { columns, elements: Elements::Single(values) }
    }

    /// Reads tensor `name` (N, K): as bfloat16 where each value is one, else as binary16, else as f32.
    pub(crate) fn read(
        pool: &Pool,
        source: &dyn Source,
        name: &str,
        shape: (usize, usize),
    ) -> Result<Self, FileError> {
        for kind in [Half::Bf16, Half::F16] {
            if let Some(bits) = read_half(pool, source, name, shape, kind)? {
                return Ok(Self { columns: shape.1, elements: Elements::Half(kind, bits) });
            }
        }
        let mut values = vec![0.0; shape.0 * shape.1];
        let failure = Failure::default();
        pool.for_rows(shape.0, TASK_ROWS, Rows::new(&mut values, shape.1), |rows, values| {
            failure.unless(|| source.read(name, rows, values));
        });
        failure.result()?;
        Ok(Self::of(values, shape.1))
    }

    /// [`Table::read`] of a large tensor of which a few rows are wanted at a time: what a file keeps in quantised blocks stays in
    /// them, and is decoded where it is used.
    pub(crate) fn read_large(
        pool: &Pool,
        source: &dyn Source,
        name: &str,
        shape: (usize, usize),
    ) -> Result<Self, FileError> {
        let Some(Blocks { format, bytes }) = source.blocks(name)? else {
            return Self::read(pool, source, name, shape);
        };
        let mut copy = vec![0; bytes.len()];
        let row = bytes.len() / shape.0;
        pool.for_rows(shape.0, TASK_ROWS, Rows::new(&mut copy, row), |rows, copy| {
            copy.copy_from_slice(&bytes[rows.start * row..rows.end * row]);
        });
        source.release(name);
        Ok(Self { columns: shape.1, elements: Elements::Blocks(format, copy) })
    }

    /// Writes as many rows as `out` holds, from `first` on.
    pub(crate) fn rows(&self, first: usize, out: &mut [f32]) {
        let range = first * self.columns..first * self.columns + out.len();
        match &self.elements {
            Elements::Single(values) => out.copy_from_slice(&values[range]),
            Elements::Half(Half::Bf16, bits) => half::widen_bf16(&bits[range], out),
            Elements::Half(Half::F16, bits) => half::widen_f16(&bits[range], out),
            Elements::Blocks(format, bytes) => decode(*format, bytes, range.start, out),
        }
    }

    /// N.
    pub(crate) fn len(&self) -> usize {
        let elements = match &self.elements {
            Elements::Single(values) => values.len(),
            Elements::Half(_, bits) => bits.len(),
            Elements::Blocks(format, bytes) => bytes.len() / format.block_bytes() * format.block_elements(),
        };
        elements / self.columns
    }

    /// K.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of all elements.
    pub(crate) fn bytes(&self) -> usize {
        match &self.elements {
            Elements::Single(values) => size_of_val(&values[..]),
            Elements::Half(_, bits) => size_of_val(&bits[..]),
            Elements::Blocks(_, bytes) => bytes.len(),
        }
    }

    /// `row · x`.
    pub(crate) fn dot(&self, row: usize, x: &[f32]) -> f32 {
        let range = row * self.columns..(row + 1) * self.columns;
        match &self.elements {
            Elements::Single(values) => softmax::dot(&values[range], x),
            Elements::Half(Half::Bf16, bits) => half::dot_bf16(&bits[range], x),
            Elements::Half(Half::F16, bits) => half::dot_f16(&bits[range], x),
            Elements::Blocks(format, bytes) => {
                let mut values = [0.0; PIECE];
                let pieces = (range.start..).step_by(PIECE).zip(x.chunks(PIECE));
                let products = pieces.map(|(at, x)| {
                    let values = &mut values[..x.len()];
                    decode(*format, bytes, at, values);
                    softmax::dot(values, x)
                });
                products.sum()
            }
        }
    }

    /// `out` (T, N) = `x` (T, K) · this table transposed, in f32.
    pub(crate) fn multiply(&self, pool: &Pool, scratch: &mut Stripe, x: &[f32], out: &mut [f32]) {
        let (width, outputs) = (self.columns, self.len());
        let tokens = x.len() / width;
        if tokens == 1 {
            return pool.for_rows(outputs, TASK_ROWS, Rows::new(out, 1), |rows, out| {
                out.iter_mut().zip(rows).for_each(|(out, row)| *out = self.dot(row, x));
            });
        }
        for first in (0..outputs).step_by(STRIPE_ROWS) {
            let rows = STRIPE_ROWS.min(outputs - first);
            let stripe = self.stripe(pool, &mut scratch.wide, first, rows);
            let (a, b) = (View::f32(x, tokens, width), View::f32(stripe, rows, width).t());
            gemm::gemm(pool, &mut scratch.workspace, a, b, &mut out[first..], outputs, false);
        }
    }

    /// Some rows in f32, widened where they are not.
    fn stripe<'a>(&'a self, pool: &Pool, wide: &'a mut Vec<f32>, first: usize, rows: usize) -> &'a [f32] {
        let width = self.columns;
        if let Elements::Single(values) = &self.elements {
            return &values[first * width..(first + rows) * width];
        }
        wide.resize(STRIPE_ROWS * width, 0.0);
        let wide = &mut wide[..rows * width];
        pool.for_rows(rows, TASK_ROWS, Rows::new(wide, width), |range, out| {
            self.rows(first + range.start, out)
        });
        wide
    }
}

/// Decodes the elements from `start` on; both begin and end at a block.
fn decode(format: &dyn BlockFormat, bytes: &[u8], start: usize, out: &mut [f32]) {
    let blocks = |elements: usize| elements / format.block_elements() * format.block_bytes();
    let bytes = &bytes[blocks(start)..][..blocks(out.len())];
    match format.name() {
        "Q6_K" => decode_q6_k(bytes, out),
        "Q8_0" => decode_q8_0(bytes, out),
        _ => format.decode_blocks(bytes, &[], out),
    }
}

kernels::multiversion! {
    fn decode_q6_k(blocks: &[u8], out: &mut [f32]) {
        quant::decode_q6_k(blocks, out);
    }

    fn decode_q8_0(blocks: &[u8], out: &mut [f32]) {
        quant::decode_q8_0(blocks, out);
    }
}

/// What products of many rows need; it grows with the first.
#[derive(Default)]
pub(crate) struct Stripe {
    wide: Vec<f32>,
    workspace: Workspace,
}

/// The tensor in 16 bits, if that loses nothing.
fn read_half(
    pool: &Pool,
    source: &dyn Source,
    name: &str,
    (rows, columns): (usize, usize),
    kind: Half,
) -> Result<Option<Vec<u16>>, FileError> {
    let mut bits = vec![0u16; rows * columns];
    let span = SPAN_ELEMENTS / columns + 1;
    let task = TASK_ROWS.min(rows.max(1));
    let mut buffers =
        PerWorker::new(pool.threads(), || (vec![0f32; task * columns], vec![0f32; task * columns]));
    let (failure, fits) = (Failure::default(), AtomicBool::new(true));
    for (index, bits) in bits.chunks_mut(span * columns).enumerate() {
        let rows = bits.len() / columns;
        let read = |(wide, back): &mut (Vec<f32>, Vec<f32>), range: Range<usize>, bits: &mut [u16]| {
            // Once a value did not fit, the other tasks have nothing to do.
            if !fits.load(Relaxed) {
                return;
            }
            let (wide, back) = (&mut wide[..bits.len()], &mut back[..bits.len()]);
            let range = index * span + range.start..index * span + range.end;
            failure.unless(|| {
                source.read(name, range, wide)?;
                narrow(kind, wide, bits, back);
                let is_exact = wide.iter().zip(&*back).all(|(a, b)| a.to_bits() == b.to_bits());
                fits.fetch_and(is_exact, Relaxed);
                Ok(())
            });
        };
        pool.for_rows_with(rows, task, &mut buffers, Rows::new(bits, columns), read);
        source.release(name);
    }
    failure.result()?;
    Ok(fits.into_inner().then_some(bits))
}

/// Writes the nearest 16-bit numbers (bfloat16: the upper halves) and what they stand for.
fn narrow(kind: Half, values: &[f32], bits: &mut [u16], back: &mut [f32]) {
    match kind {
        Half::Bf16 => {
            bits.iter_mut().zip(values).for_each(|(bits, value)| *bits = (value.to_bits() >> 16) as u16);
            half::widen_bf16(bits, back);
        }
        Half::F16 => {
            half::narrow_f16(values, bits);
            half::widen_f16(bits, back);
        }
    }
}
