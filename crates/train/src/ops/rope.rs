//! Rotary position embedding of queries and keys, in place.

use super::ROWS;
use crate::clock::{self, Op};
use kernels::pool::{Pool, Rows};
use kernels::rope;
use model::rope::rope_tables;
use model::{Config, RopeStyle};

/// Cosines and sines of every position, and how a head's elements are paired.
pub struct Rope {
    cos: Vec<f32>,     // (context, D/2)
    sin: Vec<f32>,     // (context, D/2)
    inverse: Vec<f32>, // (context, D/2): −sin, which turns gradients back
    style: RopeStyle,
    head_size: usize,
}

impl Rope {
    /// Tables for `positions` positions.
    pub fn new(config: &Config, positions: usize) -> Self {
        let (cos, sin) = rope_tables(config, positions);
        let inverse = sin.iter().map(|s| -s).collect();
        Self { cos, sin, inverse, style: config.rope_style, head_size: config.head_size }
    }

    /// Turns every head of every row of `x (T, heads·D)`; row t has position `t % sequence`.
    pub fn forward(&self, pool: &Pool, x: &mut [f32], width: usize, sequence: usize) {
        let _clock = clock::begin(Op::Rope, 0, size_of_val(x));
        self.turn(pool, x, width, sequence, &self.sin);
    }

    /// The gradient of `forward`: turns back.
    pub fn backward(&self, pool: &Pool, dx: &mut [f32], width: usize, sequence: usize) {
        let _clock = clock::begin(Op::Rope, 0, size_of_val(dx));
        self.turn(pool, dx, width, sequence, &self.inverse);
    }

    fn turn(&self, pool: &Pool, x: &mut [f32], width: usize, sequence: usize, sin: &[f32]) {
        let half = self.head_size / 2;
        let rotate = match self.style {
            RopeStyle::RotateHalf => rope::rotate_half,
            RopeStyle::Interleaved => rope::rotate_interleaved,
        };
        pool.for_rows(x.len() / width, ROWS, Rows::new(x, width), |rows, x| {
            for (row, x) in rows.zip(x.chunks_exact_mut(width)) {
                let angles = row % sequence * half..(row % sequence + 1) * half;
                for head in x.chunks_exact_mut(self.head_size) {
                    rotate(head, &self.cos[angles.clone()], &sin[angles.clone()]);
                }
            }
        });
    }
}
