//! From characters to words, numbers, texts and marks.

use super::{SyntaxError, TEXT_BYTES_MAX};

/// A piece of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Word(String),
    Text(String),
    Mark(&'static str),
}

/// A piece and the character, from 1, at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) at: usize,
}

/// Longer marks before their beginnings.
const MARKS: [&str; 17] =
    ["<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "(", ")", "[", "]", ",", "=", "."];

pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, SyntaxError> {
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("it is longer than {TEXT_BYTES_MAX} bytes");
        return Err(SyntaxError { at: TEXT_BYTES_MAX, what });
    }
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text[..text.len() - rest.len()].chars().count() + 1;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, length) = match first {
            '"' | '\'' => quoted(rest, first, at)?,
            _ if first.is_ascii_digit() => number(rest, at)?,
            _ if first.is_alphabetic() || first == '_' => {
                let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
            _ => match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
                Some(mark) => (Token::Mark(mark), mark.len()),
                None => return Err(SyntaxError { at, what: format!("'{first}' has no meaning here") }),
            },
        };
        tokens.push(Placed { token, at });
        rest = &rest[length..];
    }
}

fn quoted(rest: &str, quote: char, at: usize) -> Result<(Token, usize), SyntaxError> {
    match rest[1..].find(quote) {
        Some(length) => Ok((Token::Text(rest[1..=length].to_owned()), length + 2)),
        None => Err(SyntaxError { at, what: "a text that begins here does not end".into() }),
    }
}

/// Digits, with a fraction and an exponent; `2.loss` is no number.
fn number(rest: &str, at: usize) -> Result<(Token, usize), SyntaxError> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = if length + 1 + sign < bytes.len() { digits(length + 1 + sign) } else { 0 };
        length += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    let value: f64 = rest[..length].parse().unwrap_or(f64::INFINITY);
    match value.is_finite() {
        true => Ok((Token::Number(value), length)),
        false => Err(SyntaxError { at, what: format!("{} is too large a number", &rest[..length]) }),
    }
}
