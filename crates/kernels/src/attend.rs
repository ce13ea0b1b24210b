//! Attention of many queries over one page of cached positions, everything in f32.
//!
//! The order of all additions is that of one query alone, so that a token's result does not depend on how many are
//! computed beside it: a score adds over d from 0 on, a mixture over the positions of a page from the first on.

use crate::multiversion;

/// Positions of a page: two 512-bit registers of scores.
pub const PAGE: usize = 32;

/// Queries that meet a page while their sums are in registers: 8 × 2, and two for what they meet.
const QUERIES: usize = 8;

multiversion! {
    /// `scores[g][p] = queries[g] · keys[.., p] · factor` for queries (G, D) and the keys of a whole page (D, PAGE); row g of
    /// the scores begins at `g · stride` and gets PAGE values.
    pub fn scores(queries: &[f32], keys: &[f32], factor: f32, scores: &mut [f32], stride: usize) {
        let size = keys.len() / PAGE;
        let mut blocks = queries.chunks_exact(QUERIES * size);
        let mut row = 0;
        for block in &mut blocks {
            scores_of::<QUERIES>(block, keys, factor, &mut scores[row * stride..], stride);
            row += QUERIES;
        }
        let mut rest = blocks.remainder();
        while !rest.is_empty() {
            let (taken, block) = match rest.len() / size {
                4.. => (4, scores_of::<4> as fn(&[f32], &[f32], f32, &mut [f32], usize)),
                2.. => (2, scores_of::<2> as _),
                _ => (1, scores_of::<1> as _),
            };
            block(&rest[..taken * size], keys, factor, &mut scores[row * stride..], stride);
            (row, rest) = (row + taken, &rest[taken * size..]);
        }
    }

    /// `mixed[g] += Σ_p weights[g][p] · values[p]` for the weights of `values.len() / D` positions (row g from `g · stride`
    /// on), values (P, D), mixed (G, D).
    pub fn mix(weights: &[f32], stride: usize, values: &[f32], size: usize, mixed: &mut [f32]) {
        let mut blocks = mixed.chunks_exact_mut(QUERIES * size);
        let mut row = 0;
        for block in &mut blocks {
            mix_of::<QUERIES>(&weights[row * stride..], stride, values, size, block);
            row += QUERIES;
        }
        let mut rest = blocks.into_remainder();
        while !rest.is_empty() {
            let (taken, block) = match rest.len() / size {
                4.. => (4, mix_of::<4> as fn(&[f32], usize, &[f32], usize, &mut [f32])),
                2.. => (2, mix_of::<2> as _),
                _ => (1, mix_of::<1> as _),
            };
            let (now, later) = rest.split_at_mut(taken * size);
            block(&weights[row * stride..], stride, values, size, now);
            (row, rest) = (row + taken, later);
        }
    }
}

multiversion! {
    /// Keys (D, PAGE) of a page from eight bits: `wide[d][p] = codes[d][p] · units[p]`.
    pub fn widen_keys(codes: &[i8], units: &[f32; PAGE], wide: &mut [f32]) {
        for (codes, wide) in codes.as_chunks::<PAGE>().0.iter().zip(wide.as_chunks_mut::<PAGE>().0) {
            for p in 0..PAGE {
                wide[p] = f32::from(codes[p]) * units[p];
            }
        }
    }

    /// Values (P, D) of a page from eight bits: `wide[p][d] = codes[p][d] · units[p]`.
    pub fn widen_values(codes: &[i8], units: &[f32], wide: &mut [f32]) {
        let size = codes.len() / units.len();
        let rows = codes.chunks_exact(size).zip(wide.chunks_exact_mut(size)).zip(units);
        for ((codes, wide), unit) in rows {
            wide.iter_mut().zip(codes).for_each(|(wide, code)| *wide = f32::from(*code) * unit);
        }
    }
}

#[inline(always)]
fn scores_of<const G: usize>(queries: &[f32], keys: &[f32], factor: f32, scores: &mut [f32], stride: usize) {
    let size = keys.len() / PAGE;
    let queries: [&[f32]; G] = std::array::from_fn(|g| &queries[g * size..(g + 1) * size]);
    let mut sums = [[0.0f32; PAGE]; G];
    for (d, key) in keys.as_chunks::<PAGE>().0.iter().enumerate() {
        for g in 0..G {
            let query = queries[g][d];
            for p in 0..PAGE {
                sums[g][p] += query * key[p];
            }
        }
    }
    for (g, sums) in sums.iter().enumerate() {
        let scores = &mut scores[g * stride..][..PAGE];
        scores.iter_mut().zip(sums).for_each(|(score, sum)| *score = sum * factor);
    }
}

