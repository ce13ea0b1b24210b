//! A tensor in numbers, computed once: what rules know of weights.

use formats::FileError;
use model::layout::Named;
use model::{Encoding, Layout, Source, quantize};

/// What a Gaussian tensor becomes under absmean quantisation. With a = ½·√(2/π), the threshold in standard deviations:
/// zero share `2Φ(a) − 1`, and the others from its truncated moments.
pub mod gaussian {
    /// share of codes 0
    pub const ZERO_SHARE: f64 = 0.3101;
    /// ‖Ŵ‖ / ‖W‖
    pub const NORM_RATIO: f64 = 0.6627;
    /// ‖Ŵ − W‖ / ‖W‖
    pub const RELATIVE_ERROR: f64 = 0.5132;
    /// of the angle between Ŵ and W
    pub const COSINE: f64 = 0.8871;
    /// weights with 0.4 ≤ |w|/γ < 0.6 for each with 0.3 ≤ |w|/γ < 0.4 or 0.6 ≤ |w|/γ < 0.7
    pub const CROWDING: f64 = 1.0035;
}

/// One tensor of the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// our name
    pub name: String,
    /// output features; 1 for a vector
    pub rows: usize,
    /// input features; the length of a vector
    pub cols: usize,
    /// NaNs and infinities
    pub non_finite: usize,
    /// greatest finite magnitude
    pub largest: f32,
    /// mean of the magnitudes
    pub absmean: f64,
    /// rows without a value (or a code) other than 0
    pub empty_rows: usize,
    /// whether its values are only −c, 0 and c for one c > 0
    pub three_values: bool,
    /// of a projection of a ternary network whose values are finite
    pub ternary: Option<Ternary>,
}

/// A projection as BitLinear sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ternary {
    /// γ: stored beside the codes, or the absmean of the latent weights
    pub scale: f32,
    /// share of codes 0
    pub zero_share: f64,
    /// share of codes +1
    pub plus_share: f64,
    /// share of codes −1
    pub minus_share: f64,
    /// of weights that are stored as values
    pub latent: Option<Latent>,
}

/// What quantising did to latent weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latent {
    /// ‖Ŵ‖ / ‖W‖
    pub norm_ratio: f64,
    /// ‖Ŵ − W‖ / ‖W‖
    pub relative_error: f64,
    /// of the angle between Ŵ and W
    pub cosine: f64,
    /// weights with 0.4 ≤ |w|/γ < 0.6: about the rounding threshold
    pub near: usize,
    /// weights with 0.3 ≤ |w|/γ < 0.4 or 0.6 ≤ |w|/γ < 0.7: beside it
    pub beside: usize,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The layer it belongs to, and its name there.
    pub fn place(&self) -> Option<(usize, &str)> {
        let (layer, name) = self.name.strip_prefix("layers.")?.split_once('.')?;
        Some((layer.parse().ok()?, name))
    }
}

/// Elements in memory at once, of tensors that need one pass.
const PIECE: usize = 1 << 18;

