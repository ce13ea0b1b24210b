//! The scales as they are stored against their inverses.
//!
//! `linear_class: autobitlinear` stores γ and multiplies, `bitlinear` stores 1/γ and divides. With the two exchanged every product
//! has the wrong size, by another factor in each tensor. The probe reads the same text with both.
//!
//! Remedy: set `linear_class` to what the file holds, or let `--fix OUT` write the model with γ.
//!
//! Source: transformers `integrations/bitnet.py`.

use super::listen::{Rival, compete_view};
use super::{Case, Outcome, Probe, ProbeError};
use crate::altered::Change;
use model::Encoding;

/// See the module.
pub struct ScaleConvention;

impl Probe for ScaleConvention {
    fn code(&self) -> &'static str {
        "P105"
    }

    fn name(&self) -> &'static str {
        "scale-convention"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        if case.model.source.encoding("layers.0.q")? == Encoding::Float {
            return Ok(Outcome::skipped("its projections have no stored scales"));
        }
        let rival =
            Rival { stated: "the stored scales", other: "their inverses", change: Change::InverseScales };
        compete_view(case, &rival)
    }
}
