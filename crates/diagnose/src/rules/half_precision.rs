//! Squared ReLU in 16-bit floats overflows.
//!
//! ReLU² squares the gate's output before anything normalises it; above 256 the square leaves the range of float16
//! (65504) and becomes infinite, and the sub-norm after it makes NaN of the row. bfloat16 has the range of float32.
//!
//! Remedy: load and train the model in bfloat16 or float32; set `torch_dtype` to `bfloat16`.
//!
//! Source: the range of IEEE half precision; issues of the published 2B4T model.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct HalfPrecision;

impl Rule for HalfPrecision {
    fn code(&self) -> &'static str {
        "T111"
    }

    fn name(&self) -> &'static str {
        "half-precision"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let dtype = subject.declared.dtype.as_deref()?;
        let is_squared = subject
            .config
            .as_ref()
            .map_or(subject.declared.activation.as_deref() == Some("relu2"), |config| {
                config.activation == model::Activation::Relu2
            });
        (is_squared && dtype.trim_start_matches("torch.") == "float16")
            .then(|| Sign::warning(format!("the configuration says {dtype}, and the activation is relu2")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&HalfPrecision, |s| s.declared.dtype = Some("float16".into()));
    }

    #[test]
    fn it_is_silent() {
        silent(&HalfPrecision, |s| s.declared.dtype = Some("bfloat16".into()));
    }
}
