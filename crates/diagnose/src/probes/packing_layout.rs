//! Packed weights read in another order than the usual one.
//!
//! Builds of bitnet.cpp for ARM wrote I2_S in blocks of 64 weights where x86 has blocks of 128, under the same type number; ternary
//! llama2.c files have the first of four weights in a byte's low or in its high bits. The counts of all codes are equal either way,
//! so nothing in the bytes tells which it is, and with the wrong one the weights are shuffled: `!!!!` and `@@@@`. The probe opens
//! the file a second time and reads the same text with both.
//!
//! Remedy: read it with `--i2s-layout arm` or `--bit-order high`; `--fix OUT` writes a file in the published layout.
//!
//! Source: bitnet.cpp, `quantize_i2_s` on both architectures; the two published files of bitllama2.c.

use super::listen::{Rival, compete};
use super::{Case, Outcome, Probe, ProbeError};
use crate::altered::Change;
use checkpoint::{Dialect, OpenOptions};
use formats::llama2c::BitOrder;
use formats::quant::I2sLayout;
use model::LinearKind;

/// See the module.
pub struct PackingLayout;

impl Probe for PackingLayout {
    fn code(&self) -> &'static str {
        "P106"
    }

    fn name(&self) -> &'static str {
        "packing-layout"
    }

    fn run(&self, case: &Case) -> Result<Outcome, ProbeError> {
        let options = &case.patient.options;
        let is_i2s = case.patient.subject.stored.iter().any(|tensor| tensor.kind.starts_with("I2_S"));
        let rival = match case.model.dialect {
            Dialect::Gguf if is_i2s => i2s(options.i2s),
            Dialect::Llama2c if case.model.config().linear == LinearKind::Ternary => bits(options.bits),
            _ => return Ok(Outcome::skipped("its weights are not packed in a way that has two layouts")),
        };
        let again = OpenOptions { tokenizer: None, ..rival.change.reading(options) };
        let again = checkpoint::open_with(&case.patient.path, &again)?;
        compete(case, &rival, &*again.source)
    }
}

fn i2s(stated: I2sLayout) -> Rival {
    let (x86, arm) = ("the x86 layout", "the ARM layout");
    match stated {
        I2sLayout::X86 => Rival { stated: x86, other: arm, change: Change::Layout(I2sLayout::Arm) },
        I2sLayout::Arm => Rival { stated: arm, other: x86, change: Change::Layout(I2sLayout::X86) },
    }
}

fn bits(stated: BitOrder) -> Rival {
    let (low, high) = ("the low bits first", "the high bits first");
    match stated {
        BitOrder::LowFirst => Rival { stated: low, other: high, change: Change::Bits(BitOrder::HighFirst) },
        BitOrder::HighFirst => Rival { stated: high, other: low, change: Change::Bits(BitOrder::LowFirst) },
    }
}
