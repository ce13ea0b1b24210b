//! The model does not say where an answer ends.
//!
//! Engines stop at the ids that the model declares. Without any they go on to the limit; with the end of a text only,
//! a chat model's own end of a turn (`<|eot_id|>`, `<|im_end|>`) is printed and talked past.
//!
//! Remedy: declare all ids that end an answer (`eos_token_id` in generation_config.json may be a list;
//! `tokenizer.ggml.eot_token_id` in a GGUF).
//!
//! Source: 2B4T stops at 128001 and at 128009.

use crate::rules::Rule;
use crate::subject::Form;
use crate::{Sign, Subject};

/// See the module.
pub struct EndIds;

impl Rule for EndIds {
    fn code(&self) -> &'static str {
        "T507"
    }

    fn name(&self) -> &'static str {
        "end-ids"
    }

    fn check(&self, subject: &Subject) -> Option<Sign> {
        if !matches!(subject.form, Form::HuggingFace | Form::Gguf) || subject.text.size.is_none() {
            return None;
        }
        let text = &subject.text;
        if text.end_ids.is_empty() {
            return Some(Sign::warning("no id is declared as the end of a text"));
        }
        let is_turn = |name: &str| TURN_ENDS.contains(&name);
        let missing = text.named_ends.iter().filter(|(name, id)| is_turn(name) && !text.end_ids.contains(id));
        let names: Vec<String> = missing.map(|(name, id)| format!("{name} ({id})")).collect();
        (text.has_chat_template && !names.is_empty())
            .then(|| Sign::warning(format!("the end of a turn is not declared: {}", names.join(", "))))
    }
}

/// Tokens that end a turn.
const TURN_ENDS: &[&str] = &["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::fixture::*;

    #[test]
    fn it_fires() {
        fires(&EndIds, |s| {
            s.form = Form::Gguf;
            s.text.end_ids.clear();
        });
        fires(&EndIds, |s| {
            s.form = Form::HuggingFace;
            s.text.has_chat_template = true;
            s.text.named_ends = vec![("<|eot_id|>".into(), 9)];
        });
    }

    #[test]
    fn it_is_silent() {
        silent(&EndIds, |s| s.form = Form::Gguf);
    }
}
