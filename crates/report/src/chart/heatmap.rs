//! A number for each layer and each record, as shades of one colour.

use super::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH};
use crate::number::short;
use maud::{Markup, html};

/// Most columns that are drawn; of more records an even choice, the last one always.
const COLUMNS_MAX: usize = 80;
/// Most rows.
const ROWS_MAX: usize = 256;
const LAYER_LABELS_MAX: usize = 8;

/// Shades of `records`: (step, a value for each layer). The palest shade is the lowest value of all, the darkest the highest.
pub fn heatmap(id: &str, title: &str, records: &[(u64, &[f32])]) -> Markup {
    let drawn = choose(records);
    let values = || drawn.iter().flat_map(|(_, layers)| layers.iter()).filter(|value| value.is_finite());
    let (low, high) = values()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let rows = drawn.iter().map(|(_, layers)| layers.len()).max().unwrap_or(0).min(ROWS_MAX);
    if low > high || rows == 0 {
        return html! { p.none { (title) ": not recorded." } };
    }
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let (cell_width, cell_height) = (width / drawn.len() as f64, height / rows as f64);
    let shade = |value: f32| match high > low {
        true => 0.06 + 0.94 * f64::from(value - low) / f64::from(high - low),
        false => 0.5,
    };
    let description = format!(
        "{title}: {rows} layers at {} records from step {} to {}, between {} and {}",
        drawn.len(),
        drawn[0].0,
        drawn[drawn.len() - 1].0,
        short(low.into()),
        short(high.into())
    );
    html! {
        figure.chart.heat id=(id) {
            figcaption { (title) }
            svg.frame xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                aria-label=(description) {
                g.ticks-y { @for row in (0..rows).step_by(rows.div_ceil(LAYER_LABELS_MAX)) {
                    text x=(LEFT - 6.0) y=(format!("{:.1}", TOP + (row as f64 + 0.5) * cell_height + 4.0)) { "layer " (row) }
                } }
                g.ticks-x { @for column in (0..drawn.len()).step_by(drawn.len().div_ceil(5)) {
                    text x=(format!("{:.1}", LEFT + (column as f64 + 0.5) * cell_width)) y=(HEIGHT - 12.0) { (drawn[column].0) }
                } }
                @for (column, (step, layers)) in drawn.iter().enumerate() {
                    @for (row, value) in layers.iter().take(rows).enumerate().filter(|(_, value)| value.is_finite()) {
                        rect.cell x=(format!("{:.2}", LEFT + column as f64 * cell_width))
                            y=(format!("{:.2}", TOP + row as f64 * cell_height))
                            width=(format!("{:.2}", cell_width + 0.3)) height=(format!("{:.2}", cell_height + 0.3))
                            fill-opacity=(format!("{:.3}", shade(*value))) {
                            title { "step " (step) ", layer " (row) ": " (value) }
                        }
                    }
                }
                rect.border x=(LEFT) y=(TOP) width=(width) height=(height) {}
            }
            p.scale { span.shade.low {} (short(low.into())) span.shade.high {} (short(high.into())) }
        }
    }
}

fn choose<'a>(records: &[(u64, &'a [f32])]) -> Vec<(u64, &'a [f32])> {
    let count = records.len().min(COLUMNS_MAX);
    let index = |column: usize| (column + 1) * records.len() / count - 1;
    (0..count).map(|column| records[index(column)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_records_are_chosen_from_and_the_last_stays() {
        let values = [0.25f32, 0.5];
        let records: Vec<(u64, &[f32])> = (0..1000).map(|step| (step, &values[..])).collect();
        let chosen = choose(&records);
        assert_eq!((chosen.len(), chosen[79].0), (80, 999));
        assert_eq!(choose(&records[..3]).len(), 3);
    }

    #[test]
    fn layers_that_differ_in_number_or_are_none_are_drawn_as_far_as_they_go() {
        let drawn =
            heatmap("z", "Zero share", &[(1, &[0.3, f32::NAN]), (2, &[0.1, 0.2, f32::INFINITY]), (3, &[])]);
        let drawn = drawn.into_string();
        assert_eq!(drawn.matches("class=\"cell\"").count(), 3);
        assert!(drawn.contains("step 1, layer 0: 0.3") && !drawn.contains("NaN"));
        assert!(heatmap("z", "Zero share", &[(1, &[f32::NAN])]).into_string().contains("not recorded"));
        assert!(heatmap("z", "Zero share", &[]).into_string().contains("not recorded"));
    }
}
