//! One sequence of tokens: a batch of one.

use crate::batch::{Batch, Limits, Piece, Scores, SequenceId, Want};
use crate::{Engine, InferError};
use model::Config;
use std::ops::ControlFlow;

/// Tokens that go through the layers together; longer inputs go in several passes.
const ROWS: usize = 512;

/// A sequence of tokens and what the network remembers of it. All memory but that of [`Session::forward_each`] is
/// allocated when the session is made.
pub struct Session<'e> {
    batch: Batch<'e>,
    sequence: SequenceId,
    /// the tokens seen
    ids: Vec<u32>,
}

impl<'e> Session<'e> {
    /// `context` was checked by [`Engine::session`].
    pub(crate) fn new(engine: &'e Engine, context: usize) -> Result<Self, InferError> {
        let limits = Limits { sequences: 1, context, tokens: context, rows: ROWS.min(context) };
        let mut batch = engine.batch(limits)?;
        let sequence = batch.open(context).expect("an empty batch has room for its one sequence");
        Ok(Self { batch, sequence, ids: Vec::with_capacity(context) })
    }

    /// The network's shape and choices.
    pub fn config(&self) -> &'e Config {
        self.batch.config()
    }

    /// The tokens seen so far.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Number of tokens seen so far.
    pub fn position(&self) -> usize {
        self.batch.seen(self.sequence)
    }

    /// Places left in the context.
    pub fn remaining(&self) -> usize {
        self.batch.remaining(self.sequence)
    }

    /// Forgets all tokens.
    pub fn reset(&mut self) {
        self.rewind(0);
    }

    /// Forgets all tokens behind the first `tokens`.
    ///
    /// # Panics
    /// When fewer were seen.
    pub fn rewind(&mut self, tokens: usize) {
        self.batch.rewind(self.sequence, tokens).expect("the only sequence of a batch shares no page");
        self.ids.truncate(tokens);
    }

    /// Keeps of the tokens seen those that `ids` begins with, but not all of `ids`: one is left to be read. Returns how many
    /// it kept.
    pub fn keep_beginning(&mut self, ids: &[u32]) -> usize {
        let same = self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        let kept = same.min(ids.len().saturating_sub(1));
        self.rewind(kept);
        kept
    }

    /// Whether a token's logits are the same bits however many tokens are read together.
    pub fn rows_are_exact(&self) -> bool {
        self.batch.rows_are_exact()
    }

    /// Logits (V) of the last token given to [`Session::forward`] or [`Session::forward_each`].
    pub fn logits(&self) -> &[f32] {
        self.batch.logits(0)
    }

    /// Reads `ids` after those seen so far; returns the logits (V) of the last.
    ///
    /// # Errors
    /// No ids, an id beyond the vocabulary, more ids than places are left. The session is then as it was before.
    pub fn forward(&mut self, ids: &[u32]) -> Result<&[f32], InferError> {
        self.batch.forward(&[Piece { sequence: self.sequence, ids, want: Want::All }])?;
        self.ids.extend_from_slice(ids);
        Ok(self.logits())
    }

    /// As [`Session::forward`], but returns only the `count` greatest logits and their ids, the greatest first.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_best(&mut self, ids: &[u32], count: usize) -> Result<&[(u32, f32)], InferError> {
        self.batch.forward(&[Piece { sequence: self.sequence, ids, want: Want::Best(count) }])?;
        self.ids.extend_from_slice(ids);
        Ok(self.batch.best(0))
    }

    /// As [`Session::forward`], and shows `visit` the index and the logits (V) of each id.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_each(
        &mut self,
        ids: &[u32],
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), InferError> {
        self.batch.forward_each(Piece { sequence: self.sequence, ids, want: Want::All }, visit)?;
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// As [`Session::forward`], and shows `visit` what is wanted of each id in turn, until it breaks: where
    /// [`Session::rows_are_exact`], the bits that reading the ids one by one would give. All ids are read.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_singly(
        &mut self,
        ids: &[u32],
        want: Want,
        visit: &mut dyn FnMut(Scores) -> ControlFlow<()>,
    ) -> Result<(), InferError> {
        self.batch.forward_singly(Piece { sequence: self.sequence, ids, want }, visit)?;
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// As [`Session::forward`], but returns the logits (T, V) of all ids.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_all(&mut self, ids: &[u32]) -> Result<Vec<f32>, InferError> {
        let mut all = Vec::new();
        self.forward_each(ids, &mut |_, logits| all.extend_from_slice(logits))?;
        Ok(all)
    }
}
