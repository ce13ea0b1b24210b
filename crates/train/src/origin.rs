//! The beginning of a run with a model's weights: ternary ones stay ternary with their latent weights, dense ones dense.

use crate::TrainError;
use crate::config::RunConfig;
use crate::heal;
use checkpoint::Loaded;
use model::Weights;
use model::source::Encoding;

/// All weights of `model`, whose network is to be that of the run.
///
/// # Errors
/// It has another network or another tokenizer than the run's data, cannot be read, or holds a value that is not finite.
pub(crate) fn begin(config: &RunConfig, model: &Loaded) -> Result<Weights, TrainError> {
    if *model.config() != config.model {
        return Err(TrainError::OtherSource { path: model.path.clone() });
    }
    heal::same_tokenizer(config, model)?;
    let mut weights = heal::read(model, model.config())?;
    restore_latents(model, &mut weights)?;
    Ok(weights)
}

/// Where a model keeps ternary codes and no latent weights, `γ·T` becomes latent weights that quantise to the same codes and
/// the same γ: `γT/(1−z)` has the absmean γ, where z is the share of zeros in T.
fn restore_latents(model: &Loaded, weights: &mut Weights) -> Result<(), TrainError> {
    let Weights { layout, data, .. } = weights;
    for named in layout.tensors() {
        if let Encoding::Ternary { scale } = model.source.encoding(&named.name)? {
            let values = named.slot.of_mut(data);
            let mean = values.iter().map(|value| f64::from(value.abs())).sum::<f64>() / values.len() as f64;
            if mean > 0.0 {
                let stretch = (f64::from(scale.abs()) / mean) as f32;
                values.iter_mut().for_each(|value| *value *= stretch);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn stretched_codes_quantise_to_themselves() {
        let codes = [1.0f32, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0, 1.0, 0.0];
        let gamma = 0.37;
        let stretched: Vec<f32> = codes.iter().map(|code| code * gamma * 2.0).collect();
        let found = model::quantize::gamma(stretched.iter().map(|x| f64::from(x.abs())).sum(), codes.len());
        assert!((found / gamma - 1.0).abs() < 1e-6);
        let mut again = vec![0i8; codes.len()];
        model::quantize::ternarise(&stretched, found, &mut again);
        assert!(again.iter().zip(codes).all(|(again, code)| f32::from(*again) == code));
    }
}
