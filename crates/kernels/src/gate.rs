//! The gated feed-forward's product `a(gate) · up`, forward and backward, for both activations.

use crate::multiversion;
use crate::softmax::exp;

multiversion! {
    /// `out = max(gate, 0)² · up`.
    pub fn relu2(gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && up.len() == out.len());
        for ((gate, up), out) in gate.iter().zip(up).zip(out) {
            let positive = gate.max(0.0);
            *out = positive * positive * up;
        }
    }
}

multiversion! {
    /// Gradient of `relu2`: `gate` and `up` are overwritten by their gradients.
    pub fn relu2_backward(dy: &[f32], gate: &mut [f32], up: &mut [f32]) {
        assert!(gate.len() == up.len() && up.len() == dy.len());
        for ((dy, gate), up) in dy.iter().zip(gate).zip(up) {
            let positive = gate.max(0.0);
            *gate = dy * *up * 2.0 * positive;
            *up = dy * positive * positive;
        }
    }
}

multiversion! {
    /// `out = gate · sigmoid(gate) · up`.
    pub fn silu(gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && up.len() == out.len());
        for ((gate, up), out) in gate.iter().zip(up).zip(out) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

multiversion! {
    /// Gradient of `silu`: `gate` and `up` are overwritten by their gradients.
    pub fn silu_backward(dy: &[f32], gate: &mut [f32], up: &mut [f32]) {
        assert!(gate.len() == up.len() && up.len() == dy.len());
        for ((dy, gate), up) in dy.iter().zip(gate).zip(up) {
            let sigmoid = 1.0 / (1.0 + exp(-*gate));
            let silu = *gate * sigmoid;
            *gate = dy * *up * (sigmoid + silu * (1.0 - sigmoid));
            *up = dy * silu;
        }
    }
}
