//! A model with an adapter worked into its matrices: `W + s·B·A`.
//!
//! Beside a dense matrix this is exact. A ternary one, `γ·T`, takes up only what moves an element past half of γ: its sum is
//! rounded to −γ, 0 and γ again, and the rest of the adapter is lost.

use formats::FileError;
use model::adapter::Pair;
use model::{Adapter, Config, Encoding, LinearKind, Projection, Source, quantize};
use std::collections::HashMap;
use std::ops::Range;

/// A view of another source.
pub struct Merged {
    inner: Box<dyn Source>,
    adapter: Adapter,
    /// the adapted matrices by their names
    places: HashMap<String, Place>,
}

#[derive(Clone, Copy)]
struct Place {
    pair: Pair,
    /// γ of a ternary matrix
    scale: Option<f32>,
}

impl Merged {
    /// `inner` with an adapter that was made for it. Every adapted latent matrix is read once, for its γ.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub fn new(inner: Box<dyn Source>, adapter: Adapter) -> Result<Self, FileError> {
        let mut places = HashMap::new();
        for layer in 0..adapter.layers() {
            for projection in Projection::ALL {
                let Some(pair) = adapter.pair(layer, projection) else { continue };
                let name = format!("layers.{layer}.{}", projection.name());
                let scale = scale(&*inner, &name, pair)?;
                places.insert(name, Place { pair, scale });
            }
        }
        Ok(Self { inner, adapter, places })
    }

    /// Share of the codes of adapted ternary matrices that merging changed; `None` where there are none.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub fn changed(&self) -> Result<Option<f64>, FileError> {
        let (mut changed, mut all) = (0usize, 0usize);
        for (name, place) in &self.places {
            let Some(scale) = place.scale else { continue };
            let (rows, cols) = (place.pair.b.rows, place.pair.a.cols);
            let (mut before, mut after) = (vec![0; cols], vec![0; cols]);
            for row in 0..rows {
                self.codes_before(name, scale, row..row + 1, &mut before)?;
                self.read_codes(name, row..row + 1, &mut after)?;
                changed += before.iter().zip(&after).filter(|(before, after)| before != after).count();
            }
            all += rows * cols;
        }
        Ok((all > 0).then(|| changed as f64 / all as f64))
    }

    /// As the model itself serves them.
    fn codes_before(
        &self,
        name: &str,
        scale: f32,
        rows: Range<usize>,
        out: &mut [i8],
    ) -> Result<(), FileError> {
        match self.inner.encoding(name)? {
            Encoding::Ternary { .. } => self.inner.read_codes(name, rows, out),
            Encoding::Float => {
                let mut latent = vec![0.0; out.len()];
                self.inner.read(name, rows, &mut latent)?;
                quantize::ternarise(&latent, scale, out);
                Ok(())
            }
        }
    }

    /// Adds rows of `s·B·A` to `out`.
    fn add(&self, pair: Pair, rows: Range<usize>, out: &mut [f32]) {
        let (a, b) = (pair.a.of(&self.adapter.data), pair.b.of(&self.adapter.data));
        let scale = self.adapter.rank.scale();
        for (row, out) in rows.zip(out.chunks_exact_mut(pair.a.cols)) {
            let row = &b[row * pair.b.cols..][..pair.b.cols];
            for (factor, a) in row.iter().zip(a.chunks_exact(pair.a.cols)) {
                out.iter_mut().zip(a).for_each(|(out, a)| *out += scale * factor * a);
            }
        }
    }
}

/// γ of a matrix that is served as a ternary one.
fn scale(source: &dyn Source, name: &str, pair: Pair) -> Result<Option<f32>, FileError> {
    if let Encoding::Ternary { scale } = source.encoding(name)? {
        return Ok(Some(scale));
    }
    if source.config().linear == LinearKind::Dense {
        return Ok(None);
    }
    let mut latent = vec![0.0; pair.b.rows * pair.a.cols];
    source.read(name, 0..pair.b.rows, &mut latent)?;
    Ok(Some(quantize::weight_scale(&latent)))
}

impl Source for Merged {
    fn config(&self) -> &Config {
        self.inner.config()
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        match self.places.get(name).and_then(|place| place.scale) {
            Some(scale) => Ok(Encoding::Ternary { scale }),
            None => self.inner.encoding(name),
        }
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        match self.places.get(name) {
            None => self.inner.read(name, rows, out),
            Some(Place { pair, scale: None }) => {
                self.inner.read(name, rows.clone(), out)?;
                self.add(*pair, rows, out);
                Ok(())
            }
            Some(Place { scale: Some(scale), .. }) => {
                let mut codes = vec![0; out.len()];
                self.read_codes(name, rows, &mut codes)?;
                out.iter_mut().zip(codes).for_each(|(out, code)| *out = scale * f32::from(code));
                Ok(())
            }
        }
    }

