//! A projection as it is served: its codes and its scale, and what quantising did to it.

use formats::{FileError, Kind};
use model::layout::Named;
use model::{Encoding, Source, quantize};
use serde::Serialize;
use std::path::Path;

/// What rounding to three values changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distortion {
    /// share of codes that are 0
    pub zero_share: f64,
    /// ‖Ŵ − W‖ / ‖W‖
    pub relative_error: f64,
    /// of the angle between Ŵ and W
    pub cosine: f64,
}

/// One matrix in ternary form.
#[derive(Clone, Debug, PartialEq)]
pub struct Ternary {
    /// `(rows, cols)`, each −1, 0 or +1
    pub codes: Vec<i8>,
    /// γ
    pub scale: f32,
    /// `None` where it was ternary already
    pub distortion: Option<Distortion>,
}

/// The codes and the scale of a projection: its own where it is stored ternary, else those of [`model::quantize`] at λ = 1.
///
/// # Errors
/// What reading says; a value that is not finite.
pub fn read(source: &dyn Source, tensor: &Named) -> Result<Ternary, FileError> {
    let slot = tensor.slot;
    let mut codes = vec![0; slot.len()];
    if let Encoding::Ternary { scale } = source.encoding(&tensor.name)? {
        source.read_codes(&tensor.name, 0..slot.rows, &mut codes)?;
        return Ok(Ternary { codes, scale, distortion: None });
    }
    let mut values = vec![0.0; slot.len()];
    source.read(&tensor.name, 0..slot.rows, &mut values)?;
    if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
        let what = format!("tensor '{}' holds the value {bad}, so it has no scale", tensor.name);
        return Err(FileError::new(Path::new("weights"), Kind::Unfit, what, "use an earlier checkpoint"));
    }
    let scale = quantize::weight_scale(&values);
    quantize::ternarise(&values, scale, &mut codes);
    let distortion = Some(distortion(&values, &codes, scale));
    Ok(Ternary { codes, scale, distortion })
}

fn distortion(values: &[f32], codes: &[i8], scale: f32) -> Distortion {
    let (mut zeros, mut error, mut square, mut product, mut ternary) = (0usize, 0.0, 0.0, 0.0, 0.0);
    for (value, code) in values.iter().zip(codes) {
        let (w, t) = (f64::from(*value), f64::from(*code) * f64::from(scale));
        zeros += usize::from(*code == 0);
        error += (t - w) * (t - w);
        square += w * w;
        product += w * t;
        ternary += t * t;
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    Distortion {
        zero_share: share(zeros as f64, values.len() as f64),
        relative_error: share(error, square).sqrt(),
        cosine: share(product, (square * ternary).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Config, Weights};

    #[test]
    fn a_gaussian_matrix_has_the_known_distortion() {
        let config: Config = toml::from_str(
            "hidden = 256\nlayers = 1\nheads = 4\nkv_heads = 4\nhead_size = 64\nffn = 512\nvocabulary = 16\ncontext = 8",
        )
        .unwrap();
        let weights = Weights::random(&config, 3);
        let gate = weights.layout.tensors().iter().find(|tensor| tensor.name == "layers.0.gate").unwrap();
        let Ternary { codes, scale, distortion } = read(&weights, gate).unwrap();
        let Distortion { zero_share, relative_error, cosine } = distortion.unwrap();
        assert_eq!(scale, quantize::weight_scale(gate.slot.of(&weights.data)));
        assert_eq!(codes.len(), gate.slot.len());
        for (found, known) in [(zero_share, 0.3101), (relative_error, 0.5132), (cosine, 0.8871)] {
            assert!((found - known).abs() < 0.01, "{found} where {known} is known");
        }
    }
}
