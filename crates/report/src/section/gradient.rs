//! The norm of the gradient before clipping.

use super::{Section, chart_of};
use crate::chart::{Chart, Mark, Style};
use crate::run::RunData;
use maud::{Markup, html};

/// See the module.
pub struct Gradient;

impl Section for Gradient {
    fn id(&self) -> &'static str {
        "gradient"
    }

    fn title(&self) -> &'static str {
        "Gradient"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        let clip = runs.first().and_then(|run| run.config.get("train")?.get("clip")?.as_float());
        let marks = clip.filter(|clip| *clip > 0.0 && clip.is_finite());
        let marks = marks.map(|value| Mark { value, label: "clipped to this".into() }).into_iter().collect();
        let norm = chart_of(runs, "grad_norm", "Norm of the gradient, before clipping", Style::Line);
        html! { div.charts { (Chart { log: true, marks, ..norm }.draw()) } }
    }
}
