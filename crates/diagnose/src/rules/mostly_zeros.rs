//! Nearly all weights are zero.
//!
//! With more than nine codes in ten being 0 a projection passes next to nothing on. It happens where the scale that
//! codes were made with is too large (`max|w|` instead of `mean|w|`, as a C quantiser in the wild takes it for latent
//! weights), or where weight decay has pulled a layer down around a few outliers.
//!
//! Remedy: convert again with absmean; in a trained model look at the layer's weights in earlier checkpoints.
//!
//! Source: bitnet.cpp's quantiser, which is right for weights that are ternary already and only for these.

use crate::finding::number;
use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct MostlyZeros;

impl Rule for MostlyZeros {
    fn code(&self) -> &'static str {
        "T404"
    }

    fn name(&self) -> &'static str {
        "mostly-zeros"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let empty = || subject.projections().filter(|tensor| share(tensor) > 0.9);
        let (count, all) = (empty().count(), subject.projections().count());
        let first = empty().next()?;
        let text = format!(
            "{count} of {all} projections have a zero share above 0.9 ({}): {}",
            number(share(first)),
            Subject::names(empty())
        );
        Some(if 2 * count > all { Sign::error(text) } else { Sign::warning(text) })
    }
}

fn share(tensor: &crate::tensors::Tensor) -> f64 {
    tensor.ternary.as_ref().map_or(0.0, |ternary| ternary.zero_share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&MostlyZeros, |s| ternaries(s).for_each(|t| t.zero_share = 0.97));
    }

    #[test]
    fn it_is_silent() {
        silent(&MostlyZeros, |s| ternaries(s).for_each(|t| t.zero_share = 0.6));
    }
}
