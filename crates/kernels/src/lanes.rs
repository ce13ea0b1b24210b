//! Reductions over explicit lanes: the order of additions is part of the code, so every instruction
//! set gives the same bits.

/// Lanes of every reduction: one 512-bit register of f32.
const LANES: usize = 16;

/// `Σ term(a, b)` over pairs.
#[inline(always)]
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut lanes = [0.0f32; LANES];
    let (a_whole, b_whole) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_whole.remainder(), b_whole.remainder());
    for (a, b) in a_whole.zip(b_whole) {
        for l in 0..LANES {
            lanes[l] += term(a[l], b[l]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += term(*a, *b);
    }
    tree(lanes)
}

/// `Σ term(x)` in f64.
#[inline(always)]
pub(crate) fn sum_f64(x: &[f32], term: impl Fn(f32) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let whole = x.chunks_exact(LANES);
    let rest = whole.remainder();
    for x in whole {
        for l in 0..LANES {
            lanes[l] += term(x[l]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += term(*x);
    }
    lanes.iter().sum()
}

/// `max term(x)`, at least `least`.
#[inline(always)]
pub(crate) fn max(x: &[f32], term: impl Fn(f32) -> f32, least: f32) -> f32 {
    let mut lanes = [least; LANES];
    let whole = x.chunks_exact(LANES);
    let rest = whole.remainder();
    for x in whole {
        for l in 0..LANES {
            let value = term(x[l]);
            lanes[l] = if value > lanes[l] { value } else { lanes[l] };
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = lane.max(term(*x));
    }
    lanes.into_iter().fold(least, f32::max)
}

/// `Σ` of a mapped slice that is rewritten in place: `x = map(x)`, returns the sum of the new values.
#[inline(always)]
pub(crate) fn map_sum(x: &mut [f32], map: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let mut whole = x.chunks_exact_mut(LANES);
    for x in &mut whole {
        for l in 0..LANES {
            x[l] = map(x[l]);
            lanes[l] += x[l];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(whole.into_remainder()) {
        *x = map(*x);
        *lane += *x;
    }
    tree(lanes)
}

#[inline(always)]
pub(crate) fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}
