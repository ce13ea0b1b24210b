//! Many sequences that go through the network together: admission, pages, ragged steps, shared beginnings.

use crate::layers::{Activations, Pass, Place};
use crate::linear::Arithmetic;
use crate::pages::{PAGE, Pages};
use crate::screen::{self, Scratch};
use crate::table::Stripe;
use crate::{Engine, InferError};
use model::Config;
use std::ops::ControlFlow;

/// What a batch may hold; all of its memory follows from this and is taken when the batch is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// sequences at a time
    pub sequences: usize,
    /// tokens of one sequence
    pub context: usize,
    /// tokens of all sequences, in pages of 32
    pub tokens: usize,
    /// tokens that go through the layers together; more go in several passes
    pub rows: usize,
}

/// A sequence of a batch. It is valid until [`Batch::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceId(usize);

/// Tokens of one sequence to be read in a step.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// which sequence
    pub sequence: SequenceId,
    /// the tokens behind those it has seen, at least one
    pub ids: &'a [u32],
    /// what is wanted of the last one
    pub want: Want,
}

/// Which logits of a token are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// all of the vocabulary
    All,
    /// the greatest, so many; they are the same numbers, and cost less
    Best(usize),
}

/// What a token wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scores<'a> {
    /// logits (V)
    All(&'a [f32]),
    /// ids and logits of the greatest, as [`Batch::best`] has them
    Best(&'a [(u32, f32)]),
}

/// Sequences in flight over one engine.
pub struct Batch<'e> {
    engine: &'e Engine,
    limits: Limits,
    pages: Pages,
    /// pages of each sequence, enough for all the tokens it was admitted with
    tables: Vec<Vec<u32>>,
    /// tokens seen by each sequence; `None` where the place is free
    seen: Vec<Option<usize>>,
    rows: Activations,
    ids: Vec<u32>,
    places: Vec<Place>,
    /// rows of the pass whose logits are wanted
    ends: Vec<End>,
    /// (pieces, V)
    logits: Vec<f32>,
    /// the greatest logits of each piece that wanted those
    best: Vec<Vec<(u32, f32)>>,
    /// (T, V), only for [`Batch::forward_each`]
    all_logits: Vec<f32>,
    /// (pieces, H)
    inputs: Vec<f32>,
    stripe: Stripe,
    screening: Option<Scratch>,
}

/// The last row of a piece.
#[derive(Clone, Copy)]
struct End {
    row: usize,
    piece: usize,
    want: Want,
}

impl<'e> Batch<'e> {
    /// An empty batch.
    pub(crate) fn new(engine: &'e Engine, limits: Limits) -> Self {
        let config = &engine.config;
        let pages = limits.tokens.div_ceil(PAGE).max(limits.sequences);
        let places = limits.context.div_ceil(PAGE);
        Self {
            engine,
            limits,
            pages: Pages::new(engine.kv, pages, config.layers, config.kv_heads, config.head_size),
            tables: (0..limits.sequences).map(|_| Vec::with_capacity(places)).collect(),
            seen: vec![None; limits.sequences],
            rows: Activations::new(engine, limits.rows, places * PAGE),
            ids: Vec::with_capacity(limits.rows),
            places: Vec::with_capacity(limits.rows),
            ends: Vec::with_capacity(limits.rows),
            logits: vec![0.0; limits.sequences * config.vocabulary],
            all_logits: Vec::new(),
            best: vec![Vec::new(); limits.sequences],
            inputs: vec![0.0; limits.sequences * config.hidden],
            stripe: Stripe::default(),
            screening: engine
                .screen
                .as_ref()
                .map(|_| Scratch::new(config.vocabulary, config.hidden, limits.sequences)),
        }
    }

