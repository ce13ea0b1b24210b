//! Zero share, flip rate and scale of every layer at every record.

use super::Section;
use crate::chart::heatmap;
use crate::columns::LAYER_COLUMNS;
use crate::run::RunData;
use maud::{Markup, html};

/// See the module.
pub struct Layers;

const TITLES: [(&str, &str); 3] = [
    ("zero_share", "Share of ternary zeros"),
    ("flip_rate", "Share of codes changed since the last record"),
    ("scale", "Scale γ, mean of the layer's matrices"),
];

impl Section for Layers {
    fn id(&self) -> &'static str {
        "layers"
    }

    fn title(&self) -> &'static str {
        "Layers: zero share, flip rate, scale"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        html! {
            @for (index, run) in runs.iter().enumerate() {
                @if runs.len() > 1 { h3 { (run.name) } }
                div.charts {
                    @for ((key, of), (named, title)) in LAYER_COLUMNS.iter().zip(TITLES) {
                        @let records = run.steps.iter().filter_map(|s| Some((s.step, of(&s.record)?.as_slice())));
                        @let id = format!("heat-{}-{index}", key.replace('_', "-"));
                        (heatmap(&id, if *key == named { title } else { key }, &records.collect::<Vec<_>>()))
                    }
                }
            }
        }
    }
}
