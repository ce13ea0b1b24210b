//! A network of any shape with random ternary weights, made as it is read: for measuring speed without a checkpoint.

use crate::{Config, Encoding, Layout, Source};
use formats::FileError;
use std::ops::Range;

/// Random codes (a third of each), an embedding and a head of random bfloat16 numbers, gains of 1. The same seed gives the
/// same network.
pub struct Random {
    config: Config,
    layout: Layout,
    seed: u64,
}

impl Random {
    /// A network of `config`.
    pub fn new(config: &Config, seed: u64) -> Self {
        Self { config: config.clone(), layout: Layout::new(config), seed }
    }

    /// Index and width of a tensor.
    fn find(&self, name: &str) -> (u64, usize) {
        let tensors = self.layout.tensors();
        let index = tensors.iter().position(|tensor| tensor.name == name);
        let index = index.unwrap_or_else(|| panic!("the network has no tensor '{name}'"));
        (index as u64, tensors[index].slot.cols)
    }

    /// One byte after another for each row.
    fn rows<T>(&self, name: &str, rows: Range<usize>, out: &mut [T], value: impl Fn(u8) -> T) {
        let (index, columns) = self.find(name);
        for (row, out) in rows.zip(out.chunks_exact_mut(columns)) {
            let mut state = self.seed ^ (index << 40) ^ row as u64;
            for out in out.chunks_mut(8) {
                out.iter_mut().zip(mix(&mut state).to_le_bytes()).for_each(|(out, byte)| *out = value(byte));
            }
        }
    }

    fn is_matrix(&self, name: &str) -> bool {
        self.layout.tensors().iter().any(|tensor| tensor.name == name && tensor.is_matrix)
    }
}

/// SplitMix64.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn code(byte: u8) -> i8 {
    (byte % 3) as i8 - 1
}

impl Source for Random {
    fn config(&self) -> &Config {
        &self.config
    }

    fn encoding(&self, name: &str) -> Result<Encoding, FileError> {
        let (_, columns) = self.find(name);
        let ternary = name.starts_with("layers.") && self.is_matrix(name);
        // Two thirds of the codes are not zero: outputs are about as large as inputs.
        let scale = (columns as f32 * 2.0 / 3.0).sqrt().recip();
        Ok(if ternary { Encoding::Ternary { scale } } else { Encoding::Float })
    }

    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<(), FileError> {
        match self.encoding(name)? {
            Encoding::Ternary { scale } => self.rows(name, rows, out, |byte| f32::from(code(byte)) * scale),
            // −4..4 in steps of 1/32: eight significant bits, which bfloat16 holds.
            Encoding::Float if self.is_matrix(name) => {
                self.rows(name, rows, out, |byte| (f32::from(byte) - 128.0) / 32.0);
            }
            Encoding::Float => out.fill(1.0),
        }
        Ok(())
    }

    fn read_codes(&self, name: &str, rows: Range<usize>, out: &mut [i8]) -> Result<(), FileError> {
        self.rows(name, rows, out, code);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_depend_on_how_they_are_read() {
        let config: Config = toml::from_str(
            "hidden = 20\nlayers = 1\nheads = 2\nkv_heads = 1\nhead_size = 10\nffn = 30\nvocabulary = 50\ncontext = 8",
        )
        .unwrap();
        let source = Random::new(&config, 3);
        let (mut whole, mut part) = (vec![0.0; 50 * 20], vec![0.0; 20]);
        source.read("embedding", 0..50, &mut whole).unwrap();
        source.read("embedding", 7..8, &mut part).unwrap();
        assert_eq!(part, whole[140..160]);
        assert!(whole.iter().all(|value| value.to_bits() & 0xffff == 0 && value.abs() <= 4.0));
        let (mut values, mut codes) = (vec![0.0; 600], vec![9; 600]);
        source.read("layers.0.up", 0..30, &mut values).unwrap();
        source.read_codes("layers.0.up", 0..30, &mut codes).unwrap();
        let Encoding::Ternary { scale } = source.encoding("layers.0.up").unwrap() else {
            panic!("not ternary")
        };
        assert!(values.iter().zip(&codes).all(|(value, code)| *value == f32::from(*code) * scale));
        assert!([-1, 0, 1].iter().all(|code| codes.iter().filter(|c| *c == code).count() > 150));
    }
}
