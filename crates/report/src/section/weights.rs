//! Histograms of the latent weights of the newest checkpoint against the ternary levels.

use super::Section;
use crate::chart::histogram;
use crate::run::RunData;
use maud::{Markup, html};

/// See the module.
pub struct Weights;

impl Section for Weights {
    fn id(&self) -> &'static str {
        "weights"
    }

    fn title(&self) -> &'static str {
        "Latent weights against the ternary levels"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        html! {
            p.note {
                "In units of each matrix's scale γ = mean |W|. Between the dashed lines, −γ/2 and γ/2, a weight is rounded to 0; \
                 a weight near such a line flips easily. A Gaussian matrix has 31 % zeros."
            }
            @for (index, run) in runs.iter().enumerate() {
                @if runs.len() > 1 { h3 { (run.name) } }
                @match &run.histograms {
                    None => p.none { "The weights were not read: there is no checkpoint, or the page was made without them." },
                    Some(found) => {
                        p.note { (found.checkpoint) ", " (found.layers.len()) " layers" }
                        div.histograms { @for one in &found.histograms {
                            (histogram(&format!("weights-{}-{index}", one.projection), one))
                        } }
                    },
                }
            }
        }
    }
}
