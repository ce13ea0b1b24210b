//! A loaded `tokenizer.json`: text to ids, ids to text, ids to bytes.

use crate::chunk;
use crate::error::TextError;
use crate::limits::{TOKENIZER_BYTES_MAX, VOCABULARY_MAX};
use crate::quiet;
use crate::spelling::Spelling;
use formats::{FileError, Kind, bounded};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;
use tokenizers::{Model as _, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// Names of the token that ends a document, the usual ones of GPT-2, Llama-3, Llama-2 and Gemma.
const END_OF_TEXT_NAMES: [&str; 4] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"];
/// Names of the token that ends an answer, the usual ones of Llama-3, ChatML, Gemma and Phi.
const END_OF_TURN_NAMES: [&str; 5] = ["<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>"];
/// Texts of at most this many bytes are encoded in one go; the encoder's working memory is about a hundred times that.
const CHUNK_BYTES: usize = 64 << 10;
/// As much of a text that cannot be encoded is shown.
const BEGIN_CHARACTERS: usize = 40;
/// Encoded once at loading: what cannot encode this cannot encode every text.
const PROBE: &str = "aZ 09\t\n\u{0}\u{7f} é\u{301}東🙂\u{fffd}\u{10ffff} <unk>\r\n  .";

/// Any Hugging Face `tokenizer.json`, with its truncation, padding and dropout turned off: encoding loses no text and
/// gives the same ids each time.
pub struct Tokenizer {
    hf: tokenizers::Tokenizer,
    spelling: Spelling,
    pieces: Pieces,
    end_of_text: Option<u32>,
    fingerprint: String,
    /// `None` where the template does more than to put ids around a text.
    around: Option<Around>,
    /// Whether long texts may be cut before words without a change of the ids.
    splits_before_words: bool,
}

/// The ids that the tokenizer's template puts around a text.
struct Around {
    before: Vec<u32>,
    after: Vec<u32>,
}

/// The bytes of all tokens in one arena, by id.
struct Pieces {
    bytes: Vec<u8>,
    /// Where the bytes of id i end; they start where those of id i−1 end. (V)
    ends: Vec<u32>,
    class: Vec<Class>,
}

/// What an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// No token has this id.
    Hole,
    Text,
    Special,
}

/// The parts of a `tokenizer.json` that are judged here; the rest is the tokenizers crate's.
#[derive(Deserialize)]
struct Layout {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    byte_fallback: Option<bool>,
    vocab: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

impl Tokenizer {
    /// Loads a `tokenizer.json` of at most [`TOKENIZER_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// The file is missing, too large, no tokenizer, of an unsupported kind, or would give other ids than it states.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        let facts = std::fs::metadata(path).map_err(|e| FileError::io(path, "open", &e))?;
        if facts.len() > TOKENIZER_BYTES_MAX {
            let what = format!(
                "it has {} bytes, more than the {TOKENIZER_BYTES_MAX} that a tokenizer may have",
                facts.len()
            );
            return Err(damaged(path, what));
        }
        Self::parse(&bounded::read(path, TOKENIZER_BYTES_MAX)?, path)
    }

    /// As [`Tokenizer::load`], from the content of the file.
    pub fn from_bytes(json: &[u8]) -> Result<Self, TextError> {
        Self::parse(json, Path::new("tokenizer.json (in memory)"))
    }

