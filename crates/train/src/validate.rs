//! Loss on the validation split.

use crate::engine::Engine;
use crate::loss::cross_entropy::IGNORE;
use crate::step::MicroBatch;
use data::{Batch, Loader};

/// The loss of some validation batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// nats per scored token
    pub loss: f64,
    /// bits per byte of the scored tokens' text
    pub bits_per_byte: f64,
}

impl Validation {
    /// From the sums that [`validate`] returns.
    pub fn of([loss, tokens, bytes]: [f64; 3]) -> Self {
        Self { loss: loss / tokens, bits_per_byte: bits_per_byte(loss, bytes) }
    }
}

/// Reads at most `batches` batches from the beginning of the split (0: all of it), at the engine's λ. Returns sums over the
/// rows that the loader gives out: nats, scored tokens, and bytes of their text. `token_bytes` holds the bytes of text of each token id.
pub fn validate(
    engine: &mut dyn Engine,
    loader: &mut Loader,
    batch: &mut Batch,
    batches: usize,
    token_bytes: &[u16],
) -> [f64; 3] {
    loader.rewind();
    let (mut loss, mut tokens, mut bytes, mut read) = (0.0, 0u64, 0u64, 0);
    while (batches == 0 || read < batches) && loader.next(batch) {
        loss += engine.evaluate(MicroBatch::of(batch));
        tokens += scored(&batch.targets);
        bytes += text_bytes(&batch.targets, token_bytes);
        read += 1;
    }
    [loss, tokens as f64, bytes as f64]
}

/// Number of targets that are scored.
pub fn scored(targets: &[u32]) -> u64 {
    targets.iter().filter(|target| **target != IGNORE).count() as u64
}

/// Bytes of text of the scored targets.
pub fn text_bytes(targets: &[u32], token_bytes: &[u16]) -> u64 {
    let bytes = |target: &u32| token_bytes.get(*target as usize).copied().map_or(0, u64::from);
    targets.iter().map(bytes).sum()
}

/// Bits per byte of a summed loss in nats.
pub fn bits_per_byte(nats: f64, bytes: f64) -> f64 {
    nats / std::f64::consts::LN_2 / bytes
}
