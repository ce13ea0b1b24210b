//! Distillation of relations (MiniLMv2, BitDistill): how much the queries, keys or values Φ of a sequence's tokens resemble each
//! other, `R = softmax(ΦΦᵀ/√d)` for each relation head of d elements, against the teacher's, as `KL(R_T ‖ R_S)` of every token.
//!
//! With `G = (R_S − R_T)/√d`, the gradient of the sum over the tokens is `dΦ = (G + Gᵀ)Φ`.

use kernels::pool::{PerWorker, Pool, Rows};
use kernels::softmax;

use super::log_sum_exp;

/// How the rows of queries, keys or values are cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// S: tokens of a sequence
    pub sequence: usize,
    /// relation heads; divides the widths of student and teacher, which may differ
    pub heads: usize,
}

/// Buffers of one task.
pub struct Scratch {
    /// (S, d) of student, then of teacher
    own: [Vec<f32>; 2],
    /// (S, S): the student's relations, then G
    relations: Vec<f32>,
    /// (S): a row of the teacher's
    teacher: Vec<f32>,
}

impl Scratch {
    /// For sequences of `sequence` tokens, and heads of the student's and the teacher's widths.
    pub fn new(sequence: usize, widths: [usize; 2]) -> Self {
        Self {
            own: widths.map(|width| vec![0.0; sequence * width]),
            relations: vec![0.0; sequence * sequence],
            teacher: vec![0.0; sequence],
        }
    }
}

/// Sum over heads and tokens of the divergences; their gradients by `student (T, W)`, times `factor`, are added to `gradient`.
/// `losses` is overwritten, one element a sequence.
pub fn forward_backward(
    pool: &Pool,
    scratch: &mut PerWorker<Scratch>,
    cut: Cut,
    (student, teacher): (&[f32], &[f32]),
    gradient: &mut [f32],
    (factor, losses): (f32, &mut [f64]),
) -> f64 {
    let sequences = losses.len();
    let rows = sequences * cut.sequence;
    let widths = [student.len() / rows, teacher.len() / rows];
    let gradient = Rows::new(gradient, cut.sequence * widths[0]);
    pool.for_rows_with(
        sequences,
        1,
        scratch,
        (gradient, Rows::new(&mut *losses, 1)),
        |scratch, own, (gradient, loss)| {
            let [ours, theirs] =
                widths.map(|width| own.start * cut.sequence * width..own.end * cut.sequence * width);
            let (ours, theirs) = (&student[ours], &teacher[theirs]);
            loss[0] = (0..cut.heads)
                .map(|head| one_head(scratch, cut, head, (ours, theirs), gradient, factor))
                .sum();
        },
    );
    losses.iter().sum()
}

/// One relation head of one sequence. Student and teacher are `(S, W)`.
fn one_head(
    scratch: &mut Scratch,
    cut: Cut,
    head: usize,
    (student, teacher): (&[f32], &[f32]),
    gradient: &mut [f32],
    factor: f32,
) -> f64 {
    let Cut { sequence, heads } = cut;
    let Scratch { own: [ours, theirs], relations, teacher: row_t } = scratch;
    let width = take_head(student, cut, head, ours);
    let width_t = take_head(teacher, cut, head, theirs);
    let cold = (width as f32).sqrt().recip();
    let cold_t = (width_t as f32).sqrt().recip();
    let mut loss = 0.0;
    for (i, row) in relations.chunks_exact_mut(sequence).enumerate() {
        let own = &ours[i * width..][..width];
        products(own, ours, row);
        products(&theirs[i * width_t..][..width_t], theirs, row_t);
        let [sum, sum_t] = [(&*row, cold), (&*row_t, cold_t)].map(|(row, cold)| log_sum_exp(row, cold));
        for (s, t) in row.iter_mut().zip(&*row_t) {
            let (log_s, log_t) = (*s * cold - sum, *t * cold_t - sum_t);
            let (p_s, p_t) = (log_s.exp(), log_t.exp());
            loss += f64::from(p_t * (log_t - log_s));
            *s = (p_s - p_t) * cold * factor;
        }
    }
    let whole = width * heads;
    for i in 0..sequence {
        let gradient = &mut gradient[i * whole + head * width..][..width];
        for j in 0..sequence {
            let weight = relations[i * sequence + j] + relations[j * sequence + i];
            let other = &ours[j * width..][..width];
            gradient.iter_mut().zip(other).for_each(|(gradient, other)| *gradient += weight * other);
        }
    }
    loss
}

/// Copies one head of `all (S, W)` to `own (S, d)`; returns d.
fn take_head(all: &[f32], cut: Cut, head: usize, own: &mut [f32]) -> usize {
    let whole = all.len() / cut.sequence;
    let width = whole / cut.heads;
    for (row, own) in all.chunks_exact(whole).zip(own.chunks_exact_mut(width)) {
        own.copy_from_slice(&row[head * width..][..width]);
    }
    width
}

/// `out (S) = all (S, d) · one (d)`.
fn products(one: &[f32], all: &[f32], out: &mut [f32]) {
    for (other, out) in all.chunks_exact(one.len()).zip(out) {
        *out = softmax::dot(one, other);
    }
}
