//! From a prompt to its continuation, streamed.

use crate::sample::{Sampler, Sampling};
use crate::stop::StopFilter;
use crate::{InferError, Session, Want};
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
    /// the text ends at one of these tokens
    pub end_of_text: Vec<u32>,
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
    /// tokens of the continuation per second, the prompt's time not counted
    pub tokens_per_s: f64,
}

/// Continues `prompt`. `on_text` gets the text in pieces of whole characters as they are certain; the pieces together
/// are `Generated::text`. It breaks to cancel.
///
/// # Errors
/// An empty prompt, an id beyond the vocabulary, a prompt longer than the session's context, options that mean nothing,
/// logits that are not finite.
pub fn generate(
    session: &mut Session,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    options: &Options,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generated, InferError> {
    let mut sampler = Sampler::new(options.sampling.clone(), session.config().vocabulary)?;
    prompt.iter().for_each(|id| sampler.observe(*id));
    let mut out = Output {
        decoder: StreamDecoder::continuing(tokenizer),
        filter: StopFilter::new(&options.stop)?,
        text: String::new(),
        on_text,
    };
    let mut tokens = Vec::new();
    let mut id = next(session, &mut sampler, prompt)?;
    let start = Instant::now();
    let finish = loop {
        if tokens.len() >= options.max_tokens {
            break Finish::MaxTokens;
        }
        if options.end_of_text.contains(&id) {
            break Finish::EndOfText;
        }
        tokens.push(id);
        if let ControlFlow::Break(finish) = out.push(id) {
            break finish;
        }
        if session.remaining() == 0 {
            break Finish::ContextFull;
        }
        if tokens.len() < options.max_tokens {
            id = next(session, &mut sampler, &[id])?;
        }
    };
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    Ok(Generated { tokens_per_s: tokens.len() as f64 / seconds, tokens, text: out.finish(finish), finish })
}

/// Reads `ids` and chooses what follows.
fn next(session: &mut Session, sampler: &mut Sampler, ids: &[u32]) -> Result<u32, InferError> {
    let id = match sampler.want() {
        Want::All => sampler.choose(session.forward(ids)?),
        Want::Best(count) => sampler.choose_among(session.forward_best(ids, count)?.iter().copied()),
    };
    id.ok_or_else(|| InferError::NotFinite { position: session.position() })
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
        if piece.is_empty() {
            return ControlFlow::Continue(());
        }
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
