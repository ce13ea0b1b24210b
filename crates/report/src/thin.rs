//! Which lines of a long run are kept, and which points of a curve are drawn.

use journal::metrics::{Record, Step};
use std::ops::Range;

/// Most lines of a run that a page holds; a longer one is thinned.
pub const LINES_MAX: usize = 20_000;
/// Points of a curve that a chart draws: two for each pixel of its width.
const POINTS_MAX: usize = 1200;

/// Thins to about `most` lines; every kept line is kept as it is. All lines with a record stay; of the others, in each of equal
/// ranges of the file, the first one and those of the lowest and the highest loss.
pub fn lines(steps: Vec<Step>, most: usize) -> Vec<Step> {
    if steps.len() <= most {
        return steps;
    }
    let bucket = (steps.len() * 3).div_ceil(most);
    let mut keep = vec![false; steps.len()];
    for from in (0..steps.len()).step_by(bucket) {
        let range = from..(from + bucket).min(steps.len());
        for index in extremes(&steps, range) {
            keep[index] = true;
        }
    }
    keep[steps.len() - 1] = true;
    let is_plain = |step: &Step| step.record == Record::default();
    let kept = steps.into_iter().zip(keep).filter(|(step, keep)| *keep || !is_plain(step));
    kept.map(|(step, _)| step).collect()
}

fn extremes(steps: &[Step], range: Range<usize>) -> [usize; 3] {
    let first = range.start;
    let lowest = range.clone().min_by(|a, b| steps[*a].loss.total_cmp(&steps[*b].loss));
    let highest = range.max_by(|a, b| steps[*a].loss.total_cmp(&steps[*b].loss));
    [first, lowest.unwrap_or(first), highest.unwrap_or(first)]
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
        let kept = lines(steps.clone(), 300);
        assert!(kept.len() < 400, "{}", kept.len());
        for index in [0, 777, 4321, 9999] {
            assert!(kept.contains(&steps[index]), "{index}");
        }
        assert!(kept.is_sorted_by_key(|step| step.step));
        assert_eq!(lines(steps[..300].to_vec(), 300), steps[..300]);
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