    /// `path` is for errors only.
    fn parse(json: &[u8], path: &Path) -> Result<Self, TextError> {
        let layout = Layout::parse(json, path)?;
        let hf = load_hf(json, path)?;
        let byte_fallback = layout.model.as_ref().and_then(|m| m.byte_fallback).unwrap_or(false);
        let encoder = [&layout.normalizer, &layout.pre_tokenizer];
        let spelling = Spelling::detect(&layout.decoder, &encoder, byte_fallback).ok_or_else(|| {
            let what = format!("its decoder {} is not supported", layout.decoder["type"]);
            let remedy = "use a byte-level, SentencePiece or WordPiece tokenizer";
            TextError::from(FileError::new(path, Kind::Unfit, what, remedy))
        })?;
        layout.check_added_ids(&hf, path)?;
        let pieces = Pieces::new(&hf, &spelling).map_err(|what| damaged(path, what))?;
        let is_special = |id: &u32| pieces.class(*id) == Class::Special;
        let end_of_text = END_OF_TEXT_NAMES.iter().find_map(|n| hf.token_to_id(n).filter(is_special));
        let around = Around::find(&hf);
        let splits_before_words = spelling == Spelling::ByteLevel
            && around.is_some()
            && layout.normalizer.is_null()
            && layout.added_tokens.iter().all(Added::is_plain)
            && hf.get_pre_tokenizer().is_some_and(splits_before_words);
        Ok(Self {
            hf,
            spelling,
            pieces,
            end_of_text,
            fingerprint: hex(&Sha256::digest(json)),
            around,
            splits_before_words,
        })
    }

    /// The ids of `text`. Special tokens written out in the text become their ids; `special` also adds those that the
    /// tokenizer's template puts around a text (Llama-3's `<|begin_of_text|>`).
    ///
    /// # Errors
    /// There is no token for a part of the text, or the expression that finds its words takes too many steps on it.
    pub fn try_encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TextError> {
        if text.len() <= CHUNK_BYTES || !self.splits_before_words {
            return self.encode_whole(text, special);
        }
        let mut ids = Vec::with_capacity(text.len() / 4);
        let around = self.around.as_ref().filter(|_| special);
        ids.extend(around.into_iter().flat_map(|around| &around.before));
        for piece in chunk::at_words(text, CHUNK_BYTES) {
            ids.extend(self.encode_whole(piece, false)?);
        }
        ids.extend(around.into_iter().flat_map(|around| &around.after));
        Ok(ids)
    }

    /// As [`Tokenizer::try_encode`], for tests and for texts of our own making.
    ///
    /// # Panics
    /// Where [`Tokenizer::try_encode`] is an error.
    pub fn encode(&self, text: &str, special: bool) -> Vec<u32> {
        self.try_encode(text, special).unwrap_or_else(|error| panic!("{error}"))
    }

    fn encode_whole(&self, text: &str, special: bool) -> Result<Vec<u32>, TextError> {
        // Oniguruma's binding panics where an expression takes more than ten million steps.
        let what = match quiet::catch(|| self.hf.encode_fast(text, special)) {
            Ok(Ok(encoding)) => return Ok(encoding.get_ids().to_vec()),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => match panic.downcast::<String>() {
                Ok(message) => *message,
                Err(_) => "its parts contradict each other".to_owned(),
            },
        };
        Err(TextError::Encode { begin: text.chars().take(BEGIN_CHARACTERS).collect(), what })
    }

    /// The text of `ids`: the bytes of the tokens one after another, without the leading space that encoding adds
    /// (SentencePiece), bytes that are not UTF-8 as U+FFFD. Special tokens and ids outside of the vocabulary have no text.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes(*id)).copied().collect();
        let spaces = bytes.iter().take_while(|b| **b == b' ').count();
        String::from_utf8_lossy(&bytes[spaces.min(self.spelling.added_spaces())..]).into_owned()
    }

    /// Largest id plus one: the rows an embedding needs. Ids without a token are counted.
    pub fn vocabulary_size(&self) -> usize {
        self.pieces.class.len()
    }

    /// The bytes that the token adds to a text; empty for a special token, `None` for an id without a token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        (self.pieces.class(id) != Class::Hole).then(|| self.bytes(id).to_vec())
    }

    /// As [`Tokenizer::token_bytes`], borrowed; empty for an id without a token.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        self.pieces.bytes(id)
    }

    /// The first id that the tokenizer's template puts before a text, if it puts any there.
    pub fn begin_of_text(&self) -> Option<u32> {
        self.around.as_ref()?.before.first().copied()
    }

    /// The special token that ends a document, if it has one of the usual names.
    pub fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }

    /// The special tokens that end a document or an answer, by their usual names.
    pub fn end_ids(&self) -> Vec<u32> {
        let names = END_OF_TEXT_NAMES.iter().chain(&END_OF_TURN_NAMES);
        names.filter_map(|name| self.token_to_id(name).filter(|id| self.is_special(*id))).collect()
    }

    /// Whether the id is a special token, one that is not text.
    pub fn is_special(&self, id: u32) -> bool {
        self.pieces.class(id) == Class::Special
    }

    /// The id of a token as the vocabulary spells it (`Ġthe`, `<|endoftext|>`).
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.hf.token_to_id(token)
    }

    /// The token as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.hf.id_to_token(id)
    }

    /// How bytes are spelled in the vocabulary.
    pub fn spelling(&self) -> &Spelling {
        &self.spelling
    }

    /// The kind of model, for people: `byte-level BPE`, `SentencePiece-style Unigram`, ….
    pub fn kind(&self) -> String {
        let model = match self.hf.get_model() {
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
            ModelWrapper::Unigram(_) => "Unigram",
        };
        let spelling = match self.spelling {
            Spelling::ByteLevel => "byte-level",
            Spelling::SentencePiece { .. } => "SentencePiece-style",
            Spelling::Words { .. } => "word",
        };
        format!("{spelling} {model}")
    }

    /// SHA-256 of the `tokenizer.json`, in hexadecimal: the same file gives the same ids.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

