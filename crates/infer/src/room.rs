//! Whether a network fits into the memory that is left, asked before anything is read.

use crate::InferError;
use crate::linear::{Arithmetic, Linear};
use model::{Config, Projection};

/// Refuses a network whose weights alone, in the narrowest form they could take, are more than the system has left.
///
/// # Errors
/// The weights and the memory left, in MB.
pub(crate) fn check(config: &Config, arithmetic: Arithmetic, screened: bool) -> Result<(), InferError> {
    let (needed, Some(available)) = (bytes_min(config, arithmetic, screened), available()) else {
        return Ok(());
    };
    match needed > available {
        true => Err(InferError::TooLarge { needed, available }),
        false => Ok(()),
    }
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

/// Bytes the system can give without swapping, where it says so.
fn available() -> Option<usize> {
    let facts = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = facts.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
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
        assert!(check(&config, Arithmetic::Ternary, true).is_ok() || available() < Some(2 << 30));
        let giant = Config { layers: 1 << 10, hidden: 1 << 16, ffn: 1 << 18, ..config };
        if available().is_some() {
            let error = check(&giant, Arithmetic::Ternary, true).unwrap_err().to_string();
            assert!(error.contains("GB of weights"), "{error}");
        }
    }
}
