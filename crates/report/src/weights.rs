//! Histograms of the latent weights of a checkpoint, in units of each matrix's own γ.

use formats::FileError;
use model::layout::Projection;
use model::quantize;
use model::source::{Encoding, Source};
use std::path::Path;

/// A histogram reaches from −`SPAN` γ to `SPAN` γ; what lies beyond is counted in the outermost bins.
pub const SPAN: f32 = 3.0;
/// Bins of a histogram.
pub const BINS: usize = 60;
/// Most weights that are read; of a larger network the first, the middle and the last layer.
const WEIGHTS_MAX: usize = 200_000_000;
/// Elements that are read at a time.
const CHUNK: usize = 1 << 20;

/// The weights of one kind of matrix, over the layers that were read.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// `q`, `k` …
    pub projection: &'static str,
    /// share of the weights in each bin
    pub shares: Vec<f64>,
    /// share of the weights that are rounded to 0, or are the code 0
    pub zero_share: f64,
    /// smallest and largest γ of the layers
    pub gamma: [f32; 2],
}

/// The weights of one checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Histograms {
    /// the checkpoint's name
    pub checkpoint: String,
    /// the layers that were read
    pub layers: Vec<usize>,
    /// one for each projection
    pub histograms: Vec<Histogram>,
}

impl Histograms {
    /// Of the newest sound checkpoint of the run folder `dir`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn of_run(dir: &Path) -> Result<Self, FileError> {
        let model = checkpoint::open(dir)?;
        let checkpoint = model.path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self::of(&*model.source, checkpoint.unwrap_or_default())
    }

    /// Of any model.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub fn of(source: &dyn Source, checkpoint: String) -> Result<Self, FileError> {
        let config = source.config();
        let block: usize =
            Projection::ALL.iter().map(|p| p.shape(config)).map(|(rows, cols)| rows * cols).sum();
        let layers: Vec<usize> = match block.saturating_mul(config.layers) > WEIGHTS_MAX {
            true => vec![0, config.layers / 2, config.layers - 1],
            false => (0..config.layers).collect(),
        };
        let count = |projection| count(source, projection, &layers);
        let histograms = Projection::ALL.into_iter().map(count).collect::<Result<_, _>>()?;
        Ok(Self { checkpoint, layers, histograms })
    }
}

fn count(source: &dyn Source, projection: Projection, layers: &[usize]) -> Result<Histogram, FileError> {
    let (rows, cols) = projection.shape(source.config());
    let mut bins = [0u64; BINS];
    let (mut zeros, mut gammas) = (0u64, [f32::INFINITY, 0.0f32]);
    let mut codes = Vec::new();
    for layer in layers {
        let name = format!("layers.{layer}.{}", projection.name());
        let gamma = match source.encoding(&name)? {
            Encoding::Ternary { scale } => scale.abs().max(quantize::EPSILON),
            Encoding::Float => {
                let mut sum = 0.0;
                for_chunks(source, &name, rows, cols, |chunk| {
                    sum += chunk.iter().map(|weight| f64::from(weight.abs())).sum::<f64>();
                })?;
                quantize::gamma(sum, rows * cols)
            }
        };
        gammas = [gammas[0].min(gamma), gammas[1].max(gamma)];
        for_chunks(source, &name, rows, cols, |chunk| {
            codes.resize(chunk.len(), 0);
            quantize::ternarise(chunk, gamma, &mut codes);
            zeros += codes.iter().filter(|code| **code == 0).count() as u64;
            for weight in chunk {
                bins[bin(weight / gamma)] += 1;
            }
        })?;
        source.release(&name);
    }
    let total = (rows * cols * layers.len()).max(1) as f64;
    Ok(Histogram {
        projection: projection.name(),
        shares: bins.map(|count| count as f64 / total).to_vec(),
        zero_share: zeros as f64 / total,
        gamma: gammas,
    })
}

/// The bin of a weight in units of γ; one that is no number counts as 0.
fn bin(weight: f32) -> usize {
    let weight = if weight.is_nan() { 0.0 } else { weight };
    let place = (weight + SPAN) / (2.0 * SPAN) * BINS as f32;
    (place.clamp(0.0, BINS as f32 - 1.0)) as usize
}

fn for_chunks(
    source: &dyn Source,
    name: &str,
    rows: usize,
    cols: usize,
    mut visit: impl FnMut(&[f32]),
) -> Result<(), FileError> {
    let at_once = (CHUNK / cols.max(1)).max(1);
    let mut chunk = vec![0.0; at_once.min(rows) * cols];
    for from in (0..rows).step_by(at_once) {
        let range = from..(from + at_once).min(rows);
        let chunk = &mut chunk[..range.len() * cols];
        source.read(name, range, chunk)?;
        visit(chunk);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_weights_have_the_zero_share_of_their_distribution() {
        let config = model::presets::model("tiny").expect("a preset");
        let weights = model::Weights::random(&config, 1);
        let found = Histograms::of(&weights, "step-00000000".into()).unwrap();
        assert_eq!((found.layers.len(), found.histograms.len()), (config.layers, 7));
        for histogram in &found.histograms {
            assert!((histogram.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            // A Gaussian's: P(|w| < γ/2), γ = mean|w|.
            assert!((histogram.zero_share - 0.3101).abs() < 0.01, "{}", histogram.zero_share);
            assert!(histogram.gamma[0] > 0.0 && histogram.gamma[1] >= histogram.gamma[0]);
        }
    }

    #[test]
    fn every_weight_has_a_bin() {
        for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -3.0, 3.0, 0.0, 1e30] {
            assert!(bin(weight) < BINS);
        }
        assert_eq!((bin(-9.0), bin(0.0), bin(9.0)), (0, BINS / 2, BINS - 1));
    }
}
