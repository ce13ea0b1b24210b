//! From a prompt to its continuation, streamed.

use crate::decode::{Constraint, Decoder, Proposals};
use crate::sample::{Sampling, TokenLogprob};
use crate::stop::StopFilter;
use crate::{InferError, Session};
use std::ops::ControlFlow;
use std::time::Instant;
use text::{StreamDecoder, Tokenizer};

/// When to stop and how to choose.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// most tokens to generate
    pub max_tokens: usize,
    /// how each is chosen
    pub sampling: Sampling,
    /// the text ends before the first of these
    pub stop: Vec<String>,
    /// the text ends at any of these tokens
    pub end_of_text: Vec<u32>,
    /// the log-probability of each token, and so many alternatives
    pub logprobs: Option<usize>,
    /// most tokens that are proposed from the text so far and checked together; the tokens are the same as with 0
    pub lookup: usize,
    /// the text is one of a grammar
    pub constraint: Option<Constraint>,
}

impl Options {
    /// Refuses what [`generate`] would refuse with any prompt in `session`.
    ///
    /// # Errors
    /// Options that mean nothing, a bias beyond the vocabulary, an empty stop string, a lookup where sums are not exact.
    pub fn check(&self, session: &Session) -> Result<(), InferError> {
        StopFilter::new(&self.stop)?;
        self.sampling.check(session.config().vocabulary)?;
        match self.lookup > 0 && !session.rows_are_exact() {
            true => Err(InferError::InexactLookup),
            false => Ok(()),
        }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// as many tokens as asked for
    MaxTokens,
    /// a stop string
    Stop,
    /// a token that ends the text
    EndOfText,
    /// no place is left in the context
    ContextFull,
    /// a text that its grammar lets end only here
    Complete,
    /// the callback said so
    Cancelled,
}

impl Finish {
    /// For people and for JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max tokens",
            Self::Stop => "stop string",
            Self::EndOfText => "end of text",
            Self::ContextFull => "full context",
            Self::Complete => "complete grammar",
            Self::Cancelled => "cancellation",
        }
    }
}

/// A continuation.
#[derive(Clone, Debug)]
pub struct Generated {
    /// the tokens, without the one that ended the text, with those of a stop string
    pub tokens: Vec<u32>,
    /// the text, without a stop string
    pub text: String,
    /// why it ended
    pub finish: Finish,
    /// one for each token, where they were asked for
    pub logprobs: Vec<TokenLogprob>,
    /// how well the lookup did
    pub proposals: Proposals,
    /// tokens of the prompt that the session had read before
    pub reused: usize,
    /// tokens of the continuation per second, the prompt's time not counted
    pub tokens_per_s: f64,
}

/// Continues `prompt`. What the session has read of its beginning is not read again, the rest of what it has read is
/// forgotten; afterwards it has read the prompt and the tokens but, perhaps, the last. `on_text` gets the text in pieces of
/// whole characters as they are certain; the pieces together are `Generated::text`. It breaks to cancel, for which it is called for
/// each token, often with an empty piece.
///
/// # Errors
/// An empty prompt, an id beyond the vocabulary, a prompt longer than the session's context, options that mean nothing,
/// logits that are not finite, a lookup where sums are not exact, a grammar too large.
pub fn generate(
    session: &mut Session,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &Options,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generated, InferError> {
    options.check(session)?;
    let mut out = Output {
        decoder: StreamDecoder::continuing(tokenizer),
        filter: StopFilter::new(&options.stop)?,
        text: String::new(),
        on_text,
    };
    let mut decoder = Decoder::new(session, prompt, options)?;
    let reused = decoder.read_before();
    let (mut tokens, mut logprobs) = (Vec::new(), Vec::new());
    let mut step = decoder.next(options.max_tokens)?;
    let start = Instant::now();
    let finish = loop {
        if tokens.len() >= options.max_tokens {
            break Finish::MaxTokens;
        }
        let Some(chosen) = step else {
            break Finish::Complete;
        };
        if options.end_of_text.contains(&chosen.id) {
            break Finish::EndOfText;
        }
        tokens.push(chosen.id);
        logprobs.extend(chosen.logprob);
        if let ControlFlow::Break(finish) = out.push(chosen.id) {
            break finish;
        }
        if decoder.is_complete() {
            break Finish::Complete;
        }
        if decoder.is_full(tokens.len()) {
            break Finish::ContextFull;
        }
        step = match tokens.len() < options.max_tokens {
            true => decoder.next(options.max_tokens - tokens.len())?,
            false => None,
        };
    };
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    let proposals = decoder.proposals();
    decoder.finish(tokens.len());
    Ok(Generated {
        tokens_per_s: tokens.len() as f64 / seconds,
        tokens,
        logprobs,
        proposals,
        reused,
        text: out.finish(finish),
        finish,
    })
}

/// The way from ids to the caller's text.
struct Output<'a> {
    decoder: StreamDecoder<'a>,
    filter: StopFilter<'a>,
    text: String,
    on_text: &'a mut dyn FnMut(&str) -> ControlFlow<()>,
}

impl Output<'_> {
    fn push(&mut self, id: u32) -> ControlFlow<Finish> {
        let passed = self.filter.push(&self.decoder.push(id));
        let told = self.tell(&passed.text);
        match passed.stopped {
            true => ControlFlow::Break(Finish::Stop),
            false => told,
        }
    }

    fn tell(&mut self, piece: &str) -> ControlFlow<Finish> {
        self.text.push_str(piece);
        match (self.on_text)(piece) {
            ControlFlow::Break(()) => ControlFlow::Break(Finish::Cancelled),
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
        }
    }

    /// Lets out what was held back, unless a stop string or the caller ended the text.
    fn finish(self, finish: Finish) -> String {
        let Self { decoder, mut filter, mut text, on_text } = self;
        if matches!(finish, Finish::Stop | Finish::Cancelled) {
            return text;
        }
        let passed = filter.push(&decoder.finish());
        let mut rest = passed.text;
        if !passed.stopped {
            rest += &filter.finish();
        }
        if !rest.is_empty() {
            // Nothing follows, so a wish to cancel changes nothing.
            let _ = on_text(&rest);
            text += &rest;
        }
        text
    }
}
