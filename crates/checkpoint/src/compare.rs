//! Two models tensor by tensor, whatever their dialects.

use crate::adapt::{self, Adapted};
use crate::ternary;
use formats::FileError;
use model::layout::Named;
use model::{Config, Encoding, Layout, LinearKind, Source};
use serde::Serialize;
use serde_json::{Map, Value};

/// Rows of a tensor that are compared at once: about a mebibyte of values each.
const ELEMENTS: usize = 1 << 18;

/// How one tensor differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tensor {
    /// our name
    pub name: String,
    /// number of elements
    pub elements: usize,
    /// ternary codes that differ; of the projections of ternary networks
    pub codes: usize,
    /// γ of both; of the projections of ternary networks
    pub scales: Option<(f32, f32)>,
    /// largest |a − b| of the values; not where one side holds only codes
    pub largest: f32,
    /// largest |a − b| / |a|
    pub relative: f32,
}

impl Tensor {
    /// Relative difference of the scales.
    pub fn scale_error(&self) -> f32 {
        self.scales.map_or(0.0, |(a, b)| if a == b { 0.0 } else { (a - b).abs() / a.abs() })
    }

    /// No code differs, and scale and values by no more than a relative `tolerance`.
    pub fn is_within(&self, tolerance: f32) -> bool {
        self.codes == 0 && self.scale_error() <= tolerance && self.relative <= tolerance
    }
}

/// Keys of the configurations that differ: (key, first, second). The pairing of RoPE and the place of the norms are a
/// matter of how the tensors are kept, and do not count.
pub fn configs(a: &Config, b: &Config) -> Vec<(String, Value, Value)> {
    let (a, b) = (&adapt::standard(a, a.rope_style), &adapt::standard(b, a.rope_style));
    let table = |config: &Config| -> Map<String, Value> {
        match serde_json::to_value(config) {
            Ok(Value::Object(table)) => table,
            other => panic!("a configuration becomes a table, not {other:?}"),
        }
    };
    let (a, b) = (table(a), table(b));
    let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let value = |table: &Map<String, Value>, key| table.get(key).cloned().unwrap_or(Value::Null);
    let differ = keys.into_iter().map(|key| (key.clone(), value(&a, key), value(&b, key)));
    differ.filter(|(_, a, b)| a != b).collect()
}

/// Compares all tensors of two networks of the same shape; `each` is called after each.
///
/// Where the networks differ in the pairing of RoPE or in the place of their norms, the second is compared as the first has
/// it. The projections of ternary networks are compared as they are served: codes and scales.
///
/// # Errors
/// What reading says.
///
/// # Panics
/// When the shapes differ: compare the configurations first.
pub fn tensors(
    a: &dyn Source,
    b: &dyn Source,
    mut each: impl FnMut(&Tensor),
) -> Result<Vec<Tensor>, FileError> {
    let style = a.config().rope_style;
    let (a, b) = (Adapted::new(a, style), Adapted::new(b, style));
    let layout = Layout::new(a.config());
    assert_eq!(layout, Layout::new(b.config()), "networks of one shape");
    let mut found = Vec::with_capacity(layout.tensors().len());
    for tensor in layout.tensors() {
        let difference = one(&a, &b, tensor)?;
        each(&difference);
        found.push(difference);
    }
    Ok(found)
}

fn one(a: &dyn Source, b: &dyn Source, tensor: &Named) -> Result<Tensor, FileError> {
    let name = tensor.name.clone();
    let mut difference = Tensor { name, elements: tensor.slot.len(), ..Tensor::default() };
    let ternary = |source: &dyn Source| source.config().linear == LinearKind::Ternary;
    let is_float =
        |source: &dyn Source| Ok::<_, FileError>(source.encoding(&tensor.name)? == Encoding::Float);
    let floats = is_float(a)? && is_float(b)?;
    if tensor.is_projection() && (ternary(a) || ternary(b) || !floats) {
        let (a, b) = (ternary::read(a, tensor)?, ternary::read(b, tensor)?);
        difference.codes = a.codes.iter().zip(&b.codes).filter(|(a, b)| a != b).count();
        difference.scales = Some((a.scale, b.scale));
    }
    if !floats {
        return Ok(difference);
    }
    let cols = tensor.slot.cols;
    let step = (ELEMENTS / cols).max(1);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for start in (0..tensor.slot.rows).step_by(step) {
        let rows = start..(start + step).min(tensor.slot.rows);
        left.resize(rows.len() * cols, 0.0f32);
        right.resize(rows.len() * cols, 0.0f32);
        a.read(&tensor.name, rows.clone(), &mut left)?;
        b.read(&tensor.name, rows, &mut right)?;
        for (a, b) in left.iter().zip(&right).filter(|(a, b)| a.to_bits() != b.to_bits()) {
            let apart = (a - b).abs();
            let (apart, relative) = match apart.is_nan() {
                true => (f32::INFINITY, f32::INFINITY),
                false => (apart, if apart == 0.0 { 0.0 } else { apart / a.abs() }),
            };
            difference.largest = difference.largest.max(apart);
            difference.relative = difference.relative.max(relative);
        }
    }
    Ok(difference)
}