impl Layout {
    fn parse(json: &[u8], path: &Path) -> Result<Self, TextError> {
        if json.is_empty() {
            return Err(damaged(path, "it is empty"));
        }
        let layout: Self = serde_json::from_slice(json)
            .map_err(|e| damaged(path, format!("it is not a tokenizer.json ({e})")))?;
        match &layout.model {
            Some(Model { vocab: Some(_), .. }) => Ok(layout),
            _ => {
                Err(damaged(path, "it is JSON, but no tokenizer.json: it has no \"model\" with a \"vocab\""))
            }
        }
    }

    /// The tokenizers crate numbers added tokens by their order and not by their "id": a hole in the ids shifts them.
    fn check_added_ids(&self, hf: &tokenizers::Tokenizer, path: &Path) -> Result<(), TextError> {
        for Added { id, content, .. } in self.added_tokens.iter().filter(|a| !a.content.is_empty()) {
            match hf.token_to_id(content) {
                Some(given) if given == *id => (),
                Some(given) => {
                    let what = format!(
                        "its added token {content:?} is stated as id {id}, but its place gives it id {given}"
                    );
                    let remedy = "give every id below the added tokens a token, so that there is no hole";
                    return Err(FileError::damaged(path, what, remedy).into());
                }
                None => {
                    return Err(damaged(path, format!("its added token {content:?} has no id")));
                }
            }
        }
        Ok(())
    }
}

impl Added {
    /// Found in a text by its characters alone, and never cut.
    fn is_plain(&self) -> bool {
        !(self.single_word || self.lstrip || self.rstrip || chunk::may_cut(&self.content))
    }
}

impl Around {
    /// Compares a known text with and without the template.
    fn find(hf: &tokenizers::Tokenizer) -> Option<Self> {
        let ids = |special| Some(hf.encode_fast(PROBE, special).ok()?.get_ids().to_vec());
        let (plain, whole): (Vec<u32>, Vec<u32>) = (ids(false)?, ids(true)?);
        let own = whole.windows(plain.len().max(1)).position(|ids| ids == plain)?;
        let (before, rest) = whole.split_at(own);
        let after = &rest[plain.len()..];
        (!after.starts_with(&plain)).then(|| Self { before: before.to_vec(), after: after.to_vec() })
    }
}

