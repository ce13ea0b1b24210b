//! Conversations to learn answers from: JSON lines → messages → text by a chat template → ids, of which only the answers
//! are scored → windows that hold whole conversations.
//!
//! All of it is held in memory: sets for fine-tuning are small. The windows are packed once; the loader draws them by seed.

mod line;
mod pack;
mod scored;

use crate::manifest::sha256_hex;
use crate::source;
use crate::{DataError, IGNORE, Split, stats};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use text::Tokenizer;
use text::chat::{BUILT_IN, ChatTemplate, Message};

/// Most tokens of all conversations: they are held in memory.
const TOKENS_MAX: usize = 1 << 30;
/// Largest share of the tokens that can be held out.
const VALID_SHARE_MAX: f64 = 0.5;
/// Text that is encoded together, bytes; a batch ends with the conversation that reaches it.
const BATCH_BYTES: usize = 8 << 20;

/// Which conversations, and how they become windows.
#[derive(Clone, Copy, Debug)]
pub struct ChatOptions<'a> {
    /// `.jsonl` files, also `.gz`, `.zst` and `.xz`
    pub files: &'a [PathBuf],
    /// the content of the model's `tokenizer.json`
    pub tokenizer: &'a [u8],
    /// Jinja source of the chat template
    pub template: &'a str,
    /// ids that end an answer
    pub end_ids: &'a [u32],
    /// positions in a window, T
    pub sequence: usize,
    /// share of the tokens to hold out, whole conversations, above 0 and at most 0.5
    pub valid_share: f64,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatCounts {
    /// kept, both splits
    pub conversations: u64,
    /// held out
    pub held_out: u64,
    /// left out, because they were there already
    pub duplicates: u64,
    /// longer than a window: their ends are not learned
    pub cut: u64,
    /// left out, because they have no answer, or none within a window
    pub unanswered: u64,
    /// whose last answer is not closed by a token that ends an answer
    pub open: u64,
    /// all tokens
    pub tokens: u64,
    /// tokens that are scored
    pub scored: u64,
}

/// Conversations, packed.
#[derive(Debug)]
pub struct Chats {
    counts: ChatCounts,
    fingerprint: String,
    tokens: Vec<u32>,
    /// which of the tokens are to be predicted
    scored: Vec<bool>,
    /// where each conversation's tokens are
    spans: Vec<Range<usize>>,
    /// by split: the conversations of each window
    windows: [Vec<Vec<usize>>; 2],
    /// (V) bytes of text in each token; 0 for special ones
    token_bytes: Vec<u16>,
    sequence: usize,
}

/// A conversation's ids as a hash; the order of these is as good as drawn by lot.
type Key = [u8; 32];

/// Those of all conversations, and of the kept ones in their order.
#[derive(Default)]
struct Keys {
    seen: HashSet<Key>,
    kept: Vec<Key>,
}

/// What was said, and the line that it was on.
struct Conversation {
    messages: Vec<Message>,
    line: u64,
}

impl Chats {
    /// Reads, renders, encodes and packs.
    ///
    /// # Errors
    /// A file that cannot be read; a line that is no conversation, or that the template refuses, by its number; too few
    /// conversations to hold one out.
    pub fn read(options: &ChatOptions) -> Result<Self, DataError> {
        if !(options.valid_share > 0.0 && options.valid_share <= VALID_SHARE_MAX) {
            let what = format!("the validation share is {}", options.valid_share);
            return Err(DataError::unfit(what, format!("choose one above 0 and up to {VALID_SHARE_MAX}")));
        }
        let tokenizer = Tokenizer::from_bytes(options.tokenizer)?;
        let template = template(&tokenizer, options.template)?;
        let mut chats = Self {
            counts: ChatCounts::default(),
            fingerprint: String::new(),
            tokens: Vec::new(),
            scored: Vec::new(),
            spans: Vec::new(),
            windows: Default::default(),
            token_bytes: token_bytes(&tokenizer),
            sequence: options.sequence,
        };
        let mut keys = Keys::default();
        for file in options.files {
            let encode = |conversation: &Conversation| {
                let encoded = scored::encode(&tokenizer, &template, &conversation.messages, options.end_ids);
                encoded.map_err(|what| line::refused(file, conversation.line, what))
            };
            for batch in Batches::open(file)? {
                let encoded: Vec<_> = batch?.par_iter().map(encode).collect();
                encoded.into_iter().try_for_each(|encoded| chats.push(encoded?, &mut keys))?;
            }
        }
        chats.pack(&keys.kept, options)?;
        Ok(chats)
    }

