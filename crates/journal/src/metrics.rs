//! `metrics.jsonl`: one JSON object a step. Floats read back to the same bits; non-finite ones are null.

use crate::lines::{self, Appender};
use formats::FileError;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::Path;

/// What every step leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// t, counted from 0 as in the schedule.
    pub step: u64,
    /// Tokens seen, this step included.
    pub tokens: u64,
    /// Training loss, nats per token.
    #[serde(deserialize_with = "nan_for_null")]
    pub loss: f64,
    /// The same in bits per byte of text.
    #[serde(deserialize_with = "nan_for_null")]
    pub bits_per_byte: f64,
    /// Learning rate.
    #[serde(deserialize_with = "nan_for_null")]
    pub lr: f64,
    /// Weight decay.
    #[serde(deserialize_with = "nan_for_null")]
    pub weight_decay: f64,
    /// Share of quantisation: 0 full precision, 1 BitLinear.
    #[serde(deserialize_with = "nan_for_null")]
    pub lambda: f64,
    /// Global norm of the gradient before clipping.
    #[serde(deserialize_with = "nan_for_null")]
    pub grad_norm: f64,
    /// Where a teacher is learned from: its loss on next tokens, on relations, and on hidden states, a token's mean.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "numbers")]
    pub distillation: Option<[f64; 3]>,
    /// Speed of this step.
    #[serde(deserialize_with = "nan_for_null")]
    pub tokens_per_s: f64,
    /// What is measured now and then; its fields stand in the same line.
    #[serde(flatten)]
    pub record: Record,
}

/// What is measured now and then. Absent fields are absent from the line; a non-finite value reads back as absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Stage of the schedule at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Loss on the validation split, nats per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// The same in bits per byte of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_bits_per_byte: Option<f64>,
    /// Where λ is below 1: what the loss on the validation split would be at λ = 1, nats per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ternary_validation_loss: Option<f64>,
    /// Distinct argmax tokens at the last position over 20 random 8-token prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_tokens: Option<u32>,
    /// Mean entropy of the next-token distribution, nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_entropy: Option<f64>,
    /// Share of the positions of those prompts whose most likely next token is the commonest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<f64>,
    /// Share of ternary zeros, (L).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "nans_for_nulls")]
    pub zero_share: Option<Vec<f32>>,
    /// Share of ternary codes changed since the last record, (L).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "nans_for_nulls")]
    pub flip_rate: Option<Vec<f32>>,
    /// Mean of the scales γ of a layer's matrices, (L).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "nans_for_nulls")]
    pub scale: Option<Vec<f32>>,
    /// Resident memory of the process, bytes; of rank 0 where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

fn nan_for_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[f64; 3]>, D::Error> {
    let values: Option<[Option<f64>; 3]> = Option::deserialize(deserializer)?;
    Ok(values.map(|values| values.map(|value| value.unwrap_or(f64::NAN))))
}

fn nans_for_nulls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f32>>, D::Error> {
    let values: Option<Vec<Option<f32>>> = Option::deserialize(deserializer)?;
    Ok(values.map(|values| values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect()))
}

/// Appends steps: one write call a line, and no allocation once the buffer has grown to the longest line.
#[derive(Debug)]
pub struct Writer(Appender);

impl Writer {
    /// Opens `path` to go on with the step `next`, creating it when absent: the lines of that step and of later ones,
    /// and the torn end of a killed writer, are dropped, atomically.
    pub fn open_at(path: &Path, next: u64) -> Result<Self, FileError> {
        lines::retain(path, |line: &Step| line.step < next)?;
        Ok(Self(Appender::open(path)?))
    }

    /// Appends `step`.
    pub fn append(&mut self, step: &Step) -> Result<(), FileError> {
        self.0.append(step)
    }

    /// Brings what was appended to disk. Before a checkpoint names a step, its line has to be there.
    pub fn sync(&self) -> Result<(), FileError> {
        self.0.sync()
    }
}

