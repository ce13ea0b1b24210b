//! Scales have an implausible size.
//!
//! A projection multiplies the size of its input by about γ·√(inputs · share of codes that are not 0): 0.1 to 60 in
//! models that work. Factors of hundreds and thousands in most projections point to the inverse convention: the file
//! holds 1/γ where the reader multiplies (`autobitlinear` against `bitlinear`), or γ where it divides. Sizes alone
//! prove nothing, since a norm follows most projections; the probe P105 tries both.
//!
//! Remedy: let the probe decide (`trilobit diagnose MODEL`), then write the fix with `--fix OUT` or set `linear_class`
//! to what the file holds.
//!
//! Source: transformers' two classes with opposite conventions.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct ScaleImplausible;

impl Rule for ScaleImplausible {
    fn code(&self) -> &'static str {
        "T409"
    }

    fn name(&self) -> &'static str {
        "scale-implausible"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let mut gains: Vec<f64> = subject
            .projections()
            .filter_map(|tensor| {
                let ternary = tensor.ternary.as_ref()?;
                Some(f64::from(ternary.scale) * (tensor.cols as f64 * (1.0 - ternary.zero_share)).sqrt())
            })
            .filter(|gain| gain.is_finite() && *gain > 0.0)
            .collect();
        gains.sort_by(f64::total_cmp);
        let median = *gains.get(gains.len() / 2)?;
        let text = format!("the median projection multiplies its input's size by {}", number(median));
        (!(0.003..=150.0).contains(&median)).then(|| Sign::warning(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&ScaleImplausible, |s| ternaries(s).for_each(|t| t.scale = t.scale.recip()));
    }

    #[test]
    fn it_is_silent() {
        silent(&ScaleImplausible, |s| ternaries(s).for_each(|t| t.scale *= 20.0));
    }
}