    fn release(&self, name: &str) {
        self.inner.release(name);
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        let Some(Place { pair, scale: Some(scale) }) = self.places.get(name) else {
            return self.inner.read_codes(name, rows, out);
        };
        self.codes_before(name, *scale, rows.clone(), out)?;
        let mut sum: Vec<f32> = out.iter().map(|code| scale * f32::from(*code)).collect();
        self.add(*pair, rows, &mut sum);
        quantize::ternarise(&sum, scale.abs().max(quantize::EPSILON), out);
        if *scale < 0.0 {
            out.iter_mut().for_each(|code| *code = -*code);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::adapter::Rank;
    use model::{Weights, quantize::EPSILON};

    fn merged(linear: &str, size: f32) -> (Weights, Adapter, Merged) {
        let config: Config = toml::from_str(&format!(
            "hidden = 32\nlayers = 2\nheads = 2\nkv_heads = 1\nhead_size = 16\nffn = 48\nvocabulary = 20\ncontext = 8\nlinear = '{linear}'"
        ))
        .unwrap();
        let weights = Weights::random(&config, 3);
        let rank = Rank { rank: 2, alpha: 4.0, stabilised: false };
        let mut adapter = Adapter::fresh(&config, rank, &[Projection::V, Projection::Down], 1);
        adapter.data.iter_mut().enumerate().for_each(|(i, value)| *value = size * (i as f32 * 0.7).sin());
        let view = Merged::new(Box::new(weights.clone()), adapter.clone()).unwrap();
        (weights, adapter, view)
    }

    /// Element (row, col) of s·B·A.
    fn product(adapter: &Adapter, projection: Projection, row: usize, col: usize) -> f32 {
        let pair = adapter.pair(1, projection).unwrap();
        let (a, b) = (pair.a.of(&adapter.data), pair.b.of(&adapter.data));
        2.0 * (0..2).map(|k| b[row * 2 + k] * a[k * pair.a.cols + col]).sum::<f32>()
    }

    #[test]
    fn a_dense_matrix_takes_up_all_of_an_adapter() {
        let (weights, adapter, merged) = merged("dense", 0.5);
        let (mut before, mut after) = (vec![0.0; 2 * 32], vec![0.0; 2 * 32]);
        weights.read("layers.1.v", 3..5, &mut before).unwrap();
        merged.read("layers.1.v", 3..5, &mut after).unwrap();
        for (index, (before, after)) in before.iter().zip(&after).enumerate() {
            let expected = before + product(&adapter, Projection::V, 3 + index / 32, index % 32);
            assert!((after - expected).abs() < 1e-6, "{index}");
        }
        weights.read("layers.1.q", 3..5, &mut before).unwrap();
        merged.read("layers.1.q", 3..5, &mut after).unwrap();
        assert_eq!(before, after);
        assert_eq!(merged.changed().unwrap(), None);
    }

    #[test]
    fn a_ternary_matrix_keeps_its_scale_and_only_takes_up_what_moves_a_code() {
        let (weights, _, small) = merged("ternary", 1e-4);
        let Encoding::Ternary { scale } = small.encoding("layers.1.down").unwrap() else {
            panic!("it is ternary")
        };
        let mut latent = vec![0.0; 32 * 48];
        weights.read("layers.1.down", 0..32, &mut latent).unwrap();
        assert_eq!(scale, quantize::weight_scale(&latent));
        assert_eq!(small.changed().unwrap(), Some(0.0));
        let (_, adapter, large) = merged("ternary", 0.1);
        let changed = large.changed().unwrap().unwrap();
        assert!(changed > 0.05 && changed < 0.9, "{changed}");
        let (mut before, mut after) = (vec![0i8; latent.len()], vec![0i8; latent.len()]);
        quantize::ternarise(&latent, scale, &mut before);
        large.read_codes("layers.1.down", 0..32, &mut after).unwrap();
        for (index, (before, after)) in before.iter().zip(&after).enumerate() {
            let sum =
                scale * f32::from(*before) + product(&adapter, Projection::Down, index / 48, index % 48);
            let expected = (sum / scale.max(EPSILON)).round_ties_even().clamp(-1.0, 1.0);
            let tie = (sum / scale).abs() - 0.5;
            assert!(f32::from(*after) == expected || tie.abs() < 1e-4, "{index}: {sum} / {scale}");
        }
        let mut values = vec![0.0; 48];
        large.read("layers.1.down", 0..1, &mut values).unwrap();
        assert!(values.iter().zip(&after).all(|(value, code)| *value == scale * f32::from(*code)));
    }
}
