//! Charts as SVG: complete without a script; the page's script adds a cursor, zoom and hiding.
//!
//! The plot is an SVG inside the SVG whose coordinates are 0..1000 both ways, so that zooming is a change of its `viewBox`.

mod heatmap;
mod histogram;
mod scale;

pub use heatmap::heatmap;
pub use histogram::histogram;
pub use scale::Scale;

use crate::number::short;
use crate::thin;
use maud::{Markup, html};
use std::fmt::Write;

/// Width of a chart in its own units; a phone shows it at about two thirds.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 280.0;
/// Room for the numbers at the left, and for nothing at the right.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;
/// Units of the plot's own coordinates.
const PLOT: f64 = 1000.0;
const X_TICKS: usize = 5;
const Y_TICKS: usize = 5;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// a line
    Line,
    /// a thin pale line, behind another
    Faint,
    /// dots joined by a dashed line
    Dots,
}

impl Style {
    fn class(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Faint => "faint",
            Self::Dots => "dots",
        }
    }
}

/// One curve.
pub struct Series {
    /// in the legend
    pub name: String,
    /// which colour: the number of the run, or of the quantity
    pub colour: usize,
    /// how it is drawn
    pub style: Style,
    /// (step, value), finite, in order
    pub points: Vec<(f64, f64)>,
    /// run and column that the values are of, for the cursor; `None` for what is computed
    pub source: Option<(usize, &'static str)>,
}

/// A horizontal line to compare with.
pub struct Mark {
    /// where
    pub value: f64,
    /// what it is
    pub label: String,
}

/// A stretch of steps.
pub struct Band {
    /// first step
    pub from: f64,
    /// first step after it
    pub to: f64,
    /// what it is
    pub label: String,
}

/// Curves over steps.
#[derive(Default)]
pub struct Chart {
    /// of the element; letters, digits, dashes
    pub id: String,
    /// what it shows
    pub title: String,
    /// of the values
    pub unit: &'static str,
    /// values by logarithm
    pub log: bool,
    /// the curves
    pub series: Vec<Series>,
    /// horizontal lines
    pub marks: Vec<Mark>,
    /// phases
    pub bands: Vec<Band>,
}

impl Chart {
    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.is_empty())
    }

    /// The chart with its title and legend; a sentence where there is nothing to draw.
    pub fn draw(&self) -> Markup {
        if self.is_empty() {
            return html! { p.none { (self.title) ": not recorded." } };
        }
        let svg = self.svg();
        html! {
            figure.chart id=(self.id) {
                figcaption { (self.title) @if !self.unit.is_empty() { span.unit { ", " (self.unit) } } }
                (svg)
                (self.legend())
            }
        }
    }

    /// The chart alone, for a page or a file.
    pub fn svg(&self) -> Markup {
        let (x, y) = self.scales();
        let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        html! {
            svg.frame xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" tabindex="0"
                aria-label=(self.description()) data-x0=(x.low) data-x1=(x.high) data-y0=(y.low) data-y1=(y.high)
                data-log=[y.log.then_some("1")] {
                g.ticks-y { @for tick in y.ticks(Y_TICKS) { (y_tick(tick, TOP + (1.0 - y.place(tick)) * height)) } }
                g.ticks-x { @for tick in x.ticks(X_TICKS) {
                    text x=(LEFT + x.place(tick) * width) y=(HEIGHT - 12.0) { (short(tick)) }
                } }
                svg.plot x=(LEFT) y=(TOP) width=(width) height=(height) viewBox={ "0 0 " (PLOT) " " (PLOT) }
                    preserveAspectRatio="none" {
                    @for (index, band) in self.bands.iter().enumerate() {
                        @let (from, to) = (x.place(band.from) * PLOT, x.place(band.to) * PLOT);
                        rect class={ "band b" (index % 2) } x=(from) y="0" width=((to - from).max(0.0)) height=(PLOT) {
                            title { (band.label) }
                        }
                    }
                    @for mark in &self.marks {
                        @let place = (1.0 - y.place(mark.value)) * PLOT;
                        line.mark x1="0" x2=(PLOT) y1=(place) y2=(place) {}
                    }
                    @for series in &self.series { (curve(series, &x, &y)) }
                }
                @for mark in &self.marks {
                    text.mark-label x=(WIDTH - RIGHT - 4.0) y=(TOP + (1.0 - y.place(mark.value)) * height - 4.0) {
                        (mark.label)
                    }
                }
                @for band in self.bands.iter().filter(|band| is_roomy(band, &x)) {
                    text.band-label x=(LEFT + x.place(band.from) * width + 4.0) y=(TOP + 12.0) { (band.label) }
                }
                rect.border x=(LEFT) y=(TOP) width=(width) height=(height) {}
            }
        }
    }

    fn scales(&self) -> (Scale, Scale) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        // From step 0 in every chart, so that one place is one step in all of them.
        let high = points().fold(0.0f64, |high, (step, _)| high.max(*step));
        let values = points().map(|(_, value)| *value).chain(self.marks.iter().map(|mark| mark.value));
        (Scale::exact(0.0, high), Scale::around(values, self.log))
    }

    /// What a screen reader says: the title, and first, last, lowest and highest of each series.
    fn description(&self) -> String {
        let mut text = self.title.clone();
        for series in &self.series {
            let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { continue };
            let values = || series.points.iter().map(|point| point.1);
            let (low, high) =
                (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            let _ = write!(
                text,
                ". {}: from {} at step {} to {} at step {}, between {} and {}",
                series.name,
                short(first.1),
                first.0,
                short(last.1),
                last.0,
                short(low),
                short(high)
            );
        }
        for mark in &self.marks {
            let _ = write!(text, ". Line at {}: {}", short(mark.value), mark.label);
        }
        text
    }

    fn legend(&self) -> Markup {
        html! {
            ul.legend {
                @for (index, series) in self.series.iter().enumerate().filter(|(_, s)| s.style != Style::Faint) {
                    li {
                        button type="button" data-series=(index) aria-pressed="true" {
                            span class={ "swatch c" (series.colour % COLOURS) " " (series.style.class()) } {}
                            (series.name)
                        }
                    }
                }
            }
        }
    }
}

