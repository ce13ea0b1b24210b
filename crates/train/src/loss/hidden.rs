//! Distillation of hidden states: each token's state after a layer against the teacher's, row by row.

use crate::config::HiddenKind;

/// The loss of one row `(H)`; its gradient by `student`, times `factor`, is added to `gradient`.
pub fn row(kind: HiddenKind, student: &[f32], teacher: &[f32], gradient: &mut [f32], factor: f32) -> f64 {
    match kind {
        HiddenKind::Mse => mse(student, teacher, gradient, factor),
        HiddenKind::NormalisedMse => normalised(student, teacher, gradient, factor),
        HiddenKind::Cosine => cosine(student, teacher, gradient, factor),
    }
}

/// `mean (s − t)²`; `dL/ds = 2 (s − t) / H`.
fn mse(student: &[f32], teacher: &[f32], gradient: &mut [f32], factor: f32) -> f64 {
    let width = student.len() as f32;
    let mut loss = 0.0;
    for ((s, t), gradient) in student.iter().zip(teacher).zip(gradient) {
        let difference = s - t;
        loss += f64::from(difference) * f64::from(difference);
        *gradient += factor * 2.0 * difference / width;
    }
    loss / f64::from(width)
}

/// `mean (ŝ − t̂)²` with `x̂ = x / rms(x)`. As `mean ŝ² = 1`, it is `2 − 2·mean(ŝ·t̂)`, and
/// `dL/ds = −2/(H·rms(s)) · (t̂ − ŝ·mean(ŝ·t̂))`.
fn normalised(student: &[f32], teacher: &[f32], gradient: &mut [f32], factor: f32) -> f64 {
    2.0 * along(student, teacher, gradient, 2.0 * factor)
}

/// `1 − cos(s, t)`, the half of the normalised mean square.
fn cosine(student: &[f32], teacher: &[f32], gradient: &mut [f32], factor: f32) -> f64 {
    along(student, teacher, gradient, factor)
}

/// `1 − c` with `c = s·t / (‖s‖‖t‖)`; `dc/ds = (t/‖t‖ − c·s/‖s‖) / ‖s‖`. A state of zeros has no direction, and no gradient.
fn along(student: &[f32], teacher: &[f32], gradient: &mut [f32], factor: f32) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let (ours, theirs) = (dot(student, student).sqrt(), dot(teacher, teacher).sqrt());
    if ours == 0.0 || theirs == 0.0 {
        return 1.0;
    }
    let cosine = dot(student, teacher) / (ours * theirs);
    let (to_teacher, to_own) = (1.0 / (theirs * ours), cosine / (ours * ours));
    for ((s, t), gradient) in student.iter().zip(teacher).zip(gradient) {
        *gradient -= factor * (to_teacher * f64::from(*t) - to_own * f64::from(*s)) as f32;
    }
    1.0 - cosine
}
