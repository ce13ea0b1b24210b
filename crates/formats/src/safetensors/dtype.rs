//! The element types this project reads and writes.

use std::fmt;

/// Element type of a tensor, by its name in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

use Dtype::*;

const NAMES: [(Dtype, &str); 13] = [
    (F64, "F64"),
    (F32, "F32"),
    (F16, "F16"),
    (BF16, "BF16"),
    (I64, "I64"),
    (I32, "I32"),
    (I16, "I16"),
    (I8, "I8"),
    (U64, "U64"),
    (U32, "U32"),
    (U16, "U16"),
    (U8, "U8"),
    (Bool, "BOOL"),
];

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            F64 | I64 | U64 => 8,
            F32 | I32 | U32 => 4,
            F16 | BF16 | I16 | U16 => 2,
            I8 | U8 | Bool => 1,
        }
    }

    /// The name in the header.
    pub fn name(self) -> &'static str {
        let entry = NAMES.iter().find(|(dtype, _)| *dtype == self);
        entry.expect("every dtype has its name").1
    }

    /// The type of that name, if it is known here.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(dtype, _)| *dtype)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
