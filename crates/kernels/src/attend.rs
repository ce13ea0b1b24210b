//! Attention of the queries of one key-value head over a run of cached positions, read once for all of them.

use crate::half::from_f16;
use crate::lanes;
use crate::multiversion;

/// Lanes of a sum: one 512-bit register.
const LANES: usize = 16;

/// Queries that meet a key while it is in a register.
const QUERIES: usize = 8;

multiversion! {
    /// `scores[g][p] = queries[g] · keys[p] · factor` for queries (G, D), keys (P, D), scores (G rows of `stride`).
    pub fn scores_f32(queries: &[f32], keys: &[f32], size: usize, factor: f32, scores: &mut [f32], stride: usize) {
        scores_of(queries, keys, size, factor, scores, stride, |key| key);
    }

    /// [`scores_f32`] of keys in binary16.
    pub fn scores_f16(queries: &[f32], keys: &[u16], size: usize, factor: f32, scores: &mut [f32], stride: usize) {
        scores_of(queries, keys, size, factor, scores, stride, from_f16);
    }

    /// `mixed[g] += Σ_p weights[g][p] · values[p]` for weights (G rows of `stride`), values (P, D), mixed (G, D).
    pub fn mix_f32(weights: &[f32], stride: usize, values: &[f32], size: usize, mixed: &mut [f32]) {
        mix_of(weights, stride, values, size, mixed, |value| value);
    }

    /// [`mix_f32`] of values in binary16.
    pub fn mix_f16(weights: &[f32], stride: usize, values: &[u16], size: usize, mixed: &mut [f32]) {
        mix_of(weights, stride, values, size, mixed, from_f16);
    }
}

#[inline(always)]
fn scores_of<T: Copy>(
    queries: &[f32],
    keys: &[T],
    size: usize,
    factor: f32,
    scores: &mut [f32],
    stride: usize,
    widen: impl Fn(T) -> f32 + Copy,
) {
    for (block, queries) in queries.chunks(QUERIES * size).enumerate() {
        let group = queries.len() / size;
        for (position, key) in keys.chunks_exact(size).enumerate() {
            let sums = products(queries, key, size, widen);
            for (g, sum) in sums[..group].iter().enumerate() {
                scores[(block * QUERIES + g) * stride + position] = lanes::tree(*sum) * factor;
            }
        }
    }
}

/// Partial sums of `queries[g] · key`.
#[inline(always)]
fn products<T: Copy>(
    queries: &[f32],
    key: &[T],
    size: usize,
    widen: impl Fn(T) -> f32,
) -> [[f32; LANES]; QUERIES] {
    let mut sums = [[0.0; LANES]; QUERIES];
    for (chunk, key) in key.chunks(LANES).enumerate() {
        let mut wide = [0.0; LANES];
        wide.iter_mut().zip(key).for_each(|(wide, key)| *wide = widen(*key));
        for (sums, query) in sums.iter_mut().zip(queries.chunks_exact(size)) {
            let query = &query[chunk * LANES..][..key.len()];
            for ((sum, key), query) in sums.iter_mut().zip(&wide).zip(query) {
                *sum += key * query;
            }
        }
    }
    sums
}

#[inline(always)]
fn mix_of<T: Copy>(
    weights: &[f32],
    stride: usize,
    values: &[T],
    size: usize,
    mixed: &mut [f32],
    widen: impl Fn(T) -> f32 + Copy,
) {
    for (block, mixed) in mixed.chunks_mut(QUERIES * size).enumerate() {
        let group = mixed.len() / size;
        for start in (0..size).step_by(LANES) {
            let width = LANES.min(size - start);
            let mut sums = [[0.0f32; LANES]; QUERIES];
            for (position, value) in values.chunks_exact(size).enumerate() {
                let mut wide = [0.0; LANES];
                wide.iter_mut().zip(&value[start..start + width]).for_each(|(wide, v)| *wide = widen(*v));
                for (g, sums) in sums[..group].iter_mut().enumerate() {
                    let weight = weights[(block * QUERIES + g) * stride + position];
                    sums.iter_mut().zip(&wide).for_each(|(sum, wide)| *sum += weight * wide);
                }
            }
            for (sums, mixed) in sums.iter().zip(mixed.chunks_exact_mut(size)) {
                let mixed = &mut mixed[start..start + width];
                mixed.iter_mut().zip(sums).for_each(|(mixed, sum)| *mixed += sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half::{narrow_f16, widen_f16};
    use crate::isa::Isa;

    fn wave(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn groups_positions_and_sizes_of_all_kinds_agree_with_plain_sums() {
        for (group, positions, size) in
            [(1, 1, 2), (4, 32, 128), (5, 7, 30), (9, 3, 64), (17, 5, 16), (2, 0, 8)]
        {
            let (queries, stride) = (wave(group * size, 0.37), positions + 3);
            let mut half = vec![0u16; positions * size];
            narrow_f16(&wave(positions * size, 0.11), &mut half);
            let mut keys = vec![0.0; half.len()];
            widen_f16(&half, &mut keys);
            let weights = wave(group * stride, 0.7);
            for &isa in Isa::supported() {
                let (mut wide, mut narrow) = (vec![0.0; group * stride], vec![0.0; group * stride]);
                scores_f32::on(isa, &queries, &keys, size, 0.5, &mut wide, stride);
                scores_f16::on(isa, &queries, &half, size, 0.5, &mut narrow, stride);
                assert_eq!(wide, narrow);
                let (mut mixed, mut mixed_half) = (vec![1.0; group * size], vec![1.0; group * size]);
                mix_f32::on(isa, &weights, stride, &keys, size, &mut mixed);
                mix_f16::on(isa, &weights, stride, &half, size, &mut mixed_half);
                assert_eq!(mixed, mixed_half);
                for g in 0..group {
                    for p in 0..positions {
                        let pairs = queries[g * size..][..size].iter().zip(&keys[p * size..]);
                        let exact: f32 = pairs.map(|(q, k)| q * k).sum();
                        assert!((wide[g * stride + p] - exact * 0.5).abs() < 1e-4);
                    }
                    for d in 0..size {
                        let terms = (0..positions).map(|p| weights[g * stride + p] * keys[p * size + d]);
                        assert!((mixed[g * size + d] - 1.0 - terms.sum::<f32>()).abs() < 1e-4);
                    }
                }
            }
        }
    }
}
