//! The language of claims and columns: numbers, measures at moments, arithmetic, comparisons, `and`, `or`, `not`.
//!
//! ```text
//! claim      = condition [ "for" ("every" | "some") axis { "," axis } ]
//! condition  = conjunction { "or" conjunction }
//! conjunction= negation { "and" negation }
//! negation   = [ "not" ] comparison
//! comparison = sum [ ("<" | "<=" | ">" | ">=" | "==" | "!=") sum ]
//! sum        = product { ("+" | "-") product }
//! product    = factor { ("*" | "/") factor }
//! factor     = number | text | "-" factor | "(" condition ")" | function "(" condition { "," condition } ")" | measure
//! measure    = [ moment "." ] name [ "[" axis "=" value { "," axis "=" value } "]" ]
//! ```

mod eval;
mod lex;
mod parse;

#[cfg(test)]
mod tests;

pub use eval::{Missing, Scope, Value, evaluate};
pub use parse::{claim, expression};

/// Longest text of an expression, bytes.
pub const TEXT_BYTES_MAX: usize = 2000;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 40;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at character {at})")]
pub struct SyntaxError {
    /// from 1
    pub at: usize,
    /// what was found, and what was expected
    pub what: String,
}

/// A comparison or an arithmetic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
    And,
    Or,
}

/// What a function does with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Function {
    Abs,
    Log,
    Exp,
    Min,
    Max,
    /// of a measure over a stretch of the run
    Lowest,
    /// of a measure over a stretch of the run
    Highest,
}

impl Function {
    /// All functions with their names.
    pub const ALL: [(&'static str, Self); 7] = [
        ("abs", Self::Abs),
        ("log", Self::Log),
        ("exp", Self::Exp),
        ("min", Self::Min),
        ("max", Self::Max),
        ("lowest", Self::Lowest),
        ("highest", Self::Highest),
    ];
}

/// A measure, at a moment of some run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// `stage1_end`; `None` for what a run has once
    pub moment: Option<String>,
    /// `unique_tokens`
    pub name: String,
    /// axes that are held at a value
    pub select: Vec<(String, String)>,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Expr {
    Number(f64),
    Text(String),
    Path(Path),
    Negative(Box<Expr>),
    Not(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
}

/// In how many of the groups a claim has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Quantifier {
    Every,
    Some,
}

/// A condition, and where it has to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// what has to hold
    pub condition: Expr,
    /// in every group, or in some
    pub quantifier: Quantifier,
    /// the axes whose values make the groups; none where there is one group
    pub axes: Vec<String>,
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(moment) = &self.moment {
            write!(f, "{moment}.")?;
        }
        f.write_str(&self.name)?;
        for (index, (axis, value)) in self.select.iter().enumerate() {
            write!(f, "{}{axis}={value}", if index == 0 { "[" } else { ", " })?;
        }
        if self.select.is_empty() { Ok(()) } else { f.write_str("]") }
    }
}

impl Expr {
    /// All measures in it, each once, in order.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.visit(&mut |path| {
            if !paths.contains(&path) {
                paths.push(path);
            }
        });
        paths
    }

    fn visit<'a>(&'a self, found: &mut dyn FnMut(&'a Path)) {
        match self {
            Self::Number(_) | Self::Text(_) => {}
            Self::Path(path) => found(path),
            Self::Negative(inner) | Self::Not(inner) => inner.visit(found),
            Self::Binary(_, left, right) => {
                left.visit(found);
                right.visit(found);
            }
            Self::Call(_, arguments) => arguments.iter().for_each(|argument| argument.visit(found)),
        }
    }
}
