//! int8 activations × ternary weights, exact in i32: `sums[m][n] = Σ_k q[m][k]·code[n][k]`.
//!
//! All kernels read one packed layout. Weights are stored as code + 1 (0, 1 or 2, unsigned as `vpdpbusd` wants them),
//! in panels of 64 output columns; the missing −1 is the row's `−Σ q`, which the sums start from:
//!
//! ```text
//! panel 0                                              panel 1 …
//! k 0..4                      k 4..8 …
//! col 0 │ col 1 │ … │ col 63
//! k0 k1 k2 k3 │ k0 k1 k2 k3 │ …            one byte each, 256 bytes a step of four k
//! ```
//!
//! Columns beyond N and k beyond K are padded with the code 0.
//!
//! Training packs its weights anew at every step and uses this layout at once; what serves a model keeps them at two bits
//! ([`two_bit`]) and multiplies whole projections ([`project`]). Its head is screened by eight-bit weights ([`bytes`]).

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
pub mod bytes;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod layout;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
pub mod project;
mod scalar;
pub mod two_bit;
#[cfg(target_arch = "x86_64")]
mod ymm;

use crate::multiversion;
use crate::pool::{Pool, Rows, SharedMut};
use std::ops::Range;

/// Output columns of a panel.
pub const PANEL: usize = 64;
/// k that lie together.
const DEPTH: usize = 4;
/// Bytes of one step of `DEPTH` k in a panel.
const STEP: usize = PANEL * DEPTH;
/// Rows of one task: their sums (8 KB) and activations stay in L1 while all panels pass.
const ROWS: usize = 32;

/// One instruction set's inner loop.
pub trait TernaryKernel: Sync {
    /// As benches and run records name it.
    fn name(&self) -> &'static str;

    /// Whether this machine can run it.
    fn is_supported(&self) -> bool;

    /// Adds `Σ_k q[m][k]·(code[n][k] + 1)` to `sums (rows, 64)` for one panel of `k` deep weights;
    /// `q (rows, k)` in −128..=127.
    ///
    /// # Panics
    /// If a slice is too short or this machine lacks the instructions.
    fn panel(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]);

    /// Rows up to which two-bit weights are best read as they lie; with more, a panel is spread to a byte a weight first.
    fn two_bit_rows_max(&self) -> usize {
        ROWS
    }

    /// [`TernaryKernel::panel`] from a panel of [`two_bit`] weights: for few rows, where reading the weights is the work.
    ///
    /// # Panics
    /// As [`TernaryKernel::panel`].
    fn panel_two_bit(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]);

    /// Adds `Σ_k q[m][k]·byte[n][k]` for a panel of [`bytes`] of any value.
    ///
    /// # Panics
    /// As [`TernaryKernel::panel`].
    fn panel_bytes(&self, packed: &[u8], k: usize, q: &[i8], sums: &mut [[i32; PANEL]]);
}

/// All kernels, the plainest first.
pub static KERNELS: &[&dyn TernaryKernel] = &[
    &scalar::Scalar,
    #[cfg(target_arch = "x86_64")]
    &avx2::Avx2,
    #[cfg(target_arch = "x86_64")]
    &avx_vnni::AvxVnni,
    #[cfg(target_arch = "x86_64")]
    &avx512vnni::Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    &amx::Amx,
    #[cfg(target_arch = "aarch64")]
    &neon_dot::NeonDot,
];

/// The kernels that this machine can run.
pub fn supported() -> impl Iterator<Item = &'static dyn TernaryKernel> {
    KERNELS.iter().copied().filter(|kernel| kernel.is_supported())
}

/// The fastest kernel of this machine.
pub fn select() -> &'static dyn TernaryKernel {
    supported().last().expect("the scalar kernel runs everywhere")
}

/// Bytes of packed weights `(n, k)`.
pub fn packed_len(n: usize, k: usize) -> usize {
    n.div_ceil(PANEL) * panel_len(k)
}

fn panel_len(k: usize) -> usize {
    k.div_ceil(DEPTH) * STEP
}

/// Packs codes `(n, k)`, each −1, 0 or 1.
///
/// # Panics
/// If `codes` is not n·k or `out` is not [`packed_len`] long.
pub fn pack(pool: &Pool, codes: &[i8], n: usize, k: usize, out: &mut [u8]) {
    assert!(codes.len() == n * k && out.len() == packed_len(n, k), "sizes of ({n}, {k})");
    if out.is_empty() {
        return;
    }
    pool.for_rows(n.div_ceil(PANEL), 1, Rows::new(out, panel_len(k)), |panel, out| {
        let first = panel.start * PANEL;
        for col in 0..PANEL {
            let row = if first + col < n { &codes[(first + col) * k..][..k] } else { &[] };
            pack_column(row, out, col);
        }
    });
}

