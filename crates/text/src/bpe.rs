//! Trains byte-level BPE tokenizers.

use crate::chunk;
use crate::error::TextError;
use crate::limits::{TRAINING_BYTES_MAX, VOCABULARY_MAX};
use crate::spelling::byte_char;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{
    AddedToken, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
    ProgressFormat, Trainer,
};

/// The special token that ends a document, id 0 of a tokenizer trained with the default options.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Tokens that every vocabulary has: one for each byte, so that any text can be encoded.
const BYTE_TOKENS: usize = 256;
/// Documents are counted in pieces of about this size, which bounds the working memory.
const PIECE_BYTES: usize = 64 << 10;
const PIECE_BYTES_MAX: usize = 1 << 20;
/// Longer words (a text without blanks) are cut: the trainer's time grows with the square of the length.
const WORD_BYTES_MAX: usize = 256;

/// What to train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainOptions {
    /// Tokens in all: special tokens, then the 256 bytes, then merges.
    pub vocabulary: usize,
    /// Special tokens; their ids are 0, 1, 2, …. What they spell is left out of the text.
    pub special_tokens: Vec<String>,
    /// Least occurrences of a pair that is merged.
    pub min_frequency: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { vocabulary: 8192, special_tokens: vec![END_OF_TEXT.to_owned()], min_frequency: 2 }
    }
}

/// Trains a byte-level BPE on `documents` and returns its `tokenizer.json`: GPT-2's pattern, digits one by one, no space
/// added in front. The same documents and options give the same bytes, whatever the number of threads.
///
/// # Errors
/// The options contradict themselves, the text is too large, or it has too few pairs for the vocabulary.
pub fn train(
    documents: impl Iterator<Item = String> + Send,
    options: &TrainOptions,
) -> Result<Vec<u8>, TextError> {
    check(options)?;
    let added: Vec<AddedToken> = options.special_tokens.iter().map(|t| AddedToken::from(t, true)).collect();
    let mut trainer = BpeTrainer::builder()
        .vocab_size(options.vocabulary)
        .min_frequency(options.min_frequency)
        .special_tokens(added.clone())
        .initial_alphabet((0..=u8::MAX).map(byte_char).collect::<HashSet<_>>())
        .show_progress(false)
        .progress_format(ProgressFormat::Silent)
        .build();
    let split = Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(byte_level()),
    ]);
    let text_bytes = count_words(&mut trainer, documents, &split, &options.special_tokens)?;
    let mut bpe = BPE::default();
    trainer.train(&mut bpe).map_err(internal)?;
    let reached = bpe.get_vocab_size();
    if reached != options.vocabulary {
        return Err(TextError::TooLittleText { wanted: options.vocabulary, reached, text_bytes });
    }
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(split)).with_decoder(Some(byte_level()));
    tokenizer.add_special_tokens(added).map_err(internal)?;
    let mut json = tokenizer.to_string(true).map_err(internal)?;
    json.push('\n');
    Ok(json.into_bytes())
}

fn byte_level() -> ByteLevel {
    ByteLevel::default().add_prefix_space(false)
}

/// Feeds the words of all documents to the trainer; returns the bytes of text.
fn count_words(
    trainer: &mut BpeTrainer,
    documents: impl Iterator<Item = String> + Send,
    split: &Sequence,
    special_tokens: &[String],
) -> Result<u64, TextError> {
    let seen = AtomicU64::new(0);
    let pieces = documents
        .take_while(|document| {
            let bytes = document.len() as u64;
            seen.fetch_add(bytes, Ordering::Relaxed) + bytes <= TRAINING_BYTES_MAX
        })
        .flat_map(|document| pieces(&document, special_tokens));
    let words = |piece: &str| {
        let mut words = PreTokenizedString::from(piece);
        split.pre_tokenize(&mut words)?;
        let splits = words.get_splits(OffsetReferential::Original, OffsetType::None);
        Ok(splits.into_iter().flat_map(|(word, ..)| parts(word)).collect())
    };
    trainer.feed(pieces, words).map_err(internal)?;
    match seen.into_inner() {
        bytes if bytes > TRAINING_BYTES_MAX => Err(TextError::TooMuchText { limit: TRAINING_BYTES_MAX }),
        bytes => Ok(bytes),
    }
}

/// A word, spelled with one character for each byte, in parts of bounded length.
fn parts(mut word: &str) -> Vec<String> {
    let mut parts = Vec::with_capacity(1);
    while let Some((cut, _)) = word.char_indices().nth(WORD_BYTES_MAX) {
        let (part, rest) = word.split_at(cut);
        parts.push(part.to_owned());
        word = rest;
    }
    parts.push(word.to_owned());
    parts
}

/// The document in pieces of bounded size, without the special tokens written in it.
fn pieces(document: &str, special_tokens: &[String]) -> Vec<String> {
    let mut parts = vec![document];
    for token in special_tokens {
        parts = parts.into_iter().flat_map(|part| part.split(token.as_str())).collect();
    }
    let cut = |part| chunk::at_words_or_anywhere(part, PIECE_BYTES, PIECE_BYTES_MAX).map(str::to_owned);
    parts.into_iter().flat_map(cut).collect()
}

fn check(options: &TrainOptions) -> Result<(), TextError> {
    let error = |what: String, remedy: String| Err(TextError::Options { what, remedy });
    let special = &options.special_tokens;
    let least = BYTE_TOKENS + special.len();
    if options.vocabulary < least {
        let what = format!(
            "a vocabulary of {} has no room for 256 bytes and {} special tokens",
            options.vocabulary,
            special.len()
        );
        return error(what, format!("ask for at least {least}"));
    }
    if options.vocabulary > VOCABULARY_MAX {
        let what = format!("a vocabulary of {} is too large", options.vocabulary);
        return error(what, format!("ask for at most {VOCABULARY_MAX}"));
    }
    for (i, token) in special.iter().enumerate() {
        if !is_special_name(token) {
            let what = format!("the special token {token:?} could be a piece of ordinary text");
            return error(what, "write it with letters and brackets, such as <|user|>".into());
        }
        if special[..i].contains(token) {
            return error(format!("the special token {token:?} is given twice"), "give it once".into());
        }
    }
    Ok(())
}

/// A name that no merge spells: GPT-2's pattern cuts between letters and all punctuation but the apostrophe.
fn is_special_name(token: &str) -> bool {
    let punctuation = |c: char| c.is_ascii_punctuation() && c != '\'';
    token.contains(punctuation) && token.contains(|c: char| c.is_ascii_alphabetic())
}

/// The trainer and its writer fail on no input: a failure is a fault of theirs or ours.
fn internal(error: tokenizers::Error) -> TextError {
    TextError::Options {
        what: format!("the trainer failed ({error})"),
        remedy: "report this as a fault of trilobit".into(),
    }
}
