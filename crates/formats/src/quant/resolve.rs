//! Which format a type number means: forks of ggml gave the same numbers to different formats.

use super::{BlockFormat, FORMATS, I2_S, I2_S_ARM};
use crate::nearest;

/// How the I2_S tensors of a file are laid out; nothing in the file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum I2sLayout {
    /// Blocks of 128: published files, and what is written here.
    #[default]
    X86,
    /// Blocks of 64, from ARM builds of `bitnet.cpp`.
    Arm,
}

/// `general.file_type` of a file quantised to I2_S by `bitnet.cpp`.
const FILE_TYPE_I2_S: u32 = 40;
/// `general.architecture` of BitNet models, by whichever converter.
const BITNET: &[&str] = &["bitnet-b1.58", "bitnet", "bitnet-25", "BitNet"];

/// Types that are known by name and not read. The first column: the architecture or file type is that of `bitnet.cpp`.
const UNREAD: &[(bool, u32, &str)] = &[
    (true, 37, "I8_S"),
    (true, 38, "TL1"),
    (true, 39, "TL2"),
    (false, 6, "Q5_0"),
    (false, 7, "Q5_1"),
    (false, 9, "Q8_1"),
    (false, 10, "Q2_K"),
    (false, 11, "Q3_K"),
    (false, 13, "Q5_K"),
    (false, 15, "Q8_K"),
    (false, 16, "IQ2_XXS"),
    (false, 17, "IQ2_XS"),
    (false, 18, "IQ3_XXS"),
    (false, 19, "IQ1_S"),
    (false, 20, "IQ4_NL"),
    (false, 21, "IQ3_S"),
    (false, 22, "IQ2_S"),
    (false, 23, "IQ4_XS"),
    (false, 24, "I8"),
    (false, 25, "I16"),
    (false, 26, "I32"),
    (false, 27, "I64"),
    (false, 28, "F64"),
    (false, 29, "IQ1_M"),
    (false, 39, "MXFP4"),
    (false, 40, "NVFP4"),
    (false, 41, "Q1_0"),
    (false, 42, "Q2_0"),
    (false, 135, "IQ2_BN"),
];

/// The format of type number `ggml_type` in a file of that `general.architecture` and `general.file_type`.
///
/// 36 is I2_S only in a BitNet architecture or in a file of type 40 (`bitnet.cpp` writes Llama models so). The error
/// names what the number is known to mean there, without the tensor's name.
pub fn resolve(
    architecture: &str,
    file_type: Option<u32>,
    ggml_type: u32,
    layout: I2sLayout,
) -> Result<&'static dyn BlockFormat, String> {
    let bitnet = BITNET.contains(&architecture) || file_type == Some(FILE_TYPE_I2_S);
    if ggml_type == I2_S.ggml_type() {
        return match (bitnet, layout) {
            (true, I2sLayout::X86) => Ok(&I2_S),
            (true, I2sLayout::Arm) => Ok(&I2_S_ARM),
            (false, _) => Err(format!(
                "type 36 is I2_S only in BitNet files, and this one has architecture '{architecture}' and file type {}",
                file_type.map_or("none".to_owned(), |number| number.to_string())
            )),
        };
    }
    if let Some(format) = FORMATS.iter().find(|format| format.ggml_type() == ggml_type) {
        return Ok(*format);
    }
    let known = UNREAD.iter().filter(|(fork, number, _)| *number == ggml_type && (bitnet || !fork));
    match known.max_by_key(|(fork, _, _)| *fork) {
        Some((_, _, name)) => Err(format!("type {ggml_type} is {name}, which is not supported")),
        None => Err(format!("type {ggml_type} is not known")),
    }
}

/// The format of that name in any case (`tq2_0`); the error offers the nearest name.
pub fn named(name: &str) -> Result<&'static dyn BlockFormat, String> {
    let upper = name.to_ascii_uppercase();
    FORMATS.iter().find(|format| format.name() == upper).copied().ok_or_else(|| {
        let hint = nearest::hint(&upper, FORMATS.iter().map(|format| format.name()));
        format!("there is no tensor format '{name}'{hint}")
    })
}
