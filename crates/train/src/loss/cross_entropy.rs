//! Cross-entropy through the output head, a chunk of rows at a time: `(T, V)` logits never exist at once.

use super::logits::{all_tokens, choose, top_tokens};
use crate::clock::{self, Op};
use crate::ops::Machine;
use crate::teacher::{Lesson, Said};
use half::f16;
use kernels::gemm::{View, gemm, gemm_again};
use kernels::pool::Rows;
use kernels::softmax;

/// A target that is not scored.
pub const IGNORE: u32 = u32::MAX;

/// Elements of the chunk of logits held at a time (72 MB at most), as far as at least `FEWEST_ROWS` rows fit.
const CHUNK: usize = 18 << 20;
const FEWEST_ROWS: usize = 64;

/// Rows of logits in one chunk for a batch of `rows`: about equally many in each, since every chunk reads and writes the whole
/// gradient of the head.
pub fn chunk_rows(rows: usize, vocabulary: usize) -> usize {
    let most = (CHUNK / vocabulary).max(FEWEST_ROWS);
    rows.div_ceil(rows.div_ceil(most).max(1))
}

/// The loss's options.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// share of the target spread evenly over the vocabulary
    pub label_smoothing: f32,
    /// factor of `logsumexp²` (PaLM)
    pub z_loss: f32,
}

/// The head and the buffers of one evaluation.
pub struct Head<'a> {
    /// (V, H)
    pub weight: &'a [f32],
    /// whether the machine has packed it for training; set by the first pass that has gradients
    pub packed: &'a mut bool,
    /// V
    pub vocabulary: usize,
    /// H
    pub hidden: usize,
    /// at least `chunk_rows × V`
    pub logits: &'a mut [f32],
    /// (T): the loss of each row, 0 where it is not scored
    pub losses: &'a mut [f32],
    /// (T): of that `−log p(target)` alone
    pub nats: &'a mut [f32],
}

/// Sums over the scored rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// of what is minimised: `−log p(target)` with the optional terms
    pub loss: f64,
    /// of `−log p(target)` alone
    pub nats: f64,
}

/// Some rows of [`Head`]'s logits and losses.
struct Chunk<'a> {
    /// (rows, V)
    logits: &'a mut [f32],
    /// (rows)
    losses: &'a mut [f32],
    /// (rows)
    nats: &'a mut [f32],
}

/// Gradients that the backward leaves: of the input `(T, H)`, written, and of a head that is learned `(V, H)`, added to.
pub struct Gradients<'a> {
    /// (T, H)
    pub dx: &'a mut [f32],
    /// (V, H); `None` where the head does not change
    pub dweight: Option<&'a mut [f32]>,
    /// multiplies every row's gradient: 1 / scored targets for a mean
    pub factor: f32,
    /// what a teacher says about the same rows; its losses are its own
    pub lesson: Option<&'a mut Lesson>,
}

/// The loss of every scored row, summed up; `x (T, H)`, `targets (T)`.
/// With `gradients`, the backward too; the logits then come from products in the arithmetic of the backward.
pub fn forward_backward(
    machine: &mut Machine,
    options: Options,
    head: &mut Head,
    x: &[f32],
    targets: &[u32],
    mut gradients: Option<Gradients>,
) -> Sums {
    let (vocabulary, hidden) = (head.vocabulary, head.hidden);
    let products = if gradients.is_some() { 3 } else { 1 };
    let moved = products * (size_of_val(x) + size_of_val(head.weight) + 4 * targets.len() * vocabulary);
    let _clock = clock::begin(Op::Loss, products * x.len() * vocabulary, moved);
    let chunk = chunk_rows(targets.len(), vocabulary);
    let weight = View::f32(head.weight, vocabulary, hidden);
    for (index, targets) in targets.chunks(chunk).enumerate() {
        let (from, rows) = (index * chunk, targets.len());
        let x = View::f32(&x[from * hidden..][..rows * hidden], rows, hidden);
        let logits = &mut head.logits[..rows * vocabulary];
        let keeps_packed = gradients.is_some();
        let multiply = if index > 0 || keeps_packed && *head.packed { gemm_again } else { gemm };
        let workspace = if keeps_packed { &mut machine.logits } else { &mut machine.gemm };
        multiply(&machine.pool, workspace, x, weight.t(), logits, vocabulary, false);
        let rows = from..from + rows;
        let (losses, nats) = (&mut head.losses[rows.clone()], &mut head.nats[rows.clone()]);
        let part = Chunk { logits: &mut *logits, losses, nats };
        match &mut gradients {
            None => score(machine, options, part, targets, None),
            Some(Gradients { lesson: None, factor, .. }) => {
                score(machine, options, part, targets, Some(*factor));
            }
            Some(Gradients { lesson: Some(lesson), factor, .. }) if !lesson.speaks() => {
                let factor = *factor * lesson.weights.cross_entropy;
                score(machine, options, part, targets, Some(factor));
            }
            Some(Gradients { lesson: Some(lesson), factor, .. }) => {
                learn(machine, options, part, targets, (lesson.say(rows), *factor));
            }
        }
        if let Some(Gradients { dx, dweight, .. }) = &mut gradients {
            let rows = targets.len();
            let dlogits = View::f32(logits, rows, vocabulary);
            let dx = &mut dx[from * hidden..][..rows * hidden];
            multiply(&machine.pool, &mut machine.dlogits, dlogits, weight, dx, hidden, false);
            if let Some(dweight) = dweight {
                gemm(&machine.pool, &mut machine.dweight, dlogits.t(), x, dweight, hidden, true);
            }
        }
    }
    *head.packed |= gradients.is_some();
    let sum = |rows: &[f32]| rows.iter().map(|loss| f64::from(*loss)).sum::<f64>();
    Sums { loss: sum(&head.losses[..targets.len()]), nats: sum(&head.nats[..targets.len()]) }
}

