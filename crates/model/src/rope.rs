//! The rotary frequencies of a network, stretched or not, and the tables made from them.

use crate::{Config, RopeScaling};
use std::f64::consts::TAU;

/// Angle per position of each pair of a head, `θ^(−2i/D)` for i in 0..D/2, after the configuration's scaling. (D/2)
///
/// The two scalings are those of transformers' `modeling_rope_utils.py`, in f64.
pub fn inverse_frequencies(config: &Config) -> Vec<f64> {
    let half = config.head_size / 2;
    let plain = (0..half).map(|i| config.rope_theta.powf(-(i as f64) / half as f64));
    match config.rope_scaling {
        None => plain.collect(),
        Some(RopeScaling::Linear { factor }) => plain.map(|frequency| frequency / factor).collect(),
        Some(RopeScaling::Llama3 {
            factor,
            low_frequency_factor: low,
            high_frequency_factor: high,
            original_context,
        }) => plain
            .map(|frequency| {
                // turns over the first training's context, between `low` and `high` where blended
                let turns = original_context as f64 * frequency / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                kept * frequency + (1.0 - kept) * frequency / factor
            })
            .collect(),
    }
}

/// Cosines and sines of positions `0..positions`, each `(positions, D/2)`; computed in f64.
pub fn rope_tables(config: &Config, positions: usize) -> (Vec<f32>, Vec<f32>) {
    let frequencies = inverse_frequencies(config);
    (0..positions)
        .flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * frequency))
        .map(|angle| (angle.cos() as f32, angle.sin() as f32))
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(scaling: Option<RopeScaling>) -> Config {
        let config: Config = toml::from_str(
            "hidden = 16\nlayers = 1\nheads = 1\nkv_heads = 1\nhead_size = 8\nffn = 16\nvocabulary = 4\ncontext = 32",
        )
        .unwrap();
        Config { rope_scaling: scaling, ..config }
    }

    #[test]
    fn scaling_keeps_short_wavelengths_and_stretches_long_ones() {
        let plain = inverse_frequencies(&config(None));
        assert!(plain.iter().zip([1.0, 0.1, 0.01, 0.001]).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12));
        let linear = inverse_frequencies(&config(Some(RopeScaling::Linear { factor: 4.0 })));
        assert!(linear.iter().zip(&plain).all(|(a, b)| (a * 4.0 - b).abs() < 1e-12));
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 128,
        };
        let llama3 = inverse_frequencies(&config(Some(llama3)));
        // 128 tokens turn 20.4, 2.04, 0.204 and 0.0204 times
        assert_eq!((llama3[0], llama3[2], llama3[3]), (plain[0], plain[2] / 8.0, plain[3] / 8.0));
        assert!(llama3[1] < plain[1] && llama3[1] > plain[1] / 8.0);
    }

    #[test]
    fn tables_are_those_of_the_plain_formula_where_nothing_is_stretched() {
        let angle = |index: usize| (index / 4) as f64 * 10_000f64.powf(-((index % 4) as f64) / 4.0);
        let angles = (0..5 * 4).map(angle);
        let plain = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        assert_eq!(rope_tables(&config(None), 5), plain);
    }
}
