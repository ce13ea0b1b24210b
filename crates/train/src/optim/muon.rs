//! Muon (Jordan et al. 2024): the matrices of the blocks move by their momentum, made orthogonal by five Newton–Schulz steps; embedding,
//! head and norms move by AdamW.
//!
//! As `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"` (Liu et al. 2025): times `0.2·√max(out, in)` an orthogonal update
//! has the root mean square of one of AdamW, so that one learning rate and one weight decay serve all parameters.

use super::adam::{Adam, Part, Update};
use super::{BLOCK, squared_norm};
use kernels::gemm::{Arithmetic, View, Workspace, gemm};
use kernels::optim::{add_scaled, descend, nesterov};
use kernels::pool::{Pool, Rows};
use kernels::softmax::scale;
use model::{Layout, Projection, Slot, Weights};

/// Decay of the momentum.
const MOMENTUM: f32 = 0.95;
/// Of the polynomial `a·x + b·x³ + c·x⁵` that carries every singular value towards 1.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
/// How often it is applied.
const STEPS: usize = 5;
/// Added to the norm by which the momentum is divided first.
const EPSILON: f64 = 1e-7;
/// Root mean square of an update of AdamW.
const RMS: f32 = 0.2;

/// Which matrices are updated so, and the buffers of one of them. Their momentum is the first moment in [`Adam`]; the second
/// stays 0.
pub struct Muon {
    /// in the order of the arena
    matrices: Vec<Slot>,
    workspace: Workspace,
    x: Vec<f32>,          // (out, in) of the largest matrix
    next: Vec<f32>,       // the same
    gram: Vec<f32>,       // (n, n) of the largest shorter side
    polynomial: Vec<f32>, // the same
    partial: Vec<f64>,
}

impl Muon {
    /// For the network of `layout`, with products in this arithmetic.
    pub fn new(layout: &Layout, arithmetic: Arithmetic) -> Self {
        let slots = layout.blocks.iter().flat_map(|block| Projection::ALL.map(|kind| block.projection(kind)));
        let mut matrices: Vec<Slot> = slots.collect();
        matrices.sort_by_key(|slot| slot.start);
        let largest = matrices.iter().map(|slot| slot.len()).max().unwrap_or(0);
        let shorter = matrices.iter().map(|slot| slot.rows.min(slot.cols)).max().unwrap_or(0);
        Self {
            matrices,
            workspace: Workspace::new(arithmetic),
            x: vec![0.0; largest],
            next: vec![0.0; largest],
            gram: vec![0.0; shorter * shorter],
            polynomial: vec![0.0; shorter * shorter],
            partial: Vec::new(),
        }
    }

    /// Multiply-adds of a step.
    pub fn macs(&self) -> usize {
        let one = |slot: &Slot| {
            let n = slot.rows.min(slot.cols);
            STEPS * (2 * n * slot.len() + n * n * n)
        };
        self.matrices.iter().map(one).sum()
    }

    /// One step of all weights.
    pub fn step(
        &mut self,
        pool: &Pool,
        adam: &mut Adam,
        weights: &mut Weights,
        gradients: &[f32],
        update: Update,
    ) {
        adam.steps += 1;
        let mut from = 0;
        for index in 0..self.matrices.len() {
            let slot = self.matrices[index];
            adam.step_part(pool, weights, gradients, update, Part { range: from..slot.start, moments: from });
            from = slot.start + slot.len();
            self.matrix(
                pool,
                slot,
                (slot.of_mut(&mut weights.data), slot.of(gradients), slot.of_mut(&mut adam.m)),
                update,
            );
        }
        let range = from..weights.data.len();
        adam.step_part(pool, weights, gradients, update, Part { range, moments: from });
    }

    /// One step of one matrix: its weights, their gradients, their momentum.
    fn matrix(
        &mut self,
        pool: &Pool,
        slot: Slot,
        (p, g, m): (&mut [f32], &[f32], &mut [f32]),
        update: Update,
    ) {
        let parts = (Rows::new(m, 1), Rows::new(&mut self.x[..slot.len()], 1));
        pool.for_rows(slot.len(), BLOCK, parts, |range, (m, x)| {
            nesterov(&g[range], update.gradient_scale, MOMENTUM, m, x);
        });
        self.orthogonalise(pool, slot.rows, slot.cols);
        let rate = update.lr * RMS * (slot.rows.max(slot.cols) as f32).sqrt();
        let keep = 1.0 - update.lr * update.weight_decay;
        let x = &self.x;
        pool.for_rows(slot.len(), BLOCK, Rows::new(p, 1), |range, p| descend(p, &x[range], keep, rate));
    }

    /// `x (rows, cols)` becomes nearly orthogonal: its singular values end between about 0.7 and 1.2.
    fn orthogonalise(&mut self, pool: &Pool, rows: usize, cols: usize) {
        let (len, n, [a, b, c]) = (rows * cols, rows.min(cols), COEFFICIENTS);
        let norm = squared_norm(pool, &self.x[..len], &mut self.partial).sqrt();
        let factor = (1.0 / (norm + EPSILON)) as f32;
        pool.for_rows(len, BLOCK, Rows::new(&mut self.x[..len], 1), |_, x| scale(x, factor, 0.0));
        for _ in 0..STEPS {
            let Self { workspace, x, next, gram, polynomial, .. } = self;
            let (next, gram, polynomial) = (&mut next[..len], &mut gram[..n * n], &mut polynomial[..n * n]);
            let view = View::f32(x, rows, cols);
            // The Gram matrix of the shorter side.
            let (left, right) = if rows <= cols { (view, view.t()) } else { (view.t(), view) };
            gemm(pool, workspace, left, right, gram, n, false);
            let square = View::f32(gram, n, n);
            gemm(pool, workspace, square, square, polynomial, n, false);
            let gram = &*gram;
            pool.for_rows(n * n, BLOCK, Rows::new(polynomial, 1), |range, polynomial| {
                scale(polynomial, c, 0.0);
                add_scaled(polynomial, &gram[range], b);
            });
            pool.for_rows(len, BLOCK, Rows::new(next, 1), |range, next| {
                next.copy_from_slice(&x[range]);
                scale(next, a, 0.0);
            });
            let polynomial = View::f32(polynomial, n, n);
            let (left, right) = if rows <= cols { (polynomial, view) } else { (view, polynomial) };
            gemm(pool, workspace, left, right, next, cols, true);
            std::mem::swap(&mut self.x, &mut self.next);
        }
    }
}