    /// Keeps what a window can hold of a conversation, if anything of it can be learned.
    fn push(&mut self, encoded: scored::Encoded, keys: &mut Keys) -> Result<(), DataError> {
        let scored::Encoded { mut ids, mut scored, open } = encoded;
        let key = key(&ids);
        // The last token is a target only.
        let longest = self.sequence + 1;
        let is_cut = ids.len() > longest;
        ids.truncate(longest);
        scored.truncate(longest);
        let answers = scored.iter().skip(1).filter(|scored| **scored).count() as u64;
        if answers == 0 {
            self.counts.unanswered += 1;
            return Ok(());
        }
        if !keys.seen.insert(key) {
            self.counts.duplicates += 1;
            return Ok(());
        }
        self.counts.conversations += 1;
        self.counts.cut += u64::from(is_cut);
        self.counts.open += u64::from(open);
        self.counts.tokens += ids.len() as u64;
        self.counts.scored += answers;
        let begin = self.tokens.len();
        self.tokens.extend(ids);
        self.scored.extend(scored);
        self.spans.push(begin..self.tokens.len());
        keys.kept.push(key);
        if self.tokens.len() > TOKENS_MAX {
            let what = format!("the conversations have more than {TOKENS_MAX} tokens");
            return Err(DataError::unfit(what, "train on a part of them"));
        }
        Ok(())
    }

    /// Holds some out and packs both splits; `keys` are those of the conversations.
    fn pack(&mut self, keys: &[Key], options: &ChatOptions) -> Result<(), DataError> {
        let names: Vec<_> = options.files.iter().map(|file| file.display().to_string()).collect();
        if self.spans.len() < 2 {
            let what = format!(
                "{}: {} conversations with an answer to learn, and one has to be held out for validation",
                names.join(", "),
                self.spans.len()
            );
            return Err(DataError::unfit(what, "give at least two, or a longer train.sequence"));
        }
        let mut order: Vec<usize> = (0..self.spans.len()).collect();
        order.sort_unstable_by_key(|index| keys[*index]);
        let target = options.valid_share * self.counts.tokens as f64;
        let mut held = 0.0;
        let mut held_out = 0;
        while held_out == 0 || (held < target && held_out + 1 < order.len()) {
            held += self.spans[order[held_out]].len() as f64;
            held_out += 1;
        }
        self.counts.held_out = held_out as u64;
        let (valid, train) = order.split_at(held_out);
        let rows = |index: usize| self.spans[index].len() - 1;
        self.windows = [train, valid].map(|split| pack::best_fit(split, rows, self.sequence));
        let mut hash = Sha256::new();
        hash.update(options.valid_share.to_le_bytes());
        self.spans.iter().for_each(|span| hash.update((span.end as u64).to_le_bytes()));
        self.tokens.iter().for_each(|id| hash.update(id.to_le_bytes()));
        self.scored.iter().for_each(|scored| hash.update([u8::from(*scored)]));
        self.fingerprint = sha256_hex(&hash.finalize());
        Ok(())
    }

    /// Copies one window. All slices are `(T)`; `starts` tells the conversations apart, and padding from them.
    pub(crate) fn fill(
        &self,
        split: Split,
        window: u64,
        tokens: &mut [u32],
        targets: &mut [u32],
        starts: &mut [u32],
    ) {
        let mut at = 0;
        for conversation in &self.windows[split as usize][window as usize] {
            let span = self.spans[*conversation].clone();
            let own = at..at + span.len() - 1;
            let next = span.start + 1..span.end;
            tokens[own.clone()].copy_from_slice(&self.tokens[span.start..span.end - 1]);
            for ((target, id), scored) in
                targets[own.clone()].iter_mut().zip(&self.tokens[next.clone()]).zip(&self.scored[next])
            {
                *target = if *scored { *id } else { IGNORE };
            }
            starts[own.clone()].fill(at as u32);
            at = own.end;
        }
        tokens[at..].fill(0);
        targets[at..].fill(IGNORE);
        starts[at..].fill(at as u32);
    }

    /// What was read.
    pub fn counts(&self) -> ChatCounts {
        self.counts
    }

    /// Windows of a split.
    pub fn windows(&self, split: Split) -> u64 {
        self.windows[split as usize].len() as u64
    }

