//! What a checkpoint holds, as numbers: `checkpoint inspect` and `checkpoint verify`.

use crate::native::{OPTIMIZER, Opened};
use formats::safetensors::File;
use formats::{FileError, Kind};
use model::quantize;
use serde::Serialize;

/// One tensor of the weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tensor {
    /// Our name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// γ, the absmean scale; matrices without non-finite values only.
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

/// The tensors of a weights file, in its order.
pub fn tensors(file: &File) -> Result<Vec<Tensor>, FileError> {
    file.tensors()
        .map(|info| {
            let values = file.f32(&info.name)?;
            let finite = values.iter().copied().filter(|value| value.is_finite());
            let non_finite = values.len() - finite.clone().count();
            let ternary = info.shape.len() == 2 && non_finite == 0 && !values.is_empty();
            let gamma = ternary.then(|| quantize::weight_scale(&values));
            Ok(Tensor {
                name: info.name.clone(),
                shape: info.shape.clone(),
                gamma,
                zero_share: gamma.map(|gamma| zero_share(&values, gamma)),
                min: finite.clone().min_by(f32::total_cmp),
                max: finite.max_by(f32::total_cmp),
                non_finite,
            })
        })
        .collect()
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

/// Re-reads every tensor of a checkpoint whose files verify: the weights fit the network of the configuration, the
/// optimiser's file is sound, and nothing is NaN or infinite.
pub fn verify(checkpoint: &Opened) -> Result<(), FileError> {
    let mut files = vec![checkpoint.weights()?];
    checkpoint.load_weights()?;
    if checkpoint.files().iter().any(|file| file.name == OPTIMIZER) {
        files.push(checkpoint.optimizer()?);
    }
    for file in &files {
        for info in file.tensors() {
            let bad = file.f32(&info.name)?.iter().filter(|value| !value.is_finite()).count();
            if bad > 0 {
                let what = format!("tensor '{}' holds {bad} values that are not finite", info.name);
                return Err(FileError::new(file.path(), Kind::Unfit, what, "use an earlier checkpoint"));
            }
        }
    }
    Ok(())
}
