//! The configuration of each run, and in which keys several runs differ.

use super::Section;
use crate::run::RunData;
use maud::{Markup, html};
use toml::{Table, Value};

/// Most keys that are compared.
const KEYS_MAX: usize = 2000;

/// See the module.
pub struct Config;

impl Section for Config {
    fn id(&self) -> &'static str {
        "config"
    }

    fn title(&self) -> &'static str {
        "Configuration"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        html! {
            @if runs.len() > 1 { (differences(runs)) }
            @for run in runs {
                details open[runs.len() == 1] {
                    summary { (run.name) ": config.toml" }
                    pre tabindex="0" { (run.config_text) }
                }
            }
        }
    }
}

fn differences(runs: &[RunData]) -> Markup {
    let flat: Vec<Vec<(String, String)>> = runs.iter().map(|run| flatten(&run.config)).collect();
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in flat.iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let value = |run: usize, key: &str| {
        flat[run].iter().find(|(name, _)| name == key).map_or("–", |(_, value)| value.as_str())
    };
    let differs = |key: &&String| (1..runs.len()).any(|run| value(run, key) != value(0, key));
    let keys: Vec<&String> = keys.into_iter().filter(|key| differs(key)).collect();
    html! {
        @if keys.is_empty() { p { "The configurations are the same." } }
        @else { div.wide { table {
            caption { "Keys in which the runs differ" }
            thead { tr { th scope="col" { "key" } @for run in runs { th scope="col" { (run.name) } } } }
            tbody { @for key in keys { tr {
                th scope="row" { (key) }
                @for run in 0..runs.len() { td { (value(run, key)) } }
            } } }
        } } }
    }
}

/// `table.key` → value, in order.
fn flatten(table: &Table) -> Vec<(String, String)> {
    let mut flat = Vec::new();
    let mut open: Vec<(String, &Value)> =
        table.iter().rev().map(|(key, value)| (key.clone(), value)).collect();
    while let Some((path, value)) = open.pop() {
        if flat.len() >= KEYS_MAX {
            break;
        }
        match value {
            Value::Table(inner) => {
                open.extend(inner.iter().rev().map(|(key, v)| (format!("{path}.{key}"), v)))
            }
            other => flat.push((path, other.to_string())),
        }
    }
    flat
}