    /// Positions in a window.
    pub fn sequence(&self) -> usize {
        self.sequence
    }

    /// Identifies tokens, what is scored of them, and split, in hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// (V) bytes of text in each token; 0 for special ones.
    pub fn token_bytes(&self) -> &[u16] {
        &self.token_bytes
    }

    /// The largest id of any conversation.
    pub fn largest_id(&self) -> u32 {
        self.tokens.iter().copied().max().unwrap_or(0)
    }

    /// Entropy of the frequencies of the scored tokens, nats: the loss of a model that knows these and nothing else.
    pub fn unigram_entropy(&self) -> f64 {
        let mut counts = vec![0; self.token_bytes.len()];
        let scored = self.tokens.iter().zip(&self.scored).filter(|(_, scored)| **scored);
        scored.for_each(|(id, _)| counts[*id as usize] += 1);
        stats::entropy(&counts)
    }

    /// What a reader of the counts should know, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let ChatCounts { conversations, held_out, duplicates, cut, unanswered, open, tokens, scored } =
            self.counts;
        let (windows, places) =
            (self.windows(Split::Train), self.windows(Split::Train) + self.windows(Split::Valid));
        let filled = 100.0 * (tokens - conversations) as f64 / (places * self.sequence as u64) as f64;
        let mut notes = vec![format!(
            "{conversations} conversations ({held_out} held out) of {tokens} tokens, {scored} of them answers; {windows} windows to train on, {filled:.1} % full"
        )];
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                notes.push(format!("{what}: {count}"));
            }
        };
        say(duplicates, "conversations that were there already, left out");
        say(cut, &format!("conversations longer than {} tokens, cut", self.sequence + 1));
        say(unanswered, "conversations with no answer to learn, or none within a window, left out");
        say(
            open,
            "conversations that no end-of-turn token ends, so that the model is not taught to stop (check the template)",
        );
        notes
    }
}

/// The Jinja source of a built-in template.
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

/// The ids that end an answer by their usual names, for the content of a `tokenizer.json`.
///
/// # Errors
/// It does not load, or has no such token.
pub fn end_ids(tokenizer: &[u8]) -> Result<Vec<u32>, DataError> {
    let ids = Tokenizer::from_bytes(tokenizer)?.end_ids();
    match ids.is_empty() {
        false => Ok(ids),
        true => Err(DataError::unfit(
            "the model's tokenizer has no token that ends an answer or a text",
            "begin with a model whose tokenizer has one, such as <|endoftext|>",
        )),
    }
}

/// Compiles a template for a tokenizer.
fn template(tokenizer: &Tokenizer, source: &str) -> Result<ChatTemplate, DataError> {
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id)).unwrap_or_default();
    let (bos, eos) = (name(tokenizer.begin_of_text()), name(tokenizer.end_of_text()));
    Ok(ChatTemplate::new(source, &bos, &eos)?)
}

/// The conversations of a file, as many at a time as are encoded together.
struct Batches<'a> {
    path: &'a Path,
    lines: source::JsonLines,
    is_blank: bool,
}

impl<'a> Batches<'a> {
    fn open(path: &'a Path) -> Result<Self, DataError> {
        Ok(Self { path, lines: source::json_lines(path)?, is_blank: true })
    }

    fn read(&mut self) -> Result<Vec<Conversation>, DataError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES {
            let Some((number, text)) = self.lines.next()? else { break };
            bytes += text.len();
            let found = line::read(self.path, number, &text)?;
            batch.extend(found.into_iter().map(|messages| Conversation { messages, line: number }));
        }
        if self.is_blank && batch.is_empty() {
            return Err(DataError::content(
                self.path,
                "it holds no conversation",
                "fill it, or leave it out",
            ));
        }
        self.is_blank = false;
        Ok(batch)
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Vec<Conversation>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map(|batch| (!batch.is_empty()).then_some(batch)).transpose()
    }
}

fn key(ids: &[u32]) -> Key {
    let mut hash = Sha256::new();
    ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    hash.finalize().into()
}

fn token_bytes(tokenizer: &Tokenizer) -> Vec<u16> {
    let bytes = |id| tokenizer.token_bytes(id).map_or(0, |bytes| bytes.len().try_into().unwrap_or(u16::MAX));
    (0..tokenizer.vocabulary_size() as u32).map(bytes).collect()
}