impl Pieces {
    /// # Errors
    /// What is wrong with the vocabulary.
    fn new(hf: &tokenizers::Tokenizer, spelling: &Spelling) -> Result<Self, String> {
        let vocabulary = hf.get_vocab(true);
        let largest = vocabulary.values().max().ok_or("its vocabulary is empty")?;
        let size = *largest as usize + 1;
        if size > VOCABULARY_MAX {
            return Err(format!(
                "its largest token id is {largest}, more than the {} supported",
                VOCABULARY_MAX - 1
            ));
        }
        let mut tokens: Vec<Option<&str>> = vec![None; size];
        for (token, id) in &vocabulary {
            if let Some(other) = tokens[*id as usize].replace(token) {
                let (a, b) = (other.min(token), other.max(token));
                return Err(format!("two of its tokens, {a:?} and {b:?}, have the id {id}"));
            }
        }
        let added = hf.get_added_tokens_decoder();
        let mut pieces =
            Self { bytes: Vec::new(), ends: Vec::with_capacity(size), class: Vec::with_capacity(size) };
        for (id, token) in (0..).zip(tokens) {
            let entry = added.get(&id);
            let class = match (token, entry) {
                (None, _) => Class::Hole,
                (Some(_), Some(added)) if added.special => Class::Special,
                (Some(_), _) => Class::Text,
            };
            if let (Class::Text, Some(token)) = (class, token) {
                pieces.bytes.extend(spelling.bytes(token, entry.is_some()));
            }
            pieces.ends.push(pieces.bytes.len() as u32);
            pieces.class.push(class);
        }
        Ok(pieces)
    }

    fn class(&self, id: u32) -> Class {
        self.class.get(id as usize).copied().unwrap_or(Class::Hole)
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(end) = self.ends.get(id) else {
            return &[];
        };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..*end as usize]
    }
}

/// The tokenizers crate panics on some files that are JSON but no tokenizer; here that is an error like the others.
fn load_hf(json: &[u8], path: &Path) -> Result<tokenizers::Tokenizer, TextError> {
    let load = || -> tokenizers::Result<tokenizers::Tokenizer> {
        let mut hf = tokenizers::Tokenizer::from_bytes(json)?;
        hf.with_truncation(None)?.with_padding(None);
        if let ModelWrapper::BPE(bpe) = hf.get_model()
            && bpe.dropout.is_some()
        {
            let mut exact = bpe.clone();
            exact.dropout = None;
            hf.with_model(exact);
        }
        if let Some(unknown) = unknown_token(hf.get_model())
            && hf.get_model().token_to_id(unknown).is_none()
        {
            return Err(format!("its vocabulary has no {unknown:?} for the words that are not in it").into());
        }
        hf.encode_fast(PROBE, true)?;
        Ok(hf)
    };
    match quiet::catch(load) {
        Ok(Ok(hf)) => Ok(hf),
        Ok(Err(error)) => Err(damaged(path, format!("it is not a usable tokenizer ({error})"))),
        Err(_) => Err(damaged(path, "it is not a usable tokenizer (its parts contradict each other)")),
    }
}

/// The token for any word that is not in the vocabulary, of the models that cannot do without.
fn unknown_token(model: &ModelWrapper) -> Option<&str> {
    match model {
        ModelWrapper::WordLevel(model) => Some(&model.unk_token),
        ModelWrapper::WordPiece(model) => Some(&model.unk_token),
        ModelWrapper::BPE(_) | ModelWrapper::Unigram(_) => None,
    }
}

/// Whether the pre-tokenizer cuts at the places where [`chunk::at_words`] does, and adds nothing at the start.
pub(crate) fn splits_before_words(pre_tokenizer: &impl PreTokenizer) -> bool {
    let words = |text| words(pre_tokenizer, text);
    chunk::PLACES.iter().all(|(text, at)| {
        let (before, after) = text.split_at(*at);
        match (words(text), words(before), words(after)) {
            (Some(whole), Some(before), Some(after)) => whole == [before, after].concat(),
            _ => false,
        }
    })
}

/// What the pre-tokenizer makes of a text; `None` where it fails.
pub(crate) fn words(pre_tokenizer: &impl PreTokenizer, text: &str) -> Option<Vec<String>> {
    let mut split = PreTokenizedString::from(text);
    pre_tokenizer.pre_tokenize(&mut split).ok()?;
    let words = split.get_splits(OffsetReferential::Original, OffsetType::None);
    Some(words.iter().map(|(word, ..)| (*word).to_owned()).collect())
}

fn damaged(path: &Path, what: impl Into<String>) -> TextError {
    let remedy = "name a Hugging Face tokenizer.json, or make one with 'trilobit tokenizer train'";
    FileError::damaged(path, what, remedy).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}
