//! Whether a network, and later a batch of its sequences, fits into the memory that is left; asked before any is taken.

use crate::attention;
use crate::linear::{Arithmetic, Linear};
use crate::pages::{KvType, PAGE};
use crate::{Engine, InferError, Limits};
use model::{Config, Projection};

/// Refuses a network whose weights alone, in the narrowest form they could take, are more than the system has left.
///
/// # Errors
/// The weights and the memory left, in MB.
pub(crate) fn check(config: &Config, arithmetic: Arithmetic, screened: bool) -> Result<(), InferError> {
    let (needed, available) = (bytes_min(config, arithmetic, screened), available());
    match needed > available {
        true => {
            let (what, instead) = ("of weights".into(), "a smaller model");
            Err(InferError::TooLarge { what, needed, available, instead })
        }
        false => Ok(()),
    }
}

/// Refuses a batch that could come to need more than the system has left: most of its memory is taken as it is first written,
/// and then it is too late.
///
/// # Errors
/// The memory for its tokens and the memory left.
pub(crate) fn check_batch(engine: &Engine, limits: &Limits) -> Result<(), InferError> {
    let (needed, available) = (batch_bytes(&engine.config, engine.kv, engine.threads(), limits), available());
    match needed > available {
        true => {
            let what = format!("for a context of {} tokens", limits.tokens);
            let instead = if limits.sequences == 1 { "a shorter context" } else { "fewer sequences" };
            Err(InferError::TooLarge { what, needed, available, instead })
        }
        false => Ok(()),
    }
}

/// Bytes of what grows with the tokens of a batch: keys and values, angles, the weights of attention, activations and logits.
fn batch_bytes(config: &Config, kv: KvType, threads: usize, limits: &Limits) -> usize {
    let product =
        |factors: &[usize]| factors.iter().fold(1, |all: usize, factor| all.saturating_mul(*factor));
    let positions = limits.tokens.max(limits.sequences.saturating_mul(PAGE));
    let scores = attention::TOKENS * (config.heads / config.kv_heads) * threads;
    [
        product(&[positions, kv.bytes_per_position(config)]),
        product(&[limits.context, config.head_size + scores, size_of::<f32>()]),
        product(&[limits.rows, config.hidden + config.ffn, size_of::<f32>()]),
        product(&[limits.sequences, config.vocabulary + config.hidden, size_of::<f32>()]),
    ]
    .into_iter()
    .fold(0, usize::saturating_add)
}

/// Least bytes of the weights of an engine: floats take two at least.
fn bytes_min(config: &Config, arithmetic: Arithmetic, screened: bool) -> usize {
    let layer: usize = Projection::ALL
        .map(|projection| {
            let (n, k) = projection.shape(config);
            match Linear::packed_len(arithmetic, (n, k)) {
                0 => 2 * n * k,
                packed => packed,
            }
        })
        .iter()
        .sum();
    let table = config.vocabulary * config.hidden;
    let tables = if config.tied { 2 * table } else { 4 * table };
    config.layers * layer + tables + if screened { table } else { 0 }
}

/// Bytes the system can give without swapping; as many as can be asked for where it does not say.
fn available() -> usize {
    let told = || {
        let facts = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = facts.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
    };
    told().unwrap_or(isize::MAX as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_published_shape_and_a_giant_is_refused() {
        let config = model::presets::model("2b4t").unwrap();
        let table = 128_256 * 2560;
        assert_eq!(bytes_min(&config, Arithmetic::Ternary, true), 2_084_044_800 / 4 + 3 * table);
        assert_eq!(bytes_min(&config, Arithmetic::Dense, false), 2 * 2_084_044_800 + 2 * table);
        assert!(check(&config, Arithmetic::Ternary, true).is_ok() || available() < 2 << 30);
        let giant = Config { layers: 1 << 10, hidden: 1 << 16, ffn: 1 << 18, ..config };
        if available() < 1 << 40 {
            let error = check(&giant, Arithmetic::Ternary, true).unwrap_err().to_string();
            assert!(error.contains("GB of weights"), "{error}");
        }
    }

    #[test]
    fn the_bytes_of_a_batch_are_those_of_its_tokens_and_do_not_overflow() {
        let config = model::presets::model("2b4t").unwrap();
        let limits = Limits { sequences: 2, context: 4096, tokens: 8192, rows: 512 };
        // keys and values of 5 heads of 128 in 30 layers; angles; 8 tokens of 4 heads each; activations; logits
        let expected = 8192 * 2 * 30 * 5 * 128 * 2
            + 4096 * (128 + 3 * 8 * 4) * 4
            + 512 * (2560 + 6912) * 4
            + 2 * (128_256 + 2560) * 4;
        assert_eq!(batch_bytes(&config, KvType::F16, 3, &limits), expected);
        let endless =
            Limits { sequences: usize::MAX, context: usize::MAX, tokens: usize::MAX, rows: usize::MAX };
        assert_eq!(batch_bytes(&config, KvType::I8, 3, &endless), usize::MAX);
    }
}
