//! Rust source as a flat list of tokens with line numbers: comments and strings are no longer in the way.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What one token is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A word, keywords included.
    Word(String),
    /// One character of punctuation.
    Mark(char),
    /// An opening delimiter; `close` is the index of its closing one.
    Open {
        /// Which kind of bracket.
        delimiter: Delimiter,
        /// Index of the closing token in the list.
        close: usize,
    },
    /// A closing delimiter.
    Close,
    /// A literal.
    Literal,
}

/// One token and where it stands.
#[derive(Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Line, from 1.
    pub line: usize,
}

/// A function found in a source file.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of `fn`, from 1.
    pub line: usize,
    /// From `fn` to the closing brace, both included.
    pub lines: usize,
}

/// The tokens of a source file in reading order. `Err` holds the reason where it is not Rust.
pub fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let stream: TokenStream = source.parse().map_err(|error| format!("{error}"))?;
    let mut flat = Vec::new();
    flatten(stream, &mut flat);
    Ok(flat)
}

fn flatten(stream: TokenStream, flat: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        let kind = match tree {
            TokenTree::Ident(word) => Kind::Word(word.to_string()),
            TokenTree::Punct(mark) => Kind::Mark(mark.as_char()),
            TokenTree::Literal(_) => Kind::Literal,
            TokenTree::Group(group) => {
                let open = flat.len();
                let delimiter = group.delimiter();
                flat.push(Token {
                    kind: Kind::Close, // replaced below, when its partner is known
                    line: group.span_open().start().line,
                });
                flatten(group.stream(), flat);
                let close = flat.len();
                flat[open].kind = Kind::Open { delimiter, close };
                flat.push(Token { kind: Kind::Close, line: group.span_close().start().line });
                continue;
            }
        };
        flat.push(Token { kind, line });
    }
}

/// Every function with a body, those written inside macros included.
pub fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if !is_word(Some(token), "fn") {
            continue;
        }
        // `fn $name` in a macro; `fn(` is a type and has no name.
        let dollar = usize::from(matches!(tokens.get(at + 1).map(|next| &next.kind), Some(Kind::Mark('$'))));
        let Some(Kind::Word(name)) = tokens.get(at + 1 + dollar).map(|next| &next.kind) else {
            continue;
        };
        if let Some(end) = body_end(tokens, at + 2 + dollar) {
            found.push(Function {
                name: name.clone(),
                line: token.line,
                lines: tokens[end].line - token.line + 1,
            });
        }
    }
    found
}

/// The index of the brace that closes the body which begins at or after `at`; none for a bare signature.
fn body_end(tokens: &[Token], mut at: usize) -> Option<usize> {
    loop {
        match tokens.get(at)?.kind {
            Kind::Mark(';') | Kind::Close => return None,
            Kind::Open { delimiter: Delimiter::Brace, close } => return Some(close),
            Kind::Open { close, .. } => at = close + 1,
            _ => at += 1,
        }
    }
}

/// Whether the token is this word.
pub fn is_word(token: Option<&Token>, word: &str) -> bool {
    matches!(token.map(|token| &token.kind), Some(Kind::Word(found)) if found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(source: &str) -> Vec<(String, usize)> {
        functions(&tokens(source).expect("it is Rust"))
            .into_iter()
            .map(|function| (function.name, function.lines))
            .collect()
    }

    #[test]
    fn functions_are_measured_whatever_strings_and_comments_hold() {
        let source = "fn a() {\n  let s = \"}\"; // }\n  let r = r#\"fn x() {\"#;\n  /* } */\n}\nfn b() {}\n";
        assert_eq!(lengths(source), [("a".into(), 5), ("b".into(), 1)]);
    }

    #[test]
    fn functions_in_macros_traits_and_functions_are_seen() {
        let source = "macro_rules! m { ($n:ident) => { fn $n() {\n} } }\n\
                      trait T { fn bare(f: fn(u32) -> [u8; { 2 }]); fn full() {\n\n} }\n\
                      fn outer() { fn inner() {\n} }";
        let expected = [("n", 2), ("full", 3), ("outer", 2), ("inner", 2)];
        assert_eq!(lengths(source), expected.map(|(name, lines)| (name.to_owned(), lines)));
    }

    #[test]
    fn what_is_not_rust_is_an_error() {
        assert!(tokens("fn a( {").is_err());
    }
}
