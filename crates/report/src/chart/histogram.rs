//! How latent weights lie around the ternary levels −γ, 0, γ and the two thresholds between them.

use crate::number::{percent, short};
use crate::weights::{Histogram, SPAN};
use maud::{Markup, html};
use std::fmt::Write;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 150.0;
const BASE: f64 = 124.0;

/// One histogram: bars, the three levels, the thresholds ±γ/2 where rounding changes its mind.
pub fn histogram(id: &str, data: &Histogram) -> Markup {
    let highest = data.shares.iter().copied().fold(0.0, f64::max).max(1e-12);
    let place = |gammas: f32| f64::from((gammas + SPAN) / (2.0 * SPAN)) * WIDTH;
    let bin = WIDTH / data.shares.len().max(1) as f64;
    let mut bars = String::new();
    for (index, share) in data.shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        let height = (share / highest * (BASE - 10.0)).max(0.5);
        let _ = write!(bars, "M{:.1} {BASE}v-{height:.1}h{:.1}v{height:.1}z", index as f64 * bin, bin * 0.92);
    }
    let gamma = match data.gamma {
        [low, high] if low == high => short(low.into()),
        [low, high] => format!("{} to {}", short(low.into()), short(high.into())),
    };
    let zeros = percent(data.zero_share);
    html! {
        figure.chart.histogram id=(id) {
            figcaption { (data.projection) span.unit { ": " (zeros) " zeros, γ " (gamma) } }
            svg.frame xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                aria-label={ "Latent weights of " (data.projection) " in units of their scale: " (zeros) " are rounded to zero" } {
                path.bars d=(bars) {}
                @for threshold in [-0.5f32, 0.5] {
                    line.threshold x1=(place(threshold)) x2=(place(threshold)) y1="4" y2=(BASE) {}
                }
                line.axis x1="0" x2=(WIDTH) y1=(BASE) y2=(BASE) {}
                @for (level, label) in [(-1.0f32, "−γ"), (0.0, "0"), (1.0, "γ")] {
                    line.level x1=(place(level)) x2=(place(level)) y1=(BASE - 4.0) y2=(BASE + 4.0) {}
                    text.level-label x=(place(level)) y=(HEIGHT - 8.0) { (label) }
                }
            }
        }
    }
}