/// All steps of `path`, oldest first. A torn end is passed over.
pub fn read(path: &Path) -> Result<Vec<Step>, FileError> {
    let mut steps = Vec::new();
    lines::for_each(path, |step, _| {
        steps.push(step);
        Ok(())
    })?;
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(step: u64) -> Step {
        Step { step, tokens: step * 64, loss: 0.1 + step as f64, ..Step::default() }
    }

    fn write(path: &Path, steps: impl IntoIterator<Item = u64>) {
        let mut writer = Writer::open_at(path, u64::MAX).unwrap();
        steps.into_iter().for_each(|s| writer.append(&step(s)).unwrap());
    }

    #[test]
    fn the_contracts_keys_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let mut line = step(3);
        line.grad_norm = f64::INFINITY;
        line.record.phase = Some("50%".into());
        line.record.zero_share = Some(vec![0.31, f32::NAN]);
        Writer::open_at(&path, 0).unwrap().append(&line).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "{\"step\":3,\"tokens\":192,\"loss\":3.1,\"bits_per_byte\":0.0,\"lr\":0.0,\"weight_decay\":0.0,\
            \"lambda\":0.0,\"grad_norm\":null,\"tokens_per_s\":0.0,\"phase\":\"50%\",\"zero_share\":[0.31,null]}\n";
        assert_eq!(text, expected);
        let back = &read(&path).unwrap()[0];
        assert!(back.grad_norm.is_nan());
        let share = back.record.zero_share.as_ref().unwrap();
        assert!(share[0] == 0.31 && share[1].is_nan());
        assert_eq!(back.record.flip_rate, None);
    }

    #[test]
    fn resuming_drops_later_and_torn_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        write(&path, 1..=5);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let complete = whole[..cut].iter().filter(|&&b| b == b'\n').count() as u64;
            assert_eq!(read(&path).unwrap().len() as u64, complete);
            drop(Writer::open_at(&path, 4).unwrap());
            write(&path, complete.min(3) + 1..=5);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn an_end_of_zeros_is_torn_and_a_damaged_middle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        write(&path, 1..=2);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &[0; 4096]].concat()).unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        std::fs::write(&path, [b"{\n", &whole[..]].concat()).unwrap();
        let sentence = Writer::open_at(&path, 9).unwrap_err().to_string();
        assert!(sentence.contains("line 1 is damaged"), "{sentence}");
        std::fs::write(&path, [&whole[..], &vec![b'x'; 3 << 20]].concat()).unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn floats_read_back_to_the_same_bits(bits in prop::collection::vec(any::<u64>(), 7), share in any::<u32>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("m");
            let f = |i: usize| f64::from_bits(bits[i]);
            let line = Step {
                step: bits[0], tokens: bits[1], loss: f(0), bits_per_byte: f(1), lr: f(2), weight_decay: f(3),
                lambda: f(4), grad_norm: f(5), tokens_per_s: f(6),
                record: Record { zero_share: Some(vec![f32::from_bits(share)]), ..Record::default() },
                ..Step::default()
            };
            Writer::open_at(&path, 0).unwrap().append(&line).unwrap();
            let back = read(&path).unwrap().remove(0);
            let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (!a.is_finite() && b.is_nan());
            prop_assert!(back.step == line.step && back.tokens == line.tokens);
            prop_assert!(same(line.loss, back.loss) && same(line.bits_per_byte, back.bits_per_byte));
            prop_assert!(same(line.lr, back.lr) && same(line.weight_decay, back.weight_decay));
            prop_assert!(same(line.lambda, back.lambda) && same(line.grad_norm, back.grad_norm));
            prop_assert!(same(line.tokens_per_s, back.tokens_per_s));
            let (a, b) = (f32::from_bits(share), back.record.zero_share.unwrap()[0]);
            prop_assert!(a.to_bits() == b.to_bits() || (!a.is_finite() && b.is_nan()));
        }
    }
}
