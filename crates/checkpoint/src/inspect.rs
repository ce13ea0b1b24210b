//! What a checkpoint holds, as numbers: `checkpoint inspect` and `checkpoint verify`.

use crate::hf::peft;
use crate::native::{OPTIMIZER, Opened, WEIGHTS};
use formats::{FileError, Kind};
use model::{Encoding, Source, quantize};
use serde::Serialize;
use std::path::Path;

/// One tensor of the weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tensor {
    /// Our name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Whether its elements are codes −1, 0, +1 with a scale of their own.
    pub ternary: bool,
    /// γ: the stored scale, else the absmean; matrices without non-finite values only.
    pub gamma: Option<f32>,
    /// Share of zeros under absmean ternarisation; matrices without non-finite values only.
    pub zero_share: Option<f64>,
    /// Least finite value; `None` without any.
    pub min: Option<f32>,
    /// Greatest finite value; `None` without any.
    pub max: Option<f32>,
    /// NaNs and infinities.
    pub non_finite: usize,
}

/// The tensors of a model in the order of its layout; one of them is in memory at a time.
pub fn tensors(source: &dyn Source) -> Result<Vec<Tensor>, FileError> {
    let layout = model::Layout::new(source.config());
    layout.tensors().iter().map(|named| tensor(source, named)).collect()
}

fn tensor(source: &dyn Source, named: &model::layout::Named) -> Result<Tensor, FileError> {
    let mut values = vec![0.0; named.slot.len()];
    source.read(&named.name, 0..named.slot.rows, &mut values)?;
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let non_finite = values.len() - finite.clone().count();
    let scale = match source.encoding(&named.name)? {
        Encoding::Float => None,
        Encoding::Ternary { scale } => Some(scale),
    };
    let is_matrix = named.is_matrix && non_finite == 0;
    let gamma = is_matrix.then(|| scale.unwrap_or_else(|| quantize::weight_scale(&values)));
    Ok(Tensor {
        name: named.name.clone(),
        shape: named.shape(),
        ternary: scale.is_some(),
        gamma,
        zero_share: gamma.map(|gamma| zero_share(&values, gamma)),
        min: finite.clone().min_by(f32::total_cmp),
        max: finite.max_by(f32::total_cmp),
        non_finite,
    })
}

/// Share of codes that are 0 when `latent` is ternarised with scale `gamma`.
fn zero_share(latent: &[f32], gamma: f32) -> f64 {
    let mut codes = [0i8; quantize::ABSMEAN_BLOCK];
    let mut zeros = 0;
    for block in latent.chunks(codes.len()) {
        let codes = &mut codes[..block.len()];
        quantize::ternarise(block, gamma, codes);
        zeros += codes.iter().filter(|code| **code == 0).count();
    }
    zeros as f64 / latent.len() as f64
}

/// Re-reads every tensor of a checkpoint whose files verify: the weights, or the adapter, fit the network of the configuration, the
/// optimiser's file is sound, and nothing is NaN or infinite.
pub fn verify(checkpoint: &Opened) -> Result<(), FileError> {
    match checkpoint.is_adapter() {
        true => peft::open(checkpoint.dir(), &checkpoint.model()?).map(drop)?,
        false => verify_source(&checkpoint.source()?, &checkpoint.dir().join(WEIGHTS))?,
    }
    if !checkpoint.files().iter().any(|file| file.name == OPTIMIZER) {
        return Ok(());
    }
    let file = checkpoint.optimizer()?;
    for info in file.tensors() {
        let bad = file.f32(&info.name)?.iter().filter(|value| !value.is_finite()).count();
        if bad > 0 {
            return Err(not_finite(file.path(), &info.name, bad));
        }
    }
    Ok(())
}

/// Re-reads every tensor of a model of any dialect: each code is one of three, and nothing is NaN or infinite. `path` is
/// for the error.
pub fn verify_source(source: &dyn Source, path: &Path) -> Result<(), FileError> {
    let layout = model::Layout::new(source.config());
    for named in layout.tensors() {
        let mut values = vec![0.0f32; named.slot.len()];
        source.read(&named.name, 0..named.slot.rows, &mut values)?;
        let bad = values.iter().filter(|value| !value.is_finite()).count();
        if bad > 0 {
            return Err(not_finite(path, &named.name, bad));
        }
    }
    Ok(())
}

fn not_finite(path: &Path, name: &str, bad: usize) -> FileError {
    let what = format!("tensor '{name}' holds {bad} values that are not finite");
    FileError::new(path, Kind::Unfit, what, "use an earlier checkpoint")
}
