//! Texts of configurations to JSON values: JSON as Python writes it, YAML, TOML.

use serde_json::Value;

/// JSON, and what Python's `json` writes beyond it: NaN, Infinity, -Infinity (which become texts). `None` for anything else.
pub fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&quoted(text))).ok()
}

/// The text with the words that are no JSON in quotes, where they stand outside of strings.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word =
            ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| !inside && rest.starts_with(word));
        if let Some(word) = word {
            out.push('"');
            out.push_str(word);
            out.push('"');
            rest = &rest[word.len()..];
            continue;
        }
        match first {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => (),
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out
}

/// YAML; `None` for anything that is no table.
pub fn yaml(text: &str) -> Option<Value> {
    serde_yaml_ng::from_str::<Value>(text).ok().filter(Value::is_object)
}

/// TOML; `None` for anything else.
pub fn toml(text: &str) -> Option<Value> {
    let table: toml::Table = text.parse().ok()?;
    serde_json::to_value(table).ok()
}

#[cfg(test)]
mod tests {
    use super::{json, toml, yaml};
    use serde_json::json as value;

    #[test]
    fn pythons_numbers_become_texts_outside_of_strings_only() {
        let found = json(r#"{"a": NaN, "b": [-Infinity, 1], "c": "is \"NaN\" Infinity"}"#).unwrap();
        assert_eq!(found, value!({"a": "NaN", "b": ["-Infinity", 1], "c": "is \"NaN\" Infinity"}));
        assert_eq!(json("{"), None);
    }

    #[test]
    fn yaml_of_nanotron_and_toml_are_tables() {
        let text = "optimizer:\n  weight_decay: 0.01\n  lr: {learning_rate: 3.0e-4}\ndata_stages:\n- name: a\n  start: 1\nx: null\n";
        assert_eq!(yaml(text).unwrap()["optimizer"]["lr"]["learning_rate"], value!(3e-4));
        assert_eq!(yaml("just a text"), None);
        assert_eq!(toml("[a]\nb = 1\n").unwrap(), value!({"a": {"b": 1}}));
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
        let _ = yaml(bomb);
    }
}