    /// The network's shape and choices.
    pub fn config(&self) -> &'e Config {
        &self.engine.config
    }

    /// Admits a sequence of at most `tokens` tokens; `None` while there is no room for it.
    pub fn open(&mut self, tokens: usize) -> Option<SequenceId> {
        let needed = tokens.clamp(1, self.limits.context).div_ceil(PAGE);
        let slot = self.seen.iter().position(Option::is_none)?;
        if self.pages.free() < needed {
            return None;
        }
        self.seen[slot] = Some(0);
        self.tables[slot].extend((0..needed).map(|_| self.pages.take()));
        Some(SequenceId(slot))
    }

    /// Admits a sequence of at most `tokens` tokens that begins as another one did: whole pages of its first `shared`
    /// tokens are read, not computed. [`Batch::seen`] says how many tokens that saved. `None` while there is no room.
    pub fn fork(&mut self, from: SequenceId, shared: usize, tokens: usize) -> Option<SequenceId> {
        let whole = shared.min(self.seen(from)).min(tokens.saturating_sub(1)) / PAGE;
        let needed = tokens.clamp(1, self.limits.context).div_ceil(PAGE);
        let slot = self.seen.iter().position(Option::is_none)?;
        if self.pages.free() < needed - whole {
            return None;
        }
        for index in 0..needed {
            let page = match index < whole {
                true => {
                    let page = self.tables[from.0][index];
                    self.pages.share(page);
                    page
                }
                false => self.pages.take(),
            };
            self.tables[slot].push(page);
        }
        self.seen[slot] = Some(whole * PAGE);
        Some(SequenceId(slot))
    }

    /// Forgets a sequence and frees its pages.
    pub fn close(&mut self, sequence: SequenceId) {
        self.seen[sequence.0] = None;
        for page in self.tables[sequence.0].drain(..) {
            self.pages.release(page);
        }
    }

    /// Tokens a sequence has seen.
    pub fn seen(&self, sequence: SequenceId) -> usize {
        self.seen[sequence.0].expect("the sequence was closed")
    }

    /// Places a sequence has left.
    pub fn remaining(&self, sequence: SequenceId) -> usize {
        (self.tables[sequence.0].len() * PAGE).min(self.limits.context) - self.seen(sequence)
    }

    /// Forgets all tokens of a sequence behind the first `tokens`. Where other sequences read pages that it would then write to,
    /// it gets pages of its own.
    ///
    /// # Errors
    /// Too few pages are free for that. The batch is then as it was before.
    ///
    /// # Panics
    /// When it has seen fewer.
    pub fn rewind(&mut self, sequence: SequenceId, tokens: usize) -> Result<(), InferError> {
        assert!(tokens <= self.seen(sequence), "{tokens} tokens of {}", self.seen(sequence));
        let pages = &mut self.pages;
        let behind = &mut self.tables[sequence.0][tokens / PAGE..];
        let needed = behind.iter().filter(|page| pages.is_shared(**page)).count();
        if needed > pages.free() {
            return Err(InferError::SharedPages { needed, free: pages.free() });
        }
        for (index, page) in behind.iter_mut().enumerate() {
            if pages.is_shared(*page) {
                let own = pages.take();
                // Only the first holds tokens that are kept.
                if index == 0 {
                    pages.copy(*page, own);
                }
                pages.release(*page);
                *page = own;
            }
        }
        self.seen[sequence.0] = Some(tokens);
        Ok(())
    }

    /// Reads the pieces, at most one of each sequence; [`Batch::logits`] or [`Batch::best`] then has what each wanted of its
    /// last token.
    ///
    /// # Errors
    /// A piece without ids, an id beyond the vocabulary, more ids than places are left: the batch is then as before.
    pub fn forward(&mut self, pieces: &[Piece]) -> Result<(), InferError> {
        pieces.iter().try_for_each(|piece| self.check(piece))?;
        for (index, piece) in pieces.iter().enumerate() {
            for (number, id) in piece.ids.iter().enumerate() {
                self.push(piece.sequence, *id);
                if number + 1 == piece.ids.len() {
                    self.ends.push(End { row: self.ids.len() - 1, piece: index, want: piece.want });
                }
                if self.ids.len() == self.limits.rows {
                    self.flush();
                }
            }
        }
        self.flush();
        Ok(())
    }

    /// Logits (V) of the last token of a piece of the last [`Batch::forward`] that wanted [`Want::All`].
    pub fn logits(&self, piece: usize) -> &[f32] {
        let vocabulary = self.engine.config.vocabulary;
        &self.logits[piece * vocabulary..][..vocabulary]
    }

    /// Ids and logits of the greatest of a piece that wanted [`Want::Best`]: what is not finite first, then the greatest, the
    /// lower id first among equals.
    pub fn best(&self, piece: usize) -> &[(u32, f32)] {
        &self.best[piece]
    }

    /// Reads one piece and shows `visit` the index and the logits (V) of each of its ids; the last are kept as those of
    /// piece 0.
    ///
    /// # Errors
    /// As [`Batch::forward`].
    pub fn forward_each(
        &mut self,
        piece: Piece,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), InferError> {
        self.check(&piece)?;
        let (vocabulary, hidden) = (self.engine.config.vocabulary, self.engine.config.hidden);
        let mut done = 0;
        for ids in piece.ids.chunks(self.limits.rows) {
            ids.iter().for_each(|id| self.push(piece.sequence, *id));
            self.pass();
            for x in self.rows.normed[..ids.len() * hidden].chunks(EACH_ROWS * hidden) {
                let rows = x.len() / hidden;
                if self.all_logits.len() < rows * vocabulary {
                    self.all_logits.resize(rows * vocabulary, 0.0);
                }
                let all = &mut self.all_logits[..rows * vocabulary];
                self.engine.head().multiply(&self.engine.pool, &mut self.stripe, x, all);
                for (row, logits) in all.chunks_exact(vocabulary).enumerate() {
                    visit(done + row, logits);
                }
                self.logits[..vocabulary].copy_from_slice(&all[(rows - 1) * vocabulary..]);
                done += rows;
            }
        }
        Ok(())
    }

    /// Reads one piece and shows `visit`, id by id, what is wanted of each, until it breaks. Where [`Batch::rows_are_exact`],
    /// these are the bits of a step of each id alone: the head takes them one by one. The ids are read in any case.
    ///
    /// # Errors
    /// As [`Batch::forward`].
    pub fn forward_singly(
        &mut self,
        piece: Piece,
        visit: &mut dyn FnMut(Scores) -> ControlFlow<()>,
    ) -> Result<(), InferError> {
        self.check(&piece)?;
        let mut shown = ControlFlow::Continue(());
        for ids in piece.ids.chunks(self.limits.rows) {
            ids.iter().for_each(|id| self.push(piece.sequence, *id));
            self.pass();
            for row in 0..ids.len() {
                if shown.is_break() {
                    break;
                }
                self.head(&[End { row, piece: 0, want: piece.want }]);
                shown = visit(match piece.want {
                    Want::All => Scores::All(self.logits(0)),
                    Want::Best(_) => Scores::Best(self.best(0)),
                });
            }
        }
        Ok(())
    }

    /// Whether a token's logits are the same bits however many tokens are read together: integer sums have no order.
    pub fn rows_are_exact(&self) -> bool {
        self.engine.arithmetic == Arithmetic::Ternary
    }

    fn check(&self, piece: &Piece) -> Result<(), InferError> {
        let vocabulary = self.engine.config.vocabulary;
        if piece.ids.is_empty() {
            return Err(InferError::EmptyPrompt);
        }
        if let Some(position) = piece.ids.iter().position(|id| *id as usize >= vocabulary) {
            let id = piece.ids[position];
            return Err(InferError::TokenOutOfRange { position, id, vocabulary });
        }
        let (seen, left) = (self.seen(piece.sequence), self.remaining(piece.sequence));
        if piece.ids.len() > left {
            return Err(InferError::ContextFull {
                position: seen,
                added: piece.ids.len(),
                context: seen + left,
            });
        }
        Ok(())
    }

    /// Adds a token to the pass at hand.
    fn push(&mut self, sequence: SequenceId, id: u32) {
        let position = self.seen(sequence);
        self.ids.push(id);
        self.places.push(Place { sequence: sequence.0, position });
        self.seen[sequence.0] = Some(position + 1);
    }

    /// Takes the tokens at hand through the layers, and those that end a piece through the head.
    fn flush(&mut self) {
        self.pass();
        let ends = std::mem::take(&mut self.ends);
        self.head(&ends);
        self.ends = ends;
        self.ends.clear();
    }

    /// Takes some rows of the pass through the head.
    fn head(&mut self, ends: &[End]) {
        let hidden = self.engine.config.hidden;
        for (end, x) in ends.iter().zip(self.inputs.chunks_exact_mut(hidden)) {
            x.copy_from_slice(&self.rows.normed[end.row * hidden..][..hidden]);
        }
        let whole = |end: &End| end.want == Want::All || self.engine.screen.is_none();
        let mut first = 0;
        // Runs of pieces that need the same go through the head together.
        for run in ends.chunk_by(|a, b| whole(a) == whole(b)) {
            match whole(&run[0]) {
                true => self.whole_head(first, run),
                false => self.screened_head(first, run),
            }
            first += run.len();
        }
    }

    /// All logits of pieces whose inputs begin with number `first`.
    fn whole_head(&mut self, first: usize, run: &[End]) {
        let (vocabulary, hidden) = (self.engine.config.vocabulary, self.engine.config.hidden);
        let x = &self.inputs[first * hidden..(first + run.len()) * hidden];
        // The pieces of a run come one after another, so their logits lie side by side.
        let out = &mut self.logits[run[0].piece * vocabulary..][..run.len() * vocabulary];
        self.engine.head().multiply(&self.engine.pool, &mut self.stripe, x, out);
        for (end, logits) in run.iter().zip(out.chunks_exact(vocabulary)) {
            if let Want::Best(count) = end.want {
                greatest(logits, count, &mut self.best[end.piece]);
            }
        }
    }

    /// As [`Self::whole_head`], the best logits only.
    fn screened_head(&mut self, first: usize, run: &[End]) {
        let (engine, hidden) = (self.engine, self.engine.config.hidden);
        let (Some(screen), Some(scratch)) = (&engine.screen, &mut self.screening) else {
            unreachable!("pieces are screened only where there is a screen");
        };
        let inputs =
            self.inputs[first * hidden..(first + run.len()) * hidden].chunks(screen::INPUTS * hidden);
        for (run, inputs) in run.chunks(screen::INPUTS).zip(inputs) {
            let mut counts = [0; screen::INPUTS];
            for (count, end) in counts.iter_mut().zip(run) {
                let Want::Best(wanted) = end.want else { unreachable!("what wants all is not screened") };
                *count = wanted;
            }
            let inputs = (inputs, &counts[..run.len()]);
            screen.best(&engine.pool, engine.head(), inputs, scratch, |index, found| {
                let best = &mut self.best[run[index].piece];
                best.clear();
                best.extend_from_slice(found);
            });
        }
    }

    /// Takes the tokens at hand through the layers; the head's inputs are then in `normed`.
    fn pass(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let Self { engine, rows, pages, tables, places, .. } = self;
        Pass { engine, rows, pages, tables, places }.run(&self.ids);
        self.ids.clear();
        self.places.clear();
    }
}

/// The first `count` of `logits` by [`screen::rank`].
fn greatest(logits: &[f32], count: usize, best: &mut Vec<(u32, f32)>) {
    best.clear();
    best.extend((0..).zip(logits.iter().copied()));
    let count = count.clamp(1, best.len());
    best.select_nth_unstable_by(count - 1, screen::rank);
    best.truncate(count);
    best.sort_unstable_by(screen::rank);
}

/// Rows whose logits (T, V) [`Batch::forward_each`] keeps at a time.
const EACH_ROWS: usize = 128;