#[inline(always)]
fn mix_of<const G: usize>(weights: &[f32], stride: usize, values: &[f32], size: usize, mixed: &mut [f32]) {
    const WIDE: usize = 32;
    let positions = values.len() / size;
    let weights: [&[f32]; G] = std::array::from_fn(|g| &weights[g * stride..g * stride + positions]);
    let whole = size / WIDE * WIDE;
    for start in (0..whole).step_by(WIDE) {
        let mut sums = [[0.0f32; WIDE]; G];
        for p in 0..positions {
            let value: &[f32; WIDE] = values[p * size + start..][..WIDE].try_into().expect("a chunk");
            for g in 0..G {
                let weight = weights[g][p];
                for d in 0..WIDE {
                    sums[g][d] += weight * value[d];
                }
            }
        }
        for (g, sums) in sums.iter().enumerate() {
            let mixed = &mut mixed[g * size + start..][..WIDE];
            mixed.iter_mut().zip(sums).for_each(|(mixed, sum)| *mixed += sum);
        }
    }
    for g in 0..G {
        for d in whole..size {
            let sum = (0..positions).fold(0.0, |sum, p| sum + weights[g][p] * values[p * size + d]);
            mixed[g * size + d] += sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    fn wave(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn eight_bits_widen_to_code_times_unit_of_the_position() {
        let codes: Vec<i8> = (0..6 * PAGE).map(|i| (i * 37 % 255) as u8 as i8).collect();
        let units: Vec<f32> = wave(PAGE, 0.3);
        for &isa in Isa::supported() {
            let (mut keys, mut values) = (vec![0.0; codes.len()], vec![0.0; 5 * 6]);
            widen_keys::on(isa, &codes, units[..].try_into().unwrap(), &mut keys);
            widen_values::on(isa, &codes[..5 * 6], &units[..5], &mut values);
            for p in 0..PAGE {
                (0..6)
                    .for_each(|d| assert_eq!(keys[d * PAGE + p], f32::from(codes[d * PAGE + p]) * units[p]));
            }
            for (i, value) in values.iter().enumerate() {
                assert_eq!(*value, f32::from(codes[i]) * units[i / 6]);
            }
        }
    }

    #[test]
    fn every_number_of_queries_gives_the_bits_of_one_and_plain_sums() {
        for (group, positions, size) in
            [(1, 1, 2), (4, 32, 128), (5, 7, 30), (9, 3, 64), (23, 32, 34), (2, 0, 8)]
        {
            let (queries, stride) = (wave(group * size, 0.37), PAGE + 3);
            let (keys, values) = (wave(size * PAGE, 0.11), wave(positions * size, 0.13));
            let weights = wave(group * stride, 0.7);
            for &isa in Isa::supported() {
                let mut all = vec![0.0; group * stride];
                scores::on(isa, &queries, &keys, 0.5, &mut all, stride);
                let mut mixed = vec![1.0; group * size];
                mix::on(isa, &weights, stride, &values, size, &mut mixed);
                for g in 0..group {
                    let mut alone = vec![0.0; stride];
                    scores::on(Isa::Scalar, &queries[g * size..][..size], &keys, 0.5, &mut alone, stride);
                    assert_eq!(all[g * stride..][..PAGE], alone[..PAGE]);
                    let mut one = vec![1.0; size];
                    mix::on(Isa::Scalar, &weights[g * stride..], stride, &values, size, &mut one);
                    assert_eq!(mixed[g * size..][..size], one);
                    for p in 0..PAGE {
                        let exact: f32 = (0..size).map(|d| queries[g * size + d] * keys[d * PAGE + p]).sum();
                        assert!((alone[p] - exact * 0.5).abs() < 1e-4);
                    }
                    for d in 0..size {
                        let terms = (0..positions).map(|p| weights[g * stride + p] * values[p * size + d]);
                        assert!((one[d] - 1.0 - terms.sum::<f32>()).abs() < 1e-4);
                    }
                }
            }
        }
    }
}
