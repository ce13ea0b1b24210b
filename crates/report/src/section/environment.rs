//! What the run was begun with: version, kernel, threads, data, parameters.

use super::Section;
use crate::number::{short, whole};
use crate::run::RunData;
use maud::{Markup, html};
use serde_json::Value;

/// See the module.
pub struct Environment;

impl Section for Environment {
    fn id(&self) -> &'static str {
        "environment"
    }

    fn title(&self) -> &'static str {
        "Environment"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        let mut names: Vec<&String> = Vec::new();
        for name in runs.iter().flat_map(|run| run.facts.keys()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        html! {
            @if names.is_empty() { p.none { "run.json is not there." } }
            @else { div.wide { table {
                caption { "Facts of run.json" }
                thead { tr { th scope="col" { "fact" } @for run in runs { th scope="col" { (run.name) } } } }
                tbody { @for name in names { tr {
                    th scope="row" { (name.replace('_', " ")) }
                    @for run in runs { td { (words(run.facts.get(name).unwrap_or(&Value::Null))) } }
                } } }
            } } }
        }
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_u64() {
            Some(count) => whole(count),
            None => number.as_f64().map_or_else(|| number.to_string(), short),
        },
        other => other.to_string(),
    }
}