fn pack_column(row: &[i8], out: &mut [u8], col: usize) {
    for (step, out) in out.chunks_exact_mut(STEP).enumerate() {
        let out = &mut out[col * DEPTH..][..DEPTH];
        for (i, out) in out.iter_mut().enumerate() {
            *out = (row.get(step * DEPTH + i).copied().unwrap_or(0) + 1) as u8;
        }
    }
}

/// Packed weights and their shape.
#[derive(Clone, Copy)]
pub struct Packed<'a> {
    /// as [`pack`] wrote them
    pub bytes: &'a [u8],
    /// N: output columns
    pub n: usize,
    /// K: input columns
    pub k: usize,
}

impl Packed<'_> {
    fn panel(&self, panel: usize) -> &[u8] {
        &self.bytes[panel * panel_len(self.k)..][..panel_len(self.k)]
    }

    fn columns(&self, panel: usize) -> Range<usize> {
        panel * PANEL..self.n.min((panel + 1) * PANEL)
    }
}

/// `out[m][n] = (Σ_k q[m][k]·code[n][k]) · scale[m]`; q `(M, K)`, scale `(M)`, out `(M, N)`. The sum is exact.
///
/// # Panics
/// If a slice does not have the length that the shapes say.
pub fn matmul_scaled(
    pool: &Pool,
    kernel: &dyn TernaryKernel,
    weights: Packed,
    q: &[i8],
    scale: &[f32],
    out: &mut [f32],
) {
    let Packed { bytes, n, k } = weights;
    let m = scale.len();
    assert!(
        bytes.len() == packed_len(n, k) && q.len() == m * k && out.len() == m * n,
        "sizes of ({m}, {n}, {k})"
    );
    let panels = n.div_ceil(PANEL);
    if m > ROWS {
        return pool.for_rows(m, ROWS, Rows::new(out, n), |rows, out| {
            let block = Block::new(weights, &q[rows.start * k..rows.end * k], &scale[rows]);
            let target = SharedMut(out.as_mut_ptr());
            for panel in 0..panels {
                // SAFETY: the rows of this task are `out`, which nobody else writes.
                unsafe { block.write(kernel, panel, &target) };
            }
        });
    }
    let block = Block::new(weights, q, scale);
    let target = SharedMut(out.as_mut_ptr());
    pool.run(panels, &|panel, _| {
        // SAFETY: `out` holds all rows, and each panel's columns belong to one task.
        unsafe { block.write(kernel, panel, &target) };
    });
}

/// At most `ROWS` rows of activations that meet all panels.
struct Block<'a> {
    weights: Packed<'a>,
    q: &'a [i8],
    scale: &'a [f32],
    /// `−Σ q` of each row, which its sums start from
    starts: [i32; ROWS],
}

impl<'a> Block<'a> {
    fn new(weights: Packed<'a>, q: &'a [i8], scale: &'a [f32]) -> Self {
        let mut starts = [0; ROWS];
        for (row, start) in starts[..scale.len()].iter_mut().enumerate() {
            *start = -sum(&q[row * weights.k..][..weights.k]);
        }
        Self { weights, q, scale, starts }
    }

    /// Writes one panel's columns of these rows; `target` is the first row, N wide.
    ///
    /// # Safety
    /// `target` holds all rows, and nobody else touches these columns of them.
    unsafe fn write(&self, kernel: &dyn TernaryKernel, panel: usize, target: &SharedMut<f32>) {
        let Packed { n, k, .. } = self.weights;
        let mut sums = [[0; PANEL]; ROWS];
        let sums = &mut sums[..self.scale.len()];
        sums.iter_mut().zip(self.starts).for_each(|(sums, start)| sums.fill(start));
        kernel.panel(self.weights.panel(panel), k, self.q, sums);
        let columns = self.weights.columns(panel);
        for (row, (sums, scale)) in sums.iter().zip(self.scale).enumerate() {
            // SAFETY: the caller's promise; columns end below N.
            let out = unsafe {
                std::slice::from_raw_parts_mut(target.get().add(row * n + columns.start), columns.len())
            };
            rescale(&sums[..columns.len()], *scale, out);
        }
    }
}

multiversion! {
    fn sum(q: &[i8]) -> i32 {
        q.iter().map(|q| i32::from(*q)).sum()
    }
}

multiversion! {
    fn rescale(sums: &[i32], scale: f32, out: &mut [f32]) {
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum as f32 * scale);
    }
}
