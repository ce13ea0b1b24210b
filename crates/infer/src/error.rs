//! What can go wrong between token ids and token ids, each as a sentence with its remedy.

use std::path::PathBuf;

/// Why an engine cannot be made, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// There is nothing to continue.
    #[error("the prompt has no tokens; give at least one word, or at least one token id")]
    EmptyPrompt,
    /// An id that the model has no embedding for.
    #[error(
        "token id {id} (number {} of the input) is beyond the vocabulary of {vocabulary}; \
         use ids from 0 to {}, and the tokenizer the model was trained with",
        position + 1,
        vocabulary - 1
    )]
    TokenOutOfRange {
        /// index in the input
        position: usize,
        /// the id
        id: u32,
        /// V
        vocabulary: usize,
    },
    /// More tokens than the session has places for.
    #[error(
        "{added} tokens after {position} do not fit into the context of {context} tokens; \
         shorten the input to at most {} tokens",
        context - position
    )]
    ContextFull {
        /// tokens already seen
        position: usize,
        /// tokens that were to be added
        added: usize,
        /// places of the session
        context: usize,
    },
    /// Asked for a longer context than the model was made for.
    #[error(
        "a context of {wanted} tokens was asked for, but the model is made for 1 to {context}; ask for one of these"
    )]
    ContextOutOfRange {
        /// what was asked for
        wanted: usize,
        /// the model's
        context: usize,
    },
    /// A share of quantisation outside 0..=1.
    #[error("lambda = {0} is no share of quantisation; give a number from 0 to 1 (1 is the model as served)")]
    Lambda(f32),
    /// Activations to be rounded in blocks of none.
    #[error("activations cannot be rounded in blocks of 0; llama.cpp's blocks have 256")]
    ActivationBlock,
    /// A sampling option that means nothing.
    #[error("sampling: {key} = {value}, but {allowed}")]
    Sampling {
        /// the option
        key: &'static str,
        /// what was given
        value: f32,
        /// what would be right
        allowed: &'static str,
    },
    /// A bias for an id that has no logit.
    #[error(
        "logit_bias: token id {id} is beyond the vocabulary of {vocabulary}; use ids from 0 to {}",
        vocabulary - 1
    )]
    BiasOutOfRange {
        /// the id
        id: u32,
        /// V
        vocabulary: usize,
    },
    /// Proposals where they would change the text.
    #[error(
        "proposals (lookup) promise the text that comes without them, which holds only where sums are exact: for ternary \
         models at lambda = 1; leave the lookup out"
    )]
    InexactLookup,
    /// A grammar that cannot be used.
    #[error("the {kind} cannot be used: {what}; correct it, or leave it out")]
    Grammar {
        /// JSON schema, grammar, regular expression
        kind: &'static str,
        /// the parser's words
        what: String,
    },
    /// A stop string that every text contains.
    #[error("a stop string is empty, so nothing would ever be written; leave it out")]
    EmptyStop,
    /// NaN or infinity where a token is to be chosen.
    #[error(
        "the logits after token number {position} are not finite, so no token can be chosen; the weights are damaged or \
         diverged: look at them with 'trilobit checkpoint inspect', or take an earlier checkpoint"
    )]
    NotFinite {
        /// tokens seen so far
        position: usize,
    },
    /// A model folder without a tokenizer, where text has to be read or written.
    #[error(
        "{}: there is no tokenizer.json, so text cannot become token ids; \
         name one with --tokenizer FILE, or work on ids (logits --ids)",
        path.display()
    )]
    NoTokenizer {
        /// the model's folder
        path: PathBuf,
    },
    /// More memory is needed than is left.
    #[error(
        "the network needs at least {:.1} GB {what}, and the system has {:.1} GB left; close other programs, take a \
         machine with more memory, or {instead}",
        *needed as f64 / 1e9,
        *available as f64 / 1e9
    )]
    TooLarge {
        /// "of weights", "for …"
        what: String,
        /// bytes of that
        needed: usize,
        /// bytes the system can give
        available: usize,
        /// what would need less
        instead: &'static str,
    },
    /// A sequence that is to go another way than those it shares pages with.
    #[error(
        "the sequence needs {needed} pages of its own, because others read those it has, and {free} are free; close a \
         sequence first"
    )]
    SharedPages {
        /// pages that others read
        needed: usize,
        /// pages that nobody reads
        free: usize,
    },
    /// The system has no room for the packed weights.
    #[error(
        "no memory for {} MB of packed weights ({error}); close other programs, or take a machine with more",
        bytes >> 20
    )]
    Memory {
        /// what was asked for
        bytes: usize,
        /// the system's answer
        error: std::io::Error,
    },
    /// The model cannot be found or read.
    #[error(transparent)]
    File(#[from] formats::FileError),
    /// The tokenizer cannot be loaded.
    #[error(transparent)]
    Text(#[from] text::TextError),
}
