//! Perplexity: how well a model predicts a text, window by window.
//!
//! A window of W tokens predicts the W tokens after each of its own; its first token is context only. The next window
//! starts `stride` tokens later and scores only the targets that no window before it has scored. With stride = W the
//! windows do not overlap, and each token of the text but the first is scored once, as in training; with a smaller
//! stride each target sees at least W − stride tokens of context (but for those of the first window).

use infer::{InferError, Session};
use serde::Serialize;
use text::{TextError, Tokenizer};

/// How a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// W, tokens; at most the session's context
    pub window: usize,
    /// from the start of a window to that of the next, tokens, 1..=W
    pub stride: usize,
}

impl Windows {
    /// Refuses windows that are no windows of a model of `context` tokens.
    ///
    /// # Errors
    /// The window, the stride and what they can be.
    pub fn check(self, context: usize) -> Result<(), EvalError> {
        let Self { window, stride } = self;
        match (1..=context).contains(&window) && (1..=window).contains(&stride) {
            true => Ok(()),
            false => Err(EvalError::Windows { window, stride, context }),
        }
    }
}

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// mean negative log-likelihood of a scored token, nats
    pub nll_per_token: f64,
    /// `e^nll_per_token`
    pub perplexity: f64,
    /// bits for each byte of the text whose tokens were scored
    pub bits_per_byte: f64,
    /// tokens scored
    pub tokens: u64,
    /// `e^(nll of all scored tokens / words)`, words separated by white space; `None` where there are none, or so few
    /// that it is not finite (a text without blanks is one word)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_perplexity: Option<f64>,
    /// words of the text
    pub words: u64,
}

/// Why there is no perplexity.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Nothing to predict.
    #[error("the text has {tokens} tokens, and the first of a text is context only; give a longer text")]
    TooShort {
        /// tokens of the text
        tokens: usize,
    },
    /// A window or a stride that cannot be.
    #[error(
        "a window of {window} tokens with a stride of {stride}: the window is 1 to {context} tokens (the model's \
         context), the stride 1 to the window"
    )]
    Windows {
        /// asked for
        window: usize,
        /// asked for
        stride: usize,
        /// the session's
        context: usize,
    },
    /// NaN or infinity.
    #[error(
        "the likelihood of token number {token} is not finite; the weights are damaged or diverged: look at them with \
         'trilobit checkpoint inspect', or take an earlier checkpoint"
    )]
    NotFinite {
        /// index in the text
        token: usize,
    },
    /// The tokenizer's own.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The engine's own.
    #[error(transparent)]
    Infer(#[from] InferError),
}

/// Perplexity of `text`, with what the tokenizer's template puts around a text. `progress` is told tokens done and
/// tokens in all after each window.
///
/// # Errors
/// A text that the tokenizer cannot encode, fewer than two tokens, windows that cannot be, a token beyond the model's vocabulary, values that are not finite.
pub fn perplexity(
    session: &mut Session,
    tokenizer: &Tokenizer,
    text: &str,
    windows: Windows,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Perplexity, EvalError> {
    let ids = tokenizer.try_encode(text, true)?;
    let total = nll(session, &ids, windows, progress)?;
    let first_bytes = ids.first().and_then(|id| tokenizer.token_bytes(*id)).map_or(0, |bytes| bytes.len());
    let bytes = text.len().saturating_sub(first_bytes).max(1);
    let words = text.split_whitespace().count();
    let tokens = ids.len() - 1;
    let nll_per_token = total / tokens as f64;
    Ok(Perplexity {
        nll_per_token,
        perplexity: nll_per_token.exp(),
        bits_per_byte: total / std::f64::consts::LN_2 / bytes as f64,
        tokens: tokens as u64,
        word_perplexity: Some((total / words as f64).exp()).filter(|value| words > 0 && value.is_finite()),
        words: words as u64,
    })
}

/// Sum of the negative log-likelihoods (nats) of all of `ids` but the first.
fn nll(
    session: &mut Session,
    ids: &[u32],
    windows: Windows,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<f64, EvalError> {
    let Windows { window, stride } = windows;
    session.reset();
    windows.check(session.remaining())?;
    if ids.len() < 2 {
        return Err(EvalError::TooShort { tokens: ids.len() });
    }
    let vocabulary = session.config().vocabulary;
    if let Some(position) = ids.iter().position(|id| *id as usize >= vocabulary) {
        let id = ids[position];
        return Err(InferError::TokenOutOfRange { position, id, vocabulary }.into());
    }
    let mut total = 0.0;
    let mut scored = 1;
    for start in (0..).step_by(stride) {
        // The last token of the text is a target only.
        let end = (start + window).min(ids.len() - 1);
        session.reset();
        session.forward_each(&ids[start..end], &mut |index, logits| {
            let target = start + index + 1;
            if target >= scored {
                total += infer::log_sum_exp(logits) - f64::from(logits[ids[target] as usize]);
            }
        })?;
        if !total.is_finite() {
            return Err(EvalError::NotFinite { token: scored });
        }
        scored = end + 1;
        progress(scored, ids.len());
        if scored == ids.len() {
            break;
        }
    }
    Ok(total)
}
