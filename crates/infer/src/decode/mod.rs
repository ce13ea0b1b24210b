//! One token after another: what the network reads, and what is chosen of what it says.

mod grammar;
mod lookup;

pub use grammar::{Constraint, Grammar};
pub use lookup::Proposals;

use crate::sample::{Sampler, TokenLogprob};
use crate::{InferError, Options, Scores, Session, Want};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// A token that was chosen.
pub(crate) struct Step {
    pub id: u32,
    /// where it was asked for
    pub logprob: Option<TokenLogprob>,
}

/// Tokens of a continuation.
pub(crate) struct Decoder<'a, 'e> {
    session: &'a mut Session<'e>,
    chooser: Chooser,
    ends: &'a [u32],
    /// most tokens to propose
    lookup: usize,
    proposals: Proposals,
    /// the prompt and all tokens chosen
    text: Vec<u32>,
    /// steps chosen but not yet given out
    ready: VecDeque<Step>,
    /// what is read next: what the session has not read of the text, and proposals
    ids: Vec<u32>,
    /// places of the session
    context: usize,
    prompt: usize,
}

impl<'a, 'e> Decoder<'a, 'e> {
    /// Continues `prompt`; what the session has read of it is not read again. `options` were checked.
    pub(crate) fn new(
        session: &'a mut Session<'e>,
        prompt: &[u32],
        options: &'a Options,
    ) -> Result<Self, InferError> {
        let mut sampler = Sampler::new(options.sampling.clone(), session.config().vocabulary)?;
        prompt.iter().for_each(|id| sampler.observe(*id));
        session.keep_beginning(prompt);
        let context = session.position() + session.remaining();
        let mut text = Vec::with_capacity(prompt.len().max(context) + 1);
        text.extend_from_slice(prompt);
        Ok(Self {
            context,
            session,
            chooser: Chooser {
                sampler,
                constraint: options.constraint.clone(),
                logprobs: options.logprobs,
                complete: false,
            },
            ends: &options.end_of_text,
            lookup: options.lookup,
            proposals: Proposals::default(),
            text,
            ready: VecDeque::with_capacity(options.lookup.min(context) + 1),
            ids: Vec::with_capacity(context),
            prompt: prompt.len(),
        })
    }

    /// The next token, of at most `left` that are still wanted; `None` where the grammar's text is complete.
    pub(crate) fn next(&mut self, left: usize) -> Result<Option<Step>, InferError> {
        if self.ready.is_empty() && !self.chooser.complete {
            self.read(left)?;
        }
        Ok(self.ready.pop_front())
    }

    /// Whether there is no place to read the last of `tokens` that were given out.
    pub(crate) fn is_full(&self, tokens: usize) -> bool {
        self.prompt + tokens > self.context
    }

    /// Whether the grammar's text ends with the token given out last.
    pub(crate) fn is_complete(&self) -> bool {
        self.chooser.complete && self.ready.is_empty()
    }

    /// Tokens of the prompt that the session had read.
    pub(crate) fn read_before(&self) -> usize {
        self.session.position()
    }

    pub(crate) fn proposals(&self) -> Proposals {
        self.proposals
    }

    /// Leaves in the session only what belongs to the `tokens` that were given out.
    pub(crate) fn finish(self, tokens: usize) {
        let given = self.prompt + tokens;
        self.session.rewind(self.session.position().min(given));
    }

    /// Reads what was not read yet, with proposals for what follows, and chooses at least one token.
    fn read(&mut self, left: usize) -> Result<(), InferError> {
        let Self { session, chooser, text, ready, ids, .. } = self;
        let start = session.position();
        let want = chooser.want();
        ids.clear();
        ids.extend_from_slice(&text[start..]);
        if let [_last] = ids[..] {
            let room = self.context.saturating_sub(text.len());
            lookup::propose(text, self.lookup.min(left.saturating_sub(1)).min(room), ids);
            // What ends the text has nothing behind it.
            let end = ids[1..].iter().position(|id| self.ends.contains(id));
            ids.truncate(end.map_or(ids.len(), |end| 1 + end));
        }
        if start + ids.len() == text.len() {
            let scores = match want {
                Want::All => Scores::All(session.forward(ids)?),
                Want::Best(count) => Scores::Best(session.forward_best(ids, count)?),
            };
            if let Some(step) = chooser.choose(scores, text.len())? {
                text.push(step.id);
                ready.push_back(step);
            }
            return Ok(());
        }
        let (mut accepted, mut outcome) = (0, Ok(()));
        session.forward_singly(ids, want, &mut |scores| {
            match chooser.choose(scores, start + accepted + 1) {
                Ok(Some(step)) => {
                    let id = step.id;
                    text.push(id);
                    ready.push_back(step);
                    if ids.get(accepted + 1) == Some(&id) && !chooser.complete {
                        accepted += 1;
                        return ControlFlow::Continue(());
                    }
                }
                Ok(None) => (),
                Err(error) => outcome = Err(error),
            }
            ControlFlow::Break(())
        })?;
        session.rewind(start + 1 + accepted);
        self.proposals.proposed += ids.len() - 1;
        self.proposals.accepted += accepted;
        outcome
    }
}

/// Everything that has a say in a choice.
struct Chooser {
    sampler: Sampler,
    constraint: Option<Constraint>,
    logprobs: Option<usize>,
    /// the grammar's text cannot go on
    complete: bool,
}

impl Chooser {
    fn want(&self) -> Want {
        match self.constraint.is_some() || self.logprobs.is_some() {
            true => Want::All,
            false => self.sampler.want(),
        }
    }

    /// The next token after `position` tokens; `None` where the grammar allows none.
    fn choose(&mut self, scores: Scores, position: usize) -> Result<Option<Step>, InferError> {
        let logits = match scores {
            Scores::All(logits) => logits,
            Scores::Best(best) => {
                let id = self.sampler.choose_among(best.iter().copied());
                let id = id.ok_or(InferError::NotFinite { position })?;
                return Ok(Some(Step { id, logprob: None }));
            }
        };
        let id = match &mut self.constraint {
            None => self.sampler.choose(logits),
            Some(constraint) => {
                let allowed = constraint.allowed()?;
                if !(0..logits.len() as u32).any(|id| allowed.contains(id)) {
                    self.complete = true;
                    return Ok(None);
                }
                self.sampler.choose_allowed(logits, |id| allowed.contains(id))
            }
        };
        let id = id.ok_or(InferError::NotFinite { position })?;
        if let Some(constraint) = &mut self.constraint {
            constraint.consume(id)?;
            self.complete = constraint.is_finished();
        }
        let logprob = self.logprobs.map(|count| TokenLogprob::of(logits, id, count));
        Ok(Some(Step { id, logprob }))
    }
}