/// Colours of series; further ones begin again.
pub const COLOURS: usize = 8;

fn y_tick(tick: f64, place: f64) -> Markup {
    html! {
        line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(place) y2=(place) {}
        text x=(LEFT - 6.0) y=(place + 4.0) { (short(tick)) }
    }
}

/// Whether a band's name fits over it; the end of quantisation is a place, and has its name beside it.
fn is_roomy(band: &Band, x: &Scale) -> bool {
    band.from == band.to || x.place(band.to) - x.place(band.from) > 0.015 * band.label.chars().count() as f64
}

/// One series in the plot's coordinates.
fn curve(series: &Series, x: &Scale, y: &Scale) -> Markup {
    let drawn = thin::points(&series.points);
    let place = |(step, value): &(f64, f64)| (x.place(*step) * PLOT, (1.0 - y.place(*value)) * PLOT);
    let mut points = String::with_capacity(drawn.len() * 12);
    for (step, value) in drawn.iter().map(place) {
        let _ = write!(points, "{step:.1},{value:.1} ");
    }
    let class = format!("series c{} {}", series.colour % COLOURS, series.style.class());
    html! {
        g class=(class) data-name=(series.name) data-run=[series.source.map(|source| source.0)]
            data-key=[series.source.map(|source| source.1)] {
            polyline points=(points.trim_end()) {}
            @if series.style == Style::Dots {
                // A stroke of no length with round ends is a dot of the same size at any zoom.
                @for (step, value) in drawn.iter().map(place) {
                    path.dot d={ "M" (format!("{step:.1} {value:.1}")) "h0" } {}
                }
            }
        }
    }
}

/// Trailing mean of `window` points.
pub fn smooth(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mut sum = 0.0;
    let mut smoothed = Vec::with_capacity(points.len());
    for (index, (step, value)) in points.iter().enumerate() {
        sum += value;
        if index >= window {
            sum -= points[index - window].1;
        }
        smoothed.push((*step, sum / window.min(index + 1) as f64));
    }
    smoothed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = Series {
            name: "<run & \"a\">".into(),
            colour: 9,
            style: Style::Dots,
            points,
            source: Some((0, "loss")),
        };
        Chart {
            id: "loss".into(),
            title: "Loss".into(),
            series: vec![series],
            marks: vec![Mark { value: 10.8, label: "ln V".into() }],
            bands: vec![Band { from: 0.0, to: 2.0, label: "stage-1".into() }],
            ..Chart::default()
        }
    }

    #[test]
    fn a_chart_says_what_it_shows_and_escapes_names() {
        let drawn = chart(vec![(0.0, 11.0), (1.0, f64::MAX), (3.0, 7.25)]).draw().into_string();
        for part in
            ["&lt;run &amp; &quot;a&quot;&gt;", "to 7.25 at step 3", "ln V", "stage-1", "data-key=\"loss\""]
        {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        assert!(chart(Vec::new()).draw().into_string().contains("not recorded"));
    }

    #[test]
    fn the_mean_trails() {
        let points: Vec<_> = [4.0, 2.0, 0.0, 0.0].iter().enumerate().map(|(i, v)| (i as f64, *v)).collect();
        assert_eq!(smooth(&points, 2).iter().map(|p| p.1).collect::<Vec<_>>(), [4.0, 3.0, 1.0, 0.0]);
    }
}
