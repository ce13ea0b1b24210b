//! From tokens to a tree, by descent; deeper than `DEPTH_MAX` it does not go.

use super::lex::{self, Placed, Token};
use super::{Claim, DEPTH_MAX, Expr, Function, Operator, Path, Quantifier, SyntaxError};

/// Reads a claim.
///
/// # Errors
/// The text is none.
pub fn claim(text: &str) -> Result<Claim, SyntaxError> {
    let mut parser = Parser::new(text)?;
    let condition = parser.condition()?;
    let (quantifier, axes) = parser.quantifier()?;
    parser.end()?;
    Ok(Claim { condition, quantifier, axes })
}

/// Reads an expression.
///
/// # Errors
/// The text is none.
pub fn expression(text: &str) -> Result<Expr, SyntaxError> {
    let mut parser = Parser::new(text)?;
    let expression = parser.condition()?;
    parser.end()?;
    Ok(expression)
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
    /// the character after the last one
    end: usize,
}

type Parsed<T = Expr> = Result<T, SyntaxError>;

const COMPARISONS: [(&str, Operator); 6] = [
    ("<", Operator::Less),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
];
const SUMS: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Subtract)];
const PRODUCTS: [(&str, Operator); 2] = [("*", Operator::Multiply), ("/", Operator::Divide)];

impl Parser {
    fn new(text: &str) -> Parsed<Self> {
        Ok(Self { tokens: lex::tokens(text)?, next: 0, depth: 0, end: text.chars().count() + 1 })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|placed| &placed.token)
    }

    fn fail<T>(&self, expected: &str) -> Parsed<T> {
        let (at, found) = match self.tokens.get(self.next) {
            None => (self.end, "the end".to_owned()),
            Some(Placed { token, at }) => (
                *at,
                match token {
                    Token::Number(value) => value.to_string(),
                    Token::Word(word) | Token::Text(word) => format!("'{word}'"),
                    Token::Mark(mark) => format!("'{mark}'"),
                },
            ),
        };
        Err(SyntaxError { at, what: format!("{expected} is expected, not {found}") })
    }

    fn takes_mark(&mut self, mark: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Mark(found)) if *found == mark);
        self.next += usize::from(is_it);
        is_it
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.next += usize::from(is_it);
        is_it
    }

    fn takes_one_of(&mut self, operators: &[(&str, Operator)]) -> Option<Operator> {
        let Some(Token::Mark(found)) = self.peek() else { return None };
        let operator = operators.iter().find(|(mark, _)| mark == found)?.1;
        self.next += 1;
        Some(operator)
    }

    fn word(&mut self, what: &str) -> Parsed<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => self.fail(what),
        }
    }

    fn expect(&mut self, mark: &str) -> Parsed<()> {
        if self.takes_mark(mark) { Ok(()) } else { self.fail(&format!("'{mark}'")) }
    }

    fn end(&self) -> Parsed<()> {
        if self.next == self.tokens.len() { Ok(()) } else { self.fail("an operator or the end") }
    }

    fn quantifier(&mut self) -> Parsed<(Quantifier, Vec<String>)> {
        if !self.takes_word("for") {
            return Ok((Quantifier::Every, Vec::new()));
        }
        let quantifier = match self.word("'every' or 'some'")?.as_str() {
            "every" => Quantifier::Every,
            "some" => Quantifier::Some,
            _ => {
                self.next -= 1;
                return self.fail("'every' or 'some'");
            }
        };
        let mut axes = vec![self.word("the name of an axis")?];
        while self.takes_mark(",") || self.takes_word("and") {
            axes.push(self.word("the name of an axis")?);
        }
        Ok((quantifier, axes))
    }

    fn condition(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(&format!("nesting of at most {DEPTH_MAX}"));
        }
        let mut left = self.conjunction()?;
        while self.takes_word("or") {
            left = Expr::Binary(Operator::Or, left.into(), self.conjunction()?.into());
        }
        self.depth -= 1;
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed {
        let mut left = self.negation()?;
        while self.takes_word("and") {
            left = Expr::Binary(Operator::And, left.into(), self.negation()?.into());
        }
        Ok(left)
    }

    fn negation(&mut self) -> Parsed {
        match self.takes_word("not") {
            true => Ok(Expr::Not(self.comparison()?.into())),
            false => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.sum()?;
        match self.takes_one_of(&COMPARISONS) {
            Some(operator) => Ok(Expr::Binary(operator, left.into(), self.sum()?.into())),
            None => Ok(left),
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        while let Some(operator) = self.takes_one_of(&SUMS) {
            left = Expr::Binary(operator, left.into(), self.product()?.into());
        }
        Ok(left)
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.factor()?;
        while let Some(operator) = self.takes_one_of(&PRODUCTS) {
            left = Expr::Binary(operator, left.into(), self.factor()?.into());
        }
        Ok(left)
    }

    fn factor(&mut self) -> Parsed {
        if self.takes_mark("-") {
            // Minus signs nest as brackets do.
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return self.fail(&format!("nesting of at most {DEPTH_MAX}"));
            }
            let inner = self.factor()?;
            self.depth -= 1;
            return Ok(Expr::Negative(inner.into()));
        }
        if self.takes_mark("(") {
            let inner = self.condition()?;
            self.expect(")")?;
            return Ok(inner);
        }
        match self.peek() {
            Some(Token::Number(value)) => {
                let value = *value;
                self.next += 1;
                Ok(Expr::Number(value))
            }
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.next += 1;
                Ok(Expr::Text(text))
            }
            Some(Token::Word(_)) => self.named(),
            _ => self.fail("a number, a measure or '('"),
        }
    }

    /// A function or a measure.
    fn named(&mut self) -> Parsed {
        let first = self.word("a name")?;
        if self.takes_mark("(") {
            let Some((_, function)) = Function::ALL.iter().find(|(name, _)| *name == first) else {
                self.next -= 2;
                let names: Vec<&str> = Function::ALL.iter().map(|(name, _)| *name).collect();
                return self.fail(&format!("a function, one of {},", names.join(", ")));
            };
            let mut arguments = vec![self.condition()?];
            while self.takes_mark(",") {
                arguments.push(self.condition()?);
            }
            self.expect(")")?;
            return Ok(Expr::Call(*function, arguments));
        }
        let (moment, name) = match self.takes_mark(".") {
            true => (Some(first), self.word("a measure")?),
            false => (None, first),
        };
        let mut select = Vec::new();
        if self.takes_mark("[") {
            loop {
                let axis = self.word("the name of an axis")?;
                self.expect("=")?;
                select.push((axis, self.selected()?));
                if !self.takes_mark(",") {
                    break;
                }
            }
            self.expect("]")?;
        }
        Ok(Expr::Path(Path { moment, name, select }))
    }

    fn selected(&mut self) -> Parsed<String> {
        let value = match self.peek() {
            Some(Token::Number(value)) => value.to_string(),
            Some(Token::Word(word) | Token::Text(word)) => word.clone(),
            _ => return self.fail("a value of the axis"),
        };
        self.next += 1;
        Ok(value)
    }
}
