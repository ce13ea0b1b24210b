//! One line of JSON as conversations, in the layouts that sets for fine-tuning have.

use crate::DataError;
use crate::source::halves;
use serde_json::{Map, Value};
use std::path::Path;
use text::chat::Message;

/// What is wanted of a line, for its reader.
const LAYOUTS: &str = "give each line \"messages\" (each with \"role\" and \"content\"), \"prompt\" and \"completion\", \
    \"instruction\" and \"output\" (also \"input\", or both in \"instances\"), or \"question\" and \"answer\"";

/// Keys of one question and its answer.
const PAIRS: [(&str, &str); 2] = [("prompt", "completion"), ("question", "answer")];

/// The error of a line.
pub(super) fn refused(path: &Path, line: u64, what: String) -> DataError {
    DataError::content(path, format!("line {line}: {what}"), LAYOUTS)
}

/// The conversations of a line.
///
/// # Errors
/// What is wrong with it, by its place.
pub(super) fn read(path: &Path, line: u64, text: &str) -> Result<Vec<Vec<Message>>, DataError> {
    conversations(text).map_err(|what| match halves::replaced(text) {
        Some(_) => {
            let what = format!("line {line}: it has {}", halves::WHAT);
            DataError::content(path, what, "write the whole character, or \\ufffd for it")
        }
        None => refused(path, line, what),
    })
}

/// The conversations of a line: one, or those of its instances.
///
/// # Errors
/// What is wrong with it.
fn conversations(text: &str) -> Result<Vec<Vec<Message>>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let Value::Object(object) = &value else {
        return Err("it is no JSON object".into());
    };
    if object.contains_key("messages") {
        return Ok(vec![messages(object)?]);
    }
    let has = |key: &str| object.contains_key(key);
    let whole = |(question, answer): &&(&str, &str)| has(question) && has(answer);
    // A question alone is at fault only where nothing else is asked: sets of instructions may have a "prompt" beside.
    let half = |(question, _): &&(&str, &str)| has(question) && !has("instruction");
    if let Some((question, answer)) = PAIRS.iter().find(whole).or_else(|| PAIRS.iter().find(half)) {
        return Ok(vec![exchange(string(object, question)?, string(object, answer)?)]);
    }
    if !object.contains_key("instruction") {
        const KEYS_SHOWN_MAX: usize = 8;
        let keys: Vec<&str> = object.keys().take(KEYS_SHOWN_MAX).map(String::as_str).collect();
        return Err(format!("it is no conversation, it has only the keys {}", keys.join(", ")));
    }
    let instruction = string(object, "instruction")?;
    let Some(instances) = object.get("instances") else {
        return Ok(vec![instructed(instruction, object)?]);
    };
    let instances = instances.as_array().ok_or("its \"instances\" are no list")?;
    instances
        .iter()
        .map(|instance| match instance.as_object() {
            Some(instance) => instructed(instruction, instance),
            None => Err("one of its \"instances\" is no object".into()),
        })
        .collect()
}

/// An instruction with what `holder` has of input and output.
fn instructed(instruction: &str, holder: &Map<String, Value>) -> Result<Vec<Message>, String> {
    let question = match holder.get("input") {
        None | Some(Value::Null) => instruction.to_owned(),
        Some(_) => match string(holder, "input")? {
            "" => instruction.to_owned(),
            input => format!("{instruction}\n\n{input}"),
        },
    };
    Ok(exchange(&question, string(holder, "output")?))
}

fn messages(object: &Map<String, Value>) -> Result<Vec<Message>, String> {
    let list = object["messages"].as_array().ok_or("its \"messages\" are no list")?;
    let message = |(index, value): (usize, &Value)| {
        let holder = value.as_object().ok_or(format!("message {} is no object", index + 1))?;
        let [role, content] = ["role", "content"].map(|key| string(holder, key));
        let place = |what| format!("message {}: {what}", index + 1);
        let (role, content) = (role.map_err(place)?, content.map_err(place)?);
        match role {
            "system" | "user" | "assistant" => Ok(said(role, content)),
            other => Err(place(format!("its role is '{other}', not system, user or assistant"))),
        }
    };
    list.iter().enumerate().map(message).collect()
}

fn exchange(question: &str, answer: &str) -> Vec<Message> {
    vec![said("user", question), said("assistant", answer)]
}

fn said(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned() }
}

fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("its \"{key}\" is no string")),
        None => Err(format!("it has no \"{key}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(text: &str) -> Vec<String> {
        let line = |message: &Message| format!("{}:{}", &message.role[..1], message.content);
        let whole = |messages: &Vec<Message>| messages.iter().map(line).collect::<Vec<_>>().join("|");
        conversations(text).unwrap().iter().map(whole).collect()
    }

    #[test]
    fn every_layout_is_a_conversation() {
        let cases: [(&str, &[&str]); 10] = [
            (
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a","extra":1}]}"#,
                &["s:s|u:u|a:a"],
            ),
            (r#"{"prompt":"p","completion":"c"}"#, &["u:p|a:c"]),
            (r#"{"question":"q","answer":"a"}"#, &["u:q|a:a"]),
            (r#"{"instruction":"i","output":"o"}"#, &["u:i|a:o"]),
            (r#"{"instruction":"i","input":"","output":"o"}"#, &["u:i|a:o"]),
            (r#"{"instruction":"i","input":"n","output":"o"}"#, &["u:i\n\nn|a:o"]),
            (
                r#"{"instruction":"i","instances":[{"input":"","output":"o"},{"input":"n","output":"m"}]}"#,
                &["u:i|a:o", "u:i\n\nn|a:m"],
            ),
            (r#"{"question":"q","answer":"  "}"#, &["u:q|a:  "]),
            (r#"{"prompt":"p","instruction":"i","input":"","output":"o"}"#, &["u:i|a:o"]),
            (r#"{"prompt":"p","question":"q","answer":"a"}"#, &["u:q|a:a"]),
        ];
        for (text, expected) in cases {
            assert_eq!(spoken(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_conversation_is_said() {
        let cases = [
            ("[1]", "no JSON object"),
            ("{", "no JSON"),
            (r#"{"text":"t"}"#, "only the keys text"),
            (r#"{"messages":"x"}"#, "are no list"),
            (r#"{"messages":[1]}"#, "message 1 is no object"),
            (r#"{"messages":[{"role":"user"}]}"#, r#"message 1: it has no "content""#),
            (r#"{"messages":[{"role":"user","content":null}]}"#, r#"message 1: its "content" is no string"#),
            (r#"{"messages":[{"role":"tool","content":"x"}]}"#, "its role is 'tool'"),
            (r#"{"prompt":"p"}"#, r#"it has no "completion""#),
            (r#"{"instruction":"i","instances":3}"#, r#""instances" are no list"#),
            (r#"{"instruction":"i","instances":[3]}"#, r#""instances" is no object"#),
            (r#"{"instruction":"i","input":7,"output":"o"}"#, r#""input" is no string"#),
        ];
        for (text, expected) in cases {
            let error = conversations(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
