//! Rotary position embedding of one head, both pairings; the negative sine turns back (the gradient).

use crate::multiversion;

multiversion! {
    /// Turns pairs (i, i + D/2): `cos`, `sin` hold D/2 values of one position.
    pub fn rotate_half(head: &mut [f32], cos: &[f32], sin: &[f32]) {
        let (low, high) = head.split_at_mut(cos.len());
        assert!(low.len() == sin.len() && high.len() == sin.len());
        for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

multiversion! {
    /// Turns pairs (2i, 2i + 1).
    pub fn rotate_interleaved(head: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(cos.len() == sin.len() && head.len() == 2 * sin.len());
        for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
            (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[1] * cos + pair[0] * sin);
        }
    }
}