/// The losses of rows of logits; with a factor, the logits become their gradients.
fn score(
    machine: &Machine,
    options: Options,
    Chunk { logits, losses, nats }: Chunk,
    targets: &[u32],
    factor: Option<f32>,
) {
    let width = logits.len() / targets.len();
    let parts = (Rows::new(logits, width), (Rows::new(losses, 1), Rows::new(nats, 1)));
    machine.pool.for_rows(targets.len(), 1, parts, |row, (logits, (loss, nats))| {
        (loss[0], nats[0]) = row_loss(options, logits, targets[row.start], factor);
    });
}

/// The same with a teacher: the gradients are those of the weighted sum of both losses.
fn learn(
    machine: &Machine,
    options: Options,
    Chunk { logits, losses, nats }: Chunk,
    targets: &[u32],
    (said, factor): (Said, f32),
) {
    let Said {
        logits: theirs,
        candidates,
        losses: distances,
        chooses,
        rounds,
        temperature,
        factor: gain,
        text,
    } = said;
    let width = |len: usize| len / targets.len();
    let parts = (
        (Rows::new(logits, width(logits.len())), Rows::new(losses, 1)),
        (Rows::new(theirs, width(theirs.len())), Rows::new(candidates, width(candidates.len()))),
        (Rows::new(distances, 1), Rows::new(nats, 1)),
    );
    machine.pool.for_rows(
        targets.len(),
        1,
        parts,
        |row, ((logits, loss), (theirs, candidates), (distance, nats))| {
            let target = targets[row.start];
            distance[0] = 0.0;
            if target == IGNORE {
                (loss[0], nats[0]) = row_loss(options, logits, target, Some(factor));
                return;
            }
            if chooses {
                choose(theirs, candidates);
            }
            if chooses && rounds {
                candidates.iter_mut().for_each(|c| c.value = f16::from_f32(c.value).to_f32());
            }
            let sparse = !candidates.is_empty();
            distance[0] = match sparse {
                true => top_tokens(logits, candidates, temperature, gain),
                false => all_tokens(logits, theirs, temperature, gain),
            };
            (loss[0], nats[0]) = row_loss(options, logits, target, Some(factor * text));
            match sparse {
                true => candidates
                    .iter()
                    .for_each(|candidate| logits[candidate.id as usize] += candidate.gradient),
                false => softmax::add(logits, theirs),
            }
        },
    );
}

/// The loss of one row, and of that `−log p(target)`; with a factor, `logits` become the loss's gradient times it.
///
/// With smoothing ε: `loss = lse − (1−ε)·l_target − ε·mean(l) + z·lse²`,
/// `dl = p·(1 + 2z·lse) − (1−ε)·onehot − ε/V`.
fn row_loss(options: Options, logits: &mut [f32], target: u32, factor: Option<f32>) -> (f32, f32) {
    if target == IGNORE {
        if factor.is_some() {
            logits.fill(0.0);
        }
        return (0.0, 0.0);
    }
    let Options { label_smoothing, z_loss } = options;
    let target = target as usize;
    let logit = logits[target];
    let spread = label_smoothing / logits.len() as f32;
    let aimed = (1.0 - label_smoothing) * logit;
    let mean = if label_smoothing > 0.0 { spread * softmax::sum(logits) } else { 0.0 };
    let shift = softmax::largest(logits);
    let sum = softmax::exp_in_place(logits, shift);
    let lse = shift + sum.ln();
    if let Some(factor) = factor {
        softmax::scale(logits, (1.0 + 2.0 * z_loss * lse) * factor / sum, -spread * factor);
        logits[target] -= (1.0 - label_smoothing) * factor;
    }
    (lse - aimed - mean + z_loss * lse * lse, lse - logit)
}
