//! A configuration of any trainer as a list of keys and values, asked by names.

use serde_json::Value;

/// Keys with the tables they stand in (`optimizer.params.lr`), in lower case, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<(String, Value)>);

/// Most keys that are looked at.
const KEYS_MAX: usize = 100_000;
/// Deepest table.
const DEPTH_MAX: usize = 32;

impl Keys {
    /// The leaves of `value`.
    pub fn of(value: &Value) -> Self {
        let mut keys = Self::default();
        keys.add("", value, 0);
        keys
    }

    fn add(&mut self, path: &str, value: &Value, depth: usize) {
        if self.0.len() >= KEYS_MAX || depth > DEPTH_MAX {
            return;
        }
        let below = |key: &str| if path.is_empty() { normal(key) } else { format!("{path}.{}", normal(key)) };
        match value {
            Value::Object(table) => {
                table.iter().for_each(|(key, value)| self.add(&below(key), value, depth + 1))
            }
            Value::Array(list) => {
                list.iter()
                    .enumerate()
                    .for_each(|(n, value)| self.add(&below(&n.to_string()), value, depth + 1));
            }
            leaf => self.0.push((path.to_owned(), leaf.clone())),
        }
    }

    /// The first value that `take` accepts, of the first name that has one. A name fits a key that ends with it.
    fn find<T>(&self, names: &[&str], take: impl Fn(&Value) -> Option<T>) -> Option<T> {
        names.iter().find_map(|name| {
            self.0.iter().filter(|(key, _)| fits(key, name)).find_map(|(_, value)| take(value))
        })
    }

    /// A number, also one that is written as a text.
    pub fn number(&self, names: &[&str]) -> Option<f64> {
        self.find(names, number)
    }

    /// A text that is not empty.
    pub fn text(&self, names: &[&str]) -> Option<String> {
        self.find(names, |value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
    }

    /// True or false.
    pub fn flag(&self, names: &[&str]) -> Option<bool> {
        self.find(names, Value::as_bool)
    }

    /// Whether there is a key of that name, or a table.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key.split('.').any(|part| part == name))
    }

    /// All texts under any of the names, also of lists and of tables inside.
    pub fn texts(&self, names: &[&str]) -> Vec<String> {
        let inside = |key: &str| key.split('.').any(|part| names.contains(&part));
        let texts = self.0.iter().filter(|(key, _)| inside(key)).filter_map(|(_, value)| value.as_str());
        texts.map(str::to_owned).collect()
    }
}

fn fits(key: &str, name: &str) -> bool {
    key.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// `train/loss` and `train-loss` as `train.loss` and `train_loss`.
pub fn normal(key: &str) -> String {
    key.trim().to_ascii_lowercase().replace('/', ".").replace(['-', ' '], "_")
}

/// A JSON number, or a text that is one: also `inf`, `NaN`, and `1_000_000`.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.replace('_', "").trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_fit_whole_keys_and_the_first_name_wins() {
        let keys = Keys::of(
            &json!({"my_lr": 1.0, "Optimizer": {"LR": "3e-4"}, "betas": [0.9, 0.95], "a": {"lr": null}}),
        );
        assert_eq!(keys.number(&["lr"]), Some(3e-4));
        assert_eq!(keys.number(&["betas.1"]), Some(0.95));
        assert_eq!(keys.number(&["rate", "my_lr"]), Some(1.0));
        assert!(keys.has("optimizer") && !keys.has("my"));
        assert_eq!(number(&json!("Infinity")), Some(f64::INFINITY));
        assert_eq!(normal("train/Grad-Norm"), "train.grad_norm");
    }

    #[test]
    fn deep_and_wide_input_is_bounded() {
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!({"a": deep});
        }
        assert!(Keys::of(&deep).0.is_empty());
        assert_eq!(Keys::of(&Value::Array(vec![json!(1); KEYS_MAX + 5])).0.len(), KEYS_MAX);
    }
}
