//! What all ranks do together with a buffer, by direct exchange of its pieces.
//!
//! A buffer of L elements is cut into one contiguous piece a rank. Reducing sends every rank its piece of all others and adds
//! them up in the order of the ranks: ((g₀ + g₁) + g₂) + …, so the same number of ranks gives the same bits on every network.
//! A rank sends and receives L·(N−1)/N elements, which is the least there is.

use crate::transport::Transport;
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use std::ops::Range;

/// What happens to a buffer. Every rank must call for the same, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// in: all of the buffer; out: the own piece holds the sum over the ranks
    Reduce,
    /// in: the own piece; out: all pieces
    Gather,
    /// in: the own piece; out at rank 0: all pieces
    Collect,
    /// in at rank 0: all pieces; out: the own piece
    Distribute,
    /// in at rank 0: all of the buffer; out: the same everywhere
    Broadcast,
}

/// The elements of a buffer of `len` that belong to `rank` of `size`.
pub fn piece(len: usize, rank: usize, size: usize) -> Range<usize> {
    len * rank / size..len * (rank + 1) / size
}

/// Runs `op` on `buffer`; `scratch` grows once and is kept between calls.
pub(crate) fn run(wires: &mut dyn Transport, op: Op, buffer: &mut [f32], scratch: &mut Vec<f32>) {
    match op {
        Op::Reduce => reduce(wires, buffer, scratch),
        Op::Gather => gather(wires, buffer, "weights"),
        Op::Collect => collect(wires, buffer),
        Op::Distribute => distribute(wires, buffer),
        Op::Broadcast => broadcast(wires, buffer),
    }
}

fn reduce(wires: &mut dyn Transport, buffer: &mut [f32], scratch: &mut Vec<f32>) {
    let (rank, size) = (wires.rank(), wires.size());
    let own = piece(buffer.len(), rank, size);
    scratch.resize(size * own.len(), 0.0); // (N, own), the own row unused until the sum
    let mut rows: Vec<&mut [f32]> = cut(scratch, |index| piece(size * own.len(), index, size), size);
    {
        let whole = &*buffer;
        let peers = (0..size).filter(|peer| *peer != rank);
        let out: Vec<_> =
            peers.map(|peer| (peer, cast_slice(&whole[piece(whole.len(), peer, size)]))).collect();
        let into = rows.iter_mut().enumerate().filter(|(peer, _)| *peer != rank);
        let mut into: Vec<_> = into.map(|(peer, row)| (peer, cast_slice_mut(row))).collect();
        wires.exchange("gradients", &out, &mut into);
    }
    rows[rank].copy_from_slice(&buffer[own.clone()]);
    let (sum, others) = rows.split_first_mut().expect("a group has a rank");
    for row in others {
        sum.iter_mut().zip(&**row).for_each(|(sum, part)| *sum += *part);
    }
    buffer[own].copy_from_slice(sum);
}

/// Every rank's piece of `buffer` to every rank.
pub(crate) fn gather<T: Pod>(wires: &mut dyn Transport, buffer: &mut [T], what: &'static str) {
    let (rank, size) = (wires.rank(), wires.size());
    let len = buffer.len();
    let mut pieces = cut(buffer, |index| piece(len, index, size), size);
    let (before, rest) = pieces.split_at_mut(rank);
    let (own, after) = rest.split_first_mut().expect("the own piece");
    let out: Vec<_> = (0..size).filter(|peer| *peer != rank).map(|peer| (peer, cast_slice(own))).collect();
    let before = before.iter_mut().enumerate();
    let after = after.iter_mut().enumerate().map(|(index, piece)| (rank + 1 + index, piece));
    let mut into: Vec<_> = before.chain(after).map(|(peer, piece)| (peer, cast_slice_mut(piece))).collect();
    wires.exchange(what, &out, &mut into);
}

fn collect(wires: &mut dyn Transport, buffer: &mut [f32]) {
    let (rank, size) = (wires.rank(), wires.size());
    let len = buffer.len();
    if rank == 0 {
        let pieces = cut(buffer, |index| piece(len, index, size), size);
        let peers = pieces.into_iter().enumerate().skip(1);
        let mut into: Vec<_> = peers.map(|(peer, piece)| (peer, cast_slice_mut(piece))).collect();
        wires.exchange("checkpoint", &[], &mut into);
    } else {
        wires.exchange("checkpoint", &[(0, cast_slice(&buffer[piece(len, rank, size)]))], &mut []);
    }
}

fn distribute(wires: &mut dyn Transport, buffer: &mut [f32]) {
    let (rank, size) = (wires.rank(), wires.size());
    let len = buffer.len();
    if rank == 0 {
        let whole = &*buffer;
        let out: Vec<_> = (1..size).map(|peer| (peer, cast_slice(&whole[piece(len, peer, size)]))).collect();
        wires.exchange("optimiser state", &out, &mut []);
    } else {
        let own = cast_slice_mut(&mut buffer[piece(len, rank, size)]);
        wires.exchange("optimiser state", &[], &mut [(0, own)]);
    }
}

/// Rank 0's `buffer` to every rank.
pub(crate) fn broadcast<T: Pod>(wires: &mut dyn Transport, buffer: &mut [T]) {
    const WHAT: &str = "what rank 0 tells at the start";
    if wires.rank() == 0 {
        let out: Vec<_> = (1..wires.size()).map(|peer| (peer, cast_slice(buffer))).collect();
        wires.exchange(WHAT, &out, &mut []);
    } else {
        wires.exchange(WHAT, &[], &mut [(0, cast_slice_mut(buffer))]);
    }
}

/// The ranges `of(0), of(1) …` of `buffer`, which follow one another and cover it.
fn cut<T>(mut buffer: &mut [T], of: impl Fn(usize) -> Range<usize>, count: usize) -> Vec<&mut [T]> {
    let mut pieces = Vec::with_capacity(count);
    for index in 0..count {
        let (piece, rest) = std::mem::take(&mut buffer).split_at_mut(of(index).len());
        pieces.push(piece);
        buffer = rest;
    }
    pieces
}
