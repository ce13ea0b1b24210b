//! The language: what it means, and that no text breaks it.

use super::*;
use proptest::prelude::*;

struct Known;

impl Scope for Known {
    fn values(&self, path: &Path) -> Result<Vec<Value>, Missing> {
        let numbers = |list: &[f64]| Ok(list.iter().map(|value| Value::Number(*value)).collect());
        match path.to_string().as_str() {
            "end.unique_tokens" => numbers(&[12.0]),
            "stage1.unique_tokens" => numbers(&[20.0, 8.0, 2.0]),
            "end.unique_tokens[wd2=0.05]" => numbers(&[2.0]),
            "end.state" => Ok(vec![Value::Text("unigram".into())]),
            other => Err(Missing(format!("{other} is missing"))),
        }
    }
}

fn worth(text: &str) -> Result<Value, Missing> {
    evaluate(&expression(text).unwrap_or_else(|error| panic!("{text}: {error}")), &Known)
}

#[test]
fn expressions_have_the_values_that_one_expects() {
    for (text, value) in [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3 - -1", 10.0),
        ("8 / 2 / 2", 2.0),
        ("2.5e-1 * 4", 1.0),
        ("end.unique_tokens / 4", 3.0),
        ("stage1.unique_tokens", 10.0),
        ("lowest(stage1.unique_tokens) + highest(stage1.unique_tokens)", 22.0),
        ("max(1, end.unique_tokens[wd2=0.05], min(5, 3))", 3.0),
        ("abs(-log(exp(2)))", 2.0),
    ] {
        assert_eq!(worth(text), Ok(Value::Number(value)), "{text}");
    }
    for (text, truth) in [
        ("end.unique_tokens >= 4 * 3", true),
        ("end.unique_tokens != 12 or end.state == 'unigram'", true),
        ("not end.state == \"healthy\" and 1 < 2", true),
        ("1 == 2 and nothing > 3", false),
        ("1 == 1 or nothing > 3", true),
        ("nothing > 3 or 1 == 1", true),
    ] {
        assert_eq!(worth(text), Ok(Value::Truth(truth)), "{text}");
    }
    for text in [
        "nothing > 3",
        "end.state + 1",
        "1 and 2",
        "abs(1, 2)",
        "lowest(1)",
        "-end.state",
        "nothing > 3 and 1 == 1",
        "0 / 0 <= 1",
        "log(-1) == log(-1)",
        "not 1 / 0 > exp(1000)",
    ] {
        assert!(worth(text).is_err(), "{text}");
    }
}

#[test]
fn claims_say_where_they_hold() {
    let claim = claim("end.loss < 3 for every hidden, wd2 and seed_axis").unwrap();
    assert_eq!((claim.quantifier, claim.axes.len()), (Quantifier::Every, 3));
    assert_eq!(super::claim("1 < 2 for some x").unwrap().quantifier, Quantifier::Some);
    assert_eq!(super::claim("1 < 2").unwrap().axes, Vec::<String>::new());
    let paths = "a.b[x=1, y=two, z='3 4'] + a.b[x=1, y=two, z=\"3 4\"] > c";
    let claim = super::claim(paths).unwrap();
    let paths: Vec<String> = claim.condition.paths().iter().map(|path| path.to_string()).collect();
    assert_eq!(paths, ["a.b[x=1, y=two, z=3 4]", "c"]);
}

#[test]
fn what_is_no_expression_is_named_with_its_place() {
    for (text, part) in [
        ("", "the end"),
        ("1 +", "character 4"),
        ("1 2", "an operator or the end"),
        ("a < b < c", "'<'"),
        ("sin(1)", "a function, one of abs"),
        ("a.b[x]", "'='"),
        ("a @ b", "'@' has no meaning"),
        ("'open", "does not end"),
        ("1 < 2 for all x", "'every' or 'some'"),
        ("1 < 2 for every 7", "the name of an axis"),
        ("1e999", "too large"),
        ("é§", "character 2"),
    ] {
        let error = claim(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    for deep in ["(".repeat(1000), "-".repeat(1999), "not ".repeat(400), "abs(".repeat(400), "x".repeat(5000)]
    {
        assert!(expression(&deep).is_err());
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = claim(&text);
    }

    #[test]
    fn any_tokens_are_read_or_refused(words in prop::collection::vec(prop::sample::select(vec![
        "1", "0", "a", "end", ".", "unique_tokens", "(", ")", "[", "]", "=", ",", "+", "-", "*", "/", "<", "==", "and", "or",
        "not", "for", "every", "min", "lowest", "'t'", "1e5", "e",
    ]), 0..60)) {
        if let Ok(read) = expression(&words.join(" ")) {
            let _ = evaluate(&read, &Known);
        }
    }
}
