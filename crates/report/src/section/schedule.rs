//! Learning rate, weight decay and λ, as every step had them.

use super::{Section, chart_of};
use crate::chart::Style;
use crate::run::RunData;
use maud::{Markup, html};

/// See the module.
pub struct Schedule;

impl Section for Schedule {
    fn id(&self) -> &'static str {
        "schedule"
    }

    fn title(&self) -> &'static str {
        "Learning rate, weight decay, λ"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        html! {
            div.charts {
                (chart_of(runs, "lr", "Learning rate", Style::Line).draw())
                (chart_of(runs, "weight_decay", "Weight decay", Style::Line).draw())
                (chart_of(runs, "lambda", "λ, the share of quantisation", Style::Line).draw())
            }
        }
    }
}
