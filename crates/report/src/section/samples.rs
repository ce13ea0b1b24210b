//! What the checkpoints said to the same prompts, by step.

use super::Section;
use crate::run::RunData;
use journal::samples::Sample;
use maud::{Markup, html};

/// See the module.
pub struct Samples;

impl Section for Samples {
    fn id(&self) -> &'static str {
        "samples"
    }

    fn title(&self) -> &'static str {
        "Samples by step"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        html! {
            @for run in runs {
                @if runs.len() > 1 { h3 { (run.name) } }
                @if run.samples.is_empty() {
                    p.none { "No samples: " code { "trilobit report RUN --sample \"Once upon a time\"" } " asks every checkpoint." }
                } @else {
                    @let samples = in_order(&run.samples);
                    div.wide { table.samples {
                        caption { "Greedy continuations" }
                        thead { tr { th scope="col" { "step" } th scope="col" { "prompt and continuation" } } }
                        tbody { @for sample in samples {
                            tr { th scope="row" { (sample.step) } td { b { (sample.prompt) } (sample.text) } }
                        } }
                    } }
                }
            }
        }
    }
}

fn in_order(samples: &[Sample]) -> Vec<&Sample> {
    let mut samples: Vec<&Sample> = samples.iter().collect();
    samples.sort_by_key(|sample| (&sample.prompt, sample.step));
    samples
}
