//! How rotary positions pair the elements of a head.
//!
//! RoPE turns pairs (i, i + D/2) or pairs (2i, 2i + 1), and converters reorder the rows of q and k from one to the other. Reordered
//! twice, or not at all, a model loses its sense of order: short prompts look half right, longer ones do not. The probe reads the
//! same text with both pairings.
//!
//! Remedy: convert again from the original; `--fix OUT` writes the rows in the order that the format wants.
//!
//! Source: llama.cpp's permutation of q and k for `llama`, which BitNet's architectures do not have.

use super::listen::{Rival, compete_view};
use super::{Case, Outcome, Probe, ProbeError};
use crate::altered::Change;
use model::RopeStyle;

/// See the module.
pub struct RopePairing;

impl Probe for RopePairing {
    fn code(&self) -> &'static str {
        "P109"
    }

    fn name(&self) -> &'static str {
        "rope-pairing"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let (halves, neighbours) = ("pairs (i, i + D/2)", "pairs (2i, 2i + 1)");
        let (stated, other, style) = match case.model.config().rope_style {
            RopeStyle::RotateHalf => (halves, neighbours, RopeStyle::Interleaved),
            RopeStyle::Interleaved => (neighbours, halves, RopeStyle::RotateHalf),
        };
        compete_view(case, &Rival { stated, other, change: Change::RopeStyle(style) })
    }
}
