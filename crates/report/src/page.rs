//! The page: head, navigation, all sections, and the data that its script reads.

use crate::columns;
use crate::run::RunData;
use crate::section::SECTIONS;
use crate::thin;
use maud::{DOCTYPE, PreEscaped, html};
use serde_json::json;

const STYLE: &str = include_str!("../assets/page.css");
const SCRIPT: &str = include_str!("../assets/page.js");

/// Most names that stand in the heading.
const NAMES_MAX: usize = 3;

/// The whole page about these runs, in one text that needs nothing else. A live one renews itself from the server that sent it.
pub fn page(runs: &[RunData], live: bool) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = format!("trilobit: {}", names.join(", "));
    let page = html! {
        (DOCTYPE)
        html lang="en" data-live=[live.then_some("1")] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "To the content" }
                header {
                    h1 { @if names.len() > NAMES_MAX { (names.len()) " runs" } @else { (names.join(", ")) } }
                    @if live { p.note { span #live role="status" { "live" } } }
                    nav aria-label="Sections" { ul {
                        @for section in SECTIONS { li { a href={ "#" (section.id()) } { (section.title()) } } }
                    } }
                    p.hint {
                        "Charts: drag to zoom all of them, double-click or Esc for everything; with the keyboard, arrows move the cursor, + and − zoom."
                    }
                }
                main #content {
                    @for section in SECTIONS {
                        section id=(section.id()) aria-labelledby={ "heading-" (section.id()) } {
                            h2 id={ "heading-" (section.id()) } { (section.title()) }
                            (section.draw(runs))
                        }
                    }
                }
                p #said .hidden aria-live="polite" {}
                script #data type="application/json" { (PreEscaped(embedded(runs))) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The metrics of all runs, thinned where they are very many, as JSON that can stand inside a `script` element: no `<` is left in it.
pub fn embedded(runs: &[RunData]) -> String {
    let embedded = |run: &RunData| {
        let columns = columns::json(&thin::lines(&run.steps, thin::LINES_MAX));
        json!({"name": run.name, "lines": run.steps.len(), "columns": columns})
    };
    let runs: Vec<_> = runs.iter().map(embedded).collect();
    json!({ "runs": runs }).to_string().replace('<', "\\u003c")
}
