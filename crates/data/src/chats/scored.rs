//! A conversation as ids, and which of them an assistant says.
//!
//! The template alone knows what belongs to an answer. What it writes for the messages before an answer, with the prompt to
//! answer, is what the model will be asked with; from there to the end of the answer is what it is to say, its end-of-turn
//! token included and nothing after that. An answer of no text is a part of the conversation but is not learned.

use text::Tokenizer;
use text::chat::{ChatTemplate, Message};

/// Ids up to the end of the last answer.
pub(super) struct Encoded {
    pub(super) ids: Vec<u32>,
    /// those that an assistant says
    pub(super) scored: Vec<bool>,
    /// the last answer has no token that ends it
    pub(super) open: bool,
}

/// # Errors
/// What is wrong with the conversation, its template or their encoding, without the place.
pub(super) fn encode(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    end_ids: &[u32],
) -> Result<Encoded, String> {
    let render = |messages: &[Message], prompt| {
        template.render(messages, prompt).map_err(|error| format!("its conversation has no text: {error}"))
    };
    // An empty answer would teach to stop at once.
    let is_answer = |message: &Message| message.role == "assistant" && !message.content.trim().is_empty();
    if !messages.iter().any(is_answer) {
        return Ok(Encoded { ids: Vec::new(), scored: Vec::new(), open: false });
    }
    let whole = render(messages, false)?;
    // (begin, end) of the answers, bytes of the whole
    let mut answers: Vec<(usize, usize)> = Vec::new();
    for (index, _) in messages.iter().enumerate().filter(|(_, message)| is_answer(message)) {
        let (before, through) = (render(&messages[..index], true)?, render(&messages[..=index], false)?);
        if !whole.starts_with(&through) {
            return Err(
                "the chat template writes an answer differently once the conversation goes on, so that what is learned would not be what is asked".into(),
            );
        }
        let begin = common_text(&before, &through);
        if answers.last().is_some_and(|(_, end)| begin < *end) {
            return Err(
                "the chat template writes what was said before differently when it asks for the next answer, so that what is learned would not be what is asked".into(),
            );
        }
        answers.push((begin, through.len()));
    }
    let ids = |text: &str| tokenizer.try_encode(text, false).map_err(|error| error.to_string());
    let naturally = ids(&whole)?;
    // A prompt that ends within a token ("Assistant: " before " Hi") is asked as it stands: the answer begins a new token.
    let mut cuts = Vec::new();
    for (begin, _) in &answers {
        if !naturally.starts_with(&ids(&whole[..*begin])?) {
            cuts.push(*begin);
        }
    }
    let encode = |to: usize| -> Result<Vec<u32>, String> {
        let ends = cuts.iter().copied().filter(|cut| *cut < to).chain([to]);
        let mut from = 0;
        let parts = ends.map(|end| ids(&whole[std::mem::replace(&mut from, end)..end]));
        Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let ids = encode(whole.len())?;
    let mut encoded = Encoded { scored: vec![false; ids.len()], ids, open: false };
    let mut end = 0;
    for (begin, through) in answers {
        let tokens_to = |place: usize| -> Result<usize, String> { Ok(common(&encode(place)?, &encoded.ids)) };
        let begin = tokens_to(begin)?;
        end = tokens_to(through)?.max(begin);
        let closing = encoded.ids[begin..end].iter().rposition(|id| end_ids.contains(id));
        encoded.open = closing.is_none() && begin < end;
        if let Some(closing) = closing {
            end = begin + closing + 1;
        }
        encoded.scored[begin..end].fill(true);
    }
    encoded.ids.truncate(end);
    encoded.scored.truncate(end);
    Ok(encoded)
}

/// Ids at the beginning of both.
fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Bytes at the beginning of both that end between characters.
fn common_text(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    other.floor_char_boundary(same)
}
