//! Embedding: a row of the table for each token.

use crate::clock::{self, Op};

/// `out[t] = table[tokens[t]]`; table `(V, H)`, out `(T, H)`.
pub fn forward(out: &mut [f32], table: &[f32], tokens: &[u32], hidden: usize) {
    let _clock = clock::begin(Op::Embedding, 0, 2 * size_of_val(out));
    for (row, &token) in out.chunks_exact_mut(hidden).zip(tokens) {
        row.copy_from_slice(&table[token as usize * hidden..][..hidden]);
    }
}

/// `dtable[tokens[t]] += dout[t]`, in the order of t.
pub fn backward(dtable: &mut [f32], dout: &[f32], tokens: &[u32], hidden: usize) {
    let _clock = clock::begin(Op::Embedding, 0, 2 * size_of_val(dout));
    for (row, &token) in dout.chunks_exact(hidden).zip(tokens) {
        kernels::softmax::add(&mut dtable[token as usize * hidden..][..hidden], row);
    }
}
