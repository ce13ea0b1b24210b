//! Which lines of a long run are kept, and which points of a curve are drawn.

use crate::columns;
use journal::metrics::{Record, Step};
use std::ops::Range;

/// Most lines of a run that a page holds for its cursor and its zoom; of a longer run they are thinned.
pub const LINES_MAX: usize = 20_000;
/// What is drawn of every line.
const DRAWN: [&str; 6] = ["loss", "lr", "weight_decay", "lambda", "grad_norm", "tokens_per_s"];
/// Most lines that are kept of a range: the first one, and two for each curve.
const KEPT_MAX: usize = 1 + 2 * DRAWN.len();
/// Points of a curve that a chart draws: two for each pixel of its width.
const POINTS_MAX: usize = 1200;

/// At most about `most` lines, for drawing: a mean of them is not that of the run. All lines with a record stay; of the others, in
/// each of equal ranges of the file, the first one and those of the lowest and the highest value of each curve.
pub fn lines(steps: &[Step], most: usize) -> Vec<&Step> {
    if steps.len() <= most {
        return steps.iter().collect();
    }
    let bucket = (steps.len() * KEPT_MAX).div_ceil(most);
    let mut keep = vec![false; steps.len()];
    for from in (0..steps.len()).step_by(bucket) {
        let range = from..(from + bucket).min(steps.len());
        keep[from] = true;
        for index in DRAWN.iter().filter_map(|key| extremes(steps, range.clone(), key)).flatten() {
            keep[index] = true;
        }
    }
    keep[steps.len() - 1] = true;
    let is_plain = |step: &Step| step.record == Record::default();
    let kept = steps.iter().zip(keep).filter(|(step, keep)| *keep || !is_plain(step));
    kept.map(|(step, _)| step).collect()
}

/// The lines of the lowest and the highest value of a column; of equal ones the first.
fn extremes(steps: &[Step], range: Range<usize>, key: &str) -> Option<[usize; 2]> {
    let of = columns::column(key).of;
    let finite = |index: usize| Some((index, of(&steps[index]).filter(|value| value.is_finite())?));
    let mut values = range.filter_map(finite);
    let first = values.next()?;
    let (low, high) = values.fold((first, first), |(low, high), next| {
        (if next.1 < low.1 { next } else { low }, if next.1 > high.1 { next } else { high })
    });
    Some([low.0, high.0])
}

/// The points of a curve that are drawn: of each of equal ranges the lowest and the highest, in their order.
pub fn points(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let bucket = (points.len() * 2).div_ceil(POINTS_MAX);
    let mut drawn = Vec::with_capacity(POINTS_MAX + 2);
    for chunk in points.chunks(bucket) {
        let by = |pick: fn(std::cmp::Ordering) -> bool| {
            let mut best = 0;
            for (index, point) in chunk.iter().enumerate() {
                if pick(point.1.total_cmp(&chunk[best].1)) {
                    best = index;
                }
            }
            best
        };
        let (low, high) = (by(std::cmp::Ordering::is_lt), by(std::cmp::Ordering::is_gt));
        drawn.push(chunk[low.min(high)]);
        if low != high {
            drawn.push(chunk[low.max(high)]);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_its_records_its_spikes_and_its_end() {
        let step = |step: u64| Step { step, loss: (step % 97) as f64, ..Step::default() };
        let mut steps: Vec<Step> = (0..10_000).map(step).collect();
        steps[4321].loss = 1e6;
        steps[777].record.unique_tokens = Some(3);
        (steps[1234].grad_norm, steps[2345].tokens_per_s, steps[3456].lr) = (1e3, -1.0, 1.0);
        (steps[5678].loss, steps[5679].loss, steps[5680].loss) = (f64::NAN, f64::INFINITY, 1e5);
        let kept = lines(&steps, 300);
        assert!(kept.len() < 400, "{}", kept.len());
        for index in [0, 777, 1234, 2345, 3456, 4321, 5680, 9999] {
            assert!(kept.contains(&&steps[index]), "{index}");
        }
        assert!(kept.is_sorted_by_key(|step| step.step));
        assert_eq!(lines(&steps[..300], 300).len(), 300);
    }

    #[test]
    fn a_drawn_curve_keeps_its_extremes() {
        let mut curve: Vec<(f64, f64)> = (0..50_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        curve[31_000].1 = 99.0;
        curve[32_000].1 = -99.0;
        let drawn = points(&curve);
        assert!(
            drawn.len() <= POINTS_MAX + 2 && drawn.contains(&curve[31_000]) && drawn.contains(&curve[32_000])
        );
        assert!(drawn.is_sorted_by(|a, b| a.0 < b.0));
    }
}