/// All tensors of a network in the order of its layout; `progress` is told how many of how many are done.
///
/// # Errors
/// What reading says.
pub fn measure(
    source: &dyn Source,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Tensor>, FileError> {
    let layout = Layout::new(source.config());
    let all = layout.tensors().len();
    let ternary = source.config().linear == model::LinearKind::Ternary;
    let one = |(done, named): (usize, &Named)| {
        progress(done, all);
        let tensor = match ternary && named.is_projection() {
            true => projection(source, named),
            false => plain(source, named),
        };
        source.release(&named.name);
        tensor
    };
    layout.tensors().iter().enumerate().map(one).collect()
}

/// Values in pieces: what can be said without a scale.
fn plain(source: &dyn Source, named: &Named) -> Result<Tensor, FileError> {
    let (rows, cols) = (named.slot.rows, named.slot.cols);
    let mut tensor = Tensor { name: named.name.clone(), rows, cols, ..Tensor::default() };
    let step = (PIECE / cols).clamp(1, rows);
    let mut piece = vec![0.0f32; step * cols];
    let mut sum = 0.0;
    for start in (0..rows).step_by(step) {
        let end = (start + step).min(rows);
        let piece = &mut piece[..(end - start) * cols];
        source.read(&named.name, start..end, piece)?;
        sum += tensor.look(piece);
    }
    tensor.absmean = sum / (rows * cols - tensor.non_finite).max(1) as f64;
    tensor.three_values &= tensor.largest > 0.0 && tensor.non_finite == 0;
    Ok(tensor)
}

impl Tensor {
    /// Takes whole rows in; the sum of their magnitudes.
    fn look(&mut self, values: &[f32]) -> f64 {
        let mut sum = 0.0;
        self.three_values = self.largest == 0.0 || self.three_values;
        for row in values.chunks_exact(self.cols) {
            let mut empty = true;
            for value in row {
                if value.is_finite() {
                    let size = value.abs();
                    sum += f64::from(size);
                    self.three_values &= size == 0.0 || self.largest == 0.0 || size == self.largest;
                    self.largest = self.largest.max(size);
                } else {
                    self.non_finite += 1;
                }
                empty &= *value == 0.0;
            }
            self.empty_rows += usize::from(empty);
        }
        sum
    }
}

/// A whole projection: its values, and its codes where they have any.
fn projection(source: &dyn Source, named: &Named) -> Result<Tensor, FileError> {
    let (rows, cols) = (named.slot.rows, named.slot.cols);
    let mut tensor = Tensor { name: named.name.clone(), rows, cols, ..Tensor::default() };
    let mut values = vec![0.0f32; rows * cols];
    source.read(&named.name, 0..rows, &mut values)?;
    let sum = tensor.look(&values);
    tensor.absmean = sum / (rows * cols - tensor.non_finite).max(1) as f64;
    tensor.three_values &= tensor.largest > 0.0;
    if tensor.non_finite > 0 {
        tensor.three_values = false;
        return Ok(tensor);
    }
    let mut codes = vec![0i8; values.len()];
    let (scale, latent) = match source.encoding(&named.name)? {
        Encoding::Ternary { scale } => {
            source.read_codes(&named.name, 0..rows, &mut codes)?;
            (scale, None)
        }
        Encoding::Float => {
            let scale = quantize::weight_scale(&values);
            quantize::ternarise(&values, scale, &mut codes);
            (scale, Some(latent(&values, &codes, scale)))
        }
    };
    let count = |code: i8| codes.iter().filter(|c| **c == code).count() as f64 / codes.len().max(1) as f64;
    tensor.empty_rows = codes.chunks_exact(cols).filter(|row| row.iter().all(|code| *code == 0)).count();
    tensor.ternary =
        Some(Ternary { scale, zero_share: count(0), plus_share: count(1), minus_share: count(-1), latent });
    Ok(tensor)
}

fn latent(values: &[f32], codes: &[i8], scale: f32) -> Latent {
    let (mut error, mut square, mut product, mut ternary) = (0.0, 0.0, 0.0, 0.0);
    let (mut near, mut beside) = (0, 0);
    for (value, code) in values.iter().zip(codes) {
        let (w, t) = (f64::from(*value), f64::from(*code) * f64::from(scale));
        error += (t - w) * (t - w);
        square += w * w;
        product += w * t;
        ternary += t * t;
        let share = value.abs() / scale;
        near += usize::from((0.4..0.6).contains(&share));
        beside += usize::from((0.3..0.4).contains(&share) || (0.6..0.7).contains(&share));
    }
    let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    Latent {
        norm_ratio: ratio(ternary, square).sqrt(),
        relative_error: ratio(error, square).sqrt(),
        cosine: ratio(product, (square * ternary).sqrt()),
        near,
        beside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Config, Weights};

    fn config() -> Config {
        toml::from_str(
            "hidden = 256\nlayers = 1\nheads = 4\nkv_heads = 4\nhead_size = 64\nffn = 1024\nvocabulary = 16\ncontext = 8",
        )
        .unwrap()
    }

    #[test]
    fn random_weights_have_the_gaussian_figures() {
        let tensors = measure(&Weights::random(&config(), 5), &mut |_, _| ()).unwrap();
        let gate = tensors.iter().find(|tensor| tensor.name == "layers.0.gate").unwrap();
        let ternary = gate.ternary.as_ref().unwrap();
        let latent = ternary.latent.as_ref().unwrap();
        for (found, known) in [
            (ternary.zero_share, gaussian::ZERO_SHARE),
            (latent.norm_ratio, gaussian::NORM_RATIO),
            (latent.relative_error, gaussian::RELATIVE_ERROR),
            (latent.cosine, gaussian::COSINE),
        ] {
            assert!((found - known).abs() < 4e-3, "{found} where {known} is known");
        }
        let crowding = latent.near as f64 / latent.beside as f64;
        assert!((crowding - gaussian::CROWDING).abs() < 0.03, "{crowding}");
        assert!(!gate.three_values && gate.empty_rows == 0 && gate.non_finite == 0);
        assert_eq!(gate.place(), Some((0, "gate")));
    }

    #[test]
    fn dead_rows_and_non_finite_values_are_counted() {
        let mut weights = Weights::random(&config(), 5);
        let up = weights.layout.blocks[0].projection(model::Projection::Up);
        up.of_mut(&mut weights.data)[..256].fill(0.0);
        weights.layout.final_norm.of_mut(&mut weights.data)[3] = f32::NAN;
        let tensors = measure(&weights, &mut |_, _| ()).unwrap();
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(find("layers.0.up").empty_rows, 1);
        assert_eq!(find("final_norm").non_finite, 1);
    }
}
