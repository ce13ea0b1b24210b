//! Packed weights that cannot have been meant so.
//!
//! Two bits hold four numbers, and a ternary code uses three. A fourth in the data means that the bytes are not the
//! layout that they are read as, or damaged. Rows that are no multiple of 128 do not fit I2_S, whose upstream writer
//! drops the scale behind such tensors.
//!
//! The x86 and ARM layouts of I2_S hold the same codes at other places, so nothing in the bytes tells them apart; the
//! probe P106 reads both.
//!
//! Remedy: convert again; read ARM files with `--i2s-layout arm`.
//!
//! Source: the layouts of bitnet.cpp's I2_S.

use crate::rules::Rule;
use crate::{Sign, Subject};

/// See the module.
pub struct PackingSuspicious;

impl Rule for PackingSuspicious {
    fn code(&self) -> &'static str {
        "T505"
    }

    fn name(&self) -> &'static str {
        "packing-suspicious"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        let illegal = || subject.stored.iter().filter(|tensor| tensor.illegal_codes > 0);
        let count: usize = illegal().map(|tensor| tensor.illegal_codes).sum();
        if count > 0 {
            let names = crate::subject::list(illegal().map(|tensor| tensor.name.as_str()));
            return Some(Sign::error(format!("{count} codes are 3, which no ternary weight has: {names}")));
        }
        let odd = |tensor: &&crate::subject::Stored| {
            tensor.kind == "I2_S" && tensor.shape.last().is_some_and(|row| row % 128 != 0)
        };
        let first = subject.stored.iter().find(odd)?;
        let text = format!(
            "rows of {} have {} weights, no multiple of 128",
            first.name,
            first.shape.last().unwrap_or(&0)
        );
        Some(Sign::warning(text).at(first.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&PackingSuspicious, |s| {
            s.stored = vec![Stored { illegal_codes: 2, ..stored("blk.0.attn_q.weight", "I2_S", &[8, 128]) }]
        });
        fires(&PackingSuspicious, |s| s.stored = vec![stored("blk.0.attn_q.weight", "I2_S", &[8, 192])]);
    }

    #[test]
    fn it_is_silent() {
        silent(&PackingSuspicious, |s| s.stored = vec![stored("blk.0.attn_q.weight", "I2_S", &[8, 256])]);
    }
}
