//! The beginning of a run with a model's weights: ternary ones stay ternary with their latent weights, dense ones dense.

use crate::TrainError;
use crate::config::RunConfig;
use crate::frozen::{Beginning, Frozen};
use crate::heal;
use checkpoint::Loaded;

/// The model whose weights a run leaves as they are, if the run learns an adapter: no checkpoint holds them.
///
/// # Errors
/// It is no longer there, or cannot be read.
pub(crate) fn beside_adapter(config: &RunConfig) -> Result<Option<Loaded>, TrainError> {
    let from = config.lora.as_ref().and(config.origin());
    Ok(from.map(checkpoint::open).transpose()?)
}

/// `model`, whose network is to be that of the run: all of its weights, or what an adapter is learned beside.
///
/// # Errors
/// It has another network than the run, cannot be read, or holds a value that is not finite; an adapter would stand beside a
/// network that has not come to λ = 1.
pub(crate) fn begin(config: &RunConfig, model: &Loaded) -> Result<Beginning, TrainError> {
    if *model.config() != config.model {
        return Err(TrainError::OtherSource { path: model.path.clone() });
    }
    if let (Some(lambda), Some(_)) = (model.unfinished(), &config.lora) {
        return Err(TrainError::UnfinishedBase { path: model.path.clone(), lambda });
    }
    Ok(match config.lora {
        Some(_) => Beginning::Frozen(Frozen::read(model, config.train.threads_used())?),
        None => Beginning::Learned(heal::read(model, model.config())?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::quantize;
    use model::source::Encoding;
    use std::path::Path;

    /// Packed models of transformers, whose second layer's scales are not the absmean.
    #[test]
    fn a_model_without_latent_weights_keeps_its_codes_and_scales() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/hf");
        let mut ternary = 0;
        for name in ["bitnet-offline-autobitlinear", "bitnet-offline-bitlinear", "llama-bitlinear"] {
            let model = checkpoint::open(&golden.join(name)).unwrap();
            let config = toml::to_string(&serde_json::json!({ "model": model.config() })).unwrap();
            let mut config = RunConfig::from_toml(&config).unwrap();
            let Beginning::Learned(weights) = begin(&config, &model).unwrap() else { panic!("{name}") };
            for named in weights.layout.tensors() {
                let Encoding::Ternary { scale } = model.source.encoding(&named.name).unwrap() else {
                    continue;
                };
                let values = named.slot.of(&weights.data);
                let sum = values.iter().map(|value| f64::from(value.abs())).sum();
                let gamma = quantize::gamma(sum, values.len());
                assert!((gamma / scale - 1.0).abs() < 1e-6, "{name}: {} {gamma} {scale}", named.name);
                let (mut codes, mut wanted) = (vec![0i8; values.len()], vec![0i8; values.len()]);
                quantize::ternarise(values, gamma, &mut codes);
                model.source.read_codes(&named.name, 0..named.slot.rows, &mut wanted).unwrap();
                assert!(codes == wanted, "{name}: {}", named.name);
                ternary += 1;
            }
            let half_way = Loaded { lambda: Some(0.5), ..model };
            begin(&config, &half_way).expect("its training goes on");
            config.lora = Some(Default::default());
            assert!(matches!(begin(&config, &half_way), Err(TrainError::UnfinishedBase { .. })));
            config.model.ffn += 4;
            assert!(matches!(begin(&config, &half_way), Err(TrainError::OtherSource { .. })));
        }
        assert_eq!(ternary, 3 * 2 * 7);
    }
}
