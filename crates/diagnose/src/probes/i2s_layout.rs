//! I2_S tensors read as x86 builds lay them out, against ARM's.
//!
//! Builds of bitnet.cpp for ARM wrote blocks of 64 weights where x86 has blocks of 128, under the same type number. The counts of
//! all codes are equal, so nothing in the bytes tells which it is, and with the wrong one the weights are shuffled: `!!!!` and
//! `@@@@`. The probe opens the file a second time and reads the same text with both.
//!
//! Remedy: read it with `--i2s-layout arm`; `--fix OUT` writes a file in the published layout.
//!
//! Source: bitnet.cpp, `quantize_i2_s` on both architectures.

use super::listen::{Rival, compete};
use super::{Case, Outcome, Probe, ProbeError};
use crate::altered::Change;
use checkpoint::OpenOptions;
use formats::quant;

/// See the module.
pub struct I2sLayout;

impl Probe for I2sLayout {
    fn code(&self) -> &'static str {
        "P106"
    }

    fn name(&self) -> &'static str {
        "i2s-layout"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        if !case.patient.subject.stored.iter().any(|tensor| tensor.kind.starts_with("I2_S")) {
            return Ok(Outcome::skipped("no tensor is I2_S"));
        }
        let options = &case.patient.options;
        let (stated, other, layout) = match options.i2s {
            quant::I2sLayout::X86 => ("the x86 layout", "the ARM layout", quant::I2sLayout::Arm),
            quant::I2sLayout::Arm => ("the ARM layout", "the x86 layout", quant::I2sLayout::X86),
        };
        let again = OpenOptions { i2s: layout, ..options.clone() };
        let again = checkpoint::open_with(&case.patient.path, &again)?;
        compete(case, &Rival { stated, other, change: Change::Layout(layout) }, &*again.source)
    }
}
