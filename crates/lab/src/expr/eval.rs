//! What an expression is worth, given what its measures are.

use super::{Expr, Function, Operator, Path};
use serde::Serialize;
use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Value {
    Number(f64),
    Text(String),
    Truth(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => f.write_str(&report::number::short(*value)),
            Self::Text(text) => f.write_str(text),
            Self::Truth(true) => f.write_str("yes"),
            Self::Truth(false) => f.write_str("no"),
        }
    }
}

/// Why there is no value, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

/// Where measures come from.
pub trait Scope {
    /// All values of a measure: one at a moment, several over a stretch of the run. Never none.
    ///
    /// # Errors
    /// It was not measured.
    fn values(&self, path: &Path) -> Result<Vec<Value>, Missing>;
}

/// The value of an expression. A measure over a stretch is its mean.
///
/// # Errors
/// A measure is missing, a value is not of the kind that the operation needs, or a number comes out that is not finite.
pub fn evaluate(expr: &Expr, scope: &dyn Scope) -> Result<Value, Missing> {
    let value = match expr {
        Expr::Number(value) => Value::Number(*value),
        Expr::Text(text) => Value::Text(text.clone()),
        Expr::Path(path) => mean(path, scope.values(path)?)?,
        Expr::Negative(inner) => Value::Number(-number(inner, scope)?),
        Expr::Not(inner) => Value::Truth(!truth(inner, scope)?),
        Expr::Binary(operator, left, right) => binary(*operator, left, right, scope)?,
        Expr::Call(function, arguments) => Value::Number(call(*function, arguments, scope)?),
    };
    match value {
        // Comparisons of what is no number would decide a claim by chance.
        Value::Number(number) if !number.is_finite() => Err(Missing("the result is not finite".into())),
        value => Ok(value),
    }
}

fn mean(path: &Path, mut values: Vec<Value>) -> Result<Value, Missing> {
    if values.len() == 1 {
        return Ok(values.remove(0));
    }
    let numbers = numbers(path, &values)?;
    Ok(Value::Number(numbers.iter().sum::<f64>() / numbers.len() as f64))
}

fn numbers(path: &Path, values: &[Value]) -> Result<Vec<f64>, Missing> {
    let number = |value: &Value| match value {
        Value::Number(value) => Ok(*value),
        other => Err(Missing(format!("{path} is '{other}', no number"))),
    };
    values.iter().map(number).collect()
}

fn number(expr: &Expr, scope: &dyn Scope) -> Result<f64, Missing> {
    match evaluate(expr, scope)? {
        Value::Number(value) => Ok(value),
        other => Err(Missing(format!("'{other}' is no number"))),
    }
}

fn truth(expr: &Expr, scope: &dyn Scope) -> Result<bool, Missing> {
    match evaluate(expr, scope)? {
        Value::Truth(truth) => Ok(truth),
        other => Err(Missing(format!("'{other}' is neither true nor false"))),
    }
}

fn binary(operator: Operator, left: &Expr, right: &Expr, scope: &dyn Scope) -> Result<Value, Missing> {
    use Operator as O;
    let numbers = || Ok((number(left, scope)?, number(right, scope)?));
    let compared = |holds: fn(&f64, &f64) -> bool| {
        let (left, right) = numbers()?;
        Ok(Value::Truth(holds(&left, &right)))
    };
    let computed = |of: fn(f64, f64) -> f64| {
        let (left, right) = numbers()?;
        Ok(Value::Number(of(left, right)))
    };
    match operator {
        O::Add => computed(|a, b| a + b),
        O::Subtract => computed(|a, b| a - b),
        O::Multiply => computed(|a, b| a * b),
        O::Divide => computed(|a, b| a / b),
        O::Less => compared(f64::lt),
        O::LessOrEqual => compared(f64::le),
        O::Greater => compared(f64::gt),
        O::GreaterOrEqual => compared(f64::ge),
        O::Equal => Ok(Value::Truth(evaluate(left, scope)? == evaluate(right, scope)?)),
        O::NotEqual => Ok(Value::Truth(evaluate(left, scope)? != evaluate(right, scope)?)),
        // What decides alone decides, also where the other side is missing.
        O::And => decide(false, truth(left, scope), truth(right, scope)),
        O::Or => decide(true, truth(left, scope), truth(right, scope)),
    }
}

fn decide(by: bool, left: Result<bool, Missing>, right: Result<bool, Missing>) -> Result<Value, Missing> {
    match (left, right) {
        (Ok(side), _) | (_, Ok(side)) if side == by => Ok(Value::Truth(by)),
        (Ok(_), Ok(side)) if side == by => Ok(Value::Truth(by)),
        (Ok(_), Ok(_)) => Ok(Value::Truth(!by)),
        (Err(missing), _) | (_, Err(missing)) => Err(missing),
    }
}

fn call(function: Function, arguments: &[Expr], scope: &dyn Scope) -> Result<f64, Missing> {
    if let (Function::Lowest | Function::Highest, [Expr::Path(path)]) = (function, arguments) {
        let values = numbers(path, &scope.values(path)?)?;
        return Ok(values
            .into_iter()
            .fold(f64::NAN, |a, b| if function == Function::Lowest { a.min(b) } else { a.max(b) }));
    }
    let values = arguments.iter().map(|argument| number(argument, scope)).collect::<Result<Vec<_>, _>>()?;
    match (function, values.as_slice()) {
        (Function::Abs, [value]) => Ok(value.abs()),
        (Function::Log, [value]) => Ok(value.ln()),
        (Function::Exp, [value]) => Ok(value.exp()),
        (Function::Min, [first, rest @ ..]) => Ok(rest.iter().fold(*first, |a, b| a.min(*b))),
        (Function::Max, [first, rest @ ..]) => Ok(rest.iter().fold(*first, |a, b| a.max(*b))),
        (Function::Lowest | Function::Highest, _) => {
            Err(Missing("lowest and highest take one measure".into()))
        }
        _ => Err(Missing("the function takes one value".into())),
    }
}
