//! Plus and minus are not equally many.
//!
//! Codes +1 and −1 are about equally frequent in every projection of a trained model. Where one is much rarer, a
//! decoder has misread the codes: an offset of one (0, 1, 2 taken for −1, 0, 1), or bits in another order.
//!
//! Remedy: convert again; check the codes' offset and the order of the bits (`--bit-order`, `--i2s-layout`).
//!
//! Source: symmetry of weights; published models differ by less than a few percent.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct SignImbalance;

impl Rule for SignImbalance {
    fn code(&self) -> &'static str {
        "T405"
    }

    fn name(&self) -> &'static str {
        "sign-imbalance"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let (mut plus, mut minus) = (0.0, 0.0);
        let mut worst: Option<(f64, &str)> = None;
        for tensor in subject.projections().filter(|tensor| tensor.len() >= 1024) {
            let Some(ternary) = &tensor.ternary else { continue };
            plus += ternary.plus_share * tensor.len() as f64;
            minus += ternary.minus_share * tensor.len() as f64;
            let apart = apart(ternary.plus_share, ternary.minus_share);
            if worst.is_none_or(|(least, _)| apart > least) {
                worst = Some((apart, &tensor.name));
            }
        }
        let (apart_most, name) = worst?;
        let text = format!(
            "of all codes that are not 0, {} are +1 and {} are −1; the furthest apart is {name} with |p − m|/(p + m) = {}",
            number(plus / (plus + minus)),
            number(minus / (plus + minus)),
            number(apart_most)
        );
        match (apart(plus, minus), apart_most) {
            (all, _) if all > 0.2 => Some(Sign::error(text)),
            (_, one) if one > 0.5 => Some(Sign::warning(text).at(name)),
            _ => None,
        }
    }
}

fn apart(plus: f64, minus: f64) -> f64 {
    let all = plus + minus;
    if all > 0.0 { (plus - minus).abs() / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&SignImbalance, |s| ternaries(s).for_each(|t| (t.plus_share, t.minus_share) = (0.5, 0.1)));
    }

    #[test]
    fn it_is_silent() {
        silent(&SignImbalance, |s| ternaries(s).for_each(|t| (t.plus_share, t.minus_share) = (0.36, 0.33)));
    }
}
