//! Grammars as token masks: at each step only the tokens that keep the text within the grammar.
//!
//! The work is llguidance's; here the tokenizer becomes its trie, once for each constraint.

use crate::InferError;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use std::sync::Arc;
use text::Tokenizer;
use toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};

/// What a continuation must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// JSON of this schema, without blanks that mean nothing unless its `x-guidance` asks for them
    JsonSchema(Value),
    /// a Lark grammar, as llguidance understands it; begins at `start`
    Lark(String),
    /// a regular expression for the whole text
    Regex(String),
}

impl Grammar {
    /// For people.
    fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "JSON schema",
            Self::Lark(_) => "grammar",
            Self::Regex(_) => "regular expression",
        }
    }

    fn compile(&self) -> TopLevelGrammar {
        match self {
            Self::JsonSchema(schema) => {
                let mut schema = schema.clone();
                // A small model can write blanks for ever.
                let compact =
                    json!({"whitespace_flexible": false, "item_separator": ",", "key_separator": ":"});
                if let Some(object) = schema.as_object_mut() {
                    object.entry("x-guidance").or_insert(compact);
                }
                TopLevelGrammar::from_json_schema(schema)
            }
            Self::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
            Self::Regex(regex) => TopLevelGrammar::from_regex(regex),
        }
    }

    fn refuse(&self, what: impl ToString) -> InferError {
        // The parser adds its state on further lines.
        let what = what.to_string().lines().next().unwrap_or_default().to_owned();
        InferError::Grammar { kind: self.kind(), what }
    }
}

/// A grammar with a place in it: which tokens may come next. A clone goes its own way.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    grammar: Grammar,
    /// ids that are words of the tokenizer
    words: usize,
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_tuple("Constraint").field(&self.grammar).finish()
    }
}

impl Constraint {
    /// The beginning of `grammar`; `ends` are the ids that may end a text which is complete.
    ///
    /// # Errors
    /// The grammar is none, or asks for what cannot be held to.
    pub fn new(grammar: &Grammar, tokenizer: &Tokenizer, ends: &[u32]) -> Result<Self, InferError> {
        let refuse = |error: &dyn std::fmt::Display| grammar.refuse(error);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie(tokenizer, ends)));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| refuse(&error))?;
        factory.quiet();
        let matcher = Matcher::new(factory.create_parser(grammar.compile()));
        match matcher.get_error() {
            Some(error) => Err(refuse(&error)),
            None => Ok(Self { matcher, grammar: grammar.clone(), words: tokenizer.vocabulary_size() }),
        }
    }

    /// The tokens that may come next.
    pub(super) fn allowed(&mut self) -> Result<Allowed, InferError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| self.grammar.refuse(error))?;
        Ok(Allowed { mask, words: self.words })
    }

    /// Goes on by one token.
    pub(super) fn consume(&mut self, id: u32) -> Result<(), InferError> {
        self.matcher.consume_token(id).map_err(|error| self.grammar.refuse(error))
    }

    /// Whether the text is complete and cannot go on.
    pub(super) fn is_finished(&self) -> bool {
        self.matcher.is_stopped()
    }
}

/// A set of tokens.
pub(super) struct Allowed {
    mask: SimpleVob,
    /// ids that are words of the tokenizer
    words: usize,
}

impl Allowed {
    pub(super) fn contains(&self, id: u32) -> bool {
        (id as usize) < self.words && self.mask.is_allowed(id)
    }
}

/// The tokens' bytes as llguidance wants them. Special tokens have a marker before their name, so that no text is one.
fn trie(tokenizer: &Tokenizer, ends: &[u32]) -> TokTrie {
    let mut words: Vec<Vec<u8>> = (0..tokenizer.vocabulary_size() as u32)
        .map(|id| match tokenizer.is_special(id) || ends.contains(&id) {
            true => {
                let name = tokenizer.id_to_token(id).unwrap_or_default();
                [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()
            }
            false => tokenizer.token_bytes(id).unwrap_or_default(),
        })
        .collect();
    let mut ends: Vec<u32> = ends.iter().copied().filter(|id| (*id as usize) < words.len()).collect();
    if ends.is_empty() {
        // llguidance needs one. A network with more logits than there are words has one for this: `allowed` leaves it out.
        ends.push(words.len() as u32);
        words.push([&[TokTrie::SPECIAL_TOKEN_MARKER], &b"<|end|>"[..]].concat());
    }
    let info = TokRxInfo::new(words.len() as u32, ends[0]);
    TokTrie::from(&info, &words).with_eos_tokens(&ends)
}
