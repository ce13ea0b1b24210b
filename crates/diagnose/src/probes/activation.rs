//! The stated activation against the other one.
//!
//! A ternary model's gate is squared ReLU or SiLU, and files often do not say which, or say the wrong one: the text is then fluent,
//! loops, and its perplexity is several times the right one. The probe reads the same text with both. It is believed where the
//! other activation is better by more than 0.15 nats a token and by three standard errors, token by token.
//!
//! Remedy: write the right activation into the file; `--fix OUT` does.
//!
//! Source: issues 588 and 602 of microsoft/BitNet (perplexity 17.1 with squared ReLU, 99.8 with SiLU).

use super::listen::{Rival, compete_view};
use super::{Case, Outcome, Probe, ProbeError};
use crate::altered::Change;
use model::LinearKind;

/// See the module.
pub struct Activation;

impl Probe for Activation {
    fn code(&self) -> &'static str {
        "P104"
    }

    fn name(&self) -> &'static str {
        "activation"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let config = case.model.config();
        if config.linear == LinearKind::Dense {
            return Ok(Outcome::skipped("dense models have the activation of their architecture"));
        }
        let (stated, other, change) = match config.activation {
            model::Activation::Relu2 => ("relu2", "silu", model::Activation::Silu),
            model::Activation::Silu => ("silu", "relu2", model::Activation::Relu2),
        };
        compete_view(case, &Rival { stated, other, change: Change::Activation(change) })
    }
}
