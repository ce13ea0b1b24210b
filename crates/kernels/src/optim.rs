//! The elementwise parts of optimisers: a step of Adam, with decoupled (AdamW) or coupled (L2) weight decay, and those of Muon.

use crate::multiversion;

/// The scalars of one step, the same for every element of a slice.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// learning rate
    pub lr: f32,
    /// decay of the first moment
    pub beta1: f32,
    /// decay of the second moment
    pub beta2: f32,
    /// added to the root of the second moment
    pub epsilon: f32,
    /// weight decay of these parameters
    pub weight_decay: f32,
    /// true adds the decay to the gradient (L2), false shrinks the weight (AdamW)
    pub coupled: bool,
    /// multiplies the gradient first (clipping, accumulation)
    pub gradient_scale: f32,
    /// `1 − β1^t`
    pub correction1: f32,
    /// `1 − β2^t`
    pub correction2: f32,
}

multiversion! {
    /// `m, v, p` after one step (Kingma & Ba 2015; Loshchilov & Hutter 2019), in the order of torch.
    pub fn adam(step: &AdamStep, p: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
        assert!(p.len() == gradient.len() && p.len() == m.len() && p.len() == v.len());
        let l2 = if step.coupled { step.weight_decay } else { 0.0 };
        let keep = if step.coupled { 1.0 } else { 1.0 - step.lr * step.weight_decay };
        let rate = step.lr / step.correction1;
        let root = 1.0 / step.correction2.sqrt();
        for (((p, g), m), v) in p.iter_mut().zip(gradient).zip(m).zip(v) {
            let g = g * step.gradient_scale + l2 * *p;
            *m += (1.0 - step.beta1) * (g - *m);
            *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
            *p = *p * keep - rate * *m / (v.sqrt() * root + step.epsilon);
        }
    }
}

multiversion! {
    /// With `g = gradient · scale`: `m += (1 − momentum)·(g − m)`, then `out = g + momentum·(m − g)`.
    pub fn nesterov(gradient: &[f32], scale: f32, momentum: f32, m: &mut [f32], out: &mut [f32]) {
        assert!(gradient.len() == m.len() && gradient.len() == out.len());
        for ((g, m), out) in gradient.iter().zip(m).zip(out) {
            let g = g * scale;
            *m += (1.0 - momentum) * (g - *m);
            *out = g + momentum * (*m - g);
        }
    }

    /// `p = p · keep − direction · rate`.
    pub fn descend(p: &mut [f32], direction: &[f32], keep: f32, rate: f32) {
        assert_eq!(p.len(), direction.len());
        p.iter_mut().zip(direction).for_each(|(p, d)| *p = *p * keep - d * rate);
    }

    /// `x += y · factor`.
    pub fn add_scaled(x: &mut [f32], y: &[f32], factor: f32) {
        assert_eq!(x.len(), y.len());
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y * factor);
    }
}
