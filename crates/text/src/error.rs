//! What can go wrong between text and ids, each as a sentence with its remedy.

use formats::FileError;

/// Why a tokenizer cannot be loaded, trained or used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The tokenizer file cannot be read, or is not a usable tokenizer.
    #[error(transparent)]
    File(#[from] FileError),
    /// The options of a training contradict themselves.
    #[error("cannot train a tokenizer: {what}; {remedy}")]
    Options {
        /// What is wrong, without a final stop.
        what: String,
        /// What to do next, without a final stop.
        remedy: String,
    },
    /// The text has too few different pairs for the vocabulary asked for.
    #[error(
        "cannot train a tokenizer of {wanted} tokens: the {text_bytes} bytes of text suffice for {reached}; \
         give more text or ask for at most {reached}"
    )]
    TooLittleText {
        /// Vocabulary asked for, tokens.
        wanted: usize,
        /// Vocabulary reached, tokens.
        reached: usize,
        /// Text seen, bytes.
        text_bytes: u64,
    },
    /// A chat template that cannot be used, or a conversation that it refuses.
    #[error("the chat template cannot be used: {what}; name another one, or change the conversation")]
    Template {
        /// What is wrong, without a final stop.
        what: String,
    },
    /// A text that the tokenizer has no ids for.
    #[error(
        "the tokenizer cannot encode the text that begins {begin:?}: {what}; change that text, or use another \
         tokenizer"
    )]
    Encode {
        /// How the text begins, or the part of it that was reached.
        begin: String,
        /// What is wrong, without a final stop.
        what: String,
    },
    /// More text than [`crate::limits::TRAINING_BYTES_MAX`].
    #[error("cannot train a tokenizer on more than {limit} bytes of text; give a sample of it")]
    TooMuchText {
        /// The limit, bytes.
        limit: u64,
    },
}
